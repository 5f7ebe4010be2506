//! Steps: a change of one file.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::decide::verdict::Reason;
use crate::model::ids::BindingId;
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
