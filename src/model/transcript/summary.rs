//! What is known of a transcript once it was read: how sound it is, how its last run ended, and what is wrong where.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::problem::{About, Code, Severity};

/// How sound a transcript is, worst first: named after what OpenClaw 2026.3.11 does at the next use (design §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Integrity {
    /// A cycle on the active path: the whole gateway hangs.
    Freezes,
    /// The loader throws: every run of this session fails.
    Blocks,
    /// The whole history is replaced by an empty one.
    Wiped,
    /// Expected and absent: starts empty.
    Missing,
    /// No entries: starts empty.
    Empty,
    /// Earlier history leaves the context.
    Cut,
    /// The last entries are lost.
    Torn,
    /// Could not be read, or is no regular file.
    Unreadable,
    /// Leads out of its sessions directory, or is a symbolic link: not followed.
    Outside,
    /// Not read: the time was over.
    NotChecked,
    /// No file, and none expected.
    NeverWritten,
    /// Nothing of the above.
    Intact,
}

impl Integrity {
    /// Its name in tables and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Freezes => "freezes",
            Self::Blocks => "blocks",
            Self::Wiped => "wiped",
            Self::Missing => "missing",
            Self::Empty => "empty",
            Self::Cut => "cut",
            Self::Torn => "torn",
            Self::Unreadable => "unreadable",
            Self::Outside => "outside",
            Self::NotChecked => "not-checked",
            Self::NeverWritten => "never-written",
            Self::Intact => "intact",
        }
    }

    /// Returns whether the next use destroys the history, fails every run or hangs the gateway.
    pub const fn is_fatal(self) -> bool {
        matches!(self, Self::Freezes | Self::Blocks | Self::Wiped)
    }

    /// How bad that is; `None` of what is sound, or not known.
    pub const fn severity(self) -> Option<Severity> {
        match self {
            Self::Freezes | Self::Blocks | Self::Wiped => Some(Severity::Fatal),
            Self::Missing | Self::Empty | Self::Cut | Self::Torn | Self::Unreadable | Self::Outside => {
                Some(Severity::High)
            }
            Self::NotChecked | Self::NeverWritten | Self::Intact => None,
        }
    }

    /// What OpenClaw 2026.3.11 does at the next use (F§4.5).
    pub const fn at_next_use(self) -> &'static str {
        match self {
            Self::Freezes => "the whole gateway hangs",
            Self::Blocks => "every run of this session fails",
            Self::Wiped => "the whole history is replaced by an empty one",
            Self::Missing | Self::Empty => "the session starts empty",
            Self::Cut => "earlier history leaves the context",
            Self::Torn => "the last entries are lost",
            Self::Unreadable => "unknown: it could not be read",
            Self::Outside => "unknown: it was not followed",
            Self::NotChecked => "unknown: it was not read",
            Self::NeverWritten | Self::Intact => "normal",
        }
    }
}

/// A problem and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LineFinding {
    /// What it is.
    pub code: Code,
    /// Line number, from 1.
    pub line: u64,
    /// Byte offset in the file, where the pass knows it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub byte: Option<u64>,
    /// More, in words; never what people wrote.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<String>,
}

/// How the last run ended, as the last message that tells it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "kind", content = "message")]
pub enum Ending {
    /// An answer that ended by itself.
    Answered,
    /// An answer that ended by itself, and says nothing.
    Empty,
    /// A user's message or a tool's result without an answer.
    Unanswered,
    /// A tool call without a result.
    InTool,
    /// An error, with its message.
    Error(Option<String>),
    /// An abort, with its message.
    Aborted(Option<String>),
}

/// What the pass found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// What the loader would do.
    pub integrity: Integrity,
    /// Lines read.
    pub lines: u64,
    /// The header's timestamp.
    pub started_at: Option<DateTime<Utc>>,
    /// The first timestamp of any line.
    pub first_at: Option<DateTime<Utc>>,
    /// The last timestamp of any line.
    pub last_at: Option<DateTime<Utc>>,
    /// The header's `parentSession`.
    pub parent_session: Option<String>,
    /// How the last run ended; `None` when no message tells.
    pub ending: Option<Ending>,
    /// What is wrong, at most [`MAX_FINDINGS`](super::MAX_FINDINGS) of it; for a check, at most [`MAX_OF_A_KIND`](super::MAX_OF_A_KIND) of each kind.
    pub findings: Vec<LineFinding>,
    /// How many findings there are besides.
    #[serde(default)]
    pub more: u64,
    /// The header's id.
    #[serde(default)]
    pub header_id: Option<String>,
    /// The line of the header, from 1, and the byte at which it begins.
    #[serde(default)]
    pub header_place: Option<(u64, u64)>,
    /// What an exact repair mends; `None` when there is nothing to mend, or no exact answer. Known once it was tried.
    #[serde(default)]
    pub mends: Option<Vec<Code>>,
}

impl Summary {
    /// The same of rows in SQLite. They have no end that may be torn and no header that a loader looks for, so what only
    /// a file can suffer is no finding; and what the path through their ids loses is all that is known of the rest.
    #[must_use]
    pub fn of_rows(mut self) -> Self {
        use Code::{
            ByteOrderMark, CarriageReturns, ContentShape, DuplicateHeader, EmptyHeaderId, ForeignLine, HeaderOnly,
            JunkBeforeHeader, NewerVersion, NoFinalNewline, NoHeader, NoLines, NulTail, OldVersion, UserOnly,
            VersionAbsent, VersionOne,
        };
        let of_files = [
            ByteOrderMark,
            CarriageReturns,
            ContentShape,
            DuplicateHeader,
            EmptyHeaderId,
            ForeignLine,
            HeaderOnly,
            JunkBeforeHeader,
            NewerVersion,
            NoFinalNewline,
            NoHeader,
            NoLines,
            NulTail,
            OldVersion,
            UserOnly,
            VersionAbsent,
            VersionOne,
        ];
        let found = |codes: &[Code]| self.findings.iter().any(|found| codes.contains(&found.code));
        // How later releases build a request is not known, and nothing is lost.
        let by_shape = found(&[ContentShape]) && !found(&[Code::NullLine, Code::NoMessage, Code::ScalarLine]);
        let is_cut = found(&[Code::NoIdLast, Code::MissingParent, Code::DanglingParent, Code::UnknownKept]);
        self.integrity = match self.integrity {
            Integrity::Blocks if by_shape && !is_cut => Integrity::Intact,
            Integrity::Freezes | Integrity::Blocks | Integrity::Wiped => Integrity::Cut,
            other => other,
        };
        self.findings.retain(|found| found.code.about() == About::Line && !of_files.contains(&found.code));
        self.mends = None;
        self
    }
}
