//! Reading transcripts: one sequential pass, a line at a time, in bounded memory.
//!
//! Only the bytes that were there when the file was opened are read: what is appended meanwhile belongs to the next
//! look, and the stamp that goes with the verdict is that of the opening.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::Context as _;
use bytes::Bytes;
use feed::feed;
pub(crate) use feed::lines;

use crate::disk::deadline::{Deadline, Timed};
use crate::disk::dir::{Dir, FileInfo};
use crate::disk::memory;
use crate::load::cache::Cache;
use crate::model::inventory::Content;
use crate::model::mend::{Mender, Proof};
use crate::model::transcript::{Analyzer, Cure, Summary};

mod feed;

/// How closely to look at transcripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// At every line, for what decides.
    Whole,
    /// At every line, for everything.
    Thorough,
}

/// How much is read at once.
const CHUNK: usize = 256 * 1024;

/// How to look at a transcript.
pub struct Look<'a> {
    /// How closely.
    pub depth: Depth,
    /// When to stop.
    pub deadline: Deadline,
    /// What is remembered of its beginning.
    pub cache: &'a Cache,
    /// Told of the bytes that were read.
    pub advance: &'a dyn Fn(u64),
}

/// Reads and judges the transcript `name`.
pub fn transcript(dir: &Dir, name: &OsStr, look: &Look<'_>) -> (Content, Option<FileInfo>) {
    let (mut file, info) = match dir.open_file(name) {
        Ok(opened) => opened,
        Err(error) => return (Content::Unreadable(format!("{error:#}")), None),
    };
    match whole(&mut file, &info, look) {
        Ok(summary) => (Content::Read(summary), Some(info)),
        Err(_) if look.deadline.has_passed() => (Content::NotChecked { begun: true }, Some(info)),
        Err(error) => {
            let why = format!("cannot read {}: {error}", dir.join(name).display());
            (Content::Unreadable(why), Some(info))
        }
    }
}

/// The same for everything that can be said of it.
pub fn thoroughly(dir: &Dir, name: &OsStr) -> Content {
    let look = Look { depth: Depth::Thorough, deadline: Deadline::default(), cache: &Cache::off(), advance: &|_| () };
    transcript(dir, name, &look).0
}

fn whole(file: &mut File, info: &FileInfo, look: &Look<'_>) -> io::Result<Summary> {
    let (thorough, size) = (look.depth == Depth::Thorough, info.stamp.size);
    let known = if thorough { None } else { look.cache.beginning(file, info) };
    let (mut summary, cure) = judge_from(known, file, size, thorough, look.deadline, look.advance, &mut |analyzer| {
        if !thorough {
            look.cache.remember(file, info, analyzer);
        }
    })?;
    // What would hurt the gateway is rare: only then, and for a check, is it worth a second pass.
    if let Some(cure) = cure.filter(|_| thorough || summary.integrity.is_fatal()) {
        let mut proof = if thorough { Proof::thorough() } else { Proof::default() };
        mend(file, size, &cure, PLACEHOLDER, look.deadline, |piece, ends| {
            proof.take(piece, ends);
            Ok(())
        })?;
        summary.mends = Some(cure.codes.clone()).filter(|_| cure.is_exact(&summary, &proof.finish()));
    }
    Ok(summary)
}

/// A file that is checked by itself.
pub enum Alone {
    /// A store's text.
    Store(Bytes),
    /// A transcript, judged.
    Transcript(Content),
}

/// Reads a file that lies anywhere; by its name, and else by its beginning, it is a store or a transcript.
pub fn alone(path: &Path) -> anyhow::Result<Alone> {
    let path = std::path::absolute(path).with_context(|| format!("cannot find {}", path.display()))?;
    let meta = fs_err::symlink_metadata(&path)?;
    anyhow::ensure!(!meta.is_dir(), "{} is a directory: name it with --state-dir", path.display());
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        anyhow::bail!("{} names no file", path.display());
    };
    let dir = Dir::open(&fs_err::canonicalize(parent)?)?;
    let text = name.to_string_lossy();
    let is_store = if text.contains(".jsonl") {
        false
    } else if text.contains(".json") {
        true
    } else {
        begins_like_a_store(&dir, name)
    };
    if !is_store {
        return Ok(Alone::Transcript(thoroughly(&dir, name)));
    }
    let read = dir.open_file(name).and_then(|(mut file, info)| {
        memory::whole(&mut file, info.stamp.size).with_context(|| format!("cannot read {}", path.display()))
    });
    Ok(match read {
        Ok(bytes) => Alone::Store(bytes),
        Err(error) => Alone::Transcript(Content::Unreadable(format!("{error:#}"))),
    })
}

/// A store is one object, with keys for names; a line of a transcript names its type first.
fn begins_like_a_store(dir: &Dir, name: &OsStr) -> bool {
    let mut line = Vec::new();
    let read = dir.open_file(name).map(|(file, _)| BufReader::new(file).read_until(b'\n', &mut line));
    let text = line.trim_ascii();
    read.is_ok()
        && text.starts_with(b"{")
        && !text.starts_with(b"{\"type\"")
        && crate::model::line::links(text).kind.is_none()
}

/// Stands for a header that is made when it is needed.
const PLACEHOLDER: &[u8] = br#"{"type":"session","version":3,"id":"-","timestamp":"","cwd":""}"#;

/// Judges the first `size` bytes of a file, with what would mend it.
pub(crate) fn judge(file: &File, size: u64, deadline: Deadline) -> io::Result<(Summary, Option<Cure>)> {
    judge_from(None, file, size, false, deadline, &|_| (), &mut |_| ())
}

/// The same, from where a judge of its beginning stopped. `whole_lines` is shown the judge before the last line, if
/// that one has no newline yet, and at the end otherwise.
fn judge_from(
    known: Option<Analyzer>,
    file: &File,
    size: u64,
    thorough: bool,
    deadline: Deadline,
    advance: &dyn Fn(u64),
    whole_lines: &mut dyn FnMut(&Analyzer),
) -> io::Result<(Summary, Option<Cure>)> {
    let mut analyzer = known.unwrap_or_else(|| if thorough { Analyzer::thorough() } else { Analyzer::default() });
    let begin = analyzer.bytes();
    advance(begin);
    feed(&mut analyzer, rest(file, begin, size, deadline)?, size - begin, advance, whole_lines)?;
    Ok(analyzer.finish_with_cure())
}

/// Hands the first `size` bytes of a file to `emit`, mended.
pub(crate) fn mend(
    file: &mut File,
    size: u64,
    cure: &Cure,
    header: &[u8],
    deadline: Deadline,
    mut emit: impl FnMut(&[u8], bool) -> io::Result<()>,
) -> io::Result<()> {
    let mut mender = Mender::new(cure, header);
    let mut reader = buffered(rest(file, 0, size, deadline)?, size);
    lines(&mut reader, &|_| (), |text, terminated| mender.line(text, terminated, &mut emit))
}

/// The bytes of a file from `begin` up to `size`.
fn rest(mut file: &File, begin: u64, size: u64, deadline: Deadline) -> io::Result<impl Read + Send> {
    file.seek(SeekFrom::Start(begin))?;
    Ok(Timed::new(file.take(size - begin), deadline))
}

fn buffered<R: Read>(reader: R, size: u64) -> BufReader<R> {
    BufReader::with_capacity(CHUNK.min(size as usize + 1), reader)
}
