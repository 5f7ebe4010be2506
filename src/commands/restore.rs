//! `restore`: put back what a run took away.

use super::context::Context;
use super::gc::{PATIENCE, left, open, refuse_beside_gateway};
use super::{Exit, Failure, Session};
use crate::cli::RestoreArgs;
use crate::config::policy::PolicyFlags;
use crate::render::json::RestoreDocument;
use crate::render::text;
use crate::store::journal::{self, Manifest, StepState};
use crate::store::{recover, restore};

/// Runs the verb.
pub(super) fn run(session: &Session, args: &RestoreArgs) -> Result<Exit, Failure> {
    let context = Context::new(session, &PolicyFlags::default())?;
    refuse_beside_gateway(&context, args.online)?;
    let (runs, _) = journal::past_runs(&context.home.real_dir);
    find(&runs, &args.what)?;
    let journal = open(&context)?;
    recover::recover(&journal, &context.home.real_dir, session.started_at, PATIENCE)?;
    let (runs, _) = journal::past_runs(&context.home.real_dir);
    let (of, keys) = find(&runs, &args.what)?;
    let options = restore::Options {
        of: &of,
        keys: &keys,
        as_new: args.as_new,
        started_at: session.started_at,
        patience: PATIENCE,
    };
    let outcome = restore::restore(&journal, &options)?;
    let document = RestoreDocument {
        schema: super::context::schema("restore"),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        state_dir: context.home.state_dir.to_string_lossy().into_owned(),
        run: outcome.run,
        of: vec![of],
        bindings: outcome.bindings,
        files: outcome.files,
        bytes: outcome.bytes,
        refused: left(&context, outcome.refused),
        failed: left(&context, outcome.failed),
    };
    if session.cli.global.wants_json() {
        session.print_document(&document)?;
    } else {
        session.print(&text::restore(&document))?;
    }
    Ok(if !document.refused.is_empty() {
        Exit::Refused
    } else if !document.failed.is_empty() {
        Exit::Partial
    } else {
        Exit::Done
    })
}

/// The run, and the keys of it, that `what` names: a run's id, a unique prefix of one, `latest`, or a key.
fn find(runs: &[Manifest], what: &str) -> Result<(String, Vec<String>), Failure> {
    let taken = || runs.iter().rev().filter(|run| run.command != "restore");
    if what == "latest" {
        let latest = taken().next().ok_or_else(|| Failure::usage(anyhow::anyhow!("there are no runs to restore")))?;
        return Ok((latest.id.clone(), Vec::new()));
    }
    let holds = |run: &&Manifest| {
        let records = run.stores.iter().filter(|record| record.state == StepState::Done);
        records.flat_map(|record| &record.entries).any(|entry| entry.key == what && !entry.restored)
    };
    if let Some(run) = taken().find(holds) {
        return Ok((run.id.clone(), vec![what.to_owned()]));
    }
    let matching: Vec<&Manifest> = runs.iter().filter(|run| run.id.starts_with(what)).collect();
    match matching.as_slice() {
        [run] => Ok((run.id.clone(), Vec::new())),
        [] => Err(Failure::usage(anyhow::anyhow!("no run and no key that was taken is called {what}"))
            .hint("`claw-sessions runs` lists the runs; their manifests name the keys")),
        many => Err(Failure::usage(anyhow::anyhow!("{} runs begin with {what}", many.len()))
            .hint("give more of the id; `claw-sessions runs` lists them")),
    }
}
