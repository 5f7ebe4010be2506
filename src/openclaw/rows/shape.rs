//! The shape of an agent's database: which tables hold rows of sessions, and whether all of it is known.
//!
//! OpenClaw adds tables and columns without a new version, so what counts is what `sqlite_schema` says. Rows are kept
//! column by column: a column more is kept like any other. A table more that refers to sessions is a sign of a newer
//! release, and nothing is changed there.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;

use crate::model::database::Unfit;

/// The schema versions whose tables are known. 20 and 22 were in no stable release.
pub(crate) const KNOWN: [u32; 3] = [19, 21, 23];

/// Tables whose rows belong to a key, parents first; the nodes themselves left out.
pub(crate) const BY_KEY: [&str; 8] = [
    "session_participants",
    "session_members",
    "session_suggestions",
    "session_progress_cards",
    "heartbeat_outcomes",
    "board_tabs",
    "board_widgets",
    "session_goal_operations",
];

/// Tables whose rows belong to a session, parents first; the windows themselves left out.
pub(crate) const BY_SESSION: [&str; 11] = [
    "transcript_events",
    "transcript_event_identities",
    "session_transcript_active_events",
    "session_transcript_index_state",
    "transcript_rewrite_watermarks",
    "trajectory_runtime_events",
    "acp_parent_stream_events",
    "session_conversations",
    "session_input_completions",
    "session_pending_inputs",
    "session_transcript_cold_archives",
];

/// The search index: a virtual table without foreign keys.
pub(crate) const FTS: &str = "session_transcript_fts";
/// Which session a row of the search index is of; schema 22 and later.
pub(crate) const FTS_ROWS: &str = "session_transcript_fts_rows";
/// Keys that OpenClaw checks again at its next start; schema 21 and later.
pub(crate) const PENDING: &str = "session_canonical_validation_pending";

/// Tables that name sessions and stay as they are: logs, memory, OpenClaw's own archives.
const LEFT_ALONE: [&str; 12] = [
    "conversation_deliveries",
    "conversations",
    "context_engine_turn_outbox",
    "memory_entry_origins",
    "memory_session_tombstones",
    "message_tool_run_outcomes",
    "session_key_contract",
    "session_nodes",
    "session_transcript_archives",
    "session_windows",
    "standing_intents",
    PENDING,
];

/// Columns that name a session.
const NAMING: [&str; 3] = ["session_id", "session_key", "source_session_key"];

/// How the names of OpenClaw's triggers on these tables begin, and the schema that brought them.
const TRIGGERS: [(&str, u32); 6] = [
    ("session_nodes_entry_valid_", 19),
    ("session_nodes_canonical_pending_", 21),
    ("session_windows_canonical_pending_", 21),
    ("session_key_contract_canonical_", 21),
    ("session_conversations_route_context_", 19),
    ("session_transcript_fts_rows_", 23),
];

/// Triggers without which OpenClaw does not start.
const NEEDED: [(&str, u32); 8] = [
    ("session_nodes_canonical_pending_after_delete", 21),
    ("session_nodes_canonical_pending_after_insert", 21),
    ("session_nodes_canonical_pending_after_update", 21),
    ("session_windows_canonical_pending_after_delete", 21),
    ("session_windows_canonical_pending_after_insert", 21),
    ("session_windows_canonical_pending_after_update", 21),
    ("session_key_contract_canonical_pending_after_update", 21),
    ("session_transcript_fts_rows_after_delete", 23),
];

/// The tables of a database and their columns.
#[derive(Debug, Default)]
pub(crate) struct Shape {
    /// The columns of each table, in order.
    pub(crate) tables: BTreeMap<String, Vec<String>>,
    /// The schema version of the header and of `schema_meta`; different ones are no known version.
    pub(crate) version: Option<u32>,
    /// The release that wrote it last.
    pub(crate) app_version: Option<String>,
    /// Triggers that OpenClaw needs and that are gone.
    missing_triggers: Vec<&'static str>,
    unfit: Option<Unfit>,
}

impl Shape {
    /// Reads the shape of the database of `agent`.
    pub(crate) fn of(db: &Connection, agent: &str) -> rusqlite::Result<Self> {
        let mut shape = Self { tables: tables(db)?, ..Self::default() };
        let header: u32 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let meta = shape.has("schema_meta").then(|| primary(db)).transpose()?.flatten();
        shape.app_version = meta.as_ref().and_then(|meta| meta.app_version.clone());
        let owned = meta.filter(|meta| meta.role == "agent" && meta.agent.as_deref().is_none_or(|id| id == agent));
        shape.version = owned.filter(|meta| meta.version == header).map(|meta| meta.version);
        let triggers = triggers(db)?;
        let version = shape.version.unwrap_or(header);
        let names: BTreeSet<&str> = triggers.iter().map(|(name, _)| name.as_str()).collect();
        let needed = NEEDED.iter().filter(|(_, since)| version >= *since).map(|(name, _)| *name);
        shape.missing_triggers = needed.filter(|name| !names.contains(name)).collect();
        shape.unfit = shape.judge(db, header, &triggers)?;
        Ok(shape)
    }

    /// Returns why nothing of it may be changed.
    pub(crate) fn unfit(&self) -> Option<Unfit> {
        self.unfit.clone()
    }

    /// Returns whether there is such a table.
    pub(crate) fn has(&self, table: &str) -> bool {
        self.tables.contains_key(table)
    }

    /// Returns whether a table has such a column.
    pub(crate) fn has_column(&self, table: &str, column: &str) -> bool {
        self.tables.get(table).is_some_and(|columns| columns.iter().any(|one| one == column))
    }

    /// Returns whether rows of the search index are known by a map.
    pub(crate) fn has_map(&self) -> bool {
        self.has(FTS_ROWS)
    }

    fn judge(&self, db: &Connection, header: u32, triggers: &[(String, String)]) -> rusqlite::Result<Option<Unfit>> {
        let Some(version) = self.version else { return Ok(Some(Unfit::Schema(header))) };
        if !KNOWN.contains(&version) {
            return Ok(Some(Unfit::Schema(version)));
        }
        for needed in ["session_nodes", "session_windows", "transcript_events"] {
            if !self.has(needed) {
                return Ok(Some(Unfit::Shape(format!("the table {needed} is gone"))));
            }
        }
        for (table, columns) in &self.tables {
            let known = BY_KEY.iter().chain(&BY_SESSION).chain(&LEFT_ALONE).any(|known| known == table);
            if known || table == FTS || table == FTS_ROWS || is_shadow(table) {
                continue;
            }
            if columns.iter().any(|column| NAMING.contains(&column.as_str())) || refers_to_sessions(db, table)? {
                return Ok(Some(Unfit::Shape(format!("the unknown table {table} refers to sessions"))));
            }
        }
        let ours = |table: &str| table.starts_with("session_") || table.starts_with("transcript_");
        let strange = triggers.iter().find(|(name, table)| {
            ours(table) && !TRIGGERS.iter().any(|(known, since)| version >= *since && name.starts_with(known))
        });
        if let Some((name, table)) = strange {
            return Ok(Some(Unfit::Shape(format!("the unknown trigger {name} is on {table}"))));
        }
        let gone = self.missing_triggers.first();
        Ok(gone.map(|name| Unfit::Incomplete((*name).to_owned())))
    }
}

/// The row of `schema_meta` that tells of the database.
struct Meta {
    role: String,
    version: u32,
    agent: Option<String>,
    app_version: Option<String>,
}

fn primary(db: &Connection) -> rusqlite::Result<Option<Meta>> {
    use rusqlite::OptionalExtension as _;
    let query = "SELECT role, schema_version, agent_id, app_version FROM schema_meta WHERE meta_key = 'primary'";
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Meta { role: row.get(0)?, version: row.get(1)?, agent: row.get(2)?, app_version: row.get(3)? })
    };
    // A row of other types is as good as none.
    db.query_row(query, [], read).optional().or(Ok(None))
}

fn tables(db: &Connection) -> rusqlite::Result<BTreeMap<String, Vec<String>>> {
    let query = "SELECT s.name, c.name FROM sqlite_schema AS s JOIN pragma_table_xinfo(s.name) AS c \
                 WHERE s.type = 'table' AND s.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND c.hidden = 0 ORDER BY s.name, c.cid";
    let mut statement = db.prepare(query)?;
    let mut rows = statement.query([])?;
    let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        tables.entry(row.get(0)?).or_default().push(row.get(1)?);
    }
    Ok(tables)
}

fn triggers(db: &Connection) -> rusqlite::Result<Vec<(String, String)>> {
    let mut statement = db.prepare("SELECT name, tbl_name FROM sqlite_schema WHERE type = 'trigger' ORDER BY name")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

fn refers_to_sessions(db: &Connection, table: &str) -> rusqlite::Result<bool> {
    let mut statement = db.prepare("SELECT \"table\" FROM pragma_foreign_key_list(?1)")?;
    let parents = statement.query_map([table], |row| row.get::<_, String>(0))?;
    let parents: Vec<String> = parents.collect::<rusqlite::Result<_>>()?;
    Ok(parents
        .iter()
        .any(|parent| ["session_nodes", "session_windows", "transcript_events"].contains(&parent.as_str())))
}

/// Returns whether a table belongs to a full-text index.
fn is_shadow(table: &str) -> bool {
    ["_fts_data", "_fts_idx", "_fts_content", "_fts_docsize", "_fts_config"].iter().any(|end| table.ends_with(end))
}
