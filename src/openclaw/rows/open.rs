//! Opening a database to read it, in place and without a trace where that can be.
//!
//! Without a `-wal` nothing but the file is read. With one, SQLite keeps the index of the log in its own memory: no
//! `-shm` is made, no lock is taken, and no time, size or inode changes. As no lock is held, a checkpoint may replace pages
//! below the reader; then what was read is thrown away and read again from a private copy.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::copy::{self, Copy, Seen};
use crate::disk::deadline::Deadline;
use crate::disk::dir::Dir;

/// Kibibytes of pages that a connection keeps, as SQLite takes the number: negative.
const CACHE: i64 = -1024;

/// A database open for reading.
pub(crate) struct Opened {
    /// The connection.
    pub(crate) db: Connection,
    /// The state of the files when it was opened; absent of a copy, which nobody changes.
    seen: Option<(PathBuf, OsString, Seen)>,
    /// Where the copy is: to go when the connection is closed.
    _copy: Option<Copy>,
}

impl Opened {
    /// Returns whether what was read so far is one state of the database.
    pub(crate) fn is_steady(&self) -> bool {
        let Some((dir, name, seen)) = &self.seen else { return true };
        let now = Dir::open(dir).and_then(|dir| Seen::of(&dir, name));
        now.is_ok_and(|now| seen.is_same_as(&now))
    }
}

/// Opens the database `name` of `dir` in place; `None` where only a copy can be read: a journal has to be rolled back, or
/// the log is not ours to open.
pub(crate) fn in_place(dir: &Dir, name: &OsStr, deadline: Deadline) -> anyhow::Result<Option<Opened>> {
    let seen = Seen::of(dir, name)?;
    if seen.has_journal() {
        return Ok(None);
    }
    let path = dir.join(name);
    let how = if seen.has_log() { "mode=ro&vfs=unix-none" } else { "mode=ro&immutable=1" };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let opened = Connection::open_with_flags(uri(&path, how), flags).and_then(|mut db| {
        // Before the first read: the index of the log is then kept in memory.
        db.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        harden(&mut db, deadline)?;
        db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))?;
        Ok(db)
    });
    // What cannot be opened so may be opened as a copy, whose error tells more.
    let Ok(db) = opened else { return Ok(None) };
    Ok(Some(Opened { db, seen: Some((dir.path().to_owned(), name.to_owned(), seen)), _copy: None }))
}

/// Opens a database that nobody writes any more. A log or a journal that lies beside it is not part of it.
pub(crate) fn sealed(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let mut db = Connection::open_with_flags(uri(path, "mode=ro&immutable=1"), flags)?;
    harden(&mut db, Deadline::default())?;
    Ok(db)
}

/// Opens a private copy of the database `name` of `dir`.
pub(crate) fn a_copy(dir: &Dir, name: &OsStr, deadline: Deadline) -> anyhow::Result<Opened> {
    let copy = copy::of(dir, name, deadline)?;
    // Writable, as a log or a journal that a crash left is brought in when it is opened: it is our copy.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_with_flags(copy.path(), flags)?;
    harden(&mut db, deadline)?;
    Ok(Opened { db, seen: None, _copy: Some(copy) })
}

/// Opens it in place, else as a copy.
pub(crate) fn to_read(dir: &Dir, name: &OsStr, deadline: Deadline) -> anyhow::Result<Opened> {
    match in_place(dir, name, deadline)? {
        Some(opened) => Ok(opened),
        None => a_copy(dir, name, deadline),
    }
}

/// So many instructions of SQLite's machine pass between two looks at the clock.
const STEPS: i32 = 10_000;

/// Makes sure that nothing that somebody else's schema defines is run: tables are read, never views, triggers or
/// functions. A statement ends when the time is over.
fn harden(db: &mut Connection, deadline: Deadline) -> rusqlite::Result<()> {
    db.progress_handler(STEPS, Some(move || deadline.has_passed()))?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    db.pragma_update(None, "cache_size", CACHE)
}

/// A path as SQLite's URI, with these parameters.
fn uri(path: &Path, parameters: &str) -> OsString {
    let mut uri = String::from("file:");
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            uri.push(byte as char);
        } else {
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri.push('?');
    uri.push_str(parameters);
    uri.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_are_escaped() {
        assert_eq!(uri(Path::new("/a b/x?y#%.sqlite"), "mode=ro"), "file:/a%20b/x%3Fy%23%25.sqlite?mode=ro");
    }
}
