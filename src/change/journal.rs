//! The journal: what claw-sessions owns under `<state>/claw-sessions/`, and the manifest of every run (design §5).
//!
//! A manifest is written and synced before the first change, so that whatever a crash leaves can be completed or
//! reverted, and whatever a run took can be brought back.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use chrono::{DateTime, TimeDelta, Utc};

use crate::change::history;
use crate::change::manifest::{Manifest, MoveRecord, RunState, SCHEMA, StepState};
use crate::decide::plan::Totals;
use crate::decide::verdict::Reason;
use crate::disk::atomic;
use crate::disk::dir::{Dir, FileInfo, give};
use crate::openclaw::files::lock::{held_by, lock_name};

const OWN: &str = "claw-sessions";
const MANIFEST: &str = "manifest.json";
const HISTORY: &str = "history.jsonl";

/// Behind the id of a run that is being forgotten.
const FORGOTTEN: &str = ".forgotten";

/// A few thousand runs.
const LONGEST_HISTORY: u64 = 1 << 20;

/// `<state>/claw-sessions/`, with our own lock held: no two claw-sessions change a state directory at once.
#[derive(Debug)]
#[must_use = "the lock is released when it is dropped"]
pub struct Journal {
    state_dir: PathBuf,
    own: Dir,
    runs: Dir,
    _lock: File,
    like: FileInfo,
}

/// What became of old runs: their ids.
#[derive(Debug, Default)]
pub struct Forgotten {
    /// Forgotten.
    pub forgotten: Vec<String>,
    /// Kept, because what they quarantined is still there.
    pub kept: Vec<String>,
    /// What could not be forgotten, or not whole, in words.
    pub failed: Vec<String>,
}

/// Another claw-sessions is at work.
#[derive(Debug)]
pub struct Busy;

impl Journal {
    /// Opens the journal for writing, making it if need be, and takes our lock.
    pub fn open(state_dir: &Path, patience: Duration) -> anyhow::Result<Result<Self, Busy>> {
        let state = Dir::open(state_dir)?;
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
        Ok(Ok(Self { state_dir: state_dir.to_owned(), own, runs, _lock: lock, like }))
    }

    /// Begins a run: a directory of its own, and nothing in it yet.
    pub fn begin(&self, command: &str, now: DateTime<Utc>, started_at: DateTime<Utc>) -> anyhow::Result<Run> {
        let stamp = started_at.format("%Y%m%dT%H%M%SZ");
        for salt in 0_u32.. {
            let id = format!("{stamp}-{:04x}", (std::process::id().wrapping_mul(40_503) ^ salt) & 0xffff);
            if self.runs.info(OsStr::new(&id))?.is_some() {
                continue;
            }
            let dir = private_subdir(&self.runs, OsStr::new(&id), &self.like)?;
            self.runs.sync()?;
            let files = private_subdir(&dir, OsStr::new("files"), &self.like)?;
            let manifest = Manifest {
                schema: SCHEMA.to_owned(),
                id,
                command: command.to_owned(),
                started_at,
                finished_at: None,
                now,
                state_dir: self.state_dir.clone(),
                moved: false,
                pid: std::process::id(),
                touches: Vec::new(),
                state: RunState::Unfinished,
                of: None,
                keys: Vec::new(),
                as_new: false,
                deferred: false,
                mends: Vec::new(),
                renames: Vec::new(),
                stores: Vec::new(),
                moves: Vec::new(),
                purged: Vec::new(),
                before: None,
                totals: Totals::default(),
                problems: Vec::new(),
            };
            return Ok(Run { dir, files, like: self.like, manifest });
        }
        anyhow::bail!("no free run id")
    }

    /// Opens a past run for changing its manifest.
    pub fn open_run(&self, id: &str) -> anyhow::Result<Run> {
        let dir = self.runs.existing_subdir(OsStr::new(id))?;
        let manifest = read_manifest(&dir, &self.state_dir)?;
        let files = dir.existing_subdir(OsStr::new("files"))?;
        Ok(Run { dir, files, like: self.like, manifest })
    }

    /// Removes what was cut off while it was written, and the directories of runs that were cut off before their
    /// manifest was, and so did nothing. We have our lock: nobody writes them now.
    pub fn sweep(&self) -> anyhow::Result<()> {
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
                let _ = run.remove_dir(OsStr::new("files"));
                let _ = self.runs.remove_dir(&name);
            }
        }
        Ok(())
    }

    /// Forgets a run: its directory and all in it. Bytes die here.
    pub fn forget(&self, id: &str) -> anyhow::Result<()> {
        // Under this name it is no run any more, and the next sweep removes what is left of it.
        let mut gone = OsString::from(id);
        gone.push(FORGOTTEN);
        // Not with NOREPLACE: where that is not known, a link takes its place, and a directory has none.
        self.runs.replace(OsStr::new(id), &gone)?;
        self.runs.sync()?;
        fs_err::remove_dir_all(self.runs.join(&gone))?;
        Ok(())
    }

    /// Forgets runs that ended longer ago than `age`; those with quarantined bindings stay, and so does `own`, which has
    /// just ended.
    pub fn forget_older(&self, now: DateTime<Utc>, age: TimeDelta, own: Option<&str>) -> Forgotten {
        let mut done = Forgotten::default();
        if let Err(error) = self.sweep() {
            done.failed.push(format!("{error:#}"));
        }
        let others = |name: &OsStr| own.is_none_or(|own| name != own);
        for run in read_runs(&self.state_dir, others).0.into_iter().filter(|run| run.is_old(now, age)) {
            if run.holds_quarantined() {
                done.kept.push(run.id);
                continue;
            }
            match self.forget(&run.id) {
                Ok(()) => done.forgotten.push(run.id),
                Err(error) => done.failed.push(format!("the run {} cannot be forgotten: {error:#}", run.id)),
            }
        }
        done
    }

    /// Says in the manifest of `run`, or in one of its own, what could not be done.
    pub fn note(
        &self,
        run: Option<&str>,
        command: &str,
        started_at: DateTime<Utc>,
        problems: Vec<String>,
    ) -> anyhow::Result<()> {
        if let Some(id) = run {
            let mut run = self.open_run(id)?;
            run.manifest.problems = problems;
            return run.save();
        }
        // What fails at every start is noted once.
        let last = past_runs(&self.state_dir).0.pop().filter(|last| last.is_note() && last.problems == problems);
        let again = last.is_some();
        let mut run = match last {
            Some(last) => self.open_run(&last.id)?,
            None => self.begin(command, started_at, started_at)?,
        };
        run.manifest.problems = problems;
        run.manifest.state = RunState::Done;
        run.manifest.finished_at = Some(Utc::now());
        run.save()?;
        if again { Ok(()) } else { self.remember(&run.manifest.history_line()) }
    }

    /// Writes a file of claw-sessions' own.
    pub(crate) fn write_own(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let like = FileInfo { mode: 0o600, ..self.like };
        atomic::replace(&self.own, OsStr::new(name), [bytes], &like, || Ok(()))
    }

    /// Whether the last line was cut off: the next one must not hang on it.
    fn history_is_torn(&self) -> bool {
        let mut last = [b'\n'];
        if let Ok((mut file, _)) = self.own.open_file(OsStr::new(HISTORY)) {
            let _ = file.seek(SeekFrom::End(-1)).and_then(|_| file.read(&mut last));
        }
        last != [b'\n']
    }

    /// Adds a line to `history.jsonl`. Of one that is too large the older half goes.
    pub fn remember(&self, line: &history::Line) -> anyhow::Result<()> {
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
        let (mut file, _) = self.own.open_file(OsStr::new(HISTORY))?;
        file.read_to_end(&mut text).with_context(|| format!("cannot read {}", self.own.join(HISTORY).display()))?;
        let half = text.len() / 2;
        let kept = text[half..].iter().position(|&byte| byte == b'\n').map_or(half, |at| half + at + 1);
        self.write_own(HISTORY, &text[kept..])
    }
}

fn private_subdir(parent: &Dir, name: &OsStr, like: &FileInfo) -> anyhow::Result<Dir> {
    let made = parent.info(name)?.is_none();
    let dir = parent.subdir(name, 0o700)?;
    if made {
        let info = dir.own_info()?;
        let opened = File::open(dir.path()).with_context(|| format!("cannot open {}", dir.path().display()))?;
        give(&opened, &info, like.uid, like.gid)
            .and_then(|()| opened.set_permissions(PermissionsExt::from_mode(0o700)))
            .with_context(|| format!("cannot set the owner of {}", dir.path().display()))?;
        parent.sync()?;
    }
    Ok(dir)
}

fn give_new(file: &File, like: &FileInfo) -> std::io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let meta = file.metadata()?;
    give(file, &FileInfo { uid: meta.uid(), gid: meta.gid(), mode: 0o600, ..*like }, like.uid, like.gid)
}

/// A run in progress, or a past one that is being restored from.
#[derive(Debug)]
pub struct Run {
    dir: Dir,
    files: Dir,
    like: FileInfo,
    /// What it did, or is about to do. Nothing of it is durable before [`save`](Self::save).
    pub manifest: Manifest,
}

impl Run {
    /// The run's id.
    pub fn id(&self) -> &str {
        &self.manifest.id
    }

    /// Makes the manifest durable.
    pub fn save(&self) -> anyhow::Result<()> {
        let text = serde_json::to_vec(&self.manifest).context("cannot write a manifest")?;
        let like = FileInfo { mode: 0o600, ..self.like };
        atomic::replace(&self.dir, OsStr::new(MANIFEST), [text.as_slice()], &like, || Ok(()))
    }

    /// A dead lock in our way is recorded before it is moved.
    pub(crate) fn announce_dead_lock(
        &mut self,
        dir: &Dir,
        store: &OsStr,
        archive: &Dir,
        below: &Path,
    ) -> anyhow::Result<()> {
        let name = lock_name(store);
        let Some(info) = dir.info(&name)?.filter(|info| info.regular) else { return Ok(()) };
        if held_by(dir, &name)?.is_some() {
            return Ok(());
        }
        let to = archive.free_name(&name, |_| false)?;
        self.manifest.moves.push(MoveRecord {
            from: dir.join(&name),
            dir: dir.id()?,
            to: below.join(to),
            stamp: info.stamp,
            why: Reason::LockDead,
            state: StepState::Planned,
            restored: false,
            purged: false,
        });
        // What is not durable must not be done: a later step would take it for planned.
        self.save().inspect_err(|_| drop(self.manifest.moves.pop()))
    }

    /// Says what became of it, whether or not the lock was taken: it is where it is.
    pub(crate) fn settle_dead_lock(&mut self, dir: &Dir, store: &OsStr, archive: &Dir) {
        let from = dir.join(lock_name(store));
        for record in self.manifest.moves.iter_mut().filter(|record| record.from == from) {
            if record.state == StepState::Planned {
                // Its name in the archive was free when it was announced.
                record.state = match archive.info(record.to.file_name().unwrap_or_default()) {
                    Ok(Some(info)) if info.stamp.mtime_ns == record.stamp.mtime_ns => StepState::Done,
                    Ok(_) => StepState::Skipped,
                    // The next run finds out.
                    Err(_) => StepState::Planned,
                };
            }
        }
    }

    /// Removes what this run was writing into its archive when it was cut off.
    pub(crate) fn sweep(&self) {
        for entry in fs_err::read_dir(self.files.path()).into_iter().flatten().filter_map(Result::ok) {
            if let Ok(dir) = self.files.existing_subdir(&entry.file_name()) {
                atomic::sweep(&dir);
            }
        }
    }

    /// The archive directory of an agent, and its path below the run's directory.
    pub fn agent_dir(&self, agent: &str) -> anyhow::Result<(Dir, PathBuf)> {
        let name: String =
            agent.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' }).collect();
        let name = if name.is_empty() { "main".to_owned() } else { name };
        let dir = private_subdir(&self.files, OsStr::new(&name), &self.like)?;
        Ok((dir, Path::new("files").join(name)))
    }

    /// Writes and syncs a file of the run's own.
    pub fn write_new<'a>(
        &self,
        dir: &Dir,
        name: &OsStr,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> anyhow::Result<()> {
        let like = FileInfo { mode: 0o600, ..self.like };
        atomic::replace(dir, name, pieces, &like, || Ok(()))
    }

    /// Opens the directory and gives the name of a file below the run's directory.
    pub fn locate(&self, below: &Path) -> anyhow::Result<(Dir, OsString)> {
        locate(Dir::open(self.dir.path())?, below)
    }

    /// Reads a file below the run's directory.
    pub fn read(&self, below: &Path) -> anyhow::Result<Vec<u8>> {
        let (dir, name) = self.locate(below)?;
        let (mut file, _) = dir.open_file(&name)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).with_context(|| format!("cannot read {}", dir.join(&name).display()))?;
        Ok(bytes)
    }
}

/// Opens the directory and gives the name of a file in the archive of a past run. Reads only.
pub fn archived(state_dir: &Path, run: &str, below: &Path) -> anyhow::Result<(Dir, OsString)> {
    locate(runs_dir(state_dir)?.existing_subdir(OsStr::new(run))?, below)
}

fn locate(mut dir: Dir, below: &Path) -> anyhow::Result<(Dir, OsString)> {
    let parents = below.parent().unwrap_or(Path::new(""));
    for component in parents.components() {
        let std::path::Component::Normal(name) = component else {
            anyhow::bail!("{} leads out of the run's directory", below.display());
        };
        dir = dir.existing_subdir(name)?;
    }
    let name = below.file_name().with_context(|| format!("{} names no file", below.display()))?;
    Ok((dir, name.to_owned()))
}

fn read_manifest(dir: &Dir, state_dir: &Path) -> anyhow::Result<Manifest> {
    let (mut file, _) = dir.open_file(OsStr::new(MANIFEST))?;
    let mut text = Vec::new();
    let path = dir.join(MANIFEST);
    file.read_to_end(&mut text).with_context(|| format!("cannot read {}", path.display()))?;
    let mut manifest: Manifest =
        serde_json::from_slice(&text).with_context(|| format!("{} is no manifest of this version", path.display()))?;
    anyhow::ensure!(manifest.schema == SCHEMA, "{} has the unknown schema {}", path.display(), manifest.schema);
    manifest.follow(state_dir);
    Ok(manifest)
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
    let (file, info) = own_dir(state_dir)?.open_file(OsStr::new(name))?;
    anyhow::ensure!(info.stamp.size <= longest, "{name} is longer than any that is written");
    let mut bytes = Vec::new();
    file.take(longest).read_to_end(&mut bytes).with_context(|| format!("cannot read {name}"))?;
    Ok(bytes)
}

fn is_forgotten(run: &OsStr) -> bool {
    run.as_encoded_bytes().ends_with(FORGOTTEN.as_bytes())
}

/// Whether there is surely nothing: an error of another kind may hide something.
fn is_absent(path: &Path) -> bool {
    fs_err::symlink_metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

/// Whether there ever was a run. Reads only.
pub fn exists(state_dir: &Path) -> bool {
    !is_absent(&state_dir.join(OWN))
}

/// The files that belong to what past runs have in their archives, or that a run was cut off before it moved; why they
/// are not known when a run cannot be read. Reads only.
pub fn awaited(state_dir: &Path) -> Result<HashSet<PathBuf>, String> {
    let (runs, problems) = past_runs(state_dir);
    match problems.into_iter().next() {
        None => Ok(runs.iter().flat_map(Manifest::awaited).cloned().collect()),
        Some(problem) => Err(problem),
    }
}

/// What past runs did, oldest first; kept longer than the runs themselves. Reads only.
pub fn history(state_dir: &Path) -> Vec<history::Line> {
    let text = read_own(state_dir, HISTORY, 2 * LONGEST_HISTORY).unwrap_or_default();
    history::parse(&String::from_utf8_lossy(&text))
}

/// The past runs of a state directory, oldest first, and what could not be read. Reads only.
pub fn past_runs(state_dir: &Path) -> (Vec<Manifest>, Vec<String>) {
    read_runs(state_dir, |_| true)
}

fn read_runs(state_dir: &Path, wanted: impl Fn(&OsStr) -> bool) -> (Vec<Manifest>, Vec<String>) {
    let (mut runs, mut problems) = (Vec::new(), Vec::new());
    let listed = runs_dir(state_dir).and_then(|dir| Ok((names(&dir)?, dir)));
    let (names, dir) = match listed {
        Ok(listed) => listed,
        Err(error) => {
            let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
            if kind != Some(ErrorKind::NotFound) {
                problems.push(format!("the past runs are not known: {error:#}"));
            }
            return (runs, problems);
        }
    };
    for name in names.into_iter().filter(|name| !is_forgotten(name) && wanted(name)) {
        let read = match dir.existing_subdir(&name) {
            // A directory without a manifest: a run that was cut off before it changed anything.
            Ok(run) if matches!(run.info(OsStr::new(MANIFEST)), Ok(None)) => continue,
            Ok(run) => read_manifest(&run, state_dir),
            // A file that somebody left there is no run; a link to elsewhere is not followed, and told.
            Err(error) => match dir.info(&name) {
                Ok(Some(info)) if info.regular => continue,
                _ => Err(error),
            },
        };
        match read {
            Ok(manifest) => runs.push(manifest),
            Err(error) => problems.push(format!("{error:#}")),
        }
    }
    runs.sort_by(|a, b| (a.started_at, &a.id).cmp(&(b.started_at, &b.id)));
    (runs, problems)
}
