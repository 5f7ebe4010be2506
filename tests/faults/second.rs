//! The second fault: after each first one, kill, error or deadline, another meets what is to mend it. Another kill, a lock
//! that somebody holds, a clock that is wrong, names and inode numbers that are used again, a turn of the gateway in
//! between.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::openclaw::pretty;
use support::tree::Node;
use support::{LiveProcess, Store, Tree, sys};

use crate::ledger;
use crate::promise;
use crate::scenario::{self, Reference, Scenario};
use crate::strace::{Point, fail, kill, points};

const PART: &str = "a second fault";

/// What meets the run that mends the first fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Second {
    /// It is killed too, at a call.
    Kill(Point),
    /// Somebody holds the store lock of `main`.
    HeldLock,
    /// The clock went back by forty days since, or on.
    Clock(i64),
    /// The names of the files that went, and the numbers of their inodes, are those of others now.
    NamesUsedAgain,
    /// The gateway wrote in between.
    Turn,
}

/// How the first command ended.
#[derive(Clone, Copy, Debug)]
enum First {
    Killed(Point),
    Failed(Point),
    Late(&'static str),
}

const CALLS: &str = "openat,write,fsync,renameat,renameat2,linkat,unlinkat,mkdirat";

#[test]
fn what_is_mended_may_be_cut_off_again() {
    scenario::each(|scenario| {
        if !sys::has("strace") {
            return ledger::skip(PART, scenario.name, "no strace");
        }
        let reference = scenario.reference(CALLS);
        let faults = faults(scenario, &reference);
        ledger::each(PART, scenario.name, &faults, |(first, second)| {
            let at = format!("{}: {first:?}, then {second:?}", scenario.name);
            let store = scenario.prepare();
            first.meet(scenario, &store);
            second.meet(scenario, &store);
            assert_reachable(scenario, &reference, &store, &at);
            // Twice: what a restore brought back that was finished is judged again by the next gc.
            for _ in 0..2 {
                let output = store.run(scenario.args);
                assert!(matches!(output.code, Some(0..=4)), "{at}: {output}");
            }
            assert_reachable(scenario, &reference, &store, &at);
            assert_tidy(&store, &at);
        });
    });
}

/// The check sees what is lost, whatever the second fault was.
#[test]
fn what_is_lost_is_seen_after_every_kind_of_second_fault() {
    let scenario = &scenario::BOOT;
    let reference = scenario.reference("renameat2");
    for second in [Second::HeldLock, Second::Clock(40), Second::Clock(-40), Second::NamesUsedAgain, Second::Turn] {
        let store = scenario.prepare();
        let _ = store.run(scenario.args);
        second.meet(scenario, &store);
        assert_reachable(scenario, &reference, &store, "whole");
        let now = promise::tree(&store);
        let archived = |node: &Node| -> Vec<PathBuf> {
            let holders = now.0.iter().filter(|(_, other)| other.bytes.starts_with(&node.bytes));
            holders.map(|(path, _)| path.clone()).collect()
        };
        let own = |paths: &Vec<PathBuf>| paths.iter().all(|path| path.starts_with("claw-sessions"));
        let lost = transcripts(&reference.treasure).map(|(_, node)| archived(node)).find(own);
        lost.unwrap().iter().for_each(|path| store.remove(path));
        let look = || assert_reachable(scenario, &reference, &store, "a control");
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(look)).is_err(), "{second:?} hides a loss");
    }
}

/// Every first fault (of a sample: some), and with each a kill and two of the other second faults, which take turns: every
/// pair of all would be a million.
fn faults(scenario: &Scenario, reference: &Reference) -> Vec<(First, Second)> {
    let firsts = points(&reference.counts, 1);
    let kills: Vec<Second> = firsts.iter().map(|point| Second::Kill(*point)).collect();
    let others = [Second::HeldLock, Second::Clock(40), Second::Clock(-40), Second::NamesUsedAgain, Second::Turn];
    let mut faults = Vec::new();
    for (at, first) in firsts.iter().enumerate() {
        let firsts = [First::Killed(*first), First::Failed(*first)];
        // A step that has no divisor in common with most numbers of points: the kills come from everywhere.
        let seconds = [kills[at * 13 % kills.len()], others[at % others.len()], others[(at + 2) % others.len()]];
        faults.extend(seconds.into_iter().enumerate().map(|(number, second)| (firsts[(at + number) % 2], second)));
    }
    if scenario.args[0] == "gc" {
        for limit in ["1ms", "20ms"] {
            faults.extend(others.map(|second| (First::Late(limit), second)));
        }
    }
    faults
}

impl First {
    fn meet(self, scenario: &Scenario, store: &Store) {
        match self {
            Self::Killed(point) => drop(kill(store, scenario.args, point, "SIGKILL")),
            Self::Failed(point) => drop(fail(store, scenario.args, point, "EIO")),
            Self::Late(limit) => drop(store.run([scenario.args, &["--deadline", limit]].concat())),
        }
    }
}

impl Second {
    fn meet(self, scenario: &Scenario, store: &Store) {
        match self {
            Self::Kill(point) => drop(kill_any(store, scenario.args, point)),
            Self::HeldLock => {
                let holder = LiveProcess::spawn();
                let lock = format!("{}.lock", scenario::STORE);
                if !store.exists(&lock) {
                    store.write(&lock, holder.lock());
                    drop(store.run(scenario.args));
                    store.remove(&lock);
                }
            }
            Self::Clock(days) => {
                shift(store, days);
                drop(store.run([scenario.args, keep_runs(scenario)].concat()));
            }
            Self::NamesUsedAgain => {
                use_names_again(store);
                drop(store.run(scenario.args));
            }
            Self::Turn => {
                turn(store);
                drop(store.run(scenario.args));
            }
        }
    }
}

fn kill_any(store: &Store, args: &[&str], point: Point) -> bool {
    crate::strace::inject(store, args, point, "signal=SIGKILL").code.is_none()
}

fn keep_runs(scenario: &Scenario) -> &'static [&'static str] {
    if scenario.args[0] == "gc" { &["--keep-runs", "30d"] } else { &[] }
}

/// The ids of the runs whose manifests are there.
fn runs(store: &Store) -> Vec<String> {
    let there = |run: &String| store.exists(format!("claw-sessions/runs/{run}/manifest.json"));
    store.run_ids().into_iter().filter(there).collect()
}

/// All that was done was done so many days earlier than it was, by the clock of now.
fn shift(store: &Store, days: i64) {
    for run in runs(store) {
        let mut manifest = store.manifest(&run);
        for clock in ["startedAt", "finishedAt"] {
            if let Some(time) = manifest[clock].as_str() {
                let time = time.parse::<chrono::DateTime<chrono::Utc>>().unwrap();
                manifest[clock] = json!(time - chrono::TimeDelta::days(days));
            }
        }
        store.set_manifest(&run, manifest);
    }
}

/// Every file of the gateway's that went has another in its place, which has its inode number too, as the records say.
fn use_names_again(store: &Store) {
    for run in runs(store) {
        let mut manifest = store.manifest(&run);
        for step in manifest["steps"].as_array_mut().unwrap() {
            let path = PathBuf::from(step["path"].as_str().unwrap());
            if path.exists() || step["change"].get("archive").is_none() || step["why"] == "lock-dead" {
                continue;
            }
            std::fs::write(&path, OTHER).unwrap();
            let node = std::fs::metadata(&path).unwrap();
            let stamp = &mut step["before"]["stamp"];
            (stamp["dev"], stamp["ino"]) = (json!(node.dev()), json!(node.ino()));
        }
        store.set_manifest(&run, manifest);
    }
}

const OTHER: &str = "{\"type\":\"session\",\"version\":3,\"id\":\"other\"}\n";

/// A turn of every session that is bound and has its transcript; the store is written by a rename.
fn turn(store: &Store) {
    let Ok(text) = std::fs::read(store.path(scenario::STORE)) else { return };
    let Ok(mut sessions) = serde_json::from_slice::<Value>(&text) else { return };
    for entry in sessions.as_object_mut().unwrap().values_mut() {
        let Some(id) = entry["sessionId"].as_str() else { continue };
        let path = format!("agents/main/sessions/{id}.jsonl");
        if store.exists(&path) {
            let text = [store.read(&path), TURN.as_bytes().to_vec()].concat();
            store.write(&path, text);
        }
    }
    let beside = store.path("agents/main/sessions/sessions.json.new");
    std::fs::write(&beside, pretty(&sessions)).unwrap();
    std::fs::rename(beside, store.path(scenario::STORE)).unwrap();
}

const TURN: &str = "{\"type\":\"custom\",\"id\":\"ffffffff\",\"parentId\":null}\n";

/// The bytes of every transcript of the treasure are somewhere, in an archive or in place, unless bytes may die.
fn assert_reachable(scenario: &Scenario, reference: &Reference, store: &Store, at: &str) {
    let now = promise::tree(store);
    let holds = |bytes: &[u8]| {
        let files = now.0.iter().filter(|(_, node)| node.kind == "file");
        files.into_iter().any(|(_, node)| node.bytes.starts_with(bytes))
    };
    for (path, node) in transcripts(&reference.treasure) {
        assert!(holds(&node.bytes) || scenario.purges, "{at}: {} is lost", path.display());
    }
}

fn transcripts(tree: &Tree) -> impl Iterator<Item = (&PathBuf, &Node)> {
    let is_one = |path: &Path| path.starts_with("agents") && path.extension().is_some_and(|end| end == "jsonl");
    tree.0.iter().filter(move |(path, node)| node.kind == "file" && is_one(path))
}

/// No temporary file of any process lies in OpenClaw's directories.
fn assert_tidy(store: &Store, at: &str) {
    let tree = store.tree();
    let ours = |path: &&PathBuf| path.starts_with("agents") && path.to_string_lossy().ends_with(".claw-sessions.tmp");
    let left: Vec<_> = tree.0.keys().filter(ours).collect();
    assert!(left.is_empty(), "{at}: {left:?} lie about");
}
