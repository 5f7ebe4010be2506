//! Files that are not the planned ones any more: replaced, grown, cut, linked or turned into links meanwhile. The target
//! is untouched.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags};
use serde_json::Value;

use crate::races::restore_all;
use crate::{full, ledger};
use support::openclaw::Rng;
use support::{NOW, Store, StoreBuilder, Tree, tree};

const PART: &str = "races";
const KEY: &str = "agent:main:telegram:direct:1";

/// What somebody does to a file between plan and apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Swap {
    Replaced,
    Grown,
    Truncated,
    Linked,
    /// Another file's second name stands in its place.
    HardLinked,
    /// The file itself has a second name outside.
    Named,
    Directory,
    Fifo,
    Gone,
}

const SWAPS: [Swap; 9] = [
    Swap::Replaced,
    Swap::Grown,
    Swap::Truncated,
    Swap::Linked,
    Swap::HardLinked,
    Swap::Named,
    Swap::Directory,
    Swap::Fifo,
    Swap::Gone,
];

impl Swap {
    fn make(self, target: &Path, canary: &Path) {
        let aside = target.with_file_name("aside");
        match self {
            Self::Grown => {
                let mut bytes = fs::read(target).unwrap();
                bytes.extend_from_slice(b"{}\n");
                fs::write(target, bytes).unwrap();
            }
            Self::Truncated => {
                let bytes = fs::read(target).unwrap();
                fs::write(target, &bytes[..bytes.len() / 2]).unwrap();
            }
            Self::Named => fs::hard_link(target, canary.with_file_name("second-name")).unwrap(),
            // The old inode stays taken.
            _ => fs::rename(target, aside).unwrap(),
        }
        match self {
            Self::Replaced => fs::write(target, "another\n").unwrap(),
            Self::Linked => symlink(canary, target).unwrap(),
            Self::HardLinked => fs::hard_link(canary, target).unwrap(),
            Self::Directory => fs::create_dir(target).unwrap(),
            Self::Fifo => assert!(Command::new("mkfifo").arg(target).status().unwrap().success()),
            _ => {}
        }
    }
}

/// A conversation that goes, one that is mended, an orphan, a dead lock, and an archive that is asked to be deleted.
fn every_kind_goes() -> Store {
    let dead = support::lock_payload(support::openclaw::DEAD_PID, 1);
    StoreBuilder::new()
        .agent("main")
        .binding(KEY, |one| one.idle("9d").session_id("one"))
        .binding("agent:main:telegram:group:-1", |one| {
            one.idle("1h").session_id("headless").transcript(
                r#"{"type":"message","id":"00000001","parentId":null,"timestamp":"2026-11-22T21:30:00.000Z","message":{"role":"user","content":[{"type":"text","text":"Hello"}],"timestamp":1795383000000}}
{"type":"message","id":"00000002","parentId":"00000001","timestamp":"2026-11-22T21:30:01.000Z","message":{"role":"assistant","content":[{"type":"text","text":"Hello"}],"provider":"mock","model":"mock-1","stopReason":"stop","timestamp":1795383001000}}
"#,
            )
        })
        .orphan("lonely", "9d")
        .file("agents/main/sessions/dead.jsonl.lock", dead)
        .file("agents/main/sessions/old.jsonl.deleted.2026-10-01T00-00-00.000Z", "old\n")
        .config(r#"{"meta": {"lastTouchedVersion": "2026.3.11"}}"#)
        .build()
}

const TARGETS: [&str; 5] =
    ["one.jsonl", "headless.jsonl", "lonely.jsonl", "dead.jsonl.lock", "old.jsonl.deleted.2026-10-01T00-00-00.000Z"];

#[test]
fn what_is_not_the_planned_file_any_more_is_left_alone() {
    let faults: Vec<_> = TARGETS.iter().flat_map(|target| SWAPS.map(|swap| (*target, swap))).collect();
    ledger::each(PART, "swapped between plan and apply", &faults, |&(target, swap)| {
        let told = format!("{target} {swap:?}");
        let store = every_kind_goes();
        let outside = Store::empty();
        outside.write("precious.jsonl", store.read(format!("agents/main/sessions/{target}")));
        outside.set_mode("precious.jsonl", 0o640);
        let plan = store.root().join("plan.json");
        let options = ["--now", NOW, "--purge-archives", "1d"];
        let planned = store.gc([&["--plan", plan.to_str().unwrap()][..], &options].concat()).ok().json();
        let planned = planned["planned"].clone();
        let path = store.path("agents/main/sessions").join(target);
        swap.make(&path, &outside.path("precious.jsonl"));
        let (before, precious) = (tree(path.parent().unwrap()), outside.tree());
        let output = store.gc(["--apply", plan.to_str().unwrap(), "--now", NOW]);
        let done = output.json();
        if swap == Swap::Named {
            // It is the planned file. What goes is a name of it; the other one keeps every byte.
            assert_eq!((output.code, &done["done"]["expire"]), (Some(0), &planned["expire"]), "{told}\n{output}");
        } else {
            // 3: what stands there cannot be read.
            assert!(matches!(output.code, Some(0 | 3 | 4)), "{told}\n{output}");
            let skipped = done["skipped"].as_array().unwrap();
            let what = if target == "one.jsonl" { KEY } else { target };
            let of = |one: &&Value| one["what"].as_str().unwrap().ends_with(what);
            let why = skipped.iter().find(of).map(|one| one["why"].as_str().unwrap().to_owned());
            assert!(why.is_some_and(|why| why.starts_with("changed-since-plan")), "{told}\n{output}");
            assert_eq!(skipped.len(), 1, "{told}: the others go\n{output}");
            let node = |tree: &Tree| tree.0.get(Path::new(target)).cloned();
            assert_eq!(node(&before), node(&tree(path.parent().unwrap())), "{told}\n{output}");
            assert_eq!(store.sessions("main").get(KEY).is_some(), target == "one.jsonl", "{told}");
        }
        let diff = precious.exact().diff(&outside.tree().exact());
        assert!(diff.is_empty(), "{told}\n{diff}");
    });
}

#[test]
fn files_that_are_swapped_all_the_time_are_moved_whole_or_left() {
    let rounds = if full() { 150 } else { 8 };
    let what = ["one.jsonl", "headless.jsonl", "lonely.jsonl", ".", "sessions.json"];
    ledger::each(PART, "swapped while gc runs", &what, |target| {
        let store = every_kind_goes();
        let outside = every_kind_goes();
        let sessions = store.path("agents/main/sessions");
        let (path, twin) = (sessions.join(target), outside.path("agents/main/sessions").join(target));
        let (path, aside) = (path.components().collect::<PathBuf>(), store.root().join("aside"));
        let (precious, original) = (outside.tree(), store.tree());
        symlink(&twin, &aside).unwrap();
        // The file and a link to another one of its name change places. What was taken cannot.
        let swap = || rustix::fs::renameat_with(CWD, &path, CWD, &aside, RenameFlags::EXCHANGE).is_ok();
        let over = AtomicBool::new(false);
        let mut outputs = Vec::new();
        std::thread::scope(|scope| {
            let _ends = Ends(&over);
            scope.spawn(|| {
                let mut rng = Rng::of(target);
                while !over.load(Ordering::SeqCst) {
                    swap();
                    std::thread::sleep(Duration::from_micros(rng.below(4000)));
                }
            });
            for _ in 0..rounds {
                outputs.push(store.run(["gc", "--now", NOW, "--json"]));
                outputs.push(store.run(["restore", "latest", "--json"]));
            }
        });
        assert!(fs::read_link(&aside).is_ok() || swap(), "{target}: neither is in its place");
        for output in &outputs {
            // 2: there was no run yet to restore; 3: what stood there could not be read or written.
            assert!(matches!(output.code, Some(0 | 2 | 3 | 4)), "{target}: {}\n{output}", output.command);
        }
        let diff = precious.exact().diff(&outside.tree().exact());
        assert!(diff.is_empty(), "{target}: what the links lead to changed\n{diff}");
        // What was cut off is finished, and then all comes back.
        store.run(["gc", "--only", "nothing", "--no-orphans", "--now", NOW]).ok();
        restore_all(&store);
        let (now, sessions) = (tree(store.root()), store.sessions("main"));
        for (path, node) in original.0.iter().filter(|(_, node)| node.kind == "file") {
            let kept = now.0.values().any(|other| other.bytes == node.bytes)
                || serde_json::from_slice::<Value>(&node.bytes).is_ok_and(|all| all == sessions);
            assert!(kept, "{target}: what was in {} is nowhere", path.display());
        }
    });
}

/// Tells another thread when this one ends, also by a panic.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
