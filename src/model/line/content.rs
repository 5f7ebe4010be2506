//! The content of a message: a text, or a list of blocks, and what is in it.

use serde::{Deserialize, Serialize};

use super::detail::{Detail, holds_control_character, key_of};
use crate::model::json::{self, JsonError, Kind, Scanner, Value};

/// What is wrong with the content of a message: the request that it belongs in cannot be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Misfit {
    /// A text, where only a list will do.
    Text,
    /// `null`.
    Null,
    /// There is none.
    Absent,
    /// Neither a text nor a list.
    Other,
    /// A list with a `null` in it.
    NullBlock,
}

impl Misfit {
    /// Returns it in words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Null => "null",
            Self::Absent => "no content",
            Self::Other => "neither a text nor a list",
            Self::NullBlock => "a null in the list",
        }
    }
}

/// What the content of a message is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ContentKind {
    #[default]
    Absent,
    Null,
    Text,
    List,
    Other,
}

/// What the content of a message is and holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct MessageContent {
    shape: ContentKind,
    /// A `null` among the blocks.
    null_block: bool,
    /// Anything but blank texts.
    says: bool,
    /// A tool call.
    pub(super) calls: bool,
    /// A thinking block without signature.
    pub(super) unsigned: bool,
}

impl MessageContent {
    /// Returns whether it says nothing and calls nothing.
    pub(super) fn is_empty(self) -> bool {
        !self.says
    }

    /// Returns what is wrong with it in a message of this role. What a tool gave back is made a list before it is sent,
    /// whatever it is.
    pub(super) fn misfit(self, role: &[u8]) -> Option<Misfit> {
        let (list_only, known) = (role == b"assistant", matches!(role, b"assistant" | b"user"));
        match self.shape {
            ContentKind::List => (self.null_block && (known || role == b"toolResult")).then_some(Misfit::NullBlock),
            ContentKind::Text => list_only.then_some(Misfit::Text),
            ContentKind::Null => known.then_some(Misfit::Null),
            ContentKind::Absent => known.then_some(Misfit::Absent),
            ContentKind::Other => known.then_some(Misfit::Other),
        }
    }
}

/// Reads a content: a text, or a list of blocks.
pub(super) fn content(
    scanner: &mut Scanner<'_>,
    text: &[u8],
    mut detail: Option<&mut Detail>,
) -> Result<MessageContent, JsonError> {
    let mut holds = MessageContent::default();
    if scanner.peek() != Some(b'[') {
        let value = scanner.value()?;
        holds.shape = match value.kind {
            Kind::String => ContentKind::Text,
            Kind::Null => ContentKind::Null,
            _ => ContentKind::Other,
        };
        holds.says = match holds.shape {
            ContentKind::Text => !is_blank(json::inside(value).of(text)),
            shape => shape == ContentKind::Other,
        };
        if let Some(detail) = detail {
            detail.blank = !holds.says;
        }
        return Ok(holds);
    }
    holds.shape = ContentKind::List;
    if let Some(detail) = &mut detail {
        detail.blank = true;
    }
    scanner.array(|scanner| {
        if scanner.peek() == Some(b'{') {
            return block(scanner, text, &mut holds, detail.as_deref_mut());
        }
        let is_null = scanner.value()?.kind == Kind::Null;
        holds.null_block |= is_null;
        holds.says |= !is_null;
        if let Some(detail) = &mut detail {
            detail.blank &= is_null;
        }
        Ok(())
    })?;
    Ok(holds)
}

/// The types of blocks that call a tool: what the agent loop writes, and what OpenClaw takes for the same.
const CALLS: [&[u8]; 3] = [b"toolCall", b"toolUse", b"functionCall"];

fn block(
    scanner: &mut Scanner<'_>,
    text: &[u8],
    holds: &mut MessageContent,
    detail: Option<&mut Detail>,
) -> Result<(), JsonError> {
    let mut values = [None; 6];
    scanner.object(|scanner, key| {
        let value = scanner.value()?;
        let place = json::named(key.of(text), |name| match name {
            b"type" => Some(0),
            b"id" => Some(1),
            b"text" => Some(2),
            b"partialJson" => Some(3),
            b"thinking" => Some(4),
            b"thinkingSignature" => Some(5),
            _ => None,
        });
        if let Some(place) = place {
            values[place] = Some(value);
        }
        Ok::<(), JsonError>(())
    })?;
    let [kind, call, said, partial, thought, signature] = values;
    let string = |value: Option<Value>| {
        value.filter(|value| value.kind == Kind::String).map(|value| json::inside(value).of(text))
    };
    let kind = json::plain(string(kind).unwrap_or_default());
    let calls = CALLS.contains(&&*kind);
    holds.calls |= calls;
    let is_blank_text = *kind == *b"text" && string(said).is_some_and(is_blank);
    let unsigned = *kind == *b"thinking" && string(signature).is_none_or(is_blank);
    holds.unsigned |= unsigned;
    let is_blank_thought = unsigned && string(thought).is_none_or(is_blank);
    holds.says |= !(is_blank_text || is_blank_thought);
    let Some(detail) = detail else { return Ok(()) };
    detail.blank &= is_blank_text;
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
