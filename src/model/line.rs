//! One line of a transcript: what of it the loader looks at (`openclaw-format.md` §4.3, §4.5).

pub use content::Misfit;
pub use detail::Detail;
use detail::TYPES;
use message::{Message, message};
use serde::{Deserialize, Serialize};
use value::{id, version};

use super::json::{self, JsonError, JsonErrorKind, Kind, Scanner, Value};

mod content;
mod detail;
mod message;
mod value;

/// An id or parent id, as JavaScript's `Map` and truth rules see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Id {
    /// The field is absent.
    #[default]
    Undefined,
    /// `null`.
    Null,
    /// `""`, `0` or `false`: present, yet no link.
    Falsy,
    /// A value; never 0.
    Key(u64),
}

/// What a message says about how its run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Judging {
    /// A user's message: unanswered if nothing follows.
    User,
    /// A tool's result: unanswered if nothing follows.
    ToolResult,
    /// An answer that ended by itself (`stop`, `length`; also `toolUse` when it calls no tool).
    Stop,
    /// The same from a command line: an answer, or words of `agent --local` about a run that failed (F§13.5).
    StopByCli,
    /// An answer that ended by itself, and says and calls nothing.
    Empty,
    /// An answer that calls a tool, whatever its `stopReason` says.
    ToolUse,
    /// An answer that ended in an error.
    Error,
    /// An answer that was aborted.
    Aborted,
    /// What OpenClaw itself wrote into the conversation: the answer to the message it hangs on, when that is a command
    /// (`/compact`).
    Reply,
}

/// The part of an entry that decides what the loader does with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A message that tells how its run ended.
    Judges(Judging),
    /// Any other entry, unknown types included.
    Plain,
    /// A `message` entry without a message: building the context fails on it.
    NoMessage,
    /// A compaction; the key of its `firstKeptEntryId`.
    Compaction(Id),
    /// A number, string or boolean.
    Scalar,
    /// An array: read past like a scalar, but it can be given an id.
    Array,
    /// An object without id that another program wrote: no message, and of a type that no release knows.
    Foreign,
}

/// A `session` line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeaderLine {
    /// `id`, when it is a string.
    pub id: Option<String>,
    /// `version`; absent or `null` counts as 1.
    pub version: f64,
    /// `version` is absent or `null`.
    pub unversioned: bool,
    /// `parentSession`: the path of the transcript it was forked from.
    pub parent_session: Option<String>,
}

impl HeaderLine {
    /// `version < limit`, which is false for what is no number.
    pub fn is_below(&self, limit: f64) -> bool {
        self.version < limit
    }
}

/// An entry line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryLine {
    /// `id`.
    pub id: Id,
    /// `parentId`.
    pub parent: Id,
    /// What it is to the loader.
    pub role: Role,
    /// Whether it is an assistant's message, mirrors included.
    pub assistant: bool,
    /// The error of a failed answer, cut short.
    pub error: Option<String>,
    /// What keeps its content from being sent.
    pub misfit: Option<Misfit>,
    /// More, when it was asked for.
    pub detail: Option<Box<Detail>>,
}

/// A line that is one JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Line<'a> {
    /// `null`.
    Null,
    /// A `session` line, with its raw timestamp.
    Header(HeaderLine, Option<&'a [u8]>),
    /// Any other value, with its raw timestamp.
    Entry(EntryLine, Option<&'a [u8]>),
}

/// Reads one line, checking it whole.
pub fn read(text: &[u8]) -> Result<Line<'_>, JsonError> {
    read_with(text, false)
}

/// The same with the detail of an entry.
pub fn read_closely(text: &[u8]) -> Result<Line<'_>, JsonError> {
    read_with(text, true)
}

fn read_with(text: &[u8], closely: bool) -> Result<Line<'_>, JsonError> {
    let mut scanner = Scanner::new(text);
    if scanner.peek() != Some(b'{') {
        let value = scanner.value()?;
        scanner.end()?;
        return Ok(match value.kind {
            Kind::Null => Line::Null,
            Kind::Array => Line::Entry(bare(Role::Array), None),
            _ => Line::Entry(bare(Role::Scalar), None),
        });
    }
    let mut fields = Fields::default();
    scanner.object(|scanner, key| {
        let field = json::named(key.of(text), Field::of);
        if field == Some(Field::Message) && scanner.peek() == Some(b'{') {
            fields.message = Some(message(scanner, text, closely)?);
            return Ok(());
        }
        let value = scanner.value()?;
        match field {
            Some(Field::Type) => fields.kind = Some(value),
            Some(Field::Id) => fields.id = Some(value),
            Some(Field::ParentId) => fields.parent = Some(value),
            Some(Field::Timestamp) => fields.timestamp = Some(value),
            Some(Field::Version) => fields.version = Some(value),
            Some(Field::ParentSession) => fields.parent_session = Some(value),
            Some(Field::FirstKept) => fields.first_kept = Some(value),
            // `null.role` throws; `"text".role` is merely undefined.
            Some(Field::Message) => fields.message = (value.kind != Kind::Null).then(Message::default),
            None => {}
        }
        Ok::<(), JsonError>(())
    })?;
    scanner.end()?;
    let mut line = fields.into_line(text, closely);
    if let Line::Entry(EntryLine { detail: Some(detail), .. }, _) = &mut line {
        detail.lone_surrogate = scanner.lone_surrogate();
    }
    Ok(line)
}

fn bare(role: Role) -> EntryLine {
    let (id, parent) = (Id::Undefined, Id::Undefined);
    EntryLine { id, parent, role, assistant: false, error: None, misfit: None, detail: None }
}

/// A field of a line that matters.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Type,
    Id,
    ParentId,
    Timestamp,
    Version,
    ParentSession,
    FirstKept,
    Message,
}

impl Field {
    fn of(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"type" => Self::Type,
            b"id" => Self::Id,
            b"parentId" => Self::ParentId,
            b"timestamp" => Self::Timestamp,
            b"message" => Self::Message,
            b"version" => Self::Version,
            b"parentSession" => Self::ParentSession,
            b"firstKeptEntryId" => Self::FirstKept,
            _ => return None,
        })
    }
}

#[derive(Default)]
struct Fields {
    kind: Option<Value>,
    id: Option<Value>,
    parent: Option<Value>,
    timestamp: Option<Value>,
    version: Option<Value>,
    parent_session: Option<Value>,
    first_kept: Option<Value>,
    message: Option<Message>,
}

impl Fields {
    fn into_line(self, text: &[u8], closely: bool) -> Line<'_> {
        let raw = |value: Option<Value>| value.filter(|v| v.kind == Kind::String).map(|v| json::inside(v).of(text));
        let timestamp = raw(self.timestamp);
        let kind = json::plain(raw(self.kind).unwrap_or_default());
        if *kind == *b"session" {
            let header = HeaderLine {
                id: raw(self.id).map(json::unescape),
                version: version(text, self.version),
                unversioned: self.version.is_none_or(|value| value.kind == Kind::Null),
                parent_session: raw(self.parent_session).map(json::unescape),
            };
            return Line::Header(header, timestamp);
        }
        let id_of = id(text, self.id);
        let is_foreign = !matches!(id_of, Id::Key(_)) && self.message.is_none() && !TYPES.contains(&&*kind);
        let (role, message) = match (&*kind, self.message) {
            _ if is_foreign => (Role::Foreign, Message::default()),
            (b"message", None) => (Role::NoMessage, Message::default()),
            (b"message", Some(message)) => (message.judging.map_or(Role::Plain, Role::Judges), message),
            (b"compaction", _) => (Role::Compaction(id(text, self.first_kept)), Message::default()),
            _ => (Role::Plain, Message::default()),
        };
        let Message { assistant, error, misfit, detail, .. } = message;
        let (id, parent) = (id_of, id(text, self.parent));
        // An object is equal to itself only, so nothing finds it.
        let of_object = |value: Option<Value>| value.is_some_and(|v| matches!(v.kind, Kind::Object | Kind::Array));
        let id = if of_object(self.id) { Id::Falsy } else { id };
        let detail = closely.then(|| Box::new(Detail { unknown_type: !TYPES.contains(&&*kind), ..detail }));
        Line::Entry(EntryLine { id, parent, role, assistant, error, misfit, detail }, timestamp)
    }
}

/// Where the fields that tie a line to others stand in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// The value of `id`.
    pub id: Option<json::Span>,
    /// The value of `parentId`.
    pub parent: Option<json::Span>,
    /// The value of `version`.
    pub version: Option<json::Span>,
    /// The value of `type`.
    pub kind: Option<json::Span>,
}

/// Finds the links of a line that [`read`] accepts. Of equal fields the last counts, as for JavaScript.
pub fn links(text: &[u8]) -> Links {
    let mut links = Links::default();
    let mut scanner = Scanner::new(text);
    let found = scanner.object(|scanner, key| {
        let span = Some(scanner.value()?.span);
        match &*json::plain(key.of(text)) {
            b"id" => links.id = span,
            b"parentId" => links.parent = span,
            b"version" => links.version = span,
            b"type" => links.kind = span,
            _ => {}
        }
        Ok::<(), JsonError>(())
    });
    if found.is_ok() { links } else { Links::default() }
}

/// Whether a line that failed with [`JsonErrorKind::Trailing`] is several whole objects on one line: what an append
/// after a missing final newline leaves (F§4.5).
pub fn is_glued(text: &[u8], error: JsonError) -> bool {
    if error.kind != JsonErrorKind::Trailing {
        return false;
    }
    let mut scanner = Scanner::at(text, error.offset);
    scanner.peek() == Some(b'{') && scanner.value().is_ok()
}

#[cfg(test)]
mod tests;
