//! Who a user is, as the user database of this host says.

use std::path::{Path, PathBuf};

use crate::disk::whole;

/// Users enough.
const LONGEST: u64 = 64 << 20;

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The name.
    pub name: String,
    /// The home directory.
    pub home: PathBuf,
}

/// Looks a user up in `/etc/passwd`. One of a network's directory is not found: systemd takes the number as well.
pub fn of(uid: u32) -> Option<Account> {
    let users = whole::read(Path::new("/etc/passwd"), LONGEST).ok()?;
    find(&String::from_utf8_lossy(&users), uid)
}

fn find(passwd: &str, uid: u32) -> Option<Account> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number, home) = (fields.next()?, fields.nth(1)?, fields.nth(2)?);
        (number.parse() == Ok(uid)).then(|| Account { name: name.to_owned(), home: home.into() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_without_all_fields_is_nobody() {
        let passwd = "half:x:7\nclaw:x:7:8:Claw,,,:/srv/claw:/bin/sh\n";
        assert_eq!(find(passwd, 7), Some(Account { name: "claw".to_owned(), home: "/srv/claw".into() }));
        assert_eq!(find(passwd, 8), None);
    }
}
