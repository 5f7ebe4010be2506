//! Rows that come back: each is compared with what is there now before anything is written. What was written since is
//! left, and with it the whole unit.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension as _, params_from_iter};

use super::kept::{Image, Kept, OWN, quoted};
use super::table::{Cell, KeptRow, TableRows};
use crate::change::outcome::Refusal;
use crate::openclaw::rows::shape::{BY_KEY, BY_SESSION, FTS, FTS_ROWS, PENDING, Shape};

/// A row: its database, its table, and what identifies it there.
pub(super) type RowId = (PathBuf, String, Vec<Cell>);

/// Rows as a restore that only looks would have left them; `None` for one that would be gone.
#[derive(Default)]
pub(crate) struct Returned(pub(super) BTreeMap<RowId, Option<Vec<Cell>>>);

/// A database, and what a look has seen come back to it; `None` where rows are written.
pub(super) type Looked<'a> = Option<(&'a Path, &'a Returned)>;

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
    /// Foreign keys are held to.
    pub(crate) keys: bool,
}

/// The tables in the order in which rows come back: what others refer to first.
fn tables() -> impl Iterator<Item = &'static str> {
    let first = ["conversations", "session_nodes", "session_windows"];
    first.into_iter().chain(BY_KEY).chain(BY_SESSION).chain([FTS, FTS_ROWS])
}

impl ReturningUnit<'_> {
    /// Brings the unit back, within the caller's transaction; after a refusal nothing of it is changed. Returns whether
    /// something was to be done.
    pub(crate) fn bring(&self) -> anyhow::Result<Result<(), Refusal>> {
        let units = match self.returnable(None)? {
            Ok(units) => units,
            Err(refusal) => return Ok(Err(refusal)),
        };
        // A restore that was cut off had it back already.
        if self.are_back(&units)? {
            return Ok(Ok(()));
        }
        let marks = self.marks()?;
        for rows in &units {
            self.write(rows)?;
        }
        self.certify(&units)?;
        self.unmark(&marks)?;
        Ok(Ok(()))
    }

    /// Finds out whether the unit would come back after those that `returned` knows, and adds it there. Reads only.
    pub(crate) fn look(&self, database: &Path, returned: &mut Returned) -> anyhow::Result<Result<(), Refusal>> {
        let units = match self.returnable(Some((database, returned)))? {
            Ok(units) => units,
            Err(refusal) => return Ok(Err(refusal)),
        };
        for rows in units {
            let gone = rows.after.into_keys().map(|identity| (identity, None));
            let back = rows.before.into_iter().map(|(identity, row)| (identity, Some(row.cells)));
            for (identity, row) in gone.chain(back) {
                returned.0.insert((database.to_owned(), rows.table.clone(), identity), row);
            }
        }
        Ok(Ok(()))
    }

    /// Returns whether all rows are as they were, what is built from them left out.
    fn are_back(&self, units: &[TableRows]) -> anyhow::Result<bool> {
        for rows in units.iter().filter(|rows| !is_built(&rows.table)) {
            let gone = rows.after.keys().filter(|identity| !rows.before.contains_key(*identity));
            let was = gone.map(|identity| (identity, None));
            for (identity, was) in was.chain(rows.before.iter().map(|(identity, row)| (identity, Some(&row.cells)))) {
                if self.now(rows, identity)?.as_ref() != was {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// The rows of the unit, where all of them may come back.
    fn returnable(&self, looked: Looked<'_>) -> anyhow::Result<Result<Vec<TableRows>, Refusal>> {
        let mut units = Vec::new();
        for table in tables() {
            let Some(rows) = self.read(table)? else { continue };
            if let Some(refusal) = self.conflict(&rows, looked)? {
                return Ok(Err(refusal));
            }
            units.push(rows);
        }
        let missing = if self.keys { self.missing_owner(&units, looked)? } else { None };
        Ok(missing.map_or(Ok(units), |name| Err(Refusal::OwnerGone(name))))
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

    /// The row that has an identity now, or would after what a look has seen come back.
    fn then(&self, rows: &TableRows, identity: &[Cell], looked: Looked<'_>) -> anyhow::Result<Option<Vec<Cell>>> {
        let returned = looked.and_then(|(database, returned)| {
            returned.0.get(&(database.to_owned(), rows.table.clone(), identity.to_owned()))
        });
        returned.map_or_else(|| self.now(rows, identity), |row| Ok(row.clone()))
    }

    /// Why the rows of a table cannot come back: what is there is neither what was nor what it became.
    fn conflict(&self, rows: &TableRows, looked: Looked<'_>) -> anyhow::Result<Option<Refusal>> {
        if is_built(&rows.table) {
            return Ok(None);
        }
        for (identity, before) in &rows.before {
            let now = self.then(rows, identity, looked)?;
            let after = rows.after.get(identity).map(|row| &row.cells);
            if now.as_ref() == Some(&before.cells) || now.as_ref() == after {
                continue;
            }
            return Ok(Some(match rows.table.as_str() {
                "session_nodes" if after.is_none() => Refusal::KeyTaken,
                "session_windows" if after.is_none() => Refusal::SessionTaken(rows.name(before)),
                _ => Refusal::RowsWritten,
            }));
        }
        for (identity, after) in rows.after.iter().filter(|(identity, _)| !rows.before.contains_key(*identity)) {
            if self.then(rows, identity, looked)?.is_some_and(|now| now != after.cells) {
                return Ok(Some(Refusal::RowsWritten));
            }
        }
        Ok(None)
    }

    /// Writes the rows of a table as they were.
    fn write(&self, rows: &TableRows) -> anyhow::Result<()> {
        for identity in rows.after.keys().filter(|identity| !rows.before.contains_key(*identity)) {
            let delete = format!("DELETE FROM {} WHERE {}", quoted(&rows.table), rows.condition());
            self.db.execute(&delete, params_from_iter(identity))?;
        }
        if rows.table == FTS || rows.table == FTS_ROWS {
            return self.index(rows);
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
                }
                None => self.insert(rows, row)?,
            }
        }
        for (identity, row) in &rows.beside {
            if self.now(rows, identity)?.is_none() {
                self.insert(rows, row)?;
            }
        }
        self.renumber(rows)
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
        self.write(&rows)
    }
}

/// The table that says how far the projections of a session are.
const PROJECTION: &str = "session_transcript_index_state";

/// Returns whether a table is built again from events: what stands in it by now is as good.
fn is_built(table: &str) -> bool {
    [FTS, FTS_ROWS, PROJECTION].contains(&table)
}
