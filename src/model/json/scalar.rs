//! Values that hold no other: strings, numbers and literals.

use super::block::is_short_escape;
use super::{JsonError, JsonErrorKind, Scanner};

impl Scanner<'_> {
    pub(super) fn scalar(&mut self) -> Result<(), JsonError> {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b't') => self.literal(b"true"),
            Some(b'f') => self.literal(b"false"),
            Some(b'n') => self.literal(b"null"),
            Some(b'-' | b'0'..=b'9') => self.number(),
            found => Err(self.unexpected(found)),
        }
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), JsonError> {
        for &expected in word {
            match self.text.get(self.at) {
                Some(&byte) if byte == expected => self.at += 1,
                Some(_) => return Err(JsonError { offset: self.at, kind: JsonErrorKind::BadLiteral }),
                None => return Err(JsonError { offset: self.at, kind: JsonErrorKind::Truncated }),
            }
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), JsonError> {
        if self.text.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        if self.text.get(self.at) == Some(&b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.text.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.text.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while matches!(self.text.get(self.at), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at > start {
            return Ok(());
        }
        let kind = if self.at == self.text.len() { JsonErrorKind::Truncated } else { JsonErrorKind::BadLiteral };
        Err(JsonError { offset: self.at, kind })
    }

    pub(super) fn string(&mut self) -> Result<(), JsonError> {
        self.at += 1;
        loop {
            let Some(stop) = self.block.stop(self.text, self.at) else {
                self.at = self.block.end();
                continue;
            };
            self.at = stop;
            match self.text.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                Some(_) => return Err(JsonError { offset: self.at, kind: JsonErrorKind::ControlCharacter }),
                None => return Err(JsonError { offset: self.text.len(), kind: JsonErrorKind::Truncated }),
            }
        }
    }

    /// Notes a surrogate at this `\uXXXX` that is not half of a pair.
    fn note_surrogate(&mut self) {
        let unit = |at: usize| self.text.get(at..).and_then(code_unit);
        let lone = match unit(self.at) {
            Some(0xd800..=0xdbff) => !matches!(unit(self.at + 6), Some(0xdc00..=0xdfff)),
            Some(0xdc00..=0xdfff) => !matches!(self.at.checked_sub(6).and_then(unit), Some(0xd800..=0xdbff)),
            _ => false,
        };
        if lone {
            self.lone_surrogate.get_or_insert(self.at);
        }
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        let fault = |at: usize, found: Option<&u8>| JsonError {
            offset: at,
            kind: if found.is_some() { JsonErrorKind::BadEscape } else { JsonErrorKind::Truncated },
        };
        match self.text.get(self.at + 1) {
            Some(&escaped) if is_short_escape(escaped) => self.at += 2,
            Some(b'u') => {
                for at in self.at + 2..self.at + 6 {
                    let found = self.text.get(at);
                    if !found.is_some_and(u8::is_ascii_hexdigit) {
                        return Err(fault(at, found));
                    }
                }
                self.note_surrogate();
                self.at += 6;
            }
            found => return Err(fault(self.at + 1, found)),
        }
        Ok(())
    }
}

/// The code unit of `\uXXXX` at the start of `text`.
fn code_unit(text: &[u8]) -> Option<u16> {
    let digits = text.get(2..6).filter(|_| text.starts_with(b"\\u"))?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}
