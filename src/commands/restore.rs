//! `restore`: put back what a run took away.

use std::collections::BTreeSet;

use super::context::{Context, schema};
use super::permit::{
    self, Lists, Mutation, Patience, beside_gateway, lists, moved_since, open, refuse_beside_gateway, refused, settle,
};
use super::{Exit, Failure, Session, adopt, deferred, near, rescue, stuck};
use crate::change::journal::Past;
use crate::change::manifest::{Asked, Change, Manifest};
use crate::change::outcome::{Left, Outcome, Subject};
use crate::change::settle::Settled;
use crate::cli::RestoreArgs;
use crate::config::policy::PolicyFlags;
use crate::model::ids::{BindingId, RunId};
use crate::model::key::normalize_agent_id;
use crate::render::json::{BoundDocument, RestoreDocument};
use crate::render::{refusal, text};

/// Runs the verb.
pub(super) fn run(session: &Session, args: &RestoreArgs) -> Result<Exit, Failure> {
    if args.stuck_bak {
        return stuck::run(session, args.online);
    }
    let global = &session.cli.global;
    if global.store.is_some() {
        return Err(Failure::usage(anyhow::anyhow!("restore takes a run or a key: --store does not narrow it")));
    }
    if args.deferred {
        return deferred::run(session, args);
    }
    if let (Some(file), Some(key)) = (&args.adopt, &args.key) {
        let manner = adopt::Manner { dry_run: args.dry_run, online: args.online };
        return adopt::one(session, file, key, manner);
    }
    if let Some(run) = &args.from_files {
        return rescue::run(session, run, args.online);
    }
    let what = args.what.as_deref().unwrap_or_default();
    let context = Context::new(session, &PolicyFlags::default())?;
    if !args.dry_run {
        refuse_beside_gateway(&context, args.online)?;
    }
    let asked = look_up(&context, what)?;
    if let Some(why) = moved_since(&context, &asked.of) {
        return Err(refused(&context, &why)
            .hint("OpenClaw would not see what came back; `claw-sessions runs` says where the run's archive is"));
    }
    let limits = Patience::default();
    if args.dry_run {
        let asked = Asked { as_new: args.as_new, ..asked };
        let mut outcome = limits.look(session, context.places(), &asked)?;
        let beside = beside_gateway(&context, args.online);
        outcome.left.extend(beside.map(|why| Left::new(Subject::Run(asked.of.clone()), why)));
        return show(&context, &asked.of, outcome, &Mutation::dry(&context).settled, true);
    }
    let journal = open(&context, limits)?;
    let settled = settle(&context, &journal, limits)?;
    let asked = Asked { as_new: args.as_new, ..look_up(&context, what)? };
    let outcome = limits.restore(session, &journal, &asked)?;
    show(&context, &asked.of, outcome, &settled, false)
}

/// Prints what came back, and says how it ends.
pub(super) fn show(
    context: &Context<'_>,
    of: &RunId,
    outcome: Outcome,
    settled: &Settled,
    dry_run: bool,
) -> Result<Exit, Failure> {
    let Lists { skipped, failed, refused, late: _ } = lists(context, outcome.left.iter().chain(&settled.left));
    let document = RestoreDocument {
        run: outcome.run.map(String::from),
        dry_run,
        of: vec![of.to_string()],
        bindings: outcome.back.bindings.iter().map(BoundDocument::of).collect(),
        files: outcome.back.files,
        bytes: outcome.back.bytes,
        damaged_again: outcome.back.damaged,
        running_again: outcome.back.running,
        recovered: permit::recovered(settled),
        refused: refused.into_iter().chain(skipped).collect(),
        failed,
        ..RestoreDocument::new(schema("restore"), &context.home.state_dir)
    };
    let session = context.session;
    if session.cli.global.json {
        session.print_document(&document)?;
    } else {
        session.print(&text::restore(&document, &session.layout()))?;
    }
    Ok(Exit::after(!document.refused.is_empty(), !document.failed.is_empty()))
}

/// Returns the run, and the bindings of it, that `what` names. It may be in what could not be read.
fn look_up(context: &Context<'_>, what: &str) -> Result<Asked, Failure> {
    let Past { runs, unread } = context.past();
    let agents: Vec<String> = context.session.cli.global.agent.iter().map(|id| normalize_agent_id(id)).collect();
    find(&runs, what, &agents).map_err(|failure| match unread.first() {
        Some(left) => {
            Failure::from(failure.error.context(refusal::line(left, context.view()))).code(left.refusal.code())
        }
        None => failure,
    })
}

/// Returns the run, and the bindings of it, that `what` names: a run's id, a unique prefix of one, `latest`, or a key.
fn find(runs: &[Manifest], what: &str, agents: &[String]) -> Result<Asked, Failure> {
    let taken = || runs.iter().rev().filter(|run| run.asked().is_none());
    if what == "latest" {
        let latest = taken().find(|run| run.is_restorable()).or_else(|| taken().next());
        let latest = latest.ok_or_else(|| {
            Failure::usage(anyhow::anyhow!("there are no runs to restore"))
                .hint("`claw-sessions runs` lists what was taken here")
        })?;
        return Ok(Asked::all(latest.id.clone()));
    }
    // The last run that took the key and did not give it back, else the last one that took it at all.
    let away = taken().map(|run| (run, named(run, what, agents, true))).find(|(_, found)| !found.is_empty());
    let ever = || taken().map(|run| (run, named(run, what, agents, false))).find(|(_, found)| !found.is_empty());
    if let Some((run, found)) = away.or_else(ever) {
        near::refuse_namesakes(what, found.iter().map(|(agent, id)| (id.store.as_path(), agent.as_str())))?;
        let bindings = found.into_iter().map(|(_, id)| id).collect();
        return Ok(Asked { bindings, ..Asked::all(run.id.clone()) });
    }
    let matching: Vec<&Manifest> = runs.iter().filter(|run| run.id.as_str().starts_with(what)).collect();
    match matching.as_slice() {
        [run] => match run.asked() {
            Some(asked) => {
                Err(Failure::usage(anyhow::anyhow!("{} is itself a restore: it brought back {}", run.id, asked.of)))
            }
            None => Ok(Asked::all(run.id.clone())),
        },
        [] => Err(Failure::usage(anyhow::anyhow!("no run is called {what}, and no run took a key of that name"))
            .hint("`claw-sessions runs` lists the runs; a key is written in full, as scan shows it with --json")),
        many => Err(Failure::usage(anyhow::anyhow!("{} runs begin with {what}", many.len()))
            .hint("give more of the id; `claw-sessions runs` lists them")),
    }
}

/// Returns the bindings of a run that have this key, each with its agent: those that are away, or all.
fn named(run: &Manifest, key: &str, agents: &[String], away: bool) -> Vec<(String, BindingId)> {
    let entries = run.taken().filter(|(_, entry)| entry.key == key && (entry.is_away() || !away));
    let entries = entries.map(|(batch, entry)| (entry.agent.clone(), BindingId::new(&batch.store, key)));
    let steps = run.steps.iter().filter(|step| if away { step.stands() } else { step.is_replacement() });
    let mended = steps.flat_map(|step| match &step.change {
        Change::Replace { bindings, .. } => {
            bindings.iter().filter(|id| id.key == key).map(|id| (step.agent.clone(), id.clone())).collect()
        }
        _ => Vec::new(),
    });
    let found: BTreeSet<(String, BindingId)> = entries.chain(mended).collect();
    found.into_iter().filter(|(agent, _)| agents.is_empty() || agents.contains(agent)).collect()
}
