//! The inside of a string, 64 bytes at a time: one bit a byte, no branch for each quote and each escape in it.

use wide::u8x16;

/// How many bytes are looked at together.
pub(super) const BLOCK: usize = 64;

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

/// Whether `byte` may stand behind a backslash alone.
pub(super) fn is_short_escape(byte: u8) -> bool {
    SHORT_ESCAPES[byte as usize]
}

/// How many bytes of a string need no closer look, from a place in it that is not escaped: up to its end, to a control
/// character, to an escape other than the short ones, or to one that the block does not hold whole.
pub(super) fn plain_prefix(block: &[u8; BLOCK]) -> usize {
    let (mut quotes, mut backslashes, mut controls) = (0, 0, 0);
    for (i, bytes) in block.as_chunks::<16>().0.iter().enumerate() {
        let bytes = u8x16::new(*bytes);
        let bits = |found: u8x16| u64::from(found.to_bitmask()) << (i * 16);
        quotes |= bits(bytes.simd_eq(u8x16::splat(b'"')));
        backslashes |= bits(bytes.simd_eq(u8x16::splat(b'\\')));
        controls |= bits(bytes.min(u8x16::splat(0x1f)).simd_eq(bytes));
    }
    if backslashes == 0 {
        return (quotes | controls).trailing_zeros() as usize;
    }
    let (escaped, cut) = escaped(backslashes);
    let mut stop = (quotes & !escaped) | controls | (u64::from(cut) << 63);
    let mut open = escaped & up_to(stop);
    while open != 0 {
        let at = open.trailing_zeros();
        if !is_short_escape(block[at as usize]) {
            stop |= 1 << (at - 1);
            break;
        }
        open &= open - 1;
    }
    stop.trailing_zeros() as usize
}

/// The lowest bit that is set and all below it.
fn up_to(bits: u64) -> u64 {
    bits.wrapping_sub(1) ^ bits
}

/// The bytes that a backslash before them escapes, and whether the last byte is a backslash that escapes the next one.
/// In a run of backslashes every other one does; the carry of one subtraction goes through all runs at once.
fn escaped(backslashes: u64) -> (u64, bool) {
    const ODD: u64 = 0xaaaa_aaaa_aaaa_aaaa;
    let ends = ((backslashes << 1) | ODD).wrapping_sub(backslashes) ^ ODD;
    (ends ^ backslashes, ends & backslashes & (1 << 63) != 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one_by_one(block: &[u8; BLOCK]) -> usize {
        let mut at = 0;
        while at < BLOCK {
            match (block[at], block.get(at + 1)) {
                (b'\\', Some(&next)) if is_short_escape(next) => at += 2,
                (b'"' | b'\\' | 0..0x20, _) => break,
                _ => at += 1,
            }
        }
        at
    }

    proptest! {
        #[test]
        fn a_block_is_read_as_byte_by_byte(
            block in prop::collection::vec(
                prop_oneof![8 => any::<u8>(), 6 => Just(b'\\'), 2 => Just(b'"'), 9 => Just(b'n'), 1 => Just(b'u')],
                BLOCK
            )
        ) {
            let block = block.try_into().unwrap_or([0; BLOCK]);
            prop_assert_eq!(plain_prefix(&block), one_by_one(&block));
        }

        #[test]
        fn runs_of_backslashes_are_told_apart(bits in any::<u64>(), end in 0..BLOCK) {
            let mut block = [b'n'; BLOCK];
            for (at, byte) in block.iter_mut().enumerate() {
                if bits >> at & 1 == 1 {
                    *byte = b'\\';
                }
            }
            block[end] = b'"';
            prop_assert_eq!(plain_prefix(&block), one_by_one(&block));
        }
    }
}
