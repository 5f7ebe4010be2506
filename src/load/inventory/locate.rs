//! Where a binding's transcript and lock are (`openclaw-format.md` §4.2), and where they must not be looked for.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use super::{Listing, access};
use crate::config::environment;
use crate::disk::dir::FileInfo;
use crate::model::inventory::{Binding, Content};
use crate::model::names::is_session_id;
use crate::openclaw::files::lock::lock_name;

/// Where a name of the entry leads.
enum Lead {
    /// To this path in the sessions directory.
    Inside(PathBuf),
    /// Out of it.
    Outside(PathBuf),
}

/// Finds a binding's transcript and its lock (F§4.2).
pub(super) fn locate(binding: &mut Binding, dir: &Path, listing: &Listing, same_dir: &mut HashMap<PathBuf, bool>) {
    let by_id = binding
        .entry
        .session_id
        .as_deref()
        .filter(|id| is_session_id(id))
        .map(|id| dir.join(format!("{}.jsonl", id.trim())));
    let exists = |path: &Path| path.strip_prefix(dir).ok().and_then(|rest| info(listing, rest)).is_some();
    let lead = binding.entry.session_file.as_deref().map(|file| follow(file, dir, same_dir));
    let transcript = &mut binding.transcript;
    match lead {
        None => transcript.path = by_id,
        Some(Lead::Inside(path)) => transcript.path = Some(path),
        Some(Lead::Outside(target)) => {
            let sibling = target.file_name().map(|name| dir.join(name));
            let absolute = Path::new(binding.entry.session_file.as_deref().unwrap_or_default()).is_absolute();
            let found = sibling
                .clone()
                .filter(|path| absolute && exists(path))
                .or_else(|| by_id.clone().filter(|path| absolute && exists(path)));
            if let Some(found) = found {
                transcript.path = Some(found);
                transcript.relocated = true;
            } else if !absolute || fs_err::symlink_metadata(&target).is_ok() {
                transcript.path = Some(target.clone());
                transcript.content = Content::Outside(format!("leads to {}", target.display()));
                return;
            } else {
                transcript.path = sibling.or(by_id);
            }
        }
    }
    let Some(path) = transcript.path.clone() else { return };
    let Ok(inside) = path.strip_prefix(dir) else { return };
    binding.lock = listing.locks.get(&lock_name(inside.as_os_str())).cloned();
    if let Some(link) = linked_component(dir, inside) {
        transcript.content = Content::Outside(format!("{} is a symbolic link", link.display()));
        return;
    }
    match info(listing, inside) {
        Some(info) if info.symlink => {
            transcript.content = Content::Outside(format!("{} is a symbolic link", path.display()));
        }
        Some(info) if !info.regular => {
            transcript.content = Content::Unreadable(format!("{} is not a regular file", path.display()));
        }
        Some(info) => {
            transcript.stamp = Some(info.stamp);
            transcript.access = Some(access(info));
            transcript.linked = info.links > 1;
        }
        None => {}
    }
}

pub(super) fn info(listing: &Listing, inside: &Path) -> Option<FileInfo> {
    if inside.components().count() == 1 {
        return listing.names.get(inside.as_os_str()).copied();
    }
    listing.dir.info(inside.as_os_str()).ok().flatten()
}

/// `same_dir` remembers which other directories are this one by another path: a state directory behind a link.
fn follow(file: &str, dir: &Path, same_dir: &mut HashMap<PathBuf, bool>) -> Lead {
    let path = environment::normalize(&dir.join(file));
    if path.starts_with(dir) && path != dir {
        return Lead::Inside(path);
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Lead::Outside(path) };
    let same = *same_dir
        .entry(parent.to_owned())
        .or_insert_with(|| Path::new(file).is_absolute() && fs_err::canonicalize(parent).is_ok_and(|real| real == dir));
    if same { Lead::Inside(dir.join(name)) } else { Lead::Outside(path) }
}

/// A directory between the sessions directory and the file that is a link.
fn linked_component(dir: &Path, inside: &Path) -> Option<PathBuf> {
    let mut path = dir.to_owned();
    let parents = inside.parent()?;
    for component in parents.components().filter(|component| matches!(component, Component::Normal(_))) {
        path.push(component);
        if fs_err::symlink_metadata(&path).is_ok_and(|meta| meta.is_symlink()) {
            return Some(path);
        }
    }
    None
}
