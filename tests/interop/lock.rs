//! The store lock, on both sides: OpenClaw's makes us wait and then refuse, a dead one does not, and ours makes OpenClaw
//! wait and then go on, or give up and say who holds it.

use std::ffi::OsStr;
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use claw_sessions::disk::dir::Dir;
use claw_sessions::openclaw::files::lock::{Acquired, StoreLock};

use crate::programs::Running;
use crate::release::{PEER, Release};
use support::{NOW, Store, StoreBuilder};

const STALE: &str = "agent:main:telegram:direct:1";
const KEPT: &str = "agent:main:telegram:direct:2";
const WRITTEN: &str = "agent:main:telegram:direct:3";
const GC: [&str; 4] = ["--idle", "1d", "--now", NOW];
/// Releases that have a store lock: the first known, the peer, the last.
const LOCKING: [&str; 3] = ["2026.2.26", PEER, "2026.4.29"];

fn store(version: &str) -> Store {
    StoreBuilder::new()
        .agent("main")
        .binding(STALE, |one| one.idle("3d"))
        .binding(KEPT, |one| one.idle("5m"))
        .config(&format!(r#"{{"meta": {{"lastTouchedVersion": "{version}"}}}}"#))
        .build()
}

/// OpenClaw's own code, about to write this store: `wait` is for how long it keeps the lock.
fn writer(release: &Release, store: &Store, wait: Duration) -> Running {
    let mut command = release.program(store, "writer.mjs");
    command.arg(release.package()).arg(store.path("agents/main/sessions/sessions.json"));
    command.args([WRITTEN, &wait.as_millis().to_string()]);
    let mut writer = Running::start(&mut command);
    assert_eq!(writer.line(), "asking");
    writer
}

fn keys(store: &Store) -> Vec<String> {
    store.sessions("main").as_object().unwrap().keys().cloned().collect()
}

fn each(test: &str, work: impl Fn(&Release, &str)) {
    for version in LOCKING {
        if let Some(release) = Release::of(test, version) {
            work(&release, version);
        }
    }
}

#[test]
fn a_lock_that_openclaw_holds_makes_gc_wait_and_then_refuse() {
    each("a_lock_that_openclaw_holds_makes_gc_wait_and_then_refuse", |release, version| {
        let store = store(version);
        let mut writer = writer(release, &store, Duration::from_secs(600));
        assert_eq!(writer.line(), "held");
        let before = store.tree().contents();
        let started = Instant::now();
        let refused = store.gc(GC).code(4).json();
        assert!(started.elapsed() >= Duration::from_secs(4), "{version}: gave up after {:?}", started.elapsed());
        assert_eq!(refused["refused"][0]["what"], "agents/main/sessions/sessions.json");
        let why = refused["refused"][0]["why"].as_str().unwrap();
        assert!(why.contains(&writer.pid().to_string()), "{version}: {why}");
        before.assert_same(&store.tree().contents());

        // The same lock, now of a dead process, is no reason to wait.
        writer.kill();
        assert!(store.exists("agents/main/sessions/sessions.json.lock"));
        assert_eq!(store.gc(GC).ok().json()["done"]["expire"], 1, "{version}");
        assert_eq!(keys(&store), [KEPT]);
        assert!(!store.exists("agents/main/sessions/sessions.json.lock"));
        println!("{version}: gc refused while OpenClaw held the lock, and worked when it had died with it");
    });
}

#[test]
fn gc_goes_on_when_openclaw_releases_the_lock_and_neither_update_is_lost() {
    each("gc_goes_on_when_openclaw_releases_the_lock_and_neither_update_is_lost", |release, version| {
        let store = store(version);
        let mut writer = writer(release, &store, Duration::from_secs(2));
        assert_eq!(writer.line(), "held");
        let done = store.gc(GC).ok().json();
        assert_eq!(done["done"]["expire"], 1, "{version}");
        assert_eq!(writer.line(), "wrote", "{version}");
        assert_eq!(keys(&store), [KEPT, WRITTEN], "{version}");
    });
}

#[test]
fn our_lock_makes_openclaw_wait_and_then_go_on_or_name_us() {
    each("our_lock_makes_openclaw_wait_and_then_go_on_or_name_us", |release, version| {
        // It waits ten seconds.
        for (hold, goes_on) in [(4, true), (14, false)] {
            let store = store(version);
            let sessions = Dir::open(&store.path("agents/main/sessions")).unwrap();
            let archive = Dir::open(&store.root().join("tmp")).unwrap();
            let name = OsStr::new("sessions.json");
            let Acquired::Ours(lock) = StoreLock::acquire(&sessions, name, &archive, Duration::ZERO).unwrap() else {
                panic!("nobody has it");
            };
            let before = store.read("agents/main/sessions/sessions.json");
            let mut writer = writer(release, &store, Duration::ZERO);
            thread::sleep(Duration::from_secs(hold));
            assert!(lock.is_ours(), "{version}: OpenClaw took our lock away");
            assert_eq!(store.read("agents/main/sessions/sessions.json"), before, "{version}: it did not wait");
            drop(lock);
            let said = writer.line();
            if goes_on {
                assert_eq!((&*said, &*writer.line()), ("held", "wrote"), "{version}");
                assert_eq!(keys(&store), [STALE, KEPT, WRITTEN], "{version}");
            } else {
                // It read our payload: it knows the pid.
                assert!(
                    said.starts_with("refused") && said.contains(&format!("pid={}", process::id())),
                    "{version}: {said}"
                );
                assert_eq!(keys(&store), [STALE, KEPT], "{version}");
            }
            println!("{version}: held for {hold} s, OpenClaw says {said:?}");
        }
    });
}
