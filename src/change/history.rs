//! What past runs did, from `claw-sessions/history.jsonl`: one line for each run, kept longer than the runs themselves.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::decide::plan::Totals;
use crate::model::ids::RunId;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryLine {
    /// The run's id.
    pub run: RunId,
    /// Its verb.
    pub command: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// The time at which ages were judged.
    pub now: DateTime<Utc>,
    /// What it did.
    pub totals: Totals,
    /// How many things it could not do.
    pub problems: usize,
    /// How much there was when it began; only of a gc, which looks at everything.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub before: Option<Census>,
}

/// How much there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Census {
    /// Bindings in all stores.
    pub bindings: u64,
    /// Bytes of stores, transcripts and loose files.
    pub bytes: u64,
}

/// Every line of a history that can be read, oldest first.
pub fn parse(text: &str) -> Vec<HistoryLine> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}
