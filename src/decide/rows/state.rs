//! How the last run of a session in SQLite stands. The entry is written after the last event, and knows of runs that
//! wrote none; the events are asked where the entry says nothing.

use crate::decide::run::{RunFailure, RunState};
use crate::model::failure::FailureKind;
use crate::model::inventory::{Binding, Content};
use crate::model::row::{RowDamage, SessionRow, Standing};
use crate::model::transcript::{Ending, Summary};

/// Returns how the last run stands, and why it failed. `alive`: a gateway lives, and what says `running` is.
pub(crate) fn of(binding: &Binding, row: &SessionRow, alive: bool) -> (RunState, Option<RunFailure>) {
    if row.standing != Standing::Session || row.damage.contains(&RowDamage::EntryUnreadable) {
        return (RunState::Unknown, None);
    }
    let summary = match &binding.transcript.content {
        Content::Read(summary) => Some(summary),
        _ => None,
    };
    match binding.entry.status.as_deref() {
        Some("running") if alive => (RunState::Running, None),
        Some("running") => (RunState::Interrupted, None),
        Some("done") => (RunState::Completed, None),
        Some("killed" | "timeout") => (RunState::Aborted, None),
        Some("failed") => failed(row, summary),
        // Its events are gone: how they ended nobody knows.
        _ if binding.transcript.original.is_some() => (RunState::Unknown, None),
        _ => by_events(row, summary),
    }
}

fn failed(row: &SessionRow, summary: Option<&Summary>) -> (RunState, Option<RunFailure>) {
    let errored = |message: Option<&String>| (RunState::Errored, Some(failure(message)));
    match summary.and_then(|summary| summary.ending.as_ref()) {
        Some(Ending::Error(message)) if !row.reset_since => errored(message.as_ref().or(row.more.last_error.as_ref())),
        Some(ending @ (Ending::Answered | Ending::Empty)) if row.more.last_error.is_none() => {
            let last = summary.and_then(|summary| summary.last_at).map(|at| at.timestamp_millis());
            let answered = row.more.started_at.zip(last).is_some_and(|(started, last)| last >= started);
            match ending {
                _ if !answered => errored(None),
                Ending::Empty => (RunState::Unknown, None),
                _ => (RunState::Completed, None),
            }
        }
        _ => errored(row.more.last_error.as_ref()),
    }
}

fn by_events(row: &SessionRow, summary: Option<&Summary>) -> (RunState, Option<RunFailure>) {
    match summary.and_then(|summary| summary.ending.as_ref()) {
        Some(Ending::Answered) => (RunState::Completed, None),
        Some(Ending::Empty) => (RunState::Unknown, None),
        Some(Ending::Unanswered | Ending::InTool) => (RunState::Interrupted, None),
        Some(Ending::Aborted(_)) => (RunState::Aborted, None),
        // The conversation that it belongs to ended with the reset.
        Some(Ending::Error(_)) if row.reset_since => (RunState::Errored, Some(failure(None))),
        Some(Ending::Error(message)) => (RunState::Errored, Some(failure(message.as_ref()))),
        None => (RunState::NeverRan, None),
    }
}

fn failure(message: Option<&String>) -> RunFailure {
    let kind = message.map_or(FailureKind::Unknown, |text| FailureKind::of(text));
    RunFailure { kind, message: message.cloned() }
}
