//! Recover: what a run that was cut off left, completed or reverted (design §5.7).
//!
//! A store is either still the old one, then nothing of that store happened and its files stay; or the new one, then
//! its files follow. Which of the two is read from the store itself, never guessed.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::apply::{history_line, read_locked};
use super::dir::Dir;
use super::journal::{Journal, Run, past_runs};
use super::lock::{held_by, lock_name};
use super::manifest::{MoveRecord, RunState, StepState, StoreRecord};
use super::restore;
use super::{atomic, transfer};
use crate::decide::plan::sha256;
use crate::decide::verdict::{Action, Reason};
use crate::model::inventory::Stamp;
use crate::model::store;

/// What was found unfinished and what became of it, one sentence each.
pub fn recover(
    journal: &Journal,
    state_dir: &Path,
    started_at: DateTime<Utc>,
    patience: Duration,
) -> anyhow::Result<Vec<String>> {
    journal.sweep_stillborn()?;
    let (runs, mut told) = past_runs(state_dir);
    for manifest in runs.into_iter().filter(|manifest| manifest.state == RunState::Unfinished) {
        let run = journal.open_run(&manifest.id)?;
        told.push(match manifest.of.clone() {
            Some(of) => {
                sweep_own(&run);
                let as_new = manifest.as_new;
                let options = restore::Options { of: &of, keys: &manifest.keys, as_new, started_at, patience };
                let outcome = restore::continue_restore(journal, run, &options)?;
                format!(
                    "the restore {} was cut off and is finished now: {} bindings, {} files",
                    manifest.id,
                    outcome.bindings.len(),
                    outcome.files
                )
            }
            None => finish(journal, run)?,
        });
    }
    Ok(told)
}

/// Removes the temporary files and the lock that a dead process left in the stores' directories.
fn sweep_own(run: &Run) {
    for store in &run.manifest.touches {
        sweep(store, run.manifest.pid);
    }
}

fn sweep(store: &Path, pid: u32) {
    if pid == std::process::id() {
        return;
    }
    let name = store.file_name().unwrap_or_default();
    let Some(dir) = store.parent().and_then(|parent| Dir::open(parent).ok()) else { return };
    let lock = lock_name(name);
    for left in [atomic::temp_name_of(name, pid), atomic::temp_name_of(&lock, pid)] {
        let _ = dir.remove(&left);
    }
    let ours = dir.open_file(&lock).ok().is_some_and(|(mut file, _)| {
        let mut bytes = Vec::new();
        let read = std::io::Read::read_to_end(&mut file, &mut bytes).is_ok();
        read && crate::model::lock::LockPayload::read(&bytes).pid == Some(pid)
    });
    if ours && matches!(held_by(&dir, &lock), Ok(None)) {
        let _ = dir.remove(&lock);
    }
}

fn finish(journal: &Journal, mut run: Run) -> anyhow::Result<String> {
    sweep_own(&run);
    for index in 0..run.manifest.stores.len() {
        let record = &run.manifest.stores[index];
        if record.state == StepState::Planned {
            let written = was_written(record)?;
            run.manifest.stores[index].state = if written { StepState::Done } else { StepState::Skipped };
        }
    }
    let reverted: HashSet<PathBuf> = of_stores(&run, StepState::Skipped);
    let (mut moved, mut left) = (0, 0);
    for index in 0..run.manifest.moves.len() {
        let record = run.manifest.moves[index].clone();
        if record.state != StepState::Planned {
            continue;
        }
        let state = if arrived(&run, &record)? {
            StepState::Done
        } else if reverted.contains(&record.from) || record.why == Reason::LockDead && is_store_lock(&record.from) {
            StepState::Skipped
        } else {
            match transfer::out(&run, &record)? {
                transfer::Moved::Yes { .. } => StepState::Done,
                transfer::Moved::Changed(_) => StepState::Skipped,
            }
        };
        if state == StepState::Done {
            moved += 1;
        } else {
            left += 1;
        }
        run.manifest.moves[index].state = state;
    }
    let done: usize = run
        .manifest
        .stores
        .iter()
        .filter(|record| record.state == StepState::Done)
        .map(|record| record.entries.len())
        .sum();
    let manifest = &mut run.manifest;
    manifest.purged.retain(|path| fs_err::symlink_metadata(path).is_err());
    let records =
        || manifest.stores.iter().filter(|record| record.state == StepState::Done).flat_map(|record| &record.entries);
    manifest.totals.quarantine = records().filter(|entry| entry.action == Action::Quarantine).count();
    manifest.totals.expire = done - manifest.totals.quarantine;
    manifest.totals.transcripts = manifest.moves.iter().filter(|record| record.state == StepState::Done).count();
    if done == 0 && manifest.totals.transcripts == 0 && manifest.purged.is_empty() {
        let id = run.id().to_owned();
        journal.forget(&id)?;
        return Ok(format!("the run {id} was cut off before it changed anything"));
    }
    manifest.state = RunState::Done;
    manifest.finished_at = Some(Utc::now());
    run.save()?;
    journal.remember(&history_line(&run.manifest))?;
    Ok(format!(
        "the run {} was cut off and is finished now: {done} bindings were out, {moved} files followed, {left} stay",
        run.id()
    ))
}

/// Whether the store was rewritten: by its hash, or, when somebody wrote it since, by what it still holds.
fn was_written(record: &StoreRecord) -> anyhow::Result<bool> {
    let dir = Dir::open(record.path.parent().unwrap_or(Path::new("/")))?;
    let name = record.path.file_name().unwrap_or_default();
    if dir.info(name)?.is_none() {
        return Ok(false);
    }
    let (text, _) = read_locked(&dir, name)?;
    let hash = sha256(&text);
    if hash == record.new_sha256 || hash == record.old_sha256 {
        return Ok(hash == record.new_sha256);
    }
    let Ok(document) = store::read(&text) else { return Ok(false) };
    let still_there = document.effective(&text).into_iter().any(|place| {
        let bytes = document.members[place.member].entry.span.of(&text);
        record.entries.iter().any(|entry| entry.key == place.key && entry.entry_sha256 == sha256(bytes))
    });
    Ok(!still_there)
}

fn of_stores(run: &Run, state: StepState) -> HashSet<PathBuf> {
    let records = run.manifest.stores.iter().filter(|record| record.state == state);
    records.flat_map(|record| &record.entries).filter_map(|entry| entry.file.clone()).collect()
}

fn is_store_lock(path: &Path) -> bool {
    path.file_name().and_then(OsStr::to_str).is_some_and(|name| !name.contains(".jsonl"))
}

/// Whether the file is in the archive, whole. A rename shows by its inode, whatever stands in the old place by now.
/// Across file systems a copy is whole once its original is gone; beside its untouched original it may be half a copy
/// and is removed, so that the move can be made again.
fn arrived(run: &Run, record: &MoveRecord) -> anyhow::Result<bool> {
    let (archive, name) = run.locate(&record.to)?;
    let Some(there) = archive.info(&name)? else { return Ok(false) };
    let same = |stamp: Stamp| (stamp.dev, stamp.ino) == (record.stamp.dev, record.stamp.ino);
    if same(there.stamp) {
        return Ok(true);
    }
    let place = record.from.parent().map(Dir::open).transpose()?;
    let here = place.and_then(|dir| dir.info(record.from.file_name()?).ok().flatten());
    if here.is_some_and(|here| same(here.stamp)) {
        archive.remove(&name)?;
        return Ok(false);
    }
    Ok(true)
}
