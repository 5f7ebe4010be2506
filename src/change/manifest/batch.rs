//! Entries that leave a store file, or rows of a database that change, at once.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::step::{StepState, Undone};
use crate::decide::verdict::{Action, Reason};
use crate::model::json::Span;
use crate::model::key::Class;
use crate::model::proof::DirId;

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
    /// What was changed, and where the archive holds it.
    pub from: BatchSource,
    /// The entries.
    pub entries: Vec<EntryRecord>,
}

/// What a batch changed, and where the archive holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BatchSource {
    /// A store file.
    File(FileCuts),
    /// An agent's database.
    Rows(RowImages),
}

/// Parts that were cut out of a store file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileCuts {
    /// SHA-256 before.
    pub old_sha256: String,
    /// SHA-256 after.
    pub new_sha256: String,
    /// The parts, by the offsets of the old file.
    pub cuts: Vec<(usize, usize)>,
    /// The file, below the run's directory, that holds the cut bytes one after the other.
    pub removed: PathBuf,
}

impl FileCuts {
    /// Returns the cuts as spans.
    pub fn spans(&self) -> Vec<Span> {
        self.cuts.iter().map(|&(start, end)| Span { start, end }).collect()
    }
}

/// Rows of a database as they were, and as they became.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RowImages {
    /// The database.
    pub database: PathBuf,
    /// Its schema version.
    pub schema: u32,
    /// The file, below the run's directory, that holds the rows.
    pub kept: PathBuf,
    /// SHA-256 of that file.
    pub sha256: String,
    /// Rows in it.
    pub rows: u64,
}

impl Batch {
    /// Returns the file, below the run's directory, that holds what was taken.
    pub fn kept(&self) -> &Path {
        match &self.from {
            BatchSource::File(cuts) => &cuts.removed,
            BatchSource::Rows(images) => &images.kept,
        }
    }

    /// Returns what was cut out of a store file.
    pub fn cuts(&self) -> Option<&FileCuts> {
        match &self.from {
            BatchSource::File(cuts) => Some(cuts),
            BatchSource::Rows(_) => None,
        }
    }

    /// Returns the rows of a database that were changed.
    pub fn images(&self) -> Option<&RowImages> {
        match &self.from {
            BatchSource::Rows(images) => Some(images),
            BatchSource::File(_) => None,
        }
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
    /// What happened to it.
    pub action: Action,
    /// Why.
    pub reasons: Vec<Reason>,
    /// Where the archive holds it.
    pub part: ArchivePart,
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

/// Where the archive holds an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum ArchivePart {
    /// In the bytes that were cut out of a store file.
    Cut(CutPart),
    /// In the rows of a database.
    Unit {
        /// The number of the unit: what comes back together.
        unit: u32,
        /// Bytes of its rows.
        bytes: u64,
    },
}

/// A part of the bytes that were cut out of a store file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CutPart {
    /// Where the raw key stands in the removed bytes.
    pub key_at: (usize, usize),
    /// Where the entry stands in the removed bytes.
    pub entry_at: (usize, usize),
    /// SHA-256 of the entry.
    pub entry_sha256: String,
}

impl EntryRecord {
    /// Returns where it stands in the bytes that were cut out of a store file.
    pub fn cut(&self) -> Option<&CutPart> {
        match &self.part {
            ArchivePart::Cut(cut) => Some(cut),
            ArchivePart::Unit { .. } => None,
        }
    }

    /// Returns the unit of rows that it came with.
    pub fn unit(&self) -> Option<u32> {
        match self.part {
            ArchivePart::Unit { unit, .. } => Some(unit),
            ArchivePart::Cut(_) => None,
        }
    }

    /// Returns whether it is in the archive.
    pub fn is_away(&self) -> bool {
        self.undone.is_none()
    }

    /// Returns whether it waits to be readmitted.
    pub fn is_deferred(&self) -> bool {
        matches!(self.action, Action::Defer | Action::Settle) && self.is_away() && !self.superseded
    }

    /// Returns whether it is in quarantine.
    pub fn is_quarantined(&self) -> bool {
        self.action == Action::Quarantine && self.is_away()
    }

    /// Returns how many bytes it has.
    pub fn bytes(&self) -> u64 {
        match &self.part {
            ArchivePart::Cut(cut) => cut.entry_at.1.saturating_sub(cut.entry_at.0) as u64,
            ArchivePart::Unit { bytes, .. } => *bytes,
        }
    }
}
