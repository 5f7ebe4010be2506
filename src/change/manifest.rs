//! The manifest of a run: what it did, or is about to do, precisely enough to complete, revert or undo it.
//!
//! A run changes stores by [`Batch`]es of entries and files by [`Step`]s. Both are recorded before they are made, so
//! [`settle`](super::settle) can tell after a crash which of them were, and [`undo`](super::undo) can take them back.

use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::change::history::{self, Census};
use crate::change::outcome::Left;
use crate::decide::plan::Totals;
use crate::model::ids::{BindingId, RunId};
use crate::model::problem::Code;

pub use batch::{ArchivePart, Batch, BatchSource, CutPart, EntryRecord, FileCuts, RowImages};
pub use step::{After, Before, Change, Step, StepState, Undone};

mod batch;
mod step;
mod whereabouts;

/// The schema of manifests.
pub const SCHEMA: &str = "claw-sessions/manifest/v2";

/// What a run did, or is about to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    /// [`SCHEMA`].
    pub schema: String,
    /// The run's id, which is the name of its directory.
    pub id: RunId,
    /// What kind of run it is.
    pub kind: RunKind,
    /// When it began, by the clock of that moment.
    pub started_at: DateTime<Utc>,
    /// The newest trace of time that was there when it began: a clock that stood behind is known by it.
    pub not_before: DateTime<Utc>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub finished_at: Option<DateTime<Utc>>,
    /// The time at which ages were judged.
    pub now: DateTime<Utc>,
    /// The state directory it was made in, links resolved. Read from another place, the paths below follow it there.
    pub state_dir: PathBuf,
    /// It was read in another place than it was made in: paths outside the state directory are another's now.
    #[serde(skip)]
    pub moved: bool,
    /// The processes that worked on it: a lock that one of them left is known by it.
    pub pids: Vec<u32>,
    /// Stores that may refer to what it moves: beside each it may leave a temporary file or a lock.
    pub stores: Vec<PathBuf>,
    /// How far it came.
    pub state: RunProgress,
    /// Entries that leave stores.
    pub batches: Vec<Batch>,
    /// Files that are moved, replaced, renamed or deleted.
    pub steps: Vec<Step>,
    /// How much there was when it began; only of a gc, which looks at everything.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub before: Option<Census>,
    /// What was done.
    pub totals: Totals,
    /// What could not be done.
    pub problems: Vec<Left>,
}

/// What kind of run it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunKind {
    /// Carries out a plan of gc.
    Gc,
    /// Takes sessions aside.
    Quarantine,
    /// Mends what has one exact answer.
    Repair,
    /// Binds a transcript again.
    Adopt,
    /// Undoes the manual recipe.
    StuckBak,
    /// Brings back what another run took.
    Restore(Asked),
    /// Changes nothing: says what could not be done.
    Note,
}

impl RunKind {
    /// Returns its name in tables and JSON.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Gc => "gc",
            Self::Quarantine => "quarantine",
            Self::Repair => "repair",
            Self::Adopt => "adopt",
            Self::StuckBak => "stuck-bak",
            Self::Restore(_) => "restore",
            Self::Note => "note",
        }
    }
}

/// What a restore was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Asked {
    /// The run that took it.
    pub of: RunId,
    /// The bindings; all that the run took when empty.
    pub bindings: Vec<BindingId>,
    /// Give new names to what would collide.
    pub as_new: bool,
    /// Only what the startup budget deferred.
    pub deferred: bool,
    /// What lies in the archive of a run whose manifest is lost.
    pub from_files: bool,
}

impl Asked {
    /// Asks for all that a run took.
    pub fn all(of: RunId) -> Self {
        Self { of, bindings: Vec::new(), as_new: false, deferred: false, from_files: false }
    }

    /// Returns whether all that the run took is asked for.
    pub fn is_all(&self) -> bool {
        self.bindings.is_empty() && !self.deferred
    }

    /// Returns whether a binding is asked for by its name.
    pub fn names(&self, store: &Path, key: &str) -> bool {
        self.bindings.is_empty() || self.bindings.iter().any(|one| one.store == store && one.key == key)
    }

    /// Returns whether an entry of this store is asked for.
    pub fn wants(&self, store: &Path, entry: &EntryRecord) -> bool {
        self.names(store, &entry.key) && (!self.deferred || entry.is_deferred())
    }
}

/// How far a run came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RunProgress {
    /// It ended.
    Done,
    /// It was cut off; the next run completes or reverts it.
    Unfinished,
    /// All that it took was brought back.
    Restored,
    /// Some of it was brought back.
    PartlyRestored,
}

impl RunProgress {
    /// Returns its name in tables and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Unfinished => "unfinished",
            Self::Restored => "restored",
            Self::PartlyRestored => "partly-restored",
        }
    }
}

impl Manifest {
    /// Returns its line of `history.jsonl`.
    pub(crate) fn history_line(&self) -> history::HistoryLine {
        history::HistoryLine {
            run: self.id.clone(),
            command: self.kind.as_str().to_owned(),
            started_at: self.started_at,
            finished_at: self.finished_at,
            now: self.now,
            totals: self.totals,
            problems: self.problems.len(),
            before: self.before,
        }
    }

    /// Returns when it ended: by its clock, or, where that stood behind, by the newest trace of time it met.
    pub fn ended(&self) -> DateTime<Utc> {
        self.finished_at.unwrap_or(self.started_at).max(self.not_before)
    }

    /// Returns whether it ended longer ago than `age`.
    pub fn is_old(&self, now: DateTime<Utc>, age: TimeDelta) -> bool {
        self.state != RunProgress::Unfinished && now - self.ended() >= age
    }

    /// Returns what was asked, of a restore.
    pub fn asked(&self) -> Option<&Asked> {
        match &self.kind {
            RunKind::Restore(asked) => Some(asked),
            _ => None,
        }
    }

    /// Returns the entries that left their stores.
    pub fn taken(&self) -> impl Iterator<Item = (&Batch, &EntryRecord)> {
        let batches = self.batches.iter().filter(|batch| batch.state == StepState::Done);
        batches.flat_map(|batch| batch.entries.iter().map(move |entry| (batch, entry)))
    }

    /// Returns the entries that it took or changed, and that did not come back.
    pub(crate) fn changed(&self) -> impl Iterator<Item = (&Batch, &EntryRecord)> {
        self.taken().filter(|(_, entry)| entry.undone != Some(Undone::Restored))
    }

    /// Returns the files that belong where they are, or are to leave with this run: their entries are in its archive,
    /// or it was cut off.
    pub fn awaited(&self) -> impl Iterator<Item = &PathBuf> {
        let entries = self.batches.iter().flat_map(|batch| &batch.entries).filter(|entry| entry.is_away());
        let planned = self.steps.iter().filter(|step| step.is_move() && step.state == StepState::Planned);
        entries.filter_map(|entry| entry.file.as_ref()).chain(planned.map(|step| &step.path))
    }

    /// Returns whether something of it can be brought back.
    pub fn is_restorable(&self) -> bool {
        self.asked().is_none()
            && (self.taken().any(|(_, entry)| entry.is_away())
                || self.steps.iter().any(|step| step.stands() && step.change != Change::Delete))
    }

    /// Returns whether the archive holds something that a person set aside, or that waits to be readmitted.
    pub fn holds_what_waits(&self) -> bool {
        let mut entries = self.batches.iter().flat_map(|batch| &batch.entries);
        entries.any(|entry| entry.is_quarantined() || entry.is_deferred())
    }

    /// Returns whether it took sessions into quarantine that are still there.
    pub fn holds_quarantined(&self) -> bool {
        self.batches.iter().flat_map(|batch| &batch.entries).any(EntryRecord::is_quarantined)
    }

    /// Counts what was done, from what the batches and steps say.
    pub(crate) fn count(&self) -> Totals {
        let done = |wanted: &dyn Fn(&Step) -> bool| {
            self.steps.iter().filter(|step| step.state == StepState::Done && wanted(step)).count()
        };
        // A store of which only paths were shortened was not broken.
        let is_store = |step: &Step| match &step.change {
            Change::Replace { after: After::Store { .. }, codes, .. } => !codes.contains(&Code::Relocated),
            _ => false,
        };
        let mut totals = Totals {
            repair: done(&|step| step.is_replacement() && !is_store(step)),
            salvage: done(&|step| is_store(step)),
            transcripts: done(&Step::is_move),
            freed_bytes: self.totals.freed_bytes,
            archive: self.totals.archive,
            remove: self.totals.remove,
            purge: self.totals.purge,
            ..Totals::default()
        };
        self.changed().for_each(|(_, entry)| totals.count(entry.action));
        totals
    }
}
