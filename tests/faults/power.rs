//! Power loss: what is not synced is lost, torn or out of order. A run is recorded once, call by call; then every state
//! that a disk may be in after a power cut at any of its calls is laid out, and the next run has to put it right.
//!
//! A lock left behind must be whole: OpenClaw reclaims one that names a dead process at once, an empty or torn one only
//! when its time of modification is half a minute old.
//!
//! Not modelled: owners, times and attributes that are lost; a disk that loses or damages what it said was durable; a
//! power cut during the run that recovers from one; an archive on another file system; two runs at once.

mod disk;
mod layout;
mod trace;

use std::collections::{BTreeMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use self::disk::State;
use self::layout::Recording;
use self::trace::Op;
use crate::ledger;
use crate::strace::kill;
use support::openclaw::{AUTH, DEAD_PID, Rng};
use support::{NOW, Output, Store, StoreBuilder, Tree, fixture, lock_payload, sys};

const PART: &str = "power loss";

/// How many states are tried of each run when not all of them are.
const SAMPLE: usize = 10;

const GC: [&str; 5] = ["gc", "--now", NOW, "--jobs", "1"];
const SALVAGE: [&str; 6] = ["gc", "--salvage", "--now", NOW, "--jobs", "1"];
const BOOT: [&str; 6] = ["gc", "--boot", "--now", NOW, "--jobs", "1"];
const ASIDE: [&str; 6] = ["quarantine", "--damaged", "--now", NOW, "--jobs", "1"];
const REPAIR: [&str; 8] = ["validate", "--repair", "--severity", "fatal", "--now", NOW, "--jobs", "1"];
const RESTORE: [&str; 4] = ["restore", "latest", "--jobs", "1"];
const PURGE: [&str; 5] = ["quarantine", "purge", "--older-than", "1s", "--yes"];

const STORES: [&str; 2] = ["agents/main/sessions/sessions.json", "agents/helper/sessions/sessions.json"];

fn crafted(folder: &str) -> Vec<u8> {
    let file = "agents/main/sessions/7b1d5c0e-93a4-4f6b-8d52-2f0e6a91c3d7.jsonl";
    std::fs::read(fixture("crafted").join(folder).join(file)).unwrap()
}

/// One of everything, and no path in any of it: it is laid out in other places again.
fn everything() -> Store {
    let dead = || lock_payload(DEAD_PID, 1);
    StoreBuilder::new()
        .agent("main")
        .binding("agent:main:main", |one| one.without("sessionFile"))
        .binding("agent:main:telegram:direct:1", |one| one.idle("9d").session_id("old-1").without("sessionFile"))
        .binding("agent:main:telegram:direct:2", |one| one.idle("8d").session_id("old-2").without("sessionFile"))
        .binding("agent:main:telegram:direct:3", |one| {
            one.idle("9d").session_id("wiped").transcript(crafted("nul-only")).without("sessionFile")
        })
        .binding("agent:main:telegram:direct:4", |one| {
            one.session_id("mendable").transcript(crafted("mutual-cycle")).without("sessionFile")
        })
        .binding("agent:main:telegram:direct:5", |one| one.lock(dead()).without("sessionFile"))
        .orphan("0a1b2c3d-0000-4000-8000-000000000000", "9d")
        .agent("helper")
        .binding("agent:helper:main", |one| one.without("sessionFile"))
        .binding("agent:helper:telegram:direct:1", |one| {
            one.idle("9d").session_id("old-3").error(AUTH).without("sessionFile")
        })
        .file(&format!("{}.lock", STORES[1]), dead())
        .config(r#"{"meta": {"lastTouchedVersion": "2026.3.11"}}"#)
        .build_in(Store::empty_in_memory())
}

/// The same with a store that was cut.
fn cut() -> Store {
    let store = everything();
    let text = store.read(STORES[0]);
    store.write(STORES[0], &text[..text.len() - 100]);
    store
}

/// The same with nothing that only a quarantine helps.
fn mendable() -> Store {
    let store = everything();
    store.write("agents/main/sessions/wiped.jsonl", crafted("healthy"));
    store
}

/// The states of a run to try.
fn states(recording: &Recording) -> Vec<State> {
    let states = recording.disk.states();
    let step = if crate::full() { 1 } else { states.len().div_ceil(SAMPLE) };
    states.into_iter().step_by(step).collect()
}

/// Records a run on this store, after these runs, and lets `check` look at every state that it may leave.
fn survives(
    what: &str,
    store: &Store,
    before: impl FnOnce(&Store),
    args: &[&str],
    check: impl Fn(&Recording, &Store) + Sync,
) {
    if !sys::has("strace") {
        return ledger::skip(PART, what, "no strace");
    }
    let recording = Recording::of(store, before, args);
    ledger::each(PART, what, &states(&recording), |state| judge(&recording, state, &check));
}

fn judge(recording: &Recording, state: &State, check: impl Fn(&Recording, &Store)) {
    let store = recording.lay_out(state);
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(recording, &store))) {
        let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
        panic!("{}\n{text}", state.told);
    }
}

/// Nothing is lost; the next run of the same kind does the rest; what was taken comes back.
fn put_right(recording: &Recording, store: &Store) {
    old_or_new(recording, store);
    each_once(&recording.origin, &store.tree());
    reads_only(store);
    let args: Vec<&str> = recording.args.iter().map(String::as_str).collect();
    let next = done(store, &args);
    let now = store.tree().contents();
    let diff = recording.last.contents().diff(&now);
    let is_last = diff.is_empty() || recording.settled.contents().diff(&now).is_empty();
    assert!(is_last, "the next run leaves another tree:\n{diff}\n{next}");
    comes_back(recording, store);
}

/// Every file of OpenClaw is the old one or the new one, or one in between that was as whole. What else is there is a temporary file, or a lock that
/// OpenClaw reclaims, for it names a dead process.
fn old_or_new(recording: &Recording, store: &Store) {
    let now = store.tree();
    let foreign = |tree: &Tree| -> HashSet<PathBuf> {
        tree.0.keys().filter(|path| !path.starts_with("claw-sessions")).cloned().collect()
    };
    let known: HashSet<PathBuf> = &foreign(&recording.first) | &foreign(&recording.last);
    for path in &known {
        let is = |tree: &Tree| tree.0.get(path).map(|node| (node.kind, node.mode, node.bytes.clone()));
        let (old, new, now) = (is(&recording.first), is(&recording.last), is(&now));
        let held = || recording.disk.held(path).any(|held| Some(("file", held.mode, held.bytes.to_vec())) == now);
        assert!(
            now == old || now == new || held() || is_lock(path, store),
            "{} is neither old nor new",
            path.display()
        );
    }
    for path in foreign(&now).difference(&known) {
        let ours = path.to_string_lossy().ends_with(".claw-sessions.tmp");
        assert!(ours || is_lock(path, store), "what is {}?", path.display());
    }
}

/// Whether it is a whole lock. OpenClaw waits half a minute for one that is empty or torn, and we for ever.
fn is_lock(path: &Path, store: &Store) -> bool {
    let payload = || serde_json::from_slice::<serde_json::Value>(&store.read(path)).ok();
    path.extension().is_some_and(|extension| extension == "lock")
        && store.exists(path)
        && payload().is_some_and(|lock| {
            let pid = lock["pid"].as_u64().expect("a lock names its owner");
            lock["createdAt"].is_string() && !Path::new("/proc").join(pid.to_string()).exists()
        })
}

/// Every transcript and every dead lock of the first tree is there once, in its place or in an archive, and whole. A
/// name of a file more is not a file more.
fn each_once(first: &Tree, now: &Tree) {
    let files = |tree: &Tree| {
        let mut files: BTreeMap<(PathBuf, Vec<u8>), HashSet<u64>> = BTreeMap::new();
        for (path, node) in tree.0.iter().filter(|(path, node)| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            node.kind == "file" && name.contains(".jsonl") && name != "history.jsonl"
        }) {
            let name = PathBuf::from(path.file_name().unwrap());
            files.entry((name, node.bytes.clone())).or_default().insert(node.ino);
        }
        files
    };
    let now = files(now);
    for (file, was) in files(first) {
        let times = now.get(&file).map_or(0, HashSet::len);
        assert_eq!(times, was.len(), "{} is there {times} times", file.0.display());
    }
}

/// What only reads works, and only reads.
fn reads_only(store: &Store) {
    let before = store.tree().exact();
    done(store, &["scan", "--now", NOW]);
    before.assert_same(&store.tree().exact());
}

fn done(store: &Store, args: &[&str]) -> Output {
    let output = store.run(args);
    assert_eq!(output.code, Some(0), "{}: {output}", args.join(" "));
    output
}

/// Everything that runs took comes back, the newest first: then all is as it was before any of them.
fn comes_back(recording: &Recording, store: &Store) {
    let runs = done(store, &["runs", "--json"]).json();
    for run in runs["runs"].as_array().unwrap().iter().rev().filter(|run| run["restorable"] == true) {
        done(store, &["restore", run["id"].as_str().unwrap()]);
    }
    let diff = recording.origin.contents().diff(&store.tree().contents());
    assert!(diff.is_empty(), "what came back is not what was there:\n{diff}");
}

fn nothing(_: &Store) {}

#[test]
fn a_gc_survives_a_power_cut() {
    survives("gc", &everything(), nothing, &GC, put_right);
}

#[test]
fn a_quarantine_survives_a_power_cut() {
    survives("quarantine", &everything(), nothing, &ASIDE, put_right);
}

#[test]
fn a_repair_survives_a_power_cut() {
    survives("repair", &mendable(), nothing, &REPAIR, put_right);
}

#[test]
fn a_salvage_survives_a_power_cut() {
    survives("salvage", &cut(), nothing, &SALVAGE, put_right);
}

#[test]
fn a_start_survives_a_power_cut() {
    survives("boot", &everything(), nothing, &BOOT, put_right);
}

#[test]
fn a_restore_survives_a_power_cut() {
    survives("restore", &everything(), |store| drop(done(store, &GC)), &RESTORE, put_right);
}

#[test]
fn a_restore_of_a_salvaged_store_survives_a_power_cut() {
    survives("restore of a salvage", &cut(), |store| drop(done(store, &SALVAGE)), &RESTORE, put_right);
}

/// A gc that was killed when the stores were rewritten and no transcript had followed.
fn killed(store: &Store) {
    let old = STORES.map(|path| store.read(path));
    // The first such call moves the dead lock of the second store aside.
    assert!(kill(store, &GC, ("renameat2", 2), "SIGKILL"));
    assert!(STORES.iter().zip(old).all(|(path, old)| store.read(path) != old));
    assert!(store.exists("agents/main/sessions/old-1.jsonl") && store.exists("agents/helper/sessions/old-3.jsonl"));
}

#[test]
fn a_recovery_survives_a_power_cut() {
    survives("recovery", &everything(), killed, &GC, put_right);
}

/// A run that took nothing else, and one that did.
fn aside(store: &Store) {
    done(store, &["quarantine", "agent:main:telegram:direct:1", "--now", NOW]);
    done(store, &GC);
    // A second is the shortest age.
    std::thread::sleep(Duration::from_millis(1100));
}

/// A purge lets bytes die: of each session all of them or none, and of nothing else.
#[test]
fn a_purge_survives_a_power_cut() {
    survives("purge", &everything(), aside, &PURGE, |recording, store| {
        old_or_new(recording, store);
        reads_only(store);
        let listed = |store: &Store| done(store, &["quarantine", "list", "--json"]).json();
        for session in listed(store)["sessions"].as_array().unwrap() {
            done(store, &["quarantine", "show", session["key"].as_str().unwrap()]);
        }
        done(store, &PURGE);
        assert_eq!(listed(store)["sessions"], serde_json::json!([]));
        each_once(&recording.last, &store.tree());
    });
}

/// The model finds what it is there to find: without the fsyncs of files, of directories, or of both, states are
/// reachable that no run can put right.
#[test]
fn the_model_finds_what_a_missing_fsync_breaks() {
    if !sys::has("strace") {
        return sys::skip("no strace");
    }
    let mut recording = Recording::of(&everything(), nothing, &GC);
    let directories: Vec<PathBuf> =
        recording.last.0.iter().filter(|(_, node)| node.kind == "dir").map(|(path, _)| path.clone()).collect();
    let is_dir = |path: &Path| directories.iter().any(|dir| dir == path);
    for which in ["any", "a file's", "a directory's"] {
        let undone = |path: &Path| match which {
            "any" => true,
            "a file's" => !is_dir(path),
            _ => is_dir(path),
        };
        recording.forget(|op| matches!(op, Op::Sync(path) if undone(path)));
        let states = recording.disk.states();
        let mut rng = Rng::of(which);
        let broken = |_: &usize| {
            let state = &states[rng.below(states.len() as u64) as usize];
            catch_unwind(AssertUnwindSafe(|| judge(&recording, state, put_right))).is_err()
        };
        assert!((0..60).find(broken).is_some(), "without {which} fsync nothing breaks");
    }
}
