//! Loose files: everything in the sessions directories that is neither a store nor a bound transcript.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use chrono::DateTime;

use super::{Listing, access};
use crate::disk::dir::FileInfo;
use crate::model::inventory::{Beside, Content, LooseFile, Store};
use crate::model::names::{self, FileKind, NameKind};
use crate::openclaw::files::lock::lock_name;

/// Everything in the directories that is neither a store nor a bound transcript. `linked` are the directories with a
/// store that is reached through a symbolic link.
pub(super) fn loose_files(
    stores: &[Store],
    listings: &HashMap<PathBuf, Listing>,
    linked: &HashSet<&Path>,
) -> Vec<LooseFile> {
    let mut owners: HashMap<&Path, Vec<&Store>> = HashMap::new();
    for store in stores {
        owners.entry(store.dir()).or_default().push(store);
    }
    let mut dirs: Vec<_> = listings.iter().collect();
    dirs.sort_by_key(|(path, _)| *path);
    let mut files = Vec::new();
    for (path, listing) in dirs {
        let Some(owners) = owners.get(path.as_path()) else { continue };
        if owners.iter().any(|store| store.selected) {
            let dir = Surroundings::of(listing, owners, linked.contains(path.as_path()));
            files.extend(listing.names.iter().filter_map(|(name, info)| dir.loose(name, *info)));
        }
    }
    files
}

/// A sessions directory, and what its stores make of the files in it.
struct Surroundings<'a> {
    listing: &'a Listing,
    agent: &'a str,
    beside: Beside,
    store_names: Vec<&'a OsStr>,
    /// The transcripts that bindings refer to.
    bound: HashSet<&'a Path>,
}

impl<'a> Surroundings<'a> {
    /// Looks at the stores in a directory, `owners`, one at least. `linked`: one is reached through a symbolic link.
    fn of(listing: &'a Listing, owners: &[&'a Store], linked: bool) -> Self {
        // A store that was not asked for is not read to the end: what its transcripts refer to is not known.
        let known = owners.iter().all(|store| store.is_known() && store.selected);
        let beside = if owners.iter().any(|store| store.is_migrated()) {
            Beside::Migrated
        } else if linked {
            Beside::Linked
        } else if known {
            Beside::Known
        } else {
            Beside::Unknown
        };
        let bindings = owners.iter().flat_map(|store| &store.bindings);
        Self {
            listing,
            agent: &owners[0].agent,
            beside,
            store_names: owners.iter().filter_map(|store| store.path.file_name()).collect(),
            bound: bindings.filter_map(|binding| binding.transcript.path.as_deref()).collect(),
        }
    }

    /// Returns the file `name`, unless it is a store, a bound transcript or a directory.
    fn loose(&self, name: &OsStr, info: FileInfo) -> Option<LooseFile> {
        let path = self.listing.dir.join(name);
        if self.store_names.contains(&name) || self.bound.contains(path.as_path()) {
            return None;
        }
        // Directories below are none of OpenClaw's scans' business, nor of ours.
        if !info.regular && !info.symlink && name.to_str().is_none_or(|name| !name.ends_with(".jsonl")) {
            return None;
        }
        let kind = self.kind(name, info);
        Some(LooseFile {
            agent: self.agent.to_owned(),
            kind,
            stamp: info.stamp,
            linked: info.links > 1,
            special: !info.regular || name.to_str().is_none(),
            held: self.listing.locks.get(&lock_name(name)).is_some_and(|lock| lock.state.is_held()),
            touched_at: DateTime::from_timestamp_nanos(info.stamp.mtime_ns),
            access: access(info),
            content: Content::Absent,
            archived_at: names::archived_at(&name.to_string_lossy(), kind),
            beside: self.beside,
            leftover: None,
            path,
        })
    }

    fn kind(&self, name: &OsStr, info: FileInfo) -> FileKind {
        let store = self.store_names.first().and_then(|name| name.to_str()).unwrap_or("sessions.json");
        match names::classify(&name.to_string_lossy(), store) {
            _ if !info.regular => FileKind::Other,
            NameKind::Transcript if self.beside == Beside::Migrated => FileKind::Leftover,
            NameKind::Transcript => FileKind::Orphan,
            NameKind::Lock if self.listing.locks.get(name).is_some_and(|lock| !lock.state.is_held()) => {
                FileKind::LockDead
            }
            NameKind::Lock => FileKind::LockLive,
            NameKind::Artifact(kind) => kind,
        }
    }
}
