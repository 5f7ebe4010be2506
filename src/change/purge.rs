//! Purge: quarantined sessions are deleted for good. With [`Journal::forget`] and what `--purge-…` asks for, the only
//! place where bytes die.

use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};

use crate::change::journal::{self, Journal, Run};
use crate::change::manifest::{EntryRecord, Manifest, MoveRecord, StepState};
use crate::decide::verdict::Action;

/// What is to be deleted, or was.
#[derive(Debug, Default)]
pub struct Purged {
    /// Keys, with the run that took each.
    pub sessions: Vec<(String, String)>,
    /// Bytes of entries and transcripts.
    pub bytes: u64,
}

fn is_due(manifest: &Manifest, now: DateTime<Utc>, age: TimeDelta) -> bool {
    manifest.is_old(now, age) && manifest.holds_quarantined()
}

fn in_quarantine(entry: &EntryRecord) -> bool {
    entry.action == Action::Quarantine && entry.is_away()
}

/// What a purge would delete. Reads only.
pub fn due(state_dir: &Path, now: DateTime<Utc>, age: TimeDelta) -> Purged {
    let mut due = Purged::default();
    for manifest in journal::past_runs(state_dir).0.iter().filter(|manifest| is_due(manifest, now, age)) {
        count(manifest, &mut due);
    }
    due
}

fn count(manifest: &Manifest, purged: &mut Purged) {
    for entry in manifest.stores.iter().flat_map(|record| &record.entries).filter(|entry| in_quarantine(entry)) {
        purged.sessions.push((entry.key.clone(), manifest.id.clone()));
        purged.bytes += (entry.entry_at.1 - entry.entry_at.0) as u64;
    }
    let files = files(manifest);
    let moves = manifest.moves.iter().filter(|record| record.is_away() && files.contains(&record.from));
    purged.bytes += moves.map(|record| record.stamp.size).sum::<u64>();
}

/// The transcripts that only quarantined bindings of the run pointed at.
fn files(manifest: &Manifest) -> Vec<PathBuf> {
    let entries = || manifest.stores.iter().flat_map(|record| &record.entries);
    let others: Vec<&PathBuf> =
        entries().filter(|entry| !in_quarantine(entry)).filter_map(|entry| entry.file.as_ref()).collect();
    let quarantined = entries().filter(|entry| in_quarantine(entry)).filter_map(|entry| entry.file.as_ref());
    quarantined.filter(|file| !others.contains(file)).cloned().collect()
}

/// Deletes what was quarantined by runs that ended longer ago than `age`.
pub fn purge(journal: &Journal, state_dir: &Path, now: DateTime<Utc>, age: TimeDelta) -> anyhow::Result<Purged> {
    let mut purged = Purged::default();
    journal.sweep()?;
    for manifest in journal::past_runs(state_dir).0.into_iter().filter(|manifest| manifest.is_old(now, age)) {
        let mut run = journal.open_run(&manifest.id)?;
        run.sweep();
        if manifest.holds_quarantined() {
            count(&run.manifest, &mut purged);
            mark(&mut run.manifest);
            run.save()?;
        } else if !is_half_purged(&run) {
            continue;
        }
        // What is marked is gone for every reader; what follows only frees the room, and may be done again.
        if holds_nothing(&run.manifest) {
            journal.forget(&manifest.id)?;
        } else {
            free(&run)?;
        }
    }
    Ok(purged)
}

fn mark(manifest: &mut Manifest) {
    let files = files(manifest);
    for entry in manifest.stores.iter_mut().flat_map(|record| &mut record.entries).filter(|entry| in_quarantine(entry))
    {
        entry.purged = true;
    }
    for record in manifest.moves.iter_mut().filter(|record| record.is_away() && files.contains(&record.from)) {
        record.purged = true;
    }
}

/// A purge was cut off after it had marked what goes.
fn is_half_purged(run: &Run) -> bool {
    let mut entries = run.manifest.stores.iter().flat_map(|record| &record.entries);
    let is_there = |to| run.locate(to).and_then(|(dir, name)| dir.info(&name)).is_ok_and(|info| info.is_some());
    let mut moves = run.manifest.moves.iter().filter(|record| record.purged);
    entries.any(|entry| entry.purged) && (holds_nothing(&run.manifest) || moves.any(|record| is_there(&record.to)))
}

fn holds_nothing(manifest: &Manifest) -> bool {
    let mut entries = manifest.stores.iter().flat_map(|record| &record.entries);
    let mended = manifest.mends.iter().any(|record| record.state == StepState::Done && !record.restored);
    !mended && !entries.any(EntryRecord::is_away) && !manifest.moves.iter().any(MoveRecord::is_away)
}

/// Blanks the entries where others of the same store still stand beside them, and deletes the files: these last, so that
/// one that is there still shows where it was cut off.
fn free(run: &Run) -> anyhow::Result<()> {
    for record in run.manifest.stores.iter().filter(|record| record.entries.iter().any(|entry| entry.purged)) {
        let mut bytes = run.read(&record.removed)?;
        for entry in record.entries.iter().filter(|entry| entry.purged) {
            if let Some(slot) = bytes.get_mut(entry.entry_at.0..entry.entry_at.1) {
                slot.fill(b' ');
            }
        }
        let (dir, name) = run.locate(&record.removed)?;
        run.write_new(&dir, &name, [bytes.as_slice()])?;
    }
    for record in run.manifest.moves.iter().filter(|record| record.purged) {
        let (dir, name) = run.locate(&record.to)?;
        dir.remove(&name)?;
        dir.sync()?;
    }
    Ok(())
}
