//! The recorded state of OpenClaw 2026.9.6 whose sessions were rows from the first day: opened, damaged and compared.

use std::collections::BTreeMap;
use std::fs;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use crate::Store;

/// The fixture.
pub const NATIVE: &str = "real-sqlite-native-9.6";

/// All rows of a database: a line for each, by table.
pub type Rows = BTreeMap<String, Vec<String>>;

impl Store {
    /// The recorded state.
    pub fn native() -> Self {
        Self::recorded(NATIVE)
    }

    /// Opens an agent's database as OpenClaw does, or with foreign keys off as the shell of SQLite does.
    pub fn open_rows(&self, agent: &str, keys: bool) -> Connection {
        let db = Connection::open(self.database_path(agent)).unwrap();
        db.pragma_update(None, "foreign_keys", keys).unwrap();
        db
    }

    /// Changes rows as a person does with the shell of SQLite: foreign keys are off, triggers run.
    pub fn edit_rows(&self, agent: &str, sql: &str) {
        self.open_rows(agent, false).execute_batch(sql).unwrap();
    }

    /// Reads every row of an agent's database, rowids included, from a copy.
    pub fn all_rows(&self, agent: &str) -> Rows {
        let copy = tempfile::tempdir().unwrap();
        let path = self.database_path(agent);
        for suffix in ["", "-wal"] {
            let from = path.with_file_name(format!("openclaw-agent.sqlite{suffix}"));
            if from.exists() {
                fs::copy(&from, copy.path().join(from.file_name().unwrap())).unwrap();
            }
        }
        let db = Connection::open(copy.path().join("openclaw-agent.sqlite")).unwrap();
        let tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_stat%' AND sql NOT LIKE '%WITHOUT ROWID%'";
        let mut statement = db.prepare(tables).unwrap();
        let names: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        // The index's own tables are how it keeps rows, not rows.
        let shadow = |name: &String| {
            ["_data", "_idx", "_content", "_docsize", "_config"].iter().any(|end| name.ends_with(&format!("_fts{end}")))
        };
        names.into_iter().filter(|name| !shadow(name)).map(|name| (name.clone(), rows_of(&db, &name))).collect()
    }

    /// Counts with a query.
    pub fn count_rows(&self, agent: &str, query: &str) -> i64 {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let db = Connection::open_with_flags(self.database_path(agent), flags).unwrap();
        db.query_row(query, [], |row| row.get(0)).unwrap()
    }
}

fn rows_of(db: &Connection, table: &str) -> Vec<String> {
    let mut statement = db.prepare(&format!("SELECT rowid, * FROM \"{table}\" ORDER BY 1")).unwrap();
    let columns = statement.column_count();
    let mut rows = statement.query([]).unwrap();
    let mut all = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        let cells = (0..columns).map(|at| match row.get_ref(at).unwrap() {
            ValueRef::Text(bytes) => format!("t{}", String::from_utf8_lossy(bytes)),
            ValueRef::Blob(bytes) => format!("b{bytes:02x?}"),
            other => format!("{other:?}"),
        });
        all.push(cells.collect::<Vec<_>>().join("|"));
    }
    all
}

/// Returns the tables in which two dumps differ, with how many rows are only in the first and only in the second.
pub fn differences(before: &Rows, after: &Rows) -> BTreeMap<String, (usize, usize)> {
    let mut found = BTreeMap::new();
    for (table, rows) in before {
        let now = after.get(table).cloned().unwrap_or_default();
        let gone = rows.iter().filter(|row| !now.contains(row)).count();
        let new = now.iter().filter(|row| !rows.contains(row)).count();
        if gone + new > 0 {
            found.insert(table.clone(), (gone, new));
        }
    }
    found
}
