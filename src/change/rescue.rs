//! Rescue: what lies in the archive of a run whose manifest is lost comes back by what its names tell. A transcript has
//! the name that it had; the entries stand in what was cut out of the store of the agent whose directory it is in.
//!
//! Nothing else is known of them, so a name that is in use stays untouched. Every step finds out for itself whether it was
//! made already: a rescue that was cut off is simply made again.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::change::archive::{parts, read_whole};
use crate::change::journal::Journal;
use crate::change::locking::lock_store;
use crate::change::outcome::{Bound, Outcome, Refusal, Subject};
use crate::change::run::{Run, shelf_name};
use crate::change::stuck::transcript;
use crate::disk::carry::carry;
use crate::disk::dir::{Dir, FileInfo};
use crate::model::ids::{BindingId, RunId};
use crate::model::json;
use crate::model::store;

/// A store, and the agent that it is of.
#[derive(Clone, Debug)]
pub struct Destination {
    /// The agent.
    pub agent: String,
    /// The store.
    pub store: PathBuf,
}

/// Brings back what lies in the archive of `of`, into the stores of `homes`. `own` is the run that does it.
pub(crate) fn resume(
    journal: &Journal,
    own: &mut Run,
    of: &RunId,
    homes: &[Destination],
    patience: Duration,
) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    own.manifest.stores = homes.iter().map(|home| home.store.clone()).collect();
    own.save()?;
    for (name, shelf) in journal.shelves(of)? {
        let Some(home) = homes.iter().find(|home| OsStr::new(&shelf_name(&home.agent)) == name) else {
            outcome.leave(Subject::Path(shelf.path().to_owned()), Refusal::NoStore);
            continue;
        };
        if let Err(error) = bring_back(own, &shelf, home, patience, &mut outcome) {
            outcome.leave(Subject::Path(home.store.clone()), error);
        }
    }
    if journal.is_bare(of)? {
        journal.forget(of)?;
    }
    Ok(outcome)
}

/// Files of one shelf.
#[derive(Default)]
struct OnShelf {
    /// Transcripts, and whatever else lay beside them.
    files: Vec<OsString>,
    /// What was cut out of the store.
    removed: Vec<OsString>,
}

fn find(shelf: &Dir, store: &OsStr) -> anyhow::Result<OnShelf> {
    let mut found = OnShelf::default();
    for entry in fs_err::read_dir(shelf.path())? {
        let name = entry?.file_name();
        let text = name.to_string_lossy();
        let of_store = text.strip_prefix(&*store.to_string_lossy());
        match of_store {
            Some(rest) if rest.starts_with(".removed") => found.removed.push(name),
            // A store as a whole, or its lock: where it belongs there is one.
            Some(_) => {}
            None if text.ends_with(".lock") || text.ends_with(".mended") => {}
            None => found.files.push(name),
        }
    }
    found.files.sort();
    found.removed.sort();
    Ok(found)
}

fn bring_back(
    own: &mut Run,
    shelf: &Dir,
    home: &Destination,
    patience: Duration,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    let (parent, name) = parts(&home.store)?;
    let dir = Dir::open(parent)?;
    let found = find(shelf, name)?;
    let own_shelf = own.shelf(&home.agent)?;
    let lock = match lock_store(own, &home.agent, &dir, name, &own_shelf, patience)? {
        Ok(lock) => lock,
        Err(holder) => {
            outcome.unfinished = true;
            outcome.leave(Subject::Path(home.store.clone()), holder);
            return Ok(());
        }
    };
    let mut rescue = Rescue { shelf, home, outcome };
    let stays = rescue.files(found.files, &dir)?;
    dir.sync()?;
    let (text, info) = if dir.info(name)?.is_some() {
        read_whole(&dir, name)?
    } else {
        (b"{}".to_vec(), FileInfo { mode: 0o600, ..dir.own_info()? })
    };
    let Ok(document) = store::read(&text) else {
        anyhow::bail!("{} is no readable store now: put it right first", home.store.display())
    };
    let places = document.effective(&text).into_iter();
    let bound: HashMap<String, Vec<u8>> =
        places.map(|place| (place.key, document.members[place.member].entry.span.of(&text).to_vec())).collect();
    let keys: HashSet<String> = bound.keys().cloned().collect();
    let Entries { members, done } = rescue.entries(found.removed, bound, &stays)?;
    if !members.is_empty() {
        let new = document.with_members(&text, &members);
        let added = members.iter().map(|(key, _)| json::unescape(key));
        anyhow::ensure!(
            store::has_keys(&new, keys.into_iter().chain(added.clone())),
            "{} would not be a store with what is to come back",
            home.store.display()
        );
        lock.replace_store([new.as_slice()], &info, Some(info.stamp).filter(|_| info.regular))?;
        outcome.back.bytes += members.iter().map(|(_, entry)| entry.len() as u64).sum::<u64>();
        let back = |key| Bound { agent: home.agent.clone(), id: BindingId::new(&home.store, key) };
        outcome.back.bindings.extend(added.map(back));
    }
    drop(lock);
    for removed in done {
        shelf.remove(&removed)?;
    }
    shelf.sync()
}

/// A shelf, and the store beside which its files belong.
struct Rescue<'a> {
    shelf: &'a Dir,
    home: &'a Destination,
    outcome: &'a mut Outcome,
}

/// Entries that can come back into a store.
struct Entries {
    /// Their raw keys, each with its raw entry.
    members: Vec<(Vec<u8>, Vec<u8>)>,
    /// The files of the shelf that hold nothing else once these are back.
    done: Vec<OsString>,
}

impl Rescue<'_> {
    /// Moves the files into `dir`. Returns those whose names are in use there: they stay.
    fn files(&mut self, files: Vec<OsString>, dir: &Dir) -> anyhow::Result<HashSet<OsString>> {
        let mut stays: HashSet<OsString> = HashSet::new();
        for file in files {
            let Some(info) = self.shelf.info(&file)?.filter(|info| info.regular) else { continue };
            if dir.info(&file)?.is_some() {
                self.outcome.leave(Subject::Path(self.shelf.join(&file)), Refusal::Taken(dir.join(&file)));
                stays.insert(file);
                continue;
            }
            carry(self.shelf, &file, dir, &file, &info)?;
            self.outcome.back.files += 1;
            self.outcome.back.bytes += info.stamp.size;
        }
        Ok(stays)
    }

    /// Reads the entries that were cut out: those whose key is not `bound`, and whose transcript is not one that `stays`.
    fn entries(
        &mut self,
        removed: Vec<OsString>,
        mut bound: HashMap<String, Vec<u8>>,
        stays: &HashSet<OsString>,
    ) -> anyhow::Result<Entries> {
        let mut members = Vec::new();
        let mut done: Vec<OsString> = Vec::new();
        for removed in removed {
            let (bytes, _) = read_whole(self.shelf, &removed)?;
            let mut all = true;
            for (key, entry) in store::members_of(&bytes) {
                let plain = json::unescape(&key);
                let subject = Subject::binding(&self.home.agent, &self.home.store, &plain);
                let refusal = match bound.get(&plain) {
                    Some(there) if *there == entry => continue,
                    Some(_) => Some(Refusal::Bound),
                    None => transcript(&entry).filter(|file| stays.contains(file)).map(|_| Refusal::Unaccompanied),
                };
                if let Some(refusal) = refusal {
                    all = false;
                    self.outcome.leave(subject, refusal);
                    continue;
                }
                bound.insert(plain, entry.clone());
                members.push((key, entry));
            }
            if all {
                done.push(removed);
            }
        }
        Ok(Entries { members, done })
    }
}

/// Returns the stores that may be meant, each with its agent: as the places of the journal name them.
pub(crate) fn homes(stores: &[PathBuf]) -> Vec<Destination> {
    let agent = |store: &Path| {
        let agent = store.parent().filter(|dir| dir.ends_with("sessions")).and_then(Path::parent)?;
        Some(agent.file_name()?.to_string_lossy().into_owned())
    };
    let home = |store: &PathBuf| Destination {
        agent: agent(store).unwrap_or_else(|| "main".to_owned()),
        store: store.clone(),
    };
    stores.iter().map(home).collect()
}
