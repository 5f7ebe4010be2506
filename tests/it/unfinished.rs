//! A run that was cut off is told first by every command that shows how things are.

use serde_json::{Value, json};
use support::lessons::{KEY, gc, two_agents};
use support::{NOW, Store};

/// A store with a run that was cut off, and its id.
fn cut_off() -> (Store, String) {
    let store = two_agents();
    let run = gc(&store, &["--idle", "1d", "--agent", "desk"]).ok().json()["run"].as_str().unwrap().to_owned();
    let mut manifest = store.manifest(&run);
    manifest["state"] = json!("unfinished");
    manifest["finishedAt"] = Value::Null;
    store.set_manifest(&run, manifest);
    (store, run)
}

const READING: [&[&str]; 4] = [&["scan"], &["report"], &["runs"], &["explain", KEY]];

#[test]
fn a_run_that_was_cut_off_is_told_first_and_how_it_is_finished() {
    let (store, run) = cut_off();
    let finish =
        format!("run {run} was cut off; `claw-sessions gc --state-dir {}` finishes it", store.state_dir().display());
    for args in READING {
        let told = store.run([args, &["--now", NOW]].concat()).ok();
        let after_head = usize::from(["scan", "report"].contains(&args[0]));
        let line = told.stdout.lines().nth(after_head).unwrap();
        assert_eq!(line, format!("unfinished: {finish}"), "{args:?}: {told}");
    }
    let markdown = store.run(["report", "--format", "markdown", "--now", NOW]).ok();
    assert!(markdown.stdout.contains(&format!("> **Unfinished:** run {run}")), "{markdown}");
    let page = store.run(["report", "--format", "html", "--now", NOW]).ok();
    assert!(page.stdout.contains(&format!("Unfinished: run {run}")), "{page}");
}

#[test]
fn programs_get_the_runs_that_were_cut_off_as_a_list() {
    let (store, run) = cut_off();
    let of = |store: &Store, args: &[&str]| {
        store.run([args, &["--json", "--now", NOW]].concat()).ok().json()["unfinished"].clone()
    };
    for args in READING {
        assert_eq!(of(&store, args), json!([run]), "{args:?}");
    }
    assert_eq!(of(&store, &["gc", "-n"]), json!([run]));
    for args in READING {
        assert_eq!(of(&two_agents(), args), json!([]), "{args:?}");
    }
    store.gc(["--now", NOW]).ok();
    assert_eq!(of(&store, &["scan"]), json!([]), "gc finished it");
}

#[test]
fn checks_fail_and_the_metric_counts_while_a_run_is_unfinished() {
    let healthy = || support::StoreBuilder::new().agent("main").binding(KEY, |one| one).build();
    let store = healthy();
    let metric = |store: &Store| {
        let text = store.run(["report", "--format", "prometheus", "--now", NOW]).ok().stdout;
        let line = text.lines().find_map(|line| line.strip_prefix("claw_sessions_unfinished_runs "));
        line.unwrap().to_owned()
    };
    let report = ["report", "--check", "--max-damaged", "9", "--now", NOW];
    store.run(["scan", "--check", "--now", NOW]).ok();
    assert!(store.run(report).ok().stdout.starts_with("SESSIONS OK"));
    assert_eq!(metric(&store), "0");

    let run = gc(&store, &["--all"]).ok().json()["run"].as_str().unwrap().to_owned();
    store.restore_latest().ok();
    let mut manifest = store.manifest(&run);
    manifest["state"] = json!("unfinished");
    store.set_manifest(&run, manifest);
    let told = store.run(["scan", "--check", "--now", NOW]).code(1);
    assert!(told.stdout.lines().nth(1).unwrap().starts_with("unfinished: "), "{told}");
    let told = store.run(report).code(1);
    assert!(told.stdout.starts_with("SESSIONS WARNING: 1 run is unfinished"), "{told}");
    assert_eq!(metric(&store), "1");
    store.gc(["--now", NOW]).ok();
    store.run(["scan", "--check", "--now", NOW]).ok();
    store.run(report).ok();
}
