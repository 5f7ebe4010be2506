//! JSON documents for programs (design §6). Every type here is a promise: its schema is in `docs/schema/`.

use std::path::Path;

use chrono::{DateTime, Utc};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::Serialize;

use super::mended::MendedDocument;
use super::sqlite::{DatabaseDocument, LeftoverDocument};
use super::store_state::StoreState;
use super::view::{LeftDocument, View};
use crate::change::manifest;
use crate::change::outcome::Bound;
use crate::decide::facts::{Elapsed, Finding, RunState};
use crate::decide::plan::Totals;
use crate::decide::rules::RuleStep;
use crate::decide::startup::Startup;
use crate::decide::verdict::{Action, FileAction, Reason};
use crate::decide::verdict::{Classified, Verdicts};
use crate::model::failure::FailureKind;
use crate::model::inventory::{Gateway, Inventory};
use crate::model::key::Class;
use crate::model::lock::LockState;
use crate::model::names::FileKind;
use crate::model::transcript::Integrity;

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
    /// Past runs that were forgotten because of their age.
    pub forgotten: Vec<String>,
    /// Past runs that had been cut off, and what became of them.
    pub recovered: Vec<String>,
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

/// `restore --json`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreDocument {
    /// `claw-sessions/restore/v1`
    pub schema: String,
    /// The version of claw-sessions.
    pub version: String,
    /// The state directory, as resolved.
    pub state_dir: String,
    /// The restore's own run; null when nothing was changed.
    pub run: Option<String>,
    /// Whether nothing was to be changed: what is told is what would be.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// The runs that were brought back, wholly or in part.
    pub of: Vec<String>,
    /// The transcript that was bound again by --adopt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adopted: Option<String>,
    /// Bindings that are bound again.
    pub bindings: Vec<BoundDocument>,
    /// Files that are back.
    pub files: usize,
    /// Their bytes, entries included.
    pub bytes: u64,
    /// With --deferred: how many are deferred still.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub still_deferred: Option<usize>,
    /// Deferred keys that were bound anew meanwhile: they are not readmitted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub superseded: Vec<String>,
    /// With --stuck-bak: transcripts beside those that are back to which no binding came back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unbound: Option<Vec<UnboundDocument>>,
    /// Past runs that had been cut off, and what became of them.
    pub recovered: Vec<String>,
    /// What was left alone because a key or name is taken.
    pub refused: Vec<LeftDocument>,
    /// What failed.
    pub failed: Vec<LeftDocument>,
}

/// A binding that is bound again.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct BoundDocument {
    /// The agent.
    pub agent: String,
    /// The key.
    pub key: String,
}

impl BoundDocument {
    /// A binding that is bound again as a document.
    pub fn of(bound: &Bound) -> Self {
        Self { agent: bound.agent.clone(), key: bound.id.key.clone() }
    }

    /// Its key, with its agent where the key does not name it.
    pub fn name(&self) -> String {
        super::refusal::binding(&self.agent, &self.key)
    }
}

/// A transcript without a binding, and what helps to find its key.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnboundDocument {
    /// The agent of its directory.
    pub agent: String,
    /// Its path.
    pub path: String,
    /// The session id in its header.
    pub session_id: Option<String>,
    /// Its first timestamp.
    pub first_at: Option<DateTime<Utc>>,
    /// Its last timestamp.
    pub last_at: Option<DateTime<Utc>>,
    /// Its size.
    pub bytes: u64,
    /// The key that a backup of the store had for it; another session has it now.
    pub key: Option<String>,
}

impl RestoreDocument {
    /// Of a restore that did nothing yet.
    pub fn new(schema: String, state_dir: &Path) -> Self {
        Self {
            schema,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            state_dir: state_dir.to_string_lossy().into_owned(),
            run: None,
            dry_run: false,
            of: Vec::new(),
            adopted: None,
            bindings: Vec::new(),
            files: 0,
            bytes: 0,
            still_deferred: None,
            superseded: Vec::new(),
            unbound: None,
            recovered: Vec::new(),
            refused: Vec::new(),
            failed: Vec::new(),
        }
    }
}

/// `runs --json`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunsDocument {
    /// `claw-sessions/runs/v1`
    pub schema: String,
    /// Runs that were cut off: the next gc or restore finishes them.
    pub unfinished: Vec<String>,
    /// Oldest first.
    pub runs: Vec<RunDocument>,
    /// Past runs that had been cut off, and what became of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recovered: Vec<String>,
    /// Whether nothing was to be changed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// Runs that `prune -n` would forget.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub due: Vec<String>,
    /// Runs that were forgotten just now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub forgotten: Vec<String>,
    /// Old runs that were not forgotten: what they set aside is still there, or a restore is not done with them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<String>,
    /// Runs that cannot be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// A run.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunDocument {
    /// Its id.
    pub id: String,
    /// Its verb.
    pub command: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// How far it came.
    pub state: manifest::RunProgress,
    /// Bindings that it took.
    pub bindings: usize,
    /// Files that it took.
    pub files: usize,
    /// Their bytes, entries included.
    pub bytes: u64,
    /// Bytes that its archive holds now: what was brought back is not in it.
    pub archive_bytes: u64,
    /// Whether something of it can still be brought back.
    pub restorable: bool,
    /// What could not be done.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
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

/// Evidence and verdicts as a document, with what [`bindings`] made.
pub fn body(
    inventory: &Inventory,
    verdicts: &Verdicts,
    bindings: Vec<BindingDocument>,
    planned: Totals,
    startup: Startup,
    view: View<'_>,
) -> Body {
    let stores = inventory.selected().map(|store| StoreDocument {
        agent: store.agent.clone(),
        path: view.path(&store.path),
        state: StoreState::of(store),
        problem: store.problem.clone(),
        bindings: store.bindings.len(),
        bytes: store.bytes,
        database: store.database().map(|found| DatabaseDocument::of(found, view)),
    });
    let files = verdicts.files.iter().map(|judged| {
        let file = &inventory.files[judged.index];
        FileDocument {
            agent: file.agent.clone(),
            path: view.path(&file.path),
            kind: file.kind,
            bytes: file.stamp.size,
            action: judged.action,
            reasons: vec![judged.reason],
            leftover: file.leftover.as_ref().map(|found| LeftoverDocument::of(found, view)),
        }
    });
    Body {
        stores: stores.collect(),
        bindings,
        files: files.collect(),
        startup,
        summary: summary(inventory, verdicts, planned),
    }
}

/// Every binding as a document.
pub fn bindings(inventory: &Inventory, verdicts: &Verdicts, view: View<'_>) -> Vec<BindingDocument> {
    verdicts.bindings.par_iter().map(|one| binding(inventory, one, view)).collect()
}

/// A binding as a document.
pub fn binding(inventory: &Inventory, one: &Classified, view: View<'_>) -> BindingDocument {
    let binding = one.binding(inventory);
    let facts = &one.facts;
    BindingDocument {
        agent: binding.agent.clone(),
        key: binding.key.clone(),
        class: binding.class,
        session_id: binding.entry.session_id.clone(),
        transcript: binding.transcript.path.as_deref().map(|path| view.path(path)),
        bytes: binding.transcript.bytes(),
        rows: binding.transcript.rows.map(|rows| rows.events),
        entry_bytes: binding.entry_bytes,
        age: facts.age,
        idle: facts.idle,
        run: facts.run,
        error: facts.failure.as_ref().map(|failure| ErrorDocument {
            kind: failure.kind,
            message: failure.message.as_deref().map(|message| view.message(message)),
        }),
        integrity: facts.integrity,
        lock: binding.lock.as_ref().map(|lock| LockDocument {
            state: lock.state,
            pid: lock.pid,
            created_at: lock.created_at,
        }),
        findings: facts.findings.clone(),
        action: one.verdict.action,
        reasons: one.verdict.reasons.clone(),
    }
}

/// Totals over everything.
fn summary(inventory: &Inventory, verdicts: &Verdicts, planned: Totals) -> ScanSummary {
    let count = |action| verdicts.bindings.iter().filter(|one| one.verdict.action == action).count();
    ScanSummary {
        bindings: verdicts.bindings.len(),
        keep: count(Action::Keep),
        expire: count(Action::Expire),
        quarantine: count(Action::Quarantine),
        repair: count(Action::Repair),
        defer: count(Action::Defer),
        orphans: inventory.files.iter().filter(|file| file.kind == FileKind::Orphan).count(),
        bytes: inventory.bytes(),
        freed_bytes: planned.freed_bytes,
    }
}

/// The rules that were tried as a document.
pub fn steps(steps: Vec<RuleStep>) -> Vec<StepDocument> {
    let document = |step: RuleStep| StepDocument {
        rule: step.rule.to_owned(),
        reason: step.reason,
        applies: step.applies,
        values: step.values,
    };
    steps.into_iter().map(document).collect()
}

/// A past run as a document.
pub fn run(manifest: &manifest::Manifest, archive_bytes: u64, view: View<'_>) -> RunDocument {
    let steps = || manifest.steps.iter().filter(|step| step.state == manifest::StepState::Done);
    let problem = |left| {
        let LeftDocument { what, why, .. } = super::refusal::document(left, view);
        format!("{what}: {why}")
    };
    RunDocument {
        id: manifest.id.to_string(),
        command: manifest.kind.as_str().to_owned(),
        started_at: manifest.started_at,
        finished_at: manifest.finished_at,
        state: manifest.state,
        bindings: manifest.taken().count(),
        files: steps().filter(|step| step.change != manifest::Change::Delete).count(),
        bytes: manifest.taken().map(|(_, entry)| entry.bytes()).sum::<u64>()
            + steps().map(manifest::Step::bytes).sum::<u64>(),
        archive_bytes,
        restorable: manifest.is_restorable(),
        problems: manifest.problems.iter().map(problem).collect(),
    }
}
