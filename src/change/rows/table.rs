//! The rows that an archive holds of one table, and their values.

use std::collections::BTreeMap;

use rusqlite::types::{ToSqlOutput, Value, ValueRef};

use super::kept::quoted;

/// A value as it is stored, whatever its bytes are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Cell {
    Null,
    Integer(i64),
    Real(u64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

impl Cell {
    pub(super) fn of(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(number) => Self::Integer(number),
            ValueRef::Real(number) => Self::Real(number.to_bits()),
            ValueRef::Text(bytes) => Self::Text(bytes.to_vec()),
            ValueRef::Blob(bytes) => Self::Blob(bytes.to_vec()),
        }
    }
}

impl Cell {
    /// A name that it holds, in words.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Text(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Self::Integer(number) => number.to_string(),
            _ => String::new(),
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
    pub(super) identity: Vec<usize>,
    pub(super) before: BTreeMap<Vec<Cell>, KeptRow>,
    pub(super) after: BTreeMap<Vec<Cell>, KeptRow>,
    pub(super) beside: BTreeMap<Vec<Cell>, KeptRow>,
}

impl TableRows {
    pub(super) fn identify(&self, row: &KeptRow) -> Vec<Cell> {
        if self.identity.is_empty() {
            return vec![Cell::Integer(row.rowid)];
        }
        self.identity.iter().map(|&at| row.cells[at].clone()).collect()
    }

    pub(super) fn condition(&self) -> String {
        self.condition_from(0)
    }

    /// The condition that identifies a row, its values numbered behind `shift` others.
    pub(super) fn condition_from(&self, shift: usize) -> String {
        if self.identity.is_empty() {
            return format!("rowid = ?{}", shift + 1);
        }
        let one = |(number, &at): (usize, &usize)| format!("{} IS ?{}", quoted(&self.columns[at]), shift + number + 1);
        self.identity.iter().enumerate().map(one).collect::<Vec<_>>().join(" AND ")
    }

    /// The first identifying value of a row, in words.
    pub(super) fn name(&self, row: &KeptRow) -> String {
        self.identify(row).first().map(Cell::words).unwrap_or_default()
    }
}
