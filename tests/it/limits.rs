//! Whatever may lie in the place of a file that is read whole, or stand in the way of one that is written: a pipe that
//! nobody writes, a file of any size, a bound on files. No command waits for ever, and no start of the gateway fails.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use rayon::prelude::*;
use sha2::{Digest as _, Sha256};
use support::lessons::{KEY, OTHER};
use support::{NOW, Output, Store, StoreBuilder, sys};

/// More than there is room for.
const HUGE: u64 = 3 << 30;
/// In KiB.
const ROOM: u64 = 1_500_000;
/// In seconds; each of them takes a few milliseconds.
const PATIENCE: u64 = 60;

/// A store with everything that is read beside it, a run, and what is remembered of it.
fn store() -> Store {
    let store = fresh();
    store.gc(["--now", NOW, "--idle", "1d"]).ok();
    store.run(["gc", "--boot"]).ok();
    store
}

/// The same before anything was done.
fn fresh() -> Store {
    StoreBuilder::new()
        .agent("main")
        .binding(KEY, |one| one.idle("9d").session_id("one"))
        .binding(OTHER, |one| one.idle("1m").session_id("two"))
        .config(r#"{"meta": {"lastTouchedVersion": "2026.3.11"}}"#)
        .file("claw-sessions.toml", "")
        .build()
}

/// The places of all files that are read whole, from the root of this world.
fn places(store: &Store) -> Vec<PathBuf> {
    let hash = Sha256::digest(store.state_dir().as_os_str().as_encoded_bytes());
    let cache = hash[..8].iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    let run = store.run_ids().remove(0);
    let uid = fs::metadata("/proc/self").unwrap().uid();
    let state = [
        ".env",
        "openclaw.json",
        "claw-sessions.toml",
        "cron/jobs.json",
        "cron/runs/job.jsonl",
        "subagents/runs.json",
        "telegram/thread-bindings-default.json",
        "claw-sessions/boots.json",
        "claw-sessions/days.json",
        "claw-sessions/history.jsonl",
        "agents/main/sessions/sessions.json.lock",
        "agents/main/sessions/two.jsonl.lock",
        "agents/main/sessions/sessions.json.bak.1795384800000",
    ];
    let manifest = format!("claw-sessions/runs/{run}/manifest.json");
    let state = state.map(str::to_owned).into_iter().chain([manifest]).map(|rel| Path::new("home/.openclaw").join(rel));
    let others = [format!("cache/claw-sessions/{cache}.cache"), format!("tmp/openclaw-{uid}/gateway.x.lock")];
    state.chain(others.map(PathBuf::from)).collect()
}

/// Runs a command of claw-sessions that has no more than [`ROOM`], and is ended after its patience.
fn bounded(store: &Store, args: &[&str]) -> Output {
    let script = format!(r#"ulimit -v {ROOM}; exec timeout {PATIENCE} "$@""#);
    Output::of(&mut store.under("sh", ["-c", script.as_str(), "sh"], args))
}

const COMMANDS: [&[&str]; 5] = [
    &["gc", "--boot"],
    &["scan", "--now", NOW],
    &["validate", "--now", NOW],
    &["runs"],
    &["gc", "--all", "--now", NOW],
];

fn no_command_is_stopped_by(what: &str, make: impl Fn(&Path) + Sync) {
    let count = places(&store()).len();
    (0..count).into_par_iter().for_each(|index| {
        let store = store();
        let place = places(&store).remove(index);
        let path = store.root().join(&place);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&path);
        make(&path);
        for args in COMMANDS {
            let output = bounded(&store, args);
            let at = format!("{what} at {}: {args:?}: {output}", place.display());
            let expected: &[i32] = if args.contains(&"--boot") { &[0] } else { &[0, 1, 2, 3, 4] };
            assert!(output.code.is_some_and(|code| expected.contains(&code)), "{at}");
            assert!(!output.stderr.contains("panicked"), "{at}");
        }
    });
}

#[test]
fn no_command_waits_for_a_pipe_in_the_place_of_a_file() {
    no_command_is_stopped_by("a pipe", |path| {
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    });
}

#[test]
fn no_file_is_too_large_for_a_command() {
    no_command_is_stopped_by("a huge file", |path| File::create(path).unwrap().set_len(HUGE).unwrap());
}

#[test]
fn a_plan_that_is_no_file_or_too_large_is_refused() {
    let store = store();
    let plan = store.root().join("plan");
    let apply = ["gc", "--apply", plan.to_str().unwrap()];
    assert!(Command::new("mkfifo").arg(&plan).status().unwrap().success());
    let told = bounded(&store, &apply).code(2);
    assert!(told.stderr.contains("not a file"), "{told}");
    fs::remove_file(&plan).unwrap();
    File::create(&plan).unwrap().set_len(HUGE).unwrap();
    let told = bounded(&store, &apply).code(2);
    assert!(told.stderr.contains("larger than"), "{told}");
}

#[test]
fn what_is_remembered_is_read_only_where_it_is_ones_own() {
    if !sys::is_root() || !sys::has("setpriv") {
        return sys::skip("only root becomes another user");
    }
    let store = store();
    for dir in ["home", "cache", "tmp"] {
        sys::give(&store.root().join(dir), sys::NOBODY);
    }
    let scan = || Output::of(&mut store.ordinary(["scan", "--json", "--now", NOW]).unwrap()).ok().json();
    let before = scan();
    let history = store.path("claw-sessions/history.jsonl");
    chown(&history, Some(sys::NOBODY - 1), None).unwrap();
    fs::set_permissions(&history, Permissions::from_mode(0o644)).unwrap();
    let report = Output::of(&mut store.ordinary(["report", "--json", "--now", NOW]).unwrap()).ok().json();
    assert_eq!(report["history"], serde_json::json!([]), "another user's history is not believed");
    assert_eq!(scan()["bindings"], before["bindings"]);
}

#[test]
fn a_bound_on_the_size_of_files_ends_no_start() {
    for blocks in [0, 1, 4, 9] {
        let store = fresh();
        let before = store.tree().contents();
        let script = format!("ulimit -f {blocks}; exec \"$@\"");
        let args = ["gc", "--boot", "--all", "--now", NOW];
        let output = Output::of(&mut store.under("sh", ["-c", script.as_str(), "sh"], args)).ok();
        assert!(output.stderr.contains("claw-sessions: "), "{output}");
        store.gc(["--all", "--now", NOW]).ok();
        for run in store.run_ids().iter().rev() {
            let _ = store.run(["restore", run]);
        }
        before.assert_same(&store.tree().contents());
    }
}
