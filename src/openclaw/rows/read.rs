//! What the rows of an agent's database say. Read from a private copy, by the tables and columns that there are.

use std::collections::HashSet;
use std::io::Read as _;

use anyhow::Context as _;
use rusqlite::config::DbConfig;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params_from_iter};

use super::copy::Copy;
use crate::disk::deadline::Deadline;
use crate::model::database::{Node, RowCount};
use crate::model::inventory::Content;
use crate::model::leftover;
use crate::model::transcript::Analyzer;

/// An event that takes more than this is not unpacked. OpenClaw's own limit is 4 MiB.
const LONGEST_EVENT: u64 = 64 << 20;

/// An open copy that has session tables.
pub(crate) struct DatabaseRows {
    db: Connection,
    tables: Tables,
    /// Where the database is: to go when the connection is closed.
    _copy: Copy,
}

/// Which of the known tables and columns there are.
struct Tables {
    /// `session_nodes`, else `session_entries`, and the columns of it.
    nodes: (&'static str, HashSet<String>),
    /// The columns of `transcript_events`.
    events: HashSet<String>,
    identities: bool,
    meta: bool,
}

/// An event.
enum Event<'a> {
    Line(&'a [u8]),
    Unreadable(String),
}

impl DatabaseRows {
    /// Opens a copy; `None` when it has no table of sessions.
    pub(crate) fn open(copy: Copy) -> anyhow::Result<Option<Self>> {
        // Writable, as a log or a journal that a crash left is brought in when it is opened: it is our copy.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(copy.path(), flags)?;
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        // What a schema of somebody else's defines is not run: tables are read, never views, triggers or functions.
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
        let nodes = columns(&db, "session_nodes")?.map(|columns| ("session_nodes", columns));
        let nodes = match nodes {
            Some(nodes) => Some(nodes),
            None => columns(&db, "session_entries")?.map(|columns| ("session_entries", columns)),
        };
        let Some(nodes) = nodes.filter(|(_, columns)| columns.contains("session_key")) else { return Ok(None) };
        let events = columns(&db, "transcript_events")?.unwrap_or_default();
        let identities = columns(&db, "transcript_event_identities")?.is_some();
        let meta = columns(&db, "schema_meta")?.is_some_and(|columns| columns.contains("app_version"));
        Ok(Some(Self { db, tables: Tables { nodes, events, identities, meta }, _copy: copy }))
    }

    /// The release of OpenClaw that wrote it last.
    pub(crate) fn app_version(&self) -> Option<String> {
        let query = "SELECT app_version FROM schema_meta ORDER BY meta_key = 'primary' DESC LIMIT 1";
        let asked = self.tables.meta.then(|| self.db.query_row(query, [], |row| Ok(text(row.get_ref(0)?))));
        asked.and_then(|asked| asked.optional().ok().flatten().flatten())
    }

    /// Returns whether there is any binding.
    pub(crate) fn has_bindings(&self) -> anyhow::Result<bool> {
        let query = format!("SELECT 1 FROM {} LIMIT 1", self.tables.nodes.0);
        Ok(self.db.query_row(&query, [], |_| Ok(())).optional()?.is_some())
    }

    /// Every binding, by key.
    pub(crate) fn bindings(&self) -> anyhow::Result<Vec<Node>> {
        let (table, known) = &self.tables.nodes;
        let column =
            |names: &[&'static str]| names.iter().find(|name| known.contains(**name)).map_or("NULL", |name| name);
        let query = format!(
            "SELECT session_key, {}, {}, {}, {}, {} FROM {table} ORDER BY session_key",
            column(&["current_session_id", "session_id"]),
            column(&["entry_json"]),
            column(&["updated_at"]),
            column(&["status"]),
            column(&["archived_at"]),
        );
        let mut statement = self.db.prepare(&query)?;
        let nodes = statement.query_map([], |row| {
            Ok(Node {
                key: text(row.get_ref(0)?).unwrap_or_default(),
                session_id: text(row.get_ref(1)?),
                entry: bytes(row.get_ref(2)?).unwrap_or_default().to_owned(),
                updated_at: match row.get_ref(3)? {
                    ValueRef::Integer(millis) => Some(millis),
                    _ => None,
                },
                status: text(row.get_ref(4)?),
                archived: !matches!(row.get_ref(5)?, ValueRef::Null),
            })
        })?;
        Ok(nodes.collect::<Result<_, _>>()?)
    }

    /// Judges the events of a session as the lines of a transcript.
    pub(crate) fn judge(&self, session: &str, thorough: bool, deadline: Deadline) -> (Content, RowCount) {
        let mut analyzer = if thorough { Analyzer::thorough() } else { Analyzer::default() };
        let mut count = RowCount::default();
        let mut unreadable = None;
        let read = self.events(session, |seq, event| {
            if deadline.has_passed() {
                return false;
            }
            count.events += 1;
            match event {
                Event::Line(line) => {
                    count.bytes += line.len() as u64 + 1;
                    analyzer.line(line, true);
                }
                Event::Unreadable(why) => {
                    unreadable.get_or_insert_with(|| format!("event {seq} cannot be read: {why}"));
                }
            }
            true
        });
        let content = match (read, unreadable) {
            (Err(error), _) => Content::Unreadable(format!("its events cannot be read: {error:#}")),
            (Ok(false), _) => Content::NotChecked { begun: count.events > 0 },
            (Ok(true), Some(why)) => Content::Unreadable(why),
            (Ok(true), None) if count.events == 0 => Content::Absent,
            (Ok(true), None) => Content::Read(analyzer.finish().of_rows()),
        };
        (content, count)
    }

    /// Adds the events of a session to the rows that leftovers are compared with; how many there are.
    pub(crate) fn fingerprint(&self, session: &str, rows: &mut leftover::Rows) -> anyhow::Result<u64> {
        let mut found = 0;
        self.events(session, |_, event| {
            found += 1;
            if let Event::Line(line) = event {
                rows.add(line);
            }
            true
        })?;
        Ok(found)
    }

    /// The sessions that have an event with one of these ids.
    pub(crate) fn sessions_with(&self, events: &[String]) -> anyhow::Result<Vec<String>> {
        if !self.tables.identities || events.is_empty() {
            return Ok(Vec::new());
        }
        let places = vec!["?"; events.len()].join(",");
        let query = format!("SELECT DISTINCT session_id FROM transcript_event_identities WHERE event_id IN ({places})");
        let mut statement = self.db.prepare(&query)?;
        let found = statement.query_map(params_from_iter(events), |row| Ok(text(row.get_ref(0)?)))?;
        Ok(found.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    /// Hands every event of a session over, in order, with its number, until told to stop; whether all were.
    fn events(&self, session: &str, mut each: impl FnMut(i64, Event<'_>) -> bool) -> anyhow::Result<bool> {
        let known = &self.tables.events;
        if !known.contains("session_id") || !known.contains("seq") {
            return Ok(true);
        }
        let column = |name: &'static str| if known.contains(name) { name } else { "NULL" };
        let query = format!(
            "SELECT seq, {}, {}, {} FROM transcript_events WHERE session_id = ?1 ORDER BY seq",
            column("event_json"),
            column("event_zstd"),
            column("event_utf8_bytes"),
        );
        let mut statement = self.db.prepare(&query)?;
        let mut rows = statement.query([session])?;
        let mut unpacked = Vec::new();
        while let Some(row) = rows.next()? {
            let seq = match row.get_ref(0)? {
                ValueRef::Integer(seq) => seq,
                _ => -1,
            };
            let wanted = match row.get_ref(3)? {
                ValueRef::Integer(bytes) => u64::try_from(bytes).ok(),
                _ => None,
            };
            let event = match (bytes(row.get_ref(1)?), bytes(row.get_ref(2)?)) {
                (Some(line), _) => Event::Line(line),
                (None, Some(packed)) => match unpack(packed, wanted, &mut unpacked) {
                    Ok(()) => Event::Line(&unpacked),
                    Err(error) => Event::Unreadable(format!("{error:#}")),
                },
                (None, None) => Event::Unreadable("it has neither text nor packed text".to_owned()),
            };
            if !each(seq, event) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Unpacks one zstd frame. `wanted` is how long the text is, as the row says.
fn unpack(packed: &[u8], wanted: Option<u64>, to: &mut Vec<u8>) -> anyhow::Result<()> {
    let limit = wanted.unwrap_or(LONGEST_EVENT).min(LONGEST_EVENT);
    to.clear();
    let decoder = ruzstd::decoding::StreamingDecoder::new(packed)
        .map_err(|error| anyhow::anyhow!("its packed text is no zstd frame: {error}"))?;
    decoder.take(limit + 1).read_to_end(to).context("its packed text is damaged")?;
    anyhow::ensure!(to.len() as u64 <= limit, "its packed text is longer than {limit} bytes");
    anyhow::ensure!(wanted.is_none_or(|wanted| wanted == to.len() as u64), "its packed text is too short");
    Ok(())
}

/// The columns of a table; `None` when there is no such table. A view of that name is none.
fn columns(db: &Connection, table: &str) -> anyhow::Result<Option<HashSet<String>>> {
    let query = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1";
    if db.query_row(query, [table], |_| Ok(())).optional()?.is_none() {
        return Ok(None);
    }
    let mut statement = db.prepare("SELECT name FROM pragma_table_info(?1)")?;
    let columns = statement.query_map([table], |row| row.get(0))?;
    Ok(Some(columns.collect::<Result<_, _>>()?))
}

fn bytes(value: ValueRef<'_>) -> Option<&[u8]> {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(bytes),
        _ => None,
    }
}

fn text(value: ValueRef<'_>) -> Option<String> {
    bytes(value).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}
