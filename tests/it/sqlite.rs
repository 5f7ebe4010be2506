//! Sessions that live in SQLite: told apart from a store file, read without a trace, never changed; and what each
//! transcript that stayed beside them holds.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};

use support::sqlite::Database;
use support::{Store, StoreBuilder, binding, expected, file, fixture};

/// After the recorded runs.
const LATER: &str = "2026-11-23T00:00:00Z";
const KEY: &str = "agent:main:telegram:direct:1";
/// The session and the transcript of the crafted folders.
const ID: &str = "7b1d5c0e-93a4-4f6b-8d52-2f0e6a91c3d7";
const TRANSCRIPT: &str = "agents/main/sessions/7b1d5c0e-93a4-4f6b-8d52-2f0e6a91c3d7.jsonl";
const STORE: &str = "agents/main/sessions/sessions.json";

/// The lines of the crafted conversation.
fn lines() -> Vec<String> {
    let path = fixture("crafted/healthy").join(TRANSCRIPT);
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

/// The crafted conversation, imported: its store is gone, its transcript stays behind.
fn imported(schema: u32) -> (Store, Database) {
    let store = Store::crafted("healthy");
    store.remove(STORE);
    let database = store.database("main", schema);
    database.bind(KEY, ID);
    database.events(ID, &lines());
    (store, database)
}

fn leftover(store: &Store, end: &str) -> (String, u64, u64) {
    let scan = store.scan(["--now", LATER]);
    let found = &file(&scan, end)["leftover"];
    (found["state"].as_str().unwrap().to_owned(), found["lines"].as_u64().unwrap(), found["missing"].as_u64().unwrap())
}

#[test]
fn the_recorded_bindings_are_shown_as_for_files() {
    let scan = Store::recorded("real-sqlite-9.6").scan(["--now", LATER]);
    let bindings = scan["bindings"].as_array().unwrap();
    let rows = expected("real-sqlite-9.6.expected.tsv");
    assert_eq!((bindings.len(), rows.len()), (41, 41));
    for row in rows {
        let one = binding(&scan, &row["key"]);
        let seen =
            ["class", "run", "integrity", "sessionId", "agent"].map(|name| one[name].as_str().unwrap().to_owned());
        let truth = ["class", "run", "integrity", "session", "agent"].map(|name| row[name].clone());
        assert_eq!(seen, truth, "{}", row["key"]);
        let sizes = ["rows", "bytes"].map(|name| one[name].to_string());
        assert_eq!(sizes, ["rows", "bytes"].map(|name| row[name].clone()), "{}", row["key"]);
        assert!(one["idle"]["seconds"].is_u64() && one["transcript"].is_null(), "{one:#}");
    }
    let killed = binding(&scan, "agent:main:telegram:direct:700000904");
    assert_eq!(killed["run"], "interrupted", "the killed run is only in the -wal");
}

#[test]
fn the_recorded_leftovers_are_judged_as_they_are() {
    let store = Store::recorded("real-sqlite-9.6");
    let scan = store.scan(["--now", LATER]);
    for row in expected("real-sqlite-9.6.leftovers.tsv") {
        let found = &file(&scan, &row["path"])["leftover"];
        let seen = [found["state"].as_str().unwrap(), &found["lines"].to_string(), &found["missing"].to_string()];
        assert_eq!(seen, [&row["state"], &row["lines"], &row["missing"]], "{}", row["path"]);
    }
    let archived = |end: &str| file(&scan, end)["leftover"]["archivedAs"].as_str().map(str::to_owned);
    assert!(archived("1395965f-a4be-4613-b7f1-6dc98b2def1d.jsonl").unwrap().contains("session-sqlite-import-archive"));
    assert_eq!(archived("687f2d63-07d0-4c6a-8b76-ebb849aba1c6.jsonl"), None, "it has two lines more");
    assert_eq!(archived("1483c51f-968e-4eaf-a865-99a2407a8d8d.jsonl"), None);
}

#[test]
fn what_is_said_of_the_recorded_state() {
    let store = Store::recorded("real-sqlite-9.6");
    let say = |args: &[&str]| store.redact(&store.run([args, &["--now", LATER]].concat()).to_string());
    insta::assert_snapshot!("scan", say(&["scan"]));
    insta::assert_snapshot!("validate", say(&["validate"]));
    insta::assert_snapshot!("report", say(&["report"]));
    insta::assert_snapshot!("gc", say(&["gc"]));
}

/// Every command that only looks, and how it ends.
const COMMANDS: [(&[&str], i32); 8] = [
    (&["scan"], 0),
    (&["scan", "-v", "--json"], 0),
    (&["validate"], 1),
    (&["report", "--format", "html"], 0),
    (&["explain", "agent:main:main"], 0),
    (&["gc", "-n"], 0),
    (&["gc", "-n", "--all"], 0),
    (&["validate", "--repair", "-n"], 1),
];

/// Something done to a state directory.
type Change = fn(&Store);

#[test]
fn nothing_is_changed_and_nothing_is_left_behind() {
    let variants: [(&str, Change); 5] = [
        ("as it was left", |_| ()),
        ("no -shm", |store| store.remove("agents/main/agent/openclaw-agent.sqlite-shm")),
        ("no -wal", |store| {
            store.remove("agents/main/agent/openclaw-agent.sqlite-wal");
            store.remove("agents/main/agent/openclaw-agent.sqlite-shm");
        }),
        ("an empty -wal", |store| store.write("agents/main/agent/openclaw-agent.sqlite-wal", "")),
        ("read-only files", |store| {
            for name in ["openclaw-agent.sqlite", "openclaw-agent.sqlite-wal", "openclaw-agent.sqlite-shm"] {
                store.set_mode(format!("agents/main/agent/{name}"), 0o400);
            }
            store.set_mode("agents/main/agent", 0o500);
        }),
    ];
    for (name, change) in variants {
        let store = Store::recorded("real-sqlite-9.6");
        change(&store);
        let before = store.tree().exact();
        for (args, code) in COMMANDS {
            // Without its log this database lacks triggers that OpenClaw needs: nothing of it is changed.
            let code = if name.contains("-wal") && args.contains(&"-n") { 4 } else { code };
            let output = store.run([args, &["--now", LATER]].concat()).code(code);
            before.assert_same(&store.tree().exact());
            let left: Vec<_> = fs::read_dir(store.root().join("tmp")).unwrap().collect();
            assert!(left.is_empty(), "{name}: {output}: {left:?}");
        }
        let bindings = store.scan(["--now", LATER])["bindings"].as_array().unwrap().len();
        let without_log = name.contains("-wal");
        assert_eq!(bindings, if without_log { 40 } else { 41 }, "{name}");
    }
}

#[test]
fn a_writer_that_holds_the_database_is_not_disturbed() {
    let (store, writer) = imported(23);
    writer.db.execute_batch("BEGIN IMMEDIATE; UPDATE session_nodes SET status = 'failed'").unwrap();
    let before = store.tree().exact();
    let gc: &[&str] = &["gc", "--idle", "1h"];
    for (args, code) in [(&["scan", "--json"][..], 0), (&["validate", "--fail-on", "fatal"], 0), (gc, 4)] {
        let output = store.run([args, &["--now", LATER]].concat()).code(code);
        if args[0] != "gc" {
            before.assert_same(&store.tree().exact());
        }
        if args[0] == "scan" {
            let scan = output.json();
            assert_eq!(binding(&scan, KEY)["run"], "completed", "what was not committed is not seen");
        }
    }
    writer.db.execute_batch("COMMIT").unwrap();
}

#[test]
fn a_copy_is_whole_while_a_writer_commits_and_checkpoints() {
    let (store, writer) = imported(23);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stop = &stop;
        scope.spawn(move || {
            for round in 0_u32.. {
                // Two rows in one commit: a copy has both or none.
                writer.db.execute_batch("BEGIN").unwrap();
                writer.bind(&format!("agent:main:telegram:direct:a{round}"), "s");
                writer.bind(&format!("agent:main:telegram:direct:b{round}"), "s");
                writer.db.execute_batch("COMMIT").unwrap();
                if round % 16 == 0 {
                    writer.db.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())).unwrap();
                }
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                std::thread::sleep(std::time::Duration::from_millis(4));
            }
        });
        for _ in 0..8 {
            let output = store.run(["scan", "--json", "--now", LATER]).ok();
            let scan = output.json();
            let keys: Vec<&str> =
                scan["bindings"].as_array().unwrap().iter().map(|one| one["key"].as_str().unwrap()).collect();
            let unread = scan["stores"][0]["database"]["unread"].as_str();
            assert!(keys.contains(&KEY) || unread.unwrap().contains("kept changing"), "{output}");
            let of = |letter: &str| keys.iter().filter(|key| key.contains(&format!("direct:{letter}"))).count();
            assert_eq!(of("a"), of("b"), "a torn copy");
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_mere_database_beside_a_store_file_hinders_nothing() {
    let archive = "agents/main/session-sqlite-import-archive";
    let cases: [(&str, Change); 5] = [
        ("an early schema", |store| store.bare_database("main", 1).close()),
        ("no tables", |store| store.bare_database("main", 23).close()),
        ("no rows", |store| store.database("main", 23).close()),
        ("no rows, an early schema of sessions", |store| store.database("main", 4).close()),
        ("no database", |store| store.write("agents/main/agent/openclaw-agent.sqlite", "")),
    ];
    for (name, make) in cases {
        let store = Store::crafted("healthy");
        make(&store);
        let document = store.gc(["-n", "--all", "--now", "2026-11-23T22:00:00Z"]).ok().json();
        assert_eq!(document["stores"][0]["state"], "ok", "{name}");
        assert_eq!(document["planned"]["expire"], 1, "{name}: {:#}", document["bindings"]);
        assert!(!store.exists(archive));
    }
}

#[test]
fn a_mixed_state_is_refused_and_the_keys_of_each_are_told() {
    let store = Store::crafted("healthy");
    let database = store.database("main", 23);
    database.bind("agent:main:main", "new");
    database.events("new", &lines());
    database.close();
    let before = store.tree().exact();
    let scan = store.scan(["--now", LATER]);
    let found = &scan["stores"][0];
    assert_eq!((found["state"].as_str(), found["database"]["state"].as_str()), (Some("sqlite"), Some("mixed")));
    assert_eq!(found["database"]["onlyInFile"], serde_json::json!([KEY]));
    assert_eq!(found["database"]["onlyInRows"], serde_json::json!(["agent:main:main"]));
    assert_eq!(binding(&scan, "agent:main:main")["rows"], 7);
    assert_eq!(leftover(&store, TRANSCRIPT).0, "in-sqlite", "its lines stand in another session");
    let said = store.redact(&store.run(["scan", "--now", LATER]).to_string());
    insta::assert_snapshot!("mixed", said);
    for args in [&["gc"][..], &["gc", "-n"], &["validate", "--repair"], &["quarantine", KEY]] {
        let output = store.run([args, &["--now", LATER]].concat()).code(4);
        assert!(output.to_string().contains("mixed"), "{output}");
        before.assert_same(&store.tree().exact());
    }
    assert_eq!(store.run(["quarantine", "agent:main:main", "--now", LATER]).code, Some(4));
    before.assert_same(&store.tree().exact());
}

#[test]
fn a_broken_store_file_beside_rows_is_no_reason_to_touch_it() {
    let (store, database) = imported(23);
    store.write(STORE, "{\"agent:main:main\": {");
    database.close();
    let before = store.tree().exact();
    let output = store.run(["gc", "--salvage", "--json", "--now", LATER]).code(4);
    let found = &output.json()["stores"][0];
    assert_eq!(found["database"]["state"], "mixed");
    assert!(found["database"]["onlyInFile"].is_null() && found["problem"].as_str().unwrap().contains("at byte"));
    store.run(["validate", "--repair", "--salvage", "--now", LATER]).code(4);
    before.assert_same(&store.tree().exact());
}

#[test]
fn every_schema_with_sessions_is_read_and_an_unknown_one_as_far_as_it_is_known() {
    for schema in [4, 8, 16, 19, 22, 23, 99] {
        let (store, database) = imported(schema);
        if schema >= 23 {
            lines()[..4].iter().for_each(|line| database.packed("other", line));
            database.bind("agent:main:telegram:direct:2", "other");
        }
        if schema == 99 {
            database
                .db
                .execute_batch("ALTER TABLE session_nodes ADD COLUMN moon TEXT; CREATE TABLE moons (a)")
                .unwrap();
            database.db.execute_batch("ALTER TABLE session_nodes DROP COLUMN archived_at").unwrap();
        }
        database.close();
        let scan = store.scan(["--now", LATER]);
        let one = binding(&scan, KEY);
        assert_eq!((one["run"].as_str(), one["rows"].as_u64()), (Some("completed"), Some(7)), "{schema}: {one:#}");
        assert_eq!(one["idle"], serde_json::json!({"seconds": 7200, "from": "updatedAt"}), "{schema}");
        let found = &scan["stores"][0]["database"];
        assert_eq!((found["schema"].as_u64(), found["known"].as_bool()), (Some(schema.into()), Some(schema < 99)));
        if schema >= 23 {
            assert_eq!(binding(&scan, "agent:main:telegram:direct:2")["run"], "interrupted", "packed rows are read");
        }
        assert_eq!(leftover(&store, TRANSCRIPT), ("in-sqlite".to_owned(), 7, 0), "{schema}");
        let unknown = ![19, 23].contains(&schema);
        let said = store.run(["validate", "--now", LATER]).code(i32::from(unknown)).stdout;
        assert_eq!(said.contains("schema-unknown"), unknown, "{said}");
        store.run(["gc", "--no-orphans", "--only", KEY, "--now", LATER]).code(if unknown { 4 } else { 0 });
    }
}

#[test]
fn a_schema_that_only_the_log_knows_is_known() {
    let (store, database) = imported(23);
    // The file itself still has what the first connection made: nothing.
    let header = fs::read(&database.path).unwrap();
    assert!(header.len() < 100 || header[63] != 23, "the version is only in the -wal");
    assert_eq!(store.scan(["--now", LATER])["stores"][0]["state"], "sqlite");
    let copy = Store::crafted("healthy");
    let mere = copy.bare_database("main", 1);
    assert_eq!(copy.scan(["--now", LATER])["stores"][0]["state"], "ok");
    drop(mere);
}

#[test]
fn events_that_cannot_be_unpacked_are_told_and_the_others_are_read() {
    let (store, database) = imported(23);
    let frame = ruzstd::encoding::compress_to_vec(&b"x".repeat(5000)[..], ruzstd::encoding::CompressionLevel::Fastest);
    for (at, (frame, bytes)) in
        [(&b"no frame"[..], 9), (&frame[..frame.len() / 2], 5000), (&frame, 4), (&frame, 6000)].into_iter().enumerate()
    {
        let session = format!("broken-{at}");
        database.bind(&format!("agent:main:telegram:direct:9{at}"), &session);
        database.events(&session, &lines()[..4]);
        database.frame(&session, frame, bytes);
    }
    database.close();
    let scan = store.scan(["--now", LATER]);
    for at in 0..4 {
        let one = binding(&scan, &format!("agent:main:telegram:direct:9{at}"));
        assert_eq!(one["integrity"], "blocks", "{one:#}");
        let torn = serde_json::json!({"torn-event": {"sessionId": format!("broken-{at}"), "seq": 4}});
        assert_eq!(one["row"]["damage"], serde_json::json!([torn]), "{one:#}");
    }
    assert_eq!(binding(&scan, KEY)["integrity"], "intact");
    let said = store.run(["validate", "--now", LATER]).code(1).stdout;
    assert_eq!(said.matches("torn-event ").count(), 4, "{said}");
}

#[test]
fn what_is_no_event_or_no_entry_is_told_too() {
    let (store, database) = imported(23);
    database.bind_entry("agent:main:telegram:direct:2", ID, "{broken");
    database.bind_entry("agent:main:telegram:direct:3", "main", "{}");
    database.bind("agent:main:telegram:direct:4", "cut");
    database.events("cut", &[&lines()[0], &lines()[3], "not json", "null"]);
    database.bind("agent:main:telegram:direct:\u{1b}[31m\u{202e}", "odd");
    database.close();
    let output = store.run(["scan", "--now", LATER]).ok();
    assert!(!output.stdout.contains(['\u{1b}', '\u{202e}']), "{output}");
    let scan = store.scan(["--now", LATER]);
    for (end, damage) in [("2", "entry-unreadable"), ("3", "entry-differs"), ("4", "torn-event")] {
        let one = binding(&scan, &format!("agent:main:telegram:direct:{end}"));
        assert!(one["row"]["damage"].to_string().contains(damage), "{one:#}");
    }
    let said = store.run(["validate", "--now", LATER]).code(1).stdout;
    assert!(said.contains("torn-event") && said.contains("seq 2"), "{said}");
}

#[test]
fn leftovers_of_every_kind() {
    let (store, database) = imported(23);
    let lines = lines();
    assert_eq!(leftover(&store, TRANSCRIPT), ("in-sqlite".to_owned(), 7, 0));
    // A prefix, blank lines and other line ends.
    store.write(TRANSCRIPT, format!("{}\r\n\n{}\n\n", lines[0], lines[1]));
    assert_eq!(leftover(&store, TRANSCRIPT), ("in-sqlite".to_owned(), 2, 0));
    store.write(TRANSCRIPT, "");
    assert_eq!(leftover(&store, TRANSCRIPT), ("in-sqlite".to_owned(), 0, 0));
    // Something more, something broken.
    let more = lines[3].replace("151f8280", "deadbeef").replace("Which files", "What files");
    store.write(TRANSCRIPT, format!("{}\n{more}\n{{\"type\":\"mess", lines.join("\n")));
    assert_eq!(leftover(&store, TRANSCRIPT), ("partly".to_owned(), 9, 2));
    // A name of a topic, and a session that is in no row.
    store.write("agents/main/sessions/other-topic-42.jsonl", lines.join("\n"));
    assert_eq!(leftover(&store, "other-topic-42.jsonl").0, "in-sqlite", "the header names the session");
    let foreign = lines.join("\n").replace(ID, "f0000000-0000-4000-8000-000000000000");
    let foreign: String = foreign.replace("da76d96d", "00000001").replace("2026-11-22", "2026-11-21");
    store.write("agents/main/sessions/f0000000-0000-4000-8000-000000000000.jsonl", &foreign);
    assert_eq!(leftover(&store, "f0000000-0000-4000-8000-000000000000.jsonl"), ("only-copy".to_owned(), 7, 7));
    // Bound, and without a row.
    database.bind("agent:main:telegram:direct:5", "f0000000-0000-4000-8000-000000000000");
    assert_eq!(leftover(&store, "f0000000-0000-4000-8000-000000000000.jsonl").0, "only-copy");
    let scan = store.scan(["--now", LATER]);
    assert_eq!(binding(&scan, "agent:main:telegram:direct:5")["integrity"], "missing", "a file of it is there");
}

#[test]
fn a_session_that_the_import_named_after_its_entry_is_found_by_its_events() {
    let (store, database) = imported(23);
    database.bind("agent:main:main", "11111111-2222-4333-8444-555555555555");
    let own: Vec<String> = lines().iter().map(|line| line.replace(ID, "eedd5cdc").replace("2026", "2025")).collect();
    let rewritten = own[0].replace("eedd5cdc", "11111111-2222-4333-8444-555555555555");
    let own: Vec<String> = own.iter().map(|line| line.replace("\"id\":\"", "\"id\":\"z")).collect();
    database.events("11111111-2222-4333-8444-555555555555", &[&[rewritten], &own[1..]].concat());
    store.write("agents/main/sessions/eedd5cdc.jsonl", own.join("\n"));
    assert_eq!(leftover(&store, "eedd5cdc.jsonl"), ("in-sqlite".to_owned(), 7, 0));
}

#[test]
fn what_was_taken_before_the_import_is_not_brought_back_beside_the_rows() {
    let now = "2026-12-23T22:00:00Z";
    for (taken, action, back) in [
        (&["--all"][..], "expire", &["restore", "latest"][..]),
        (&["--all"], "expire", &["restore", "agent:main:telegram:direct:7"]),
        (&["--max-resumes", "1", "--idle", "off", "--max-age", "off"], "defer", &["restore", "--deferred"]),
    ] {
        let mut builder = StoreBuilder::at(now).agent("main");
        for at in 5..9 {
            builder = builder.binding(&format!("agent:main:telegram:direct:{at}"), |one| one.idle("1h"));
        }
        let store = builder.build();
        let done = store.gc([&["--now", now], taken].concat()).ok().json();
        assert!(done["done"][action].as_u64().unwrap() > 1, "{done:#}");
        store.remove(STORE);
        let database = store.database("main", 23);
        database.bind(KEY, ID);
        database.close();
        let before = store.tree().contents();
        let output = store.run(back).code(4);
        assert!(output.to_string().contains("its sessions live in"), "{output}");
        before.assert_same(&store.tree().contents());
    }
}

#[test]
fn a_run_that_was_cut_off_before_the_import_is_not_finished_after_it() {
    let store = Store::crafted("healthy");
    let run = store.gc(["--all", "--now", "2026-12-23T22:00:00Z"]).ok().json()["run"].as_str().unwrap().to_owned();
    // Cut off before the transcript followed its entry, as a crash may leave it.
    let mut cut = store.manifest(&run);
    cut["state"] = "unfinished".into();
    cut["steps"][0]["state"] = "planned".into();
    let kept = cut["steps"][0]["change"]["archive"]["to"].as_str().unwrap();
    let archived = store.path(format!("claw-sessions/runs/{run}")).join(kept);
    fs::rename(archived, store.path(TRANSCRIPT)).unwrap();
    store.set_manifest(&run, cut);
    store.remove(STORE);
    let database = store.database("main", 23);
    database.bind(KEY, ID);
    database.close();
    let before = store.tree().contents();
    for args in [&["gc", "--only", "nothing"][..], &["gc", "--boot", "--only", "nothing"]] {
        let output = store.run([args, &["--now", LATER]].concat());
        assert!(output.to_string().contains("sqlite: its sessions live in"), "{output}");
        before.assert_same(&store.tree().contents());
    }
}

#[test]
fn the_other_ways_back_are_refused_too() {
    let (store, database) = imported(23);
    database.close();
    let stuck = format!("{TRANSCRIPT}.stuck-bak");
    store.write(&stuck, lines().join("\n"));
    let before = store.tree().exact();
    store.run(["restore", "--stuck-bak"]).code(4);
    before.assert_same(&store.tree().exact());
    let output = store.run(["restore", "--adopt", TRANSCRIPT, "--key", "agent:main:telegram:direct:7"]).code(4);
    assert!(output.stderr.contains("SQLite"), "{output}");
    before.assert_same(&store.tree().exact());
}

#[test]
fn nothing_is_copied_where_a_database_can_be_read_in_place() {
    let (store, database) = imported(23);
    let nowhere = [("TMPDIR", "/nonexistent")];
    for log in [true, false] {
        let scan = store.run_env(["scan", "--json", "--now", LATER], &nowhere).ok().json();
        assert_eq!(scan["stores"][0]["state"], "sqlite", "{log}");
        assert_eq!(binding(&scan, KEY)["run"], "completed", "{log}");
        if log {
            database.db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        }
    }
    // Where a change has to be rolled back first, a copy is needed, and it is said that none could be made.
    database.close();
    store.write("agents/main/agent/openclaw-agent.sqlite-journal", "left behind");
    let scan = store.run_env(["scan", "--json", "--now", LATER], &nowhere).ok().json();
    assert!(scan["stores"][0]["database"]["unread"].is_string() && !scan["warnings"].as_array().unwrap().is_empty());
    let gc = store.run_env(["gc", "--json", "--now", LATER], &nowhere).code(4).json();
    assert_eq!(gc["refused"][0]["code"], "rows-unread");
    store.run_env(["validate", "--now", LATER], &nowhere).code(3);
}

#[test]
fn a_database_behind_a_link_is_not_read_and_nothing_is_touched() {
    let (store, database) = imported(23);
    database.close();
    store.write(STORE, fs::read(fixture("crafted/healthy").join(STORE)).unwrap());
    let elsewhere = store.root().join("elsewhere.sqlite");
    fs::rename(store.database_path("main"), &elsewhere).unwrap();
    symlink(&elsewhere, store.database_path("main")).unwrap();
    let document = store.gc(["--now", LATER]).code(4).json();
    assert_eq!(document["stores"][0]["state"], "unreadable");
    // A shared agent directory without sessions is a link of everyday use.
    let store = Store::crafted("healthy");
    let shared = store.root().join("shared-agent");
    fs::create_dir(&shared).unwrap();
    symlink(&shared, store.path("agents/main/agent")).unwrap();
    assert_eq!(store.scan(["--now", LATER])["stores"][0]["state"], "ok");
}

#[test]
fn an_agent_that_never_had_a_file_is_found() {
    let store = Store::empty();
    let database = store.database("fresh", 23);
    database.bind("agent:fresh:main", ID);
    database.close();
    let scan = store.scan(["--now", LATER]);
    assert_eq!(binding(&scan, "agent:fresh:main")["agent"], "fresh");
    let early = Store::empty();
    early.bare_database("fresh", 1).close();
    assert!(early.scan(["--now", LATER])["stores"].as_array().unwrap().iter().all(|store| store["agent"] != "fresh"));
}

#[test]
fn no_text_of_a_conversation_is_told() {
    let (store, database) = imported(23);
    store.write("agents/main/sessions/only.jsonl", lines()[3].replace("Which files", "Secret words"));
    database.close();
    for args in
        [&["scan", "-v"][..], &["scan", "--json"], &["validate", "-v"], &["report", "--json"], &["explain", KEY]]
    {
        let output = store.run([args, &["--now", LATER]].concat());
        for said in ["Which files", "notes.txt", "Secret words", "urgent"] {
            assert!(!output.to_string().contains(said), "{said}: {output}");
        }
    }
}

#[test]
fn an_import_whose_database_is_gone_is_refused_and_one_agent_does_not_stop_another() {
    let store = Store::crafted("healthy");
    fs::create_dir(store.path("agents/main/session-sqlite-import-archive")).unwrap();
    let output = store.gc(["--now", LATER]).code(4);
    assert!(output.json()["stores"][0]["problem"].as_str().unwrap().contains("imported into SQLite"), "{output}");
    // Another agent with a file of its own.
    let store = Store::recorded("real-small");
    let database = store.database("illarion", 23);
    database.bind("agent:illarion:other", "x");
    database.close();
    let document = store.gc(["--idle", "10m", "--unprotect", "group", "--now", "2026-11-22T23:30:00Z"]).code(4).json();
    let done = document["done"]["expire"].as_u64().unwrap();
    assert!(done > 0, "the others are done");
    let states: BTreeMap<&str, &str> = document["stores"]
        .as_array()
        .unwrap()
        .iter()
        .map(|store| (store["agent"].as_str().unwrap(), store["state"].as_str().unwrap()))
        .collect();
    assert_eq!((states["illarion"], states["main"]), ("sqlite", "ok"));
}
