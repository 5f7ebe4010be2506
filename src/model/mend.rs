//! Mending a transcript: only what has one exact answer, and no byte besides (design §4, rule 2).
//!
//! A first pass over the file, [`Analyzer`], finds out what is wrong and gives a [`Cure`].
//! A second pass sends every line through a [`Mender`]. What comes out is judged like any file: when it still has a
//! problem that can be mended, or one that was not there before, the answer was not exact and nothing is written.

use std::collections::HashMap;

use super::json::{Scanner, Span};
use super::line::{self, EntryLine, Id, Line, Links, Role};
use super::problem::Code;
use super::transcript::{Analyzer, Cure, Summary, is_blank, trim_start};

mod content;

/// Sends lines through, mended.
pub struct Mender<'a> {
    cure: &'a Cure,
    header: &'a [u8],
    lines: u64,
    version_due: bool,
    /// The parents of entries that were cut out, as they stood there.
    gone: HashMap<u64, Vec<u8>>,
    /// The id of the entry that the line of the cycle will hang on, as it stands there.
    anchor: Option<Vec<u8>>,
    /// Lines without id may be cut out: what was appended to one names no parent.
    relinks: bool,
    /// The line before was cut out and had no id.
    behind_cut: bool,
    /// The id of the nearest entry before, as it stands there, where lines without id are cut out.
    nearest: Vec<u8>,
}

impl<'a> Mender<'a> {
    /// Mends by `cure`; `header` is put at the top when a header is due and the file has none.
    pub fn new(cure: &'a Cure, header: &'a [u8]) -> Self {
        let header = cure.copy.as_deref().unwrap_or(header);
        let relinks = cure.codes.iter().any(|code| matches!(code, Code::ScalarLine | Code::ForeignLine));
        let (gone, version_due) = (HashMap::new(), cure.version);
        let (behind_cut, nearest, anchor) = (false, Vec::new(), None);
        Self { cure, header, lines: 0, version_due, gone, anchor, relinks, behind_cut, nearest }
    }

    /// Takes the next line, without its newline, and hands what becomes of it to `emit`: pieces of lines, and whether a
    /// newline follows.
    pub fn line<E>(
        &mut self,
        text: &[u8],
        terminated: bool,
        emit: &mut impl FnMut(&[u8], bool) -> Result<(), E>,
    ) -> Result<(), E> {
        self.lines += 1;
        if self.lines == 1 && self.cure.header {
            emit(self.header, true)?;
        }
        if self.cure.header && self.cure.broken_header == Some(self.lines) {
            return Ok(());
        }
        let text = if terminated { text } else { without_nul_tail(text) };
        let indent = if self.lines == 1 { text.len() - trim_start(text).len() } else { 0 };
        let body = &text[indent..];
        if is_blank(body) {
            return emit(text, terminated);
        }
        let line = match line::read(body) {
            Ok(line) => line,
            Err(error) if line::is_glued(body, error) => return split(text, indent, emit),
            Err(_) => return emit(text, true),
        };
        match line {
            Line::Null => Ok(()),
            Line::Header(..) if self.version_due => {
                self.version_due = false;
                let Links { version, kind, .. } = line::links(body);
                let (span, new) = match (version, kind) {
                    (Some(null), _) => (null, &b"3"[..]),
                    (None, Some(kind)) => (Span { start: kind.end, end: kind.end }, &b",\"version\":3"[..]),
                    (None, None) => return emit(text, true),
                };
                emit_patched(text, indent, vec![(span, new.to_vec())], emit)
            }
            Line::Header(..) => emit(text, true),
            Line::Entry(entry, _) if self.is_cut(entry.role) => {
                self.behind_cut = true;
                Ok(())
            }
            Line::Entry(entry, _) => self.entry(&entry, text, indent, emit),
        }
    }

    fn is_cut(&self, role: Role) -> bool {
        match role {
            Role::Scalar | Role::Array => true,
            Role::Foreign => self.cure.codes.contains(&Code::ForeignLine),
            _ => false,
        }
    }

    /// Mends an entry: cuts it out, or gives it another parent where its own is gone or closes a cycle.
    #[inline]
    fn entry<E>(
        &mut self,
        entry: &EntryLine,
        text: &[u8],
        indent: usize,
        emit: &mut impl FnMut(&[u8], bool) -> Result<(), E>,
    ) -> Result<(), E> {
        let body = &text[indent..];
        let links = line::links(body);
        if self.cure.messageless.contains(&self.lines) {
            let parent = self.parent_of(entry.parent, links, body);
            if let Id::Key(id) = entry.id {
                self.gone.insert(id, parent);
            }
            return Ok(());
        }
        if self.cure.cycle.is_some_and(|(_, anchor)| anchor == Some(self.lines)) {
            self.anchor = links.id.map(|span| span.of(body).to_vec());
        }
        let mut patches = if self.cure.misfits.contains(&self.lines) { content::patches(body) } else { Vec::new() };
        let closes_cycle = self.cure.cycle.is_some_and(|(line, _)| line == self.lines);
        let hangs_on_gone = matches!(entry.parent, Id::Key(parent) if self.gone.contains_key(&parent));
        match links.parent {
            Some(span) if closes_cycle => {
                patches.push((span, self.anchor.clone().unwrap_or_else(|| b"null".to_vec())));
            }
            Some(span) if hangs_on_gone => {
                patches.push((span, self.parent_of(entry.parent, links, body)));
            }
            _ => {}
        }
        if self.relinks {
            patches.extend(self.relink(entry, links, body));
        }
        emit_patched(text, indent, patches, emit)
    }

    /// Returns the parent of an entry that was appended to a line without id: the nearest entry before, as every appender
    /// links.
    fn relink(&mut self, entry: &EntryLine, links: Links, body: &[u8]) -> Option<Patch> {
        let is_due = std::mem::take(&mut self.behind_cut) && entry.parent == Id::Undefined;
        let span = links.id.filter(|_| matches!(entry.id, Id::Key(_)))?;
        let behind = Span { start: span.end, end: span.end };
        let patch =
            (is_due && !self.nearest.is_empty()).then(|| (behind, [&b",\"parentId\":"[..], &self.nearest].concat()));
        self.nearest.clear();
        self.nearest.extend_from_slice(span.of(body));
        patch
    }

    /// The parent of an entry as it stands there, or that of its parent when that was cut out.
    fn parent_of(&self, parent: Id, links: Links, body: &[u8]) -> Vec<u8> {
        if let Id::Key(key) = parent
            && let Some(above) = self.gone.get(&key)
        {
            return above.clone();
        }
        links.parent.map_or_else(|| b"null".to_vec(), |span| span.of(body).to_vec())
    }
}

/// Other bytes for a span of a line.
type Patch = (Span, Vec<u8>);

/// Emits a line with other bytes at some spans, which count from `indent` and do not overlap.
fn emit_patched<E>(
    text: &[u8],
    indent: usize,
    mut patches: Vec<Patch>,
    emit: &mut impl FnMut(&[u8], bool) -> Result<(), E>,
) -> Result<(), E> {
    patches.sort_by_key(|(span, _)| (span.start, span.end));
    let mut from = 0;
    for (span, new) in patches {
        emit(&text[from..indent + span.start], false)?;
        emit(&new, false)?;
        from = indent + span.end;
    }
    emit(&text[from..], true)
}

/// Gives each of several objects on one line a line of its own.
fn split<E>(text: &[u8], indent: usize, emit: &mut impl FnMut(&[u8], bool) -> Result<(), E>) -> Result<(), E> {
    let mut scanner = Scanner::at(text, indent);
    let mut from = 0;
    while scanner.peek() == Some(b'{') {
        let start = scanner.offset();
        if start > from && from > 0 {
            emit(&text[from..start], false)?;
        }
        if scanner.value().is_err() {
            return emit(&text[start..], true);
        }
        let begin = if from == 0 { 0 } else { start };
        emit(&text[begin..scanner.offset()], true)?;
        from = scanner.offset();
    }
    let rest = &text[from..];
    if is_blank(rest) { Ok(()) } else { emit(rest, true) }
}

fn without_nul_tail(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1);
    &text[..end]
}

/// Judges bytes that come in pieces.
#[derive(Default)]
pub struct Proof {
    analyzer: Analyzer,
    partial: Vec<u8>,
}

impl Proof {
    /// Judges as closely as a check does.
    pub fn thorough() -> Self {
        Self { analyzer: Analyzer::thorough(), partial: Vec::new() }
    }

    /// Takes the next piece of a line, and whether a newline follows. A line in one piece is not copied: it may be long.
    pub fn take(&mut self, piece: &[u8], ends: bool) {
        match (self.partial.is_empty(), ends) {
            (true, true) => self.analyzer.line(piece, true),
            (_, false) => self.partial.extend_from_slice(piece),
            (false, true) => {
                self.partial.extend_from_slice(piece);
                self.analyzer.line(&self.partial, true);
                self.partial.clear();
            }
        }
    }

    /// The verdict.
    pub fn finish(self) -> Summary {
        self.finish_with_cure().0
    }

    /// The verdict and the cure.
    pub fn finish_with_cure(mut self) -> (Summary, Option<Cure>) {
        if !self.partial.is_empty() {
            self.analyzer.line(&self.partial, false);
        }
        self.analyzer.finish_with_cure()
    }
}

/// A header as OpenClaw 2026.3.11 writes it (F§4.3).
pub fn header(id: &str, timestamp: &str, cwd: &str) -> Vec<u8> {
    let header = serde_json::json!({ "type": "session", "version": 3, "id": id, "timestamp": timestamp, "cwd": cwd });
    header.to_string().into_bytes()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
