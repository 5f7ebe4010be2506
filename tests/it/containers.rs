//! Gateways in containers, of other users, and on ports: one that may serve this state directory is seen, and one that
//! cannot is in nobody's way.

use std::fs::{self, File, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, fchown, symlink};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use support::lessons::{KEY, OTHER, STORE};
use support::openclaw::DEAD_PID;
use support::{FakeGateway, LiveProcess, NOW, Output, Place, Store, StoreBuilder, binding, lock_payload, sys, verdict};

/// The newest release before the store lock went.
const WITH_LOCK: &str = "2026.3.11";
const WITHOUT_LOCK: &str = "2026.6.11";
/// Nobody's neighbor.
const ANOTHER: u32 = 65_533;
const GC: [&str; 5] = ["gc", "--json", "--idle", "1d", "--now"];

/// One conversation that gc takes, one that it leaves, and a port that is free by the time somebody listens there.
fn store(version: &str) -> (Store, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = json!({"meta": {"lastTouchedVersion": version}, "gateway": {"port": port}});
    let builder = StoreBuilder::new().agent("main").binding(KEY, |one| one.idle("9d").session_id("one"));
    (builder.binding(OTHER, |one| one.idle("1m")).config(&config.to_string()).build(), listener)
}

fn gateway(store: &Store) -> Value {
    store.scan(["--now", NOW])["gateway"].clone()
}

fn gc(store: &Store) -> Output {
    store.run([&GC[..], &[NOW]].concat())
}

fn refuses(store: &Store) {
    let before = store.tree().contents();
    assert_eq!(gc(store).code(4).json()["code"], "gateway-alive");
    before.assert_same(&store.tree().contents());
}

#[test]
fn a_gateway_in_a_container_whose_port_answers_is_alive() {
    // The path that its environment names is one of the container.
    for place in [Place::Container, Place::Here] {
        let (store, listener) = store(WITHOUT_LOCK);
        let home = [("HOME", Path::new("/home/node-of-a-container"))];
        let Some(_gateway) = FakeGateway::spawn(&store, place, &home, Some(listener)) else {
            sys::skip("this user can make no namespaces");
            continue;
        };
        assert_eq!(gateway(&store)["alive"], true, "{place:?}");
        refuses(&store);
    }
}

#[test]
fn a_gateway_in_a_container_that_has_the_state_directory_elsewhere_is_alive() {
    let (store, _) = store(WITHOUT_LOCK);
    let home = [("HOME", Path::new("/home/node"))];
    let Some(process) = FakeGateway::spawn(&store, Place::ContainerWithState, &home, None) else {
        return sys::skip("this user can make no namespaces");
    };
    let seen = gateway(&store);
    assert_eq!((&seen["alive"], &seen["apart"]), (&json!(true), &json!(true)));
    let evidence = seen["evidence"][0].as_str().unwrap();
    assert!(evidence.contains(&process.pid().to_string()) && evidence.contains("container"), "{evidence}");
    refuses(&store);
}

#[test]
fn a_gateway_in_a_container_does_not_wait_for_our_lock() {
    let (store, _) = store(WITH_LOCK);
    let home = [("HOME", Path::new("/home/node"))];
    let Some(_gateway) = FakeGateway::spawn(&store, Place::ContainerWithState, &home, None) else {
        return sys::skip("this user can make no namespaces");
    };
    refuses(&store);
    let due = store.run(["scan", "--restart-due", "1s", "--now", NOW]);
    assert_eq!(due.code, Some(0), "a restart is worth it: {due}");
}

#[test]
fn a_lock_whose_owner_is_gone_may_be_that_of_a_gateway_in_a_container() {
    let (store, _) = store(WITH_LOCK);
    let lock = lock_payload(DEAD_PID, 1);
    store.write(format!("{STORE}.lock"), &lock);
    store.write("agents/main/sessions/one.jsonl.lock", &lock);
    let state = |store: &Store| binding(&store.scan(["--all", "--now", NOW]), KEY)["lock"]["state"].clone();
    assert_eq!(state(&store), "dead");
    let home = [("HOME", Path::new("/home/node"))];
    let Some(process) = FakeGateway::spawn(&store, Place::ContainerWithState, &home, None) else {
        return sys::skip("this user can make no namespaces");
    };
    assert_eq!(state(&store), "unseen");
    let before = store.tree().contents();
    let mut online = GC.to_vec();
    online.extend([NOW, "--online"]);
    let done = store.run(&online).ok().json();
    assert_eq!(verdict(&done, KEY), "keep live-lock");
    store.remove("agents/main/sessions/one.jsonl.lock");
    let done = store.run(&online).code(4).json();
    assert_eq!(done["refused"][0]["code"], "busy", "{}", done["refused"]);
    drop(process);
    assert_eq!(gc(&store).ok().json()["done"]["expire"], 1);
    store.restore_latest().ok();
    store.write("agents/main/sessions/one.jsonl.lock", &lock);
    before.assert_same(&store.tree().contents());
}

#[test]
fn a_lock_is_judged_as_ever_beside_a_container_that_has_another_state_directory() {
    let (other, _) = store(WITH_LOCK);
    let (store, _) = store(WITH_LOCK);
    store.write(format!("{STORE}.lock"), lock_payload(DEAD_PID, 1));
    let home = [("HOME", Path::new("/home/node"))];
    let Some(_gateway) = FakeGateway::spawn(&other, Place::ContainerWithState, &home, None) else {
        return sys::skip("this user can make no namespaces");
    };
    assert_eq!(gateway(&store), json!({"alive": false, "evidence": []}));
    assert_eq!(gc(&store).ok().json()["done"]["expire"], 1);
}

#[test]
fn a_port_on_which_a_gateway_of_another_state_directory_listens_is_explained() {
    let (other, _) = store(WITHOUT_LOCK);
    let (store, listener) = store(WITHOUT_LOCK);
    let state = other.state_dir();
    let serves = [("OPENCLAW_STATE_DIR", state.as_path())];
    let process = FakeGateway::spawn(&other, Place::Here, &serves, Some(listener)).unwrap();
    assert_eq!(gateway(&store), json!({"alive": false, "evidence": []}));
    assert_eq!(gateway(&other)["alive"], true);
    assert_eq!(gc(&store).ok().json()["done"]["expire"], 1);
    drop(process);

    // Such a gateway does not explain what somebody else answers.
    let (store, _listener) = self::store(WITHOUT_LOCK);
    let _process = FakeGateway::spawn(&other, Place::Here, &serves, None).unwrap();
    assert_eq!(gateway(&store)["alive"], true);
    refuses(&store);
}

#[test]
fn a_port_of_a_process_in_sight_leaves_the_store_lock_its_worth() {
    let (store, _listener) = store(WITH_LOCK);
    let seen = gateway(&store);
    assert_eq!((&seen["alive"], &seen["apart"]), (&json!(true), &Value::Null), "it is this test's");
    assert_eq!(gc(&store).ok().json()["done"]["expire"], 1);
}

/// gc by an ordinary user whose state directory no other may enter.
fn by_nobody(store: &Store) -> Option<Output> {
    sys::give(&store.home(), sys::NOBODY);
    store.set_mode("", 0o700);
    Some(Output::of(&mut store.ordinary_among_all([&GC[..], &[NOW]].concat())?))
}

#[test]
fn a_gateway_of_another_user_who_cannot_enter_the_state_directory_blocks_nothing() {
    if !sys::is_root() || !sys::has("setpriv") {
        return sys::skip("only root becomes another user");
    }
    let (store, listener) = store(WITHOUT_LOCK);
    fchown(&listener, Some(ANOTHER), None).unwrap();
    let home = [("HOME", Path::new("/nonexistent"))];
    let process = FakeGateway::spawn(&store, Place::Of(ANOTHER), &home, Some(listener)).unwrap();
    let done = by_nobody(&store).unwrap().ok().json();
    assert_eq!((&done["gateway"]["alive"], &done["done"]["expire"]), (&json!(false), &json!(1)));
    drop(process);

    // Who may enter may serve it: what cannot be read is not known to be elsewhere.
    let (store, _) = self::store(WITHOUT_LOCK);
    let _process = FakeGateway::spawn(&store, Place::Of(ANOTHER), &home, None).unwrap();
    sys::give(&store.home(), sys::NOBODY);
    store.set_mode("", 0o711);
    let mut command = store.ordinary_among_all([&GC[..], &[NOW]].concat()).unwrap();
    Output::of(&mut command).code(4);
}

/// The directory in which a gateway of this user has its lock.
fn lock_dir(store: &Store, uid: u32) -> std::path::PathBuf {
    store.root().join(format!("tmp/openclaw-{uid}"))
}

#[test]
fn a_gateway_lock_that_another_user_made_is_not_believed() {
    if !sys::is_root() || !sys::has("setpriv") {
        return sys::skip("only root becomes another user");
    }
    let living = LiveProcess::spawn();
    let held = |store: &Store, uid: u32| {
        let dir = lock_dir(store, sys::NOBODY);
        fs::create_dir_all(&dir).unwrap();
        let payload = json!({"pid": living.pid(), "configPath": store.path("openclaw.json")});
        fs::write(dir.join("gateway.x.lock"), payload.to_string()).unwrap();
        fs::set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
        sys::give(&dir, uid);
        by_nobody(store).unwrap()
    };
    let store = || store(WITHOUT_LOCK).0;
    held(&store(), ANOTHER).ok();
    held(&store(), sys::NOBODY).code(4);
}

#[test]
fn a_link_in_the_place_of_the_directory_of_gateway_locks_is_not_followed() {
    let (store, _) = store(WITHOUT_LOCK);
    let living = LiveProcess::spawn();
    let lock = store.gateway_lock(living.pid(), living.starttime());
    let dir = lock.parent().unwrap();
    assert_eq!(gateway(&store)["alive"], true);
    let aside = store.root().join("aside");
    fs::rename(dir, &aside).unwrap();
    symlink(&aside, dir).unwrap();
    assert_eq!(gateway(&store)["alive"], false);
}

#[test]
fn a_gateway_lock_of_any_size_does_not_end_a_start() {
    let (store, _) = store(WITHOUT_LOCK);
    let living = LiveProcess::spawn();
    let lock = store.gateway_lock(living.pid(), living.starttime());
    let huge = lock.with_file_name("gateway.x.lock");
    File::create(&huge).unwrap().set_len(3 << 30).unwrap();
    fs::remove_file(&lock).unwrap();
    let direct = store.command(["gc", "--boot", "--state-dir"]);
    let mut command = Command::new("sh");
    command.args(["-c", r#"ulimit -v 1500000; exec "$0" "$@""#]).arg(direct.get_program()).args(direct.get_args());
    command.arg(store.state_dir()).env_clear().current_dir(store.root());
    for (name, value) in direct.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    let output = Output::of(&mut command).ok();
    assert!(output.stderr.contains("gateway not running") || !output.stderr.contains("memory"), "{output}");
}
