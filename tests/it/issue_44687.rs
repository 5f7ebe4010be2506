//! The case of openclaw#44687: 66 bindings of three agents, ten days old, that a start was said to resume. After gc
//! only what the rules keep is left, and each kept binding says which rule that was.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};
use support::generate::{Spec, generate};
use support::{NOW, Store, keys};

const AGENTS: [&str; 3] = ["main", "illarion", "marketer"];

fn reported() -> Store {
    let store = Store::empty();
    generate(&store.state_dir(), &Spec::issue_44687(), NOW.parse().unwrap());
    store
}

fn names(store: &Store, agent: &str) -> Vec<String> {
    let dir = fs::read_dir(store.path(format!("agents/{agent}/sessions"))).unwrap();
    let mut names: Vec<_> = dir.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn scan_shows_what_a_start_would_cost_before_and_after() {
    let scan = reported().scan(["--now", NOW]);
    assert_eq!(scan["summary"]["bindings"], 66);
    let counts: BTreeMap<&str, u64> = scan["stores"]
        .as_array()
        .unwrap()
        .iter()
        .map(|store| (store["agent"].as_str().unwrap(), store["bindings"].as_u64().unwrap()))
        .collect();
    assert_eq!(counts, BTreeMap::from([("illarion", 32), ("main", 21), ("marketer", 13)]));
    let startup = &scan["startup"];
    assert_eq!((&startup["slots"], &startup["timeoutSeconds"]), (&json!(4), &json!(600)));
    assert_eq!(startup["before"], json!({"resumable": 66, "worstSeconds": 10_200}));
    let left = scan["summary"]["keep"].as_u64().unwrap();
    let after = left.div_ceil(4) * 600;
    assert_eq!(startup["after"], json!({"resumable": left, "worstSeconds": after}));
    assert!(after < 10_200 / 2, "{startup}");
}

/// What the rules of the reporter's configuration say of one binding: idle 24 h, age 120 h, cron runs 24 h.
fn must_stay(one: &Value) -> bool {
    let text = |name: &str| one[name].as_str().unwrap();
    let seconds = |name: &str| one[name]["seconds"].as_i64();
    let hour = 3600;
    if ["freezes", "blocks", "wiped"].contains(&text("integrity")) {
        return false;
    }
    // Each job of the case is still in cron/jobs.json.
    if ["main", "group", "topic", "cron"].contains(&text("class")) {
        return true;
    }
    let Some(idle) = seconds("idle") else { return true };
    if idle < hour / 4 {
        return true;
    }
    if ["missing", "empty"].contains(&text("integrity")) {
        return false;
    }
    let synthetic = ["cron-run", "hook", "subagent"].contains(&text("class"));
    let failed = ["errored", "aborted", "interrupted"].contains(&text("run"));
    let permanent =
        ["auth", "overflow", "invalid-request"].contains(&one["error"]["kind"].as_str().unwrap_or_default());
    if idle >= hour && failed && (synthetic || permanent) {
        return false;
    }
    let idle_limit = if text("class") == "subagent" { hour } else { 24 * hour };
    idle < idle_limit && seconds("age").is_none_or(|age| age < 120 * hour)
}

#[test]
fn only_what_the_rules_keep_is_left() {
    let store = reported();
    let before = store.tree().contents();
    let done = store.gc(["--now", NOW]).ok().json();
    assert_eq!(done["planned"], done["done"]);
    let bindings = done["bindings"].as_array().unwrap();
    let mut wrong = Vec::new();
    for one in bindings {
        if must_stay(one) != (one["action"] == "keep") {
            wrong.push(format!("{one:#}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for one in bindings.iter().filter(|one| one["action"] == "keep") {
        let reason = one["reasons"][0].as_str().unwrap();
        let known =
            ["protected-class", "cron-job", "recent", "within-limits", "preferences", "live-lock", "age-unknown"];
        assert!(known.contains(&reason), "{}: {reason}", one["key"]);
    }
    // All main, group and topic conversations, whatever their age.
    let protected = bindings.iter().filter(|one| ["main", "group", "topic"].contains(&one["class"].as_str().unwrap()));
    assert_eq!(protected.clone().count(), 11);
    assert!(protected.into_iter().all(|one| one["action"] == "keep"));

    let kept = keys(&done, "keep");
    for agent in AGENTS {
        let left: Vec<String> = store.sessions(agent).as_object().unwrap().keys().cloned().collect();
        let expected: Vec<&String> = kept.iter().filter(|key| key.starts_with(&format!("agent:{agent}:"))).collect();
        assert_eq!(left.iter().collect::<Vec<_>>(), expected, "{agent}");
        // What is left in the directory belongs to what is left in the store.
        let text = String::from_utf8(store.read(format!("agents/{agent}/sessions/sessions.json"))).unwrap();
        for name in names(&store, agent).iter().filter(|name| name.ends_with(".jsonl")) {
            let id = name.strip_suffix(".jsonl").unwrap().split("-topic-").next().unwrap();
            assert!(text.contains(id), "{agent}/{name} is left and nothing refers to it");
        }
    }
    assert_eq!(done["done"]["archive"], 5, "the transcripts without binding");

    let after = store.scan(["--now", NOW]);
    assert_eq!(after["startup"]["before"], done["startup"]["after"]);
    assert_eq!(after["startup"]["before"]["resumable"], kept.len());
    insta::assert_snapshot!(kept.join("\n"));

    store.restore_latest().ok();
    before.assert_same(&store.tree().contents());
}

#[test]
fn a_second_gc_finds_nothing_and_twenty_leave_nothing() {
    let store = reported();
    store.gc(["--now", NOW]).ok();
    let left = AGENTS.map(|agent| names(&store, agent));
    let before = store.tree().exact();
    let files = store.tree().files();
    for _ in 0..20 {
        let again = store.gc(["--now", NOW]).ok().json();
        assert_eq!(again["run"], Value::Null);
        assert_eq!((&again["planned"]["expire"], &again["summary"]["expire"]), (&json!(0), &json!(0)));
        assert_eq!(AGENTS.map(|agent| names(&store, agent)), left);
    }
    assert_eq!(store.tree().files(), files);
    let changed = before.diff(&store.tree().exact());
    assert!(changed.lines().all(|line| line.trim_start().starts_with("claw-sessions")), "{changed}");
}

#[test]
fn gc_then_restore_twenty_times_leaves_no_extra_file() {
    let store = reported();
    let before = store.tree();
    for _ in 0..20 {
        store.gc(["--now", NOW]).ok();
        store.restore_latest().ok();
    }
    before.contents().assert_same(&store.tree().contents());
}

#[test]
fn a_startup_budget_is_met_as_far_as_protection_lets_it() {
    let startup = |args: &[&str]| {
        let dry = reported().gc([&["-n", "--now", NOW, "--max-resumes", "2"], args].concat()).ok().json();
        (dry["summary"]["defer"].as_u64().unwrap(), dry["startup"]["after"].clone(), dry["startup"]["budget"].clone())
    };
    let (deferred, after, budget) = startup(&[]);
    assert_eq!(deferred, 6);
    assert_eq!(after, json!({"resumable": 15, "worstSeconds": 2400}));
    assert_eq!(budget, json!({"maxResumes": 2, "over": 13}));
    let (_, after, budget) = startup(&["--unprotect", "main", "--unprotect", "group", "--unprotect", "topic"]);
    assert!(after["resumable"].as_u64() < Some(15) && budget["over"].as_u64() < Some(13), "{after} {budget}");
}

#[test]
fn a_gentler_policy_takes_less_and_all_takes_all() {
    let kept = |args: &[&str]| {
        let dry = reported().gc([&["-n", "--now", NOW], args].concat()).ok().json();
        dry["summary"]["keep"].as_u64().unwrap()
    };
    let plain = kept(&[]);
    assert!(kept(&["--idle", "5d"]) > plain);
    assert!(kept(&["--idle", "off", "--max-age", "off", "--failed", "off"]) > kept(&["--idle", "5d"]));
    assert_eq!(kept(&["--all"]), 0);
    assert_eq!(kept(&["--all", "--keep", "*:main"]), 3);
}
