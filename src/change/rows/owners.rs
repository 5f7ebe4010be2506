//! Foreign keys of rows that come back: what they belong to must be there, or come back with them.

use std::collections::{BTreeMap, HashSet};

use rusqlite::params_from_iter;

use super::back::{Looked, ReturningUnit};
use super::kept::quoted;
use super::table::{Cell, TableRows};

/// A foreign key: where its columns stand, and what they refer to.
#[derive(Default)]
struct Reference {
    from: Vec<usize>,
    table: String,
    to: Vec<String>,
}

impl ReturningUnit<'_> {
    /// The name of what a row would belong to, and that is gone: with foreign keys it could not come back.
    pub(super) fn missing_owner(&self, units: &[TableRows], looked: Looked<'_>) -> anyhow::Result<Option<String>> {
        for rows in units {
            for reference in self.references(rows)? {
                let condition = reference.to.iter().enumerate().map(|(at, to)| format!("{} = ?{}", quoted(to), at + 1));
                let condition = condition.collect::<Vec<_>>().join(" AND ");
                let query = format!("SELECT 1 FROM {} WHERE {condition}", quoted(&reference.table));
                let mut statement = self.db.prepare(&query)?;
                let mut there = self.returning(&reference, units, looked);
                for (identity, row) in &rows.before {
                    let owner: Vec<Cell> = reference.from.iter().map(|&at| row.cells[at].clone()).collect();
                    if owner.contains(&Cell::Null) || there.contains(&owner) {
                        continue;
                    }
                    if !statement.exists(params_from_iter(&owner))? && self.now(rows, identity)?.is_none() {
                        return Ok(Some(owner[0].words()));
                    }
                    there.insert(owner);
                }
            }
        }
        Ok(None)
    }

    /// Rows that come back with the unit, or came back before it, and can be referred to.
    fn returning(&self, reference: &Reference, units: &[TableRows], looked: Looked<'_>) -> HashSet<Vec<Cell>> {
        let Some(columns) = self.kept.columns(&reference.table) else { return HashSet::new() };
        let to = |to| columns.iter().position(|column| column == to);
        let places: Vec<usize> = reference.to.iter().filter_map(to).collect();
        let looked = looked.into_iter().flat_map(|(database, returned)| {
            let rows = returned.0.iter().filter(move |((of, table, _), _)| of == database && *table == reference.table);
            rows.filter_map(|(_, row)| row.as_deref())
        });
        let owners = units.iter().filter(|rows| rows.table == reference.table);
        let rows = owners.flat_map(|rows| rows.before.values().chain(rows.beside.values()));
        let name = |cells: &[Cell]| places.iter().map(|&at| cells.get(at).cloned()).collect();
        rows.map(|row| row.cells.as_slice()).chain(looked).filter_map(name).collect()
    }

    /// The foreign keys of a table.
    fn references(&self, rows: &TableRows) -> anyhow::Result<Vec<Reference>> {
        let query = "SELECT id, \"table\", \"from\", \"to\" FROM pragma_foreign_key_list(?1) ORDER BY id, seq";
        let mut statement = self.db.prepare(query)?;
        let mut found = statement.query([&rows.table])?;
        let mut references: BTreeMap<i64, Reference> = BTreeMap::new();
        while let Some(row) = found.next()? {
            let (from, to): (String, Option<String>) = (row.get(2)?, row.get(3)?);
            let at = rows.columns.iter().position(|column| *column == from);
            let reference = references.entry(row.get(0)?).or_default();
            reference.table = row.get(1)?;
            // Without a name the key of the owner has the same one here.
            reference.to.push(to.unwrap_or(from));
            reference.from.extend(at);
        }
        Ok(references.into_values().filter(|reference| reference.from.len() == reference.to.len()).collect())
    }
}
