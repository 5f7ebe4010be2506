//! A transcript, judged in one streaming pass: what OpenClaw's loader would make of it, and how its last run ended
//! (`openclaw-format.md` §4.3-§4.5).
//!
//! The loader reads every line, takes the file for lost when the first readable one is no header, links the entries
//! into a tree by `id` and `parentId`, and builds the context from the path between the last entry and its root. So
//! the verdict here is not the sum of defects but what that procedure does with them. An [`Analyzer`] is fed the
//! lines and keeps some twelve bytes for each; nothing depends on how long a line or a file is.

use std::collections::VecDeque;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::json::JsonError;
use super::line::{self, HeaderLine, Judging, Line, Role};
use super::tree::{Tree, Walk};

/// How sound a transcript is, worst first: named after what OpenClaw 2026.3.11 does at the next use (design §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Integrity {
    /// A cycle on the active path: the whole gateway hangs.
    Freezes,
    /// The loader throws: every run of this session fails.
    Blocks,
    /// The whole history is replaced by an empty one.
    Wiped,
    /// Expected and absent: starts empty.
    Missing,
    /// No entries: starts empty.
    Empty,
    /// Earlier history leaves the context.
    Cut,
    /// The last entries are lost.
    Torn,
    /// Could not be read, or is no regular file.
    Unreadable,
    /// Leads out of its sessions directory, or is a symbolic link: not followed.
    Outside,
    /// No file, and none expected.
    NeverWritten,
    /// Nothing of the above.
    Intact,
}

impl Integrity {
    /// Its name in tables and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Freezes => "freezes",
            Self::Blocks => "blocks",
            Self::Wiped => "wiped",
            Self::Missing => "missing",
            Self::Empty => "empty",
            Self::Cut => "cut",
            Self::Torn => "torn",
            Self::Unreadable => "unreadable",
            Self::Outside => "outside",
            Self::NeverWritten => "never-written",
            Self::Intact => "intact",
        }
    }

    /// What OpenClaw 2026.3.11 does at the next use (F§4.5).
    pub const fn at_next_use(self) -> &'static str {
        match self {
            Self::Freezes => "the whole gateway hangs",
            Self::Blocks => "every run of this session fails",
            Self::Wiped => "the whole history is replaced by an empty one",
            Self::Missing | Self::Empty => "the session starts empty",
            Self::Cut => "earlier history leaves the context",
            Self::Torn => "the last entries are lost",
            Self::Unreadable => "unknown: it could not be read",
            Self::Outside => "unknown: it was not followed",
            Self::NeverWritten | Self::Intact => "normal",
        }
    }
}

/// Something worth saying about one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Defect {
    /// The first readable line is no `session` header with a string id.
    NoHeader,
    /// The line is `null`.
    NullLine,
    /// The line is a number, string, boolean or array.
    ScalarLine,
    /// The line is not JSON.
    MalformedLine,
    /// The last line is not JSON.
    TruncatedLine,
    /// Several objects on one line.
    GluedLines,
    /// The line holds NUL bytes and nothing else.
    NulLine,
    /// The file ends without a newline: the next append is glued to its last line.
    NoFinalNewline,
    /// A `message` entry without a message.
    NoMessage,
    /// The parent of this entry does not exist.
    DanglingParent,
    /// The entry has no `parentId` field.
    MissingParent,
    /// Following the parents from the last entry comes back to this one.
    Cycle,
    /// A compaction keeps entries from one that is not there.
    UnknownKept,
    /// The last entry has no usable id.
    NoIdLast,
    /// A header without `version`, or with one below 3: the file is rewritten and its ids are made anew.
    OldVersion,
    /// Bytes that are not UTF-8.
    InvalidUtf8,
    /// User messages and no answer: they are dropped at the next run.
    UserOnly,
}

/// A defect and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LineFinding {
    /// What it is.
    pub defect: Defect,
    /// Line number, from 1.
    pub line: u64,
    /// Byte offset in the file, where the pass knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub byte: Option<u64>,
}

/// How the last run ended, as the last message that tells it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "kind", content = "message")]
pub enum Ending {
    /// An answer that ended by itself.
    Answered,
    /// A user's message without an answer.
    Unanswered,
    /// A tool call without a result, or a result without an answer.
    InTool,
    /// An error, with its message.
    Error(Option<String>),
    /// An abort, with its message.
    Aborted(Option<String>),
}

/// What the pass found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// What the loader would do.
    pub integrity: Integrity,
    /// Lines read.
    pub lines: u64,
    /// The header's timestamp.
    pub started_at: Option<DateTime<Utc>>,
    /// The first timestamp of any line.
    pub first_at: Option<DateTime<Utc>>,
    /// The last timestamp of any line.
    pub last_at: Option<DateTime<Utc>>,
    /// The header's `parentSession`.
    pub parent_session: Option<String>,
    /// How the last run ended; `None` when no message tells.
    pub ending: Option<Ending>,
    /// Defects, at most [`MAX_FINDINGS`] of them.
    pub findings: Vec<LineFinding>,
}

/// The most findings kept for one file.
pub const MAX_FINDINGS: usize = 50;
/// The most error messages remembered until the active path is known.
const MAX_ERRORS: usize = 64;

/// The streaming judge. Feed it every line in order, then [`finish`](Self::finish).
#[derive(Default)]
pub struct Analyzer {
    lines: u64,
    bytes: u64,
    unterminated: bool,
    first: First,
    null_line: bool,
    scalar_line: bool,
    glued: bool,
    malformed_at: Option<u64>,
    held: Option<Held>,
    header: Option<HeaderLine>,
    header_at: Option<DateTime<Utc>>,
    first_at: Option<DateTime<Utc>>,
    last_stamp: Vec<u8>,
    tree: Tree,
    errors: VecDeque<(u32, String)>,
    user_seen: bool,
    answer_seen: bool,
    append_fails: bool,
    findings: Vec<LineFinding>,
}

/// A line that is JSON but for white space behind it that only JavaScript knows: good if it is the last of the file,
/// whose end the loader trims, and malformed once a line follows it.
struct Held {
    text: Vec<u8>,
    error: JsonError,
    line: u64,
    start: u64,
}

/// What the first readable line was.
#[derive(Default, PartialEq, Eq)]
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
    /// Takes the next line, without its newline; `terminated` says whether it had one.
    pub fn line(&mut self, text: &[u8], terminated: bool) {
        let start = self.bytes;
        self.lines += 1;
        self.bytes += text.len() as u64 + u64::from(terminated);
        self.unterminated = !terminated && !text.is_empty();
        if is_blank(text) {
            return;
        }
        if let Some(Held { text, error, line, start }) = self.held.take() {
            self.reject(&text, error, line, start);
        }
        let text = if matches!(self.first, First::NothingYet) { trim_start(text) } else { text };
        match line::read(text) {
            Ok(line) => self.accept(line, text, start),
            Err(error) => {
                let trimmed = trim_end(text);
                if trimmed.len() < text.len() && line::read(trimmed).is_ok() {
                    self.held = Some(Held { text: trimmed.to_vec(), error, line: self.lines, start });
                } else {
                    self.reject(text, error, self.lines, start);
                }
            }
        }
    }

    /// Goes on at this byte: what lies before is not looked at, and links into it are not followed. Line numbers
    /// count the lines that were seen.
    pub fn skip_to(&mut self, byte: u64) {
        self.bytes = byte;
        self.tree.gap = Some(self.tree.len());
        if self.first == First::NothingYet {
            self.first = First::OnlyJunk;
        }
    }

    fn find(&mut self, defect: Defect, line: u64, byte: Option<u64>) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(LineFinding { defect, line, byte });
        }
    }

    fn reject(&mut self, text: &[u8], error: JsonError, line: u64, start: u64) {
        if self.first == First::NothingYet {
            self.first = First::OnlyJunk;
        }
        self.malformed_at = Some(line);
        let glued = line::is_glued(text, error);
        self.glued |= glued;
        let (defect, byte) = if glued {
            (Defect::GluedLines, start + error.offset as u64)
        } else if text.iter().all(|&byte| byte == 0) {
            (Defect::NulLine, start)
        } else {
            (Defect::MalformedLine, start + error.offset as u64)
        };
        self.find(defect, line, Some(byte));
    }

    /// The held line was the last one: the next append makes it malformed.
    fn accept_held(&mut self) {
        let Some(Held { text, error, line, start }) = self.held.take() else { return };
        let lines = std::mem::replace(&mut self.lines, line);
        if let Ok(line) = line::read(&text) {
            self.accept(line, &text, start);
        }
        self.lines = lines;
        self.malformed_at = Some(lines);
        self.find(Defect::MalformedLine, line, Some(start + error.offset as u64));
    }

    fn accept(&mut self, line: Line<'_>, text: &[u8], start: u64) {
        if std::str::from_utf8(text).is_err() {
            self.find(Defect::InvalidUtf8, self.lines, Some(start));
        }
        let is_first = matches!(self.first, First::NothingYet | First::OnlyJunk);
        if is_first {
            self.first = match &line {
                Line::Null => First::Null,
                Line::Header(HeaderLine { id: Some(_), .. }, _) => First::Header,
                _ => First::NoHeader,
            };
            if self.first == First::NoHeader {
                self.find(Defect::NoHeader, self.lines, Some(start));
            }
        }
        match line {
            Line::Null => {
                self.null_line = true;
                self.find(Defect::NullLine, self.lines, Some(start));
            }
            Line::Header(header, stamp) => {
                self.stamp(stamp);
                if self.header.is_none() {
                    self.header_at = stamp.and_then(parse_time);
                    self.header = Some(header);
                }
            }
            Line::Entry(entry, stamp) => {
                self.stamp(stamp);
                match entry.role {
                    Role::Scalar | Role::Array => {
                        self.scalar_line |= entry.role == Role::Scalar;
                        self.find(Defect::ScalarLine, self.lines, Some(start));
                    }
                    Role::Judges(Judging::User) => self.user_seen = true,
                    // Before the first answer, every append looks at the role of every message (F§4.5).
                    Role::NoMessage if !self.answer_seen => {
                        self.append_fails = true;
                        self.find(Defect::NoMessage, self.lines, Some(start));
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
                self.tree.push(entry.id, entry.parent, entry.role, self.lines);
            }
        }
    }

    fn stamp(&mut self, stamp: Option<&[u8]>) {
        let Some(stamp) = stamp.filter(|stamp| stamp.len() <= 40) else { return };
        if self.first_at.is_none() {
            self.first_at = parse_time(stamp);
        }
        self.last_stamp.clear();
        self.last_stamp.extend_from_slice(stamp);
    }

    /// The verdict.
    pub fn finish(mut self) -> Summary {
        self.accept_held();
        if self.unterminated {
            self.find(Defect::NoFinalNewline, self.lines, Some(self.bytes));
        }
        let last = self.findings.iter_mut().rfind(|found| found.defect == Defect::MalformedLine);
        if let Some(last) = last.filter(|found| found.line == self.lines) {
            last.defect = Defect::TruncatedLine;
        }
        if self.user_seen && !self.answer_seen {
            self.find(Defect::UserOnly, self.lines, None);
        }
        let relinked = self.header.as_ref().is_none_or(|header| header.is_below(2.0)) && self.first == First::Header;
        let walk = self.tree.walk(relinked);
        let integrity = self.integrity(relinked, &walk);
        for (defect, index) in &walk.findings {
            let line = self.tree.line_of(*index);
            if !self.findings.iter().any(|found| (found.defect, found.line) == (*defect, line)) {
                self.find(*defect, line, None);
            }
        }
        let ending = walk.last.map(|(judging, index)| {
            let message = || self.errors.iter().find(|(at, _)| *at == index).map(|(_, text)| text.clone());
            match judging {
                Judging::User => Ending::Unanswered,
                Judging::ToolResult | Judging::ToolUse => Ending::InTool,
                Judging::Stop => Ending::Answered,
                Judging::Error => Ending::Error(message()),
                Judging::Aborted => Ending::Aborted(message()),
            }
        });
        self.findings.sort_by_key(|found| (found.line, found.byte));
        Summary {
            integrity,
            lines: self.lines,
            started_at: self.header_at,
            first_at: self.first_at,
            last_at: parse_time(&self.last_stamp),
            parent_session: self.header.and_then(|header| header.parent_session),
            ending,
            findings: self.findings,
        }
    }

    /// In the order in which the loader meets the defects.
    fn integrity(&mut self, relinked: bool, walk: &Walk) -> Integrity {
        match self.first {
            First::NothingYet => return Integrity::Empty,
            First::OnlyJunk | First::NoHeader => return Integrity::Wiped,
            First::Null => return Integrity::Blocks,
            First::Header => {}
        }
        // Re-linking a version-1 file assigns ids, which throws on what cannot hold one.
        if self.null_line || (relinked && self.scalar_line) {
            return Integrity::Blocks;
        }
        if self.header.as_ref().is_some_and(|header| header.is_below(3.0) || header.version.is_nan()) {
            self.find(Defect::OldVersion, 1, None);
        }
        if self.tree.len() == 0 {
            return Integrity::Empty;
        }
        if walk.cycle {
            return Integrity::Freezes;
        }
        if walk.no_message || self.append_fails {
            return Integrity::Blocks;
        }
        if walk.cut || (relinked && self.tree.has_ids()) {
            return Integrity::Cut;
        }
        if self.unterminated || self.glued || self.malformed_at == Some(self.lines) {
            return Integrity::Torn;
        }
        Integrity::Intact
    }
}

fn parse_time(text: &[u8]) -> Option<DateTime<Utc>> {
    let text = std::str::from_utf8(text).ok()?;
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.with_timezone(&Utc))
}

/// White space as `String.prototype.trim` sees it.
fn is_js_space(c: char) -> bool {
    (c.is_whitespace() && c != '\u{85}') || c == '\u{feff}'
}

/// The loader trims the whole file first, so a byte order mark or white space before the header does no harm.
fn trim_start(text: &[u8]) -> &[u8] {
    let mut rest = text;
    loop {
        match rest {
            [b'\t' | b'\n' | 0x0b | 0x0c | b'\r' | b' ', tail @ ..] => rest = tail,
            [first, ..] if *first >= 0x80 => {
                let head = &rest[..rest.len().min(4)];
                let valid = head.utf8_chunks().next().map_or("", |chunk| chunk.valid());
                match valid.chars().next().filter(|&c| is_js_space(c)) {
                    Some(c) => rest = &rest[c.len_utf8()..],
                    None => return rest,
                }
            }
            _ => return rest,
        }
    }
}

/// The loader trims the end of the file too.
fn trim_end(text: &[u8]) -> &[u8] {
    let is_space = |text: &[u8]| std::str::from_utf8(text).is_ok_and(|text| text.chars().all(is_js_space));
    let mut rest = text;
    while let Some(at) = (1..=3).filter_map(|size| rest.len().checked_sub(size)).find(|&at| is_space(&rest[at..])) {
        rest = &rest[..at];
    }
    rest
}

fn is_blank(text: &[u8]) -> bool {
    trim_start(text).is_empty()
}

#[cfg(test)]
mod tests;
