//! The end of the pass: the verdict, once every line was seen.

use super::{Analyzer, Cure, Ending, First, Integrity, LineFinding, Summary, Watch, parse_time};
use crate::model::line::Judging;
use crate::model::problem::{Code, Remedy};
use crate::model::tree::{Tree, Walk};

impl Analyzer {
    /// The verdict.
    pub fn finish(self) -> Summary {
        self.finish_with_cure().0
    }

    /// The verdict, and what would mend what is wrong, when some of it can be mended.
    pub fn finish_with_cure(mut self) -> (Summary, Option<Cure>) {
        self.accept_held();
        self.find_at_end();
        let relinked = self.header.as_ref().is_none_or(|header| header.is_below(2.0)) && self.first == First::Header;
        self.find_old_version();
        let walk = self.tree.walk(relinked);
        self.find_misfits(&walk);
        let integrity = self.integrity(relinked, &walk);
        self.find_on_path(&walk);
        self.look_closely(relinked, &walk);
        let cure = self.take_cure(&walk);
        let ending = self.ending(&walk);
        self.findings.sort_by_key(|found| (found.line, found.byte));
        let summary = Summary {
            integrity,
            lines: self.lines,
            started_at: self.header_at,
            first_at: self.first_at,
            last_at: parse_time(&self.last_stamp),
            header_place: self.header_place,
            header_id: self.header.as_ref().and_then(|header| header.id.clone()),
            parent_session: self.header.and_then(|header| header.parent_session),
            ending,
            more: self.found.values().sum::<u64>().saturating_sub(self.findings.len() as u64),
            findings: self.findings,
            mends: None,
        };
        (summary, cure)
    }

    /// Finds what only the end of the file tells.
    fn find_at_end(&mut self) {
        if self.unterminated && !self.found.contains_key(&Code::NulTail) {
            self.find(Code::NoFinalNewline, self.lines, Some(self.bytes));
        }
        let last = self.findings.iter_mut().rfind(|found| found.code == Code::MalformedLine);
        if let Some(last) = last.filter(|found| self.ends_inside == Some(self.lines) && found.line == self.lines) {
            last.code = Code::TruncatedLine;
        }
        if self.first == First::OnlyJunk {
            self.find(Code::NoLines, 1, Some(0));
        }
        if self.user_seen && !self.answer_seen {
            let (line, byte) = self.watch.as_ref().and_then(|watch| watch.first_user).unwrap_or((self.lines, 0));
            self.find(Code::UserOnly, line, Some(byte).filter(|_| self.watch.is_some()));
        }
    }

    fn find_old_version(&mut self) {
        let (line, byte) = self.header_place.unwrap_or((1, 0));
        if let Some(header) = self.header.as_ref().filter(|_| self.first == First::Header)
            && (header.is_below(3.0) || header.version.is_nan())
        {
            let code = match self.tree.has_ids() {
                true if header.unversioned => Code::VersionAbsent,
                true if header.is_below(2.0) => Code::VersionOne,
                _ => Code::OldVersion,
            };
            self.find(code, line, Some(byte));
        }
    }

    /// Finds what the loader meets on its way through the tree.
    fn find_on_path(&mut self, walk: &Walk) {
        for (code, index) in &walk.findings {
            let line = self.tree.line_of(*index);
            if *code == Code::NoMessage {
                self.cure.messageless(line);
            }
            if !self.findings.iter().any(|found| (found.code, found.line) == (*code, line)) {
                self.find(*code, line, self.tree.start_of(*index));
            }
        }
    }

    /// Finds what of the context no request can be built of.
    fn find_misfits(&mut self, walk: &Walk) {
        let misfits: Vec<_> = self.tree.misfits(walk).collect();
        for (index, misfit) in misfits {
            let line = self.tree.line_of(index);
            self.cure.misfit(line);
            self.find_with(Code::ContentShape, line, self.tree.start_of(index), Some(misfit.words().to_owned()));
        }
    }

    fn ending(&self, walk: &Walk) -> Option<Ending> {
        walk.last.map(|(judging, index)| {
            let message = || self.errors.iter().find(|(at, _)| *at == index).map(|(_, text)| text.clone());
            match judging {
                Judging::User | Judging::ToolResult => Ending::Unanswered,
                Judging::ToolUse => Ending::InTool,
                Judging::Stop | Judging::StopByCli | Judging::Reply => Ending::Answered,
                Judging::Empty => Ending::Empty,
                Judging::Error => Ending::Error(message()),
                Judging::Aborted => Ending::Aborted(message()),
            }
        })
    }

    /// What only a check says.
    fn look_closely(&mut self, relinked: bool, walk: &Walk) {
        let Some(watch) = self.watch.take() else { return };
        let has_header = self.first == First::Header;
        let header = self.header.as_ref().filter(|_| has_header);
        let of_whole = [
            (Code::Empty, self.first == First::NothingYet),
            (Code::HeaderOnly, has_header && self.tree.len() == 0),
            (Code::EmptyHeaderId, header.is_some_and(|header| header.id.as_deref() == Some(""))),
            (Code::NewerVersion, header.is_some_and(|header| header.version > 3.0)),
        ];
        let (line, byte) = self.header_place.filter(|_| has_header).unwrap_or((1, 0));
        for (code, _) in of_whole.into_iter().filter(|(_, applies)| *applies) {
            self.find(code, line, Some(byte));
        }
        if self.first == First::Header && !relinked {
            let aside = self.tree.aside(walk);
            let place = |tree: &Tree, index: u32| (tree.line_of(index), tree.start_of(index));
            for (index, what) in aside.damage {
                let (line, byte) = place(&self.tree, index);
                let known = |found: &LineFinding| found.code == Code::NoMessage && found.line == line;
                if !self.findings.iter().any(known) {
                    self.find_with(Code::SideDamage, line, byte, Some(what.to_owned()));
                }
            }
            if let Some(&first) = aside.hidden.first() {
                let (line, byte) = place(&self.tree, first);
                let detail = (aside.hidden.len() > 1).then(|| format!("{} of them", aside.hidden.len()));
                self.find_with(Code::DuplicateId, line, byte, detail);
            }
            if let Some(first) = aside.first {
                let (line, byte) = place(&self.tree, first);
                let detail = format!("{} of {} entries", aside.entries, self.tree.len());
                self.find_with(Code::SideBranch, line, byte, Some(detail));
            }
        }
        let (found, repeated) = watch.finish(walk);
        self.watch = Some(Watch::default());
        for LineFinding { code, line, byte, detail } in found {
            self.find_with(code, line, byte, detail);
        }
        if let Some((index, detail)) = repeated {
            self.find_with(Code::RepeatedCallId, self.tree.line_of(index), self.tree.start_of(index), Some(detail));
        }
        self.find_lost_calls(walk);
    }

    /// Finds the tool results whose calls are not in the context.
    fn find_lost_calls(&mut self, walk: &Walk) {
        let results: Vec<u32> = if walk.cycle { Vec::new() } else { self.tree.first_results(walk).collect() };
        for index in results {
            let (code, line) = (Code::OrphanToolResult, self.tree.line_of(index));
            if !self.findings.iter().any(|found| (found.code, found.line) == (code, line)) {
                let detail = "its call is not in the context".to_owned();
                self.find_with(code, line, self.tree.start_of(index), Some(detail));
            }
        }
    }

    /// What would mend the file, unless there is no one answer.
    fn take_cure(&mut self, walk: &Walk) -> Option<Cure> {
        let mut cure = std::mem::take(&mut self.cure);
        cure.codes = self.found.keys().copied().filter(|code| code.remedy() == Remedy::Repair).collect();
        let exact = cure.is_bounded() && self.tree.messageless_are_unique();
        let header_is_there = cure.has_glued_header();
        if cure.codes.is_empty() || !exact || (self.first == First::OnlyJunk && !header_is_there) {
            return None;
        }
        cure.header = self.first == First::NoHeader && !header_is_there;
        cure.version = cure.codes.contains(&Code::VersionAbsent);
        cure.cycle = walk.closed_by.map(|from| {
            let before = self.tree.before(from);
            (self.tree.line_of(from), before.map(|before| self.tree.line_of(before)))
        });
        Some(cure)
    }

    /// In the order in which the loader meets the defects.
    fn integrity(&self, relinked: bool, walk: &Walk) -> Integrity {
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
        if self.tree.len() == 0 {
            return Integrity::Empty;
        }
        if walk.cycle {
            return Integrity::Freezes;
        }
        if walk.no_message || self.append_fails || self.found.contains_key(&Code::ContentShape) {
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
