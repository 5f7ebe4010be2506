//! What the startup budget took out and nobody brought back yet.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

use super::apply::read_locked;
use super::dir::Dir;
use super::journal::Journal;
use super::manifest::{EntryRecord, Manifest, StepState};
use crate::decide::verdict::Action;
use crate::model::store;

/// A deferred binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deferred {
    /// The run that took it.
    pub run: String,
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
    for run in runs.iter().rev() {
        for record in run.stores.iter().filter(|record| record.state == StepState::Done) {
            let due = record.entries.iter().filter(|entry| is_due(entry));
            found.extend(due.map(|entry| Deferred {
                run: run.id.clone(),
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

fn is_due(entry: &EntryRecord) -> bool {
    entry.action == Action::Defer && entry.is_away() && !entry.superseded
}

/// Tells those whose key was bound anew, by the gateway or by a later run that deferred it again. They are never due
/// again; their runs can still be restored by name.
pub fn set_aside_superseded(journal: &Journal, found: Vec<Deferred>) -> anyhow::Result<(Vec<Deferred>, Vec<Deferred>)> {
    let mut bound: HashMap<PathBuf, HashSet<String>> = HashMap::new();
    let mut newest: HashMap<(PathBuf, String), String> = HashMap::new();
    for one in &found {
        if !bound.contains_key(&one.store) {
            bound.insert(one.store.clone(), keys(&one.store)?);
        }
        let run = newest.entry((one.store.clone(), one.key.clone())).or_default();
        if *run < one.run {
            run.clone_from(&one.run);
        }
    }
    let is_due = |one: &Deferred| {
        let anew = bound.get(&one.store).is_some_and(|keys| keys.contains(&one.key));
        !anew && newest.get(&(one.store.clone(), one.key.clone())) == Some(&one.run)
    };
    let (due, superseded): (Vec<Deferred>, Vec<Deferred>) = found.into_iter().partition(is_due);
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
    Ok((due, superseded))
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
