//! Fields of an entry that matter in rows only.

use crate::model::json::{self, JsonError, Kind, Scanner, Value};

/// Fields of an entry that matter in rows only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowEntry {
    /// `lastRunError`.
    pub last_error: Option<String>,
    /// `startedAt`, epoch milliseconds.
    pub started_at: Option<i64>,
    /// `endedAt`, epoch milliseconds.
    pub ended_at: Option<i64>,
    /// `mainRestartRecovery.tombstone`: OpenClaw gave up resuming it.
    pub tombstone: bool,
    /// `providerReview`.
    pub review: bool,
    /// `initializationPending`.
    pub initializing: bool,
    /// A subagent: `spawnDepth` above 0, or `subagentRole`.
    pub spawned: bool,
    /// `archivedAt`.
    pub archived: bool,
    /// `archiveReason`.
    pub archive_reason: Option<String>,
    /// `pendingFinalDelivery`: a reply is owed.
    pub owes_reply: bool,
    /// A claim of a run: `restartRecoveryDeliveryRunId`, or `activeWriterRunId` of a row that says `running`.
    pub claim: Option<String>,
    /// Sessions that it names besides its own.
    pub names: Vec<String>,
    /// Fields that bind it to something outside: `worktree`, `pluginOwnerId` and the like.
    pub bound: Vec<&'static str>,
    /// `parentSessionKey`, else `spawnedBy`.
    pub parent: Option<String>,
    /// `spawnedBy`.
    pub spawned_by: Option<String>,
    /// `cronRunContinuation`: a run that waits for its children.
    pub continuation: bool,
    /// `modelOverrideSource` is `auto` or `default`: the model is no person's choice.
    pub model_is_automatic: bool,
    /// `label`.
    pub label: Option<String>,
    /// `createdVia`.
    pub created_via: Option<String>,
}

/// Fields that bind a session to something outside of its rows.
const BOUND: [&str; 6] = ["modelSelectionLocked", "pluginOwnerId", "worktree", "publicShare", "providerReview", "goal"];

/// Reads them from the bytes of an entry that is an object.
pub fn read_entry(text: &[u8]) -> Result<RowEntry, JsonError> {
    let mut entry = RowEntry::default();
    let (mut recovery_claim, mut writer_claim) = (None, None);
    Scanner::new(text).object(|scanner, key| {
        let name = json::plain(key.of(text));
        let value = scanner.value()?;
        let set = is_set(text, value);
        match &*name {
            b"lastRunError" => entry.last_error = words(text, value),
            b"startedAt" => entry.started_at = number(text, value),
            b"endedAt" => entry.ended_at = number(text, value),
            b"mainRestartRecovery" => {
                entry.tombstone = member(text, value, b"tombstone").is_some_and(|v| is_set(text, v));
            }
            b"initializationPending" => entry.initializing = set,
            b"spawnDepth" => entry.spawned |= number(text, value).is_some_and(|depth| depth > 0),
            b"subagentRole" => entry.spawned |= set,
            b"archivedAt" => entry.archived = set,
            b"archiveReason" => entry.archive_reason = string(text, value),
            b"pendingFinalDelivery" => entry.owes_reply = set,
            b"restartRecoveryDeliveryRunId" => recovery_claim = string(text, value),
            b"activeWriterRunId" => writer_claim = string(text, value),
            b"previousSessionId" => entry.names.extend(string(text, value)),
            b"usageFamilySessionIds" | b"compactionCheckpoints" => collect_ids(text, value, &mut entry.names),
            b"parentSessionKey" => entry.parent = string(text, value),
            b"spawnedBy" => entry.spawned_by = string(text, value),
            b"cronRunContinuation" => entry.continuation = set,
            b"modelOverrideSource" => {
                entry.model_is_automatic = matches!(string(text, value).as_deref(), Some("auto" | "default"));
            }
            b"agentHarnessId" if string(text, value).is_some_and(|id| id != "openclaw") => {
                entry.bound.push("agentHarnessId");
            }
            b"label" => entry.label = string(text, value),
            b"createdVia" => entry.created_via = string(text, value),
            _ => {}
        }
        if *name == *b"providerReview" {
            entry.review = set;
        }
        if let Some(known) = BOUND.iter().find(|known| known.as_bytes() == &*name).filter(|_| set) {
            entry.bound.push(known);
        }
        Ok::<(), JsonError>(())
    })?;
    entry.claim = recovery_claim.or(writer_claim);
    entry.parent = entry.parent.or_else(|| entry.spawned_by.clone());
    entry.names.sort_unstable();
    entry.names.dedup();
    Ok(entry)
}

fn string(text: &[u8], value: Value) -> Option<String> {
    let found = (value.kind == Kind::String).then(|| json::unescape(json::inside(value).of(text)))?;
    Some(found.trim().to_owned()).filter(|found| !found.is_empty())
}

/// A message: a string, or the `message` of an object.
fn words(text: &[u8], value: Value) -> Option<String> {
    string(text, value).or_else(|| string(text, member(text, value, b"message")?))
}

fn number(text: &[u8], value: Value) -> Option<i64> {
    let digits = std::str::from_utf8(value.span.of(text)).ok().filter(|_| value.kind == Kind::Number)?;
    digits.parse().ok()
}

/// Returns whether a value says yes: neither absent nor `null`, `false`, 0 or an empty string.
fn is_set(text: &[u8], value: Value) -> bool {
    match value.kind {
        Kind::Null | Kind::False => false,
        Kind::String => string(text, value).is_some(),
        Kind::Number => number(text, value) != Some(0),
        _ => true,
    }
}

fn member(text: &[u8], value: Value, name: &[u8]) -> Option<Value> {
    if value.kind != Kind::Object {
        return None;
    }
    let mut found = None;
    let mut scanner = Scanner::at(text, value.span.start);
    let walked = scanner.object(|scanner, key| {
        let member = scanner.value()?;
        if *json::plain(key.of(text)) == *name {
            found = Some(member);
        }
        Ok::<(), JsonError>(())
    });
    walked.ok().and(found)
}

/// Session ids in a list: of strings, or of objects that have a `sessionId` themselves or one level below.
fn collect_ids(text: &[u8], value: Value, to: &mut Vec<String>) {
    if value.kind != Kind::Array {
        return;
    }
    let mut scanner = Scanner::at(text, value.span.start);
    // The value was scanned before: it is whole.
    let _ = scanner.array(|scanner| {
        let one = scanner.value()?;
        to.extend(string(text, one));
        let below =
            [b"preCompaction".as_slice(), b"postCompaction"].into_iter().filter_map(|name| member(text, one, name));
        let of = below.chain([one]).filter_map(|object| member(text, object, b"sessionId"));
        to.extend(of.filter_map(|id| string(text, id)));
        Ok::<(), JsonError>(())
    });
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_that_matter_in_rows_are_read() {
        let entry = read_entry(
            br#"{"sessionId":"a","lastRunError":{"message":"m"},"mainRestartRecovery":{"tombstone":{"at":1}},"spawnDepth":0,
            "previousSessionId":"p","usageFamilySessionIds":["u","a"],"worktree":{"path":"x"},"goal":null,"spawnedBy":"s",
            "compactionCheckpoints":[{"sessionId":"c","preCompaction":{"sessionId":"d"}},7],"archivedAt":1}"#,
        )
        .unwrap();
        assert_eq!(entry.names, ["a", "c", "d", "p", "u"]);
        assert_eq!(entry.bound, ["worktree"]);
        assert_eq!((entry.last_error.as_deref(), entry.parent.as_deref()), (Some("m"), Some("s")));
        assert!(entry.tombstone && entry.archived && !entry.spawned);
    }
}
