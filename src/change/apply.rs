//! Apply: carries a plan out. The only place, with [`undo`](super::undo) and [`settle`](super::settle), from which files
//! are moved or removed.
//!
//! The order makes every crash harmless: the manifest is durable before the store changes, the store changes before
//! any file moves, and a file that moved is known to the manifest. What a crash leaves is completed or reverted by the
//! next run.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, Utc};

use crate::change::archive::{self, parts};
use crate::change::history::Census;
use crate::change::journal::Journal;
use crate::change::manifest::{Before, Change, RunKind, RunProgress, Step, StepState};
use crate::change::outcome::{Late, Outcome, Subject};
use crate::change::progress::{Advance, Phase};
use crate::change::run::{Run, Shelf};
use crate::decide::plan::{MendItem, Mending, Plan};
use crate::decide::references::References;
use crate::decide::verdict::Reason;
use crate::disk::deadline::Deadline;
use crate::disk::dir::Dir;
use crate::model::inventory::Inventory;
use crate::model::proof::{DirId, Stamp};

mod bindings;
mod current;
mod loose;
mod mend;
mod rows;
mod verify;

use bindings::Gone;
use current::Current;

/// How to apply.
pub struct ApplyOptions<'a> {
    /// What kind of run it is.
    pub kind: RunKind,
    /// The time now, for the run's id and history.
    pub started_at: DateTime<Utc>,
    /// How long to wait for a store lock.
    pub patience: Duration,
    /// When to begin nothing more.
    pub deadline: Deadline,
    /// What the plan was made of, when that was just now: a store that still is what it was is not judged again.
    pub seen: Option<&'a Inventory>,
    /// Who hears how far it came.
    pub advance: Advance<'a>,
}

/// Carries out `plan`.
#[expect(clippy::needless_pass_by_value, reason = "a plan is used up: it must not run twice")]
pub fn apply(plan: Plan<'_>, journal: &Journal, options: ApplyOptions<'_>) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    if plan.is_empty() {
        return Ok(outcome);
    }
    let run = journal.begin(options.kind, plan.now, options.started_at)?;
    let ApplyOptions { patience, deadline, advance, .. } = options;
    let (leaving, archived) = (HashSet::new(), HashSet::new());
    let mut work = Applying { run, outcome: &mut outcome, leaving, archived, patience, deadline, advance, moved: 0 };
    work.run.manifest.stores.clone_from(&plan.known_stores);
    work.run.manifest.before = plan.bytes.map(|bytes| Census { bindings: plan.bindings as u64, bytes });
    work.run.save()?;
    // What matters most comes first: a deadline leaves the end of it.
    let (transcripts, stores): (Vec<&MendItem>, Vec<&MendItem>) =
        plan.mends.iter().partition(|item| matches!(item.how, Mending::Transcript { .. }));
    for item in stores {
        work.mend(item);
    }
    work.rows(&plan);
    let (left_behind, last) = work.bindings(&plan, options.seen);
    for item in transcripts {
        work.mend(item);
    }
    work.move_transcripts(&left_behind);
    work.loose_files(&plan)?;
    work.finish(journal, last)?;
    Ok(outcome)
}

struct Applying<'a> {
    run: Run,
    outcome: &'a mut Outcome,
    /// Files that have a move in the manifest.
    leaving: HashSet<PathBuf>,
    /// Names in the archive that a move of the manifest takes.
    archived: HashSet<PathBuf>,
    patience: Duration,
    deadline: Deadline,
    advance: Advance<'a>,
    /// Bytes of the files that were moved, or were not to be.
    moved: u64,
}

impl Applying<'_> {
    fn is_late(&self) -> bool {
        self.deadline.has_passed()
    }

    /// A name in the archive that neither a file nor a plan has, and that is now planned.
    fn free_name(&mut self, shelf: &Shelf, name: &OsStr) -> anyhow::Result<OsString> {
        let free = shelf.dir.free_name(name, |name| self.archived.contains(&shelf.below.join(name)))?;
        self.archived.insert(shelf.below.join(&free));
        Ok(free)
    }

    fn plan_move(
        &mut self,
        shelf: &Shelf,
        agent: &str,
        path: &Path,
        dir: DirId,
        stamp: Stamp,
        why: Reason,
    ) -> anyhow::Result<()> {
        let name = self.free_name(shelf, parts(path)?.1)?;
        self.leaving.insert(path.to_owned());
        self.run.manifest.steps.push(Step {
            agent: agent.to_owned(),
            path: path.to_owned(),
            dir,
            before: Some(Before { stamp, sha256: None }),
            change: Change::Archive { to: shelf.below.join(name) },
            why,
            state: StepState::Planned,
            undone: None,
        });
        Ok(())
    }

    /// Moves what the bindings that left pointed at, once nothing points at it any more.
    fn move_transcripts(&mut self, left_behind: &HashSet<PathBuf>) {
        for at in 0..self.run.manifest.steps.len() {
            let step = &self.run.manifest.steps[at];
            if step.state != StepState::Planned || !step.is_move() {
                continue;
            }
            if left_behind.contains(&step.path) {
                self.run.manifest.steps[at].state = StepState::Skipped;
                continue;
            }
            if self.is_late() {
                self.outcome.leave(Subject::Path(step.path.clone()), Late::Move);
                continue;
            }
            if self.carry_out(at) {
                self.outcome.totals.transcripts += 1;
            }
        }
    }

    /// Carries out one move of the manifest; whether the file went.
    fn carry_out(&mut self, at: usize) -> bool {
        let step = self.run.manifest.steps[at].clone();
        let all = self.run.manifest.steps.iter().filter(|step| step.is_move()).map(Step::bytes).sum();
        (self.advance)(Phase::Moving, self.moved, all);
        self.moved += step.bytes();
        let subject = || Subject::Path(step.path.clone());
        let state = match archive::out(&self.run, &step) {
            Ok(Ok(frees)) => {
                self.outcome.totals.freed_bytes += if frees { step.bytes() } else { 0 };
                StepState::Done
            }
            // A dead lock that went to make room for ours may not have been seen to arrive.
            Ok(Err(_)) if matches!(archive::arrived(&self.run, &step), Ok(true)) => StepState::Done,
            Ok(Err(changed)) => {
                self.outcome.leave(subject(), changed);
                StepState::Skipped
            }
            Err(error) => {
                self.outcome.leave(subject(), error);
                // The error may have come after the rename: what counts is where the file is. Else the move stays
                // planned, and the next run tries again.
                match archive::arrived(&self.run, &step) {
                    Ok(true) => StepState::Done,
                    Ok(false) | Err(_) => StepState::Planned,
                }
            }
        };
        self.run.manifest.steps[at].state = state;
        (self.advance)(Phase::Moving, self.moved, all);
        state == StepState::Done
    }

    /// Makes everything durable, says so in the manifest, and forgets a run that did nothing. `last` left its store last.
    fn finish(mut self, journal: &Journal, last: Option<Gone<'_>>) -> anyhow::Result<()> {
        let manifest = &self.run.manifest;
        let changed = manifest.batches.iter().any(|batch| batch.state != StepState::Skipped)
            || manifest.steps.iter().any(|step| step.state != StepState::Skipped);
        if !changed {
            return journal.forget(self.run.id());
        }
        let last = last.filter(|_| !self.is_late());
        let (settled, left) = beside(|| self.settle(), || last.map_or_else(Vec::new, Gone::verify));
        let settled = settled?;
        self.outcome.left.extend(left);
        self.outcome.run = Some(self.run.id().clone());
        if !self.is_late() {
            self.outcome.left.extend(verify::archived(&self.run));
        }
        // A run that the deadline cut short is remembered by the run that finishes it.
        if settled && let Err(error) = journal.remember(&self.run.manifest.history_line()) {
            self.outcome.leave(Subject::History, error);
        }
        Ok(())
    }

    /// Makes everything durable and says so in the manifest; whether nothing is left to do.
    fn settle(&mut self) -> anyhow::Result<bool> {
        for (path, error) in archive::sync(&self.run) {
            self.outcome.leave(Subject::Path(path), error);
        }
        archive::record_hashes(&mut self.run, self.deadline, self.advance);
        let manifest = &mut self.run.manifest;
        manifest.problems = self.outcome.in_list(crate::change::outcome::List::Failed).cloned().collect();
        manifest.totals = self.outcome.totals;
        let mut states =
            manifest.batches.iter().map(|batch| batch.state).chain(manifest.steps.iter().map(|step| step.state));
        let settled = states.all(|state| state != StepState::Planned);
        if settled {
            manifest.state = RunProgress::Done;
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

/// Returns what the stores refer to as they are now. A store that cannot be read any more may refer to anything.
pub(crate) fn references_now(stores: &[PathBuf]) -> anyhow::Result<Vec<References>> {
    let mut all = Vec::with_capacity(stores.len());
    for path in stores {
        let (parent, name) = parts(path)?;
        if fs_err::symlink_metadata(parent).is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            continue;
        }
        let dir = Dir::open(parent)?;
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
