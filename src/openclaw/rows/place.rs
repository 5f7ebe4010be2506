//! Sessions in SQLite (`openclaw-format.md` §8, §14): whether an agent's sessions moved there, and what their rows say.
//!
//! A look at the headers tells whether a database may hold sessions; only then is it opened, in a way that leaves no trace
//! ([`open`](super::open)).

use fs_err::os::unix::fs::OpenOptionsExt as _;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use crate::disk::deadline::{Deadline, OVER};
use crate::disk::dir::Dir;
use crate::model::database::{Database, FIRST_WITH_SESSIONS, LIVE_IN, RowCensus};
use crate::model::key::normalize_agent_id;
use crate::model::places::DATABASE;
use crate::openclaw::discover::StoreLocation;
use crate::openclaw::rows::read as rows;

/// The directory that an import puts its originals in, beside the sessions directory.
pub(crate) const ARCHIVE: &str = "session-sqlite-import-archive";

/// What stands where an agent's database would be.
pub(crate) enum DatabaseLook {
    /// None that may hold sessions.
    Nothing,
    /// One that may.
    Database(Located),
    /// Something that cannot be looked into; why.
    Blocked(String),
}

/// A database whose schema is one with sessions.
pub(crate) struct Located {
    /// Its directory.
    pub(crate) dir: Dir,
    /// Its name there.
    pub(crate) name: OsString,
    /// Its path.
    pub(crate) path: PathBuf,
    /// Its schema version.
    pub(crate) schema: u32,
    /// Bytes of it and its `-wal`.
    pub(crate) bytes: u64,
    /// The agent whose it is.
    pub(crate) agent: String,
}

impl Located {
    fn database(&self, unread: Option<String>) -> Database {
        let Self { dir, path, schema, bytes, .. } = self;
        let census = RowCensus { bytes: *bytes, ..RowCensus::default() };
        let dir = dir.id().ok();
        Database { path: path.clone(), schema: *schema, bytes: *bytes, unread, dir, census, ..Database::default() }
    }

    /// Opens it to read it, in place or as a private copy; `None` when it has no table of sessions.
    pub(crate) fn open(&self, private: bool, deadline: Deadline) -> anyhow::Result<Option<rows::DatabaseRows>> {
        rows::DatabaseRows::open(&self.dir, &self.name, &self.agent, private, deadline)
    }
}

/// Where the sessions of a store live.
pub(crate) enum Found {
    /// In the file: there is no database, or none with sessions in it.
    File,
    /// Nobody knows; why.
    Unknown(String),
    /// In SQLite.
    Rows(Box<InRows>),
}

/// Sessions in SQLite.
pub(crate) struct InRows {
    /// The database, when it was found.
    pub(crate) database: Option<Database>,
    /// What says so, when it was not.
    pub(crate) sign: String,
    /// Its rows, when there was a reason to open it.
    pub(crate) rows: Option<rows::DatabaseRows>,
    /// Where it is, to be opened again.
    pub(crate) located: Option<Located>,
    /// Whether there is a store file too.
    pub(crate) mixed: bool,
}

/// Why rows are not read that nobody asked for.
const NOT_ASKED: &str = "nobody asked for them";

/// Tells where the sessions of a store live. `mixed`: there is a store file; `read`: the rows are wanted. Nothing is
/// opened unless a database says that it may hold sessions, and without `read` only where a store file leaves a doubt.
pub(crate) fn home(state_dir: &Path, location: &StoreLocation, mixed: bool, read: bool, deadline: Deadline) -> Found {
    let archive = archive(state_dir, location);
    let in_rows = |database, rows, sign: String| InRows { database, sign, rows, mixed, located: None };
    let imported = |more: &str| match &archive {
        Some(archive) => {
            let sign = format!("{} exists: its sessions were imported into SQLite; {more}", archive.display());
            Found::Rows(Box::new(in_rows(None, None, sign)))
        }
        None => Found::File,
    };
    let located = match look(state_dir, location) {
        DatabaseLook::Nothing => return imported("their database was not found"),
        DatabaseLook::Blocked(why) if archive.is_some() => return imported(&why),
        DatabaseLook::Blocked(why) => return Found::Unknown(why),
        DatabaseLook::Database(located) => located,
    };
    let unread = |why: String| in_rows(Some(located.database(Some(why))), None, String::new());
    let found = if !read && !mixed {
        unread(NOT_ASKED.to_owned())
    } else {
        match located.open(false, deadline) {
            Ok(None) => return imported("their database has no table of sessions"),
            Ok(Some(rows)) => match rows.has_bindings() {
                Ok(false) if mixed => return Found::File,
                Ok(_) => {
                    let database = Database { app_version: rows.app_version(), ..located.database(None) };
                    in_rows(Some(database), Some(rows), String::new())
                }
                Err(error) => unread(format!("{error:#}")),
            },
            Err(_) if deadline.has_passed() => unread(format!("{OVER} before they were read")),
            Err(error) => unread(format!("{error:#}")),
        }
    };
    Found::Rows(Box::new(InRows { located: Some(located), ..found }))
}

/// What says that the sessions of the store at `path` live in SQLite by now, in words.
pub(crate) fn moved(state_dir: &Path, path: &Path) -> Option<String> {
    let dir = path.parent()?;
    let agent = dir.parent().filter(|_| dir.ends_with("sessions")).and_then(Path::file_name);
    let location = StoreLocation {
        agent: normalize_agent_id(&agent.unwrap_or_default().to_string_lossy()),
        path: path.to_owned(),
        dir: dir.to_owned(),
        shared: false,
        configured: false,
        via_symlink: false,
        selected: true,
    };
    let mixed = fs_err::symlink_metadata(path).is_ok();
    match home(state_dir, &location, mixed, false, Deadline::default()) {
        Found::File => None,
        Found::Unknown(why) => Some(why),
        Found::Rows(found) => Some(found.database.map_or(found.sign, |database| {
            format!("{LIVE_IN}{} (schema {})", database.path.display(), database.schema)
        })),
    }
}

/// Returns whether the database of an agent directory may hold sessions.
pub(crate) fn is_home_of(state_dir: &Path, agent_dir: &Path) -> bool {
    !matches!(look_at(state_dir, &agent_dir.join("agent").join(DATABASE)), DatabaseLook::Nothing)
}

/// Looks for the database of a store's agent: at its usual place, and for a store elsewhere beside it.
pub(crate) fn look(state_dir: &Path, location: &StoreLocation) -> DatabaseLook {
    let mut blocked = None;
    for path in places(state_dir, location) {
        match look_at(state_dir, &path) {
            DatabaseLook::Nothing => {}
            DatabaseLook::Blocked(why) => blocked = blocked.or(Some(why)),
            DatabaseLook::Database(found) => {
                return DatabaseLook::Database(Located { agent: location.agent.clone(), ..found });
            }
        }
    }
    blocked.map_or(DatabaseLook::Nothing, DatabaseLook::Blocked)
}

/// The import's archive, when there is one: then the store was imported.
pub(crate) fn archive(state_dir: &Path, location: &StoreLocation) -> Option<PathBuf> {
    let mut dirs = agent_dirs(state_dir, location).into_iter().map(|dir| dir.join(ARCHIVE));
    dirs.find(|archive| fs_err::symlink_metadata(archive).is_ok())
}

/// The agent's directory as the store's path has it, and as the agent's id has it.
fn agent_dirs(state_dir: &Path, location: &StoreLocation) -> Vec<PathBuf> {
    let of_store = location.dir.parent().filter(|_| location.dir.ends_with("sessions")).map(Path::to_owned);
    let of_id = state_dir.join("agents").join(&location.agent);
    let differs = of_store.as_ref() != Some(&of_id);
    of_store.into_iter().chain(differs.then_some(of_id)).collect()
}

fn places(state_dir: &Path, location: &StoreLocation) -> Vec<PathBuf> {
    let dirs = agent_dirs(state_dir, location);
    let mut places: Vec<PathBuf> = dirs.iter().map(|dir| dir.join("agent").join(DATABASE)).collect();
    if location.path != dirs[0].join("sessions").join("sessions.json") {
        places.push(location.path.with_extension("sqlite"));
        places.push(location.path.with_extension(format!("{}.sqlite", location.agent)));
    }
    places
}

fn look_at(state_dir: &Path, path: &Path) -> DatabaseLook {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return DatabaseLook::Nothing };
    let opened = Dir::open_below(state_dir, parent).and_then(|dir| {
        let (file, info) = dir.open_file(name)?;
        Ok((dir, file, info))
    });
    let (dir, mut file, info) = match opened {
        Ok(opened) => opened,
        Err(error) => return through_link(path, &error),
    };
    let mut schema = user_version(&mut file);
    let mut bytes = info.stamp.size;
    match dir.open_file(&with_suffix(name, "-wal")) {
        Ok((mut wal, info)) => {
            bytes += info.stamp.size;
            schema = schema.max(newest_version_in(&mut wal));
        }
        Err(error) if kind_of(&error) == Some(ErrorKind::NotFound) => {}
        Err(error) => return DatabaseLook::Blocked(format!("{error:#}")),
    }
    match schema.filter(|schema| *schema >= FIRST_WITH_SESSIONS) {
        Some(schema) => {
            let (name, path) = (name.to_owned(), path.to_owned());
            DatabaseLook::Database(Located { dir, name, path, schema, bytes, agent: String::new() })
        }
        None => DatabaseLook::Nothing,
    }
}

/// What could not be opened without following links: nothing is there, or it is an early database, or nobody knows.
fn through_link(path: &Path, error: &anyhow::Error) -> DatabaseLook {
    let header = match fs_err::metadata(path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return DatabaseLook::Nothing;
        }
        Ok(meta) if meta.is_file() => {
            // It was a file a moment ago; should it be a pipe now, nobody waits for its writer.
            let mut options = fs_err::OpenOptions::new();
            options.read(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
            options.open(path).ok().map(|file| user_version(&mut file.into_parts().0))
        }
        _ => None,
    };
    match header {
        Some(schema) if schema.is_none_or(|schema| schema < FIRST_WITH_SESSIONS) => DatabaseLook::Nothing,
        _ => DatabaseLook::Blocked(format!("{error:#}; whether sessions live there is not known")),
    }
}

pub(super) fn kind_of(error: &anyhow::Error) -> Option<ErrorKind> {
    error.downcast_ref::<std::io::Error>().map(std::io::Error::kind)
}

/// `<name>-wal` and the like.
pub(super) fn with_suffix(name: &OsStr, suffix: &str) -> OsString {
    let mut name = name.to_owned();
    name.push(suffix);
    name
}

/// Where the header, which is the beginning of page 1, has `PRAGMA user_version`.
const USER_VERSION: u64 = 60;

/// `PRAGMA user_version`, from the file's header; `None` when it is no database. A newer one may be in the `-wal`.
fn user_version(file: &mut File) -> Option<u32> {
    let mut header = [0_u8; 100];
    file.read_exact(&mut header).ok()?;
    let version = <[u8; 4]>::try_from(header.get(60..64)?).ok()?;
    header.starts_with(b"SQLite format 3\0").then(|| u32::from_be_bytes(version))
}

/// The highest `user_version` of any page 1 in a write-ahead log, committed or not: here it only matters whether the
/// database may be one with sessions.
fn newest_version_in(wal: &mut File) -> Option<u32> {
    let mut header = [0_u8; 32];
    wal.read_exact(&mut header).ok()?;
    let number = |bytes: &[u8]| bytes.try_into().map(u32::from_be_bytes).unwrap_or_default();
    // 0x377f0682, or ...83 where its checksums are big-endian.
    if number(&header[0..4]) & !1 != 0x377f_0682 {
        return None;
    }
    let page = u64::from(number(&header[8..12]));
    if !(512..=65_536).contains(&page) {
        return None;
    }
    let mut newest = None;
    let mut at = 32;
    loop {
        let mut frame = [0_u8; 16];
        if wal.seek(SeekFrom::Start(at)).is_err()
            || wal.read_exact(&mut frame).is_err()
            || frame[8..16] != header[16..24]
        {
            return newest;
        }
        if number(&frame[0..4]) == 1 {
            let mut version = [0_u8; 4];
            wal.seek(SeekFrom::Start(at + 24 + USER_VERSION)).ok()?;
            if wal.read_exact(&mut version).is_ok() {
                newest = newest.max(Some(u32::from_be_bytes(version)));
            }
        }
        at += 24 + page;
    }
}
