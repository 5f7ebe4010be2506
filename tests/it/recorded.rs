//! The stores that the real OpenClaw wrote: every binding is judged as it really was, gc takes what it planned,
//! restore brings back the very same tree, and what only reads leaves no trace.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use support::{NOW, Output, Store, expected, sys};

const STORES: [&str; 2] = ["real-small", "real-gateway"];
/// Written by 2026.6.11, an hour and a half later.
const STORES_6_11: [&str; 2] = ["real-6.11", "real-6.11-gateway"];
const LATER: &str = "2026-11-22T23:30:00Z";
const NOW_6_11: &str = "2026-11-23T00:30:00Z";
const LIMITS: [&str; 6] = ["--idle", "10m", "--grace", "1m", "--now", LATER];
/// Much of it goes: nothing is protected.
const WIDE: [&str; 12] = [
    "--idle",
    "10m",
    "--grace",
    "1m",
    "--now",
    LATER,
    "--unprotect",
    "group",
    "--unprotect",
    "topic",
    "--failed",
    "any",
];

fn columns(one: &Value) -> [String; 4] {
    let text = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
    let transcript = text("transcript").rsplit('/').next().unwrap_or_default().to_owned();
    [text("class"), text("run"), text("integrity"), transcript]
}

#[test]
fn scan_agrees_with_what_really_happened_to_every_binding() {
    let mut compared = 0;
    let mut wrong = Vec::new();
    for name in [STORES, STORES_6_11].concat() {
        let now = if STORES.contains(&name) { NOW } else { NOW_6_11 };
        let scan = Store::recorded(name).scan(["--now", now]);
        let mut seen: BTreeMap<(String, String), [String; 4]> = scan["bindings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| ((one["agent"].as_str().unwrap().into(), one["key"].as_str().unwrap().into()), columns(one)))
            .collect();
        for row in expected(&format!("{name}.expected.tsv")) {
            let truth = ["class", "run", "integrity", "transcript"].map(|column| row[column].clone());
            let found = seen.remove(&(row["agent"].clone(), row["key"].clone())).unwrap_or_default();
            if found != truth {
                wrong.push(format!("{name} {}: {found:?}, in truth {truth:?}", row["key"]));
            }
            compared += 1;
        }
        assert!(seen.is_empty(), "{name}: bindings that the table does not have: {:?}", seen.keys());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(compared, 144);
}

#[test]
fn gc_does_what_it_planned_and_restore_brings_back_the_same_tree() {
    let ways = [("taken", &LIMITS[..]), ("taken-unprotected", &WIDE)];
    for (name, (how, limits)) in [STORES, STORES_6_11].concat().into_iter().flat_map(|name| ways.map(|way| (name, way)))
    {
        let later = if STORES.contains(&name) { LATER } else { NOW_6_11 };
        let limits = &limits.iter().map(|&word| if word == LATER { later } else { word }).collect::<Vec<_>>()[..];
        let store = Store::recorded(name);
        let before = store.tree();
        let planned = store.gc([&["-n"], limits].concat()).ok().json();
        let done = store.gc(limits).ok().json();
        assert_eq!(done["planned"], planned["planned"], "{name}: the dry run promised something else");
        assert_eq!(done["planned"], done["done"], "{name}");
        for left in ["skipped", "failed", "refused"] {
            assert_eq!(done[left], json!([]), "{name}");
        }
        let after = store.tree();
        assert!(!before.contents().diff(&after.contents()).is_empty(), "{name}: nothing changed");
        insta::assert_snapshot!(format!("{name}-{how}"), taken(&done));

        let restored = store.restore_latest().ok().json();
        assert_eq!(restored["of"], json!([done["run"]]), "{name}");
        before.contents().assert_same(&store.tree().contents());
        let runs = store.run(["runs", "--json"]).ok().json();
        assert_eq!(runs["runs"][0]["state"], "restored", "{name}");
        assert_eq!(runs["runs"][0]["restorable"], false, "{name}");
    }
}

/// Every binding and file that went, and why.
fn taken(document: &Value) -> String {
    let reasons = |one: &Value| {
        let codes: Vec<_> = one["reasons"].as_array().unwrap().iter().map(|code| code.as_str().unwrap()).collect();
        codes.join(" ")
    };
    let mut lines = Vec::new();
    for one in document["bindings"].as_array().unwrap().iter().filter(|one| one["action"] != "keep") {
        let [action, key] = ["action", "key"].map(|name| one[name].as_str().unwrap());
        lines.push(format!("{action:<10} {key} ({})", reasons(one)));
    }
    for one in document["files"].as_array().unwrap().iter().filter(|one| one["action"] != "keep") {
        let [action, path] = ["action", "path"].map(|name| one[name].as_str().unwrap());
        lines.push(format!("{action:<10} {path} ({})", reasons(one)));
    }
    format!("{}\n{}", lines.join("\n"), serde_json::to_string(&document["done"]).unwrap())
}

#[test]
fn what_2026_6_11_keeps_beside_its_transcripts_is_no_orphan() {
    let orphans = [
        "agents/main/sessions/8f97c5e0-e305-49a9-99cc-1c9491edaf90.jsonl",
        // A cron run that failed: the entry of its job names no session.
        "agents/marketer/sessions/cc5dc35f-4382-4e16-bc7d-f5db88390f5c.jsonl",
    ];
    for (name, expected) in STORES_6_11.into_iter().zip([&[][..], &orphans]) {
        let store = Store::recorded(name);
        let beside = |store: &Store| -> Vec<PathBuf> {
            let is_one = |path: &&PathBuf| {
                let text = path.to_string_lossy();
                text.contains(".trajectory") || text.contains("skills-prompts")
            };
            store.tree().0.keys().filter(is_one).cloned().collect()
        };
        let before = beside(&store);
        assert!(before.len() > 8, "{name}: {before:?}");
        // Two days later everything is old enough.
        let done = store.gc([&WIDE[..4], &["--now", "2026-11-25T00:30:00Z"][..]].concat());
        let done = done.ok().json();
        let mut taken: Vec<&str> = done["files"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|file| file["reasons"][0] == "orphan" && file["action"] != "keep")
            .map(|file| file["path"].as_str().unwrap())
            .collect();
        taken.sort_unstable();
        assert_eq!(taken, expected, "{name}");
        assert_eq!(beside(&store), before, "{name}");
    }
}

#[test]
fn the_estimate_counts_what_2026_6_11_runs_again() {
    let store = Store::recorded("real-6.11-gateway");
    let mut config: Value = serde_json::from_slice(&store.read("openclaw.json")).unwrap();
    config["meta"] = json!({ "lastTouchedVersion": "2026.6.11" });
    store.write("openclaw.json", config.to_string());
    let scan = store.scan(["--now", NOW_6_11]);
    assert_eq!(scan["startup"]["model"], "interrupted-only");
    // Recorded at its next start: one was resumed, two that end otherwise were given up (F§13.6).
    assert_eq!(scan["startup"]["before"]["resumable"], 1, "{:#}", scan["startup"]);
    assert_eq!(scan["startup"]["costliest"][0]["key"], "agent:illarion:telegram:direct:700000002");
    let running = |one: &&Value| one["run"] == "interrupted";
    assert_eq!(scan["bindings"].as_array().unwrap().iter().filter(running).count(), 4);
}

#[test]
fn the_summaries_say_what_was_found_and_done() {
    for name in STORES {
        let store = Store::recorded(name);
        let mut said = String::new();
        let mut say = |args: &[&str]| {
            let output = store.run(args).ok();
            writeln!(said, "$ claw-sessions {}\n{output}", args.join(" ")).unwrap();
        };
        say(&["scan", "-q", "--now", NOW]);
        say(&[&["gc", "-q", "-n"][..], &LIMITS].concat());
        say(&[&["gc", "-q"][..], &LIMITS].concat());
        say(&["restore", "latest"]);
        let said = store.redact(&said);
        insta::assert_snapshot!(format!("{name}-summaries"), said);
    }
}

/// What only reads. `{}` stands for a path outside the state directory.
fn reading_commands(store: &Store) -> Vec<Vec<String>> {
    let outside = store.root().join(format!("plan-{}.json", store.root().read_dir().unwrap().count()));
    [
        "scan",
        "scan -v",
        "scan --json",
        "scan --check --now 2026-11-22T22:30:00Z",
        "gc -n --idle 10m --grace 1m --now 2026-11-22T23:30:00Z",
        "gc -n --json",
        "gc --plan {} --idle 10m --grace 1m --now 2026-11-22T23:30:00Z",
        "explain agent:main:main",
        "explain agent:main:main --json",
        "runs",
        "runs --json",
        "completions bash",
        "completions zsh",
        "--help",
        "gc --help",
        "--version",
    ]
    .iter()
    .map(|line| line.replace("{}", &outside.display().to_string()).split(' ').map(str::to_owned).collect())
    .collect()
}

#[test]
fn what_only_reads_leaves_no_trace() {
    for name in STORES {
        let store = Store::recorded(name);
        let before = store.tree().exact();
        for args in reading_commands(&store) {
            let output = store.run(&args);
            assert!(matches!(output.code, Some(0 | 1)), "{name}: {output}");
            let diff = before.diff(&store.tree().exact());
            assert!(diff.is_empty(), "{name}: `{}` changed the tree:\n{diff}", args.join(" "));
        }
    }
}

#[test]
fn what_only_reads_works_for_an_ordinary_user_on_a_read_only_tree() {
    for name in STORES {
        let store = Store::recorded(name);
        store.make_read_only();
        // The plan goes into a directory that this user may write.
        let writable = store.root().join("tmp");
        std::fs::set_permissions(&writable, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let before = store.tree().exact();
        for mut args in reading_commands(&store) {
            for arg in &mut args {
                *arg = arg
                    .replace(&*store.root().join("plan").to_string_lossy(), &writable.join("plan").to_string_lossy());
            }
            let Some(mut command) = store.ordinary(&args) else {
                store.make_writable();
                return sys::skip("no setpriv to become an ordinary user");
            };
            let output = Output::of(&mut command);
            assert!(matches!(output.code, Some(0 | 1)), "{name}: {}\n{output}", args.join(" "));
        }
        let diff = before.diff(&store.tree().exact());
        store.make_writable();
        assert!(diff.is_empty(), "{name}: {diff}");
    }
}

#[test]
fn a_plan_written_to_a_file_does_the_same_when_it_is_applied() {
    for name in STORES {
        let (direct, planned) = (Store::recorded(name), Store::recorded(name));
        let directly = direct.gc(LIMITS).ok().json();

        let plan = planned.root().join("plan.json");
        let plan = plan.to_str().unwrap();
        planned.run([&["gc", "--plan", plan][..], &LIMITS].concat()).ok();
        let applied = planned.gc(["--apply", plan, "--now", LATER]).ok().json();
        assert_eq!(applied["done"], directly["done"], "{name}");
        direct.tree().contents().assert_same(&planned.tree().contents());

        // A plan is for one state directory.
        let other = Store::recorded(name);
        let before = other.tree().contents();
        other.gc(["--apply", plan]).code(2);
        before.assert_same(&other.tree().contents());
    }
}

#[test]
fn a_plan_is_never_written_over_a_file() {
    let store = Store::recorded("real-small");
    let path = store.root().join("precious");
    std::fs::write(&path, "precious").unwrap();
    store.run(["gc", "--plan", path.to_str().unwrap()]).code(2);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn jobs_do_not_change_what_is_found() {
    let store = Store::recorded("real-gateway");
    let one = store.scan(["--jobs", "1", "--now", NOW]);
    assert_eq!(one, store.scan(["--jobs", "7", "--now", NOW]));
}

#[test]
fn the_binary_needs_no_environment() {
    let store = Store::recorded("real-small");
    let mut bare = Command::new(support::binary());
    bare.env_clear().current_dir("/").args(["scan", "--json", "--now", NOW, "--state-dir"]).arg(store.state_dir());
    let found = Output::of(&mut bare).ok().json();
    assert_eq!(found["bindings"], store.scan(["--now", NOW])["bindings"]);
}
