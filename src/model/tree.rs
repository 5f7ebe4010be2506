//! A transcript's entries as the tree that `id` and `parentId` make of them, and the path that the loader walks in it
//! (`openclaw-format.md` §4.3, §4.5). Compact, since a transcript may have millions of lines.

use std::cell::{Cell, OnceCell};

use judged::Judged;
pub(super) use path::Walk;
use path::{KeptFrom, bit, set};
use serde::{Deserialize, Serialize};

use super::line::{Id, Judging, Misfit, Role};
use super::problem::Code;

mod judged;
mod packed;
mod path;

/// The entries as a tree: eight bytes of id and one of role for each, and a parent only where it is not simply the
/// entry before.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Tree {
    #[serde(with = "packed::ids")]
    ids: Vec<u64>,
    #[serde(with = "packed::roles")]
    roles: Vec<RoleCode>,
    parents: Vec<(u32, Id)>,
    kept: Vec<(u32, Id)>,
    lines: Vec<(u32, u64)>,
    /// Entries whose content cannot be sent.
    misfits: Vec<(u32, Misfit)>,
    /// The byte at which each entry's line begins, when somebody wants to know.
    #[serde(skip)]
    pub(super) starts: Option<Starts>,
    last_id: Id,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum RoleCode {
    Judges(Judging),
    Plain,
    NoMessage,
    Compaction,
    Scalar,
}

/// The byte at which each entry's line begins: four bytes for each, and where the four bytes began anew.
#[derive(Default)]
pub(super) struct Starts {
    low: Vec<u32>,
    high: Vec<(u32, u32)>,
}

impl Starts {
    fn push(&mut self, start: u64) {
        let high = (start >> 32) as u32;
        if self.high.last().is_none_or(|&(_, last)| last != high) {
            self.high.push((self.low.len() as u32, high));
        }
        self.low.push(start as u32);
    }

    fn get(&self, index: u32) -> Option<u64> {
        let low = *self.low.get(index as usize)?;
        let at = self.high.partition_point(|&(first, _)| first <= index);
        let (_, high) = self.high.get(at.checked_sub(1)?)?;
        Some(u64::from(*high) << 32 | u64::from(low))
    }
}

impl Tree {
    pub(super) fn len(&self) -> u32 {
        self.ids.len() as u32
    }

    pub(super) fn has_ids(&self) -> bool {
        self.ids.iter().any(|&id| id != 0)
    }

    pub(super) fn push(&mut self, id: Id, parent: Id, role: Role, line: u64, start: u64) {
        let index = self.len();
        if let Some(starts) = &mut self.starts {
            starts.push(start);
        }
        let follows = matches!((self.last_id, parent), (Id::Key(last), Id::Key(parent)) if last == parent);
        if !follows {
            self.parents.push((index, parent));
        }
        if self.lines.last().is_none_or(|&(at, first)| first + u64::from(index - at) != line) {
            self.lines.push((index, line));
        }
        self.ids.push(if let Id::Key(key) = id { key } else { 0 });
        self.last_id = id;
        self.roles.push(match role {
            Role::Judges(judging) => RoleCode::Judges(judging),
            Role::Plain => RoleCode::Plain,
            Role::NoMessage => RoleCode::NoMessage,
            Role::Scalar | Role::Array | Role::Foreign => RoleCode::Scalar,
            Role::Compaction(kept) => {
                self.kept.push((index, kept));
                RoleCode::Compaction
            }
        });
    }

    /// Notes that the content of the next entry cannot be sent.
    pub(super) fn note(&mut self, misfit: Misfit) {
        self.misfits.push((self.len(), misfit));
    }

    /// Returns the entries in the context whose content cannot be sent.
    pub(super) fn misfits(&self, walk: &Walk) -> impl Iterator<Item = (u32, Misfit)> {
        self.misfits.iter().copied().filter(|(index, _)| walk.is_in_context(*index))
    }

    pub(super) fn line_of(&self, index: u32) -> u64 {
        let at = self.lines.partition_point(|&(first, _)| first <= index);
        self.lines.get(at.wrapping_sub(1)).map_or(0, |&(first, line)| line + u64::from(index - first))
    }

    pub(super) fn start_of(&self, index: u32) -> Option<u64> {
        self.starts.as_ref()?.get(index)
    }

    fn at<T: Copy>(list: &[(u32, T)], index: u32) -> Option<T> {
        list.binary_search_by_key(&index, |&(at, _)| at).ok().map(|found| list[found].1)
    }

    /// Follows the loader from the last entry to the root. `relinked`: a version-1 file, made one chain first.
    pub(super) fn walk(&self, relinked: bool) -> Walk {
        let mut walk = Walk::default();
        let Some(last) = self.len().checked_sub(1) else { return walk };
        let index = Index::new(&self.ids);
        // Without an id there, the context is empty or the next append becomes a root of its own.
        if !relinked && !matches!(self.last_id, Id::Key(_)) {
            walk.cut = true;
            walk.findings.push((Code::NoIdLast, last));
        }
        walk.visited = vec![0_u64; self.ids.len().div_ceil(64)];
        let mut before = None;
        let mut judged = Judged::default();
        let mut kept = KeptFrom::default();
        // A leaf of `null` means before the first entry: the context is empty and nothing is walked.
        let mut next = (relinked || self.last_id != Id::Null).then_some(last);
        while let Some(current) = next {
            if walk.holds(current) {
                walk.cycle = true;
                walk.closed_by = before;
                walk.findings.push((Code::Cycle, before.unwrap_or(current)));
                break;
            }
            set(&mut walk.visited, current);
            let child = before.replace(current);
            match self.roles[current as usize] {
                RoleCode::Judges(judging) => judged.meet(judging, current, child),
                RoleCode::NoMessage => {
                    walk.no_message = true;
                    walk.findings.push((Code::NoMessage, current));
                }
                // An array does not keep the id that it is given when it is written.
                RoleCode::Scalar if relinked => walk.cut = true,
                RoleCode::Compaction => kept.compaction(current, Self::at(&self.kept, current), &mut walk),
                _ => {}
            }
            kept.meet(self.ids[current as usize], &mut walk);
            next = if relinked { current.checked_sub(1) } else { self.parent_of(current, &index, &mut walk) };
        }
        // When the path tells nothing, the last message of the file is the best there is.
        walk.last = judged.last.or_else(|| self.last_message());
        // A file of version 1 names what it keeps in another way.
        if let Some(compaction) = kept.lost().filter(|_| !relinked) {
            walk.findings.push((Code::UnknownKept, compaction));
            walk.cut |= !walk.cycle;
        }
        walk
    }

    /// Returns the tool results at the beginning of the context: what called them is not in it.
    pub(super) fn first_results(&self, walk: &Walk) -> impl Iterator<Item = u32> {
        let judging = |index: u32| match self.roles[index as usize] {
            RoleCode::Judges(judging) if judging != Judging::Reply && walk.is_in_context(index) => {
                Some((index, judging))
            }
            _ => None,
        };
        let messages = (0..self.len()).filter_map(judging);
        messages.take_while(|(_, judging)| *judging == Judging::ToolResult).map(|(index, _)| index)
    }

    /// Returns the last message of the file that tells how a run ended.
    fn last_message(&self) -> Option<(Judging, u32)> {
        (0..self.len()).rev().find_map(|index| match self.roles[index as usize] {
            RoleCode::Judges(judging) if judging != Judging::Reply => Some((judging, index)),
            _ => None,
        })
    }

    fn parent_of(&self, current: u32, index: &Index<'_>, walk: &mut Walk) -> Option<u32> {
        match self.edge(current, index) {
            Edge::To(parent) => Some(parent),
            Edge::Root => None,
            Edge::Broken(code) => {
                walk.cut = true;
                // An entry without id has no parent either.
                if !walk.findings.contains(&(Code::NoIdLast, current)) {
                    walk.findings.push((code, current));
                }
                None
            }
        }
    }

    /// Where the parent of an entry leads.
    fn edge(&self, current: u32, index: &Index<'_>) -> Edge {
        let key = match Self::at(&self.parents, current) {
            None => return index.named_by_next(current - 1).map_or(Edge::Broken(Code::DanglingParent), Edge::To),
            Some(Id::Key(key)) => key,
            Some(Id::Undefined) if current > 0 => return Edge::Broken(Code::MissingParent),
            Some(_) => return Edge::Root,
        };
        index.last_with(key).map_or(Edge::Broken(Code::DanglingParent), Edge::To)
    }

    /// What is not in the context: how many entries, the first of them, and the damage among them.
    pub(super) fn aside(&self, walk: &Walk) -> Aside {
        let index = Index::new(&self.ids);
        let mut aside = Aside::default();
        // A number for each chain that was followed: meeting its own number again is a cycle.
        let mut chains = vec![0_u32; self.ids.len()];
        let aside_of = |at: &u32| !walk.holds(*at) && self.roles[*at as usize] != RoleCode::Scalar;
        for start in (0..self.len()).filter(aside_of) {
            if index.hides(start) {
                aside.hidden.push(start);
            } else {
                aside.entries += 1;
                aside.first.get_or_insert(start);
            }
            if self.roles[start as usize] == RoleCode::NoMessage {
                aside.damage.push((start, "a message entry without message"));
            }
            match self.edge(start, &index) {
                Edge::Broken(Code::MissingParent) => aside.damage.push((start, "no parentId")),
                Edge::Broken(_) => aside.damage.push((start, "its parent does not exist")),
                _ => {}
            }
            let (chain, mut current) = (start + 1, start);
            while !walk.holds(current) && chains[current as usize] == 0 {
                chains[current as usize] = chain;
                let Edge::To(parent) = self.edge(current, &index) else { break };
                if chains[parent as usize] == chain {
                    aside.damage.push((current, "its parents lead back to it"));
                    break;
                }
                current = parent;
            }
        }
        aside.damage.sort_unstable();
        aside
    }

    /// The entry that `from` can hang on instead of closing a cycle: the nearest before it that its children do not
    /// shadow and that does not itself hang on it. `None`: it becomes a root.
    pub(super) fn before(&self, from: u32) -> Option<u32> {
        const TRIES: u32 = 64;
        let index = Index::new(&self.ids);
        let hangs_on = |start: u32| {
            let mut seen = vec![0_u64; self.ids.len().div_ceil(64)];
            let mut current = start;
            while current != from && !bit(&seen, current) {
                set(&mut seen, current);
                match self.edge(current, &index) {
                    Edge::To(parent) => current = parent,
                    _ => return false,
                }
            }
            true
        };
        (from.saturating_sub(TRIES)..from).rev().find(|&at| {
            let id = self.ids[at as usize];
            id != 0 && !index.hides(at) && !hangs_on(at)
        })
    }

    /// Returns whether no two entries share the id of an entry without message, so that its children are known.
    pub(super) fn messageless_are_unique(&self) -> bool {
        let index = Index::new(&self.ids);
        let messageless = (0..self.len()).filter(|&at| self.roles[at as usize] == RoleCode::NoMessage);
        messageless.map(|at| self.ids[at as usize]).all(|id| !index.is_repeated(id))
    }
}

/// Where a parent leads.
enum Edge {
    /// To this entry.
    To(u32),
    /// Nowhere, as is right for a root.
    Root,
    /// Nowhere, though it should.
    Broken(Code),
}

/// Entries that are not on the path.
#[derive(Default)]
pub(super) struct Aside {
    /// How many there are, the hidden ones left out.
    pub(super) entries: u64,
    pub(super) first: Option<u32>,
    /// Those that a later entry with the same id hides.
    pub(super) hidden: Vec<u32>,
    pub(super) damage: Vec<(u32, &'static str)>,
}

/// Entries by id; of equal ids the last counts.
struct Index<'a> {
    ids: &'a [u64],
    /// The ids that more than one entry has, in order.
    repeated: Vec<u64>,
    /// How many entries were looked for one by one.
    looked: Cell<u32>,
    /// The entries in the order of their ids, once it is worth it: most transcripts are one chain.
    by_id: OnceCell<Vec<u32>>,
}

impl<'a> Index<'a> {
    /// So many entries are looked for without an order.
    const FEW: u32 = 16;

    fn new(ids: &'a [u64]) -> Self {
        let mut sorted: Vec<u64> = ids.iter().copied().filter(|&id| id != 0).collect();
        sorted.sort_unstable();
        let mut repeated: Vec<u64> = sorted.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
        repeated.dedup();
        Self { ids, repeated, looked: Cell::new(0), by_id: OnceCell::new() }
    }

    fn is_repeated(&self, id: u64) -> bool {
        self.repeated.binary_search(&id).is_ok()
    }

    /// Returns whether a later entry has the same id.
    fn hides(&self, index: u32) -> bool {
        let id = self.ids[index as usize];
        self.is_repeated(id) && self.last_with(id) != Some(index)
    }

    /// The entry that the parent of the entry behind `index` means, when that is the id of this one.
    fn named_by_next(&self, index: u32) -> Option<u32> {
        let id = self.ids[index as usize];
        if self.is_repeated(id) { self.last_with(id) } else { Some(index) }
    }

    fn last_with(&self, key: u64) -> Option<u32> {
        let ids = self.ids;
        let looked = self.looked.replace(self.looked.get().saturating_add(1));
        if looked < Self::FEW {
            return ids.iter().rposition(|&id| id == key).map(|at| at as u32);
        }
        let by_id = self.by_id.get_or_init(|| {
            let mut by_id: Vec<u32> = (0..ids.len() as u32).filter(|&at| ids[at as usize] != 0).collect();
            by_id.sort_unstable_by_key(|&at| (ids[at as usize], at));
            by_id
        });
        let end = by_id.partition_point(|&at| ids[at as usize] <= key);
        let candidate = *by_id.get(end.checked_sub(1)?)?;
        (ids[candidate as usize] == key).then_some(candidate)
    }
}
