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
    let mut databases = stores.iter().filter_map(|store| Some((&store.agent, store.database.as_ref()?))).peekable();
    if databases.peek().is_none() {
        return;
    }
    let _ = writeln!(text, "\n{BOLD}Databases{BOLD:#}");
    for (agent, database) in databases {
        let census = &database.census;
        let parts = [
            ("sessions", census.sessions),
            ("traces", census.traces),
            ("search", census.search),
            ("archives", census.archives),
            ("free", census.free),
        ];
        let parts = parts.iter().filter(|(_, bytes)| *bytes > 0);
        let parts: Vec<_> = parts.map(|(name, bytes)| format!("{name} {}", HumanBytes(*bytes))).collect();
        let _ = writeln!(text, "  {}: {}, of it {}", escape(agent), HumanBytes(census.bytes), parts.join(", "));
    }
    let _ = writeln!(text, "\n{BOLD}Largest sessions{BOLD:#}");
    for one in largest {
        let traces =
            if one.trace_bytes > 0 { format!(", and traces {}", HumanBytes(one.trace_bytes)) } else { String::new() };
        let _ = writeln!(text, "  {}: {}{traces}", escape(&one.key), HumanBytes(one.bytes));
    }
}
