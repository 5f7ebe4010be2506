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

use crate::change::apply::references_now;
use crate::change::archive::{self, parts, read_whole};
use crate::change::journal::Journal;
use crate::change::locking::lock_store;
use crate::change::manifest::{After, Before, Change, Manifest, RunKind, RunProgress, Step, StepState};
use crate::change::outcome::{Bound, Changed, List, Outcome, Refusal, Subject};
use crate::change::run::Run;
use crate::decide::references::References;
use crate::decide::verdict::Reason;
use crate::disk::dir::Dir;
use crate::model::entry::{self, Entry};
use crate::model::ids::BindingId;
use crate::model::names::is_session_id;
use crate::model::proof::{DirId, Stamp, sha256};
use crate::model::store;
use crate::openclaw::files::lock::{held_by, lock_name};
use crate::openclaw::files::salvage::{self, Lost};

/// A file of the recipe.
pub struct Stuck {
    /// The agent of the store beside it.
    pub agent: String,
    /// Its path, which ends in [`SUFFIX`].
    pub path: PathBuf,
    /// What it is.
    pub stamp: Stamp,
    /// Its directory.
    pub dir: DirId,
}

/// What the recipe put behind a transcript's name.
pub const SUFFIX: &str = ".stuck-bak";

/// How to put them back.
pub struct StuckOptions<'a> {
    /// Every store of the state directory: what one of them refers to is bound.
    pub stores: &'a [PathBuf],
    /// The time now.
    pub started_at: DateTime<Utc>,
    /// How long to wait for a store lock.
    pub patience: Duration,
}

/// Puts the files and their bindings back.
pub fn put_back(journal: &Journal, stuck: Vec<Stuck>, options: &StuckOptions<'_>) -> anyhow::Result<Outcome> {
    let mut run = journal.begin(RunKind::StuckBak, options.started_at, options.started_at)?;
    run.manifest.stores = options.stores.to_vec();
    run.manifest.steps = stuck
        .into_iter()
        .map(|one| Step {
            agent: one.agent,
            change: Change::Rename { to: one.path.with_extension("") },
            path: one.path,
            dir: one.dir,
            before: Some(Before { stamp: one.stamp, sha256: None }),
            why: Reason::Adopted,
            state: StepState::Planned,
            undone: None,
        })
        .collect();
    run.save()?;
    resume(journal, run, options.patience)
}

/// The same for a run that exists already.
pub(crate) fn resume(journal: &Journal, mut run: Run, patience: Duration) -> anyhow::Result<Outcome> {
    find_out_moves(&mut run)?;
    let mut outcome = Outcome::default();
    for at in 0..run.manifest.steps.len() {
        let step = &run.manifest.steps[at];
        if step.state != StepState::Planned || !matches!(step.change, Change::Rename { .. }) {
            continue;
        }
        let subject = Subject::Path(step.path.clone());
        let state = match give_name(&run.manifest, step, Way::Back) {
            Ok(Ok(())) => {
                outcome.back.files += 1;
                outcome.back.bytes += step.bytes();
                StepState::Done
            }
            Ok(Err(refusal)) => {
                outcome.leave(subject, refusal);
                StepState::Skipped
            }
            Err(error) => {
                outcome.leave(subject, error);
                // The error may have come after the rename. When not even that can be told, the next run finds out.
                match is_back(step) {
                    Ok(true) => StepState::Done,
                    Ok(false) => StepState::Skipped,
                    Err(_) => StepState::Planned,
                }
            }
        };
        run.manifest.steps[at].state = state;
    }
    let bindings = Bindings { run: &mut run, outcome: &mut outcome, patience };
    bindings.come_back();
    finish(journal, run, &mut outcome)?;
    Ok(outcome)
}

/// Says which dead locks of stores went into the archive.
fn find_out_moves(run: &mut Run) -> anyhow::Result<()> {
    for at in 0..run.manifest.steps.len() {
        let step = &run.manifest.steps[at];
        if step.is_move() && step.state == StepState::Planned {
            let there = archive::arrived(run, step)?;
            run.manifest.steps[at].state = if there { StepState::Done } else { StepState::Skipped };
        }
    }
    Ok(())
}

/// Ends the run, unless something is left for the next run to try again.
fn finish(journal: &Journal, mut run: Run, outcome: &mut Outcome) -> anyhow::Result<()> {
    if run.manifest.steps.iter().all(|step| step.state == StepState::Skipped) && !outcome.unfinished {
        return journal.forget(run.id());
    }
    outcome.unfinished |= run.manifest.steps.iter().any(|step| step.state == StepState::Planned);
    archive::record_hashes(&mut run, crate::disk::deadline::Deadline::default(), &crate::change::progress::silent);
    let manifest = &mut run.manifest;
    if !outcome.unfinished {
        manifest.state = RunProgress::Done;
        manifest.finished_at = Some(Utc::now());
    }
    let renamed = |step: &&Step| step.state == StepState::Done && matches!(step.change, Change::Rename { .. });
    manifest.totals.transcripts = manifest.steps.iter().filter(renamed).count();
    manifest.problems = outcome.in_list(List::Failed).cloned().collect();
    run.save()?;
    outcome.run = Some(run.id().clone());
    if !outcome.unfinished
        && let Err(error) = journal.remember(&run.manifest.history_line())
    {
        outcome.leave(Subject::History, error);
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
    /// The same, and it is only found out whether it could.
    Look,
}

/// Gives a recorded file its other name, if it is still the recorded one and nobody holds its lock; else why not. Done
/// already is as good.
fn give_name(manifest: &Manifest, step: &Step, way: Way) -> anyhow::Result<Result<(), Refusal>> {
    let (Change::Rename { to }, Some(before)) = (&step.change, &step.before) else { return Ok(Ok(())) };
    let (place, stuck) = parts(&step.path)?;
    let (_, transcript) = parts(to)?;
    if !manifest.is_ours(place) {
        return Ok(Err(Refusal::Outside));
    }
    let (old, new) = match way {
        Way::Back => (stuck, transcript),
        Way::Undo | Way::Look => (transcript, stuck),
    };
    let dir = Dir::open_below(&manifest.state_dir, place)?;
    // In a copied state directory it is another inode.
    let content = |stamp: Stamp| (stamp.size, stamp.mtime_ns);
    let same = |stamp: Stamp| stamp == before.stamp || manifest.moved && content(stamp) == content(before.stamp);
    let (here, there) = (dir.info(old)?, dir.info(new)?);
    if let Some(there) = there {
        if !same(there.stamp) {
            return Ok(Err(Refusal::Taken(dir.join(new))));
        }
        // Where a rename that overwrites nothing is made of a link and a removal, both names may be left.
        if here.is_some_and(|here| here.stamp == there.stamp) && way != Way::Look {
            dir.remove(old)?;
        }
        return if way == Way::Look { Ok(Ok(())) } else { dir.sync().map(Ok) };
    }
    match here {
        None => return Ok(Err(Changed::Gone.into())),
        Some(info) if !info.regular || !same(info.stamp) => return Ok(Err(Changed::File.into())),
        Some(_) => {}
    }
    if let Some(holder) = held_by(&dir, &lock_name(transcript))? {
        return Ok(Err(holder.into()));
    }
    if way == Way::Look {
        return Ok(Ok(()));
    }
    match dir.move_to(old, &dir, new) {
        Ok(()) => dir.sync().map(Ok),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(Err(Refusal::Taken(dir.join(new)))),
        Err(error) => Err(anyhow::Error::new(error).context(format!("cannot rename {}", dir.join(old).display()))),
    }
}

/// Returns whether a file has its own name.
fn is_back(step: &Step) -> anyhow::Result<bool> {
    let (Change::Rename { to }, Some(before)) = (&step.change, &step.before) else { return Ok(false) };
    let (parent, name) = parts(to)?;
    Ok(Dir::open(parent)?.info(name)?.is_some_and(|now| now.stamp == before.stamp))
}

/// Takes a transcript's name again, to undo the run: not while a binding refers to it.
/// With `write` false it is only found out whether it could.
pub(crate) fn undo(
    manifest: &Manifest,
    step: &Step,
    references: &[References],
    write: bool,
) -> anyhow::Result<Result<(), Refusal>> {
    let Change::Rename { to } = &step.change else { return Ok(Ok(())) };
    if references.iter().any(|one| one.refer_to(to, None)) {
        return Ok(Err(Refusal::Referred));
    }
    give_name(manifest, step, if write { Way::Undo } else { Way::Look })
}

/// Returns the key that the newest backup of a store had for each transcript, whether or not it came back.
pub fn known_keys(stores: &[PathBuf]) -> BTreeMap<PathBuf, String> {
    let mut known = BTreeMap::new();
    for store in stores {
        let Ok((parent, name)) = parts(store) else { continue };
        let backups = Dir::open(parent).and_then(|dir| salvage::backups(&dir, name)).unwrap_or_default();
        for (key, entry) in backups.iter().flat_map(salvage::Backup::entries) {
            // A file that is in the way of the recipe's is not the one that was bound.
            if let Some(file) = transcript(entry)
                && fs_err::symlink_metadata(parent.join(stuck_name(&file))).is_err()
            {
                known.entry(parent.join(file)).or_insert(key);
            }
        }
    }
    known
}

/// The second half of a run: the bindings.
struct Bindings<'a> {
    run: &'a mut Run,
    outcome: &'a mut Outcome,
    patience: Duration,
}

impl Bindings<'_> {
    /// Lets the bindings follow into the stores beside the files.
    fn come_back(mut self) {
        let steps = self.run.manifest.steps.iter().filter(|step| step.state == StepState::Done);
        let renamed = steps.filter(|step| matches!(step.change, Change::Rename { .. }));
        let agents: BTreeMap<PathBuf, String> =
            renamed.filter_map(|step| Some((step.path.parent()?.to_owned(), step.agent.clone()))).collect();
        for store in self.run.manifest.stores.clone() {
            let Some(agent) = store.parent().and_then(|dir| agents.get(dir)) else { continue };
            // The files are back by now: the next run looks for their bindings again.
            match self.bind(&store, agent) {
                Ok(Ok(())) => {}
                Ok(Err(refusal)) => {
                    self.outcome.unfinished |= matches!(refusal, Refusal::Busy(_));
                    self.outcome.leave(Subject::Path(store), refusal);
                }
                Err(error) => {
                    self.outcome.unfinished = true;
                    self.outcome.leave(Subject::Path(store), error);
                }
            }
        }
    }

    /// Adds what the backups of one store still have, or says why not.
    fn bind(&mut self, path: &Path, agent: &str) -> anyhow::Result<Result<(), Refusal>> {
        let (parent, name) = parts(path)?;
        let dir = Dir::open_below(&self.run.manifest.state_dir, parent)?;
        let backups = salvage::backups(&dir, name)?;
        if backups.is_empty() {
            return Ok(Ok(()));
        }
        let shelf = self.run.shelf(agent)?;
        let lock = match lock_store(self.run, agent, &dir, name, &shelf, self.patience)? {
            Ok(lock) => lock,
            Err(holder) => return Ok(Err(holder.into())),
        };
        let (text, info) = read_whole(&dir, name)?;
        let Ok(document) = store::read(&text) else { return Ok(Err(Changed::Unreadable.into())) };
        let references = references_now(&self.run.manifest.stores)
            .context("another store cannot be read now, and may refer to its transcripts")?;
        let returning = with_transcript(salvage::lost(&document, &text, &backups), &dir, &references)?;
        if returning.is_empty() {
            return Ok(Ok(()));
        }
        let (keys, members): (Vec<_>, Vec<_>) = returning.into_iter().map(|one| (one.key, one.member)).unzip();
        let new = document.with_members(&text, &members);
        let known = document.effective(&text).into_iter().map(|place| place.key);
        anyhow::ensure!(
            store::has_keys(&new, known.chain(keys.iter().cloned())),
            "{} would not be a store with what is to come back",
            path.display()
        );
        let to = shelf.dir.free_name(name, |_| false)?;
        self.run.manifest.steps.push(Step {
            agent: agent.to_owned(),
            path: path.to_owned(),
            dir: dir.id()?,
            before: Some(Before { stamp: info.stamp, sha256: Some(sha256(&text)) }),
            change: Change::Replace {
                to: Some(shelf.below.join(&to)),
                after: After::Store { sha256: sha256(&new) },
                codes: Vec::new(),
                bindings: Vec::new(),
            },
            why: Reason::Adopted,
            state: StepState::Planned,
            undone: None,
        });
        self.run.save()?;
        let kept = archive::keep(&dir, name, &shelf.dir, &to, &info);
        let written = kept.and_then(|()| lock.replace_store([new.as_slice()], &info, Some(info.stamp)));
        drop(lock);
        let replaced = self.run.manifest.steps.last().map_or(Ok(false), |step| archive::replaced(self.run, step))?;
        if let Some(step) = self.run.manifest.steps.last_mut() {
            step.state = if replaced { StepState::Done } else { StepState::Skipped };
        }
        written?;
        self.outcome.back.bytes += members.iter().map(|(_, entry)| entry.len() as u64).sum::<u64>();
        let bound = |key| Bound { agent: agent.to_owned(), id: BindingId::new(path, key) };
        self.outcome.back.bindings.extend(keys.into_iter().map(bound));
        Ok(Ok(()))
    }
}

/// Keeps of the lost bindings those whose transcript is in `dir` again and is no other binding's.
fn with_transcript(mut lost: Vec<Lost>, dir: &Dir, references: &[References]) -> anyhow::Result<Vec<Lost>> {
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
    let waits = |file: &OsStr| {
        let path = dir.join(file);
        is_file(file) && !in_the_way(file) && !references.iter().any(|one| one.refer_to(&path, None))
    };
    lost.retain(|one| transcript(&one.member.1).is_some_and(|file| waits(&file)));
    match unseen.take() {
        Some(error) => Err(error),
        None => Ok(lost),
    }
}

/// The name that the recipe gave a transcript.
fn stuck_name(transcript: &OsStr) -> OsString {
    let mut name = transcript.to_owned();
    name.push(SUFFIX);
    name
}

/// The name of the transcript that an entry points to (F§4.2), wherever the state directory was when it was written.
pub(crate) fn transcript(entry: &[u8]) -> Option<OsString> {
    let Entry { session_id, session_file, .. } = entry::read(entry).ok()?;
    match session_file {
        Some(file) => Path::new(&file).file_name().map(OsStr::to_owned),
        None => session_id.filter(|id| is_session_id(id)).map(|id| format!("{}.jsonl", id.trim()).into()),
    }
}
