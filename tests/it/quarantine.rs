//! Quarantine on the built binary: by key, by session id, by damage; listed, shown, brought back, purged; and the
//! poison detector of `gc --boot`.

use std::time::Duration;

use serde_json::{Value, json};
use support::{LiveProcess, NOW, Store, StoreBuilder, keys, lock_payload, verdict};

const ONE: &str = "agent:main:telegram:direct:1";
const GROUP: &str = "agent:main:telegram:group:-100";
const FAILED: &str = "agent:main:telegram:direct:2";

fn three() -> Store {
    StoreBuilder::new()
        .agent("main")
        .binding(ONE, |one| one.session_id("one"))
        .binding(GROUP, |one| one.session_id("group"))
        .binding(FAILED, |one| one.session_id("failed").interrupted())
        .build()
}

fn listed(store: &Store) -> Vec<String> {
    let list = store.run(["quarantine", "list", "--json"]).ok().json();
    list["sessions"].as_array().unwrap().iter().map(|one| one["key"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_session_goes_by_key_or_id_whatever_its_class_and_comes_back_byte_for_byte() {
    let store = three();
    let before = store.tree().contents();
    let dry = store.run(["quarantine", GROUP, "one", "-n", "--json", "--now", NOW]).ok().json();
    assert!(before.diff(&store.tree().contents()).is_empty());
    let done = store.run(["quarantine", GROUP, "one", "--json", "--now", NOW]).ok().json();
    assert_eq!(dry["taken"], done["taken"]);
    assert_eq!(listed(&store), [ONE, GROUP]);
    assert!(store.sessions("main").get(GROUP).is_none() && store.sessions("main").get(FAILED).is_some());
    assert!(!store.exists("agents/main/sessions/group.jsonl"));
    store.restore_latest().ok();
    assert!(before.diff(&store.tree().contents()).is_empty());

    // One after the other they come back too, each entry at the end of the store.
    let was = store.sessions("main");
    store.run(["quarantine", GROUP, "one", "--now", NOW]).ok();
    store.run(["restore", GROUP]).ok();
    assert_eq!(listed(&store), [ONE]);
    store.restore_latest().ok();
    assert_eq!(store.sessions("main"), was);
    assert!(store.run(["quarantine", "list"]).ok().stdout.contains("Nothing is in quarantine"));
}

#[test]
fn a_key_that_does_not_exist_is_wrong_usage_and_near_ones_are_suggested() {
    let store = three();
    let before = store.tree().contents();
    let wrong = store.run(["quarantine", "agent:main:telegram:drect:1", "--now", NOW]).code(2);
    assert!(wrong.stderr.contains(&format!("did you mean {ONE}")), "{wrong}");
    store.run(["quarantine"]).code(2);
    store.run(["quarantine", ONE, "--damaged"]).code(2);
    assert!(before.diff(&store.tree().contents()).is_empty());
}

#[test]
fn damage_is_taken_by_its_severity_and_shown_with_its_first_problem() {
    let key = "agent:main:telegram:group:-100555000802";
    let store = Store::recorded("real-small");
    let before = store.tree().contents();
    let fatal = store.run(["quarantine", "--damaged", "--json", "--now", NOW]).ok().json();
    assert_eq!(fatal["taken"].as_array().unwrap().len(), 1);
    assert_eq!(fatal["taken"][0]["reasons"], json!(["wiped", "damaged"]));
    let show = store.run(["quarantine", "show", key, "--json"]).ok().json();
    let session = &show["sessions"][0];
    assert_eq!(session["problems"][0]["code"], "no-header");
    assert_eq!(session["integrity"], "wiped");
    assert_eq!((&session["bytes"], &session["reasons"][0]), (&json!(3355), &json!("wiped")));
    let text = store.run(["quarantine", "show", "6f200014-d381-4049-a079-0b2ed82e22fb"]).ok().stdout;
    assert!(text.contains("no-header") && text.contains("3.28 KiB") && text.contains("restore"), "{text}");
    store.run(["quarantine", "show", "nothing"]).code(2);
    store.restore_latest().ok();

    let high = store.run(["quarantine", "--damaged", "--severity", "high", "--json", "--now", NOW]).ok().json();
    let taken: Vec<&str> = high["taken"].as_array().unwrap().iter().map(|one| one["key"].as_str().unwrap()).collect();
    let ends: Vec<&str> = taken.iter().map(|key| &key[key.len() - 3..]).collect();
    assert_eq!(ends, ["800", "801", "802", "803", "804", "805"]);
    store.restore_latest().ok();
    assert!(before.diff(&store.tree().contents()).is_empty());
}

#[test]
fn c09_a_live_session_is_refused() {
    let store = three();
    let process = LiveProcess::spawn();
    store.write("agents/main/sessions/one.jsonl.lock", lock_payload(process.pid(), process.starttime()));
    let before = store.tree().contents();
    let refused = store.run(["quarantine", ONE, "--json", "--now", NOW]).code(4).json();
    assert!(refused["refused"][0]["why"].as_str().unwrap().starts_with("live-lock"), "{refused}");
    assert!(before.diff(&store.tree().contents()).is_empty());
}

#[test]
fn purge_asks_and_without_a_terminal_needs_yes() {
    let store = three();
    store.run(["quarantine", ONE, GROUP, "--now", NOW]).ok();
    store.run(["restore", ONE]).ok();
    std::thread::sleep(Duration::from_millis(1100));
    let purge = ["quarantine", "purge", "--older-than", "1s"];
    let before = store.tree().exact();
    let dry = store.run([&purge[..], &["-n", "--json"]].concat()).ok().json();
    assert_eq!((&dry["dryRun"], dry["purged"].as_array().unwrap().len()), (&serde_json::json!(true), 1));
    let told = store.run([&purge[..], &["-n"]].concat()).ok();
    assert!(told.stdout.contains(dry["purged"][0]["key"].as_str().unwrap()), "{told}");
    before.assert_same(&store.tree().exact());
    let asked = store.run(purge).code(2);
    assert!(asked.stderr.contains("1 quarantined session") && asked.stderr.contains("--yes"), "{asked}");
    assert_eq!(listed(&store), [GROUP]);
    assert!(store.run(["quarantine", "purge", "--older-than", "1d", "--yes"]).ok().stdout.contains("Nothing"));
    store.run([&purge[..], &["--yes"]].concat()).ok();
    assert_eq!(listed(&store), [""; 0]);
    let text = store.tree().0.into_values().any(|node| node.bytes.windows(7).any(|seven| seven == b"\"group\""));
    assert!(!text, "no byte of it is left");
    store.run(["restore", GROUP]).code(2);
}

#[test]
fn a_purge_leaves_what_else_the_run_took() {
    let store = Store::recorded("real-small");
    store.write("agents/main/sessions/6f200014-d381-4049-a079-0b2ed82e22fb.jsonl", "junk\n");
    let limits = ["--idle", "10m", "--unprotect", "group", "--now", "2026-11-22T23:30:00Z"];
    let done = store.gc(limits).ok().json();
    assert_eq!(done["done"]["quarantine"], 1);
    let expired = keys(&done, "expire");
    std::thread::sleep(Duration::from_millis(1100));
    store.run(["quarantine", "purge", "--older-than", "1s", "--yes"]).ok();
    let back = store.restore_latest().ok().json();
    let mut bound = support::bound(&back);
    let mut expected = expired;
    bound.sort();
    expected.sort();
    assert_eq!(bound, expected, "what expired comes back, what was purged does not");
    assert!(!store.exists("agents/main/sessions/6f200014-d381-4049-a079-0b2ed82e22fb.jsonl"));
}

#[test]
fn a_session_found_failed_at_start_after_start_is_taken_aside_alone() {
    let store = three();
    let boot = ["gc", "--boot", "--json", "--now", NOW];
    for _ in 0..2 {
        let done = store.run(boot).ok().json();
        assert_eq!(verdict(&done, FAILED), "keep within-limits");
    }
    let third = store.run(boot).ok().json();
    assert_eq!(keys(&third, "quarantine"), [FAILED]);
    assert_eq!(verdict(&third, FAILED), "quarantine poison-loop");
    assert_eq!(listed(&store), [FAILED]);
    store.restore_latest().ok();
    // Back again, it is counted from one.
    assert_eq!(keys(&store.run(boot).ok().json(), "quarantine"), [""; 0]);
}

#[test]
fn a_protected_conversation_is_taken_only_when_a_start_runs_it_again() {
    let store = StoreBuilder::new()
        .agent("main")
        .binding("agent:main:main", |one| one.session_id("main").interrupted())
        .binding("agent:main:discord:channel:55", |one| one.session_id("channel").error("401 no"))
        .binding(GROUP, |one| one.session_id("again").interrupted().field("status", "running"))
        .build();
    let boot = ["gc", "--boot", "--json", "--now", NOW];
    for _ in 0..2 {
        assert_eq!(keys(&store.run(boot).ok().json(), "quarantine"), [""; 0]);
    }
    assert_eq!(keys(&store.run(boot).ok().json(), "quarantine"), [GROUP]);
    assert_eq!(keys(&store.run(boot).ok().json(), "quarantine"), [""; 0]);
}

#[test]
fn an_error_that_passes_is_no_poison_however_often_it_is_found() {
    let store = StoreBuilder::new()
        .agent("main")
        .binding(FAILED, |one| one.idle("2h").error("500 The server had an error"))
        .config(r#"{session: {reset: {mode: "idle", idleMinutes: 100000}}}"#)
        .build();
    for _ in 0..5 {
        let done = store.run(["gc", "--boot", "--json", "--now", NOW]).ok().json();
        assert_eq!(verdict(&done, FAILED), "keep within-limits");
    }
}

#[test]
fn a_start_between_which_something_happened_does_not_count() {
    let store = three();
    let boot = |more: &[&str]| store.run([&["gc", "--boot", "--json", "--now", NOW], more].concat()).ok().json();
    let taken = |done: &Value| keys(done, "quarantine");
    boot(&[]);
    boot(&[]);
    let mut transcript = store.read("agents/main/sessions/failed.jsonl");
    transcript.extend_from_slice(b"\n");
    store.write("agents/main/sessions/failed.jsonl", transcript);
    assert_eq!(taken(&boot(&[])), [""; 0], "the transcript changed");
    assert_eq!(taken(&boot(&["--poison-starts", "off"])), [""; 0]);
    assert_eq!(taken(&boot(&["--poison-starts", "9"])), [""; 0]);
    store.write("claw-sessions.toml", "poison-starts = \"off\"\n");
    assert_eq!(taken(&boot(&[])), [""; 0], "the policy file says so");
    store.write("claw-sessions.toml", "poison-starts = 5\n");
    let told = store.run(["explain", FAILED, "--now", NOW]).ok().stdout;
    assert!(!told.contains("poison-loop"), "only a start counts: {told}");
    store.gc(["--now", NOW]).ok();
    assert_eq!(taken(&boot(&[])), [FAILED], "a gc that is no start is not counted");
    store.run(["gc", "--poison-starts", "3"]).code(2);
    store.run(["gc", "--boot", "--poison-starts", "1"]).code(2);
}

#[test]
fn before_a_start_gc_says_one_line_and_is_no_reason_not_to_start() {
    let store = Store::recorded("real-small");
    let done = store.run_env(["gc", "--boot", "--now", NOW], &[("JOURNAL_STREAM", "8:1")]).ok();
    assert_eq!(done.stdout, "");
    assert_eq!(done.stderr.lines().count(), 1, "{done}");
    assert!(done.stderr.starts_with("<6>claw-sessions: ") && done.stderr.contains("1 mended"), "{done}");
    assert!(done.stderr.contains("restore"), "{done}");

    let text = store.read("agents/main/sessions/sessions.json");
    store.write("agents/main/sessions/sessions.json", &text[..100_000]);
    let salvaged = store.run(["gc", "--boot", "--now", NOW]).ok();
    assert!(salvaged.stderr.contains("1 store salvaged"), "{salvaged}");

    store.write("agents/main/sessions/sessions.json", "[]");
    let refused = store.run_env(["gc", "--boot", "--now", NOW], &[("JOURNAL_STREAM", "8:1")]).ok();
    assert!(refused.stderr.starts_with("<4>") && refused.stderr.contains("not-an-object"), "{refused}");

    let store = Store::recorded("real-small");
    let clock = store.run_env(["gc", "--boot", "--all", "--now", "2036-01-01T00:00:00Z"], &[("JOURNAL_STREAM", "8:1")]);
    assert!(clock.code == Some(0) && clock.stderr.starts_with("<3>"), "{clock}");
    store.run(["gc", "--boot", "--bot"]).code(2);
}
