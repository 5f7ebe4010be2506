//! How the bytes of a transcript come to its judge: line by line, or, when there are many, in batches that all cores look
//! at together.

use std::io::{self, BufRead, Read};
use std::mem;

use memchr::{memchr, memrchr};
use rayon::prelude::*;

use super::{CHUNK, buffered};
use crate::model::transcript::{Analyzer, Looked};

/// Progress is told after so many bytes.
const STEP: u64 = 1 << 20;
/// From this size on, one transcript is worth the hands of several cores.
const LARGE: u64 = 16 << 20;
/// More cores than this are not used for one transcript: each has bytes in memory.
const MOST_CORES: usize = 16;

/// Feeds all that `reader` has, some `size` bytes. `whole_lines` is shown the judge when it was fed all whole lines.
pub(super) fn feed(
    analyzer: &mut Analyzer,
    reader: impl Read + Send,
    size: u64,
    advance: &dyn Fn(u64),
    whole_lines: &mut dyn FnMut(&Analyzer),
) -> io::Result<()> {
    let cores = rayon::current_num_threads().min(MOST_CORES);
    if size >= LARGE && cores > 1 {
        return in_batches(analyzer, reader, 2 * cores * CHUNK, advance, whole_lines);
    }
    let mut shown = false;
    lines(&mut buffered(reader, size), advance, |text, terminated| {
        if !terminated {
            shown = true;
            whole_lines(analyzer);
        }
        analyzer.line(text, terminated);
        Ok(())
    })?;
    if !shown {
        whole_lines(analyzer);
    }
    Ok(())
}

/// While one batch is looked at, the next one is read; the judge takes its lines in their order.
fn in_batches(
    analyzer: &mut Analyzer,
    mut reader: impl Read + Send,
    size: usize,
    advance: &dyn Fn(u64),
    whole_lines: &mut dyn FnMut(&Analyzer),
) -> io::Result<()> {
    let closely = analyzer.is_thorough();
    let (mut batch, mut next) = (Vec::new(), Vec::new());
    let mut ended = fill(&mut reader, &mut batch, size)?;
    let rest = loop {
        let whole = memrchr(b'\n', &batch).map_or(0, |at| at + 1);
        next.clear();
        if !ended {
            next.extend_from_slice(&batch[whole..]);
        }
        let (pieces, filled) = rayon::join(
            || pieces(&batch[..whole]).into_par_iter().map(|piece| look_at(piece, closely)).collect::<Vec<_>>(),
            || if ended { Ok(true) } else { fill(&mut reader, &mut next, size) },
        );
        for looked in pieces.into_iter().flatten() {
            analyzer.take(looked, true);
        }
        advance(whole as u64);
        if ended {
            // Not copied: it may be most of the file.
            break &batch[whole..];
        }
        ended = filled?;
        mem::swap(&mut batch, &mut next);
    };
    whole_lines(analyzer);
    if !rest.is_empty() {
        advance(rest.len() as u64);
        analyzer.line(rest, false);
    }
    Ok(())
}

/// Adds some `size` bytes, and more until there is a newline among them; whether that was all.
fn fill(reader: &mut impl Read, bytes: &mut Vec<u8>, size: usize) -> io::Result<bool> {
    loop {
        let before = bytes.len();
        let read = reader.take(size as u64).read_to_end(bytes)?;
        if read < size {
            return Ok(true);
        }
        if memchr(b'\n', &bytes[before..]).is_some() {
            return Ok(false);
        }
    }
}

/// Whole lines, cut into pieces of whole lines.
fn pieces(lines: &[u8]) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    let mut rest = lines;
    while !rest.is_empty() {
        let from = rest.len().min(CHUNK) - 1;
        let end = memchr(b'\n', &rest[from..]).map_or(rest.len(), |at| from + at + 1);
        let (piece, others) = rest.split_at(end);
        pieces.push(piece);
        rest = others;
    }
    pieces
}

fn look_at(mut piece: &[u8], closely: bool) -> Vec<Looked<'_>> {
    let mut looked = Vec::new();
    while let Some(end) = memchr(b'\n', piece) {
        looked.push(Looked::at(&piece[..end], closely));
        piece = &piece[end + 1..];
    }
    looked
}

/// Calls `each` for every line, without its newline, and whether it had one.
pub(crate) fn lines(
    reader: &mut impl BufRead,
    advance: &dyn Fn(u64),
    mut each: impl FnMut(&[u8], bool) -> io::Result<()>,
) -> io::Result<()> {
    // The beginning of a line whose end is not read yet. Most lines are handed out where they were read.
    let mut begun = Vec::new();
    let mut untold = 0;
    loop {
        let chunk = match reader.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            chunk => chunk?,
        };
        let read = chunk.len();
        let mut rest = chunk;
        while let Some(end) = memchr(b'\n', rest) {
            if begun.is_empty() {
                each(&rest[..end], true)?;
            } else {
                begun.extend_from_slice(&rest[..end]);
                each(&begun, true)?;
                begun.clear();
            }
            rest = &rest[end + 1..];
        }
        begun.extend_from_slice(rest);
        reader.consume(read);
        untold += read as u64;
        if untold >= STEP || read == 0 {
            advance(mem::take(&mut untold));
        }
        if read == 0 {
            return if begun.is_empty() { Ok(()) } else { each(&begun, false) };
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;
    use crate::model::transcript::Summary;

    const LINES: [&str; 8] = [
        r#"{"type":"session","version":3,"id":"s","timestamp":"2026-11-22T22:00:00.000Z","cwd":"/w"}"#,
        r#"{"type":"message","id":"aaaaaaaa","parentId":null,"message":{"role":"user"}}"#,
        r#"{"type":"message","id":"bbbbbbbb","parentId":"aaaaaaaa","message":{"role":"assistant","stopReason":"stop"}}"#,
        r#"{"type":"message","id":"cccccccc","parentId":"bbbbbbbb"}"#,
        "null",
        "",
        "{\"cut",
        "  {\"type\":\"custom\",\"data\":\"\u{e9}\"} \u{a0}",
    ];

    fn by_line(text: &[u8], mut analyzer: Analyzer) -> Summary {
        lines(&mut &text[..], &|_| (), |line, terminated| {
            analyzer.line(line, terminated);
            Ok(())
        })
        .unwrap();
        analyzer.finish()
    }

    proptest! {
        #[test]
        fn in_batches_a_transcript_is_judged_as_line_by_line(
            lines in prop::collection::vec(0..LINES.len(), 0..60), size in 1..400_usize, thorough: bool, ends: bool
        ) {
            let mut text = lines.iter().map(|&line| LINES[line]).collect::<Vec<_>>().join("\n");
            if ends {
                text.push('\n');
            }
            let text = text.as_bytes();
            let judge = || if thorough { Analyzer::thorough() } else { Analyzer::default() };
            let (mut analyzer, told, mut shown) = (judge(), Cell::new(0), Vec::new());
            let advance = |bytes| told.set(told.get() + bytes);
            in_batches(&mut analyzer, text, size, &advance, &mut |analyzer| {
                shown = rmp_serde::to_vec_named(analyzer).unwrap();
            })
            .unwrap();
            prop_assert_eq!(told.get(), text.len() as u64);
            let whole = by_line(text, judge());
            prop_assert_eq!(&analyzer.finish(), &whole);
            if !thorough {
                // What was written down between two lines goes on where it stopped.
                let again: Analyzer = rmp_serde::from_slice(&shown).unwrap();
                let rest = &text[again.bytes() as usize..];
                prop_assert_eq!(by_line(rest, again), whole);
            }
        }
    }
}
