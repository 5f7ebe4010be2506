//! Opening a database to change it: only where nobody is at work on it, and only in a shape that is known.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::change::archive::parts;
use crate::change::outcome::{Changed, Refusal};
use crate::disk::deadline::Deadline;
use crate::disk::dir::Dir;
use crate::model::proof::DirId;
use crate::openclaw::rows::open::{self, Opened};
use crate::openclaw::rows::shape::Shape;
use crate::openclaw::rows::signs;

/// How long to wait for the write lock: OpenClaw itself waits on its main thread, and gives up after 5 s.
const PATIENCE: Duration = Duration::from_secs(1);

/// A database that may be changed.
pub(crate) struct Writable {
    /// The connection.
    pub(crate) db: Connection,
}

/// The database of a state directory that is to be changed.
pub(crate) struct Target<'a> {
    /// The state directory.
    pub(crate) state_dir: &'a Path,
    /// The database.
    pub(crate) database: &'a Path,
    /// The recorded directory, where there is a record.
    pub(crate) dir: Option<DirId>,
    /// The agent.
    pub(crate) agent: &'a str,
    /// The schema version that was planned on.
    pub(crate) schema: u32,
}

impl Target<'_> {
    /// Finds out whether it may be opened; its directory and its name there. Reads only.
    fn may_open(&self) -> anyhow::Result<Result<(Dir, &OsStr), Refusal>> {
        let (parent, name) = parts(self.database)?;
        let dir = Dir::open_below(self.state_dir, parent)?;
        if self.dir.is_some_and(|planned| dir.id().ok() != Some(planned)) {
            return Ok(Err(Changed::Directory.into()));
        }
        let Some(info) = dir.info(name)? else { return Ok(Err(Changed::Gone.into())) };
        if !info.regular || info.links > 1 {
            return Ok(Err(Changed::File.into()));
        }
        let user = rustix::process::geteuid().as_raw();
        if user != 0 && user != info.uid {
            return Ok(Err(Refusal::ForeignOwner(info.uid)));
        }
        if let Some(kind) = signs::network(&dir.join(name)) {
            return Ok(Err(Refusal::Network(kind.to_owned())));
        }
        if let Some(sign) = signs::of_life(self.state_dir, self.database) {
            return Ok(Err(Refusal::InUse(sign)));
        }
        Ok(Ok((dir, name)))
    }

    /// Opens it to read it, where it may be opened to be changed.
    pub(crate) fn look(&self, deadline: Deadline) -> anyhow::Result<Result<(Opened, Shape), Refusal>> {
        let (dir, name) = match self.may_open()? {
            Ok(place) => place,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let opened = open::to_read(&dir, name, deadline)?;
        let shape = Shape::of(&opened.db, self.agent)?;
        Ok(self.refusal(&shape).map_or(Ok((opened, shape)), Err))
    }

    /// Opens it. `keys`: foreign keys are held to, as OpenClaw holds to them.
    pub(crate) fn open(&self, keys: bool) -> anyhow::Result<Result<Writable, Refusal>> {
        let (dir, name) = match self.may_open()? {
            Ok(place) => place,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(dir.join(name), flags)?;
        db.busy_timeout(PATIENCE)?;
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        // What it frees goes back at the end; a checkpoint meanwhile would make the lock longer.
        db.pragma_update(None, "wal_autocheckpoint", 0)?;
        db.pragma_update(None, "synchronous", "FULL")?;
        db.pragma_update(None, "foreign_keys", keys)?;
        Ok(Ok(Writable { db }))
    }

    /// Begins the one transaction, and looks again whether nobody is there and all of it is known.
    pub(crate) fn begin(&self, writable: &Writable) -> anyhow::Result<Result<Shape, Refusal>> {
        if let Err(error) = writable.db.execute_batch("BEGIN IMMEDIATE; PRAGMA defer_foreign_keys = ON") {
            return match error.sqlite_error_code() {
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                    Ok(Err(Refusal::InUse("another process writes to it".to_owned())))
                }
                _ => Err(error.into()),
            };
        }
        let shape = Shape::of(&writable.db, self.agent)?;
        // Somebody may have come while we waited for the lock.
        let somebody = || signs::of_life(self.state_dir, self.database).map(Refusal::InUse);
        match self.refusal(&shape).or_else(somebody) {
            Some(refusal) => {
                writable.db.execute_batch("ROLLBACK")?;
                Ok(Err(refusal))
            }
            None => Ok(Ok(shape)),
        }
    }

    /// Why nothing of a database of this shape may be changed.
    fn refusal(&self, shape: &Shape) -> Option<Refusal> {
        let differs = shape.version != Some(self.schema);
        let other = || Refusal::SchemaDiffers { kept: self.schema, now: shape.version.unwrap_or_default() };
        shape.unfit().map(Refusal::Unfit).or_else(|| differs.then(other))
    }
}
