//! The file in a run's archive that holds rows: for every table of the database a table of the same name, with every
//! column as it was, and in front the unit that a row belongs to, its image and its rowid.
//!
//! The image is the row before the change or after it. A row that has only the first was deleted, one that has only the
//! second was inserted.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags, Statement};

use crate::change::run::Run;
use crate::disk::atomic;
use crate::disk::dir::Dir;
use crate::model::proof::sha256_of_reader;
use crate::openclaw::rows::open;
use crate::openclaw::rows::shape::Shape;

/// A row before or after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Image {
    /// As it was.
    Before = 0,
    /// As it became.
    After = 1,
    /// As it was and stays: needed only where it is gone when the others come back.
    Beside = 2,
}

/// How many columns of the archive's own stand in front.
pub(crate) const OWN: usize = 3;

/// Rows that are chosen in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RowScope {
    /// The table.
    pub(crate) table: &'static str,
    /// The condition, with `?1` and `?2` for the values.
    pub(crate) condition: &'static str,
    /// The values.
    pub(crate) values: Vec<RowValue>,
}

/// A value of a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RowValue {
    /// A key or a session.
    Name(String),
    /// A number or a time.
    Number(i64),
}

impl rusqlite::ToSql for RowValue {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self {
            Self::Name(name) => name.to_sql(),
            Self::Number(number) => number.to_sql(),
        }
    }
}

impl RowScope {
    /// The rows of a table in which a column has a value.
    pub(crate) fn of(table: &'static str, condition: &'static str, name: &str) -> Self {
        Self { table, condition, values: vec![RowValue::Name(name.to_owned())] }
    }

    /// The same, and in which a second column has a number.
    pub(crate) fn and(mut self, number: i64) -> Self {
        self.values.push(RowValue::Number(number));
        self
    }
}

/// Writes such a file.
pub(crate) struct Keeper {
    db: Connection,
    path: PathBuf,
    /// The tables that were made, and their columns.
    tables: BTreeMap<&'static str, Vec<String>>,
    /// What is in it already: unit, image, table, rowid.
    seen: HashSet<(u32, Image, &'static str, i64)>,
    /// Rows in it.
    pub(crate) rows: u64,
    /// Bytes of the values in it.
    pub(crate) bytes: u64,
}

impl Keeper {
    /// Begins a file at `path`, which is a temporary one.
    pub(crate) fn begin(path: PathBuf) -> anyhow::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(&path, flags)?;
        // What a crash leaves of it is a temporary file that is swept away.
        db.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; BEGIN")?;
        Ok(Self { db, path, tables: BTreeMap::new(), seen: HashSet::new(), rows: 0, bytes: 0 })
    }

    /// Copies the rows of a scope from `from`. Returns how many are new in it.
    pub(crate) fn copy(
        &mut self,
        from: &Connection,
        shape: &Shape,
        unit: u32,
        image: Image,
        scope: &RowScope,
    ) -> anyhow::Result<u64> {
        let Some(columns) = shape.tables.get(scope.table) else { return Ok(0) };
        self.table(scope.table, columns)?;
        let list = columns.iter().map(|column| quoted(column)).collect::<Vec<_>>().join(", ");
        let query = format!("SELECT rowid, {list} FROM {} WHERE {}", quoted(scope.table), scope.condition);
        let places = vec!["?"; columns.len() + OWN].join(", ");
        let mut insert = self.db.prepare(&format!("INSERT INTO {} VALUES ({places})", quoted(scope.table)))?;
        let mut statement = from.prepare(&query)?;
        let mut rows = statement.query(rusqlite::params_from_iter(&scope.values))?;
        let mut new = 0;
        while let Some(row) = rows.next()? {
            let rowid: i64 = row.get(0)?;
            if !self.seen.insert((unit, image, scope.table, rowid)) {
                continue;
            }
            insert.raw_bind_parameter(1, unit)?;
            insert.raw_bind_parameter(2, image as i64)?;
            insert.raw_bind_parameter(3, rowid)?;
            for at in 0..columns.len() {
                let value = row.get_ref(at + 1)?;
                self.bytes += length(value);
                bind(&mut insert, at + OWN + 1, value)?;
            }
            insert.raw_execute()?;
            new += 1;
        }
        self.rows += new;
        Ok(new)
    }

    /// Returns how many rows of a table a unit has in an image.
    pub(crate) fn count(&self, table: &str, image: Image) -> anyhow::Result<i64> {
        if !self.tables.contains_key(table) {
            return Ok(0);
        }
        let query = format!("SELECT count(*) FROM {} WHERE claw_image = ?1", quoted(table));
        Ok(self.db.query_row(&query, [image as i64], |row| row.get(0))?)
    }

    /// Ends the file, makes it durable under its name, and returns its hash.
    pub(crate) fn end(self, run: &Run, dir: &Dir, temporary: &OsStr, name: &OsStr) -> anyhow::Result<String> {
        self.db.execute_batch("COMMIT")?;
        self.db.close().map_err(|(_, error)| error)?;
        settle(run, dir, &self.path, (temporary, name))
    }

    fn table(&mut self, table: &'static str, columns: &[String]) -> anyhow::Result<()> {
        if self.tables.contains_key(table) {
            return Ok(());
        }
        let list = columns.iter().map(|column| quoted(column)).collect::<Vec<_>>().join(", ");
        let own = "claw_unit INTEGER, claw_image INTEGER, claw_rowid INTEGER";
        self.db.execute_batch(&format!("CREATE TABLE {} ({own}, {list})", quoted(table)))?;
        self.tables.insert(table, columns.to_vec());
        Ok(())
    }
}

/// Writes a file of kept rows anew, without some units, and returns its hash.
pub(crate) fn without(
    run: &Run,
    dir: &Dir,
    (old, new): (&OsStr, &OsStr),
    sha256: &str,
    units: &[u32],
) -> anyhow::Result<String> {
    let kept = Kept::open(dir, old, sha256)?.with_context(|| format!("{} is damaged", dir.join(old).display()))?;
    let (temporary, path) = temporary(dir, new);
    fs_err::copy(dir.join(old), &path)?;
    let db = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF")?;
    for (table, unit) in kept.tables.keys().flat_map(|table| units.iter().map(move |unit| (table, unit))) {
        db.execute(&format!("DELETE FROM {} WHERE claw_unit = ?1", quoted(table)), [unit])?;
    }
    // What was deleted must not lie in free pages.
    db.execute_batch("VACUUM")?;
    db.close().map_err(|(_, error)| error)?;
    settle(run, dir, &path, (&temporary, new))
}

/// Makes a file of kept rows durable under its name, and returns its hash.
fn settle(run: &Run, dir: &Dir, path: &Path, (temporary, name): (&OsStr, &OsStr)) -> anyhow::Result<String> {
    let opened = File::options().read(true).write(true).open(path);
    let file = opened.with_context(|| format!("cannot open {}", path.display()))?;
    run.own(&file)?;
    let sha256 = sha256_of_reader(&file)?;
    file.sync_all().with_context(|| format!("cannot sync {}", path.display()))?;
    dir.replace(temporary, name)?;
    dir.sync()?;
    Ok(sha256)
}

/// A file of kept rows, open for reading.
pub(crate) struct Kept {
    /// The connection.
    pub(crate) db: Connection,
    /// Its tables and their columns, its own left out.
    pub(crate) tables: BTreeMap<String, Vec<String>>,
}

impl Kept {
    /// Opens the file at `path`, if it has the recorded hash.
    pub(crate) fn open(dir: &Dir, name: &OsStr, sha256: &str) -> anyhow::Result<Option<Self>> {
        let (file, _) = dir.open_file(name)?;
        if sha256_of_reader(&file)? != sha256 {
            return Ok(None);
        }
        let db = open::sealed(&dir.join(name))?;
        let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
        {
            let query = "SELECT s.name, c.name FROM sqlite_schema AS s JOIN pragma_table_info(s.name) AS c \
                         WHERE s.type = 'table' AND c.cid >= 3 ORDER BY s.name, c.cid";
            let mut statement = db.prepare(query)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                tables.entry(row.get(0)?).or_default().push(row.get(1)?);
            }
        }
        Ok(Some(Self { db, tables }))
    }

    /// Returns the columns of a table that it holds.
    pub(crate) fn columns(&self, table: &str) -> Option<&[String]> {
        self.tables.get(table).map(Vec::as_slice)
    }
}

/// A name as SQL has it.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Binds a value as it is, whatever its bytes are.
pub(crate) fn bind(statement: &mut Statement<'_>, at: usize, value: ValueRef<'_>) -> rusqlite::Result<()> {
    statement.raw_bind_parameter(at, ToSqlOutput::Borrowed(value))
}

fn length(value: ValueRef<'_>) -> u64 {
    match value {
        ValueRef::Null => 0,
        ValueRef::Integer(_) | ValueRef::Real(_) => 8,
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len() as u64,
    }
}

/// The temporary name under which a file of kept rows is written.
pub(crate) fn temporary(dir: &Dir, name: &OsStr) -> (std::ffi::OsString, PathBuf) {
    let temporary = atomic::temp_name(name);
    let path: &Path = temporary.as_ref();
    let path = dir.join(path);
    (temporary, path)
}
