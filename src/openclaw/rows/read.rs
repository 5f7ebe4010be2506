//! What the rows of an agent's database say, by the tables and columns that there are.

use std::ffi::OsStr;
use std::io::Read as _;

use anyhow::Context as _;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _, params_from_iter};

use super::open::{self, Opened};
use super::shape::Shape;
use crate::disk::deadline::Deadline;
use crate::disk::dir::Dir;
use crate::model::database::{Node, RowCount, RowText, Unfit};
use crate::model::inventory::Content;
use crate::model::json;
use crate::model::leftover;
use crate::model::transcript::Analyzer;

/// An event that takes more than this is not unpacked. OpenClaw's own limit is 4 MiB.
const LONGEST_EVENT: u64 = 64 << 20;

/// An open database that has session tables.
pub(crate) struct DatabaseRows {
    opened: Opened,
    shape: Shape,
    /// `session_nodes`, else `session_entries`.
    nodes: &'static str,
}

/// An event.
pub(crate) enum Event<'a> {
    /// The line that it would be in a transcript.
    Line(&'a [u8]),
    /// Nothing that can be read.
    Unreadable,
}

/// The events of a session, judged.
#[derive(Clone, Debug, Default)]
pub(crate) struct JudgedEvents {
    /// The transcript that they are.
    pub(crate) content: Content,
    /// How many, and their bytes.
    pub(crate) count: RowCount,
    /// The number of the last one.
    pub(crate) last: i64,
    /// Numbers of events that are not JSON, or cannot be unpacked.
    pub(crate) torn: Vec<i64>,
    /// The first one is a header.
    pub(crate) has_header: bool,
    /// A `reset` event stands behind the last message.
    pub(crate) reset_since: bool,
}

impl DatabaseRows {
    /// Opens the database `name` of `dir`, of this agent, to read it; `None` when it has no table of sessions.
    pub(crate) fn open(
        dir: &Dir,
        name: &OsStr,
        agent: &str,
        private: bool,
        deadline: Deadline,
    ) -> anyhow::Result<Option<Self>> {
        let opened = if private { open::a_copy(dir, name, deadline)? } else { open::to_read(dir, name, deadline)? };
        let shape = Shape::of(&opened.db, agent)?;
        let nodes =
            ["session_nodes", "session_entries"].into_iter().find(|nodes| shape.has_column(nodes, "session_key"));
        Ok(nodes.map(|nodes| Self { opened, shape, nodes }))
    }

    /// The connection.
    pub(super) fn db(&self) -> &Connection {
        &self.opened.db
    }

    /// Returns the tables and columns that there are.
    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Returns whether all that was read is one state of the database.
    pub(crate) fn is_steady(&self) -> bool {
        self.opened.is_steady()
    }

    /// Returns the table of nodes.
    pub(super) fn nodes_table(&self) -> &'static str {
        self.nodes
    }

    /// Returns why nothing of it may be changed.
    pub(crate) fn unfit(&self) -> Option<Unfit> {
        self.shape.unfit()
    }

    /// Returns the release of OpenClaw that wrote it last.
    pub(crate) fn app_version(&self) -> Option<String> {
        self.shape.app_version.clone()
    }

    /// Returns whether there is any binding.
    pub(crate) fn has_bindings(&self) -> anyhow::Result<bool> {
        let query = format!("SELECT 1 FROM {} LIMIT 1", self.nodes);
        Ok(self.db().query_row(&query, [], |_| Ok(())).optional()?.is_some())
    }

    /// Returns every node, by key.
    pub(crate) fn nodes(&self) -> anyhow::Result<Vec<Node>> {
        let column = |names: &[&'static str], otherwise: &'static str| {
            names.iter().find(|name| self.shape.has_column(self.nodes, name)).map_or(otherwise, |name| name)
        };
        let query = format!(
            "SELECT session_key, {}, {}, {}, {}, {}, {}, {}, {} FROM {} ORDER BY session_key",
            column(&["current_session_id", "session_id"], "NULL"),
            column(&["entry_json"], "NULL"),
            column(&["updated_at"], "NULL"),
            column(&["status"], "NULL"),
            column(&["archived_at"], "NULL"),
            column(&["entry_valid"], "1"),
            column(&["parent_session_key"], "NULL"),
            column(&["spawned_by"], "NULL"),
            self.nodes,
        );
        let count: u64 = self.db().query_row(&format!("SELECT count(*) FROM {}", self.nodes), [], |row| row.get(0))?;
        let mut statement = self.db().prepare(&query)?;
        let mut rows = statement.query([])?;
        // Room for all at once: a list that grows takes twice as much for a moment.
        let mut nodes = Vec::with_capacity(usize::try_from(count).unwrap_or_default());
        while let Some(row) = rows.next()? {
            nodes.push(Node {
                key: text(row.get_ref(0)?).unwrap_or_default(),
                session_id: text(row.get_ref(1)?),
                entry: RowText::read(bytes(row.get_ref(2)?).unwrap_or_default()),
                updated_at: integer(row.get_ref(3)?),
                status: text(row.get_ref(4)?),
                archived: !matches!(row.get_ref(5)?, ValueRef::Null),
                valid: integer(row.get_ref(6)?).unwrap_or_default(),
                parent: text(row.get_ref(7)?),
                spawned_by: text(row.get_ref(8)?),
            });
        }
        Ok(nodes)
    }

    /// Judges the events of a session as the lines of a transcript. An event that cannot be read counts as the neutral one
    /// that would stand in its place if it were mended.
    pub(crate) fn judge(&self, session: &str, thorough: bool, deadline: Deadline) -> JudgedEvents {
        let mut analyzer = if thorough { Analyzer::thorough() } else { Analyzer::default() };
        let mut judged = JudgedEvents::default();
        let read = self.events(session, |seq, event| {
            if deadline.has_passed() {
                return false;
            }
            let first = judged.count.events == 0;
            judged.count.events += 1;
            judged.last = seq;
            match event {
                Event::Line(line) if json::check(line).is_ok() => {
                    judged.count.bytes += line.len() as u64 + 1;
                    judged.has_header |= first && is_of_type(line, b"session");
                    if memchr::memmem::find(line, b"\"reset\"").is_some() && is_of_type(line, b"reset") {
                        judged.reset_since = true;
                    } else if judged.reset_since && is_of_type(line, b"message") {
                        judged.reset_since = false;
                    }
                    analyzer.line(line, true);
                }
                other => {
                    judged.count.bytes += if let Event::Line(line) = other { line.len() as u64 + 1 } else { 0 };
                    // The header has no exact repair: which session it was of is known, not what else it said.
                    judged.has_header |= first;
                    judged.torn.push(seq);
                    let neutral = self.neutral(session, seq).ok().flatten();
                    analyzer.line(neutral.unwrap_or_default().as_bytes(), true);
                }
            }
            true
        });
        judged.content = match read {
            Err(error) => Content::Unreadable(format!("its events cannot be read: {error:#}")),
            Ok(false) => Content::NotChecked { begun: judged.count.events > 0 },
            Ok(true) if judged.count.events == 0 => Content::Absent,
            Ok(true) => Content::Read(analyzer.finish().of_rows()),
        };
        judged
    }

    /// Returns the event that takes the place of one that cannot be read: with its id, its parent and its time, and no
    /// other content. `None` where no identity is known of it.
    pub(crate) fn neutral(&self, session: &str, seq: i64) -> anyhow::Result<Option<String>> {
        if self.shape.has("transcript_event_identities") { neutral(self.db(), session, seq) } else { Ok(None) }
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
        if !self.shape.has("transcript_event_identities") || events.is_empty() {
            return Ok(Vec::new());
        }
        let places = vec!["?"; events.len()].join(",");
        let query = format!("SELECT DISTINCT session_id FROM transcript_event_identities WHERE event_id IN ({places})");
        let mut statement = self.db().prepare(&query)?;
        let found = statement.query_map(params_from_iter(events), |row| Ok(text(row.get_ref(0)?)))?;
        Ok(found.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    /// Hands every event of a session over, in order, with its number, until told to stop; whether all were.
    fn events(&self, session: &str, mut each: impl FnMut(i64, Event<'_>) -> bool) -> anyhow::Result<bool> {
        let has = |name| self.shape.has_column("transcript_events", name);
        if !has("session_id") || !has("seq") {
            return Ok(true);
        }
        let column = |name: &'static str| if has(name) { name } else { "NULL" };
        let query = format!(
            "SELECT seq, {}, {}, {} FROM transcript_events WHERE session_id = ?1 ORDER BY seq",
            column("event_json"),
            column("event_zstd"),
            column("event_utf8_bytes"),
        );
        let mut statement = self.db().prepare(&query)?;
        let mut rows = statement.query([session])?;
        let mut unpacked = Vec::new();
        while let Some(row) = rows.next()? {
            let seq = integer(row.get_ref(0)?).unwrap_or(-1);
            let wanted = integer(row.get_ref(3)?).and_then(|bytes| u64::try_from(bytes).ok());
            let event = match (bytes(row.get_ref(1)?), bytes(row.get_ref(2)?)) {
                (Some(line), _) => Event::Line(line),
                (None, Some(packed)) => match unpack(packed, wanted, &mut unpacked) {
                    Ok(()) => Event::Line(&unpacked),
                    Err(_) => Event::Unreadable,
                },
                (None, None) => Event::Unreadable,
            };
            if !each(seq, event) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Returns the event that takes the place of one that cannot be read.
pub(crate) fn neutral(db: &Connection, session: &str, seq: i64) -> anyhow::Result<Option<String>> {
    let query = "SELECT i.event_id, i.parent_id, e.created_at FROM transcript_event_identities AS i \
                 JOIN transcript_events AS e ON e.session_id = i.session_id AND e.seq = i.seq \
                 WHERE i.session_id = ?1 AND i.seq = ?2";
    let mut statement = db.prepare(query)?;
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    let Some((id, parent, at)) = statement.query_row((session, seq), read).optional()? else { return Ok(None) };
    let (id, parent, at): (String, Option<String>, i64) = (id, parent, at);
    let time = chrono::DateTime::from_timestamp_millis(at).unwrap_or_default();
    let event = serde_json::json!({
        "type": "custom",
        "customType": "claw-sessions-mended",
        "data": {},
        "id": id,
        "parentId": parent,
        "timestamp": time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
    });
    Ok(Some(event.to_string()))
}

/// Returns whether an event, which is JSON, is of a type.
fn is_of_type(line: &[u8], wanted: &[u8]) -> bool {
    let mut found = false;
    // It was checked a moment ago.
    let _ = json::Scanner::new(line).object(|scanner, key| {
        let value = scanner.value()?;
        if *json::plain(key.of(line)) == *b"type" {
            found = json::inside(value).of(line) == wanted;
        }
        Ok::<(), json::JsonError>(())
    });
    found
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

pub(super) fn integer(value: ValueRef<'_>) -> Option<i64> {
    match value {
        ValueRef::Integer(number) => Some(number),
        _ => None,
    }
}

pub(super) fn bytes(value: ValueRef<'_>) -> Option<&[u8]> {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(bytes),
        _ => None,
    }
}

pub(super) fn text(value: ValueRef<'_>) -> Option<String> {
    bytes(value).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}
