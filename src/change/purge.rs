//! Purge: quarantined sessions are deleted for good, with the originals of earlier repairs of their transcripts. With
//! `Journal::forget` and what `--purge-…` asks for, the only place where bytes die.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};

use crate::change::journal::{self, Journal};
use crate::change::manifest::{After, Change, EntryRecord, Manifest, Step, StepState, Undone};
use crate::change::rows;
use crate::change::run::Run;
use crate::model::ids::{BindingId, RunId};
use crate::model::places::Places;

/// Sessions that are to be deleted, or were.
#[derive(Debug, Default)]
pub struct Purged {
    /// The sessions.
    pub sessions: Vec<PurgedOne>,
    /// Bytes of entries and transcripts.
    pub bytes: u64,
    /// Stores, kept whole in the archives of runs that replaced them, that still hold entries of these sessions: each
    /// by its run and its path below that.
    pub copies: Vec<(RunId, PathBuf)>,
}

/// A session that is deleted.
#[derive(Debug)]
pub struct PurgedOne {
    /// The agent.
    pub agent: String,
    /// The binding that led to it.
    pub id: BindingId,
    /// The run that took it.
    pub run: RunId,
}

fn is_due(manifest: &Manifest, now: DateTime<Utc>, age: TimeDelta) -> bool {
    manifest.is_old(now, age) && manifest.holds_quarantined()
}

/// Returns what a purge would delete. Reads only.
pub fn due(places: &Places, now: DateTime<Utc>, age: TimeDelta) -> Purged {
    let runs = journal::past(places).runs;
    let mut due = Purged::default();
    let mut gone = HashSet::new();
    for manifest in runs.iter().filter(|manifest| is_due(manifest, now, age)) {
        count(manifest, &mut due);
        gone.extend(files(manifest));
    }
    let originals = runs.iter().flat_map(|run| &run.steps).filter(|step| is_original_of(step, &gone));
    due.bytes += originals.map(Step::bytes).sum::<u64>();
    due.copies = copies(&runs, &due.sessions);
    due
}

fn count(manifest: &Manifest, purged: &mut Purged) {
    for batch in &manifest.batches {
        for entry in batch.entries.iter().filter(|entry| entry.is_quarantined()) {
            let id = BindingId::new(&batch.store, &entry.key);
            purged.sessions.push(PurgedOne { agent: entry.agent.clone(), id, run: manifest.id.clone() });
            purged.bytes += entry.bytes();
        }
    }
    let files = files(manifest);
    let moved = manifest.steps.iter().filter(|step| step.is_away() && files.contains(&step.path));
    purged.bytes += moved.map(Step::bytes).sum::<u64>();
}

/// The transcripts that only quarantined bindings of the run pointed at.
fn files(manifest: &Manifest) -> HashSet<PathBuf> {
    let entries = || manifest.batches.iter().flat_map(|batch| &batch.entries);
    let others: HashSet<&PathBuf> =
        entries().filter(|entry| !entry.is_quarantined()).filter_map(|entry| entry.file.as_ref()).collect();
    let quarantined = entries().filter(|entry| entry.is_quarantined()).filter_map(|entry| entry.file.as_ref());
    quarantined.filter(|file| !others.contains(file)).cloned().collect()
}

/// Returns whether a step keeps the original of one of these transcripts.
fn is_original_of(step: &Step, files: &HashSet<PathBuf>) -> bool {
    let mended = matches!(step.change, Change::Replace { after: After::Transcript { .. }, .. });
    mended && step.stands() && files.contains(&step.path)
}

/// The stores kept whole that may hold an entry of these sessions.
fn copies(runs: &[Manifest], sessions: &[PurgedOne]) -> Vec<(RunId, PathBuf)> {
    let stores: HashSet<&Path> = sessions.iter().map(|one| one.id.store.as_path()).collect();
    let steps = runs.iter().flat_map(|run| run.steps.iter().map(move |step| (&run.id, step)));
    let kept = steps.filter(|(_, step)| step.is_replacement() && step.stands() && stores.contains(step.path.as_path()));
    kept.filter_map(|(run, step)| Some((run.clone(), step.kept()?.to_owned()))).collect()
}

/// Deletes what was quarantined by runs that ended longer ago than `age`.
pub fn purge(journal: &Journal, now: DateTime<Utc>, age: TimeDelta) -> anyhow::Result<Purged> {
    let mut purged = Purged::default();
    journal.sweep()?;
    let mut gone = HashSet::new();
    for manifest in journal.past().runs.into_iter().filter(|manifest| manifest.is_old(now, age)) {
        let mut run = journal.open_run(&manifest.id)?;
        run.sweep();
        if manifest.holds_quarantined() {
            count(&run.manifest, &mut purged);
            gone.extend(files(&run.manifest));
            mark(&mut run.manifest);
            run.save()?;
        } else if !is_half_purged(&run) {
            continue;
        }
        end(journal, &mut run)?;
    }
    let runs = journal.past().runs;
    purged.copies = copies(&runs, &purged.sessions);
    for manifest in runs.iter().filter(|manifest| manifest.steps.iter().any(|step| is_original_of(step, &gone))) {
        let mut run = journal.open_run(&manifest.id)?;
        for step in run.manifest.steps.iter_mut().filter(|step| is_original_of(step, &gone)) {
            purged.bytes += step.bytes();
            step.undone = Some(Undone::Purged);
        }
        run.save()?;
        end(journal, &mut run)?;
    }
    Ok(purged)
}

fn mark(manifest: &mut Manifest) {
    let files = files(manifest);
    for entry in manifest.batches.iter_mut().flat_map(|batch| &mut batch.entries) {
        if entry.is_quarantined() {
            entry.undone = Some(Undone::Purged);
        }
    }
    for step in manifest.steps.iter_mut().filter(|step| step.is_away() && files.contains(&step.path)) {
        step.undone = Some(Undone::Purged);
    }
}

/// Frees the room of what is marked, which is gone for every reader already: this may be done again.
fn end(journal: &Journal, run: &mut Run) -> anyhow::Result<()> {
    if holds_nothing(&run.manifest) {
        return journal.forget(run.id());
    }
    for at in 0..run.manifest.batches.len() {
        rows::state::forget(run, at)?;
    }
    free(run)
}

/// A purge was cut off after it had marked what goes.
fn is_half_purged(run: &Run) -> bool {
    let purged = |undone: Option<Undone>| undone == Some(Undone::Purged);
    let is_there = |step: &Step| {
        let found = step.kept().map(|kept| run.locate(kept).and_then(|(dir, name)| dir.info(&name)));
        matches!(found, Some(Ok(Some(_))))
    };
    let mut entries = run.manifest.batches.iter().flat_map(|batch| &batch.entries);
    let mut steps = run.manifest.steps.iter().filter(|step| purged(step.undone));
    let marked = entries.any(|entry| purged(entry.undone)) || run.manifest.steps.iter().any(|step| purged(step.undone));
    let strays = || rows::state::strays(run).is_ok_and(|strays| !strays.is_empty());
    marked && (holds_nothing(&run.manifest) || steps.any(is_there) || strays())
}

fn holds_nothing(manifest: &Manifest) -> bool {
    let mut entries = manifest.batches.iter().flat_map(|batch| &batch.entries);
    let stands = |step: &Step| step.kept().is_some() && step.stands();
    !entries.any(EntryRecord::is_away) && !manifest.steps.iter().any(stands)
}

/// Blanks the entries where others of the same store still stand beside them, and deletes the files: these last, so that
/// one that is there still shows where it was cut off.
fn free(run: &Run) -> anyhow::Result<()> {
    let purged = |entry: &&EntryRecord| entry.undone == Some(Undone::Purged);
    let done = run.manifest.batches.iter().filter(|batch| batch.state == StepState::Done && batch.cuts().is_some());
    for batch in done.filter(|batch| batch.entries.iter().any(|entry| purged(&entry))) {
        let mut bytes = run.read(batch.kept())?;
        for cut in batch.entries.iter().filter(purged).filter_map(EntryRecord::cut) {
            if let Some(slot) = bytes.get_mut(cut.entry_at.0..cut.entry_at.1) {
                slot.fill(b' ');
            }
        }
        let (dir, name) = run.locate(batch.kept())?;
        run.write_new(&dir, &name, [bytes.as_slice()])?;
    }
    for step in run.manifest.steps.iter().filter(|step| step.undone == Some(Undone::Purged)) {
        let Some(kept) = step.kept() else { continue };
        let (dir, name) = run.locate(kept)?;
        dir.remove(&name)?;
        dir.sync()?;
    }
    Ok(())
}
