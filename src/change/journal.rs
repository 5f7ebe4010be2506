//! The journal: what claw-sessions owns under `<state>/claw-sessions/`, and the runs in it.
//!
//! A manifest is written and synced before the first change, so that whatever a crash leaves can be completed or
//! reverted, and whatever a run took can be brought back.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use chrono::{DateTime, TimeDelta, Utc};
use walkdir::WalkDir;

use crate::change::clock::{Days, TwoClocks};
use crate::change::history;
use crate::change::manifest::{Manifest, RunKind, RunProgress, SCHEMA};
use crate::change::outcome::{Left, Refusal, Subject};
use crate::change::run::{self, FILES, MANIFEST, Run, private_subdir};
use crate::change::underway;
use crate::decide::plan::Totals;
use crate::disk::atomic;
use crate::disk::dir::{Dir, FileInfo, give};
use crate::model::ids::RunId;
use crate::model::places::{OWN, Places};

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

/// What became of old runs.
#[derive(Debug, Default)]
pub struct Forgotten {
    /// Forgotten.
    pub forgotten: Vec<RunId>,
    /// Kept, because what they set aside is still there.
    pub kept: Vec<RunId>,
    /// What could not be forgotten, or not whole.
    pub left: Vec<Left>,
}

impl Past {
    /// Returns the runs that were cut off.
    pub fn unfinished(&self) -> Vec<RunId> {
        let runs = self.runs.iter().filter(|run| run.state == RunProgress::Unfinished);
        runs.map(|run| run.id.clone()).collect()
    }
}

/// Another claw-sessions is at work.
#[derive(Debug)]
pub struct Busy;

/// The past runs of a state directory.
#[derive(Debug, Default)]
pub struct Past {
    /// Those that can be read, in their order.
    pub runs: Vec<Manifest>,
    /// What cannot be read, or not be believed.
    pub unread: Vec<Left>,
}

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

    /// Removes what was cut off while it was written, and the directories of runs that were cut off before their
    /// manifest was, and so did nothing. We have our lock: nobody writes them now.
    pub(crate) fn sweep(&self) -> anyhow::Result<()> {
        atomic::sweep(&self.own);
        for name in names(&self.runs)? {
            let Ok(run) = self.runs.existing_subdir(&name) else { continue };
            if is_forgotten(&name) {
                let _ = fs_err::remove_dir_all(run.path());
                continue;
            }
            atomic::sweep(&run);
            if matches!(run.info(OsStr::new(MANIFEST)), Ok(None)) {
                // Both fail on a directory that holds anything: then it is none of these.
                let _ = run.remove_dir(OsStr::new(FILES));
                let _ = self.runs.remove_dir(&name);
            }
        }
        Ok(())
    }

    /// Forgets a run: its directory and all in it. Bytes die here.
    pub(crate) fn forget(&self, id: &RunId) -> anyhow::Result<()> {
        // Under this name it is no run any more, and the next sweep removes what is left of it.
        let gone = OsString::from(format!("{id}{FORGOTTEN}"));
        underway::forgetting(id, || {
            // Not with NOREPLACE: where that is not known, a link takes its place, and a directory has none.
            self.runs.replace(OsStr::new(id.as_str()), &gone)?;
            self.runs.sync()
        })?;
        fs_err::remove_dir_all(self.runs.join(&gone))?;
        Ok(())
    }

    /// Forgets the runs that ended longer ago than `age`, as a person asked: by the system's clock alone. Of those that
    /// may be forgotten only `told`, when a person was told which.
    pub fn prune(&self, now: DateTime<Utc>, age: TimeDelta, told: Option<&[RunId]>) -> Forgotten {
        let Past { runs, .. } = self.past();
        let is_told = |run: &Manifest| told.is_none_or(|told| told.contains(&run.id)) || run.holds_what_waits();
        self.forget_those(&runs, |run| run.is_old(now, age) && is_told(run))
    }

    /// Forgets the runs that ended longer ago than `age` by both clocks. `own` has just ended, and stays.
    pub fn forget_older(&self, now: DateTime<Utc>, age: TimeDelta, own: Option<&RunId>) -> Forgotten {
        let Past { runs, .. } = self.past();
        let clock = self.clock(now, true);
        let is_due = |run: &Manifest| Some(&run.id) != own && run.is_old(now, age);
        let mut done = Forgotten::default();
        if let Some(jump) = clock.jump() {
            if runs.iter().any(is_due) {
                done.left.push(Left::new(Subject::Runs, Refusal::Clock(jump)));
            }
        } else {
            done = self.forget_those(&runs, |run| is_due(run) && clock.agrees(run.ended(), age));
        }
        if !runs.is_empty()
            && let Err(error) = self.note_day(now)
        {
            done.left.push(Left::new(Subject::Runs, error));
        }
        done
    }

    /// Forgets those of the runs that are due; those that hold what somebody set aside, or that a restore is not done
    /// with, stay.
    fn forget_those(&self, runs: &[Manifest], is_due: impl Fn(&Manifest) -> bool) -> Forgotten {
        let mut done = Forgotten::default();
        if let Err(error) = self.sweep() {
            done.left.push(Left::new(Subject::Runs, error));
        }
        let (due, kept) = sort_out(runs, is_due);
        done.kept = kept;
        for id in due {
            match self.forget(&id) {
                Ok(()) => done.forgotten.push(id),
                Err(error) => done.left.push(Left::new(Subject::Run(id), error)),
            }
        }
        done
    }

    /// The system's clock beside the traces of time here; `all` of them, or those that tell the newest.
    fn clock(&self, now: DateTime<Utc>, all: bool) -> TwoClocks {
        let days = Days::parse(&read_own(&self.places.state_dir, DAYS, LONGEST_HISTORY).unwrap_or_default());
        let lines = if all { history(&self.places.state_dir) } else { self.last_line().into_iter().collect() };
        let ends = lines.into_iter().map(|line| line.finished_at.unwrap_or(line.started_at));
        TwoClocks::new(now, self.seen.iter().copied().chain(days.traces()).chain(ends))
    }

    /// Notes that there was a gc on this day.
    fn note_day(&self, now: DateTime<Utc>) -> anyhow::Result<()> {
        let days = Days::parse(&read_own(&self.places.state_dir, DAYS, LONGEST_HISTORY).unwrap_or_default());
        days.with(now).map_or(Ok(()), |days| self.write_own(DAYS, &days.text()?))
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

    /// Writes a file of claw-sessions' own.
    pub(crate) fn write_own(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let like = FileInfo { mode: 0o600, ..self.like };
        atomic::replace(&self.own, OsStr::new(name), [bytes], &like, || Ok(()))
    }

    /// Returns the last line of the history.
    fn last_line(&self) -> Option<history::HistoryLine> {
        let (mut file, info) = self.own.open_file(OsStr::new(HISTORY)).ok()?;
        file.seek(SeekFrom::Start(info.stamp.size.saturating_sub(LONGEST_LINE))).ok()?;
        let mut text = Vec::new();
        file.take(LONGEST_LINE).read_to_end(&mut text).ok()?;
        history::parse(&String::from_utf8_lossy(&text)).pop()
    }

    /// Returns whether the last line was cut off: the next one must not hang on it.
    fn history_is_torn(&self) -> bool {
        let mut last = [b'\n'];
        if let Ok((mut file, _)) = self.own.open_file(OsStr::new(HISTORY)) {
            let _ = file.seek(SeekFrom::End(-1)).and_then(|_| file.read(&mut last));
        }
        last != [b'\n']
    }

    /// Adds a line to `history.jsonl`. Of one that is too large the older half goes.
    pub(crate) fn remember(&self, line: &history::HistoryLine) -> anyhow::Result<()> {
        let line = serde_json::to_string(line)?;
        let mut file = self.own.append(OsStr::new(HISTORY), 0o600)?;
        let write = |file: &mut File| {
            give_new(&*file, &self.like)?;
            let begins = if self.history_is_torn() { "\n" } else { "" };
            file.write_all(format!("{begins}{line}\n").as_bytes())?;
            file.sync_all()?;
            file.metadata()
        };
        let written = write(&mut file).with_context(|| format!("cannot write {}", self.own.join(HISTORY).display()))?;
        if written.len() <= LONGEST_HISTORY {
            return Ok(());
        }
        let mut text = Vec::new();
        let (file, _) = self.own.open_file(OsStr::new(HISTORY))?;
        file.take(2 * LONGEST_HISTORY)
            .read_to_end(&mut text)
            .with_context(|| format!("cannot read {}", self.own.join(HISTORY).display()))?;
        let half = text.len() / 2;
        let kept = text[half..].iter().position(|&byte| byte == b'\n').map_or(half, |at| half + at + 1);
        self.write_own(HISTORY, &text[kept..])
    }
}

/// Returns the runs that ended longer ago than `age` and may be forgotten, and those that are kept all the same. Reads
/// only.
pub fn due(runs: &[Manifest], now: DateTime<Utc>, age: TimeDelta) -> (Vec<RunId>, Vec<RunId>) {
    sort_out(runs, |run| run.is_old(now, age))
}

/// Tells the runs that may be forgotten from those that hold what somebody set aside, or that a restore is not done with.
fn sort_out(runs: &[Manifest], is_due: impl Fn(&Manifest) -> bool) -> (Vec<RunId>, Vec<RunId>) {
    let unfinished = runs.iter().filter(|run| run.state == RunProgress::Unfinished);
    let needed: HashSet<&RunId> = unfinished.filter_map(|run| Some(&run.asked()?.of)).collect();
    let due = runs.iter().filter(|run| is_due(run));
    let (kept, due): (Vec<&Manifest>, Vec<&Manifest>) =
        due.partition(|run| run.holds_what_waits() || needed.contains(&run.id));
    let ids = |runs: Vec<&Manifest>| runs.into_iter().map(|run| run.id.clone()).collect();
    (ids(due), ids(kept))
}

/// Bytes in which the last line of the history lies.
const LONGEST_LINE: u64 = 16 * 1024;

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

fn names(dir: &Dir) -> anyhow::Result<Vec<OsString>> {
    let mut names =
        fs_err::read_dir(dir.path())?.map(|entry| Ok(entry?.file_name())).collect::<std::io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
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

fn is_forgotten(run: &OsStr) -> bool {
    run.as_encoded_bytes().ends_with(FORGOTTEN.as_bytes())
}

/// Returns whether there is surely nothing: an error of another kind may hide something.
fn is_absent(path: &Path) -> bool {
    fs_err::symlink_metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

/// Returns whether there ever was a run. Reads only.
pub fn exists(state_dir: &Path) -> bool {
    !is_absent(&state_dir.join(OWN))
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

/// Returns whether nothing lies in a directory, or in those below it, but what was cut off while it was written.
fn is_bare(dir: &Dir) -> bool {
    let files = WalkDir::new(dir.path()).min_depth(1).into_iter();
    files.filter_map(Result::ok).all(|entry| entry.file_type().is_dir() || atomic::writer(entry.file_name()).is_some())
}
