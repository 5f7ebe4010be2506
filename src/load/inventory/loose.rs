//! Loose files: everything in the sessions directories that is neither a store nor a bound transcript.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use chrono::DateTime;

use super::{Listing, access};
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
    let mut files = Vec::new();
    let mut dirs: Vec<_> = listings.iter().collect();
    dirs.sort_by_key(|(path, _)| *path);
    for (path, listing) in dirs {
        let Some(owners) = owners.get(path.as_path()) else { continue };
        if !owners.iter().any(|store| store.selected) {
            continue;
        }
        // A store that was not asked for is not read to the end: what its transcripts refer to is not known.
        let known = owners.iter().all(|store| store.is_known() && store.selected);
        let beside = if owners.iter().any(|store| store.is_migrated()) {
            Beside::Migrated
        } else if linked.contains(path.as_path()) {
            Beside::Linked
        } else if known {
            Beside::Known
        } else {
            Beside::Unknown
        };
        let store_names: Vec<&OsStr> = owners.iter().filter_map(|store| store.path.file_name()).collect();
        let bound: HashSet<&Path> = owners
            .iter()
            .flat_map(|store| &store.bindings)
            .filter_map(|binding| binding.transcript.path.as_deref())
            .collect();
        for (name, info) in &listing.names {
            let path = listing.dir.join(name);
            if store_names.contains(&name.as_os_str()) || bound.contains(path.as_path()) {
                continue;
            }
            let text = name.to_string_lossy();
            let store = store_names.first().and_then(|name| name.to_str()).unwrap_or("sessions.json");
            let kind = match names::classify(&text, store) {
                _ if !info.regular => FileKind::Other,
                NameKind::Transcript if beside == Beside::Migrated => FileKind::Leftover,
                NameKind::Transcript => FileKind::Orphan,
                NameKind::Lock if listing.locks.get(name).is_some_and(|lock| !lock.state.is_held()) => {
                    FileKind::LockDead
                }
                NameKind::Lock => FileKind::LockLive,
                NameKind::Artifact(kind) => kind,
            };
            // Directories below are none of OpenClaw's scans' business, nor of ours.
            if !info.regular && !info.symlink && name.to_str().is_none_or(|name| !name.ends_with(".jsonl")) {
                continue;
            }
            files.push(LooseFile {
                agent: owners[0].agent.clone(),
                kind,
                stamp: info.stamp,
                linked: info.links > 1,
                special: !info.regular || name.to_str().is_none(),
                held: listing.locks.get(&lock_name(name)).is_some_and(|lock| lock.state.is_held()),
                touched_at: DateTime::from_timestamp_nanos(info.stamp.mtime_ns),
                access: access(*info),
                content: Content::Absent,
                archived_at: names::archived_at(&text, kind),
                beside,
                leftover: None,
                path,
            });
        }
    }
    files
}
