//! One small store per kind of damage: each is judged as OpenClaw would treat it, gc neither stumbles nor loses a byte.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde_json::{Value, json};
use support::{NOW, Store, binding, expected, keys, tree};

const KEY: &str = "agent:main:telegram:direct:1";
const SESSIONS: &str = "agents/main/sessions";

#[test]
fn every_folder_is_judged_as_its_row_says() {
    let mut wrong = Vec::new();
    for row in expected("crafted/expected.tsv") {
        let store = Store::crafted(&row["folder"]);
        let before = store.tree().exact();
        let scan = store.scan(["--now", NOW]);
        before.assert_same(&store.tree().exact());
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let one = scan["bindings"].as_array().unwrap().iter().find(|one| one["key"] == KEY);
        let (integrity, run) =
            one.map_or_else(|| ("-".into(), "-".into()), |one| (text(&one["integrity"]), text(&one["run"])));
        let found = [integrity, run, text(&scan["stores"][0]["state"])];
        let truth = ["integrity", "run", "store"].map(|column| row[column].clone());
        if found != truth {
            wrong.push(format!("{}: {found:?}, in truth {truth:?}", row["folder"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn gc_takes_each_folder_and_restore_gives_it_back() {
    // Waiting for the disk to confirm takes longest: many at once.
    expected("crafted/expected.tsv").par_iter().for_each(|row| {
        taken_and_given_back(row, &["--all", "--now", NOW]);
        taken_and_given_back(row, &["--idle", "1m", "--now", "2026-12-22T22:00:00Z"]);
    });
}

fn taken_and_given_back(row: &BTreeMap<String, String>, limits: &[&str]) {
    let folder = &row["folder"];
    let store = Store::crafted(folder);
    let before = store.tree().contents();
    let output = store.gc(limits);
    let readable = matches!(row["store"].as_str(), "ok" | "missing");
    assert_eq!(output.code, Some(if readable { 0 } else { 4 }), "{folder} {limits:?}: {output}");
    let done = output.json();
    assert_eq!(done["planned"], done["done"], "{folder} {limits:?}");
    if !readable || row["store"] == "missing" {
        let diff = before.diff(&store.tree().contents());
        assert!(diff.is_empty(), "{folder} {limits:?}: its directory was touched:\n{diff}");
        assert_eq!(done["run"], Value::Null, "{folder}");
        return;
    }
    let again = store.gc(limits).ok().json();
    assert_eq!(again["run"], Value::Null, "{folder} {limits:?}: a second gc found {}", again["planned"]);
    for key in keys(&done, "keep") {
        assert!(store.sessions("main").get(&key).is_some(), "{folder}: {key} is gone");
    }
    if done["run"].is_string() {
        store.restore_latest().ok();
        let diff = before.diff(&store.tree().contents());
        assert!(diff.is_empty(), "{folder} {limits:?}:\n{diff}");
    }
}

#[test]
fn what_would_hurt_the_gateway_is_mended_or_taken_whatever_its_class_or_age() {
    let mut taken = 0;
    for row in expected("crafted/expected.tsv") {
        let hurts = ["freezes", "blocks", "wiped"].contains(&row["integrity"].as_str());
        let store = Store::crafted(&row["folder"]);
        let protect = ["gc", "-n", "--json", "--protect", "direct", "--now", "2026-11-22T22:01:00Z"];
        let output = store.run(protect);
        let dry = output.json();
        // Without one readable line there is nothing to mend.
        let action = if ["no-json", "nul-only"].contains(&row["folder"].as_str()) { "quarantine" } else { "repair" };
        for one in ["quarantine", "repair"] {
            let expected = if hurts && one == action { vec![KEY] } else { vec![] };
            assert_eq!(keys(&dry, one), expected, "{}", row["folder"]);
        }
        taken += usize::from(hurts);
        if hurts {
            assert_eq!(binding(&dry, KEY)["reasons"][0], row["integrity"].as_str());
        }
    }
    assert!(taken >= 10, "{taken}");
}

#[test]
fn no_command_stumbles_over_any_folder() {
    expected("crafted/expected.tsv").par_iter().for_each(|row| {
        let store = Store::crafted(&row["folder"]);
        let commands: [&[&str]; 6] =
            [&["scan"], &["scan", "-v"], &["gc", "-n"], &["explain", KEY], &["explain", KEY, "--json"], &["runs"]];
        for args in commands {
            let output = store.run([args, &["--now", NOW]].concat());
            assert!(output.code.is_some_and(|code| code <= 4), "{}: {output}", row["folder"]);
            assert!(!output.stderr.contains("panicked"), "{}: {output}", row["folder"]);
        }
    });
}

#[test]
fn a_finding_names_its_line() {
    for (folder, code) in [
        ("null-line", "null-line"),
        ("scalar-line", "scalar-line"),
        ("self-parent", "cycle"),
        ("malformed-middle", "malformed-line"),
        ("dangling-parent", "dangling-parent"),
    ] {
        let store = Store::crafted(folder);
        let scan = store.scan(["--now", NOW]);
        let findings = binding(&scan, KEY)["findings"].as_array().unwrap().clone();
        let found = findings.iter().find(|finding| finding["code"] == code);
        let found = found.unwrap_or_else(|| panic!("{folder}: no {code} in {findings:?}"));
        let transcript = String::from_utf8(store.read(binding(&scan, KEY)["transcript"].as_str().unwrap())).unwrap();
        let line = found["line"].as_u64().unwrap_or_else(|| panic!("{folder}: {found}")) as usize;
        let text = transcript.lines().nth(line - 1).unwrap_or_else(|| panic!("{folder}: no line {line}"));
        let is_it = match code {
            "null-line" => text == "null",
            "scalar-line" => serde_json::from_str::<Value>(text).unwrap().is_number(),
            "malformed-line" => serde_json::from_str::<Value>(text).is_err(),
            "cycle" => {
                let entry: Value = serde_json::from_str(text).unwrap();
                entry["id"] == entry["parentId"]
            }
            _ => {
                let parent = serde_json::from_str::<Value>(text).unwrap()["parentId"].clone();
                !transcript.contains(&format!("\"id\":{parent}"))
            }
        };
        assert!(is_it, "{folder}: line {line} is {text}");
    }
}

#[test]
fn the_oldest_backup_is_named_when_a_store_was_rotated_away() {
    let store = Store::crafted("rotated-away");
    let before = tree(&store.path(SESSIONS)).exact();
    let output = store.run(["gc", "--now", NOW]).code(4);
    before.assert_same(&tree(&store.path(SESSIONS)).exact());
    assert!(output.stdout.contains("sessions.json.bak"), "it says where the bindings are: {output}");
}

#[test]
fn a_shared_session_of_two_defects_counts_once() {
    let store = Store::crafted("cycle-and-no-message");
    let done = store.gc(["--now", NOW]).ok().json();
    assert_eq!(done["done"]["repair"], 1);
    assert_eq!(done["summary"]["repair"], json!(1));
}
