//! Making text from a store safe to print: control characters and bidi marks escaped, error messages cut before they
//! quote anything (design §6, privacy).

use std::borrow::Cow;
use std::fmt::Write as _;

/// Characters that can move a cursor, hide text or turn it around.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{61c}')
}

/// The text with unsafe characters as `\u{…}`.
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().flat_map(|c| if is_unsafe(c) { c.escape_unicode().collect() } else { vec![c] }).collect())
}

/// A JSON text whose unsafe characters are `\uXXXX`: the same document, safe on a terminal too. JSON writers escape
/// only what JSON demands, which leaves bidi marks and C1 controls.
pub fn escape_json(text: &str) -> Cow<'_, str> {
    let unsafe_here = |c: char| is_unsafe(c) && c != '\n';
    // Piece by piece: within one, bytes can be looked at side by side.
    let is_plain = |piece: &[u8]| piece.iter().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~' | b'\n'));
    if text.as_bytes().chunks(256).all(is_plain) || !text.chars().any(unsafe_here) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 32);
    for c in text.chars() {
        if unsafe_here(c) {
            let _ = write!(escaped, "\\u{:04x}", u32::from(c));
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// The most characters of an error message that are shown.
const EXCERPT: usize = 64;
/// A word longer than this may be a token.
const LONG_WORD: usize = 24;

/// The beginning of an error message, up to where providers quote keys, prompts or ids.
pub fn excerpt(message: &str) -> String {
    let end = message.find([':', '"', '\'', '`', '{', '[', '(', '<', '\n', '\r']).unwrap_or(message.len());
    let words = message[..end].split(' ').map(|word| if word.chars().count() > LONG_WORD { "…" } else { word });
    let plain = words.collect::<Vec<_>>().join(" ");
    let mut shown: String = plain.trim_end().chars().take(EXCERPT).collect();
    if shown.len() < message.trim_end().len() && !shown.ends_with('…') {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c50_escape_sequences_and_bidi_marks_do_not_reach_a_terminal() {
        assert_eq!(escape("a\u{1b}[31mb\u{202e}c"), "a\\u{1b}[31mb\\u{202e}c");
        assert_eq!(escape("plain ünï"), "plain ünï");
        assert_eq!(escape_json("{\n\"k\": \"\u{202e}\u{85}\"}"), "{\n\"k\": \"\\u202e\\u0085\"}");
    }

    #[test]
    fn an_error_is_cut_before_it_quotes() {
        assert_eq!(
            excerpt("401 Incorrect API key provided: sk-secret. Key has been revoked."),
            "401 Incorrect API key provided…"
        );
        assert_eq!(excerpt("terminated"), "terminated");
        assert_eq!(excerpt("bad sk-abcdefghijklmnopqrstuvwxyz key"), "bad … key…");
    }
}
