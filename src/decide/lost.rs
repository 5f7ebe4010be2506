//! An index that was lost: a store that binds none, or far fewer, of the conversations that lie beside it. What lies there
//! is no litter: it is all that is left.

use std::collections::BTreeMap;
use std::path::Path;

use chrono::{DateTime, Utc};

use crate::model::inventory::{Binding, Content, Inventory, LooseFile, Store};
use crate::model::names::FileKind;

/// Transcripts beside a store that binds something are no litter from this many on.
const MANY: usize = 3;
/// A store that binds something has lost others when so many times as many lie beside it.
const TIMES: usize = 4;

/// A store, and what lies beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostIndex {
    /// Bindings of the stores in the directory.
    pub bound: usize,
    /// Conversations in it that nothing binds.
    pub unbound: usize,
}

/// Returns the directories whose index was lost.
pub fn lost_indices(inventory: &Inventory) -> BTreeMap<&Path, LostIndex> {
    let mut stores: BTreeMap<&Path, Vec<&Store>> = BTreeMap::new();
    for store in inventory.selected() {
        stores.entry(store.dir()).or_default().push(store);
    }
    let mut unbound: BTreeMap<&Path, Vec<&LooseFile>> = BTreeMap::new();
    for file in inventory.files.iter().filter(|file| is_conversation(inventory, file)) {
        unbound.entry(file.path.parent().unwrap_or(&file.path)).or_default().push(file);
    }
    let of = |(dir, unbound): (_, Vec<&LooseFile>)| {
        let stores = stores.get(dir).filter(|stores| stores.iter().all(|store| store.is_known()))?;
        Some((dir, lost(stores, &unbound)?))
    };
    unbound.into_iter().filter_map(of).collect()
}

fn lost(stores: &[&Store], unbound: &[&LooseFile]) -> Option<LostIndex> {
    let bindings = || stores.iter().flat_map(|store| &store.bindings);
    let found = LostIndex { bound: bindings().count(), unbound: unbound.len() };
    let far_fewer = found.unbound >= MANY && found.unbound >= TIMES * found.bound;
    let lost = match found.bound {
        0 => true,
        bound => far_fewer || (found.unbound >= MANY && found.unbound > bound && all_began_later(bindings(), unbound)),
    };
    lost.then_some(found)
}

/// Returns whether a loose file is a conversation that a store may have bound: not that of a cron job's run, nor one that a
/// run of ours still has to move.
pub fn is_conversation(inventory: &Inventory, file: &LooseFile) -> bool {
    let has_messages = matches!(&file.content, Content::Read(summary) if summary.ending.is_some());
    if file.kind != FileKind::Orphan || file.special || !has_messages {
        return false;
    }
    let name = file.path.file_stem().map(|stem| stem.to_string_lossy());
    let of_cron = name.is_some_and(|id| inventory.side.cron_session_ids.contains(&*id));
    !of_cron && inventory.awaited.as_ref().is_none_or(|files| !files.contains(&file.path))
}

/// Returns whether every binding began after the last line of every transcript: the index was made anew then.
fn all_began_later<'a>(mut bindings: impl Iterator<Item = &'a Binding>, unbound: &[&LooseFile]) -> bool {
    let Some(last) = unbound.iter().filter_map(|file| file.last_at()).max() else { return false };
    let began = |binding: &Binding| -> Option<DateTime<Utc>> {
        match &binding.transcript.content {
            Content::Read(summary) => summary.started_at.or(summary.first_at),
            _ => None,
        }
    };
    bindings.all(|binding| began(binding).is_some_and(|began| began > last))
}
