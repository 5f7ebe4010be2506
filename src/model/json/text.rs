//! What the bytes between the quotes of a string stand for.

use std::borrow::Cow;

/// The text of a string value whose span is between the quotes. Lone surrogates and bytes that are not UTF-8 become
/// U+FFFD, as in Node's decoder; so the result is for showing and comparing, never for writing back.
pub fn unescape(raw: &[u8]) -> String {
    let plain = String::from_utf8_lossy(raw);
    if !plain.contains('\\') {
        return plain.into_owned();
    }
    let mut text = String::with_capacity(plain.len());
    let mut rest = plain.as_ref();
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(letter) = rest.chars().next() else { break };
        rest = &rest[letter.len_utf8()..];
        match letter {
            'b' => text.push('\u{8}'),
            'f' => text.push('\u{c}'),
            'n' => text.push('\n'),
            'r' => text.push('\r'),
            't' => text.push('\t'),
            'u' => {
                let (c, used) = unicode_escape(rest);
                text.push(c);
                rest = &rest[used..];
            }
            other => text.push(other),
        }
    }
    text.push_str(rest);
    text
}

/// What stands between the quotes of a key or a short value, for comparing: the bytes themselves unless an escape or a
/// byte that is not UTF-8 makes them stand for others.
pub fn plain(raw: &[u8]) -> Cow<'_, [u8]> {
    if raw.iter().all(|&byte| byte < 0x80 && byte != b'\\') {
        return Cow::Borrowed(raw);
    }
    Cow::Owned(unescape(raw).into_bytes())
}

/// What a key stands for: `find` is asked with its bytes, and once more without its escapes if it has any. No name that
/// is asked for has a backslash in it, so the bytes themselves are found first.
#[inline]
pub fn named<T>(raw: &[u8], find: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
    find(raw).or_else(|| match plain(raw) {
        Cow::Borrowed(_) => None,
        Cow::Owned(name) => find(&name),
    })
}

/// The character of `XXXX` or `XXXX\uYYYY` at the start of `rest`, and how many bytes it took.
fn unicode_escape(rest: &str) -> (char, usize) {
    let unit = |at: usize| rest.get(at..at + 4).and_then(|hex| u32::from_str_radix(hex, 16).ok());
    let Some(first) = unit(0) else { return (char::REPLACEMENT_CHARACTER, 0) };
    if (0xd800..0xdc00).contains(&first)
        && rest.get(4..6) == Some("\\u")
        && let Some(second @ 0xdc00..0xe000) = unit(6)
    {
        let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        return (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 10);
    }
    (char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), 4)
}
