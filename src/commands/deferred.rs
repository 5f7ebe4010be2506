//! `restore --deferred`: readmits what the startup budget took out, what was active last first.

use super::context::{Context, schema};
use super::permit::{Limits, left, moved_since, open, recover, refuse_beside_gateway};
use super::{Exit, Failure, Session};
use crate::change::apply::Left;
use crate::change::deferred::{self, Deferred};
use crate::change::journal;
use crate::change::manifest::Manifest;
use crate::change::undo::{self, Outcome};
use crate::config::policy::PolicyFlags;
use crate::render::json::RestoreDocument;
use crate::render::text;

/// Readmits the `next` deferred bindings, or all.
pub(super) fn run(session: &Session, next: Option<usize>, online: bool) -> Result<Exit, Failure> {
    let context = Context::new(session, &PolicyFlags::default())?;
    let runs = || journal::past_runs(&context.home.real_dir).0;
    let mut document =
        RestoreDocument { still_deferred: Some(0), ..RestoreDocument::new(schema("restore"), &context.home.state_dir) };
    // A timer asks every few minutes: where nothing waits, nothing is refused or written.
    if runs().iter().any(is_waiting) {
        refuse_beside_gateway(&context, online)?;
        let limits = Limits::default();
        let journal = open(&context, limits)?;
        let recovered = recover(&context, &journal, limits)?;
        (document.recovered, document.failed) = (recovered.told, left(&context, recovered.failed));
        let deferred::Sorted { due, superseded, unreadable } = deferred::sort(&journal, deferred::of(&runs()))?;
        document.refused = left(&context, unreadable);
        document.superseded = superseded.into_iter().map(|one| one.key).collect();
        let chosen = &due[..next.unwrap_or(due.len()).min(due.len())];
        for (of, keys) in by_run(chosen) {
            if let Some(why) = moved_since(&context, &of) {
                document.refused.extend(left(&context, [Left::new(&of, why)]));
                document.of.push(of);
                continue;
            }
            let (patience, deadline, started_at) = (limits.patience, limits.deadline, session.started_at);
            let options =
                undo::Options { of: &of, keys: &keys, as_new: false, deferred: true, started_at, patience, deadline };
            match undo::restore(&journal, &options) {
                Ok(outcome) => add(&context, &mut document, outcome),
                Err(error) => document.failed.extend(left(&context, [Left::new(&of, format!("{error:#}"))])),
            }
            document.of.push(of);
        }
        document.still_deferred = Some(deferred::of(&runs()).len());
    }
    if session.cli.global.json {
        session.print_document(&document)?;
    } else {
        session.print(&text::deferred(&document, &session.layout()))?;
    }
    Ok(Exit::after(!document.refused.is_empty(), !document.failed.is_empty()))
}

/// Whether a run took deferred bindings that are still away, or may have and was cut off.
fn is_waiting(run: &Manifest) -> bool {
    run.state == crate::change::manifest::RunState::Unfinished || !deferred::of(std::slice::from_ref(run)).is_empty()
}

/// The keys of each run, in the order of their first.
fn by_run(chosen: &[Deferred]) -> Vec<(String, Vec<String>)> {
    let mut runs: Vec<(String, Vec<String>)> = Vec::new();
    for one in chosen {
        match runs.iter_mut().find(|(run, _)| *run == one.run) {
            Some((_, keys)) => keys.push(one.key.clone()),
            None => runs.push((one.run.clone(), vec![one.key.clone()])),
        }
    }
    runs
}

fn add(context: &Context<'_>, document: &mut RestoreDocument, outcome: Outcome) {
    document.run = outcome.run.or(document.run.take());
    document.bindings.extend(outcome.bindings);
    document.files += outcome.files;
    document.bytes += outcome.bytes;
    document.refused.extend(left(context, outcome.refused));
    document.failed.extend(left(context, outcome.failed));
}
