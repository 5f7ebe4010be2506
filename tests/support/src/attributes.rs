//! Extended attributes and POSIX access lists, read and written as the kernel keeps them.

use std::io;
use std::path::Path;

use rustix::fs::XattrFlags;

/// The attribute that holds the access list of a file.
pub const ACL: &str = "system.posix_acl_access";

/// The attribute that holds what new files in a directory get.
pub const DEFAULT_ACL: &str = "system.posix_acl_default";

/// A user who is in no other way concerned.
pub const SOMEBODY: u32 = 1234;

/// `user::rw- user:1234:rw- group::--- mask::rw- other::---`: shows as mode 0660, and gives the group nothing.
pub fn for_somebody() -> Vec<u8> {
    const NOBODY_NAMED: u32 = u32::MAX;
    let entries: [(u16, u16, u32); 5] = [
        (0x01, 6, NOBODY_NAMED),
        (0x02, 6, SOMEBODY),
        (0x04, 0, NOBODY_NAMED),
        (0x10, 6, NOBODY_NAMED),
        (0x20, 0, NOBODY_NAMED),
    ];
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, rights, id) in entries {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&rights.to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    bytes
}

/// Sets an attribute.
pub fn set(path: &Path, name: &str, value: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::setxattr(path, name, value, XattrFlags::empty())?)
}

/// Tells whether the file system of `path` keeps this attribute, and this user may set it.
pub fn can_set(path: &Path, name: &str, value: &[u8]) -> bool {
    set(path, name, value).is_ok()
}

/// All attributes of a file that can be seen, sorted by name.
#[track_caller]
pub fn all(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut names = vec![0; 1 << 16];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    let names = String::from_utf8(names[..length].to_vec()).unwrap();
    let names = names.split_terminator('\0').map(str::to_owned);
    let mut found: Vec<(String, Vec<u8>)> = names
        .map(|name| {
            let mut value = vec![0; 1 << 16];
            let length = rustix::fs::lgetxattr(path, &name, &mut value[..]).unwrap();
            value.truncate(length);
            (name, value)
        })
        .collect();
    found.sort();
    found
}
