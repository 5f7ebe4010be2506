//! Moving one file into a run's archive and back, and finding out after a crash where it is.
//!
//! A file is known by more than its inode number, which the file system gives to the next file once it is free. A name
//! in the archive says that all of the file is there: a copy gets it only when it is whole. No copy is removed unless
//! the original is proven to be in its place, byte for byte.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::change::manifest::{After, Before, Change, Manifest, Step, StepState};
use crate::change::outcome::{Changed, Refusal};
use crate::change::progress::{Advance, Phase};
use crate::change::run::Run;
use crate::disk::atomic;
use crate::disk::carry::{carry, duplicate};
use crate::disk::deadline::Deadline;
use crate::disk::dir::{Dir, FileInfo};
use crate::model::proof::{DirId, Stamp, hex, sha256};
use crate::openclaw::files::lock::{held_by, lock_name};

/// Bytes that are compared or hashed at once.
const CHUNK: usize = 256 * 1024;

/// The directory and the name of a path.
pub(crate) fn parts(path: &Path) -> anyhow::Result<(&Path, &OsStr)> {
    path.parent().zip(path.file_name()).with_context(|| format!("{} names no file", path.display()))
}

/// Moves a file into the run's archive, if it is still the planned one and nobody holds its lock. Returns whether its
/// bytes are free now: not while another hard link keeps them.
pub(crate) fn out(run: &Run, step: &Step) -> anyhow::Result<Result<bool, Changed>> {
    let Some((from, name)) = source_dir(step)? else { return Ok(Err(Changed::Directory)) };
    let (Some(before), Some(kept)) = (&step.before, step.kept()) else { return Ok(Err(Changed::Gone)) };
    let Some(info) = from.info(&name)? else { return Ok(Err(Changed::Gone)) };
    if !info.regular || info.stamp != before.stamp {
        return Ok(Err(Changed::File));
    }
    if let Some(holder) = held_by(&from, &lock_name(&name))? {
        return Ok(Err(Changed::Held(holder)));
    }
    let (archive, to) = run.locate(kept)?;
    carry(&from, &name, &archive, &to, &info)?;
    let arrived = archive.info(&to)?;
    if arrived.is_none_or(|arrived| !same_content(&arrived.stamp, &before.stamp)) {
        // Swapped between the look and the rename: whatever it is, it goes back.
        archive.move_to(&to, &from, &name).with_context(|| format!("cannot move {} back", step.path.display()))?;
        return Ok(Err(Changed::Replaced));
    }
    Ok(Ok(info.links == 1))
}

/// A file of the archive that may come back.
pub(crate) struct Returnable {
    archive: Dir,
    from: OsString,
    info: FileInfo,
    to: Dir,
}

/// Moves a file from the run's archive back to its directory, under `name`. What is there is compared with what was
/// put there first.
pub(crate) fn back(run: &Run, step: &Step, name: &OsStr) -> anyhow::Result<Result<(), Refusal>> {
    let Returnable { archive, from, info, to } = match may_come_back(run, step, name)? {
        Ok(returnable) => returnable,
        Err(refusal) => return Ok(Err(refusal)),
    };
    carry(&archive, &from, &to, name, &info)?;
    to.sync()?;
    Ok(Ok(()))
}

/// Finds out whether a file of the archive can come back under `name`. Reads only.
pub(crate) fn may_come_back(run: &Run, step: &Step, name: &OsStr) -> anyhow::Result<Result<Returnable, Refusal>> {
    let (place, _) = parts(&step.path)?;
    if !run.manifest.is_ours(place) {
        return Ok(Err(Refusal::Outside));
    }
    let to = Dir::open_below(&run.manifest.state_dir, place)?;
    let Some(kept) = step.kept() else { return Ok(Err(Refusal::NotArchived(step.path.clone()))) };
    let (archive, from) = run.locate(kept)?;
    let Some(info) = archive.info(&from)? else { return Ok(Err(Refusal::NotArchived(kept.to_owned()))) };
    if !is_whole(&archive, &from, step.before.as_ref())? {
        return Ok(Err(Refusal::Damaged(kept.to_owned())));
    }
    if to.info(name)?.is_some() {
        return Ok(Err(Refusal::Taken(to.join(name))));
    }
    Ok(Ok(Returnable { archive, from, info, to }))
}

/// Returns whether a file of the archive is, byte for byte, what was put there, as far as that is recorded.
pub(crate) fn is_whole(archive: &Dir, name: &OsStr, before: Option<&Before>) -> anyhow::Result<bool> {
    let Some(before) = before else { return Ok(true) };
    let (file, info) = archive.open_file(name)?;
    if info.stamp.size != before.stamp.size {
        return Ok(false);
    }
    let Some(expected) = &before.sha256 else { return Ok(true) };
    let hash = hash_of(file, |_| {}).with_context(|| format!("cannot read {}", archive.join(name).display()))?;
    Ok(hash == *expected)
}

/// Hashes a file, and tells `hashed` of each piece how many bytes it has.
fn hash_of(mut file: File, hashed: impl Fn(u64)) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(hex(&hash.finalize())),
            read => {
                hash.update(&chunk[..read]);
                hashed(read as u64);
            }
        }
    }
}

/// Returns what is recorded of a file whose hash is not.
fn unhashed(step: &Step) -> Option<&Before> {
    step.before.as_ref().filter(|before| before.sha256.is_none() && step.state == StepState::Done)
}

/// Records the hashes of what the run has in its archive and did not hash yet. After the deadline the rest goes without:
/// then sizes alone are compared when it comes back.
pub(crate) fn record_hashes(run: &mut Run, deadline: Deadline, advance: Advance<'_>) {
    let here: &Run = run;
    let all = here.manifest.steps.iter().filter(|step| unhashed(step).is_some()).map(Step::bytes).sum();
    let done = AtomicU64::new(0);
    let hashed = |bytes| advance(Phase::Hashing, done.fetch_add(bytes, Ordering::Relaxed) + bytes, all);
    let hash = |step: &Step| {
        let before = unhashed(step)?;
        let (archive, name) = here.locate(step.kept().filter(|_| !deadline.has_passed())?).ok()?;
        let (file, info) = archive.open_file(&name).ok()?;
        hash_of(file, hashed).ok().filter(|_| info.stamp.size == before.stamp.size)
    };
    let hashes: Vec<Option<String>> = here.manifest.steps.par_iter().map(hash).collect();
    for (step, hash) in run.manifest.steps.iter_mut().zip(hashes) {
        if let (Some(before), Some(hash)) = (&mut step.before, hash) {
            before.sha256 = Some(hash);
        }
    }
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
            // As beside a store that is written: what a crash leaves there is known by its name.
            let beside = atomic::temp_name(&beside_name(new));
            to.remove(&beside)?;
            duplicate(archive, name, to, &beside, info)?;
            to.replace(&beside, new)?;
            to.sync()?;
            archive.remove(name)
        }
        moved => {
            moved.with_context(|| format!("cannot put {} back", to.join(new).display()))?;
            to.sync()
        }
    }
}

fn beside_name(name: &OsStr) -> OsString {
    let mut beside = name.to_owned();
    beside.push(".original");
    beside
}

/// Makes durable where the files of a run are, and that its locks are gone, before a manifest says that it is done. First
/// the archive's directories, then the others: where a power cut can split a rename, two names of a file are left, never
/// none. Gives the directories that could not be synced; one that is gone has nothing to lose.
pub(crate) fn sync(run: &Run) -> Vec<(PathBuf, anyhow::Error)> {
    let Manifest { steps, batches, .. } = &run.manifest;
    let steps = steps.iter().filter(|step| step.state == StepState::Done && step.change != Change::Delete);
    let stores = batches.iter().filter(|batch| batch.state == StepState::Done);
    let kept = steps.clone().filter_map(Step::kept).filter_map(|kept| run.locate(kept).ok());
    let archives: BTreeSet<PathBuf> = kept.map(|(dir, _)| dir.path().to_owned()).collect();
    let files = steps.map(|step| &step.path).chain(stores.map(|batch| &batch.store));
    let places: BTreeSet<PathBuf> = files.filter_map(|file| Some(file.parent()?.to_owned())).collect();
    let there = archives.into_iter().chain(places).filter(|path| fs_err::symlink_metadata(path).is_ok());
    there.filter_map(|path| Dir::open(&path).and_then(|dir| dir.sync()).err().map(|error| (path, error))).collect()
}

/// Finds out whether a file is in the archive; what has its name by now is then another file. Where a move was cut off
/// between its two halves the file is in both places: then the archive's copy goes, and the move can be made again.
pub(crate) fn arrived(run: &Run, step: &Step) -> anyhow::Result<bool> {
    match place_of(run, step)? {
        Arrival::Whole => Ok(true),
        Arrival::Not => Ok(false),
        Arrival::Twice => {
            let (archive, name) = run.locate(step.kept().unwrap_or(Path::new("")))?;
            archive.remove(&name)?;
            Ok(false)
        }
    }
}

/// How far a move came.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The file is in the archive, and what has its name by now is another.
    Whole,
    /// It is not in the archive.
    Not,
    /// It is in both places.
    Twice,
}

/// Finds out how far a move came. Reads only.
pub(crate) fn place_of(run: &Run, step: &Step) -> anyhow::Result<Arrival> {
    let Some((kept, before)) = step.kept().zip(step.before.as_ref()) else { return Ok(Arrival::Not) };
    let (archive, name) = run.locate(kept)?;
    if archive.info(&name)?.is_none() {
        return Ok(Arrival::Not);
    }
    let (place, from) = parts(&step.path)?;
    let Ok(dir) = Dir::open(place) else { return Ok(Arrival::Whole) };
    let untouched = dir.info(from)?.is_some_and(|here| here.regular && here.stamp == before.stamp);
    let twice = untouched && same_bytes((&dir, from), (&archive, &name))?;
    Ok(if twice { Arrival::Twice } else { Arrival::Whole })
}

/// Returns whether two files have the same bytes.
pub(crate) fn same_bytes((dir, name): (&Dir, &OsStr), (other, its_name): (&Dir, &OsStr)) -> anyhow::Result<bool> {
    let ((mut one, info), (mut two, its_info)) = (dir.open_file(name)?, other.open_file(its_name)?);
    if (info.stamp.dev, info.stamp.ino) == (its_info.stamp.dev, its_info.stamp.ino) {
        return Ok(true);
    }
    if info.stamp.size != its_info.stamp.size {
        return Ok(false);
    }
    let cannot_read = || format!("cannot compare {} and {}", dir.join(name).display(), other.join(its_name).display());
    let (mut here, mut there) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut left = info.stamp.size;
    while left > 0 {
        let length = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
        one.read_exact(&mut here[..length]).with_context(cannot_read)?;
        two.read_exact(&mut there[..length]).with_context(cannot_read)?;
        if here[..length] != there[..length] {
            return Ok(false);
        }
        left -= length as u64;
    }
    Ok(true)
}

/// Finds out whether another file took the place of the original, which the archive keeps. If not, the original is in its
/// place, and its second name goes.
pub(crate) fn replaced(run: &Run, step: &Step) -> anyhow::Result<bool> {
    let Change::Replace { to, after, .. } = &step.change else { return Ok(false) };
    let (place, name) = parts(&step.path)?;
    let dir = Dir::open(place).ok();
    let now = dir.as_ref().map(|dir| dir.info(name)).transpose()?.flatten();
    let Some((before, to)) = step.before.as_ref().zip(to.as_ref()) else {
        // There was no file: what is there now is ours, or somebody else's.
        let (Some(dir), Some(info), After::Store { sha256: expected }) = (dir, now, after) else { return Ok(false) };
        return Ok(info.regular && *expected == sha256(&read_whole(&dir, name)?.0));
    };
    let (archive, kept) = run.locate(to)?;
    if archive.info(&kept)?.is_none() {
        return Ok(false);
    }
    let untouched = now.is_some_and(|now| now.regular && now.stamp == before.stamp);
    if let (true, Some(dir)) = (untouched, &dir)
        && same_bytes((dir, name), (&archive, &kept))?
    {
        archive.remove(&kept)?;
        return Ok(false);
    }
    Ok(true)
}

/// Opens the directory that a recorded file was in: component by component from the sessions directory, which must be
/// the recorded one; `None` when it is not in its place any more.
fn source_dir(step: &Step) -> anyhow::Result<Option<(Dir, OsString)>> {
    let (place, name) = parts(&step.path)?;
    // The recorded directory is the sessions directory; the file may lie in a directory below it.
    for base in place.ancestors() {
        let Ok(dir) = Dir::open(base) else { continue };
        if is_dir(&dir, step.dir)? {
            let below = place.strip_prefix(base).unwrap_or(Path::new(""));
            return Ok(Some((descend(dir, below)?, name.to_owned())));
        }
    }
    Ok(None)
}

fn is_dir(dir: &Dir, id: DirId) -> anyhow::Result<bool> {
    Ok(dir.id()? == id)
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

/// Reads a store, with what it is.
pub(crate) fn read_whole(dir: &Dir, name: &OsStr) -> anyhow::Result<(Vec<u8>, FileInfo)> {
    let (mut file, info) = dir.open_file(name)?;
    let cannot_read = || format!("cannot read {}", dir.join(name).display());
    let mut text = crate::disk::memory::room(info.stamp.size).with_context(cannot_read)?;
    file.read_to_end(&mut text).with_context(cannot_read)?;
    Ok((text, info))
}
