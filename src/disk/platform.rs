//! What differs between systems, and stands nowhere else: processes, renames that replace nothing, what makes names and
//! bytes durable, temporary directories.
//!
//! Linux shows its processes in `/proc`; every other unix is asked through `ps`, which OpenClaw asks there too. A build with
//! `--cfg portable` takes the second way on Linux, so that it is tested where no Mac is.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;

mod attribute;
#[cfg(all(target_os = "linux", not(portable)))]
mod proc;
#[cfg(any(not(target_os = "linux"), portable, test))]
#[cfg_attr(all(target_os = "linux", not(portable)), allow(dead_code, reason = "its parts are tested everywhere"))]
mod ps;

pub(crate) use attribute::{attribute, attributes, remove_attribute, set_attribute};
#[cfg(all(target_os = "linux", not(portable)))]
pub(crate) use proc::{
    all, cwd, environ, finds, holds, ignored_signals, is_beside, is_comparable, listeners, named, opened, state, status,
};
#[cfg(any(not(target_os = "linux"), portable))]
pub(crate) use ps::{
    all, cwd, environ, finds, holds, ignored_signals, is_beside, is_comparable, listeners, named, opened, state, status,
};

/// A process, and how it was called: words that end in NUL or a space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Called {
    /// Its id.
    pub(crate) pid: u32,
    /// Its command line, or the beginning of it.
    pub(crate) cmdline: Vec<u8>,
}

/// What everybody may know of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Status {
    /// The users in whose name it acts.
    pub(crate) uids: Vec<u32>,
    /// It lives in a container: there it has another id than here, and the ids of here are unknown there.
    pub(crate) nested: bool,
}

/// Whether another process has a file open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opener {
    /// Nobody that can be seen.
    Nobody,
    /// This process has.
    By(u32),
    /// That cannot be looked at here.
    Unseen,
}

/// A socket that waits for connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listener {
    /// The user who made it.
    pub(crate) uid: u32,
    /// Its number.
    inode: u64,
}

/// Whether one of these users may get into a directory: by the mode of it, and with `by_path` of all above it. Access lists
/// are not read: what one grants shows in the group's bits.
pub(crate) fn may_enter(uids: &[u32], dir: &Path, by_path: bool) -> bool {
    let one = |uid: u32, dir: &Path| {
        let meta = fs_err::metadata(dir);
        meta.map_or(true, |meta| uid == 0 || meta.uid() == uid || meta.mode() & 0o011 != 0)
    };
    let above = dir.ancestors().skip(1).filter(|_| by_path);
    uids.is_empty() || uids.iter().any(|&uid| one(uid, dir) && above.clone().all(|dir| one(uid, dir)))
}

/// Returns where a service of these users may have its temporary files, beyond `$TMPDIR`, `/tmp` and `/var/tmp`.
#[cfg(target_os = "macos")]
pub(crate) fn temporary_dirs(uids: &BTreeSet<u32>) -> Vec<PathBuf> {
    // Each user has a directory of two random names; `temp_dir` knows our own without TMPDIR as well.
    let below = |dir: PathBuf| {
        let entries = fs_err::read_dir(dir).into_iter().flatten();
        entries.filter_map(Result::ok).map(|entry| entry.path())
    };
    let others = below("/private/var/folders".into()).flat_map(below).map(|dir| dir.join("T"));
    let theirs = others.filter(|dir| fs_err::metadata(dir).is_ok_and(|meta| uids.contains(&meta.uid())));
    theirs.chain([std::env::temp_dir()]).collect()
}

/// Returns where a service of these users may have its temporary files, beyond `$TMPDIR`, `/tmp` and `/var/tmp`.
#[cfg(not(target_os = "macos"))]
pub(crate) const fn temporary_dirs(_: &BTreeSet<u32>) -> Vec<PathBuf> {
    Vec::new()
}

/// Returns permission bits as the system's calls take them: 16 bits on macOS and FreeBSD, 32 on Linux.
#[allow(clippy::unnecessary_cast, reason = "the type differs between systems")]
pub(crate) const fn mode(bits: u32) -> Mode {
    Mode::from_raw_mode(bits as rustix::fs::RawMode)
}

/// Renames unless the new name is taken. [`io::ErrorKind::Unsupported`] where the file system, or the system, cannot do
/// that in one step.
#[cfg(all(any(target_os = "linux", target_vendor = "apple"), not(portable)))]
pub(crate) fn rename_new(from: impl AsFd, name: &OsStr, to: impl AsFd, new: &OsStr) -> io::Result<()> {
    use rustix::io::Errno;
    match rustix::fs::renameat_with(from, name, to, new, rustix::fs::RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => Err(io::ErrorKind::Unsupported.into()),
        renamed => Ok(renamed?),
    }
}

/// Renames unless the new name is taken: not known here.
#[cfg(not(all(any(target_os = "linux", target_vendor = "apple"), not(portable))))]
pub(crate) fn rename_new(_: impl AsFd, _: &OsStr, _: impl AsFd, _: &OsStr) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Returns the name of a network's file system that a path is on.
#[cfg(target_os = "linux")]
pub(crate) fn network(path: &Path) -> Option<&'static str> {
    let about = rustix::fs::statfs(path).ok()?;
    // From statfs(2).
    Some(match about.f_type as u32 {
        0x6969 => "NFS",
        0x517b => "SMB",
        0xff53_4d42 => "CIFS",
        0xfe53_4d42 => "SMB 2",
        _ => return None,
    })
}

/// Returns a word for a network's file system that a path is on.
#[cfg(not(target_os = "linux"))]
pub(crate) fn network(path: &Path) -> Option<&'static str> {
    /// `MNT_LOCAL` of mount(2).
    const LOCAL: u64 = 0x1000;
    let about = rustix::fs::statfs(path).ok()?;
    #[allow(clippy::cast_lossless, clippy::unnecessary_cast, reason = "the type differs between systems")]
    let flags = about.f_flags as u64;
    (flags & LOCAL == 0).then_some("a network")
}

/// Makes the names in a directory durable. On macOS `fsync` does not ask the disk to write; a file system that cannot be
/// told to, one of a network say, is asked for what it can do.
pub(crate) fn sync_dir(dir: impl AsFd) -> io::Result<()> {
    #[cfg(target_vendor = "apple")]
    if rustix::fs::fcntl_fullfsync(&dir).is_ok() {
        return Ok(());
    }
    Ok(rustix::fs::fsync(dir)?)
}

/// Makes the bytes of a file durable, in the same way.
pub(crate) fn sync_file(file: &File) -> io::Result<()> {
    match file.sync_all() {
        #[cfg(target_vendor = "apple")]
        Err(error) if cannot_be_told(&error) => Ok(rustix::fs::fsync(file)?),
        synced => synced,
    }
}

#[cfg(target_vendor = "apple")]
fn cannot_be_told(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::NOTSUP, Errno::NOTTY, Errno::INVAL].map(Errno::raw_os_error).map(Some).contains(&error.raw_os_error())
}
