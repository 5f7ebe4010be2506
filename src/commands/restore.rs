//! `restore`: put back what a run took away.

use super::context::{Context, schema};
use super::permit::{Limits, left, moved_since, open, recover, refuse_beside_gateway};
use super::{Exit, Failure, Session, adopt, deferred, stuck};
use crate::change::journal;
use crate::change::manifest::{Manifest, StepState};
use crate::change::undo;
use crate::cli::RestoreArgs;
use crate::config::policy::PolicyFlags;
use crate::render::json::{self, RestoreDocument};
use crate::render::text;

/// Runs the verb.
pub(super) fn run(session: &Session, args: &RestoreArgs) -> Result<Exit, Failure> {
    if args.stuck_bak {
        return stuck::run(session, args.online);
    }
    let global = &session.cli.global;
    if !global.agent.is_empty() || global.store.is_some() {
        return Err(Failure::usage(anyhow::anyhow!(
            "restore takes a run or a key: --agent and --store do not narrow it"
        )));
    }
    if args.deferred {
        return deferred::run(session, args.next.map(|next| next as usize), args.online);
    }
    if let (Some(file), Some(key)) = (&args.adopt, &args.key) {
        return adopt::run(session, file, key, args.online);
    }
    let what = args.what.as_deref().unwrap_or_default();
    let context = Context::new(session, &PolicyFlags::default())?;
    refuse_beside_gateway(&context, args.online)?;
    let (of, _) = look_up(&context, what)?;
    refuse_migrated(&context, &of)?;
    let limits = Limits::default();
    let journal = open(&context, limits)?;
    let recovered = recover(&context, &journal, limits)?;
    let (of, keys) = look_up(&context, what)?;
    let options = undo::Options {
        of: &of,
        keys: &keys,
        as_new: args.as_new,
        deferred: false,
        started_at: session.started_at,
        patience: limits.patience,
        deadline: limits.deadline,
    };
    let outcome = undo::restore(&journal, &options)?;
    let document = RestoreDocument {
        run: outcome.run,
        of: vec![of],
        bindings: outcome.bindings,
        files: outcome.files,
        bytes: outcome.bytes,
        recovered: recovered.told,
        refused: left(&context, outcome.refused),
        failed: left(&context, outcome.failed.into_iter().chain(recovered.failed)),
        ..RestoreDocument::new(schema("restore"), &context.home.state_dir)
    };
    if session.cli.global.json {
        session.print_document(&document)?;
    } else {
        session.print(&text::restore(&document, &session.layout()))?;
    }
    Ok(Exit::after(!document.refused.is_empty(), !document.failed.is_empty()))
}

/// Refuses to bring back what would stand beside rows in SQLite.
fn refuse_migrated(context: &Context<'_>, of: &str) -> Result<(), Failure> {
    match moved_since(context, of) {
        None => Ok(()),
        Some(why) => Err(Failure::refused(anyhow::anyhow!("{why}; nothing was touched"))
            .hint("OpenClaw would not see what came back; `claw-sessions runs` says where the run's archive is")),
    }
}

/// The run, and the keys of it, that `what` names. It may be in what could not be read.
fn look_up(context: &Context<'_>, what: &str) -> Result<(String, Vec<String>), Failure> {
    let (runs, problems) = journal::past_runs(&context.home.real_dir);
    find(&runs, what).map_err(|failure| match problems.first() {
        Some(problem) => Failure::from(failure.error.context(problem.clone())),
        None => failure,
    })
}

/// The run, and the keys of it, that `what` names: a run's id, a unique prefix of one, `latest`, or a key.
fn find(runs: &[Manifest], what: &str) -> Result<(String, Vec<String>), Failure> {
    let taken = || runs.iter().rev().filter(|run| run.command != "restore");
    if what == "latest" {
        let latest = taken().find(|run| json::run(run).restorable).or_else(|| taken().next());
        let latest = latest.ok_or_else(|| {
            Failure::usage(anyhow::anyhow!("there are no runs to restore"))
                .hint("`claw-sessions runs` lists what was taken here")
        })?;
        return Ok((latest.id.clone(), Vec::new()));
    }
    // The last run that took the key and did not give it back, else the last one that took it at all.
    let holds = |run: &&Manifest, away: bool| {
        let records = run.stores.iter().filter(|record| record.state == StepState::Done);
        let taken =
            records.flat_map(|record| &record.entries).any(|entry| entry.key == what && (entry.is_away() || !away));
        let mut mends = run.mends.iter().filter(|record| record.state == StepState::Done && !(away && record.restored));
        taken || mends.any(|record| record.keys.iter().any(|key| key == what))
    };
    if let Some(run) = taken().find(|run| holds(run, true)).or_else(|| taken().find(|run| holds(run, false))) {
        return Ok((run.id.clone(), vec![what.to_owned()]));
    }
    let matching: Vec<&Manifest> = runs.iter().filter(|run| run.id.starts_with(what)).collect();
    match matching.as_slice() {
        [run] if run.command == "restore" => {
            let of = run.of.as_deref().unwrap_or("a run");
            Err(Failure::usage(anyhow::anyhow!("{} is itself a restore: it brought back {of}", run.id)))
        }
        [run] => Ok((run.id.clone(), Vec::new())),
        [] => Err(Failure::usage(anyhow::anyhow!("no run is called {what}, and no run took a key of that name"))
            .hint("`claw-sessions runs` lists the runs; a key is written in full, as scan shows it with --json")),
        many => Err(Failure::usage(anyhow::anyhow!("{} runs begin with {what}", many.len()))
            .hint("give more of the id; `claw-sessions runs` lists them")),
    }
}
