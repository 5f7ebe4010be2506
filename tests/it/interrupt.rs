//! Interrupted: what is left is said in one sentence, the signal's status is the command's, and gc finishes the rest.

use std::fs::{self, File};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use support::lessons::STORE;
use support::{LiveProcess, NOW, Store, StoreBuilder};

const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;
const OTHER_STORE: &str = "agents/ops/sessions/sessions.json";

/// Two agents with a stale conversation each.
fn store() -> Store {
    StoreBuilder::new()
        .agent("main")
        .binding("agent:main:telegram:direct:1", |one| one.idle("9d"))
        .agent("ops")
        .binding("agent:ops:telegram:direct:1", |one| one.idle("9d"))
        .config(r#"{"meta": {"lastTouchedVersion": "2026.3.11"}}"#)
        .build()
}

fn start(store: &Store, args: &[&str]) -> Child {
    let mut command = store.command(args);
    command.arg("--state-dir").arg(store.state_dir()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Sends a signal once `is_time`; the signal that ended the command, its status, and what it said.
fn interrupted(child: Child, signal: Signal, is_time: impl Fn() -> bool) -> (Option<i32>, Option<i32>, String) {
    while !is_time() {
        sleep(Duration::from_millis(5));
    }
    // It must have come to where it waits.
    sleep(Duration::from_millis(200));
    kill_process(Pid::from_child(&child), signal).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.signal(), output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_run_that_is_interrupted_says_which_one_is_unfinished_and_what_finishes_it() {
    for (signal, number, boot) in
        [(Signal::INT, SIGINT, false), (Signal::TERM, SIGTERM, false), (Signal::TERM, SIGTERM, true)]
    {
        let store = store();
        let before = store.tree().contents();
        let process = LiveProcess::spawn();
        // It waits for this one after it has done the other.
        store.write(format!("{OTHER_STORE}.lock"), process.lock());
        let first = store.read(STORE);
        let args = [&["gc", "--all", "--now", NOW][..], if boot { &["--boot"] } else { &[] }].concat();
        let (by, _, said) = interrupted(start(&store, &args), signal, || store.read(STORE) != first);
        assert_eq!(by, Some(number), "{said}");
        let id = store.run_ids().remove(0);
        let expected = format!(
            "interrupted: run {id} is unfinished, nothing is lost; finish it with: claw-sessions gc --state-dir {}\n",
            store.state_dir().display()
        );
        assert_eq!(said.strip_prefix("claw-sessions: ").unwrap_or(&said), expected);
        assert_eq!(said.starts_with("claw-sessions: "), boot, "the journal of a unit has lines of many: {said}");
        assert_eq!(store.run(["runs", "--json"]).ok().json()["runs"][0]["state"], "unfinished");

        store.remove(format!("{OTHER_STORE}.lock"));
        store.gc(["--all", "--now", NOW]).ok();
        let runs = store.run(["runs", "--json"]).ok().json()["runs"].clone();
        assert!(runs.as_array().unwrap().iter().all(|run| run["state"] == "done"), "{runs:#}");
        for run in store.run_ids().iter().rev() {
            let _ = store.run(["restore", run]);
        }
        before.assert_same(&store.tree().contents());
    }
}

#[test]
fn a_run_that_is_interrupted_before_it_began_says_that_nothing_was_changed() {
    let store = store();
    store.gc(["--all", "--now", NOW]).ok();
    store.restore_latest().ok();
    let before = store.tree().contents();
    let lock = File::open(store.path("claw-sessions/lock")).unwrap();
    lock.lock().unwrap();
    for (args, signal, number) in [
        (&["gc", "--all"][..], Signal::TERM, SIGTERM),
        (&["restore", "latest"], Signal::INT, SIGINT),
        (&["validate", "--repair"], Signal::TERM, SIGTERM),
        (&["quarantine", "agent:main:telegram:direct:1"], Signal::TERM, SIGTERM),
        (&["runs", "prune", "--older-than", "1s", "--yes"], Signal::INT, SIGINT),
        (&["gc", "--boot"], Signal::TERM, SIGTERM),
    ] {
        let (by, _, said) = interrupted(start(&store, args), signal, || true);
        assert_eq!(by, Some(number), "{args:?}: {said}");
        assert!(said.ends_with("interrupted: nothing was changed\n"), "{args:?}: {said}");
    }
    before.assert_same(&store.tree().contents());
}

#[test]
fn a_signal_that_was_ignored_at_the_start_is_ignored() {
    let store = store();
    store.gc(["--all", "--now", NOW]).ok();
    store.restore_latest().ok();
    let lock = File::open(store.path("claw-sessions/lock")).unwrap();
    lock.lock().unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' INT; exec \"$@\"", "sh"]).arg(support::binary());
    command.args(["gc", "--all", "--now", NOW, "--state-dir"]).arg(store.state_dir());
    command.current_dir(store.root()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env("HOME", store.home()).env("XDG_CACHE_HOME", store.root().join("cache")).process_group(0);
    let child = command.spawn().unwrap();
    let (by, code, said) = interrupted(child, Signal::INT, || true);
    // It went on to wait for the other claw-sessions.
    assert_eq!((by, code), (None, Some(4)), "{said}");
    assert!(!said.contains("interrupted"), "{said}");
}

#[test]
fn a_command_that_only_reads_is_ended_by_the_signal_alone() {
    let store = store();
    let pipe = store.root().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let threads = |child: &Child| fs::read_dir(format!("/proc/{}/task", child.id())).map_or(0, Iterator::count);
    let mut command = store.command(["runs", "--state-dir"]);
    // It waits for somebody who reads what it prints.
    let waits = File::options().read(true).write(true).open(&pipe).unwrap();
    fill(&waits);
    command.arg(store.state_dir()).stdout(waits.try_clone().unwrap()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    sleep(Duration::from_millis(200));
    assert_eq!(threads(&child), 1, "nobody waits for a signal");
    let (by, _, said) = interrupted(child, Signal::TERM, || true);
    assert_eq!((by, said.as_str()), (Some(SIGTERM), ""));
}

/// Fills a pipe until nothing more goes in.
fn fill(pipe: &File) {
    use std::io::Write as _;
    rustix::io::ioctl_fionbio(pipe, true).unwrap();
    while (&*pipe).write(&[0; 4096]).is_ok_and(|written| written > 0) {}
    rustix::io::ioctl_fionbio(pipe, false).unwrap();
}
