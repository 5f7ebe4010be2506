//! After a kill, before the next run: what is said, and what OpenClaw did meanwhile.

use crate::scenario::STORE;
use crate::strace::{count, kill};
use support::{self, NOW, Store, StoreBuilder, sys};

const LIMITS: [&str; 14] = [
    "--idle",
    "10m",
    "--now",
    "2026-11-25T00:00:00Z",
    "--failed",
    "any",
    "--unprotect",
    "group",
    "--unprotect",
    "topic",
    "--unprotect",
    "main",
    "--jobs",
    "1",
];
#[test]
fn what_a_kill_left_is_said_before_it_is_put_right() {
    if !sys::has("strace") {
        return sys::skip("no strace");
    }
    let gc = [&["gc"][..], &LIMITS].concat();
    let store = Store::recorded("real-small");
    let moves = count(&store, &gc, "renameat2")["renameat2"];
    let store = Store::recorded("real-small");
    assert!(kill(&store, &gc, ("renameat2", moves), "SIGKILL"));
    let runs = store.run(["runs", "--json"]).ok().json();
    assert_eq!(runs["runs"][0]["state"], "unfinished");
    assert!(store.run(["gc", "-n"]).ok().stdout.contains("was cut off"));
    let next = store.gc(LIMITS).ok().json();
    assert!(next["recovered"][0].as_str().unwrap().contains("finished now"), "{}", next["recovered"]);
    let runs = store.run(["runs", "--json"]).ok().json();
    assert!(runs["runs"].as_array().unwrap().iter().all(|run| run["state"] == "done"));
}

/// Two bindings go, one stays; the run is killed when the store is rewritten and nothing has moved yet.
fn killed_between_store_and_files() -> (Store, serde_json::Value) {
    let store = StoreBuilder::new()
        .agent("main")
        .binding(ONE, |one| one.idle("9d").session_id("one"))
        .binding(TWO, |one| one.idle("9d").session_id("two"))
        .binding("agent:main:telegram:direct:3", |one| one.idle("1h").session_id("three"))
        .build();
    let before = store.sessions("main");
    assert!(kill(&store, &["gc", "--jobs", "1", "--now", NOW], ("renameat2", 1), "SIGKILL"));
    assert_eq!(store.sessions("main").as_object().unwrap().len(), 1, "the store is the new one");
    assert!(store.exists("agents/main/sessions/one.jsonl") && store.exists("agents/main/sessions/two.jsonl"));
    (store, before)
}

const ONE: &str = "agent:main:telegram:direct:1";
const TWO: &str = "agent:main:telegram:direct:2";

#[test]
fn what_openclaw_wrote_after_the_kill_wins() {
    if !sys::has("strace") {
        return sys::skip("no strace");
    }
    let mut wrong = Vec::new();
    // A run of OpenClaw that was under way writes its entry back: as it was, or with a new time, or under another key.
    for change in ["as it was", "touched", "renamed", "rotated"] {
        let (store, before) = killed_between_store_and_files();
        let mut now = store.sessions("main");
        let key = if change == "renamed" { "agent:main:telegram:direct:4" } else { ONE };
        now[key] = before[ONE].clone();
        if change != "as it was" {
            now[key]["updatedAt"] = serde_json::json!(1_795_386_540_000_i64);
        }
        if change == "rotated" {
            now[key] = serde_json::json!({"sessionId": "new", "updatedAt": 1_795_386_540_000_i64});
        }
        store.write(STORE, support::openclaw::pretty(&now));
        // Recovers, and takes nothing by itself.
        store.run(["gc", "--only", "nothing", "--no-orphans", "--now", NOW]).ok();
        let mut claim = |holds: bool, what: &str| {
            if !holds {
                wrong.push(format!("{change}: {what}"));
            }
        };
        claim(store.sessions("main") == now, "the store is as OpenClaw wrote it");
        let one = "agents/main/sessions/one.jsonl";
        claim(store.exists(one) || change == "rotated", "the file is in its place, for it is bound again");
        // The other one is still to be had, entry and file.
        restore_all_but_refused(&store);
        let restored = store.sessions("main");
        claim(restored[TWO] == before[TWO], "the other entry comes back");
        claim(store.exists("agents/main/sessions/two.jsonl"), "the other file comes back");
        claim(restored[key] == now[key], "the entry that OpenClaw wrote stays");
        claim(store.exists(one) || change == "rotated", "its file stays");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn restore_all_but_refused(store: &Store) {
    let runs = store.run(["runs", "--json"]).ok().json();
    for run in runs["runs"].as_array().unwrap().iter().rev().filter(|run| run["restorable"] == true) {
        let output = store.run(["restore", run["id"].as_str().unwrap()]);
        assert!(matches!(output.code, Some(0 | 4)), "{output}");
    }
}

#[test]
fn a_store_that_went_away_after_the_kill_stops_nobody() {
    if !sys::has("strace") {
        return sys::skip("no strace");
    }
    for gone in [STORE, "agents/main"] {
        let (store, _) = killed_between_store_and_files();
        store.remove(gone);
        let output = store.run(["gc", "--now", NOW]);
        assert!(matches!(output.code, Some(0 | 3 | 4)), "{gone}: {output}");
        store.run(["scan", "--now", NOW]).ok();
        // And once more: nothing is stuck.
        let again = store.run(["gc", "--now", NOW]);
        assert_eq!(again.code, Some(0), "{gone}: {again}");
    }
}
