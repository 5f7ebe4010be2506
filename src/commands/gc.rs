//! `gc`: take stale, failed and damaged bindings out of the stores.

use std::time::Duration;

use super::context::Context;
use super::{Exit, Failure, Session};
use crate::cli::GcArgs;
use crate::decide::classify::Verdicts;
use crate::decide::guard;
use crate::decide::plan::{self, Plan};
use crate::model::inventory::{Content, Inventory};
use crate::model::store::StoreState;
use crate::render::json::{self, GcDocument, LeftDocument};
use crate::render::text;
use crate::store::apply::{self, Left, Outcome};
use crate::store::journal::{self, Journal};
use crate::store::recover;

/// How long to wait for another claw-sessions and for a store lock.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Runs the verb.
pub(super) fn run(session: &Session, args: &GcArgs) -> Result<Exit, Failure> {
    let mut context = Context::new(session, &args.flags())?;
    let dry = args.dry_run || args.plan.is_some();
    if dry {
        let unfinished = unfinished(&context);
        let (inventory, verdicts, plan) = decide(&mut context, args)?;
        if let Some(path) = &args.plan {
            apply::write_document(path, json::to_text(&plan).as_bytes()).map_err(Failure::usage)?;
        }
        let refused = refusals(&context, &inventory, &plan);
        let document =
            document(&context, &inventory, &verdicts, &plan, true, Outcome { refused, ..Outcome::default() });
        let document = GcDocument { recovered: unfinished, ..document };
        return show(session, &context, &document);
    }
    refuse_beside_gateway(&context, args.safety.online)?;
    // Where there never was a run there is nothing to recover, and nothing to make before there is something to do.
    let mut journal = if journal::exists(&context.home.real_dir) { Some(open(&context)?) } else { None };
    let recovered = match &journal {
        Some(journal) => recover::recover(journal, &context.home.real_dir, session.started_at, PATIENCE)?,
        None => Vec::new(),
    };
    let (mut inventory, verdicts, plan) = decide(&mut context, args)?;
    if let Some(why) = guard::refusal(&plan, &inventory, &context.policy, context.now) {
        return Err(Failure::refused(anyhow::anyhow!("{why}; nothing was touched")));
    }
    let refused = refusals(&context, &inventory, &plan);
    let unreadable = unreadable(&inventory);
    let shown = plan.clone();
    inventory.release_texts();
    let mut outcome = Outcome::default();
    if !plan.is_empty() {
        let journal = match &mut journal {
            Some(journal) => journal,
            none => none.insert(open(&context)?),
        };
        let options = apply::Options { command: "gc", started_at: session.started_at, patience: PATIENCE };
        outcome = apply::apply(plan, journal, &options)?;
    }
    outcome.refused.extend(refused);
    outcome.failed.extend(unreadable);
    let forgotten = match &journal {
        Some(journal) => forget_old_runs(&context, journal)?,
        None => Vec::new(),
    };
    let document = document(&context, &inventory, &verdicts, &shown, false, outcome);
    show(session, &context, &GcDocument { forgotten, recovered, ..document })
}

/// Loads, judges and plans, or takes the plan from a file.
fn decide(context: &mut Context<'_>, args: &GcArgs) -> Result<(Inventory, Verdicts, Plan), Failure> {
    let inventory = context.load()?;
    let verdicts = context.judge(&inventory).classify();
    let plan = match &args.apply {
        None => context.plan(&inventory, &verdicts),
        Some(path) => {
            let text = fs_err::read(path).map_err(Failure::usage)?;
            let plan: Plan = serde_json::from_slice(&text)
                .map_err(|error| Failure::usage(anyhow::anyhow!("{} is no plan: {error}", path.display())))?;
            if plan.schema != plan::SCHEMA || plan.state_dir != context.home.real_dir {
                let made_for = plan.state_dir.display().to_string();
                return Err(Failure::usage(anyhow::anyhow!("{} is a plan for {made_for}", path.display())));
            }
            plan.fits(&inventory).map_err(|why| Failure::usage(anyhow::anyhow!("{}: {why}", path.display())))?;
            plan
        }
    };
    Ok((inventory, verdicts, plan))
}

/// A live gateway that offers outsiders no lock may write at the same moment (design §5).
pub(super) fn refuse_beside_gateway(context: &Context<'_>, online: bool) -> Result<(), Failure> {
    let gateway = context.gateway();
    if !gateway.alive || context.generation().has_store_lock || online {
        return Ok(());
    }
    let version = context.config.config.last_touched_version.as_deref().unwrap_or("of unknown version");
    let evidence = gateway.evidence.join("; ");
    Err(Failure::refused(anyhow::anyhow!("a gateway {version} is alive ({evidence}); nothing was touched")).hint(
        "stop the gateway first, or run gc from its unit's ExecStartPre; --online accepts that the gateway may write at \
         the same moment",
    ))
}

pub(super) fn open(context: &Context<'_>) -> Result<Journal, Failure> {
    match Journal::open(&context.home.real_dir, PATIENCE)? {
        Ok(journal) => Ok(journal),
        Err(journal::Busy) => Err(Failure::refused(anyhow::anyhow!(
            "another claw-sessions is at work on {}",
            context.home.state_dir.display()
        ))
        .hint("try again when it has ended")),
    }
}

fn unfinished(context: &Context<'_>) -> Vec<String> {
    let (runs, problems) = journal::past_runs(&context.home.real_dir);
    let cut_off = runs.into_iter().filter(|run| run.state == journal::RunState::Unfinished);
    cut_off
        .map(|run| format!("the run {} was cut off; the next gc or restore finishes it first", run.id))
        .chain(problems)
        .collect()
}

/// Stores that gc does not touch because of what they are.
fn refusals(context: &Context<'_>, inventory: &Inventory, plan: &Plan) -> Vec<Left> {
    let harmless = |state| matches!(state, StoreState::Ok | StoreState::Missing | StoreState::Symlink);
    let stores = inventory.stores.iter().filter(|store| !harmless(store.state)).map(|store| {
        let problem = store.problem.clone().unwrap_or_default();
        Left::new(
            store.path.display(),
            format!("{}: {problem}; nothing in its directory is touched", store.state.as_str()),
        )
    });
    let beside = (inventory.gateway.alive && !context.generation().has_store_lock && !plan.is_empty())
        .then(|| Left::new("gc", "a live gateway that offers no lock: gc would refuse; see --online"));
    stores.chain(beside.filter(|_| context.session.is_dry())).collect()
}

/// Transcripts that could not be read: left alone, and said.
fn unreadable(inventory: &Inventory) -> Vec<Left> {
    let bindings = inventory.stores.iter().flat_map(|store| &store.bindings);
    bindings
        .filter_map(|binding| match &binding.transcript.content {
            Content::Unreadable(why) => Some(Left::new(&binding.key, why)),
            _ => None,
        })
        .collect()
}

/// gc forgets its own runs after a while, and never one that quarantined something (design §4).
fn forget_old_runs(context: &Context<'_>, journal: &Journal) -> Result<Vec<String>, Failure> {
    match context.policy.keep_runs.value {
        Some(age) => super::runs::prune(&context.home.real_dir, journal, context.session.started_at, age),
        None => Ok(Vec::new()),
    }
}

fn document(
    context: &Context<'_>,
    inventory: &Inventory,
    verdicts: &Verdicts,
    plan: &Plan,
    dry_run: bool,
    outcome: Outcome,
) -> GcDocument {
    let mismatches = outcome.mismatches.into_iter().map(|what| Left::new("planned is not done", what));
    GcDocument {
        preamble: context.preamble("gc", &inventory.gateway),
        body: context.body(inventory, verdicts, plan),
        run: outcome.run,
        dry_run,
        planned: plan.totals(),
        done: outcome.done,
        skipped: left(context, outcome.skipped),
        failed: left(context, outcome.failed),
        refused: left(context, outcome.refused.into_iter().chain(mismatches)),
        forgotten: Vec::new(),
        recovered: Vec::new(),
    }
}

/// Left items as documents, with paths relative to the state directory.
pub(super) fn left(context: &Context<'_>, left: impl IntoIterator<Item = Left>) -> Vec<LeftDocument> {
    let document = |left: Left| LeftDocument { what: context.view().path(left.what.as_ref()), why: left.why };
    left.into_iter().map(document).collect()
}

fn show(session: &Session, context: &Context<'_>, document: &GcDocument) -> Result<Exit, Failure> {
    if session.cli.global.wants_json() {
        session.print_document(document)?;
    } else {
        let details = context.details(&document.preamble.gateway);
        session.print(&text::gc(document, &details, session.layout()))?;
    }
    Ok(if !document.refused.is_empty() {
        Exit::Refused
    } else if !document.failed.is_empty() {
        Exit::Partial
    } else {
        Exit::Done
    })
}
