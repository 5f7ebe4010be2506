//! Extended attributes, as far as a system's calls are known: on FreeBSD none is seen, nor kept.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;

#[cfg(any(target_os = "linux", target_vendor = "apple"))]
use rustix::io::Errno;

/// Bytes in the longest list of names, and in the longest value.
#[cfg(any(target_os = "linux", target_vendor = "apple"))]
const LONGEST: usize = 1 << 16;

/// The error of a file without an attribute of this name.
#[cfg(target_os = "linux")]
const NONE: Errno = Errno::NODATA;
#[cfg(target_vendor = "apple")]
const NONE: Errno = Errno::NOATTR;

/// Returns the names of the attributes that this user can see; none where the file system keeps none.
#[cfg(any(target_os = "linux", target_vendor = "apple"))]
pub(crate) fn attributes(file: &File) -> io::Result<Vec<CString>> {
    let mut names = vec![0; LONGEST];
    let length = match rustix::fs::flistxattr(file, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Vec::new()),
        #[cfg(target_vendor = "apple")]
        Err(Errno::NOTSUP) => return Ok(Vec::new()),
        Err(errno) => return Err(errno.into()),
    };
    let names = names[..length].split_inclusive(|&byte| byte == 0);
    Ok(names.filter_map(|name| Some(CStr::from_bytes_with_nul(name).ok()?.to_owned())).collect())
}

/// Returns the value of an attribute; `None` when it went meanwhile.
#[cfg(any(target_os = "linux", target_vendor = "apple"))]
pub(crate) fn attribute(file: &File, name: &CStr) -> io::Result<Option<Vec<u8>>> {
    let mut value = vec![0; LONGEST];
    match rustix::fs::fgetxattr(file, name, &mut value[..]) {
        Ok(length) => {
            value.truncate(length);
            Ok(Some(value))
        }
        Err(errno) if errno == NONE => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Gives a file an attribute.
#[cfg(any(target_os = "linux", target_vendor = "apple"))]
pub(crate) fn set_attribute(file: &File, name: &CStr, value: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::fsetxattr(file, name, value, rustix::fs::XattrFlags::empty())?)
}

/// Takes an attribute away from a file.
#[cfg(any(target_os = "linux", target_vendor = "apple"))]
pub(crate) fn remove_attribute(file: &File, name: &CStr) -> io::Result<()> {
    Ok(rustix::fs::fremovexattr(file, name)?)
}

#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
#[allow(clippy::unnecessary_wraps, reason = "elsewhere it may fail")]
pub(crate) fn attributes(_: &File) -> io::Result<Vec<CString>> {
    Ok(Vec::new())
}

#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
#[allow(clippy::unnecessary_wraps, reason = "elsewhere it may fail")]
pub(crate) fn attribute(_: &File, _: &CStr) -> io::Result<Option<Vec<u8>>> {
    Ok(None)
}

#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
pub(crate) fn set_attribute(_: &File, _: &CStr, _: &[u8]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
pub(crate) fn remove_attribute(_: &File, _: &CStr) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
