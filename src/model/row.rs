//! A binding in SQLite: what its rows say besides the entry (`docs/sqlite.md`).

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::problem::Code;

mod entry;

pub use entry::{RowEntry, read_entry};

/// What the rows of a key say besides its entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionRow {
    /// Whether it is a session, a placeholder, or neither.
    pub standing: Standing,
    /// Fields of the entry that matter in rows only.
    pub more: RowEntry,
    /// SHA-256 of the entry's bytes, in hex.
    pub entry_sha256: String,
    /// The largest fields of an entry that is huge, with their bytes.
    pub largest: Vec<(String, usize)>,
    /// The marks by which a change of the rows is noticed.
    pub marks: RowMarks,
    /// Windows of the key that are not its current one, newest first.
    pub windows: Vec<Window>,
    /// Messages that were accepted and not yet run.
    pub queued: u64,
    /// Messages that were accepted, and were interrupted or cancelled: OpenClaw never runs them.
    pub stuck: u64,
    /// Its events were moved to OpenClaw's cold storage.
    pub cold: bool,
    /// Traces of its runs.
    pub traces: Traces,
    /// A `reset` event stands behind its last message: what comes before is another conversation.
    pub reset_since: bool,
    /// The column `status`, by which a start resumes it.
    pub status: Option<String>,
    /// What is wrong with its rows.
    pub damage: Vec<RowDamage>,
}

impl SessionRow {
    /// Returns whether a start of OpenClaw resumes its run.
    pub fn is_resumed(&self) -> bool {
        let RowEntry { tombstone, review, initializing, spawned, archived, .. } = self.more;
        self.status.as_deref() == Some("running")
            && !(tombstone || review || initializing || spawned || archived)
            && self.standing == Standing::Session
    }
}

/// Whether the row of a key is a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// A session with an entry.
    #[default]
    Session,
    /// No entry, and its own history: OpenClaw keeps it and lists it nowhere.
    Placeholder,
    /// No entry, and no window of its own: the window is that of this key, or gone.
    Alias(Option<String>),
}

/// The marks by which a change of rows is noticed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RowMarks {
    /// The session that the key points to.
    pub session_id: String,
    /// The column `updated_at`, epoch milliseconds.
    pub updated_at: Option<i64>,
    /// The column `entry_valid`.
    pub valid: i64,
    /// Windows of the key.
    pub windows: u64,
    /// Events of these windows.
    pub events: u64,
    /// The sum of their last numbers.
    pub last: i64,
    /// Rows of traces.
    pub traces: u64,
}

/// A window: one generation of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Its session.
    pub session_id: String,
    /// Events in it.
    pub events: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// When it was last written.
    pub updated_at: Option<DateTime<Utc>>,
    /// An entry names it.
    pub named: bool,
    /// Something of it waits: an accepted message, or cold storage.
    pub held: bool,
}

/// The traces of a session's runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// Rows.
    pub rows: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// When each was written, epoch milliseconds, with its bytes; oldest first, one a row; empty when nobody asked
    /// for it.
    pub times: Vec<(i64, u64)>,
}

impl Traces {
    /// Returns how many were written before a time, and their bytes.
    pub fn before(&self, time: DateTime<Utc>) -> (u64, u64) {
        let limit = time.timestamp_millis();
        let old = self.times.iter().filter(|(at, _)| *at < limit);
        old.fold((0, 0), |(rows, all), (_, bytes)| (rows + 1, all + bytes))
    }
}

/// One thing that is wrong with the rows of a key or of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum RowDamage {
    /// The entry is not JSON, or no object.
    EntryUnreadable,
    /// The entry is good, and is not marked so, or columns differ from it.
    EntryDiffers {
        /// The columns that differ; empty when only the mark does.
        columns: Vec<String>,
    },
    /// A node without entry whose window is another key's, or gone.
    Alias {
        /// The key that the window belongs to.
        of: Option<String>,
    },
    /// An event is not JSON, or cannot be unpacked.
    TornEvent {
        /// Its session.
        session_id: String,
        /// Its number.
        seq: i64,
    },
    /// The first event of a session is no header.
    NoHeader {
        /// The session.
        session_id: String,
    },
    /// The projections of a session are behind its events.
    Behind {
        /// The session.
        session_id: String,
    },
    /// Rows whose node or window is gone.
    Orphaned {
        /// By what they belong to somebody.
        by: OwnedBy,
        /// The key or the session.
        name: String,
        /// How many there are.
        rows: u64,
    },
}

impl RowDamage {
    /// Returns the code of the problem that it is.
    pub const fn code(&self) -> Code {
        match self {
            Self::EntryUnreadable => Code::EntryUnreadable,
            Self::EntryDiffers { .. } => Code::EntryDiffers,
            Self::Alias { .. } => Code::AliasPlaceholder,
            Self::TornEvent { .. } => Code::TornEvent,
            Self::NoHeader { .. } => Code::WindowNoHeader,
            Self::Behind { .. } => Code::ProjectionBehind,
            Self::Orphaned { .. } => Code::RowsOrphaned,
        }
    }
}

/// What is changed of the rows of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum RowChange {
    /// The node leaves, with its windows and all their rows.
    TakeOut,
    /// A window that is not the current one leaves.
    TakeWindow {
        /// Its session.
        session_id: String,
    },
    /// Traces leave that were written before a time.
    TakeTraces {
        /// The time.
        before: DateTime<Utc>,
    },
    /// The run that was cut off is marked as failed.
    Settle,
    /// The session gets OpenClaw's mark of what is archived.
    Archive,
    /// What is wrong is put right.
    Mend {
        /// What is wrong.
        damage: RowDamage,
    },
}

/// The column by which rows belong to somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OwnedBy {
    /// `session_key`.
    Key,
    /// `session_id`.
    Session,
    /// The number of an event that is gone, in a session that is there.
    Event,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn traces_are_counted_by_age() {
        let traces = Traces { rows: 2, bytes: 30, times: vec![(1000, 10), (2000, 20)] };
        assert_eq!(traces.before(DateTime::from_timestamp_millis(2000).unwrap()), (1, 10));
    }
}
