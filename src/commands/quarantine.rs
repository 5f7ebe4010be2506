//! `quarantine`: take named or damaged sessions aside; list, show and purge what is aside.

use std::collections::HashSet;
use std::path::Path;

use chrono::TimeDelta;

use super::context::{Context, Loading, schema};
use super::permit::{Lists, Mutation, Patience, barred, beside_gateway, is_unreadable, lists, open, unreadable};
use super::{Exit, Failure, Session, near};
use crate::change::journal::{self, Past};
use crate::change::manifest::{EntryRecord, Manifest, RunKind, Step};
use crate::change::outcome::{Left, Outcome, Refusal, Subject};
use crate::change::purge::{self, Purged};
use crate::cli::{QuarantineArgs, QuarantineCommand};
use crate::config::policy::PolicyFlags;
use crate::decide::problems::{self, Problem};
use crate::decide::verdict::{Action, Classified};
use crate::load::read;
use crate::load::read::Depth;
use crate::model::home::Bar;
use crate::model::ids::{BindingId, RunId};
use crate::model::inventory::{Binding, Content, Inventory, Store};
use crate::model::problem::Code;
use crate::render::quarantine::{self, AsideDocument, QuarantineDocument, QuarantinedDocument};
use crate::render::refusal;

/// Runs the verb.
pub(super) fn run(session: &Session, args: &QuarantineArgs) -> Result<Exit, Failure> {
    match &args.command {
        Some(QuarantineCommand::List) => list(session),
        Some(QuarantineCommand::Show { id }) => show(session, id),
        Some(QuarantineCommand::Purge { older_than, dry_run, yes }) => purge(session, *older_than, *dry_run, *yes),
        None => take(session, args),
    }
}

fn take(session: &Session, args: &QuarantineArgs) -> Result<Exit, Failure> {
    let mut context = Context::new(session, &PolicyFlags::default())?;
    let mut work = if args.dry_run {
        Mutation::dry(&context)
    } else {
        Mutation::begin(&context, args.online, Patience::default())?
    };
    let depth = if args.damaged { Depth::Thorough } else { Depth::Whole };
    let inventory = context.load_with(Loading { depth, ..Loading::default() })?;
    let named = named(&inventory, &args.what)?;
    let damaged = if args.damaged { damaged(&inventory, &context, args) } else { HashSet::new() };
    let verdicts = context.judge(&inventory).set_aside(&named, &damaged);
    let id = |one: &Classified| binding_id(one, &inventory);
    let asked = |one: &&Classified| named.contains(&id(one)) || damaged.contains(&id(one));
    let mut left: Vec<Left> =
        verdicts.bindings.iter().filter(asked).filter_map(|one| shielded(one, &inventory)).collect();
    let taken = verdicts.bindings.iter().filter(|one| one.verdict.action == Action::Quarantine);
    let mut taken: Vec<&Classified> = taken.collect();
    let plan = context.plan(&inventory, &verdicts);
    let mut outcome = Outcome::default();
    if args.dry_run {
        left.extend(beside_gateway(&context, args.online).map(|why| Left::new(Subject::Quarantine, why)));
    } else if !plan.is_empty() {
        outcome = work.carry_out(&context, plan, Some(&inventory), RunKind::Quarantine)?;
        let went = |id: &BindingId| outcome.taken.get(&id.store).is_some_and(|keys| keys.contains(&id.key));
        taken.retain(|one| went(&id(one)));
    }
    let taken: Vec<AsideDocument> =
        taken.into_iter().map(|one| quarantine::aside(&inventory, one, context.view())).collect();
    outcome.left.extend(left.into_iter().chain(barred(&inventory, is_unreadable)));
    if args.damaged {
        outcome.left.extend(barred(&inventory, |bar| bar == Bar::Migrated));
        outcome.left.extend(unreadable(&inventory));
    }
    outcome.left.append(&mut work.settled.left);
    let Lists { skipped, failed, refused, late: _ } = lists(&context, &outcome.left);
    let document = QuarantineDocument {
        schema: schema("quarantine"),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        now: context.now,
        state_dir: context.home.state_dir.to_string_lossy().into_owned(),
        warnings: context.warnings().to_vec(),
        run: outcome.run.map(String::from),
        dry_run: args.dry_run,
        taken,
        skipped,
        failed,
        refused,
        recovered: work.recovered(),
    };
    if session.cli.global.json {
        session.print_document(&document)?;
    } else {
        session.print(&quarantine::taken(&document, &session.layout()))?;
    }
    Ok(Exit::after(!document.refused.is_empty(), !document.failed.is_empty() || context.missed()))
}

fn binding_id(one: &Classified, inventory: &Inventory) -> BindingId {
    BindingId::new(&one.store(inventory).path, &one.binding(inventory).key)
}

/// Returns the rule that keeps a binding in its store although it was asked for, if one does.
fn shielded(one: &Classified, inventory: &Inventory) -> Option<Left> {
    let reason = one.verdict.reasons.first().filter(|_| one.verdict.action == Action::Keep)?;
    let agent = one.binding(inventory).agent.clone();
    let refusal = Refusal::Shielded { code: reason.as_str().to_owned(), rule: reason.describe().to_owned() };
    Some(Left::new(Subject::Binding { agent, id: binding_id(one, inventory) }, refusal))
}

/// The bindings that were asked for, by key or by session id. A name that bindings of several stores have names none.
fn named(inventory: &Inventory, asked: &[String]) -> Result<HashSet<BindingId>, Failure> {
    let mut ids = HashSet::new();
    for asked in asked {
        let by_id = |id: &String| id.trim() == asked;
        let is_it = |one: &Binding| one.key == *asked || one.entry.session_id.as_ref().is_some_and(by_id);
        let bindings = inventory.selected().flat_map(|store| store.bindings.iter().map(move |one| (store, one)));
        let found: Vec<_> = bindings.filter(|(_, one)| is_it(one)).collect();
        near::refuse_namesakes(asked, found.iter().map(|(store, one)| (store.path.as_path(), one.agent.as_str())))?;
        ids.extend(found.iter().map(|(store, one)| BindingId::new(&store.path, &one.key)));
        let mixed = |store: &&Store| {
            store
                .database()
                .and_then(|database| database.mixed.as_ref())
                .is_some_and(|mixed| mixed.only_in_file.contains(asked))
        };
        if let Some(store) = inventory.selected().find(mixed) {
            let problem = store.problem.clone().unwrap_or_default();
            return Err(Failure::refused(anyhow::anyhow!("{}: {problem}; nothing was touched", store.path.display())));
        }
        if found.is_empty() {
            return Err(near::no_such_key(inventory, asked));
        }
    }
    Ok(ids)
}

/// The bindings that have a problem at least as bad as asked for.
fn damaged(inventory: &Inventory, context: &Context<'_>, args: &QuarantineArgs) -> HashSet<BindingId> {
    let found = problems::of_inventory(inventory, context.now, false).list.into_iter();
    // A path that leads nowhere is no damage of a session: taking it aside helps nobody.
    let is_damage = |problem: &Problem| problem.severity() <= args.severity && problem.code != Code::Relocated;
    found.filter(is_damage).filter_map(|problem| problem.binding).collect()
}

/// The quarantined entries of a run, with the archived transcript of each.
fn aside_of(run: &Manifest) -> impl Iterator<Item = (&EntryRecord, Option<&Path>, u64)> {
    let aside = run.taken().filter(|(_, entry)| entry.is_quarantined());
    aside.map(move |(_, entry)| {
        let moved = run.steps.iter().find(|step| step.is_away() && Some(&step.path) == entry.file.as_ref());
        (entry, moved.and_then(Step::kept), moved.map_or(0, Step::bytes))
    })
}

fn documents(context: &Context<'_>, wanted: impl Fn(&Manifest, &EntryRecord) -> bool) -> QuarantinedDocument {
    let Past { runs, unread } = context.past();
    let mut sessions = Vec::new();
    for run in &runs {
        for (entry, archived, bytes) in aside_of(run).filter(|(entry, ..)| wanted(run, entry)) {
            sessions.push(quarantine::quarantined(run, entry, archived, bytes, context.view()));
        }
    }
    let problems = unread.iter().map(|left| refusal::sentence(&left.refusal, context.view())).collect();
    QuarantinedDocument { schema: schema("quarantined"), sessions, problems }
}

fn list(session: &Session) -> Result<Exit, Failure> {
    let context = Context::new(session, &PolicyFlags::default())?;
    let document = documents(&context, |_, _| true);
    print(session, &document, &quarantine::list(&document, &session.layout()))
}

fn print(session: &Session, document: &QuarantinedDocument, text: &str) -> Result<Exit, Failure> {
    if session.cli.global.json {
        session.print_document(document)?;
    } else {
        session.print(text)?;
    }
    Ok(Exit::Done)
}

fn show(session: &Session, id: &str) -> Result<Exit, Failure> {
    let context = Context::new(session, &PolicyFlags::default())?;
    let mut document = documents(&context, |run, entry| {
        entry.key == id
            || entry.session_id.as_deref() == Some(id)
            || (!id.is_empty() && run.id.as_str().starts_with(id))
    });
    if document.sessions.is_empty() {
        return Err(Failure::usage(anyhow::anyhow!("nothing in quarantine is called {id}"))
            .hint("`claw-sessions quarantine list` lists what is there"));
    }
    for one in &mut document.sessions {
        let Some(archived) = &one.archived else { continue };
        let Some(run) = RunId::parse(&one.run) else { continue };
        let opened = journal::archived(&context.home.real_dir, &run, Path::new(archived));
        let found = opened.map(|(dir, name)| read::thoroughly(&dir, &name));
        one.problems = match found {
            Ok(Content::Read(summary)) => {
                (one.integrity, one.last_at) = (Some(summary.integrity), summary.last_at);
                problems::of_file(Path::new(archived), &summary)
            }
            Ok(Content::Unreadable(why)) => vec![Problem::unreadable(Path::new(archived), why)],
            Ok(Content::Absent | Content::Outside(_) | Content::NotChecked { .. }) => Vec::new(),
            Err(error) => vec![Problem::unreadable(Path::new(archived), format!("{error:#}"))],
        }
        .iter()
        .map(|problem| crate::render::validate::problem(problem, context.view(), context.is_late(), ""))
        .collect();
    }
    let text = quarantine::show(&document, &session.layout());
    print(session, &document, &text)
}

fn purge(session: &Session, age: TimeDelta, dry_run: bool, yes: bool) -> Result<Exit, Failure> {
    let context = Context::new(session, &PolicyFlags::default())?;
    let due = purge::due(context.places(), session.started_at, age);
    let words = |purged: &Purged| quarantine::due(purged.sessions.len(), purged.bytes);
    if !due.sessions.is_empty() && !yes && !dry_run {
        let what = words(&due);
        match session.confirm(&format!("Delete {what} for good?"))? {
            Some(true) => {}
            Some(false) => {
                session.print("Nothing was deleted.\n")?;
                return Ok(Exit::Done);
            }
            None => {
                return Err(Failure::usage(anyhow::anyhow!("this would delete {what} for good; nothing was touched"))
                    .hint("-n names what would be deleted; confirm with --yes where nobody can be asked"));
            }
        }
    }
    // Where nothing is due, a purge that was cut off may still have to be finished.
    let purged = if dry_run || (due.sessions.is_empty() && !journal::exists(&context.home.real_dir)) {
        due
    } else {
        let journal = open(&context, Patience::default())?;
        purge::purge(&journal, session.started_at, age)?
    };
    let document = quarantine::purge(schema("purge"), &purged, dry_run);
    if session.cli.global.json {
        session.print_document(&document)?;
    } else {
        session.print(&quarantine::purged(&document))?;
    }
    Ok(Exit::Done)
}
