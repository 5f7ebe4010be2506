//! The journal: what claw-sessions owns under `<state>/claw-sessions/`, and the runs in it.
//!
//! A manifest is written and synced before the first change, so that whatever a crash leaves can be completed or
//! reverted, and whatever a run took can be brought back.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use walkdir::WalkDir;

use crate::change::manifest::{Manifest, RunKind, RunProgress, SCHEMA};
use crate::change::outcome::Left;
use crate::change::run::{FILES, Run, private_subdir};
use crate::decide::plan::Totals;
use crate::disk::atomic;
use crate::disk::dir::{Dir, FileInfo, give};
use crate::model::ids::RunId;
use crate::model::places::{OWN, Places};

pub use forget::{Forgotten, due};
pub use past::{Past, archive_bytes, archived, awaited, away, exists, history, past};
pub(crate) use past::{look_at, read_own};

mod forget;
mod memory;
mod past;

const HISTORY: &str = "history.jsonl";
const DAYS: &str = "days.json";

/// Behind the id of a run that is being forgotten.
const FORGOTTEN: &str = ".forgotten";

/// A few thousand runs.
const LONGEST_HISTORY: u64 = 1 << 20;

/// `<state>/claw-sessions/`, with our own lock held: no two claw-sessions change a state directory at once.
#[derive(Debug)]
#[must_use = "the lock is released when it is dropped"]
pub struct Journal {
    places: Places,
    own: Dir,
    runs: Dir,
    _lock: File,
    like: FileInfo,
    /// The times of stores and of their directories, before this process changed any.
    seen: Vec<DateTime<Utc>>,
}

/// Another claw-sessions is at work.
#[derive(Debug)]
pub struct Busy;

impl Journal {
    /// Opens the journal for writing, making it if need be, and takes our lock.
    pub fn open(places: Places, patience: Duration) -> anyhow::Result<Result<Self, Busy>> {
        let state = Dir::open(&places.state_dir)?;
        let like = state.own_info()?;
        let own = private_subdir(&state, OsStr::new(OWN), &like)?;
        let lock = own.append(OsStr::new("lock"), 0o600)?;
        give_new(&lock, &like).with_context(|| format!("cannot set the owner of {}", own.join("lock").display()))?;
        let started = Instant::now();
        while let Err(error) = lock.try_lock() {
            if let std::fs::TryLockError::Error(error) = error {
                return Err(error).with_context(|| format!("cannot lock {}", own.join("lock").display()));
            }
            if started.elapsed() >= patience {
                return Ok(Err(Busy));
            }
            std::thread::sleep(Duration::from_millis(50).min(patience));
        }
        let runs = private_subdir(&own, OsStr::new("runs"), &like)?;
        let seen = times(&places);
        Ok(Ok(Self { places, own, runs, _lock: lock, like, seen }))
    }

    /// Returns where sessions may be.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// Begins a run: a directory of its own, and nothing in it yet.
    pub(crate) fn begin(&self, kind: RunKind, now: DateTime<Utc>, started_at: DateTime<Utc>) -> anyhow::Result<Run> {
        let manifest = Manifest {
            schema: SCHEMA.to_owned(),
            id: RunId::new(started_at, self.next_number()?),
            kind,
            started_at,
            not_before: self.clock(started_at, false).newest(),
            finished_at: None,
            now,
            state_dir: self.places.state_dir.clone(),
            moved: false,
            pids: vec![std::process::id()],
            stores: Vec::new(),
            state: RunProgress::Unfinished,
            batches: Vec::new(),
            steps: Vec::new(),
            before: None,
            totals: Totals::default(),
            problems: Vec::new(),
        };
        Run::make(&self.runs, self.like, manifest)
    }

    /// Returns a number that is higher than that of any run that is, or is remembered.
    fn next_number(&self) -> anyhow::Result<u64> {
        let there = names(&self.runs)?.into_iter().filter_map(|name| {
            let name = name.to_str()?;
            RunId::parse(name.strip_suffix(FORGOTTEN).unwrap_or(name))
        });
        let remembered = self.last_line().map(|line| line.run);
        let last = there.chain(remembered).map(|id| id.number()).max();
        last.map_or(Some(1), |last| last.checked_add(1)).context("no free number for a run")
    }

    /// Opens a past run for changing its manifest.
    pub(crate) fn open_run(&self, id: &RunId) -> anyhow::Result<Run> {
        Run::open(&self.runs, self.like, id, &self.places)
    }

    /// Returns whether there is a run of this name, readable or not.
    pub fn has_run(&self, id: &RunId) -> anyhow::Result<bool> {
        Ok(self.runs.info(OsStr::new(id.as_str()))?.is_some())
    }

    /// Returns the directories of a run's archive, each with its name.
    pub(crate) fn shelves(&self, id: &RunId) -> anyhow::Result<Vec<(OsString, Dir)>> {
        let files = self.runs.existing_subdir(OsStr::new(id.as_str()))?.existing_subdir(OsStr::new(FILES))?;
        let shelves =
            names(&files)?.into_iter().filter_map(|name| Some((name.clone(), files.existing_subdir(&name).ok()?)));
        Ok(shelves.collect())
    }

    /// Returns whether no file lies in the archive of a run.
    pub(crate) fn is_bare(&self, id: &RunId) -> anyhow::Result<bool> {
        let run = self.runs.existing_subdir(OsStr::new(id.as_str()))?;
        Ok(run.existing_subdir(OsStr::new(FILES)).map_or(true, |files| is_bare(&files)))
    }

    /// Returns the past runs.
    pub fn past(&self) -> Past {
        past(&self.places)
    }

    /// Says in the manifest of `run`, or in one of its own, what could not be done.
    pub fn note(&self, run: Option<&RunId>, started_at: DateTime<Utc>, problems: Vec<Left>) -> anyhow::Result<()> {
        if let Some(id) = run {
            let mut run = self.open_run(id)?;
            run.manifest.problems = problems;
            return run.save();
        }
        // What fails at every start is noted once.
        let last = self.past().runs.pop().filter(|last| last.kind == RunKind::Note && last.problems == problems);
        let again = last.is_some();
        let mut run = match last {
            Some(last) => self.open_run(&last.id)?,
            None => self.begin(RunKind::Note, started_at, started_at)?,
        };
        run.manifest.problems = problems;
        run.manifest.state = RunProgress::Done;
        run.manifest.finished_at = Some(Utc::now());
        run.save()?;
        if again { Ok(()) } else { self.remember(&run.manifest.history_line()) }
    }
}

/// The times of the stores and of their directories.
fn times(places: &Places) -> Vec<DateTime<Utc>> {
    let files = places.stores.iter().flat_map(|store| [Some(store.as_path()), store.parent()]).flatten();
    let metas = files.filter_map(|path| fs_err::symlink_metadata(path).ok());
    metas.filter_map(|meta| DateTime::from_timestamp(meta.mtime(), 0)).collect()
}

fn give_new(file: &File, like: &FileInfo) -> std::io::Result<()> {
    let meta = file.metadata()?;
    give(file, &FileInfo { uid: meta.uid(), gid: meta.gid(), mode: 0o600, ..*like }, like.uid, like.gid)
}

fn names(dir: &Dir) -> anyhow::Result<Vec<OsString>> {
    let mut names =
        fs_err::read_dir(dir.path())?.map(|entry| Ok(entry?.file_name())).collect::<std::io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

fn is_forgotten(run: &OsStr) -> bool {
    run.as_encoded_bytes().ends_with(FORGOTTEN.as_bytes())
}

/// Returns whether nothing lies in a directory, or in those below it, but what was cut off while it was written.
fn is_bare(dir: &Dir) -> bool {
    let files = WalkDir::new(dir.path()).min_depth(1).into_iter();
    files.filter_map(Result::ok).all(|entry| entry.file_type().is_dir() || atomic::writer(entry.file_name()).is_some())
}
