//! Text for people: the summary first, then a table that fits, then what to do next. Made from the same documents as
//! the JSON output, so the two never disagree.

use std::fmt::Write as _;

use chrono::TimeDelta;
use indicatif::HumanBytes;

use super::escape::escape;
use super::json::{BindingDocument, Body, Preamble, ScanDocument, StoreDocument};
use super::sqlite;
use super::startup;
use super::store_state::StoreState;
use super::words::{BAD, BOLD, Layout, WARN, count, list, next, shell};
use crate::decide::verdict::{Action, FileAction};

pub use explain::explain;
pub(super) use gc::totals;
pub use gc::{boot, gc};
pub use restore::{adopted, deferred, restore};
pub use runs::runs;
use tables::{bindings, files};

mod explain;
mod gc;
mod restore;
mod runs;
mod tables;

/// `scan`.
pub fn scan(document: &ScanDocument, details: &[String], layout: &Layout) -> String {
    let mut text = head(&document.preamble, &document.body.stores, Some(layout));
    if layout.verbose {
        list(&mut text, "", details);
    }
    verdict_line(&mut text, &document.body);
    if !layout.quiet {
        let rows: Vec<&BindingDocument> = document.body.bindings.iter().collect();
        bindings(&mut text, &rows, layout);
        files(&mut text, &document.body.files, layout, layout.verbose);
        sqlite::mixed(&mut text, &document.body.stores, layout);
        sqlite::leftovers(&mut text, &document.body.files, layout);
    }
    startup::lines(&mut text, &document.body.startup, layout);
    let summary = &document.body.summary;
    let goes = summary.expire + summary.quarantine + summary.repair + summary.defer;
    if goes > 0 || document.body.files.iter().any(|file| file.action != FileAction::Keep) {
        let command = format!("claw-sessions gc -n{}", layout.same_place);
        next(&mut text, &command, "shows what would go; `gc` takes it, `restore latest` brings it back");
    }
    salvageable(&mut text, &document.body, layout);
    if let Some(one) = document.body.bindings.iter().find(|one| one.action != Action::Keep) {
        next(&mut text, &format!("claw-sessions explain {}{}", shell(&one.key), layout.same_place), "tells why");
    }
    text
}

/// What is whole of a broken store can be given back.
fn salvageable(text: &mut String, body: &Body, layout: &Layout) {
    let broken = |state| matches!(state, StoreState::Malformed | StoreState::Bom | StoreState::RotatedAway);
    if body.stores.iter().any(|store| broken(store.state)) {
        let command = format!("claw-sessions validate --repair --salvage -n{}", layout.same_place);
        next(text, &command, "shows what is whole of a broken store; without -n it gives that back");
    }
}

/// Says which runs were cut off.
fn unfinished(text: &mut String, runs: &[String], layout: &Layout) {
    if let Some(sentence) = cut_off(runs, layout) {
        let _ = writeln!(text, "{BAD}unfinished{BAD:#}: {sentence}");
    }
}

/// Which runs were cut off, and what finishes them, as a sentence without its end; `None` when there is none.
pub(super) fn cut_off(runs: &[String], layout: &Layout) -> Option<String> {
    let finish = format!("`claw-sessions gc{}` finishes", layout.same_place);
    match runs {
        [] => None,
        [run] => Some(format!("run {run} was cut off; {finish} it")),
        runs => Some(format!("runs {} were cut off; {finish} them", runs.join(", "))),
    }
}

/// Where and what; with `layout` also the runs that were cut off.
pub(super) fn head(preamble: &Preamble, stores: &[StoreDocument], layout: Option<&Layout>) -> String {
    let mut text = String::new();
    let version =
        preamble.openclaw_version.as_deref().map_or("of unknown version".to_owned(), |v| escape(v).into_owned());
    let gateway = if preamble.gateway.alive { "gateway alive" } else { "gateway not running" };
    let _ = writeln!(text, "{BOLD}{}{BOLD:#}  OpenClaw {version}, {gateway}", escape(&preamble.state_dir));
    if let Some(layout) = layout {
        unfinished(&mut text, &preamble.unfinished, layout);
    }
    list(&mut text, "warning: ", &preamble.warnings);
    for store in worth_saying(stores) {
        let style = if matches!(store.state, StoreState::Symlink | StoreState::Sqlite) { WARN } else { BAD };
        let problem = store.problem.as_deref().unwrap_or_default();
        let _ = writeln!(text, "{style}{}{style:#} {}: {}", store.state.as_str(), escape(&store.path), escape(problem));
    }
    text
}

/// The stores that a person should know of: of several agents one may have no store yet.
pub(super) fn worth_saying(stores: &[StoreDocument]) -> impl Iterator<Item = &StoreDocument> {
    let alone = stores.len() == 1;
    let silent = move |state| state == StoreState::Ok || (state == StoreState::Missing && !alone);
    stores.iter().filter(move |store| !silent(store.state))
}

fn verdict_line(text: &mut String, body: &Body) {
    let summary = &body.summary;
    let agents: std::collections::BTreeSet<&str> = body.stores.iter().map(|store| store.agent.as_str()).collect();
    let _ = writeln!(
        text,
        "{} of {}: {} stay, {} expire, {} to quarantine{}{}; {}; {} in all, {} would leave",
        count(summary.bindings, "binding"),
        count(agents.len(), "agent"),
        summary.keep,
        summary.expire,
        summary.quarantine,
        if summary.repair > 0 { format!(", {} to repair", summary.repair) } else { String::new() },
        if summary.defer > 0 { format!(", {} to defer", summary.defer) } else { String::new() },
        count(summary.orphans, "orphan"),
        HumanBytes(summary.bytes),
        HumanBytes(summary.freed_bytes)
    );
    share(text, summary.expire + summary.quarantine + summary.defer, summary.bindings);
}

/// A run that takes most of a store is worth a second look.
fn share(text: &mut String, leaving: usize, all: usize) {
    if leaving * 2 > all && leaving > 4 {
        let _ = writeln!(
            text,
            "{WARN}That is {} % of all bindings{WARN:#}; --max-removals sets a limit.",
            leaving * 100 / all
        );
    }
}

/// A span in its largest unit: a column of `3d` and `17m` is read at a glance.
pub(super) fn coarse(span: TimeDelta) -> String {
    let seconds = span.num_seconds();
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}
