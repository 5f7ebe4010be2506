//! The JSON documents are what `docs/schema/` says. `UPDATE_SCHEMAS=1` writes the schemas anew.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use claw_sessions::render::schema::schemas;
use serde_json::{Value, json};
use support::{NOW, Store, StoreBuilder, sys};

const KEY: &str = "agent:main:telegram:direct:700000401";
const LIMITS: [&str; 4] = ["--idle", "10m", "--now", "2026-11-22T23:30:00Z"];

fn path(name: &str) -> PathBuf {
    support::repository(format!("docs/schema/{name}.v1.json"))
}

fn text(schema: &Value) -> String {
    format!("{}\n", serde_json::to_string_pretty(schema).unwrap())
}

/// Documents beside the schemas that they name, read from the files.
#[derive(Default)]
pub(crate) struct Documents(Mutex<String>);

impl Documents {
    /// Takes a document whose schema is there, and knows and gets every field at the top.
    #[track_caller]
    pub(crate) fn add(&self, document: &Value) {
        let name = document["schema"].as_str().unwrap_or_else(|| panic!("no schema is named in {document:#}"));
        let name = name.strip_prefix("claw-sessions/").and_then(|name| name.strip_suffix("/v1")).unwrap();
        let schema: Value = serde_json::from_slice(&fs::read(path(name)).unwrap()).unwrap();
        for field in document.as_object().unwrap().keys() {
            assert!(schema["properties"][field].is_object(), "{name} does not know {field}");
        }
        for field in schema["required"].as_array().unwrap() {
            assert!(document.get(field.as_str().unwrap()).is_some(), "{name} needs {field}");
        }
        writeln!(self.0.lock().unwrap(), "{}", json!([schema, document])).unwrap();
    }

    /// Lets Python's `jsonschema` compare all of each document with its schema.
    pub(crate) fn check(self, test: &str) {
        let has = |python: &&&str| {
            let probe = Command::new(python).args(["-c", "import jsonschema"]).stderr(Stdio::null()).status();
            probe.is_ok_and(|status| status.success())
        };
        let Some(python) = ["python3", "/usr/bin/python3"].iter().find(has) else {
            return sys::skip(&format!("{test}: no python3 with jsonschema (python3-jsonschema)"));
        };
        let program = support::repository("tests/it/schema/validate.py");
        let mut python = Command::new(python);
        python.arg(program).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut python = python.spawn().unwrap();
        python.stdin.take().unwrap().write_all(self.0.into_inner().unwrap().as_bytes()).unwrap();
        let output = python.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn the_schemas_in_docs_are_current() {
    for (name, schema) in schemas() {
        let now = text(schema.as_value());
        if std::env::var_os("UPDATE_SCHEMAS").is_some() {
            fs::create_dir_all(path(name).parent().unwrap()).unwrap();
            fs::write(path(name), &now).unwrap();
        }
        let written = fs::read_to_string(path(name)).unwrap_or_default();
        assert!(
            written == now,
            "docs/schema/{name}.v1.json is out of date: run UPDATE_SCHEMAS=1 cargo test --test it schema"
        );
    }
}

#[test]
fn every_schema_in_docs_is_one_of_ours() {
    let mut known: Vec<String> = schemas().iter().map(|(name, _)| format!("{name}.v1.json")).collect();
    known.sort();
    let dir = fs::read_dir(path("scan").parent().unwrap());
    let mut found: Vec<String> = dir.unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    found.retain(|name| name.ends_with(".json"));
    found.sort();
    assert_eq!(found, known);
}

#[test]
fn every_schema_describes_every_field() {
    for (name, schema) in schemas() {
        let schema = schema.as_value();
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema", "{name}");
        described(name, schema);
    }
}

fn described(at: &str, schema: &Value) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        assert!(property["description"].is_string(), "{at}.{name} says nothing of itself");
    }
    for (name, definition) in schema["$defs"].as_object().into_iter().flatten() {
        described(&format!("{at}.{name}"), definition);
    }
}

#[test]
fn what_the_commands_print_agrees_with_the_schemas() {
    let documents = Documents::default();
    for name in ["real-small", "real-gateway"] {
        let store = Store::recorded(name);
        let plan = store.root().join("plan.json");
        let plan = plan.to_str().unwrap();
        let print = |args: &[&str]| {
            let document = store.run([args, &["--json"]].concat()).ok().json();
            documents.add(&document);
            document
        };
        print(&["scan", "--now", NOW]);
        print(&["scan", "--show-text", "--all", "--now", NOW]);
        print(&[&["gc", "-n"], &LIMITS[..]].concat());
        print(&[&["gc", "--plan", plan], &LIMITS[..]].concat());
        print(&["explain", "agent:main:main"]);
        print(&["report", "--since", "7d", "--now", NOW]);
        print(&["report", "--check", "--max-damaged", "9", "--max-bytes", "1GB", "--now", NOW]);
        print(&["runs"]);
        print(&["config", "check"]);
        print(&["config", "show", "--idle", "10m"]);
        print(&["systemd"]);
        print(&["systemd", "--install", "--dir", "units"]);
        let due = store.run(["scan", "--restart-due", "30m", "--json"]).code(1).json();
        let done = print(&[&["gc"], &LIMITS[..]].concat());
        assert!(done["run"].is_string());
        print(&["runs"]);
        print(&["runs", "show", "latest"]);
        print(&["runs", "prune", "--older-than", "1000d", "-n"]);
        print(&["restore", "latest"]);
        print(&["restore", "latest"]);
        print(&["runs"]);
        print(&["runs", "prune", "--older-than", "1000d", "--yes"]);
        documents.add(&due);
        documents.add(&serde_json::from_slice(&fs::read(plan).unwrap()).unwrap());
    }
    documents.check("what_the_commands_print_agrees_with_the_schemas");
}

#[test]
fn documents_about_sqlite_agree_too() {
    let documents = Documents::default();
    let store = Store::recorded("real-sqlite-9.6");
    for (args, code) in [
        (&["scan"][..], 0),
        (&["report"], 0),
        (&["explain", "agent:main:main"], 0),
        (&["validate"], 1),
        (&["validate", "--repair"], 1),
        (&["gc", "-n"], 0),
        (&["gc"], 0),
        (&["quarantine", "agent:main:main"], 0),
    ] {
        documents.add(&store.run([args, &["--json", "--now", "2026-11-23T00:00:00Z"]].concat()).code(code).json());
    }
    let mixed = Store::crafted("healthy");
    let database = mixed.database("main", 23);
    database.bind("agent:main:main", "new");
    database.close();
    documents.add(&mixed.scan(["--now", NOW]));
    documents.check("documents_about_sqlite_agree_too");
}

#[test]
fn documents_about_trouble_agree_too() {
    let documents = Documents::default();
    let store = Store::recorded("real-gateway");
    store.write("claw-sessions.toml", "idle = 5\n");
    documents.add(&store.run(["config", "check", "--json"]).code(2).json());
    documents.add(&store.run(["config", "show", "--json"]).code(2).json());
    store.remove("claw-sessions.toml");
    documents.add(&store.run(["explain", "no such key", "--json"]).code(2).json());
    documents.add(&store.run(["restore", "no-such-run", "--json"]).code(2).json());
    documents.add(&store.gc(["--now", "2036-01-01T00:00:00Z"]).code(4).json());
    documents.add(&store.run(["explain", KEY, "--json", "--show-text"]).ok().json());
    for folder in
        ["truncated", "self-parent", "missing-updated-at", "future-updated-at", "duplicate-keys", "null-entries"]
    {
        let store = Store::crafted(folder);
        documents.add(&store.scan(["--now", NOW]));
        let output = store.gc(["--all", "--now", NOW]);
        documents.add(&output.json());
    }
    let store = StoreBuilder::new()
        .agent("main")
        .binding("agent:main:telegram:direct:1", |one| one.idle("9d").session_id("x"))
        .config("{")
        .build();
    store.gc(["--idle", "1d", "--now", NOW]).ok();
    store.write("agents/main/sessions/x.jsonl", "in the way\n");
    documents.add(&store.restore_latest().code(4).json());
    documents.check("documents_about_trouble_agree_too");
}

#[test]
fn what_the_recipe_left_comes_back_with_a_document() {
    let documents = Documents::default();
    let store = Store::recorded("real-small");
    store.run_recipe(&[]);
    for args in [&["restore", "--stuck-bak", "--json"][..], &["runs", "--json"], &["restore", "latest", "--json"]] {
        documents.add(&store.run(args).ok().json());
    }
    documents.check("what_the_recipe_left_comes_back_with_a_document");
}
