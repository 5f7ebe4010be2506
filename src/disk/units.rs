//! Unit files on disk: written whole, and only where there is none or one of ours.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context as _;

use crate::disk::atomic;
use crate::disk::dir::{Dir, FileInfo};
use crate::disk::whole;

/// No unit of ours is longer.
const LONGEST: u64 = 1 << 20;

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnitOnDisk {
    /// Nothing.
    Absent,
    /// A file that begins with the mark, and its text.
    Ours(String),
    /// Something else: a file without the mark, a link (a masked unit is one), a directory.
    Foreign,
}

/// Looks at a path.
pub fn look(path: &Path, mark: &str) -> anyhow::Result<UnitOnDisk> {
    match path.symlink_metadata() {
        // A parent that is no directory is somebody else's, too, and is told when the file is written.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(UnitOnDisk::Absent),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        Ok(meta) if !meta.is_file() => Ok(UnitOnDisk::Foreign),
        Ok(_) => {
            let bytes = match whole::read(path, LONGEST) {
                Err(error) if error.kind() == ErrorKind::FileTooLarge => Vec::new(),
                bytes => bytes.with_context(|| format!("cannot read {}", path.display()))?,
            };
            let text = String::from_utf8(bytes).ok().filter(|text| text.starts_with(mark));
            Ok(text.map_or(UnitOnDisk::Foreign, UnitOnDisk::Ours))
        }
    }
}

/// Writes a file, and the directories above it.
pub fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let (parent, name) = split(path)?;
    fs_err::create_dir_all(parent)?;
    let dir = Dir::open(&fs_err::canonicalize(parent)?)?;
    let like = FileInfo { mode: 0o644, ..dir.own_info()? };
    atomic::replace(&dir, name, [text.as_bytes()], &like, || Ok(()))
}

/// Removes a file, and its directory when that is a drop-in directory and empty now.
pub fn remove(path: &Path) -> anyhow::Result<()> {
    let (parent, name) = split(path)?;
    let dir = Dir::open(&fs_err::canonicalize(parent)?)?;
    dir.remove(name)?;
    dir.sync()?;
    if parent.extension().is_some_and(|extension| extension == "d") {
        // Other drop-ins keep it.
        let _ = fs_err::remove_dir(parent);
    }
    Ok(())
}

fn split(path: &Path) -> anyhow::Result<(&Path, &std::ffi::OsStr)> {
    path.parent().zip(path.file_name()).with_context(|| format!("{} names no file", path.display()))
}
