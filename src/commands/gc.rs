//! `gc`: take stale, failed and damaged bindings out of the stores.

use super::context::Context;
use super::permit::{PATIENCE, beside_gateway, left, open, refuse_beside_gateway};
use super::{Exit, Failure, Session};
use crate::cli::GcArgs;
use crate::decide::guard;
use crate::decide::plan::{self, Plan, Totals};
use crate::decide::verdict::Verdicts;
use crate::model::inventory::{Content, Inventory};
use crate::model::store::StoreState;
use crate::render::json::{self, GcDocument};
use crate::render::text;
use crate::store::apply::{self, Left, Outcome};
use crate::store::journal::{self, Journal};
use crate::store::manifest::RunState;
use crate::store::recover;

/// Runs the verb.
pub(super) fn run(session: &Session, args: &GcArgs) -> Result<Exit, Failure> {
    let dry = args.dry_run || args.plan.is_some();
    if let Some(path) = args.plan.as_ref().filter(|path| fs_err::symlink_metadata(path).is_ok()) {
        return Err(Failure::usage(anyhow::anyhow!("{} exists", path.display())).hint("name a new file for the plan"));
    }
    let mut context = Context::new(session, &args.flags())?;
    let mut work = Work::default();
    if dry {
        work.recovered = unfinished(&context);
    } else {
        refuse_beside_gateway(&context, args.safety.online)?;
        // Where there never was a run there is nothing to recover, and nothing to make before there is something to do.
        if journal::exists(&context.home.real_dir) {
            let journal = open(&context)?;
            work.recovered = recover::recover(&journal, &context.home.real_dir, session.started_at, PATIENCE)?;
            work.journal = Some(journal);
        }
    }
    let (mut inventory, verdicts, plan) = decide(&mut context, args)?;
    let planned = plan.totals();
    let mut refused = refusals(&inventory);
    if let Some(why) = guard::refusal(&plan, &inventory, &context.policy, context.now) {
        if !dry {
            let before = match work.recovered.join("; ") {
                told if told.is_empty() => told,
                told => format!("; before that, {told}"),
            };
            return Err(Failure::refused(anyhow::anyhow!("{why}; nothing was touched{before}"))
                .hint("`gc -n` with the same options shows the plan"));
        }
        refused.push(Left::new("the plan", format!("{why}; gc would refuse it")));
    }
    if dry {
        let beside = beside_gateway(&context, args.safety.online);
        refused.extend(
            beside.map(|why| Left::new("the plan", format!("{why}; stop it first, or accept that with --online"))),
        );
    }
    if let Some(path) = &args.plan {
        apply::write_document(path, json::to_text(&plan).as_bytes()).map_err(Failure::usage)?;
    }
    let mut outcome = Outcome { failed: unreadable(&inventory), ..Outcome::default() };
    if !dry && !plan.is_empty() {
        inventory.release_texts();
        outcome = carry_out(&context, plan, &mut work, outcome.failed)?;
    }
    outcome.refused.extend(refused);
    if let Some(journal) = &work.journal {
        work.forgotten = forget_old_runs(&context, journal)?;
    }
    let document = document(&context, &inventory, &verdicts, planned, dry, outcome, work);
    show(session, &context, &document)
}

/// What a run has besides its plan.
#[derive(Default)]
struct Work {
    journal: Option<Journal>,
    recovered: Vec<String>,
    forgotten: Vec<String>,
}

fn carry_out(context: &Context<'_>, plan: Plan, work: &mut Work, failed: Vec<Left>) -> Result<Outcome, Failure> {
    let journal = match work.journal.take() {
        Some(journal) => journal,
        None => open(context)?,
    };
    let options = apply::Options { command: "gc", started_at: context.session.started_at, patience: PATIENCE };
    let mut outcome = apply::apply(plan, &journal, &options)?;
    outcome.failed.extend(failed);
    work.journal = Some(journal);
    Ok(outcome)
}

/// Loads, judges and plans, or takes the plan from a file.
fn decide(context: &mut Context<'_>, args: &GcArgs) -> Result<(Inventory, Verdicts, Plan), Failure> {
    let inventory = context.load()?;
    let mut verdicts = context.judge(&inventory).classify();
    let Some(path) = &args.apply else {
        let plan = context.plan(&inventory, &verdicts);
        return Ok((inventory, verdicts, plan));
    };
    let text = fs_err::read(path).map_err(Failure::usage)?;
    let plan: Plan = serde_json::from_slice(&text)
        .map_err(|error| Failure::usage(anyhow::anyhow!("{} is no plan: {error}", path.display())))?;
    if plan.schema != plan::SCHEMA || plan.state_dir != context.home.real_dir {
        let made_for = plan.state_dir.display();
        return Err(Failure::usage(anyhow::anyhow!("{} is a plan for {made_for}", path.display())));
    }
    plan.fits(&inventory)
        .map_err(|why| Failure::refused(anyhow::anyhow!("{}: {why}; nothing was touched", path.display())))?;
    plan.override_verdicts(&inventory, &mut verdicts);
    Ok((inventory, verdicts, plan))
}

fn unfinished(context: &Context<'_>) -> Vec<String> {
    let (runs, problems) = journal::past_runs(&context.home.real_dir);
    let cut_off = runs.into_iter().filter(|run| run.state == RunState::Unfinished);
    let told = cut_off.map(|run| format!("the run {} was cut off; the next gc or restore finishes it first", run.id));
    told.chain(problems).collect()
}

/// Stores that gc does not touch because of what they are.
fn refusals(inventory: &Inventory) -> Vec<Left> {
    let harmless = |state| matches!(state, StoreState::Ok | StoreState::Missing | StoreState::Symlink);
    let stores = inventory.selected().filter(|store| !harmless(store.state));
    stores
        .map(|store| {
            let problem = store.problem.clone().unwrap_or_default();
            let state = store.state.as_str();
            Left::new(store.path.display(), format!("{state}: {problem}; nothing in its directory is touched"))
        })
        .collect()
}

/// Transcripts that could not be read: left alone, and said.
fn unreadable(inventory: &Inventory) -> Vec<Left> {
    let bindings = inventory.selected().flat_map(|store| &store.bindings);
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
        Some(age) => Ok(journal.forget_older(context.session.started_at, age)?.0),
        None => Ok(Vec::new()),
    }
}

fn document(
    context: &Context<'_>,
    inventory: &Inventory,
    verdicts: &Verdicts,
    planned: Totals,
    dry_run: bool,
    outcome: Outcome,
    work: Work,
) -> GcDocument {
    let mismatches = outcome.mismatches.into_iter().map(|what| Left::new("planned is not done", what));
    let taken = &outcome.taken;
    let startup = context.startup(inventory, verdicts, |one| {
        let leaves = || taken.contains(&(one.store(inventory).path.clone(), one.binding(inventory).key.clone()));
        one.verdict.action.removes() && (dry_run || leaves())
    });
    GcDocument {
        preamble: context.preamble("gc", &inventory.gateway),
        body: context.body(inventory, verdicts, planned, startup),
        run: outcome.run,
        dry_run,
        planned,
        done: outcome.done,
        skipped: left(context, outcome.skipped),
        failed: left(context, outcome.failed),
        refused: left(context, outcome.refused.into_iter().chain(mismatches)),
        forgotten: work.forgotten,
        recovered: work.recovered,
    }
}

fn show(session: &Session, context: &Context<'_>, document: &GcDocument) -> Result<Exit, Failure> {
    if session.cli.global.wants_json() {
        session.print_document(document)?;
    } else {
        let details = context.details(&document.preamble.gateway);
        session.print(&text::gc(document, &details, &session.layout()))?;
    }
    Ok(Exit::after(!document.refused.is_empty(), !document.failed.is_empty()))
}
