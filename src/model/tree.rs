//! A transcript's entries as the tree that `id` and `parentId` make of them, and the path that the loader walks in it
//! (`openclaw-format.md` §4.3, §4.5). Compact, since a transcript may have millions of lines.

use super::line::{Id, Judging, Role};
use super::transcript::Defect;

/// The entries as a tree: eight bytes of id and one of role for each, and a parent only where it is not simply the
/// entry before.
#[derive(Default)]
pub(super) struct Tree {
    ids: Vec<u64>,
    roles: Vec<RoleCode>,
    parents: Vec<(u32, Id)>,
    kept: Vec<(u32, Id)>,
    lines: Vec<(u32, u64)>,
    last_id: Id,
    /// Entries between this index and the one before it were not looked at.
    pub(super) gap: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum RoleCode {
    Judges(Judging),
    Plain,
    NoMessage,
    Compaction,
    Scalar,
}

/// What following the parents from the last entry to its root shows.
#[derive(Default)]
pub(super) struct Walk {
    pub(super) cycle: bool,
    pub(super) no_message: bool,
    pub(super) cut: bool,
    pub(super) last: Option<(Judging, u32)>,
    pub(super) findings: Vec<(Defect, u32)>,
}

impl Tree {
    pub(super) fn len(&self) -> u32 {
        self.ids.len() as u32
    }

    pub(super) fn has_ids(&self) -> bool {
        self.ids.iter().any(|&id| id != 0)
    }

    pub(super) fn push(&mut self, id: Id, parent: Id, role: Role, line: u64) {
        let index = self.len();
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
            Role::Scalar | Role::Array => RoleCode::Scalar,
            Role::Compaction(kept) => {
                self.kept.push((index, kept));
                RoleCode::Compaction
            }
        });
    }

    pub(super) fn line_of(&self, index: u32) -> u64 {
        let at = self.lines.partition_point(|&(first, _)| first <= index);
        self.lines.get(at.wrapping_sub(1)).map_or(0, |&(first, line)| line + u64::from(index - first))
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
            walk.findings.push((Defect::NoIdLast, last));
        }
        let mut visited = vec![0_u64; self.ids.len().div_ceil(64)];
        let mut kept: Option<Option<u64>> = None;
        let mut kept_found = true;
        // A leaf of `null` means before the first entry: the context is empty and nothing is walked.
        let mut next = (relinked || self.last_id != Id::Null).then_some(last);
        while let Some(current) = next {
            let (word, bit) = (current as usize / 64, current % 64);
            if visited[word] >> bit & 1 == 1 {
                walk.cycle = true;
                walk.findings.push((Defect::Cycle, current));
                break;
            }
            visited[word] |= 1 << bit;
            match self.roles[current as usize] {
                RoleCode::Judges(judging) => {
                    walk.last.get_or_insert((judging, current));
                }
                RoleCode::NoMessage => {
                    walk.no_message = true;
                    walk.findings.push((Defect::NoMessage, current));
                }
                // An array does not keep the id that it is given when it is written.
                RoleCode::Scalar if relinked => walk.cut = true,
                RoleCode::Compaction if kept.is_none() && !relinked => {
                    let wanted = match Self::at(&self.kept, current) {
                        Some(Id::Key(key)) => Some(key),
                        _ => None,
                    };
                    kept = Some(wanted);
                    kept_found = false;
                    walk.findings.push((Defect::UnknownKept, current));
                }
                _ => {}
            }
            if let Some(Some(wanted)) = kept {
                kept_found |= self.ids[current as usize] == wanted;
            }
            next = if relinked { current.checked_sub(1) } else { self.parent_of(current, &index, &mut walk) };
        }
        if walk.last.is_none() {
            // The path tells nothing: the last message of the file is the best there is.
            walk.last = (0..=last).rev().find_map(|index| match self.roles[index as usize] {
                RoleCode::Judges(judging) => Some((judging, index)),
                _ => None,
            });
        }
        if kept_found || self.gap.is_some() {
            walk.findings.retain(|(defect, _)| *defect != Defect::UnknownKept);
        } else if !walk.cycle {
            walk.cut = true;
        }
        walk
    }

    fn parent_of(&self, current: u32, index: &Index, walk: &mut Walk) -> Option<u32> {
        let key = match Self::at(&self.parents, current) {
            None => self.ids[current as usize - 1],
            Some(Id::Key(key)) => key,
            Some(Id::Undefined) if current > 0 => {
                walk.cut = true;
                walk.findings.push((Defect::MissingParent, current));
                return None;
            }
            Some(_) => return None,
        };
        let found = index.last_with(&self.ids, key);
        if found.is_none() && self.gap.is_none_or(|gap| current < gap) {
            walk.cut = true;
            walk.findings.push((Defect::DanglingParent, current));
        }
        found
    }
}

/// Entries by id; of equal ids the last counts.
struct Index {
    by_id: Vec<u32>,
}

impl Index {
    fn new(ids: &[u64]) -> Self {
        let mut by_id: Vec<u32> = (0..ids.len() as u32).filter(|&at| ids[at as usize] != 0).collect();
        by_id.sort_unstable_by_key(|&at| (ids[at as usize], at));
        Self { by_id }
    }

    fn last_with(&self, ids: &[u64], key: u64) -> Option<u32> {
        let end = self.by_id.partition_point(|&at| ids[at as usize] <= key);
        let candidate = *self.by_id.get(end.checked_sub(1)?)?;
        (ids[candidate as usize] == key).then_some(candidate)
    }
}
