//! `gc`: take stale, failed and damaged bindings out of the stores.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use super::context::{Context, Look};
use super::permit::{Limits, Work, beside_gateway, left, unreadable};
use super::{Exit, Failure, Session, boot};
use crate::change::apply::{self, Left, Outcome, Taken};
use crate::change::boots;
use crate::change::journal::Journal;
use crate::cli::GcArgs;
use crate::decide::plan::{self, Plan, Totals};
use crate::decide::verdict::{Classified, Verdicts};
use crate::decide::{guard, poison};
use crate::disk::deadline::{Deadline, OVER};
use crate::model::inventory::{Boots, Inventory};
use crate::model::store::StoreState;
use crate::render::json::{self, BindingDocument, GcDocument};
use crate::render::mended::{MendedDocument, mended};
use crate::render::text;
use crate::render::view;

/// Runs the verb.
pub(super) fn run(session: &Session, args: &GcArgs) -> Result<Exit, Failure> {
    let began = Instant::now();
    if let Some(path) = args.plan.as_ref().filter(|path| fs_err::symlink_metadata(path).is_ok()) {
        return Err(Failure::usage(anyhow::anyhow!("{} exists", path.display())).hint("name a new file for the plan"));
    }
    let limit = args.deadline.or(args.boot.then_some(boot::DEADLINE)).and_then(|limit| limit.to_std().ok());
    let time = Time { reading: Deadline::for_reading(began, limit), all: Deadline::after(began, limit) };
    if !args.boot {
        let mut context = Context::new(session, &args.flags())?;
        let document = pass(&mut context, args, time, None)?;
        return show(session, &context, &document);
    }
    let watch = limit.map(|limit| boot::Watch::start(session, limit));
    Ok(match Context::new(session, &args.flags()) {
        Err(failure) => boot::forgive(session, None, &failure),
        Ok(mut context) => match pass(&mut context, args, time, watch.as_ref()) {
            Ok(document) => boot::tell(session, &context, &document),
            // A dry run writes nothing, no note of its failure either.
            Err(failure) => boot::forgive(session, Some(&context).filter(|_| !args.dry_run), &failure),
        },
    })
}

/// When to stop.
#[derive(Clone, Copy)]
struct Time {
    reading: Deadline,
    all: Deadline,
}

/// One pass: load, judge, plan, and, unless it is a dry run, carry the plan out.
fn pass(
    context: &mut Context<'_>,
    args: &GcArgs,
    time: Time,
    watch: Option<&boot::Watch>,
) -> Result<GcDocument, Failure> {
    let changing = |changing| {
        if let Some(watch) = watch {
            watch.changing(changing);
        }
    };
    let dry = args.dry_run || args.plan.is_some();
    let patience = if args.boot { boot::PATIENCE } else { Limits::default().patience };
    changing(!dry);
    let limits = Limits { patience, deadline: time.all };
    let mut work = if dry { Work::dry(context) } else { Work::begin(context, args.online, limits)? };
    changing(false);
    let salvage = (args.salvage.salvage || args.boot).then_some(args.salvage.from_backups);
    let look = Look { salvage, boot: args.boot, deadline: time.reading, ..Look::default() };
    let inventory = context.load_with(look)?;
    let (verdicts, plan) = decide(context, args, &inventory)?;
    let planned = plan.totals();
    let mut refused = refusals(&inventory);
    if let Some(why) = guard::refusal(&plan, &inventory, &context.policy, context.now) {
        if !dry {
            let before = match work.recovered.told.join("; ") {
                told if told.is_empty() => told,
                told => format!("; before that, {told}"),
            };
            return Err(Failure::refused(anyhow::anyhow!("{why}; nothing was touched{before}"))
                .hint("`gc -n` with the same options shows the plan"));
        }
        refused.push(Left::new("the plan", format!("{why}; gc would refuse it")));
    }
    if dry {
        let beside = beside_gateway(context, args.online);
        refused.extend(
            beside.map(|why| Left::new("the plan", format!("{why}; stop it first, or accept that with --online"))),
        );
    }
    if let Some(path) = &args.plan {
        apply::write_document(path, view::to_text(&plan).as_bytes()).map_err(Failure::usage)?;
    }
    let not_checked = not_checked(&inventory, &verdicts);
    let mended = mended(&plan, &inventory, context.view());
    let documents = || json::bindings(&inventory, &verdicts, context.view());
    let (outcome, bindings) = if dry || plan.is_empty() {
        (Ok(Outcome::default()), documents())
    } else {
        changing(true);
        // A plan from a file is older than what was read.
        let seen = args.apply.is_none().then_some(&inventory);
        apply::beside(|| work.carry_out(context, plan, seen, "gc"), documents)
    };
    let mut outcome = outcome?;
    outcome.failed.extend(unreadable(&inventory));
    outcome.late.extend(unread(&not_checked));
    outcome.refused.extend(refused);
    if args.boot && !dry {
        changing(true);
        // What was done is told all the same.
        if let Err(failure) = remember(context, &inventory, &verdicts, &outcome, not_checked, &mut work) {
            outcome.failed.push(Left::new("what this start found", format!("{:#}", failure.error)));
        }
    }
    let forgotten = match &work.journal {
        Some(journal) if !time.all.has_passed() => forget_old_runs(context, journal, &mut outcome),
        _ => Vec::new(),
    };
    changing(false);
    outcome.failed.append(&mut work.recovered.failed);
    let told = Told { bindings, recovered: work.recovered.told, forgotten, mended };
    let document = document(context, &inventory, &verdicts, planned, dry, outcome, told);
    // The process is about to end, which gives all of it back at once.
    std::mem::forget((inventory, verdicts));
    Ok(document)
}

/// Notes which sessions this start found failed or cut off, where they stand, and what it left unread.
fn remember(
    context: &Context<'_>,
    inventory: &Inventory,
    verdicts: &Verdicts,
    outcome: &Outcome,
    not_checked: BTreeMap<PathBuf, bool>,
    work: &mut Work,
) -> Result<(), Failure> {
    let left_its_store = has_left(&outcome.taken, inventory);
    let sessions = poison::sightings(inventory, &verdicts.bindings, |one| !left_its_store(one));
    let found = Boots { sessions, not_checked };
    if found != boots::read(&context.home.real_dir) {
        boots::write(work.journal(context)?, found)?;
    }
    Ok(())
}

/// Tells which bindings left their stores.
fn has_left<'a>(taken: &'a Taken, inventory: &'a Inventory) -> impl Fn(&Classified) -> bool + 'a {
    let taken: Vec<_> = inventory.stores.iter().map(|store| taken.get(&store.path)).collect();
    move |one| taken[one.store].is_some_and(|keys| keys.contains(&one.binding(inventory).key))
}

/// What is told besides what was done.
struct Told {
    bindings: Vec<BindingDocument>,
    recovered: Vec<String>,
    forgotten: Vec<String>,
    mended: Vec<MendedDocument>,
}

/// Judges and plans, or takes the plan from a file.
fn decide<'a>(context: &Context<'_>, args: &GcArgs, inventory: &'a Inventory) -> Result<(Verdicts, Plan<'a>), Failure> {
    let mut verdicts = context.judge(inventory).classify();
    let Some(path) = &args.apply else {
        let plan = context.plan(inventory, &verdicts);
        return Ok((verdicts, plan));
    };
    let text = fs_err::read(path).map_err(Failure::usage)?;
    let plan: Plan<'a> = serde_json::from_slice(&text)
        .map_err(|error| Failure::usage(anyhow::anyhow!("{} is no plan: {error}", path.display())))?;
    if plan.schema != plan::SCHEMA || plan.state_dir != context.home.real_dir {
        let made_for = plan.state_dir.display();
        return Err(Failure::usage(anyhow::anyhow!("{} is a plan for {made_for}", path.display())));
    }
    plan.fits(inventory)
        .map_err(|why| Failure::refused(anyhow::anyhow!("{}: {why}; nothing was touched", path.display())))?;
    plan.override_verdicts(inventory, &mut verdicts);
    Ok((verdicts, plan))
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

/// The transcripts that the deadline left unread, those left out that go anyway; and whether reading was begun.
fn not_checked(inventory: &Inventory, verdicts: &Verdicts) -> BTreeMap<PathBuf, bool> {
    let mut unread = inventory.not_checked();
    for path in verdicts.bindings.iter().filter_map(|one| one.file.as_ref()) {
        unread.remove(path.strip_prefix(&inventory.state_dir).unwrap_or(path));
    }
    unread
}

fn unread(not_checked: &BTreeMap<PathBuf, bool>) -> Vec<Left> {
    let words = |(path, begun): (&PathBuf, &bool)| {
        let how = if *begun { "read to its end" } else { "read" };
        Left::new(path.display(), format!("{OVER} before it was {how}"))
    };
    not_checked.iter().map(words).collect()
}

/// gc forgets its own runs after a while, and never one that quarantined something (design §4).
fn forget_old_runs(context: &Context<'_>, journal: &Journal, outcome: &mut Outcome) -> Vec<String> {
    let Some(age) = context.policy.limits.keep_runs.value else { return Vec::new() };
    let done = journal.forget_older(context.session.started_at, age, outcome.run.as_deref());
    outcome.failed.extend(done.failed.into_iter().map(|why| Left::new("claw-sessions/runs", why)));
    done.forgotten
}

fn document(
    context: &Context<'_>,
    inventory: &Inventory,
    verdicts: &Verdicts,
    planned: Totals,
    dry_run: bool,
    outcome: Outcome,
    told: Told,
) -> GcDocument {
    let left_its_store = has_left(&outcome.taken, inventory);
    let startup =
        context.startup(inventory, verdicts, |one| one.verdict.action.removes() && (dry_run || left_its_store(one)));
    let mismatches = outcome.mismatches.into_iter().map(|what| Left::new("planned is not done", what));
    GcDocument {
        preamble: context.preamble("gc", &inventory.gateway),
        body: json::body(inventory, verdicts, told.bindings, planned, startup, context.view()),
        run: outcome.run,
        dry_run,
        planned,
        done: outcome.done,
        skipped: left(context, outcome.skipped),
        failed: left(context, outcome.failed),
        refused: left(context, outcome.refused.into_iter().chain(mismatches)),
        late: left(context, outcome.late),
        mended: told.mended,
        forgotten: told.forgotten,
        recovered: told.recovered,
    }
}

fn show(session: &Session, context: &Context<'_>, document: &GcDocument) -> Result<Exit, Failure> {
    if session.cli.global.json {
        session.print_document(document)?;
    } else {
        let details = context.details(&document.preamble.gateway);
        session.print(&text::gc(document, &details, &session.layout()))?;
    }
    let partial = !document.failed.is_empty() || !document.late.is_empty() || context.missed();
    Ok(Exit::after(!document.refused.is_empty(), partial))
}
