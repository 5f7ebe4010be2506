//! Rows that come back: what a dry restore says, what was written since, and an archive that somebody tampered with.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use support::Store;
use support::rows::differences;

/// After the recorded runs.
const NOW: &str = "2026-11-30T21:30:00Z";
const DIRECT: &str = "agent:main:telegram:direct:700000010";
const OTHER: &str = "agent:main:telegram:direct:700000033";

/// The file that holds the rows of the only run.
fn kept(store: &Store) -> PathBuf {
    let run = fs::read_dir(store.path("claw-sessions/runs")).unwrap().next().unwrap().unwrap();
    run.path().join("files/main/sessions.rows.sqlite")
}

fn refused(document: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    document["refused"].as_array().unwrap().iter().map(|one| (text(&one["key"]), text(&one["code"]))).collect()
}

/// Gives a session of each key old traces.
fn with_traces(store: &Store) {
    for key in [DIRECT, OTHER] {
        store.edit_rows(
            "main",
            &format!(
                "INSERT INTO trajectory_runtime_events (session_id, seq, event_json, created_at) SELECT current_session_id, \
                 1000, '{{}}', 1 FROM session_nodes WHERE session_key = '{key}'"
            ),
        );
    }
}

#[test]
fn a_dry_restore_says_what_would_come_back_and_changes_nothing() {
    for args in [&["gc", "--all"][..], &["quarantine", DIRECT, OTHER], &["gc", "--max-resumes", "0"]] {
        let store = Store::native();
        store.run(args.iter().copied().chain(["--now", NOW])).ok();
        let before = store.tree().exact();
        let dry = store.run(["restore", "latest", "-n", "--json"]).ok().json();
        before.assert_same(&store.tree().exact());
        let real = store.run(["restore", "latest", "--json"]).ok().json();
        assert_eq!(dry["bindings"], real["bindings"], "{args:?}");
        assert!(!dry["bindings"].as_array().unwrap().is_empty());
    }
}

#[test]
fn a_dry_restore_refuses_what_a_restore_refuses() {
    let store = Store::native();
    store.run(["quarantine", DIRECT, OTHER, "--now", NOW]).ok();
    store.edit_rows(
        "main",
        &format!(
            "INSERT INTO session_nodes (session_key, current_session_id, entry_json, updated_at) VALUES ('{OTHER}', 'new', \
             '{{\"sessionId\":\"new\",\"updatedAt\":1}}', 1)"
        ),
    );
    let before = store.tree().exact();
    let dry = store.run(["restore", "latest", "-n", "--json"]).code(4).json();
    before.assert_same(&store.tree().exact());
    assert_eq!(refused(&dry), [(OTHER.to_owned(), "key-bound".to_owned())]);
    let real = store.run(["restore", "latest", "--json"]).code(4).json();
    assert_eq!((&dry["bindings"], refused(&dry)), (&real["bindings"], refused(&real)));
}

#[test]
fn rows_whose_session_is_gone_are_told_and_the_rest_comes_back() {
    let store = Store::native();
    with_traces(&store);
    let traces = "SELECT count(*) FROM trajectory_runtime_events WHERE seq = 1000";
    store.run(["gc", "--only", "agent:main:telegram:direct:7000000*", "--trajectories", "30d", "--now", NOW]).ok();
    assert_eq!(store.count_rows("main", traces), 0);
    // OpenClaw deletes a session, and with it all that it has.
    let delete = format!("DELETE FROM session_nodes WHERE session_key = '{DIRECT}'");
    store.open_rows("main", true).execute_batch(&delete).unwrap();
    let dry = store.run(["restore", "latest", "-n", "--json"]).code(4).json();
    let restored = store.run(["restore", "latest", "--json"]).code(4).json();
    assert_eq!(refused(&restored), [(DIRECT.to_owned(), "session-gone".to_owned())]);
    assert_eq!(refused(&dry), refused(&restored));
    assert_eq!(store.count_rows("main", traces), 1);
    assert_eq!(store.count_rows("main", "SELECT count(*) FROM pragma_foreign_key_check"), 0);
}

#[test]
fn a_key_with_several_changes_gets_all_of_them_in_one_run() {
    let store = Store::native();
    with_traces(&store);
    let of = format!("(SELECT current_session_id FROM session_nodes WHERE session_key = '{DIRECT}')");
    store.edit_rows(
        "main",
        &format!(
            "UPDATE session_nodes SET entry_json = json_set(entry_json, '$.label', 'mine') WHERE session_key = '{DIRECT}'; \
             DELETE FROM transcript_events WHERE seq = 0 AND session_id = {of}; \
             DELETE FROM transcript_event_identities WHERE seq = 0 AND session_id = {of}; \
             UPDATE transcript_events SET event_json = substr(event_json, 1, 40), event_utf8_bytes = 40 WHERE seq IN (4, 5) \
             AND event_json IS NOT NULL AND session_id = {of}"
        ),
    );
    let damaged = store.all_rows("main");
    let mended = store.run(["validate", "--repair", "--json", "--now", NOW]).json();
    assert_eq!(mended["skipped"].as_array().map(Vec::len).unwrap_or_default(), 0, "{mended:#}");
    let grave = |document: &Value| {
        let problems = document["problems"].as_array().unwrap();
        problems.iter().filter(|one| one["key"] == DIRECT && one["severity"] == "fatal").count()
    };
    assert_eq!(grave(&store.run(["validate", "--json", "--now", NOW]).json()), 0);
    store.restore_latest().ok();
    let back = differences(&damaged, &store.all_rows("main"));
    assert!(back.is_empty(), "{back:?}");
    // Old traces and a window that nobody names go together, too.
    let store = Store::native();
    with_traces(&store);
    store.edit_rows(
        "main",
        &format!("INSERT INTO session_windows (session_id, session_key, created_at, updated_at) VALUES ('old', '{DIRECT}', 1, 1)"),
    );
    let before = store.all_rows("main");
    let args = ["gc", "--only", DIRECT, "--trajectories", "30d", "--history", "30d", "--json", "--now", NOW];
    let trimmed = store.run(args).ok().json();
    assert_eq!(trimmed["skipped"].as_array().unwrap().len(), 0, "{trimmed:#}");
    assert_eq!(store.count_rows("main", "SELECT count(*) FROM session_windows WHERE session_id = 'old'"), 0);
    store.restore_latest().ok();
    let back = differences(&before, &store.all_rows("main"));
    assert!(back.is_empty(), "{back:?}");
}

#[test]
fn purging_one_of_two_keys_that_share_a_session_keeps_the_other_whole() {
    const TWIN: &str = "agent:main:telegram:direct:799999999";
    let store = Store::native();
    store.edit_rows(
        "main",
        &format!(
            "CREATE TEMP TABLE twin AS SELECT * FROM session_nodes WHERE session_key = '{DIRECT}'; \
             UPDATE twin SET session_key = '{TWIN}'; INSERT INTO session_nodes SELECT * FROM twin"
        ),
    );
    let before = store.all_rows("main");
    store.run(["quarantine", DIRECT, TWIN, "--now", NOW]).ok();
    // As a gc leaves it that finds one of them damaged and the other old; and long ago.
    let run = store.run_ids().remove(0);
    let mut manifest = store.manifest(&run);
    for entry in manifest["batches"][0]["entries"].as_array_mut().unwrap() {
        if entry["key"] == DIRECT {
            entry["action"] = "expire".into();
        }
    }
    (manifest["finishedAt"], manifest["notBefore"]) = ("2026-01-01T00:00:00Z".into(), "2026-01-01T00:00:00Z".into());
    store.set_manifest(&run, manifest);
    store.run(["quarantine", "purge", "--older-than=30d", "--yes"]).ok();
    store.run(["restore", &run, "--key", DIRECT]).ok();
    let lost = differences(&before, &store.all_rows("main"));
    assert!(lost.is_empty(), "{lost:?}");
}

#[test]
fn a_lock_that_cannot_be_looked_at_may_be_held() {
    let store = Store::native();
    let before = store.all_rows("main");
    let dir = store.path("tmp").join(format!("openclaw-{}", rustix::process::getuid().as_raw()));
    fs::create_dir_all(&dir).unwrap();
    let lock = dir.join("gateway.0.lock.sqlite");
    std::os::unix::fs::symlink("/nowhere", &lock).unwrap();
    let output = store.run(["quarantine", DIRECT, "--json", "--now", NOW]);
    assert_eq!(output.code, Some(4), "{output}");
    assert!(output.stdout.contains("in-use"), "{output}");
    assert!(differences(&before, &store.all_rows("main")).is_empty());
    fs::remove_file(&lock).unwrap();
    store.run(["quarantine", DIRECT, "--now", NOW]).ok();
}

#[test]
fn a_session_that_the_entry_names_wrongly_keeps_its_history() {
    for column in [false, true] {
        let store = Store::native();
        let of = |what: &str| {
            let query = format!("SELECT {what} FROM session_nodes WHERE session_key = '{DIRECT}'");
            store.open_rows("main", true).query_row(&query, [], |row| row.get::<_, String>(0)).unwrap()
        };
        let session = of("current_session_id");
        let set = if column {
            "current_session_id = 'nowhere'"
        } else {
            "entry_json = json_set(entry_json, '$.sessionId', 'nowhere')"
        };
        store.edit_rows("main", &format!("UPDATE session_nodes SET {set} WHERE session_key = '{DIRECT}'"));
        drop(store.run(["validate", "--repair", "--now", NOW]));
        assert_eq!(of("current_session_id"), session);
        assert_eq!(of("json_extract(entry_json, '$.sessionId')"), session);
    }
}

#[test]
fn what_lies_beside_an_archive_is_not_part_of_it() {
    let store = Store::native();
    let before = store.all_rows("main");
    store.run(["quarantine", DIRECT, "--now", NOW]).ok();
    let archive = kept(&store);
    // A log of another database, made by a connection that was killed.
    let other = tempfile::tempdir().unwrap();
    let forged = other.path().join("forged.sqlite");
    fs::copy(&archive, &forged).unwrap();
    let db = rusqlite::Connection::open(&forged).unwrap();
    db.execute_batch("PRAGMA journal_mode = WAL; UPDATE session_nodes SET entry_json = '{\"forged\":true}'").unwrap();
    fs::copy(other.path().join("forged.sqlite-wal"), archive.with_file_name("sessions.rows.sqlite-wal")).unwrap();
    drop(db);
    store.restore_latest().ok();
    let back = differences(&before, &store.all_rows("main"));
    assert!(back.is_empty(), "{back:?}");
}

#[test]
fn a_flipped_bit_in_an_archive_of_rows_is_told_and_nothing_comes_back() {
    let store = Store::native();
    store.run(["quarantine", DIRECT, "--now", NOW]).ok();
    let archive = kept(&store);
    let mut bytes = fs::read(&archive).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(&archive, bytes).unwrap();
    let before = store.all_rows("main");
    let restored = store.run(["restore", "latest", "--json"]).json();
    assert_eq!(restored["failed"][0]["code"], "archive-damaged", "{restored:#}");
    assert!(differences(&before, &store.all_rows("main")).is_empty());
}
