//! One run: what it took, with reason and size, and what of it is back.

use std::fmt::Write as _;

use anstyle::Style;
use chrono::{DateTime, Utc};
use indicatif::HumanBytes;
use schemars::JsonSchema;
use serde::Serialize;

use super::escape::escape;
use super::json::{self, RunDocument};
use super::refusal::binding;
use super::table::{Column, Row, lay_out};
use super::view::View;
use super::words::{BOLD, DIM, Layout, WARN, count, next};
use crate::change::manifest::{Batch, Change, EntryRecord, Manifest, Step, StepState, Undone};
use crate::decide::verdict::{Action, Reason};
use crate::model::key::Class;
use crate::model::problem::Code;

/// `runs show --json`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunShownDocument {
    /// `claw-sessions/run/v1`
    pub schema: String,
    /// The run as `runs` lists it.
    #[serde(flatten)]
    pub run: RunDocument,
    /// The run that it was to bring back, of a restore.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// The entries that it took out of stores.
    pub entries: Vec<TakenEntryDocument>,
    /// The files that it moved, replaced, renamed or deleted.
    pub changed: Vec<ChangedFileDocument>,
}

/// An entry that was taken out of a store.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TakenEntryDocument {
    /// The agent.
    pub agent: String,
    /// The key.
    pub key: String,
    /// What the key names.
    pub class: Class,
    /// What was done with it.
    pub action: Action,
    /// Why; the first decides.
    pub reasons: Vec<Reason>,
    /// The session.
    pub session_id: Option<String>,
    /// When it was last active.
    pub active_at: Option<DateTime<Utc>>,
    /// The transcript that it points to, when that was to follow.
    pub transcript: Option<String>,
    /// Bytes of the entry.
    pub bytes: u64,
    /// Where it is now.
    pub state: Whereabouts,
}

/// A file that a run changed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChangedFileDocument {
    /// The agent of the store beside it.
    pub agent: String,
    /// The file.
    pub path: String,
    /// What happened to it.
    pub change: FileChange,
    /// Why.
    pub reason: Reason,
    /// The problems that were mended.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub codes: Vec<Code>,
    /// Its bytes before.
    pub bytes: u64,
    /// Where the archive keeps it, below the run's directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archived: Option<String>,
    /// The name that it got.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Where it is now.
    pub state: Whereabouts,
}

/// What happens to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FileChange {
    /// It goes into the archive.
    Archive,
    /// Another takes its place, and the archive keeps it.
    Replace,
    /// It gets another name.
    Rename,
    /// It is deleted for good, on request.
    Delete,
}

impl FileChange {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Archive => "archive",
            Self::Replace => "replace",
            Self::Rename => "rename",
            Self::Delete => "delete",
        }
    }
}

/// Where something is that a run took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Whereabouts {
    /// In the archive.
    Away,
    /// Back in its place.
    Restored,
    /// Deleted for good.
    Purged,
    /// Changed where it is: it has another name, or was new.
    Changed,
    /// Never taken: it was left alone.
    Left,
    /// Not known before the run is finished.
    Unknown,
}

impl Whereabouts {
    /// Its name in tables.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Away => "away",
            Self::Restored => "restored",
            Self::Purged => "purged",
            Self::Changed => "changed",
            Self::Left => "left",
            Self::Unknown => "unknown",
        }
    }

    const fn of(state: StepState, undone: Option<Undone>, done: Self) -> Self {
        match (state, undone) {
            (_, Some(Undone::Restored)) => Self::Restored,
            (_, Some(Undone::Purged)) => Self::Purged,
            (StepState::Done, None) => done,
            (StepState::Skipped, None) => Self::Left,
            (StepState::Planned, None) => Self::Unknown,
        }
    }
}

/// A run as a document.
pub fn document(schema: String, manifest: &Manifest, archive_bytes: u64, view: View<'_>) -> RunShownDocument {
    let batches = manifest.batches.iter();
    RunShownDocument {
        schema,
        run: json::run(manifest, archive_bytes, view),
        of: manifest.asked().map(|asked| asked.of.to_string()),
        entries: batches.flat_map(|batch| batch.entries.iter().map(move |entry| taken(batch, entry, view))).collect(),
        changed: manifest.steps.iter().map(|step| changed(step, view)).collect(),
    }
}

fn taken(batch: &Batch, entry: &EntryRecord, view: View<'_>) -> TakenEntryDocument {
    TakenEntryDocument {
        agent: entry.agent.clone(),
        key: entry.key.clone(),
        class: entry.class,
        action: entry.action,
        reasons: entry.reasons.clone(),
        session_id: entry.session_id.clone(),
        active_at: entry.active_at,
        transcript: entry.file.as_deref().map(|path| view.path(path)),
        bytes: entry.bytes(),
        state: Whereabouts::of(batch.state, entry.undone, Whereabouts::Away),
    }
}

fn changed(step: &Step, view: View<'_>) -> ChangedFileDocument {
    let (change, done, codes) = match &step.change {
        Change::Archive { .. } | Change::ClearLock { .. } => (FileChange::Archive, Whereabouts::Away, Vec::new()),
        Change::Replace { to: Some(_), codes, .. } => (FileChange::Replace, Whereabouts::Away, codes.clone()),
        Change::Replace { to: None, codes, .. } => (FileChange::Replace, Whereabouts::Changed, codes.clone()),
        Change::Rename { .. } => (FileChange::Rename, Whereabouts::Changed, Vec::new()),
        Change::Delete => (FileChange::Delete, Whereabouts::Purged, Vec::new()),
    };
    ChangedFileDocument {
        agent: step.agent.clone(),
        path: view.path(&step.path),
        change,
        reason: step.why,
        codes,
        bytes: step.bytes(),
        archived: step.kept().map(|path| path.display().to_string()),
        to: match &step.change {
            Change::Rename { to } => Some(view.path(to)),
            _ => None,
        },
        state: Whereabouts::of(step.state, step.undone, done),
    }
}

/// The run for people.
pub fn show(document: &RunShownDocument, layout: &Layout) -> String {
    let run = &document.run;
    let time = |at: DateTime<Utc>| at.format("%Y-%m-%d %H:%M:%SZ").to_string();
    let mut text = String::new();
    let of = document.of.as_ref().map_or_else(String::new, |of| format!(" of {of}"));
    let ended = run.finished_at.map_or_else(|| "not ended".to_owned(), |at| format!("ended {}", time(at)));
    let _ = writeln!(text, "{BOLD}{}{BOLD:#}  {}{of}, {}", run.id, escape(&run.command), run.state.as_str());
    let _ = writeln!(text, "began {}, {ended}", time(run.started_at));
    let _ = writeln!(
        text,
        "{} and {} ({}); its archive holds {} now",
        count(run.bindings, "binding"),
        count(run.files, "file"),
        HumanBytes(run.bytes),
        HumanBytes(run.archive_bytes)
    );
    if !layout.quiet {
        entries(&mut text, document, layout);
        files(&mut text, document, layout);
    }
    for problem in &run.problems {
        let _ = writeln!(text, "{WARN}could not do{WARN:#}: {}", escape(problem));
    }
    if run.restorable {
        let place = &layout.same_place;
        next(&mut text, &format!("claw-sessions restore {}{place}", run.id), "brings back what is away");
    }
    text
}

fn style(state: Whereabouts) -> Style {
    if state == Whereabouts::Away { Style::new() } else { DIM }
}

fn entries(text: &mut String, document: &RunShownDocument, layout: &Layout) {
    if document.entries.is_empty() {
        return;
    }
    let columns = [
        Column::new("BINDING").shrinks_to(24),
        Column::new("ACTION").expendable(3),
        Column::new("REASON").expendable(1),
        Column::new("LAST ACTIVE").expendable(4),
        Column::new("ENTRY").right().expendable(2),
        Column::new("NOW"),
    ];
    let rows: Vec<Row> = document
        .entries
        .iter()
        .map(|one| Row {
            cells: vec![
                escape(&binding(&one.agent, &one.key)).into_owned(),
                one.action.as_str().to_owned(),
                one.reasons.first().map_or("-", |reason| reason.as_str()).to_owned(),
                one.active_at.map_or_else(|| "-".to_owned(), |at| at.format("%Y-%m-%d %H:%MZ").to_string()),
                HumanBytes(one.bytes).to_string(),
                one.state.as_str().to_owned(),
            ],
            style: style(one.state),
        })
        .collect();
    text.push('\n');
    text.push_str(&lay_out(&columns, &rows, layout.width));
}

fn files(text: &mut String, document: &RunShownDocument, layout: &Layout) {
    if document.changed.is_empty() {
        return;
    }
    let columns = [
        Column::new("FILE").shrinks_to(24),
        Column::new("CHANGE").expendable(2),
        Column::new("REASON").expendable(1),
        Column::new("SIZE").right(),
        Column::new("NOW"),
    ];
    let rows: Vec<Row> = document
        .changed
        .iter()
        .map(|one| Row {
            cells: vec![
                escape(&one.path).into_owned(),
                one.change.as_str().to_owned(),
                one.reason.as_str().to_owned(),
                HumanBytes(one.bytes).to_string(),
                one.state.as_str().to_owned(),
            ],
            style: style(one.state),
        })
        .collect();
    text.push('\n');
    text.push_str(&lay_out(&columns, &rows, layout.width));
}
