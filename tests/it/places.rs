//! A `sessionFile` that leads out of the sessions directory: to a place that is gone, to a file that OpenClaw uses, to one that
//! it rejects.

use serde_json::{Value, json};
use support::openclaw::pretty;
use support::{NOW, Store, StoreBuilder};

const STORE: &str = "agents/main/sessions/sessions.json";
const KEY: &str = "agent:main:telegram:direct:1";

/// A state directory with one session, whose entry names this file.
fn naming(file: &str) -> Store {
    let store = StoreBuilder::new().agent("main").binding(KEY, |one| one.idle("1h").session_id("one")).build();
    name(&store, file);
    store
}

fn name(store: &Store, file: &str) {
    let mut sessions = store.sessions("main");
    sessions[KEY]["sessionFile"] = json!(file);
    store.write(STORE, pretty(&sessions));
}

/// What is told of the session above info.
fn codes(store: &Store) -> Vec<String> {
    let document = store.run(["validate", "--json", "--now", NOW]).json();
    let code = |problem: &Value| problem["code"].as_str().unwrap().to_owned();
    document["problems"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["key"] == KEY && one["severity"] != "info")
        .map(code)
        .collect()
}

#[test]
fn a_path_to_a_place_that_is_gone_is_shortened_and_comes_back() {
    for file in [
        "/home/node/.openclaw/agents/main/sessions/one.jsonl",
        "/Users/me/.clawdbot/agents/other/sessions/one.jsonl",
        "/gone/one.jsonl.d/../agents/main/sessions/one.jsonl",
        r"C:\Users\me\.openclaw\agents\main\sessions\one.jsonl",
        r"\\host\share\sessions\one.jsonl",
    ] {
        let store = naming(file);
        let before = store.tree();
        assert_eq!(codes(&store), ["relocated"], "{file}");
        store.gc(["--now", NOW]).ok();
        before.contents().assert_same(&store.tree().contents());
        let dry = store.run(["validate", "--repair", "-n", "--now", NOW]);
        assert!(
            dry.stdout.contains("would mend") && store.tree().contents().diff(&before.contents()).is_empty(),
            "{dry}"
        );
        let mended = store.run(["validate", "--repair", "--json", "--now", NOW]).ok().json();
        assert_eq!(mended["repair"]["mended"][0]["codes"], json!(["relocated"]), "{mended:#}");
        assert_eq!(store.sessions("main")[KEY]["sessionFile"], "one.jsonl");
        assert!(codes(&store).is_empty(), "{file}");
        store.restore_latest().ok();
        assert_eq!(store.sessions("main")[KEY]["sessionFile"], file);
    }
}

#[test]
fn only_the_path_is_other_bytes() {
    let store = naming("/home/node/.openclaw/agents/main/sessions/one.jsonl");
    let old = store.read(STORE);
    // Twice in one entry: the last one counts. And as nobody but a person writes it.
    let old =
        String::from_utf8(old).unwrap().replace("\"sessionFile\"", "\"sessionFile\":\"/x\" ,  \"session\\u0046ile\"");
    store.write(STORE, &old);
    store.run(["validate", "--repair", "--now", NOW]).ok();
    let new = String::from_utf8(store.read(STORE)).unwrap();
    assert_eq!(new, old.replace("\"/home/node/.openclaw/agents/main/sessions/one.jsonl\"", "\"one.jsonl\""));
}

#[test]
fn a_file_elsewhere_that_openclaw_uses_is_not_judged_by_a_copy() {
    let old = tempfile::tempdir().unwrap();
    let sessions = old.path().join(".clawdbot/agents/main/sessions");
    std::fs::create_dir_all(&sessions).unwrap();
    let used = sessions.join("one.jsonl");
    std::fs::write(&used, "{\"type\":\"session\",\"version\":3,\"id\":\"one\"}\n").unwrap();
    let store = naming(used.to_str().unwrap());
    // The copy beside the store would be taken for its damage, and later for an orphan.
    store.write("agents/main/sessions/one.jsonl", [0; 64]);
    let before = store.tree();
    assert_eq!(codes(&store), ["used-elsewhere"]);
    store.run(["validate", "--repair", "--now", NOW]).code(1);
    store.gc(["--idle", "1m", "--now", "2027-11-30T00:00:00Z"]).ok();
    before.contents().assert_same(&store.tree().contents());
    assert!(used.exists());
}

#[test]
fn a_file_in_another_agents_directory_stays_there() {
    let store = StoreBuilder::new()
        .agent("main")
        .binding(KEY, |one| one.idle("1h").session_id("one"))
        .agent("desk")
        .binding("agent:desk:telegram:direct:2", |one| one.idle("1h").session_id("two"))
        .orphan("three", "9d")
        .build();
    name(&store, store.path("agents/desk/sessions/three.jsonl").to_str().unwrap());
    assert_eq!(codes(&store), ["used-elsewhere"]);
    store.gc(["--now", NOW]).ok();
    assert!(store.exists("agents/desk/sessions/three.jsonl"), "an entry of another agent names it");
    let selected = store.gc(["--agent", "desk", "--now", NOW]).ok();
    assert!(store.exists("agents/desk/sessions/three.jsonl"), "{selected}");
}

#[test]
fn of_a_path_that_openclaw_rejects_the_sessions_own_file_is_taken() {
    let store = naming("/var/lib/x/one.jsonl");
    assert!(codes(&store).is_empty(), "the session's own file is there");
    let other = tempfile::tempdir().unwrap();
    let rejected = other.path().join("one.jsonl");
    std::fs::write(&rejected, "{}").unwrap();
    assert!(codes(&naming(rejected.to_str().unwrap())).is_empty(), "it is used whether or not the other is there");
    // Beside the store under another name: OpenClaw would begin empty.
    let store = naming("/var/lib/x/old-name.jsonl");
    let path = |name: &str| store.path("agents/main/sessions").join(name);
    std::fs::rename(path("one.jsonl"), path("old-name.jsonl")).unwrap();
    assert_eq!(codes(&store), ["relocated"]);
    store.run(["validate", "--repair", "--now", NOW]).ok();
    assert_eq!(store.sessions("main")[KEY]["sessionFile"], "old-name.jsonl");
    assert!(codes(&store).is_empty());
}
