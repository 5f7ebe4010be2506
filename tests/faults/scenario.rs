//! Every command that changes a state directory, and a small one that has something of every kind for it.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::json;

use crate::promise;
use crate::strace::{self, Point, kill};
use support::{self, NOW, Store, StoreBuilder, Tree, lock_payload, sys};

/// A command, and what it meets.
pub(crate) struct Scenario {
    /// What the figures call it.
    pub(crate) name: &'static str,
    /// The command.
    pub(crate) args: &'static [&'static str],
    /// What came before it, from [`everything`] on.
    before: &'static [Step],
    /// Bytes die: what was in quarantine, or what a run took.
    pub(crate) purges: bool,
}

impl Scenario {
    /// A store gets back what belongs to the files that came back: one after the other, if there are errors.
    pub(crate) fn is_piecemeal(&self) -> bool {
        self.args[0] == "restore"
    }
}

enum Step {
    Run(&'static [&'static str]),
    /// Killed as it enters this call.
    Killed(&'static [&'static str], Point),
    /// The last bytes of the store of `main` are cut off.
    CutStore,
    /// A transcript of `main` is damaged beyond repair: gc takes its session aside.
    Wipe,
    /// The recipe of openclaw#44687, and a backup of the stores before it.
    Recipe,
    /// All runs ended long ago.
    LongAgo,
}

const GC: &[&str] = &["gc", "--now", NOW, "--jobs=1"];
const RESTORE: &[&str] = &["restore", "latest", "--jobs=1"];
const QUARANTINE_ONE: &[&str] = &["quarantine", "agent:main:telegram:direct:1", "--now", NOW, "--jobs=1"];
const QUARANTINE: &[&str] = &["quarantine", "--damaged", "--now", NOW, "--jobs=1"];
const REPAIR: &[&str] = &["validate", "--repair", "--severity=fatal", "--now", NOW, "--jobs=1"];
const GC_SALVAGE: &[&str] = &["gc", "--salvage", "--now", NOW, "--jobs=1"];
const SALVAGE: &[&str] = &["validate", "--repair", "--salvage", "--severity=fatal", "--now", NOW, "--jobs=1"];

/// Before a start of the gateway.
pub(crate) const BOOT: Scenario =
    Scenario { name: "gc --boot", args: &["gc", "--boot", "--now", NOW, "--jobs=1"], before: &[], purges: false };

/// All that expired leaves.
pub(crate) const EXPIRY: Scenario = Scenario { name: "gc", args: GC, before: &[], purges: false };

const SCENARIOS: [Scenario; 15] = [
    EXPIRY,
    BOOT,
    Scenario { name: "quarantine", args: QUARANTINE, before: &[], purges: false },
    Scenario { name: "repair", args: REPAIR, before: &[], purges: false },
    Scenario { name: "salvage", args: SALVAGE, before: &[Step::CutStore], purges: false },
    Scenario { name: "gc --salvage", args: GC_SALVAGE, before: &[Step::CutStore], purges: false },
    Scenario { name: "restore of a gc", args: RESTORE, before: &[Step::Run(GC)], purges: false },
    Scenario { name: "restore of a repair", args: RESTORE, before: &[Step::Run(REPAIR)], purges: false },
    Scenario {
        name: "restore of a salvage",
        args: RESTORE,
        before: &[Step::CutStore, Step::Run(SALVAGE)],
        purges: false,
    },
    Scenario {
        name: "restore --stuck-bak",
        args: &["restore", "--stuck-bak", "--jobs=1"],
        before: &[Step::Recipe],
        purges: false,
    },
    Scenario {
        name: "purge",
        args: &["quarantine", "purge", "--older-than=30d", "--yes"],
        // A run that took nothing else, and one that did.
        before: &[Step::Wipe, Step::Run(QUARANTINE_ONE), Step::Run(GC), Step::LongAgo],
        purges: true,
    },
    Scenario {
        name: "prune",
        args: &["runs", "prune", "--older-than=30d", "--yes"],
        before: &[Step::Run(GC), Step::LongAgo],
        purges: true,
    },
    // The dead lock of a store was moved aside, and nothing else done.
    Scenario { name: "recovery of a gc", args: GC, before: &[Step::Killed(GC, ("renameat2", 1))], purges: false },
    // The stores were rewritten, and no transcript has followed.
    Scenario {
        name: "recovery of a gc that cut stores",
        args: GC,
        before: &[Step::Killed(GC, ("renameat2", 2))],
        purges: false,
    },
    Scenario {
        name: "recovery of a restore",
        args: RESTORE,
        before: &[Step::Run(GC), Step::Killed(RESTORE, ("renameat", 1))],
        purges: false,
    },
];

/// Each scenario in turn, or the one that `SCENARIO` names; one whose promise breaks does not keep the others from being
/// tried.
pub(crate) fn each(work: impl Fn(&Scenario)) {
    let wanted = std::env::var("SCENARIO").ok();
    let chosen = SCENARIOS.iter().filter(|scenario| wanted.as_ref().is_none_or(|wanted| scenario.name == wanted));
    let broken = chosen.filter(|scenario| catch_unwind(AssertUnwindSafe(|| work(scenario))).is_err());
    let broken: Vec<_> = broken.map(|scenario| scenario.name).collect();
    assert!(broken.is_empty(), "broken: {broken:?}");
}

impl Scenario {
    /// A state directory that awaits the command.
    pub(crate) fn prepare(&self) -> Store {
        self.prepare_in(Store::empty_in_memory())
    }

    /// In this state directory, which is empty.
    pub(crate) fn prepare_in(&self, store: Store) -> Store {
        self.set_up(builder().build_in(store))
    }

    /// A state directory that may be laid out in another place, and awaits the command there.
    pub(crate) fn prepare_movable(&self) -> Store {
        self.set_up(builder().without_paths().build_in_memory())
    }

    fn set_up(&self, store: Store) -> Store {
        self.before.iter().for_each(|step| step.take(&store));
        store
    }
}

impl Step {
    fn take(&self, store: &Store) {
        match self {
            Self::Run(args) => drop(store.run(*args).ok()),
            Self::Killed(args, call) => assert!(kill(store, args, *call, "SIGKILL"), "{args:?} never makes {call:?}"),
            Self::CutStore => {
                let cut = store.read(STORE);
                store.write(STORE, &cut[..cut.len() - 200]);
            }
            Self::Wipe => store.write("agents/main/sessions/two.jsonl", [0; 512]),
            Self::LongAgo => {
                for run in store.run_ids() {
                    let mut manifest = store.manifest(&run);
                    manifest["finishedAt"] = json!("2026-01-01T00:00:00Z");
                    manifest["notBefore"] = json!("2026-01-01T00:00:00Z");
                    store.set_manifest(&run, manifest);
                }
            }
            Self::Recipe => {
                store.back_up_stores(support::recipe::OLDER);
                store.run_recipe(&[]);
            }
        }
    }
}

/// The store of the agent `main`.
pub(crate) const STORE: &str = "agents/main/sessions/sessions.json";

/// Two agents with bindings that stay, expire, are damaged and can be mended; an orphan; dead locks; archives.
pub(crate) fn everything() -> Store {
    builder().build_in_memory()
}

fn builder() -> StoreBuilder {
    let damaged = |name: &str| {
        let folder = support::fixture("crafted").join(name).join("agents/main/sessions");
        fs::read(folder.join("7b1d5c0e-93a4-4f6b-8d52-2f0e6a91c3d7.jsonl")).unwrap()
    };
    StoreBuilder::new()
        .config(r#"{"meta": {"lastTouchedVersion": "2026.3.11"}}"#)
        .agent("main")
        .binding("agent:main:telegram:direct:1", |one| one.idle("9d").session_id("one"))
        .binding("agent:main:telegram:direct:2", |one| one.session_id("two"))
        .binding("agent:main:telegram:direct:3", |one| one.session_id("three").transcript(damaged("mutual-cycle")))
        .binding("agent:main:telegram:direct:4", |one| {
            // The header that it gets names no path of this state directory.
            one.session_id("four").transcript(damaged("headerless")).field("spawnedWorkspaceDir", "/work")
        })
        .binding("agent:main:cron:7cfc4032", |one| one.idle("30h").session_id("five").cron_run())
        .binding("agent:main:telegram:direct:6", |one| {
            one.idle("3d").session_id("six").lock(lock_payload(3_999_999, 1))
        })
        .orphan("seven", "9d")
        .agent("illarion")
        .binding("agent:illarion:telegram:direct:8", |one| one.idle("9d").session_id("eight"))
        .binding("agent:illarion:telegram:group:-100", |one| one.session_id("nine"))
        .file(&format!("{STORE}.lock"), lock_payload(3_999_998, 1))
        .file("agents/main/sessions/gone.jsonl.reset.2026-11-20T10-00-00.000Z", "{\"type\":\"session\"}\n")
}

/// What a whole run of the command does, as the measure of one that met a fault.
pub(crate) struct Reference {
    /// Before everything: every transcript of it is to be there, whatever happens.
    pub(crate) treasure: Tree,
    /// As the command met it.
    pub(crate) first: Tree,
    /// As the command left it.
    pub(crate) last: Tree,
    /// After the command was given once more: the bindings that a salvage could not save leave orphans for the next run.
    pub(crate) settled: Tree,
    /// When all that can be restored was restored.
    pub(crate) restored: Tree,
    /// How often each call was made, where that was counted.
    pub(crate) counts: BTreeMap<String, usize>,
}

impl Scenario {
    /// Runs the command without a fault. `trace` names the calls to be counted.
    pub(crate) fn reference(&self, trace: &str) -> Reference {
        let (reference, counts) = self.play(&self.prepare(), |store| strace::count(store, self.args, trace));
        Reference { counts, ..reference }
    }

    /// Runs the command without a fault on a store that awaits it; `run` carries it out.
    pub(crate) fn play<T>(&self, store: &Store, run: impl FnOnce(&Store) -> T) -> (Reference, T) {
        let treasure = promise::tree(&everything());
        let first = promise::tree(store);
        let ran = run(store);
        let last = promise::tree(store);
        let bytes =
            |tree: &Tree| -> Vec<_> { tree.0.iter().map(|(path, node)| (path.clone(), node.bytes.clone())).collect() };
        assert!(bytes(&first) != bytes(&last), "{} changes nothing", self.name);
        let again = store.run(self.args);
        assert!(matches!(again.code, Some(0 | 1)), "{}: {again}", self.name);
        let settled = promise::tree(store);
        promise::restore_all(store, self.name);
        let restored = promise::tree(store);
        (Reference { treasure, first, last, settled, restored, counts: BTreeMap::new() }, ran)
    }
}

/// Without a fault everything comes back that was there before the first run.
#[test]
fn what_no_fault_disturbs_comes_back() {
    each(|scenario| {
        if scenario.purges || !sys::has("strace") {
            return;
        }
        let of_people = scenario.before.iter().filter(|step| matches!(step, Step::CutStore | Step::Recipe));
        let untouched = builder().build_in_memory();
        of_people.for_each(|step| step.take(&untouched));
        let reference = scenario.play(&scenario.prepare(), |store| drop(store.run(scenario.args))).0;
        promise::assert_same(&promise::tree(&untouched), &reference.restored, scenario.name);
    });
}
