//! Rows that come back: each is compared with what is there now before anything is written. What was written since is
//! left, and with it the whole unit.

use std::collections::{BTreeMap, HashSet};

use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, OptionalExtension as _, params_from_iter};

use super::kept::{Image, Kept, OWN, quoted};
use crate::change::outcome::Refusal;
use crate::openclaw::rows::shape::{BY_KEY, BY_SESSION, FTS, FTS_ROWS, PENDING, Shape};

/// A value as it is stored, whatever its bytes are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cell {
    Null,
    Integer(i64),
    Real(u64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

impl Cell {
    fn of(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(number) => Self::Integer(number),
            ValueRef::Real(number) => Self::Real(number.to_bits()),
            ValueRef::Text(bytes) => Self::Text(bytes.to_vec()),
            ValueRef::Blob(bytes) => Self::Blob(bytes.to_vec()),
        }
    }
}

impl rusqlite::ToSql for Cell {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Null => ToSqlOutput::Owned(Value::Null),
            Self::Integer(number) => ToSqlOutput::Owned(Value::Integer(*number)),
            Self::Real(bits) => ToSqlOutput::Owned(Value::Real(f64::from_bits(*bits))),
            Self::Text(bytes) => ToSqlOutput::Borrowed(ValueRef::Text(bytes)),
            Self::Blob(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
        })
    }
}

/// A kept row.
pub(super) struct KeptRow {
    pub(super) rowid: i64,
    pub(super) cells: Vec<Cell>,
}

/// The rows of a unit in one table, by what identifies them.
pub(super) struct TableRows {
    pub(super) table: String,
    pub(super) columns: Vec<String>,
    /// Where the identifying columns stand; empty where the rowid does.
    identity: Vec<usize>,
    pub(super) before: BTreeMap<Vec<Cell>, KeptRow>,
    after: BTreeMap<Vec<Cell>, KeptRow>,
    beside: BTreeMap<Vec<Cell>, KeptRow>,
}

/// How the rows of a unit stand now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stands {
    /// As they were before the change.
    Before,
    /// As the change left them.
    After,
}

/// A unit of rows in an archive, and the database that it is of.
pub(crate) struct ReturningUnit<'a> {
    /// The database.
    pub(crate) db: &'a Connection,
    /// Its shape.
    pub(crate) shape: &'a Shape,
    /// The archive.
    pub(crate) kept: &'a Kept,
    /// The number of the unit.
    pub(crate) unit: u32,
}

/// The tables in the order in which rows come back: what others refer to first.
fn tables() -> impl Iterator<Item = &'static str> {
    let first = ["conversations", "session_nodes", "session_windows"];
    first.into_iter().chain(BY_KEY).chain(BY_SESSION).chain([FTS, FTS_ROWS])
}

impl ReturningUnit<'_> {
    /// Brings the unit back, within the caller's transaction; after a refusal nothing of it is changed. Returns whether
    /// something was to be done.
    pub(crate) fn bring(&self) -> anyhow::Result<Result<bool, Refusal>> {
        let mut units = Vec::new();
        for table in tables() {
            let Some(rows) = self.read(table)? else { continue };
            if let Some(refusal) = self.conflict(&rows)? {
                return Ok(Err(refusal));
            }
            units.push(rows);
        }
        let marks = self.marks()?;
        let mut done = false;
        for rows in &units {
            done |= self.write(rows)?;
        }
        self.certify(&units)?;
        self.unmark(&marks)?;
        Ok(Ok(done))
    }

    /// Tells whether the change of the unit was made; `None` where its rows were written since.
    pub(crate) fn stands(&self) -> anyhow::Result<Option<Stands>> {
        for table in tables() {
            let Some(rows) = self.read(table)? else { continue };
            for (identity, before) in &rows.before {
                let now = self.now(&rows, identity)?;
                let after = rows.after.get(identity).map(|row| &row.cells);
                if after == Some(&before.cells) {
                    continue;
                }
                if now.as_ref() == Some(&before.cells) {
                    return Ok(Some(Stands::Before));
                }
                if now.as_ref() == after {
                    return Ok(Some(Stands::After));
                }
            }
        }
        Ok(None)
    }

    /// What the archive holds of a table; `None` when it holds nothing.
    pub(super) fn read(&self, table: &'static str) -> anyhow::Result<Option<TableRows>> {
        let Some(columns) = self.kept.columns(table) else { return Ok(None) };
        let known = self.shape.tables.get(table);
        anyhow::ensure!(
            known.is_some_and(|known| columns.iter().all(|column| known.contains(column))),
            "the table {table} does not have the columns that its rows had"
        );
        let mut rows = TableRows {
            table: table.to_owned(),
            columns: columns.to_vec(),
            identity: self.identity(table, columns)?,
            before: BTreeMap::new(),
            after: BTreeMap::new(),
            beside: BTreeMap::new(),
        };
        let query = format!("SELECT * FROM {} WHERE claw_unit = ?1", quoted(table));
        let mut statement = self.kept.db.prepare(&query)?;
        let mut found = statement.query([self.unit])?;
        while let Some(row) = found.next()? {
            let image: i64 = row.get(1)?;
            let cells = (0..columns.len()).map(|at| Ok(Cell::of(row.get_ref(at + OWN)?)));
            let kept = KeptRow { rowid: row.get(2)?, cells: cells.collect::<rusqlite::Result<_>>()? };
            let identity = rows.identify(&kept);
            let of = match image {
                image if image == Image::Before as i64 => &mut rows.before,
                image if image == Image::After as i64 => &mut rows.after,
                _ => &mut rows.beside,
            };
            of.insert(identity, kept);
        }
        Ok(Some(rows))
    }

    /// Where the columns of a table's primary key stand; none where the rowid identifies a row.
    fn identity(&self, table: &str, columns: &[String]) -> anyhow::Result<Vec<usize>> {
        let mut statement = self.db.prepare("SELECT name FROM pragma_table_xinfo(?1) WHERE pk > 0 ORDER BY pk")?;
        let names = statement.query_map([table], |row| row.get::<_, String>(0))?;
        let names: Vec<String> = names.collect::<rusqlite::Result<_>>()?;
        Ok(names.iter().filter_map(|name| columns.iter().position(|column| column == name)).collect())
    }

    /// The row that has an identity now.
    pub(super) fn now(&self, rows: &TableRows, identity: &[Cell]) -> anyhow::Result<Option<Vec<Cell>>> {
        let list = rows.columns.iter().map(|column| quoted(column)).collect::<Vec<_>>().join(", ");
        let query = format!("SELECT {list} FROM {} WHERE {}", quoted(&rows.table), rows.condition());
        let read = |row: &rusqlite::Row<'_>| {
            (0..rows.columns.len()).map(|at| Ok(Cell::of(row.get_ref(at)?))).collect::<rusqlite::Result<Vec<_>>>()
        };
        Ok(self.db.prepare(&query)?.query_row(params_from_iter(identity), read).optional()?)
    }

    /// Why the rows of a table cannot come back: what is there is neither what was nor what it became.
    fn conflict(&self, rows: &TableRows) -> anyhow::Result<Option<Refusal>> {
        // The index is built again from events; what stands in it by now is as good.
        if [FTS, FTS_ROWS, PROJECTION].contains(&rows.table.as_str()) {
            return Ok(None);
        }
        for (identity, before) in &rows.before {
            let now = self.now(rows, identity)?;
            let after = rows.after.get(identity).map(|row| &row.cells);
            if now.as_ref() == Some(&before.cells) || now.as_ref() == after {
                continue;
            }
            return Ok(Some(match rows.table.as_str() {
                "session_nodes" if after.is_none() => Refusal::Bound,
                "session_windows" if after.is_none() => Refusal::SessionTaken(rows.name(before)),
                _ => Refusal::Written,
            }));
        }
        for (identity, after) in rows.after.iter().filter(|(identity, _)| !rows.before.contains_key(*identity)) {
            if self.now(rows, identity)?.is_some_and(|now| now != after.cells) {
                return Ok(Some(Refusal::Written));
            }
        }
        Ok(None)
    }

    /// Writes the rows of a table as they were; whether anything was to be written.
    fn write(&self, rows: &TableRows) -> anyhow::Result<bool> {
        let mut done = false;
        for identity in rows.after.keys().filter(|identity| !rows.before.contains_key(*identity)) {
            let delete = format!("DELETE FROM {} WHERE {}", quoted(&rows.table), rows.condition());
            done |= self.db.execute(&delete, params_from_iter(identity))? > 0;
        }
        if rows.table == FTS || rows.table == FTS_ROWS {
            return Ok(self.index(rows)? || done);
        }
        for (identity, row) in &rows.before {
            match self.now(rows, identity)? {
                Some(now) if now == row.cells => {}
                Some(now) => {
                    let written = rows.after.get(identity).is_none_or(|after| after.cells != now);
                    if written && rows.table == PROJECTION {
                        continue;
                    }
                    let set =
                        rows.columns.iter().enumerate().map(|(at, column)| format!("{} = ?{}", quoted(column), at + 1));
                    let set = set.collect::<Vec<_>>().join(", ");
                    let shift = rows.columns.len();
                    let condition = rows.condition_from(shift);
                    let update = format!("UPDATE {} SET {set} WHERE {condition}", quoted(&rows.table));
                    self.db.execute(&update, params_from_iter(row.cells.iter().chain(identity)))?;
                    done = true;
                }
                None => {
                    self.insert(rows, row)?;
                    done = true;
                }
            }
        }
        for (identity, row) in &rows.beside {
            if self.now(rows, identity)?.is_none() {
                self.insert(rows, row)?;
            }
        }
        self.renumber(rows)?;
        Ok(done)
    }

    /// Gives rows their old rowids back where these are free: nobody reads them, but they are part of what left.
    fn renumber(&self, rows: &TableRows) -> anyhow::Result<()> {
        let table = quoted(&rows.table);
        let mut moved = Vec::new();
        for (identity, row) in rows.before.iter().filter(|_| !rows.identity.is_empty()) {
            let query = format!("SELECT rowid FROM {table} WHERE {}", rows.condition());
            let now: Option<i64> =
                self.db.query_row(&query, params_from_iter(identity), |row| row.get(0)).optional()?;
            if now.is_some_and(|now| now != row.rowid) {
                moved.push((identity, row.rowid));
            }
        }
        let set = format!("UPDATE {table} SET rowid = ?1 WHERE {}", rows.condition_from(1));
        let set = |identity: &[Cell], rowid: i64| {
            let rowid = Cell::Integer(rowid);
            self.db.execute(&set, params_from_iter([&rowid].into_iter().chain(identity)))
        };
        // First out of each other's way.
        for (identity, rowid) in &moved {
            set(identity, -rowid - 1)?;
        }
        let taken = format!("SELECT 1 FROM {table} WHERE rowid = ?1");
        for (identity, rowid) in &moved {
            let free = !self.db.prepare(&taken)?.exists([rowid])?;
            let next = format!("SELECT max(rowid) + 1 FROM {table}");
            let rowid = if free { *rowid } else { self.db.query_row(&next, [], |row| row.get(0))? };
            set(identity, rowid)?;
        }
        Ok(())
    }

    pub(super) fn insert(&self, rows: &TableRows, row: &KeptRow) -> anyhow::Result<()> {
        let free = format!("SELECT 1 FROM {} WHERE rowid = ?1", quoted(&rows.table));
        let free = !self.db.prepare(&free)?.exists([row.rowid])?;
        let list = rows.columns.iter().map(|column| quoted(column)).collect::<Vec<_>>().join(", ");
        let places = vec!["?"; rows.columns.len()].join(", ");
        let table = quoted(&rows.table);
        if free {
            let insert = format!("INSERT INTO {table} (rowid, {list}) VALUES (?, {places})");
            let rowid = Cell::Integer(row.rowid);
            self.db.execute(&insert, params_from_iter([&rowid].into_iter().chain(&row.cells)))?;
        } else {
            let insert = format!("INSERT INTO {table} ({list}) VALUES ({places})");
            self.db.execute(&insert, params_from_iter(&row.cells))?;
        }
        Ok(())
    }

    /// Gives nodes back the mark that says how good their entry is: OpenClaw's triggers took it away.
    fn certify(&self, units: &[TableRows]) -> anyhow::Result<()> {
        let nodes = units.iter().find(|rows| rows.table == "session_nodes");
        let Some(nodes) = nodes.filter(|nodes| nodes.columns.iter().any(|column| column == "entry_valid")) else {
            return Ok(());
        };
        let at = |name: &str| nodes.columns.iter().position(|column| column == name);
        for row in nodes.before.values() {
            let (Some(valid), Some(key)) = (at("entry_valid"), at("session_key")) else { continue };
            let update = "UPDATE session_nodes SET entry_valid = ?1 WHERE session_key = ?2 AND entry_valid IS NOT ?1";
            self.db.execute(update, (&row.cells[valid], &row.cells[key]))?;
        }
        Ok(())
    }

    fn marks(&self) -> anyhow::Result<HashSet<String>> {
        if !self.shape.has(PENDING) {
            return Ok(HashSet::new());
        }
        let mut statement = self.db.prepare("SELECT session_key FROM session_canonical_validation_pending")?;
        let found = statement.query_map([], |row| row.get(0))?;
        Ok(found.collect::<rusqlite::Result<_>>()?)
    }

    /// Takes the marks away by which OpenClaw would check these rows again, and that its triggers have just set: the rows
    /// are those that it checked. Marks that were there when they left come back.
    fn unmark(&self, before: &HashSet<String>) -> anyhow::Result<()> {
        for key in self.marks()?.difference(before) {
            self.db.execute("DELETE FROM session_canonical_validation_pending WHERE session_key = ?1", [key])?;
        }
        let Some(rows) = self.read(PENDING)? else { return Ok(()) };
        self.write(&rows).map(drop)
    }
}

/// The table that says how far the projections of a session are.
const PROJECTION: &str = "session_transcript_index_state";

impl TableRows {
    fn identify(&self, row: &KeptRow) -> Vec<Cell> {
        if self.identity.is_empty() {
            return vec![Cell::Integer(row.rowid)];
        }
        self.identity.iter().map(|&at| row.cells[at].clone()).collect()
    }

    fn condition(&self) -> String {
        self.condition_from(0)
    }

    /// The condition that identifies a row, its values numbered behind `shift` others.
    fn condition_from(&self, shift: usize) -> String {
        if self.identity.is_empty() {
            return format!("rowid = ?{}", shift + 1);
        }
        let one = |(number, &at): (usize, &usize)| format!("{} IS ?{}", quoted(&self.columns[at]), shift + number + 1);
        self.identity.iter().enumerate().map(one).collect::<Vec<_>>().join(" AND ")
    }

    /// The first identifying value of a row, in words.
    fn name(&self, row: &KeptRow) -> String {
        match self.identify(row).first() {
            Some(Cell::Text(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
            _ => String::new(),
        }
    }
}
