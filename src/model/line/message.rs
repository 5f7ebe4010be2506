//! The message of a line: who speaks, and how the run ended.

use super::Judging;
use super::Misfit;
use super::content::{MessageContent, content};
use super::detail::{Detail, key_of};
use crate::model::json::{self, JsonError, Kind, Scanner, Value};

/// The most bytes of an error message that are kept.
const ERROR_BYTES: usize = 400;

#[derive(Default)]
pub(super) struct Message {
    pub(super) judging: Option<Judging>,
    pub(super) assistant: bool,
    pub(super) error: Option<String>,
    pub(super) misfit: Option<Misfit>,
    pub(super) detail: Detail,
}

/// A field of a message that matters.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// One of those whose text is looked at, by its place among them.
    Value(u8),
    Content,
    ToolCallId,
    Abort,
}

impl Part {
    fn of(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"role" => Self::Value(0),
            b"stopReason" => Self::Value(1),
            b"api" => Self::Value(2),
            b"provider" => Self::Value(3),
            b"model" => Self::Value(4),
            b"errorMessage" => Self::Value(5),
            b"content" => Self::Content,
            b"toolCallId" => Self::ToolCallId,
            b"openclawAbort" => Self::Abort,
            _ => return None,
        })
    }
}

pub(super) fn message(scanner: &mut Scanner<'_>, text: &[u8], closely: bool) -> Result<Message, JsonError> {
    let mut values = [None; 6];
    let mut abort = false;
    // No content is no text either.
    let mut detail = Detail { blank: true, ..Detail::default() };
    let mut holds = MessageContent::default();
    scanner.object(|scanner, key| {
        let part = json::named(key.of(text), Part::of);
        if part == Some(Part::Content) {
            holds = content(scanner, text, closely.then_some(&mut detail))?;
            return Ok(());
        }
        let value = scanner.value()?;
        match part {
            Some(Part::Value(place)) => values[place as usize] = Some(value),
            Some(Part::ToolCallId) if closely => detail.result_of = key_of(text, value),
            Some(Part::Abort) => abort = value.kind == Kind::Object,
            _ => {}
        }
        Ok::<(), JsonError>(())
    })?;
    let [role, stop, api, provider, model, error] = values;
    let raw = |value: Option<Value>| match value {
        Some(value) if value.kind == Kind::String => json::inside(value).of(text),
        _ => b"",
    };
    let role = json::plain(raw(role));
    let judging = match (&*role, &*json::plain(raw(stop))) {
        (b"user", _) => Some(Judging::User),
        (b"toolResult", _) => Some(Judging::ToolResult),
        // Mirrors of what was sent elsewhere; the partial answer of an aborted run is the one that tells something.
        (b"assistant", _) if *json::plain(raw(provider)) == *b"openclaw" => {
            let reply = (*raw(model) == *b"gateway-injected").then_some(Judging::Reply);
            if abort { Some(Judging::Aborted) } else { reply }
        }
        (b"assistant", b"error") => Some(Judging::Error),
        (b"assistant", b"aborted") => Some(Judging::Aborted),
        (b"assistant", _) if holds.is_empty() => Some(Judging::Empty),
        // A command line runs its tools itself. Of all others the calls tell, whatever they say why they stopped.
        (b"assistant", stop) if *raw(api) == *b"cli" && *stop != *b"toolUse" => Some(Judging::StopByCli),
        (b"assistant", _) if holds.calls => Some(Judging::ToolUse),
        (b"assistant", _) => Some(Judging::Stop),
        _ => None,
    };
    let failed = matches!(judging, Some(Judging::Error | Judging::Aborted));
    let error = failed.then(|| raw(error)).filter(|raw| !raw.is_empty()).map(excerpt);
    let assistant = *role == *b"assistant";
    detail.blank &= judging == Some(Judging::User);
    let (made, failed) = match judging {
        Some(Judging::Stop | Judging::StopByCli | Judging::ToolUse | Judging::Empty) => (true, false),
        Some(Judging::Error | Judging::Aborted) => (false, true),
        _ => (false, false),
    };
    detail.empty = (made || failed) && holds.is_empty();
    detail.unsigned = made && holds.unsigned;
    detail.mirror = assistant && *raw(provider) == *b"openclaw";
    detail.result_of = detail.result_of.filter(|_| judging == Some(Judging::ToolResult));
    Ok(Message { judging, assistant, error, misfit: holds.misfit(&role), detail })
}

fn excerpt(raw: &[u8]) -> String {
    let mut text = json::unescape(&raw[..raw.len().min(ERROR_BYTES)]);
    // The cut may have gone through an escape or a character.
    if raw.len() > ERROR_BYTES {
        while text.ends_with(char::REPLACEMENT_CHARACTER) {
            text.pop();
        }
        text.push('…');
    }
    text
}
