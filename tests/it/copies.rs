//! A state directory that was copied or moved, with its runs: what is done there stays there.

use std::process::Command;

use support::{NOW, Store, StoreBuilder, tree};

const KEY: &str = "agent:main:telegram:direct:1";

/// A store whose stale binding was taken by a run.
fn after_gc() -> (Store, support::tree::View) {
    let store = StoreBuilder::new()
        .agent("main")
        .binding(KEY, |one| one.idle("9d").session_id("one"))
        .binding("agent:main:telegram:direct:2", |one| one.idle("1h").session_id("two"))
        .build();
    let before = store.tree().contents();
    store.gc(["--now", NOW]).ok();
    (store, before)
}

fn shell(words: &[&str]) {
    assert!(Command::new(words[0]).args(&words[1..]).status().unwrap().success(), "{words:?}");
}

#[test]
fn a_restore_in_a_copy_fills_the_copy_and_leaves_the_original_alone() {
    let (store, before) = after_gc();
    let copy = store.root().join("copy");
    shell(&["cp", "-a", store.state_dir().to_str().unwrap(), copy.to_str().unwrap()]);
    let original = store.tree().exact();
    store.run_bare(["restore", "latest", "--state-dir", copy.to_str().unwrap()], &[]).ok();
    original.assert_same(&store.tree().exact());
    before.assert_same(&tree(&copy).contents());
    // The original still has its own run.
    store.run(["restore", "latest"]).ok();
    before.assert_same(&store.tree().contents());
}

#[test]
fn a_repair_is_taken_back_in_a_copy_too() {
    let store = Store::crafted("null-line");
    let before = store.tree().contents();
    store.run(["validate", "--repair", "--now", NOW]).ok();
    let mended = store.tree().exact();
    let copy = store.root().join("copy");
    shell(&["cp", "-a", store.state_dir().to_str().unwrap(), copy.to_str().unwrap()]);
    store.run_bare(["restore", "latest", "--state-dir", copy.to_str().unwrap()], &[]).ok();
    before.assert_same(&tree(&copy).contents());
    mended.assert_same(&store.tree().exact());
}

#[test]
fn what_was_taken_comes_back_after_a_move() {
    let (store, before) = after_gc();
    let moved = store.root().join("elsewhere");
    shell(&["mv", store.state_dir().to_str().unwrap(), moved.to_str().unwrap()]);
    store.run_bare(["restore", KEY, "--state-dir", moved.to_str().unwrap()], &[]).ok();
    before.assert_same(&tree(&moved).contents());
}

#[test]
fn a_store_outside_a_copied_state_directory_is_the_originals_and_is_not_written() {
    let (store, _) = {
        let store = StoreBuilder::new().agent("main").binding(KEY, |one| one.idle("9d").session_id("one")).build();
        let outside = store.root().join("outside");
        shell(&["mv", store.path("agents/main/sessions").to_str().unwrap(), outside.to_str().unwrap()]);
        let config = format!(r#"{{"session": {{"store": "{}/sessions.json"}}}}"#, outside.display());
        store.write("openclaw.json", config);
        store.gc(["--now", NOW]).ok();
        (store, outside)
    };
    let copy = store.root().join("copy");
    shell(&["cp", "-a", store.state_dir().to_str().unwrap(), copy.to_str().unwrap()]);
    let outside = tree(&store.root().join("outside")).exact();
    store.run_bare(["restore", "latest", "--state-dir", copy.to_str().unwrap()], &[]).code(4);
    outside.assert_same(&tree(&store.root().join("outside")).exact());
}
