//! Past runs as anybody may read them: nothing is written, and no lock is held.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use walkdir::WalkDir;

use super::{HISTORY, LONGEST_HISTORY, is_bare, is_forgotten, names};
use crate::change::history;
use crate::change::manifest::{Manifest, RunProgress};
use crate::change::outcome::{Left, Refusal, Subject};
use crate::change::run::{self, FILES, MANIFEST, Run};
use crate::decide::verdict::Action;
use crate::disk::dir::Dir;
use crate::model::ids::RunId;
use crate::model::places::{OWN, Places};

/// The past runs of a state directory.
#[derive(Debug, Default)]
pub struct Past {
    /// Those that can be read, in their order.
    pub runs: Vec<Manifest>,
    /// What cannot be read, or not be believed.
    pub unread: Vec<Left>,
}

impl Past {
    /// Returns the runs that were cut off.
    pub fn unfinished(&self) -> Vec<RunId> {
        let runs = self.runs.iter().filter(|run| run.state == RunProgress::Unfinished);
        runs.map(|run| run.id.clone()).collect()
    }
}

/// Returns the past runs of a state directory. Reads only.
pub fn past(places: &Places) -> Past {
    let mut past = Past::default();
    let listed = runs_dir(&places.state_dir).and_then(|dir| Ok((names(&dir)?, dir)));
    let (names, dir) = match listed {
        Ok(listed) => listed,
        Err(error) => {
            let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
            if kind != Some(ErrorKind::NotFound) {
                let why = format!("the past runs are not known: {error:#}");
                past.unread.push(Left::new(Subject::Runs, Refusal::Unreadable(why)));
            }
            return past;
        }
    };
    for name in names.into_iter().filter(|name| !is_forgotten(name)) {
        match past_run(&dir, &name, places) {
            Ok(Some(run::Read { manifest, damaged })) => {
                past.unread.extend(
                    damaged.map(|why| Left::new(Subject::Run(manifest.id.clone()), Refusal::VersionBefore(why))),
                );
                past.runs.push(manifest);
            }
            Ok(None) => {}
            Err(error) => past.unread.push(unread(&name, format!("{error:#}"))),
        }
    }
    past.runs.sort_by(|one, other| one.id.cmp(&other.id));
    past
}

fn unread(name: &OsStr, why: String) -> Left {
    match name.to_str().and_then(RunId::parse) {
        Some(id) => Left::new(Subject::Run(id.clone()), Refusal::LostManifest { id, why }),
        None => Left::new(Subject::Runs, Refusal::Unreadable(why)),
    }
}

/// Reads one directory of a run; `None` when it is none.
fn past_run(dir: &Dir, name: &OsStr, places: &Places) -> anyhow::Result<Option<run::Read>> {
    let own = match dir.existing_subdir(name) {
        Ok(own) => own,
        // A file that somebody left there is no run; a link to elsewhere is not followed, and told.
        Err(error) => {
            let is_file = matches!(dir.info(name), Ok(Some(info)) if info.regular);
            return if is_file { Ok(None) } else { Err(error) };
        }
    };
    // A run that was cut off before it changed anything has nothing in it.
    if own.info(OsStr::new(MANIFEST))?.is_none() && is_bare(&own) {
        return Ok(None);
    }
    let Some(id) = name.to_str().and_then(RunId::parse) else {
        anyhow::bail!("{} is no name of a run: give the directory back the name it had", own.path().display());
    };
    run::read(&own, &id, places).map(Some)
}

/// Returns the sessions in rows, and their keys, that past runs have in their archives.
pub fn away(places: &Places) -> HashSet<String> {
    let runs = past(places).runs;
    let entries = runs.iter().flat_map(Manifest::taken).map(|(_, entry)| entry);
    let takes = |action: Action| action.removes() || action == Action::Repair;
    let away = entries.filter(|entry| entry.unit().is_some() && entry.is_away() && takes(entry.action));
    away.flat_map(|entry| entry.session_id.clone().into_iter().chain([entry.key.clone()])).collect()
}

/// Returns the files that belong to what past runs have in their archives, or that a run was cut off before it moved;
/// what keeps them from being known when a run cannot be read. Reads only.
pub fn awaited(places: &Places) -> Result<HashSet<PathBuf>, Box<Left>> {
    let Past { runs, unread } = past(places);
    match unread.into_iter().next() {
        None => Ok(runs.iter().flat_map(Manifest::awaited).cloned().collect()),
        Some(problem) => Err(Box::new(problem)),
    }
}

/// Returns a line for each past run, oldest first; they are kept longer than the runs themselves. Reads only.
pub fn history(state_dir: &Path) -> Vec<history::HistoryLine> {
    let text = read_own(state_dir, HISTORY, 2 * LONGEST_HISTORY).unwrap_or_default();
    history::parse(&String::from_utf8_lossy(&text))
}

/// Returns the bytes of the files that a run's archive holds; what cannot be looked at is not counted. Reads only.
pub fn archive_bytes(state_dir: &Path, run: &RunId) -> u64 {
    // Nothing is done with what is found, so a plain walk is enough. It follows no link.
    let entries = WalkDir::new(state_dir.join(OWN).join("runs").join(run.as_str()).join(FILES)).into_iter();
    let files = entries.filter_map(Result::ok).filter(|entry| entry.file_type().is_file());
    files.filter_map(|entry| entry.metadata().ok()).map(|meta| meta.len()).sum()
}

/// Opens a past run to look at it. Nothing of it may be changed: our lock is not held.
pub(crate) fn look_at(places: &Places, id: &RunId) -> anyhow::Result<Run> {
    let like = Dir::open(&places.state_dir)?.own_info()?;
    Run::open(&runs_dir(&places.state_dir)?, like, id, places)
}

/// Opens the directory and gives the name of a file in the archive of a past run. Reads only.
pub fn archived(state_dir: &Path, id: &RunId, below: &Path) -> anyhow::Result<(Dir, OsString)> {
    run::locate(runs_dir(state_dir)?.existing_subdir(OsStr::new(id.as_str()))?, below)
}

/// The directory of claw-sessions' own, not through a link.
fn own_dir(state_dir: &Path) -> anyhow::Result<Dir> {
    Dir::open(state_dir)?.existing_subdir(OsStr::new(OWN))
}

fn runs_dir(state_dir: &Path) -> anyhow::Result<Dir> {
    own_dir(state_dir)?.existing_subdir(OsStr::new("runs"))
}

/// Reads a file of claw-sessions' own that is no longer than this. Reads only.
pub(crate) fn read_own(state_dir: &Path, name: &str, longest: u64) -> anyhow::Result<Vec<u8>> {
    let dir = own_dir(state_dir)?;
    let (file, info) = dir.open_file(OsStr::new(name))?;
    anyhow::ensure!(
        run::is_trusted(&dir, &info)?,
        "{} belongs to another user than its directory",
        dir.join(name).display()
    );
    anyhow::ensure!(info.stamp.size <= longest, "{name} is longer than any that is written");
    let mut bytes = Vec::new();
    file.take(longest).read_to_end(&mut bytes).with_context(|| format!("cannot read {name}"))?;
    Ok(bytes)
}

/// Returns whether there is surely nothing: an error of another kind may hide something.
fn is_absent(path: &Path) -> bool {
    fs_err::symlink_metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

/// Returns whether there ever was a run. Reads only.
pub fn exists(state_dir: &Path) -> bool {
    !is_absent(&state_dir.join(OWN))
}
