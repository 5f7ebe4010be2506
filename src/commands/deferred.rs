//! `restore --deferred`: readmits what the startup budget took out, what was active last first.

use super::context::{Context, schema};
use super::permit::{
    self, Mutation, Patience, beside_gateway, lists, moved_since, open, refuse_beside_gateway, settle,
};
use super::{Exit, Failure, Session};
use crate::change::deferred::{self, Deferred};
use crate::change::manifest::{Asked, Manifest, RunProgress};
use crate::change::outcome::{Back, Left, Outcome, Subject};
use crate::cli::RestoreArgs;
use crate::config::policy::PolicyFlags;
use crate::model::ids::{BindingId, RunId};
use crate::render::json::{BoundDocument, RestoreDocument};
use crate::render::text;

/// Readmits the next deferred bindings that were asked for, or all.
pub(super) fn run(session: &Session, args: &RestoreArgs) -> Result<Exit, Failure> {
    let context = Context::new(session, &PolicyFlags::default())?;
    let mut document =
        RestoreDocument { still_deferred: Some(0), ..RestoreDocument::new(schema("restore"), &context.home.state_dir) };
    // A timer asks every few minutes: where nothing waits, nothing is refused or written.
    if context.past().runs.iter().any(is_waiting) {
        let next = args.next.map(|next| next as usize);
        if args.dry_run {
            look(&context, next, args.online, &mut document);
        } else {
            refuse_beside_gateway(&context, args.online)?;
            readmit(&context, next, &mut document)?;
        }
    }
    if session.cli.global.json {
        session.print_document(&document)?;
    } else {
        session.print(&text::deferred(&document, &session.layout()))?;
    }
    Ok(Exit::after(!document.refused.is_empty(), !document.failed.is_empty()))
}

/// Says which would come back.
fn look(context: &Context<'_>, next: Option<usize>, online: bool, document: &mut RestoreDocument) {
    let settled = Mutation::dry(context).settled;
    document.dry_run = true;
    document.recovered = permit::recovered(&settled);
    let mut left = settled.left;
    let found = deferred::of(&context.past().runs);
    document.still_deferred = Some(found.len());
    let sorted = deferred::tell_apart(found);
    let mut back = Back::default();
    let asked = begin(document, &mut left, sorted, next);
    left.extend(beside_gateway(context, online).map(|why| Left::new(Subject::Runs, why)));
    for asked in asked {
        if let Some(why) = moved_since(context, &asked.of) {
            left.push(Left::new(Subject::Run(asked.of), why));
            continue;
        }
        match Patience::default().look(context.session, context.places(), &asked) {
            Ok(outcome) => add(document, &mut back, &mut left, outcome),
            Err(error) => left.push(Left::new(Subject::Run(asked.of), error)),
        }
    }
    end(context, document, &back, &left);
}

/// Notes what is told of deferred bindings, and asks for those that are next.
fn begin(
    document: &mut RestoreDocument,
    left: &mut Vec<Left>,
    sorted: deferred::Sorted,
    next: Option<usize>,
) -> Vec<Asked> {
    let deferred::Sorted { due, superseded, unreadable } = sorted;
    left.extend(unreadable);
    document.superseded = superseded.into_iter().map(|one| one.id.key).collect();
    let chosen = &due[..next.unwrap_or(due.len()).min(due.len())];
    let runs = by_run(chosen).into_iter();
    let asked: Vec<Asked> = runs.map(|(of, bindings)| Asked { bindings, deferred: true, ..Asked::all(of) }).collect();
    document.of = asked.iter().map(|asked| asked.of.to_string()).collect();
    asked
}

fn end(context: &Context<'_>, document: &mut RestoreDocument, back: &Back, left: &[Left]) {
    let lists = lists(context, left);
    document.refused = lists.refused;
    document.failed = lists.failed;
    document.bindings = back.bindings.iter().map(BoundDocument::of).collect();
    document.files = back.files;
    document.bytes = back.bytes;
    document.running_again = back.running;
}

/// Brings back the `next` that are due, run by run.
fn readmit(context: &Context<'_>, next: Option<usize>, document: &mut RestoreDocument) -> Result<(), Failure> {
    let limits = Patience::default();
    let journal = open(context, limits)?;
    let settled = settle(context, &journal, limits)?;
    document.recovered = permit::recovered(&settled);
    let mut left = settled.left;
    let mut back = Back::default();
    let sorted = deferred::sort(&journal, deferred::of(&context.past().runs))?;
    for asked in begin(document, &mut left, sorted, next) {
        if let Some(why) = moved_since(context, &asked.of) {
            left.push(Left::new(Subject::Run(asked.of), why));
            continue;
        }
        match limits.restore(context.session, &journal, &asked) {
            Ok(outcome) => add(document, &mut back, &mut left, outcome),
            Err(error) => left.push(Left::new(Subject::Run(asked.of), error)),
        }
    }
    end(context, document, &back, &left);
    document.still_deferred = Some(deferred::of(&context.past().runs).len());
    Ok(())
}

/// Returns whether a run took deferred bindings that are still away, or may have and was cut off.
fn is_waiting(run: &Manifest) -> bool {
    run.state == RunProgress::Unfinished || !deferred::of(std::slice::from_ref(run)).is_empty()
}

/// The bindings of each run, in the order of their first.
fn by_run(chosen: &[Deferred]) -> Vec<(RunId, Vec<BindingId>)> {
    let mut runs: Vec<(RunId, Vec<BindingId>)> = Vec::new();
    for one in chosen {
        match runs.iter_mut().find(|(run, _)| *run == one.run) {
            Some((_, bindings)) => bindings.push(one.id.clone()),
            None => runs.push((one.run.clone(), vec![one.id.clone()])),
        }
    }
    runs
}

fn add(document: &mut RestoreDocument, back: &mut Back, left: &mut Vec<Left>, outcome: Outcome) {
    document.run = outcome.run.map(String::from).or(document.run.take());
    back.bindings.extend(outcome.back.bindings);
    back.files += outcome.back.files;
    back.bytes += outcome.back.bytes;
    back.running += outcome.back.running;
    left.extend(outcome.left);
}
