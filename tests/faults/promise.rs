//! What must hold after any fault.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::scenario::{Reference, Scenario};
use support::{Store, Tree};

/// The state directory, with the same name for the temporary directory in every file that mentions it.
pub(crate) fn tree(store: &Store) -> Tree {
    let root = store.root().to_str().unwrap();
    let same = "x".repeat(root.len());
    let mut tree = store.tree();
    for node in tree.0.values_mut().filter(|node| node.kind == "file") {
        if let Ok(text) = std::str::from_utf8(&node.bytes) {
            node.bytes = text.replace(root, &same).into_bytes();
        }
    }
    tree
}

/// Each store is the old one or the new one, byte for byte; where it was or will be absent, it may be.
pub(crate) fn assert_old_or_new(reference: &Reference, now: &Tree, at: &str) {
    for (path, [old, is, new]) in stores(reference, now) {
        assert!(is == old || is == new, "{at}: {} is neither old nor new", path.display());
    }
}

/// The same after an error that kept some items from being done: a store has what it is to keep, and of the rest what
/// it had or gets.
pub(crate) fn assert_old_new_or_between(reference: &Reference, now: &Tree, at: &str) {
    for (path, [old, is, new]) in stores(reference, now) {
        assert!(is == old || is == new || is_between(old, is, new), "{at}: {} is none of them", path.display());
    }
}

fn stores<'a>(reference: &'a Reference, now: &'a Tree) -> impl Iterator<Item = (&'a PathBuf, [Option<&'a [u8]>; 3])> {
    let bytes = |tree: &'a Tree, path: &Path| tree.0.get(path).map(|node| node.bytes.as_slice());
    let is_store = |path: &&PathBuf| path.ends_with("sessions.json") && path.starts_with("agents");
    let paths = reference.first.0.keys().chain(reference.last.0.keys()).filter(is_store);
    paths.map(move |path| (path, [&reference.first, now, &reference.last].map(|tree| bytes(tree, path))))
}

fn is_between(old: Option<&[u8]>, is: Option<&[u8]>, new: Option<&[u8]>) -> bool {
    let read = |text: Option<&[u8]>| serde_json::from_slice::<BTreeMap<String, Value>>(text.unwrap_or_default()).ok();
    let Some(is) = read(is) else { return false };
    let (old, new) = (read(old).unwrap_or_default(), read(new).unwrap_or_default());
    let known = |(key, entry): (&String, &Value)| [&old, &new].iter().any(|store| store.get(key) == Some(entry));
    is.iter().all(known) && new.keys().filter(|key| old.contains_key(*key)).all(|key| is.contains_key(key))
}

/// Every transcript of the treasure is there once, in its place or in an archive; when bytes die, at most once.
/// A second name of the same file counts as one.
pub(crate) fn assert_each_once(scenario: &Scenario, reference: &Reference, now: &Tree, at: &str) {
    let places = |tree: &Tree, bytes: &[u8]| {
        let files = tree.0.values().filter(|node| node.kind == "file" && node.bytes == bytes);
        files.map(|node| node.ino).collect::<HashSet<_>>().len()
    };
    for (path, node) in transcripts(&reference.treasure) {
        let found = places(now, &node.bytes);
        let may_die = scenario.purges && places(&reference.last, &node.bytes) == 0;
        assert!(found == 1 || (may_die && found == 0), "{at}: {} is there {found} times", path.display());
    }
}

fn transcripts(tree: &Tree) -> impl Iterator<Item = (&PathBuf, &support::tree::Node)> {
    let is_one = |path: &Path| path.starts_with("agents") && path.to_string_lossy().contains(".jsonl");
    tree.0.iter().filter(move |(path, node)| node.kind == "file" && is_one(path) && !is_lock(path))
}

fn is_lock(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "lock")
}

/// A lock that was left behind is whole, and its owner is dead: OpenClaw takes it away at once (openclaw-format.md §5.2).
pub(crate) fn assert_locks_reclaimable(reference: &Reference, store: &Store, at: &str) {
    for (path, node) in store.tree().0.iter().filter(|(path, _)| path.starts_with("agents") && is_lock(path)) {
        if reference.first.0.contains_key(path) && reference.last.0.contains_key(path) {
            continue;
        }
        let payload: Value = serde_json::from_slice(&node.bytes).unwrap_or_else(|error| panic!("{at}: {error}"));
        let pid = payload["pid"].as_u64().unwrap_or_else(|| panic!("{at}: {} names no pid", path.display()));
        let created = payload["createdAt"].as_str().and_then(|at| at.parse::<chrono::DateTime<chrono::Utc>>().ok());
        assert!(created.is_some(), "{at}: {} has no time", path.display());
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{at}: {} is held by a living process", path.display());
    }
}

/// Reading commands say what there is, and write nothing.
pub(crate) fn assert_reading_changes_nothing(store: &Store, at: &str) {
    let before = store.tree().exact();
    for reading in [&["scan"][..], &["runs"], &["gc", "-n"]] {
        let output = store.run(reading);
        assert!(matches!(output.code, Some(0 | 4)), "{at}: {output}");
    }
    let diff = before.diff(&store.tree().exact());
    assert!(diff.is_empty(), "{at}: a reading command changed\n{diff}");
}

/// Brings everything back that past runs took, the newest first.
pub(crate) fn restore_all(store: &Store, at: &str) {
    let runs = store.run(["runs", "--json"]).ok().json();
    for run in runs["runs"].as_array().unwrap().iter().rev().filter(|run| run["restorable"] == true) {
        let output = store.run(["restore", run["id"].as_str().unwrap()]);
        assert_eq!(output.code, Some(0), "{at}: {output}");
    }
}

/// The command, given once more, ends as if there had been no fault; nothing of ours lies about; `restore` then gives
/// the first tree.
pub(crate) fn assert_put_right(scenario: &Scenario, reference: &Reference, store: &Store, at: &str) {
    let next = store.run(scenario.args);
    assert!(matches!(next.code, Some(0 | 1)), "{at}: the next run: {next}");
    let (settled, now) = (order_aside(scenario, &reference.settled), order_aside(scenario, &tree(store)));
    assert_same(&settled, &now, &format!("{at}: after the next run"));
    assert_tidy(store, at);
    restore_all(store, at);
    assert_same(&reference.restored, &tree(store), &format!("{at}: after a restore"));
}

/// What came back piece by piece may stand in another order.
fn order_aside(scenario: &Scenario, tree: &Tree) -> Tree {
    let mut tree = tree.clone();
    for (_, node) in tree.0.iter_mut().filter(|(path, _)| scenario.is_piecemeal() && path.ends_with("sessions.json")) {
        let entries: BTreeMap<String, Value> = serde_json::from_slice(&node.bytes).unwrap();
        node.bytes = serde_json::to_vec(&entries).unwrap();
    }
    tree
}

/// Names, modes, owners and bytes, but for what is ours.
pub(crate) fn assert_same(expected: &Tree, is: &Tree, at: &str) {
    let diff = expected.contents().diff(&is.contents());
    assert!(diff.is_empty(), "{at}:\n{diff}");
}

/// No temporary file, and no directory of a run that is none.
fn assert_tidy(store: &Store, at: &str) {
    let tree = store.tree();
    let left: Vec<_> = tree.0.keys().filter(|path| path.to_string_lossy().ends_with(".claw-sessions.tmp")).collect();
    assert!(left.is_empty(), "{at}: {left:?} lie about");
    let mut manifests: BTreeMap<&Path, bool> = BTreeMap::new();
    for path in tree.0.keys() {
        let Ok(run) = path.strip_prefix("claw-sessions/runs") else { continue };
        let Some(id) = run.components().next() else { continue };
        *manifests.entry(Path::new(id.as_os_str())).or_default() |= run.ends_with("manifest.json");
    }
    assert!(manifests.values().all(|has| *has), "{at}: a run without manifest: {manifests:?}");
}
