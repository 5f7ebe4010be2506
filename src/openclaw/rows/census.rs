//! What stands in a database beside nodes and events: windows, waiting messages, traces, rows without an owner, and how
//! its bytes are used.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::DateTime;
use rusqlite::types::ValueRef;

use super::read::{DatabaseRows, integer, text};
use super::shape::{BY_KEY, BY_SESSION};
use crate::disk::deadline::Deadline;
use crate::model::database::RowCensus;
use crate::model::row::{OwnedBy, RowDamage, Traces, Window};

impl DatabaseRows {
    /// Returns every window with the key that owns it, newest first.
    pub(crate) fn windows(&self) -> anyhow::Result<Vec<(String, Window)>> {
        if !self.shape().has("session_windows") {
            return Ok(Vec::new());
        }
        let updated = if self.shape().has_column("session_windows", "updated_at") { "updated_at" } else { "NULL" };
        let query = format!(
            "SELECT session_id, session_key, {updated} AS at FROM session_windows ORDER BY at DESC, session_id"
        );
        let mut statement = self.db().prepare(&query)?;
        let windows = statement.query_map([], |row| {
            let session_id = text(row.get_ref(0)?).unwrap_or_default();
            let updated_at = integer(row.get_ref(2)?).and_then(DateTime::from_timestamp_millis);
            let window = Window { session_id, updated_at, ..Window::default() };
            Ok((text(row.get_ref(1)?).unwrap_or_default(), window))
        })?;
        Ok(windows.collect::<Result<_, _>>()?)
    }

    /// Returns how many accepted messages of each session wait, and how many were interrupted or cancelled.
    pub(crate) fn inputs(&self) -> anyhow::Result<HashMap<String, (u64, u64)>> {
        let mut inputs: HashMap<String, (u64, u64)> = HashMap::new();
        if !self.shape().has("session_pending_inputs") {
            return Ok(inputs);
        }
        let query = "SELECT session_id, state, count(*) FROM session_pending_inputs GROUP BY session_id, state";
        let mut statement = self.db().prepare(query)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let of = inputs.entry(text(row.get_ref(0)?).unwrap_or_default()).or_default();
            let count: u64 = row.get(2)?;
            match text(row.get_ref(1)?).as_deref() {
                Some("interrupted" | "cancelled") => of.1 += count,
                _ => of.0 += count,
            }
        }
        Ok(inputs)
    }

    /// Returns the sessions whose events are in cold storage.
    pub(crate) fn cold(&self) -> anyhow::Result<HashSet<String>> {
        self.names("session_transcript_cold_archives", "session_id")
    }

    /// Returns the traces of every session; `dated` with the time of each. The time stands behind the text: to reach it,
    /// SQLite goes through all pages of the text, whose length it knows without.
    pub(crate) fn traces(&self, dated: bool) -> anyhow::Result<HashMap<String, Traces>> {
        let mut traces: HashMap<String, Traces> = HashMap::new();
        if !self.shape().has("trajectory_runtime_events") {
            return Ok(traces);
        }
        let time = if dated { "created_at" } else { "NULL" };
        let query = format!("SELECT session_id, {time}, octet_length(event_json) FROM trajectory_runtime_events");
        let mut statement = self.db().prepare(&query)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let of = match row.get_ref(0)? {
                ValueRef::Text(name) if let Ok(name) = std::str::from_utf8(name) => {
                    if !traces.contains_key(name) {
                        traces.insert(name.to_owned(), Traces::default());
                    }
                    traces.get_mut(name)
                }
                _ => None,
            };
            let Some(of) = of else { continue };
            let bytes = integer(row.get_ref(2)?).and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or_default();
            of.rows += 1;
            of.bytes += bytes;
            if dated {
                of.times.push((integer(row.get_ref(1)?).unwrap_or(i64::MAX), bytes));
            }
        }
        for of in traces.values_mut() {
            of.times.sort_unstable();
        }
        Ok(traces)
    }

    /// Returns the sessions whose projections are behind their events, and not marked to be built again.
    pub(crate) fn behind(&self) -> anyhow::Result<HashSet<String>> {
        if !self.shape().has_column("session_transcript_index_state", "needs_rebuild") {
            return Ok(HashSet::new());
        }
        let query = "SELECT s.session_id FROM session_transcript_index_state AS s WHERE s.needs_rebuild = 0 AND \
                     s.indexed_seq IS NOT (SELECT max(e.seq) FROM transcript_events AS e WHERE e.session_id = s.session_id)";
        let mut statement = self.db().prepare(query)?;
        let found = statement.query_map([], |row| Ok(text(row.get_ref(0)?).unwrap_or_default()))?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// Returns the rows whose node or window is gone, a sum for each owner. With foreign keys off somebody deleted it; with
    /// them on it cannot happen. `thorough` looks at every reference, not only at owners.
    pub(crate) fn orphans(&self, thorough: bool) -> anyhow::Result<Vec<RowDamage>> {
        if !self.shape().has("session_windows") || self.nodes_table() != "session_nodes" {
            return Ok(Vec::new());
        }
        let mut found: BTreeMap<(OwnedBy, String), u64> = BTreeMap::new();
        let keyed = BY_KEY.iter().filter(|table| **table != "session_goal_operations").chain(&["session_windows"]);
        for table in keyed.filter(|table| self.shape().has(table)) {
            self.unowned(table, "session_key", "session_nodes", OwnedBy::Key, &mut found)?;
        }
        for table in BY_SESSION.iter().filter(|table| self.shape().has(table)) {
            self.unowned(table, "session_id", "session_windows", OwnedBy::Session, &mut found)?;
        }
        if thorough && found.is_empty() {
            self.dangling(&mut found)?;
        }
        Ok(found.into_iter().map(|((by, name), rows)| RowDamage::Orphaned { by, name, rows }).collect())
    }

    /// Returns how its bytes are used, what sessions and traces take left out.
    pub(crate) fn census(&self) -> anyhow::Result<RowCensus> {
        let page: u64 = self.db().pragma_query_value(None, "page_size", |row| row.get(0))?;
        let free: u64 = self.db().pragma_query_value(None, "freelist_count", |row| row.get(0))?;
        let sum = |table: &str, column: &str| -> anyhow::Result<u64> {
            if !self.shape().has(table) {
                return Ok(0);
            }
            let query = format!("SELECT coalesce(sum(octet_length({column})), 0) FROM {table}");
            Ok(self.db().query_row(&query, [], |row| row.get(0))?)
        };
        Ok(RowCensus {
            search: sum("session_transcript_fts_content", "c0")?,
            archives: sum("session_transcript_archives", "archive_blob")?,
            free: free * page,
            ..RowCensus::default()
        })
    }

    /// Returns what is wrong with the pages; `None` of a sound database. Reads all of it.
    pub(crate) fn damaged_pages(&self, deadline: Deadline) -> Option<String> {
        let first = self.db().query_row("PRAGMA integrity_check(1)", [], |row| row.get::<_, String>(0));
        match first {
            Ok(word) if word == "ok" => None,
            Ok(words) => Some(words.replace('\n', " ")),
            Err(_) if deadline.has_passed() => None,
            Err(error) => Some(error.to_string()),
        }
    }

    fn names(&self, table: &str, column: &str) -> anyhow::Result<HashSet<String>> {
        if !self.shape().has(table) {
            return Ok(HashSet::new());
        }
        let mut statement = self.db().prepare(&format!("SELECT DISTINCT {column} FROM {table}"))?;
        let found = statement.query_map([], |row| Ok(text(row.get_ref(0)?).unwrap_or_default()))?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// Adds the owners that a table names and that are not there. Each owner is looked up once, not each row.
    fn unowned(
        &self,
        table: &str,
        column: &str,
        owners: &str,
        by: OwnedBy,
        found: &mut BTreeMap<(OwnedBy, String), u64>,
    ) -> anyhow::Result<()> {
        let query = format!(
            "WITH RECURSIVE owner(name) AS (SELECT min({column}) FROM {table} UNION ALL \
             SELECT (SELECT min({column}) FROM {table} WHERE {column} > owner.name) FROM owner WHERE owner.name IS NOT NULL) \
             SELECT name, (SELECT count(*) FROM {table} WHERE {column} = name) FROM owner \
             WHERE name IS NOT NULL AND name NOT IN (SELECT {column} FROM {owners})"
        );
        let mut statement = self.db().prepare(&query)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            *found.entry((by, text(row.get_ref(0)?).unwrap_or_default())).or_default() += row.get::<_, u64>(1)?;
        }
        Ok(())
    }

    /// Adds sessions with rows that refer to an event that is gone.
    fn dangling(&self, found: &mut BTreeMap<(OwnedBy, String), u64>) -> anyhow::Result<()> {
        for table in ["transcript_event_identities", "session_transcript_active_events"] {
            if !self.shape().has(table) {
                continue;
            }
            let seq = if table == "transcript_event_identities" { "seq" } else { "event_seq" };
            let query = format!(
                "SELECT t.session_id, count(*) FROM {table} AS t LEFT JOIN transcript_events AS e \
                 ON e.session_id = t.session_id AND e.seq = t.{seq} WHERE e.seq IS NULL GROUP BY t.session_id"
            );
            let mut statement = self.db().prepare(&query)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let name = text(row.get_ref(0)?).unwrap_or_default();
                *found.entry((OwnedBy::Event, name)).or_default() += row.get::<_, u64>(1)?;
            }
        }
        Ok(())
    }
}
