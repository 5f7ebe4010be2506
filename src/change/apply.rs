//! Apply: carries a plan out. The only place, with [`undo`](super::undo) and [`settle`](super::settle), from which files
//! are moved or removed.
//!
//! The order makes every crash harmless: the manifest is durable before the store changes, the store changes before
//! any file moves, and a file that moved is known to the manifest. What a crash leaves is completed or reverted by the
//! next run.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, Utc};

use crate::change::archive;
use crate::change::history::Census;
use crate::change::journal::{Journal, Run};
use crate::change::manifest::{MoveRecord, RunState, StepState};
use crate::disk::deadline::{Deadline, OVER};
use crate::disk::dir::{Dir, FileInfo};
use crate::disk::memory::room;

mod bindings;
mod current;
mod loose;
mod mend;
mod verify;

use bindings::Gone;
use current::Current;

use crate::decide::plan::{MendItem, Mending, Plan, Totals};
use crate::decide::references::References;
use crate::decide::verdict::Reason;
use crate::model::inventory::Inventory;
use crate::model::proof::DirId;
use crate::model::proof::Stamp;

/// How to apply.
pub struct Options<'a> {
    /// The verb, for the manifest.
    pub command: &'a str,
    /// The time now, for the run's id and history.
    pub started_at: DateTime<Utc>,
    /// How long to wait for a store lock.
    pub patience: Duration,
    /// When to begin nothing more.
    pub deadline: Deadline,
    /// What the plan was made of, when that was just now: a store that still is what it was is not judged again.
    pub seen: Option<&'a Inventory>,
}

/// The keys of the bindings that left each store.
pub type Taken = HashMap<PathBuf, HashSet<String>>;

/// What came of it.
#[derive(Debug, Default)]
#[must_use = "an outcome may hold failures"]
pub struct Outcome {
    /// The run; `None` when nothing was changed.
    pub run: Option<String>,
    /// What was done.
    pub done: Totals,
    /// The bindings that left.
    pub taken: Taken,
    /// Keys and paths that were left alone because something changed since the plan.
    pub skipped: Vec<Left>,
    /// Keys and paths where something failed.
    pub failed: Vec<Left>,
    /// Stores that were refused whole.
    pub refused: Vec<Left>,
    /// What the deadline left. Files that were to follow their bindings stay planned: the next run moves them.
    pub late: Vec<Left>,
    /// What is not as it was meant to be, found by reading everything again.
    pub mismatches: Vec<String>,
}

/// Something that was left as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The key or path.
    pub what: String,
    /// Why.
    pub why: String,
}

impl Left {
    /// Something left, and why.
    pub fn new(what: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self { what: format!("{what}"), why: format!("{why}") }
    }
}

/// Carries out `plan`.
#[expect(clippy::needless_pass_by_value, reason = "a plan is used up: it must not run twice")]
pub fn apply(plan: Plan<'_>, journal: &Journal, options: &Options<'_>) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    if plan.is_empty() {
        return Ok(outcome);
    }
    let run = journal.begin(options.command, plan.now, options.started_at)?;
    let (patience, deadline) = (options.patience, options.deadline);
    let mut work =
        Work { run, outcome: &mut outcome, leaving: HashSet::new(), archived: HashSet::new(), patience, deadline };
    work.run.manifest.touches.clone_from(&plan.known_stores);
    work.run.manifest.before = plan.bytes.map(|bytes| Census { bindings: plan.bindings as u64, bytes });
    work.run.save()?;
    // What matters most comes first: a deadline leaves the end of it.
    let (transcripts, stores): (Vec<&MendItem>, Vec<&MendItem>) =
        plan.mends.iter().partition(|item| matches!(item.how, Mending::Transcript { .. }));
    for item in stores {
        work.mend(item);
    }
    let (left_behind, last) = work.bindings(&plan, options.seen);
    for item in transcripts {
        work.mend(item);
    }
    work.move_transcripts(&left_behind);
    work.loose_files(&plan)?;
    work.finish(journal, last)?;
    Ok(outcome)
}

struct Work<'a> {
    run: Run,
    outcome: &'a mut Outcome,
    /// Files that have a move in the manifest.
    leaving: HashSet<PathBuf>,
    /// Names in the archive that a move of the manifest takes.
    archived: HashSet<PathBuf>,
    patience: Duration,
    deadline: Deadline,
}

impl Work<'_> {
    fn is_late(&self) -> bool {
        self.deadline.has_passed()
    }

    /// A name in the archive that neither a file nor a plan has, and that is now planned.
    fn free_name(&mut self, archive: &Dir, below: &Path, name: &OsStr) -> anyhow::Result<OsString> {
        let free = archive.free_name(name, |name| self.archived.contains(&below.join(name)))?;
        self.archived.insert(below.join(&free));
        Ok(free)
    }

    /// `archive` is a directory of the run and its path below the run's directory.
    fn plan_move(
        &mut self,
        (archive, below): &(Dir, PathBuf),
        from: &Path,
        dir: DirId,
        stamp: Stamp,
        why: Reason,
    ) -> anyhow::Result<()> {
        let name = self.free_name(archive, below, from.file_name().unwrap_or_default())?;
        self.leaving.insert(from.to_owned());
        self.run.manifest.moves.push(MoveRecord {
            from: from.to_owned(),
            dir,
            to: below.join(name),
            stamp,
            why,
            state: StepState::Planned,
            restored: false,
            purged: false,
        });
        Ok(())
    }

    /// Moves what the bindings that left pointed at, once nothing points at it any more.
    fn move_transcripts(&mut self, left_behind: &HashSet<PathBuf>) {
        for index in 0..self.run.manifest.moves.len() {
            let record = &self.run.manifest.moves[index];
            if record.state != StepState::Planned {
                continue;
            }
            if left_behind.contains(&record.from) {
                self.run.manifest.moves[index].state = StepState::Skipped;
                continue;
            }
            if self.is_late() {
                let left = Left::new(record.from.display(), format!("{OVER}: the next run moves it"));
                self.outcome.late.push(left);
                continue;
            }
            if self.carry_out(index) {
                self.outcome.done.transcripts += 1;
            }
        }
    }

    /// Carries out one move of the manifest; whether the file went.
    fn carry_out(&mut self, index: usize) -> bool {
        let record = self.run.manifest.moves[index].clone();
        let state = match archive::out(&self.run, &record) {
            Ok(archive::Moved::Yes { frees }) => {
                self.outcome.done.freed_bytes += if frees { record.stamp.size } else { 0 };
                StepState::Done
            }
            // A dead lock that went to make room for ours may not have been seen to arrive.
            Ok(archive::Moved::Changed(_)) if matches!(archive::arrived(&self.run, &record), Ok(true)) => {
                StepState::Done
            }
            Ok(archive::Moved::Changed(why)) => {
                self.outcome.skipped.push(Left::new(record.from.display(), format!("changed-since-plan: {why}")));
                StepState::Skipped
            }
            Err(error) => {
                self.outcome.failed.push(Left::new(record.from.display(), format!("{error:#}")));
                // The error may have come after the rename: what counts is where the file is. Else the move stays
                // planned, and the next run tries again.
                match archive::arrived(&self.run, &record) {
                    Ok(true) => StepState::Done,
                    Ok(false) | Err(_) => StepState::Planned,
                }
            }
        };
        self.run.manifest.moves[index].state = state;
        state == StepState::Done
    }

    /// Makes everything durable, says so in the manifest, and forgets a run that did nothing. `last` left its store last.
    fn finish(mut self, journal: &Journal, last: Option<Gone<'_>>) -> anyhow::Result<()> {
        let manifest = &self.run.manifest;
        let changed = manifest.stores.iter().any(|record| record.state == StepState::Done)
            || manifest.mends.iter().any(|record| record.state != StepState::Skipped)
            || manifest.moves.iter().any(|record| record.state != StepState::Skipped)
            || !manifest.purged.is_empty();
        if !changed {
            return journal.forget(self.run.id());
        }
        let last = last.filter(|_| !self.is_late());
        let (settled, mismatches) = beside(|| self.settle(), || last.map_or_else(Vec::new, Gone::verify));
        let settled = settled?;
        self.outcome.mismatches.extend(mismatches);
        self.outcome.run = Some(self.run.id().to_owned());
        if !self.is_late() {
            self.outcome.mismatches.extend(verify::archived(&self.run));
        }
        // Of a run that the deadline cut off the one that finishes it tells.
        if settled && let Err(error) = journal.remember(&self.run.manifest.history_line()) {
            self.outcome.failed.push(Left::new("history.jsonl", format!("{error:#}")));
        }
        Ok(())
    }

    /// Makes everything durable and says so in the manifest; whether nothing is left to do.
    fn settle(&mut self) -> anyhow::Result<bool> {
        let unsynced = archive::sync(&self.run);
        self.outcome
            .failed
            .extend(unsynced.iter().map(|(path, error)| Left::new(path.display(), format!("{error:#}"))));
        let manifest = &mut self.run.manifest;
        manifest.problems = self.outcome.failed.iter().map(|left| format!("{}: {}", left.what, left.why)).collect();
        manifest.totals = self.outcome.done;
        let settled = manifest.moves.iter().all(|record| record.state != StepState::Planned)
            && manifest.mends.iter().all(|record| record.state != StepState::Planned);
        if settled {
            manifest.state = RunState::Done;
            manifest.finished_at = Some(Utc::now());
        }
        self.run.save()?;
        Ok(settled)
    }
}

/// Calculates something while this thread, which alone reads and writes, goes on.
pub fn beside<R, C: Default + Send>(work: impl FnOnce() -> R, calculate: impl FnOnce() -> C + Send) -> (R, C) {
    let mut calculated = C::default();
    let done = rayon::in_place_scope(|scope| {
        scope.spawn(|_| calculated = calculate());
        work()
    });
    (done, calculated)
}

/// Reads a store, with what it is.
pub(crate) fn read_locked(dir: &Dir, name: &OsStr) -> anyhow::Result<(Vec<u8>, FileInfo)> {
    let (mut file, info) = dir.open_file(name)?;
    let mut text = room(info.stamp.size).with_context(|| format!("cannot read {}", dir.join(name).display()))?;
    file.read_to_end(&mut text).with_context(|| format!("cannot read {}", dir.join(name).display()))?;
    Ok((text, info))
}

/// What the stores refer to as they are now. A store that cannot be read any more may refer to anything.
pub(crate) fn references_now(stores: &[PathBuf]) -> anyhow::Result<Vec<References>> {
    let mut all = Vec::with_capacity(stores.len());
    for path in stores {
        let parent = path.parent().unwrap_or(Path::new("/"));
        if fs_err::symlink_metadata(parent).is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            continue;
        }
        let dir = Dir::open(parent)?;
        let name = path.file_name().unwrap_or_default();
        if dir.info(name)?.is_none() {
            continue;
        }
        let now = Current::read(&dir, name, None)?;
        let now = now.with_context(|| format!("{} is no readable store now", path.display()))?;
        all.push(now.references(&[], dir.path()));
    }
    Ok(all)
}

/// Writes a plan or another document to a new file that the user named; `-` is standard output's business.
pub fn write_document(path: &Path, text: &[u8]) -> anyhow::Result<()> {
    let mut file = fs_err::OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(text)?;
    file.sync_all()?;
    Ok(())
}
