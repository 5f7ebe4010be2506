//! What the startup budget took out and nobody brought back yet.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

use crate::change::archive::{parts, read_whole};
use crate::change::journal::Journal;
use crate::change::manifest::{Manifest, RunProgress};
use crate::change::outcome::{Left, Refusal, Subject};
use crate::decide::verdict::Action;
use crate::disk::dir::Dir;
use crate::model::ids::{BindingId, RunId};
use crate::model::store;

/// A deferred binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deferred {
    /// The run that took it.
    pub run: RunId,
    /// Its store, and its key there.
    pub id: BindingId,
    /// It is in its store still, marked as failed: its key is bound all the time.
    pub settled: bool,
    /// When it was last active.
    pub active_at: Option<DateTime<Utc>>,
}

/// The deferred bindings of `runs`, given oldest first: those that were active last come first.
pub fn of(runs: &[Manifest]) -> Vec<Deferred> {
    let mut found = Vec::new();
    // What a run took that was cut off is not known before it is finished.
    for run in runs.iter().rev().filter(|run| run.state != RunProgress::Unfinished) {
        let due = run.taken().filter(|(_, entry)| entry.is_deferred());
        found.extend(due.map(|(batch, entry)| Deferred {
            run: run.id.clone(),
            id: BindingId::new(&batch.store, &entry.key),
            settled: entry.action == Action::Settle,
            active_at: entry.active_at,
        }));
    }
    // Stable: of the same time that of the newer run comes first.
    found.sort_by_key(|one| std::cmp::Reverse(one.active_at));
    found
}

/// Deferred bindings, told apart.
pub struct Sorted {
    /// What may be readmitted.
    pub due: Vec<Deferred>,
    /// What is never due again: the key was bound anew, by the gateway or by a later run that deferred it again. The runs
    /// can still be restored by name.
    pub superseded: Vec<Deferred>,
    /// Stores that cannot be read now: what belongs there waits.
    pub unreadable: Vec<Left>,
}

/// Tells deferred bindings apart. Reads only.
pub fn tell_apart(found: Vec<Deferred>) -> Sorted {
    let mut bound: HashMap<PathBuf, Option<HashSet<String>>> = HashMap::new();
    let mut newest: HashMap<BindingId, RunId> = HashMap::new();
    let mut unreadable = Vec::new();
    for one in &found {
        bound.entry(one.id.store.clone()).or_insert_with(|| {
            let keys = keys(&one.id.store).unwrap_or_else(|error| Err(error.into()));
            keys.map_err(|refusal| unreadable.push(Left::new(Subject::Path(one.id.store.clone()), refusal))).ok()
        });
        let known = newest.entry(one.id.clone()).or_insert_with(|| one.run.clone());
        if *known < one.run {
            *known = one.run.clone();
        }
    }
    let (mut due, mut superseded) = (Vec::new(), Vec::new());
    for one in found {
        let Some(Some(keys)) = bound.get(&one.id.store) else { continue };
        let last = newest.get(&one.id).is_some_and(|run| *run == one.run);
        if last && (one.settled || !keys.contains(&one.id.key)) {
            due.push(one);
        } else {
            superseded.push(one);
        }
    }
    Sorted { due, superseded, unreadable }
}

/// Tells deferred bindings apart, and notes in their runs which are superseded.
pub fn sort(journal: &Journal, found: Vec<Deferred>) -> anyhow::Result<Sorted> {
    let sorted = tell_apart(found);
    let superseded = &sorted.superseded;
    let runs: HashSet<&RunId> = superseded.iter().map(|one| &one.run).collect();
    for id in runs {
        let mut run = journal.open_run(id)?;
        for batch in &mut run.manifest.batches {
            let gone = |key: &str| {
                superseded.iter().any(|one| one.run == *id && one.id.store == batch.store && one.id.key == key)
            };
            batch.entries.iter_mut().for_each(|entry| entry.superseded |= gone(&entry.key));
        }
        run.save()?;
    }
    Ok(sorted)
}

/// The keys that a store binds now; none where there is no store.
fn keys(path: &Path) -> anyhow::Result<Result<HashSet<String>, Refusal>> {
    let (parent, name) = parts(path)?;
    let dir = Dir::open(parent)?;
    if dir.info(name)?.is_none() {
        return Ok(Ok(HashSet::new()));
    }
    let (text, _) = read_whole(&dir, name)?;
    Ok(match store::read(&text) {
        Ok(document) => Ok(document.effective(&text).into_iter().map(|place| place.key).collect()),
        Err(defect) => Err(Refusal::broken(&defect)),
    })
}
