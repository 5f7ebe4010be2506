//! Values of a line as JavaScript takes them: ids, numbers, versions.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher13;

use super::Id;
use crate::model::json::{self, Kind, Value};

/// `header.version ?? 1`, compared with numbers as JavaScript does.
pub(super) fn version(text: &[u8], value: Option<Value>) -> f64 {
    let Some(value) = value else { return 1.0 };
    match value.kind {
        Kind::Null | Kind::True => 1.0,
        Kind::False => 0.0,
        Kind::Number => number(value.span.of(text)),
        Kind::String => number_of_text(&json::unescape(json::inside(value).of(text))),
        Kind::Object | Kind::Array => f64::NAN,
    }
}

/// The value of a JSON number; infinite when it is too large.
fn number(bytes: &[u8]) -> f64 {
    std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN)
}

/// `Number(text)`, but for other radixes.
fn number_of_text(text: &str) -> f64 {
    match text.trim() {
        "" => 0.0,
        // Rust knows words for numbers that JavaScript does not.
        text if text.ends_with(|c: char| c.is_ascii_alphabetic()) && !text.ends_with("Infinity") => f64::NAN,
        text => text.parse().unwrap_or(f64::NAN),
    }
}

pub(super) fn id(text: &[u8], value: Option<Value>) -> Id {
    let Some(value) = value else { return Id::Undefined };
    let bytes = value.span.of(text);
    match value.kind {
        Kind::Null => Id::Null,
        Kind::False => Id::Falsy,
        Kind::Number if number(bytes) == 0.0 => Id::Falsy,
        Kind::String => match &*json::plain(json::inside(value).of(text)) {
            b"" => Id::Falsy,
            plain => Id::Key(key(plain)),
        },
        // `7` and `7.0` are one number.
        Kind::Number => Id::Key(key(&[b"\0", &number(bytes).to_bits().to_ne_bytes()[..]].concat())),
        _ => Id::Key(key(&[b"\0", bytes].concat())),
    }
}

/// Eight bytes stand for an id: the ids of pi (eight hex digits) exactly, longer ones by a hash, which is the same in
/// every build: it is remembered.
fn key(bytes: &[u8]) -> u64 {
    if let Ok(word) = <[u8; 8]>::try_from(bytes) {
        return u64::from_le_bytes(word).max(1);
    }
    let mut hasher = SipHasher13::new();
    hasher.write(bytes);
    hasher.finish().max(1)
}
