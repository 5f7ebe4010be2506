//! How a run ends that took something: its files follow the entries that left, and its manifest says what became of all.

use std::collections::HashSet;
use std::path::PathBuf;

use chrono::Utc;

use super::{Finished, RunEnding};
use crate::change::apply::references_now;
use crate::change::archive;
use crate::change::journal::Journal;
use crate::change::manifest::{Change, EntryRecord, Manifest, RunProgress, Step, StepState};
use crate::change::outcome::{Left, Refusal, Subject};
use crate::change::run::Run;
use crate::change::{progress, undo};
use crate::decide::references::References;
use crate::disk::deadline::Deadline;

/// The files that stay where they are, although their move was planned.
struct Stays {
    /// The files of entries that did not leave.
    reverted: HashSet<PathBuf>,
    /// References of the stores as they are now; `None` when one of them cannot be read.
    references: Option<Vec<References>>,
}

impl Stays {
    fn of(run: &Run) -> (Self, Option<anyhow::Error>) {
        let skipped = run.manifest.batches.iter().filter(|batch| batch.state == StepState::Skipped);
        let reverted = skipped.flat_map(|batch| &batch.entries).filter_map(|entry| entry.file.clone()).collect();
        // A run of OpenClaw that was under way may have bound a file again: then the file stays where it is.
        match references_now(&run.manifest.stores) {
            Ok(references) => (Self { reverted, references: Some(references) }, None),
            Err(error) => (Self { reverted, references: None }, Some(error)),
        }
    }

    /// `None` when it cannot be told now.
    fn stays(&self, step: &Step) -> Option<bool> {
        // A store's dead lock goes only to make room for ours.
        if matches!(step.change, Change::ClearLock { .. }) {
            return Some(true);
        }
        // The lock of a transcript is no file that a binding refers to.
        let is_lock = step.path.extension().is_some_and(|extension| extension == "lock");
        let references = if is_lock { &[][..] } else { self.references.as_deref()? };
        Some(self.reverted.contains(&step.path) || references.iter().any(|one| one.refer_to(&step.path, None)))
    }
}

/// Lets the files follow the entries that left, and ends the run.
pub(super) fn finish(
    journal: &Journal,
    mut run: Run,
    deadline: Deadline,
    left: &mut Vec<Left>,
) -> anyhow::Result<RunEnding> {
    let (stays, unknown) = Stays::of(&run);
    let mut finished = Finished::default();
    if !follow(&mut run, &stays, deadline, &mut finished, left) {
        run.save()?;
        return Ok(RunEnding::WaitsForFiles);
    }
    if run.manifest.steps.iter().any(|step| step.is_move() && step.state == StepState::Planned) {
        let why = unknown.map(|error| Refusal::Unknowable(format!("{error:#}")));
        left.extend(why.map(|why| Left::new(Subject::Run(run.id().clone()), why)));
        run.save()?;
        return Ok(RunEnding::WaitsForFiles);
    }
    settle_deletions(&mut run.manifest);
    let totals = run.manifest.count();
    run.manifest.totals = totals;
    finished.bindings = totals.expire + totals.quarantine + totals.defer;
    let stays = |entry: &EntryRecord| !entry.action.removes();
    finished.changed = run.manifest.changed().filter(|(_, entry)| stays(entry)).count();
    finished.mended =
        run.manifest.steps.iter().filter(|step| step.is_replacement() && step.state == StepState::Done).count();
    let deleted = run.manifest.steps.iter().any(|step| step.change == Change::Delete && step.state == StepState::Done);
    if run.manifest.changed().next().is_none() && finished.mended + totals.transcripts == 0 && !deleted {
        journal.forget(run.id())?;
        return Ok(RunEnding::Nothing);
    }
    archive::record_hashes(&mut run, deadline, &progress::silent);
    run.manifest.state = RunProgress::Done;
    if run.manifest.steps.iter().any(|step| step.is_move() && step.undone.is_some()) {
        undo::settle_source(&mut run.manifest);
    }
    run.manifest.finished_at.get_or_insert_with(Utc::now);
    if let Some((_, error)) = archive::sync(&run).pop() {
        return Err(error);
    }
    run.save()?;
    if let Err(error) = journal.remember(&run.manifest.history_line()) {
        left.push(Left::new(Subject::History, error));
    }
    Ok(RunEnding::Finished(finished))
}

/// Lets the files follow one after the other, and notes of each what became of it. Returns false when the deadline came
/// first.
fn follow(run: &mut Run, stays: &Stays, deadline: Deadline, finished: &mut Finished, left: &mut Vec<Left>) -> bool {
    for at in 0..run.manifest.steps.len() {
        let step = run.manifest.steps[at].clone();
        if !step.is_move() || step.state == StepState::Skipped || step.undone.is_some() {
            continue;
        }
        if deadline.has_passed() {
            return false;
        }
        let moved = archive::arrived(run, &step).and_then(|arrived| match (arrived, stays.stays(&step)) {
            (true, _) => Ok(Some(true)),
            (false, Some(true)) => Ok(Some(false)),
            (false, Some(false)) => archive::out(run, &step).map(|moved| Some(moved.is_ok())),
            (false, None) => Ok(None),
        });
        run.manifest.steps[at].state = match moved {
            Ok(Some(true)) => {
                finished.files += usize::from(step.state != StepState::Done);
                StepState::Done
            }
            Ok(Some(false)) => {
                finished.left += 1;
                StepState::Skipped
            }
            Ok(None) => StepState::Planned,
            // It stays planned: a later run finds out where it is, and tries again.
            Err(error) => {
                left.push(Left::new(Subject::Path(step.path), error));
                StepState::Planned
            }
        };
    }
    true
}

/// Says of what was to be deleted whether it is gone.
fn settle_deletions(manifest: &mut Manifest) {
    for step in manifest.steps.iter_mut().filter(|step| step.change == Change::Delete) {
        let gone = fs_err::symlink_metadata(&step.path).is_err();
        step.state = if gone { StepState::Done } else { StepState::Skipped };
    }
}
