//! Salvage: every whole entry of a broken store, in order, byte for byte (design §2, `--salvage`).
//!
//! Nothing is made up: what comes back is a run of bytes `"key": {…}` of the broken text, put between `{` and `}` again.
//! After a break the search goes on at the next line that begins as OpenClaw's writer begins an entry: two spaces and
//! a quote (F§2.1). Deeper lines are indented further and strings hold no raw newlines, so nothing else begins so.

use std::collections::HashSet;

use super::entry;
use super::json::{self, JsonError, Kind, Scanner, Span};
use super::store::{self, Defect};

/// What a broken text gives back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Salvaged {
    /// A store's text.
    pub text: Vec<u8>,
    /// Entries in it.
    pub entries: usize,
    /// Entries that broke off.
    pub broken: Vec<Broken>,
}

/// An entry that broke off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Its key.
    pub key: String,
    /// The session it pointed to, when that can still be read.
    pub session_id: Option<String>,
}

/// A broken text is read this many times over, at most, in search of entries.
const READ_IN_VAIN: usize = 16;

const MARK: &[u8] = b"\xef\xbb\xbf";

/// Gives back what is whole; `None` when the text is no broken store: a good one, none at all, or another value.
pub fn salvage(text: &[u8]) -> Option<Salvaged> {
    let unmarked = text.strip_prefix(MARK).unwrap_or(text);
    match store::read(unmarked) {
        Ok(document) if unmarked.len() < text.len() => {
            Some(Salvaged { text: unmarked.to_vec(), entries: document.effective(unmarked).len(), broken: Vec::new() })
        }
        Err(Defect::Malformed { .. }) => Some(pieces(unmarked)),
        _ => None,
    }
}

/// A key and its entry, where they stand.
struct Piece {
    key: Span,
    entry: Span,
}

fn pieces(text: &[u8]) -> Salvaged {
    let (mut found, mut broken) = (Vec::new(), Vec::new());
    let mut budget = text.len().saturating_mul(READ_IN_VAIN);
    let mut scanner = Scanner::new(text);
    let mut at = scanner.expect(b'{').ok().map(|()| scanner.offset());
    while let Some(start) = at {
        at = match members(text, start, &mut found) {
            Stop::End => None,
            Stop::Broken { key, near } => {
                broken.extend(key.map(|key| Broken {
                    key: json::unescape(key.of(text)),
                    session_id: entry::session_of_part(text, key.end + 1),
                }));
                next_entry(text, near, &mut budget)
            }
        };
    }
    let mut salvaged = b"{".to_vec();
    for (index, piece) in found.iter().enumerate() {
        salvaged.extend_from_slice(if index > 0 { b",\n  \"" } else { b"\n  \"" });
        salvaged.extend_from_slice(piece.key.of(text));
        salvaged.extend_from_slice(b"\": ");
        salvaged.extend_from_slice(piece.entry.of(text));
    }
    salvaged.extend_from_slice(if found.is_empty() { b"}" } else { b"\n}" });
    let whole: HashSet<String> = found.iter().map(|piece| json::unescape(piece.key.of(text))).collect();
    broken.retain(|one: &Broken| !whole.contains(&one.key));
    Salvaged { text: salvaged, entries: whole.len(), broken }
}

/// Why the members ended.
enum Stop {
    /// The text ended, or the store did.
    End,
    /// Something broke off: in the entry of this key, near this byte.
    Broken { key: Option<Span>, near: usize },
}

/// Reads members from `start` for as long as they are whole.
fn members(text: &[u8], start: usize, found: &mut Vec<Piece>) -> Stop {
    let mut scanner = Scanner::at(text, start);
    loop {
        match scanner.peek() {
            None => return Stop::End,
            Some(b'}') => return closed(&mut scanner),
            Some(b'"') => {}
            Some(_) => return Stop::Broken { key: None, near: scanner.offset() },
        }
        let Ok(key) = scanner.key() else { return Stop::Broken { key: None, near: scanner.offset() } };
        let value = scanner.value();
        // A number that the text ends with may have had more digits.
        let whole = value.ok().filter(|value| value.kind != Kind::Number || value.span.end < text.len());
        let Some(value) = whole else { return Stop::Broken { key: Some(key), near: scanner.offset() } };
        found.push(Piece { key, entry: value.span });
        match scanner.peek() {
            Some(b',') => {
                let _ = scanner.expect(b',');
            }
            Some(b'}') => return closed(&mut scanner),
            None => return Stop::End,
            Some(_) => return Stop::Broken { key: None, near: scanner.offset() },
        }
    }
}

/// After a closing brace nothing is due; if something follows, it may hold entries too.
fn closed(scanner: &mut Scanner<'_>) -> Stop {
    let _ = scanner.expect(b'}');
    match scanner.peek() {
        None => Stop::End,
        Some(_) => Stop::Broken { key: None, near: scanner.offset() },
    }
}

/// Where the next entry after `near` begins that looks like one of OpenClaw's. `budget` is how many bytes may be
/// read in vain: a text can be made so that every line of it looks like the beginning of all the rest.
fn next_entry(text: &[u8], near: usize, budget: &mut usize) -> Option<usize> {
    const BEGIN: &[u8] = b"\n  \"";
    let mut from = near.saturating_sub(1);
    loop {
        let rest = text.get(from..)?;
        let at = from + rest.windows(BEGIN.len()).position(|window| window == BEGIN)? + BEGIN.len() - 1;
        if at > near {
            match is_entry(text, at) {
                Ok(true) => return Some(at),
                Ok(false) => {}
                Err(error) => *budget = budget.checked_sub(error.offset.saturating_sub(at))?,
            }
        }
        from = at;
    }
}

/// Returns whether a whole session entry begins at `at`: what merely has the shape is not taken for one.
fn is_entry(text: &[u8], at: usize) -> Result<bool, JsonError> {
    let mut scanner = Scanner::at(text, at);
    scanner.key()?;
    let (_, entry) = entry::scan(&mut scanner, text)?;
    Ok(entry.session_id.is_some() || entry.updated_at.is_some())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ENTRY: &str =
        "{\n    \"sessionId\": \"x\",\n    \"big\": 12345678901234567890,\n    \"note\": \"a { \\\" } ,\"\n  }";

    fn whole(keys: &[&str]) -> String {
        let members: Vec<String> = keys.iter().map(|key| format!("\n  \"{key}\": {ENTRY}")).collect();
        format!("{{{}\n}}", members.join(","))
    }

    fn keys(text: &[u8]) -> Vec<String> {
        store::read(text).unwrap().effective(text).into_iter().map(|place| place.key).collect()
    }

    #[test]
    fn a_store_that_was_cut_gives_back_what_ended_before_the_cut() {
        let text = whole(&["a", "b", "c"]);
        let second_ends = text.match_indices("  }").nth(1).unwrap().0 + 3;
        let first_ends = text.find("  }").unwrap() + 3;
        for cut in 1..text.len() {
            let found = salvage(&text.as_bytes()[..cut]).unwrap();
            let expected = ["a", "b", "c"];
            let count =
                usize::from(cut >= first_ends) + usize::from(cut >= second_ends) + usize::from(cut >= text.len() - 2);
            assert_eq!(keys(&found.text), &expected[..count], "{cut}");
            if count > 0 {
                let kept = &found.text[..found.text.len() - 2];
                assert!(text.as_bytes().starts_with(kept), "the bytes are those of the old file");
            }
        }
        assert_eq!(salvage(text.as_bytes()), None, "a good store needs none");
    }

    #[test]
    fn what_stands_behind_a_broken_entry_comes_back_too() {
        let text = whole(&["a", "b", "c", "d"]);
        let second = text.match_indices("12345678901234567890").nth(1).unwrap().0;
        let broken = format!("{}?{}", &text[..second], &text[second + 1..]);
        let found = salvage(broken.as_bytes()).unwrap();
        assert_eq!(keys(&found.text), ["a", "c", "d"]);
        let b = Broken { key: "b".to_owned(), session_id: Some("x".to_owned()) };
        assert_eq!((found.entries, found.broken), (3, vec![b]));
    }

    #[test]
    fn a_mark_goes_and_other_values_are_no_store() {
        let text = whole(&["a"]);
        let marked = [MARK, text.as_bytes()].concat();
        assert_eq!(salvage(&marked).unwrap().text, text.as_bytes());
        for none in [&b""[..], b" ", b"[]", b"null", b"7", b"\"x\""] {
            assert_eq!(salvage(none), None, "{}", none.escape_ascii());
        }
        assert_eq!(salvage(b"{").unwrap().text, b"{}");
        assert_eq!(salvage(b"{\"a\": 12").unwrap().text, b"{}");
    }

    proptest! {
        #[test]
        fn nothing_is_made_up(cut in 0_usize..700, flips in prop::collection::vec((0_usize..700, any::<u8>()), 0..4)) {
            let text = whole(&["a", "b:c", "ü", "d"]);
            let mut bytes = text.clone().into_bytes();
            bytes.truncate(cut);
            for (at, byte) in flips {
                if let Some(slot) = bytes.get_mut(at) {
                    *slot = byte;
                }
            }
            if let Some(found) = salvage(&bytes) {
                let document = store::read(&found.text).unwrap();
                prop_assert_eq!(document.effective(&found.text).len(), found.entries);
                for member in &document.members {
                    let piece = member.entry.span.of(&found.text);
                    prop_assert!(bytes.windows(piece.len()).any(|window| window == piece));
                }
            }
        }
    }
}
