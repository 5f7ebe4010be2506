//! Editing an entry: only the members that are to change, every other byte stays. The columns of the node that are copies
//! of it follow.

use chrono::{DateTime, Utc};
use rusqlite::Connection;
use serde_json::Value;

use crate::model::database::COPIES;
use crate::model::json::{self, JsonError, Scanner, Span};
use crate::openclaw::rows::shape::Shape;

/// Members that only a run under way has.
const OF_A_RUN: [&str; 5] = [
    "activeWriterRunId",
    "mainRestartRecovery",
    "restartRecoveryDelivery",
    "restartRecoveryRequester",
    "restartRecoverySource",
];

/// The entry of a run that was cut off, marked as failed.
pub(super) fn settled(entry: &[u8], now: DateTime<Utc>) -> anyhow::Result<Vec<u8>> {
    let of_a_run = |name: &str| OF_A_RUN.iter().any(|start| name.starts_with(start)) || name == "abortedLastRun";
    let ended = now.timestamp_millis().to_string();
    edited(entry, &[("status", "\"failed\"".to_owned()), ("endedAt", ended)], of_a_run)
}

/// The entry with OpenClaw's mark of what is archived.
pub(super) fn archived(entry: &[u8], now: DateTime<Utc>) -> anyhow::Result<Vec<u8>> {
    let at = now.timestamp_millis().to_string();
    edited(entry, &[("archivedAt", at), ("archiveReason", "\"age-retention\"".to_owned())], |_| false)
}

/// The entry with another `updatedAt`, and with another session where one is given.
pub(super) fn updated(entry: &[u8], at: i64, session: Option<&str>) -> anyhow::Result<Vec<u8>> {
    let mut set = vec![("updatedAt", at.to_string())];
    set.extend(session.map(|session| ("sessionId", Value::from(session).to_string())));
    edited(entry, &set, |_| false)
}

/// The entry with these members set and others left out; all other bytes stay.
fn edited(entry: &[u8], set: &[(&str, String)], out: impl Fn(&str) -> bool) -> anyhow::Result<Vec<u8>> {
    let mut members: Vec<(String, Span, Span)> = Vec::new();
    let object = Scanner::new(entry)
        .object(|scanner, key| {
            let value = scanner.value()?;
            members.push((json::unescape(key.of(entry)), key, value.span));
            Ok::<(), JsonError>(())
        })
        .map_err(|_| anyhow::anyhow!("the entry is no object"))?;
    let mut pieces: Vec<Vec<u8>> = Vec::new();
    for (name, key, value) in &members {
        let new = set.iter().find(|(set, _)| set == name);
        if new.is_none() && out(name) {
            continue;
        }
        let mut piece = entry[key.start - 1..value.start].to_vec();
        piece.extend_from_slice(new.map_or(value.of(entry), |(_, new)| new.as_bytes()));
        pieces.push(piece);
    }
    for (name, new) in set.iter().filter(|(name, _)| !members.iter().any(|(known, ..)| known == name)) {
        pieces.push(format!("\"{name}\":{new}").into_bytes());
    }
    let mut text = entry[..=object.start].to_vec();
    text.extend_from_slice(&pieces.join(&b","[..]));
    text.extend_from_slice(&entry[object.end - 1..]);
    anyhow::ensure!(json::check(&text).is_ok(), "the entry would be no JSON");
    Ok(text)
}

/// Writes an entry and the columns that are copies of it, and marks it as good: OpenClaw's triggers take that mark away.
pub(super) fn write(db: &Connection, shape: &Shape, key: &str, entry: &str) -> anyhow::Result<()> {
    let value: Value = serde_json::from_str(entry)?;
    db.execute("UPDATE session_nodes SET entry_json = ?1 WHERE session_key = ?2", (entry, key))?;
    for (column, names) in COPIES.iter().filter(|(column, _)| shape.has_column("session_nodes", column)) {
        let copy = names.iter().map(|name| &value[*name]).find(|value| !value.is_null());
        let update = format!("UPDATE session_nodes SET {column} = ?1 WHERE session_key = ?2 AND {column} IS NOT ?1");
        match copy {
            Some(Value::String(text)) => db.execute(&update, (text, key))?,
            Some(Value::Number(number)) if number.is_i64() => db.execute(&update, (number.as_i64(), key))?,
            None => db.execute(&update, (None::<i64>, key))?,
            // What the column cannot hold is left as it is.
            Some(_) => 0,
        };
    }
    let ids = "UPDATE session_nodes SET current_session_id = ?1, updated_at = ?2 WHERE session_key = ?3 \
               AND (current_session_id IS NOT ?1 OR updated_at IS NOT ?2)";
    if let (Some(session), Some(updated)) = (value["sessionId"].as_str(), value["updatedAt"].as_i64()) {
        db.execute(ids, (session, updated, key))?;
    }
    if value["status"] == "failed" {
        let window = "UPDATE session_windows SET status = 'failed', ended_at = ?1 WHERE session_key = ?2 AND \
                      status = 'running' AND session_id = (SELECT current_session_id FROM session_nodes WHERE session_key = ?2)";
        db.execute(window, (value["endedAt"].as_i64(), key))?;
    }
    db.execute("UPDATE session_nodes SET entry_valid = 1 WHERE session_key = ?1", [key])?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_the_members_that_change_are_other_bytes() {
        let now = DateTime::from_timestamp_millis(5000).unwrap();
        let entry = br#"{ "a" : 1.0,"status": "running", "activeWriterRunId":"x","b":[1, 2] }"#;
        let new = String::from_utf8(settled(entry, now).unwrap()).unwrap();
        assert_eq!(new, r#"{"a" : 1.0,"status": "failed","b":[1, 2],"endedAt":5000}"#);
        assert_eq!(archived(b"{}", now).unwrap(), br#"{"archivedAt":5000,"archiveReason":"age-retention"}"#);
    }
}
