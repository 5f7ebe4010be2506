//! Beside a gateway: gc and restore work only where the gateway would wait for them, and nobody's live lock is broken.

use std::net::TcpListener;

use serde_json::{Value, json};
use support::openclaw::{AUTH, DEAD_PID};
use support::{LiveProcess, NOW, Store, StoreBuilder, binding, file, lock_payload, tree, verdict};

const OLD: &str = "agent:main:telegram:direct:1";
const FRESH: &str = "agent:main:telegram:direct:2";
const DAMAGED: &str = "agent:main:telegram:direct:3";
const LIMITS: [&str; 4] = ["--idle", "1d", "--now", NOW];

/// One stale conversation, one in use, and one in use whose transcript would freeze the gateway.
fn store(version: Option<&str>) -> Store {
    let config = match version {
        Some(version) => json!({"meta": {"lastTouchedVersion": version}}),
        None => json!({}),
    };
    let id = "7b1d5c0e-93a4-4f6b-8d52-2f0e6a91c3d7";
    let header = json!({"type": "session", "version": 3, "id": id, "timestamp": "2026-11-22T22:00:00.000Z"});
    let own_parent = json!({
        "type": "message", "id": "0a0a0a0a", "parentId": "0a0a0a0a", "timestamp": "2026-11-22T22:29:00.000Z",
        "message": {"role": "user", "content": [{"type": "text", "text": "hi"}]}
    });
    StoreBuilder::new()
        .agent("main")
        .binding(OLD, |one| one.idle("3d"))
        .binding(FRESH, |one| one.idle("5m"))
        .binding(DAMAGED, |one| one.idle("1m").session_id(id).transcript(format!("{header}\n{own_parent}\n")))
        .config(&config.to_string())
        .build()
}

fn refused_whole(store: &Store, args: &[&str], parts: &[&str]) {
    let before = store.tree().contents();
    let output = store.run(args).code(4);
    before.assert_same(&store.tree().contents());
    for part in parts {
        assert!(output.stderr.contains(part), "no {part:?} in {output}");
    }
}

/// A start time that no process here has, counted in ticks or in seconds since the epoch.
const ANOTHER_START: u64 = 1_000_000_007;

#[test]
fn a_live_gateway_without_store_lock_refuses_gc_and_restore() {
    for version in [None, Some("2026.5.2"), Some("2026.4.30"), Some("2026.9.6"), Some("unreleased")] {
        let store = store(version);
        store.gc(LIMITS).ok();
        let process = LiveProcess::spawn();
        store.gateway_lock(process.pid(), process.starttime());
        let hint = ["a gateway", "--online", "ExecStartPre"];
        refused_whole(&store, &[&["gc"][..], &LIMITS].concat(), &hint);
        refused_whole(&store, &["restore", "latest"], &hint[..2]);
        let scan = store.scan(["--now", NOW]);
        assert_eq!(scan["gateway"]["alive"], true, "{version:?}");
        assert!(scan["gateway"]["evidence"][0].as_str().unwrap().contains(&process.pid().to_string()));
    }
}

#[test]
fn a_dry_run_beside_such_a_gateway_shows_the_plan_and_that_gc_would_refuse() {
    let store = store(None);
    let process = LiveProcess::spawn();
    store.gateway_lock(process.pid(), process.starttime());
    let before = store.tree().exact();
    let plan = store.gc([&["-n"][..], &LIMITS].concat()).code(4).json();
    before.assert_same(&store.tree().exact());
    assert_eq!(plan["planned"]["expire"], 1);
    assert!(plan["refused"][0]["why"].as_str().unwrap().contains("--online"), "{}", plan["refused"]);
}

#[test]
fn a_refusal_is_a_document_when_json_was_asked_for() {
    let store = store(None);
    let process = LiveProcess::spawn();
    store.gateway_lock(process.pid(), process.starttime());
    let refused = store.gc(LIMITS).code(4).json();
    assert_eq!(refused["schema"], "claw-sessions/error/v1");
    assert_eq!(refused["exitCode"], 4);
}

#[test]
fn a_live_gateway_that_waits_for_the_lock_allows_gc_and_what_is_recent_stays() {
    for version in ["2026.3.11", "2026.4.29"] {
        let store = store(Some(version));
        let process = LiveProcess::spawn();
        store.gateway_lock(process.pid(), process.starttime());
        let done = store.gc(LIMITS).ok().json();
        assert_eq!(verdict(&done, OLD), "expire idle");
        assert_eq!(verdict(&done, FRESH), "keep recent");
        assert_eq!(verdict(&done, DAMAGED), "keep recent", "a live gateway uses it at this moment");
        assert!(store.sessions("main").get(DAMAGED).is_some());
        store.restore_latest().ok();
    }
}

#[test]
fn beside_a_gateway_with_locks_an_idle_transcript_is_mended_and_no_lock_stays() {
    let store = store(Some("2026.3.11"));
    let process = LiveProcess::spawn();
    store.gateway_lock(process.pid(), process.starttime());
    let done = store.gc([&LIMITS[..], &["--grace", "30s"]].concat()).ok().json();
    assert_eq!(verdict(&done, DAMAGED), "repair freezes");
    assert_eq!(done["done"]["repair"], 1);
    assert_eq!(verdict(&store.gc(LIMITS).ok().json(), DAMAGED), "keep recent");
    let left = |name: &str| name.ends_with(".lock") || name.ends_with(".tmp");
    let names: Vec<_> = std::fs::read_dir(store.path("agents/main/sessions"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(!names.iter().any(|name| left(name)), "{names:?}");
}

#[test]
fn without_a_live_gateway_damage_does_not_wait() {
    let store = store(Some("2026.3.11"));
    let process = LiveProcess::spawn();
    for (pid, start, why) in
        [(DEAD_PID, 1, "its pid is gone"), (process.pid(), ANOTHER_START, "its pid belongs to another process now")]
    {
        let lock = store.gateway_lock(pid, start);
        let done = store.gc(LIMITS).ok().json();
        assert_eq!(done["gateway"], json!({"alive": false, "evidence": []}), "{why}");
        assert_eq!(verdict(&done, DAMAGED), "repair freezes");
        assert_eq!(verdict(&done, FRESH), "keep recent");
        assert!(lock.exists(), "the gateway's own lock is not ours to remove");
        store.restore_latest().ok();
    }
}

#[test]
fn another_state_directorys_gateway_does_not_count() {
    let (ours, other) = (store(None), store(None));
    let process = LiveProcess::spawn();
    let lock = other.gateway_lock(process.pid(), process.starttime());
    let dir = ours.root().join(lock.parent().unwrap().strip_prefix(other.root()).unwrap());
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::copy(&lock, dir.join(lock.file_name().unwrap())).unwrap();
    assert_eq!(ours.scan(["--now", NOW])["gateway"]["alive"], false);
    ours.gc(LIMITS).ok();
}

#[test]
fn an_open_port_counts_when_no_gateway_process_is_in_sight() {
    let store = store(None);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    store.write("openclaw.json", json!({"gateway": {"port": port}}).to_string());
    assert_eq!(store.scan(["--now", NOW])["gateway"]["alive"], true);
    refused_whole(&store, &[&["gc"][..], &LIMITS].concat(), &["port"]);
    drop(listener);
    assert_eq!(store.scan(["--now", NOW])["gateway"]["alive"], false);
}

#[test]
fn online_accepts_the_race() {
    let store = store(Some("2026.6.11"));
    let before = store.tree().contents();
    let process = LiveProcess::spawn();
    store.gateway_lock(process.pid(), process.starttime());
    let done = store.gc([&["--online"][..], &LIMITS].concat()).ok().json();
    assert_eq!(verdict(&done, OLD), "expire idle");
    assert_eq!(verdict(&done, DAMAGED), "keep recent");
    store.run(["restore", "latest", "--online"]).ok();
    before.assert_same(&store.tree().contents());
}

fn two_agents() -> Store {
    let key = |agent: &str| format!("agent:{agent}:telegram:direct:1");
    StoreBuilder::new()
        .agent("main")
        .binding(&key("main"), |one| one.idle("3d"))
        .agent("desk")
        .binding(&key("desk"), |one| one.idle("3d").error(AUTH))
        .config(r#"{"meta": {"lastTouchedVersion": "2026.3.11"}}"#)
        .build()
}

#[test]
fn a_store_whose_lock_is_held_is_refused_and_the_others_are_done() {
    let process = LiveProcess::spawn();
    // OpenClaw itself would steal the first two for their age, and the others for what they do not say.
    let payloads = [process.lock(), format!(r#"{{"pid": {}}}"#, process.pid()), String::new(), "{".to_owned()];
    std::thread::scope(|scope| {
        for payload in payloads {
            scope.spawn(move || held_store_lock(&payload));
        }
    });
}

fn held_store_lock(payload: &str) {
    let store = two_agents();
    store.write("agents/main/sessions/sessions.json.lock", payload);
    let before = tree(&store.path("agents/main")).contents();
    let done = store.gc(LIMITS).code(4).json();
    assert_eq!(done["done"]["expire"], 1);
    assert_eq!(done["refused"].as_array().unwrap().len(), 1);
    assert_eq!(done["refused"][0]["what"], "agents/main/sessions/sessions.json");
    before.assert_same(&tree(&store.path("agents/main")).contents());
    assert_eq!(store.sessions("desk"), json!({}));
    store.remove("agents/main/sessions/sessions.json.lock");
    assert_eq!(store.gc(LIMITS).ok().json()["done"]["expire"], 1, "released, the store is done too");
}

#[test]
fn a_dead_store_lock_is_reclaimed_and_restore_brings_it_back() {
    let process = LiveProcess::spawn();
    for payload in [lock_payload(DEAD_PID, 1), lock_payload(process.pid(), ANOTHER_START)] {
        let store = two_agents();
        store.write("agents/main/sessions/sessions.json.lock", &payload);
        let before = store.tree().contents();
        let done = store.gc(LIMITS).ok().json();
        assert_eq!(done["done"]["expire"], 2);
        assert_eq!(done["planned"], done["done"]);
        assert_eq!(done["skipped"], json!([]));
        assert!(!store.exists("agents/main/sessions/sessions.json.lock"));
        store.restore_latest().ok();
        before.assert_same(&store.tree().contents());
    }
}

#[test]
fn a_session_whose_transcript_is_locked_by_the_living_stays() {
    let process = LiveProcess::spawn();
    let store = StoreBuilder::new()
        .agent("main")
        .binding(OLD, |one| one.idle("40d").error(AUTH).lock(process.lock()))
        .binding(FRESH, |one| one.idle("40d").error(AUTH))
        .build();
    let done = store.gc([&["--all"][..], &LIMITS].concat()).ok().json();
    assert_eq!(verdict(&done, OLD), "keep live-lock");
    assert_eq!(binding(&done, OLD)["run"], "running");
    let lock = &binding(&done, OLD)["lock"];
    assert_eq!((&lock["state"], &lock["pid"]), (&json!("live"), &json!(process.pid())));
    assert_eq!(verdict(&done, FRESH), "expire all");
}

#[test]
fn dead_transcript_locks_go_only_where_openclaw_does_not_read_them_at_its_start() {
    for (version, action, reason) in [
        (Some("2026.3.11"), "remove", "lock-dead"),
        (Some("2026.4.23"), "remove", "lock-dead"),
        (Some("2026.4.24"), "keep", "lock-evidence"),
        (Some("2026.6.11"), "keep", "lock-evidence"),
        (None, "keep", "lock-evidence"),
    ] {
        let version = version.map_or(json!({}), |version| json!({"meta": {"lastTouchedVersion": version}}));
        let store = StoreBuilder::new()
            .agent("main")
            .binding(OLD, |one| one.idle("2h").interrupted())
            .config(&version.to_string())
            .build();
        let before = store.tree().contents();
        let done = store.gc(LIMITS).ok().json();
        let lock: &Value = file(&done, ".jsonl.lock");
        assert_eq!((lock["kind"].as_str(), lock["action"].as_str()), (Some("lock-dead"), Some(action)), "{version}");
        assert_eq!(lock["reasons"][0], reason, "{version}");
        let name = lock["path"].as_str().unwrap();
        assert_eq!(store.exists(name), action == "keep", "{version}");
        assert_eq!(binding(&done, OLD)["run"], "interrupted");
        if action == "remove" {
            store.restore_latest().ok();
        }
        before.assert_same(&store.tree().contents());
    }
}

#[test]
fn two_claw_sessions_do_not_work_on_one_state_directory() {
    let store = two_agents();
    store.write("claw-sessions/lock", "");
    let lock = std::fs::File::open(store.path("claw-sessions/lock")).unwrap();
    lock.lock().unwrap();
    refused_whole(&store, &[&["gc"][..], &LIMITS].concat(), &["another claw-sessions"]);
    store.run([&["gc", "-n"][..], &LIMITS].concat()).ok();
    drop(lock);
    store.gc(LIMITS).ok();
}
