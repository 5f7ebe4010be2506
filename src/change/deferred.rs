//! What the startup budget took out and nobody brought back yet.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

use crate::change::apply::{Left, read_locked};
use crate::change::journal::Journal;
use crate::change::manifest::{Manifest, RunState, StepState};
use crate::disk::dir::Dir;
use crate::model::store;

/// A deferred binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deferred {
    /// The run that took it.
    pub run: String,
    /// When that run began.
    pub started_at: DateTime<Utc>,
    /// Its store.
    pub store: PathBuf,
    /// Its key.
    pub key: String,
    /// When it was last active.
    pub active_at: Option<DateTime<Utc>>,
}

/// The deferred bindings of `runs`, given oldest first: those that were active last come first.
pub fn of(runs: &[Manifest]) -> Vec<Deferred> {
    let mut found = Vec::new();
    // What a run took that was cut off is not known before it is finished.
    for run in runs.iter().rev().filter(|run| run.state != RunState::Unfinished) {
        for record in run.stores.iter().filter(|record| record.state == StepState::Done) {
            let due = record.entries.iter().filter(|entry| entry.is_deferred());
            found.extend(due.map(|entry| Deferred {
                run: run.id.clone(),
                started_at: run.started_at,
                store: record.path.clone(),
                key: entry.key.clone(),
                active_at: entry.active_at,
            }));
        }
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

/// Tells deferred bindings apart, and notes in their runs which are superseded.
pub fn sort(journal: &Journal, found: Vec<Deferred>) -> anyhow::Result<Sorted> {
    let mut bound: HashMap<PathBuf, Option<HashSet<String>>> = HashMap::new();
    let mut newest: HashMap<(PathBuf, String), (DateTime<Utc>, String)> = HashMap::new();
    let mut unreadable = Vec::new();
    for one in &found {
        bound.entry(one.store.clone()).or_insert_with(|| {
            let keys = keys(&one.store);
            keys.map_err(|error| unreadable.push(Left::new(one.store.display(), format!("{error:#}")))).ok()
        });
        let run = (one.started_at, one.run.clone());
        let known = newest.entry((one.store.clone(), one.key.clone())).or_insert_with(|| run.clone());
        if *known < run {
            *known = run;
        }
    }
    let (mut due, mut superseded) = (Vec::new(), Vec::new());
    for one in found {
        let Some(Some(keys)) = bound.get(&one.store) else { continue };
        let last = newest.get(&(one.store.clone(), one.key.clone())).is_some_and(|(_, run)| *run == one.run);
        if last && !keys.contains(&one.key) {
            due.push(one);
        } else {
            superseded.push(one);
        }
    }
    let runs: HashSet<&str> = superseded.iter().map(|one| one.run.as_str()).collect();
    for id in runs {
        let mut run = journal.open_run(id)?;
        for record in &mut run.manifest.stores {
            for entry in &mut record.entries {
                entry.superseded |=
                    superseded.iter().any(|one| one.run == id && one.store == record.path && one.key == entry.key);
            }
        }
        run.save()?;
    }
    Ok(Sorted { due, superseded, unreadable })
}

/// The keys that a store binds now; none where there is no store.
fn keys(path: &Path) -> anyhow::Result<HashSet<String>> {
    let dir = Dir::open(path.parent().unwrap_or(Path::new("/")))?;
    let name = path.file_name().unwrap_or_default();
    if dir.info(name)?.is_none() {
        return Ok(HashSet::new());
    }
    let (text, _) = read_locked(&dir, name)?;
    let Ok(document) = store::read(&text) else {
        anyhow::bail!("{} is no readable store now: put it right first", path.display())
    };
    Ok(document.effective(&text).into_iter().map(|place| place.key).collect())
}
