//! Batches and steps: a change of one store, and of one file.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::decide::verdict::{Action, Reason};
use crate::model::ids::BindingId;
use crate::model::json::Span;
use crate::model::key::Class;
use crate::model::problem::Code;
use crate::model::proof::{DirId, Stamp};

/// How far one step came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepState {
    /// Not yet done, or not known to be.
    Planned,
    /// Done.
    Done,
    /// Not done, and not going to be.
    Skipped,
}

/// How something that was taken left the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Undone {
    /// It was brought back.
    Restored,
    /// It was deleted for good, on request.
    Purged,
}

/// Entries that leave one store at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Batch {
    /// The agent of the store.
    pub agent: String,
    /// The store.
    pub store: PathBuf,
    /// Its directory.
    pub dir: DirId,
    /// How far it came.
    pub state: StepState,
    /// SHA-256 before.
    pub old_sha256: String,
    /// SHA-256 after.
    pub new_sha256: String,
    /// The parts that were cut out, by the offsets of the old file.
    pub cuts: Vec<(usize, usize)>,
    /// The file, below the run's directory, that holds the cut bytes one after the other.
    pub removed: PathBuf,
    /// The entries.
    pub entries: Vec<EntryRecord>,
}

impl Batch {
    /// Returns the cuts as spans.
    pub fn spans(&self) -> Vec<Span> {
        self.cuts.iter().map(|&(start, end)| Span { start, end }).collect()
    }
}

/// An entry that was taken out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EntryRecord {
    /// The agent named in the key, else the store's.
    pub agent: String,
    /// The key.
    pub key: String,
    /// What the key names.
    pub class: Class,
    /// `expire`, `quarantine` or `defer`.
    pub action: Action,
    /// Why.
    pub reasons: Vec<Reason>,
    /// Where the raw key stands in the removed bytes.
    pub key_at: (usize, usize),
    /// Where the entry stands in the removed bytes.
    pub entry_at: (usize, usize),
    /// SHA-256 of the entry.
    pub entry_sha256: String,
    /// The session it points to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub session_id: Option<String>,
    /// When it was last active.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub active_at: Option<DateTime<Utc>>,
    /// The transcript it points to, when that was to follow.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub file: Option<PathBuf>,
    /// How it left the archive.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub undone: Option<Undone>,
    /// It was deferred, and its key was bound anew since: it is not readmitted.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub superseded: bool,
}

impl EntryRecord {
    /// Returns whether it is in the archive.
    pub fn is_away(&self) -> bool {
        self.undone.is_none()
    }

    /// Returns whether it waits to be readmitted.
    pub fn is_deferred(&self) -> bool {
        self.action == Action::Defer && self.is_away() && !self.superseded
    }

    /// Returns whether it is in quarantine.
    pub fn is_quarantined(&self) -> bool {
        self.action == Action::Quarantine && self.is_away()
    }

    /// Returns how many bytes it has.
    pub fn bytes(&self) -> u64 {
        self.entry_at.1.saturating_sub(self.entry_at.0) as u64
    }
}

/// A change of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Step {
    /// The agent of the store beside it.
    pub agent: String,
    /// The file.
    pub path: PathBuf,
    /// The sessions directory it is in, or below.
    pub dir: DirId,
    /// What it was; absent when there was no file.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub before: Option<Before>,
    /// What happens to it.
    pub change: Change,
    /// Why.
    pub why: Reason,
    /// How far it came.
    pub state: StepState,
    /// How it left the archive.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub undone: Option<Undone>,
}

/// A file as it was before it was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Before {
    /// Its marks.
    pub stamp: Stamp,
    /// SHA-256 of it, once it was read in the archive.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sha256: Option<String>,
}

/// What happens to a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Change {
    /// It goes into the archive.
    Archive {
        /// Where to, below the run's directory.
        to: PathBuf,
    },
    /// The lock of a dead process, which stood in the way of our own, goes into the archive.
    ClearLock {
        /// Where to, below the run's directory.
        to: PathBuf,
    },
    /// Another file takes its place.
    Replace {
        /// Where the original is kept, below the run's directory; absent when there was none.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        to: Option<PathBuf>,
        /// What takes its place.
        after: After,
        /// The problems that are mended.
        codes: Vec<Code>,
        /// The bindings that it is about.
        bindings: Vec<BindingId>,
    },
    /// It gets another name in its directory.
    Rename {
        /// The name, with its directory.
        to: PathBuf,
    },
    /// It is deleted for good, on request.
    Delete,
}

/// What takes the place of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum After {
    /// A mended transcript.
    Transcript {
        /// Its marks, once it was written.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        stamp: Option<Stamp>,
    },
    /// A store.
    Store {
        /// SHA-256 of it.
        sha256: String,
    },
}

impl Step {
    /// Returns where the archive holds it, below the run's directory.
    pub fn kept(&self) -> Option<&Path> {
        match &self.change {
            Change::Archive { to } | Change::ClearLock { to } => Some(to),
            Change::Replace { to, .. } => to.as_deref(),
            Change::Rename { .. } | Change::Delete => None,
        }
    }

    /// Returns whether it moves the file into the archive.
    pub fn is_move(&self) -> bool {
        matches!(self.change, Change::Archive { .. } | Change::ClearLock { .. })
    }

    /// Returns whether another file takes its place.
    pub fn is_replacement(&self) -> bool {
        matches!(self.change, Change::Replace { .. })
    }

    /// Returns whether it was made and not undone.
    pub fn stands(&self) -> bool {
        self.state == StepState::Done && self.undone.is_none()
    }

    /// Returns whether its file is in the archive, and nowhere else.
    pub fn is_away(&self) -> bool {
        self.is_move() && self.stands()
    }

    /// Returns how many bytes the file had.
    pub fn bytes(&self) -> u64 {
        self.before.as_ref().map_or(0, |before| before.stamp.size)
    }
}
