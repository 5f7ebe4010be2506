//! Reading transcripts: each once, on all cores, handed to whoever points at it.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::locate::info;
use super::{Listing, Request};
use crate::disk::deadline::{Deadline, Timed};
use crate::disk::dir::FileInfo;
use crate::load::read::{self, Depth, Look};
use crate::model::inventory::{Content, LooseFile, Store};
use crate::model::line::{self, Line};
use crate::model::names::FileKind;
use crate::model::proof::Stamp;
use crate::model::transcript::Integrity;

/// Reads every transcript that is bound or that `request` asks for.
pub(super) fn read_transcripts(
    stores: &mut [Store],
    files: &mut [LooseFile],
    listings: &HashMap<PathBuf, Listing>,
    request: &Request<'_>,
) {
    let mut wanted: HashMap<PathBuf, (Rank, u64)> = HashMap::new();
    for binding in stores.iter().filter(|store| store.selected).flat_map(|store| &store.bindings) {
        if let (Some(path), Some(stamp)) = (&binding.transcript.path, binding.transcript.stamp) {
            wanted.insert(path.clone(), (Rank::of(path, true, stamp, request), stamp.size));
        }
    }
    for file in files.iter().filter(|file| is_read(file, request)) {
        wanted.insert(file.path.clone(), (Rank::of(&file.path, false, file.stamp, request), file.stamp.size));
    }
    (request.begin)(wanted.len(), wanted.values().map(|(_, size)| size).sum());
    let mut wanted: Vec<(Rank, PathBuf)> = wanted.into_iter().map(|(path, (rank, _))| (rank, path)).collect();
    wanted.sort_unstable();
    // A bridge hands them out in this order: what a deadline leaves is the end of it.
    let contents: HashMap<PathBuf, (Content, Option<FileInfo>)> = wanted
        .into_iter()
        .par_bridge()
        .map(|(_, path)| {
            let read = read_one(&path, listings, request);
            (path, read)
        })
        .collect();
    for binding in stores.iter_mut().flat_map(|store| &mut store.bindings) {
        let transcript = &mut binding.transcript;
        let Some(path) = transcript.path.as_ref().filter(|_| transcript.stamp.is_some()) else { continue };
        if let Some((content, info)) = contents.get(path) {
            transcript.content = content.clone();
            if let Some(info) = info {
                transcript.stamp = Some(info.stamp);
            }
            if matches!(content, Content::Read(summary) if summary.integrity == Integrity::Wiped) {
                transcript.cut_header = cut_header(path, listings, request.deadline);
                if transcript.cut_header.is_none() && request.deadline.has_passed() {
                    // Its header may still be found: none is made up for it.
                    transcript.content = Content::NotChecked { begun: true };
                }
            }
        }
    }
    for file in files.iter_mut().filter(|file| is_read(file, request)) {
        if let Some((content, _)) = contents.get(&file.path) {
            file.content = content.clone();
        }
    }
}

/// Which transcript is read first, where a deadline may leave some unread.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    turn: Turn,
    /// The one written last is used next.
    newest: Reverse<i64>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    /// The last start did not come to it.
    Left,
    Bound,
    Orphan,
    /// The last start could not read it to its end: it must not keep the others from being read.
    Endless,
}

impl Rank {
    fn of(path: &Path, bound: bool, stamp: Stamp, request: &Request<'_>) -> Self {
        let relative = path.strip_prefix(request.state_dir).unwrap_or(path);
        let turn = match request.boots.as_ref().and_then(|boots| boots.not_checked.get(relative)) {
            Some(false) => Turn::Left,
            Some(true) => Turn::Endless,
            None if bound => Turn::Bound,
            None => Turn::Orphan,
        };
        Self { turn, newest: Reverse(stamp.mtime_ns) }
    }
}

/// Returns whether a loose file is read: orphans, which may be old enough to go, and archives when they are checked.
fn is_read(file: &LooseFile, request: &Request<'_>) -> bool {
    let archive = matches!(file.kind, FileKind::ArchiveReset | FileKind::ArchiveDeleted | FileKind::ArchiveBak);
    let plain = file.path.extension().is_none_or(|extension| extension != "zst");
    !file.special && (file.kind == FileKind::Orphan || (request.archives && archive && plain))
}

/// More of a copy than this is not searched for the line at which its file was cut.
const LONGEST_COPY: u64 = 256 << 20;

/// The header of the newest `.bak.<TS>` beside a transcript without header, when the first line of what is left stands
/// in it: then `sessions.compact` made both (F§4.5).
fn cut_header(path: &Path, listings: &HashMap<PathBuf, Listing>, deadline: Deadline) -> Option<Vec<u8>> {
    let listing = listings.get(path.parent()?)?;
    let name = path.file_name()?;
    let first_line = |name: &OsStr| -> Option<Vec<u8>> {
        let mut line = Vec::new();
        let (file, _) = listing.dir.open_file(name).ok()?;
        BufReader::new(Timed::new(file, deadline)).read_until(b'\n', &mut line).ok()?;
        Some(line)
    };
    let rest = first_line(name)?;
    let mut prefix = name.as_bytes().to_vec();
    prefix.extend_from_slice(b".bak.");
    let copies =
        listing.names.iter().rev().filter(|(name, info)| {
            info.regular && info.stamp.size <= LONGEST_COPY && name.as_bytes().starts_with(&prefix)
        });
    copies.map(|(name, _)| name).find_map(|name| {
        let header = first_line(name)?;
        let is_header = matches!(line::read(header.trim_ascii_end()), Ok(Line::Header(found, _)) if found.id.is_some());
        let (file, _) = listing.dir.open_file(name).ok().filter(|_| is_header)?;
        let fits = BufReader::new(Timed::new(file, deadline))
            .split(b'\n')
            .map_while(Result::ok)
            .any(|line| line == rest.trim_ascii_end());
        fits.then(|| header.trim_ascii_end().to_vec())
    })
}

fn read_one(path: &Path, listings: &HashMap<PathBuf, Listing>, request: &Request<'_>) -> (Content, Option<FileInfo>) {
    for dir in path.ancestors().skip(1) {
        let (Some(listing), Ok(inside)) = (listings.get(dir), path.strip_prefix(dir)) else { continue };
        let listed = info(listing, inside).filter(|info| info.regular);
        let known = listed.filter(|_| request.depth != Depth::Thorough);
        if let Some((info, summary)) = known.and_then(|info| Some((info, request.cache.get(&info)?))) {
            (request.advance)(info.stamp.size);
            return (Content::Read(summary), Some(info));
        }
        if request.deadline.has_passed() {
            return (Content::NotChecked { begun: false }, listed);
        }
        let look =
            Look { depth: request.depth, deadline: request.deadline, cache: request.cache, advance: request.advance };
        let (content, info) = read::transcript(&listing.dir, inside.as_os_str(), &look);
        if let (Content::Read(summary), Some(info), Depth::Whole) = (&content, &info, request.depth) {
            request.cache.put(info, summary);
        }
        return (content, info);
    }
    (Content::Absent, None)
}
