//! `validate` tells every kind of damage where it is, and nothing else; it reads only, and shows nothing that people
//! wrote. `UPDATE_DOCS=1` writes `docs/checks.md` anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{lchown, symlink};
use std::process::Command;

use crate::schema::Documents;
use claw_sessions::model::problem::{About, Code, Remedy, Severity};
use rayon::prelude::*;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use support::{NOW, Output, Store, StoreBuilder, expected, sys, tree};

const SESSIONS: &str = "agents/main/sessions";
const STORE: &str = "agents/main/sessions/sessions.json";
/// The one transcript of a crafted folder.
const ID: &str = "7b1d5c0e-93a4-4f6b-8d52-2f0e6a91c3d7";
/// What the people of the crafted conversations, and their tools, say.
const SAID: [&str; 6] = ["Which files", "notes.txt", "rgent", "Alice id", "echo one", "restored"];

/// Severity, code, file, line and byte, as a row of `problems.tsv` has them.
type Told = [String; 5];

fn validate(store: &Store, args: &[&str]) -> Output {
    store.run([&["validate", "--now", NOW], args].concat())
}

/// What a document tells, in the order of the rows.
fn told(document: &Value) -> Vec<Told> {
    let number = |value: &Value| value.as_u64().map_or_else(|| "-".to_owned(), |number| number.to_string());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut told: Vec<Told> = document["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            let path = text(&one["path"]);
            let (_, file) = path.rsplit_once("sessions/").unwrap_or(("", &path));
            [text(&one["severity"]), text(&one["code"]), file.to_owned(), number(&one["line"]), number(&one["byte"])]
        })
        .collect();
    told.sort();
    told
}

/// What `problems.tsv` says of each folder.
fn truth() -> BTreeMap<String, Vec<Told>> {
    let mut truth: BTreeMap<String, Vec<Told>> =
        expected("crafted/expected.tsv").iter().map(|row| (row["folder"].clone(), Vec::new())).collect();
    for row in expected("crafted/problems.tsv") {
        let one = ["severity", "code", "file", "line", "byte"].map(|column| row[column].clone());
        truth.get_mut(&row["folder"]).unwrap_or_else(|| panic!("no folder {}", row["folder"])).push(one);
    }
    for rows in truth.values_mut() {
        rows.sort();
    }
    truth
}

fn is_bad([severity, ..]: &Told) -> bool {
    severity == "fatal" || severity == "high"
}

#[test]
fn every_crafted_defect_is_told_where_it_is_and_nothing_else() {
    let documents = Documents::default();
    let wrong: Vec<String> = truth()
        .into_par_iter()
        .filter_map(|(folder, truth)| {
            let store = Store::crafted(&folder);
            let before = store.tree().exact();
            let output = validate(&store, &["--archives", "--json"]);
            assert_eq!(output.code, Some(i32::from(truth.iter().any(is_bad))), "{folder}: {output}");
            let document = output.json();
            documents.add(&document);
            let found = told(&document);
            one_line_for_each(&folder, &found, &validate(&store, &["--archives", "-v"]));
            for said in SAID {
                assert!(!output.stdout.contains(said), "{folder}: {said:?} is told: {output}");
            }
            before.assert_same(&store.tree().exact());
            (found != truth).then(|| format!("{folder}: {found:#?}\nin truth: {truth:#?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    documents.check("every_crafted_defect_is_told_where_it_is_and_nothing_else");
}

/// The text has a line for each problem, which begins with severity, code and place, and one for the counts.
fn one_line_for_each(folder: &str, found: &[Told], text: &Output) {
    let mut begins: Vec<String> = found
        .iter()
        .map(|[severity, code, file, line, byte]| {
            let place = if line == "-" { String::new() } else { format!(":{line}:{byte}") };
            format!("{severity:<5} {code} {SESSIONS}/{file}{place}: ")
        })
        .collect();
    let mut lines: Vec<&str> = text.stdout.lines().collect();
    assert_eq!(lines.len(), begins.len() + 1, "{folder}: {text}");
    assert!(lines.pop().unwrap().contains(" info in 1 store, "), "{folder}: {text}");
    begins.sort();
    lines.sort_unstable();
    for (line, begin) in lines.iter().zip(&begins) {
        assert!(line.starts_with(begin) && line.contains("; OpenClaw "), "{folder}: {line} is not {begin}");
    }
    for said in SAID {
        assert!(!text.stdout.contains(said), "{folder}: {said:?} is told: {text}");
    }
}

#[test]
fn healthy_folders_give_nothing() {
    let healthy = ["healthy", "healthy-rich", "blank-before-header", "compaction-ok", "deep-nesting-closed", "crlf"];
    for folder in healthy {
        let output = validate(&Store::crafted(folder), &["-v", "--severity", "info"]).ok();
        assert_eq!(output.stdout.lines().count(), 1, "{folder}: {output}");
    }
}

/// Codes that need the directory, other files or several bindings to be seen.
const NEED_MORE: [&str; 6] = ["outside", "relocated", "shared-file", "mixed-file", "lock-unreadable", "missing"];

#[test]
fn a_file_that_lies_anywhere_is_told_the_same() {
    let documents = Documents::default();
    truth().into_par_iter().for_each(|(folder, truth)| {
        let store = Store::crafted(&folder);
        let names: Vec<String> = vec!["sessions.json".to_owned(), format!("{ID}.jsonl")];
        let names: Vec<String> = names.into_iter().filter(|name| store.exists(format!("{SESSIONS}/{name}"))).collect();
        let paths = names.iter().map(|name| store.path(format!("{SESSIONS}/{name}")).display().to_string());
        let args = ["validate", "--json", "--now", NOW].map(str::to_owned).into_iter().chain(paths);
        let document = store.run_bare(args, &[]).json();
        documents.add(&document);
        assert_eq!(document["stateDir"], Value::Null);
        let mut truth: Vec<Told> = truth
            .into_iter()
            .filter(|[_, code, file, ..]| names.contains(file) && !NEED_MORE.contains(&code.as_str()))
            .collect();
        for one in &mut truth {
            match one[1].as_str() {
                // Nobody looks for copies and backups beside it.
                "compacted" => "no-header".clone_into(&mut one[1]),
                "store-rotated-away" => *one = row("high", "store-empty", "sessions.json", Some((1, 0))),
                _ => {}
            }
        }
        truth.sort();
        assert_eq!(told(&document), truth, "{folder}");
        for problem in document["problems"].as_array().unwrap() {
            let remedy = problem["remedy"].as_str().unwrap_or_default();
            assert!(!remedy.starts_with("claw-sessions "), "{folder}: nothing mends a file elsewhere: {problem}");
        }
    });
    documents.check("a_file_that_lies_anywhere_is_told_the_same");
}

#[test]
fn a_file_needs_no_telling_name() {
    for (folder, from, to) in
        [("null-line", format!("{ID}.jsonl"), "history"), ("lone-surrogates", "sessions.json".to_owned(), "index")]
    {
        let store = Store::crafted(folder);
        let path = store.root().join(to);
        fs::copy(store.path(format!("{SESSIONS}/{from}")), &path).unwrap();
        let document = store.run_bare(["validate", "--json", "--now", NOW, path.to_str().unwrap()], &[]).json();
        let code = |told: &Told| (told[1].clone(), told[3].clone(), told[4].clone());
        let found: Vec<_> = told(&document).iter().map(code).collect();
        // The name is another now.
        let truth: Vec<_> = truth()[folder].iter().map(code).collect();
        let found: Vec<_> = found.into_iter().filter(|(code, ..)| code != "header-id").collect();
        assert_eq!(found, truth, "{folder}");
    }
}

#[test]
fn what_is_no_file_is_a_usage_error() {
    let store = Store::crafted("healthy");
    let before = store.tree().exact();
    for path in [store.state_dir(), store.root().join("no-such-file"), store.root().join("no/such/file.jsonl")] {
        let output = store.run_bare(["validate", path.to_str().unwrap()], &[]).code(2);
        assert!(output.stderr.contains(path.to_str().unwrap()), "{output}");
    }
    before.assert_same(&store.tree().exact());
}

/// A problem that no file in a repository can show: what makes it of a healthy folder, and what is told then.
type Case = (&'static str, fn(&Store) -> Vec<Told>);

fn row(severity: &str, code: &str, file: &str, place: Option<(u64, usize)>) -> Told {
    let (line, byte) = place.map_or(("-".into(), "-".into()), |(line, byte)| (line.to_string(), byte.to_string()));
    [severity.into(), code.into(), file.into(), line, byte]
}

fn of_transcript(severity: &str, code: &str, place: Option<(u64, usize)>) -> Vec<Told> {
    vec![row(severity, code, &format!("{ID}.jsonl"), place)]
}

fn of_store(severity: &str, code: &str, place: Option<(u64, usize)>) -> Vec<Told> {
    vec![row(severity, code, "sessions.json", place)]
}

/// The lines of the transcript.
fn lines(store: &Store) -> Vec<String> {
    String::from_utf8(store.read(transcript())).unwrap().lines().map(str::to_owned).collect()
}

/// A database in which the binding has these events.
fn rows(store: &Store, schema: u32, lines: &[String]) {
    let database = store.database("main", schema);
    database.bind("agent:main:telegram:direct:1", ID);
    database.events(ID, lines);
    database.close();
}

/// The same, its store file gone and its transcript left behind, of which this is told.
fn migrated(store: &Store, lines: &[String], severity: &str, code: &str) -> Vec<Told> {
    rows(store, 23, lines);
    store.remove(STORE);
    let mut told = of_store("info", "store-sqlite", None);
    told.extend(of_transcript(severity, code, None));
    told.sort();
    told
}

fn transcript() -> String {
    format!("{SESSIONS}/{ID}.jsonl")
}

/// A healthy transcript with a line of so many bytes before the last question; and where the line begins.
fn with_line_of(store: &Store, bytes: usize) -> (Vec<u8>, usize) {
    let text = String::from_utf8(store.read(transcript())).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let at: usize = lines[..5].iter().map(|line| line.len() + 1).sum();
    let start = r#"{"type":"custom","id":"0f0f0f0f","parentId":"cc098f65","customType":"big","data":""#;
    let long = format!("{start}{}\"}}", "x".repeat(bytes - start.len() - 2));
    lines[5] = lines[5].replace("cc098f65", "0f0f0f0f");
    lines.insert(5, long);
    (format!("{}\n", lines.join("\n")).into_bytes(), at)
}

const CASES: &[Case] = &[
    ("store-unreadable", |store| {
        store.remove(STORE);
        fs::create_dir(store.path(STORE)).unwrap();
        of_store("high", "store-unreadable", None)
    }),
    ("store-symlink", |store| {
        fs::rename(store.path(STORE), store.root().join("elsewhere")).unwrap();
        symlink(store.root().join("elsewhere"), store.path(STORE)).unwrap();
        of_store("low", "store-symlink", None)
    }),
    ("store-mode", |store| {
        store.set_mode(STORE, 0o640);
        of_store("low", "store-mode", None)
    }),
    ("store-sqlite", |store| {
        fs::create_dir(store.path("agents/main/session-sqlite-import-archive")).unwrap();
        of_store("info", "store-sqlite", None)
    }),
    ("store-mixed", |store| {
        rows(store, 23, &lines(store));
        vec![
            row("high", "store-mixed", "sessions.json", None),
            row("info", "leftover-in-sqlite", &format!("{ID}.jsonl"), None),
        ]
    }),
    ("schema-unknown", |store| {
        rows(store, 99, &lines(store));
        store.remove(STORE);
        store.remove(transcript());
        vec![row("high", "schema-unknown", "sessions.json", None), row("info", "store-sqlite", "sessions.json", None)]
    }),
    ("leftover-in-sqlite", |store| migrated(store, &lines(store), "info", "leftover-in-sqlite")),
    ("leftover-only-copy", |store| migrated(store, &lines(store)[..1], "high", "leftover-only-copy")),
    ("leftover-partly", |store| migrated(store, &lines(store)[..6], "high", "leftover-partly")),
    ("leftover-reminted", |store| {
        let anew = |line: &String| {
            line.replace("\"id\":\"", "\"id\":\"new-").replace("\"parentId\":\"", "\"parentId\":\"new-")
        };
        migrated(store, &lines(store).iter().map(anew).collect::<Vec<_>>(), "info", "leftover-reminted")
    }),
    ("huge-entry", |store| {
        let mut entries = store.sessions("main");
        entries["agent:main:telegram:direct:1"]["skillsSnapshot"] = json!({"prompt": "x".repeat(300_000)});
        store.write(STORE, serde_json::to_string_pretty(&entries).unwrap());
        of_store("low", "huge-entry", Some((2, 4)))
    }),
    ("unreadable", |store| {
        store.remove(transcript());
        fs::create_dir(store.path(transcript())).unwrap();
        of_transcript("high", "unreadable", None)
    }),
    ("index-lost", |store| {
        store.write(STORE, "{}");
        of_store("high", "index-lost", None)
    }),
    ("used-elsewhere", |store| {
        let place = store.root().join("old/agents/main/sessions");
        fs::create_dir_all(&place).unwrap();
        fs::copy(store.path(transcript()), place.join("x.jsonl")).unwrap();
        let mut sessions = store.sessions("main");
        sessions.as_object_mut().unwrap().values_mut().next().unwrap()["sessionFile"] =
            place.join("x.jsonl").to_str().unwrap().into();
        store.write(STORE, serde_json::to_vec_pretty(&sessions).unwrap());
        of_store("high", "used-elsewhere", Some((2, 4)))
    }),
    ("outside", |store| {
        fs::rename(store.path(transcript()), store.root().join("elsewhere")).unwrap();
        symlink(store.root().join("elsewhere"), store.path(transcript())).unwrap();
        of_store("high", "outside", Some((2, 4)))
    }),
    ("wrong-owner", |store| {
        if !sys::is_root() {
            sys::skip("only root can give a file away");
            return Vec::new();
        }
        lchown(store.path(transcript()), Some(sys::NOBODY), None).unwrap();
        lchown(store.path(STORE), Some(sys::NOBODY), None).unwrap();
        [of_transcript("high", "wrong-owner", None), of_store("high", "wrong-owner", None)].concat()
    }),
    ("hard-linked", |store| {
        fs::hard_link(store.path(transcript()), store.root().join("twin")).unwrap();
        of_transcript("low", "hard-linked", None)
    }),
    ("file-mode", |store| {
        store.set_mode(transcript(), 0o664);
        of_transcript("low", "file-mode", None)
    }),
    ("long-line", |store| {
        let (text, at) = with_line_of(store, (1 << 20) + 1);
        store.write(transcript(), text);
        of_transcript("low", "long-line", Some((6, at)))
    }),
];

#[test]
fn what_only_a_file_system_shows_is_told_too() {
    let documents = Documents::default();
    for (code, make) in CASES {
        let store = Store::crafted("healthy");
        let truth = make(&store);
        let before = store.tree().exact();
        let output = validate(&store, &["--json"]);
        before.assert_same(&store.tree().exact());
        let hidden = code.contains("unreadable");
        let status = if hidden { 3 } else { i32::from(truth.iter().any(is_bad)) };
        let document = output.code(status).json();
        documents.add(&document);
        assert_eq!(told(&document), truth, "{code}: {document:#}");
        one_line_for_each(code, &truth, &validate(&store, &["-v"]));
    }
    documents.check("what_only_a_file_system_shows_is_told_too");
}

#[test]
fn every_code_has_a_case() {
    let told: BTreeSet<String> = truth()
        .into_values()
        .flatten()
        .map(|[_, code, ..]| code)
        .chain(CASES.iter().map(|case| case.0.into()))
        .chain(crate::rows::TOLD.map(str::to_owned))
        .collect();
    let missing: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).filter(|code| !told.contains(*code)).collect();
    assert!(missing.is_empty(), "no case shows {missing:?}");
    assert!(truth().len() >= 60);
}

#[test]
fn a_line_of_one_mebibyte_is_not_long_yet() {
    let store = Store::crafted("healthy");
    let (text, _) = with_line_of(&store, 1 << 20);
    store.write(transcript(), text);
    assert_eq!(told(&validate(&store, &["--json"]).ok().json()), [] as [Told; 0]);
}

#[test]
fn a_huge_entry_says_which_fields_hold_the_bytes() {
    let store = Store::crafted("healthy");
    CASES.iter().find(|case| case.0 == "huge-entry").unwrap().1(&store);
    let document = validate(&store, &["--json"]).ok().json();
    let detail = document["problems"][0]["detail"].as_str().unwrap();
    assert!(detail.contains("skillsSnapshot 300") && detail.contains("origin "), "{detail}");
}

#[test]
fn what_cannot_be_opened_is_told_and_the_rest_is_checked() {
    for (path, code) in [(STORE.to_owned(), "store-unreadable"), (transcript(), "unreadable")] {
        let store = Store::crafted("null-line");
        store.set_mode(&path, 0o000);
        let Some(mut command) = store.ordinary(["validate", "--json", "--now", NOW]) else {
            return sys::skip("no setpriv to become an ordinary user");
        };
        let document = Output::of(&mut command).code(3).json();
        store.set_mode(&path, 0o600);
        let codes: Vec<String> = told(&document).into_iter().map(|[_, code, ..]| code).collect();
        assert!(codes.contains(&code.to_owned()), "{code}: {document:#}");
        assert_eq!(codes.contains(&"null-line".to_owned()), code == "store-unreadable", "{document:#}");
    }
}

#[test]
fn a_pipe_under_the_name_of_a_transcript_stops_nothing() {
    let store = Store::crafted("healthy");
    store.remove(transcript());
    let made = Command::new("mkfifo").arg(store.path(transcript())).status();
    if !made.is_ok_and(|status| status.success()) {
        return sys::skip("no mkfifo");
    }
    let document = validate(&store, &["--json"]).code(3).json();
    assert_eq!(told(&document), of_transcript("high", "unreadable", None));
    store.run_bare(["validate", store.path(transcript()).to_str().unwrap()], &[]).code(3);
}

/// A key, and the codes of its damage.
type Damaged = (&'static str, &'static [&'static str]);

/// What the MANIFEST of each recorded store names: damage made by hand, by `sessions.compact`, and runs that never
/// wrote their transcript.
const DAMAGE: [(&str, &[Damaged]); 2] = [
    (
        "real-small",
        &[
            ("agent:main:telegram:group:-100555000800", &["missing"]),
            ("agent:main:telegram:group:-100555000801", &["no-final-newline"]),
            ("agent:main:telegram:group:-100555000802", &["no-header"]),
            ("agent:main:telegram:group:-100555000803", &["empty"]),
            ("agent:main:telegram:group:-100555000804", &["nul-tail"]),
            ("agent:main:telegram:group:-100555000805", &["dangling-parent", "malformed-line"]),
        ],
    ),
    (
        "real-gateway",
        &[
            ("agent:main:telegram:direct:700000036", &["compacted", "dangling-parent"]),
            ("agent:main:telegram:direct:700000042", &["missing"]),
        ],
    ),
];

#[test]
fn recorded_stores_have_the_damage_that_was_done_to_them_and_no_other() {
    let documents = Documents::default();
    for (name, damage) in DAMAGE {
        let store = Store::recorded(name);
        let before = store.tree().exact();
        let output = validate(&store, &["--json"]).code(1);
        before.assert_same(&store.tree().exact());
        assert!(!output.stdout.contains("Incorrect API key"), "{name}: an error message is told");
        let document = output.json();
        documents.add(&document);
        let mut found: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for one in document["problems"].as_array().unwrap() {
            // The stores are copies: the paths in them name the machine on which they were recorded.
            let is_copy = one["code"] == "relocated";
            if ["fatal", "high"].contains(&one["severity"].as_str().unwrap()) && !is_copy {
                found.entry(one["key"].as_str().unwrap()).or_default().insert(one["code"].as_str().unwrap());
            }
        }
        let truth: BTreeMap<&str, BTreeSet<&str>> =
            damage.iter().map(|(key, codes)| (*key, codes.iter().copied().collect())).collect();
        assert_eq!(found, truth, "{name}");
    }
    documents.check("recorded_stores_have_the_damage_that_was_done_to_them_and_no_other");
}

#[test]
fn recorded_stores_as_text() {
    for (name, _) in DAMAGE {
        let store = Store::recorded(name);
        insta::assert_snapshot!(format!("validate-{name}"), store.redact(&validate(&store, &[]).to_string()));
    }
}

#[test]
fn the_exit_status_follows_what_is_asked_for() {
    for (folder, statuses) in [
        ("healthy", [0, 0, 0, 0]),
        ("side-branch", [0, 0, 0, 1]),
        ("scalar-line", [0, 0, 1, 1]),
        ("blank-user", [0, 1, 1, 1]),
        ("null-line", [1, 1, 1, 1]),
    ] {
        let store = Store::crafted(folder);
        for (severity, status) in ["fatal", "high", "low", "info"].into_iter().zip(statuses) {
            let output = validate(&store, &["--severity", severity, "-q"]).code(status);
            assert_eq!(output.stdout.lines().count(), 1, "{output}");
        }
    }
    let store = Store::crafted("side-branch");
    let brief = validate(&store, &[]).ok();
    assert!(brief.stdout.contains("1 info (-v shows them) in ") && brief.stdout.lines().count() == 1, "{brief}");
    validate(&store, &["--severity", "worst"]).code(2);
}

#[test]
fn effects_are_those_of_the_installed_release() {
    for (version, word) in [
        (json!("2026.3.11"), "replaces the whole history"),
        (json!("2026.6.11"), "rebuilds the header"),
        (json!("2026.7.1"), "rebuilds the header"),
        (Value::Null, "replaces the whole history"),
    ] {
        let store = Store::crafted("headerless");
        store.write("openclaw.json", json!({"meta": {"lastTouchedVersion": version}}).to_string());
        let document = validate(&store, &["--json"]).code(1).json();
        assert_eq!(document["openclawVersion"], version);
        let effect = document["problems"][0]["effect"].as_str().unwrap();
        assert!(effect.contains(word), "{version}: {effect}");
    }
}

#[test]
fn nothing_is_taken_from_the_cache_and_nothing_is_put_there() {
    let store = Store::crafted("healthy");
    // What was touched just now is not remembered.
    std::thread::sleep(std::time::Duration::from_millis(2100));
    store.scan([] as [&str; 0]);
    let cache = store.root().join("cache");
    let mut poisoned = 0;
    for file in tree(&cache).files() {
        let bytes = fs::read(cache.join(&file)).unwrap();
        // A word of the same length that means harm.
        let words: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at..].starts_with(b"intact")).collect();
        let mut poison = bytes;
        for &at in &words {
            poison[at..at + 6].copy_from_slice(b"blocks");
        }
        poisoned += words.len();
        // It ends with the hash of itself.
        let end = poison.len() - 32;
        let hash = Sha256::digest(&poison[..end]);
        poison[end..].copy_from_slice(&hash);
        fs::write(cache.join(&file), poison).unwrap();
    }
    assert!(poisoned > 0, "the cache keeps verdicts as words");
    assert_eq!(store.scan([] as [&str; 0])["bindings"][0]["integrity"], "blocks", "the scan believes its cache");
    let before = tree(&cache).exact();
    let document = validate(&store, &["--json"]).ok().json();
    assert_eq!(told(&document), [] as [Told; 0]);
    before.assert_same(&tree(&cache).exact());
}

#[test]
fn a_key_cannot_paint_the_terminal_or_forge_a_line() {
    let key = "agent:main:telegram:direct:\u{1b}[31mred\u{202e}txt\nfatal forged /etc/passwd:1:0: x";
    let store =
        StoreBuilder::new().agent("main").binding(key, |one| one.without("sessionId").without("sessionFile")).build();
    for output in [validate(&store, &["-v"]), validate(&store, &["-v", "--json"])] {
        let hostile = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
        assert!(!output.stdout.contains(hostile) || output.stdout.starts_with('{'), "{output}");
        assert!(!output.stdout.contains('\u{1b}'), "{output}");
        assert!(!output.stdout.lines().any(|line| line.starts_with("fatal forged")), "{output}");
    }
}

/// Checks with no more address space than this: it holds the program, a thread and its heap, and then a little.
fn within(store: &Store, mebibytes: u64) -> Value {
    let direct = store.command(["validate", "--json", "--jobs", "1", "--now", NOW, "--state-dir"]);
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -v {} && exec \"$@\"", mebibytes << 10), "-"]);
    command.arg(direct.get_program()).args(direct.get_args()).arg(store.state_dir());
    command.env_clear().env("XDG_CACHE_HOME", store.root().join("cache")).env("HOME", store.home());
    Output::of(&mut command).json()
}

#[test]
fn five_million_brackets_neither_overflow_nor_hide_what_follows() {
    let store = Store::crafted("null-line");
    let text = store.read(transcript());
    let line = "[".repeat(5_000_000);
    let header = text.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    let text = [&text[..header], line.as_bytes(), b"\n", &text[header..]].concat();
    store.write(transcript(), text);
    let null = truth()["null-line"][0][4].parse::<usize>().unwrap();
    let mut rows = of_transcript("fatal", "null-line", Some((7, null + line.len() + 1)));
    rows.extend(of_transcript("high", "malformed-line", Some((2, header + line.len()))));
    rows.extend(of_transcript("low", "long-line", Some((2, header))));
    assert_eq!(told(&within(&store, 192)), rows);
}

#[test]
fn a_line_of_forty_megabytes_is_read_in_its_own_size() {
    let store = Store::crafted("healthy");
    let (text, at) = with_line_of(&store, 40_000_000);
    store.write(transcript(), text);
    assert_eq!(told(&within(&store, 256)), of_transcript("low", "long-line", Some((6, at))));
}

#[test]
fn odd_keys_of_a_store_are_told_at_their_byte() {
    let store = Store::empty();
    let path = store.root().join("store.json");
    let text = b"{\n  \"a\\udc00\": {\"sessionId\": \"x\", \"updatedAt\": 1},\n  \"b\xff\": {\"sessionId\": \"y\"}\n}";
    fs::write(&path, text).unwrap();
    let output = store.run_bare(["validate", "--json", "--now", NOW, path.to_str().unwrap()], &[]).ok();
    let at = |mark: &[u8]| text.windows(mark.len()).position(|window| window == mark).unwrap();
    let low = |code: &str, line, byte| row("low", code, path.to_str().unwrap(), Some((line, byte)));
    let truth = [
        low("bad-clock", 2, at(b"\"a")),
        low("invalid-utf8", 3, at(b"\xff")),
        low("lone-surrogate", 2, at(b"\\udc00")),
        low("no-updated-at", 3, at(b"\"b")),
    ];
    assert_eq!(told(&output.json()), truth);
}

#[test]
fn the_list_of_checks_is_the_table() {
    let store = Store::empty();
    let text = store.run_bare(["validate", "--list-checks"], &[]).ok().stdout;
    let codes: Vec<&str> = text.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(codes, Code::ALL.iter().map(|code| code.as_str()).collect::<Vec<_>>());
}

/// `docs/checks.md` as the table of codes has it.
fn checks() -> String {
    let mut text = include_str!("checks.md").to_owned();
    for about in [About::Store, About::Binding, About::File, About::Line] {
        write!(
            text,
            "\n## {}\n\n| code | | what it is | OpenClaw 2026.3.11 | what to do |\n|---|---|---|---|---|\n",
            about.heading()
        )
        .unwrap();
        for code in Code::ALL.iter().filter(|code| code.about() == about) {
            let later =
                code.later_effect().map_or_else(String::new, |later| format!("; *2026.6.11 and later:* {later}"));
            let remedy = match code.remedy() {
                Remedy::Repair => "`validate --repair`",
                Remedy::Salvage => "`validate --repair --salvage`",
                Remedy::Quarantine => "`quarantine KEY`",
                Remedy::StuckBak => "`restore --stuck-bak`",
                Remedy::Person(what) => what,
                Remedy::Nothing if code.severity() <= Severity::High => "[one of these](#where-no-answer-is-exact)",
                Remedy::Nothing => "nothing",
            };
            let (name, severity, what, effect) =
                (code.as_str(), code.severity().as_str(), code.describe(), code.effect());
            writeln!(text, "| `{name}` | {severity} | {what} | {effect}{later} | {remedy} |").unwrap();
        }
    }
    text
}

#[test]
fn the_reference_in_docs_is_current() {
    let path = support::repository("docs/checks.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, checks()).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == checks(), "docs/checks.md is out of date: run UPDATE_DOCS=1 cargo test --test it validate");
}
