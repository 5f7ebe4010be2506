//! Settle: what a run that was cut off left, completed or reverted.
//!
//! A store is either still the old one, then nothing of that batch happened and its files stay; or the new one, then
//! its files follow. Which of the two is read from the store itself, never guessed; the same holds for each step. A
//! restore and the undoing of the manual recipe are continued.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::change::archive::{self, parts, read_whole};
use crate::change::journal::Journal;
use crate::change::manifest::{Batch, BatchSource, Manifest, RunKind, RunProgress, StepState, Undone};
use crate::change::outcome::{Left, Outcome, Refusal, Subject};
use crate::change::run::Run;
use crate::change::{progress, rows, stuck, undo};
use crate::disk::atomic;
use crate::disk::deadline::Deadline;
use crate::disk::dir::Dir;
use crate::model::ids::{BindingId, RunId};
use crate::model::lock::LockPayload;
use crate::model::proof::sha256;
use crate::model::store;
use crate::openclaw::files::lock::held_by;
use crate::openclaw::rows::place;

mod finish;

/// How to settle.
#[derive(Clone, Copy)]
pub struct SettleOptions {
    /// The time now.
    pub started_at: DateTime<Utc>,
    /// How long to wait for a store lock.
    pub patience: Duration,
    /// When to begin nothing more.
    pub deadline: Deadline,
}

/// What was found unfinished, and what became of it.
#[derive(Debug, Default)]
pub struct Settled {
    /// What became of each run.
    pub runs: Vec<Ended>,
    /// What could not be finished, or read, and waits for a later run.
    pub left: Vec<Left>,
    /// Bindings that a restore brought back which was finished now.
    pub back: Vec<BindingId>,
}

impl Settled {
    /// Returns the runs that are unfinished still.
    pub fn unfinished(&self) -> Vec<RunId> {
        let waits = |how: &RunEnding| !matches!(how, RunEnding::Finished(_) | RunEnding::Nothing);
        let ended = self.runs.iter().filter(|ended| waits(&ended.how)).map(|ended| ended.run.clone());
        let failed = self.left.iter().filter_map(|left| match (&left.subject, &left.refusal) {
            (_, Refusal::LostManifest { .. } | Refusal::VersionBefore(_)) => None,
            (Subject::Run(id), _) => Some(id.clone()),
            _ => None,
        });
        ended.chain(failed).collect::<BTreeSet<_>>().into_iter().collect()
    }
}

/// What became of a run that was cut off.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The run.
    pub run: RunId,
    /// What kind of run it is, by name.
    pub kind: &'static str,
    /// How it ended.
    pub how: RunEnding,
}

/// How a run ended that was cut off.
#[derive(Clone, Debug, Default)]
pub enum RunEnding {
    /// It is finished.
    Finished(Finished),
    /// It had changed nothing, and is forgotten.
    Nothing,
    /// It is still unfinished: nothing may be changed now, or the time is over.
    #[default]
    Waits,
    /// It was only looked at.
    Pending,
    /// Its other files follow with a later run.
    WaitsForFiles,
}

/// How much of a run was finished.
#[derive(Clone, Copy, Debug, Default)]
pub struct Finished {
    /// Bindings that it took, or brought back.
    pub bindings: usize,
    /// Files that followed.
    pub files: usize,
    /// Things that stay as they are.
    pub left: usize,
    /// Files that are mended.
    pub mended: usize,
    /// Sessions whose rows were changed, and that stay.
    pub changed: usize,
}

/// Finishes or reverts what was cut off.
pub fn settle(journal: &Journal, options: &SettleOptions) -> anyhow::Result<Settled> {
    journal.sweep()?;
    let past = journal.past();
    let mut settled = Settled { left: past.unread, ..Settled::default() };
    for manifest in past.runs.into_iter().filter(|manifest| manifest.state == RunProgress::Unfinished) {
        let Manifest { id, kind, .. } = &manifest;
        let ended = |how| Ended { run: id.clone(), kind: kind.as_str(), how };
        if options.deadline.has_passed() {
            settled.runs.push(ended(RunEnding::Waits));
            continue;
        }
        if let Some(problem) = moved_since(&manifest) {
            settled.left.push(Left::new(Subject::Run(id.clone()), Refusal::Migrated { problem }));
            continue;
        }
        // What cannot be finished now is told, and stays for a later run: it must not stop this one.
        match settle_run(journal, id, options, &mut settled) {
            Ok(how) => settled.runs.push(ended(how)),
            Err(error) => settled.left.push(Left::new(Subject::Run(id.clone()), error)),
        }
    }
    Ok(settled)
}

fn settle_run(
    journal: &Journal,
    id: &RunId,
    options: &SettleOptions,
    settled: &mut Settled,
) -> anyhow::Result<RunEnding> {
    let mut run = journal.open_run(id)?;
    run.take_over()?;
    run.sweep();
    sweep_places(&run);
    if let Some(batch) = run.manifest.batches.iter().find(|batch| !run.manifest.is_ours(&batch.store)) {
        settled.left.push(Left::new(Subject::Path(batch.store.clone()), Refusal::Outside));
        return Ok(RunEnding::Waits);
    }
    find_out(&mut run)?;
    let outcome = match run.manifest.kind.clone() {
        RunKind::Restore(asked) => {
            let options = undo::RestoreOptions {
                asked: &asked,
                started_at: options.started_at,
                patience: options.patience,
                deadline: options.deadline,
                advance: &progress::silent,
            };
            undo::resume(journal, run, &options)?
        }
        RunKind::StuckBak => stuck::resume(journal, run, options.patience)?,
        RunKind::Gc | RunKind::Quarantine | RunKind::Repair | RunKind::Adopt | RunKind::Note => {
            return finish::finish(journal, run, options.deadline, &mut settled.left);
        }
    };
    settled.back.extend(outcome.back.bindings.iter().map(|bound| bound.id.clone()));
    Ok(continued(outcome, &mut settled.left))
}

/// What became of a run that brings something back.
fn continued(outcome: Outcome, left: &mut Vec<Left>) -> RunEnding {
    let Outcome { run, back, left: mut new, unfinished, .. } = outcome;
    let finished =
        Finished { bindings: back.bindings.len(), files: back.files, left: new.len(), ..Finished::default() };
    left.append(&mut new);
    match run {
        _ if unfinished => RunEnding::Waits,
        None if finished.bindings + finished.files == 0 => RunEnding::Nothing,
        _ => RunEnding::Finished(finished),
    }
}

/// Removes the temporary files and the locks that the run's processes left in the stores' directories.
fn sweep_places(run: &Run) {
    let files = run.manifest.stores.iter().chain(run.manifest.steps.iter().map(|step| &step.path));
    let dirs: BTreeSet<&Path> =
        files.filter(|file| run.manifest.is_ours(file)).filter_map(|file| file.parent()).collect();
    for parent in dirs {
        let Ok(dir) = Dir::open_below(&run.manifest.state_dir, parent) else { continue };
        atomic::sweep(&dir);
        for entry in fs_err::read_dir(parent).into_iter().flatten().filter_map(Result::ok) {
            let name = entry.file_name();
            if name.as_encoded_bytes().ends_with(b".lock") && is_left(run, &dir, &name) {
                let _ = dir.remove(&name);
            }
        }
    }
}

/// Returns whether a lock was left by a process of the run that is dead.
fn is_left(run: &Run, dir: &Dir, lock: &OsStr) -> bool {
    let Ok((file, _)) = dir.open_file(lock) else { return false };
    let mut bytes = Vec::new();
    let read = file.take(4096).read_to_end(&mut bytes);
    let pid = LockPayload::read(&bytes).pid.filter(|pid| *pid != std::process::id());
    let ours = read.is_ok() && pid.is_some_and(|pid| run.manifest.pids.contains(&pid));
    ours && matches!(held_by(dir, lock), Ok(None))
}

/// Finds out which batches and steps of a run happened. What is noted as done may not have been durable, and a damaged
/// manifest may be an old one: what counts is what is in the stores and in the archive.
pub(crate) fn find_out(run: &mut Run) -> anyhow::Result<()> {
    let state = |happened| if happened { StepState::Done } else { StepState::Skipped };
    for at in 0..run.manifest.batches.len() {
        if run.manifest.batches[at].state != StepState::Planned {
            continue;
        }
        if run.manifest.batches[at].images().is_some() {
            run.manifest.batches[at].state = rows::state::find_out(run, at)?;
            continue;
        }
        let Manifest { state_dir, batches, .. } = &mut run.manifest;
        find_out_batch(state_dir, &mut batches[at])?;
    }
    for at in 0..run.manifest.steps.len() {
        let step = &run.manifest.steps[at];
        if step.is_replacement() && step.state == StepState::Planned {
            run.manifest.steps[at].state = state(archive::replaced(run, step)?);
        }
    }
    Ok(())
}

/// Finds out what became of a store: by its hash, or, when somebody wrote it since, by what it still holds. An entry
/// that it holds as it was is bound, whoever bound it; the others were taken.
fn find_out_batch(state_dir: &Path, batch: &mut Batch) -> anyhow::Result<()> {
    let BatchSource::File(cuts) = &batch.from else { return Ok(()) };
    let Some(text) = read_if_there(state_dir, &batch.store)? else {
        // Gone with all that was in it: what was taken out before can still be brought back.
        batch.state = StepState::Done;
        return Ok(());
    };
    let hash = sha256(&text);
    if hash == cuts.new_sha256 || hash == cuts.old_sha256 {
        batch.state = if hash == cuts.new_sha256 { StepState::Done } else { StepState::Skipped };
        return Ok(());
    }
    let Ok(document) = store::read(&text) else {
        batch.state = StepState::Done;
        return Ok(());
    };
    let places = document.effective(&text).into_iter();
    let bound: HashMap<String, String> =
        places.map(|place| (place.key, sha256(document.members[place.member].entry.span.of(&text)))).collect();
    for entry in &mut batch.entries {
        let is_bound = entry.cut().is_some_and(|cut| bound.get(&entry.key) == Some(&cut.entry_sha256));
        entry.undone = is_bound.then_some(Undone::Restored);
    }
    let untouched = batch.entries.iter().all(|entry| !entry.is_away());
    batch.state = if untouched { StepState::Skipped } else { StepState::Done };
    Ok(())
}

fn read_if_there(state_dir: &Path, store: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    if fs_err::symlink_metadata(store).is_err() {
        return Ok(None);
    }
    let (parent, name) = parts(store)?;
    read_whole(&Dir::open_below(state_dir, parent)?, name).map(|(text, _)| Some(text))
}

/// Returns why this run can no longer be restored: sessions of a store file that it touched moved to SQLite, and what came
/// back would stand beside their rows, seen by nobody.
pub fn moved_since(run: &Manifest) -> Option<String> {
    let mut dirs: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    for path in &run.stores {
        let Some(dir) = path.parent() else { continue };
        dirs.entry(dir.to_owned()).or_insert_with(|| dir.join("sessions.json"));
    }
    let batches = run.batches.iter().filter(|batch| batch.cuts().is_some()).map(|batch| &batch.store);
    let replaced = run.steps.iter().filter(|step| step.is_replacement()).map(|step| &step.path);
    for store in batches.chain(replaced).filter(|path| path.extension().is_none_or(|extension| extension != "jsonl")) {
        dirs.extend(store.parent().map(|dir| (dir.to_owned(), store.clone())));
    }
    dirs.values().find_map(|store| place::moved(&run.state_dir, store))
}
