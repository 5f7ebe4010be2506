//! Sessions in SQLite, changed: what gc, quarantine and repair take or put right, and that `restore` brings it back row
//! for row.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;
use support::rows::{Rows, differences};
use support::{Store, binding, expected, keys, verdict};

/// After the recorded runs.
const NOW: &str = "2026-11-30T21:30:00Z";
const DIRECT: &str = "agent:main:telegram:direct:700000010";
const OTHER: &str = "agent:main:telegram:direct:700000033";
/// The one conversation of the recording whose error sits in its own history.
const OVERFLOW: &str = "agent:main:telegram:direct:700000413";

/// The problems of rows, each of which a state of this file shows.
pub(crate) const TOLD: [&str; 17] = [
    "alias-key",
    "alias-placeholder",
    "entry-differs",
    "entry-unreadable",
    "history-in-window",
    "input-waiting",
    "known-elsewhere",
    "mixed-key",
    "pages-damaged",
    "projection-behind",
    "rows-orphaned",
    "schema-incomplete",
    "shape-unknown",
    "stale-running",
    "stuck-inputs",
    "torn-event",
    "window-no-header",
];

fn session_of(store: &Store, key: &str) -> String {
    let query = "SELECT current_session_id FROM session_nodes WHERE session_key = ?1";
    store.open_rows("main", true).query_row(query, [key], |row| row.get(0)).unwrap()
}

fn codes(document: &Value) -> Vec<(String, String)> {
    let grave = |one: &&Value| one["severity"] == "fatal" || one["severity"] == "high";
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    document["problems"]
        .as_array()
        .unwrap()
        .iter()
        .filter(grave)
        .map(|one| (text(&one["code"]), text(&one["key"])))
        .collect()
}

fn validate(store: &Store) -> Value {
    store.run(["validate", "--json", "--now", NOW]).json()
}

/// Runs a verb, and makes sure that `restore` brings every row back. Returns what the verb changed.
fn there_and_back(store: &Store, args: &[&str]) -> BTreeMap<String, (usize, usize)> {
    let before = store.all_rows("main");
    store.run(args.iter().copied().chain(["--now", NOW])).ok();
    assert_eq!(store.count_rows("main", "SELECT count(*) FROM pragma_foreign_key_check"), 0);
    let changed = differences(&before, &store.all_rows("main"));
    store.restore_latest().ok();
    let back = differences(&before, &store.all_rows("main"));
    assert!(back.is_empty(), "{back:?}");
    changed
}

fn rows(changed: &BTreeMap<String, (usize, usize)>, table: &str) -> (usize, usize) {
    changed.get(table).copied().unwrap_or_default()
}

#[test]
fn the_recorded_bindings_stand_as_rows_and_entries_say() {
    let scan = Store::native().scan(["--now", NOW]);
    // Where the entry knows more than the last event: stopped by a person, refused before the model was asked.
    let told_by_entry: BTreeMap<&str, &str> = [
        ("021", "aborted"),
        ("022", "aborted"),
        ("040", "errored"),
        ("050", "errored"),
        ("051", "errored"),
        ("052", "errored"),
        ("054", "errored"),
        ("055", "errored"),
        ("056", "errored"),
        ("607", "errored"),
    ]
    .into();
    for row in expected("real-sqlite-native-9.6.expected.tsv") {
        let one = binding(&scan, &row["key"]);
        let tail = row["key"].rsplit(':').next().unwrap().get(6..).unwrap_or_default();
        let run = told_by_entry.get(tail).copied().filter(|_| row["key"].contains(":direct:")).unwrap_or(&row["run"]);
        assert_eq!(one["run"], run, "{}", row["key"]);
        assert_eq!(
            (one["integrity"].as_str(), one["sessionId"].as_str()),
            (Some(&*row["integrity"]), Some(&*row["session"]))
        );
    }
    assert_eq!(scan["startup"]["model"], "running-rows");
    assert_eq!((&scan["startup"]["before"]["resumable"], &scan["startup"]["slots"]), (&5.into(), &1.into()));
}

#[test]
fn what_gc_takes_comes_back_row_for_row() {
    let changed = there_and_back(&Store::native(), &["gc"]);
    assert_eq!(rows(&changed, "session_nodes"), (1, 0), "{changed:?}");
    assert_eq!((rows(&changed, "session_windows"), rows(&changed, "transcript_events")), ((1, 0), (6, 0)));
    assert_eq!(rows(&changed, "session_transcript_fts"), rows(&changed, "session_transcript_fts_rows"));
}

#[test]
fn everything_that_may_go_comes_back_row_for_row() {
    let store = Store::native();
    let changed = there_and_back(&store, &["gc", "--all"]);
    // What runs, waits, is pinned or archived stays: five, one, one and one; so does what they name.
    assert_eq!(rows(&changed, "session_nodes"), (35, 0), "{changed:?}");
}

#[test]
fn a_window_that_another_entry_names_goes_over_to_it() {
    let store = Store::native();
    let run = "agent:main:cron:307f1aa4-ba88-4355-a4b6-dbd4aaed5656:run:53ff53dd-97c0-424f-916b-46b6e1e825f2";
    let later = "2026-12-03T00:00:00Z";
    let before = store.all_rows("main");
    let taken = store.run(["gc", "--json", "--only", run, "--now", later]).ok().json();
    assert_eq!(keys(&taken, "expire"), [run]);
    let owner = "SELECT count(*) FROM session_windows WHERE session_id = '53ff53dd-97c0-424f-916b-46b6e1e825f2' \
                 AND session_key = 'agent:main:cron:307f1aa4-ba88-4355-a4b6-dbd4aaed5656'";
    assert_eq!(store.count_rows("main", owner), 1);
    store.restore_latest().ok();
    assert_eq!(differences(&before, &store.all_rows("main")), BTreeMap::new());
}

/// A damage, the code of its problem, the key that it is of, and the tables that a repair changes.
type Damage<'a> = (&'a str, &'a str, &'a str, &'a [&'a str]);

fn damages() -> Vec<Damage<'static>> {
    let rebuilt: &[&str] = &["session_transcript_index_state", "transcript_event_identities", "transcript_events"];
    vec![
        (
            "UPDATE transcript_events SET event_json = substr(event_json, 1, 40), event_utf8_bytes = 40 WHERE seq = 5 AND \
             session_id = (SELECT current_session_id FROM session_nodes WHERE session_key = 'agent:main:telegram:direct:700000033')",
            "torn-event",
            OTHER,
            rebuilt,
        ),
        (
            "UPDATE transcript_events SET event_zstd = x'00112233' WHERE event_zstd IS NOT NULL AND session_id = (SELECT \
             current_session_id FROM session_nodes WHERE session_key = 'agent:main:telegram:direct:700000012')",
            "torn-event",
            "agent:main:telegram:direct:700000012",
            rebuilt,
        ),
        (
            "UPDATE session_nodes SET entry_json = json_set(entry_json, '$.label', 'mine') WHERE session_key = \
             'agent:main:telegram:direct:700000033'",
            "entry-differs",
            OTHER,
            &["session_nodes"],
        ),
        (
            "UPDATE session_nodes SET updated_at = updated_at + 1000 WHERE session_key = 'agent:main:telegram:direct:700000033'; \
             UPDATE session_nodes SET entry_valid = 1 WHERE session_key = 'agent:main:telegram:direct:700000033'",
            "entry-differs",
            OTHER,
            &["session_nodes"],
        ),
        (
            "UPDATE session_nodes SET entry_json = json_set(entry_json, '$.sessionId', 'nowhere') WHERE session_key = \
             'agent:main:telegram:direct:700000033'",
            "entry-differs",
            OTHER,
            &["session_nodes"],
        ),
        (
            "UPDATE session_nodes SET current_session_id = 'gone' WHERE session_key = 'agent:main:telegram:direct:700000033'; \
             UPDATE session_nodes SET entry_valid = 1 WHERE session_key = 'agent:main:telegram:direct:700000033'",
            "entry-differs",
            OTHER,
            &["session_nodes"],
        ),
        (
            "INSERT INTO session_nodes (session_key, current_session_id, entry_json, entry_valid, updated_at) SELECT \
             'agent:main:telegram:default:direct:700000010', current_session_id, '{}', -1, updated_at FROM session_nodes \
             WHERE session_key = 'agent:main:telegram:direct:700000010'",
            "alias-placeholder",
            "agent:main:telegram:default:direct:700000010",
            &["session_canonical_validation_pending", "session_nodes"],
        ),
        (
            "DELETE FROM session_nodes WHERE session_key = 'agent:main:telegram:direct:700000413'",
            "rows-orphaned",
            OVERFLOW,
            &[
                "session_participants",
                "session_transcript_active_events",
                "session_transcript_fts",
                "session_transcript_fts_rows",
                "session_transcript_index_state",
                "session_windows",
                "transcript_event_identities",
                "transcript_events",
                "transcript_rewrite_watermarks",
            ],
        ),
        (
            "DELETE FROM transcript_events WHERE seq = 3 AND session_id = (SELECT current_session_id FROM session_nodes WHERE \
             session_key = 'agent:main:telegram:direct:700000010')",
            "rows-orphaned",
            "ef35f19a-3660-4f0c-9f94-4ec6a93b80e3",
            &["session_transcript_active_events", "session_transcript_index_state", "transcript_event_identities"],
        ),
        (
            "DELETE FROM session_windows WHERE session_key = 'agent:main:telegram:direct:700000413'; \
             DELETE FROM session_nodes WHERE session_key = 'agent:main:telegram:direct:700000413'",
            "rows-orphaned",
            "7155eb74-2393-4775-b677-97f32c1a0219",
            &[],
        ),
    ]
}

#[test]
fn every_damage_of_rows_is_named_mended_and_comes_back_as_it_was() {
    for (sql, code, key, tables) in damages() {
        let store = Store::native();
        store.edit_rows("main", sql);
        let damaged: Rows = store.all_rows("main");
        let found = store.run(["validate", "--json", "--now", NOW]).code(1).json();
        assert!(codes(&found).contains(&(code.to_owned(), key.to_owned())), "{sql}: {:?}", codes(&found));
        store.run(["validate", "--repair", "--now", NOW, "--fail-on", "fatal"]).ok();
        let changed = differences(&damaged, &store.all_rows("main"));
        if !tables.is_empty() {
            assert_eq!(changed.keys().map(String::as_str).collect::<Vec<_>>(), tables, "{sql}");
        }
        assert_eq!(store.count_rows("main", "SELECT count(*) FROM pragma_foreign_key_check"), 0, "{sql}");
        assert!(!codes(&validate(&store)).iter().any(|(found, _)| found == code), "{sql}");
        store.restore_latest().ok();
        let back = differences(&damaged, &store.all_rows("main"));
        assert!(back.is_empty(), "{sql}: {back:?}");
        // A start mends it as well, and the session stays.
        store.run(["gc", "--boot", "--now", NOW]).ok();
        assert!(!codes(&validate(&store)).iter().any(|(found, _)| found == code), "{sql}");
    }
}

#[test]
fn a_session_without_header_gets_one_in_front() {
    let store = Store::native();
    let session = session_of(&store, DIRECT);
    store.edit_rows(
        "main",
        &format!(
            "DELETE FROM transcript_events WHERE seq = 0 AND session_id = '{session}'; DELETE FROM \
         transcript_event_identities WHERE seq = 0 AND session_id = '{session}'"
        ),
    );
    assert!(codes(&validate(&store)).contains(&("window-no-header".to_owned(), DIRECT.to_owned())));
    there_and_back(&store, &["validate", "--repair"]);
    store.run(["gc", "--boot", "--now", NOW]).ok();
    let header = format!(
        "SELECT count(*) FROM transcript_events WHERE session_id = '{session}' AND seq = 0 AND \
                          json_extract(event_json, '$.type') = 'session'"
    );
    assert_eq!(store.count_rows("main", &header), 1);
}

#[test]
fn an_entry_that_cannot_be_read_is_left_to_openclaw() {
    let store = Store::native();
    store.edit_rows(
        "main",
        "UPDATE session_nodes SET entry_json = '{broken' WHERE session_key = 'agent:main:telegram:direct:700000033'",
    );
    let before = store.all_rows("main");
    assert!(codes(&validate(&store)).contains(&("entry-unreadable".to_owned(), OTHER.to_owned())));
    store.run(["gc", "--boot", "--only", OTHER, "--now", NOW]).ok();
    assert!(differences(&before, &store.all_rows("main")).is_empty());
    assert_eq!(verdict(&store.scan(["--now", NOW]), OTHER), "keep row-unreadable");
}

#[test]
fn rows_that_say_running_are_settled_and_readmitted() {
    let store = Store::native();
    let changed = there_and_back(&store, &["gc", "--only", "agent:main:*:7000000*", "--max-resumes", "1"]);
    assert_eq!(rows(&changed, "session_nodes"), (4, 4), "{changed:?}");
    // Nothing but status and claims differs, and the conversations stay.
    assert_eq!(rows(&changed, "transcript_events"), (0, 0));
    store.run(["gc", "--max-resumes", "0", "--now", NOW]).ok();
    let running = "SELECT count(*) FROM session_nodes WHERE status = 'running' OR json_extract(entry_json, '$.status') = 'running'";
    assert_eq!(store.count_rows("main", running), 0);
    assert_eq!(store.count_rows("main", "SELECT count(*) FROM session_nodes WHERE entry_valid <> 1"), 0);
    store.run(["restore", "--deferred"]).ok();
    assert_eq!(store.count_rows("main", running), 5);
}

#[test]
fn a_start_settles_what_says_running_for_more_than_a_day() {
    let store = Store::native();
    store.run(["gc", "--boot", "--now", NOW]).ok();
    let running = "SELECT count(*) FROM session_nodes WHERE status = 'running'";
    assert_eq!(store.count_rows("main", running), 5);
    store.run(["gc", "--boot", "--resume-max-age", "off", "--now", "2026-12-03T00:00:00Z"]).ok();
    assert_eq!(store.count_rows("main", running), 5);
    store.run(["gc", "--boot", "--now", "2026-12-03T00:00:00Z"]).ok();
    assert_eq!(store.count_rows("main", running), 0);
}

#[test]
fn an_age_limit_marks_a_conversation_as_archived_and_takes_it_out_on_request() {
    let store = Store::native();
    let changed = there_and_back(&store, &["gc", "--only", DIRECT, "--idle", "1h"]);
    assert_eq!((rows(&changed, "session_nodes"), rows(&changed, "transcript_events")), ((1, 1), (0, 0)), "{changed:?}");
    let out = there_and_back(&store, &["gc", "--only", OTHER, "--idle", "1h", "--take-out"]);
    assert_eq!(rows(&out, "session_nodes"), (1, 0), "{out:?}");
}

#[test]
fn traces_go_by_age_and_nothing_else_does() {
    let store = Store::native();
    let nothing =
        store.run(["gc", "--json", "--only", "agent:main:main", "--trajectories", "1h", "--now", NOW]).ok().json();
    assert!(nothing["run"].is_null(), "a run that may be resumed keeps its traces");
    store.edit_rows("main", "UPDATE session_nodes SET entry_json = json_set(entry_json, '$.status', 'done'), status = 'done' \
         WHERE session_key = 'agent:main:main'; UPDATE session_nodes SET entry_valid = 1 WHERE session_key = 'agent:main:main'");
    let changed = there_and_back(&store, &["gc", "--only", "agent:main:main", "--trajectories", "1h"]);
    assert_eq!(changed, [("trajectory_runtime_events".to_owned(), (13, 0))].into());
}

#[test]
fn what_waits_or_is_cold_stays() {
    let store = Store::native();
    let waiting = "agent:main:telegram:direct:700000065";
    store.edit_rows("main", &format!("INSERT INTO session_transcript_cold_archives (session_id, generation, archive_name, \
         archive_sha256, event_count, raw_bytes, archive_bytes, last_seq, archived_at, storage) VALUES ('{}', 'g', 'a', \
         '{}', 1, 1, 1, 0, 0, 'file')", session_of(&store, DIRECT), "0".repeat(64)));
    let scan = store.scan(["--all", "--now", NOW]);
    assert_eq!(verdict(&scan, waiting), "keep queued-input");
    assert_eq!(verdict(&scan, DIRECT), "keep cold-storage");
}

#[test]
fn a_database_that_is_not_known_is_refused_and_the_other_agent_is_done() {
    let unknown = [
        ("PRAGMA user_version = 24", "schema-unknown"),
        ("UPDATE schema_meta SET schema_version = 24", "schema-unknown"),
        ("CREATE TABLE newer (session_key TEXT REFERENCES session_nodes(session_key))", "shape-unknown"),
        ("CREATE TRIGGER session_nodes_newer AFTER DELETE ON session_nodes BEGIN SELECT 1; END", "shape-unknown"),
        ("DROP TRIGGER session_transcript_fts_rows_after_delete", "schema-incomplete"),
    ];
    for (sql, code) in unknown {
        let store = Store::native();
        store.edit_rows("main", sql);
        let before = fs::read(store.database_path("main")).unwrap();
        let gc = store.run(["gc", "--json", "--idle", "1h", "--take-out", "--now", NOW]).code(4).json();
        assert_eq!(gc["refused"][0]["code"], code, "{sql}");
        assert!(fs::read(store.database_path("main")).unwrap() == before, "{sql}");
        assert!(keys(&gc, "expire").iter().all(|key| key.starts_with("agent:marketer:")), "{sql}");
        store.run(["gc", "--boot", "--now", NOW]).ok();
        assert!(codes(&validate(&store)).iter().any(|(found, _)| found == code), "{sql}");
    }
}

#[test]
fn beside_somebody_who_owns_the_databases_nothing_is_changed() {
    let store = Store::native();
    let db = store.open_rows("main", true);
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    let before = store.all_rows("main");
    let gc = store.run(["gc", "--json", "--now", NOW]).code(4).json();
    assert_eq!(gc["refused"][0]["code"], "in-use", "{gc:#}");
    drop(db);
    assert!(differences(&before, &store.all_rows("main")).is_empty());
    let lock = rusqlite::Connection::open(store.path("tmp/openclaw-0/gateway.state.lock.sqlite")).unwrap();
    lock.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let refused = store.run(["gc", "--json", "--now", NOW]).code(4).json();
    assert!(refused["error"].as_str().unwrap().contains("gateway.state.lock.sqlite"), "{refused:#}");
    drop(lock);
    store.run(["gc", "--now", NOW]).ok();
}

#[test]
fn a_key_that_is_bound_again_is_not_overwritten() {
    let store = Store::native();
    store.run(["gc", "--now", NOW]).ok();
    store.edit_rows(
        "main",
        "INSERT INTO session_nodes (session_key, current_session_id, entry_json, updated_at) SELECT \
         'agent:main:telegram:direct:700000413', 'new', '{\"sessionId\":\"new\",\"updatedAt\":1}', 1",
    );
    let before = store.all_rows("main");
    let restored = store.run(["restore", "latest", "--json"]).code(4).json();
    assert_eq!(restored["refused"][0]["code"], "key-bound", "{restored:#}");
    assert!(differences(&before, &store.all_rows("main")).is_empty());
}

#[test]
fn what_a_quarantine_takes_comes_back_by_key() {
    let store = Store::native();
    let before = store.all_rows("main");
    store.run(["quarantine", DIRECT, OTHER, "--now", NOW]).ok();
    assert_eq!(differences(&before, &store.all_rows("main")).get("session_nodes"), Some(&(2, 0)));
    store.run(["restore", DIRECT]).ok();
    assert_eq!(differences(&before, &store.all_rows("main")).get("session_nodes"), Some(&(1, 0)));
    store.run(["restore", OTHER]).ok();
    assert!(differences(&before, &store.all_rows("main")).is_empty());
}

#[test]
fn reading_leaves_no_trace() {
    let store = Store::native();
    let before = store.tree().exact();
    for verb in ["scan", "validate", "report"] {
        store.run([verb, "--now", NOW]).ok();
    }
    store.run(["gc", "-n", "--now", NOW]).ok();
    before.assert_same(&store.tree().exact());
}

#[test]
fn a_placeholder_is_no_binding_and_one_of_a_program_goes() {
    let store = Store::native();
    let run = "agent:main:cron:307f1aa4-ba88-4355-a4b6-dbd4aaed5656:run:53ff53dd-97c0-424f-916b-46b6e1e825f2";
    store.edit_rows(
        "main",
        &format!(
            "UPDATE session_nodes SET entry_json = '{{}}', status = NULL WHERE session_key IN ('{run}', '{OTHER}'); \
         UPDATE session_nodes SET entry_valid = -1 WHERE entry_json = '{{}}'"
        ),
    );
    let later = ["--now", "2026-12-03T00:00:00Z"];
    let scan = store.scan(later);
    assert_eq!((&scan["summary"]["bindings"], &scan["summary"]["placeholders"]), (&44.into(), &2.into()));
    assert_eq!(
        (verdict(&scan, run), verdict(&scan, OTHER)),
        ("expire placeholder".to_owned(), "keep placeholder".to_owned())
    );
    assert!(codes(&validate(&store)).is_empty());
}

/// Codes of all problems that are told of one key.
fn codes_of(document: &Value, key: &str) -> Vec<String> {
    let of_key = document["problems"].as_array().unwrap().iter().filter(|one| one["key"] == key);
    of_key.map(|one| one["code"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_is_odd_with_rows_is_told_of_their_key() {
    let store = Store::native();
    let session = session_of(&store, DIRECT);
    store.edit_rows("main", &format!("UPDATE session_transcript_index_state SET indexed_seq = 1 WHERE session_id = '{session}'; \
         UPDATE session_nodes SET session_key = 'agent:main:TELEGRAM:direct:9' WHERE session_key = '{OVERFLOW}'; \
         UPDATE session_windows SET session_key = 'agent:main:TELEGRAM:direct:9' WHERE session_key = '{OVERFLOW}'; \
         INSERT INTO session_windows (session_id, session_key, created_at, updated_at) SELECT 'empty', session_key, 0, updated_at \
         FROM session_nodes WHERE session_key = '{OTHER}'; UPDATE session_nodes SET current_session_id = 'empty', entry_json = \
         json_set(entry_json, '$.sessionId', 'empty') WHERE session_key = '{OTHER}'; \
         UPDATE session_nodes SET entry_valid = 1; DELETE FROM session_nodes WHERE session_key LIKE '%700000061'; \
         DELETE FROM transcript_event_identities WHERE session_id = 'b4fab8b6-d741-4868-87be-d87f7d336969'"));
    let told = validate(&store);
    for (key, code) in [
        (DIRECT, "projection-behind"),
        ("agent:main:TELEGRAM:direct:9", "alias-key"),
        (OTHER, "history-in-window"),
        ("agent:main:main", "stale-running"),
        ("agent:main:telegram:direct:700000040", "stuck-inputs"),
        ("agent:main:telegram:direct:700000065", "input-waiting"),
    ] {
        assert!(codes_of(&told, key).contains(&code.to_owned()), "{key}: {:?}", codes_of(&told, key));
    }
    // The old window of a living conversation stays, and is shown.
    let explained = store.run(["explain", OTHER, "--now", NOW]).ok().stdout;
    assert!(explained.contains("6563ff19-1489-4fc1-a2ad-5b79690e5367: 11 events"), "{explained}");
    store.run(["gc", "--only", OTHER, "--now", NOW]).ok();
    assert_eq!(
        store.count_rows("main", "SELECT count(*) FROM transcript_events WHERE session_id LIKE '6563ff19%'"),
        11
    );
}

#[test]
fn sessions_that_only_openclaws_own_state_knows_are_named_and_those_that_we_took_are_not() {
    let store = Store::native();
    store.run(["gc", "--now", NOW]).ok();
    assert!(codes(&validate(&store)).is_empty(), "{:?}", codes(&validate(&store)));
    let lost = "agent:main:telegram:direct:700000011";
    let db = store.open_rows("main", true);
    db.execute("DELETE FROM session_nodes WHERE session_key = ?1", [lost]).unwrap();
    drop(db);
    assert_eq!(codes(&validate(&store)), [("known-elsewhere".to_owned(), lost.to_owned())]);
}

#[test]
fn a_store_file_beside_rows_is_compared_key_by_key() {
    let store = Store::native();
    let entry = |at: i64| serde_json::json!({"sessionId": "x", "updatedAt": at});
    let file = serde_json::json!({DIRECT: entry(1_796_099_999_000), "agent:main:telegram:direct:99": {"updatedAt": 1}});
    store.write("agents/main/sessions/sessions.json", file.to_string());
    let told = store.run(["validate", "--json", "--now", NOW]).code(1).json();
    assert!(codes_of(&told, DIRECT).contains(&"mixed-key".to_owned()));
    assert!(codes_of(&told, "agent:main:telegram:direct:99").contains(&"mixed-key".to_owned()));
    assert_eq!(store.run(["gc", "--json", "--now", NOW]).code(4).json()["refused"][0]["code"], "store-mixed");
}

#[test]
fn damaged_pages_are_told_and_nothing_of_them_is_changed() {
    let store = Store::native();
    let path = store.database_path("main");
    let mut bytes = fs::read(&path).unwrap();
    // A leaf of the index of labels: sessions can still be read.
    let at = bytes.len() - 4096;
    bytes[at..].fill(0xa5);
    fs::write(&path, &bytes).unwrap();
    let told = store.run(["validate", "--json", "--now", NOW]).json();
    let found = codes(&told);
    assert!(found.iter().any(|(code, _)| ["pages-damaged", "unreadable"].contains(&code.as_str())), "{found:?}");
}

#[test]
fn leftovers_go_when_all_of_them_is_in_rows() {
    let store = Store::recorded("real-sqlite-9.6");
    let later = "2026-11-23T00:00:00Z";
    let before = store.scan(["--now", later]);
    let of = |scan: &Value, action: &str| -> Vec<String> {
        let files = scan["files"].as_array().unwrap().iter().filter(|file| file["action"] == action);
        files.map(|file| file["path"].as_str().unwrap().to_owned()).collect()
    };
    let going = of(&before, "archive");
    assert!(!going.is_empty());
    let tree = store.tree().files();
    store.run(["gc", "--now", later]).ok();
    let left = store.scan(["--now", later]);
    assert!(of(&left, "archive").is_empty());
    for file in left["files"].as_array().unwrap().iter().filter(|file| file["leftover"].is_object()) {
        assert!(["partly", "only-copy"].contains(&file["leftover"]["state"].as_str().unwrap()), "{file:#}");
    }
    store.restore_latest().ok();
    let ours = |files: Vec<String>| files.into_iter().filter(|file| file.starts_with("agents/")).collect::<Vec<_>>();
    assert_eq!(ours(store.tree().files()), ours(tree));
}

#[test]
fn free_pages_are_given_back_and_no_row_is_lost() {
    let store = Store::native();
    store.run(["gc", "--all", "--now", NOW]).ok();
    let before = (store.all_rows("main"), fs::metadata(store.database_path("main")).unwrap().len());
    let compacted = store.run(["gc", "--compact", "--json", "--now", NOW]).ok().json();
    let bytes = compacted["compacted"][0]["bytes"].as_u64().unwrap();
    assert!(bytes > 0, "{compacted:#}");
    assert_eq!(fs::metadata(store.database_path("main")).unwrap().len(), before.1 - bytes);
    assert!(differences(&before.0, &store.all_rows("main")).is_empty());
}

#[test]
fn a_restore_says_what_comes_back_with_the_rows() {
    let store = Store::native();
    store.edit_rows("main", damages()[0].0);
    store.run(["gc", "--boot", "--now", NOW]).ok();
    let said = store.run(["restore", "latest"]).ok().stdout;
    assert!(said.contains("keep the gateway down again"), "{said}");
    store.run(["gc", "--max-resumes", "0", "--only", "agent:main:main", "--now", NOW]).ok();
    let said = store.run(["restore", "latest"]).ok().stdout;
    assert!(said.contains("say running again"), "{said}");
}

#[test]
fn a_purge_leaves_no_row_of_what_was_purged() {
    let store = Store::native();
    store.run(["quarantine", DIRECT, OTHER, "--now", NOW]).ok();
    store.run(["restore", OTHER]).ok();
    let kept = |store: &Store| {
        let runs = store.path("claw-sessions/runs");
        let files = fs::read_dir(runs).unwrap().map(|run| run.unwrap().path().join("files/main/sessions.rows.sqlite"));
        files.filter(|file| file.exists()).count()
    };
    assert_eq!(kept(&store), 1);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    store.run(["quarantine", "purge", "--older-than", "1s", "--yes"]).ok();
    assert_eq!(kept(&store), 0);
}
