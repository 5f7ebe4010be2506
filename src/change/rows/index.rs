//! Rows of the search index that come back, with the map that knows them.

use super::back::ReturningUnit;
use super::table::{Cell, KeptRow, TableRows};
use crate::openclaw::rows::shape::{FTS, FTS_ROWS};

impl ReturningUnit<'_> {
    /// Puts rows of the search index back, under another number where theirs is in use, with the map that knows them.
    pub(super) fn index(&self, rows: &TableRows) -> anyhow::Result<()> {
        // The map comes back with the rows that it knows.
        if rows.table == FTS_ROWS && self.kept.columns(FTS).is_some() {
            return Ok(());
        }
        let map = self.read(FTS_ROWS)?;
        for row in rows.before.values() {
            let content = "SELECT 1 FROM session_transcript_fts_content WHERE id = ?1";
            if self.db.prepare(content)?.exists([row.rowid])? {
                if self.now(rows, &[Cell::Integer(row.rowid)])?.is_some_and(|now| now == row.cells) {
                    continue;
                }
                let last = "SELECT coalesce(max(id), 0) + 1 FROM session_transcript_fts_content";
                let rowid = self.db.query_row(last, [], |row| row.get(0))?;
                self.index_row(rows, &KeptRow { rowid, cells: row.cells.clone() }, map.as_ref(), row.rowid)?;
            } else {
                self.index_row(rows, row, map.as_ref(), row.rowid)?;
            }
        }
        Ok(())
    }

    fn index_row(&self, rows: &TableRows, row: &KeptRow, map: Option<&TableRows>, old: i64) -> anyhow::Result<()> {
        self.insert(rows, row)?;
        let Some(map) = map else { return Ok(()) };
        let known = map.before.values().find(|known| known.rowid == old);
        let Some(known) = known else { return Ok(()) };
        let id = map.columns.iter().position(|column| column == "id");
        let mut cells = known.cells.clone();
        if let Some(cell) = id.and_then(|id| cells.get_mut(id)) {
            *cell = Cell::Integer(row.rowid);
        }
        self.insert(map, &KeptRow { rowid: row.rowid, cells })
    }
}
