//! What became of a batch of rows that was cut off, and rows that are deleted for good.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::back::{ReturningUnit, Stands};
use super::kept::{self, Kept};
use crate::change::archive::parts;
use crate::change::manifest::{Batch, BatchSource, EntryRecord, StepState, Undone};
use crate::change::run::Run;
use crate::disk::deadline::Deadline;
use crate::disk::dir::Dir;
use crate::openclaw::rows::open;
use crate::openclaw::rows::shape::Shape;

/// Finds out whether the transaction of a batch was committed: all of its units were, or none.
pub(crate) fn find_out(run: &Run, at: usize) -> anyhow::Result<StepState> {
    let batch = &run.manifest.batches[at];
    let Some(images) = batch.images() else { return Ok(batch.state) };
    let (dir, name) = run.locate(&images.kept)?;
    let Some(kept) = Kept::open(&dir, &name, &images.sha256)? else { return Ok(StepState::Done) };
    let (parent, database) = parts(&images.database)?;
    // Gone with all that was in it: what was taken out before can still be brought back.
    let Ok(dir) = Dir::open_below(&run.manifest.state_dir, parent) else { return Ok(StepState::Done) };
    if dir.info(database)?.is_none() {
        return Ok(StepState::Done);
    }
    let opened = open::to_read(&dir, database, Deadline::default())?;
    let shape = Shape::of(&opened.db, &batch.agent)?;
    for unit in units(batch) {
        let stands = ReturningUnit { db: &opened.db, shape: &shape, kept: &kept, unit, keys: true }.stands()?;
        match stands {
            Some(Stands::Before) => return Ok(StepState::Skipped),
            Some(Stands::After) => return Ok(StepState::Done),
            None => {}
        }
    }
    Ok(StepState::Done)
}

/// The numbers of a batch's units, each once.
pub(crate) fn units(batch: &Batch) -> Vec<u32> {
    let mut units: Vec<u32> = batch.entries.iter().filter_map(EntryRecord::unit).collect();
    units.sort_unstable();
    units.dedup();
    units
}

/// Deletes the rows of entries that were purged: what is left of the file goes to a new one, which the manifest names before
/// the old one is deleted.
pub(crate) fn forget(run: &mut Run, at: usize) -> anyhow::Result<()> {
    let batch = &run.manifest.batches[at];
    let Some(images) = batch.images() else { return Ok(()) };
    if !batch.entries.iter().any(|entry| entry.undone == Some(Undone::Purged)) {
        return Ok(());
    }
    let (dir, name) = run.locate(&images.kept)?;
    if batch.entries.iter().any(EntryRecord::is_away) {
        // Keys that share a session share a unit: its rows stay for as long as one of them needs them.
        let of = |away: bool| {
            let entries = batch.entries.iter().filter(move |entry| entry.is_away() == away);
            entries.filter_map(EntryRecord::unit)
        };
        let units: Vec<u32> = of(false).filter(|unit| of(true).all(|needed| needed != *unit)).collect();
        let new = dir.free_name(OsStr::new("sessions.rows.sqlite"), |_| false)?;
        let sha256 = kept::without(run, &dir, (&name, &new), &images.sha256, &units)?;
        let below = images.kept.with_file_name(&new);
        if let BatchSource::Rows(images) = &mut run.manifest.batches[at].from {
            (images.kept, images.sha256) = (below, sha256);
        }
        run.save()?;
    }
    sweep(run)
}

/// Deletes files of kept rows that the manifest does not name.
pub(crate) fn sweep(run: &Run) -> anyhow::Result<()> {
    for (dir, name) in strays(run)? {
        dir.remove(&name)?;
        dir.sync()?;
    }
    Ok(())
}

/// Returns the files of kept rows that the manifest does not name, or of which all was purged.
pub(crate) fn strays(run: &Run) -> anyhow::Result<Vec<(Dir, OsString)>> {
    let mut strays = Vec::new();
    let named = |path: &Path| {
        let mut batches = run.manifest.batches.iter().filter(|batch| batch.images().is_some());
        batches
            .any(|batch| batch.kept() == path && batch.entries.iter().any(|entry| entry.undone != Some(Undone::Purged)))
    };
    for batch in run.manifest.batches.iter().filter(|batch| batch.images().is_some()) {
        let Some(shelf) = batch.kept().parent() else { continue };
        let (dir, _) = run.locate(batch.kept())?;
        for entry in fs_err::read_dir(dir.path())?.filter_map(Result::ok) {
            let name = entry.file_name();
            if name.as_encoded_bytes().ends_with(b".rows.sqlite") && !named(&shelf.join(&name)) {
                strays.push((Dir::open(dir.path())?, name));
            }
        }
    }
    Ok(strays)
}
