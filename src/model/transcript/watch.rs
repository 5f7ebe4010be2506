//! What only a check of every line looks at: calls and results that belong together, and what is odd without doing harm.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::LineFinding;
use crate::model::line::{Detail, EntryLine, Judging, Role};
use crate::model::problem::Code;
use crate::model::tree::Walk;

/// A line longer than this is told.
const LONG: usize = 1 << 20;

/// Watches the lines go by.
#[derive(Default)]
pub(super) struct Watch {
    found: Vec<LineFinding>,
    /// Findings that matter where the entry is sent to a provider.
    found_at: Vec<(u32, LineFinding)>,
    /// Every tool call that was made: its entry, and its id.
    calls: Vec<(u32, u64)>,
    /// What is told once for a file, with how often: where it was first, and how many times.
    tallies: BTreeMap<Code, (u64, u64, u64)>,
    /// Tool calls of the last answer that have no result yet, and where it stands.
    open: Vec<u64>,
    asked_at: (u32, (u64, u64)),
    /// Tool calls of the last answer that have one.
    answered: HashSet<u64>,
    stamp: Vec<u8>,
    /// Where the first message of a user stands.
    pub(super) first_user: Option<(u64, u64)>,
}

impl Watch {
    fn find_at(&mut self, code: Code, index: u32, (line, byte): (u64, u64), detail: Option<String>) {
        self.found_at.push((index, LineFinding { code, line, byte: Some(byte), detail }));
    }

    fn find(&mut self, code: Code, (line, byte): (u64, u64), detail: Option<String>) {
        self.found.push(LineFinding { code, line, byte: Some(byte), detail });
    }

    /// Something that is told once, with how often.
    pub(super) fn tally(&mut self, code: Code, line: u64, byte: u64) {
        self.tallies.entry(code).or_insert((line, byte, 0)).2 += 1;
    }

    /// Looks at a line before it is read.
    pub(super) fn raw_line(&mut self, text: &[u8], terminated: bool, line: u64, start: u64) {
        if line == 1 && text.starts_with(b"\xef\xbb\xbf") {
            self.find(Code::ByteOrderMark, (line, start), None);
        }
        if terminated && text.ends_with(b"\r") {
            self.tally(Code::CarriageReturns, line, start);
        }
        if text.len() > LONG {
            self.find(Code::LongLine, (line, start), Some(format!("{} bytes", text.len())));
        }
    }

    /// Looks at an entry.
    pub(super) fn entry(&mut self, entry: &EntryLine, stamp: Option<&[u8]>, index: u32, at: (u64, u64)) {
        let Some(detail) = entry.detail.as_deref() else { return };
        let (line, start) = at;
        if detail.mirror {
            self.tally(Code::Mirror, line, start);
        }
        if detail.unknown_type {
            self.tally(Code::UnknownType, line, start);
        }
        if let Some(offset) = detail.lone_surrogate {
            self.find(Code::LoneSurrogate, (line, start + offset as u64), None);
        }
        if detail.partial_json {
            self.find(Code::PartialJson, at, None);
        }
        if detail.blank {
            self.find(Code::BlankUser, at, None);
        }
        if detail.empty {
            self.find_at(Code::EmptyAnswer, index, at, None);
        }
        if detail.unsigned {
            self.find_at(Code::ThinkingUnsigned, index, at, None);
        }
        if let Role::Judges(judging) = entry.role
            && judging != Judging::Reply
        {
            self.pair(judging, detail, index, at);
        }
        if let Some(stamp) = stamp {
            // Times that OpenClaw writes have one width and one zone, so they sort as text.
            if stamp.len() == self.stamp.len() && stamp.ends_with(b"Z") && stamp < self.stamp.as_slice() {
                self.tally(Code::TimeBackwards, line, start);
            }
            self.stamp.clear();
            self.stamp.extend_from_slice(stamp);
        }
    }

    /// Every call of an answer has one result before the conversation goes on (F§4.3).
    fn pair(&mut self, judging: Judging, Detail { calls, result_of, .. }: &Detail, index: u32, at: (u64, u64)) {
        let result_of = *result_of;
        if judging == Judging::ToolResult {
            if let Some(index) = result_of.and_then(|id| self.open.iter().position(|&open| open == id)) {
                let id = self.open.swap_remove(index);
                self.answered.insert(id);
            } else {
                let second = result_of.is_some_and(|id| self.answered.contains(&id));
                self.find_at(Code::OrphanToolResult, index, at, second.then(|| "the second of one call".to_owned()));
            }
            return;
        }
        if judging == Judging::User {
            self.first_user.get_or_insert(at);
        }
        if !self.open.is_empty() {
            let times = self.open.len();
            let (index, at) = self.asked_at;
            self.find_at(Code::MissingToolResult, index, at, (times > 1).then(|| format!("{times} of them")));
        }
        self.open.clear();
        self.answered.clear();
        // The calls of an answer that failed were never made.
        if matches!(judging, Judging::Stop | Judging::StopByCli | Judging::ToolUse) {
            self.open.extend_from_slice(calls);
            self.asked_at = (index, at);
            self.calls.extend(calls.iter().map(|&call| (index, call)));
        }
    }

    /// All that was seen, and the entry whose calls repeat ids of earlier ones.
    pub(super) fn finish(self, walk: &Walk) -> (Vec<LineFinding>, Option<(u32, String)>) {
        let repeated = repeated(&self.calls, walk);
        let mut found = self.found;
        let counts = |(index, finding): &(u32, LineFinding)| match finding.code {
            Code::EmptyAnswer | Code::ThinkingUnsigned => walk.is_in_context(*index),
            _ => !walk.is_summarised(*index),
        };
        found.extend(self.found_at.into_iter().filter(counts).map(|(_, finding)| finding));
        for (code, (line, byte, times)) in self.tallies {
            let detail = (times > 1).then(|| format!("{times} of them"));
            found.push(LineFinding { code, line, byte: Some(byte), detail });
        }
        (found, repeated)
    }
}

/// Returns the first entry of the context that calls a tool with an id of an earlier call, and how many calls do.
fn repeated(calls: &[(u32, u64)], walk: &Walk) -> Option<(u32, String)> {
    let mut ids = HashMap::new();
    let is_again = |&&(index, id): &&(u32, u64)| *ids.entry(id).or_insert(index) != index;
    let sent = calls.iter().filter(|(index, _)| walk.is_in_context(*index));
    let repeats: Vec<(u32, u64)> = sent.filter(is_again).copied().collect();
    let again: HashSet<u64> = repeats.iter().map(|(_, id)| *id).collect();
    let (first, _) = repeats.first()?;
    Some((*first, format!("{} calls with {} ids of earlier ones", repeats.len(), again.len())))
}
