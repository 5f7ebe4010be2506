//! OpenClaw's own state since 2026.8.1, `state/openclaw.sqlite`: jobs, runs of subagents, who has databases open, and which
//! sessions it knows. Read in place, never changed.

use std::ffi::OsStr;
use std::path::Path;

use chrono::DateTime;
use rusqlite::Connection;
use serde_json::Value;

use super::open::{self, Opened};
use super::read::{integer, text};
use crate::disk::deadline::Deadline;
use crate::disk::dir::Dir;
use crate::model::inventory::Placement;

/// Its place below the state directory.
const PLACE: (&str, &str) = ("state", "openclaw.sqlite");

/// What it says.
#[derive(Debug, Default)]
pub(crate) struct StateRows {
    /// Ids of the jobs; `None` where there is no such table.
    pub(crate) cron_jobs: Option<Vec<String>>,
    /// Runs of subagents: the child's key and what is known of the run.
    pub(crate) subagents: Option<Vec<(String, Value)>>,
    /// Sessions that OpenClaw knows: agent, key, session.
    pub(crate) placements: Vec<Placement>,
    /// Processes that have a database open: pid and start time.
    pub(crate) leases: Vec<(u32, Option<i64>)>,
    /// Until when somebody maintains the databases, epoch milliseconds.
    pub(crate) maintained_until: Option<i64>,
    /// Chats that have a message which was not worked off.
    pub(crate) waiting_chats: u64,
}

/// So often it is read in place while somebody writes it, before a copy is made.
const TRIES: u32 = 3;

/// Reads it; `None` when there is none.
pub(crate) fn read(state_dir: &Path, deadline: Deadline) -> anyhow::Result<Option<StateRows>> {
    let place = state_dir.join(PLACE.0);
    let name = OsStr::new(PLACE.1);
    if fs_err::symlink_metadata(place.join(name)).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        return Ok(None);
    }
    let dir = Dir::open_below(state_dir, &place)?;
    for _ in 0..TRIES {
        let Some(opened) = open::in_place(&dir, name, deadline)? else { break };
        if let Ok(rows) = rows(&opened)
            && opened.is_steady()
        {
            return Ok(Some(rows));
        }
    }
    Ok(Some(rows(&open::a_copy(&dir, name, deadline)?)?))
}

fn rows(opened: &Opened) -> rusqlite::Result<StateRows> {
    let db = &opened.db;
    let mut found = StateRows::default();
    if has(db, "cron_jobs")? {
        found.cron_jobs = Some(list(db, "SELECT job_id FROM cron_jobs", |row| word(row, 0))?);
    }
    if has(db, "subagent_runs")? {
        let query = "SELECT child_session_key, payload_json FROM subagent_runs";
        let read = |row: &rusqlite::Row<'_>| {
            let payload = serde_json::from_str(&word(row, 1)?).unwrap_or(Value::Null);
            Ok((word(row, 0)?, payload))
        };
        found.subagents = Some(list(db, query, read)?);
    }
    if has(db, "worker_session_placements")? {
        let query =
            "SELECT agent_id, session_key, session_id FROM worker_session_placements ORDER BY session_key, session_id";
        let read = |row: &rusqlite::Row<'_>| {
            Ok(Placement { agent: word(row, 0)?, key: word(row, 1)?, session_id: word(row, 2)? })
        };
        found.placements = list(db, query, read)?;
    }
    if has(db, "agent_database_leases")? {
        let query = "SELECT DISTINCT owner_pid, owner_start_time FROM agent_database_leases";
        let read = |row: &rusqlite::Row<'_>| Ok((integer(row.get_ref(0)?), integer(row.get_ref(1)?)));
        let pid = |(pid, start): (Option<i64>, Option<i64>)| Some((u32::try_from(pid?).ok()?, start));
        found.leases = list(db, query, read)?.into_iter().filter_map(pid).collect();
    }
    if has(db, "state_leases")? {
        let query = "SELECT max(expires_at) FROM state_leases WHERE scope = 'core:agent-database-maintenance'";
        found.maintained_until = list(db, query, |row| Ok(integer(row.get_ref(0)?)))?.into_iter().flatten().next();
    }
    if has(db, "channel_ingress_events")? {
        let query =
            "SELECT count(DISTINCT lane_key) FROM channel_ingress_events WHERE status IN ('pending', 'claimed')";
        let count = list(db, query, |row| Ok(integer(row.get_ref(0)?)))?.into_iter().flatten().next();
        found.waiting_chats = count.and_then(|count| u64::try_from(count).ok()).unwrap_or_default();
    }
    Ok(found)
}

impl StateRows {
    /// Returns until when somebody maintains the databases, when that is later than `now`.
    pub(crate) fn maintenance(&self, now: DateTime<chrono::Utc>) -> Option<DateTime<chrono::Utc>> {
        self.maintained_until.and_then(DateTime::from_timestamp_millis).filter(|until| *until > now)
    }
}

fn has(db: &Connection, table: &str) -> rusqlite::Result<bool> {
    db.table_exists(None, table)
}

fn list<T>(
    db: &Connection,
    query: &str,
    read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    db.prepare(query)?.query_map([], read)?.collect()
}

fn word(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<String> {
    Ok(text(row.get_ref(at)?).unwrap_or_default())
}
