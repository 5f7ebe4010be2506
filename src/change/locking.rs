//! The one way in which a store is locked: a dead lock in our way is recorded before it goes into the archive, and what
//! became of it is recorded afterwards.

use std::ffi::OsStr;
use std::time::Duration;

use crate::change::archive;
use crate::change::manifest::{Before, Change, Step, StepState};
use crate::change::run::{Run, Shelf};
use crate::decide::verdict::Reason;
use crate::disk::dir::Dir;
use crate::openclaw::files::lock::{Acquired, Holder, StoreLock, held_by, lock_name};

/// Takes the lock of the store `name` in `dir`, waiting for at most `patience`, or says who holds it.
pub(crate) fn lock_store<'d>(
    run: &mut Run,
    agent: &str,
    dir: &'d Dir,
    name: &OsStr,
    shelf: &Shelf,
    patience: Duration,
) -> anyhow::Result<Result<StoreLock<'d>, Holder>> {
    announce_dead_lock(run, agent, dir, name, shelf)?;
    let taken = StoreLock::acquire(dir, name, &shelf.dir, patience);
    settle_dead_lock(run, dir, name);
    Ok(match taken? {
        Acquired::Ours(lock) => Ok(lock),
        Acquired::Busy(holder) => Err(holder),
    })
}

fn announce_dead_lock(run: &mut Run, agent: &str, dir: &Dir, store: &OsStr, shelf: &Shelf) -> anyhow::Result<()> {
    let name = lock_name(store);
    let Some(info) = dir.info(&name)?.filter(|info| info.regular) else { return Ok(()) };
    if held_by(dir, &name)?.is_some() {
        return Ok(());
    }
    let to = shelf.dir.free_name(&name, |_| false)?;
    run.manifest.steps.push(Step {
        agent: agent.to_owned(),
        path: dir.join(&name),
        dir: dir.id()?,
        before: Some(Before { stamp: info.stamp, sha256: None }),
        change: Change::ClearLock { to: shelf.below.join(to) },
        why: Reason::LockDead,
        state: StepState::Planned,
        undone: None,
    });
    // What is not durable must not be done: a later step would take it for planned.
    run.save().inspect_err(|_| drop(run.manifest.steps.pop()))
}

/// Says what became of it, whether or not the lock was taken: it is where it is.
fn settle_dead_lock(run: &mut Run, dir: &Dir, store: &OsStr) {
    let path = dir.join(lock_name(store));
    let is_it = |step: &Step| {
        step.path == path && step.state == StepState::Planned && matches!(step.change, Change::ClearLock { .. })
    };
    for at in 0..run.manifest.steps.len() {
        if is_it(&run.manifest.steps[at]) {
            run.manifest.steps[at].state = match archive::arrived(run, &run.manifest.steps[at]) {
                Ok(true) => StepState::Done,
                Ok(false) => StepState::Skipped,
                // The next run finds out.
                Err(_) => StepState::Planned,
            };
        }
    }
}
