//! Locks in the same moment: one that OpenClaw takes while we look stays its own, and ours that somebody reclaimed is
//! theirs.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::strace::{Point, inject, traced};
use crate::writer::Writer;
use crate::{full, ledger};
use support::{LiveProcess, NOW, Store, StoreBuilder, sys};

const PART: &str = "races";

/// The calls of a whole run whose line in the trace has this in it: each by its name and its how many-th of a thread.
fn calls_on(store: &Store, args: &[&str], names: &str, what: &str) -> Vec<Point> {
    let log = store.root().join("trace");
    let trace = format!("trace={names}");
    traced(store, args, &["-y", "-o", log.to_str().unwrap(), "-e", &trace]).ok();
    let text = fs::read_to_string(log).unwrap();
    let mut counts: HashMap<(&str, &str), usize> = HashMap::new();
    let mut found = Vec::new();
    for line in text.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let Some((name, arguments)) = call.trim_start().split_once('(') else { continue };
        let count = counts.entry((thread, name)).or_default();
        *count += 1;
        if arguments.contains(what) {
            let name: &'static str = name.to_owned().leak();
            found.push((name, *count));
        }
    }
    assert!(!found.is_empty(), "no {names} of {what} in\n{text}");
    found
}

const KEY: &str = "agent:main:telegram:direct:1";
const OTHER: &str = "agent:main:telegram:direct:2";
const STORE: &str = "agents/main/sessions/sessions.json";
const FILE: &str = "agents/main/sessions/one.jsonl";

/// Two bindings go, one stays.
fn two_go() -> Store {
    StoreBuilder::new()
        .agent("main")
        .binding(KEY, |one| one.idle("9d").session_id("one"))
        .binding(OTHER, |one| one.idle("9d").session_id("two"))
        .binding("agent:main:telegram:direct:3", |one| one.idle("1h").session_id("three"))
        .build()
}

#[test]
fn a_lock_that_openclaw_takes_at_any_look_of_ours_stays_its_own() {
    if !sys::has("strace") {
        return ledger::skip(PART, "locks at every look", "no strace");
    }
    let gc = ["gc", "--json", "--now", NOW, "--jobs=1"];
    let names = "newfstatat,statx,openat,linkat,unlinkat,renameat,renameat2";
    let looks = calls_on(&two_go(), &gc, names, "sessions.json.lock");
    let step = if full() { 1 } else { 3 };
    let moments: Vec<_> = looks.iter().flat_map(|look| [(look, "enter"), (look, "exit")]).step_by(step).collect();
    let met = AtomicUsize::new(0);
    ledger::each(PART, "locks at every look", &moments, |((name, at), when)| {
        let told = format!("while {name} {at} is held up on {when}");
        let store = two_go();
        let (writer, over) = (Writer::default(), AtomicBool::new(false));
        let output = std::thread::scope(|scope| {
            let writing = scope.spawn(|| {
                let mut count = 0_u64;
                while !over.load(Ordering::SeqCst) {
                    let lock = writer.lock(&store.path(FILE).with_file_name("other.json"));
                    drop(lock);
                    let held = writer.lock(&store.path(STORE)).unwrap();
                    let until = Instant::now() + Duration::from_millis(12);
                    while Instant::now() < until && held.look() {}
                    drop(held);
                    writer.update(&store.path(STORE), |entries| {
                        count += 1;
                        entries["agent:main:telegram:direct:3"]["inputTokens"] = json!(count);
                    });
                    std::thread::sleep(Duration::from_millis(8));
                }
                count
            });
            let output = inject(&store, &gc, (name, *at), &format!("delay_{when}=150000"));
            over.store(true, Ordering::SeqCst);
            let count = writing.join().unwrap();
            assert_eq!(
                store.sessions("main")["agent:main:telegram:direct:3"]["inputTokens"],
                count,
                "{told}\n{output}"
            );
            output
        });
        met.fetch_add(writer.met.load(Ordering::Relaxed), Ordering::Relaxed);
        assert_eq!(writer.stolen.load(Ordering::Relaxed), 0, "{told}: a lock vanished\n{output}");
        assert_eq!(writer.refused.load(Ordering::Relaxed), 0, "{told}\n{output}");
        assert!(matches!(output.code, Some(0 | 4)), "{told}\n{output}");
        drop(store.run(["restore", "latest"]));
        for name in ["one", "two", "three"] {
            let bound =
                store.sessions("main").as_object().unwrap().values().filter(|one| one["sessionId"] == name).count();
            assert_eq!(
                (bound, store.exists(format!("agents/main/sessions/{name}.jsonl"))),
                (1, true),
                "{told}: {name}"
            );
        }
    });
    assert!(met.into_inner() > 0, "our lock was never met");
}

#[test]
fn a_lock_that_was_reclaimed_from_us_belongs_to_who_took_it() {
    if !sys::has("strace") {
        return ledger::skip(PART, "locks reclaimed from us", "no strace");
    }
    let gc = ["gc", "--json", "--now", NOW, "--jobs=1"];
    // The new store is written, and not in its place yet; the first is the lock itself.
    let syncs = calls_on(&two_go(), &gc, "fsync", "sessions.json.");
    let syncs: Vec<_> = syncs.into_iter().filter(|(name, _)| *name == "fsync").skip(1).collect();
    ledger::each(PART, "locks reclaimed from us", &syncs, |(name, at)| {
        let store = two_go();
        let before = store.tree();
        let (lock, foreign) = (store.path(format!("{STORE}.lock")), LiveProcess::spawn());
        let output = std::thread::scope(|scope| {
            scope.spawn(|| {
                let until = Instant::now() + Duration::from_secs(20);
                while !lock.exists() && Instant::now() < until {
                    std::thread::sleep(Duration::from_millis(1));
                }
                // A sleeping laptop: OpenClaw takes a lock for stale after 30 s. Its own may get our inode.
                std::thread::sleep(Duration::from_millis(200));
                let ours = fs::metadata(&lock).unwrap().ino();
                fs::remove_file(&lock).unwrap();
                for at in 0..16 {
                    fs::write(&lock, foreign.lock()).unwrap();
                    if fs::metadata(&lock).unwrap().ino() == ours {
                        return;
                    }
                    fs::rename(&lock, store.root().join(format!("taken-{at}"))).unwrap();
                }
                fs::write(&lock, foreign.lock()).unwrap();
            });
            inject(&store, &gc, (name, *at), "delay_exit=800000")
        });
        assert!(matches!(output.code, Some(3 | 4)), "{output}");
        assert_eq!(fs::read_to_string(&lock).unwrap(), foreign.lock(), "the lock stays its owner's\n{output}");
        fs::remove_file(&lock).unwrap();
        let diff = before.contents().diff(&store.tree().contents());
        assert!(diff.is_empty(), "nothing is written under a lock of somebody else\n{output}\n{diff}");
    });
}
