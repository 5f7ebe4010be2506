//! Carrying one file to another directory: a rename where that is possible, else a copy that is checked before the
//! original goes.

use std::ffi::OsStr;
use std::fs::{File, FileTimes};
use std::io::{self, Read, Seek as _, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use sha2::{Digest, Sha256};

use crate::disk::dir::{Dir, FileInfo};
use crate::disk::{atomic, attributes, platform};

/// Renames; across file systems copies, syncs, compares, and only then removes the original.
pub(crate) fn carry(from: &Dir, name: &OsStr, to: &Dir, new: &OsStr, info: &FileInfo) -> anyhow::Result<()> {
    match from.move_to(name, to, new) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            anyhow::ensure!(
                info.links == 1,
                "{} has other hard links and lies on another file system",
                from.join(name).display()
            );
            copy(from, name, to, new, info)
        }
        Err(error) => Err(error)
            .with_context(|| format!("cannot move {} to {}", from.join(name).display(), to.join(new).display())),
    }
}

fn copy(from: &Dir, name: &OsStr, to: &Dir, new: &OsStr, info: &FileInfo) -> anyhow::Result<()> {
    duplicate(from, name, to, new, info)?;
    from.remove(name)
}

/// Copies a file, with all that [`attributes`] are, under a temporary name, which it exchanges for its own once it is whole: a name in the archive says
/// that all of the file is there.
pub(crate) fn duplicate(from: &Dir, name: &OsStr, to: &Dir, new: &OsStr, info: &FileInfo) -> anyhow::Result<()> {
    let (mut source, _) = from.open_file(name)?;
    let temp = atomic::temp_name(new);
    to.remove(&temp)?;
    let mut target = to.create(&temp, 0o600)?;
    let attempt = copy_checked(&mut source, &mut target, &from.join(name), info)
        .and_then(|()| Ok(to.move_to(&temp, to, new)?))
        .with_context(|| format!("cannot copy {} to {}", from.join(name).display(), to.join(new).display()))
        .and_then(|()| to.sync());
    if attempt.is_err() {
        let _ = to.remove(&temp);
    }
    attempt
}

fn copy_checked(source: &mut File, target: &mut File, path: &Path, info: &FileInfo) -> anyhow::Result<()> {
    let mut chunk = vec![0; 256 * 1024];
    let mut hash = Sha256::new();
    loop {
        let read = source.read(&mut chunk)?;
        if read == 0 {
            break;
        }
        hash.update(&chunk[..read]);
        target.write_all(&chunk[..read])?;
    }
    attributes::keep(Some(source), path, target, info)?;
    let modified = SystemTime::UNIX_EPOCH + Duration::from_nanos(u64::try_from(info.stamp.mtime_ns).unwrap_or(0));
    target.set_times(FileTimes::new().set_modified(modified))?;
    platform::sync_file(target)?;
    target.rewind()?;
    let mut check = Sha256::new();
    io::copy(target, &mut HashWriter(&mut check))?;
    anyhow::ensure!(check.finalize() == hash.finalize(), "the copy differs from the original");
    Ok(())
}

struct HashWriter<'a>(&'a mut Sha256);

impl Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
