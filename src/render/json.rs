//! JSON documents for programs (design §6). Every type here is a promise: its schema is in `docs/schema/`.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::mended::MendedDocument;
use super::row::RowDocument;
use super::sqlite::{DatabaseDocument, LeftoverDocument};
use super::store_state::StoreState;
use super::view::LeftDocument;
use crate::decide::facts::{Elapsed, Finding, RunState};
use crate::decide::plan::Totals;
use crate::decide::startup::Startup;
use crate::decide::verdict::{Action, FileAction, Reason};
use crate::model::failure::FailureKind;
use crate::model::inventory::Gateway;
use crate::model::key::Class;
use crate::model::lock::LockState;
use crate::model::names::FileKind;
use crate::model::transcript::Integrity;

pub use made::{binding, bindings, body, steps};
pub use restore::{BoundDocument, RestoreDocument, UnboundDocument};
pub use runs::{RunDocument, RunsDocument, run};

mod made;
mod restore;
mod runs;

/// What every document about a state directory begins with.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Preamble {
    /// The document's type and version.
    pub schema: String,
    /// The version of claw-sessions.
    pub version: String,
    /// The time at which ages were judged.
    pub now: DateTime<Utc>,
    /// The state directory, as resolved.
    pub state_dir: String,
    /// OpenClaw's configuration file, as resolved; null when there is none.
    pub config_file: Option<String>,
    /// `meta.lastTouchedVersion`; null when unknown.
    pub openclaw_version: Option<String>,
    /// Whether a gateway serves this state directory.
    pub gateway: Gateway,
    /// What a person should know about how these were found.
    pub warnings: Vec<String>,
    /// Runs that were cut off: the next gc or restore finishes them.
    pub unfinished: Vec<String>,
}

/// `scan --json`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ScanDocument {
    /// Where, when, what version.
    #[serde(flatten)]
    pub preamble: Preamble,
    /// All evidence and verdicts.
    #[serde(flatten)]
    pub body: Body,
    /// With `--restart-due`: whether restarting the gateway is worth it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart: Option<RestartDocument>,
}

/// Whether restarting the gateway is worth it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RestartDocument {
    /// Whether it is.
    pub due: bool,
    /// Why, or why not.
    pub why: String,
}

impl RestartDocument {
    /// As a sentence.
    pub fn sentence(&self) -> String {
        format!("{}: {}.", if self.due { "Restart due" } else { "No restart" }, self.why)
    }
}

/// `gc --json`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GcDocument {
    /// Where, when, what version.
    #[serde(flatten)]
    pub preamble: Preamble,
    /// All evidence and verdicts, as they were before.
    #[serde(flatten)]
    pub body: Body,
    /// The run's id; null when nothing was changed.
    pub run: Option<String>,
    /// Whether nothing was to be changed.
    pub dry_run: bool,
    /// What the plan meant to do.
    pub planned: Totals,
    /// What was done.
    pub done: Totals,
    /// What was left alone because it changed since the plan.
    pub skipped: Vec<LeftDocument>,
    /// What failed.
    pub failed: Vec<LeftDocument>,
    /// Stores, or the whole run, that were refused for safety.
    pub refused: Vec<LeftDocument>,
    /// What the deadline left: not checked, or not done.
    pub late: Vec<LeftDocument>,
    /// Files that were mended, or would be.
    pub mended: Vec<MendedDocument>,
    /// With --compact: databases that are smaller now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub compacted: Vec<CompactedDocument>,
    /// Past runs that were forgotten because of their age.
    pub forgotten: Vec<String>,
    /// Past runs that had been cut off, and what became of them.
    pub recovered: Vec<String>,
}

/// A database that gave its free pages back.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct CompactedDocument {
    /// Its agent.
    pub agent: String,
    /// Bytes that it gave back.
    pub bytes: u64,
}

/// Evidence and verdicts.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Body {
    /// Every store.
    pub stores: Vec<StoreDocument>,
    /// Every binding.
    pub bindings: Vec<BindingDocument>,
    /// Every file that is neither store nor bound transcript.
    pub files: Vec<FileDocument>,
    /// The startup estimate.
    pub startup: Startup,
    /// Totals.
    pub summary: ScanSummary,
}

/// A store.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct StoreDocument {
    /// Its agent.
    pub agent: String,
    /// Its path.
    pub path: String,
    /// What can be said of it.
    pub state: StoreState,
    /// Why, when it is not `ok`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Its bindings.
    pub bindings: usize,
    /// Its size; of rows in SQLite, that of their entries.
    pub bytes: u64,
    /// The database that its sessions live in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<DatabaseDocument>,
}

/// A binding.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BindingDocument {
    /// Its agent.
    pub agent: String,
    /// Its key.
    pub key: String,
    /// What the key names.
    pub class: Class,
    /// The session it points to.
    pub session_id: Option<String>,
    /// Its transcript, there or not.
    pub transcript: Option<String>,
    /// Size of the transcript, or of the file that its rows would make; 0 without one.
    pub bytes: u64,
    /// How many rows its transcript has in SQLite; absent when it is a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// In SQLite: what its rows say besides the entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<RowDocument>,
    /// Size of the entry.
    pub entry_bytes: u64,
    /// Since the start.
    pub age: Option<Elapsed>,
    /// Since the last activity.
    pub idle: Option<Elapsed>,
    /// How its last run stands.
    pub run: RunState,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorDocument>,
    /// How sound its transcript is.
    pub integrity: Integrity,
    /// Its transcript's lock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock: Option<LockDocument>,
    /// Remarks.
    pub findings: Vec<Finding>,
    /// What happens to it.
    pub action: Action,
    /// Why; the first decides.
    pub reasons: Vec<Reason>,
}

/// Why a run failed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ErrorDocument {
    /// What kind of error.
    pub kind: FailureKind,
    /// The beginning of OpenClaw's message; all of it with `--show-text`.
    pub message: Option<String>,
}

/// A lock.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LockDocument {
    /// Whether it is held.
    pub state: LockState,
    /// The owner it names.
    pub pid: Option<u32>,
    /// When it says that it was taken. Nothing is decided by it.
    pub created_at: Option<DateTime<Utc>>,
}

/// A file that is neither store nor bound transcript.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct FileDocument {
    /// The agent of the store beside it.
    pub agent: String,
    /// Its path.
    pub path: String,
    /// What it is.
    pub kind: FileKind,
    /// Its size.
    pub bytes: u64,
    /// What happens to it.
    pub action: FileAction,
    /// Why.
    pub reasons: Vec<Reason>,
    /// Of a transcript that stayed beside sessions in SQLite: what of it is in the rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leftover: Option<LeftoverDocument>,
}

/// Totals.
#[derive(Clone, Copy, Debug, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScanSummary {
    /// Bindings in all stores.
    pub bindings: usize,
    /// In SQLite: rows without an entry, which OpenClaw lists nowhere. They are not counted as bindings.
    #[serde(skip_serializing_if = "is_zero")]
    pub placeholders: usize,
    /// Bindings that stay.
    pub keep: usize,
    /// Bindings that expire.
    pub expire: usize,
    /// Bindings that go into quarantine.
    pub quarantine: usize,
    /// Bindings whose transcript is mended.
    pub repair: usize,
    /// Bindings that the startup budget takes out, to be readmitted.
    pub defer: usize,
    /// In SQLite: bindings whose row says running, and is marked as failed.
    #[serde(skip_serializing_if = "is_zero")]
    pub settle: usize,
    /// In SQLite: conversations that get OpenClaw's mark of what is archived.
    #[serde(skip_serializing_if = "is_zero")]
    pub archive: usize,
    /// In SQLite: bindings that stay and lose traces or windows.
    #[serde(skip_serializing_if = "is_zero")]
    pub trim: usize,
    /// Transcripts that nothing refers to, whatever happens to them.
    pub orphans: usize,
    /// Bytes of stores, bound transcripts and loose files.
    pub bytes: u64,
    /// Bytes that leave the stores and sessions directories.
    pub freed_bytes: u64,
}

/// `explain --json`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ExplainDocument {
    /// Where, when, what version.
    #[serde(flatten)]
    pub preamble: Preamble,
    /// One for each store that has the key.
    pub bindings: Vec<ExplainedDocument>,
}

/// A binding and the rules that were tried.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ExplainedDocument {
    /// The binding.
    #[serde(flatten)]
    pub binding: BindingDocument,
    /// The rules, in the order in which they were tried; the last one decides.
    pub rules: Vec<StepDocument>,
}

/// A rule that was tried.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct StepDocument {
    /// Its name.
    pub rule: String,
    /// The reason it would give.
    pub reason: Reason,
    /// Whether it applied.
    pub applies: bool,
    /// What it compared.
    pub values: String,
}

/// An error, when JSON was asked for and there is no document.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorReport {
    /// `claw-sessions/error/v1`
    pub schema: String,
    /// What went wrong.
    pub error: String,
    /// The stable code of the refusal, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What can be done.
    pub hint: Option<String>,
    /// The exit code.
    pub exit_code: u8,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_zero(count: &usize) -> bool {
    *count == 0
}
