//! The content of a message: a text, or a list of blocks, and what is in it.

use super::detail::{Detail, holds_control_character, key_of};
use crate::model::json::{self, JsonError, Kind, Scanner, Value};

/// What the content of a message holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    /// A tool call.
    pub(super) calls: bool,
}

/// Reads a content: a text, or a list of blocks.
pub(super) fn content(
    scanner: &mut Scanner<'_>,
    text: &[u8],
    mut detail: Option<&mut Detail>,
) -> Result<Content, JsonError> {
    let mut holds = Content::default();
    if scanner.peek() != Some(b'[') {
        let value = scanner.value()?;
        if let Some(detail) = detail {
            detail.blank = value.kind == Kind::String && is_blank(json::inside(value).of(text));
        }
        return Ok(holds);
    }
    if let Some(detail) = &mut detail {
        detail.blank = true;
    }
    scanner.array(|scanner| {
        if scanner.peek() == Some(b'{') {
            return block(scanner, text, &mut holds, detail.as_deref_mut());
        }
        if let Some(detail) = &mut detail {
            detail.blank = false;
        }
        scanner.value().map(|_| ())
    })?;
    Ok(holds)
}

/// The types of blocks that call a tool: what the agent loop writes, and what OpenClaw takes for the same.
const CALLS: [&[u8]; 3] = [b"toolCall", b"toolUse", b"functionCall"];

fn block(
    scanner: &mut Scanner<'_>,
    text: &[u8],
    holds: &mut Content,
    detail: Option<&mut Detail>,
) -> Result<(), JsonError> {
    let mut values = [None; 4];
    scanner.object(|scanner, key| {
        let value = scanner.value()?;
        let place = json::named(key.of(text), |name| match name {
            b"type" => Some(0),
            b"id" => Some(1),
            b"text" => Some(2),
            b"partialJson" => Some(3),
            _ => None,
        });
        if let Some(place) = place {
            values[place] = Some(value);
        }
        Ok::<(), JsonError>(())
    })?;
    let [kind, call, said, partial] = values;
    let string = |value: Option<Value>| {
        value.filter(|value| value.kind == Kind::String).map(|value| json::inside(value).of(text))
    };
    let kind = json::plain(string(kind).unwrap_or_default());
    let calls = CALLS.contains(&&*kind);
    holds.calls |= calls;
    let Some(detail) = detail else { return Ok(()) };
    detail.blank &= *kind == *b"text" && string(said).is_some_and(is_blank);
    if calls {
        detail.calls.extend(call.and_then(|call| key_of(text, call)));
        detail.partial_json |= string(partial).is_some_and(holds_control_character);
    }
    Ok(())
}

/// Returns whether a raw string holds white space only.
fn is_blank(raw: &[u8]) -> bool {
    let mut rest = raw;
    while let Some(&first) = rest.first() {
        let used = match (first, rest.get(1)) {
            (b' ', _) => 1,
            (b'\\', Some(b'n' | b't' | b'r' | b'f')) => 2,
            (b'\\', Some(b'u')) => 6,
            (0x80.., _) => {
                rest.utf8_chunks().next().and_then(|chunk| chunk.valid().chars().next()).map_or(0, char::len_utf8)
            }
            _ => 0,
        };
        match rest.get(..used).filter(|head| !head.is_empty() && json::unescape(head).trim().is_empty()) {
            Some(_) => rest = &rest[used..],
            None => return false,
        }
    }
    true
}
