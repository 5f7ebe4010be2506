//! `adopt`, and `restore --adopt`: transcripts that nothing refers to are bound again.

use std::collections::BTreeMap;
use std::path::Path;

use chrono::Utc;

use super::context::{Context, directory_id, schema};
use super::permit::{Lists, Mutation, Patience, beside_gateway, lists};
use super::{Exit, Failure, Session};
use crate::change::manifest::RunKind;
use crate::change::outcome::{Left, Outcome, Refusal, Subject};
use crate::cli::AdoptArgs;
use crate::config::policy::PolicyFlags;
use crate::decide::lost::lost_indices;
use crate::decide::plan::{MendItem, Mending, Plan};
use crate::decide::verdict::Reason;
use crate::model::ids::BindingId;
use crate::model::inventory::{Beside, Content, Inventory, LooseFile, Store};
use crate::model::key;
use crate::model::names::{FileKind, is_session_id};
use crate::model::transcript::Summary;
use crate::render::json::{BoundDocument, RestoreDocument};
use crate::render::text;

mod recovered;

/// How to bind.
#[derive(Clone, Copy)]
pub(super) struct Manner {
    /// Only say what would be bound.
    pub(super) dry_run: bool,
    /// A live gateway is no reason not to.
    pub(super) online: bool,
}

impl Manner {
    fn begin(self, context: &Context<'_>) -> Result<Mutation, Failure> {
        if self.dry_run {
            Ok(Mutation::dry(context))
        } else {
            Mutation::begin(context, self.online, Patience::default())
        }
    }
}

/// Binds what was asked for.
pub(crate) fn run(session: &Session, args: &AdoptArgs) -> Result<Exit, Failure> {
    let manner = Manner { dry_run: args.dry_run, online: args.online };
    match (&args.file, &args.key) {
        (Some(file), Some(key)) => one(session, file, key, manner),
        _ => all(session, manner),
    }
}

/// Binds every conversation of the directories whose index was lost.
fn all(session: &Session, manner: Manner) -> Result<Exit, Failure> {
    let mut context = Context::new(session, &PolicyFlags::default())?;
    let mut work = manner.begin(&context)?;
    let inventory = context.load()?;
    let mut items = Vec::new();
    for dir in lost_indices(&inventory).into_keys() {
        let here = |store: &&Store| store.dir() == dir && store.may_bind().is_ok();
        let Some(store) = inventory.selected().find(here) else { continue };
        let entries = recovered::entries(&inventory, store)?;
        if !entries.is_empty() {
            items.push(item(store, entries)?);
        }
    }
    let bindings: Vec<BindingId> = items.iter().flat_map(|item| item.bindings.clone()).collect();
    let outcome = carry_out(&context, &mut work, items, &inventory, manner)?;
    let bound = manner.dry_run || outcome.run.is_some();
    let document = RestoreDocument {
        bindings: bindings.iter().filter(|_| bound).map(|id| bound_document(&inventory, id)).collect(),
        ..document(&context, &work, manner, &outcome)
    };
    if session.cli.global.json {
        session.print_document(&document)?;
    } else {
        session.print(&text::adopted(&document, &session.layout()))?;
    }
    Ok(Exit::after(!document.refused.is_empty(), !document.failed.is_empty()))
}

/// The change of a store that binds these keys, each with its entry.
fn item(store: &Store, entries: BTreeMap<String, String>) -> Result<MendItem, Failure> {
    Ok(MendItem {
        agent: store.agent.clone(),
        path: store.path.clone(),
        stamp: store.stamp,
        dir: store_dir(store)?,
        reason: Reason::Adopted,
        codes: Vec::new(),
        bindings: entries.keys().map(|key| BindingId::new(&store.path, key)).collect(),
        how: Mending::Adopt { entries },
    })
}

/// Binds, or looks whether that could be done.
fn carry_out(
    context: &Context<'_>,
    work: &mut Mutation,
    items: Vec<MendItem>,
    inventory: &Inventory,
    manner: Manner,
) -> Result<Outcome, Failure> {
    if manner.dry_run || items.is_empty() {
        let beside = beside_gateway(context, manner.online).filter(|_| manner.dry_run);
        let left = beside.map(|why| Left::new(Subject::Plan, why)).into_iter().collect();
        return Ok(Outcome { left, ..Outcome::default() });
    }
    work.carry_out(context, Plan::mending(&inventory.state_dir, context.now, items), None, RunKind::Adopt)
}

fn document(context: &Context<'_>, work: &Mutation, manner: Manner, outcome: &Outcome) -> RestoreDocument {
    let Lists { skipped, failed, refused, late: _ } = lists(context, outcome.left.iter().chain(&work.settled.left));
    RestoreDocument {
        run: outcome.run.clone().map(String::from),
        dry_run: manner.dry_run,
        recovered: work.recovered(),
        refused: refused.into_iter().chain(skipped).collect(),
        failed,
        ..RestoreDocument::new(schema("restore"), &context.home.state_dir)
    }
}

/// Binds `file` under `key`.
pub(super) fn one(session: &Session, file: &Path, key: &str, manner: Manner) -> Result<Exit, Failure> {
    let mut context = Context::new(session, &PolicyFlags::default())?;
    let mut work = manner.begin(&context)?;
    let inventory = context.load()?;
    let (loose, summary) = adoptable(&context, &inventory, file)?;
    let store = store_of(&context, &inventory, loose, key)?;
    let item = item(store, BTreeMap::from([(key.to_owned(), entry(loose, summary))]))?;
    let path = context.view().path(&loose.path);
    let hint = summary.integrity.is_fatal();
    let agent = store.agent.clone();
    let outcome = carry_out(&context, &mut work, vec![item], &inventory, manner)?;
    let bound = manner.dry_run || outcome.run.is_some();
    let document = RestoreDocument {
        adopted: bound.then_some(path),
        bindings: if bound { vec![BoundDocument { agent, key: key.to_owned() }] } else { Vec::new() },
        ..document(&context, &work, manner, &outcome)
    };
    if session.cli.global.json {
        session.print_document(&document)?;
    } else {
        session.print(&text::restore(&document, &session.layout()))?;
        if hint && bound {
            session.print("Its transcript is damaged: mend it with `claw-sessions validate --repair` before the gateway starts.\n")?;
        }
    }
    Ok(Exit::after(!document.refused.is_empty(), !document.failed.is_empty()))
}

fn bound_document(inventory: &Inventory, id: &BindingId) -> BoundDocument {
    let agent = inventory.stores.iter().find(|store| store.path == id.store).map(|store| store.agent.clone());
    BoundDocument { agent: agent.unwrap_or_default(), key: id.key.clone() }
}

/// The transcript that is meant, when nothing refers to it and it can be loaded, or mended.
fn adoptable<'a>(
    context: &Context<'_>,
    inventory: &'a Inventory,
    file: &Path,
) -> Result<(&'a LooseFile, &'a Summary), Failure> {
    let from_here = context.home.environment.absolute(file);
    let from_state = context.home.real_dir.join(file);
    let is_it = |path: &Path| path == from_here || path == from_state;
    let bound = inventory.stores.iter().flat_map(|store| &store.bindings);
    let mut bound = bound.filter(|binding| binding.transcript.path.as_deref().is_some_and(is_it));
    if let Some(binding) = bound.next() {
        return Err(Failure::usage(anyhow::anyhow!("{} is bound already, to {}", file.display(), binding.key)));
    }
    let loose = inventory
        .files
        .iter()
        .find(|loose| is_it(&loose.path) && matches!(loose.kind, FileKind::Orphan | FileKind::Leftover));
    let loose = loose.ok_or_else(|| {
        Failure::usage(anyhow::anyhow!("{} is no transcript in a sessions directory of this state", file.display()))
            .hint("`claw-sessions scan -v` lists orphans; copy a file into the agent's sessions directory first")
    })?;
    if loose.beside == Beside::Migrated {
        let path = loose.path.display();
        return Err(Failure::refused(anyhow::anyhow!(
            "{path}: the sessions beside it live in SQLite; nothing was touched"
        ))
        .hint(
            "`claw-sessions scan` says what of it is in the rows; OpenClaw's `doctor --session-sqlite recover` imports",
        ));
    }
    if loose.held {
        return Err(Failure::refused(anyhow::anyhow!("the lock of {} is held", loose.path.display())));
    }
    match &loose.content {
        Content::Read(summary) if summary.integrity.is_fatal() && summary.mends.is_none() => {
            let why = summary.integrity.at_next_use();
            Err(Failure::refused(anyhow::anyhow!("{}: at its next use, {why}", loose.path.display()))
                .hint("`claw-sessions validate FILE` says what is wrong with it"))
        }
        Content::Read(summary) => Ok((loose, summary)),
        Content::Unreadable(why) | Content::Outside(why) => Err(anyhow::anyhow!(why.clone()).into()),
        Content::Absent | Content::NotChecked { .. } => {
            Err(anyhow::anyhow!("{} was not read", loose.path.display()).into())
        }
    }
}

/// The store beside the transcript, if `key` may stand in it and does not.
fn store_of<'a>(
    context: &Context<'_>,
    inventory: &'a Inventory,
    loose: &LooseFile,
    key: &str,
) -> Result<&'a Store, Failure> {
    let beside = inventory.stores.iter().find(|store| Some(store.dir()) == loose.path.parent());
    let Some(store) = beside else {
        return Err(Failure::usage(anyhow::anyhow!("no store is beside {}", loose.path.display())));
    };
    if let Err(bar) = store.may_bind() {
        let refusal = Refusal::barred(store, bar);
        let why = crate::render::refusal::sentence(&refusal, context.view());
        return Err(Failure::refused(anyhow::anyhow!("{}: {why}", store.path.display()))
            .code(refusal.code())
            .hint("`claw-sessions validate --repair --salvage` gives back what is whole of a broken store"));
    }
    let parsed = key::parse(key, "main", None);
    let agent = parsed.agent.map(key::normalize_agent_id);
    if agent.as_deref() != Some(store.agent.as_str()) {
        return Err(Failure::usage(anyhow::anyhow!("{key} is no key of the agent {}", store.agent))
            .hint(format!("keys begin with agent:{}:, as `claw-sessions scan --json` shows them", store.agent)));
    }
    if store.bindings.iter().any(|binding| binding.key == key) {
        return Err(Failure::refused(anyhow::anyhow!("{key} is bound already"))
            .hint("`claw-sessions quarantine KEY` takes that session aside first"));
    }
    Ok(store)
}

fn store_dir(store: &Store) -> Result<crate::model::proof::DirId, Failure> {
    directory_id(store.dir()).ok_or_else(|| anyhow::anyhow!("cannot open {}", store.dir().display()).into())
}

/// A new entry: the fields that OpenClaw requires, and the file by its name (F§2.2, F§4.2).
pub(super) fn entry(loose: &LooseFile, summary: &Summary) -> String {
    let name = loose.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let stem = name.strip_suffix(".jsonl").unwrap_or(&name);
    let of_header = summary.header_id.as_deref().filter(|id| is_session_id(id) && name.contains(id));
    let updated = summary.last_at.unwrap_or_else(Utc::now).timestamp_millis();
    let entry = serde_json::json!({
        "sessionId": of_header.unwrap_or(stem), "updatedAt": updated, "systemSent": true, "sessionFile": name,
    });
    // As OpenClaw lays out an entry in its store: two spaces deeper than its key.
    serde_json::to_string_pretty(&entry).unwrap_or_default().replace('\n', "\n  ")
}
