//! The crash-safe write: after it a file is the old one or the new one, whole, whatever happens in between.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;

use anyhow::Context as _;

use crate::disk::dir::{Dir, FileInfo};
use crate::disk::{attributes, platform, process};
use crate::model::lock::ProcessState;
use crate::model::proof::Stamp;

/// Pieces are gathered into blocks of this many bytes, a multiple of any page.
const BLOCK: usize = 256 * 1024;

/// How the name of every temporary file ends.
const TEMP: &str = ".claw-sessions.tmp";

/// The name of the temporary file that becomes `name`. OpenClaw 2026.5.26 and later clears such names away itself.
pub(crate) fn temp_name(name: &OsStr) -> OsString {
    temp_name_of(name, std::process::id())
}

/// The same for another process. Of a long name the end is left out, so that the file system takes it.
fn temp_name_of(name: &OsStr, pid: u32) -> OsString {
    let end = format!(".{pid}{TEMP}");
    let bytes = name.as_bytes();
    let mut temp = OsStr::from_bytes(&bytes[..bytes.len().min(LONGEST_NAME - end.len())]).to_owned();
    temp.push(end);
    temp
}

/// Bytes in the longest name.
const LONGEST_NAME: usize = 255;

/// Removes every temporary file of a directory that no living process writes. One that cannot be removed does no harm.
/// This process must be writing none there.
pub(crate) fn sweep(dir: &Dir) {
    for entry in fs_err::read_dir(dir.path()).into_iter().flatten().filter_map(Result::ok) {
        let name = entry.file_name();
        if writer(&name).is_some_and(|pid| pid == std::process::id() || process::state(pid) == ProcessState::Gone) {
            let _ = dir.remove(&name);
        }
    }
}

/// Returns the process that writes a temporary file, by the file's name; `None` when the name is none of ours.
pub(crate) fn writer(name: &OsStr) -> Option<u32> {
    let rest = name.as_bytes().strip_suffix(TEMP.as_bytes())?;
    std::str::from_utf8(rest.rsplit(|&byte| byte == b'.').next()?).ok()?.parse().ok()
}

/// Writes `pieces` as the file `name`, with the mode and owner of `like` and the access list and attributes of the file
/// that has the name: a new file beside the old one, synced, renamed over it, and the directory synced. `last_look` is
/// asked last; its error leaves the old file.
pub(crate) fn replace<'a>(
    dir: &Dir,
    name: &OsStr,
    pieces: impl IntoIterator<Item = &'a [u8]>,
    like: &FileInfo,
    last_look: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let fill = |emit: &mut Emit<'_>| pieces.into_iter().try_for_each(emit);
    replace_with(dir, name, fill, like, |_| last_look())
}

/// Takes the next bytes of a file.
pub(crate) type Emit<'a> = dyn FnMut(&[u8]) -> io::Result<()> + 'a;

/// The same for a file that `fill` makes piece by piece. `last_look` is told what the new file is.
pub(crate) fn replace_with(
    dir: &Dir,
    name: &OsStr,
    fill: impl FnOnce(&mut Emit<'_>) -> io::Result<()>,
    like: &FileInfo,
    last_look: impl FnOnce(Stamp) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let temp = temp_name(name);
    let written = write(dir, (&temp, name), fill, like).and_then(last_look).and_then(|()| dir.replace(&temp, name));
    if let Err(error) = written {
        // The temporary file is ours alone; that it could not be removed must not hide the error.
        let _ = dir.remove(&temp);
        return Err(error);
    }
    dir.sync()
}

fn write(
    dir: &Dir,
    (temp, name): (&OsStr, &OsStr),
    fill: impl FnOnce(&mut Emit<'_>) -> io::Result<()>,
    like: &FileInfo,
) -> anyhow::Result<Stamp> {
    dir.remove(temp)?;
    let old = match dir.info(name)? {
        Some(info) if info.regular => Some(dir.open_file(name)?.0),
        _ => None,
    };
    let mut file = dir.create(temp, 0o600)?;
    let fill = |file: &mut std::fs::File| -> anyhow::Result<Stamp> {
        let mut blocks = Blocks { file: &mut *file, block: Vec::new(), length: 0 };
        fill(&mut |piece| blocks.take(piece))?;
        let length = blocks.end()?;
        attributes::keep(old.as_ref(), &dir.join(name), file, like)?;
        platform::sync_file(file)?;
        let stamp = own_info(file)?.stamp;
        anyhow::ensure!(stamp.size == length, "the file is shorter than what was written");
        Ok(stamp)
    };
    fill(&mut file).with_context(|| format!("cannot write {}", dir.join(temp).display()))
}

/// Writes a file in whole blocks: the kernel keeps and syncs what begins and ends at a page in half the time.
struct Blocks<'a> {
    file: &'a mut std::fs::File,
    /// What is not written yet.
    block: Vec<u8>,
    /// How much was taken.
    length: u64,
}

impl Blocks<'_> {
    fn take(&mut self, mut piece: &[u8]) -> io::Result<()> {
        self.length += piece.len() as u64;
        while self.block.len() + piece.len() >= BLOCK {
            let (now, rest) = piece.split_at(BLOCK - self.block.len());
            self.block.extend_from_slice(now);
            self.file.write_all(&self.block)?;
            self.block.clear();
            piece = rest;
        }
        self.block.extend_from_slice(piece);
        Ok(())
    }

    /// Writes the rest; how long the file is.
    fn end(self) -> io::Result<u64> {
        self.file.write_all(&self.block)?;
        Ok(self.length)
    }
}

/// What an open file is.
pub(crate) fn own_info(file: &std::fs::File) -> io::Result<FileInfo> {
    use std::os::unix::fs::MetadataExt;
    let meta = file.metadata()?;
    Ok(FileInfo {
        stamp: Stamp {
            dev: meta.dev(),
            ino: meta.ino(),
            size: meta.size(),
            mtime_ns: meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec()),
        },
        ctime_ns: meta.ctime().saturating_mul(1_000_000_000).saturating_add(meta.ctime_nsec()),
        regular: true,
        symlink: false,
        links: meta.nlink(),
        mode: meta.mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_its_pieces_whatever_their_sizes() {
        let text: Vec<u8> = (0..3 * BLOCK + 5).map(|at| (at % 251) as u8).collect();
        let place = tempfile::tempdir().unwrap();
        let dir = Dir::open(&place.path().canonicalize().unwrap()).unwrap();
        let like = FileInfo { mode: 0o600, ..dir.own_info().unwrap() };
        for piece in [1, 7000, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, text.len()] {
            for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, text.len()] {
                let pieces = text[..length].chunks(piece).flat_map(|piece| [piece, b""]);
                replace(&dir, OsStr::new("file"), pieces, &like, || Ok(())).unwrap();
                let written = fs_err::read(place.path().join("file")).unwrap();
                assert!(written == text[..length], "{length} bytes in pieces of {piece}");
            }
        }
    }
}
