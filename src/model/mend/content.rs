//! The content of a message made a list of blocks.

use super::{Patch, Scanner, Span};
use crate::model::json::{self, JsonError, Kind, Value};

/// Returns what makes the content of a message one that can be sent, with every byte of it that says something: a text
/// becomes one block, no content an empty list, and a `null` among the blocks goes.
pub(super) fn patches(line: &[u8]) -> Vec<Patch> {
    let mut found = MessageParts::default();
    let mut scanner = Scanner::new(line);
    let read = scanner.object(|scanner, key| {
        if *json::plain(key.of(line)) != *b"message" {
            return scanner.value().map(|_| ());
        }
        found = MessageParts::default();
        if scanner.peek() == Some(b'{') { found.read(scanner, line) } else { scanner.value().map(|_| ()) }
    });
    if read.is_ok() { found.patches(line) } else { Vec::new() }
}

/// A message: where its role and its content stand, and the blocks of a list.
#[derive(Default)]
struct MessageParts {
    role: Option<Value>,
    content: Option<Value>,
    blocks: Vec<Value>,
}

impl MessageParts {
    fn read(&mut self, scanner: &mut Scanner<'_>, line: &[u8]) -> Result<(), JsonError> {
        scanner.object(|scanner, key| {
            match &*json::plain(key.of(line)) {
                b"role" => self.role = Some(scanner.value()?),
                b"content" => self.content(scanner)?,
                _ => drop(scanner.value()?),
            }
            Ok(())
        })?;
        Ok(())
    }

    fn content(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        self.blocks.clear();
        if scanner.peek() != Some(b'[') {
            self.content = Some(scanner.value()?);
            return Ok(());
        }
        let blocks = &mut self.blocks;
        let span = scanner.array(|scanner| {
            blocks.push(scanner.value()?);
            Ok::<(), JsonError>(())
        })?;
        self.content = Some(Value { kind: Kind::Array, span });
        Ok(())
    }

    fn patches(self, line: &[u8]) -> Vec<Patch> {
        let Some(role) = self.role else { return Vec::new() };
        let is_answer = *json::plain(json::inside(role).of(line)) == *b"assistant";
        let at = |byte: usize| Span { start: byte, end: byte };
        match self.content {
            None => vec![(at(role.span.end), b",\"content\":[]".to_vec())],
            Some(Value { kind: Kind::Null, span }) => vec![(span, b"[]".to_vec())],
            Some(Value { kind: Kind::String, span }) if is_answer => {
                let (before, behind) = (&br#"[{"type":"text","text":"#[..], &b"}]"[..]);
                vec![(at(span.start), before.to_vec()), (at(span.end), behind.to_vec())]
            }
            Some(_) => cut_nulls(&self.blocks),
        }
    }
}

/// Cuts every `null` out of a list, each with one comma.
fn cut_nulls(blocks: &[Value]) -> Vec<Patch> {
    let is_null = |block: &Value| block.kind == Kind::Null;
    let first_kept = blocks.iter().position(|block| !is_null(block)).unwrap_or(blocks.len());
    let cut = |(index, block): (usize, &Value)| {
        let Span { start, end } = block.span;
        let span = match (index.checked_sub(1), blocks.get(index + 1)) {
            (Some(before), _) if index > first_kept => Span { start: blocks[before].span.end, end },
            (_, Some(next)) => Span { start, end: next.span.start },
            _ => Span { start, end },
        };
        (span, Vec::new())
    };
    blocks.iter().enumerate().filter(|(_, block)| is_null(block)).map(cut).collect()
}
