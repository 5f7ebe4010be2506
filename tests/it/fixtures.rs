//! The fixtures and the generator are what their tables say.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;
use support::generate::{Spec, generate};
use support::{NOW, Store, expected, fixture, tree};

#[test]
fn every_crafted_folder_has_its_why_and_its_row() {
    let rows = expected("crafted/expected.tsv");
    let listed: BTreeSet<&str> = rows.iter().map(|row| row["folder"].as_str()).collect();
    for entry in fs::read_dir(fixture("crafted")).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            let name = entry.file_name().into_string().unwrap();
            assert!(listed.contains(name.as_str()), "{name} has no row");
        }
    }
    for row in &rows {
        let why = fs::read_to_string(fixture("crafted").join(&row["folder"]).join("WHY")).unwrap();
        assert_eq!(why.trim_end(), row["note"], "{}", row["folder"]);
        let store = Store::crafted(&row["folder"]);
        assert!(store.exists("agents/main/sessions") && !store.exists("WHY"));
    }
}

#[test]
fn recorded_stores_hold_what_their_tables_list() {
    for name in ["real-small", "real-gateway"] {
        let store = Store::recorded(name);
        let rows = expected(&format!("{name}.expected.tsv"));
        let mut bindings = 0;
        for agent in ["illarion", "main", "marketer"] {
            bindings += store.sessions(agent).as_object().unwrap().len();
        }
        assert_eq!(bindings, rows.len());
        for row in rows {
            let path = format!("agents/{}/sessions/{}", row["agent"], row["transcript"]);
            let expects = !["missing", "never-written"].contains(&row["integrity"].as_str());
            assert_eq!(store.exists(&path), expects, "{path}");
        }
    }
}

#[test]
fn the_recorded_import_holds_what_its_tables_list() {
    let store = Store::recorded("real-sqlite-9.6");
    assert_eq!(expected("real-sqlite-9.6.expected.tsv").len(), 41);
    for row in expected("real-sqlite-9.6.leftovers.tsv") {
        let lines = store.read(&row["path"]).split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).count();
        assert_eq!(lines.to_string(), row["lines"], "{}", row["path"]);
    }
    let log = |agent: &str| store.read(format!("agents/{agent}/agent/openclaw-agent.sqlite-wal")).len();
    assert!(log("main") > 0, "the killed run is in it");
    assert_eq!((log("illarion"), log("marketer")), (0, 0));
}

#[test]
fn recorded_stores_keep_modes_and_nanoseconds() {
    let store = Store::recorded("real-small");
    let tree = store.tree();
    let sessions = &tree.0[std::path::Path::new("agents/main/sessions/sessions.json")];
    assert_eq!(sessions.mode, 0o600);
    let transcript = &tree.0[std::path::Path::new("agents/main/sessions/0016b404-4880-4228-a893-ad5c94f53a0a.jsonl")];
    assert_eq!((transcript.mode, transcript.mtime_ns), (0o644, 1_795_384_170_625_132_608));
    assert_eq!(tree.0[std::path::Path::new("agents/main")].mode, 0o700);
}

#[test]
fn the_generated_issue_has_the_reported_numbers_and_is_the_same_each_time() {
    let dir = tempfile::tempdir().unwrap();
    let now = NOW.parse().unwrap();
    let state = dir.path().join("state");
    generate(&state, &Spec::issue_44687(), now);
    let first = tree(&state);
    for (agent, bindings, files) in [("illarion", 32, 19), ("main", 21, 22), ("marketer", 13, 15)] {
        let sessions = state.join("agents").join(agent).join("sessions");
        let bytes = fs::read(sessions.join("sessions.json")).unwrap();
        let store: Value = serde_json::from_slice(&bytes).unwrap();
        let entries = store.as_object().unwrap();
        assert_eq!(entries.len(), bindings, "{agent}");
        assert_eq!(support::openclaw::pretty(&store).as_bytes(), bytes, "written as JavaScript would");
        let transcripts = fs::read_dir(&sessions)
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "jsonl"));
        assert_eq!(transcripts.count(), files, "{agent}");
    }
    fs::remove_dir_all(&state).unwrap();
    generate(&state, &Spec::issue_44687(), now);
    first.contents().assert_same(&tree(&state).contents());
}
