//! The store as text: where each binding begins and ends, how some are taken out, and how they come back
//! (`openclaw-format.md` §2). Nothing here re-serializes: what stays keeps its bytes.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::entry::{self, Entry};
use super::json::{self, JsonError, JsonErrorKind, Kind, Scanner, Span, Value};

/// One key and its entry, as they stand in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The key between its quotes, escapes untouched.
    pub key: Span,
    /// The entry.
    pub entry: Value,
}

/// A store that is one JSON object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// Every member, in file order, duplicates included.
    pub members: Vec<Member>,
    /// Offset of `{`.
    open: usize,
    /// Offset of the last `}`.
    close: usize,
}

/// Why a store's text holds no bindings for OpenClaw (F§2.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Defect {
    /// 0 bytes, or white space only.
    Empty,
    /// A byte order mark: `JSON.parse` rejects what follows, however good.
    Bom,
    /// An array, a scalar or `null`.
    NotAnObject(Kind),
    /// Broken at this byte.
    Malformed {
        /// What and where.
        error: JsonError,
        /// How many members were complete before it.
        complete: usize,
    },
}

/// Reads a store's text: where its members are.
pub fn read(text: &[u8]) -> Result<Document, Defect> {
    read_with(text, |scanner| Ok((scanner.value()?, ()))).map(|(document, _)| document)
}

/// Reads a store's text and what its entries say, in one pass.
pub fn read_entries(text: &[u8]) -> Result<(Document, Vec<Entry>), Defect> {
    read_with(text, |scanner| entry::scan(scanner, text))
}

/// One pass; `visit` checks the entry that the scanner stands at, steps over it, and may make something of it.
fn read_with<T>(
    text: &[u8],
    mut visit: impl FnMut(&mut Scanner<'_>) -> Result<(Value, T), JsonError>,
) -> Result<(Document, Vec<T>), Defect> {
    if text.starts_with(b"\xef\xbb\xbf") {
        return Err(Defect::Bom);
    }
    let mut scanner = Scanner::new(text);
    match scanner.peek() {
        None => return Err(Defect::Empty),
        Some(b'{') => {}
        Some(_) => {
            return Err(match json::check(text) {
                Ok(value) => Defect::NotAnObject(value.kind),
                Err(error) => Defect::Malformed { error, complete: 0 },
            });
        }
    }
    let open = scanner.offset();
    let (mut members, mut made) = (Vec::new(), Vec::new());
    let whole = scanner
        .object(|scanner, key| {
            let (entry, one) = visit(scanner)?;
            members.push(Member { key, entry });
            made.push(one);
            Ok::<(), JsonError>(())
        })
        .and_then(|span| scanner.end().map(|()| span));
    match whole {
        Ok(span) => Ok((Document { members, open, close: span.end - 1 }, made)),
        Err(error) => Err(Defect::Malformed { error, complete: members.len() }),
    }
}

/// A binding in a document: the member that counts, and earlier ones with the same key that it hides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// The decoded key.
    pub key: String,
    /// Index of the last member with this key: the one `JSON.parse` keeps.
    pub member: usize,
    /// Indices of earlier members with the same key. They come to light if the last one goes, so they go with it.
    pub hidden: Vec<usize>,
}

/// Keys that differ only in case, folded: two people for some channels, one for OpenClaw's look-up (F§2.4).
pub fn case_collisions(bindings: &[Effective]) -> HashSet<String> {
    let mut seen = HashSet::with_capacity(bindings.len());
    bindings.iter().map(|one| one.key.to_lowercase()).filter(|folded| !seen.insert(folded.clone())).collect()
}

/// Returns whether a store has another layout, such as `{"version":1,"sessions":{…}}` or `{"sessions":[…]}`: none of its
/// members can be an entry, or one that cannot holds others below it. `members` are the keys, the entries and their bytes.
pub fn is_other_layout<'a>(members: impl IntoIterator<Item = (&'a str, &'a Entry, &'a [u8])>) -> bool {
    let (mut any, mut entries, mut nested) = (false, false, false);
    for (key, entry, raw) in members {
        any = true;
        if entry.may_stand_under(key) {
            entries = true;
        } else {
            nested |= entry::holds_entries(raw);
        }
    }
    any && (!entries || nested)
}

impl Document {
    /// The bindings as `JSON.parse` sees them, in order of first appearance.
    pub fn effective(&self, text: &[u8]) -> Vec<Effective> {
        let mut seen: HashMap<String, usize> = HashMap::with_capacity(self.members.len());
        let mut bindings: Vec<Effective> = Vec::with_capacity(self.members.len());
        for (index, member) in self.members.iter().enumerate() {
            let key = json::unescape(member.key.of(text));
            if let Some(&at) = seen.get(&key) {
                let earlier = std::mem::replace(&mut bindings[at].member, index);
                bindings[at].hidden.push(earlier);
            } else {
                seen.insert(key.clone(), bindings.len());
                bindings.push(Effective { key, member: index, hidden: Vec::new() });
            }
        }
        bindings
    }

    /// The byte ranges to cut so that the members at `remove` are gone: each with the comma and the white space that
    /// belong to it. Cutting them leaves a valid document whose other bytes are untouched.
    pub fn cuts(&self, remove: &[usize]) -> Vec<Span> {
        let mut gone = vec![false; self.members.len()];
        for &index in remove {
            if let Some(slot) = gone.get_mut(index) {
                *slot = true;
            }
        }
        let Some(first_kept) = gone.iter().position(|&gone| !gone) else {
            let all = Span { start: self.open + 1, end: self.close };
            return if self.members.is_empty() { Vec::new() } else { vec![all] };
        };
        let mut cuts: Vec<Span> = Vec::new();
        if first_kept > 0 {
            cuts.push(Span { start: self.start_of(0), end: self.start_of(first_kept) });
        }
        for (index, &leaves) in gone.iter().enumerate().skip(first_kept + 1) {
            if leaves {
                let cut =
                    Span { start: self.members[index - 1].entry.span.end, end: self.members[index].entry.span.end };
                match cuts.last_mut().filter(|last| last.end == cut.start) {
                    Some(last) => last.end = cut.end,
                    None => cuts.push(cut),
                }
            }
        }
        cuts
    }

    fn start_of(&self, index: usize) -> usize {
        self.members[index].key.start - 1
    }

    /// The text with more members at its end, laid out as OpenClaw does. `members` are raw keys and raw entries.
    pub fn with_members(&self, text: &[u8], members: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
        if members.is_empty() {
            return text.to_vec();
        }
        let (at, tail): (usize, &[u8]) = match self.members.last() {
            Some(last) => (last.entry.span.end, b""),
            None => (self.open + 1, b"\n"),
        };
        let resume = if self.members.is_empty() { self.close } else { at };
        let mut new = text[..at].to_vec();
        for (index, (key, entry)) in members.iter().enumerate() {
            if index > 0 || !self.members.is_empty() {
                new.push(b',');
            }
            new.extend_from_slice(b"\n  \"");
            new.extend_from_slice(key);
            new.extend_from_slice(b"\": ");
            new.extend_from_slice(entry);
        }
        new.extend_from_slice(tail);
        new.extend_from_slice(&text[resume..]);
        new
    }
}

/// Returns the text of a store in which these keys name another `sessionFile`, each its own; all other bytes stay. `None`
/// where one of them is not bound, or names none.
pub fn with_session_files(text: &[u8], files: &BTreeMap<String, String>) -> Option<Vec<u8>> {
    let document = read(text).ok()?;
    let places = document.effective(text);
    let mut new: Vec<(Span, String)> = Vec::with_capacity(files.len());
    for (key, file) in files {
        let member = places.iter().find(|place| place.key == *key)?.member;
        let entry = document.members[member].entry.span;
        let mut found = None;
        Scanner::at(text, entry.start)
            .object(|scanner, name| {
                let value = scanner.value()?;
                if *json::plain(name.of(text)) == *b"sessionFile" && value.kind == Kind::String {
                    found = Some(value.span);
                }
                Ok::<(), JsonError>(())
            })
            .ok()?;
        new.push((found?, serde_json::Value::from(file.as_str()).to_string()));
    }
    new.sort_unstable_by_key(|(span, _)| span.start);
    let mut made = Vec::with_capacity(text.len());
    let mut from = 0;
    for (span, file) in &new {
        made.extend_from_slice(text.get(from..span.start)?);
        made.extend_from_slice(file.as_bytes());
        from = span.end;
    }
    made.extend_from_slice(&text[from..]);
    has_keys(&made, places.into_iter().map(|place| place.key)).then_some(made)
}

/// `text` without the ranges `cuts`, which are sorted and do not overlap.
pub fn cut(text: &[u8], cuts: &[Span]) -> Vec<u8> {
    let removed: usize = cuts.iter().map(|cut| cut.len()).sum();
    let mut new = Vec::with_capacity(text.len() - removed);
    let mut from = 0;
    for cut in cuts {
        new.extend_from_slice(&text[from..cut.start]);
        from = cut.end;
    }
    new.extend_from_slice(&text[from..]);
    new
}

/// Returns the members that stand in bytes that were cut out of a store, as raw keys and raw entries. A member whose
/// entry is gone is passed over; what comes after a damaged one is not known.
pub fn members_of(removed: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut scanner = Scanner::new(removed);
    let mut members = Vec::new();
    loop {
        while scanner.peek() == Some(b',') {
            if scanner.expect(b',').is_err() {
                return members;
            }
        }
        let Ok(key) = scanner.key() else { return members };
        if matches!(scanner.peek(), Some(b',') | None) {
            continue;
        }
        let Ok(value) = scanner.value() else { return members };
        members.push((key.of(removed).to_vec(), value.span.of(removed).to_vec()));
    }
}

/// Returns whether a text is a store with these keys and no others.
pub fn has_keys(text: &[u8], keys: impl IntoIterator<Item = String>) -> bool {
    let Ok(document) = read(text) else { return false };
    let found: HashSet<String> = document.effective(text).into_iter().map(|place| place.key).collect();
    found == keys.into_iter().collect()
}

/// Whether `text`, which is an object, still is one without the ranges `cuts`: at each of them what stands before and
/// what comes after may follow each other.
pub fn cuts_leave_an_object(text: &[u8], cuts: &[Span]) -> bool {
    let mut kept_from = 0;
    cuts.iter().enumerate().all(|(at, cut)| {
        let kept_to = cuts.get(at + 1).map_or(text.len(), |next| next.start);
        let before = text[kept_from..cut.start].iter().rev().find(|byte| !byte.is_ascii_whitespace());
        let after = text[cut.end..kept_to].iter().find(|byte| !byte.is_ascii_whitespace());
        kept_from = cut.end;
        let (Some(before), Some(after)) = (before, after) else { return false };
        match before {
            b'{' => matches!(after, b'"' | b'}'),
            b',' => *after == b'"',
            _ => matches!(after, b',' | b'}'),
        }
    })
}

/// The inverse of [`cut`]: `removed` holds the bytes of all cuts, one after the other. `None` when they do not fit:
/// both come from a manifest, which may be damaged.
pub fn uncut(text: &[u8], cuts: &[Span], removed: &[u8]) -> Option<Vec<u8>> {
    let mut old = Vec::with_capacity(text.len() + removed.len());
    let (mut from, mut taken) = (0, 0);
    for cut in cuts {
        let kept = cut.start.checked_sub(old.len())?;
        old.extend_from_slice(text.get(from..from + kept)?);
        from += kept;
        let end = taken + cut.end.checked_sub(cut.start).filter(|len| *len <= removed.len())?;
        old.extend_from_slice(removed.get(taken..end)?);
        taken = end;
    }
    old.extend_from_slice(text.get(from..)?);
    (taken == removed.len()).then_some(old)
}

impl JsonErrorKind {
    /// The error in words.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Truncated => "ends inside a value",
            Self::Unexpected => "has a byte that no JSON allows there",
            Self::ControlCharacter => "has a raw control character in a string",
            Self::BadEscape => "has a malformed escape",
            Self::BadLiteral => "has a malformed number or literal",
            Self::Trailing => "goes on after its end",
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
