//! Files that are read whole: regular ones, opened without waiting, and not longer than such a file can be. What lies at
//! a path may be anything: a pipe that nobody writes, a file with holes of any size.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::disk::memory;

/// Opens a regular file, through links.
pub(crate) fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let regular = |meta: Metadata| {
        if meta.is_file() { Ok(meta) } else { Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file")) }
    };
    // Asked before opening: to open a device may do something.
    regular(std::fs::metadata(path)?)?;
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let meta = regular(file.metadata()?)?;
    Ok((file, meta))
}

/// Reads a regular file of at most `longest` bytes, through links.
pub(crate) fn read(path: &Path, longest: u64) -> io::Result<Vec<u8>> {
    let (file, meta) = open(path)?;
    read_open(file, &meta, longest)
}

/// The same of one that is this user's own, or root's.
pub(crate) fn read_own(path: &Path, longest: u64) -> io::Result<Vec<u8>> {
    let (file, meta) = open_own(path)?;
    read_open(file, &meta, longest)
}

/// Opens a regular file that is this user's own, or root's.
pub(crate) fn open_own(path: &Path) -> io::Result<(File, Metadata)> {
    let (file, meta) = open(path)?;
    if is_trusted(meta.uid()) {
        return Ok((file, meta));
    }
    Err(io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to another user"))
}

/// Returns whether a user is that of this process, or root.
pub(crate) fn is_trusted(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

fn read_open(file: File, meta: &Metadata, longest: u64) -> io::Result<Vec<u8>> {
    let too_long = || io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {} MiB", longest >> 20));
    if meta.len() > longest {
        return Err(too_long());
    }
    let mut bytes = memory::room(meta.len()).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    file.take(longest + 1).read_to_end(&mut bytes)?;
    // It grew meanwhile.
    if bytes.len() as u64 > longest { Err(too_long()) } else { Ok(bytes) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_a_regular_file_that_is_not_too_long_is_read() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("file");
        assert_eq!(read(&path, 1 << 20).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs_err::write(&path, "text").unwrap();
        assert_eq!(read(&path, 1 << 20).unwrap(), b"text");
        fs_err::write(&path, vec![0; (1 << 20) + 1]).unwrap();
        assert_eq!(read(&path, 1 << 20).unwrap_err().to_string(), "larger than 1 MiB");
        assert_eq!(read(place.path(), 1 << 20).unwrap_err().to_string(), "not a file");
        assert_eq!(read(Path::new("/dev/zero"), 1 << 20).unwrap_err().to_string(), "not a file");
    }
}
