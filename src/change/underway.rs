//! What this process has begun and not ended, for the moment in which it is interrupted.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use crate::change::manifest::{Manifest, RunProgress};
use crate::model::ids::RunId;

static UNDERWAY: Mutex<Underway> = Mutex::new(Underway { unfinished: BTreeSet::new(), changed: false });

/// How long to wait for the end of a write: a disk that does not answer must not keep an interrupt from being one.
const PATIENCE: Duration = Duration::from_secs(1);

/// What was begun.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Underway {
    /// The runs that are not at their end.
    pub unfinished: BTreeSet<RunId>,
    /// Something was changed, or may have been.
    pub changed: bool,
}

/// Writes a manifest, and notes what it says of its run.
pub(crate) fn saving<T>(manifest: &Manifest, write: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let mut underway = UNDERWAY.lock().unwrap_or_else(PoisonError::into_inner);
    underway.changed = true;
    if manifest.state == RunProgress::Unfinished {
        underway.unfinished.insert(manifest.id.clone());
    }
    let written = write()?;
    if manifest.state != RunProgress::Unfinished {
        underway.unfinished.remove(&manifest.id);
    }
    Ok(written)
}

/// Takes the name of a run away.
pub(crate) fn forgetting<T>(id: &RunId, take: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let mut underway = UNDERWAY.lock().unwrap_or_else(PoisonError::into_inner);
    underway.changed = true;
    let taken = take()?;
    underway.unfinished.remove(id);
    Ok(taken)
}

/// Returns what is underway, and lets this process begin and end nothing more; `None` when that cannot be told, as a write
/// does not end.
pub fn stop() -> Option<Underway> {
    let started = Instant::now();
    loop {
        let underway = match UNDERWAY.try_lock() {
            Ok(underway) => underway,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) if started.elapsed() >= PATIENCE => return None,
            Err(TryLockError::WouldBlock) => {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
        };
        let copy = underway.clone();
        // Never given back: who wants to write a manifest waits for the end.
        std::mem::forget(underway);
        return Some(copy);
    }
}
