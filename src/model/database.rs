//! An agent's database, when its sessions live there (`openclaw-format.md` §8, §14): what is known of it as values.

use std::collections::HashSet;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use chrono::DateTime;

use super::entry::{self, Clock, Entry};
use super::json::Scanner;
use super::proof::{DirId, sha256};
use super::row::{self, RowDamage, RowEntry};

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
    /// The entry. Its text is not kept: that of all entries takes more memory than all else that is read.
    pub entry: RowText,
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

/// An entry in a row, as far as it is needed when its text is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowText {
    /// The fields that decide.
    pub entry: Entry,
    /// The fields that matter in rows only.
    pub more: RowEntry,
    /// Bytes.
    pub bytes: u64,
    /// SHA-256 of the bytes, in hex.
    pub sha256: String,
    /// It is `{}`: no entry at all.
    pub is_empty: bool,
    /// The largest fields of one that is huge, with their bytes.
    pub largest: Vec<(String, usize)>,
}

impl RowText {
    /// Reads an entry. One that is not JSON is no object.
    pub fn read(text: &[u8]) -> Self {
        let mut scanner = Scanner::new(text);
        let whole = entry::scan(&mut scanner, text).and_then(|(_, entry)| scanner.end().map(|()| entry));
        let entry = whole.unwrap_or_else(|_| Entry { not_an_object: true, ..Entry::default() });
        Self {
            more: if entry.not_an_object { RowEntry::default() } else { row::read_entry(text).unwrap_or_default() },
            bytes: text.len() as u64,
            sha256: sha256(text),
            is_empty: text.trim_ascii() == b"{}",
            largest: entry::largest_if_huge(text),
            entry,
        }
    }
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
    /// Returns the entry, with what the columns say where it says nothing. The session is always that of the column, and
    /// no file.
    pub fn complete(&self) -> Entry {
        let mut entry = self.entry.entry.clone();
        let time = |millis| DateTime::from_timestamp_millis(millis).map_or(Clock::Unusable, Clock::At);
        entry.updated_at = entry.updated_at.or_else(|| self.updated_at.map(time));
        entry.status = entry.status.take().or_else(|| self.status.clone());
        entry.archived |= self.archived;
        entry.session_id = self.session_id.clone().or(entry.session_id.take());
        entry.session_file = None;
        entry
    }
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

    #[test]
    fn columns_say_what_an_entry_does_not() {
        let node = |entry: &str| Node {
            entry: RowText::read(entry.as_bytes()),
            session_id: Some("of-column".to_owned()),
            updated_at: Some(1_795_384_800_000),
            ..Node::default()
        };
        let good = node(r#"{"sessionId":"x","sessionFile":"../y","spawnDepth":1}"#);
        let entry = good.complete();
        assert_eq!((entry.session_id.as_deref(), &entry.session_file), (Some("of-column"), &None));
        assert!(matches!(entry.updated_at, Some(Clock::At(_))));
        assert!(good.entry.more.spawned && !good.entry.is_empty);
        assert!(node(" {}\n").entry.is_empty);
        for broken in ["{broken", "", "null", "[]", "{} x", r#"{"a":1}{}"#] {
            let node = node(broken);
            assert!(node.entry.entry.not_an_object && !node.entry.is_empty, "{broken}");
        }
    }

    #[test]
    fn keys_of_both_are_compared() {
        let keys = |keys: &[&str]| keys.iter().map(|&key| key.to_owned()).collect::<Vec<String>>();
        let mixed = Mixed::of(&keys(&["a", "b"]), &keys(&["b", "c"]));
        assert_eq!((mixed.in_file, mixed.only_in_file, mixed.only_in_rows), (2, keys(&["a"]), keys(&["c"])));
    }
}
