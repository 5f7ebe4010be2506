//! The inside of a string, 64 bytes at a time: one bit a byte, no branch for each quote and each escape in it.

use wide::u8x16;

/// How many bytes are looked at together.
const BLOCK: usize = 64;

/// What may stand behind a backslash alone.
const SHORT_ESCAPES: [bool; 256] = {
    let mut table = [false; 256];
    let mut rest: &[u8] = br#""\/bfnrt"#;
    while let [first, others @ ..] = rest {
        table[*first as usize] = true;
        rest = others;
    }
    table
};

/// Returns whether `byte` may stand behind a backslash alone.
pub(super) fn is_short_escape(byte: u8) -> bool {
    SHORT_ESCAPES[byte as usize]
}

/// The block of a text that a scanner is in: strings that share it share what was found in it.
pub(super) struct Block {
    start: usize,
    /// Where a string needs a closer look: at its end, at a control character, at an escape other than the short ones
    /// and at one that goes on in the next block.
    stops: u64,
    /// The last byte is a backslash that escapes the first one of the next block.
    cut: bool,
}

impl Block {
    /// Of nothing that was looked at.
    pub(super) const fn none() -> Self {
        Self { start: usize::MAX, stops: 0, cut: false }
    }

    /// The first byte behind the block.
    pub(super) const fn end(&self) -> usize {
        self.start + BLOCK
    }

    /// The next byte of a string that needs a closer look, from `at` on; `None` when the block has no such byte. The
    /// end of the text counts as one.
    #[inline]
    pub(super) fn stop(&mut self, text: &[u8], at: usize) -> Option<usize> {
        let start = at - at % BLOCK;
        if start != self.start {
            // A backslash that is no escape stands in no string, and nothing but an error follows it.
            let escaped = self.cut && start == self.end();
            (self.stops, self.cut) = stops(text, start, escaped);
            self.start = start;
        }
        let stops = self.stops >> (at - start);
        (stops != 0).then(|| at + stops.trailing_zeros() as usize)
    }
}

/// The stops of the block at `start`, and whether its last byte escapes the next block's first one. `escaped`: its own
/// first byte is escaped.
fn stops(text: &[u8], start: usize, escaped: bool) -> (u64, bool) {
    let rest = text.get(start..).unwrap_or_default();
    if let Some(block) = rest.first_chunk() {
        return stops_of(block, escaped);
    }
    // NUL is a control character: the end of the text is a stop.
    let mut block = [0; BLOCK];
    block[..rest.len()].copy_from_slice(rest);
    stops_of(&block, escaped)
}

#[inline]
fn stops_of(block: &[u8; BLOCK], first_escaped: bool) -> (u64, bool) {
    let (mut quotes, mut backslashes, mut controls) = (0, 0, 0);
    for (i, bytes) in block.as_chunks::<16>().0.iter().enumerate() {
        let bytes = u8x16::new(*bytes);
        let bits = |found: u8x16| u64::from(found.to_bitmask()) << (i * 16);
        quotes |= bits(bytes.simd_eq(u8x16::splat(b'"')));
        backslashes |= bits(bytes.simd_eq(u8x16::splat(b'\\')));
        controls |= bits(bytes.min(u8x16::splat(0x1f)).simd_eq(bytes));
    }
    let first = u64::from(first_escaped);
    if backslashes & !first == 0 {
        return ((quotes & !first) | controls, false);
    }
    let (escaped, cut) = escaped(backslashes & !first);
    let mut stops = (quotes & !(escaped | first)) | controls | (u64::from(cut) << 63);
    let mut open = escaped;
    while open != 0 {
        let at = open.trailing_zeros();
        if !is_short_escape(block[at as usize]) {
            stops |= 1 << (at - 1);
        }
        open &= open - 1;
    }
    (stops, cut)
}

/// The bytes that a backslash before them escapes, and whether the last byte is a backslash that escapes the next one.
/// In a run of backslashes every other one does; the carry of one subtraction goes through all runs at once.
fn escaped(backslashes: u64) -> (u64, bool) {
    const ODD: u64 = 0xaaaa_aaaa_aaaa_aaaa;
    let ends = ((backslashes << 1) | ODD).wrapping_sub(backslashes) ^ ODD;
    (ends ^ backslashes, ends & backslashes & (1 << 63) != 0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Where a string that begins at `at` ends or fails, found byte by byte; escapes are stepped over.
    fn one_by_one(text: &[u8], mut at: usize) -> usize {
        loop {
            match (text.get(at), text.get(at + 1)) {
                (Some(b'\\'), Some(&next)) if is_short_escape(next) => at += 2,
                (None | Some(b'"' | b'\\' | 0..0x20), _) => return at,
                _ => at += 1,
            }
        }
    }

    /// The same a block at a time, as a scanner does it.
    fn by_block(block: &mut Block, text: &[u8], mut at: usize) -> usize {
        loop {
            match block.stop(text, at) {
                None => at = block.end(),
                Some(stop)
                    if text.get(stop) == Some(&b'\\') && text.get(stop + 1).is_some_and(|&b| is_short_escape(b)) =>
                {
                    at = stop + 2;
                }
                Some(stop) => return stop.min(text.len()),
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn strings_are_read_as_byte_by_byte(
            text in prop::collection::vec(
                prop_oneof![8 => any::<u8>(), 6 => Just(b'\\'), 2 => Just(b'"'), 20 => Just(b'n'), 1 => Just(b'u')],
                0..300
            )
        ) {
            // One string after the other, as long as they end well.
            let (mut block, mut at) = (Block::none(), 0);
            while at <= text.len() {
                let end = one_by_one(&text, at);
                prop_assert_eq!(by_block(&mut block, &text, at), end);
                if text.get(end) != Some(&b'"') {
                    break;
                }
                at = end + 1;
            }
        }

        #[test]
        fn runs_of_backslashes_are_told_apart(runs in prop::collection::vec((0..70_usize, 0..70_usize), 1..6)) {
            let mut text = Vec::new();
            for (plain, backslashes) in runs {
                text.extend(vec![b'n'; plain]);
                text.extend(vec![b'\\'; backslashes]);
            }
            text.push(b'"');
            prop_assert_eq!(by_block(&mut Block::none(), &text, 0), one_by_one(&text, 0));
        }
    }
}
