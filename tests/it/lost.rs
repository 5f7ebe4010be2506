//! An index that was lost: the transcripts beside it are all that is left. They stay, it is told, and one command binds them
//! again.

use serde_json::{Value, json};
use support::openclaw::pretty;
use support::{NOW, Store, StoreBuilder};

const STORE: &str = "agents/main/sessions/sessions.json";

/// A state directory whose store binds so many sessions, older than all others, beside so many that nothing binds.
fn with(bound: usize, unbound: usize) -> Store {
    let mut builder = StoreBuilder::new().agent("main");
    for at in 0..bound {
        let id = format!("bound-{at}");
        builder = builder
            .binding(&format!("agent:main:telegram:direct:{at}"), |one| one.idle("1h").age("30d").session_id(&id));
    }
    for at in 0..unbound {
        builder = builder.orphan(&format!("loose-{at}"), "9d");
    }
    builder.build()
}

fn is_told(store: &Store) -> bool {
    let document = store.run(["validate", "--json", "--now", NOW]).json();
    document["problems"].as_array().unwrap().iter().any(|one| one["code"] == "index-lost" && one["severity"] == "high")
}

#[test]
fn what_lies_beside_a_lost_index_stays_and_is_told() {
    // The last column: whether the index was lost.
    for (bound, unbound, lost) in [(0, 1, true), (0, 6, true), (1, 4, true), (1, 2, false), (4, 6, false), (2, 9, true)]
    {
        let store = with(bound, unbound);
        let before = store.tree().contents();
        assert_eq!(is_told(&store), lost, "{bound} bound, {unbound} beside");
        for args in [&["gc"][..], &["gc", "--boot"], &["gc", "--max-removals", "50%"]] {
            let output = store.run(args.iter().copied().chain(["--now", NOW]));
            let diff = before.diff(&store.tree().contents());
            if lost {
                assert_eq!(output.code, Some(0), "{output}");
                assert!(diff.is_empty(), "{bound} bound, {unbound} beside: {diff}");
            }
        }
        let gone = (0..unbound).all(|at| !store.exists(format!("agents/main/sessions/loose-{at}.jsonl")));
        assert_eq!(gone, !lost, "{bound} bound, {unbound} beside");
    }
}

#[test]
fn an_index_that_was_made_anew_is_one_that_was_lost() {
    let store = StoreBuilder::new()
        .agent("main")
        .binding("agent:main:telegram:direct:1", |one| one.idle("1h").age("2h").session_id("new"))
        .binding("agent:main:telegram:direct:2", |one| one.idle("1h").age("2h").session_id("newer"))
        .orphan("one", "9d")
        .orphan("two", "8d")
        .orphan("three", "7d")
        .build();
    assert!(is_told(&store));
    store.gc(["--now", NOW]).ok();
    assert!(store.exists("agents/main/sessions/one.jsonl"));
}

#[test]
fn orphans_count_for_max_removals() {
    let store = with(4, 6);
    let refused = store.run(["gc", "--max-removals", "50%", "--now", NOW]).code(4);
    assert!(refused.stderr.contains("6 orphans"), "{refused}");
    assert!(store.exists("agents/main/sessions/loose-0.jsonl"));
    store.run(["gc", "--max-removals", "6", "--now", NOW]).ok();
    assert!(!store.exists("agents/main/sessions/loose-0.jsonl"));
}

#[test]
fn one_command_binds_all_of_them_again() {
    let store = with(0, 3);
    let entry = json!({"sessionId": "loose-1", "updatedAt": 1_795_386_540_000_i64, "label": "mine"});
    let backup =
        json!({"agent:main:telegram:direct:42": entry, "agent:main:telegram:direct:43": {"sessionId": "gone"}});
    store.write(format!("{STORE}.bak.1795386540000"), pretty(&backup));
    let before = store.tree().contents();
    let dry = store.run(["adopt", "--all", "-n", "--now", NOW]).ok();
    assert!(dry.stdout.contains("agent:main:telegram:direct:42") && dry.stdout.contains("recovered:loose-0"), "{dry}");
    assert!(before.diff(&store.tree().contents()).is_empty());
    let done = store.run(["adopt", "--all", "--json", "--now", NOW]).ok().json();
    assert_eq!(done["bindings"].as_array().map(Vec::len), Some(3), "{done:#}");
    let sessions = store.sessions("main");
    assert_eq!(sessions["agent:main:telegram:direct:42"], entry);
    assert_eq!(sessions["agent:main:recovered:loose-2"]["sessionFile"], "loose-2.jsonl");
    assert_eq!(sessions.get("agent:main:telegram:direct:43"), None::<&Value>);
    assert!(!is_told(&store));
    assert!(store.run(["adopt", "--all", "--now", NOW]).ok().stdout.contains("Nothing to bind"));
    store.restore_latest().ok();
    assert!(before.diff(&store.tree().contents()).is_empty());
}
