//! A directory held open: files in it are reached by name, never through a path that somebody may swap meanwhile.
//!
//! No call here follows a symbolic link in the last component, and none waits on a FIFO.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};

use crate::disk::platform;
use crate::model::proof::DirId;
use crate::model::proof::Stamp;

/// An open directory.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

/// What `lstat` says of a name.
#[derive(Clone, Copy, Debug)]
pub struct FileInfo {
    /// Device, inode, size and modification time.
    pub stamp: Stamp,
    /// Change time, nanoseconds since the epoch.
    pub ctime_ns: i64,
    /// A regular file?
    pub regular: bool,
    /// A symbolic link?
    pub symlink: bool,
    /// Hard links.
    pub links: u64,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl FileInfo {
    #[allow(
        clippy::unnecessary_cast,
        clippy::useless_conversion,
        clippy::cast_lossless,
        reason = "the fields' types differ by platform"
    )]
    fn of(stat: &Stat) -> Self {
        let kind = FileType::from_raw_mode(stat.st_mode);
        Self {
            stamp: Stamp {
                dev: stat.st_dev as u64,
                ino: stat.st_ino as u64,
                size: stat.st_size as u64,
                mtime_ns: (stat.st_mtime as i64)
                    .saturating_mul(1_000_000_000)
                    .saturating_add(stat.st_mtime_nsec as i64),
            },
            ctime_ns: (stat.st_ctime as i64).saturating_mul(1_000_000_000).saturating_add(stat.st_ctime_nsec as i64),
            regular: kind.is_file(),
            symlink: kind.is_symlink(),
            links: stat.st_nlink as u64,
            mode: (stat.st_mode as u32) & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
        }
    }
}

impl Dir {
    /// Opens a directory that is no symbolic link.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())
            .map_err(io::Error::from)
            .with_context(|| format!("cannot open the directory {}", path.display()))?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// Opens a directory below `root`, one component after the other, none of them a link; elsewhere by its path.
    pub fn open_below(root: &Path, path: &Path) -> anyhow::Result<Self> {
        let Ok(below) = path.strip_prefix(root) else { return Self::open(path) };
        let mut dir = Self::open(root)?;
        for component in below.components() {
            dir = dir.existing_subdir(component.as_os_str())?;
        }
        Ok(dir)
    }

    /// Its path, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a name in it, for messages and records.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Device and inode.
    pub fn id(&self) -> anyhow::Result<DirId> {
        let info = self.own_info()?;
        Ok(DirId { dev: info.stamp.dev, ino: info.stamp.ino })
    }

    /// Mode and owner of the directory itself.
    pub fn own_info(&self) -> anyhow::Result<FileInfo> {
        let stat = rustix::fs::fstat(&self.fd).map_err(io::Error::from);
        Ok(FileInfo::of(&stat.with_context(|| format!("cannot read {}", self.path.display()))?))
    }

    /// What a name is; `None` when there is no such name.
    pub fn info(&self, name: &OsStr) -> anyhow::Result<Option<FileInfo>> {
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(FileInfo::of(&stat))),
            // A name that is too long for the file system stands for nothing: the lock of a file with a long name.
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NAMETOOLONG) => Ok(None),
            Err(errno) => Err(io::Error::from(errno)).with_context(|| self.cannot("read", name)),
        }
    }

    /// Opens a regular file for reading, with what it is.
    pub fn open_file(&self, name: &OsStr) -> anyhow::Result<(File, FileInfo)> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, name, flags, Mode::empty())
            .map_err(io::Error::from)
            .with_context(|| self.cannot("open", name))?;
        let stat = rustix::fs::fstat(&fd).map_err(io::Error::from).with_context(|| self.cannot("read", name))?;
        let info = FileInfo::of(&stat);
        anyhow::ensure!(info.regular, "{} is not a regular file", self.join(name).display());
        Ok((File::from(fd), info))
    }

    /// Opens or makes a subdirectory with this mode.
    pub(crate) fn subdir(&self, name: &OsStr, mode: u32) -> anyhow::Result<Self> {
        match rustix::fs::mkdirat(&self.fd, name, platform::mode(mode)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => self.existing_subdir(name),
            Err(errno) => Err(io::Error::from(errno)).with_context(|| self.cannot("make the directory", name)),
        }
    }

    /// Opens a subdirectory.
    pub(crate) fn existing_subdir(&self, name: &OsStr) -> anyhow::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, name, flags, Mode::empty())
            .map_err(io::Error::from)
            .with_context(|| self.cannot("open the directory", name))?;
        Ok(Self { fd, path: self.join(name) })
    }

    /// Makes a new file, to be written and read again; fails when the name is taken.
    pub(crate) fn create(&self, name: &OsStr, mode: u32) -> anyhow::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, name, flags, platform::mode(mode))
            .map_err(io::Error::from)
            .with_context(|| self.cannot("create", name))?;
        Ok(File::from(fd))
    }

    /// Opens a regular file for appending, making it if need be.
    pub(crate) fn append(&self, name: &OsStr, mode: u32) -> anyhow::Result<File> {
        let append = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND;
        let flags = append | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, name, flags, platform::mode(mode))
            .map_err(io::Error::from)
            .with_context(|| self.cannot("open", name))?;
        let stat = rustix::fs::fstat(&fd).map_err(io::Error::from).with_context(|| self.cannot("read", name))?;
        anyhow::ensure!(FileInfo::of(&stat).regular, "{} is not a regular file", self.join(name).display());
        Ok(File::from(fd))
    }

    /// Renames over whatever has the new name.
    pub(crate) fn replace(&self, from: &OsStr, to: &OsStr) -> anyhow::Result<()> {
        rustix::fs::renameat(&self.fd, from, &self.fd, to)
            .map_err(io::Error::from)
            .with_context(|| self.cannot("replace", to))
    }

    /// Renames over whatever has the new name in another directory.
    pub(crate) fn replace_in(&self, from: &OsStr, other: &Self, to: &OsStr) -> io::Result<()> {
        rustix::fs::renameat(&self.fd, from, &other.fd, to).map_err(io::Error::from)
    }

    /// Renames into another directory; fails when the name is taken there.
    pub(crate) fn move_to(&self, from: &OsStr, other: &Self, to: &OsStr) -> io::Result<()> {
        match platform::rename_new(&self.fd, from, &other.fd, to) {
            // A hard link refuses a taken name just as well.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                self.link_to(from, other, to)?;
                rustix::fs::unlinkat(&self.fd, from, AtFlags::empty()).map_err(io::Error::from)
            }
            renamed => renamed,
        }
    }

    /// Makes a hard link in another directory; fails when the name is taken there.
    pub(crate) fn link_to(&self, from: &OsStr, other: &Self, to: &OsStr) -> io::Result<()> {
        rustix::fs::linkat(&self.fd, from, &other.fd, to, AtFlags::empty()).map_err(io::Error::from)
    }

    /// Removes a name; one that is gone already is no error. Tried twice: what is removed here is a lock or a temporary
    /// file of ours, and an error of a moment must not leave it behind.
    pub(crate) fn remove(&self, name: &OsStr) -> anyhow::Result<()> {
        let unlink = || rustix::fs::unlinkat(&self.fd, name, AtFlags::empty());
        match unlink().or_else(|_| unlink()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(errno) => Err(io::Error::from(errno)).with_context(|| self.cannot("remove", name)),
        }
    }

    /// Removes an empty directory.
    pub(crate) fn remove_dir(&self, name: &OsStr) -> anyhow::Result<()> {
        rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR)
            .map_err(io::Error::from)
            .with_context(|| self.cannot("remove", name))
    }

    /// A name that is free: the given one, or the same with a number.
    pub(crate) fn free_name(&self, name: &OsStr, taken: impl Fn(&OsStr) -> bool) -> anyhow::Result<OsString> {
        for number in 0_u32.. {
            let mut candidate = name.to_owned();
            if number > 0 {
                candidate.push(format!(".{number}"));
            }
            if !taken(&candidate) && self.info(&candidate)?.is_none() {
                return Ok(candidate);
            }
        }
        anyhow::bail!("no free name for {}", self.join(name).display())
    }

    /// Makes the names in it durable.
    pub(crate) fn sync(&self) -> anyhow::Result<()> {
        platform::sync_dir(self.fd.as_fd()).with_context(|| {
            format!("cannot sync {}: what was changed there may not survive a power cut", self.path.display())
        })
    }

    fn cannot(&self, verb: &str, name: &OsStr) -> String {
        format!("cannot {verb} {}", self.join(name).display())
    }
}

/// Gives a new file or directory the owner of another one, where that differs. `made.mode` is the mode it will have:
/// a user who is not in the group may keep their own, as long as the group has no rights to it.
pub(crate) fn give(fd: impl AsFd, made: &FileInfo, uid: u32, gid: u32) -> io::Result<()> {
    if (made.uid, made.gid) == (uid, gid) {
        return Ok(());
    }
    let owner = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
    match rustix::fs::fchown(fd, Some(owner.0), Some(owner.1)) {
        Err(rustix::io::Errno::PERM) if made.uid == uid && made.mode & 0o070 == 0 => Ok(()),
        changed => changed.map_err(io::Error::from),
    }
}
