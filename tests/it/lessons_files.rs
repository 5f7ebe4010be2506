//! Mistakes that other tools made with files and locks of others: the living are left alone, no link is followed, and what
//! two stores share belongs to both.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;
use support::lessons::{KEY, OTHER, STORE, gc, two_agents};
use support::openclaw::{AUTH, DEAD_PID};
use support::{LiveProcess, NOW, Output, Store, StoreBuilder, binding, file, lock_payload, sys, verdict};

const ALL: [&str; 4] = ["--all", "--now", NOW, "--json"];

#[test]
fn c09_a_running_session_is_left_alone_by_every_command() {
    let process = LiveProcess::spawn();
    let store = StoreBuilder::new()
        .agent("main")
        .binding(KEY, |one| one.idle("90d").error(AUTH).lock(process.lock()))
        .binding(OTHER, |one| one.idle("90d").missing().lock(process.lock()))
        .config(r#"{"meta": {"lastTouchedVersion": "2026.3.11"}}"#)
        .build();
    let before = store.tree().contents();
    for args in [&ALL[..], &["--idle", "1s", "--max-age", "1s", "--max-bindings", "1", "--failed", "any", "--now", NOW]]
    {
        store.run([&["gc"], args].concat()).ok();
        before.assert_same(&store.tree().contents());
    }
    let scan = store.scan(["--all", "--now", NOW]);
    assert_eq!((verdict(&scan, KEY), verdict(&scan, OTHER)), ("keep live-lock".into(), "keep live-lock".into()));
}

#[test]
fn c11_a_process_that_may_not_be_signalled_exists() {
    let store = StoreBuilder::new()
        .agent("main")
        .binding(KEY, |one| {
            one.idle("9d").lock(format!(r#"{{"pid": 1, "starttime": {}}}"#, support::process::starttime(1)))
        })
        .build();
    if sys::is_root() {
        sys::give(&store.home(), sys::NOBODY);
        // A gateway of another user, as one of a test that runs meanwhile, is none of ours.
        store.set_mode("", 0o700);
    }
    let Some(mut command) = store.ordinary_among_all([&["gc"], &ALL[..]].concat()) else {
        return sys::skip("no setpriv to become an ordinary user");
    };
    assert_eq!(verdict(&Output::of(&mut command).ok().json(), KEY), "keep live-lock");
}

#[test]
fn c12_a_recycled_pid_holds_no_lock() {
    let process = LiveProcess::spawn();
    let judged = |payload: String| {
        let store = StoreBuilder::new().agent("main").binding(KEY, |one| one.idle("9d").lock(payload)).build();
        let done = gc(&store, &["--all"]).ok().json();
        (binding(&done, KEY)["lock"]["state"].as_str().unwrap().to_owned(), verdict(&done, KEY))
    };
    let held = |state: &str| (state.to_owned(), "keep live-lock".to_owned());
    let free = |state: &str| (state.to_owned(), "expire all".to_owned());
    assert_eq!(judged(process.lock()), held("live"));
    assert_eq!(judged(lock_payload(process.pid(), process.starttime() + 1)), free("recycled"));
    assert_eq!(judged(lock_payload(DEAD_PID, 1)), free("dead"));
    assert_eq!(judged(format!(r#"{{"pid": {}}}"#, process.pid())), held("live"));
    assert_eq!(judged(String::new()), held("unreadable"));
    assert_eq!(judged("not JSON".to_owned()), held("unreadable"));
}

/// A link in place of the only transcript, leading to a precious file outside.
fn with_linked_transcript() -> (Store, Store) {
    let outside = Store::empty();
    outside.write("precious.jsonl", "precious\n");
    let store = StoreBuilder::new().agent("main").binding(KEY, |one| one.idle("9d").session_id("x")).build();
    store.remove("agents/main/sessions/x.jsonl");
    symlink(outside.path("precious.jsonl"), store.path("agents/main/sessions/x.jsonl")).unwrap();
    (store, outside)
}

#[test]
fn c18_a_linked_transcript_is_not_followed() {
    let (store, outside) = with_linked_transcript();
    symlink(outside.path("precious.jsonl"), store.path("agents/main/sessions/unbound.jsonl")).unwrap();
    let (before, precious) = (store.tree().contents(), outside.tree().exact());
    let done = gc(&store, &["--all"]).ok().json();
    assert_eq!(verdict(&done, KEY), "keep outside");
    assert_eq!(file(&done, "unbound.jsonl")["action"], "keep");
    before.assert_same(&store.tree().contents());
    precious.assert_same(&outside.tree().exact());
}

#[test]
fn c18_a_linked_directory_or_store_is_read_and_never_written() {
    for link in ["agents/main/sessions", STORE] {
        let real = two_agents();
        let store = two_agents();
        store.remove(link);
        symlink(real.path(link), store.path(link)).unwrap();
        let (before, target) = (store.tree().contents(), real.tree().exact());
        let done = gc(&store, &["--all", "--agent", "main", "--no-orphans"]).ok().json();
        assert_eq!(done["stores"][0]["state"], "symlink", "{link}");
        assert_eq!(done["stores"][0]["bindings"], 2, "{link}: it is read");
        assert_eq!(verdict(&done, KEY), "keep symlink", "{link}");
        before.assert_same(&store.tree().contents());
        target.assert_same(&real.tree().exact());
    }
}

#[test]
fn c18_what_became_a_link_since_the_plan_is_not_followed() {
    let outside = two_agents();
    let precious = outside.tree().exact();
    let swap = |what: &str| {
        let store = two_agents();
        let plan = store.root().join("plan.json");
        let plan = plan.to_str().unwrap();
        gc(&store, &["--all", "--plan", plan]).ok();
        let target = store.path(what);
        if what.ends_with("sessions") {
            fs::rename(&target, store.root().join("aside")).unwrap();
        } else {
            fs::remove_file(&target).unwrap();
        }
        symlink(outside.path(what), &target).unwrap();
        let output = store.run(["gc", "--apply", plan, "--json"]);
        assert!(matches!(output.code, Some(0 | 2 | 4)), "{output}");
        assert!(fs::symlink_metadata(&target).unwrap().is_symlink(), "{what}: the link itself stays");
        precious.assert_same(&outside.tree().exact());
    };
    let transcript = {
        let scan = two_agents().scan(["--now", NOW]);
        binding(&scan, KEY)["transcript"].as_str().unwrap().to_owned()
    };
    swap(&transcript);
    swap("agents/main/sessions");
    swap(STORE);
}

#[test]
fn c19_a_linked_state_directory_gives_the_same_plan() {
    let store = Store::recorded("real-gateway");
    let direct = store.scan(["--idle", "10m", "--now", NOW]);
    let link = store.root().join("link");
    symlink(store.state_dir(), &link).unwrap();
    let args = ["scan", "--json", "--idle", "10m", "--now", NOW, "--state-dir", link.to_str().unwrap()];
    let linked = store.run_bare(args, &[]).ok().json();
    for part in ["bindings", "files", "stores", "summary"] {
        assert_eq!(direct[part], linked[part], "{part}");
    }
    let before = store.tree().contents();
    let gc = ["gc", "--json", "--idle", "10m", "--now", NOW, "--state-dir", link.to_str().unwrap()];
    let done = store.run_bare(gc, &[]).ok().json();
    assert_eq!(done["planned"], done["done"]);
    store.restore_latest().ok();
    before.assert_same(&store.tree().contents());
}

#[test]
fn c20_a_hard_link_frees_nothing_and_stays_a_link() {
    let store = StoreBuilder::new().agent("main").binding(KEY, |one| one.idle("9d").session_id("x")).build();
    let elsewhere = store.root().join("elsewhere.jsonl");
    fs::hard_link(store.path("agents/main/sessions/x.jsonl"), &elsewhere).unwrap();
    let before = store.tree().contents();
    let done = gc(&store, &[]).ok().json();
    assert_eq!(done["planned"], done["done"]);
    assert_eq!(done["done"]["freedBytes"], binding(&done, KEY)["entryBytes"], "only the entry's bytes are free");
    let codes: Vec<_> = binding(&done, KEY)["findings"].as_array().unwrap().iter().map(|one| &one["code"]).collect();
    assert_eq!(codes, ["hard-linked"]);
    store.restore_latest().ok();
    before.assert_same(&store.tree().contents());
    let links = |path: &std::path::Path| std::os::unix::fs::MetadataExt::nlink(&fs::metadata(path).unwrap());
    assert_eq!(links(&elsewhere), 2);
}

#[test]
fn c22_stores_that_share_a_directory_know_each_others_files() {
    let id = "7b1d5c0e-93a4-4f6b-8d52-2f0e6a91c3d7";
    let made = StoreBuilder::new()
        .agent("desk")
        .binding("agent:desk:telegram:group:-1", |one| {
            one.idle("9d").session_id(id).field("sessionFile", format!("{id}.jsonl"))
        })
        .orphan("lonely", "9d")
        .build();
    for unreadable in [false, true] {
        let store = StoreBuilder::new()
            .config(r#"{"session": {"store": "~/shared/{agentId}.json"}, "agents": {"list": [{"id": "main"}, {"id": "desk"}]}}"#)
            .build();
        let shared = store.home().join("shared");
        fs::rename(made_copy(&made), &shared).unwrap();
        fs::rename(shared.join("sessions.json"), shared.join("desk.json")).unwrap();
        fs::write(shared.join("main.json"), "{}").unwrap();
        if unreadable {
            fs::write(shared.join("main.json"), "{").unwrap();
        }
        let done = gc(&store, &[]).code(if unreadable { 4 } else { 0 }).json();
        assert!(shared.join(format!("{id}.jsonl")).exists());
        assert_eq!(shared.join("lonely.jsonl").exists(), unreadable);
        let reason = if unreadable { "store-unknown" } else { "orphan" };
        assert_eq!(file(&done, "lonely.jsonl")["reasons"], json!([reason]));
    }
}

/// A copy of the sessions directory of `desk`, modification times kept.
fn made_copy(from: &Store) -> std::path::PathBuf {
    let to = from.root().join(format!("copy-{}", fs::read_dir(from.root()).unwrap().count()));
    fs::create_dir(&to).unwrap();
    for entry in fs::read_dir(from.path("agents/desk/sessions")).unwrap().map(Result::unwrap) {
        let copy = to.join(entry.file_name());
        fs::copy(entry.path(), &copy).unwrap();
        let modified = entry.metadata().unwrap().modified().unwrap();
        fs::File::open(&copy).unwrap().set_modified(modified).unwrap();
    }
    to
}
