//! Leftover transcripts: what of a `.jsonl` file that stayed beside SQLite also stands in the rows
//! (`openclaw-format.md` §14.7).
//!
//! An import keeps a line byte for byte, but for two things: a header's id is made the session's, and a file without
//! header gets new ids for all its entries. So a line counts as found when a row has its bytes, or when a row differs
//! from it in nothing but ids.

use std::collections::HashSet;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::json::{self, JsonError, Kind, Scanner};

/// What of a leftover stands in SQLite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LeftoverState {
    /// Every line of it is a row.
    InSqlite,
    /// Some lines are, some are nowhere else.
    Partly,
    /// Nothing of it: this file is the only copy, unless an archive has the same bytes.
    OnlyCopy,
    /// All of it, but the ids of its entries were made anew.
    Reminted,
}

impl LeftoverState {
    /// Its name in tables and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InSqlite => "in-sqlite",
            Self::Partly => "partly",
            Self::OnlyCopy => "only-copy",
            Self::Reminted => "reminted",
        }
    }

    /// Returns whether something would be lost with the file.
    pub const fn holds_something(self) -> bool {
        matches!(self, Self::Partly | Self::OnlyCopy)
    }
}

/// A leftover transcript, compared with the rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// What of it stands in SQLite.
    pub state: LeftoverState,
    /// Its lines, blank ones left out.
    pub lines: u64,
    /// How many of them no row has.
    pub missing: u64,
    /// The sessions whose rows it was compared with.
    pub sessions: Vec<String>,
    /// An archive of the import with the same bytes.
    pub archived_as: Option<PathBuf>,
}

/// A fingerprint of a line.
type Print = [u8; 32];

/// Rows to compare with: a fingerprint of each, and one without its ids.
#[derive(Debug, Default)]
pub struct Rows {
    exact: HashSet<Print>,
    but_for_ids: HashSet<Print>,
}

impl Rows {
    /// Adds a row.
    pub fn add(&mut self, row: &[u8]) {
        self.exact.insert(Sha256::digest(row).into());
        self.but_for_ids.extend(Anonymous::of(row).map(|line| line.print));
    }
}

/// Counts the lines of a leftover.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    lines: u64,
    missing: u64,
    /// Found with the same bytes, headers left out.
    exact: u64,
    /// Found but for ids, headers left out.
    reminted: u64,
}

impl Tally {
    /// Looks for a line in the rows. A blank one is no line.
    pub fn line(&mut self, text: &[u8], rows: &Rows) {
        // The import reads what stands before a carriage return or white space as JSON does.
        let text = text.trim_ascii();
        if text.is_empty() {
            return;
        }
        self.lines += 1;
        let anonymous = Anonymous::of(text);
        let header = anonymous.as_ref().is_some_and(|line| line.header);
        if rows.exact.contains(&Print::from(Sha256::digest(text))) {
            self.exact += u64::from(!header);
        } else if anonymous.is_some_and(|line| rows.but_for_ids.contains(&line.print)) {
            self.reminted += u64::from(!header);
        } else {
            self.missing += 1;
        }
    }

    /// What that means.
    pub fn into_leftover(self, sessions: Vec<String>) -> Leftover {
        let state = match (self.missing, self.exact + self.reminted) {
            (0, _) if self.reminted > 0 => LeftoverState::Reminted,
            (0, _) => LeftoverState::InSqlite,
            // A header says nothing that anybody wrote.
            (_, 0) => LeftoverState::OnlyCopy,
            _ => LeftoverState::Partly,
        };
        Leftover { state, lines: self.lines, missing: self.missing, sessions, archived_as: None }
    }
}

/// Members that name an entry or the session, and nothing else: what an import may make anew.
const IDS: [&[u8]; 6] = [b"id", b"parentId", b"firstKeptEntryId", b"targetId", b"fromId", b"appendParentId"];

/// A line without its ids.
struct Anonymous {
    print: Print,
    header: bool,
}

impl Anonymous {
    /// `None` when the line is no JSON object.
    fn of(text: &[u8]) -> Option<Self> {
        let mut members: Vec<(&[u8], &[u8])> = Vec::new();
        let mut header = false;
        let mut scanner = Scanner::new(text);
        let scanned = scanner.object(|scanner, key| {
            let value = scanner.value()?;
            let (key, value) = (key.of(text), value.span.of(text));
            header |= key == b"type" && value == b"\"session\"";
            members.push((key, value));
            Ok::<(), JsonError>(())
        });
        scanned.and_then(|_| scanner.end()).ok()?;
        members.retain(|(key, _)| !(IDS.contains(key) || header && *key == b"version"));
        // An import may write the ids at another place: the order of members says nothing.
        members.sort_unstable();
        let mut hash = Sha256::new();
        for part in members.iter().flat_map(|(key, value)| [key, value]) {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Some(Self { print: hash.finalize().into(), header })
    }
}

/// The `id` of a line, when it has one, and whether the line is a header.
pub fn id_of(line: &[u8]) -> Option<(String, bool)> {
    let (mut id, mut header) = (None, false);
    Scanner::new(line)
        .object(|scanner, key| {
            let value = scanner.value()?;
            match key.of(line) {
                b"id" if value.kind == Kind::String => id = Some(json::unescape(json::inside(value).of(line))),
                b"type" => header = value.span.of(line) == b"\"session\"",
                _ => {}
            }
            Ok::<(), JsonError>(())
        })
        .ok()?;
    id.map(|id| (id, header))
}

/// The session ids that a transcript's name may mean: `<id>.jsonl`, `<id>-topic-<n>.jsonl`, `<time>_<id>.jsonl`.
pub fn ids_of_name(name: &str) -> Vec<String> {
    let stem = name.strip_suffix(".jsonl").unwrap_or(name);
    let of_topic = stem.split_once("-topic-").map(|(id, _)| id);
    let of_fork = stem.rsplit_once('_').map(|(_, id)| id);
    [Some(stem), of_topic, of_fork].into_iter().flatten().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = r#"{"type":"session","version":3,"id":"s","timestamp":"t","cwd":"/"}"#;
    const USER: &str = r#"{"type":"message","id":"a","parentId":null,"message":{"role":"user","content":"hi"}}"#;
    const ANSWER: &str = r#"{"type":"message","id":"b","parentId":"a","message":{"role":"assistant","content":[]}}"#;

    fn judge(lines: &[&str], rows: &[&str]) -> (LeftoverState, u64, u64) {
        let mut known = Rows::default();
        for row in rows {
            known.add(row.as_bytes());
        }
        let mut tally = Tally::default();
        for line in lines {
            tally.line(line.as_bytes(), &known);
        }
        let leftover = tally.into_leftover(Vec::new());
        (leftover.state, leftover.lines, leftover.missing)
    }

    #[test]
    fn a_prefix_of_the_rows_is_in_sqlite_and_a_line_more_is_not() {
        assert_eq!(judge(&[HEADER, USER, ""], &[HEADER, USER, ANSWER]), (LeftoverState::InSqlite, 2, 0));
        assert_eq!(judge(&[HEADER, USER, ANSWER], &[HEADER, USER]), (LeftoverState::Partly, 3, 1));
        assert_eq!(judge(&[], &[HEADER]), (LeftoverState::InSqlite, 0, 0));
    }

    #[test]
    fn a_header_alone_saves_nothing() {
        assert_eq!(judge(&[HEADER, USER], &[HEADER]), (LeftoverState::OnlyCopy, 2, 1));
        assert_eq!(judge(&[HEADER, USER], &[]), (LeftoverState::OnlyCopy, 2, 2));
    }

    #[test]
    fn a_header_whose_id_was_rewritten_is_no_other_header() {
        let rewritten = HEADER.replace("\"s\"", "\"t\"").replace("\"version\":3", "\"version\":4");
        assert_eq!(judge(&[HEADER, USER], &[&rewritten, USER]), (LeftoverState::InSqlite, 2, 0));
    }

    #[test]
    fn new_ids_in_another_order_are_the_same_entry_and_another_text_is_not() {
        let reminted = r#"{"type":"message","message":{"role":"user","content":"hi"},"parentId":"x-0","id":"x-1"}"#;
        assert_eq!(judge(&[USER], &[reminted]), (LeftoverState::Reminted, 1, 0));
        let other = reminted.replace("hi", "ho");
        assert_eq!(judge(&[USER], &[&other]), (LeftoverState::OnlyCopy, 1, 1));
    }

    #[test]
    fn what_is_no_json_is_found_by_its_bytes_or_not_at_all() {
        assert_eq!(judge(&["{\"type\":"], &[USER]), (LeftoverState::OnlyCopy, 1, 1));
        assert_eq!(judge(&["null"], &["null"]), (LeftoverState::InSqlite, 1, 0));
    }

    #[test]
    fn names_tell_ids() {
        assert_eq!(ids_of_name("a-topic-42.jsonl"), ["a-topic-42", "a"]);
        assert_eq!(ids_of_name("2026-11-22T22-00-00_b.jsonl"), ["2026-11-22T22-00-00_b", "b"]);
        assert_eq!(id_of(USER.as_bytes()), Some(("a".to_owned(), false)));
        assert_eq!(id_of(HEADER.as_bytes()), Some(("s".to_owned(), true)));
    }
}
