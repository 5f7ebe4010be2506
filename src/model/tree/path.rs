//! The path from the last entry to its root, and what of it is in the context.

use super::{Code, Id, Judging};

/// What following the parents from the last entry to its root shows.
#[derive(Default)]
pub(in crate::model) struct Walk {
    pub(in crate::model) cycle: bool,
    pub(in crate::model) no_message: bool,
    pub(in crate::model) cut: bool,
    pub(in crate::model) last: Option<(Judging, u32)>,
    pub(in crate::model) findings: Vec<(Code, u32)>,
    /// The entry whose parent closes the cycle.
    pub(in crate::model) closed_by: Option<u32>,
    /// The entries on the path, one bit each.
    pub(super) visited: Vec<u64>,
    /// Those of them that the last compaction leaves in the context; `None`: all.
    context: Option<Vec<u64>>,
}

impl Walk {
    pub(super) fn holds(&self, index: u32) -> bool {
        bit(&self.visited, index)
    }

    /// Returns whether an entry is on the path, and a compaction has put its summary in the place of it.
    pub(in crate::model) fn is_summarised(&self, index: u32) -> bool {
        self.holds(index) && !self.is_in_context(index)
    }

    /// Returns whether an entry is in the context: on the path, and not replaced by the summary of a compaction.
    pub(in crate::model) fn is_in_context(&self, index: u32) -> bool {
        bit(self.context.as_ref().unwrap_or(&self.visited), index)
    }
}

/// What the last compaction of the path keeps, while the path is followed from its end.
#[derive(Default)]
pub(super) struct KeptFrom {
    /// The compaction, and the id from which on it keeps entries.
    last: Option<(u32, Option<u64>)>,
    found: bool,
}

impl KeptFrom {
    /// Takes a compaction of the path: the last one counts.
    pub(super) fn compaction(&mut self, index: u32, kept: Option<Id>, walk: &mut Walk) {
        if self.last.is_some() {
            return;
        }
        let wanted = if let Some(Id::Key(key)) = kept { Some(key) } else { None };
        self.last = Some((index, wanted));
        walk.context = Some(walk.visited.clone());
    }

    /// Takes the id of the next entry of the path.
    #[inline]
    pub(super) fn meet(&mut self, id: u64, walk: &mut Walk) {
        if let Some((_, Some(wanted))) = self.last
            && !self.found
            && id == wanted
        {
            self.found = true;
            walk.context = Some(walk.visited.clone());
        }
    }

    /// Returns the compaction when what it keeps is not on the path.
    pub(super) fn lost(&self) -> Option<u32> {
        self.last.filter(|_| !self.found).map(|(index, _)| index)
    }
}

pub(super) fn bit(bits: &[u64], index: u32) -> bool {
    bits.get(index as usize / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
}

pub(super) fn set(bits: &mut [u64], index: u32) {
    if let Some(word) = bits.get_mut(index as usize / 64) {
        *word |= 1 << (index % 64);
    }
}
