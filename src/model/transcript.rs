//! A transcript, judged in one streaming pass: what OpenClaw's loader would make of it, and how its last run ended
//! (`openclaw-format.md` §4.3-§4.5).
//!
//! The loader reads every line, takes the file for lost when the first readable one is no header, links the entries
//! into a tree by `id` and `parentId`, and builds the context from the path between the last entry and its root. So
//! the verdict here is not the sum of defects but what that procedure does with them. An [`Analyzer`] is fed the
//! lines and keeps some twelve bytes for each; nothing depends on how long a line or a file is.

use std::collections::{BTreeMap, VecDeque};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::json::{JsonError, JsonErrorKind};
use super::line::{self, EntryLine, HeaderLine, Judging, Line, Role};
use super::problem::Code;
use super::tree::{Starts, Tree};
pub use cure::Cure;
use space::trim_end;
pub(super) use space::{is_blank, trim_start};
pub use summary::{Ending, Integrity, LineFinding, Summary};
use watch::Watch;

mod cure;
mod finish;
mod space;
mod summary;
mod watch;

/// The most findings kept for one file.
pub const MAX_FINDINGS: usize = 50;
/// The most findings of one kind that a check keeps for one file.
pub const MAX_OF_A_KIND: u64 = 1000;
/// The most error messages remembered until the active path is known.
const MAX_ERRORS: usize = 64;

/// The streaming judge. Feed it every line in order, then [`finish`](Self::finish). Written down between two lines, it
/// goes on later where it stopped; a [thorough](Self::thorough) one does not.
#[derive(Default, Serialize, Deserialize)]
pub struct Analyzer {
    lines: u64,
    bytes: u64,
    unterminated: bool,
    first: First,
    null_line: bool,
    scalar_line: bool,
    glued: bool,
    malformed_at: Option<u64>,
    /// The last line that ends inside a value.
    ends_inside: Option<u64>,
    held: Option<Held>,
    header: Option<HeaderLine>,
    header_at: Option<DateTime<Utc>>,
    header_place: Option<(u64, u64)>,
    first_at: Option<DateTime<Utc>>,
    last_stamp: Vec<u8>,
    tree: Tree,
    errors: VecDeque<(u32, String)>,
    user_seen: bool,
    answer_seen: bool,
    append_fails: bool,
    findings: Vec<LineFinding>,
    found: BTreeMap<Code, u64>,
    cure: Cure,
    #[serde(skip)]
    watch: Option<Watch>,
}

/// A line that was looked at by itself: the part of the work that needs no other line.
pub struct Looked<'a> {
    text: &'a [u8],
    line: Option<Result<Line<'a>, JsonError>>,
    /// The first byte that is no UTF-8.
    undecodable: Option<usize>,
}

/// A line that is JSON but for white space behind it that only JavaScript knows: good if it is the last of the file,
/// whose end the loader trims, and malformed once a line follows it.
#[derive(Serialize, Deserialize)]
struct Held {
    text: Vec<u8>,
    error: JsonError,
    line: u64,
    start: u64,
    /// The byte at which `text` begins.
    at: u64,
}

/// What the first readable line was.
#[derive(Default, PartialEq, Eq, Serialize, Deserialize)]
enum First {
    #[default]
    NothingYet,
    /// Only lines that are not JSON so far.
    OnlyJunk,
    Null,
    Header,
    NoHeader,
}

impl Analyzer {
    /// A judge that misses nothing: every line is looked at for all that [`Code`] lists, and every finding has its byte.
    pub fn thorough() -> Self {
        let mut analyzer = Self { watch: Some(Watch::default()), ..Self::default() };
        analyzer.tree.starts = Some(Starts::default());
        analyzer
    }

    /// How many bytes it was fed: where it goes on.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns whether it looks at everything.
    pub fn is_thorough(&self) -> bool {
        self.watch.is_some()
    }

    /// Takes the next line, without its newline; `terminated` says whether it had one.
    pub fn line(&mut self, text: &[u8], terminated: bool) {
        self.take(Looked::at(text, self.is_thorough()), terminated);
    }

    /// The same with a line that was looked at before, as [thoroughly](Self::is_thorough) as the judge does.
    pub fn take(&mut self, looked: Looked<'_>, terminated: bool) {
        let Looked { text, line, mut undecodable } = looked;
        let start = self.bytes;
        self.lines += 1;
        self.bytes += text.len() as u64 + u64::from(terminated);
        self.unterminated = !terminated && !text.is_empty();
        if let Some(watch) = &mut self.watch {
            watch.raw_line(text, terminated, self.lines, start);
        }
        let Some(mut line) = line else { return };
        if let Some(Held { text, error, line, at, .. }) = self.held.take() {
            self.reject(&text, true, error, (line, at));
        }
        let whole = text;
        let text = if matches!(self.first, First::NothingYet) { trim_start(whole) } else { whole };
        let at = start + (whole.len() - text.len()) as u64;
        if text.len() < whole.len() {
            (line, undecodable) = (self.read(text), undecodable_in(text));
        }
        match line {
            Ok(line) => self.accept(line, text, undecodable, (start, at)),
            Err(error) => {
                let trimmed = trim_end(text);
                if trimmed.len() < text.len() && line::read(trimmed).is_ok() {
                    self.held = Some(Held { text: trimmed.to_vec(), error, line: self.lines, start, at });
                } else {
                    self.reject(text, terminated, error, (self.lines, at));
                }
            }
        }
    }

    fn find(&mut self, code: Code, line: u64, byte: Option<u64>) {
        self.find_with(code, line, byte, None);
    }

    fn find_with(&mut self, code: Code, line: u64, byte: Option<u64>, detail: Option<String>) {
        let times = self.found.entry(code).or_default();
        *times += 1;
        let room = match self.watch {
            Some(_) => *times <= MAX_OF_A_KIND,
            None => self.findings.len() < MAX_FINDINGS,
        };
        if room {
            self.findings.push(LineFinding { code, line, byte, detail });
        }
    }

    fn read<'t>(&self, text: &'t [u8]) -> Result<Line<'t>, JsonError> {
        read(text, self.is_thorough())
    }

    fn reject(&mut self, text: &[u8], terminated: bool, error: JsonError, (line, start): (u64, u64)) {
        let before_header = matches!(self.first, First::NothingYet | First::OnlyJunk);
        if self.first == First::NothingYet {
            self.first = First::OnlyJunk;
        }
        let glued = line::is_glued(text, error);
        if before_header {
            self.cure.junk_line(text, line, glued);
        }
        self.malformed_at = Some(line);
        if glued {
            self.glued = true;
            self.find(Code::GluedLines, line, Some(start + error.offset as u64));
            return;
        }
        let content = text.iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1);
        if content == 0 && terminated {
            self.find(Code::NulLine, line, Some(start));
            return;
        }
        let mut error = Some(error);
        if content < text.len() && !terminated {
            self.find(Code::NulTail, line, Some(start + content as u64));
            error = if content == 0 { None } else { line::read(&text[..content]).err() };
        }
        if let Some(error) = error {
            let code = match error.kind {
                JsonErrorKind::ControlCharacter => Code::ControlCharacter,
                _ => Code::MalformedLine,
            };
            self.ends_inside = (error.kind == JsonErrorKind::Truncated).then_some(line);
            self.find(code, line, Some(start + error.offset as u64));
        }
    }

    /// The held line was the last one: the next append makes it malformed.
    fn accept_held(&mut self) {
        let Some(Held { text, error, line, start, at }) = self.held.take() else { return };
        let lines = std::mem::replace(&mut self.lines, line);
        if let Ok(line) = self.read(&text) {
            self.accept(line, &text, undecodable_in(&text), (start, at));
        }
        self.lines = lines;
        self.malformed_at = Some(lines);
        self.find(Code::MalformedLine, line, Some(at + error.offset as u64));
    }

    /// Takes a line that begins at `start`; `text` begins at `at`, behind what was trimmed.
    fn accept(&mut self, mut line: Line<'_>, text: &[u8], undecodable: Option<usize>, (start, at): (u64, u64)) {
        if let Line::Entry(EntryLine { detail: Some(detail), .. }, _) = &mut line {
            detail.lone_surrogate = detail.lone_surrogate.map(|offset| offset + (at - start) as usize);
        }
        if let Some(offset) = undecodable {
            self.find(Code::InvalidUtf8, self.lines, Some(at + offset as u64));
        }
        if matches!(self.first, First::NothingYet | First::OnlyJunk) {
            self.accept_first(&line, start);
        }
        match line {
            Line::Null => {
                self.null_line = true;
                self.find(Code::NullLine, self.lines, Some(start));
            }
            Line::Header(header, stamp) => {
                self.stamp(stamp);
                if header.id.is_some() && self.first != First::Header {
                    self.cure.later_header(text);
                }
                if self.header.is_none() {
                    self.header_at = stamp.and_then(parse_time);
                    self.header_place = Some((self.lines, start));
                    self.header = Some(header);
                } else if let Some(watch) = &mut self.watch {
                    watch.tally(Code::DuplicateHeader, self.lines, start);
                }
            }
            Line::Entry(entry, stamp) => self.accept_entry(entry, stamp, start),
        }
    }

    /// Takes the first readable line, which should be the header.
    fn accept_first(&mut self, line: &Line<'_>, start: u64) {
        let junk = self.first == First::OnlyJunk;
        self.first = match line {
            Line::Null => First::Null,
            Line::Header(HeaderLine { id: Some(_), .. }, _) => First::Header,
            _ => First::NoHeader,
        };
        match self.first {
            First::NoHeader => {
                self.find(Code::NoHeader, self.lines, Some(start));
                if matches!(line, Line::Header(..)) {
                    self.cure.broken_header(self.lines);
                }
            }
            First::Header if junk => self.forgive_junk(),
            _ => {}
        }
    }

    fn accept_entry(&mut self, mut entry: EntryLine, stamp: Option<&[u8]>, start: u64) {
        if let Some(watch) = &mut self.watch {
            watch.entry(&entry, stamp, self.tree.len(), (self.lines, start));
        }
        self.stamp(stamp);
        // Entries of version 1 have no ids.
        let is_old = self.header.as_ref().is_some_and(|header| header.is_below(2.0)) && self.first == First::Header;
        match entry.role {
            Role::Foreign if is_old => entry.role = Role::Plain,
            Role::Foreign => self.find(Code::ForeignLine, self.lines, Some(start)),
            Role::Scalar | Role::Array => {
                self.scalar_line |= entry.role == Role::Scalar;
                self.find(Code::ScalarLine, self.lines, Some(start));
            }
            Role::Judges(Judging::User) => self.user_seen = true,
            // Before the first answer, every append looks at the role of every message (F§4.5).
            Role::NoMessage if !self.answer_seen => {
                self.append_fails = true;
                self.cure.messageless(self.lines);
                self.find(Code::NoMessage, self.lines, Some(start));
            }
            _ => {}
        }
        self.answer_seen |= entry.assistant;
        if let Some(message) = entry.error {
            if self.errors.len() == MAX_ERRORS {
                self.errors.pop_front();
            }
            self.errors.push_back((self.tree.len(), message));
        }
        if let Some(misfit) = entry.misfit {
            self.tree.note(misfit);
        }
        self.tree.push(entry.id, entry.parent, entry.role, self.lines, start);
    }

    /// What is unreadable before a good header does no harm.
    fn forgive_junk(&mut self) {
        for found in &mut self.findings {
            if matches!(found.code, Code::MalformedLine | Code::ControlCharacter | Code::GluedLines) {
                found.code = Code::JunkBeforeHeader;
            }
        }
        self.found.remove(&Code::GluedLines);
        self.glued = false;
    }

    fn stamp(&mut self, stamp: Option<&[u8]>) {
        let Some(stamp) = stamp.filter(|stamp| stamp.len() <= 40) else { return };
        if self.first_at.is_none() {
            self.first_at = parse_time(stamp);
        }
        self.last_stamp.clear();
        self.last_stamp.extend_from_slice(stamp);
    }
}

impl<'a> Looked<'a> {
    /// Looks at a line, without its newline.
    pub fn at(text: &'a [u8], closely: bool) -> Self {
        let line = (!is_blank(text)).then(|| read(text, closely));
        let undecodable = if matches!(line, Some(Ok(_))) { undecodable_in(text) } else { None };
        Self { text, line, undecodable }
    }
}

fn read(text: &[u8], closely: bool) -> Result<Line<'_>, JsonError> {
    if closely { line::read_closely(text) } else { line::read(text) }
}

fn undecodable_in(text: &[u8]) -> Option<usize> {
    simdutf8::compat::from_utf8(text).err().map(|error| error.valid_up_to())
}

fn parse_time(text: &[u8]) -> Option<DateTime<Utc>> {
    let text = std::str::from_utf8(text).ok()?;
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.with_timezone(&Utc))
}

#[cfg(test)]
mod tests;
