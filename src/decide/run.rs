//! How a last run stands, and why it failed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::verdict::Reason;
use crate::model::failure::FailureKind;

/// How a binding's last run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    /// A run is in progress.
    Running,
    /// The last run gave an answer.
    Completed,
    /// The last run ended in an error.
    Errored,
    /// The last run was aborted.
    Aborted,
    /// The last run was cut off: unanswered message, tool call without result, dead lock.
    Interrupted,
    /// No run yet.
    NeverRan,
    /// Nothing tells.
    Unknown,
}

impl RunState {
    /// Returns the reason that it is to let a binding go, of a run that failed.
    pub(crate) const fn reason(self) -> Option<Reason> {
        match self {
            Self::Errored => Some(Reason::Errored),
            Self::Aborted => Some(Reason::Aborted),
            Self::Interrupted => Some(Reason::Interrupted),
            _ => None,
        }
    }

    /// Its name in tables and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Errored => "errored",
            Self::Aborted => "aborted",
            Self::Interrupted => "interrupted",
            Self::NeverRan => "never-ran",
            Self::Unknown => "unknown",
        }
    }
}

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFailure {
    /// What kind of error.
    pub kind: FailureKind,
    /// OpenClaw's message, whole as far as it was kept.
    pub message: Option<String>,
}
