//! What the rows of a session in SQLite say, for people and programs.

use chrono::{DateTime, Utc};
use indicatif::HumanBytes;
use schemars::JsonSchema;
use serde::Serialize;

use super::words::count;
use crate::model::row::{RowDamage, SessionRow, Standing, Window};

/// What the rows of a session say besides the entry.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RowDocument {
    /// Whether it is a session, or a row without an entry.
    pub standing: StandingDocument,
    /// The column `status`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The run that claims it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,
    /// Windows of its key besides the current one, newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<WindowDocument>,
    /// Accepted messages that have not run.
    #[serde(skip_serializing_if = "is_none")]
    pub queued_inputs: u64,
    /// Accepted messages that were interrupted or cancelled.
    #[serde(skip_serializing_if = "is_none")]
    pub stuck_inputs: u64,
    /// Rows of traces.
    pub traces: u64,
    /// Bytes of traces.
    pub trace_bytes: u64,
    /// What is wrong with its rows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub damage: Vec<RowDamage>,
}

/// Whether a row is a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StandingDocument {
    /// A session with an entry.
    Session,
    /// No entry, and its own history.
    Placeholder,
    /// No entry, and no window of its own.
    Alias,
}

/// A window: one generation of a key.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WindowDocument {
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
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_none(count: &u64) -> bool {
    *count == 0
}

impl RowDocument {
    /// What the rows of a session say, as a document.
    pub fn of(row: &SessionRow) -> Self {
        let window = |window: &Window| WindowDocument {
            session_id: window.session_id.clone(),
            events: window.events,
            bytes: window.bytes,
            updated_at: window.updated_at,
            named: window.named,
        };
        Self {
            standing: match row.standing {
                Standing::Session => StandingDocument::Session,
                Standing::Placeholder => StandingDocument::Placeholder,
                Standing::Alias(_) => StandingDocument::Alias,
            },
            status: row.status.clone(),
            claim: row.more.claim.clone(),
            windows: row.windows.iter().map(window).collect(),
            queued_inputs: row.queued,
            stuck_inputs: row.stuck,
            traces: row.traces.rows,
            trace_bytes: row.traces.bytes,
            damage: row.damage.clone(),
        }
    }

    /// What is worth saying of them, one line each: name and words.
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = Vec::new();
        match self.standing {
            StandingDocument::Session => {}
            StandingDocument::Placeholder => {
                lines.push(("row", "no entry: a placeholder for its history, which OpenClaw lists nowhere".to_owned()));
            }
            StandingDocument::Alias => lines.push(("row", "no entry, and no window of its own".to_owned())),
        }
        if let Some(status) = &self.status {
            let claim = self.claim.as_ref().map_or_else(String::new, |claim| format!(", claimed by the run {claim}"));
            lines.push(("status", format!("{status}{claim}")));
        }
        for window in &self.windows {
            let named = if window.named { "named by an entry" } else { "named by no entry" };
            let size = HumanBytes(window.bytes);
            lines.push((
                "window",
                format!("{}: {} ({size}), {named}", window.session_id, count(window.events as usize, "event")),
            ));
        }
        let inputs = [(self.queued_inputs, "waiting"), (self.stuck_inputs, "interrupted or cancelled")];
        for (number, what) in inputs.into_iter().filter(|(number, _)| *number > 0) {
            lines.push(("inputs", format!("{} {what}", count(number as usize, "message"))));
        }
        if self.traces > 0 {
            lines
                .push(("traces", format!("{} ({})", count(self.traces as usize, "row"), HumanBytes(self.trace_bytes))));
        }
        lines
    }
}
