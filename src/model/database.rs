//! An agent's database, when its sessions live there (`openclaw-format.md` §8, §14): what is known of it as values.

use std::collections::HashSet;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use chrono::DateTime;

use super::entry::{Clock, Entry};
use super::json;
use super::proof::DirId;
use super::row::RowDamage;

/// The first schema version of an agent database that holds sessions.
pub const FIRST_WITH_SESSIONS: u32 = 4;

/// How the sentence begins that says where sessions live.
pub const LIVE_IN: &str = "its sessions live in ";

/// The newest schema version whose tables are known.
pub const NEWEST_KNOWN: u32 = 23;

/// An agent's database with its sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Database {
    /// The file.
    pub path: PathBuf,
    /// Its schema version.
    pub schema: u32,
    /// The release of OpenClaw that wrote it last, as it says.
    pub app_version: Option<String>,
    /// Bytes of the file and its `-wal`.
    pub bytes: u64,
    /// Set when there is a store file too.
    pub mixed: Option<Mixed>,
    /// Why its rows were not read, when they were not.
    pub unread: Option<String>,
    /// Its directory.
    pub dir: Option<DirId>,
    /// The sign of a newer release, or of damage, because of which nothing of it is changed.
    pub strange: Option<Unfit>,
    /// Rows without an owner: a person deleted with foreign keys off.
    pub orphans: Vec<RowDamage>,
    /// Keys that OpenClaw's own state knows and that no row has, with the session of each.
    pub elsewhere: Vec<(String, String)>,
    /// How its bytes are used.
    pub census: RowCensus,
}

/// Why nothing of a database is changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Unfit {
    /// Its schema version is not one that is known, or header and table disagree.
    Schema(u32),
    /// A table or a trigger that is not known; in words.
    Shape(String),
    /// A trigger is gone that OpenClaw needs; which.
    Incomplete(String),
    /// Its pages are damaged, in SQLite's words.
    Pages(String),
    /// There is a store file too.
    Mixed,
    /// Its rows were not read; why.
    Unread(String),
}

impl Unfit {
    /// Returns the stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Schema(_) => "schema-unknown",
            Self::Shape(_) => "shape-unknown",
            Self::Incomplete(_) => "schema-incomplete",
            Self::Pages(_) => "pages-damaged",
            Self::Mixed => "store-mixed",
            Self::Unread(_) => "rows-unread",
        }
    }
}

/// How the bytes of a database are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RowCensus {
    /// Bytes of the file and its log.
    pub bytes: u64,
    /// Bytes of entries and events.
    pub sessions: u64,
    /// Bytes of traces.
    pub traces: u64,
    /// Bytes of the text that is kept for searching.
    pub search: u64,
    /// Bytes of transcripts that OpenClaw archived in the database.
    pub archives: u64,
    /// Bytes of pages that hold nothing.
    pub free: u64,
}

impl Database {
    /// Returns whether its tables are those that are known.
    pub const fn is_known(&self) -> bool {
        self.schema <= NEWEST_KNOWN
    }

    /// Returns why nothing of it may be changed.
    pub fn unfit(&self) -> Option<Unfit> {
        if self.mixed.is_some() {
            return Some(Unfit::Mixed);
        }
        self.strange.clone().or_else(|| self.unread.clone().map(Unfit::Unread))
    }
}

/// A store file beside rows: an import that failed or was refused, or a new release on a state that was never imported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mixed {
    /// Bindings in the store file.
    pub in_file: usize,
    /// Keys that only the store file has.
    pub only_in_file: Vec<String>,
    /// Keys that only the rows have.
    pub only_in_rows: Vec<String>,
    /// Keys of which the file has something that the rows do not have, with what that is.
    pub more_in_file: Vec<(String, MoreInFile)>,
    /// Why the store file's keys are not known, when they are not.
    pub unread: Option<String>,
}

/// What a store file has of a key that the rows do not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoreInFile {
    /// The key.
    Key,
    /// An entry without a session, which no import accepts.
    NoSession,
    /// A newer entry.
    Newer,
}

impl Mixed {
    /// Compares the keys of both.
    pub fn of(file: &[String], rows: &[String]) -> Self {
        let (in_file, in_rows): (HashSet<&String>, HashSet<&String>) = (file.iter().collect(), rows.iter().collect());
        let only = |keys: &[String], others: &HashSet<&String>| {
            keys.iter().filter(|key| !others.contains(key)).cloned().collect()
        };
        Self {
            in_file: in_file.len(),
            only_in_file: only(file, &in_rows),
            only_in_rows: only(rows, &in_file),
            more_in_file: Vec::new(),
            unread: None,
        }
    }
}

/// A binding as a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// The key.
    pub key: String,
    /// The session it points to.
    pub session_id: Option<String>,
    /// The entry.
    pub entry: Vec<u8>,
    /// When it was updated, epoch milliseconds.
    pub updated_at: Option<i64>,
    /// How its run stands.
    pub status: Option<String>,
    /// Archived by a person, or by the import.
    pub archived: bool,
    /// The column `entry_valid`; 1 where there is no such column.
    pub valid: i64,
    /// The column `parent_session_key`.
    pub parent: Option<String>,
    /// The column `spawned_by`.
    pub spawned_by: Option<String>,
}

/// Columns of a node and the members of the entry that they are copies of.
pub const COPIES: [(&str, &[&str]); 12] = [
    ("status", &["status"]),
    ("label", &["label"]),
    ("display_name", &["displayName"]),
    ("category", &["category"]),
    ("icon", &["icon"]),
    ("pinned_at", &["pinnedAt"]),
    ("archived_at", &["archivedAt"]),
    ("last_interaction_at", &["lastInteractionAt"]),
    ("last_activity_at", &["lastActivityAt"]),
    ("last_read_at", &["lastReadAt"]),
    ("parent_session_key", &["parentSessionKey", "spawnedBy"]),
    ("spawned_by", &["spawnedBy"]),
];

impl Node {
    /// What the columns say where the entry says nothing. The session is always that of the column, and no file.
    pub fn complete(&self, entry: &mut Entry) {
        let time = |millis| DateTime::from_timestamp_millis(millis).map_or(Clock::Unusable, Clock::At);
        entry.updated_at = entry.updated_at.or_else(|| self.updated_at.map(time));
        entry.status = entry.status.take().or_else(|| self.status.clone());
        entry.archived |= self.archived;
        entry.session_id = self.session_id.clone().or(entry.session_id.take());
        entry.session_file = None;
    }
}

/// The rows as the text of a store: what reads a store file reads them too. An entry that is not JSON becomes `null`.
pub fn as_store(nodes: &[Node]) -> Vec<u8> {
    let mut text = b"{".to_vec();
    for (at, node) in nodes.iter().enumerate() {
        text.extend_from_slice(if at == 0 { b"\n  " } else { b",\n  " });
        text.extend_from_slice(serde_json::to_string(&node.key).unwrap_or_default().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(if json::check(&node.entry).is_ok() { &node.entry } else { b"null" });
    }
    text.extend_from_slice(b"\n}");
    text
}

/// How many events a session has, and their bytes, one more for each: what a file of them would have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowCount {
    /// Events.
    pub events: u64,
    /// Bytes.
    pub bytes: u64,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::model::store;

    #[test]
    fn rows_read_like_a_store() {
        let node = |key: &str, entry: &str| Node {
            key: key.to_owned(),
            entry: entry.into(),
            session_id: Some("of-column".to_owned()),
            updated_at: Some(1_795_384_800_000),
            ..Node::default()
        };
        let nodes = [node("a\"\n", r#"{"sessionId":"x","sessionFile":"../y"}"#), node("b", "{broken")];
        let text = as_store(&nodes);
        let (document, mut entries) = store::read_entries(&text).unwrap();
        assert_eq!(document.effective(&text)[0].key, "a\"\n");
        assert!(entries[1].not_an_object);
        nodes[0].complete(&mut entries[0]);
        assert_eq!((entries[0].session_id.as_deref(), &entries[0].session_file), (Some("of-column"), &None));
        assert!(matches!(entries[0].updated_at, Some(Clock::At(_))));
    }

    #[test]
    fn keys_of_both_are_compared() {
        let keys = |keys: &[&str]| keys.iter().map(|&key| key.to_owned()).collect::<Vec<String>>();
        let mixed = Mixed::of(&keys(&["a", "b"]), &keys(&["b", "c"]));
        assert_eq!((mixed.in_file, mixed.only_in_file, mixed.only_in_rows), (2, keys(&["a"]), keys(&["c"])));
    }
}
