//! Documents that the user asked for, in a file of the user's choice.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::disk::atomic;
use crate::disk::dir::{Dir, FileInfo};

/// Returns whether a file lies in one of these directories, or below.
pub fn lies_in(path: &Path, dirs: &[PathBuf]) -> bool {
    let real = |path: &Path| fs_err::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let parent = std::path::absolute(path).ok().and_then(|path| path.parent().map(real));
    parent.is_some_and(|parent| dirs.iter().any(|dir| parent.starts_with(real(dir))))
}

/// Puts `bytes` in the place of `path`, atomically: a reader sees the old file or the new one. A file that is there
/// keeps its mode and owner; a new one gets `mode`, and when root makes it the owner of its directory.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    let path = std::path::absolute(path).with_context(|| format!("cannot find {}", path.display()))?;
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        anyhow::bail!("{} names no file", path.display());
    };
    let dir = Dir::open(&fs_err::canonicalize(parent)?)?;
    let like = match dir.info(name)? {
        Some(info) if info.regular => info,
        Some(_) => anyhow::bail!("{} is no regular file: name another one", path.display()),
        None => FileInfo { mode, ..new_like(&dir)? },
    };
    atomic::replace(&dir, name, [bytes], &like, || Ok(()))
}

/// Whose a new file is. Only root can give one away: others may write into a directory that is not theirs, as /tmp is.
fn new_like(dir: &Dir) -> anyhow::Result<FileInfo> {
    let like = dir.own_info()?;
    let uid = rustix::process::geteuid().as_raw();
    let gid = if like.mode & 0o2000 == 0 { rustix::process::getegid().as_raw() } else { like.gid };
    Ok(if uid == 0 { like } else { FileInfo { uid, gid, ..like } })
}
