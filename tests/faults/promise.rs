//! What must hold after any fault.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::scenario::{Reference, Scenario};
use support::tree::Node;
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

/// Every file of OpenClaw is the old one or the new one, in mode and bytes, or one that the command put in its place in
/// between; where it was or will be absent, it may be. Beside them are only what is ours to clear away, and locks.
pub(crate) fn assert_old_or_new(reference: &Reference, now: &Tree, between: impl Fn(&Path, &Node) -> bool, at: &str) {
    let trees = [&reference.first, &reference.last, now];
    let paths: BTreeSet<&PathBuf> = trees.iter().flat_map(|tree| tree.0.keys()).collect();
    for path in paths.into_iter().filter(|path| !path.starts_with("claw-sessions")) {
        let [old, new, is] = trees.map(|tree| tree.0.get(path));
        let seen = |node: Option<&Node>| node.map(|node| (node.kind, node.mode, node.bytes.clone()));
        let whole = seen(is) == seen(old) || seen(is) == seen(new) || is.is_some_and(|is| between(path, is));
        let ours = old.or(new).is_none() && path.to_string_lossy().ends_with(".claw-sessions.tmp");
        assert!(whole || ours || is.is_some() && is_lock(path), "{at}: {} is neither old nor new", path.display());
    }
}

/// After an error that kept some items from being done a store has what it is to keep, and of the rest what it had or
/// gets.
pub(crate) fn assert_old_new_or_between(reference: &Reference, now: &Tree, at: &str) {
    for (path, [old, is, new]) in stores(reference, now) {
        let salvaged = is.is_some_and(|is| is_salvaged(reference, path, is));
        let whole = is == old || is == new || is_between(old, is, new) || salvaged;
        assert!(whole, "{at}: {} is none of them", path.display());
    }
}

fn stores<'a>(reference: &'a Reference, now: &'a Tree) -> impl Iterator<Item = (&'a PathBuf, [Option<&'a [u8]>; 3])> {
    let bytes = |tree: &'a Tree, path: &Path| tree.0.get(path).map(|node| node.bytes.as_slice());
    let is_store = |path: &&PathBuf| path.ends_with("sessions.json") && path.starts_with("agents");
    let paths = reference.first.0.keys().chain(reference.last.0.keys()).filter(is_store);
    paths.map(move |path| (path, [&reference.first, now, &reference.last].map(|tree| bytes(tree, path))))
}

/// Tells whether a store is what was whole of one that was damaged: entries as they were before that, and all that the
/// last one has.
pub(crate) fn is_salvaged(reference: &Reference, path: &Path, is: &[u8]) -> bool {
    let bytes = |tree: &'_ Tree| tree.0.get(path).map(|node| node.bytes.clone()).unwrap_or_default();
    let was_damaged = serde_json::from_slice::<Value>(&bytes(&reference.first)).is_err();
    let (whole, last) = (bytes(&reference.treasure), bytes(&reference.last));
    was_damaged && path.ends_with("sessions.json") && is_between(Some(&whole), Some(is), Some(&last))
}

fn is_between(old: Option<&[u8]>, is: Option<&[u8]>, new: Option<&[u8]>) -> bool {
    let read = |text: Option<&[u8]>| serde_json::from_slice::<BTreeMap<String, Value>>(text.unwrap_or_default()).ok();
    let Some(is) = read(is) else { return false };
    let (old, new) = (read(old).unwrap_or_default(), read(new).unwrap_or_default());
    let known = |(key, entry): (&String, &Value)| [&old, &new].iter().any(|store| store.get(key) == Some(entry));
    is.iter().all(known) && new.keys().filter(|key| old.contains_key(*key)).all(|key| is.contains_key(key))
}

/// Every transcript of the treasure and every dead lock of one is there once, in its place or in an archive; when bytes die, at most once.
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

fn transcripts(tree: &Tree) -> impl Iterator<Item = (&PathBuf, &Node)> {
    let is_one = |path: &Path| path.starts_with("agents") && path.to_string_lossy().contains(".jsonl");
    tree.0.iter().filter(move |(path, node)| node.kind == "file" && is_one(path))
}

fn is_lock(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "lock")
}

/// A lock that was left behind is whole, and its owner is dead: OpenClaw takes it away at once (openclaw-format.md §5.2).
pub(crate) fn assert_locks_reclaimable(store: &Store, at: &str) {
    for (path, node) in store.tree().0.iter().filter(|(path, _)| path.starts_with("agents") && is_lock(path)) {
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
    // Of a session in quarantine all bytes are there or none.
    let aside = store.run(["quarantine", "list", "--json"]).ok().json();
    for session in aside["sessions"].as_array().unwrap() {
        assert_eq!(
            store.run(["quarantine", "show", session["key"].as_str().unwrap()]).code,
            Some(0),
            "{at}: {session}"
        );
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

/// The command, given once more, ends as one or two of it without a fault; nothing of ours lies about; `restore` then
/// gives the first tree.
pub(crate) fn assert_put_right(scenario: &Scenario, reference: &Reference, store: &Store, at: &str) {
    put_right(scenario, reference, store, Tree::clone, at);
}

/// The same after a power cut, which may bring a dead lock of a store back that the run had taken away. OpenClaw takes it
/// away at once, and so does a run that writes to the store.
pub(crate) fn assert_put_right_but_for_locks(scenario: &Scenario, reference: &Reference, store: &Store, at: &str) {
    let without = |tree: &Tree| {
        let mut tree = tree.clone();
        tree.0.retain(|path, _| !path.ends_with("sessions.json.lock"));
        tree
    };
    put_right(scenario, reference, store, without, at);
}

fn put_right(scenario: &Scenario, reference: &Reference, store: &Store, of: impl Fn(&Tree) -> Tree, at: &str) {
    let next = store.run(scenario.args);
    assert!(matches!(next.code, Some(0 | 1)), "{at}: the next run: {next}");
    let [last, settled, now] =
        [&reference.last, &reference.settled, &tree(store)].map(|tree| order_aside(scenario, of(tree)).contents());
    let diff = settled.diff(&now);
    assert!(diff.is_empty() || last.diff(&now).is_empty(), "{at}: after the next run:\n{diff}\n{next}");
    assert_tidy(store, at);
    restore_all(store, at);
    let [restored, now] = [&reference.restored, &tree(store)].map(|tree| order_aside(scenario, of(tree)));
    assert_same(&restored, &now, &format!("{at}: after a restore"));
}

/// What came back piece by piece may stand in another order.
fn order_aside(scenario: &Scenario, mut tree: Tree) -> Tree {
    for (_, node) in tree.0.iter_mut().filter(|(path, _)| scenario.is_piecemeal() && path.ends_with("sessions.json")) {
        // A store that was broken before comes back broken.
        if let Ok(entries) = serde_json::from_slice::<BTreeMap<String, Value>>(&node.bytes) {
            node.bytes = serde_json::to_vec(&entries).unwrap();
        }
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
