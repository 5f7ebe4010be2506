//! The keys under which conversations are bound again whose index was lost, each with its entry: as the newest backup of the
//! store has them, else under a key made of the session.

use std::collections::BTreeMap;

use super::entry;
use crate::change::stuck::transcript;
use crate::commands::Failure;
use crate::decide::lost::is_conversation;
use crate::disk::dir::Dir;
use crate::model::inventory::{Content, Inventory, LooseFile, Store};
use crate::model::store;
use crate::model::transcript::Summary;
use crate::openclaw::files::salvage::{self, Lost};

/// Returns the entries for every conversation beside a store that nothing binds. A damaged one that nothing mends is left.
pub(super) fn entries(inventory: &Inventory, store: &Store) -> Result<BTreeMap<String, String>, Failure> {
    let lost = of_backups(store)?;
    let mut entries = BTreeMap::new();
    let beside = inventory.files.iter().filter(|file| file.path.parent() == Some(store.dir()));
    for file in beside.filter(|file| is_conversation(inventory, file) && !file.held) {
        let Content::Read(summary) = &file.content else { continue };
        if summary.integrity.is_fatal() && summary.mends.is_none() {
            continue;
        }
        let named = lost.iter().filter(|one| transcript(&one.member.1).as_deref() == file.path.file_name());
        let known = entries.len();
        entries.extend(named.filter_map(|one| Some((one.key.clone(), String::from_utf8(one.member.1.clone()).ok()?))));
        if entries.len() == known {
            entries.insert(key(store, file, summary), entry(file, summary));
        }
    }
    entries.retain(|key, _| store.bindings.iter().all(|binding| binding.key != *key));
    Ok(entries)
}

/// The bindings that only backups of a store have.
fn of_backups(store: &Store) -> Result<Vec<Lost>, Failure> {
    let dir = Dir::open(store.dir())?;
    let backups = salvage::backups(&dir, store.path.file_name().unwrap_or_default())?;
    let text = if store.text.trim_ascii().is_empty() { b"{}" } else { &store.text[..] };
    let document = store::read(text).map_err(|_| anyhow::anyhow!("{} is no store", store.path.display()))?;
    Ok(salvage::lost(&document, text, &backups))
}

/// A key that no message leads to: OpenClaw lists the conversation under it.
fn key(store: &Store, file: &LooseFile, summary: &Summary) -> String {
    let stem = file.path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let of_header = summary.header_id.as_deref().filter(|id| stem == **id);
    format!("agent:{}:recovered:{}", store.agent, of_header.unwrap_or(&stem))
}
