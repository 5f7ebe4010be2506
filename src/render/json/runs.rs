//! The document of `runs`.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use crate::change::manifest;
use crate::render::view::{LeftDocument, View};

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

/// A past run as a document.
pub fn run(manifest: &manifest::Manifest, archive_bytes: u64, view: View<'_>) -> RunDocument {
    let steps = || manifest.steps.iter().filter(|step| step.state == manifest::StepState::Done);
    let problem = |left| {
        let LeftDocument { what, why, .. } = crate::render::refusal::document(left, view);
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
