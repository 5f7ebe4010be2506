//! Signs that somebody is at work on OpenClaw's databases. Looking takes nothing: OpenClaw's own locks are asked for,
//! never taken, since a gateway that starts meanwhile would not start.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use chrono::Utc;
use rustix::process::{Flock, FlockType, fcntl_getlk};

use super::state;
use crate::disk::deadline::Deadline;
use crate::disk::dir::Dir;
use crate::disk::platform::{self, Opener};
use crate::disk::process;
use crate::model::lock::ProcessState;
use crate::model::proof::sha256;

/// Where SQLite locks: a byte for pending, one for reserved, and a range for shared locks.
const LOCKS: (u64, u64) = (0x4000_0000, 512);

/// Returns the first sign that somebody is at work on a state directory's databases, or on this one.
pub(crate) fn of_life(state_dir: &Path, database: &Path) -> Option<String> {
    let lock = locks(state_dir).into_iter().find_map(|path| match held(&path) {
        Ok(held) => held,
        // What is there and cannot be looked at may be held.
        Err(error) => Some(format!("who holds {} cannot be seen: {error:#}", path.display())),
    });
    lock.or_else(|| by_state(state_dir)).or_else(|| opened(database))
}

/// Returns the signs that a gateway, or another process of OpenClaw, owns a state directory, as far as they can be seen.
pub(crate) fn of_owner(state_dir: &Path) -> Option<String> {
    locks(state_dir).into_iter().find_map(|path| held(&path).ok().flatten()).or_else(|| by_state(state_dir))
}

/// The files that an owner locks for as long as it lives.
fn locks(state_dir: &Path) -> Vec<PathBuf> {
    let real = |path: PathBuf| fs_err::canonicalize(&path).unwrap_or(path);
    let state = real(state_dir.join("state/openclaw.sqlite"));
    let hash = &sha256(state.as_os_str().as_encoded_bytes())[..8];
    let owner = fs_err::metadata(state_dir).map(|meta| meta.uid()).ok();
    let uids: BTreeSet<u32> = [Some(rustix::process::getuid().as_raw()), owner].into_iter().flatten().collect();
    let mut locks = Vec::new();
    for uid in uids {
        let coordinator = format!("/tmp/openclaw-state-locks-{uid}/gateway-lifecycle.{hash}.lock.sqlite");
        locks.push(PathBuf::from(coordinator));
        let dir = state_dir.join("tmp").join(format!("openclaw-{uid}"));
        let entries = match fs_err::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(_) => {
                // It is no lock; that it cannot be looked at is found out as with one.
                locks.push(dir);
                continue;
            }
        };
        let names = entries.flatten().map(|entry| entry.file_name());
        let is_lock = |name: &std::ffi::OsString| {
            let name = name.to_string_lossy();
            name.starts_with("gateway.") && name.ends_with(".lock.sqlite")
        };
        locks.extend(names.filter(is_lock).map(|name| dir.join(name)));
    }
    locks
}

/// Returns who holds a lock of SQLite on a file, in words.
fn held(path: &Path) -> anyhow::Result<Option<String>> {
    if fs_err::symlink_metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        return Ok(None);
    }
    let who = |pid| if pid == 0 { "a process out of sight".to_owned() } else { format!("pid {pid}") };
    Ok(holder(path)?.map(|pid| format!("{} holds {}", who(pid), path.display())))
}

/// Returns the process that holds a lock where SQLite locks; 0 for one in another container.
fn holder(path: &Path) -> anyhow::Result<Option<i32>> {
    let (parent, name) = path.parent().zip(path.file_name()).context("no file")?;
    let (file, _) = Dir::open(parent)?.open_file(name)?;
    let lock = Flock {
        start: LOCKS.0,
        length: LOCKS.1,
        pid: None,
        typ: FlockType::WriteLock,
        offset_type: rustix::process::FlockOffsetType::Set,
    };
    let found = fcntl_getlk(&file, &lock)?;
    Ok(found.map(|found| found.pid.map_or(0, |pid| pid.as_raw_nonzero().get())))
}

/// What OpenClaw's state says: who has databases open, and whether somebody maintains them. A process counts only with its
/// start time.
fn by_state(state_dir: &Path) -> Option<String> {
    let state = match state::read(state_dir, Deadline::default()) {
        Ok(found) => found?,
        Err(error) => return Some(format!("state/openclaw.sqlite cannot be read: {error:#}")),
    };
    let alive = state.leases.iter().find(|(pid, start)| match process::state(*pid) {
        ProcessState::Gone => false,
        ProcessState::Exists(started) => match (start, started) {
            (Some(start), Some(started)) => u64::try_from(*start) == Ok(started),
            _ => true,
        },
    });
    if let Some((pid, _)) = alive {
        return Some(format!("pid {pid} has a database open, as state/openclaw.sqlite says"));
    }
    let until = state.maintenance(Utc::now())?;
    Some(format!("somebody maintains the databases until {}", until.format("%H:%M:%SZ")))
}

/// Returns another process that has the database open.
fn opened(database: &Path) -> Option<String> {
    match platform::opened(database) {
        Opener::Nobody => None,
        Opener::By(pid) => Some(format!("pid {pid} has {} open", database.display())),
        Opener::Unseen => Some(format!("who has {} open cannot be seen", database.display())),
    }
}

/// Returns the name of a file system on which SQLite's locks are not to be trusted.
pub(crate) fn network(path: &Path) -> Option<&'static str> {
    platform::network(path)
}
