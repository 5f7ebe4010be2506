//! OpenClaw's own commands after ours: its list is our list, and it finds nothing that we had not named.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use crate::loader::messages;
use crate::release::{PEER, Release};
use crate::world::{Key, bindings, document, listed, recorded, text};
use support::Store;

const STORES: [&str; 2] = ["real-small", "real-gateway"];
const LATER: &str = "2026-11-22T23:30:00Z";
/// Nothing here asks a model.
const NO_MODEL: u16 = 9;
/// Most of it goes: little is protected.
const WIDE: &str = "gc --json --idle 10m --grace 1m --unprotect group --unprotect topic --failed any";
const STAGES: [(&str, &[&str]); 4] = [
    ("as recorded", &[]),
    ("gc", &[WIDE]),
    ("repair", &["validate --repair --json"]),
    ("restore", &[WIDE, "restore latest --json"]),
];

/// What OpenClaw said of one state directory.
#[derive(Debug, PartialEq)]
struct Said {
    sessions: BTreeMap<Key, String>,
    complaints: BTreeSet<String>,
}

#[test]
fn openclaw_lists_what_remains_and_finds_nothing_that_was_not_named() {
    let Some(release) = Release::of("openclaw_lists_what_remains_and_finds_nothing_that_was_not_named", PEER) else {
        return;
    };
    std::thread::scope(|scope| {
        for name in STORES {
            let release = &release;
            scope.spawn(move || {
                let said = STAGES.map(|(stage, commands)| compare(release, name, stage, commands));
                let [before, gc, repair, restore] = &said;
                assert_eq!(before, restore, "{name}: restored, OpenClaw sees what it saw");
                assert_eq!(before.sessions, repair.sessions, "{name}: a repair takes no binding");
                assert!(gc.sessions.len() < before.sessions.len() / 2, "{name}: {} stayed", gc.sessions.len());
                for (stage, after) in [("gc", gc), ("repair", repair)] {
                    let new: Vec<_> = after.complaints.difference(&before.complaints).collect();
                    assert!(new.is_empty(), "{name}, {stage}: doctor newly says {new:#?}");
                }
            });
        }
    });
}

/// Runs our commands, and then OpenClaw's: what it says must be what our scan says.
fn compare(release: &Release, name: &str, stage: &str, commands: &[&str]) -> Said {
    let store = recorded(name, NO_MODEL);
    for command in commands {
        // A repair leaves what has no exact repair, and says so by its exit status.
        let output = store.run(command.split(' ').chain(["--now", LATER]));
        assert!(matches!(output.code, Some(0 | 1)), "{name}, {stage}: {output}");
    }
    let scan = store.scan(["--now", LATER]);
    let ours = bindings(&scan, |_| true);
    let absent = bindings(&scan, |one| matches!(one["integrity"].as_str(), Some("missing" | "never-written")));

    let sessions = listed(release, &store);
    assert_eq!(sessions.keys().cloned().collect::<BTreeSet<_>>(), ours, "{name}, {stage}");
    let doctor = Doctor::of(&release.run(&store, &["doctor", "--non-interactive"]).ok().stdout);
    let file = |kind: &[&str], path: &str| {
        let files = scan["files"].as_array().unwrap().iter();
        files.filter(|one| kind.contains(&one["kind"].as_str().unwrap()) && text(&one["path"]).contains(path)).count()
    };
    assert_eq!(doctor.orphans, file(&["orphan"], "agents/main/"), "{name}, {stage}: orphans of the default agent");
    assert_eq!(doctor.locks, file(&["lock-dead", "lock-live"], ".jsonl.lock"), "{name}, {stage}: locks");
    assert!(doctor.missing <= absent.len(), "{name}, {stage}: {} missing, {absent:?}", doctor.missing);

    // First what it would do, then what it does: the count alone could be that of other keys.
    let cleanup = ["sessions", "cleanup", "--all-agents", "--fix-missing", "--json"];
    let would = document(&release.run(&store, &[&cleanup[..], &["--dry-run"]].concat()).ok());
    for one in stores(&would) {
        let named = absent.iter().filter(|(agent, _)| *agent == text(&one["agentId"])).count();
        let counts = ["missing", "pruned", "capped"].map(|count| one[count].as_u64().unwrap());
        assert_eq!(counts, [named as u64, 0, 0], "{name}, {stage}: {one}");
    }
    drop(document(&release.run(&store, &[&cleanup[..], &["--enforce"]].concat()).ok()));
    let left = bindings(&store.scan(["--now", LATER]), |_| true);
    assert_eq!(ours.difference(&left).cloned().collect::<BTreeSet<_>>(), absent, "{name}, {stage}: took others");
    println!(
        "{name}, {stage}: {} bindings, {} without a transcript, {} orphans",
        ours.len(),
        absent.len(),
        doctor.orphans
    );
    Said { sessions, complaints: doctor.complaints }
}

/// The reports of `sessions cleanup`: one, or one for each store.
fn stores(said: &Value) -> Vec<&Value> {
    said["stores"].as_array().map_or_else(|| vec![said], |stores| stores.iter().collect())
}

/// What `openclaw doctor` says of state directory and locks.
struct Doctor {
    /// Each point, with every number and id taken out.
    complaints: BTreeSet<String>,
    orphans: usize,
    missing: usize,
    locks: usize,
}

impl Doctor {
    fn of(said: &str) -> Self {
        let mut points: Vec<String> = Vec::new();
        let mut section = "";
        for line in said.lines() {
            if let Some(title) = line.strip_prefix("◇  ") {
                section = title;
            }
            let Some(line) =
                line.strip_prefix("│  ").filter(|_| section.starts_with("State") || section.starts_with("Session"))
            else {
                continue;
            };
            let line = line.trim_end_matches('│').trim();
            match (line.strip_prefix("- "), points.last_mut()) {
                (Some(point), _) => points.push(point.to_owned()),
                (None, Some(point)) => {
                    point.push(' ');
                    point.push_str(line);
                }
                (None, None) => {}
            }
        }
        assert!(!points.is_empty(), "doctor said nothing: {said}");
        let number = |after: &str, before: &str| {
            let numbers = points.iter().filter_map(|point| {
                let (number, _) = point.split_once(after)?.1.split_once(before)?;
                number.split('/').next()?.parse().ok()
            });
            numbers.max().unwrap_or(0)
        };
        Self {
            orphans: number("Found ", " orphan transcript"),
            missing: number("", " recent sessions are missing"),
            locks: number("Found ", " session lock file"),
            complaints: points
                .iter()
                .map(|point| point.split(['(', ':', '~', '/']).next().unwrap_or_default())
                .map(shape)
                .collect(),
        }
    }
}

/// A sentence without its numbers.
fn shape(point: &str) -> String {
    let words =
        point.split_whitespace().map(|word| if word.contains(|c: char| c.is_ascii_digit()) { "N" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn the_loader_of_openclaw_finds_the_history_of_every_repaired_recorded_transcript() {
    let test = "the_loader_of_openclaw_finds_the_history_of_every_repaired_recorded_transcript";
    let Some(release) = Release::peer(test) else { return };
    let dir = TempDir::new().unwrap();
    let mut held = BTreeMap::new();
    for name in STORES {
        let store = Store::recorded(name);
        let output = store.run(["validate", "--repair", "--json", "--now", LATER]);
        for one in output.json()["repair"]["mended"].as_array().unwrap() {
            let path = text(&one["path"]);
            let bytes = store.read(&path);
            let file = path.rsplit('/').next().unwrap().to_owned();
            fs::write(dir.path().join(&file), &bytes).unwrap();
            held.insert(file, messages(&bytes));
        }
    }
    assert!(held.len() >= 3, "{held:?}");
    let said = release.load(dir.path());
    for line in said.lines().filter(|line| !line.starts_with("clock ")) {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(words[1..], ["loads", "-", "0", &held[words[0]].to_string()], "{line}");
    }
    println!("repaired and loaded: {held:?}");
}
