//! A recorded run, and the states it may leave laid out as real directories.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;

use super::disk::{Disk, Left, State};
use super::trace::{self, Op};
use crate::scenario::{Reference, Scenario};
use support::tree::Node;
use support::{Store, Tree};

/// A command as it was carried out without a fault, call by call.
pub(super) struct Recording {
    /// What it did, as the measure of what a power cut leaves.
    pub(super) reference: Reference,
    pub(super) disk: Disk,
    first: Tree,
    ops: Vec<Op>,
    /// The node of the recorded run that each node of the disk is.
    recorded: HashMap<usize, Node>,
    state_dir: PathBuf,
}

impl Recording {
    /// Records the command of a scenario.
    pub(super) fn of(scenario: &Scenario) -> Self {
        let store = scenario.prepare_movable();
        let first = store.tree();
        let (reference, (ops, last)) = scenario.play(&store, |store| {
            let ops = trace::of(store, scenario.args);
            (ops, store.tree())
        });
        let disk = Disk::new(&first, &ops);
        let all = disk.last();
        assert_same(&all, &last);
        // A node that is there at both ends is the same one.
        let start = Disk::new(&first, []).last();
        let known = |tree: &Tree, disk: &BTreeMap<PathBuf, Left>| -> HashMap<usize, Node> {
            disk.iter().map(|(path, left)| (left.node, tree.0[path].clone())).collect()
        };
        let mut recorded = known(&last, &all);
        recorded.extend(known(&first, &start));
        Self { reference, disk, first, ops, recorded, state_dir: store.state_dir() }
    }

    /// Another disk, to which these calls were not made.
    pub(super) fn forget(&mut self, which: impl Fn(&Op) -> bool) {
        self.disk = Disk::new(&self.first, self.ops.iter().filter(|op| !which(op)));
    }

    /// A state as a directory of its own. It lies elsewhere and its files are other inodes, so what is ours in it is made
    /// to say that; it says it in the same words. Modification times are those of the recorded run.
    pub(super) fn lay_out(&self, state: &State) -> Store {
        let store = Store::empty_in_memory();
        let mut made: HashMap<usize, PathBuf> = HashMap::new();
        let mut inodes = HashMap::new();
        for (path, left) in &state.tree {
            let place = store.path(path);
            if let Some(known) = made.get(&left.node) {
                fs::hard_link(known, &place).unwrap();
                continue;
            }
            if left.is_dir && !path.as_os_str().is_empty() {
                fs::create_dir(&place).unwrap();
            } else if !left.is_dir {
                fs::write(&place, &left.bytes).unwrap();
            }
            fs::set_permissions(&place, Permissions::from_mode(left.mode)).unwrap();
            let now = fs::metadata(&place).unwrap();
            if let Some(node) = self.recorded.get(&left.node) {
                inodes.insert(node.ino, (now.dev(), now.ino()));
                if !left.is_dir {
                    let modified = UNIX_EPOCH + Duration::from_nanos(node.mtime_ns as u64);
                    File::open(&place).unwrap().set_modified(modified).unwrap();
                }
            }
            made.insert(left.node, place);
        }
        for (path, left) in state.tree.iter().filter(|(path, left)| path.starts_with("claw-sessions") && !left.is_dir) {
            let bytes = self.moved(&left.bytes, &store, &inodes);
            // It may be a second name of a transcript, whose time is to stay.
            if *bytes != *left.bytes {
                fs::write(store.path(path), bytes).unwrap();
            }
        }
        store
    }

    /// What a file of ours says about the laid out state. The paths have the same width there.
    fn moved(&self, bytes: &[u8], store: &Store, inodes: &HashMap<u64, (u64, u64)>) -> Vec<u8> {
        let Ok(text) = std::str::from_utf8(bytes) else { return bytes.to_vec() };
        let text = text.replace(self.state_dir.to_str().unwrap(), store.state_dir().to_str().unwrap());
        match serde_json::from_str::<Value>(&text) {
            Ok(mut manifest) if manifest["schema"].is_string() => {
                renumber(&mut manifest, inodes);
                support::seal(manifest)
            }
            _ => text.into_bytes(),
        }
    }
}

/// Every device and inode in a document.
fn renumber(value: &mut Value, inodes: &HashMap<u64, (u64, u64)>) {
    if let Some((dev, ino)) = value["ino"].as_u64().and_then(|ino| inodes.get(&ino)) {
        (value["dev"], value["ino"]) = ((*dev).into(), (*ino).into());
    }
    match value {
        Value::Object(object) => object.values_mut().for_each(|value| renumber(value, inodes)),
        Value::Array(array) => array.iter_mut().for_each(|value| renumber(value, inodes)),
        _ => {}
    }
}

/// The model did what the run did.
fn assert_same(model: &BTreeMap<PathBuf, Left>, last: &Tree) {
    assert!(model.keys().eq(last.0.keys()), "the model lacks a call: {:?}", model.keys());
    for (path, left) in model {
        let node = &last.0[path];
        let same = (left.is_dir, left.mode, &left.bytes[..]) == (node.kind == "dir", node.mode, &node.bytes[..]);
        assert!(same, "the model lacks a call on {}", Path::new(path).display());
    }
}
