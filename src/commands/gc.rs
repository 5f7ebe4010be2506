//! `gc`: take stale, failed and damaged bindings out of the stores.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use super::context::{Context, Loading};
use super::permit::{Lists, Mutation, Patience, barred, beside_gateway, lists, unreadable};
use super::{Exit, Failure, Session, boot};
use crate::change::apply;
use crate::change::boots;
use crate::change::journal::Journal;
use crate::change::manifest::RunKind;
use crate::change::outcome::{Changed, Late, Left, Outcome, Refusal, Subject, Taken};
use crate::change::rows::compact as rows;
use crate::change::rows::open::Target;
use crate::cli::GcArgs;
use crate::decide::plan::{self, Plan, Totals};
use crate::decide::verdict::{Classified, Verdicts};
use crate::decide::{guard, poison};
use crate::disk::deadline::Deadline;
use crate::disk::whole;
use crate::model::ids::{BindingId, RunId};
use crate::model::inventory::{Boots, Inventory};
use crate::render::json::{self, BindingDocument, CompactedDocument, GcDocument};
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
        let passed = pass(&mut context, args, time, None)?;
        return show(session, &context, &passed.document);
    }
    let watch = limit.map(|limit| boot::StartWatch::start(session, limit));
    Ok(match Context::new(session, &args.flags()) {
        Err(failure) => boot::forgive(session, None, &failure),
        Ok(mut context) => match pass(&mut context, args, time, watch.as_ref()) {
            Ok(passed) => boot::tell(session, &context, passed),
            // A dry run writes nothing, no note of its failure either.
            Err(failure) => boot::forgive(session, Some(&context).filter(|_| !args.dry_run), &failure),
        },
    })
}

/// Bytes of the longest plan that is read: a million items.
const LONGEST_PLAN: u64 = 1 << 29;

/// When to stop.
#[derive(Clone, Copy)]
struct Time {
    reading: Deadline,
    all: Deadline,
}

/// What a pass did.
pub(super) struct Passed {
    /// For people and programs.
    pub(super) document: GcDocument,
    /// Its run.
    pub(super) run: Option<RunId>,
    /// What it left.
    pub(super) left: Vec<Left>,
}

/// One pass: load, judge, plan, and, unless it is a dry run, carry the plan out.
fn pass(
    context: &mut Context<'_>,
    args: &GcArgs,
    time: Time,
    watch: Option<&boot::StartWatch>,
) -> Result<Passed, Failure> {
    let dry = args.dry_run || args.plan.is_some();
    let mut work = begin(context, args, time, watch, dry)?;
    let salvage = (args.salvage.salvage || args.boot).then_some(args.salvage.from_backups);
    let look = Loading { salvage, boot: args.boot, deadline: time.reading, ..Loading::default() };
    let inventory = context.load_with(look)?;
    let mut left: Vec<Left> = barred(&inventory, |bar| !bar.is_harmless()).collect();
    let (verdicts, plan) = decide(context, args, &inventory, &work.settled.back, &mut left)?;
    let planned = plan.totals();
    left.extend(guarded(context, &inventory, &plan, &work, dry)?);
    if dry {
        left.extend(beside_gateway(context, args.online).map(|why| Left::new(Subject::Plan, why)));
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
        changing(watch, true);
        // A plan from a file is older than what was read.
        let seen = args.apply.is_none().then_some(&inventory);
        apply::beside(|| work.carry_out(context, plan, seen, RunKind::Gc), documents)
    };
    let mut outcome = outcome?;
    let compacted = if args.compact { compact(context, &inventory, time.all, &mut outcome.left) } else { Vec::new() };
    outcome.left.extend(unreadable(&inventory));
    outcome.left.extend(unread(&not_checked));
    outcome.left.extend(left);
    if args.boot && !dry {
        changing(watch, true);
        // What was done is told all the same.
        if let Err(failure) = remember(context, &inventory, &verdicts, &outcome, not_checked, &mut work) {
            outcome.left.push(Left::new(Subject::Start, failure.error));
        }
    }
    let forgotten = match &work.journal {
        Some(journal) if !time.all.has_passed() => forget_old_runs(context, journal, &mut outcome),
        _ => Vec::new(),
    };
    changing(watch, false);
    let own = outcome.run.clone().filter(|_| outcome.unfinished);
    let unfinished = work.settled.unfinished().into_iter().chain(own).collect();
    outcome.left.append(&mut work.settled.left);
    let told = Extras { bindings, unfinished, recovered: work.recovered(), forgotten, mended, compacted };
    let (run, left) = (outcome.run.clone(), outcome.left.clone());
    let document = document(context, &inventory, &verdicts, planned, dry, outcome, told);
    // The process is about to end, which gives all of it back at once.
    std::mem::forget((inventory, verdicts));
    Ok(Passed { document, run, left })
}

/// Tells the watch of a start whether something is being changed.
fn changing(watch: Option<&boot::StartWatch>, changing: bool) {
    if let Some(watch) = watch {
        watch.changing(changing);
    }
}

/// Takes our lock and finishes what was cut off; a dry run only looks.
fn begin(
    context: &Context<'_>,
    args: &GcArgs,
    time: Time,
    watch: Option<&boot::StartWatch>,
    dry: bool,
) -> Result<Mutation, Failure> {
    let patience = if args.boot { boot::PATIENCE } else { Patience::default().patience };
    changing(watch, !dry);
    let limits = Patience { patience, deadline: time.all };
    let work = if dry { Mutation::dry(context) } else { Mutation::begin(context, args.online, limits)? };
    changing(watch, false);
    Ok(work)
}

/// Refuses a plan that takes more than it may, or that a wrong clock may have made. A dry run tells it, and goes on.
fn guarded(
    context: &Context<'_>,
    inventory: &Inventory,
    plan: &Plan<'_>,
    work: &Mutation,
    dry: bool,
) -> Result<Option<Left>, Failure> {
    let Some(why) = guard::refusal(plan, inventory, &context.policy, context.now) else { return Ok(None) };
    if dry {
        return Ok(Some(Left::new(Subject::Plan, Refusal::Unsafe(format!("{why}; gc would refuse it")))));
    }
    let before = match work.recovered().join("; ") {
        told if told.is_empty() => told,
        told => format!("; before that, {told}"),
    };
    Err(Failure::refused(anyhow::anyhow!("{why}; nothing was touched{before}"))
        .code("plan-unsafe")
        .hint("`gc -n` with the same options shows the plan"))
}

/// Notes which sessions this start found failed or cut off, where they stand, and what it left unread.
fn remember(
    context: &Context<'_>,
    inventory: &Inventory,
    verdicts: &Verdicts,
    outcome: &Outcome,
    not_checked: BTreeMap<PathBuf, bool>,
    work: &mut Mutation,
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

/// Parts of the document that do not come from the change.
struct Extras {
    bindings: Vec<BindingDocument>,
    unfinished: Vec<RunId>,
    recovered: Vec<String>,
    forgotten: Vec<RunId>,
    mended: Vec<MendedDocument>,
    compacted: Vec<CompactedDocument>,
}

/// Gives the free pages of every database back that may be changed.
fn compact(
    context: &Context<'_>,
    inventory: &Inventory,
    deadline: Deadline,
    left: &mut Vec<Left>,
) -> Vec<CompactedDocument> {
    let mut done = Vec::new();
    for store in inventory.selected().filter(|store| store.may_change().is_ok()) {
        let Some(database) = store.database() else { continue };
        let target = Target {
            state_dir: &context.home.real_dir,
            database: &database.path,
            dir: database.dir,
            agent: &store.agent,
            schema: database.schema,
        };
        match rows::compact(&target, deadline) {
            Ok(Ok(bytes)) => done.push(CompactedDocument { agent: store.agent.clone(), bytes }),
            Ok(Err(refusal)) => left.push(Left::new(Subject::Path(database.path.clone()), refusal)),
            Err(error) => left.push(Left::new(Subject::Path(database.path.clone()), error)),
        }
    }
    done
}

/// Judges and plans, or takes the plan from a file.
fn decide<'a>(
    context: &Context<'_>,
    args: &GcArgs,
    inventory: &'a Inventory,
    back: &[BindingId],
    left: &mut Vec<Left>,
) -> Result<(Verdicts, Plan<'a>), Failure> {
    let mut verdicts = context.judge(inventory).classify();
    verdicts.spare(inventory, back);
    let Some(path) = &args.apply else {
        let plan = context.plan(inventory, &verdicts);
        return Ok((verdicts, plan));
    };
    let text = whole::read(path, LONGEST_PLAN)
        .map_err(|error| Failure::usage(anyhow::anyhow!("cannot read the plan {}: {error}", path.display())))?;
    let mut plan: Plan<'a> = serde_json::from_slice(&text)
        .map_err(|error| Failure::usage(anyhow::anyhow!("{} is no plan: {error}", path.display())))?;
    if plan.schema != plan::SCHEMA || plan.state_dir != context.home.real_dir {
        let made_for = plan.state_dir.display();
        return Err(Failure::usage(anyhow::anyhow!("{} is a plan for {made_for}", path.display())));
    }
    let mends = context.plan(inventory, &context.judge(inventory).mend());
    let changed = plan.fit(inventory, &verdicts, &mends).map_err(|why| {
        Failure::refused(anyhow::anyhow!("{}: {why}; nothing was touched", path.display())).code("plan-unsafe")
    })?;
    left.extend(changed.into_iter().map(|path| Left::new(Subject::Path(path), Changed::File)));
    plan.override_verdicts(inventory, &mut verdicts);
    Ok((verdicts, plan))
}

/// The transcripts that the deadline left unread, those left out that go anyway; and whether reading was begun.
fn not_checked(inventory: &Inventory, verdicts: &Verdicts) -> BTreeMap<PathBuf, bool> {
    let mut unread = inventory.not_checked();
    for path in verdicts.bindings.iter().filter_map(|one| one.file.as_ref()) {
        unread.remove(path.strip_prefix(&inventory.state_dir).unwrap_or(path));
    }
    unread
}

fn unread(not_checked: &BTreeMap<PathBuf, bool>) -> impl Iterator<Item = Left> {
    not_checked.iter().map(|(path, begun)| Left::new(Subject::Path(path.clone()), Late::Unread { begun: *begun }))
}

/// gc forgets its own runs after a while, and never one that holds what somebody set aside.
fn forget_old_runs(context: &Context<'_>, journal: &Journal, outcome: &mut Outcome) -> Vec<RunId> {
    let Some(age) = context.policy.limits.keep_runs.value else { return Vec::new() };
    let done = journal.forget_older(context.session.started_at, age, outcome.run.as_ref());
    outcome.left.extend(done.left);
    done.forgotten
}

fn document(
    context: &Context<'_>,
    inventory: &Inventory,
    verdicts: &Verdicts,
    planned: Totals,
    dry_run: bool,
    outcome: Outcome,
    told: Extras,
) -> GcDocument {
    let left_its_store = has_left(&outcome.taken, inventory);
    let startup =
        context.startup(inventory, verdicts, |one| one.verdict.action.removes() && (dry_run || left_its_store(one)));
    let Lists { skipped, failed, refused, late } = lists(context, &outcome.left);
    GcDocument {
        preamble: context.preamble("gc", &inventory.gateway, told.unfinished),
        body: json::body(inventory, verdicts, told.bindings, planned, startup, context.view()),
        run: outcome.run.map(String::from),
        dry_run,
        planned,
        done: outcome.totals,
        skipped,
        failed,
        refused,
        late,
        mended: told.mended,
        compacted: told.compacted,
        forgotten: told.forgotten.into_iter().map(String::from).collect(),
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
