//! Undo: brings back what a run took, byte for byte. Never overwrites: a key that is bound again and a name that is taken
//! are left alone, or, on request, what comes back gets a new one. An entry and its transcript come back together, or
//! neither does: alone, the entry would lead to another session's file.
//!
//! A restore is a run of its own. It may be cut off at any moment: what is back already is recognized, and the rest
//! follows when the next run finds it unfinished.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::change::apply::references_now;
use crate::change::journal::{self, Journal};
use crate::change::locking::lock_store;
use crate::change::manifest::{
    Asked, Batch, Change, EntryRecord, Manifest, RunKind, RunProgress, Step, StepState, Undone,
};
use crate::change::outcome::{Late, List, Outcome, Refusal, Subject};
use crate::change::progress::{Advance, Phase};
use crate::change::rows::back::Returned;
use crate::change::run::Run;
use crate::change::{archive, rescue, stuck};
use crate::decide::verdict::Reason;
use crate::disk::deadline::Deadline;
use crate::disk::dir::Dir;
use crate::model::places::Places;
use crate::openclaw::files::lock::{Holder, StoreLock, held_by, lock_name};

mod entries;
mod files;
mod originals;
mod rows;

/// How to bring something back.
pub struct RestoreOptions<'a> {
    /// What is asked for.
    pub asked: &'a Asked,
    /// The time now.
    pub started_at: DateTime<Utc>,
    /// How long to wait for a store lock.
    pub patience: Duration,
    /// When to begin nothing more; what is left follows when the next run finishes this one.
    pub deadline: Deadline,
    /// Who hears how far it came.
    pub advance: Advance<'a>,
}

/// Brings back what `options` asks for.
pub fn restore(journal: &Journal, options: &RestoreOptions<'_>) -> anyhow::Result<Outcome> {
    if !options.asked.from_files {
        source(journal, options.asked)?;
    }
    let own = journal.begin(RunKind::Restore(options.asked.clone()), options.started_at, options.started_at)?;
    let id = own.id().clone();
    let outcome = resume(journal, own, options)?;
    // Where nothing at all could be done there is nothing to finish: it may be asked for again.
    if outcome.unfinished && outcome.back.bindings.is_empty() && outcome.back.files == 0 {
        let own = journal.open_run(&id)?;
        if own.manifest.steps.is_empty() {
            journal.forget(&id)?;
            return Ok(Outcome { run: None, unfinished: false, ..outcome });
        }
    }
    Ok(outcome)
}

/// Finds out what a restore would bring back, and what it would leave: by the same way, and without writing. Reads what
/// the archive holds, since a restore compares that.
pub fn look(places: &Places, options: &RestoreOptions<'_>) -> anyhow::Result<Outcome> {
    let mut source = journal::look_at(places, &options.asked.of)?;
    is_known(&source.manifest).map_err(|_| {
        let id = source.id();
        anyhow::anyhow!("the run {id} was cut off: a restore finishes it first, and only then is known what it took")
    })?;
    let mut work = Restoring::new(&mut source, None, options);
    work.bring_back();
    Ok(work.outcome)
}

/// The same, for a restore whose run exists already.
pub(crate) fn resume(journal: &Journal, mut own: Run, options: &RestoreOptions<'_>) -> anyhow::Result<Outcome> {
    if !journal.has_run(&options.asked.of)? {
        return without_source(journal, own, options);
    }
    if options.asked.from_files {
        let homes = rescue::homes(&journal.places().stores);
        let outcome = rescue::resume(journal, &mut own, &options.asked.of, &homes, options.patience)?;
        give_back(&mut own);
        return end(journal, own, outcome);
    }
    let mut source = source(journal, options.asked)?;
    let of_files = source.manifest.batches.iter().filter(|batch| batch.cuts().is_some());
    let stores = source.manifest.stores.iter().chain(of_files.map(|batch| &batch.store));
    own.manifest.stores = stores.cloned().collect();
    own.save()?;
    let mut work = Restoring::new(&mut source, Some(&mut own), options);
    work.bring_back();
    let (late, busy) = (work.late, work.busy);
    let mut outcome = work.outcome;
    for (path, error) in archive::sync(&source).into_iter().chain(archive::sync(&own)) {
        outcome.leave(Subject::Path(path), error);
    }
    settle_source(&mut source.manifest);
    source.save()?;
    drop_cut_bytes(&source);
    if late {
        outcome.leave(Subject::Run(own.id().clone()), Late::Restore);
    }
    outcome.unfinished = late || busy;
    end(journal, own, outcome)
}

/// Ends a restore's own run, if nothing is left to do; one that did nothing is forgotten.
fn end(journal: &Journal, mut own: Run, mut outcome: Outcome) -> anyhow::Result<Outcome> {
    outcome.run = Some(own.id().clone());
    own.manifest.totals.transcripts += outcome.back.files;
    own.manifest.problems = outcome.in_list(List::Failed).cloned().collect();
    if outcome.unfinished {
        own.save()?;
        return Ok(outcome);
    }
    // A dead lock that could not be put back is still in this run's archive: then the run is kept.
    let holds_nothing = !own.manifest.steps.iter().any(|step| step.is_move() && step.stands());
    if outcome.back.bindings.is_empty() && own.manifest.totals.transcripts == 0 && holds_nothing {
        journal.forget(own.id())?;
        outcome.run = None;
        return Ok(outcome);
    }
    own.manifest.state = RunProgress::Done;
    own.manifest.finished_at = Some(Utc::now());
    own.save()?;
    if let Err(error) = journal.remember(&own.manifest.history_line()) {
        outcome.leave(Subject::History, error);
    }
    Ok(outcome)
}

/// Ends a restore whose source is gone, once, and says so.
fn without_source(journal: &Journal, mut own: Run, options: &RestoreOptions<'_>) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    give_back(&mut own);
    outcome.leave(Subject::Run(own.id().clone()), Refusal::NoSource(options.asked.of.clone()));
    end(journal, own, outcome)
}

/// A run to restore from. What one took that was cut off and could not be finished is not known; that files of it did not
/// follow yet is no hindrance.
fn source(journal: &Journal, asked: &Asked) -> anyhow::Result<Run> {
    let run = journal.open_run(&asked.of)?;
    is_known(&run.manifest)?;
    Ok(run)
}

fn is_known(manifest: &Manifest) -> anyhow::Result<()> {
    let Manifest { batches, steps, state, id, .. } = manifest;
    let batches = batches.iter().map(|batch| batch.state);
    let steps = steps.iter().filter(|step| !step.is_move()).map(|step| step.state);
    anyhow::ensure!(
        *state != RunProgress::Unfinished || batches.chain(steps).all(|state| state != StepState::Planned),
        "the run {id} was cut off and could not be finished, nothing of it was restored: `claw-sessions gc` says why"
    );
    Ok(())
}

/// Removes what was cut out of stores that have all of it back. It has served: that it cannot be removed harms nothing.
fn drop_cut_bytes(source: &Run) {
    let back = |batch: &&Batch| {
        let all = !batch.entries.iter().any(EntryRecord::is_away);
        batch.cuts().is_some() && batch.state == StepState::Done && all
    };
    for batch in source.manifest.batches.iter().filter(back) {
        if let Ok((dir, name)) = source.locate(batch.kept()) {
            let _ = dir.remove(&name);
        }
    }
}

/// Says in the source's manifest how much of it is still away.
pub(crate) fn settle_source(manifest: &mut Manifest) {
    if manifest.steps.iter().any(|step| step.is_move() && step.state == StepState::Planned) {
        return;
    }
    let entries = manifest.taken().map(|(_, entry)| !entry.is_away());
    let steps = manifest.steps.iter().filter(|step| step.state == StepState::Done && step.change != Change::Delete);
    let back: Vec<bool> = entries.chain(steps.map(|step| step.undone.is_some())).collect();
    if back.is_empty() {
        return;
    }
    if back.iter().all(|&back| back) {
        manifest.state = RunProgress::Restored;
    } else if back.iter().any(|&back| back) {
        manifest.state = RunProgress::PartlyRestored;
    }
}

struct Restoring<'a> {
    source: &'a mut Run,
    /// The restore's own run; `None` when this only finds out what a restore would do.
    own: Option<&'a mut Run>,
    options: &'a RestoreOptions<'a>,
    outcome: Outcome,
    /// Transcripts that came back under another name.
    renamed: HashMap<PathBuf, PathBuf>,
    /// The deadline left something.
    late: bool,
    /// A held lock left something.
    busy: bool,
    /// Rows that would be back by now, when this only finds out.
    returned_rows: Returned,
    /// Bytes of the files that came back, or could not, and of all that are asked for.
    returned: (u64, u64),
}

impl<'a> Restoring<'a> {
    fn new(source: &'a mut Run, own: Option<&'a mut Run>, options: &'a RestoreOptions<'a>) -> Self {
        let (outcome, renamed) = (Outcome::default(), HashMap::new());
        let all = source.manifest.steps.iter().filter(|step| step.stands()).map(Step::bytes).sum();
        Self {
            source,
            own,
            options,
            outcome,
            renamed,
            late: false,
            busy: false,
            returned_rows: Returned::default(),
            returned: (0, all),
        }
    }

    /// Says how far it came, once these bytes more are back or cannot be.
    fn advance(&mut self, bytes: u64) {
        let (done, all) = &mut self.returned;
        *done += bytes;
        (self.options.advance)(Phase::Returning, *done, *all);
    }

    fn bring_back(&mut self) {
        self.batches();
        self.loose_files();
        self.spare_followers();
        self.originals();
        self.names();
        // Dead locks come last: one of them may stand where our own lock stood a moment ago.
        self.give_back_cleared();
        self.locks();
    }

    /// Takes the lock of a store, or says who holds it; `None` when nothing will be written.
    fn lock<'d>(
        &mut self,
        agent: &str,
        dir: &'d Dir,
        name: &OsStr,
    ) -> anyhow::Result<Result<Option<StoreLock<'d>>, Holder>> {
        let Some(own) = self.own.as_deref_mut() else {
            return Ok(held_by(dir, &lock_name(name))?.map_or(Ok(None), Err));
        };
        let shelf = own.shelf(agent)?;
        let patience = self.options.deadline.clip(self.options.patience);
        Ok(lock_store(own, agent, dir, name, &shelf, patience)?.map(Some))
    }

    fn in_time(&mut self) -> bool {
        self.late |= self.options.deadline.has_passed();
        !self.late
    }

    fn leave(&mut self, subject: Subject, refusal: impl Into<Refusal>) {
        let refusal = refusal.into();
        self.busy |= matches!(refusal, Refusal::Busy(_));
        self.outcome.leave(subject, refusal);
    }

    /// Undoes what `restore --stuck-bak` did to names: of a whole run only.
    fn names(&mut self) {
        let is_rename = |change: &Change| matches!(change, Change::Rename { .. });
        let manifest = &self.source.manifest;
        if !self.options.asked.is_all() || !manifest.steps.iter().any(|step| is_rename(&step.change)) {
            return;
        }
        let references = match references_now(&manifest.stores) {
            Ok(references) => references,
            Err(error) => {
                let subject = Subject::Run(self.options.asked.of.clone());
                return self.leave(subject, Refusal::Unknowable(format!("{error:#}")));
            }
        };
        for at in 0..self.source.manifest.steps.len() {
            let step = &self.source.manifest.steps[at];
            let Change::Rename { to } = &step.change else { continue };
            if !step.stands() {
                continue;
            }
            let subject = Subject::Path(to.clone());
            match stuck::undo(&self.source.manifest, step, &references, self.own.is_some()) {
                Ok(Ok(())) => {
                    self.outcome.back.files += 1;
                    self.outcome.back.bytes += step.bytes();
                    self.source.manifest.steps[at].undone = Some(Undone::Restored);
                }
                Ok(Err(refusal)) => self.leave(subject, refusal),
                Err(error) => self.leave(subject, error),
            }
        }
    }

    /// Puts the dead locks back that stood in this restore's own way.
    fn give_back_cleared(&mut self) {
        if let Some(own) = self.own.as_deref_mut() {
            give_back(own);
        }
    }

    /// Puts the dead locks of the source back: of a whole run only.
    fn locks(&mut self) {
        if !self.options.asked.is_all() {
            return;
        }
        for at in 0..self.source.manifest.steps.len() {
            let step = &self.source.manifest.steps[at];
            if step.is_move() && step.undone.is_none() && step.why == Reason::LockDead && self.in_time() {
                self.loose_file(at);
            }
        }
    }
}

/// Puts the dead locks back that stood in a restore's own way. One that was cut off may not have noted that the lock was
/// moved.
fn give_back(own: &mut Run) {
    for at in 0..own.manifest.steps.len() {
        let step = own.manifest.steps[at].clone();
        if !matches!(step.change, Change::ClearLock { .. }) || step.state == StepState::Skipped {
            continue;
        }
        let away = match step.state {
            StepState::Planned => archive::arrived(own, &step).unwrap_or(true),
            _ => true,
        };
        own.manifest.steps[at].state = if away { StepState::Done } else { StepState::Skipped };
        if !away || step.undone.is_some() {
            continue;
        }
        let Ok((_, name)) = archive::parts(&step.path) else { continue };
        if let Ok(Ok(())) = archive::back(own, &step, name) {
            own.manifest.steps[at].undone = Some(Undone::Restored);
        }
    }
}
