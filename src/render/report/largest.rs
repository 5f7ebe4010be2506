//! The sessions that take most room, and of a database how its bytes are used.

use std::cmp::Reverse;
use std::fmt::Write as _;

use indicatif::HumanBytes;
use schemars::JsonSchema;
use serde::Serialize;

use crate::render::escape::escape;
use crate::render::json::{BindingDocument, StoreDocument};
use crate::render::words::BOLD;

/// So many are named.
const NAMED: usize = 10;

/// A session and the room that it takes.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LargestDocument {
    /// Its agent.
    pub agent: String,
    /// Its key.
    pub key: String,
    /// Bytes of its transcript, its older windows and its entry.
    pub bytes: u64,
    /// Bytes of the traces of its runs.
    pub trace_bytes: u64,
}

/// Returns the sessions that take most room, the largest first.
pub fn of(bindings: &[BindingDocument]) -> Vec<LargestDocument> {
    let one = |binding: &BindingDocument| LargestDocument {
        agent: binding.agent.clone(),
        key: binding.key.clone(),
        bytes: binding.bytes + binding.entry_bytes,
        trace_bytes: binding.row.as_ref().map_or(0, |row| row.trace_bytes),
    };
    let mut all: Vec<LargestDocument> =
        bindings.iter().map(one).filter(|one| one.bytes + one.trace_bytes > 0).collect();
    all.sort_by_key(|one| Reverse(one.bytes + one.trace_bytes));
    all.truncate(NAMED);
    all
}

/// Says how the bytes of databases are used, and which sessions take most room.
pub(super) fn write(text: &mut String, stores: &[StoreDocument], largest: &[LargestDocument]) {
    for (agent, database) in stores.iter().filter_map(|store| Some((&store.agent, store.database.as_ref()?))) {
        let census = &database.census;
        let size = HumanBytes;
        let _ = writeln!(
            text,
            "\n{BOLD}Database{BOLD:#} of {}: {}, of it sessions {}, traces {}, search {}, archives {}, free {}",
            escape(agent),
            size(census.bytes),
            size(census.sessions),
            size(census.traces),
            size(census.search),
            size(census.archives),
            size(census.free)
        );
    }
    if stores.iter().all(|store| store.database.is_none()) {
        return;
    }
    for (at, one) in largest.iter().enumerate() {
        let lead = if at == 0 { "largest:" } else { "        " };
        let traces =
            if one.trace_bytes > 0 { format!(", traces {}", HumanBytes(one.trace_bytes)) } else { String::new() };
        let _ = writeln!(text, "  {lead} {} ({}{traces})", escape(&one.key), HumanBytes(one.bytes));
    }
}
