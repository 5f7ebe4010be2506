//! What was found in transcripts: an unchanged one is not read again, and of one that grew only what was appended.
//!
//! A file is the same when device, inode, size, modification time and change time are. A file that was touched just
//! before it was read is not remembered: within one tick of the clock it could change again without a trace. A cache
//! that cannot be read or written is as good as none.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::config::environment::Environment;
use crate::disk::dir::FileInfo;
use crate::model::proof::sha256;
use crate::model::transcript::{Analyzer, Summary};

mod beginning;

/// Changes whenever a summary would come out differently for the same bytes.
const FORMAT: &str = concat!("claw-sessions/cache/v7/", env!("CARGO_PKG_VERSION"));
/// A file younger than this when the look began is not remembered.
const SETTLED_NS: i64 = 2_000_000_000;

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
            .and_then(|path| fs_err::read(path).ok())
            .and_then(|text| rmp_serde::from_slice::<Stored>(&text).ok())
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

/// Writes a file of the cache, in whose directory nobody else has any business: error messages of providers are in it.
fn replace(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temp = path.with_file_name(name);
    let mut options = fs_err::OpenOptions::new();
    options.options_mut().mode(0o600);
    let mut out = BufWriter::new(options.write(true).create(true).truncate(true).open(&temp)?);
    let written = write(&mut out).and_then(|()| out.flush());
    written.and_then(|()| fs_err::rename(&temp, path)).inspect_err(|_| drop(fs_err::remove_file(&temp)))
}
