//! What would mend a transcript, as far as one pass over it can tell.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::super::problem::{Code, Severity};
use super::Summary;

/// A good header further down is kept for its place at the top, when it is no longer than this.
const LONGEST_HEADER: usize = 64 * 1024;
/// More entries of a kind than this are not mended.
const MOST_ENTRIES: usize = 100_000;

/// What mends a transcript.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cure {
    /// The problems that it mends.
    pub codes: Vec<Code>,
    /// A header goes before the first line.
    pub(in crate::model) header: bool,
    /// The header of a tree gets version 3.
    pub(in crate::model) version: bool,
    /// The line whose parent closes a cycle, and the line that it hangs on instead; `None`: it becomes a root.
    pub(in crate::model) cycle: Option<(u64, Option<u64>)>,
    /// The line that was to be the header; a new one takes its place.
    pub(in crate::model) broken_header: Option<u64>,
    /// The header is there, glued to what follows it.
    glued_header: bool,
    /// A good header further down.
    pub(in crate::model) copy: Option<Vec<u8>>,
    /// Lines of entries without message.
    pub(in crate::model) messageless: BTreeSet<u64>,
    /// Lines of messages whose content cannot be sent.
    pub(in crate::model) misfits: BTreeSet<u64>,
}

impl Cure {
    /// Notes a line before the header that is not one JSON value; glued to another it may be the header all the same.
    pub(super) fn junk_line(&mut self, text: &[u8], line: u64, glued: bool) {
        if !text.starts_with(b"{\"type\":\"session\"") {
            return;
        }
        if glued {
            self.glued_header = true;
        } else {
            self.broken_header(line);
        }
    }

    pub(super) fn has_glued_header(&self) -> bool {
        self.glued_header
    }

    pub(super) fn broken_header(&mut self, line: u64) {
        self.broken_header.get_or_insert(line);
    }

    pub(super) fn later_header(&mut self, text: &[u8]) {
        if text.len() <= LONGEST_HEADER {
            self.copy.get_or_insert_with(|| text.to_vec());
        }
    }

    pub(super) fn messageless(&mut self, line: u64) {
        self.messageless.insert(line);
    }

    pub(super) fn misfit(&mut self, line: u64) {
        self.misfits.insert(line);
    }

    pub(super) fn is_bounded(&self) -> bool {
        self.messageless.len().max(self.misfits.len()) <= MOST_ENTRIES
    }

    /// Returns whether the file needs a header that is not in it.
    pub fn needs_header(&self) -> bool {
        self.header && self.copy.is_none()
    }

    /// Whether `after`, the mended file, is what a mended `before` should be: nothing left to mend, nothing fatal, and
    /// no problem that was not there.
    pub fn is_exact(&self, before: &Summary, after: &Summary) -> bool {
        let had = |code: Code| before.findings.iter().any(|found| found.code == code);
        let mended = |code: Code| self.codes.contains(&code) || code.severity() == Severity::Fatal;
        let bad = |code: Code| code.severity() != Severity::Info && (mended(code) || !had(code));
        !after.integrity.is_fatal() && !after.findings.iter().any(|found| bad(found.code))
    }
}
