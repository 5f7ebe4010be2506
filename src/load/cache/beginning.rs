//! The judge of a transcript as it stood after the last whole line, one file for each transcript: when it has grown, the
//! judge goes on from there.
//!
//! A transcript has only grown when it is longer than it was, its inode is the same, and so are its first bytes and
//! those before the place where the judge stopped.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{FORMAT, FileInfo, HASH, Hashing, LONGEST, replace};
use crate::disk::whole;
use crate::model::proof::sha256;
use crate::model::transcript::Analyzer;

/// To read up to so many bytes costs little more than to remember them.
pub(super) const SMALL: u64 = 1 << 20;

/// So many of the first bytes and of those before the old end must be as they were.
const PROBE: u64 = 4096;

#[derive(Serialize, Deserialize)]
struct Beginning<A> {
    format: String,
    /// The size of the file.
    size: u64,
    /// A hash of the bytes that must be as they were.
    probe: String,
    analyzer: A,
}

/// Where the beginning of a file is remembered, beside the cache at `cache`.
pub(super) fn path(cache: &Path, info: &FileInfo) -> PathBuf {
    dir(cache).join(name((info.stamp.dev, info.stamp.ino)))
}

fn dir(cache: &Path) -> PathBuf {
    cache.with_extension("beginnings")
}

fn name((dev, ino): (u64, u64)) -> String {
    format!("{dev:x}-{ino:x}")
}

fn probe(file: &File, end: u64) -> io::Result<String> {
    let size = PROBE.min(end);
    let mut bytes = vec![0; size as usize * 2];
    let (head, tail) = bytes.split_at_mut(size as usize);
    file.read_exact_at(head, 0)?;
    file.read_exact_at(tail, end - size)?;
    Ok(sha256(&bytes))
}

/// Reads what is remembered of a file, if the file has only grown.
pub(super) fn read(path: &Path, file: &File, info: &FileInfo) -> Option<Analyzer> {
    if info.stamp.size <= SMALL {
        return None;
    }
    let (remembered, meta) = whole::open_own(path).ok()?;
    let size = meta.len().checked_sub(HASH as u64).filter(|size| *size <= LONGEST)?;
    // What was damaged on the disk must not be taken for what was seen.
    let mut seen = Hashing { out: &mut io::sink(), hasher: Sha256::new() };
    io::copy(&mut BufReader::new(&remembered).take(size), &mut seen).ok()?;
    let mut hash = [0; HASH];
    remembered.read_exact_at(&mut hash, size).ok()?;
    if hash != *seen.hasher.finalize() {
        return None;
    }
    io::Seek::rewind(&mut &remembered).ok()?;
    let known: Beginning<Analyzer> = rmp_serde::from_read(BufReader::new(&remembered).take(size)).ok()?;
    let has_grown = known.format == FORMAT && known.size < info.stamp.size;
    let same = has_grown && probe(file, known.analyzer.bytes()).is_ok_and(|now| now == known.probe);
    same.then_some(known.analyzer)
}

/// Remembers the judge of the beginning of a file.
pub(super) fn write(path: &Path, file: &File, info: &FileInfo, analyzer: &Analyzer) -> io::Result<()> {
    let probe = probe(file, analyzer.bytes())?;
    let known = Beginning { format: FORMAT.to_owned(), size: info.stamp.size, probe, analyzer };
    replace(path, |out| rmp_serde::encode::write_named(out, &known).map_err(io::Error::other))
}

/// Forgets the beginnings of files that were not met, when there are many of them.
pub(super) fn forget_others(cache: &Path, met: &HashSet<(u64, u64)>) {
    let Ok(entries) = fs_err::read_dir(dir(cache)) else { return };
    let met: HashSet<String> = met.iter().copied().map(name).collect();
    let is_met = |name: &OsStr| name.to_str().is_some_and(|name| met.contains(name));
    let others: Vec<PathBuf> =
        entries.flatten().filter(|entry| !is_met(&entry.file_name())).map(|entry| entry.path()).collect();
    if others.len() > met.len() {
        for path in others {
            let _ = fs_err::remove_file(path);
        }
    }
}
