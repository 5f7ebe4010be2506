//! `quarantine`: take named or damaged sessions aside; list, show and purge what is aside.

use std::collections::HashSet;
use std::path::Path;

use chrono::TimeDelta;

use super::context::{Context, Look, schema};
use super::permit::{Limits, Work, beside_gateway, left, migrated_stores, open, unreadable, unreadable_stores};
use super::{Exit, Failure, Session, near};
use crate::change::apply::{Left, Outcome};
use crate::change::journal;
use crate::change::manifest::{EntryRecord, Manifest};
use crate::change::purge;
use crate::change::purge::Purged;
use crate::cli::{QuarantineArgs, QuarantineCommand};
use crate::config::policy::PolicyFlags;
use crate::decide::problems::{self, Problem};
use crate::decide::verdict::{Action, Classified};
use crate::load::read;
use crate::load::read::Depth;
use crate::model::inventory::{Content, Inventory, Store};
use crate::render::quarantine::{
    self, AsideDocument, PurgeDocument, PurgedSession, QuarantineDocument, QuarantinedDocument,
};

/// Runs the verb.
pub(super) fn run(session: &Session, args: &QuarantineArgs) -> Result<Exit, Failure> {
    match &args.command {
        Some(QuarantineCommand::List) => list(session),
        Some(QuarantineCommand::Show { id }) => show(session, id),
        Some(QuarantineCommand::Purge { older_than, yes }) => purge(session, *older_than, *yes),
        None => take(session, args),
    }
}

fn take(session: &Session, args: &QuarantineArgs) -> Result<Exit, Failure> {
    let mut context = Context::new(session, &PolicyFlags::default())?;
    let mut work =
        if args.dry_run { Work::dry(&context) } else { Work::begin(&context, args.online, Limits::default())? };
    let depth = if args.damaged { Depth::Thorough } else { Depth::Whole };
    let inventory = context.load_with(Look { depth, ..Look::default() })?;
    let named = named(&inventory, &args.what)?;
    let damaged = if args.damaged { damaged(&inventory, &context, args) } else { HashSet::new() };
    let verdicts = context.judge(&inventory).set_aside(&named, &damaged);
    let asked = |one: &&Classified| {
        let key = &one.binding(&inventory).key;
        named.contains(key) || damaged.contains(key)
    };
    let shielded = verdicts.bindings.iter().filter(asked).filter(|one| one.verdict.action == Action::Keep);
    let mut refused: Vec<Left> = shielded
        .filter_map(|one| {
            let reason = one.verdict.reasons.first()?;
            Some(Left::new(&one.binding(&inventory).key, format!("{}: {}", reason.as_str(), reason.describe())))
        })
        .collect();
    let taken = verdicts.bindings.iter().filter(|one| one.verdict.action == Action::Quarantine);
    let mut taken: Vec<AsideDocument> = taken.map(|one| quarantine::aside(&inventory, one, context.view())).collect();
    let plan = context.plan(&inventory, &verdicts);
    let mut outcome = Outcome::default();
    if args.dry_run {
        refused.extend(beside_gateway(&context, args.online).map(|why| Left::new("the quarantine", why)));
    } else if !plan.is_empty() {
        outcome = work.carry_out(&context, plan, Some(&inventory), "quarantine")?;
        taken.retain(|one| outcome.taken.values().any(|keys| keys.contains(&one.key)));
    }
    outcome.refused.extend(refused.into_iter().chain(unreadable_stores(&inventory)));
    if args.damaged {
        outcome.refused.extend(migrated_stores(&inventory));
        outcome.failed.extend(unreadable(&inventory));
    }
    let document = QuarantineDocument {
        schema: schema("quarantine"),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        now: context.now,
        state_dir: context.home.state_dir.to_string_lossy().into_owned(),
        warnings: context.warnings().to_vec(),
        run: outcome.run,
        dry_run: args.dry_run,
        taken,
        skipped: left(&context, outcome.skipped),
        failed: left(&context, outcome.failed.into_iter().chain(work.recovered.failed)),
        refused: left(&context, outcome.refused),
        recovered: work.recovered.told,
    };
    if session.cli.global.json {
        session.print_document(&document)?;
    } else {
        session.print(&quarantine::taken(&document, &session.layout()))?;
    }
    Ok(Exit::after(!document.refused.is_empty(), !document.failed.is_empty() || context.missed()))
}

/// The keys that were asked for, by key or by session id.
fn named(inventory: &Inventory, asked: &[String]) -> Result<HashSet<String>, Failure> {
    let mut keys = HashSet::new();
    for asked in asked {
        let bindings = inventory.selected().flat_map(|store| &store.bindings);
        let by_id = |id: &String| id.trim() == asked;
        let found = bindings.filter(|one| one.key == *asked || one.entry.session_id.as_ref().is_some_and(by_id));
        let before = keys.len();
        keys.extend(found.map(|binding| binding.key.clone()));
        let mixed = |store: &&Store| {
            store
                .database
                .as_ref()
                .and_then(|database| database.mixed.as_ref())
                .is_some_and(|mixed| mixed.only_in_file.contains(asked))
        };
        if let Some(store) = inventory.selected().find(mixed) {
            let problem = store.problem.clone().unwrap_or_default();
            return Err(Failure::refused(anyhow::anyhow!("{}: {problem}; nothing was touched", store.path.display())));
        }
        if keys.len() == before && !keys.contains(asked) {
            return Err(near::no_such_key(inventory, asked));
        }
    }
    Ok(keys)
}

/// The keys that have a problem at least as bad as asked for.
fn damaged(inventory: &Inventory, context: &Context<'_>, args: &QuarantineArgs) -> HashSet<String> {
    let found = problems::of_inventory(inventory, context.now, false).list.into_iter();
    found.filter(|problem| problem.severity() <= args.severity).filter_map(|problem| problem.key).collect()
}

/// The quarantined entries of a run, with the archived transcript of each.
fn aside_of(run: &Manifest) -> impl Iterator<Item = (&EntryRecord, Option<&Path>, u64)> {
    let entries = run.stores.iter().flat_map(|record| &record.entries);
    let aside = entries.filter(|entry| entry.action == Action::Quarantine && entry.is_away());
    aside.map(move |entry| {
        let moved = run.moves.iter().find(|record| record.is_away() && Some(&record.from) == entry.file.as_ref());
        (entry, moved.map(|record| record.to.as_path()), moved.map_or(0, |record| record.stamp.size))
    })
}

fn documents(context: &Context<'_>, wanted: impl Fn(&Manifest, &EntryRecord) -> bool) -> QuarantinedDocument {
    let (runs, problems) = journal::past_runs(&context.home.real_dir);
    let mut sessions = Vec::new();
    for run in &runs {
        for (entry, archived, bytes) in aside_of(run).filter(|(entry, ..)| wanted(run, entry)) {
            sessions.push(quarantine::quarantined(run, entry, archived, bytes, context.view()));
        }
    }
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
        entry.key == id || entry.session_id.as_deref() == Some(id) || (!id.is_empty() && run.id.starts_with(id))
    });
    if document.sessions.is_empty() {
        return Err(Failure::usage(anyhow::anyhow!("nothing in quarantine is called {id}"))
            .hint("`claw-sessions quarantine list` lists what is there"));
    }
    for one in &mut document.sessions {
        let Some(archived) = &one.archived else { continue };
        let opened = journal::archived(&context.home.real_dir, &one.run, Path::new(archived));
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

fn purge(session: &Session, age: TimeDelta, yes: bool) -> Result<Exit, Failure> {
    let context = Context::new(session, &PolicyFlags::default())?;
    let state_dir = &context.home.real_dir;
    let due = purge::due(state_dir, session.started_at, age);
    let words = |purged: &Purged| quarantine::due(purged.sessions.len(), purged.bytes);
    if !due.sessions.is_empty() && !yes {
        let what = words(&due);
        match session.confirm(&format!("Delete {what} for good?"))? {
            Some(true) => {}
            Some(false) => {
                session.print("Nothing was deleted.\n")?;
                return Ok(Exit::Done);
            }
            None => {
                return Err(Failure::usage(anyhow::anyhow!("this would delete {what} for good; nothing was touched"))
                    .hint("confirm with --yes where nobody can be asked"));
            }
        }
    }
    // Where nothing is due, a purge that was cut off may still have to be finished.
    let purged = if due.sessions.is_empty() && !journal::exists(state_dir) {
        due
    } else {
        let journal = open(&context, Limits::default())?;
        purge::purge(&journal, state_dir, session.started_at, age)?
    };
    if session.cli.global.json {
        let sessions = purged.sessions.into_iter().map(|(key, run)| PurgedSession { key, run }).collect();
        session.print_document(&PurgeDocument { schema: schema("purge"), purged: sessions, bytes: purged.bytes })?;
    } else if purged.sessions.is_empty() {
        session.print("Nothing in quarantine is that old.\n")?;
    } else {
        session.print(&format!("Deleted for good: {}.\n", words(&purged)))?;
    }
    Ok(Exit::Done)
}
