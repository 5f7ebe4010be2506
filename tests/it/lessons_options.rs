//! Mistakes that other tools made with what they were told: no guess, no zero, no unknown word, no raw control character
//! and no silent failure.

use std::fs;

use serde_json::{Value, json};
use support::{NOW, Output, Store, StoreBuilder, binding, file, keys, sys, verdict};

const KEY: &str = "agent:main:telegram:direct:1";
const OTHER: &str = "agent:main:telegram:direct:2";
const THIRD: &str = "agent:main:telegram:direct:3";

fn stale() -> Store {
    StoreBuilder::new()
        .agent("main")
        .binding(KEY, |one| one.idle("9d").session_id("one"))
        .binding(OTHER, |one| one.idle("9d").session_id("two"))
        .binding(THIRD, |one| one.idle("9d").session_id("three"))
        .build()
}

/// Exit status 2, nothing touched, and stderr names the culprit.
#[track_caller]
fn usage_error(args: &[&str], named: &str) {
    let store = stale();
    let before = store.tree().exact();
    let output = store.run(args).code(2);
    before.assert_same(&store.tree().exact());
    assert!(output.stderr.contains(named), "{named:?} is not named: {output}");
    assert!(output.stdout.is_empty(), "{output}");
}

#[test]
fn c25_reset_archives_are_history_and_stay_until_asked_for() {
    let name = |kind: &str, time: &str| format!("agents/main/sessions/x.jsonl.{kind}.{time}");
    let archives = [
        name("reset", "2025-01-01T00-00-00.000Z"),
        name("deleted", "2025-01-01T00-00-00.000Z"),
        name("bak", "2025-01-01T00-00-00.000Z"),
        "agents/main/sessions/sessions.json.bak.1735689600000".to_owned(),
    ];
    let build = || {
        let mut builder = StoreBuilder::new().agent("main").binding(THIRD, |one| one.idle("1h"));
        for archive in &archives {
            builder = builder.file(archive, "history\n");
        }
        builder.build()
    };
    let store = build();
    let before = store.tree().contents();
    store.gc(["--all", "--keep", "*", "--now", NOW]).ok();
    before.assert_same(&store.tree().contents());
    let done = store.gc(["--purge-archives", "30d", "--now", NOW]).ok().json();
    assert_eq!(done["done"]["purge"], 3);
    assert!(store.exists(&archives[0]), "history needs its own word");
    assert_eq!(store.gc(["--purge-resets", "30d", "--now", NOW]).ok().json()["done"]["purge"], 1);
    let store = build();
    assert_eq!(
        store.gc(["--purge-archives", "900d", "--purge-resets", "900d", "--now", NOW]).ok().json()["done"]["purge"],
        0
    );
}

#[test]
fn c27_size_is_no_reason() {
    let store = StoreBuilder::new()
        .agent("main")
        .binding("agent:main:main", |one| one.idle("1h").transcript_bytes(8 << 20))
        .binding(KEY, |one| one.idle("1h").transcript_bytes(8 << 20))
        .build();
    let before = store.tree().contents();
    let done = store.gc(["--now", NOW]).ok().json();
    assert!(binding(&done, KEY)["bytes"].as_u64().unwrap() > 7 << 20, "reported");
    assert_eq!(done["summary"]["keep"], 2);
    before.assert_same(&store.tree().contents());
}

#[test]
fn c28_a_limit_of_zero_or_without_unit_is_a_usage_error() {
    for flag in ["--idle", "--max-age", "--error-idle", "--grace", "--keep-runs", "--purge-archives", "--purge-resets"]
    {
        for value in ["0", "0s", "0d", "30", "-1d", "", "1.5h", "1 h", "1x", "forever", "99999999999d"] {
            usage_error(&["gc", &format!("{flag}={value}")], flag);
        }
    }
    for (flag, values) in [
        ("--max-bindings", &["0", "-1", "many", "1.5"][..]),
        ("--keep-last", &["0", "-1"]),
        ("--max-removals", &["0%", "101%", "-1", "half"]),
        ("--jobs", &["0", "-1"]),
    ] {
        for value in values {
            usage_error(&["gc", &format!("{flag}={value}")], flag);
        }
    }
}

#[test]
fn c29_an_unknown_word_is_a_usage_error() {
    for (args, named) in [
        (&["gc", "--dryrun"][..], "--dryrun"),
        (&["gc", "-x"], "-x"),
        (&["gc", "--dry-run=no"], "--dry-run"),
        (&["gc", "everything"], "everything"),
        (&["cg"], "cg"),
        (&["clean"], "clean"),
        (&["gc", "--protect", "groups"], "groups"),
        (&["gc", "--failed", "some"], "some"),
        (&["report", "--format", "yaml"], "yaml"),
        (&["gc", "--agent", "nobody"], "nobody"),
        (&["gc", "-n", "--apply", "plan.json"], "--apply"),
        (&["restore"], "RUN|KEY"),
        (&["restore", "20200101"], "20200101"),
        (&["explain", "agent:main:telegram:direct:9"], "agent:main:telegram:direct:9"),
    ] {
        usage_error(args, named);
    }
}

#[test]
fn c30_no_input_is_no_yes() {
    // gc asks nothing: what it does depends on what was typed, whether a terminal is there or not.
    let store = stale();
    let before = store.tree().exact();
    let mut command = store.command(["gc", "-n", "--now", NOW, "--state-dir"]);
    command.arg(store.state_dir()).stdin(std::process::Stdio::piped());
    Output::of(&mut command).ok();
    before.assert_same(&store.tree().exact());
    let mut closed = std::process::Command::new("sh");
    closed.args(["-c", r#"exec "$0" scan --state-dir "$1" <&-"#]).arg(support::binary()).arg(store.state_dir());
    Output::of(&mut closed).ok();
    before.assert_same(&store.tree().exact());
}

#[test]
fn c31_a_dry_run_writes_nothing_anywhere() {
    let store = stale();
    store.run(["gc", "--only", KEY, "--now", NOW]).ok();
    let (before, home) = (store.tree().exact(), support::tree(&store.home()).exact());
    for args in
        [&["gc", "-n"][..], &["gc", "-n", "--all", "--json"], &["gc", "-nv", "--keep-runs", "1s"], &["scan", "--check"]]
    {
        let output = store.run([args, &["--now", NOW]].concat());
        assert!(matches!(output.code, Some(0 | 1)), "{output}");
        before.assert_same(&store.tree().exact());
        home.assert_same(&support::tree(&store.home()).exact());
    }
}

#[test]
fn c33_what_fails_is_said_and_the_rest_is_done() {
    let store = stale();
    store.remove("agents/main/sessions/two.jsonl");
    fs::create_dir(store.path("agents/main/sessions/two.jsonl")).unwrap();
    let output = store.gc(["--now", NOW]).code(3);
    let done = output.json();
    assert_eq!(keys(&done, "expire"), [KEY, THIRD]);
    assert_eq!(verdict(&done, OTHER), "keep unreadable");
    assert_eq!(done["done"]["expire"], 2);
    assert_eq!(done["failed"].as_array().unwrap().len(), 1);
    assert_eq!(done["failed"][0]["what"], OTHER);
    assert!(store.run(["gc", "--now", NOW]).code(3).stdout.contains("not a regular file"));
}

#[test]
fn c33_a_file_without_permission_does_not_stop_the_rest() {
    let store = stale();
    if sys::is_root() {
        sys::give(&store.home(), sys::NOBODY);
    }
    store.set_mode("agents/main/sessions/two.jsonl", 0o000);
    let Some(mut command) = store.ordinary(["gc", "--json", "--now", NOW]) else {
        return sys::skip("no setpriv to become an ordinary user");
    };
    let done = Output::of(&mut command).code(3).json();
    assert_eq!(verdict(&done, OTHER), "keep unreadable");
    assert_eq!(done["done"]["expire"], 2);
    assert!(done["failed"][0]["why"].as_str().unwrap().to_lowercase().contains("permission"), "{}", done["failed"]);
}

#[test]
fn c33_a_directory_without_permission_is_a_failure_too() {
    let store = StoreBuilder::new()
        .agent("main")
        .binding(KEY, |one| one.idle("9d"))
        .agent("desk")
        .binding("agent:desk:telegram:direct:1", |one| one.idle("9d"))
        .build();
    if sys::is_root() {
        sys::give(&store.home(), sys::NOBODY);
    }
    store.set_mode("agents/main/sessions", 0o000);
    let Some(mut command) = store.ordinary(["gc", "--json", "--now", NOW]) else {
        store.set_mode("agents/main/sessions", 0o755);
        return sys::skip("no setpriv to become an ordinary user");
    };
    let output = Output::of(&mut command);
    store.set_mode("agents/main/sessions", 0o755);
    assert!(matches!(output.code, Some(3 | 4)), "{output}");
    let done = output.json();
    assert_eq!(done["stores"][0]["state"], "unreadable");
    assert_eq!(done["done"]["expire"], 1);
    assert!(store.sessions("main").get(KEY).is_some());
}

#[test]
fn c44_nothing_is_a_fixed_path() {
    let agents = r#"{"agents": {"list": [{"id": "Desk Bot!"}]}, "session": {"store": "~/elsewhere/{agentId}/s.json"}}"#;
    let world = StoreBuilder::new().config(agents).build();
    let real =
        StoreBuilder::new().agent("desk-bot").binding("agent:desk-bot:telegram:direct:1", |one| one.idle("9d")).build();
    let profile = world.home().join(".openclaw-rescue");
    fs::rename(world.state_dir(), &profile).unwrap();
    let sessions = world.home().join("elsewhere/desk-bot");
    fs::create_dir_all(sessions.parent().unwrap()).unwrap();
    fs::rename(real.path("agents/desk-bot/sessions"), &sessions).unwrap();
    fs::rename(sessions.join("sessions.json"), sessions.join("s.json")).unwrap();
    let home = world.home();
    let home = home.to_str().unwrap();
    for (args, env) in [
        (&["--profile", "rescue"][..], &[][..]),
        (&[], &[("OPENCLAW_STATE_DIR", profile.to_str().unwrap())]),
        (&["--profile", "rescue"], &[("HOME", "/nonexistent"), ("OPENCLAW_HOME", home)]),
    ] {
        let dry = world.run_bare([&["gc", "-n", "--json", "--now", NOW], args].concat(), env).ok().json();
        assert_eq!(keys(&dry, "expire"), ["agent:desk-bot:telegram:direct:1"], "{args:?} {env:?}");
        assert_eq!(dry["stateDir"], profile.to_str().unwrap());
    }
    world.run_bare(["gc", "--profile", "rescue", "--now", NOW], &[]).ok();
    assert_eq!(serde_json::from_slice::<Value>(&fs::read(sessions.join("s.json")).unwrap()).unwrap(), json!({}));
    assert!(profile.join("claw-sessions/runs").is_dir());
    world.run_bare(["restore", "latest", "--profile", "rescue"], &[]).ok();
    assert!(fs::read_to_string(sessions.join("s.json")).unwrap().contains("desk-bot"));
}

/// An escape sequence, a bell, a C1 control, a bidi override, a zero-width and a line break.
const EVIL: &str = "\u{1b}[2J\u{7}\u{9b}31m\u{202e}gpj\u{200b}\r\nexe";

fn assert_harmless(what: &str, text: &str) {
    let bad = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    if let Some(at) = text.find(bad) {
        panic!("{what}: {:?} at byte {at} of {text}", text[at..].chars().next().unwrap());
    }
}

#[test]
fn c50_no_control_character_reaches_the_terminal() {
    let key = format!("agent:main:telegram:direct:{EVIL}");
    let store = StoreBuilder::new()
        .agent("main")
        .binding(&key, |one| {
            one.idle("9d").session_id("x").error(&format!("401 {EVIL}")).field("label", EVIL).field("status", EVIL)
        })
        .binding(OTHER, |one| one.idle("9d").field("sessionFile", format!("../{EVIL}.jsonl")).missing())
        .orphan(EVIL.replace(['\r', '\n'], "").as_str(), "9d")
        .file("openclaw.json", json!({"meta": {"lastTouchedVersion": EVIL}}).to_string())
        .build();
    // A document says the same all the same.
    let scan = store.scan(["--now", NOW]);
    assert_eq!(binding(&scan, &key)["key"], json!(key));
    assert_eq!(file(&scan, ".jsonl")["kind"], "orphan");
    let commands: [&[&str]; 10] = [
        &["scan"],
        &["scan", "-v"],
        &["scan", "--json"],
        &["scan", "--show-text"],
        &["explain", &key],
        &["explain", &key, "--json", "--show-text"],
        &["gc", "-n"],
        &["gc"],
        &["runs"],
        &["restore", &key, "--json"],
    ];
    for args in commands {
        let output = store.run([args, &["--now", NOW]].concat()).ok();
        let said = args.iter().take(2).copied().collect::<Vec<_>>().join(" ");
        assert_harmless(&said, &output.stdout);
        assert_harmless(&said, &output.stderr);
    }
    let missing = store.run(["explain", &format!("no such key {EVIL}")]).code(2);
    assert_harmless("an error", &missing.stderr);
}

#[test]
fn c48_no_text_of_a_conversation_is_printed_unless_asked_for() {
    let secret = "sk-live-0123456789abcdef0123456789abcdef";
    let message = format!("401 Incorrect API key provided: {secret}. You said: the cat is in the bag");
    let store = StoreBuilder::new().agent("main").binding(KEY, |one| one.idle("9d").error(&message)).build();
    let commands: [&[&str]; 6] = [
        &["scan"],
        &["scan", "-v"],
        &["scan", "--json"],
        &["explain", KEY],
        &["explain", KEY, "--json"],
        &["gc", "-n", "-v"],
    ];
    for args in commands {
        let said = store.run([args, &["--now", NOW]].concat()).ok();
        for planted in [secret, "the cat", "Anything urgent"] {
            assert!(!said.stdout.contains(planted) && !said.stderr.contains(planted), "{planted}: {said}");
        }
    }
    let shown = store.run(["explain", KEY, "--show-text", "--now", NOW]).ok().stdout;
    assert!(shown.contains(secret), "{shown}");
}

#[test]
fn c52_a_plan_above_the_limit_is_refused_whole() {
    for limit in ["2", "50%"] {
        let store = stale();
        let before = store.tree().contents();
        let output = store.run(["gc", "--max-removals", limit, "--now", NOW]).code(4);
        let said = output.to_string();
        assert!(said.contains("--max-removals") && said.contains("3 of 3"), "{said}");
        before.assert_same(&store.tree().contents());
    }
    for limit in ["3", "100%"] {
        stale().gc(["--max-removals", limit, "--now", NOW]).ok();
    }
    let many = Store::recorded("real-gateway");
    let said = many.run(["gc", "--idle", "10m", "--grace", "1m", "--now", "2026-11-22T23:30:00Z"]).ok().stdout;
    assert!(said.contains("74 %"), "without the flag the share is said: {said}");
    assert_ne!(many.sessions("main"), Value::Null);
}
