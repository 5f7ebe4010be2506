//! Recover: what a run that was cut off left, completed or reverted (design §5.7).
//!
//! A store is either still the old one, then nothing of that store happened and its files stay; or the new one, then
//! its files follow. Which of the two is read from the store itself, never guessed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::change::apply::{Left, read_locked, references_now};
use crate::change::archive;
use crate::change::journal::{Journal, Run, past_runs};
use crate::change::manifest::{Manifest, MoveRecord, RunState, StepState, StoreRecord};
use crate::change::stuck;
use crate::change::undo;
use crate::decide::verdict::{Action, Reason};
use crate::disk::atomic;
use crate::disk::deadline::{Deadline, OVER};
use crate::disk::dir::Dir;
use crate::model::proof::sha256;
use crate::model::store;
use crate::openclaw::files::lock::{held_by, lock_name};
use crate::openclaw::rows::place;

/// How to recover.
#[derive(Clone, Copy)]
pub struct Options {
    /// The time now.
    pub started_at: DateTime<Utc>,
    /// How long to wait for a store lock.
    pub patience: Duration,
    /// When to begin nothing more.
    pub deadline: Deadline,
}

/// What was found unfinished.
#[derive(Debug, Default)]
pub struct Recovered {
    /// What became of each run, one sentence each.
    pub told: Vec<String>,
    /// What could not be finished, or read, and waits for a later run.
    pub failed: Vec<Left>,
}

/// Finishes or reverts what was cut off.
pub fn recover(journal: &Journal, state_dir: &Path, options: &Options) -> anyhow::Result<Recovered> {
    let Options { started_at, patience, deadline } = *options;
    journal.sweep()?;
    let (runs, problems) = past_runs(state_dir);
    let mut recovered = Recovered::default();
    recovered.failed.extend(problems.into_iter().map(|why| Left::new("claw-sessions/runs", why)));
    let Recovered { told, failed } = &mut recovered;
    for manifest in runs.into_iter().filter(|manifest| manifest.state == RunState::Unfinished) {
        let id = manifest.id.clone();
        if deadline.has_passed() {
            told.push(format!("the run {id} was cut off; {OVER}, the next run finishes it"));
            continue;
        }
        if let Some(why) = moved_since(&manifest, state_dir) {
            failed.push(Left::new(format!("the run {id}"), format!("was cut off, and is not finished: {why}")));
            continue;
        }
        let done = journal.open_run(&id).and_then(|run| {
            run.sweep();
            sweep_own(&run);
            match manifest.of {
                Some(of) => {
                    let (keys, as_new, deferred) = (&manifest.keys, manifest.as_new, manifest.deferred);
                    let options = undo::Options { of: &of, keys, as_new, deferred, started_at, patience, deadline };
                    finish_restore(journal, run, &options, failed)
                }
                None if !manifest.renames.is_empty() => finish_stuck(journal, run, patience, failed),
                None => finish(journal, run, deadline, failed),
            }
        });
        // What cannot be finished now is told, and stays for a later run: it must not stop this one.
        match done {
            Ok(sentence) => told.push(sentence),
            Err(error) => failed.push(Left::new(format!("the run {id}"), format!("cannot be finished: {error:#}"))),
        }
    }
    Ok(recovered)
}

fn finish_restore(
    journal: &Journal,
    run: Run,
    options: &undo::Options<'_>,
    failed: &mut Vec<Left>,
) -> anyhow::Result<String> {
    let id = run.id().to_owned();
    let mut outcome = undo::continue_restore(journal, run, options)?;
    let (bindings, files) = (outcome.bindings.len(), outcome.files);
    let left = outcome.refused.len() + outcome.failed.len();
    failed.append(&mut outcome.failed);
    Ok(format!(
        "the restore {id} was cut off and is finished now: {bindings} bindings, {files} files, {left} left alone"
    ))
}

fn finish_stuck(journal: &Journal, run: Run, patience: Duration, failed: &mut Vec<Left>) -> anyhow::Result<String> {
    let id = run.id().to_owned();
    let mut outcome = stuck::resume(journal, run, patience)?;
    let (bindings, files) = (outcome.bindings.len(), outcome.files);
    let left = outcome.refused.len() + outcome.failed.len();
    failed.append(&mut outcome.failed);
    Ok(format!(
        "the run {id} was cut off and is finished now: {files} more transcripts and {bindings} more bindings are back, {left} left alone"
    ))
}

/// Removes the temporary files and the lock that a dead process left in the stores' directories.
fn sweep_own(run: &Run) {
    let mended = run.manifest.mends.iter().map(|record| &record.path);
    for file in run.manifest.touches.iter().chain(mended).filter(|file| run.manifest.is_ours(file)) {
        sweep(&run.manifest.state_dir, file, run.manifest.pid);
    }
}

fn sweep(state_dir: &Path, file: &Path, pid: u32) {
    if pid == std::process::id() {
        return;
    }
    let name = file.file_name().unwrap_or_default();
    let Some(dir) = file.parent().and_then(|parent| Dir::open_below(state_dir, parent).ok()) else { return };
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

fn finish(journal: &Journal, mut run: Run, deadline: Deadline, failed: &mut Vec<Left>) -> anyhow::Result<String> {
    if let Some(elsewhere) = run.manifest.stores.iter().find(|record| !run.manifest.is_ours(&record.path)) {
        anyhow::bail!("{} lies outside the state directory, which was moved since", elsewhere.path.display());
    }
    for index in 0..run.manifest.mends.len() {
        let record = &run.manifest.mends[index];
        if record.state == StepState::Planned {
            let mended = archive::mended(&run, record)?;
            run.manifest.mends[index].state = if mended { StepState::Done } else { StepState::Skipped };
        }
    }
    for index in 0..run.manifest.stores.len() {
        if run.manifest.stores[index].state == StepState::Planned {
            let Manifest { state_dir, stores, .. } = &mut run.manifest;
            settle_store(state_dir, &mut stores[index])?;
        }
    }
    // A run of OpenClaw that was under way may have bound a file again: then the file stays where it is.
    let references = references_now(&run.manifest.touches);
    let bound = |record: &MoveRecord| {
        references.as_ref().map_or(true, |references| references.iter().any(|one| one.refer_to(&record.from, None)))
    };
    let reverted: HashSet<PathBuf> = of_stores(&run, StepState::Skipped);
    let (mut moved, mut left) = (0, 0);
    for index in 0..run.manifest.moves.len() {
        let record = run.manifest.moves[index].clone();
        // What an unfinished run notes as done may not have been durable: then the file is back in its place.
        if record.state == StepState::Skipped || record.restored || record.purged {
            continue;
        }
        if deadline.has_passed() {
            run.save()?;
            return Ok(format!("the run {} was cut off; {OVER}, the next run moves its other files", run.id()));
        }
        if let Err(error) = &references
            && record.why != Reason::LockDead
            && !archive::arrived(&run, &record)?
        {
            run.save()?;
            let why = format!("its files follow once every store that may refer to them can be read: {error:#}");
            failed.push(Left::new(format!("the run {}", run.id()), why));
            return Ok(format!("the run {} was cut off and waits for a later run", run.id()));
        }
        let stays = match record.why {
            // A store's dead lock goes only to make room for ours.
            Reason::LockDead => is_store_lock(&record.from),
            _ => reverted.contains(&record.from) || bound(&record),
        };
        let done = match archive::arrived(&run, &record) {
            Ok(false) if !stays => archive::out(&run, &record).map(|moved| matches!(moved, archive::Moved::Yes { .. })),
            known => known,
        };
        match done {
            Ok(true) => {
                moved += usize::from(record.state != StepState::Done);
                run.manifest.moves[index].state = StepState::Done;
            }
            Ok(false) => {
                left += 1;
                run.manifest.moves[index].state = StepState::Skipped;
            }
            // It stays planned: a later run finds out where it is, and tries again.
            Err(error) => {
                failed.push(Left::new(record.from.display(), format!("{error:#}")));
                run.manifest.moves[index].state = StepState::Planned;
            }
        }
    }
    if run.manifest.moves.iter().any(|record| record.state == StepState::Planned) {
        run.save()?;
        return Ok(format!("the run {} was cut off; the next run tries again to move its other files", run.id()));
    }
    let manifest = &mut run.manifest;
    manifest.purged.retain(|path| fs_err::symlink_metadata(path).is_err());
    let stores = manifest.stores.iter().filter(|record| record.state == StepState::Done);
    let taken: Vec<Action> =
        stores.flat_map(|record| &record.entries).filter(|entry| !entry.restored).map(|entry| entry.action).collect();
    let done = taken.len();
    let count = |wanted: Action| taken.iter().filter(|action| **action == wanted).count();
    (manifest.totals.quarantine, manifest.totals.defer) = (count(Action::Quarantine), count(Action::Defer));
    manifest.totals.expire = done - manifest.totals.quarantine - manifest.totals.defer;
    manifest.totals.transcripts = manifest.moves.iter().filter(|record| record.state == StepState::Done).count();
    let mended = |store: bool| {
        let records = manifest.mends.iter().filter(|record| record.state == StepState::Done);
        records.filter(|record| record.store_sha256.is_some() == store).count()
    };
    (manifest.totals.repair, manifest.totals.salvage) = (mended(false), mended(true));
    let mended = manifest.totals.repair + manifest.totals.salvage;
    if done == 0 && mended == 0 && manifest.totals.transcripts == 0 && manifest.purged.is_empty() {
        let id = run.id().to_owned();
        journal.forget(&id)?;
        return Ok(format!("the run {id} was cut off before it changed anything"));
    }
    manifest.state = RunState::Done;
    manifest.finished_at = Some(Utc::now());
    if let Some((_, error)) = archive::sync(&run).pop() {
        return Err(error);
    }
    run.save()?;
    let told = journal.remember(&run.manifest.history_line());
    let told = told.err().map_or_else(String::new, |error| format!("; {error:#}"));
    Ok(format!(
        "the run {} was cut off and is finished now: {done} bindings were out, {moved} files followed, {left} stay{}{told}",
        run.id(),
        if mended > 0 { format!(", {mended} are mended") } else { String::new() }
    ))
}

/// Finds out what became of a store: by its hash, or, when somebody wrote it since, by what it still holds. An entry
/// that it holds as it was is bound, whoever bound it; the others were taken.
fn settle_store(state_dir: &Path, record: &mut StoreRecord) -> anyhow::Result<()> {
    let Some(text) = read_if_there(state_dir, &record.path)? else {
        // Gone with all that was in it: what was taken out before can still be brought back.
        record.state = StepState::Done;
        return Ok(());
    };
    let hash = sha256(&text);
    let document = store::read(&text);
    record.state = match (&document, hash) {
        (_, hash) if hash == record.new_sha256 => StepState::Done,
        (_, hash) if hash == record.old_sha256 => StepState::Skipped,
        (Err(_), _) => StepState::Done,
        (Ok(document), _) => {
            let bound: HashMap<String, String> = document
                .effective(&text)
                .into_iter()
                .map(|place| (place.key, sha256(document.members[place.member].entry.span.of(&text))))
                .collect();
            for entry in &mut record.entries {
                entry.restored = bound.get(&entry.key) == Some(&entry.entry_sha256);
            }
            let untouched = record.entries.iter().all(|entry| entry.restored);
            if untouched { StepState::Skipped } else { StepState::Done }
        }
    };
    Ok(())
}

fn read_if_there(state_dir: &Path, store: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    if fs_err::symlink_metadata(store).is_err() {
        return Ok(None);
    }
    let dir = Dir::open_below(state_dir, store.parent().unwrap_or(Path::new("/")))?;
    read_locked(&dir, store.file_name().unwrap_or_default()).map(|(text, _)| Some(text))
}

fn of_stores(run: &Run, state: StepState) -> HashSet<PathBuf> {
    let records = run.manifest.stores.iter().filter(|record| record.state == state);
    records.flat_map(|record| &record.entries).filter_map(|entry| entry.file.clone()).collect()
}

fn is_store_lock(path: &Path) -> bool {
    path.file_name().and_then(OsStr::to_str).is_some_and(|name| !name.contains(".jsonl"))
}

/// What says that sessions of a store that this run touched live in SQLite by now: what came back would stand beside
/// their rows, and be seen by nobody.
pub fn moved_since(run: &Manifest, state_dir: &Path) -> Option<String> {
    let stores = run.stores.iter().map(|record| &record.path).chain(run.mends.iter().map(|record| &record.path));
    let files = run.moves.iter().map(|record| &record.from).chain(run.renames.iter().map(|record| &record.from));
    let mut dirs: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    for path in files.chain(&run.touches) {
        let Some(dir) = path.parent() else { continue };
        dirs.entry(dir.to_owned()).or_insert_with(|| dir.join("sessions.json"));
    }
    for path in stores.filter(|path| path.extension().is_none_or(|extension| extension != "jsonl")) {
        dirs.extend(path.parent().map(|dir| (dir.to_owned(), path.clone())));
    }
    dirs.values().find_map(|store| place::moved(state_dir, store))
}
