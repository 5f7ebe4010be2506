//! Things that stand deep in an entry: names of sessions and files, entries below it, its largest fields.

use super::{string, trimmed};
use crate::model::json::{self, JsonError, Kind, Scanner, Value};

/// Every string member called `name` in `value`, down to the depth at which OpenClaw keeps such names.
pub(super) fn named_strings(text: &[u8], value: Value, name: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    visit(text, value, &mut |key, member| {
        if key == name {
            found.extend(trimmed(text, member));
        }
    });
    found
}

/// Shows every member of every object in `value`, down to the depth at which OpenClaw keeps names of sessions.
fn visit(text: &[u8], value: Value, show: &mut impl FnMut(&[u8], Value)) {
    const DEPTH: u8 = 6;
    let mut open = vec![(value, 0)];
    while let Some((value, depth)) = open.pop() {
        if depth > DEPTH {
            continue;
        }
        let mut scanner = Scanner::at(text, value.span.start);
        let walked = match value.kind {
            Kind::Object => scanner.object(|scanner, key| {
                let member = scanner.value()?;
                show(&json::plain(key.of(text)), member);
                open.push((member, depth + 1));
                Ok::<(), JsonError>(())
            }),
            Kind::Array => scanner.array(|scanner| {
                open.push((scanner.value()?, depth + 1));
                Ok::<(), JsonError>(())
            }),
            _ => continue,
        };
        debug_assert!(walked.is_ok(), "the value was scanned before");
    }
}

/// The `sessionId` of an entry that breaks off somewhere behind it. `after_key` is where its key ended.
pub fn session_of_part(text: &[u8], after_key: usize) -> Option<String> {
    let mut found = None;
    let mut scanner = Scanner::at(text, after_key);
    scanner.expect(b':').ok()?;
    let _ = scanner.object(|scanner, key| {
        let value = scanner.value()?;
        if *json::plain(key.of(text)) == *b"sessionId" {
            found = string(text, value);
        }
        Ok::<(), JsonError>(())
    });
    found
}

/// An entry of more bytes than this is told: usual are ten thousand (F§12).
pub const HUGE: usize = 256 * 1024;

/// Returns the three largest fields of an entry that is huge, with their bytes, largest first.
pub fn largest_if_huge(text: &[u8]) -> Vec<(String, usize)> {
    let mut fields = Vec::new();
    if text.len() <= HUGE {
        return fields;
    }
    let mut scanner = Scanner::new(text);
    let walked = scanner.object(|scanner, key| {
        let bytes = scanner.value()?.span.len();
        fields.push((json::unescape(key.of(text)), bytes));
        Ok::<(), JsonError>(())
    });
    if walked.is_err() {
        return Vec::new();
    }
    fields.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    fields.truncate(3);
    fields
}

/// Returns whether entries, or what names sessions, stand below this value.
pub fn holds_entries(text: &[u8]) -> bool {
    const NAMES: [&[u8]; 6] = [b"sessionId", b"session_id", b"sessionFile", b"sessionKey", b"id", b"key"];
    let names_session = |key: &[u8], member: Value| {
        key.starts_with(b"agent:") || (NAMES.contains(&key) && trimmed(text, member).is_some())
    };
    let mut found = false;
    if let Ok(value) = json::check(text) {
        visit(text, value, &mut |key, member| found |= names_session(key, member));
    }
    found
}
