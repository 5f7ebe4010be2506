//! What is configured, by whom, and what happens when it is wrong: every limit has a source, a wrong word is an error,
//! and an unreadable openclaw.json never stops a scan.

use serde_json::json;
use support::{NOW, Output, Store, StoreBuilder, keys, verdict};

const KEY: &str = "agent:main:telegram:direct:1";
const OTHER: &str = "agent:main:telegram:direct:2";
const GROUP: &str = "agent:main:telegram:group:-1";
const HOOK: &str = "agent:main:hook:1";

fn builder() -> StoreBuilder {
    StoreBuilder::new()
        .agent("main")
        .binding(KEY, |one| one.idle("9d"))
        .binding(OTHER, |one| one.idle("3h").age("8d"))
        .binding(GROUP, |one| one.idle("9d"))
        .binding(HOOK, |one| one.idle("3h"))
}

fn with(config: &str) -> Store {
    builder().config(config).build()
}

fn dry(store: &Store, args: &[&str]) -> Output {
    store.gc([&["-n", "--now", NOW], args].concat())
}

/// What would go.
#[track_caller]
fn goes(store: &Store, args: &[&str]) -> Vec<String> {
    keys(&dry(store, args).ok().json(), "expire")
}

#[test]
fn an_invalid_configuration_is_reported_and_nothing_of_it_is_used() {
    for (config, problem) in [
        ("{ \"session\": ", "openclaw.json"),
        ("[]", "openclaw.json"),
        (r#"{"session": {"threadBindings": {"idleHours": "a day"}}}"#, "idleHours"),
        (r#"{"session": {"threadBindings": {"idleHours": 1}, "reset": {"mode": "hourly"}}}"#, "reset"),
        (r#"{"session": {"threadBindings": {"idleHours": 1}, "maintenance": {"maxEntries": 0}}}"#, "maxEntries"),
        (
            r#"{"session": {"threadBindings": {"idleHours": 1}}, "cron": {"sessionRetention": "soon"}}"#,
            "sessionRetention",
        ),
    ] {
        let store = with(config);
        let before = store.tree().contents();
        let scan = store.run(["scan", "--json", "--now", NOW]).ok();
        let warnings = scan.json()["warnings"].to_string();
        assert!(warnings.contains(problem), "{config}: {warnings}");
        assert!(warnings.contains("nothing of it is used"), "{config}: {warnings}");
        let done = store.gc(["--now", NOW]).ok().json();
        assert_eq!(keys(&done, "expire"), [] as [&str; 0], "{config}");
        assert!(done["warnings"].to_string().contains("nothing of it is used"), "{config}");
        before.assert_same(&store.tree().contents());
        assert!(store.run(["gc", "-n"]).ok().stdout.contains("invalid"), "{config}: text says it too");
        // What was typed is not in doubt.
        assert_eq!(goes(&store, &["--idle", "1d"]), [KEY], "{config}");
        assert_eq!(goes(&store, &["--max-age", "7d"]), [KEY, OTHER], "{config}");
    }
}

#[test]
fn damage_does_not_wait_for_a_valid_configuration() {
    let store = Store::crafted("self-parent");
    store.write("openclaw.json", "{");
    let done = store.gc(["--now", NOW]).ok().json();
    assert_eq!(done["done"]["repair"], 1);
    let store = Store::crafted("no-json");
    store.write("openclaw.json", "{");
    let done = store.gc(["--now", NOW]).ok().json();
    assert_eq!(done["done"]["quarantine"], 1, "what cannot be mended");
}

#[test]
fn without_any_limit_gc_takes_what_openclaw_itself_would_reset() {
    // It is 22:30 UTC; the last daily reset was at 4:00.
    let store = with("{}");
    let dry = dry(&store, &[]).ok().json();
    assert_eq!(verdict(&dry, KEY), "expire reset-stale");
    assert_eq!(verdict(&dry, OTHER), "keep within-limits");
    assert_eq!(verdict(&dry, GROUP), "keep protected-class");
    // Seven hours further east it was 4:00 at 21:00 UTC, an hour and a half ago: the others are stale there, too.
    let mut there = store.command(["gc", "-n", "--json", "--now", NOW, "--state-dir"]);
    there.arg(store.state_dir()).env("TZ", "ICT-7");
    assert_eq!(keys(&Output::of(&mut there).ok().json(), "expire"), [KEY, OTHER, HOOK]);
}

#[test]
fn reset_rules_by_type_and_channel_are_openclaws() {
    for (session, expected) in [
        (json!({"reset": {"mode": "idle", "idleMinutes": 100_000}}), &[][..]),
        (json!({"reset": {"mode": "idle", "idleMinutes": 60}}), &[KEY, OTHER, HOOK]),
        (json!({"idleMinutes": 60}), &[KEY, OTHER, HOOK]),
        (json!({"reset": {"mode": "daily", "atHour": 21}}), &[KEY, OTHER, HOOK]),
        (json!({"resetByType": {"direct": {"mode": "idle", "idleMinutes": 60}}}), &[KEY, OTHER, HOOK]),
        (
            json!({"reset": {"mode": "idle", "idleMinutes": 100_000}, "resetByChannel": {"telegram": {"mode": "idle", "idleMinutes": 60}}}),
            &[KEY, OTHER],
        ),
        (
            json!({"reset": {"mode": "idle", "idleMinutes": 60}, "resetByChannel": {"telegram": {"mode": "idle", "idleMinutes": 100_000}}}),
            &[HOOK],
        ),
    ] {
        let store = with(&json!({"session": session}).to_string());
        let dry = dry(&store, &[]).ok().json();
        assert_eq!(keys(&dry, "expire"), expected, "{session}");
        for key in expected {
            assert_eq!(verdict(&dry, key), "expire reset-stale", "{session}");
        }
    }
}

#[test]
fn thread_bindings_limit_ages_and_flags_stand_above_them() {
    let store = with(r#"{"session": {"threadBindings": {"maxAgeHours": 168, "idleHours": 24}}}"#);
    let found = dry(&store, &[]).ok().json();
    assert_eq!(verdict(&found, KEY), "expire max-age");
    assert_eq!(verdict(&found, OTHER), "expire max-age");
    assert_eq!(verdict(&found, HOOK), "keep within-limits");
    assert_eq!(goes(&store, &["--max-age", "30d"]), [KEY]);
    assert_eq!(goes(&store, &["--max-age", "off", "--idle", "2h"]), [KEY, OTHER, HOOK]);
    assert_eq!(goes(&store, &["--max-age", "off", "--idle", "off"]), [] as [&str; 0]);
    // Zero means off there.
    let off = with(r#"{"session": {"threadBindings": {"maxAgeHours": 0, "idleHours": 0}}}"#);
    assert_eq!(goes(&off, &[]), [KEY], "the reset rule is left");
}

#[test]
fn maintenance_and_cron_settings_are_read() {
    let count =
        with(r#"{"session": {"reset": {"mode": "idle", "idleMinutes": 100000}, "maintenance": {"maxEntries": 3}}}"#);
    let found = dry(&count, &[]).ok().json();
    assert_eq!(verdict(&found, KEY), "expire over-count");
    assert_eq!(keys(&found, "expire"), [KEY]);
    let prune =
        with(r#"{"session": {"reset": {"mode": "idle", "idleMinutes": 100000}, "maintenance": {"pruneAfter": "5d"}}}"#);
    assert_eq!(verdict(&dry(&prune, &[]).ok().json(), KEY), "expire prune-after");
    let job = "agent:main:cron:7cfc";
    let cron = |retention: &str| {
        let store = StoreBuilder::new()
            .agent("main")
            .binding(job, |one| one.idle("30h").session_id("r").cron_run())
            .config(&format!(r#"{{"cron": {{"sessionRetention": {retention}}}}}"#))
            .build();
        verdict(&dry(&store, &[]).ok().json(), &format!("{job}:run:r"))
    };
    assert_eq!(cron("\"24h\""), "expire cron-retention");
    assert_eq!(cron("\"29\""), "expire cron-retention");
    assert_eq!(cron("\"2d\""), "keep within-limits");
    assert_eq!(cron("false"), "keep within-limits");
}

#[test]
fn the_policy_file_stands_between_flags_and_openclaw() {
    let store = with(r#"{"session": {"threadBindings": {"idleHours": 1}}}"#);
    store.write("claw-sessions.toml", "idle = \"5d\"\n[class.hook]\nidle = \"2h\"\n");
    assert_eq!(goes(&store, &[]), [KEY, HOOK]);
    assert_eq!(goes(&store, &["--idle", "1h"]), [KEY, OTHER, HOOK]);
    store.write("claw-sessions.toml", "idle = \"5d\"\n[protect]\nclasses = [\"hook\"]\nunprotect = [\"group\"]\n");
    assert_eq!(goes(&store, &[]), [KEY, GROUP]);
    store.write("claw-sessions.toml", "idle = \"1h\"\n[protect]\nkeys = [\"*:direct:?\"]\n");
    let found = dry(&store, &[]).ok().json();
    assert_eq!(verdict(&found, KEY), "keep pinned");
    assert_eq!(keys(&found, "expire"), [HOOK]);
    let other = store.root().join("other.toml");
    std::fs::write(&other, "idle = \"1h\"\n").unwrap();
    assert_eq!(goes(&store, &["--config", other.to_str().unwrap()]), [KEY, OTHER, HOOK]);
    let details = store.run(["scan", "-v", "--now", NOW]).ok().stdout;
    assert!(details.contains("policy file: idle") && details.contains("policy file: protect.keys"), "{details}");
}

#[test]
fn off_on_the_command_line_lifts_a_limit_of_the_policy_file() {
    let store = with(r#"{"session": {"reset": {"mode": "idle", "idleMinutes": 100000}}}"#);
    store.write(
        "claw-sessions.toml",
        "max-bindings = 1\npurge-archives = \"1d\"\nmax-removals = 0\npoison-starts = 7\n",
    );
    let shown = |args: &[&str]| {
        let document = store.run([&["config", "show", "--json"], args].concat()).ok().json();
        let find = |name: &str| {
            let one = document["limits"].as_array().unwrap().iter().find(|one| one["limit"] == name).unwrap().clone();
            format!("{} ({})", one["value"].as_str().unwrap(), one["source"].as_str().unwrap())
        };
        ["max-bindings", "purge-archives", "poison-starts", "all", "orphans"].map(find)
    };
    assert_eq!(
        shown(&["--max-bindings", "off", "--all", "--no-orphans"]),
        [
            "off (--max-bindings)",
            "24h (policy file: purge-archives)",
            "7 (policy file: poison-starts)",
            "every binding that is not live (--all)",
            "left (--no-orphans)",
        ]
    );
    assert_eq!(goes(&store, &["--max-removals", "off"]), [KEY, OTHER, HOOK]);
    assert_eq!(goes(&store, &["--max-bindings", "off"]), [""; 0]);
    store.gc(["--now", NOW]).code(4);
    store.gc(["--max-removals", "off", "--now", NOW]).ok();
}

#[test]
fn the_policy_file_of_the_user_is_found_too() {
    let store = with("{}");
    let dir = store.home().join(".config/claw-sessions");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("config.toml"), "idle = \"1h\"\n").unwrap();
    assert_eq!(goes(&store, &[]), [KEY, OTHER, HOOK]);
    store.write("claw-sessions.toml", "idle = \"5d\"\n");
    assert_eq!(goes(&store, &[]), [KEY]);
}

#[test]
fn a_wrong_policy_file_stops_everything_and_is_named() {
    for (text, named) in [
        ("idel = \"1d\"\n", "idel"),
        ("idle = 5\n", "idle"),
        ("idle = \"0\"\n", "idle"),
        ("[class.dm]\nidle = \"1d\"\n", "dm"),
        ("[protect]\nclass = []\n", "class"),
        ("idle = \n", "line 1"),
    ] {
        let store = with("{}");
        store.write("claw-sessions.toml", text);
        let before = store.tree().exact();
        for args in [&["gc"][..], &["scan"], &["gc", "-n"]] {
            let output = store.run(args).code(2);
            assert!(output.stderr.contains(named) && output.stderr.contains("claw-sessions.toml"), "{output}");
        }
        before.assert_same(&store.tree().exact());
    }
    let store = with("{}");
    let output = store.run(["gc", "--config", "/nonexistent/policy.toml"]).code(2);
    assert!(output.stderr.contains("cannot read the policy file"), "{output}");
}

#[test]
fn every_limit_names_its_source() {
    let store =
        with(r#"{"meta": {"lastTouchedVersion": "2026.3.11"}, "session": {"threadBindings": {"maxAgeHours": 120}}}"#);
    store.write("claw-sessions.toml", "grace = \"5m\"\n");
    let said = store.run(["scan", "-v", "--error-idle", "2h", "--now", NOW]).ok();
    let redacted = store.redact(&said.stdout);
    let details = redacted.lines().take_while(|line| !line.contains("bindings of"));
    // Who runs the test is not the point.
    let details: Vec<&str> = details.filter(|line| !line.starts_with("user ")).collect();
    insta::assert_snapshot!(details.join("\n"));
}

#[test]
fn config_check_says_ok_or_what_is_wrong_and_where() {
    let store = with("{}");
    let check = |args: &[&str]| store.run([&["config", "check"], args].concat());
    let said = check(&[]).ok().stdout;
    assert!(said.starts_with("none   policy file: the defaults hold"), "{said}");
    assert!(said.contains(".config/claw-sessions/config.toml"), "it says where one is looked for: {said}");
    assert!(said.contains("ok     openclaw.json"), "{said}");
    store.write("claw-sessions.toml", "grace = \"5m\"\nidel = \"1d\"\n");
    let before = store.tree().contents();
    let said = check(&[]).code(2).stdout;
    for part in ["wrong  policy file", "claw-sessions.toml", "line 2", "idel", "→ mend it", "ok     openclaw.json"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // Both files are read, whatever is wrong with the first.
    store.write("openclaw.json", r#"{"session": {"threadBindings": {"idleHours": "a day"}}}"#);
    let found = check(&["--json"]).code(2).json();
    assert_eq!((found["ok"].clone(), found["policyFile"]["state"].clone()), (json!(false), json!("invalid")));
    let problem = found["openclawConfig"]["problems"][0].as_str().unwrap();
    assert!(problem.contains("session.threadBindings.idleHours"), "{problem}");
    assert_eq!(found["limits"], json!(null));
    store.write("openclaw.json", "{}");
    before.assert_same(&store.tree().contents());
    // A file that is to become the policy file.
    let new = store.root().join("new.toml");
    std::fs::write(&new, "idle = \"5d\"\n").unwrap();
    let new = new.to_str().unwrap();
    check(&["--config", new]).ok();
    std::fs::write(new, "idle = \"5\"\n").unwrap();
    let output = check(&["--config", new]).code(2);
    assert!(output.stdout.contains("line 1: idle") && output.stdout.contains("has no unit"), "{output}");
    let output = check(&["--config", "/nonexistent/policy.toml"]).code(2);
    assert!(output.stdout.contains("/nonexistent/policy.toml") && output.stdout.contains("No such file"), "{output}");
    let output = check(&["--config", "/"]).code(2);
    assert!(output.stdout.contains("not a file"), "{output}");
}

#[test]
fn config_show_prints_every_limit_with_its_source() {
    let store = with(
        r#"{"meta": {"lastTouchedVersion": "2026.3.11"}, "session": {"threadBindings": {"maxAgeHours": 120},
            "resetByType": {"group": {"mode": "idle", "idleMinutes": 600}}}}"#,
    );
    store.write("claw-sessions.toml", "grace = \"5m\"\nmax-removals = \"50%\"\n[protect]\nkeys = [\"agent:main:*\"]\n");
    let show = |args: &[&str]| store.run([&["config", "show", "--error-idle", "2h"], args].concat()).ok();
    insta::assert_snapshot!("config-show", store.redact(&show(&[]).stdout));
    let shown = show(&["--json"]).json();
    assert_eq!(shown["schema"], "claw-sessions/config/v1");
    let limits = shown["limits"].as_array().unwrap();
    let of = |name: &str| limits.iter().find(|one| one["limit"] == name).unwrap_or_else(|| panic!("no {name}"));
    assert_eq!(of("grace")["source"], "policy file: grace");
    assert_eq!(
        (of("max-removals")["value"].clone(), of("error-idle")["source"].clone()),
        (json!("50 %"), json!("--error-idle"))
    );
    assert_eq!(of("max-age")["source"], "openclaw.json: session.threadBindings.maxAgeHours");
    // What the policy file can set is shown under the name that it has there.
    for name in ["idle", "keep-last", "max-bindings", "max-resumes", "keep-runs", "purge-archives", "purge-resets"] {
        of(name);
    }
    store.write("claw-sessions.toml", "idle = 5\n");
    let output = store.run(["config", "show"]).code(2);
    assert!(output.stderr.contains("line 1: idle") && output.stderr.contains("config check"), "{output}");
}

#[test]
fn agents_are_those_configured_and_those_on_disk() {
    let store = StoreBuilder::new()
        .agent("main")
        .binding(KEY, |one| one.idle("9d"))
        .agent("ghost")
        .binding("agent:ghost:telegram:direct:1", |one| one.idle("9d"))
        .config(r#"{"agents": {"list": [{"id": "main"}, {"id": "idle"}]}}"#)
        .build();
    let scan = store.scan(["--now", NOW]);
    let stores: Vec<_> =
        scan["stores"].as_array().unwrap().iter().map(|one| (one["agent"].clone(), one["state"].clone())).collect();
    assert_eq!(
        stores,
        [(json!("main"), json!("ok")), (json!("idle"), json!("missing")), (json!("ghost"), json!("ok"))]
    );
    let one = store.scan(["--agent", "ghost", "--now", NOW]);
    assert_eq!(one["stores"].as_array().unwrap().len(), 1);
    store.run(["scan", "--agent", "nobody"]).code(2);
    let by_file = store.path("agents/ghost/sessions/sessions.json");
    let one = store.scan(["--store", by_file.to_str().unwrap(), "--now", NOW]);
    assert_eq!(one["bindings"][0]["key"], "agent:ghost:telegram:direct:1");
}

#[test]
fn usage_errors_touch_nothing() {
    let store = with("{}");
    let before = store.tree().exact();
    for (args, named) in [
        (&["gc", "--idle", "0"][..], "--idle"),
        (&["gc", "--max-age", "30"], "--max-age"),
        (&["gc", "--now", "garbage"], "--now"),
        (&["gc", "--now", "2026-11-22"], "--now"),
        (&["gc", "--agent", "nobody"], "nobody"),
        (&["gc", "--profile", "../x"], "profile"),
        (&["gc", "--unknown"], "--unknown"),
        (&["gc", "--store", "a", "--agent", "main"], "--store"),
        (&["report", "--json", "--format", "text"], "--json"),
        (&["gc", "--format", "text"], "--format"),
        (&["gc", "-q", "-v"], "-q"),
    ] {
        let output = store.run(args).code(2);
        assert!(output.stderr.contains(named), "{output}");
        before.assert_same(&store.tree().exact());
    }
    for args in [&["gc", "--state-dir", "/nonexistent/state"][..], &["scan", "--state-dir", "/nonexistent/state"]] {
        let output = store.run_bare(args, &[]).code(2);
        assert!(output.stderr.contains("/nonexistent/state") && output.stderr.contains("--state-dir DIR"), "{output}");
    }
    assert!(!std::path::Path::new("/nonexistent").exists());
}

#[test]
fn legacy_directories_and_the_environment_lead_to_the_state() {
    for legacy in [".clawdbot", ".moldbot", ".moltbot"] {
        let store = with("{}");
        let to = store.home().join(legacy);
        std::fs::rename(store.state_dir(), &to).unwrap();
        let scan = store.run_bare(["scan", "--json", "--now", NOW], &[]).ok().json();
        assert_eq!(scan["stateDir"], to.to_str().unwrap());
        assert_eq!(scan["summary"]["bindings"], 4);
    }
    let store = with("{}");
    let to = store.root().join("srv");
    std::fs::rename(store.state_dir(), &to).unwrap();
    for name in ["OPENCLAW_STATE_DIR", "CLAWDBOT_STATE_DIR"] {
        let scan = store.run_bare(["scan", "--json", "--now", NOW], &[(name, to.to_str().unwrap())]).ok().json();
        assert_eq!(scan["summary"]["bindings"], 4, "{name}");
    }
    let config = store.root().join("elsewhere.json");
    std::fs::write(&config, r#"{"session": {"threadBindings": {"idleHours": 1}}}"#).unwrap();
    let env = [("OPENCLAW_STATE_DIR", to.to_str().unwrap()), ("OPENCLAW_CONFIG_PATH", config.to_str().unwrap())];
    let found = store.run_bare(["gc", "-n", "--json", "--now", NOW], &env).ok().json();
    assert_eq!(found["configFile"], config.to_str().unwrap());
    assert_eq!(verdict(&found, HOOK), "expire idle");
}
