//! `gc`: take stale, failed and damaged bindings out of the stores.

use std::time::Duration;

use super::context::Context;
use super::{Exit, Failure, Session};
use crate::cli::GcArgs;
use crate::decide::classify::Verdicts;
use crate::decide::guard;
use crate::decide::plan::{self, Plan, Totals};
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
        refused.push(Left::new("the plan", format!("{why}; nothing was touched")));
    } else if dry {
        refused.extend(beside_gateway(&context, args.safety.online).map(|why| Left::new("the plan", why)));
    }
    let allowed = refused.iter().all(|left| left.what != "the plan");
    if let Some(path) = &args.plan {
        apply::write_document(path, json::to_text(&plan).as_bytes()).map_err(Failure::usage)?;
    }
    let mut outcome = Outcome { failed: unreadable(&inventory), ..Outcome::default() };
    if !dry && allowed && !plan.is_empty() {
        inventory.release_texts();
        outcome = carry_out(&context, plan, &mut work, outcome.failed)?;
    }
    outcome.refused.extend(refused);
    if let Some(journal) = work.journal.as_ref().filter(|_| allowed) {
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

/// Why nothing may be changed beside a live gateway: one that offers outsiders no lock may write at the same moment
/// (design §5).
fn beside_gateway(context: &Context<'_>, online: bool) -> Option<String> {
    let gateway = context.gateway();
    if !gateway.alive || context.generation().has_store_lock || online {
        return None;
    }
    let version = context.config.config.last_touched_version.as_deref().unwrap_or("of unknown version");
    Some(format!("a gateway {version} is alive ({}); nothing was touched", gateway.evidence.join("; ")))
}

/// The same as an error with the way out.
pub(super) fn refuse_beside_gateway(context: &Context<'_>, online: bool) -> Result<(), Failure> {
    match beside_gateway(context, online) {
        None => Ok(()),
        Some(why) => Err(Failure::refused(anyhow::anyhow!(why)).hint(
            "stop the gateway first, or run claw-sessions from its unit's ExecStartPre; --online accepts that the gateway \
             may write at the same moment. A gateway up to 2026.4.29 offers a lock: its version is read from \
             meta.lastTouchedVersion in openclaw.json",
        )),
    }
}

/// Opens the journal for writing, with our lock.
pub(super) fn open(context: &Context<'_>) -> Result<Journal, Failure> {
    Journal::open(&context.home.real_dir, PATIENCE)?.map_err(|journal::Busy| {
        let dir = context.home.state_dir.display();
        Failure::refused(anyhow::anyhow!("another claw-sessions is at work on {dir}"))
            .hint("try again when it has ended")
    })
}

fn unfinished(context: &Context<'_>) -> Vec<String> {
    let (runs, problems) = journal::past_runs(&context.home.real_dir);
    let cut_off = runs.into_iter().filter(|run| run.state == journal::RunState::Unfinished);
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
        Some(age) => {
            super::runs::prune(&context.home.real_dir, journal, context.session.started_at, age).map(|(gone, _)| gone)
        }
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
        session.print(&text::gc(document, &details, &session.layout()))?;
    }
    Ok(Exit::after(!document.refused.is_empty(), !document.failed.is_empty()))
}
