//! `restore --stuck-bak`: what the manual recipe of openclaw#44687 moved aside goes back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::context::{Context, directory_id, schema};
use super::permit::{Lists, Mutation, Patience, barred, is_unreadable, lists};
use super::{Exit, Failure, Session};
use crate::change::outcome::{Left, Outcome, Refusal, Subject};
use crate::change::stuck::{self, SUFFIX, Stuck, StuckOptions};
use crate::config::policy::PolicyFlags;
use crate::model::home::Bar;
use crate::model::inventory::{Content, Inventory, LooseFile};
use crate::model::names::FileKind;
use crate::render::json::{BoundDocument, RestoreDocument, UnboundDocument};
use crate::render::stuck::stuck_bak;

/// Runs the mode.
pub(super) fn run(session: &Session, online: bool) -> Result<Exit, Failure> {
    let mut context = Context::new(session, &PolicyFlags::default())?;
    let mut work = Mutation::begin(&context, online, Patience::default())?;
    let inventory = context.load()?;
    let (stuck, mut left) = find(&inventory);
    let known: BTreeSet<PathBuf> = left.iter().filter_map(path_of).collect();
    let others = barred(&inventory, |bar| is_unreadable(bar) || bar == Bar::Migrated);
    left.extend(others.filter(|left| path_of(left).is_none_or(|path| !known.contains(&path))));
    let dirs: BTreeSet<PathBuf> = stuck.iter().filter_map(|one| one.path.parent()).map(Path::to_owned).collect();
    let stores: Vec<PathBuf> = inventory.stores.iter().map(|store| store.path.clone()).collect();
    let mut outcome = Outcome::default();
    if !stuck.is_empty() {
        let options =
            StuckOptions { stores: &stores, started_at: session.started_at, patience: Patience::default().patience };
        outcome = stuck::put_back(work.journal(&context)?, stuck, &options)?;
    }
    left.append(&mut outcome.left);
    left.append(&mut work.settled.left);
    let unbound = match &outcome.run {
        Some(_) => unbound(&context.load()?, &dirs, &stuck::known_keys(&stores), &context),
        None => Vec::new(),
    };
    let Lists { skipped, failed, refused, late: _ } = lists(&context, &left);
    let document = RestoreDocument {
        run: outcome.run.map(String::from),
        bindings: outcome.back.bindings.iter().map(BoundDocument::of).collect(),
        files: outcome.back.files,
        bytes: outcome.back.bytes,
        unbound: Some(unbound),
        recovered: work.recovered(),
        refused: refused.into_iter().chain(skipped).collect(),
        failed,
        ..RestoreDocument::new(schema("restore"), &context.home.state_dir)
    };
    if session.cli.global.json {
        session.print_document(&document)?;
    } else {
        session.print(&stuck_bak(&document, &session.layout()))?;
    }
    Ok(Exit::after(!document.refused.is_empty(), !document.failed.is_empty() || context.missed()))
}

/// The recipe's files, and the directories of which nothing is touched because of what their stores are.
fn find(inventory: &Inventory) -> (Vec<Stuck>, Vec<Left>) {
    let (mut stuck, mut refused) = (Vec::new(), BTreeSet::new());
    for file in inventory.files.iter().filter(|file| is_of_the_recipe(file)) {
        let mut beside = inventory.stores.iter().filter(|store| Some(store.dir()) == file.path.parent());
        if let Some(store) = beside.find(|store| store.may_bind().is_err()) {
            refused.insert(store.path.clone());
        } else if let Some(dir) = file.path.parent().and_then(directory_id) {
            stuck.push(Stuck { agent: file.agent.clone(), path: file.path.clone(), stamp: file.stamp, dir });
        }
    }
    let stores = inventory.stores.iter().filter(|store| refused.contains(&store.path));
    let left = stores.filter_map(|store| {
        let bar = store.may_bind().err()?;
        Some(Left::new(Subject::Path(store.path.clone()), Refusal::barred(store, bar)))
    });
    (stuck, left.collect())
}

fn path_of(left: &Left) -> Option<PathBuf> {
    match &left.subject {
        Subject::Path(path) => Some(path.clone()),
        _ => None,
    }
}

fn is_of_the_recipe(file: &LooseFile) -> bool {
    let name = file.path.file_name().and_then(|name| name.to_str());
    let transcript = name.and_then(|name| name.strip_suffix(SUFFIX)).is_some_and(|name| name.ends_with(".jsonl"));
    file.kind == FileKind::StuckBak && transcript
}

/// The transcripts in these directories that nothing refers to now.
fn unbound(
    inventory: &Inventory,
    dirs: &BTreeSet<PathBuf>,
    known: &BTreeMap<PathBuf, String>,
    context: &Context<'_>,
) -> Vec<UnboundDocument> {
    let orphans = inventory.files.iter().filter(|file| file.kind == FileKind::Orphan);
    orphans
        .filter(|file| file.path.parent().is_some_and(|dir| dirs.contains(dir)))
        .map(|file| {
            let summary = match &file.content {
                Content::Read(summary) => Some(summary),
                _ => None,
            };
            UnboundDocument {
                agent: file.agent.clone(),
                path: context.view().path(&file.path),
                session_id: summary.and_then(|summary| summary.header_id.clone()),
                first_at: summary.and_then(|summary| summary.first_at),
                last_at: file.last_at(),
                bytes: file.stamp.size,
                key: known.get(&file.path).cloned(),
            }
        })
        .collect()
}
