//! Mistakes that other tools made when they wrote: what stays keeps its bytes, what goes can come back, and a change
//! that somebody else made in between wins.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::Command;

use serde_json::{Value, json};
use support::lessons::{KEY, OTHER, STORE, gc};
use support::openclaw::AUTH;
use support::{NOW, Output, Store, StoreBuilder, binding, keys, sys, verdict};

const THIRD: &str = "agent:main:telegram:direct:3";

/// `KEY` and `OTHER` go, `THIRD` stays.
fn three() -> Store {
    StoreBuilder::new()
        .agent("main")
        .binding(KEY, |one| one.idle("9d").session_id("one"))
        .binding(OTHER, |one| one.idle("9d").session_id("two"))
        .binding(THIRD, |one| one.idle("1h").session_id("three"))
        .config(r#"{"meta": {"lastTouchedVersion": "2026.3.11"}}"#)
        .build()
}

fn plan_file(store: &Store) -> String {
    store.root().join("plan.json").display().to_string()
}

fn apply(store: &Store) -> Output {
    store.gc(["--apply", &plan_file(store), "--now", NOW])
}

/// Writes the store as OpenClaw would after `change`.
fn edit(store: &Store, change: impl FnOnce(&mut Value)) {
    let mut sessions = store.sessions("main");
    change(&mut sessions);
    store.write(STORE, support::openclaw::pretty(&sessions));
}

#[test]
fn c13_what_changed_since_the_plan_survives() {
    let store = three();
    gc(&store, &["--plan", &plan_file(&store)]).ok();
    let added = "agent:main:telegram:direct:4";
    edit(&store, |sessions| {
        sessions[OTHER]["updatedAt"] = json!(1_795_386_540_000_i64);
        sessions[added] = json!({"sessionId": "four", "updatedAt": 1_795_386_540_000_i64});
    });
    let done = apply(&store).ok().json();
    let skipped = done["skipped"].as_array().unwrap();
    assert_eq!(skipped.len(), 1, "{skipped:?}");
    assert_eq!(skipped[0]["what"], OTHER);
    assert!(skipped[0]["why"].as_str().unwrap().starts_with("changed-since-plan"), "{skipped:?}");
    assert_eq!(done["done"]["expire"], 1);
    let sessions = store.sessions("main");
    assert_eq!(sessions.as_object().unwrap().keys().collect::<Vec<_>>(), [OTHER, THIRD, added]);
    assert!(store.exists("agents/main/sessions/two.jsonl") && !store.exists("agents/main/sessions/one.jsonl"));
}

#[test]
fn c13_a_transcript_that_grew_or_went_or_was_locked_since_the_plan_stays() {
    let transcript = "agents/main/sessions/one.jsonl";
    let process = support::LiveProcess::spawn();
    for change in ["grew", "went", "locked", "replaced"] {
        let store = three();
        gc(&store, &["--plan", &plan_file(&store)]).ok();
        let mut bytes = store.read(transcript);
        match change {
            "grew" => {
                bytes.extend_from_slice(b"{}\n");
                store.write(transcript, &bytes);
            }
            "went" => store.remove(transcript),
            "locked" => store.write(format!("{transcript}.lock"), process.lock()),
            _ => {
                let modified = fs::metadata(store.path(transcript)).unwrap().modified().unwrap();
                // While the old one is there, the new one gets another inode.
                store.write("agents/main/sessions/new", &bytes);
                store.set_mtime("agents/main/sessions/new", modified.into());
                fs::rename(store.path("agents/main/sessions/new"), store.path(transcript)).unwrap();
            }
        }
        let done = apply(&store).ok().json();
        assert_eq!(done["skipped"][0]["what"], KEY, "{change}");
        assert_eq!(done["done"]["expire"], 1, "{change}");
        assert!(store.sessions("main").get(KEY).is_some(), "{change}");
        assert_eq!(store.exists(transcript), change != "went", "{change}");
    }
}

#[test]
fn c13_a_file_that_a_new_binding_took_over_since_the_plan_stays() {
    let store = three();
    gc(&store, &["--plan", &plan_file(&store)]).ok();
    let heir = "agent:main:telegram:direct:5";
    edit(&store, |sessions| sessions[heir] = json!({"sessionId": "one", "updatedAt": 1_795_386_540_000_i64}));
    apply(&store).ok();
    assert!(store.exists("agents/main/sessions/one.jsonl"));
    assert!(store.sessions("main").get(heir).is_some() && store.sessions("main").get(KEY).is_none());
}

#[test]
fn c13_an_orphan_that_was_adopted_since_the_plan_stays() {
    let store = StoreBuilder::new()
        .agent("main")
        .binding(KEY, |one| one.idle("9d").session_id("one"))
        .orphan("lonely", "9d")
        .build();
    gc(&store, &["--plan", &plan_file(&store)]).ok();
    edit(&store, |sessions| sessions[THIRD] = json!({"sessionId": "lonely", "updatedAt": 1_795_386_540_000_i64}));
    apply(&store);
    assert!(store.exists("agents/main/sessions/lonely.jsonl"), "a binding points at it now");
}

#[test]
fn c15_everything_is_durable_before_the_next_step() {
    if !sys::has("strace") {
        return sys::skip("no strace");
    }
    let store = three();
    let trace = store.root().join("trace");
    let direct = store.command(["gc", "--now", NOW, "--jobs", "1", "--state-dir"]);
    let mut command = Command::new("strace");
    command
        .args(["-f", "-y", "-e", "trace=renameat,renameat2,rename,fsync,fdatasync,linkat", "-o"])
        .arg(&trace)
        .arg(direct.get_program())
        .args(direct.get_args())
        .arg(store.state_dir());
    for (name, value) in direct.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    Output::of(&mut command).ok();
    let trace = fs::read_to_string(trace).unwrap();
    let lines: Vec<&str> = trace.lines().collect();
    let first = |what: &str, all: &[&str]| {
        let found = lines.iter().position(|line| all.iter().all(|part| line.contains(part)));
        found.unwrap_or_else(|| panic!("no {what} in\n{trace}"))
    };
    let after = |from: usize, what: &str, all: &[&str]| {
        let found = lines[from..].iter().position(|line| all.iter().all(|part| line.contains(part)));
        from + found.unwrap_or_else(|| panic!("no {what} after line {from} in\n{trace}"))
    };
    let renamed = first("rename of the store", &["rename", "\"sessions.json\""]);
    let synced = first("sync of the new store", &["fsync", "sessions/sessions.json.", "tmp>"]);
    assert!(synced < renamed, "{trace}");
    after(renamed, "sync of the sessions directory", &["fsync", "agents/main/sessions>"]);
    let manifest = first("sync of the manifest", &["fsync", "manifest.json."]);
    let in_place = after(manifest, "rename of the manifest", &["rename", "\"manifest.json\""]);
    let listed = after(in_place, "sync of the run's directory", &["fsync", "claw-sessions/runs/"]);
    assert!(listed < renamed, "{trace}");
    let removed = first("sync of the removed entries", &["fsync", "sessions.json.removed"]);
    assert!(removed < renamed, "the entries are safe before the store loses them: {trace}");
    let moved = first("move of a transcript", &["rename", "\"one.jsonl\""]);
    assert!(renamed < moved, "{trace}");
    after(moved, "sync after the move", &["fsync", "agents/main/sessions>"]);
    // The archive's side of the move: a power cut must not leave the file in neither directory.
    after(moved, "sync of the archive", &["fsync", "/files/main>"]);
}

#[test]
fn c16_the_bytes_around_what_goes_are_kept() {
    let stays = r#"{ "sessionId":"s","updatedAt":1795386540000,"unknown":{"deep":[1.0,1e2,-0,12345678901234567890]},
  "lone":"\ud83d","escaped":"\u0041\/\t","same":1,"same":2, "ä": "ö 🦀" }"#;
    let goes = r#"{"sessionId":"g","updatedAt":1790000000000}"#;
    for (text, left) in [
        (format!("{{\"a\":{stays},\"b\":{goes}}}"), format!("{{\"a\":{stays}}}")),
        (format!("{{\"b\":{goes},\"a\":{stays}}}"), format!("{{\"a\":{stays}}}")),
        (
            format!("{{\r\n  \"a\" : {stays} ,\r\n  \"b\" : {goes} ,\r\n  \"c\" : {stays}\r\n}}\r\n\r\n"),
            format!("{{\r\n  \"a\" : {stays} ,\r\n  \"c\" : {stays}\r\n}}\r\n\r\n"),
        ),
        (format!("{{\n  \"b\": {goes}\n}}"), "{\n}".to_owned()),
    ] {
        let text = text.replace("\"a\"", "\"agent:main:hook:a\"").replace("\"b\"", "\"agent:main:hook:b\"");
        let left = left.replace("\"a\"", "\"agent:main:hook:a\"");
        let store = StoreBuilder::new().agent("main").build();
        store.write(STORE, &text);
        let done = gc(&store, &["--idle", "1d"]).ok().json();
        assert_eq!(keys(&done, "expire"), ["agent:main:hook:b"], "{text}");
        let now = String::from_utf8(store.read(STORE)).unwrap();
        let blank = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
        assert_eq!(blank(&now), blank(&left), "white space aside");
        for (at, _) in left.match_indices(stays) {
            assert!(now.contains(stays), "the entry at {at} changed: {now}");
        }
        assert_eq!(store.scan(["--now", NOW])["stores"][0]["state"], "ok", "{now}");
        store.restore_latest().ok();
        assert_eq!(String::from_utf8(store.read(STORE)).unwrap(), text);
    }
}

#[test]
fn c16_duplicate_keys_go_together_and_come_back_together() {
    let store = StoreBuilder::new().agent("main").build();
    let old = r#"{"sessionId":"x","updatedAt":1790000000000}"#;
    let text = format!(r#"{{"k":{old}, "stay":{{"sessionId":"s","updatedAt":1795386540000}}, "\u006b":{old}}}"#);
    store.write(STORE, &text);
    let done = gc(&store, &["--idle", "1d"]).ok().json();
    assert_eq!(keys(&done, "expire"), ["k"]);
    assert_eq!(binding(&done, "k")["findings"][0]["code"], "duplicate-key");
    assert_eq!(store.sessions("main").as_object().unwrap().keys().collect::<Vec<_>>(), ["stay"]);
    store.restore_latest().ok();
    assert_eq!(String::from_utf8(store.read(STORE)).unwrap(), text);
}

#[test]
fn c17_mode_and_owner_are_kept() {
    for mode in [0o600, 0o640, 0o644] {
        let store = three();
        store.set_mode(STORE, mode);
        store.set_mode("agents/main/sessions/one.jsonl", 0o640);
        if sys::is_root() {
            sys::give(&store.state_dir(), sys::NOBODY);
        }
        let owner = fs::metadata(store.state_dir()).unwrap().uid();
        let before = store.tree().contents();
        gc(&store, &[]).ok();
        let now = fs::metadata(store.path(STORE)).unwrap();
        assert_eq!((now.mode() & 0o7777, now.uid()), (mode, owner));
        for (path, node) in &store.tree().0 {
            assert_eq!(node.uid, owner, "{}", path.display());
            if path.starts_with("claw-sessions") && !path.to_string_lossy().contains("/files/main/") {
                let private = if node.kind == "dir" { 0o700 } else { 0o600 };
                assert_eq!(node.mode, private, "{}", path.display());
            }
        }
        store.restore_latest().ok();
        before.assert_same(&store.tree().contents());
    }
}

#[test]
fn c32_a_dry_run_promises_what_gc_does() {
    for args in
        [&[][..], &["--idle", "1d"], &["--max-bindings", "1"], &["--all"], &["--failed", "any", "--error-idle", "1s"]]
    {
        let store = Store::recorded("real-gateway");
        let args = [args, &["--grace", "1m"]].concat();
        let dry = gc(&store, &[&args[..], &["-n"]].concat()).ok().json();
        let done = gc(&store, &args).ok().json();
        assert_eq!(dry["run"], Value::Null);
        for part in ["planned", "bindings", "files", "summary", "startup"] {
            assert_eq!(dry[part], done[part], "{args:?}: {part}");
        }
        assert_eq!(done["planned"], done["done"], "{args:?}");
        let text = Store::recorded("real-gateway").run([&["gc", "--now", NOW], &args[..]].concat()).ok().stdout;
        assert!(text.contains("planned") && text.contains("Done:"), "{text}");
    }
}

#[test]
fn c34_an_entry_stays_when_its_file_cannot_be_archived() {
    let store = three();
    store.write("claw-sessions", "a file where our directory should be");
    let before = store.tree().contents();
    let output = gc(&store, &[]);
    assert!(matches!(output.code, Some(3 | 4)), "{output}");
    before.assert_same(&store.tree().contents());
    assert!(store.sessions("main").get(KEY).is_some());
}

#[test]
fn c36_c37_many_runs_leave_nothing_in_the_sessions_directory() {
    let store = three();
    let names = || -> Vec<String> {
        let dir = fs::read_dir(store.path("agents/main/sessions")).unwrap();
        let mut names: Vec<_> = dir.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let before = names();
    for _ in 0..10 {
        gc(&store, &[]).ok();
        assert_eq!(names(), ["sessions.json", "three.jsonl"]);
        store.restore_latest().ok();
        assert_eq!(names(), before);
    }
    gc(&store, &[]).ok();
    let files = store.tree().files().len();
    for _ in 0..20 {
        assert_eq!(gc(&store, &[]).ok().json()["run"], Value::Null, "there is nothing left to do");
        assert_eq!(names(), ["sessions.json", "three.jsonl"]);
    }
    assert_eq!(store.tree().files().len(), files, "a run that does nothing leaves nothing");
}

#[test]
fn c36_own_runs_are_forgotten_after_a_while_and_quarantined_ones_never() {
    let store = three();
    gc(&store, &[]).ok();
    // Nothing of it is as old as a second.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let done = gc(&store, &["--keep-runs", "1s"]).ok().json();
    assert_eq!(done["forgotten"].as_array().unwrap().len(), 1, "{}", done["forgotten"]);
    assert_eq!(store.run(["runs", "--json"]).ok().json()["runs"], json!([]));

    let store = three();
    store.run(["quarantine", KEY]).ok();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert_eq!(gc(&store, &["--keep-runs", "1s"]).ok().json()["forgotten"], json!([]));
    store.run(["runs", "prune", "--older-than", "1s", "--yes"]).ok();
    store.restore_latest().ok();
}

#[test]
fn c45_the_archive_holds_every_byte() {
    let store = three();
    let (one, entry) = (store.read("agents/main/sessions/one.jsonl"), store.sessions("main")[KEY].clone());
    gc(&store, &[]).ok();
    let tree = store.tree();
    let archived = tree.0.iter().find(|(path, _)| path.starts_with("claw-sessions") && path.ends_with("one.jsonl"));
    assert_eq!(archived.unwrap().1.bytes, one);
    let removed = tree.0.iter().find(|(path, _)| path.to_string_lossy().ends_with("sessions.json.removed")).unwrap().1;
    let removed = String::from_utf8_lossy(&removed.bytes);
    assert!(removed.contains(entry["sessionFile"].as_str().unwrap()), "{removed}");
}

#[test]
fn c46_restore_never_overwrites() {
    let store = three();
    let before = store.sessions("main");
    gc(&store, &[]).ok();
    // The person wrote again: the key is bound to a new session, and another program took the old file's name.
    edit(&store, |sessions| sessions[KEY] = json!({"sessionId": "new", "updatedAt": 1_795_386_540_000_i64}));
    store.write("agents/main/sessions/two.jsonl", "somebody else's\n");
    let restored = store.restore_latest().code(4).json();
    let refused: Vec<_> = restored["refused"].as_array().unwrap().iter().map(|one| one["what"].clone()).collect();
    assert!(refused.contains(&json!(KEY)), "{refused:?}");
    assert!(refused.contains(&json!("agents/main/sessions/two.jsonl")), "{refused:?}");
    assert_eq!(store.sessions("main")[KEY]["sessionId"], "new");
    assert_eq!(store.read("agents/main/sessions/two.jsonl"), b"somebody else's\n");
    assert_eq!(store.run(["runs", "--json"]).ok().json()["runs"][0]["restorable"], true);

    let again = store.run(["restore", "latest", "--as-new", "--json"]).ok().json();
    assert_eq!(again["refused"], json!([]));
    let now = store.sessions("main");
    assert_eq!(now[KEY]["sessionId"], "new", "what is there stays");
    assert_eq!(now[THIRD], before[THIRD]);
    let come_back: Vec<&String> =
        now.as_object().unwrap().keys().filter(|key| key.starts_with(&format!("{KEY}:restored"))).collect();
    assert_eq!(come_back.len(), 1, "{now:#}");
    assert_eq!(store.read("agents/main/sessions/two.jsonl"), b"somebody else's\n");
    let scan = store.scan(["--now", NOW]);
    for one in
        scan["bindings"].as_array().unwrap().iter().filter(|one| one["key"].as_str().unwrap().contains("restored"))
    {
        assert_eq!(one["integrity"], "intact", "{one:#}");
    }
}

#[test]
fn c46_what_comes_back_under_another_key_hides_nothing_that_has_this_key() {
    let store = three();
    let run = gc(&store, &[]).ok().json()["run"].as_str().unwrap().to_owned();
    // What an earlier run took under the same key came back so too, and run ids may end alike.
    let taken = format!("{KEY}:restored-{}", run.rsplit('-').next().unwrap());
    edit(&store, |sessions| {
        sessions[KEY] = json!({"sessionId": "new", "updatedAt": 1_795_386_540_000_i64});
        sessions[&taken] = json!({"sessionId": "earlier", "updatedAt": 1_795_386_540_000_i64});
    });
    let restored = store.run(["restore", "latest", "--as-new", "--json"]).ok().json();
    assert_eq!(restored["refused"], json!([]));
    let now = store.sessions("main");
    let of = |key: &str| now[key]["sessionId"].clone();
    assert_eq!((of(KEY), of(&taken), of(&format!("{taken}-2"))), (json!("new"), json!("earlier"), json!("one")));
    assert_eq!(String::from_utf8_lossy(&store.read(STORE)).matches(&format!("{taken}\":")).count(), 1);
}

#[test]
fn c46_one_key_comes_back_alone() {
    let store = three();
    let before = store.tree().contents();
    gc(&store, &[]).ok();
    let restored = store.run(["restore", OTHER, "--json"]).ok().json();
    assert_eq!(support::bound(&restored), [OTHER]);
    assert!(store.exists("agents/main/sessions/two.jsonl") && !store.exists("agents/main/sessions/one.jsonl"));
    assert_eq!(store.run(["runs", "--json"]).ok().json()["runs"][0]["state"], "partly-restored");
    store.run(["restore", KEY]).ok();
    assert_eq!(store.run(["runs", "--json"]).ok().json()["runs"][0]["state"], "restored");
    let now: Value = store.sessions("main");
    assert_eq!(now.as_object().unwrap().len(), 3);
    let diff = before.diff(&store.tree().contents());
    assert!(
        diff.lines().all(|line| line.trim().starts_with(STORE) || line.starts_with("      ")),
        "order at most: {diff}"
    );
    assert_eq!(store.run(["restore", KEY, "--json"]).ok().json()["run"], Value::Null);
}

#[test]
fn c47_a_shared_transcript_stays_while_one_key_needs_it() {
    let base = "agent:main:cron:7cfc4032-f0f3-4e5d-a43c-97975114b467";
    let store = StoreBuilder::new()
        .agent("main")
        .binding(base, |one| one.idle("3d").error(AUTH).session_id("run1").cron_run())
        .build();
    let run = format!("{base}:run:run1");
    let done = gc(&store, &[]).ok().json();
    assert_eq!(verdict(&done, base), "keep cron-job");
    assert_eq!(verdict(&done, &run), "expire errored");
    assert_eq!(binding(&done, &run)["reasons"], json!(["errored", "shared-id"]));
    assert!(store.exists("agents/main/sessions/run1.jsonl"));
    // The job is gone: nobody needs it any more.
    store.write("cron/jobs.json", r#"{"version": 1, "jobs": []}"#);
    let done = gc(&store, &[]).ok().json();
    assert_eq!(verdict(&done, base), "expire errored");
    assert!(!store.exists("agents/main/sessions/run1.jsonl"));
    let run_id = store.run(["runs", "--json"]).ok().json()["runs"][0]["id"].as_str().unwrap().to_owned();
    store.restore_latest().ok();
    store.run(["restore", &run_id]).ok();
    assert_eq!(store.sessions("main").as_object().unwrap().len(), 2);
    assert!(store.exists("agents/main/sessions/run1.jsonl"));
}

#[test]
fn c51_kept_entries_are_byte_for_byte_what_they_were() {
    let store = Store::recorded("real-gateway");
    let old = String::from_utf8(store.read(STORE)).unwrap();
    let done = gc(&store, &["--idle", "10m", "--grace", "1m"]).ok().json();
    let new = String::from_utf8(store.read(STORE)).unwrap();
    let kept: Vec<_> = done["bindings"].as_array().unwrap().iter().filter(|one| one["action"] == "keep").collect();
    assert!(!kept.is_empty() && new.len() < old.len());
    for one in kept.iter().filter(|one| one["agent"] == "main") {
        let start = format!("  {}: {{\n", one["key"]);
        let entry = |text: &str| {
            let at = text.find(&start).unwrap_or_else(|| panic!("no {start}"));
            let end = at + text[at..].find("\n  }").unwrap();
            text[at..end].to_owned()
        };
        assert_eq!(entry(&old), entry(&new));
    }
    let mode = fs::metadata(store.path(STORE)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let untouched = "agents/illarion/sessions/sessions.json";
    let inode = fs::metadata(store.path(untouched)).unwrap().ino();
    gc(&store, &[]).ok();
    assert_eq!(fs::metadata(store.path(untouched)).unwrap().ino(), inode, "with nothing to remove it is not written");
}
