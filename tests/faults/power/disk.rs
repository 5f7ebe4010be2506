//! A disk that loses what is not synced.
//!
//! What is promised of a disk, and no more than that:
//!
//! - The content and mode of a file are durable after an fsync of the file. Before that the file holds what it held at
//!   its last fsync, or all of what was written since, or the beginning of it, or zeros in place of it.
//! - A name is durable after an fsync of its directory, whatever else was synced: an fsync of a new file does not make
//!   its name durable, nor does an fsync of a new directory make that directory's own name durable.
//! - A rename is done or not done, also one between directories: ext4, xfs, btrfs and f2fs write both names in one
//!   transaction. It is durable once both directories are synced, though on these systems one is enough.
//! - Changes of names that are not durable are lost or kept each for itself, in no order but that of cause and effect:
//!   what happens to a name comes after what happened to it before, and nothing gets a name in a directory that is not
//!   there. Real journals keep the order of all of them, so every state that they can leave is among these.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::hash::{Hash, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::trace::Op;
use support::Tree;
use support::openclaw::Rng;
use support::tree::Node as Seen;

/// Of up to so many changes of names that are not durable each subset is tried; of more, none, all, each one alone, all but
/// each one, and so many that are drawn.
fn subsets() -> (usize, usize) {
    if crate::full() { (8, 24) } else { (4, 8) }
}

const ROOT: usize = 0;

/// A file or directory, whatever its names are.
struct Node {
    is_dir: bool,
    /// What it was, from the oldest: the first of them is durable.
    versions: Vec<Version>,
    /// When it was synced.
    synced: Vec<usize>,
}

#[derive(Clone, Hash)]
struct Version {
    at: usize,
    bytes: Arc<[u8]>,
    mode: u32,
}

impl Node {
    /// What was written last, and what is durable.
    fn at(&self, at: usize) -> (&Version, &Version) {
        let until = |time| self.versions.iter().rev().find(|version| version.at <= time).unwrap_or(&self.versions[0]);
        let synced = self.synced.iter().rev().find(|&&sync| sync <= at);
        (until(at), until(synced.copied().unwrap_or(0)))
    }
}

/// A name in a directory.
type Slot = (usize, OsString);

/// A change of names: all of it or nothing.
struct Naming {
    at: usize,
    told: String,
    changes: Vec<(Slot, Option<usize>)>,
    /// The changes that it is an effect of.
    after: Vec<usize>,
    /// Those that made the directories it is in.
    inside: Vec<usize>,
}

/// A state directory, and what was done to it.
pub(super) struct Disk {
    nodes: Vec<Node>,
    first: BTreeMap<Slot, usize>,
    now: BTreeMap<Slot, usize>,
    namings: Vec<Naming>,
    /// The last change of a name.
    last: HashMap<Slot, usize>,
    ops: Vec<String>,
    /// What was put under a name, in one piece.
    put: Vec<(PathBuf, Left)>,
}

/// What a power cut may leave.
#[derive(Clone)]
pub(super) struct State {
    pub(super) tree: BTreeMap<PathBuf, Left>,
    /// How it comes about.
    pub(super) told: String,
}

/// One file or directory of it.
#[derive(Clone, Hash, PartialEq, Eq)]
pub(super) struct Left {
    /// The same for all names of a file.
    pub(super) node: usize,
    pub(super) is_dir: bool,
    pub(super) bytes: Arc<[u8]>,
    pub(super) mode: u32,
}

impl Disk {
    /// What was there, durably, and what was done then.
    pub(super) fn new<'o>(first: &Tree, ops: impl IntoIterator<Item = &'o Op>) -> Self {
        let mut disk = Self {
            nodes: Vec::new(),
            first: BTreeMap::new(),
            now: BTreeMap::new(),
            namings: Vec::new(),
            last: HashMap::new(),
            ops: Vec::new(),
            put: Vec::new(),
        };
        let mut of_inode = HashMap::new();
        for (path, node) in &first.0 {
            let new = disk.nodes.len();
            let id = *of_inode.entry(node.ino).or_insert(new);
            if id == new {
                disk.node(node.kind == "dir", &node.bytes, node.mode);
            }
            if id != ROOT {
                let slot = disk.slot(path);
                disk.now.insert(slot, id);
            }
        }
        disk.first.clone_from(&disk.now);
        for op in ops {
            disk.ops.push(op.to_string());
            disk.take(op);
        }
        disk
    }

    fn node(&mut self, is_dir: bool, bytes: &[u8], mode: u32) -> usize {
        let version = Version { at: self.ops.len(), bytes: bytes.into(), mode };
        self.nodes.push(Node { is_dir, versions: vec![version], synced: Vec::new() });
        self.nodes.len() - 1
    }

    fn find(&self, path: &Path) -> Option<usize> {
        path.components().try_fold(ROOT, |dir, name| self.now.get(&(dir, name.as_os_str().to_owned())).copied())
    }

    fn slot(&self, path: &Path) -> Slot {
        let dir = self.find(path.parent().unwrap()).unwrap_or_else(|| panic!("no directory of {}", path.display()));
        (dir, path.file_name().unwrap().to_owned())
    }

    fn there(&self, path: &Path) -> usize {
        self.find(path).unwrap_or_else(|| panic!("no {}", path.display()))
    }

    fn take(&mut self, op: &Op) {
        let at = self.ops.len();
        match op {
            Op::Open { path, mode } if self.find(path).is_none() => {
                let node = self.node(false, b"", mode & !0o022);
                self.rename(op, vec![(self.slot(path), Some(node))], None);
            }
            Op::Open { .. } => {}
            Op::Write { path, bytes } => {
                let node = self.there(path);
                let old = self.nodes[node].versions.last().unwrap();
                let new = Version { at, bytes: [&old.bytes[..], bytes].concat().into(), mode: old.mode };
                self.nodes[node].versions.push(new);
            }
            Op::Chmod { path, mode } => {
                let node = self.there(path);
                let old = self.nodes[node].versions.last().unwrap().clone();
                self.nodes[node].versions.push(Version { at, mode: *mode, ..old });
            }
            Op::Sync(path) => {
                let node = self.there(path);
                self.nodes[node].synced.push(at);
            }
            Op::Mkdir { path, mode } => {
                let node = self.node(true, b"", *mode);
                self.rename(op, vec![(self.slot(path), Some(node))], None);
            }
            Op::Rename { from, to } => {
                let node = self.there(from);
                self.rename(op, vec![(self.slot(from), None), (self.slot(to), Some(node))], None);
            }
            Op::Link { from, to } => {
                let node = self.there(from);
                self.rename(op, vec![(self.slot(to), Some(node))], Some(&self.slot(from)));
            }
            Op::Remove(path) => self.rename(op, vec![(self.slot(path), None)], None),
        }
    }

    fn rename(&mut self, op: &Op, changes: Vec<(Slot, Option<usize>)>, also_after: Option<&Slot>) {
        let slots = || changes.iter().map(|(slot, _)| slot);
        let after = slots().chain(also_after).filter_map(|slot| self.last.get(slot).copied()).collect();
        let made = |dir: usize| self.namings.iter().position(|one| one.changes.iter().any(|(_, to)| *to == Some(dir)));
        let inside = slots().filter_map(|(dir, _)| made(*dir)).collect();
        for (slot, node) in &changes {
            self.last.insert(slot.clone(), self.namings.len());
            match node {
                Some(node) => self.now.insert(slot.clone(), *node),
                None => self.now.remove(slot),
            };
        }
        let (at, told) = (self.ops.len(), op.to_string());
        if let Op::Rename { to, .. } | Op::Link { to, .. } = op {
            let left = self.newest(self.there(to));
            self.put.push((to.clone(), left));
        }
        self.namings.push(Naming { at, told, changes, after, inside });
    }

    /// Tells whether the file was this one for a while.
    pub(super) fn held(&self, path: &Path, node: &Seen) -> bool {
        let seen = (node.kind == "dir", node.mode, &node.bytes[..]);
        self.put.iter().any(|(put, left)| put == path && (left.is_dir, left.mode, &left.bytes[..]) == seen)
    }

    /// Everything that was done, and nothing lost.
    pub(super) fn last(&self) -> BTreeMap<PathBuf, Left> {
        self.paths(&self.now).into_iter().map(|(path, node)| (path, self.newest(node))).collect()
    }

    fn newest(&self, node: usize) -> Left {
        self.left(node, self.nodes[node].versions.last().unwrap().clone())
    }

    /// The states that a power cut after any of the calls may leave, each of them once.
    pub(super) fn states(&self) -> Vec<State> {
        let (mut met, mut known) = (HashSet::new(), HashSet::new());
        let mut rng = Rng::of("power");
        let mut states = Vec::new();
        for at in 0..=self.ops.len() {
            for kept in self.kept(at, &mut rng) {
                // Most calls change one thing: what has the same names and versions was met before.
                let versions = self.nodes.iter().map(|node| node.at(at)).map(|(now, safe)| (now.at, safe.at));
                if met.insert(hash(&(self.names(&kept), versions.collect::<Vec<_>>()))) {
                    states.extend(self.torn(at, &kept).into_iter().filter(|state| known.insert(hash(&state.tree))));
                }
            }
        }
        states
    }

    /// So many different states, drawn: to know all of them takes far longer.
    pub(super) fn sample(&self, states: usize, seed: &str) -> Vec<State> {
        let mut rng = Rng::of(seed);
        let mut known = HashSet::new();
        let draws = (0..states * 10).map(|_| self.drawn(&mut rng));
        draws.filter(|state| known.insert(hash(&state.tree))).take(states).collect()
    }

    fn drawn(&self, rng: &mut Rng) -> State {
        let at = rng.below(self.ops.len() as u64 + 1) as usize;
        let mut sets = self.kept(at, rng);
        let kept = sets.swap_remove(rng.below(sets.len() as u64) as usize);
        let mut states = self.torn(at, &kept);
        states.swap_remove(rng.below(states.len() as u64) as usize)
    }

    /// The sets of changes of names that may have come to the disk until then.
    fn kept(&self, at: usize, rng: &mut Rng) -> Vec<HashSet<usize>> {
        let durable = self.durable(at);
        let done = self.namings.iter().take_while(|one| one.at <= at).count();
        let pending: Vec<usize> = (0..done).filter(|one| !durable.contains(one)).collect();
        let with = |wanted: &dyn Fn(usize) -> bool| {
            let mut kept = durable.clone();
            for &one in &pending {
                let Naming { after, inside, .. } = &self.namings[one];
                if wanted(one) && after.iter().chain(inside).all(|cause| kept.contains(cause)) {
                    kept.insert(one);
                }
            }
            kept
        };
        let (every, drawn) = subsets();
        if pending.len() <= every {
            let chosen =
                |subset: usize, one: usize| pending.iter().position(|&p| p == one).map(|bit| subset >> bit & 1);
            return (0..1 << pending.len()).map(|subset| with(&|one| chosen(subset, one) == Some(1))).collect();
        }
        let mut sets = vec![with(&|_| false), with(&|_| true)];
        for &only in &pending {
            let causes = self.causes(only);
            sets.push(with(&|one| causes.contains(&one)));
            sets.push(with(&|one| one != only));
        }
        for _ in 0..drawn {
            let chosen: HashSet<usize> = pending.iter().copied().filter(|_| rng.below(3) > 0).collect();
            sets.push(with(&|one| chosen.contains(&one)));
        }
        sets
    }

    /// The changes of names that are on the disk then, with those that they are effects of.
    fn durable(&self, at: usize) -> HashSet<usize> {
        let synced = |dir: usize, since: usize| self.nodes[dir].synced.iter().any(|&sync| since < sync && sync <= at);
        let mut durable = HashSet::new();
        for (index, one) in self.namings.iter().enumerate().rev() {
            if one.changes.iter().all(|((dir, _), _)| synced(*dir, one.at)) {
                durable.insert(index);
            }
            if durable.contains(&index) {
                durable.extend(&one.after);
            }
        }
        durable
    }

    fn causes(&self, of: usize) -> HashSet<usize> {
        let mut causes = HashSet::from([of]);
        for index in (0..=of).rev() {
            if causes.contains(&index) {
                causes.extend(self.namings[index].after.iter().chain(&self.namings[index].inside));
            }
        }
        causes
    }

    /// The states with these names: every file that is not synced may be torn.
    fn torn(&self, at: usize, kept: &HashSet<usize>) -> Vec<State> {
        let names = self.names(kept);
        let paths = self.paths(&names);
        let lost = self.namings.iter().enumerate().filter(|(index, one)| one.at <= at && !kept.contains(index));
        let lost: Vec<&str> = lost.map(|(_, one)| one.told.as_str()).collect();
        let after = if at == 0 { "before anything" } else { &self.ops[at - 1] };
        let told = format!("power cut after call {at}, {after}; lost: {lost:?}");
        let mut nodes: Vec<(usize, Vec<(&str, Version)>)> = Vec::new();
        for &node in paths.values() {
            if nodes.iter().all(|(known, _)| *known != node) {
                nodes.push((node, self.versions(node, at)));
            }
        }
        // Usually one file is in the making. Of several each is torn beside the whole others, and beside the old ones.
        let mut choices: Vec<Vec<usize>> = Vec::new();
        for others in [0, 1] {
            let rest: Vec<usize> = nodes.iter().map(|(_, versions)| others.min(versions.len() - 1)).collect();
            for (place, (_, versions)) in nodes.iter().enumerate() {
                let variants = 0..versions.len();
                choices.extend(variants.map(|variant| {
                    let mut choice = rest.clone();
                    choice[place] = variant;
                    choice
                }));
            }
        }
        choices.sort();
        choices.dedup();
        let state = |choice: Vec<usize>| {
            let chosen: HashMap<usize, &(&str, Version)> =
                nodes.iter().zip(&choice).map(|((node, versions), &which)| (*node, &versions[which])).collect();
            let left = |node: usize| self.left(node, chosen[&node].1.clone());
            let tree: BTreeMap<PathBuf, Left> = paths.iter().map(|(path, &node)| (path.clone(), left(node))).collect();
            let torn = paths.iter().filter(|(_, node)| !chosen[node].0.is_empty());
            let torn: Vec<String> =
                torn.map(|(path, node)| format!("{}: {}", path.display(), chosen[node].0)).collect();
            State { tree, told: format!("{told}; torn: {torn:?}") }
        };
        choices.into_iter().map(state).collect()
    }

    fn names(&self, kept: &HashSet<usize>) -> BTreeMap<Slot, usize> {
        let mut names = self.first.clone();
        for (index, one) in self.namings.iter().enumerate() {
            for (slot, node) in one.changes.iter().filter(|_| kept.contains(&index)) {
                match node {
                    Some(node) => names.insert(slot.clone(), *node),
                    None => names.remove(slot),
                };
            }
        }
        names
    }

    /// What a file may hold then: what was written last; what is durable; and what is in between.
    fn versions(&self, node: usize, at: usize) -> Vec<(&'static str, Version)> {
        let (now, safe) = self.nodes[node].at(at);
        let mut may = vec![("", now.clone())];
        if now.mode != safe.mode {
            may.push(("old mode", Version { mode: safe.mode, ..now.clone() }));
        }
        if now.bytes != safe.bytes {
            let (old, new) = (safe.bytes.len(), now.bytes.len());
            let zeros: Vec<u8> = now.bytes[..old].iter().copied().chain((old..new).map(|_| 0)).collect();
            may.push(("nothing", safe.clone()));
            may.push(("the beginning", Version { bytes: now.bytes[..old + (new - old) / 2].into(), ..now.clone() }));
            may.push(("zeros", Version { bytes: zeros.into(), ..now.clone() }));
        }
        may
    }

    fn left(&self, node: usize, version: Version) -> Left {
        Left { node, is_dir: self.nodes[node].is_dir, bytes: version.bytes, mode: version.mode }
    }

    fn paths(&self, names: &BTreeMap<Slot, usize>) -> BTreeMap<PathBuf, usize> {
        let mut paths = BTreeMap::from([(PathBuf::new(), ROOT)]);
        let mut todo = vec![(PathBuf::new(), ROOT)];
        while let Some((path, dir)) = todo.pop() {
            for ((_, name), &node) in names.range((dir, OsString::new())..(dir + 1, OsString::new())) {
                let below = path.join(name);
                if self.nodes[node].is_dir {
                    todo.push((below.clone(), node));
                }
                paths.insert(below, node);
            }
        }
        paths
    }
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
