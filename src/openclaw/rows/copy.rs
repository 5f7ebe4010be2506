//! A private copy of a database and its write-ahead log, taken while another process may write to both.
//!
//! What makes a copy whole: the database did not change while it was copied, and the log is the same log, at most
//! longer. SQLite writes to the database only at a checkpoint, and starts the log anew, with another salt in its
//! header, only after one. A commit that was being appended lacks its checksum in the copy, and is not seen.

use std::ffi::OsStr;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use tempfile::TempDir;

use super::place::{kind_of, with_suffix};
use crate::disk::deadline::{Deadline, Timed};
use crate::disk::dir::Dir;
use crate::model::proof::Stamp;

/// A copy in a directory of its own, which goes when this does.
pub(crate) struct Copy {
    dir: TempDir,
}

/// What the copy is called.
const NAME: &str = "copy.sqlite";

impl Copy {
    /// Where it is.
    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join(NAME)
    }
}

/// How often a copy is taken before it is given up, and how long to wait in between.
const TRIES: u32 = 6;
const PAUSE: Duration = Duration::from_millis(60);

/// So much is copied at once.
const CHUNK: usize = 1 << 20;

/// Copies the database `name` of `dir`.
pub(crate) fn of(dir: &Dir, name: &OsStr, deadline: Deadline) -> anyhow::Result<Copy> {
    let path = dir.join(name);
    for attempt in 1..=TRIES {
        let before = Seen::of(dir, name)?;
        let copy = take(dir, name, before.bytes(), deadline)
            .with_context(|| format!("cannot make a private copy of {}", path.display()))?;
        if before.is_same_as(&Seen::of(dir, name)?) {
            return Ok(copy);
        }
        drop(copy);
        std::thread::sleep(deadline.clip(PAUSE * attempt));
    }
    anyhow::bail!("{} kept changing while it was copied, {TRIES} times", path.display())
}

/// The two, as far as a copy depends on them.
#[derive(Debug)]
pub(super) struct Seen {
    database: (Stamp, i64),
    journal: Option<(Stamp, i64)>,
    log: Option<Log>,
}

/// A write-ahead log.
#[derive(Debug)]
struct Log {
    ino: u64,
    size: u64,
    header: Vec<u8>,
}

impl Seen {
    pub(super) fn of(dir: &Dir, name: &OsStr) -> anyhow::Result<Self> {
        let stamp = |suffix| {
            let info = dir.info(&with_suffix(name, suffix))?;
            Ok::<_, anyhow::Error>(info.map(|info| (info.stamp, info.ctime_ns)))
        };
        let database = stamp("")?.with_context(|| format!("{} is gone", dir.join(name).display()))?;
        let log = match dir.open_file(&with_suffix(name, "-wal")) {
            Err(error) if kind_of(&error) == Some(std::io::ErrorKind::NotFound) => None,
            Err(error) => return Err(error),
            Ok((file, info)) => {
                let mut header = Vec::new();
                file.take(32).read_to_end(&mut header)?;
                Some(Log { ino: info.stamp.ino, size: info.stamp.size, header })
            }
        };
        Ok(Self { database, journal: stamp("-journal")?, log })
    }

    fn bytes(&self) -> u64 {
        self.database.0.size + self.log.as_ref().map_or(0, |log| log.size)
    }

    /// Returns whether a journal of changes that have to be rolled back is there.
    pub(super) fn has_journal(&self) -> bool {
        self.journal.as_ref().is_some_and(|(stamp, _)| stamp.size > 0)
    }

    /// Returns whether there is a write-ahead log.
    pub(super) fn has_log(&self) -> bool {
        self.log.is_some()
    }

    /// Returns whether a copy, or what was read in place, is whole: the log is at most longer by now.
    pub(super) fn is_same_as(&self, later: &Self) -> bool {
        let log = match (&self.log, &later.log) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(log), Some(later)) => {
                log.ino == later.ino && log.size <= later.size && (log.size == 0 || log.header == later.header)
            }
        };
        self.database == later.database && self.journal == later.journal && log
    }
}

fn take(dir: &Dir, name: &OsStr, bytes: u64, deadline: Deadline) -> anyhow::Result<Copy> {
    let place = tempfile::Builder::new()
        .prefix("claw-sessions-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .tempdir()?;
    let copy = Copy { dir: place };
    let to = Dir::open(copy.dir.path())?;
    enough_room(copy.dir.path(), bytes)?;
    for suffix in ["", "-wal", "-journal"] {
        let (file, info) = match dir.open_file(&with_suffix(name, suffix)) {
            Ok(opened) => opened,
            Err(error) if !suffix.is_empty() && kind_of(&error) == Some(std::io::ErrorKind::NotFound) => continue,
            Err(error) => return Err(error),
        };
        let mut made = to.create(&with_suffix(OsStr::new(NAME), suffix), 0o600)?;
        // What is appended meanwhile is not read: the copy must end.
        let mut from = Timed::new(file.take(info.stamp.size), deadline);
        let mut chunk = vec![0; CHUNK.min(info.stamp.size as usize + 1)];
        loop {
            let read = from.read(&mut chunk)?;
            if read == 0 {
                break;
            }
            made.write_all(&chunk[..read])?;
        }
    }
    Ok(copy)
}

/// A full temporary directory is felt by everybody: half of what is free there is left to others.
fn enough_room(place: &Path, bytes: u64) -> anyhow::Result<()> {
    let free = rustix::fs::statvfs(place).map(|about| about.f_bavail.saturating_mul(about.f_frsize));
    let enough = free.map_or(true, |free| bytes <= free / 2);
    anyhow::ensure!(
        enough,
        "it has {bytes} bytes, more than half of what is free in {}; TMPDIR names another place",
        place.parent().unwrap_or(place).display()
    );
    Ok(())
}
