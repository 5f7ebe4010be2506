//! Where a binding's transcript and lock are (`openclaw-format.md` §4.2), and where they must not be looked for.

use std::collections::HashMap;
use std::io::ErrorKind;
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
        Some(Lead::Inside(path)) => {
            let beside = of_windows(&path).map(|name| dir.join(name));
            let beside = beside.filter(|beside| !exists(&path) && exists(beside));
            transcript.relocated = beside.is_some();
            transcript.path = Some(beside.unwrap_or(path));
        }
        Some(Lead::Outside(target)) => {
            let named = Path::new(binding.entry.session_file.as_deref().unwrap_or_default());
            let (taken, absolute) = (is_taken(&target), named.is_absolute());
            let own = by_id.clone().filter(|path| absolute && exists(path));
            // OpenClaw rejects any other path, and takes the session's own file: nothing is amiss where that is there.
            let why = if taken || own.is_none() { in_use(named, &target) } else { None };
            if let Some(why) = why {
                transcript.elsewhere = taken;
                transcript.path = Some(target);
                transcript.content = Content::Outside(why);
                return;
            }
            let sibling = target.file_name().map(|name| dir.join(name));
            let beside = sibling.clone().filter(|path| exists(path));
            let found = if taken { beside.or(own) } else { own.or(beside) };
            transcript.relocated = found.is_some() && (taken || found != by_id);
            transcript.path = found.or(if taken { sibling } else { by_id });
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

/// Returns the last part of a name that was a path on Windows: here it is one name.
fn of_windows(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()?.rsplit_once('\\').map(|(_, name)| name).filter(|name| !name.is_empty())
}

/// Returns whether OpenClaw takes an absolute path as it is: one that is written like that of a session of some agent, in
/// whatever state directory (F§4.2).
fn is_taken(target: &Path) -> bool {
    let mut above = target.ancestors().skip(1).map(|dir| dir.file_name().and_then(|name| name.to_str()));
    above.next().flatten() == Some("sessions") && above.nth(1).flatten() == Some("agents")
}

/// Returns why the file outside, and no other, is the session's: in words. `None` when nothing is there.
fn in_use(named: &Path, target: &Path) -> Option<String> {
    let leads = || format!("leads to {}", target.display());
    if !named.is_absolute() {
        return Some(leads());
    }
    match fs_err::symlink_metadata(target) {
        Ok(_) => Some(leads()),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => None,
        Err(error) => Some(format!("{}, which cannot be looked at: {error}", leads())),
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
