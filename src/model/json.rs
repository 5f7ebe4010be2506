//! A strict JSON scanner over bytes: full grammar, no recursion, no allocation per value, and exact offsets.
//!
//! Stores and transcripts are never re-serialized, so what matters is *where* a value begins and ends. The scanner
//! accepts what Node's `JSON.parse` accepts of the same bytes (`openclaw-format.md` §2.1, `IgnoredAny` semantics):
//! lone surrogate escapes, numbers of any size, duplicate keys, any depth; and, inside strings, bytes that are not
//! UTF-8, which Node's decoder replaces before it parses.

use block::Block;
use nesting::Nesting;
use serde::{Deserialize, Serialize};

pub use text::{named, plain, unescape};

mod block;
mod nesting;
mod scalar;
mod text;

/// What is wrong, and at which byte of the scanned slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JsonError {
    /// Offset of the first byte that does not fit.
    pub offset: usize,
    /// What was found instead.
    pub kind: JsonErrorKind,
}

/// The kinds of [`JsonError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JsonErrorKind {
    /// The text ends inside a value.
    Truncated,
    /// A byte that no rule allows here.
    Unexpected,
    /// A control character inside a string.
    ControlCharacter,
    /// A malformed escape inside a string.
    BadEscape,
    /// A malformed number or literal.
    BadLiteral,
    /// A whole value, and then something else.
    Trailing,
}

/// A half-open range of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// The bytes of `text` in this range.
    pub fn of(self, text: &[u8]) -> &[u8] {
        text.get(self.start..self.end).unwrap_or_default()
    }

    /// How many bytes.
    pub const fn len(self) -> usize {
        self.end - self.start
    }

    /// Returns whether the range holds nothing.
    pub const fn is_empty(self) -> bool {
        self.end == self.start
    }
}

/// The type of a value, told by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
    /// `"…"`
    String,
    /// A number.
    Number,
    /// `true`
    True,
    /// `false`
    False,
    /// `null`
    Null,
}

/// A value of the scanned text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value {
    /// Its type.
    pub kind: Kind,
    /// Its bytes.
    pub span: Span,
}

/// A position in a text.
pub struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    block: Block,
    nesting: Nesting,
    lone_surrogate: Option<usize>,
}

impl<'a> Scanner<'a> {
    /// Starts at the first byte.
    pub fn new(text: &'a [u8]) -> Self {
        Self::at(text, 0)
    }

    /// Starts at byte `at`.
    pub fn at(text: &'a [u8], at: usize) -> Self {
        Self { text, at, block: Block::none(), nesting: Nesting::default(), lone_surrogate: None }
    }

    /// The byte that is read next.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// Where the first half of a surrogate pair stood without the other: good JSON, yet no text.
    pub fn lone_surrogate(&self) -> Option<usize> {
        self.lone_surrogate
    }

    /// The next byte that is not white space.
    pub fn peek(&mut self) -> Option<u8> {
        while let Some(&byte) = self.text.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    /// Steps over `byte`, or says what stands in its place.
    pub fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        match self.peek() {
            Some(found) if found == byte => {
                self.at += 1;
                Ok(())
            }
            found => Err(self.unexpected(found)),
        }
    }

    /// Nothing but white space may follow.
    pub fn end(&mut self) -> Result<(), JsonError> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(JsonError { offset: self.at, kind: JsonErrorKind::Trailing }),
        }
    }

    /// Checks one value whole and steps over it.
    pub fn value(&mut self) -> Result<Value, JsonError> {
        let first = self.peek();
        let start = self.at;
        let kind = match first {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::String,
            Some(b't') => Kind::True,
            Some(b'f') => Kind::False,
            Some(b'n') => Kind::Null,
            Some(b'-' | b'0'..=b'9') => Kind::Number,
            found => return Err(self.unexpected(found)),
        };
        match kind {
            Kind::Object | Kind::Array => self.container()?,
            _ => self.scalar()?,
        }
        Ok(Value { kind, span: Span { start, end: self.at } })
    }

    /// Calls `member` for every member of an object with the span of the key between its quotes. The callee must step
    /// over exactly one value.
    pub fn object<E: From<JsonError>>(
        &mut self,
        mut member: impl FnMut(&mut Self, Span) -> Result<(), E>,
    ) -> Result<Span, E> {
        self.expect(b'{')?;
        let start = self.at - 1;
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Span { start, end: self.at });
        }
        loop {
            let key = self.key()?;
            member(self, key)?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Span { start, end: self.at });
                }
                found => return Err(self.unexpected(found).into()),
            }
        }
    }

    /// Calls `element` for every element of an array. The callee must step over exactly one value.
    pub fn array<E: From<JsonError>>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<Span, E> {
        self.expect(b'[')?;
        let start = self.at - 1;
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Span { start, end: self.at });
        }
        loop {
            element(self)?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Span { start, end: self.at });
                }
                found => return Err(self.unexpected(found).into()),
            }
        }
    }

    /// Steps over a key and its colon; gives the span between the quotes.
    pub fn key(&mut self) -> Result<Span, JsonError> {
        match self.peek() {
            Some(b'"') => {
                let start = self.at + 1;
                self.string()?;
                let key = Span { start, end: self.at - 1 };
                self.expect(b':')?;
                Ok(key)
            }
            found => Err(self.unexpected(found)),
        }
    }

    fn unexpected(&self, found: Option<u8>) -> JsonError {
        let kind = if found.is_some() { JsonErrorKind::Unexpected } else { JsonErrorKind::Truncated };
        JsonError { offset: self.at, kind }
    }

    /// Objects and arrays of any depth: one bit a level says which of the two is open.
    fn container(&mut self) -> Result<(), JsonError> {
        self.nesting.clear();
        self.open();
        loop {
            // Here a value or, right after an opening bracket, a closing one is due.
            if self.closes_empty() {
                if self.closed_all() {
                    return Ok(());
                }
            } else {
                if self.nesting.in_object() {
                    self.key()?;
                }
                match self.peek() {
                    Some(b'{' | b'[') => {
                        self.open();
                        continue;
                    }
                    _ => self.scalar()?,
                }
            }
            // After a value: a comma, or as many closing brackets as there are.
            loop {
                let close = if self.nesting.in_object() { b'}' } else { b']' };
                match self.peek() {
                    Some(b',') => {
                        self.at += 1;
                        if matches!(self.peek(), Some(b'}' | b']')) {
                            return Err(JsonError { offset: self.at, kind: JsonErrorKind::Unexpected });
                        }
                        break;
                    }
                    Some(byte) if byte == close => {
                        self.at += 1;
                        if self.closed_all() {
                            return Ok(());
                        }
                    }
                    found => return Err(self.unexpected(found)),
                }
            }
        }
    }

    fn open(&mut self) {
        self.nesting.push(self.text.get(self.at) == Some(&b'{'));
        self.at += 1;
    }

    /// Steps over a closing bracket that directly follows its opening one.
    fn closes_empty(&mut self) -> bool {
        let (open, close) = if self.nesting.in_object() { (b'{', b'}') } else { (b'[', b']') };
        let before = self.at;
        if self.peek() != Some(close) {
            return false;
        }
        let opened = self.text[..before].last() == Some(&open);
        if opened {
            self.at += 1;
        }
        opened
    }

    fn closed_all(&mut self) -> bool {
        self.nesting.pop();
        self.nesting.is_empty()
    }
}

/// Checks that `text` is one value and nothing else.
pub fn check(text: &[u8]) -> Result<Value, JsonError> {
    let mut scanner = Scanner::new(text);
    let value = scanner.value()?;
    scanner.end()?;
    Ok(value)
}

/// The span between the quotes of a string value.
pub fn inside(value: Value) -> Span {
    Span { start: value.span.start + 1, end: value.span.end.saturating_sub(1) }
}

#[cfg(test)]
mod tests;
