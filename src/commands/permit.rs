//! What every verb that changes something needs first: leave beside a gateway, and the journal with its lock.

use std::time::Duration;

use super::Failure;
use super::context::Context;
use crate::change::apply::{self, Left, Outcome};
use crate::change::journal::{self, Journal};
use crate::change::manifest::RunState;
use crate::change::settle::{self, Recovered};
use crate::decide::plan::Plan;
use crate::disk::deadline::Deadline;
use crate::model::inventory::{Content, Inventory};
use crate::model::store::StoreState;
use crate::render::view::LeftDocument;

/// How long a verb that changes things may take.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// How long to wait for another claw-sessions, and for a store lock.
    pub(super) patience: Duration,
    /// When to begin nothing more.
    pub(super) deadline: Deadline,
}

impl Default for Limits {
    fn default() -> Self {
        Self { patience: Duration::from_secs(5), deadline: Deadline::default() }
    }
}

/// Why nothing may be changed beside a live gateway: one that offers outsiders no lock may write at the same moment
/// (design §5).
pub(super) fn beside_gateway(context: &Context<'_>, online: bool) -> Option<String> {
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
            "stop the gateway first, or let `claw-sessions systemd --install` do it: gc in the unit's ExecStartPre, and a \
             restart at night when the gateway is quiet; --online accepts that the gateway may write at the same moment. \
             A gateway up to 2026.4.29 offers a lock: its version is read from meta.lastTouchedVersion in openclaw.json",
        )),
    }
}

/// A verb that changes things: the journal, once there is something to write, and what was finished before.
pub(super) struct Work {
    pub(super) journal: Option<Journal>,
    pub(super) recovered: Recovered,
    limits: Limits,
}

impl Work {
    /// Only looks: says which runs were cut off.
    pub(super) fn dry(context: &Context<'_>) -> Self {
        let (runs, problems) = journal::past_runs(&context.home.real_dir);
        let cut_off = runs.into_iter().filter(|run| run.state == RunState::Unfinished);
        let told =
            cut_off.map(|run| format!("the run {} was cut off; the next gc or restore finishes it first", run.id));
        let recovered = Recovered { told: told.chain(problems).collect(), failed: Vec::new() };
        Self { journal: None, recovered, limits: Limits::default() }
    }

    /// Refuses beside a live gateway without lock, and finishes what was cut off. Where there never was a run there is
    /// nothing to finish, and nothing to make before there is something to do.
    pub(super) fn begin(context: &Context<'_>, online: bool, limits: Limits) -> Result<Self, Failure> {
        refuse_beside_gateway(context, online)?;
        if !journal::exists(&context.home.real_dir) {
            return Ok(Self { journal: None, recovered: Recovered::default(), limits });
        }
        let journal = open(context, limits)?;
        let recovered = recover(context, &journal, limits)?;
        if limits.deadline.has_passed() {
            let told = recovered.told.iter().fold(String::new(), |all, one| all + "; " + one);
            return Err(Failure::refused(anyhow::anyhow!("the time was over before the stores were read{told}")));
        }
        Ok(Self { journal: Some(journal), recovered, limits })
    }

    /// Carries a plan out, as the verb `command`; `seen` is what it was made of.
    pub(super) fn carry_out(
        &mut self,
        context: &Context<'_>,
        plan: Plan<'_>,
        seen: Option<&Inventory>,
        command: &str,
    ) -> Result<Outcome, Failure> {
        let Limits { patience, deadline } = self.limits;
        let options = apply::Options { command, started_at: context.session.started_at, patience, deadline, seen };
        Ok(apply::apply(plan, self.journal(context)?, &options)?)
    }

    /// The journal, made when there is none yet.
    pub(super) fn journal(&mut self, context: &Context<'_>) -> Result<&Journal, Failure> {
        let journal = match self.journal.take() {
            Some(journal) => journal,
            None => open(context, self.limits)?,
        };
        Ok(self.journal.insert(journal))
    }
}

/// Opens the journal for writing, with our lock.
pub(super) fn open(context: &Context<'_>, limits: Limits) -> Result<Journal, Failure> {
    Journal::open(&context.home.real_dir, limits.deadline.clip(limits.patience))?.map_err(|journal::Busy| {
        let dir = context.home.state_dir.display();
        Failure::refused(anyhow::anyhow!("another claw-sessions is at work on {dir}"))
            .hint("try again when it has ended")
    })
}

/// Finishes the runs that were cut off, and says so.
pub(super) fn recover(context: &Context<'_>, journal: &Journal, limits: Limits) -> Result<Recovered, Failure> {
    let Limits { patience, deadline } = limits;
    let started_at = context.session.started_at;
    Ok(settle::recover(journal, &context.home.real_dir, &settle::Options { started_at, patience, deadline })?)
}

/// Stores and directories that could not be read: nothing in them is touched.
pub(super) fn unreadable_stores(inventory: &Inventory) -> impl Iterator<Item = Left> {
    let stores = inventory.selected().filter(|store| store.state == StoreState::Unreadable);
    stores.map(|store| Left::new(store.path.display(), store.problem.clone().unwrap_or_default()))
}

/// Stores whose sessions live in SQLite: they are read, and nothing beside them is touched.
pub(super) fn migrated_stores(inventory: &Inventory) -> impl Iterator<Item = Left> {
    let stores = inventory.selected().filter(|store| store.state == StoreState::Sqlite);
    stores.map(|store| {
        let problem = store.problem.clone().unwrap_or_default();
        Left::new(store.path.display(), format!("sqlite: {problem}; nothing in its directory is touched"))
    })
}

/// Transcripts that could not be read: left alone.
pub(super) fn unreadable(inventory: &Inventory) -> impl Iterator<Item = Left> {
    let bindings = inventory.selected().flat_map(|store| &store.bindings);
    let bound = bindings.filter_map(|binding| match &binding.transcript.content {
        Content::Unreadable(why) => Some(Left::new(&binding.key, why)),
        _ => None,
    });
    let loose = inventory.files.iter().filter_map(|file| match &file.content {
        Content::Unreadable(why) => Some(Left::new(file.path.display(), why)),
        _ => None,
    });
    bound.chain(loose)
}

/// Left items as documents, with paths relative to the state directory.
pub(super) fn left(context: &Context<'_>, left: impl IntoIterator<Item = Left>) -> Vec<LeftDocument> {
    let document = |left: Left| LeftDocument { what: context.view().path(left.what.as_ref()), why: left.why };
    left.into_iter().map(document).collect()
}

/// What says that sessions of a store that this run touched live in SQLite by now.
pub(super) fn moved_since(context: &Context<'_>, of: &str) -> Option<String> {
    let (runs, _) = journal::past_runs(&context.home.real_dir);
    settle::moved_since(runs.iter().find(|run| run.id == of)?, &context.home.real_dir)
}
