//! OpenClaw's store lock, taken as OpenClaw takes it (`openclaw-format.md` §5): complete from birth, held briefly,
//! never stolen from the living.

use std::ffi::{OsStr, OsString};
use std::io::{ErrorKind, Read, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use chrono::{SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use crate::disk::atomic;
use crate::disk::carry;
use crate::disk::dir::{Dir, FileInfo};
use crate::disk::platform;
use crate::disk::process;
use crate::model::lock;
use crate::model::proof::Stamp;
use crate::openclaw::gateway;

/// The store lock of one store. While it exists, OpenClaw 2026.2.26 to 2026.4.29 waits.
#[derive(Debug)]
#[must_use = "the lock is released when it is dropped"]
pub struct StoreLock<'a> {
    dir: &'a Dir,
    store: OsString,
    name: OsString,
    stamp: Stamp,
}

/// What became of the wish for a lock.
pub enum Acquired<'a> {
    /// It is ours.
    Ours(StoreLock<'a>),
    /// A living process has it.
    Busy(Holder),
}

/// A lock that is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The lock.
    pub lock: PathBuf,
    /// Its owner.
    pub who: Who,
}

/// The owner of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// A process that lives.
    Process(u32),
    /// Nobody is named: it may be held.
    Nameless,
    /// It is no regular file, so nobody can tell.
    NoFile,
    /// It changed its owner while it was looked at.
    Changing,
    /// A process that is not here, and may be a gateway in a container.
    Unseen(u32),
}

/// The lock of a store or transcript: `<file>.lock`.
pub(crate) fn lock_name(file: &OsStr) -> OsString {
    let mut name = file.to_owned();
    name.push(".lock");
    name
}

impl<'a> StoreLock<'a> {
    /// Takes `<store>.lock` in `dir`, waiting for at most `patience`. A lock whose owner is gone is moved to `archive`.
    pub fn acquire(dir: &'a Dir, store: &OsStr, archive: &Dir, patience: Duration) -> anyhow::Result<Acquired<'a>> {
        let name = lock_name(store);
        let started = Instant::now();
        loop {
            match look(dir, &name)? {
                LockLook::Free => {
                    if let Some(stamp) = Self::create(dir, &name)? {
                        return Ok(Acquired::Ours(Self { dir, store: store.to_owned(), name, stamp }));
                    }
                }
                LockLook::Dead(stamp) => clear_dead(dir, &name, stamp, archive)?,
                LockLook::Held(owner) if started.elapsed() >= patience => return Ok(Acquired::Busy(owner)),
                LockLook::Held(_) => std::thread::sleep(Duration::from_millis(50).min(patience)),
            }
        }
    }

    /// Writes a whole lock beside the name and links it there, so that nobody ever sees an empty one: synced, since after
    /// a power cut the name may be there. Nobody could tell that the owner of an empty lock is gone.
    fn create(dir: &Dir, name: &OsStr) -> anyhow::Result<Option<Stamp>> {
        let temp = atomic::temp_name(name);
        dir.remove(&temp)?;
        let mut file = dir.create(&temp, 0o644)?;
        let mut link = || -> std::io::Result<Option<Stamp>> {
            file.write_all(payload().as_bytes())?;
            platform::sync_file(&file)?;
            let stamp = atomic::own_info(&file)?.stamp;
            match dir.link_to(&temp, dir, name) {
                Ok(()) => Ok(Some(stamp)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(None),
                Err(error) => Err(error),
            }
        };
        let linked = link();
        let removed = dir.remove(&temp);
        let linked = linked.with_context(|| format!("cannot take {}", dir.join(name).display()))?;
        if removed.is_err() && linked.is_some() {
            dir.remove(name)?;
        }
        removed.map(|()| linked)
    }

    /// Puts a new store in place of the old one, unless somebody wrote it or took the lock since it was read. `old` is
    /// the stamp of what was read; `None` when there was no store.
    pub(crate) fn replace_store<'p>(
        &self,
        pieces: impl IntoIterator<Item = &'p [u8]>,
        like: &FileInfo,
        old: Option<Stamp>,
    ) -> anyhow::Result<()> {
        let path = self.dir.join(&self.store);
        atomic::replace(self.dir, &self.store, pieces, like, || {
            let now = self.dir.info(&self.store)?.map(|info| info.stamp);
            anyhow::ensure!(now == old, "{} was written by somebody who does not hold its lock", path.display());
            anyhow::ensure!(self.is_ours(), "the lock of {} was taken away", path.display());
            Ok(())
        })
    }

    /// Whether the lock is still the one that was taken. The inode alone does not tell: when OpenClaw took it for stale,
    /// as after a sleep of this machine, its own lock may have got the same one. Looked at twice: an error of a moment
    /// must not leave it behind.
    pub fn is_ours(&self) -> bool {
        let look = || self.dir.info(&self.name);
        let now = look().or_else(|_| look()).ok().flatten();
        now.is_some_and(|info| info.stamp == self.stamp)
    }
}

impl Drop for StoreLock<'_> {
    fn drop(&mut self) {
        if self.is_ours() {
            // Should this fail, OpenClaw reclaims the lock itself: its pid is about to be gone.
            let _ = self.dir.remove(&self.name);
        }
    }
}

fn payload() -> String {
    let (pid, starttime) = process::own();
    let created_at = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
    let starttime = starttime.map_or_else(String::new, |ticks| format!(",\n  \"starttime\": {ticks}"));
    format!("{{\n  \"pid\": {pid},\n  \"createdAt\": \"{created_at}\"{starttime}\n}}")
}

/// Takes the lock of a transcript that nobody holds, or says who does. A dead one is evidence for some releases: it
/// stays, and its owner cannot come back.
pub(crate) fn of_transcript<'d>(
    dir: &'d Dir,
    name: &OsStr,
    archive: &Dir,
) -> anyhow::Result<Result<Option<StoreLock<'d>>, Holder>> {
    let lock = lock_name(name);
    if dir.info(&lock)?.is_some() {
        return Ok(held_by(dir, &lock)?.map_or(Ok(None), Err));
    }
    Ok(match StoreLock::acquire(dir, name, archive, Duration::ZERO)? {
        Acquired::Ours(lock) => Ok(Some(lock)),
        Acquired::Busy(owner) => Err(owner),
    })
}

/// What stands at the name of a lock.
enum LockLook {
    Free,
    /// A lock whose owner is gone, and which file that is.
    Dead(Stamp),
    /// Who holds it.
    Held(Holder),
}

fn look(dir: &Dir, name: &OsStr) -> anyhow::Result<LockLook> {
    let held = |who| Ok(LockLook::Held(Holder { lock: dir.join(name), who }));
    match dir.info(name)? {
        None => return Ok(LockLook::Free),
        Some(info) if !info.regular => return held(Who::NoFile),
        Some(_) => {}
    }
    let mut bytes = Vec::new();
    let read = dir.open_file(name).and_then(|(file, info)| {
        file.take(lock::LONGEST).read_to_end(&mut bytes)?;
        Ok(info.stamp)
    });
    let stamp = match read {
        Ok(stamp) => stamp,
        // Released between the look and the read, and perhaps taken again since?
        Err(error) => {
            let gone = error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::NotFound);
            return match dir.info(name)? {
                None => Ok(LockLook::Free),
                Some(_) if gone => held(Who::Changing),
                Some(_) => Err(error),
            };
        }
    };
    let (payload, state) = process::judge(&bytes);
    if state.is_held() {
        return held(payload.pid.map_or(Who::Nameless, Who::Process));
    }
    if gateway::is_apart(dir.path()) {
        return held(payload.pid.map_or(Who::Nameless, Who::Unseen));
    }
    Ok(LockLook::Dead(stamp))
}

/// Returns who holds the lock `name`; `None` when its owner is gone or it is no more there.
pub(crate) fn held_by(dir: &Dir, name: &OsStr) -> anyhow::Result<Option<Holder>> {
    Ok(match look(dir, name)? {
        LockLook::Held(holder) => Some(holder),
        LockLook::Free | LockLook::Dead(_) => None,
    })
}

/// Moves the dead lock aside, unless another one has its name by now.
fn clear_dead(dir: &Dir, name: &OsStr, dead: Stamp, archive: &Dir) -> anyhow::Result<()> {
    if dir.info(name)?.is_none_or(|info| info.stamp != dead) {
        return Ok(());
    }
    let aside = archive.free_name(name, |_| false)?;
    let moved = match dir.move_to(name, archive, &aside) {
        Ok(()) => keep_dead(archive, &aside, dead, dir, name).map(drop),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        // The archive lies on another file system: one step to beside it, and from there at leisure.
        Err(error) if error.kind() == ErrorKind::CrossesDevices => {
            let beside = atomic::temp_name(name);
            dir.remove(&beside)?;
            let moved = dir.move_to(name, dir, &beside).map_err(anyhow::Error::from);
            moved.and_then(|()| match keep_dead(dir, &beside, dead, dir, name)? {
                Some(info) => carry::carry(dir, &beside, archive, &aside, &info),
                None => Ok(()),
            })
        }
        Err(error) => Err(error.into()),
    };
    moved.with_context(|| format!("cannot move the dead lock {} aside", dir.join(name).display()))
}

/// What was moved to `aside`, if it was the dead lock. If somebody took the lock in that moment, it is given back.
fn keep_dead(at: &Dir, aside: &OsStr, dead: Stamp, dir: &Dir, name: &OsStr) -> anyhow::Result<Option<FileInfo>> {
    let moved = at.info(aside)?.filter(|info| info.stamp == dead);
    if moved.is_none() {
        at.move_to(aside, dir, name).context("it was taken, and cannot be given back to its owner")?;
    }
    Ok(moved)
}
