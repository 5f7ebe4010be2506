//! What was found in transcripts: an unchanged one is not read again, and of one that grew only what was appended.
//!
//! A file is the same when device, inode, size, modification time and change time are. A file that was touched just
//! before it was read is not remembered: within one tick of the clock it could change again without a trace. A cache
//! that cannot be read or written, is another user's, or was damaged on the disk, is as good as none: its files end with
//! the hash of themselves.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::config::environment::Environment;
use crate::disk::dir::FileInfo;
use crate::disk::whole;
use crate::model::proof::sha256;
use crate::model::transcript::{Analyzer, Summary};

mod beginning;

/// Changes whenever a summary would come out differently for the same bytes.
const FORMAT: &str = concat!("claw-sessions/cache/v9/", env!("CARGO_PKG_VERSION"));
/// A file younger than this when the look began is not remembered.
const SETTLED_NS: i64 = 2_000_000_000;
/// More than a million transcripts take.
const LONGEST: u64 = 1 << 29;
/// Bytes of a hash.
const HASH: usize = 32;

/// Remembered summaries of one state directory.
#[derive(Debug)]
pub struct Cache {
    /// The file of summaries; the directory of beginnings is beside it.
    path: Option<PathBuf>,
    began_ns: i64,
    known: HashMap<FileKey, Summary>,
    seen: Mutex<Vec<(FileKey, Summary)>>,
    /// The files, by device and inode, whose beginnings are of use.
    met: Mutex<HashSet<(u64, u64)>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct FileKey(u64, u64, u64, i64, i64);

#[derive(Serialize, Deserialize)]
struct Stored {
    format: String,
    files: Vec<(FileKey, Summary)>,
}

impl FileKey {
    fn of(info: &FileInfo) -> Self {
        let stamp = info.stamp;
        Self(stamp.dev, stamp.ino, stamp.size, stamp.mtime_ns, info.ctime_ns)
    }
}

impl Cache {
    /// No cache: nothing is known and nothing is remembered.
    pub fn off() -> Self {
        Self { path: None, began_ns: 0, known: HashMap::new(), seen: Mutex::default(), met: Mutex::default() }
    }

    /// The cache of a state directory, in `$XDG_CACHE_HOME/claw-sessions/`.
    pub fn open(state_dir: &Path, environment: &Environment, now: DateTime<Utc>) -> Self {
        let base = environment.base_dir("XDG_CACHE_HOME", ".cache");
        let name = &sha256(state_dir.as_os_str().as_encoded_bytes())[..16];
        let path = base.map(|base| base.join("claw-sessions").join(format!("{name}.cache")));
        let stored = path
            .as_ref()
            .and_then(|path| whole::read_own(path, LONGEST).ok())
            .and_then(|bytes| rmp_serde::from_slice::<Stored>(unsealed(&bytes)?).ok())
            .filter(|stored| stored.format == FORMAT);
        let known = stored.map(|stored| stored.files.into_iter().collect()).unwrap_or_default();
        let began_ns = now.timestamp_nanos_opt().unwrap_or(0);
        Self { path, began_ns, known, seen: Mutex::default(), met: Mutex::default() }
    }

    /// What is known of a file.
    pub fn get(&self, info: &FileInfo) -> Option<Summary> {
        let key = FileKey::of(info);
        let summary = self.known.get(&key)?.clone();
        self.note(key, &summary);
        self.meet(info);
        Some(summary)
    }

    fn meet(&self, info: &FileInfo) {
        if let Ok(mut met) = self.met.lock() {
            met.insert((info.stamp.dev, info.stamp.ino));
        }
    }

    /// Remembers what was found in a file.
    pub fn put(&self, info: &FileInfo, summary: &Summary) {
        let settled = self.began_ns - info.stamp.mtime_ns.max(info.ctime_ns) >= SETTLED_NS;
        if self.path.is_some() && settled {
            self.note(FileKey::of(info), summary);
        }
    }

    fn note(&self, key: FileKey, summary: &Summary) {
        if let Ok(mut seen) = self.seen.lock() {
            seen.push((key, summary.clone()));
        }
    }

    /// The judge of the beginning of a file that has grown since.
    pub fn beginning(&self, file: &File, info: &FileInfo) -> Option<Analyzer> {
        beginning::read(&beginning::path(self.path.as_ref()?, info), file, info)
    }

    /// Remembers the judge of all whole lines of a file.
    pub fn remember(&self, file: &File, info: &FileInfo, analyzer: &Analyzer) {
        let Some(path) = self.path.as_ref().filter(|_| analyzer.bytes() > beginning::SMALL) else { return };
        self.meet(info);
        // Without it the next run is slower, not wrong.
        let _ = beginning::write(&beginning::path(path, info), file, info, analyzer);
    }

    /// Writes the cache, if there is anything new: what was not met this time is forgotten.
    pub fn save(self) {
        let Some(path) = &self.path else { return };
        let files = self.seen.into_inner().unwrap_or_default();
        let new = files.iter().any(|(key, _)| !self.known.contains_key(key));
        let gone = self.known.len() > files.len() * 2;
        if !new && !gone {
            return;
        }
        let stored = Stored { format: FORMAT.to_owned(), files };
        // Without a cache the next run is slower, not wrong.
        let _ = replace(path, |out| rmp_serde::encode::write_named(out, &stored).map_err(io::Error::other));
        beginning::forget_others(path, &self.met.into_inner().unwrap_or_default());
    }
}

/// Returns a file of the cache without the hash at its end; `None` when it was damaged.
fn unsealed(bytes: &[u8]) -> Option<&[u8]> {
    let (text, hash) = bytes.split_at_checked(bytes.len().checked_sub(HASH)?)?;
    (hash == &*Sha256::digest(text)).then_some(text)
}

/// Writes on, and hashes what goes by.
struct Hashing<'a> {
    out: &'a mut dyn Write,
    hasher: Sha256,
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Writes a file of the cache, with its hash at the end. In its directory nobody else has any business: error messages of
/// providers are in it.
fn replace(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temp = path.with_file_name(name);
    // What another left there under this name.
    let _ = fs_err::remove_file(&temp);
    let mut options = fs_err::OpenOptions::new();
    options.options_mut().mode(0o600);
    let mut out = BufWriter::new(options.write(true).create_new(true).open(&temp)?);
    let mut hashing = Hashing { out: &mut out, hasher: Sha256::new() };
    let written = write(&mut hashing).and_then(|()| {
        let hash = hashing.hasher.finalize_reset();
        hashing.out.write_all(&hash)?;
        hashing.flush()
    });
    written.and_then(|()| fs_err::rename(&temp, path)).inspect_err(|_| drop(fs_err::remove_file(&temp)))
}
