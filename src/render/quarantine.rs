//! What was taken aside, and what is aside.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anstyle::Style;
use chrono::{DateTime, Utc};
use indicatif::HumanBytes;
use schemars::JsonSchema;
use serde::Serialize;

use super::escape::escape;
use super::refusal::binding;
use super::table::{Column, Row, lay_out};
use super::validate::{self, ProblemDocument};
use super::view::{LeftDocument, View};
use super::words::{BAD, BOLD, Layout, WARN, count, left, list as lines, next, shell};
use crate::change::manifest::{EntryRecord, Manifest};
use crate::change::purge::{Purged, PurgedOne};
use crate::decide::verdict::{Classified, Reason};
use crate::model::ids::RunId;
use crate::model::inventory::Inventory;
use crate::model::key::Class;
use crate::model::transcript::Integrity;

/// `quarantine --json`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QuarantineDocument {
    /// The document's type and version.
    pub schema: String,
    /// The version of claw-sessions.
    pub version: String,
    /// The time at which ages were judged.
    pub now: DateTime<Utc>,
    /// The state directory, as resolved.
    pub state_dir: String,
    /// What a person should know about how all this was found.
    pub warnings: Vec<String>,
    /// The run's id; null when nothing was changed.
    pub run: Option<String>,
    /// Whether nothing was to be changed.
    pub dry_run: bool,
    /// What was taken aside, or would be.
    pub taken: Vec<AsideDocument>,
    /// What was left alone because it changed since it was read.
    pub skipped: Vec<LeftDocument>,
    /// What failed.
    pub failed: Vec<LeftDocument>,
    /// What was refused for safety.
    pub refused: Vec<LeftDocument>,
    /// Past runs that had been cut off, and what became of them.
    pub recovered: Vec<String>,
}

/// A session that is taken aside.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AsideDocument {
    /// The agent.
    pub agent: String,
    /// The key.
    pub key: String,
    /// The session.
    pub session_id: Option<String>,
    /// How sound its transcript is.
    pub integrity: Integrity,
    /// The transcript that goes with it.
    pub transcript: Option<String>,
    /// Its bytes.
    pub bytes: u64,
    /// Why; the first decides.
    pub reasons: Vec<Reason>,
}

/// A binding that is taken aside as a document.
pub fn aside(inventory: &Inventory, one: &Classified, view: View<'_>) -> AsideDocument {
    let binding = one.binding(inventory);
    AsideDocument {
        agent: binding.agent.clone(),
        key: binding.key.clone(),
        session_id: binding.entry.session_id.clone(),
        integrity: one.facts.integrity,
        transcript: one.file.as_deref().map(|path| view.path(path)),
        bytes: binding.transcript.stamp.filter(|_| one.file.is_some()).map_or(0, |stamp| stamp.size),
        reasons: one.verdict.reasons.clone(),
    }
}

/// `quarantine list --json` and `quarantine show --json`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct QuarantinedDocument {
    /// The document's type and version.
    pub schema: String,
    /// What is in quarantine, oldest first.
    pub sessions: Vec<QuarantinedSession>,
    /// Runs that cannot be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// A session in quarantine.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QuarantinedSession {
    /// The run that took it.
    pub run: String,
    /// When.
    pub taken_at: DateTime<Utc>,
    /// The agent.
    pub agent: String,
    /// The key.
    pub key: String,
    /// What the key names.
    pub class: Class,
    /// The session.
    pub session_id: Option<String>,
    /// Why; the first decides.
    pub reasons: Vec<Reason>,
    /// Bytes of its entry.
    pub entry_bytes: u64,
    /// Where its transcript was.
    pub transcript: Option<String>,
    /// Where it is, below the run's directory.
    pub archived: Option<String>,
    /// Its bytes.
    pub bytes: u64,
    /// How sound it is: `show` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub integrity: Option<Integrity>,
    /// The time of its last line: `show` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_at: Option<DateTime<Utc>>,
    /// What is wrong with it: `show` only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<ProblemDocument>,
}

/// A quarantined entry of a run as a document.
pub fn quarantined(
    run: &Manifest,
    entry: &EntryRecord,
    archived: Option<&Path>,
    bytes: u64,
    view: View<'_>,
) -> QuarantinedSession {
    QuarantinedSession {
        run: run.id.to_string(),
        taken_at: run.started_at,
        agent: entry.agent.clone(),
        key: entry.key.clone(),
        class: entry.class,
        session_id: entry.session_id.clone(),
        reasons: entry.reasons.clone(),
        entry_bytes: entry.bytes(),
        transcript: entry.file.as_deref().map(|path| view.path(path)),
        archived: archived.map(|path| path.to_string_lossy().into_owned()),
        bytes,
        integrity: None,
        last_at: None,
        problems: Vec::new(),
    }
}

fn reasons(reasons: &[Reason]) -> String {
    reasons.iter().map(|reason| reason.as_str()).collect::<Vec<_>>().join(" ")
}

/// `quarantine KEY…`.
pub fn taken(document: &QuarantineDocument, layout: &Layout) -> String {
    let mut text = String::new();
    lines(&mut text, "warning: ", &document.warnings);
    lines(&mut text, "recovered: ", &document.recovered);
    let word = if document.dry_run { "would take aside" } else { "taken aside" };
    for one in &document.taken {
        let size = one.transcript.as_ref().map_or_else(String::new, |_| format!(", {}", HumanBytes(one.bytes)));
        let why = reasons(&one.reasons);
        let _ = writeln!(text, "{BOLD}{word}{BOLD:#} {}: {why}{size}", escape(&binding(&one.agent, &one.key)));
    }
    left(&mut text, "left alone", WARN, &document.skipped);
    left(&mut text, "failed", BAD, &document.failed);
    left(&mut text, "refused", BAD, &document.refused);
    if document.taken.is_empty() {
        let _ = writeln!(text, "Nothing to take aside.");
    } else if let Some(run) = &document.run {
        let command = format!("claw-sessions restore {run}{}", layout.same_place);
        next(&mut text, &command, "brings it back, byte for byte");
    } else if document.dry_run {
        let _ = writeln!(text, "Nothing was changed: this was a dry run.");
    }
    text
}

/// `quarantine list`.
pub fn list(document: &QuarantinedDocument, layout: &Layout) -> String {
    let mut text = String::new();
    lines(&mut text, "warning: ", &document.problems);
    if document.sessions.is_empty() {
        let _ = writeln!(text, "Nothing is in quarantine.");
        return text;
    }
    let columns = [
        Column::new("KEY").shrinks_to(18),
        Column::new("REASON"),
        Column::new("TAKEN").expendable(2),
        Column::new("SIZE").right().expendable(3),
        Column::new("RUN").expendable(1),
    ];
    let row = |one: &QuarantinedSession| Row {
        cells: vec![
            escape(&binding(&one.agent, &one.key)).into_owned(),
            reasons(&one.reasons),
            one.taken_at.format("%Y-%m-%d %H:%MZ").to_string(),
            HumanBytes(one.bytes + one.entry_bytes).to_string(),
            one.run.clone(),
        ],
        style: Style::new(),
    };
    let rows: Vec<Row> = document.sessions.iter().map(row).collect();
    text.push_str(&lay_out(&columns, &rows, layout.width));
    text
}

/// `quarantine show`.
pub fn show(document: &QuarantinedDocument, layout: &Layout) -> String {
    let mut text = String::new();
    for one in &document.sessions {
        let _ = writeln!(text, "{BOLD}{}{BOLD:#}", escape(&one.key));
        let mut say = |name: &str, value: &str| {
            let _ = writeln!(text, "  {name:<12}{}", escape(value));
        };
        say("agent", &one.agent);
        say("class", one.class.as_str());
        say("session", one.session_id.as_deref().unwrap_or("-"));
        say("taken", &format!("{} by run {}", one.taken_at.format("%Y-%m-%d %H:%M:%SZ"), one.run));
        for reason in &one.reasons {
            say("reason", &format!("{}: {}", reason.as_str(), reason.describe()));
        }
        say("entry", &HumanBytes(one.entry_bytes).to_string());
        match (&one.transcript, &one.archived) {
            (Some(from), Some(to)) => {
                say("transcript", &format!("{from} ({})", HumanBytes(one.bytes)));
                say("kept as", &format!("claw-sessions/runs/{}/{to}", one.run));
            }
            _ => say("transcript", "none went with it"),
        }
        if let Some(integrity) = one.integrity {
            say("integrity", &format!("{}: at the next use, {}", integrity.as_str(), integrity.at_next_use()));
        }
        if let Some(last) = one.last_at {
            say("last line", &last.format("%Y-%m-%d %H:%M:%SZ").to_string());
        }
        match one.problems.split_first() {
            Some((first, more)) => {
                let rest = match more.len() {
                    0 => String::new(),
                    more => format!("; {} more", count(more, "problem")),
                };
                let _ = writeln!(text, "  {:<12}{}{rest}", "problem", validate::sentence(first));
            }
            None => {
                let _ = writeln!(text, "  {:<12}none in its transcript", "problem");
            }
        }
        let command = format!("claw-sessions restore {}{}", shell(&one.key), layout.same_place);
        next(&mut text, &command, "brings it back, byte for byte");
    }
    text
}

/// What a purge deletes, in words.
pub fn due(sessions: usize, bytes: u64) -> String {
    format!("{} ({})", count(sessions, "quarantined session"), HumanBytes(bytes))
}

/// `quarantine purge --json`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PurgeDocument {
    /// The document's type and version.
    pub schema: String,
    /// Whether nothing was to be changed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// Sessions that were deleted for good, or would be.
    pub purged: Vec<PurgedSession>,
    /// Bytes of their entries and transcripts.
    pub bytes: u64,
    /// Stores, kept whole by runs that replaced them, in which entries of these sessions may still be: paths below the
    /// state directory. `runs prune` forgets them with their runs.
    pub copies: Vec<String>,
}

/// A session that was deleted for good.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PurgedSession {
    /// The agent.
    pub agent: String,
    /// The key.
    pub key: String,
    /// The run that took it.
    pub run: String,
}

/// What a purge did as a document.
pub fn purge(schema: String, purged: &Purged, dry_run: bool) -> PurgeDocument {
    let session =
        |one: &PurgedOne| PurgedSession { agent: one.agent.clone(), key: one.id.key.clone(), run: one.run.to_string() };
    let copy = |(run, kept): &(RunId, PathBuf)| format!("claw-sessions/runs/{run}/{}", kept.display());
    PurgeDocument {
        schema,
        dry_run,
        purged: purged.sessions.iter().map(session).collect(),
        bytes: purged.bytes,
        copies: purged.copies.iter().map(copy).collect(),
    }
}

/// `quarantine purge`.
pub fn purged(document: &PurgeDocument) -> String {
    if document.purged.is_empty() {
        return "Nothing in quarantine is that old.\n".to_owned();
    }
    let what = due(document.purged.len(), document.bytes);
    let mut text = if document.dry_run {
        let named = |one: &PurgedSession| format!("  {} of {}\n", escape(&binding(&one.agent, &one.key)), one.run);
        let named: String = document.purged.iter().map(named).collect();
        format!("Would be deleted for good: {what}.\n{named}Nothing was changed: this was a dry run.\n")
    } else {
        format!("Deleted for good: {what}.\n")
    };
    for copy in &document.copies {
        let _ = writeln!(text, "{WARN}a copy of the store is still in{WARN:#} {}", escape(copy));
    }
    text
}
