//! White space, as the loader sees it.

/// White space as `String.prototype.trim` sees it.
fn is_js_space(c: char) -> bool {
    (c.is_whitespace() && c != '\u{85}') || c == '\u{feff}'
}

/// The loader trims the whole file first, so a byte order mark or white space before the header does no harm.
pub(in crate::model) fn trim_start(text: &[u8]) -> &[u8] {
    let mut rest = text;
    loop {
        match rest {
            [b'\t' | b'\n' | 0x0b | 0x0c | b'\r' | b' ', tail @ ..] => rest = tail,
            [first, ..] if *first >= 0x80 => {
                let head = &rest[..rest.len().min(4)];
                let valid = head.utf8_chunks().next().map_or("", |chunk| chunk.valid());
                match valid.chars().next().filter(|&c| is_js_space(c)) {
                    Some(c) => rest = &rest[c.len_utf8()..],
                    None => return rest,
                }
            }
            _ => return rest,
        }
    }
}

/// The loader trims the end of the file too.
pub(super) fn trim_end(text: &[u8]) -> &[u8] {
    let is_space = |text: &[u8]| std::str::from_utf8(text).is_ok_and(|text| text.chars().all(is_js_space));
    let mut rest = text;
    while let Some(at) = (1..=3).filter_map(|size| rest.len().checked_sub(size)).find(|&at| is_space(&rest[at..])) {
        rest = &rest[..at];
    }
    rest
}

pub(in crate::model) fn is_blank(text: &[u8]) -> bool {
    trim_start(text).is_empty()
}
