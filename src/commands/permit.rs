//! The first steps of every verb that changes something: leave beside a gateway, and the journal with its lock.

use std::time::Duration;

use super::context::Context;
use super::progress::Progress;
use super::{Failure, Session, threads};
use crate::change::apply;
use crate::change::journal::{self, Journal, Past};
use crate::change::manifest::{Asked, RunKind, RunProgress};
use crate::change::outcome::{Left, List, Outcome, Refusal, Subject};
use crate::change::progress::Advance;
use crate::change::settle::{self, Ended, RunEnding, Settled};
use crate::change::undo::{self, RestoreOptions};
use crate::decide::plan::Plan;
use crate::disk::deadline::Deadline;
use crate::model::home::{Bar, Condition};
use crate::model::ids::RunId;
use crate::model::inventory::{Content, Inventory};
use crate::model::places::Places;
use crate::render::view::LeftDocument;
use crate::render::{refusal, settled};

/// How long a verb that changes things may take.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    /// How long to wait for another claw-sessions, and for a store lock.
    pub(super) patience: Duration,
    /// When to begin nothing more.
    pub(super) deadline: Deadline,
}

impl Patience {
    fn restoring<'a>(self, asked: &'a Asked, session: &Session, advance: Advance<'a>) -> RestoreOptions<'a> {
        let Self { patience, deadline } = self;
        RestoreOptions { asked, started_at: session.started_at, patience, deadline, advance }
    }

    /// Brings back what is asked for.
    pub(super) fn restore(self, session: &Session, journal: &Journal, asked: &Asked) -> anyhow::Result<Outcome> {
        watched(session, |advance| undo::restore(journal, &self.restoring(asked, session, advance)))
    }

    /// Finds out what would come back.
    pub(super) fn look(self, session: &Session, places: &Places, asked: &Asked) -> anyhow::Result<Outcome> {
        watched(session, |advance| undo::look(places, &self.restoring(asked, session, advance)))
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self { patience: Duration::from_secs(5), deadline: Deadline::default() }
    }
}

/// Returns why nothing may be changed beside a live gateway: one that offers outsiders no lock may write at the same
/// moment.
pub(super) fn beside_gateway(context: &Context<'_>, online: bool) -> Option<Refusal> {
    let gateway = context.gateway();
    if !gateway.alive || gateway.honors_lock(context.generation()) || online {
        return None;
    }
    let version = context.config.config.last_touched_version.clone();
    Some(Refusal::Gateway { version, evidence: gateway.evidence.clone() })
}

/// The same as an error with the way out.
pub(super) fn refuse_beside_gateway(context: &Context<'_>, online: bool) -> Result<(), Failure> {
    match beside_gateway(context, online) {
        None => Ok(()),
        Some(why) => Err(refused(context, &why).hint(
            "stop the gateway first, or let `claw-sessions systemd --install` do it: gc in the unit's ExecStartPre, and a \
             restart at night when the gateway is quiet; --online accepts that the gateway may write at the same moment. \
             A gateway up to 2026.4.29 offers a lock: its version is read from meta.lastTouchedVersion in openclaw.json",
        )),
    }
}

/// A refusal that ends the invocation.
pub(super) fn refused(context: &Context<'_>, why: &Refusal) -> Failure {
    Failure::refused(anyhow::anyhow!(refusal::sentence(why, context.view()))).code(why.code())
}

/// A verb that changes things: the journal, once there is something to write, and what was finished before.
pub(super) struct Mutation {
    pub(super) journal: Option<Journal>,
    pub(super) settled: Settled,
    limits: Patience,
}

impl Mutation {
    /// Only looks: says which runs were cut off.
    pub(super) fn dry(context: &Context<'_>) -> Self {
        let Past { runs, unread } = context.past();
        let cut_off = runs.into_iter().filter(|run| run.state == RunProgress::Unfinished);
        let pending = cut_off.map(|run| Ended { kind: run.kind.as_str(), run: run.id, how: RunEnding::Pending });
        let settled = Settled { runs: pending.collect(), left: unread, ..Settled::default() };
        Self { journal: None, settled, limits: Patience::default() }
    }

    /// Refuses beside a live gateway without lock, and finishes what was cut off. Where there never was a run there is
    /// nothing to finish, and nothing to make before there is something to do.
    pub(super) fn begin(context: &Context<'_>, online: bool, limits: Patience) -> Result<Self, Failure> {
        refuse_beside_gateway(context, online)?;
        if !journal::exists(&context.home.real_dir) {
            return Ok(Self { journal: None, settled: Settled::default(), limits });
        }
        let journal = open(context, limits)?;
        let settled = settle(context, &journal, limits)?;
        if limits.deadline.has_passed() {
            let told = recovered(&settled).iter().fold(String::new(), |all, one| all + "; " + one);
            return Err(Failure::refused(anyhow::anyhow!("the time was over before the stores were read{told}")));
        }
        Ok(Self { journal: Some(journal), settled, limits })
    }

    /// Carries a plan out; `seen` is what it was made of.
    pub(super) fn carry_out(
        &mut self,
        context: &Context<'_>,
        plan: Plan<'_>,
        seen: Option<&Inventory>,
        kind: RunKind,
    ) -> Result<Outcome, Failure> {
        let Patience { patience, deadline } = self.limits;
        let (session, journal) = (context.session, self.journal(context)?);
        let outcome = watched(session, |advance| {
            let started_at = session.started_at;
            let options = apply::ApplyOptions { kind, started_at, patience, deadline, seen, advance };
            apply::apply(plan, journal, options)
        });
        Ok(outcome?)
    }

    /// The journal, made when there is none yet.
    pub(super) fn journal(&mut self, context: &Context<'_>) -> Result<&Journal, Failure> {
        let journal = match self.journal.take() {
            Some(journal) => journal,
            None => open(context, self.limits)?,
        };
        Ok(self.journal.insert(journal))
    }

    /// Returns what became of runs that were cut off, in words.
    pub(super) fn recovered(&self) -> Vec<String> {
        recovered(&self.settled)
    }
}

/// Does a work, and shows on a terminal how far it came.
fn watched<T>(session: &Session, work: impl FnOnce(Advance<'_>) -> T) -> T {
    let progress = Progress::new(&session.cli.global);
    let done = work(&|phase, done, all| progress.change(phase, done, all));
    progress.end();
    done
}

/// Opens the journal for writing, with our lock.
pub(super) fn open(context: &Context<'_>, limits: Patience) -> Result<Journal, Failure> {
    let patience = limits.deadline.clip(limits.patience);
    Journal::open(context.places().clone(), patience)?.map_err(|journal::Busy| {
        let dir = context.home.state_dir.display();
        Failure::refused(anyhow::anyhow!("another claw-sessions is at work on {dir}"))
            .hint("try again when it has ended")
    })
}

/// Finishes the runs that were cut off.
pub(super) fn settle(context: &Context<'_>, journal: &Journal, limits: Patience) -> Result<Settled, Failure> {
    let Patience { patience, deadline } = limits;
    let started_at = context.session.started_at;
    // As many threads as were asked for hash the files that are moved now.
    threads::start(context.session.cli.global.jobs.map(usize::from))?;
    Ok(settle::settle(journal, &settle::SettleOptions { started_at, patience, deadline })?)
}

/// What became of runs that were cut off, in words.
pub(super) fn recovered(settled: &Settled) -> Vec<String> {
    settled.runs.iter().map(settled::sentence).collect()
}

/// Returns the stores that were asked for and may not be changed, for one of these reasons: nothing beside them is
/// touched either.
pub(super) fn barred(inventory: &Inventory, reasons: impl Fn(Bar) -> bool) -> impl Iterator<Item = Left> {
    inventory.selected().filter_map(move |store| {
        let bar = store.may_change().err().filter(|bar| reasons(*bar))?;
        Some(Left::new(Subject::Path(store.path.clone()), Refusal::barred(store, bar)))
    })
}

/// Returns whether a store could not be read.
pub(super) fn is_unreadable(bar: Bar) -> bool {
    bar == Bar::Condition(Condition::Unreadable)
}

/// Transcripts that could not be read: left alone.
pub(super) fn unreadable(inventory: &Inventory) -> impl Iterator<Item = Left> {
    let bindings = inventory.selected().flat_map(|store| store.bindings.iter().map(move |binding| (store, binding)));
    let bound = bindings.filter_map(|(store, binding)| match &binding.transcript.content {
        Content::Unreadable(why) => {
            let subject = Subject::binding(&binding.agent, &store.path, &binding.key);
            Some(Left::new(subject, Refusal::Error(why.clone())))
        }
        _ => None,
    });
    let loose = inventory.files.iter().filter_map(|file| match &file.content {
        Content::Unreadable(why) => Some(Left::new(Subject::Path(file.path.clone()), Refusal::Error(why.clone()))),
        _ => None,
    });
    bound.chain(loose)
}

/// What was left, by the lists of documents.
pub(super) struct Lists {
    pub(super) skipped: Vec<LeftDocument>,
    pub(super) failed: Vec<LeftDocument>,
    pub(super) refused: Vec<LeftDocument>,
    pub(super) late: Vec<LeftDocument>,
}

impl Lists {
    /// Returns everything that was left, in any list.
    pub(super) fn all(&self) -> impl Iterator<Item = &LeftDocument> {
        [&self.skipped, &self.failed, &self.refused, &self.late].into_iter().flatten()
    }
}

/// Left items as documents, with paths relative to the state directory.
pub(super) fn lists<'a>(context: &Context<'_>, left: impl IntoIterator<Item = &'a Left>) -> Lists {
    let mut lists = Lists { skipped: Vec::new(), failed: Vec::new(), refused: Vec::new(), late: Vec::new() };
    for left in left {
        let list = match left.refusal.list() {
            List::Skipped => &mut lists.skipped,
            List::Failed => &mut lists.failed,
            List::Refused => &mut lists.refused,
            List::Late => &mut lists.late,
        };
        list.push(refusal::document(left, context.view()));
    }
    lists
}

/// Returns what says that sessions of a store that this run touched live in SQLite by now.
pub(super) fn moved_since(context: &Context<'_>, of: &RunId) -> Option<Refusal> {
    let problem = settle::moved_since(context.past().runs.iter().find(|run| run.id == *of)?)?;
    Some(Refusal::Migrated { problem })
}
