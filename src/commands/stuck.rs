//! `restore --stuck-bak`: what the manual recipe of openclaw#44687 moved aside goes back.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::context::{Context, schema};
use super::permit::{Limits, Work, left, migrated_stores, unreadable_stores};
use super::{Exit, Failure, Session};
use crate::change::apply::Left;
use crate::change::stuck::{self, Options, Outcome, SUFFIX, Stuck};
use crate::config::policy::PolicyFlags;
use crate::model::inventory::{Content, Inventory, LooseFile};
use crate::model::names::FileKind;
use crate::model::store::StoreState;
use crate::render::json::{RestoreDocument, UnboundDocument};
use crate::render::stuck::stuck_bak;

/// Runs the mode.
pub(super) fn run(session: &Session, online: bool) -> Result<Exit, Failure> {
    let mut context = Context::new(session, &PolicyFlags::default())?;
    let mut work = Work::begin(&context, online, Limits::default())?;
    let inventory = context.load()?;
    let (stuck, mut refused) = find(&inventory);
    let known: BTreeSet<String> = refused.iter().map(|left| left.what.clone()).collect();
    refused.extend(
        unreadable_stores(&inventory).chain(migrated_stores(&inventory)).filter(|left| !known.contains(&left.what)),
    );
    let dirs: BTreeSet<PathBuf> = stuck.iter().filter_map(|one| one.path.parent()).map(Path::to_owned).collect();
    let mut outcome = Outcome::default();
    if !stuck.is_empty() {
        let stores: Vec<PathBuf> = inventory.stores.iter().map(|store| store.path.clone()).collect();
        let options = Options { stores: &stores, started_at: session.started_at, patience: Limits::default().patience };
        outcome = stuck::put_back(work.journal(&context)?, stuck, &options)?;
    }
    refused.append(&mut outcome.refused);
    outcome.failed.append(&mut work.recovered.failed);
    let unbound = match &outcome.run {
        Some(_) => unbound(&context.load()?, &dirs, &outcome, &context),
        None => Vec::new(),
    };
    let document = RestoreDocument {
        run: outcome.run,
        bindings: outcome.bindings,
        files: outcome.files,
        bytes: outcome.bytes,
        unbound: Some(unbound),
        recovered: work.recovered.told,
        refused: left(&context, refused),
        failed: left(&context, outcome.failed),
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
    let usable = |state| matches!(state, StoreState::Ok | StoreState::Missing | StoreState::Empty);
    let (mut stuck, mut refused) = (Vec::new(), BTreeSet::new());
    for file in inventory.files.iter().filter(|file| is_of_the_recipe(file)) {
        let mut beside = inventory.stores.iter().filter(|store| Some(store.dir()) == file.path.parent());
        match beside.find(|store| !usable(store.state)) {
            Some(store) => {
                refused.insert(store.path.clone());
            }
            None => {
                stuck.push(Stuck { agent: file.agent.clone(), path: file.path.clone(), stamp: file.stamp });
            }
        }
    }
    let stores = inventory.stores.iter().filter(|store| refused.contains(&store.path));
    let left = stores.map(|store| {
        let problem = store.problem.clone().unwrap_or_default();
        let state = store.state.as_str();
        Left::new(store.path.display(), format!("{state}: {problem}; the files beside it stay as they are"))
    });
    (stuck, left.collect())
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
    outcome: &Outcome,
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
                key: outcome.known.get(&file.path).cloned(),
            }
        })
        .collect()
}
