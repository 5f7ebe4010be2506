//! Putting right what is wrong with rows, where there is one exact answer.

use anyhow::Context as _;
use rusqlite::OptionalExtension as _;

use super::entry;
use super::kept::{Image, RowScope};
use super::unit::Unit;
use crate::change::outcome::{Changed, Refusal};
use crate::model::row::{OwnedBy, RowDamage};
use crate::openclaw::rows::read::neutral;

/// The table of what is built from events, and says how far.
const INDEX: &str = "session_transcript_index_state";
/// The table of the ids of events.
const IDENTITIES: &str = "transcript_event_identities";
/// The table of events on the active path.
const ACTIVE: &str = "session_transcript_active_events";
/// The table of what changes when a transcript is rewritten.
const WATERMARKS: &str = "transcript_rewrite_watermarks";

/// Puts one thing right.
pub(super) fn mend(unit: &mut Unit<'_>, key: &str, damage: &RowDamage) -> anyhow::Result<Result<(), Refusal>> {
    match damage {
        RowDamage::EntryUnreadable => return Ok(Err(Changed::Sound.into())),
        RowDamage::EntryDiffers { .. } => agree(unit, key)?,
        RowDamage::Alias { .. } => unit.take_out(key)?,
        RowDamage::TornEvent { session_id, seq } => return event(unit, session_id, *seq),
        RowDamage::NoHeader { session_id } => header(unit, key, session_id)?,
        RowDamage::Behind { session_id } => rebuild(unit, session_id)?,
        RowDamage::Orphaned { by: OwnedBy::Key, name, .. } => unit.take_out(name)?,
        RowDamage::Orphaned { by: OwnedBy::Session, name, .. } => unit.take_sessions(std::slice::from_ref(name))?,
        RowDamage::Orphaned { by: OwnedBy::Event, name, .. } => dangling(unit, name)?,
    }
    Ok(Ok(()))
}

/// Makes entry and columns agree as OpenClaw's own repair does: the time of the column, everything else of the entry. Only
/// where the entry names a session that is not there, and the column one that is, the column's stays: its history would be
/// out of sight.
fn agree(unit: &mut Unit<'_>, key: &str) -> anyhow::Result<()> {
    let query = "SELECT updated_at, entry_json = '{}' FROM session_nodes WHERE session_key = ?1";
    let (at, is_placeholder): (i64, bool) = unit.db.query_row(query, [key], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if !is_placeholder {
        let query = "SELECT w.session_id FROM session_nodes AS n JOIN session_windows AS w ON w.session_id = \
                     n.current_session_id WHERE n.session_key = ?1 AND json_valid(n.entry_json) AND NOT EXISTS (SELECT 1 \
                     FROM session_windows WHERE session_id = json_extract(n.entry_json, '$.sessionId'))";
        let session: Option<String> = unit.db.query_row(query, [key], |row| row.get(0)).optional()?;
        return unit.edit(key, |text, _| entry::updated(text, at, session.as_deref()));
    }
    let node = RowScope::of("session_nodes", "session_key = ?1", key);
    unit.keep(Image::Before, &node)?;
    unit.keep_mark(Image::Before, key)?;
    unit.db.execute("UPDATE session_nodes SET entry_valid = -1 WHERE session_key = ?1", [key])?;
    unit.keep(Image::After, &node)?;
    unit.keep_mark(Image::After, key)?;
    Ok(())
}

/// Puts a neutral event in the place of one that cannot be read: with its id, its parent and its time.
fn event(unit: &mut Unit<'_>, session: &str, seq: i64) -> anyhow::Result<Result<(), Refusal>> {
    const ONE: &str = "session_id = ?1 AND seq = ?2";
    let row = RowScope::of("transcript_events", ONE, session).and(seq);
    let identity = RowScope::of(IDENTITIES, ONE, session).and(seq);
    let index = RowScope::of(INDEX, "session_id = ?1", session);
    if unit.keep(Image::Before, &row)? == 0 {
        return Ok(Err(Changed::Gone.into()));
    }
    unit.keep(Image::Before, &identity)?;
    unit.keep(Image::Before, &index)?;
    let new = match neutral(unit.db, session, seq)? {
        Some(_) if is_header(unit, session, seq)? => header_text(unit, session, seq)?,
        Some(event) => event,
        None => unknown(unit, session, seq)?,
    };
    let mut columns = vec!["event_json = ?1"];
    let has = |column| unit.shape.has_column("transcript_events", column);
    columns.extend(has("event_zstd").then_some("event_zstd = NULL"));
    columns.extend(has("event_utf8_bytes").then_some("event_utf8_bytes = octet_length(?1)"));
    columns.extend(has("navigation_json").then_some("navigation_json = NULL"));
    let update = format!("UPDATE transcript_events SET {} WHERE session_id = ?2 AND seq = ?3", columns.join(", "));
    unit.db.execute(&update, (&new, session, seq))?;
    let identity_update =
        format!("UPDATE {IDENTITIES} SET event_type = 'custom' WHERE {ONE} AND event_type IS NOT 'session'");
    unit.db.execute(&identity_update, (session, seq))?;
    mark_for_rebuild(unit, session)?;
    unit.keep(Image::After, &row)?;
    unit.keep(Image::After, &identity)?;
    unit.keep(Image::After, &index)?;
    Ok(Ok(()))
}

fn is_header(unit: &Unit<'_>, session: &str, seq: i64) -> anyhow::Result<bool> {
    let query = format!("SELECT event_type = 'session' FROM {IDENTITIES} WHERE session_id = ?1 AND seq = ?2");
    let found: Option<Option<bool>> = unit.db.query_row(&query, (session, seq), |row| row.get(0)).optional()?;
    Ok(found.flatten().unwrap_or(false))
}

/// An event of which not even the id is known: it hangs on the one before it, and gets an identity.
fn unknown(unit: &Unit<'_>, session: &str, seq: i64) -> anyhow::Result<String> {
    let parent =
        format!("SELECT event_id FROM {IDENTITIES} WHERE session_id = ?1 AND seq < ?2 ORDER BY seq DESC LIMIT 1");
    let parent: Option<String> = unit.db.query_row(&parent, (session, seq), |row| row.get(0)).optional()?;
    let id = format!("claw-{}", &crate::model::proof::sha256(format!("{session}/{seq}").as_bytes())[..16]);
    let insert = format!(
        "INSERT INTO {IDENTITIES} (session_id, event_id, seq, event_type, parent_id, created_at) \
         SELECT session_id, ?1, seq, 'custom', ?2, created_at FROM transcript_events WHERE session_id = ?3 AND seq = ?4"
    );
    unit.db.execute(&insert, (&id, &parent, session, seq))?;
    neutral(unit.db, session, seq)?.context("the event has no identity")
}

/// Puts a header in front of a session's events, as OpenClaw's own repair does.
fn header(unit: &mut Unit<'_>, key: &str, session: &str) -> anyhow::Result<()> {
    let tables = ["transcript_events", IDENTITIES, ACTIVE, INDEX, WATERMARKS];
    let tables: Vec<RowScope> = tables
        .into_iter()
        .filter(|table| unit.shape.has(table))
        .map(|table| RowScope::of(table, "session_id = ?1", session))
        .collect();
    for scope in &tables {
        unit.keep(Image::Before, scope)?;
    }
    let first: i64 =
        unit.db
            .query_row("SELECT min(seq) FROM transcript_events WHERE session_id = ?1", [session], |row| row.get(0))?;
    let text = header_text(unit, session, first)?;
    if first == 0 {
        for (table, column) in [("transcript_events", "seq"), (IDENTITIES, "seq"), (ACTIVE, "event_seq")] {
            // In two steps: no number is in use twice meanwhile.
            for step in [format!("-{column} - 1"), format!("-{column}")] {
                unit.db.execute(&format!("UPDATE {table} SET {column} = {step} WHERE session_id = ?1"), [session])?;
            }
        }
        unit.db
            .execute(&format!("UPDATE {INDEX} SET indexed_seq = indexed_seq + 1 WHERE session_id = ?1"), [session])?;
    }
    let at = "(SELECT min(created_at) FROM transcript_events WHERE session_id = ?1)";
    let (more, value) = if unit.shape.has_column("transcript_events", "event_utf8_bytes") {
        (", event_utf8_bytes", ", octet_length(?2)")
    } else {
        ("", "")
    };
    let insert = format!(
        "INSERT INTO transcript_events (session_id, seq, event_json, created_at{more}) VALUES (?1, 0, ?2, {at}{value})"
    );
    unit.db.execute(&insert, (session, &text))?;
    let insert = format!(
        "INSERT INTO {IDENTITIES} (session_id, event_id, seq, event_type, created_at) VALUES (?1, ?1, 0, 'session', {at})"
    );
    unit.db.execute(&insert, [session])?;
    mark_for_rebuild(unit, session)?;
    let generation = &crate::model::proof::sha256(format!("{key}/{session}/{}", unit.now).as_bytes())[..32];
    unit.db
        .execute(&format!("UPDATE {WATERMARKS} SET generation = ?1 WHERE session_id = ?2"), (generation, session))?;
    for scope in &tables {
        unit.keep(Image::After, scope)?;
    }
    Ok(())
}

/// The header of a session: with its id, the time of its first event, and the directory that its agent works in.
fn header_text(unit: &Unit<'_>, session: &str, first: i64) -> anyhow::Result<String> {
    let query = "SELECT created_at FROM transcript_events WHERE session_id = ?1 AND seq = ?2";
    let at: i64 = unit.db.query_row(query, (session, first), |row| row.get(0))?;
    let query = "SELECT json_extract(event_json, '$.timestamp') FROM transcript_events WHERE session_id = ?1 AND seq = ?2 \
                 AND json_valid(event_json)";
    let own: Option<Option<String>> = unit.db.query_row(query, (session, first), |row| row.get(0)).optional()?;
    let time = own.flatten().unwrap_or_else(|| {
        let time = chrono::DateTime::from_timestamp_millis(at).unwrap_or_default();
        time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
    });
    // That of the newest other session: of this one nobody knows it any more.
    let query = "SELECT json_extract(e.event_json, '$.cwd') FROM transcript_events AS e JOIN session_windows AS w \
                 ON w.session_id = e.session_id WHERE e.seq = 0 AND e.session_id <> ?1 AND json_valid(e.event_json) \
                 AND json_extract(e.event_json, '$.type') = 'session' ORDER BY w.updated_at DESC LIMIT 1";
    let cwd: Option<Option<String>> = unit.db.query_row(query, [session], |row| row.get(0)).optional()?;
    let cwd = cwd.flatten().unwrap_or_else(|| "/".to_owned());
    let header = serde_json::json!({"type": "session", "version": 3, "id": session, "timestamp": time, "cwd": cwd});
    Ok(header.to_string())
}

/// Has the projections of a session built again.
fn rebuild(unit: &mut Unit<'_>, session: &str) -> anyhow::Result<()> {
    let index = RowScope::of(INDEX, "session_id = ?1", session);
    unit.keep(Image::Before, &index)?;
    mark_for_rebuild(unit, session)?;
    unit.keep(Image::After, &index)?;
    Ok(())
}

fn mark_for_rebuild(unit: &Unit<'_>, session: &str) -> anyhow::Result<()> {
    unit.db.execute(&format!("UPDATE {INDEX} SET needs_rebuild = 1 WHERE session_id = ?1"), [session])?;
    Ok(())
}

/// Takes rows that refer to an event that is gone.
fn dangling(unit: &mut Unit<'_>, session: &str) -> anyhow::Result<()> {
    let index = RowScope::of(INDEX, "session_id = ?1", session);
    unit.keep(Image::Before, &index)?;
    for table in [IDENTITIES, ACTIVE].into_iter().filter(|table| unit.shape.has(table)) {
        let condition = if table == ACTIVE {
            "session_id = ?1 AND event_seq NOT IN (SELECT seq FROM transcript_events WHERE session_id = ?1)"
        } else {
            "session_id = ?1 AND seq NOT IN (SELECT seq FROM transcript_events WHERE session_id = ?1)"
        };
        unit.keep(Image::Before, &RowScope::of(table, condition, session))?;
        unit.db.execute(&format!("DELETE FROM {table} WHERE {condition}"), [session])?;
    }
    mark_for_rebuild(unit, session)?;
    unit.keep(Image::After, &index)?;
    Ok(())
}
