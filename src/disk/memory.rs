//! Memory for files that are read whole.

use std::fs::File;
use std::io::{self, Read, Seek as _};

use anyhow::Context as _;
use bytes::Bytes;
use memmap2::MmapMut;

/// A file of this many bytes or more is read into large pages: to get small ones takes longer than to read into them. Of
/// 114 MB in three stores reading takes 46 ms in place of 125 (docs/performance.md), of the 160 ms of `gc -n`; for this
/// there is `memmap2`, as safe code cannot ask for such memory otherwise.
const LARGE: u64 = 8 << 20;

/// Reads a file of `size` bytes whole.
pub(crate) fn whole(file: &mut File, size: u64) -> anyhow::Result<Bytes> {
    if size >= LARGE
        && let Some(bytes) = in_large_pages(file, size)?
    {
        return Ok(bytes);
    }
    file.rewind()?;
    let mut bytes = room(size)?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

/// Room for a file that is read whole: an error, and no end of the process, when there is not so much memory.
pub(crate) fn room(size: u64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let wanted = usize::try_from(size).unwrap_or(usize::MAX).saturating_add(1);
    bytes.try_reserve_exact(wanted).with_context(|| format!("no memory for {size} bytes"))?;
    Ok(bytes)
}

/// `None` when there is no such memory, or the file has not `size` bytes any more.
fn in_large_pages(file: &mut File, size: u64) -> io::Result<Option<Bytes>> {
    let Some(mut memory) = usize::try_from(size).ok().and_then(|size| MmapMut::map_anon(size).ok()) else {
        return Ok(None);
    };
    // Where it is not taken the pages are small.
    #[cfg(target_os = "linux")]
    let _ = memory.advise(memmap2::Advice::HugePage);
    match file.read_exact(&mut memory) {
        Ok(()) if file.read(&mut [0])? == 0 => Ok(Some(Bytes::from_owner(memory))),
        Ok(()) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_file_is_read_whole_whatever_was_thought_of_its_size() {
        for length in [0, 1, LARGE - 1, LARGE, LARGE + 1] {
            let text: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&text).unwrap();
            for size in [0, length.saturating_sub(1), length, length + 1, LARGE] {
                file.rewind().unwrap();
                assert!(whole(&mut file, size).unwrap() == text, "{length} bytes, thought to be {size}");
            }
        }
    }
}
