//! The record of a change can be trusted: what a run took comes back as it was, whatever somebody did to the clock, to
//! names, to the archive or to a manifest.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use support::lessons::{KEY, OTHER, STORE};
use support::{LiveProcess, NOW, Output, Store, StoreBuilder, Tree, bound};

const SESSIONS: &str = "agents/main/sessions";
const ONE: &str = "agents/main/sessions/one.jsonl";
const TWO: &str = "agents/main/sessions/two.jsonl";
const ORPHAN: &str = "agents/main/sessions/lonely.jsonl";
const CONFIG: &str = r#"{"meta": {"lastTouchedVersion": "2026.3.11"}}"#;

/// `KEY` and `OTHER` go, a third stays.
fn three() -> Store {
    StoreBuilder::new()
        .agent("main")
        .binding(KEY, |one| one.idle("9d").session_id("one"))
        .binding(OTHER, |one| one.idle("9d").session_id("two"))
        .binding("agent:main:telegram:direct:3", |one| one.idle("1h").session_id("three"))
        .config(CONFIG)
        .build()
}

/// The id of the run of a gc that took something.
fn gc(store: &Store) -> String {
    store.gc(["--now", NOW]).ok().json()["run"].as_str().unwrap().to_owned()
}

/// The codes of what a command refused, and of what failed.
fn codes(document: &Value) -> Vec<String> {
    let lists = ["refused", "failed"].map(|list| document[list].as_array().cloned().unwrap_or_default());
    lists.concat().iter().map(|left| left["code"].as_str().unwrap().to_owned()).collect()
}

fn restore(store: &Store, args: &[&str]) -> Output {
    store.run([&["restore"], args, &["--json"]].concat())
}

/// The steps of a manifest.
fn steps(manifest: &mut Value) -> &mut Vec<Value> {
    manifest["steps"].as_array_mut().unwrap()
}

/// The one file of this name in the archives.
fn archived(store: &Store, name: &str) -> Vec<u8> {
    let tree = store.tree();
    let mut found = tree.0.iter().filter(|(path, _)| path.starts_with("claw-sessions") && path.ends_with(name));
    let bytes = found.next().unwrap_or_else(|| panic!("{name} is in no archive")).1.bytes.clone();
    assert!(found.next().is_none(), "{name} is in two archives");
    bytes
}

#[test]
fn an_inode_number_that_is_used_again_is_not_the_original() {
    for same_size in [false, true] {
        let store = three();
        let history = store.read(ONE);
        let run = gc(&store);
        // Cut off after a copy to another file system and before the manifest said so; then the session id and the
        // inode number were used again.
        let other = if same_size { vec![b'x'; history.len()] } else { b"another\n".to_vec() };
        store.write(ONE, &other);
        let node = fs::metadata(store.path(ONE)).unwrap();
        let mut manifest = store.manifest(&run);
        manifest["state"] = json!("unfinished");
        for step in steps(&mut manifest).iter_mut().filter(|step| step["path"].as_str().unwrap().ends_with("one.jsonl"))
        {
            step["state"] = json!("planned");
            let stamp = &mut step["before"]["stamp"];
            (stamp["dev"], stamp["ino"]) = (json!(node.dev()), json!(node.ino()));
            if same_size {
                let time = node.mtime() * 1_000_000_000 + node.mtime_nsec();
                stamp["mtimeNs"] = json!(time.to_string());
            }
        }
        store.set_manifest(&run, manifest);
        store.run(["gc", "--now", NOW]).ok();
        assert!(archived(&store, "one.jsonl") == history, "the only copy is there");
        assert!(store.read(ONE) == other, "and so is what has its name");
    }
}

#[test]
fn a_file_that_was_cut_in_the_archive_is_named_and_the_rest_comes_back() {
    let store = three();
    let two = store.read(TWO);
    let run = gc(&store);
    let cut = store.path(format!("claw-sessions/runs/{run}/files/main/one.jsonl"));
    for damage in [fs::read(&cut).unwrap()[..3].to_vec(), {
        let mut bytes = fs::read(&cut).unwrap();
        bytes[40] ^= 1;
        bytes
    }] {
        fs::write(&cut, damage).unwrap();
        let done = restore(&store, &[&run]).code(4).json();
        assert_eq!(codes(&done), ["transcript-not-back", "archive-damaged"], "{done:#}");
        assert!(store.read(TWO) == two && !store.exists(ONE));
        assert!(store.sessions("main").get(KEY).is_none(), "alone it would lead nowhere");
        assert!(store.sessions("main").get(OTHER).is_some());
    }
}

/// The state directory without what is ours.
fn foreign(store: &Store) -> Tree {
    let mut tree = store.tree();
    tree.0.retain(|path, _| !path.starts_with("claw-sessions"));
    tree
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

#[test]
fn a_bit_that_flips_in_a_manifest_changes_no_tree() {
    let store = three();
    let before = foreign(&store).contents();
    let run = gc(&store);
    let aside = store.root().join("aside");
    copy(&store.state_dir(), &aside);
    let manifest = format!("claw-sessions/runs/{run}/manifest.json");
    let whole = store.read(&manifest);
    for at in (0..whole.len() * 8).step_by(whole.len() / 5 * 2 + 1) {
        let mut flipped = whole.clone();
        flipped[at / 8] ^= 1 << (at % 8);
        store.write(&manifest, &flipped);
        // Its version before has the same steps: what was done is found out.
        let output = restore(&store, &[&run]);
        assert!(matches!(output.code, Some(0 | 3)), "bit {at}: {output}");
        before.assert_same(&foreign(&store).contents());
        copy(&aside, &store.state_dir());
    }
}

#[test]
fn without_a_manifest_a_run_is_told_and_its_files_say_where_they_belong() {
    for lost in [&["manifest.json", "manifest.before.json"][..], &[]] {
        let store = three();
        let before = store.tree();
        let run = gc(&store);
        let dir = format!("claw-sessions/runs/{run}");
        for name in lost {
            store.remove(format!("{dir}/{name}"));
        }
        if lost.is_empty() {
            store.write(format!("{dir}/manifest.json"), "{}");
            store.write(format!("{dir}/manifest.before.json"), "");
        }
        for reading in [&["runs"][..], &["report"], &["gc", "-n", "--now", NOW]] {
            let told = store.run(reading).to_string();
            assert!(told.contains(&run) && told.contains("--from-files"), "{told}");
        }
        assert_eq!(codes(&restore(&store, &[&run]).code(3).json()), [""; 0]);
        let done = restore(&store, &["--from-files", &run]).ok().json();
        assert_eq!((bound(&done), &done["files"]), (vec![KEY.to_owned(), OTHER.to_owned()], &json!(2)));
        assert_eq!(store.sessions("main").as_object().unwrap().len(), 3);
        for path in [ONE, TWO] {
            assert!(store.read(path) == before.0[Path::new(path)].bytes, "{path}");
        }
        assert!(!store.exists(&dir), "nothing is left in it");
    }
}

#[test]
fn a_run_that_was_restored_is_not_made_again_when_its_manifest_is_damaged() {
    let store = StoreBuilder::new()
        .agent("main")
        .binding(KEY, |one| one.idle("9d").session_id("one"))
        .binding(OTHER, |one| one.idle("1h").session_id("two"))
        .orphan("lonely", "9d")
        .config(CONFIG)
        .build();
    let before = foreign(&store).contents();
    let run = gc(&store);
    assert!(!store.exists(ORPHAN), "it went too");
    restore(&store, &[&run]).ok();
    before.assert_same(&foreign(&store).contents());
    store.write(format!("claw-sessions/runs/{run}/manifest.json"), "{}");
    let done = store.run(["gc", "--json", "--only", "nothing", "--no-orphans", "--now", NOW]).json();
    before.assert_same(&foreign(&store).contents());
    assert_eq!(store.manifest(&run)["state"], "restored", "{done:#}");
    let again = restore(&store, &[&run]).ok().json();
    assert_eq!((bound(&again), &again["run"]), (Vec::<String>::new(), &Value::Null));
    before.assert_same(&foreign(&store).contents());
}

#[test]
fn of_cut_bytes_that_are_gone_it_is_said_what_helps() {
    let store = three();
    let run = gc(&store);
    let cut = store.tree().0.keys().find(|path| path.to_string_lossy().ends_with(".removed")).cloned().unwrap();
    let bytes = store.read(&cut);
    store.remove(&cut);
    let failed = restore(&store, &[&run]).code(3).json();
    assert!(codes(&failed).contains(&"not-in-archive".to_owned()), "{failed:#}");
    store.write(&cut, bytes);
    assert_eq!(bound(&restore(&store, &[&run]).ok().json()).len(), 2);
}

#[test]
fn what_comes_back_by_its_name_takes_no_name_that_is_in_use() {
    let store = three();
    let run = gc(&store);
    for name in ["manifest.json", "manifest.before.json"] {
        store.remove(format!("claw-sessions/runs/{run}/{name}"));
    }
    store.write(ONE, "another\n");
    let done = restore(&store, &["--from-files", &run]).code(4).json();
    assert_eq!(
        (bound(&done), codes(&done)),
        (vec![OTHER.to_owned()], vec!["name-taken".to_owned(), "transcript-not-back".to_owned()])
    );
    assert_eq!(store.read(ONE), b"another\n");
    store.remove(ONE);
    assert_eq!(bound(&restore(&store, &["--from-files", &run]).ok().json()), [KEY]);
}

/// A change of a manifest; it may name a path outside.
type Change = fn(&mut Value, &str);

#[test]
fn a_manifest_is_believed_only_under_its_own_name_and_inside_the_sessions_directories() {
    let elsewhere = tempfile::tempdir().unwrap();
    let precious = elsewhere.path().join("precious.jsonl");
    fs::write(&precious, "precious\n").unwrap();
    let precious = precious.display().to_string();
    let changes: [(&str, Change); 9] = [
        ("an id that leads out", |manifest, _| manifest["id"] = json!("../../agents/main/sessions")),
        ("an unknown field", |manifest, _| manifest["more"] = json!(1)),
        ("an unknown field of a step", |manifest, _| manifest["steps"][0]["more"] = json!(1)),
        ("a move from outside", |manifest, path| manifest["steps"][0]["path"] = json!(path)),
        ("a move of a store", |manifest, _| {
            let store = manifest["batches"][0]["store"].clone();
            manifest["steps"][0]["path"] = store;
        }),
        ("an archive outside", |manifest, _| {
            manifest["steps"][0]["change"]["archive"]["to"] = json!("files/../../../../openclaw.json");
        }),
        ("a store outside", |manifest, path| manifest["batches"][0]["store"] = json!(path)),
        ("cut bytes outside", |manifest, _| manifest["batches"][0]["removed"] = json!("../manifest.json")),
        ("a store to look into outside", |manifest, path| manifest["stores"] = json!([path])),
    ];
    for (told, change) in changes {
        for state in ["done", "unfinished"] {
            let store = three();
            let run = gc(&store);
            let mut manifest = store.manifest(&run);
            manifest["state"] = json!(state);
            manifest["finishedAt"] = json!("2026-01-01T00:00:00Z");
            manifest["notBefore"] = json!("2026-01-01T00:00:00Z");
            change(&mut manifest, &precious);
            store.set_manifest(&run, manifest);
            store.remove(format!("claw-sessions/runs/{run}/manifest.before.json"));
            let before = foreign(&store).contents();
            let runs = store.run(["runs", "--json"]).ok().json();
            assert_eq!(runs["runs"], json!([]), "{told}");
            assert!(runs["problems"][0].as_str().unwrap().contains(&run), "{told}: {runs:#}");
            store.run(["runs", "prune", "--older-than", "1d", "--yes"]).code(3);
            for command in [&["gc", "--now", NOW, "--no-orphans"][..], &["restore", &run], &["restore", KEY]] {
                let output = store.run(command);
                assert!(matches!(output.code, Some(3)), "{told}: {output}");
            }
            store.run(["gc", "--boot", "--now", NOW, "--no-orphans"]).ok();
            before.assert_same(&foreign(&store).contents());
            assert!(store.exists(format!("claw-sessions/runs/{run}/files/main/one.jsonl")), "{told}");
            assert_eq!(fs::read_to_string(&precious).unwrap(), "precious\n", "{told}");
        }
    }
}

#[test]
fn a_directory_of_a_run_that_was_renamed_or_copied_is_told_and_not_taken_for_another() {
    let store = three();
    let run = gc(&store);
    let runs = store.path("claw-sessions/runs");
    let twin = format!("{}-0fff", &run[..16]);
    copy(&runs.join(&run), &runs.join(&twin));
    let listed = store.run(["runs", "--json"]).ok().json();
    assert_eq!(listed["runs"].as_array().unwrap().len(), 1, "{listed:#}");
    assert!(listed["problems"][0].as_str().unwrap().contains("copied or renamed"), "{listed:#}");
    fs::remove_dir_all(runs.join(&run)).unwrap();
    fs::rename(runs.join(&twin), runs.join("kept")).unwrap();
    let listed = store.run(["runs", "--json"]).ok().json();
    assert!(listed["problems"][0].as_str().unwrap().contains("give the directory back the name it had"), "{listed:#}");
    fs::rename(runs.join("kept"), runs.join(&run)).unwrap();
    restore(&store, &[&run]).ok();
}

/// A plan of the store, changed.
fn apply_changed(store: &Store, change: impl FnOnce(&mut Value)) -> Output {
    let path = store.root().join("plan.json");
    let _ = fs::remove_file(&path);
    store.gc(["--plan", path.to_str().unwrap(), "--now", NOW]).ok();
    let mut plan: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut plan);
    fs::write(&path, plan.to_string()).unwrap();
    store.gc(["--apply", path.to_str().unwrap(), "--now", NOW])
}

#[test]
fn a_plan_from_a_file_can_do_only_what_planning_could_do() {
    let stamp = |store: &Store, path: &str| {
        let node = fs::metadata(store.path(path)).unwrap();
        let time = node.mtime() * 1_000_000_000 + node.mtime_nsec();
        json!({"dev": node.dev(), "ino": node.ino(), "size": node.size(), "mtimeNs": time.to_string()})
    };
    for action in ["purge", "remove", "archive"] {
        for target in [STORE, "agents/main/sessions/three.jsonl", "agents/main/sessions/young.jsonl"] {
            let store = three();
            store.write("agents/main/sessions/young.jsonl", store.read(ONE));
            let dir = fs::metadata(store.path(SESSIONS)).unwrap();
            let before = store.tree().contents();
            let output = apply_changed(&store, |plan| {
                plan["files"].as_array_mut().unwrap().push(json!({
                    "agent": "main",
                    "action": action,
                    "reason": "orphan",
                    "file": {"path": store.path(target), "stamp": stamp(&store, target), "frees": true},
                    "dir": {"dev": dir.dev(), "ino": dir.ino()},
                }));
            });
            assert_eq!(output.code, Some(4), "{action} {target}: {output}");
            assert_eq!(output.json()["code"], "plan-unsafe", "{output}");
            before.assert_same(&store.tree().contents());
        }
    }
    // The transcript of a binding that leaves is its own.
    let store = three();
    let before = store.tree().contents();
    let output = apply_changed(&store, |plan| {
        let item = &mut plan["stores"][0]["items"][0];
        item["file"]["path"] = json!(store.path("agents/main/sessions/three.jsonl"));
        item["file"]["stamp"] = stamp(&store, "agents/main/sessions/three.jsonl");
    });
    assert_eq!((output.code, &output.json()["code"]), (Some(4), &json!("plan-unsafe")), "{output}");
    before.assert_same(&store.tree().contents());
}

/// Makes a run as old as this, by its own clock and by that of the history.
fn age(store: &Store, run: &str, days: i64, traces: impl IntoIterator<Item = i64>) {
    let at = |days: i64| json!(Utc::now() - TimeDelta::days(days));
    let mut manifest = store.manifest(run);
    for clock in ["startedAt", "finishedAt", "notBefore"] {
        manifest[clock] = at(days);
    }
    store.set_manifest(run, manifest);
    let history = String::from_utf8(store.read("claw-sessions/history.jsonl")).unwrap();
    let line: Value = serde_json::from_str(history.lines().next().unwrap()).unwrap();
    let lines = [days].into_iter().chain(traces).map(|days| {
        let mut line = line.clone();
        (line["startedAt"], line["finishedAt"]) = (at(days), at(days));
        format!("{line}\n")
    });
    let history: String = lines.collect();
    store.write("claw-sessions/history.jsonl", history);
    if store.exists("claw-sessions/days.json") {
        store.remove("claw-sessions/days.json");
    }
}

#[test]
fn a_run_is_forgotten_when_both_clocks_say_that_it_is_old() {
    let gone = |traces: &[i64]| {
        let store = three();
        let run = gc(&store);
        age(&store, &run, 40, traces.iter().copied());
        for path in [STORE, SESSIONS] {
            store.set_mtime(path, Utc::now() - TimeDelta::days(1));
        }
        store.run(["gc", "--now", NOW]).ok();
        !store.exists(format!("claw-sessions/runs/{run}"))
    };
    assert!(gone(&[35, 30, 25, 20, 15, 10, 5]), "there was somebody all the time");
    // Minutes after the clock was set, forty days have left no trace.
    assert!(!gone(&[]));
    assert!(!gone(&[39, 38, 2, 1]));
}

#[test]
fn a_clock_that_stood_behind_when_a_run_was_made_ages_nothing() {
    let store = three();
    let run = gc(&store);
    age(&store, &run, 60, [55, 50, 45, 40, 35, 30, 25, 20, 15, 10, 5]);
    let mut manifest = store.manifest(&run);
    // The stores that it met had been written an hour before, by a clock that was right.
    manifest["notBefore"] = json!(Utc::now() - TimeDelta::hours(1));
    store.set_manifest(&run, manifest);
    store.run(["gc", "--now", NOW]).ok();
    assert!(store.exists(format!("claw-sessions/runs/{run}")));
}

#[test]
fn a_clock_that_jumped_forgets_nothing_and_says_so() {
    // Ahead of everything that is there, and behind it.
    for days in [9, -2] {
        let store = three();
        let run = gc(&store);
        age(&store, &run, 60, [55, 50, 45, 40, 35, 30, 25, 20, 15, 10]);
        for path in [STORE, SESSIONS] {
            store.set_mtime(path, Utc::now() - TimeDelta::days(days));
        }
        let output = store.gc(["--now", NOW]).code(3).json();
        assert_eq!(codes(&output), ["clock"], "{output:#}");
        assert!(store.exists(format!("claw-sessions/runs/{run}")));
        // A person who says how old may know better than a clock.
        store.run(["runs", "prune", "--older-than", "30d", "--yes"]).ok();
        assert!(!store.exists(format!("claw-sessions/runs/{run}")));
    }
}

#[test]
fn runs_are_ordered_by_number_when_the_clock_went_back() {
    let store = three();
    let first = gc(&store);
    restore(&store, &[&first]).ok();
    let mut newer = store.sessions("main");
    newer[KEY]["generation"] = json!(2);
    store.write(STORE, support::openclaw::pretty(&newer));
    let second = gc(&store);
    let mut manifest = store.manifest(&first);
    manifest["startedAt"] = json!("2027-12-01T00:00:00Z");
    manifest["state"] = json!("partly-restored");
    for entry in manifest["batches"][0]["entries"].as_array_mut().unwrap() {
        entry.as_object_mut().unwrap().remove("undone");
    }
    store.set_manifest(&first, manifest);
    let listed = store.run(["runs", "--json"]).ok().json();
    assert_eq!(listed["runs"].as_array().unwrap().last().unwrap()["id"], json!(second));
    let done = restore(&store, &[KEY]).ok().json();
    assert_eq!(done["of"], json!([second]));
    assert_eq!(store.sessions("main")[KEY]["generation"], 2);
}

/// A restore of a whole run that was cut off when one of its two sessions was back.
fn cut_off_restore(store: &Store) -> (String, String) {
    let source = gc(store);
    restore(store, &[OTHER]).ok();
    let own = store.run_ids().pop().unwrap();
    let mut manifest = store.manifest(&own);
    manifest["state"] = json!("unfinished");
    manifest["kind"]["restore"]["bindings"] = json!([]);
    store.set_manifest(&own, manifest);
    (source, own)
}

#[test]
fn a_restore_that_meets_a_held_lock_is_unfinished_whoever_finishes_it() {
    let store = three();
    let (source, own) = cut_off_restore(&store);
    age(&store, &source, 60, (1..12).map(|week| week * 5));
    let holder = LiveProcess::spawn();
    store.write(format!("{STORE}.lock"), holder.lock());
    let state = |run: &str| store.manifest(run)["state"].as_str().unwrap().to_owned();
    let met = store.gc(["--now", NOW, "--no-orphans"]).code(4).json();
    assert!(codes(&met).contains(&"busy".to_owned()), "{met:#}");
    assert_eq!(state(&own), "unfinished");
    store.run(["runs", "prune", "--older-than", "1d", "--yes"]).code(3);
    assert_eq!(state(&source), "partly-restored", "an unfinished restore still needs it");
    store.remove(format!("{STORE}.lock"));
    let done = store.gc(["--now", NOW, "--no-orphans"]).ok().json();
    assert_eq!(state(&own), "done");
    assert!(store.sessions("main").get(KEY).is_some(), "what was asked back stays: {done:#}");
}

#[test]
fn a_restore_whose_source_is_gone_is_closed_once_and_said() {
    let store = three();
    let (source, own) = cut_off_restore(&store);
    fs::remove_dir_all(store.path(format!("claw-sessions/runs/{source}"))).unwrap();
    let first = store.gc(["--now", NOW, "--no-orphans", "--keep", "*"]).code(3).json();
    assert_eq!(codes(&first), ["no-source"], "{first:#}");
    store.gc(["--now", NOW, "--no-orphans", "--keep", "*"]).ok();
    assert!(!store.exists(format!("claw-sessions/runs/{own}")) || store.manifest(&own)["state"] == "done");
}

#[test]
fn prune_finishes_first_what_was_cut_off() {
    let store = three();
    let (source, own) = cut_off_restore(&store);
    age(&store, &source, 60, []);
    store.run(["runs", "prune", "--older-than", "30d", "--yes"]).ok();
    assert!(store.sessions("main").get(KEY).is_some());
    assert_eq!(store.manifest(&own)["state"], "done");
    assert!(!store.exists(format!("claw-sessions/runs/{source}")));
}

#[test]
fn an_entry_and_its_transcript_come_back_together_or_not_at_all() {
    let store = three();
    let history = store.read(ONE);
    let run = gc(&store);
    store.write(ONE, "another\n");
    let refused = restore(&store, &[&run]).code(4).json();
    assert_eq!(
        (bound(&refused), codes(&refused)),
        (vec![OTHER.to_owned()], vec!["name-taken".to_owned(), "transcript-not-back".to_owned()])
    );
    assert!(store.sessions("main").get(KEY).is_none());
    // With a new name both come back, bound to each other, also where the first new name is taken.
    let suffix = run.rsplit('-').next().unwrap();
    store.write(format!("{SESSIONS}/one-restored-{suffix}.jsonl"), "taken too\n");
    let done = restore(&store, &[&run, "--as-new"]).ok().json();
    assert_eq!(bound(&done), [KEY]);
    let file = store.sessions("main")[KEY]["sessionFile"].as_str().unwrap().to_owned();
    assert_eq!(file, format!("one-restored-{suffix}-2.jsonl"));
    assert!(store.read(format!("{SESSIONS}/{file}")) == history);
    assert_eq!(store.read(ONE), b"another\n");
}

#[test]
fn a_key_that_is_bound_again_keeps_the_transcript_of_the_old_one_in_the_archive() {
    let store = three();
    let history = store.read(ONE);
    let run = gc(&store);
    let mut sessions = store.sessions("main");
    sessions[KEY] = json!({"sessionId": "anew", "updatedAt": 1_795_384_740_000_u64});
    store.write(STORE, support::openclaw::pretty(&sessions));
    let refused = restore(&store, &[&run]).code(4).json();
    assert_eq!(codes(&refused), ["key-bound"]);
    assert!(archived(&store, "one.jsonl") == history && !store.exists(ONE), "no orphan is made");
    let done = restore(&store, &[&run, "--as-new"]).ok().json();
    assert_eq!(done["files"], 1);
    assert!(store.read(ONE) == history);
}

#[test]
fn a_store_stays_json_whatever_a_transcript_is_called() {
    for name in ["a\"b.jsonl", "a\\b.jsonl", "a\nb.jsonl", "a\u{7f}b\u{2028}.jsonl"] {
        let store = three();
        let mut sessions = store.sessions("main");
        sessions[KEY]["sessionFile"] = json!(name);
        store.write(STORE, support::openclaw::pretty(&sessions));
        fs::rename(store.path(ONE), store.path(SESSIONS).join(name)).unwrap();
        let run = gc(&store);
        fs::write(store.path(SESSIONS).join(name), "another\n").unwrap();
        restore(&store, &[&run, "--as-new"]).ok();
        let sessions = store.sessions("main");
        assert_eq!(sessions.as_object().unwrap().len(), 3, "{name:?}");
        let file = sessions[KEY]["sessionFile"].as_str().unwrap();
        assert!(file != name && store.path(SESSIONS).join(file).exists(), "{name:?}: {file:?}");
    }
}

#[test]
fn deferred_sessions_are_never_forgotten_while_they_are_due() {
    let store = StoreBuilder::new()
        .agent("main")
        .binding(KEY, |one| one.idle("1h").session_id("one"))
        .binding(OTHER, |one| one.idle("2h").session_id("two"))
        .config(CONFIG)
        .build();
    let run = store.gc(["--max-resumes", "1", "--now", NOW]).ok().json()["run"].as_str().unwrap().to_owned();
    age(&store, &run, 400, (0..80).rev().map(|week| week * 5));
    store.set_mtime(STORE, Utc::now());
    store.gc(["--now", NOW]).ok();
    let kept = store.run(["runs", "prune", "--older-than", "30d", "--yes", "--json"]).ok().json();
    assert_eq!(kept["kept"], json!([run]));
    assert_eq!(bound(&restore(&store, &["--deferred"]).ok().json()), [OTHER]);
}

/// Two agents, each with the key `global`; the transcript of `main`'s has a cycle.
fn namesakes() -> Store {
    let cycle = support::fixture("crafted").join("mutual-cycle/agents/main/sessions");
    let cycle = fs::read(cycle.join("7b1d5c0e-93a4-4f6b-8d52-2f0e6a91c3d7.jsonl")).unwrap();
    StoreBuilder::new()
        .agent("main")
        .binding("global", |one| one.session_id("sick").transcript(cycle))
        .agent("work")
        .binding("global", |one| one.session_id("well"))
        .config(CONFIG)
        .build()
}

#[test]
fn a_binding_is_a_store_and_a_key() {
    let store = namesakes();
    let work = store.read("agents/work/sessions/sessions.json");
    let taken = store.run(["quarantine", "--damaged", "--json", "--now", NOW]).ok().json();
    assert_eq!(taken["taken"].as_array().unwrap().len(), 1);
    assert_eq!(taken["taken"][0]["agent"], "main");
    assert!(store.read("agents/work/sessions/sessions.json") == work, "the namesake stays");
    assert!(store.run(["quarantine", "list"]).ok().stdout.contains("global (agent main)"));
    restore(&store, &["global"]).ok();
    // A name that two have names none.
    let refused = store.run(["quarantine", "global", "--json", "--now", NOW]).code(2);
    assert_eq!(refused.json()["code"], "ambiguous");
    assert!(refused.stderr.contains("main, work") && refused.stderr.contains("--agent"), "{refused}");
    store.run(["quarantine", "global", "--agent", "work", "--now", NOW]).ok();
    assert_eq!(store.sessions("work"), json!({}));
    assert!(store.sessions("main").get("global").is_some());
}

#[test]
fn a_bare_key_that_a_run_took_of_several_agents_asks_for_the_agent() {
    let store = namesakes();
    store.gc(["--all", "--now", "2026-12-24T00:00:00Z"]).ok();
    let refused = restore(&store, &["global"]).code(2);
    assert_eq!(refused.json()["code"], "ambiguous");
    restore(&store, &["global", "--agent", "work"]).ok();
    assert!(store.sessions("work").get("global").is_some());
    assert_eq!(store.sessions("main"), json!({}));
}

#[test]
fn a_purge_deletes_the_original_of_an_earlier_repair_and_names_a_kept_store() {
    let store = StoreBuilder::new()
        .agent("main")
        .binding(KEY, |one| one.idle("9d").session_id("one"))
        .orphan("lonely", "9d")
        .config(CONFIG)
        .build();
    let text = store.read(ONE);
    let first = text.iter().position(|byte| *byte == b'\n').unwrap();
    store.write(ONE, &text[first + 1..]);
    let original = store.read(ONE);
    store.run(["validate", "--repair"]).code(0);
    store.run(["restore", "--adopt", "agents/main/sessions/lonely.jsonl", "--key", "agent:main:hook:1"]).ok();
    store.run(["quarantine", KEY, "--now", NOW]).ok();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let done = store.run(["quarantine", "purge", "--older-than", "1s", "--yes", "--json"]).ok().json();
    assert_eq!((&done["purged"][0]["key"], &done["purged"][0]["agent"]), (&json!(KEY), &json!("main")));
    let holds = |bytes: &[u8]| store.tree().0.values().any(|node| node.bytes == bytes);
    assert!(!holds(&original), "the original of the repair is gone too");
    assert_eq!(done["copies"].as_array().unwrap().len(), 1, "{done:#}");
    assert!(store.exists(done["copies"][0].as_str().unwrap()));
}
