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
use crate::decide::verdict::{Action, Reason};
use crate::model::ids::{BindingId, RunId};
use crate::model::json::Span;
use crate::model::key::Class;
use crate::model::places::{Places, is_below};
use crate::model::problem::Code;
use crate::model::proof::{DirId, Stamp};

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

impl Manifest {
    /// Follows a state directory that was copied or moved: what it says of files below the old place is meant of those
    /// below the new one. Otherwise a restore in a copy would write to the original.
    pub(crate) fn follow(&mut self, state_dir: &Path) {
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
        self.stores.iter_mut().for_each(follow);
        for batch in &mut self.batches {
            follow(&mut batch.store);
            batch.entries.iter_mut().filter_map(|entry| entry.file.as_mut()).for_each(follow);
        }
        for step in &mut self.steps {
            follow(&mut step.path);
            match &mut step.change {
                Change::Rename { to } => follow(to),
                Change::Replace { bindings, .. } => bindings.iter_mut().for_each(|one| follow(&mut one.store)),
                Change::Archive { .. } | Change::ClearLock { .. } | Change::Delete => {}
            }
        }
        if let RunKind::Restore(asked) = &mut self.kind {
            asked.bindings.iter_mut().for_each(|one| follow(&mut one.store));
        }
    }

    /// Returns the first path that leads where this state directory keeps no sessions. Whoever wrote the manifest, it
    /// says nothing about other places.
    pub(crate) fn stray(&self, places: &Places) -> Option<&Path> {
        // In a copied state directory a path outside may be another's, and is refused one by one.
        let elsewhere = |path: &Path| self.moved && !path.starts_with(&self.state_dir) && path.is_absolute();
        let is_store = |path: &Path| places.is_store(path) || elsewhere(path);
        let is_file = |path: &Path| places.is_file(path) || elsewhere(path);
        let stores = self.stores.iter().chain(self.batches.iter().map(|batch| &batch.store));
        let mut stores = stores.map(PathBuf::as_path);
        let entries = self.batches.iter().flat_map(|batch| &batch.entries);
        let mut files = entries.filter_map(|entry| entry.file.as_deref());
        let mut below =
            self.batches.iter().map(|batch| batch.removed.as_path()).chain(self.steps.iter().filter_map(Step::kept));
        let of_step = |step: &Step| {
            let to = match &step.change {
                Change::Rename { to } => is_file(to) && to.parent() == step.path.parent(),
                _ => true,
            };
            let store = matches!(step.change, Change::Replace { after: After::Store { .. }, .. });
            to && if store { is_store(&step.path) } else { is_file(&step.path) }
        };
        stores
            .find(|path| !is_store(path))
            .or_else(|| files.find(|path| !is_file(path)))
            .or_else(|| below.find(|path| !is_below(path) || !path.starts_with("files")))
            .or_else(|| self.steps.iter().find(|step| !of_step(step)).map(|step| step.path.as_path()))
    }

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

    /// Returns whether a path is still the one that was meant.
    pub fn is_ours(&self, path: &Path) -> bool {
        !self.moved || path.starts_with(&self.state_dir)
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
        let taken = |wanted: Action| {
            let entries = self.taken().filter(|(_, entry)| entry.undone != Some(Undone::Restored));
            entries.filter(|(_, entry)| entry.action == wanted).count()
        };
        let done = |wanted: &dyn Fn(&Step) -> bool| {
            self.steps.iter().filter(|step| step.state == StepState::Done && wanted(step)).count()
        };
        let is_store = |step: &Step| matches!(step.change, Change::Replace { after: After::Store { .. }, .. });
        Totals {
            expire: taken(Action::Expire),
            quarantine: taken(Action::Quarantine),
            defer: taken(Action::Defer),
            repair: done(&|step| step.is_replacement() && !is_store(step)),
            salvage: done(&|step| is_store(step)),
            transcripts: done(&Step::is_move),
            ..self.totals
        }
    }
}
