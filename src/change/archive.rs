//! Moving one file into a run's archive and back: a rename where that is possible, else a copy that is checked before
//! the original goes.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use anyhow::Context as _;

use crate::change::journal::Run;
use crate::change::manifest::{Manifest, MendRecord, MoveRecord, StepState};
use crate::disk::atomic;
use crate::disk::carry::{carry, duplicate};
use crate::disk::dir::{Dir, FileInfo};
use crate::model::proof::Stamp;
use crate::model::proof::{DirId, sha256};
use crate::openclaw::files::lock::{held_by, lock_name};

/// What came of a move.
pub(crate) enum Moved {
    /// The file is in its new place. `frees`: no other hard link keeps its bytes.
    Yes {
        /// Whether its bytes are free now.
        frees: bool,
    },
    /// It is not the file that was meant; why.
    Changed(String),
}

/// Moves a file into the run's archive, if it is still the planned one and nobody holds its lock.
pub(crate) fn out(run: &Run, record: &MoveRecord) -> anyhow::Result<Moved> {
    let (from, name) = match source_dir(record)? {
        Ok(found) => found,
        Err(why) => return Ok(Moved::Changed(why)),
    };
    let Some(info) = from.info(&name)? else { return Ok(Moved::Changed("it is gone".to_owned())) };
    if !info.regular || info.stamp != record.stamp {
        return Ok(Moved::Changed("it is not the file that was planned".to_owned()));
    }
    let lock = lock_name(&name);
    if let Some(owner) = held_by(&from, &lock)? {
        return Ok(Moved::Changed(owner));
    }
    let (archive, to) = run.locate(&record.to)?;
    carry(&from, &name, &archive, &to, &info)?;
    let arrived = archive.info(&to)?;
    if arrived.is_none_or(|arrived| !same_content(&arrived.stamp, &record.stamp)) {
        // Swapped between the look and the rename: whatever it is, it goes back.
        archive.move_to(&to, &from, &name).with_context(|| format!("cannot move {} back", record.from.display()))?;
        return Ok(Moved::Changed("it was replaced at the last moment".to_owned()));
    }
    Ok(Moved::Yes { frees: info.links == 1 })
}

/// Moves a file from the run's archive back to `directory/name`; `Changed` when that name is taken.
pub(crate) fn back(run: &Run, record: &MoveRecord, name: &OsStr) -> anyhow::Result<Moved> {
    let place = record.from.parent().unwrap_or(Path::new("/"));
    if !run.manifest.is_ours(place) {
        return Ok(Moved::Changed("it lies outside the state directory, which was moved since".to_owned()));
    }
    let to = Dir::open_below(&run.manifest.state_dir, place)?;
    let (archive, from) = run.locate(&record.to)?;
    let Some(info) = archive.info(&from)? else {
        return Ok(Moved::Changed(format!("{} is not in the archive any more", record.to.display())));
    };
    if to.info(name)?.is_some() {
        return Ok(Moved::Changed(format!("{} exists", to.join(name).display())));
    }
    carry(&archive, &from, &to, name, &info)?;
    to.sync()?;
    Ok(Moved::Yes { frees: info.links == 1 })
}

/// Gives a file a second name in the archive, so that another can take its place without it ever being gone. Where that
/// cannot be, across file systems or for a file of another's, it is copied and compared.
pub(crate) fn keep(from: &Dir, name: &OsStr, archive: &Dir, to: &OsStr, info: &FileInfo) -> anyhow::Result<()> {
    if from.link_to(name, archive, to).is_err() {
        duplicate(from, name, archive, to, info)?;
    }
    archive.sync()
}

/// Whether a file was written after it got its second name in the archive. OpenClaw 2026.5.3 and later takes a lock away
/// whose owner is not OpenClaw (F§5.3), and writes to the file until another takes its place. Of a copy nothing tells.
pub(crate) fn was_written(archive: &Dir, kept: &OsStr, then: Stamp) -> anyhow::Result<bool> {
    let now = archive.info(kept)?.map(|info| info.stamp);
    Ok(now.is_some_and(|now| (now.dev, now.ino) == (then.dev, then.ino) && now != then))
}

/// Puts a file of the archive back that was written when another, of the stamp `new`, took its place; that one is then in
/// the archive no more.
pub(crate) fn swap_back(
    (dir, name): (&Dir, &OsStr),
    (archive, kept): (&Dir, &OsStr),
    new: Option<Stamp>,
) -> anyhow::Result<()> {
    anyhow::ensure!(
        dir.info(name)?.map(|info| info.stamp) == new,
        "{} was written while another file took its place, before and after: what was written before is in {}",
        dir.join(name).display(),
        archive.join(kept).display()
    );
    let info = archive.info(kept)?.with_context(|| format!("{} is gone", archive.join(kept).display()))?;
    put_over(archive, kept, dir, name, &info)
}

/// Puts a file of the archive in the place of the file `to/new`.
pub(crate) fn put_over(archive: &Dir, name: &OsStr, to: &Dir, new: &OsStr, info: &FileInfo) -> anyhow::Result<()> {
    match archive.replace_in(name, to, new) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            let temp = atomic::temp_name(new);
            to.remove(&temp)?;
            duplicate(archive, name, to, &temp, info)?;
            to.replace(&temp, new)?;
            to.sync()?;
            archive.remove(name)
        }
        moved => {
            moved.with_context(|| format!("cannot put {} back", to.join(new).display()))?;
            to.sync()
        }
    }
}

/// Makes durable where the files of a run are, and that its locks are gone, before a manifest says that it is done. First
/// the archive's directories, then the others: where a power cut can split a rename, two names of a file are left, never
/// none. Gives the directories that could not be synced; one that is gone has nothing to lose.
pub(crate) fn sync(run: &Run) -> Vec<(PathBuf, anyhow::Error)> {
    let Manifest { moves, mends, stores, .. } = &run.manifest;
    let moves = moves.iter().filter(|record| record.state == StepState::Done);
    let mends = mends.iter().filter(|record| record.state == StepState::Done);
    let stores = stores.iter().filter(|record| record.state == StepState::Done);
    let kept = moves.clone().map(|record| &record.to).chain(mends.clone().filter_map(|record| record.to.as_ref()));
    let archives: BTreeSet<PathBuf> =
        kept.filter_map(|to| run.locate(to).ok()).map(|(dir, _)| dir.path().to_owned()).collect();
    let files = moves.map(|record| &record.from).chain(mends.map(|record| &record.path));
    let places: BTreeSet<PathBuf> =
        files.chain(stores.map(|record| &record.path)).filter_map(|file| Some(file.parent()?.to_owned())).collect();
    let there = archives.into_iter().chain(places).filter(|path| fs_err::symlink_metadata(path).is_ok());
    there.filter_map(|path| Dir::open(&path).and_then(|dir| dir.sync()).err().map(|error| (path, error))).collect()
}

/// Whether the file is in the archive, whole. A rename shows by its inode, whatever stands in the old place by now.
/// Across file systems a copy is whole once its original is gone; beside its untouched original it may be half a copy
/// and is removed, so that the move can be made again.
pub(crate) fn arrived(run: &Run, record: &MoveRecord) -> anyhow::Result<bool> {
    let (archive, name) = run.locate(&record.to)?;
    let Some(there) = archive.info(&name)? else { return Ok(false) };
    let same = |stamp: Stamp| (stamp.dev, stamp.ino) == (record.stamp.dev, record.stamp.ino);
    if same(there.stamp) {
        return Ok(true);
    }
    let place = record.from.parent().and_then(|dir| Dir::open(dir).ok());
    let here = place.and_then(|dir| dir.info(record.from.file_name()?).ok().flatten());
    if here.is_some_and(|here| same(here.stamp)) {
        archive.remove(&name)?;
        return Ok(false);
    }
    Ok(true)
}

/// Whether a mended file took the place of its original, which the archive keeps. If not, the original is in its place
/// and its second name goes.
pub(crate) fn mended(run: &Run, record: &MendRecord) -> anyhow::Result<bool> {
    let name = record.path.file_name().unwrap_or_default();
    let dir = record.path.parent().and_then(|parent| Dir::open(parent).ok());
    let now = dir.as_ref().map(|dir| dir.info(name)).transpose()?.flatten();
    let Some((old, to)) = record.old.zip(record.to.as_ref()) else {
        // There was no file: what is there now is ours, or somebody else's.
        let (Some(dir), true) = (dir, now.is_some()) else { return Ok(false) };
        let mut text = Vec::new();
        dir.open_file(name)?.0.read_to_end(&mut text)?;
        return Ok(Some(sha256(&text)) == record.store_sha256);
    };
    let (archive, kept) = run.locate(to)?;
    let same = now.is_some_and(|now| (now.stamp.dev, now.stamp.ino) == (old.dev, old.ino));
    let mended = !same && archive.info(&kept)?.is_some();
    if !mended {
        archive.remove(&kept)?;
    }
    Ok(mended)
}

/// Opens the directory that a recorded file was in: component by component from the sessions directory, which must be
/// the recorded one.
fn source_dir(record: &MoveRecord) -> anyhow::Result<Result<(Dir, std::ffi::OsString), String>> {
    let name = record.from.file_name().unwrap_or_default().to_owned();
    // The recorded directory is the sessions directory; the file may lie in a directory below it.
    for base in record.from.ancestors().skip(1) {
        let Ok(dir) = Dir::open(base) else { continue };
        if dir.id()? == record.dir {
            let below = record.from.parent().and_then(|parent| parent.strip_prefix(base).ok()).unwrap_or(Path::new(""));
            return Ok(Ok((descend(dir, below)?, name)));
        }
    }
    let DirId { dev, ino } = record.dir;
    Ok(Err(format!("its directory (device {dev}, inode {ino}) is not in its place any more")))
}

fn descend(mut dir: Dir, below: &Path) -> anyhow::Result<Dir> {
    for component in below.components() {
        if let Component::Normal(name) = component {
            dir = dir.existing_subdir(name)?;
        }
    }
    Ok(dir)
}

fn same_content(now: &Stamp, then: &Stamp) -> bool {
    now.size == then.size && now.mtime_ns == then.mtime_ns
}
