//! The manifest of a run: what it did, or is about to do, precisely enough to complete, revert or undo it.

use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::change::history::{self, Census};
use crate::decide::plan::Totals;
use crate::decide::verdict::{Action, Reason};
use crate::model::json::Span;
use crate::model::key::Class;
use crate::model::problem::Code;
use crate::model::proof::DirId;
use crate::model::proof::Stamp;

/// The schema of manifests.
pub const SCHEMA: &str = "claw-sessions/manifest/v1";

/// What a run did, or is about to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// [`SCHEMA`].
    pub schema: String,
    /// The run's id.
    pub id: String,
    /// `gc` or `restore`.
    pub command: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub finished_at: Option<DateTime<Utc>>,
    /// The time at which ages were judged.
    pub now: DateTime<Utc>,
    /// The state directory it was made in, links resolved. Read from another place, the paths below follow it there.
    pub state_dir: PathBuf,
    /// It was read in another place than it was made in: paths outside the state directory are another's now.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub moved: bool,
    /// The process, by which its temporary files are known.
    pub pid: u32,
    /// Stores that may refer to what it moves, and, of a restore, mended files: beside each it may leave a temporary file
    /// or a lock.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub touches: Vec<PathBuf>,
    /// How far it came.
    pub state: RunState,
    /// The run that a restore brings back.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub of: Option<String>,
    /// The keys that a restore brings back; all when empty.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub keys: Vec<String>,
    /// Whether a restore gives new names to what would collide.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub as_new: bool,
    /// Whether a restore brings back only what the startup budget deferred.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub deferred: bool,
    /// Files that are mended.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub mends: Vec<MendRecord>,
    /// Transcripts of the manual recipe that get their names back.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub renames: Vec<RenameRecord>,
    /// Stores that are rewritten.
    pub stores: Vec<StoreRecord>,
    /// Files that are moved.
    pub moves: Vec<MoveRecord>,
    /// Files that were deleted on request.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub purged: Vec<PathBuf>,
    /// How much there was when it began; only of a gc, which looks at everything.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub before: Option<Census>,
    /// What was done.
    #[serde(default)]
    pub totals: Totals,
    /// What could not be done.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub problems: Vec<String>,
}

impl Manifest {
    /// Follows a state directory that was copied or moved: what it says of files below the old place is meant of those
    /// below the new one. Otherwise a restore in a copy would write to the original.
    pub fn follow(&mut self, state_dir: &Path) {
        if self.state_dir == state_dir {
            return;
        }
        let old = std::mem::replace(&mut self.state_dir, state_dir.to_owned());
        self.moved = true;
        let follow = |path: &mut PathBuf| {
            if let Ok(below) = path.strip_prefix(&old) {
                *path = state_dir.join(below);
            }
        };
        self.touches.iter_mut().for_each(follow);
        self.purged.iter_mut().for_each(follow);
        self.moves.iter_mut().for_each(|record| follow(&mut record.from));
        self.mends.iter_mut().for_each(|record| follow(&mut record.path));
        self.renames.iter_mut().flat_map(|record| [&mut record.from, &mut record.to]).for_each(follow);
        for record in &mut self.stores {
            follow(&mut record.path);
            record.entries.iter_mut().filter_map(|entry| entry.file.as_mut()).for_each(follow);
        }
    }

    /// One line of `history.jsonl`.
    pub(crate) fn history_line(&self) -> history::Line {
        history::Line {
            run: self.id.clone(),
            command: self.command.clone(),
            started_at: self.started_at,
            finished_at: self.finished_at,
            now: self.now,
            totals: self.totals,
            problems: self.problems.len(),
            before: self.before,
        }
    }

    /// Whether a path is still the one that was meant.
    pub fn is_ours(&self, path: &Path) -> bool {
        !self.moved || path.starts_with(&self.state_dir)
    }

    /// Whether it ended longer ago than `age`.
    pub fn is_old(&self, now: DateTime<Utc>, age: TimeDelta) -> bool {
        self.state != RunState::Unfinished && now - self.finished_at.unwrap_or(self.started_at) >= age
    }

    /// The files that belong where they are, or are to leave with this run: their entries are in its archive, or it was
    /// cut off.
    pub fn awaited(&self) -> impl Iterator<Item = &PathBuf> {
        let entries = self.stores.iter().flat_map(|record| &record.entries).filter(|entry| entry.is_away());
        let planned = self.moves.iter().filter(|record| record.state == StepState::Planned);
        entries.filter_map(|entry| entry.file.as_ref()).chain(planned.map(|record| &record.from))
    }

    /// Whether it did nothing and only says what could not be done.
    pub fn is_note(&self) -> bool {
        self.stores.is_empty()
            && self.moves.is_empty()
            && self.mends.is_empty()
            && self.renames.is_empty()
            && self.purged.is_empty()
    }

    /// Whether it took bindings into quarantine that are still there.
    pub fn holds_quarantined(&self) -> bool {
        let mut entries = self.stores.iter().flat_map(|record| &record.entries);
        entries.any(|entry| entry.action == Action::Quarantine && entry.is_away())
    }
}

/// How far a run came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    /// It ended.
    Done,
    /// It was cut off; the next run completes or reverts it.
    Unfinished,
    /// All that it took was brought back.
    Restored,
    /// Some of it was brought back.
    PartlyRestored,
}

impl RunState {
    /// Its name in tables and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Unfinished => "unfinished",
            Self::Restored => "restored",
            Self::PartlyRestored => "partly-restored",
        }
    }
}

/// A store that is rewritten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreRecord {
    /// The agent of the store.
    pub agent: String,
    /// The store.
    pub path: PathBuf,
    /// Its directory.
    pub dir: DirId,
    /// How far it came.
    pub state: StepState,
    /// SHA-256 before.
    pub old_sha256: String,
    /// SHA-256 after.
    pub new_sha256: String,
    /// What was cut out, by the offsets of the old file.
    pub cuts: Vec<(usize, usize)>,
    /// The file, below the run's directory, that holds the cut bytes one after the other.
    pub removed: PathBuf,
    /// The bindings in it.
    pub entries: Vec<EntryRecord>,
}

impl StoreRecord {
    /// The cuts as spans.
    pub fn spans(&self) -> Vec<Span> {
        self.cuts.iter().map(|&(start, end)| Span { start, end }).collect()
    }
}

/// A binding that was taken out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
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
    /// The transcript it points to, when that went too.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub file: Option<PathBuf>,
    /// It was brought back.
    #[serde(default)]
    pub restored: bool,
    /// It was deleted for good, on request.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub purged: bool,
    /// It was deferred, and its key was bound anew since: it is not readmitted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub superseded: bool,
}

impl EntryRecord {
    /// Whether it is in the archive.
    pub fn is_away(&self) -> bool {
        !self.restored && !self.purged
    }

    /// Whether it waits to be readmitted.
    pub fn is_deferred(&self) -> bool {
        self.action == Action::Defer && self.is_away() && !self.superseded
    }
}

/// A file that is moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MoveRecord {
    /// Where it was.
    pub from: PathBuf,
    /// The directory it was in.
    pub dir: DirId,
    /// Where it went, below the run's directory.
    pub to: PathBuf,
    /// What it was.
    pub stamp: Stamp,
    /// Why it went.
    pub why: Reason,
    /// How far it came.
    pub state: StepState,
    /// It was brought back.
    #[serde(default)]
    pub restored: bool,
    /// It was deleted for good, on request.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub purged: bool,
}

impl MoveRecord {
    /// Whether it is in the archive.
    pub fn is_away(&self) -> bool {
        self.state == StepState::Done && !self.restored && !self.purged
    }
}

/// A file that is mended: it goes into the archive, and a new one takes its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MendRecord {
    /// The file.
    pub path: PathBuf,
    /// Where the original went, below the run's directory; absent when there was none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub to: Option<PathBuf>,
    /// What the original was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub old: Option<Stamp>,
    /// What took its place, once it was written.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub new: Option<Stamp>,
    /// SHA-256 of a store that took its place.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub store_sha256: Option<String>,
    /// Why.
    pub why: Reason,
    /// The problems that are mended.
    pub codes: Vec<Code>,
    /// The keys that point at it.
    pub keys: Vec<String>,
    /// How far it came.
    pub state: StepState,
    /// The original was brought back.
    #[serde(default)]
    pub restored: bool,
}

/// A file that gets another name in its directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RenameRecord {
    /// The agent of the store beside it.
    pub agent: String,
    /// The name it had.
    pub from: PathBuf,
    /// The name it gets.
    pub to: PathBuf,
    /// What it was.
    pub stamp: Stamp,
    /// How far it came.
    pub state: StepState,
    /// It has the old name again.
    #[serde(default)]
    pub restored: bool,
}

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
