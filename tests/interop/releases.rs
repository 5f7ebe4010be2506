//! What other releases write, from the first known to the last that keeps sessions in files: we read it, leave it alone
//! where they would, and after our gc and restore they go on with it.

use chrono::{SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::gateway::{gateway, talker};
use crate::programs::{Model, Running};
use crate::release::Release;
use crate::turns::turn;
use crate::world::{bindings, configure, document, listed, text};
use support::{Store, binding, tree, verdict};

const MAIN: &str = "agent:main:main";
/// Those that a whole turn can be asked of, with the clocks that they write.
const TURNING: [(&str, &str, &str); 3] = [
    ("2026.2.26", "updatedAt", "header"),
    ("2026.6.11", "lastInteractionAt", "sessionStartedAt"),
    ("2026.7.1", "lastInteractionAt", "sessionStartedAt"),
];
/// The last ones, which write no lock for their stores.
const LOCKLESS: [&str; 2] = ["2026.6.11", "2026.7.1"];

fn agents() -> Value {
    json!([{"id": "main", "default": true}])
}

/// So many days from now, when what was just written is old.
fn in_days(days: i64) -> String {
    (Utc::now() + TimeDelta::days(days)).to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// How many files of this kind a scan names.
fn files(scan: &Value, kind: &str) -> usize {
    scan["files"].as_array().unwrap().iter().filter(|one| one["kind"] == kind).count()
}

/// How many prompts stand beside the store, out of its entries.
fn prompts(store: &Store) -> usize {
    let files = tree(&store.path("agents/main/sessions")).files();
    files.iter().filter(|path| path.starts_with("skills-prompts/")).count()
}

/// Everything is in order, and nothing is unknown to us.
#[track_caller]
fn healthy(store: &Store, version: &str) -> Value {
    let scan = store.scan([""; 0]);
    for one in scan["bindings"].as_array().unwrap() {
        assert_eq!((&one["run"], &one["integrity"]), (&json!("completed"), &json!("intact")), "{version}: {one:#}");
    }
    assert_eq!((files(&scan, "orphan"), files(&scan, "other")), (0, 0), "{version}: {:#}", scan["files"]);
    store.run(["validate"]).ok();
    scan
}

#[test]
fn what_a_release_wrote_is_read_taken_and_brought_back_and_it_goes_on() {
    for (version, active, started) in TURNING {
        let test = "what_a_release_wrote_is_read_taken_and_brought_back_and_it_goes_on";
        let Some(release) = Release::of(test, version) else { continue };
        let (store, model) = (Store::empty(), Model::start(&release));
        configure(&store, version, model.port, &agents());
        let id = turn(&release, &store, ["--agent", "main"], "the first");
        assert_eq!(turn(&release, &store, ["--agent", "main"], "the second"), id);

        let scan = healthy(&store, version);
        let main = binding(&scan, MAIN);
        assert_eq!(
            (text(&main["idle"]["from"]), text(&main["age"]["from"])),
            (active.into(), started.into()),
            "{version}"
        );
        assert_eq!((&main["sessionId"], &main["action"]), (&json!(id), &json!("keep")));
        assert_eq!(
            listed(&release, &store).into_keys().collect::<Vec<_>>(),
            bindings(&scan, |_| true).into_iter().collect::<Vec<_>>()
        );
        let later = LOCKLESS.contains(&version);
        assert_eq!(files(&scan, "trajectory"), if later { 2 } else { 0 }, "{version}");

        // Its own commands write their database.
        let sessions = || tree(&store.path("agents/main/sessions")).contents();
        let before = sessions();
        let taken = store.gc(["--now", &in_days(3), "--idle", "1d", "--unprotect", "main"]).ok().json();
        assert_eq!(verdict(&taken, MAIN), "expire idle", "{version}");
        assert!(listed(&release, &store).is_empty(), "{version}");
        // Other entries may mean the same prompt: it is no session's own.
        assert_eq!(prompts(&store), usize::from(later), "{version}");
        store.restore_latest().ok();
        before.assert_same(&sessions());
        let cleanup = ["sessions", "cleanup", "--all-agents", "--dry-run", "--fix-missing", "--json"];
        let would = document(&release.run(&store, &cleanup).ok());
        assert_eq!((&would["missing"], &would["afterCount"]), (&json!(0), &json!(1)), "{version}: {would}");
        assert_eq!(turn(&release, &store, ["--agent", "main"], "the third"), id, "{version}");
        let asked = model.last_asked();
        assert_eq!(asked.len(), 5, "{version}: two turns and the third: {asked:?}");
        println!("{version}: {} turns, read, taken, brought back and gone on with", model.asked());
    }
}

/// 2026.4.29 asks npm for a hundred packages before its first turn, so its parts are called, not its command.
#[test]
fn status_and_checkpoints_of_2026_4_29_are_read_and_respected() {
    let Some(release) = Release::of("status_and_checkpoints_of_2026_4_29_are_read_and_respected", "2026.4.29") else {
        return;
    };
    let store = Store::empty();
    configure(&store, "2026.4.29", 9, &agents());
    store.write("agents/main/sessions/sessions.json", "{}");
    let mut command = release.program(&store, "session.mjs");
    command.arg(release.package()).arg(store.path("agents/main/sessions/sessions.json"));
    command.args([MAIN, "5f0d7c1e-93a4-4f6b-8d52-2f0e6a91c3d7"]);
    assert_eq!(Running::start(&mut command).line(), "done");
    let entry = &store.sessions("main")[MAIN];
    assert_eq!((&entry["status"], entry["compactionCheckpoints"].as_array().unwrap().len()), (&json!("done"), 1));

    let scan = healthy(&store, "2026.4.29");
    assert_eq!(files(&scan, "checkpoint"), 1);
    let before = store.tree().contents();
    let kept = store.gc(["--now", &in_days(60)]).ok().json();
    assert_eq!(kept["done"]["expire"], 0, "{kept:#}");
    before.assert_same(&store.tree().contents());
    store.gc(["--now", &in_days(60), "--idle", "1d", "--unprotect", "main"]).ok();
    assert_eq!(store.sessions("main"), json!({}));
    store.restore_latest().ok();
    before.assert_same(&store.tree().contents());
}

#[test]
fn beside_a_gateway_without_store_lock_gc_refuses_and_what_it_says_of_its_sessions_counts() {
    for version in LOCKLESS {
        let test = "beside_a_gateway_without_store_lock_gc_refuses_and_what_it_says_of_its_sessions_counts";
        let Some(release) = Release::of(test, version) else { continue };
        let (store, model) = (Store::empty(), Model::start(&release));
        let port = configure(&store, version, model.port, &agents());
        let mut gateway = gateway(&release, &store);
        let key = |number: usize| format!("agent:main:telegram:direct:9{number:05}");
        let compact = json!({"sessionKey": key(0), "message": "/compact", "idempotencyKey": "compact"}).to_string();
        let pin = json!({"key": key(1), "pinned": true}).to_string();
        let archive = json!({"key": key(2), "archived": true}).to_string();
        let mut calls = vec!["chat.send", &*compact];
        if version == "2026.7.1" {
            calls.extend(["sessions.patch", &*pin, "sessions.patch", &*archive]);
        }
        talker(&release, &store, port, [3, 9], &calls).until("failed 0");
        // The command is answered after it was accepted.
        for _ in 0..200 {
            if store.sessions("main")[key(0)]["compactionCheckpoints"].is_array() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }

        // The gateway goes on writing; we did not.
        let limits = ["--idle", "1d", "--now", &in_days(3)];
        let refused = store.gc(limits).code(4);
        assert!(refused.stdout.contains("--online"), "{version}: {refused}");
        assert_eq!(store.run(["runs", "--json"]).ok().json()["runs"], json!([]), "{version}");
        assert!((0..3).all(|number| store.sessions("main").get(key(number)).is_some()), "{version}");

        // Killed in a turn, it leaves `running` behind, and a lock.
        let hang = json!({"sessionKey": key(3), "message": "wait [hang]", "idempotencyKey": "hang"}).to_string();
        let mut waiting = talker(&release, &store, port, [1, 0], &["agent", &hang]);
        let asked = model.asked();
        while model.asked() == asked {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        assert_eq!(binding(&store.scan([""; 0]), &key(3))["run"], "running", "{version}");
        gateway.kill();
        waiting.kill();
        let scan = store.scan(["--now", &in_days(3)]);
        assert_eq!(store.sessions("main")[key(3)]["status"], "running");
        assert_eq!(binding(&scan, &key(3))["run"], "interrupted", "{version}");
        for number in 0..3 {
            let one = binding(&scan, &key(number));
            assert_eq!((&one["run"], &one["integrity"]), (&json!("completed"), &json!("intact")), "{version}: {one:#}");
        }
        assert_eq!((files(&scan, "orphan"), files(&scan, "other")), (0, 0), "{version}: {:#}", scan["files"]);
        assert_eq!(files(&scan, "lock-dead"), 1, "{version}");

        let done = store.gc(limits).ok().json();
        let stays = if version == "2026.7.1" { ["keep pinned", "keep archived"] } else { ["expire idle"; 2] };
        assert_eq!([verdict(&done, &key(1)), verdict(&done, &key(2))], stays, "{version}");
        assert_eq!(verdict(&done, &key(0)), "expire idle", "{version}");
        // The lock is what its next start resumes by.
        assert_eq!(files(&store.scan([""; 0]), "lock-dead"), 1, "{version}");
        println!("{version}: {} turns; refused beside its gateway, done after it", model.asked());
    }
}
