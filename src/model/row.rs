//! A binding in SQLite: what its rows say besides the entry (`docs/sqlite.md`).

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::json::{self, JsonError, Kind, Scanner, Value};
use super::problem::Code;

/// What the rows of a key say besides its entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionRow {
    /// Whether it is a session, a placeholder, or neither.
    pub standing: Standing,
    /// Fields of the entry that matter in rows only.
    pub more: RowEntry,
    /// SHA-256 of the entry's bytes, in hex.
    pub entry_sha256: String,
    /// The largest fields of an entry that is huge, with their bytes.
    pub largest: Vec<(String, usize)>,
    /// The marks by which a change of the rows is noticed.
    pub marks: RowMarks,
    /// Windows of the key that are not its current one, newest first.
    pub windows: Vec<Window>,
    /// Messages that were accepted and not yet run.
    pub queued: u64,
    /// Messages that were accepted, and were interrupted or cancelled: OpenClaw never runs them.
    pub stuck: u64,
    /// Its events were moved to OpenClaw's cold storage.
    pub cold: bool,
    /// Traces of its runs.
    pub traces: Traces,
    /// A `reset` event stands behind its last message: what comes before is another conversation.
    pub reset_since: bool,
    /// The column `status`, by which a start resumes it.
    pub status: Option<String>,
    /// What is wrong with its rows.
    pub damage: Vec<RowDamage>,
}

impl SessionRow {
    /// Returns whether a start of OpenClaw resumes its run.
    pub fn is_resumed(&self) -> bool {
        let RowEntry { tombstone, review, initializing, spawned, archived, .. } = self.more;
        self.status.as_deref() == Some("running")
            && !(tombstone || review || initializing || spawned || archived)
            && self.standing == Standing::Session
    }
}

/// Whether the row of a key is a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// A session with an entry.
    #[default]
    Session,
    /// No entry, and its own history: OpenClaw keeps it and lists it nowhere.
    Placeholder,
    /// No entry, and no window of its own: the window is that of this key, or gone.
    Alias(Option<String>),
}

/// The marks by which a change of rows is noticed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RowMarks {
    /// The session that the key points to.
    pub session_id: String,
    /// The column `updated_at`, epoch milliseconds.
    pub updated_at: Option<i64>,
    /// The column `entry_valid`.
    pub valid: i64,
    /// Windows of the key.
    pub windows: u64,
    /// Events of these windows.
    pub events: u64,
    /// The sum of their last numbers.
    pub last: i64,
    /// Rows of traces.
    pub traces: u64,
}

/// A window: one generation of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Its session.
    pub session_id: String,
    /// Events in it.
    pub events: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// When it was last written.
    pub updated_at: Option<DateTime<Utc>>,
    /// An entry names it.
    pub named: bool,
    /// Something of it waits: an accepted message, or cold storage.
    pub held: bool,
}

/// The traces of a session's runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// Rows.
    pub rows: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// When each was written, epoch milliseconds, with its bytes; oldest first, one a row; empty when nobody asked
    /// for it.
    pub times: Vec<(i64, u64)>,
}

impl Traces {
    /// Returns how many were written before a time, and their bytes.
    pub fn before(&self, time: DateTime<Utc>) -> (u64, u64) {
        let limit = time.timestamp_millis();
        let old = self.times.iter().filter(|(at, _)| *at < limit);
        old.fold((0, 0), |(rows, all), (_, bytes)| (rows + 1, all + bytes))
    }
}

/// One thing that is wrong with the rows of a key or of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum RowDamage {
    /// The entry is not JSON, or no object.
    EntryUnreadable,
    /// The entry is good, and is not marked so, or columns differ from it.
    EntryDiffers {
        /// The columns that differ; empty when only the mark does.
        columns: Vec<String>,
    },
    /// A node without entry whose window is another key's, or gone.
    Alias {
        /// The key that the window belongs to.
        of: Option<String>,
    },
    /// An event is not JSON, or cannot be unpacked.
    TornEvent {
        /// Its session.
        session_id: String,
        /// Its number.
        seq: i64,
    },
    /// The first event of a session is no header.
    NoHeader {
        /// The session.
        session_id: String,
    },
    /// The projections of a session are behind its events.
    Behind {
        /// The session.
        session_id: String,
    },
    /// Rows whose node or window is gone.
    Orphaned {
        /// By what they belong to somebody.
        by: OwnedBy,
        /// The key or the session.
        name: String,
        /// How many there are.
        rows: u64,
    },
}

impl RowDamage {
    /// Returns the code of the problem that it is.
    pub const fn code(&self) -> Code {
        match self {
            Self::EntryUnreadable => Code::EntryUnreadable,
            Self::EntryDiffers { .. } => Code::EntryDiffers,
            Self::Alias { .. } => Code::AliasPlaceholder,
            Self::TornEvent { .. } => Code::TornEvent,
            Self::NoHeader { .. } => Code::WindowNoHeader,
            Self::Behind { .. } => Code::ProjectionBehind,
            Self::Orphaned { .. } => Code::RowsOrphaned,
        }
    }
}

/// What is changed of the rows of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum RowChange {
    /// The node leaves, with its windows and all their rows.
    TakeOut,
    /// A window that is not the current one leaves.
    TakeWindow {
        /// Its session.
        session_id: String,
    },
    /// Traces leave that were written before a time.
    TakeTraces {
        /// The time.
        before: DateTime<Utc>,
    },
    /// The run that was cut off is marked as failed.
    Settle,
    /// The session gets OpenClaw's mark of what is archived.
    Archive,
    /// What is wrong is put right.
    Mend {
        /// What is wrong.
        damage: RowDamage,
    },
}

/// The column by which rows belong to somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OwnedBy {
    /// `session_key`.
    Key,
    /// `session_id`.
    Session,
    /// The number of an event that is gone, in a session that is there.
    Event,
}

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

    #[test]
    fn traces_are_counted_by_age() {
        let traces = Traces { rows: 2, bytes: 30, times: vec![(1000, 10), (2000, 20)] };
        assert_eq!(traces.before(DateTime::from_timestamp_millis(2000).unwrap()), (1, 10));
    }
}
