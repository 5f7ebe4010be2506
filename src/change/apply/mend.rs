//! Mending a file: the new one is written beside it and judged, the old one gets a second name in the run's archive,
//! and only then the new one takes its place. At every moment one of the two, whole, has the name.

use std::cell::{Cell, RefCell};
use std::ffi::OsStr;
use std::fs::File;
use std::path::PathBuf;

use anyhow::Context as _;

use super::Applying;
use crate::change::archive::{self, parts, read_whole};
use crate::change::locking::lock_store;
use crate::change::manifest::{After, Before, Change, Step, StepState};
use crate::change::outcome::{Changed, Late, Refusal, Subject};
use crate::decide::plan::{MendItem, Mending};
use crate::disk::atomic;
use crate::disk::deadline::Deadline;
use crate::disk::dir::{Dir, FileInfo};
use crate::load::read;
use crate::model::mend::Proof;
use crate::model::proof::{Stamp, sha256};
use crate::model::store;
use crate::model::transcript::{Cure, Summary};
use crate::openclaw::files::lock::{self, held_by, lock_name};
use crate::openclaw::files::salvage;

impl Applying<'_> {
    /// Mends one file, or says why not; a file that was not mended is as it was.
    pub(super) fn mend(&mut self, item: &MendItem) {
        let done = match &item.how {
            _ if self.is_late() => Ok(Some(Late::Mend.into())),
            Mending::Transcript { header } => self.transcript(item, header.as_bytes()),
            Mending::Salvage { .. } | Mending::Shorten { .. } | Mending::Adopt { .. } => self.store(item),
        };
        let totals = &mut self.outcome.totals;
        match (done, &item.how) {
            (Ok(None), Mending::Transcript { .. } | Mending::Shorten { .. }) => totals.repair += 1,
            (Ok(None), Mending::Salvage { .. }) => totals.salvage += 1,
            (Ok(None), Mending::Adopt { .. }) => {}
            (Ok(Some(refusal)), _) => self.outcome.leave(Subject::Path(item.path.clone()), refusal),
            (Err(error), _) => self.outcome.leave(Subject::Path(item.path.clone()), error),
        }
    }

    fn transcript(&mut self, item: &MendItem, header: &[u8]) -> anyhow::Result<Option<Refusal>> {
        let (dir, name) = match place(item)? {
            Ok(found) => found,
            Err(changed) => return Ok(Some(changed.into())),
        };
        let deadline = self.deadline;
        let Sick { mut file, info, before, cure } = match sick(&dir, name, item, deadline)? {
            Ok(sick) => sick,
            Err(refusal) => return Ok(Some(refusal)),
        };
        let size = info.stamp.size;
        let shelf = self.run.shelf(&item.agent)?;
        let to = self.free_name(&shelf, name)?;
        let original = Before { stamp: info.stamp, sha256: None };
        self.plan_replacement(item, Some(original), Some(shelf.below.join(&to)), After::Transcript { stamp: None })?;
        let archive = &shelf.dir;
        let proof = RefCell::new(Proof::default());
        let late = Cell::new(false);
        let fill = |emit: &mut atomic::Emit<'_>| {
            let written = read::mend(&mut file, size, &cure, header, deadline, |piece, ends| {
                proof.borrow_mut().take(piece, ends);
                emit(piece)?;
                if ends { emit(b"\n") } else { Ok(()) }
            });
            late.set(written.is_err() && deadline.has_passed());
            written
        };
        let (mut guard, mut not): (_, Option<Refusal>) = (None, None);
        // The lock is held from here to the rename only: a large file takes longer to write than a turn waits.
        let last_look = |new: Stamp| {
            let after = proof.take().finish();
            anyhow::ensure!(cure.is_exact(&before, &after), "{} has no exact repair", item.path.display());
            not = match lock::of_transcript(&dir, name, archive)? {
                Ok(lock) => {
                    guard = lock;
                    let same = dir.info(name)?.is_some_and(|now| now.stamp == info.stamp);
                    (!same).then(|| Changed::Meanwhile.into())
                }
                Err(holder) => Some(holder.into()),
            };
            anyhow::ensure!(not.is_none(), "{} is in use", item.path.display());
            self.keep_and_announce((&dir, name), (archive, &to), &info, Some(new))
        };
        let written = atomic::replace_with(&dir, name, fill, &info, last_look);
        if written.is_ok() && archive::was_written(archive, &to, info.stamp)? {
            archive::swap_back((&dir, name), (archive, &to), self.run.manifest.steps.last().and_then(announced))?;
            not = Some(Changed::Meanwhile.into());
        }
        drop(guard);
        let not = not.or_else(|| late.get().then(|| Late::Mend.into()));
        let written = if not.is_some() { Ok(()) } else { written };
        self.settle_mend(written)?;
        Ok(not)
    }

    /// Puts another store in place of one that is broken, or that lacks a binding.
    fn store(&mut self, item: &MendItem) -> anyhow::Result<Option<Refusal>> {
        let (dir, name) = match place(item)? {
            Ok(found) => found,
            Err(changed) => return Ok(Some(changed.into())),
        };
        let shelf = self.run.shelf(&item.agent)?;
        let patience = self.deadline.clip(self.patience);
        let lock = match lock_store(&mut self.run, &item.agent, &dir, name, &shelf, patience)? {
            Ok(lock) => lock,
            Err(holder) => return Ok(Some(holder.into())),
        };
        let old = dir.info(name)?;
        if old.map(|info| info.stamp) != item.stamp {
            return Ok(Some(Changed::File.into()));
        }
        let text = match old {
            Some(_) => Some(read_whole(&dir, name)?.0),
            None => None,
        };
        let Some(new) = new_store(item, &dir, name, text.as_deref())? else {
            return Ok(Some(Changed::Result.into()));
        };
        let to = self.free_name(&shelf, name)?;
        let before = old.map(|info| Before { stamp: info.stamp, sha256: text.as_deref().map(sha256) });
        let kept = old.map(|_| shelf.below.join(&to));
        self.plan_replacement(item, before, kept, After::Store { sha256: sha256(&new) })?;
        let like = match old {
            Some(info) => info,
            None => FileInfo { mode: 0o600, ..dir.own_info()? },
        };
        let kept = match &old {
            Some(info) => self.keep_and_announce((&dir, name), (&shelf.dir, &to), info, None),
            None => Ok(()),
        };
        let stamp = old.map(|info| info.stamp);
        let written = kept.and_then(|()| lock.replace_store([new.as_slice()], &like, stamp));
        drop(lock);
        self.settle_mend(written)?;
        Ok(None)
    }

    /// Records what is about to take the place of a file, and where its original is kept.
    fn plan_replacement(
        &mut self,
        item: &MendItem,
        before: Option<Before>,
        to: Option<PathBuf>,
        after: After,
    ) -> anyhow::Result<()> {
        let bindings = item.bindings.clone();
        self.run.manifest.steps.push(Step {
            agent: item.agent.clone(),
            path: item.path.clone(),
            dir: item.dir,
            before,
            change: Change::Replace { to, after, codes: item.codes.clone(), bindings },
            why: item.reason,
            state: StepState::Planned,
            undone: None,
        });
        self.run.save()
    }

    /// Keeps the original and notes what will be in its place: all that a restore needs is durable before the rename.
    fn keep_and_announce(
        &mut self,
        (dir, name): (&Dir, &OsStr),
        (archive, to): (&Dir, &OsStr),
        info: &FileInfo,
        new: Option<Stamp>,
    ) -> anyhow::Result<()> {
        archive::keep(dir, name, archive, to, info)?;
        if let Some(Step { change: Change::Replace { after: After::Transcript { stamp }, .. }, .. }) =
            self.run.manifest.steps.last_mut()
        {
            *stamp = new;
        }
        self.run.save()
    }

    /// Says what became of the file that was recorded last: an error may have come after the rename. What is in its place
    /// by now may be somebody else's already, so what was announced stays as it is.
    fn settle_mend(&mut self, written: anyhow::Result<()>) -> anyhow::Result<()> {
        let Some(step) = self.run.manifest.steps.last() else { return written };
        let replaced = archive::replaced(&self.run, step);
        if let Some(step) = self.run.manifest.steps.last_mut() {
            // What cannot be looked at may be mended: a restore looks again.
            step.state = if matches!(replaced, Ok(false)) { StepState::Skipped } else { StepState::Done };
        }
        written.and(replaced.map(drop))
    }
}

/// A transcript that has a cure, held open.
struct Sick {
    file: File,
    info: FileInfo,
    /// What is wrong with it.
    before: Summary,
    cure: Cure,
}

/// Opens the transcript that was planned and judges it, or says why it is not to be mended.
fn sick(dir: &Dir, name: &OsStr, item: &MendItem, deadline: Deadline) -> anyhow::Result<Result<Sick, Refusal>> {
    if let Some(holder) = held_by(dir, &lock_name(name))? {
        return Ok(Err(holder.into()));
    }
    let is_planned = |info: FileInfo| info.regular && Some(info.stamp) == item.stamp;
    let opened = match dir.info(name)? {
        Some(info) if is_planned(info) => Some(dir.open_file(name)?),
        _ => None,
    };
    let Some((file, info)) = opened.filter(|(_, info)| is_planned(*info)) else {
        return Ok(Err(Changed::File.into()));
    };
    let reading = || format!("cannot read {}", item.path.display());
    let (before, cure) = match read::judge(&file, info.stamp.size, deadline) {
        Err(_) if deadline.has_passed() => return Ok(Err(Late::Mend.into())),
        judged => judged.with_context(reading)?,
    };
    let Some(cure) = cure else { return Ok(Err(Changed::Sound.into())) };
    Ok(Ok(Sick { file, info, before, cure }))
}

/// Returns the marks of the transcript that was to take the place of another.
fn announced(step: &Step) -> Option<Stamp> {
    match step.change {
        Change::Replace { after: After::Transcript { stamp }, .. } => stamp,
        _ => None,
    }
}

/// What the store becomes; `None` when that is not what was planned.
fn new_store(item: &MendItem, dir: &Dir, name: &OsStr, text: Option<&[u8]>) -> anyhow::Result<Option<Vec<u8>>> {
    match &item.how {
        Mending::Transcript { .. } => Ok(None),
        Mending::Salvage { sha256: planned, from_backups } => {
            let found = salvage::of(dir, name, text, *from_backups)?;
            Ok(found.map(|found| found.text).filter(|text| sha256(text) == *planned))
        }
        Mending::Shorten { files } => Ok(text.and_then(|text| store::with_session_files(text, files))),
        Mending::Adopt { entries } => {
            let text = text.filter(|text| !text.trim_ascii().is_empty()).unwrap_or(b"{}");
            let Ok(document) = store::read(text) else { return Ok(None) };
            let bound = document.effective(text).iter().any(|place| entries.contains_key(&place.key));
            let mut members = Vec::with_capacity(entries.len());
            for (key, entry) in entries {
                let quoted = serde_json::to_string(key)?;
                let raw = quoted.get(1..quoted.len() - 1).unwrap_or_default();
                members.push((raw.as_bytes().to_vec(), entry.as_bytes().to_vec()));
            }
            let new = (!bound).then(|| document.with_members(text, &members));
            Ok(new.filter(|new| store::has_keys(new, keys_of(&document, text).chain(entries.keys().cloned()))))
        }
    }
}

fn keys_of(document: &store::Document, text: &[u8]) -> impl Iterator<Item = String> {
    document.effective(text).into_iter().map(|place| place.key)
}

/// The directory and name of a file, when it is still the planned directory.
fn place(item: &MendItem) -> anyhow::Result<Result<(Dir, &OsStr), Changed>> {
    let (parent, name) = parts(&item.path)?;
    let dir = Dir::open(parent)?;
    Ok(if dir.id()? == item.dir { Ok((dir, name)) } else { Err(Changed::Directory) })
}
