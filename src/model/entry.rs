//! A binding's entry: the few fields that decide, read from its bytes (`openclaw-format.md` §2.2, §2.3).
//!
//! Everything else is skipped, not decoded: an entry is some ten kilobytes, of which about two hundred bytes matter.

use chrono::{DateTime, Utc};

use super::json::{self, JsonError, Kind, Scanner, Value};
use super::key;

mod deep;

use deep::named_strings;
pub use deep::{HUGE, holds_entries, largest_if_huge, session_of_part};

/// A time as an entry gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Epoch milliseconds that name a real time.
    At(DateTime<Utc>),
    /// A number or another value that is no time.
    Unusable,
}

/// The fields of an entry that decide.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Not an object at all: OpenClaw lists it with empty fields (F§2.4).
    pub not_an_object: bool,
    /// `sessionId`, when it is a string.
    pub session_id: Option<String>,
    /// `sessionFile`, trimmed, when it is a non-empty string.
    pub session_file: Option<String>,
    /// `updatedAt`.
    pub updated_at: Option<Clock>,
    /// `lastInteractionAt` (2026.5.28 and later).
    pub last_interaction_at: Option<Clock>,
    /// `sessionStartedAt` (2026.5.28 and later).
    pub session_started_at: Option<Clock>,
    /// `systemSent`: a turn was begun. After `/new` it is false.
    pub system_sent: Option<bool>,
    /// `abortedLastRun`.
    pub aborted_last_run: Option<bool>,
    /// `status`: running, done, failed, killed, timeout (2026.3.22 and later).
    pub status: Option<String>,
    /// `runtimeMs` is 0: the last run ended before it did anything (2026.3.22 and later).
    pub ended_at_once: bool,
    /// `model` is set: a run of this session came so far as to name its model.
    pub model_known: bool,
    /// `acp.state`: idle, running, error.
    pub acp_state: Option<String>,
    /// `chatType`, else `origin.chatType`.
    pub chat_type: Option<String>,
    /// `channel`, else `lastChannel`, else `origin.provider`.
    pub channel: Option<String>,
    /// Every `sessionFile` named in `compactionCheckpoints`.
    pub checkpoint_files: Vec<String>,
    /// `archivedAt` is set (2026.7.1).
    pub archived: bool,
    /// `pinnedAt` is set (2026.7.1).
    pub pinned: bool,
    /// The directory its runs work in: `spawnedWorkspaceDir`, else `systemPromptReport.workspaceDir`.
    pub workspace: Option<String>,
    /// Names of fields that hold a person's choice, in file order.
    pub preferences: Vec<&'static str>,
}

impl Entry {
    /// Returns whether it is a session's entry, or what is left of one: it names a session, or stands under a session's key.
    pub fn may_stand_under(&self, key: &str) -> bool {
        self.session_id.is_some() || key::is_of_session(key)
    }
}

/// Choices that a person made with a command or in a client, and that OpenClaw honors until a reset (F§2.2, §12).
const PREFERENCES: [&str; 25] = [
    "label",
    "thinkingLevel",
    "verboseLevel",
    "reasoningLevel",
    "elevatedLevel",
    "fastMode",
    "traceLevel",
    "ttsAuto",
    "execHost",
    "execSecurity",
    "execAsk",
    "execNode",
    "responseUsage",
    "groupActivation",
    "sendPolicy",
    "queueMode",
    "queueDebounceMs",
    "queueCap",
    "queueDrop",
    "providerOverride",
    "modelOverride",
    "authProfileOverride",
    "category",
    "goal",
    "pinnedAt",
];

/// Times before this are no times of OpenClaw: a value in seconds falls here.
const EARLIEST_MS: i64 = 1_262_304_000_000;

/// Reads an entry from its bytes. The store's scanner has checked them, so an error here means other bytes.
pub fn read(text: &[u8]) -> Result<Entry, JsonError> {
    scan(&mut Scanner::new(text), text).map(|(_, entry)| entry)
}

/// Reads the entry that `scanner` stands at in `text`, checking it whole, and steps over it.
pub fn scan(scanner: &mut Scanner<'_>, text: &[u8]) -> Result<(Value, Entry), JsonError> {
    if scanner.peek() != Some(b'{') {
        return Ok((scanner.value()?, Entry { not_an_object: true, ..Entry::default() }));
    }
    let mut fields = EntryFields { text, ..EntryFields::default() };
    let span = scanner.object(|scanner, key| fields.field(scanner, &json::plain(key.of(text))))?;
    Ok((Value { kind: Kind::Object, span }, fields.entry()))
}

/// The fields of an entry while they are read: some of what an entry says is told by more than one of them.
#[derive(Default)]
struct EntryFields<'t> {
    text: &'t [u8],
    entry: Entry,
    own_chat_type: Option<String>,
    origin_chat_type: Option<String>,
    /// `channel`, `lastChannel` and `origin.provider`.
    channels: [Option<String>; 3],
    reported_workspace: Option<String>,
    auth_override_is_automatic: bool,
}

impl EntryFields<'_> {
    /// Reads the field `name`, whose value `scanner` stands at.
    #[inline]
    fn field(&mut self, scanner: &mut Scanner<'_>, name: &[u8]) -> Result<(), JsonError> {
        match name {
            b"origin" if scanner.peek() == Some(b'{') => self.origin(scanner),
            b"systemPromptReport" if scanner.peek() == Some(b'{') => self.prompt_report(scanner),
            b"acp" if scanner.peek() == Some(b'{') => self.acp(scanner),
            _ => {
                let value = scanner.value()?;
                self.value(name, value);
                self.preference(name, value);
                Ok(())
            }
        }
    }

    fn origin(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        let text = self.text;
        (self.origin_chat_type, self.channels[2]) = (None, None);
        scanner.object(|scanner, key| {
            let value = scanner.value()?;
            match &*json::plain(key.of(text)) {
                b"chatType" => self.origin_chat_type = string(text, value),
                b"provider" => self.channels[2] = string(text, value),
                _ => {}
            }
            Ok::<(), JsonError>(())
        })?;
        Ok(())
    }

    fn prompt_report(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        let text = self.text;
        scanner.object(|scanner, key| {
            let value = scanner.value()?;
            if key.of(text) == b"workspaceDir" {
                self.reported_workspace = string(text, value);
            }
            Ok::<(), JsonError>(())
        })?;
        Ok(())
    }

    fn acp(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        let text = self.text;
        self.entry.acp_state = None;
        scanner.object(|scanner, key| {
            let value = scanner.value()?;
            if *json::plain(key.of(text)) == *b"state" {
                self.entry.acp_state = string(text, value);
            }
            Ok::<(), JsonError>(())
        })?;
        Ok(())
    }

    /// Takes a field whose value tells by itself.
    #[inline]
    fn value(&mut self, name: &[u8], value: Value) {
        let (text, entry) = (self.text, &mut self.entry);
        match name {
            b"origin" => (self.origin_chat_type, self.channels[2]) = (None, None),
            b"acp" => entry.acp_state = None,
            b"sessionId" => entry.session_id = string(text, value),
            b"sessionFile" => entry.session_file = trimmed(text, value),
            b"updatedAt" => entry.updated_at = clock(text, value),
            b"lastInteractionAt" => entry.last_interaction_at = clock(text, value),
            b"sessionStartedAt" => entry.session_started_at = clock(text, value),
            b"systemSent" => entry.system_sent = boolean(value),
            b"abortedLastRun" => entry.aborted_last_run = boolean(value),
            b"spawnedWorkspaceDir" => entry.workspace = trimmed(text, value),
            b"status" => entry.status = string(text, value),
            b"runtimeMs" => entry.ended_at_once = value.span.of(text) == b"0",
            b"model" => entry.model_known = value.kind == Kind::String,
            b"chatType" => self.own_chat_type = string(text, value),
            b"channel" => self.channels[0] = string(text, value),
            b"lastChannel" => self.channels[1] = string(text, value),
            b"compactionCheckpoints" => entry.checkpoint_files = named_strings(text, value, b"sessionFile"),
            b"archivedAt" => entry.archived = value.kind != Kind::Null,
            b"pinnedAt" => entry.pinned = value.kind != Kind::Null,
            b"authProfileOverrideSource" => {
                self.auth_override_is_automatic = string(text, value).as_deref() == Some("auto");
            }
            _ => {}
        }
    }

    /// Takes a field that may be a person's choice. Of equal names the last counts.
    #[inline]
    fn preference(&mut self, name: &[u8], value: Value) {
        let Some(known) = PREFERENCES.iter().find(|known| *known.as_bytes() == *name) else { return };
        self.entry.preferences.retain(|set| set != known);
        if is_set(self.text, value) {
            self.entry.preferences.push(known);
        }
    }

    /// Returns the entry, once its last field was read.
    fn entry(self) -> Entry {
        let Self { mut entry, .. } = self;
        if self.auth_override_is_automatic {
            entry.preferences.retain(|name| *name != "authProfileOverride");
        }
        entry.workspace = entry.workspace.or(self.reported_workspace);
        entry.chat_type = self.own_chat_type.or(self.origin_chat_type);
        entry.channel = self.channels.into_iter().flatten().next();
        entry
    }
}

fn string(text: &[u8], value: Value) -> Option<String> {
    (value.kind == Kind::String).then(|| json::unescape(json::inside(value).of(text)))
}

fn trimmed(text: &[u8], value: Value) -> Option<String> {
    string(text, value).map(|found| found.trim().to_owned()).filter(|found| !found.is_empty())
}

fn boolean(value: Value) -> Option<bool> {
    match value.kind {
        Kind::True => Some(true),
        Kind::False => Some(false),
        _ => None,
    }
}

fn is_set(text: &[u8], value: Value) -> bool {
    match value.kind {
        Kind::Null => false,
        Kind::String => !json::inside(value).of(text).trim_ascii().is_empty(),
        _ => true,
    }
}

/// Epoch milliseconds; `null` is as good as absent, all else that names no time is `Unusable`.
fn clock(text: &[u8], value: Value) -> Option<Clock> {
    if value.kind == Kind::Null {
        return None;
    }
    let millis = (value.kind == Kind::Number)
        .then(|| std::str::from_utf8(value.span.of(text)).ok()?.parse::<f64>().ok())
        .flatten()
        .filter(|millis| *millis >= EARLIEST_MS as f64 && *millis < 8.64e15);
    let time = millis.and_then(|millis| DateTime::from_timestamp_millis(millis as i64));
    Some(time.map_or(Clock::Unusable, Clock::At))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_that_decide_are_read() {
        let entry = read(
            br#"{"sessionId":"s","updatedAt":1795384800000,"sessionFile":" a.jsonl ","systemSent":true,
            "abortedLastRun":false,"origin":{"chatType":"group","provider":"telegram"},"lastChannel":"slack",
            "compactionCheckpoints":[{"pre":{"sessionFile":"x.checkpoint.1.jsonl"}}],"modelOverride":"m","label":" ",
            "skillsSnapshot":{"prompt":"p","promptRef":{"hash":"ab"}},"acp":{"state":"running"}}"#,
        )
        .unwrap();
        assert_eq!(entry.session_file.as_deref(), Some("a.jsonl"));
        assert_eq!(entry.chat_type.as_deref(), Some("group"));
        assert_eq!(entry.channel.as_deref(), Some("slack"));
        assert_eq!(entry.checkpoint_files, ["x.checkpoint.1.jsonl"]);
        assert_eq!(entry.preferences, ["modelOverride"]);
        assert_eq!(entry.acp_state.as_deref(), Some("running"));
        assert!(matches!(entry.updated_at, Some(Clock::At(_))));
        assert!(entry.system_sent == Some(true) && entry.aborted_last_run == Some(false));
    }

    #[test]
    fn the_last_of_equal_fields_counts_however_it_is_written() {
        let entry = read(
            br#"{"sessionId":"a","session\u0049d":"b","label":"x","label":"y","modelOverride":"m","modelOverride":null,
            "origin":{"chatType":"group","provider":"telegram"},"origin":7,"acp":{"state":"running"},"acp":{}}"#,
        )
        .unwrap();
        assert_eq!(entry.session_id.as_deref(), Some("b"));
        assert_eq!(entry.preferences, ["label"]);
        assert_eq!((entry.chat_type, entry.channel, entry.acp_state), (None, None, None));
    }

    #[test]
    fn c06_c07_a_value_that_is_no_time_is_no_clock() {
        for text in ["1795384800", "-5", "\"2020\"", "true", "1e300", "{}"] {
            let entry = read(format!("{{\"updatedAt\":{text}}}").as_bytes()).unwrap();
            assert_eq!(entry.updated_at, Some(Clock::Unusable), "{text}");
        }
        assert_eq!(read(b"{\"updatedAt\":null}").unwrap().updated_at, None);
        assert!(read(b"null").unwrap().not_an_object);
    }
}
