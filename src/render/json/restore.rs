//! The document of `restore`.

use std::path::Path;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use crate::change::outcome::Bound;
use crate::render::view::LeftDocument;

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
    /// In SQLite: bindings whose rows had been mended, and what was wrong with them is back.
    #[serde(skip_serializing_if = "super::is_zero")]
    pub damaged_again: usize,
    /// In SQLite: bindings whose rows say running again.
    #[serde(skip_serializing_if = "super::is_zero")]
    pub running_again: usize,
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
        crate::render::refusal::binding(&self.agent, &self.key)
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
            damaged_again: 0,
            running_again: 0,
            still_deferred: None,
            superseded: Vec::new(),
            unbound: None,
            recovered: Vec::new(),
            refused: Vec::new(),
            failed: Vec::new(),
        }
    }
}
