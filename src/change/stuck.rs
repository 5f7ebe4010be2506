//! What the manual recipe of openclaw#44687 left: its `.stuck-bak` files get their names back, and a binding that it
//! emptied comes back where a backup of the store still has it.
//!
//! The files come first: cut off in between, a transcript without binding is left, never a binding without transcript.
//! Every step finds out for itself whether it was made already, so a run that was cut off is simply made again.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, Utc};

use crate::change::apply::{Left, read_locked, references_now};
use crate::change::archive;
use crate::change::journal::{Journal, Run};
use crate::change::manifest::{Manifest, MendRecord, RenameRecord, RunState, StepState};
use crate::decide::references::References;
use crate::decide::verdict::Reason;
use crate::disk::dir::Dir;
use crate::model::entry::{self, Entry};
use crate::model::names::is_session_id;
use crate::model::proof::Stamp;
use crate::model::proof::sha256;
use crate::model::store;
use crate::openclaw::files::lock::{Acquired, StoreLock, held_by, lock_name};
use crate::openclaw::files::salvage;

/// A file of the recipe.
pub struct Stuck {
    /// The agent of the store beside it.
    pub agent: String,
    /// Its path, which ends in [`SUFFIX`].
    pub path: PathBuf,
    /// What it is.
    pub stamp: Stamp,
}

/// What the recipe put behind a transcript's name.
pub const SUFFIX: &str = ".stuck-bak";

/// How to put them back.
pub struct Options<'a> {
    /// Every store of the state directory: what one of them refers to is bound.
    pub stores: &'a [PathBuf],
    /// The time now.
    pub started_at: DateTime<Utc>,
    /// How long to wait for a store lock.
    pub patience: Duration,
}

/// What came of it.
#[derive(Debug, Default)]
#[must_use = "an outcome may hold failures"]
pub struct Outcome {
    /// The run; `None` when nothing was changed.
    pub run: Option<String>,
    /// Keys that are bound again.
    pub bindings: Vec<String>,
    /// Transcripts that have their names back.
    pub files: usize,
    /// Their bytes, entries included.
    pub bytes: u64,
    /// What was left alone.
    pub refused: Vec<Left>,
    /// What failed.
    pub failed: Vec<Left>,
    /// The key that the newest backup had for a transcript, whether or not it came back.
    pub known: BTreeMap<PathBuf, String>,
}

/// Puts the files and their bindings back.
pub fn put_back(journal: &Journal, stuck: Vec<Stuck>, options: &Options<'_>) -> anyhow::Result<Outcome> {
    let mut run = journal.begin("stuck-bak", options.started_at, options.started_at)?;
    run.manifest.touches = options.stores.to_vec();
    run.manifest.renames = stuck
        .into_iter()
        .map(|one| RenameRecord {
            agent: one.agent,
            to: one.path.with_extension(""),
            from: one.path,
            stamp: one.stamp,
            state: StepState::Planned,
            restored: false,
        })
        .collect();
    run.save()?;
    resume(journal, run, options.patience)
}

/// The same for a run that exists already.
pub(crate) fn resume(journal: &Journal, mut run: Run, patience: Duration) -> anyhow::Result<Outcome> {
    settle(&mut run)?;
    let mut outcome = Outcome::default();
    for index in 0..run.manifest.renames.len() {
        let record = &run.manifest.renames[index];
        if record.state != StepState::Planned {
            continue;
        }
        let state = match give_name(&run.manifest, record, Way::Back) {
            Ok(Ok(())) => {
                outcome.files += 1;
                outcome.bytes += record.stamp.size;
                StepState::Done
            }
            Ok(Err(why)) => {
                outcome.refused.push(Left::new(record.from.display(), why));
                StepState::Skipped
            }
            Err(error) => {
                outcome.failed.push(Left::new(record.from.display(), format!("{error:#}")));
                // The error may have come after the rename. When not even that can be told, the next run finds out.
                match is_back(record) {
                    Ok(true) => StepState::Done,
                    Ok(false) => StepState::Skipped,
                    Err(_) => StepState::Planned,
                }
            }
        };
        run.manifest.renames[index].state = state;
    }
    let bindings = Bindings { run: &mut run, outcome: &mut outcome, patience };
    let tried = bindings.come_back();
    finish(journal, run, tried, &mut outcome)?;
    Ok(outcome)
}

/// What became of the stores, and of the dead locks of stores, that a run was about to replace or to move.
fn settle(run: &mut Run) -> anyhow::Result<()> {
    let state = |done| if done { StepState::Done } else { StepState::Skipped };
    for index in 0..run.manifest.mends.len() {
        if run.manifest.mends[index].state == StepState::Planned {
            run.manifest.mends[index].state = state(archive::mended(run, &run.manifest.mends[index])?);
        }
    }
    for index in 0..run.manifest.moves.len() {
        if run.manifest.moves[index].state == StepState::Planned {
            run.manifest.moves[index].state = state(archive::arrived(run, &run.manifest.moves[index])?);
        }
    }
    Ok(())
}

/// `tried`: nothing is left for the next run to try again.
fn finish(journal: &Journal, mut run: Run, tried: bool, outcome: &mut Outcome) -> anyhow::Result<()> {
    let manifest = &mut run.manifest;
    let states = || {
        let renames = manifest.renames.iter().map(|record| record.state);
        let mends = manifest.mends.iter().map(|record| record.state);
        renames.chain(mends).chain(manifest.moves.iter().map(|record| record.state))
    };
    if states().all(|state| state == StepState::Skipped) {
        return journal.forget(run.id());
    }
    let ended = tried && states().all(|state| state != StepState::Planned);
    if ended {
        manifest.state = RunState::Done;
        manifest.finished_at = Some(Utc::now());
    }
    manifest.totals.transcripts = manifest.renames.iter().filter(|record| record.state == StepState::Done).count();
    manifest.problems = outcome.failed.iter().map(|left| format!("{}: {}", left.what, left.why)).collect();
    run.save()?;
    outcome.run = Some(run.id().to_owned());
    if ended && let Err(error) = journal.remember(&run.manifest.history_line()) {
        outcome.failed.push(Left::new("history.jsonl", format!("{error:#}")));
    }
    Ok(())
}

/// Which of its two names a file gets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Its own.
    Back,
    /// The recipe's: a restore undoes the run.
    Undo,
}

/// Gives a recorded file its other name, if it is still the recorded one and nobody holds its lock; else why not. Done
/// already is as good.
fn give_name(manifest: &Manifest, record: &RenameRecord, way: Way) -> anyhow::Result<Result<(), String>> {
    let place = record.from.parent().unwrap_or(Path::new("/"));
    if !manifest.is_ours(place) {
        return Ok(Err("it lies outside the state directory, which was moved since".to_owned()));
    }
    let transcript = record.to.file_name().unwrap_or_default();
    let (old, new) = match way {
        Way::Back => (record.from.file_name().unwrap_or_default(), transcript),
        Way::Undo => (transcript, record.from.file_name().unwrap_or_default()),
    };
    let dir = Dir::open_below(&manifest.state_dir, place)?;
    // In a copied state directory it is another inode.
    let content = |stamp: Stamp| (stamp.size, stamp.mtime_ns);
    let same = |stamp: Stamp| stamp == record.stamp || manifest.moved && content(stamp) == content(record.stamp);
    let (here, there) = (dir.info(old)?, dir.info(new)?);
    if let Some(there) = there {
        if !same(there.stamp) {
            return Ok(Err(format!("{} exists", dir.join(new).display())));
        }
        // Where a rename that overwrites nothing is made of a link and a removal, both names may be left.
        if here.is_some_and(|here| here.stamp == there.stamp) {
            dir.remove(old)?;
        }
        return dir.sync().map(Ok);
    }
    match here {
        None => return Ok(Err(format!("{} is gone", dir.join(old).display()))),
        Some(info) if !info.regular => return Ok(Err("it is no regular file".to_owned())),
        Some(info) if !same(info.stamp) => return Ok(Err("it was written since".to_owned())),
        Some(_) => {}
    }
    if let Some(owner) = held_by(&dir, &lock_name(transcript))? {
        return Ok(Err(owner));
    }
    match dir.move_to(old, &dir, new) {
        Ok(()) => dir.sync().map(Ok),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            Ok(Err(format!("{} exists", dir.join(new).display())))
        }
        Err(error) => Err(anyhow::Error::new(error).context(format!("cannot rename {}", dir.join(old).display()))),
    }
}

/// Whether a file has its own name.
fn is_back(record: &RenameRecord) -> anyhow::Result<bool> {
    let dir = Dir::open(record.to.parent().unwrap_or(Path::new("/")))?;
    let now = dir.info(record.to.file_name().unwrap_or_default())?;
    Ok(now.is_some_and(|now| now.stamp == record.stamp))
}

/// Takes a transcript's name again, to undo the run: not while a binding refers to it.
pub(crate) fn undo(
    manifest: &Manifest,
    record: &RenameRecord,
    references: &[References],
) -> anyhow::Result<Result<(), String>> {
    if references.iter().any(|one| one.refer_to(&record.to, None)) {
        return Ok(Err(format!("{} is bound", record.to.display())));
    }
    give_name(manifest, record, Way::Undo)
}

/// The second half of a run: the bindings.
struct Bindings<'a> {
    run: &'a mut Run,
    outcome: &'a mut Outcome,
    patience: Duration,
}

impl Bindings<'_> {
    /// Lets the bindings follow into the stores beside the files; whether none failed.
    fn come_back(mut self) -> bool {
        let mut tried = true;
        let renames = self.run.manifest.renames.iter().filter(|record| record.state == StepState::Done);
        let agents: BTreeMap<PathBuf, String> =
            renames.filter_map(|record| Some((record.to.parent()?.to_owned(), record.agent.clone()))).collect();
        for store in self.run.manifest.touches.clone() {
            let Some(agent) = store.parent().and_then(|dir| agents.get(dir)) else { continue };
            match self.bind(&store, agent) {
                Ok(None) => {}
                // The files are back by now, and the next run would not look for their bindings.
                Ok(Some(why)) => {
                    let why = format!("{why}; no binding came back: restore this run, then try again");
                    self.outcome.refused.push(Left::new(store.display(), why));
                }
                Err(error) => {
                    tried = false;
                    let why = format!("{error:#}; no binding came back: the next run tries again");
                    self.outcome.failed.push(Left::new(store.display(), why));
                }
            }
        }
        tried
    }

    /// Adds what the backups of one store still have, or says why not.
    fn bind(&mut self, path: &Path, agent: &str) -> anyhow::Result<Option<String>> {
        let name = path.file_name().unwrap_or_default();
        let dir = Dir::open_below(&self.run.manifest.state_dir, path.parent().unwrap_or(Path::new("/")))?;
        let backups = salvage::backups(&dir, name)?;
        if backups.is_empty() {
            return Ok(None);
        }
        let unseen = RefCell::new(None);
        let is_file = |name: &OsStr| match dir.info(name) {
            Ok(info) => info.is_some_and(|info| info.regular),
            Err(error) => {
                unseen.replace(Some(error));
                false
            }
        };
        // A file that is in the way of the recipe's is not the one that was bound.
        let in_the_way = |file: &OsStr| is_file(&stuck_name(file));
        for (key, entry) in backups.iter().flat_map(salvage::Backup::entries) {
            let file = transcript(entry).filter(|file| !in_the_way(file));
            if let Some(file) = file {
                self.outcome.known.entry(dir.join(file)).or_insert(key);
            }
        }
        let (archive, below) = self.run.agent_dir(agent)?;
        self.run.announce_dead_lock(&dir, name, &archive, &below)?;
        let taken = StoreLock::acquire(&dir, name, &archive, self.patience);
        self.run.settle_dead_lock(&dir, name, &archive);
        let lock = match taken? {
            Acquired::Ours(lock) => lock,
            Acquired::Busy(owner) => return Ok(Some(owner)),
        };
        let (text, info) = read_locked(&dir, name)?;
        let Ok(document) = store::read(&text) else {
            return Ok(Some("it became unreadable".to_owned()));
        };
        let references = references_now(&self.run.manifest.touches)
            .context("another store cannot be read now, and may refer to its transcripts")?;
        let waits = |file: &OsStr| {
            let path = dir.join(file);
            is_file(file) && !in_the_way(file) && !references.iter().any(|one| one.refer_to(&path, None))
        };
        let mut returning = salvage::lost(&document, &text, &backups);
        returning.retain(|one| transcript(&one.member.1).is_some_and(|file| waits(&file)));
        if let Some(error) = unseen.take() {
            return Err(error);
        }
        if returning.is_empty() {
            return Ok(None);
        }
        let (keys, members): (Vec<_>, Vec<_>) = returning.into_iter().map(|one| (one.key, one.member)).unzip();
        let new = document.with_members(&text, &members);
        let to = archive.free_name(name, |_| false)?;
        self.run.manifest.mends.push(MendRecord {
            path: path.to_owned(),
            to: Some(below.join(&to)),
            old: Some(info.stamp),
            new: None,
            store_sha256: Some(sha256(&new)),
            why: Reason::Adopted,
            codes: Vec::new(),
            keys: Vec::new(),
            state: StepState::Planned,
            restored: false,
        });
        self.run.save()?;
        let kept = archive::keep(&dir, name, &archive, &to, &info);
        let written = kept.and_then(|()| lock.replace_store([new.as_slice()], &info, Some(info.stamp)));
        drop(lock);
        settle(self.run)?;
        written?;
        self.outcome.bytes += members.iter().map(|(_, entry)| entry.len() as u64).sum::<u64>();
        self.outcome.bindings.extend(keys);
        Ok(None)
    }
}

/// The name that the recipe gave a transcript.
fn stuck_name(transcript: &OsStr) -> OsString {
    let mut name = transcript.to_owned();
    name.push(SUFFIX);
    name
}

/// The name of the transcript that an entry points to (F§4.2), wherever the state directory was when it was written.
fn transcript(entry: &[u8]) -> Option<OsString> {
    let Entry { session_id, session_file, .. } = entry::read(entry).ok()?;
    match session_file {
        Some(file) => Path::new(&file).file_name().map(OsStr::to_owned),
        None => session_id.filter(|id| is_session_id(id)).map(|id| format!("{}.jsonl", id.trim()).into()),
    }
}
