//! A file that is written anew, or copied to another file system, keeps its access list and its attributes, or is not
//! written.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use support::attributes::{self, ACL, DEFAULT_ACL};
use support::lessons::{KEY, OTHER, STORE, gc, two_agents};
use support::{NOW, Output, Store, StoreBuilder, sys};

/// What a person may have attached to a file.
const NOTE: (&str, &[u8]) = ("user.note", b"kept by hand");

/// One stale conversation and one that stays.
fn one_goes() -> Store {
    let config = r#"{"meta": {"lastTouchedVersion": "2026.3.11"}}"#;
    let bindings = StoreBuilder::new().agent("main").binding(KEY, |one| one.idle("90d").session_id("one"));
    bindings.binding(OTHER, |one| one.idle("1m").session_id("two")).config(config).build()
}

/// Gives a file an access list and an attribute; false where its file system keeps none.
fn mark(path: &Path) -> bool {
    attributes::can_set(path, ACL, &attributes::for_somebody()) && attributes::can_set(path, NOTE.0, NOTE.1)
}

/// Mode, owner and attributes.
fn marks(path: &Path) -> (u32, u32, u32, Vec<(String, Vec<u8>)>) {
    let meta = fs::symlink_metadata(path).unwrap();
    (meta.permissions().mode() & 0o7777, meta.uid(), meta.gid(), attributes::all(path))
}

#[test]
fn a_store_keeps_its_access_list_and_attributes_when_gc_and_restore_write_it() {
    let store = one_goes();
    let path = store.path(STORE);
    if !mark(&path) {
        return sys::skip("this file system keeps no access lists");
    }
    let before = marks(&path);
    assert_eq!(before.0, 0o660, "the mode shows the mask");
    assert_eq!(gc(&store, &["--idle", "1d"]).ok().json()["done"]["expire"], 1);
    assert_eq!(marks(&path), before, "after gc");
    store.restore_latest().ok();
    assert_eq!(marks(&path), before, "after restore");
}

#[test]
fn a_mended_transcript_keeps_its_access_list_and_attributes() {
    let store = Store::crafted("null-line");
    let path = store.path("agents/main/sessions/7b1d5c0e-93a4-4f6b-8d52-2f0e6a91c3d7.jsonl");
    if !mark(&path) {
        return sys::skip("this file system keeps no access lists");
    }
    let before = marks(&path);
    store.run(["validate", "--repair", "--json", "--now", NOW]).ok();
    assert_eq!(marks(&path), before, "after the repair");
    store.restore_latest().ok();
    assert_eq!(marks(&path), before, "after restore");
}

#[test]
fn a_store_without_access_list_gets_none_from_its_directory() {
    let store = one_goes();
    let path = store.path(STORE);
    let dir = path.parent().unwrap();
    if !attributes::can_set(dir, DEFAULT_ACL, &attributes::for_somebody()) {
        return sys::skip("this file system keeps no access lists");
    }
    let before = marks(&path);
    gc(&store, &["--idle", "1d"]).ok();
    assert_eq!(marks(&path), before);
}

#[test]
fn a_store_with_an_attribute_that_cannot_be_set_is_not_written() {
    let store = one_goes();
    let path = store.path(STORE);
    if !sys::is_root() || !attributes::can_set(&path, "security.note", b"of the system") {
        return sys::skip("only root sets attributes of the system");
    }
    sys::give(&store.home(), sys::NOBODY);
    let before = store.tree().contents();
    let Some(mut command) = store.ordinary(["gc", "--json", "--idle", "1d", "--now", NOW]) else {
        return sys::skip("no setpriv to become an ordinary user");
    };
    let done = Output::of(&mut command).code(3).json();
    before.assert_same(&store.tree().contents());
    let failed = &done["failed"][0];
    assert_eq!(failed["code"], "error");
    let why = failed["why"].as_str().unwrap();
    assert!(why.contains("sessions.json") && why.contains("security.note"), "{why}");
}

/// In a mount namespace of its own, with another file system for what runs take: gc, and then restore.
const ELSEWHERE: &str = r#"
set -e
case "$KIND" in
  tmpfs) mount -t tmpfs -o mode=700 none "$OWN" ;;
  *) mkfs.ext4 -q "$IMAGE"; mount -o loop "$IMAGE" "$OWN" ;;
esac
"$BIN" gc --json --idle 1d --now "$NOW" --state-dir "$STATE" > "$ROOT/gc.json"
test ! -e "$MOVED"
"$BIN" restore latest --json --state-dir "$STATE" > "$ROOT/restore.json"
"#;

fn with_archive_on(kind: &str, store: &Store, moved: &Path) -> Option<Output> {
    let namespaces = if sys::is_root() { "-m" } else { "-rm" };
    let image = store.root().join("disk");
    fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
    fs::create_dir_all(store.path("claw-sessions")).unwrap();
    let probe = match kind {
        "tmpfs" => "mount -t tmpfs none /mnt".to_owned(),
        _ => format!("mkfs.ext4 -q '{0}' && mount -o loop '{0}' /mnt", image.display()),
    };
    let can = Command::new("unshare").args([namespaces, "sh", "-c", &probe]).output();
    if !can.is_ok_and(|can| can.status.success()) {
        sys::skip(&format!("this user cannot mount {kind}, not even in a namespace"));
        return None;
    }
    let direct = store.command([""; 0]);
    let mut command = Command::new("unshare");
    command.args([namespaces, "sh", "-c", ELSEWHERE]).env("NOW", NOW).env("KIND", kind);
    for (name, value) in direct.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    let places: [(&str, PathBuf); 6] = [
        ("BIN", support::binary()),
        ("IMAGE", image),
        ("MOVED", moved.to_owned()),
        ("OWN", store.path("claw-sessions")),
        ("ROOT", store.root().to_owned()),
        ("STATE", store.state_dir()),
    ];
    Some(Output::of(command.envs(places)))
}

#[test]
fn a_transcript_keeps_its_access_list_and_attributes_on_its_way_to_another_file_system_and_back() {
    for kind in ["tmpfs", "ext4"] {
        let store = one_goes();
        let path = store.path("agents/main/sessions/one.jsonl");
        if !mark(&path) {
            return sys::skip("this file system keeps no access lists");
        }
        let (before, bytes) = (marks(&path), fs::read(&path).unwrap());
        let Some(output) = with_archive_on(kind, &store, &path) else { continue };
        output.ok();
        assert_eq!(marks(&path), before, "{kind}");
        assert!(fs::read(&path).unwrap() == bytes, "{kind}");
    }
}

#[test]
fn a_transcript_does_not_go_to_a_file_system_that_cannot_keep_its_access_list() {
    let store = two_agents();
    let path = store.path("agents/main/sessions/0a1b2c3d-0000-4000-8000-000000000000.jsonl");
    if !mark(&path) {
        return sys::skip("this file system keeps no access lists");
    }
    let before = marks(&path);
    let namespaces = if sys::is_root() { "-m" } else { "-rm" };
    // ramfs keeps no attributes at all.
    let probe = "mount -t ramfs none /mnt";
    let can = Command::new("unshare").args([namespaces, "sh", "-c", probe]).output();
    if !can.is_ok_and(|can| can.status.success()) {
        return sys::skip("this user cannot mount ramfs, not even in a namespace");
    }
    fs::create_dir_all(store.path("claw-sessions")).unwrap();
    let script = r#"mount -t ramfs -o mode=700 none "$OWN" && exec "$BIN" gc --json --now "$NOW" --state-dir "$STATE""#;
    let direct = store.command([""; 0]);
    let mut command = Command::new("unshare");
    command.args([namespaces, "sh", "-c", script]).env("NOW", NOW).env("BIN", support::binary());
    command.env("OWN", store.path("claw-sessions")).env("STATE", store.state_dir());
    for (name, value) in direct.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    let done = Output::of(&mut command).code(3).json();
    assert_eq!(marks(&path), before);
    let why = done["failed"][0]["why"].as_str().unwrap();
    assert!(why.contains("0a1b2c3d") && why.contains(NOTE.0) | why.contains(ACL), "{why}");
}
