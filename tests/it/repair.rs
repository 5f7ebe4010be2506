//! Repair and salvage on the built binary: only what has one exact answer is mended, no other byte changes, and
//! restore brings the originals back.

use std::collections::BTreeSet;

use rayon::prelude::*;
use serde_json::{Value, json};
use support::{LiveProcess, NOW, Store, StoreBuilder, expected, lock_payload};

const KEY: &str = "agent:main:telegram:direct:1";
const TRANSCRIPT: &str = "agents/main/sessions/7b1d5c0e-93a4-4f6b-8d52-2f0e6a91c3d7.jsonl";
const SESSIONS: &str = "agents/main/sessions/sessions.json";
const REPAIR: [&str; 5] = ["validate", "--repair", "--json", "--now", NOW];

fn problems(store: &Store) -> Vec<(String, String)> {
    let output = store.run(["validate", "--json", "--now", NOW]);
    let document = output.json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    document["problems"].as_array().unwrap().iter().map(|one| (text(&one["severity"]), text(&one["code"]))).collect()
}

fn lines(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split_inclusive(|&byte| byte == b'\n').collect()
}

/// The folders with a defect that has one exact answer, and the codes that are mended there.
const MENDABLE: [(&str, &[&str]); 27] = [
    ("no-final-newline", &["no-final-newline"]),
    ("truncated-last", &["no-final-newline"]),
    ("glued-last", &["glued-lines"]),
    ("glued-middle", &["glued-lines"]),
    ("nul-tail", &["nul-tail"]),
    ("headerless", &["no-header"]),
    ("headerless-null-line", &["no-header", "null-line"]),
    ("null-before-header", &["null-line"]),
    ("bad-header", &["no-header"]),
    ("malformed-header", &["no-header"]),
    ("message-before-header", &["no-header"]),
    ("null-line", &["null-line"]),
    ("scalar-line", &["scalar-line"]),
    ("scalar-last", &["scalar-line"]),
    ("array-line", &["scalar-line"]),
    ("foreign-line", &["foreign-line"]),
    ("foreign-last", &["foreign-line"]),
    ("foreign-before-root", &["foreign-line"]),
    ("message-without-message", &["no-message"]),
    ("message-without-message-early", &["no-message"]),
    ("content-text", &["content-shape"]),
    ("content-null", &["content-shape"]),
    ("content-absent", &["content-shape"]),
    ("content-null-block", &["content-shape"]),
    ("cycle-duplicate-id", &["cycle"]),
    ("self-parent", &["cycle"]),
    ("mutual-cycle", &["cycle"]),
];

#[test]
fn every_defect_with_one_exact_answer_is_mended_and_comes_back_as_it_was() {
    let rest = [("cycle-and-no-message", &["cycle", "no-message"][..]), ("version-absent", &["version-absent"])];
    MENDABLE.par_iter().map(|(folder, codes)| (*folder, *codes)).chain(rest).for_each(|(folder, codes)| {
        let store = Store::crafted(folder);
        let before = store.tree().contents();
        let damaged = store.read(TRANSCRIPT);
        let output = store.run(REPAIR);
        let mended = output.json()["repair"]["mended"].clone();
        let found: BTreeSet<&str> =
            mended[0]["codes"].as_array().unwrap().iter().map(|code| code.as_str().unwrap()).collect();
        assert_eq!(found, codes.iter().copied().collect(), "{folder}");
        assert_eq!(output.code, Some(0), "{folder}: what is left is harmless: {output}");
        let bad: Vec<_> = problems(&store).into_iter().filter(|(severity, _)| severity < &"i".to_owned()).collect();
        assert!(bad.is_empty(), "{folder}: fatal or high is left: {bad:?}");
        assert!(store.scan(["--now", NOW])["bindings"][0]["integrity"] != "wiped", "{folder}");
        assert_eq!(store.run(REPAIR).json()["repair"]["run"], Value::Null, "{folder}: nothing is left to mend");

        // Whole lines are the same but for those that were named.
        let now = store.read(TRANSCRIPT);
        let (old, new) = (lines(&damaged), lines(&now));
        let gone = old.iter().filter(|line| !new.contains(line)).count();
        let come = new.iter().filter(|line| !old.contains(line)).count();
        assert!(gone <= 3 && come <= 3, "{folder}: {gone} lines went, {come} came");

        store.restore_latest().ok();
        let diff = before.diff(&store.tree().contents());
        assert!(diff.is_empty(), "{folder}:\n{diff}");
    });
}

#[test]
fn c38_what_is_not_named_keeps_its_bytes_and_every_parent_resolves() {
    let store = Store::crafted("message-without-message");
    let damaged = String::from_utf8(store.read(TRANSCRIPT)).unwrap();
    store.run(REPAIR).ok();
    let mended = String::from_utf8(store.read(TRANSCRIPT)).unwrap();
    let (old, new): (Vec<&str>, Vec<&str>) = (damaged.lines().collect(), mended.lines().collect());
    assert_eq!(new.len(), old.len() - 1);
    // The line without message is the sixth; its child hung on it and hangs on its parent now.
    let hollow: Value = serde_json::from_str(old[5]).unwrap();
    let id = format!("\"parentId\":{}", hollow["id"]);
    let expected: Vec<String> = old
        .iter()
        .enumerate()
        .filter(|(at, _)| *at != 5)
        .map(|(_, line)| line.replace(&id, &format!("\"parentId\":{}", hollow["parentId"])))
        .collect();
    assert_eq!(new, expected);
    let entries: Vec<Value> = new.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ids: BTreeSet<&str> = entries[1..].iter().map(|entry| entry["id"].as_str().unwrap()).collect();
    assert!(entries[1..].iter().filter_map(|entry| entry["parentId"].as_str()).all(|parent| ids.contains(parent)));
}

#[test]
fn a_header_is_taken_from_the_copy_it_was_cut_from_or_made_of_what_is_known() {
    let store = Store::recorded("real-gateway");
    let sessions = "agents/main/sessions";
    let transcript = format!("{sessions}/56455481-701e-4126-9873-a99d55662c22.jsonl");
    let copy = format!("{transcript}.bak.2026-11-22T22-02-08.114Z");
    let (cut, whole) = (store.read(&transcript), store.read(copy));
    let header = lines(&whole)[0].to_vec();
    store.run(["validate", "--repair", "--severity", "fatal", "--now", NOW]).ok();
    assert_eq!(store.read(&transcript), [header, cut].concat());

    let store = Store::recorded("real-small");
    let transcript = format!("{sessions}/6f200014-d381-4049-a079-0b2ed82e22fb.jsonl");
    let rest = store.read(&transcript);
    store.run(["validate", "--repair", "--severity", "fatal", "--now", NOW]).ok();
    let mended = store.read(&transcript);
    let header: Value = serde_json::from_slice(lines(&mended)[0]).unwrap();
    let first: Value = serde_json::from_slice(lines(&rest)[0]).unwrap();
    let expected = json!({
        "type": "session", "version": 3, "id": "6f200014-d381-4049-a079-0b2ed82e22fb",
        "timestamp": first["timestamp"], "cwd": "/home/user/.openclaw/workspace",
    });
    assert_eq!(header, expected);
    assert!(mended.ends_with(&rest));
}

#[test]
fn what_has_no_exact_answer_is_left_as_it_is() {
    for folder in
        ["malformed-middle", "dangling-parent", "raw-nul", "no-json", "nul-only", "version-1-cycle", "user-only"]
    {
        let store = Store::crafted(folder);
        let before = store.tree().contents();
        let output = store.run(REPAIR);
        assert_eq!(output.json()["repair"]["mended"], json!([]), "{folder}");
        assert!(before.diff(&store.tree().contents()).is_empty(), "{folder}");
    }
}

#[test]
fn a_dry_run_of_a_repair_tells_the_same_and_touches_nothing() {
    let store = Store::recorded("real-small");
    let before = store.tree().exact();
    let dry = store.run(["validate", "--repair", "-n", "--json", "--now", NOW]).code(1).json();
    before.assert_same(&store.tree().exact());
    let done = store.run(REPAIR).code(1).json();
    assert_eq!(dry["repair"]["mended"], done["repair"]["mended"]);
    let transcripts = |one: &&Value| one["path"].as_str().unwrap().ends_with(".jsonl");
    assert_eq!(dry["repair"]["mended"].as_array().unwrap().iter().filter(transcripts).count(), 3);
    assert_eq!((&dry["repair"]["run"], done["repair"]["run"].is_string()), (&Value::Null, true));
}

#[test]
fn c09_a_live_transcript_is_not_mended() {
    let store = Store::crafted("self-parent");
    let process = LiveProcess::spawn();
    store.write(format!("{TRANSCRIPT}.lock"), lock_payload(process.pid(), process.starttime()));
    let before = store.tree().contents();
    let output = store.run(REPAIR).code(1);
    assert_eq!(output.json()["repair"]["mended"], json!([]));
    let gc = store.gc(["--now", NOW]).ok().json();
    assert_eq!(gc["bindings"][0]["reasons"][0], "live-lock");
    assert!(before.diff(&store.tree().contents()).is_empty());
}

#[test]
fn gc_mends_what_would_hurt_the_gateway_and_nothing_else() {
    let store = Store::recorded("real-small");
    let done = store.gc(["--idle", "off", "--now", NOW]).ok().json();
    assert_eq!((&done["done"]["repair"], &done["done"]["quarantine"]), (&json!(1), &json!(0)));
    let torn = "agents/main/sessions/609d15da-19b2-4375-ac81-87b419279afd.jsonl";
    assert!(!store.read(torn).ends_with(b"\n"), "a missing newline hurts nobody but its session");
    assert_eq!(store.gc(["--idle", "off", "--now", NOW]).ok().json()["run"], Value::Null);
}

#[test]
fn what_was_written_since_a_repair_is_not_overwritten_by_restore() {
    let store = Store::crafted("null-line");
    let damaged = store.read(TRANSCRIPT);
    store.run(REPAIR).ok();
    let mut grown = store.read(TRANSCRIPT);
    grown.extend_from_slice(b"{\"type\":\"custom\",\"id\":\"99999999\",\"parentId\":\"095e4761\"}\n");
    store.write(TRANSCRIPT, &grown);
    let refused = store.restore_latest().code(4).json();
    assert!(refused["refused"][0]["why"].as_str().unwrap().contains("--as-new"), "{refused}");
    assert_eq!(store.read(TRANSCRIPT), grown);
    store.run(["restore", "latest", "--as-new"]).ok();
    assert_eq!(store.read(TRANSCRIPT), grown);
    let beside = store.tree().0.into_iter().find(|(path, _)| path.to_string_lossy().contains("-restored-"));
    assert_eq!(beside.unwrap().1.bytes, damaged);
}

#[test]
fn a_repair_can_be_taken_back_by_its_key() {
    let store = Store::recorded("real-small");
    let before = store.tree().contents();
    store.run(REPAIR).code(1);
    let key = "agent:main:telegram:group:-100555000802";
    let one = store.run(["restore", key, "--json"]).ok().json();
    assert_eq!(one["files"], 1);
    assert_eq!(store.run(["runs", "--json"]).ok().json()["runs"][0]["state"], "partly-restored");
    store.restore_latest().ok();
    assert!(before.diff(&store.tree().contents()).is_empty());
}

fn keys_of(text: &[u8]) -> Vec<String> {
    let store: Value = serde_json::from_slice(text).unwrap();
    store.as_object().unwrap().keys().cloned().collect()
}

#[test]
fn c01_of_a_store_cut_anywhere_every_entry_that_ended_before_the_cut_comes_back() {
    let mut cuts = 0;
    for name in ["real-small", "real-gateway"] {
        let whole = Store::recorded(name);
        let text = whole.read(SESSIONS);
        let all = keys_of(&text);
        // Entries are indented by two: each ends with a line of its own.
        let ends: Vec<usize> =
            text.windows(4).enumerate().filter(|(_, four)| four == b"\n  }").map(|(at, _)| at + 4).collect();
        assert_eq!(ends.len(), all.len());
        let points: Vec<usize> = (1..text.len()).step_by(1000).collect();
        cuts += points.len();
        points.par_iter().for_each(|&cut| {
            let given = claw_sessions::model::salvage::salvage(&text[..cut]).unwrap_or_else(|| panic!("{name} {cut}"));
            let expected = ends.iter().filter(|&&end| end <= cut).count();
            assert_eq!(keys_of(&given.text), all[..expected], "{name} cut at {cut}");
            assert!(text.starts_with(&given.text[..given.text.len() - 2]), "{name} {cut}: the bytes are the old ones");
        });
        // The whole way, on the built binary, at some of them.
        points.par_iter().step_by(97).for_each(|&cut| {
            let store = Store::recorded(name);
            store.write(SESSIONS, &text[..cut]);
            let before = store.tree().contents();
            let output = store.run(["validate", "--repair", "--salvage", "--now", NOW, "--json"]);
            assert!(output.code.is_some_and(|code| code <= 1), "{name} cut at {cut}: {output}");
            let expected = ends.iter().filter(|&&end| end <= cut).count();
            assert_eq!(keys_of(&store.read(SESSIONS)), all[..expected], "{name} cut at {cut}");
            store.restore_latest().ok();
            assert!(before.diff(&store.tree().contents()).is_empty(), "{name} cut at {cut}");
        });
    }
    assert!(cuts > 600, "{cuts}");
}

#[test]
fn a_salvage_says_what_is_gone_and_what_can_be_adopted() {
    let store = Store::crafted("truncated");
    let broken = store.read(SESSIONS);
    let salvage = ["validate", "--repair", "--salvage", "--json", "--now", NOW];
    let done = store.run(salvage).ok().json();
    let told = &done["repair"]["mended"][0]["salvage"];
    assert_eq!(told["entries"], 2);
    let orphan = told["adoptable"][0].as_str().unwrap();
    assert_eq!(told["broken"], json!([{"key": "agent:main:telegram:direct:3", "transcript": orphan}]));
    store.run(["restore", "--adopt", orphan, "--key", "agent:main:telegram:direct:3"]).ok();
    assert_eq!(store.sessions("main").as_object().unwrap().len(), 3);
    let scan = store.scan(["--now", NOW]);
    assert_eq!(support::binding(&scan, "agent:main:telegram:direct:3")["integrity"], "intact");
    // The adoption, then the salvage, taken back.
    store.restore_latest().ok();
    store.restore_latest().ok();
    assert_eq!(store.read(SESSIONS), broken);
}

#[test]
fn a_rotation_is_undone_and_keys_of_older_backups_come_when_asked() {
    let store = Store::crafted("rotated-away");
    let backup = "agents/main/sessions/sessions.json.bak.1795384800000";
    let newest = store.read(backup);
    let older = String::from_utf8(newest.clone()).unwrap().replace("direct:3\"", "direct:33\"");
    store.write("agents/main/sessions/sessions.json.bak.1795384700000", older);
    let salvage = ["validate", "--repair", "--salvage", "--json", "--now", NOW];
    let done = store.run(salvage).ok().json();
    assert_eq!(store.read(SESSIONS), newest);
    let told = &done["repair"]["mended"][0]["salvage"];
    assert_eq!(told["inBackups"][0]["key"], "agent:main:telegram:direct:33");
    store.restore_latest().ok();
    assert!(!store.exists(SESSIONS), "it was gone before");

    store.run([&salvage[..], &["--from-backups"]].concat()).ok();
    let keys = keys_of(&store.read(SESSIONS));
    assert_eq!(keys.len(), 4);
    assert!(store.read(SESSIONS).starts_with(&newest[..newest.len() - 2]), "what was there keeps its bytes");
    store.restore_latest().ok();
    assert!(!store.exists(SESSIONS));
}

#[test]
fn a_mark_goes_and_what_is_no_store_is_refused_with_the_way_out() {
    let store = Store::crafted("bom");
    let marked = store.read(SESSIONS);
    let salvage = ["validate", "--repair", "--salvage", "--json", "--now", NOW];
    store.run(salvage).ok();
    assert_eq!(store.read(SESSIONS), marked[3..]);
    for folder in ["array", "null-store", "scalar"] {
        let store = Store::crafted(folder);
        let before = store.tree().contents();
        let refused = store.run(salvage).code(4).json();
        assert!(refused["repair"]["refused"][0]["why"].as_str().unwrap().contains("backup"), "{folder}: {refused}");
        assert!(before.diff(&store.tree().contents()).is_empty(), "{folder}");
    }
}

#[test]
fn gc_salvages_when_asked_and_goes_on_in_the_same_run() {
    let store = Store::recorded("real-small");
    let text = store.read(SESSIONS);
    store.write(SESSIONS, &text[..200_000]);
    let before = store.tree().contents();
    let limits = ["--salvage", "--idle", "10m", "--unprotect", "group", "--now", "2026-11-22T23:30:00Z"];
    let dry = store.run([&["gc", "-n", "--json"][..], &limits].concat()).ok().json();
    let done = store.gc(limits).ok().json();
    assert_eq!(dry["planned"], done["done"]);
    assert_eq!(done["done"]["salvage"], 1);
    assert!(done["done"]["expire"].as_u64().unwrap() > 5);
    assert!(done["files"].as_array().unwrap().iter().all(|file| file["kind"] != "orphan" || file["action"] == "keep"));
    store.restore_latest().ok();
    assert!(before.diff(&store.tree().contents()).is_empty());
}

#[test]
fn every_crafted_folder_survives_repair_and_salvage_and_comes_back() {
    expected("crafted/expected.tsv").par_iter().for_each(|row| {
        let store = Store::crafted(&row["folder"]);
        let before = store.tree().contents();
        let output = store.run(["validate", "--repair", "--salvage", "--from-backups", "--json", "--now", NOW]);
        assert!(matches!(output.code, Some(0 | 1 | 3 | 4)), "{}: {output}", row["folder"]);
        if output.json()["repair"]["run"].is_string() {
            store.restore_latest().ok();
        }
        let diff = before.diff(&store.tree().contents());
        assert!(diff.is_empty(), "{}:\n{diff}", row["folder"]);
    });
}

#[test]
fn adoption_refuses_what_would_overwrite_or_lead_nowhere() {
    let store = StoreBuilder::new()
        .agent("main")
        .binding(KEY, |one| one.session_id("bound"))
        .orphan("loose", "3d")
        .file("agents/main/sessions/lost.jsonl", "junk\n")
        .build();
    let before = store.tree().contents();
    let adopt = |file: &str, key: &str| {
        store.run(["restore", "--adopt", &format!("agents/main/sessions/{file}"), "--key", key, "--json"])
    };
    for (file, key, code) in [
        ("bound.jsonl", "agent:main:telegram:direct:2", 2),
        ("none.jsonl", "agent:main:telegram:direct:2", 2),
        ("loose.jsonl", KEY, 4),
        ("loose.jsonl", "agent:other:telegram:direct:2", 2),
        ("loose.jsonl", "telegram:direct:2", 2),
        ("lost.jsonl", "agent:main:telegram:direct:2", 4),
    ] {
        let output = adopt(file, key);
        assert_eq!(output.code, Some(code), "{file} {key}: {output}");
        assert!(before.diff(&store.tree().contents()).is_empty(), "{file} {key}");
    }
    adopt("loose.jsonl", "agent:main:telegram:direct:2").ok();
    let entry = &store.sessions("main")["agent:main:telegram:direct:2"];
    assert_eq!((&entry["sessionId"], &entry["sessionFile"]), (&json!("loose"), &json!("loose.jsonl")));
    store.restore_latest().ok();
    assert!(before.diff(&store.tree().contents()).is_empty());
}

#[test]
fn the_original_of_a_mended_file_that_went_away_comes_back_beside_its_place() {
    let store = Store::crafted("null-line");
    let damaged = store.read(TRANSCRIPT);
    store.run(REPAIR).ok();
    store.remove(TRANSCRIPT);
    assert!(store.restore_latest().code(4).json().to_string().contains("--as-new"));
    store.run(["restore", "latest", "--as-new"]).ok();
    let beside = store.tree().0.into_iter().find(|(path, _)| path.to_string_lossy().contains("-restored-"));
    assert_eq!(beside.unwrap().1.bytes, damaged);
}
