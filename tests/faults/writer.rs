//! A writer that behaves as OpenClaw 2026.3.11 does: it makes a lock with an exclusive create, waits for it up to ten
//! seconds, removes one that is stale, reads the store anew and renames a temporary file over it; it appends to a
//! transcript under that transcript's lock. It looks at its locks while it holds them, which OpenClaw does not.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use support::openclaw;
use support::process::starttime;

const PATIENCE: Duration = Duration::from_secs(10);
const STALE_STORE: Duration = Duration::from_secs(30);
const STALE_TRANSCRIPT: Duration = Duration::from_secs(30 * 60);

/// One process of OpenClaw; its threads share it.
#[derive(Default)]
pub(crate) struct Writer {
    /// Within a process the writers of a store wait in a queue, not for the lock.
    queue: Mutex<()>,
    temps: AtomicUsize,
    /// Locks it took.
    pub(crate) locks: AtomicUsize,
    /// Times it found a lock of a process that is not its own.
    pub(crate) met: AtomicUsize,
    /// Locks it did not get in time.
    pub(crate) refused: AtomicUsize,
    /// Locks that were not its own any more while it held them.
    pub(crate) stolen: AtomicUsize,
}

/// A lock that is held until it is dropped.
pub(crate) struct Held<'a> {
    writer: &'a Writer,
    path: PathBuf,
    payload: String,
    inode: u64,
}

impl Writer {
    /// Takes the lock of a file, or gives up after ten seconds.
    pub(crate) fn lock(&self, file: &Path) -> Option<Held<'_>> {
        let dir = fs::canonicalize(file.parent().unwrap()).unwrap();
        let path = dir.join(format!("{}.lock", file.file_name().unwrap().to_str().unwrap()));
        let stale_after = if path.ends_with("sessions.json.lock") { STALE_STORE } else { STALE_TRANSCRIPT };
        let started = Instant::now();
        for attempt in 1.. {
            match File::create_new(&path) {
                Ok(mut file) => {
                    let pid = std::process::id();
                    let payload = openclaw::lock_payload(pid, starttime(pid), Utc::now().timestamp_millis());
                    file.write_all(payload.as_bytes()).unwrap();
                    self.locks.fetch_add(1, Ordering::Relaxed);
                    return Some(Held { writer: self, path, payload, inode: file.metadata().unwrap().ino() });
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{}: {error}", path.display()),
            }
            let Ok(text) = fs::read_to_string(&path) else { continue };
            let payload: Value = serde_json::from_str(&text).unwrap_or_default();
            if payload["pid"].as_u64().is_some_and(|pid| pid != u64::from(std::process::id())) {
                self.met.fetch_add(1, Ordering::Relaxed);
            }
            if is_stale(&payload, &path, stale_after) {
                drop(fs::remove_file(&path));
                continue;
            }
            if started.elapsed() >= PATIENCE {
                break;
            }
            std::thread::sleep(Duration::from_millis((50 * attempt).min(1000)));
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// Changes the entries of a store; whether it got the lock.
    pub(crate) fn update(&self, store: &Path, change: impl FnOnce(&mut Map<String, Value>)) -> bool {
        let _turn = self.queue.lock().unwrap();
        let Some(lock) = self.lock(store) else { return false };
        let Value::Object(mut entries) = serde_json::from_slice(&fs::read(store).unwrap()).unwrap() else {
            panic!("a store is an object")
        };
        change(&mut entries);
        lock.look();
        let temp = store.with_file_name(format!("sessions.json.{}.tmp", self.temps.fetch_add(1, Ordering::Relaxed)));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temp).unwrap();
        file.write_all(openclaw::pretty(&entries).as_bytes()).unwrap();
        fs::rename(temp, store).unwrap();
        true
    }

    /// Appends a line to a transcript, which begins with `header` when it is new; whether it got the lock.
    pub(crate) fn append(&self, transcript: &Path, header: &str, line: &str) -> bool {
        let Some(lock) = self.lock(transcript) else { return false };
        let mut file = OpenOptions::new().create(true).append(true).open(transcript).unwrap();
        let header = if file.metadata().unwrap().len() == 0 { header } else { "" };
        lock.look();
        file.write_all(format!("{header}{line}\n").as_bytes()).unwrap();
        true
    }
}

impl Held<'_> {
    /// Notes when the lock is not this one any more.
    pub(crate) fn look(&self) -> bool {
        let same = fs::symlink_metadata(&self.path).is_ok_and(|meta| meta.ino() == self.inode)
            && fs::read_to_string(&self.path).is_ok_and(|text| text == self.payload);
        if !same {
            self.writer.stolen.fetch_add(1, Ordering::Relaxed);
        }
        same
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if self.look() && fs::remove_file(&self.path).is_err() {
            self.writer.stolen.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Its process is gone or another one, or it is too old; one that names no process is too old by its file's time.
fn is_stale(payload: &Value, path: &Path, after: Duration) -> bool {
    let created = payload["createdAt"].as_str().and_then(|text| text.parse::<DateTime<Utc>>().ok());
    let age = match created {
        Some(created) => (Utc::now() - created).to_std().unwrap_or_default(),
        None => fs::metadata(path)
            .and_then(|meta| meta.modified())
            .map_or(Duration::ZERO, |time| time.elapsed().unwrap_or_default()),
    };
    let gone = payload["pid"].as_u64().is_some_and(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        let recycled = payload["starttime"].as_u64().is_some_and(|ticks| fields.get(19) != Some(&&*ticks.to_string()));
        matches!(fields.first(), None | Some(&"Z")) || recycled
    });
    gone || age > after
}
