//! What a file has besides its bytes: owner, access list, mode, extended attributes.
//!
//! With an access list the group's bits of a mode are its mask, which the named users share: set without the list they
//! would give the group rights that it never had.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Context as _;

use crate::disk::atomic::own_info;
use crate::disk::dir::{FileInfo, give};
use crate::disk::platform;

/// The access list of a file, on Linux.
const ACL: &CStr = c"system.posix_acl_access";

/// The kernel makes these from what a file holds and where it is.
const MADE_BY_THE_KERNEL: [&CStr; 2] = [c"security.ima", c"security.evm"];

/// Gives a new file the owner and the mode of `like`, and the access list and the attributes of the file whose place it
/// takes or whose copy it is, where there is one; `path` is that one's. An error where one of them cannot be kept.
pub(crate) fn keep(old: Option<&File>, path: &Path, new: &File, like: &FileInfo) -> anyhow::Result<()> {
    let made = FileInfo { mode: like.mode, ..own_info(new)? };
    give(new, &made, like.uid, like.gid)?;
    let cannot_read = || format!("the attributes of {} cannot be read", path.display());
    let names = old.map(names).transpose().with_context(cannot_read)?.unwrap_or_default();
    let has_list = |names: &[CString]| names.iter().any(|name| name.as_c_str() == ACL);
    // What it has got from its directory would be more than its old self had.
    if old.is_some() && !has_list(&names) && has_list(&self::names(new)?) {
        let without = format!("the new {} cannot be without access list", path.display());
        platform::remove_attribute(new, ACL).context(without)?;
    }
    let copy = |name: &CString| match old {
        Some(old) => copy(old, new, name)
            .with_context(|| format!("the attribute {} of {} cannot be kept", name.to_string_lossy(), path.display())),
        None => Ok(()),
    };
    let (lists, others): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| name.as_c_str() == ACL);
    // The list sets the mode, and the mode the list's mask.
    lists.iter().try_for_each(copy)?;
    new.set_permissions(PermissionsExt::from_mode(like.mode))?;
    others.iter().try_for_each(copy)
}

/// Copies an attribute, unless the new file has it already.
fn copy(old: &File, new: &File, name: &CStr) -> io::Result<()> {
    let Some(wanted) = platform::attribute(old, name)? else { return Ok(()) };
    if platform::attribute(new, name).is_ok_and(|has| has.as_ref() == Some(&wanted)) {
        return Ok(());
    }
    platform::set_attribute(new, name, &wanted)
}

/// The names of the attributes that this user can see, and that are not the kernel's own.
fn names(file: &File) -> io::Result<Vec<CString>> {
    let names = platform::attributes(file)?.into_iter();
    Ok(names.filter(|name| !MADE_BY_THE_KERNEL.contains(&name.as_c_str())).collect())
}
