//! What only a check of every line looks at: the content of messages, and types that nobody knows.

use super::Id;
use super::value::id;
use crate::model::json::{self, JsonErrorKind, Value};

/// What only a check of every line looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// The ids of the tools that an answer calls.
    pub calls: Vec<u64>,
    /// The call that a tool's result answers.
    pub result_of: Option<u64>,
    /// A user's message without text.
    pub blank: bool,
    /// An answer that says and calls nothing.
    pub empty: bool,
    /// An answer with a thinking block that has no signature.
    pub unsigned: bool,
    /// A tool call with control characters in its `partialJson`.
    pub partial_json: bool,
    /// An assistant's line that OpenClaw wrote itself (F§4.3).
    pub mirror: bool,
    /// A type that no release up to 2026.9.6 writes (F§4.3).
    pub unknown_type: bool,
    /// Where half of a surrogate pair stands.
    pub lone_surrogate: Option<usize>,
}

/// The types of entries (F§4.3).
pub(super) const TYPES: [&[u8]; 11] = [
    b"message",
    b"compaction",
    b"branch_summary",
    b"custom_message",
    b"custom",
    b"model_change",
    b"thinking_level_change",
    b"label",
    b"session_info",
    b"leaf",
    b"reset",
];

pub(super) fn key_of(text: &[u8], value: Value) -> Option<u64> {
    match id(text, Some(value)) {
        Id::Key(key) => Some(key),
        _ => None,
    }
}

/// Returns whether a raw string stands for JSON, whole or not, with a control character in one of its strings.
pub(super) fn holds_control_character(raw: &[u8]) -> bool {
    let error = json::check(json::unescape(raw).as_bytes()).err();
    error.is_some_and(|error| error.kind == JsonErrorKind::ControlCharacter)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::model::line::{Line, read_closely};

    fn detail(text: &str) -> Detail {
        match read_closely(text.as_bytes()).unwrap() {
            Line::Entry(entry, _) => *entry.detail.unwrap(),
            other => unreachable!("{other:?}"),
        }
    }

    #[test]
    fn a_close_look_sees_calls_results_and_blank_texts() {
        let message = |message: &str| detail(&format!(r#"{{"type":"message","message":{message}}}"#));
        let blank = |content: &str| message(&format!(r#"{{"role":"user","content":{content}}}"#)).blank;
        for content in ["\"\"", r#"" \n""#, "[]", r#"[{"type":"text","text":"\u00a0"}]"#] {
            assert!(blank(content), "{content}");
        }
        for content in [r#""x""#, r#"[{"type":"image"}]"#, r#"[{"type":"text","text":" "},{"type":"image"}]"#, "7"] {
            assert!(!blank(content), "{content}");
        }
        assert!(!message(r#"{"role":"assistant","content":[]}"#).blank);
        let call =
            message(r#"{"role":"assistant","content":[{"type":"toolCall","id":"c1","partialJson":"{\"a\":\"\n"}]}"#);
        let result = message(r#"{"role":"toolResult","toolCallId":"c1","content":[]}"#);
        assert_eq!(call.calls, result.result_of.into_iter().collect::<Vec<_>>());
        assert!(call.partial_json && !call.mirror);
        let spaced =
            r#"{"role":"assistant","content":[{"type":"toolCall","id":"c1","partialJson":"{\n\t\"a\":\"\\n"}]}"#;
        assert!(!message(spaced).partial_json, "white space between tokens is no fault");
        assert!(message(r#"{"role":"assistant","provider":"openclaw"}"#).mirror);
        assert!(detail(r#"{"type":"novel"}"#).unknown_type && !detail(r#"{"type":"leaf"}"#).unknown_type);
    }

    #[test]
    fn half_of_a_surrogate_pair_is_seen_and_a_whole_one_is_not() {
        let lone = |text: &str| detail(&format!(r#"{{"type":"custom","data":"{text}"}}"#)).lone_surrogate.is_some();
        assert!(lone("\\ud83d") && lone("x\\ude00") && lone("\\ud83d\\n") && lone("\\ud83d\\ud83d\\ude00"));
        assert!(!lone("\\ud83d\\ude00") && !lone("\\u00e9") && !lone("😀"));
    }
}
