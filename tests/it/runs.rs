//! Past runs: what each took and what of it is back; and forgetting them, which is asked for and not undone.

use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};
use support::lessons::{KEY, OTHER, gc, two_agents};
use support::{NOW, Store};

fn shown(store: &Store, run: &str) -> Value {
    store.run(["runs", "show", run, "--json"]).ok().json()
}

/// What of a run is where, by key and by the end of a path.
fn states(document: &Value) -> Vec<(String, String)> {
    let text = |one: &Value, name: &str| one[name].as_str().map(str::to_owned);
    let of = |list: &str, name: &'static str| {
        let all = document[list].as_array().unwrap().clone();
        all.into_iter().map(move |one| {
            let name = text(&one, name).unwrap();
            (name.rsplit('/').next().unwrap().to_owned(), text(&one, "state").unwrap())
        })
    };
    let mut states: Vec<_> = of("entries", "key").chain(of("changed", "path")).collect();
    states.sort();
    states
}

#[test]
fn a_run_is_shown_with_all_it_took_and_what_of_it_is_back() {
    let store = two_agents();
    let run = gc(&store, &["--idle", "1d"]).ok().json()["run"].as_str().unwrap().to_owned();
    let before = shown(&store, &run);
    assert_eq!((&before["id"], &before["state"], &before["restorable"]), (&json!(run), &json!("done"), &json!(true)));
    let (entries, files) = (before["entries"].as_array().unwrap(), before["changed"].as_array().unwrap());
    assert_eq!((entries.len(), files.len()), (3, 4));
    assert_eq!((&before["bindings"], &before["files"]), (&json!(3), &json!(4)));
    assert!(states(&before).iter().all(|(_, state)| state == "away"), "{before:#}");
    let entry = entries.iter().find(|one| one["key"] == KEY).unwrap();
    assert_eq!((&entry["action"], &entry["reasons"][0]), (&json!("expire"), &json!("idle")));
    assert!(entry["bytes"].as_u64() > Some(0));
    let total: u64 = entries.iter().chain(files).map(|one| one["bytes"].as_u64().unwrap()).sum();
    assert_eq!(before["bytes"], total, "what it shows is all it took");
    let orphan =
        files.iter().find(|one| one["path"].as_str().unwrap().ends_with("0a1b2c3d-0000-4000-8000-000000000000.jsonl"));
    assert_eq!(orphan.unwrap()["reason"], "orphan");

    assert_eq!(shown(&store, &run[..run.len() - 1]), before, "a part of its id will do");

    store.run(["restore", KEY]).ok();
    let after = shown(&store, &run);
    assert_eq!(after["state"], "partly-restored");
    let back: Vec<_> = states(&after).into_iter().filter(|(_, state)| state == "restored").collect();
    assert_eq!(back.len(), 2, "an entry and its transcript: {back:?}");
    let restore = shown(&store, "latest");
    assert_eq!((&restore["command"], &restore["of"]), (&json!("restore"), &json!(run)));
    store.run(["runs", "show", "2031"]).code(2);
    let told = store.run(["runs", "show", &run]).ok();
    for part in [run.as_str(), OTHER, "expire", "idle", "restored", "away", "Next: claw-sessions restore"] {
        assert!(told.stdout.contains(part), "no {part:?} in {told}");
    }
}

#[test]
fn what_was_mended_is_shown_with_its_problems() {
    let store = Store::crafted("null-line");
    store.run(["validate", "--repair", "--now", NOW]).ok();
    let shown = shown(&store, "latest");
    let file = &shown["changed"][0];
    assert_eq!(
        (&file["change"], &file["codes"], &file["state"]),
        (&json!("replace"), &json!(["null-line"]), &json!("away"))
    );
}

#[test]
fn forgetting_runs_takes_a_yes_where_nobody_can_be_asked() {
    let store = two_agents();
    let run = gc(&store, &["--idle", "1d"]).ok().json()["run"].as_str().unwrap().to_owned();
    sleep(Duration::from_millis(1100));
    let prune = ["runs", "prune", "--older-than", "1s"];
    let before = store.tree().exact();
    let told = store.run(prune).code(2);
    assert!(told.stderr.contains("1 run with") && told.stderr.contains("--yes"), "{told}");
    let dry = store.run([&prune[..], &["-n", "--json"]].concat()).ok().json();
    assert_eq!((&dry["dryRun"], &dry["due"], &dry["forgotten"]), (&json!(true), &json!([run]), &Value::Null));
    let told = store.run([&prune[..], &["-n"]].concat()).ok();
    assert!(told.stdout.contains(&format!("would be forgotten: {run}")) && told.stdout.contains("dry run"), "{told}");
    before.assert_same(&store.tree().exact());
    let none = store.run(["runs", "prune", "--older-than", "60d"]).ok();
    assert!(none.stdout.contains("No run ended longer than 60d ago."), "{none}");

    let done = store.run([&prune[..], &["--yes", "--json"]].concat()).ok().json();
    assert_eq!(done["forgotten"], json!([run]));
    assert_eq!(store.run_ids(), [] as [&str; 0]);
}

#[test]
fn a_run_whose_archive_holds_nothing_is_forgotten_without_a_question() {
    let store = two_agents();
    gc(&store, &["--idle", "1d"]).ok();
    store.restore_latest().ok();
    sleep(Duration::from_millis(1100));
    let done = store.run(["runs", "prune", "--older-than", "1s", "--json"]).ok().json();
    assert_eq!(done["forgotten"].as_array().unwrap().len(), 2);
}
