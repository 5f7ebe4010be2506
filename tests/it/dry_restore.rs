//! A dry run of restore tells what the restore then does, and writes nothing.

use std::fs;

use serde_json::{Value, json};
use support::lessons::{KEY, OTHER, STORE, gc};
use support::openclaw::DEAD_PID;
use support::{LiveProcess, NOW, Store, StoreBuilder, lock_payload};

const ONE: &str = "agents/main/sessions/one.jsonl";

/// What both tell.
const TOLD: [&str; 7] = ["of", "adopted", "bindings", "files", "bytes", "refused", "failed"];

fn agree(store: &Store, what: &str, args: &[&str]) -> Value {
    let args = [&["restore"], args, &["--json"]].concat();
    let before = store.tree().exact();
    let dry = store.run([&args[..], &["-n"]].concat());
    before.assert_same(&store.tree().exact());
    let text = store.run([&args[..args.len() - 1], &["-n"]].concat());
    assert_eq!(text.code, dry.code, "{what}: {text}");
    before.assert_same(&store.tree().exact());
    let done = store.run(&args);
    assert_eq!(dry.code, done.code, "{what}: {dry}\n{done}");
    let (dry, done) = (dry.json(), done.json());
    assert_eq!((&dry["dryRun"], &dry["run"]), (&json!(true), &Value::Null), "{what}");
    for field in TOLD {
        assert_eq!(dry[field], done[field], "{what}: {field}");
    }
    done
}

/// Two conversations that gc took, each with its transcript, an orphan, and a dead lock.
fn taken() -> Store {
    let store = StoreBuilder::new()
        .agent("main")
        .binding(KEY, |one| one.idle("9d").session_id("one"))
        .binding(OTHER, |one| one.idle("9d").session_id("two").lock(lock_payload(DEAD_PID, 1)))
        .orphan("lonely", "90d")
        .config(r#"{"meta": {"lastTouchedVersion": "2026.3.11"}}"#)
        .build();
    assert_eq!(gc(&store, &["--idle", "1d"]).ok().json()["done"]["expire"], 2);
    store
}

/// The one file of this name in the archives.
fn archived(store: &Store, name: &str) -> String {
    let files = store.tree().files();
    files.into_iter().find(|file| file.starts_with("claw-sessions/runs") && file.ends_with(name)).unwrap()
}

fn codes(list: &Value) -> Vec<String> {
    let mut codes: Vec<String> =
        list.as_array().unwrap().iter().map(|one| one["code"].as_str().unwrap().to_owned()).collect();
    codes.sort();
    codes
}

#[test]
fn a_dry_run_of_restore_tells_what_restore_does() {
    let done = agree(&taken(), "all", &["latest"]);
    assert_eq!((done["bindings"].as_array().unwrap().len(), &done["files"]), (2, &json!(4)));
    assert_eq!(agree(&taken(), "one", &[KEY])["files"], 1);
    let store = taken();
    store.restore_latest().ok();
    assert_eq!(agree(&store, "nothing", &["latest"])["files"], 0);
}

#[test]
fn it_tells_what_will_be_refused() {
    // A file name and a key that are in use again.
    let busy = || {
        let store = taken();
        store.write(ONE, "another\n");
        store
            .write(STORE, json!({OTHER: {"sessionId": "new", "updatedAt": 1, "sessionFile": "new.jsonl"}}).to_string());
        store
    };
    let done = agree(&busy(), "taken", &["latest"]);
    assert_eq!(codes(&done["refused"]), ["key-bound", "name-taken", "transcript-not-back"]);
    let done = agree(&busy(), "taken, as new", &["latest", "--as-new"]);
    assert_eq!(done["bindings"].as_array().unwrap().len(), 2);

    // A store that somebody holds, one that is broken.
    let store = taken();
    let process = LiveProcess::spawn();
    store.write(format!("{STORE}.lock"), process.lock());
    assert!(codes(&agree(&store, "held", &["latest"])["refused"]).contains(&"busy".to_owned()));
    let store = taken();
    store.write(STORE, "[");
    assert!(codes(&agree(&store, "broken", &["latest"])["refused"]).contains(&"store-state".to_owned()));
}

#[test]
fn it_tells_what_the_archive_does_not_hold_any_more() {
    let store = taken();
    let path = store.path(archived(&store, "one.jsonl"));
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..10]).unwrap();
    fs::remove_file(store.path(archived(&store, "two.jsonl"))).unwrap();
    let done = agree(&store, "damaged", &["latest"]);
    assert_eq!(codes(&done["failed"]), ["archive-damaged", "not-in-archive"]);
}

#[test]
fn it_tells_which_originals_go_back() {
    let transcript = "agents/main/sessions/7b1d5c0e-93a4-4f6b-8d52-2f0e6a91c3d7.jsonl";
    let mended = || {
        let store = Store::crafted("null-line");
        store.run(["validate", "--repair", "--now", NOW]).ok();
        store
    };
    assert_eq!(agree(&mended(), "mended", &["latest"])["files"], 1);
    let written = || {
        let store = mended();
        store.write(transcript, [store.read(transcript), b"{}\n".to_vec()].concat());
        store
    };
    assert_eq!(codes(&agree(&written(), "written since", &["latest"])["refused"]), ["written-since"]);
    assert_eq!(agree(&written(), "written since, as new", &["latest", "--as-new"])["files"], 1);
    let store = mended();
    store.remove(transcript);
    assert_eq!(codes(&agree(&store, "gone", &["latest"])["refused"]), ["mended-gone"]);
}

#[test]
fn it_tells_which_names_of_the_manual_recipe_come_back() {
    let store = taken();
    store.restore_latest().ok();
    fs::rename(store.path(ONE), store.path(format!("{ONE}.stuck-bak"))).unwrap();
    store.run(["restore", "--stuck-bak"]).ok();
    let run = store.run_ids().pop().unwrap();
    let done = agree(&store, "the recipe", &[&run]);
    assert_eq!(codes(&done["refused"]), ["referred-to"]);
    store.run(["restore", "--stuck-bak", "-n"]).code(2);
}

#[test]
fn it_tells_what_is_readmitted_and_what_is_adopted() {
    let deferred = || {
        let builder = StoreBuilder::new().agent("main").config(r#"{"meta": {"lastTouchedVersion": "2026.3.11"}}"#);
        let builder = builder.binding(KEY, |one| one.idle("1h")).binding(OTHER, |one| one.idle("2h"));
        let store = builder.build();
        assert_eq!(gc(&store, &["--max-resumes", "0"]).ok().json()["done"]["defer"], 2);
        store
    };
    let done = agree(&deferred(), "deferred", &["--deferred"]);
    assert_eq!(done["bindings"].as_array().unwrap().len(), 2);
    let done = agree(&deferred(), "deferred, next", &["--deferred", "--next", "1"]);
    assert_eq!(done["bindings"][0]["key"], KEY);

    let store = taken();
    store.restore_latest().ok();
    store.write(STORE, "{}");
    let key = "agent:main:telegram:direct:77";
    let done = agree(&store, "adopted", &["--adopt", ONE, "--key", key]);
    assert_eq!(done["bindings"][0]["key"], key);
}

#[test]
fn beside_a_gateway_without_lock_it_says_that_restore_would_be_refused() {
    let store = taken();
    store.write("openclaw.json", r#"{"meta": {"lastTouchedVersion": "2026.6.11"}}"#);
    let process = LiveProcess::spawn();
    store.gateway_lock(process.pid(), process.starttime());
    let dry = store.run(["restore", "latest", "-n", "--json"]).code(4).json();
    assert_eq!(
        (codes(&dry["refused"]), dry["bindings"].as_array().unwrap().len()),
        (vec!["gateway-alive".to_owned()], 2)
    );
    store.run(["restore", "latest", "-n", "--online"]).ok();
}

#[test]
fn of_a_run_that_was_cut_off_nothing_is_claimed() {
    let store = taken();
    let run = store.run_ids().remove(0);
    let mut manifest = store.manifest(&run);
    manifest["state"] = json!("unfinished");
    manifest["batches"][0]["state"] = json!("planned");
    store.set_manifest(&run, manifest);
    let before = store.tree().exact();
    let told = store.run(["restore", &run, "-n"]).code(3);
    assert!(told.stderr.contains("cut off") && told.stderr.contains("finishes it first"), "{told}");
    before.assert_same(&store.tree().exact());
    store.run(["restore", &run]).ok();
}
