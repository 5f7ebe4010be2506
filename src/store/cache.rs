//! What was found in transcripts that have not changed since (design §3): an unchanged file is not read again.
//!
//! A file is the same when device, inode, size, modification time and change time are. A file that was touched just
//! before it was read is not remembered: within one tick of the clock it could change again without a trace. A cache
//! that cannot be read or written is as good as none.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::dir::FileInfo;
use crate::config::environment::Environment;
use crate::decide::plan::sha256;
use crate::model::transcript::Summary;

/// Changes whenever a summary would come out differently for the same bytes.
const FORMAT: &str = concat!("claw-sessions/cache/v5/", env!("CARGO_PKG_VERSION"));
/// A file younger than this when the look began is not remembered.
const SETTLED_NS: i64 = 2_000_000_000;

/// Remembered summaries of one state directory.
#[derive(Debug)]
pub struct Cache {
    path: Option<PathBuf>,
    began_ns: i64,
    known: HashMap<FileKey, Summary>,
    seen: Mutex<Vec<(FileKey, Summary)>>,
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
        Self { path: None, began_ns: 0, known: HashMap::new(), seen: Mutex::default() }
    }

    /// The cache of a state directory, in `$XDG_CACHE_HOME/claw-sessions/`.
    pub fn open(state_dir: &Path, environment: &Environment, now: DateTime<Utc>) -> Self {
        let base = environment.base_dir("XDG_CACHE_HOME", ".cache");
        let name = &sha256(state_dir.as_os_str().as_encoded_bytes())[..16];
        let path = base.map(|base| base.join("claw-sessions").join(format!("{name}.json")));
        let stored = path
            .as_ref()
            .and_then(|path| fs_err::read(path).ok())
            .and_then(|text| serde_json::from_slice::<Stored>(&text).ok())
            .filter(|stored| stored.format == FORMAT);
        let known = stored.map(|stored| stored.files.into_iter().collect()).unwrap_or_default();
        let began_ns = now.timestamp_nanos_opt().unwrap_or(0);
        Self { path, began_ns, known, seen: Mutex::default() }
    }

    /// What is known of a file.
    pub fn get(&self, info: &FileInfo) -> Option<Summary> {
        let key = FileKey::of(info);
        let summary = self.known.get(&key)?.clone();
        self.note(key, &summary);
        Some(summary)
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

    /// Writes the cache, if there is anything new: what was not met this time is forgotten.
    pub fn save(self) {
        let Some(path) = &self.path else { return };
        let files = self.seen.into_inner().unwrap_or_default();
        let new = files.iter().any(|(key, _)| !self.known.contains_key(key));
        let gone = self.known.len() > files.len() * 2;
        if !new && !gone {
            return;
        }
        let write = || -> std::io::Result<()> {
            let dir = path.parent().unwrap_or(Path::new("/"));
            // Error messages of providers are in it: nobody else's business.
            let mut builder = std::fs::DirBuilder::new();
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            builder.recursive(true).create(dir)?;
            let text = serde_json::to_vec(&Stored { format: FORMAT.to_owned(), files })?;
            let temp = dir.join(format!(".{}.tmp", std::process::id()));
            let mut options = fs_err::OpenOptions::new();
            std::os::unix::fs::OpenOptionsExt::mode(options.options_mut(), 0o600);
            std::io::Write::write_all(&mut options.write(true).create(true).truncate(true).open(&temp)?, &text)?;
            fs_err::rename(&temp, path)
        };
        // Without a cache the next run is slower, not wrong.
        let _ = write();
    }
}
