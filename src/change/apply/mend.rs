//! Mending a file: the new one is written beside it and judged, the old one gets a second name in the run's archive,
//! and only then the new one takes its place. At every moment one of the two, whole, has the name.

use std::cell::{Cell, RefCell};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::{Left, Work, read_locked};
use crate::change::archive;
use crate::change::manifest::{MendRecord, StepState};
use crate::decide::plan::{MendItem, Mending};
use crate::disk::atomic;
use crate::disk::deadline::OVER;
use crate::disk::dir::{Dir, FileInfo};
use crate::load::read;
use crate::model::mend::Proof;
use crate::model::proof::Stamp;
use crate::model::proof::sha256;
use crate::model::store;
use crate::openclaw::files::lock::{self, Acquired, StoreLock, held_by, lock_name};
use crate::openclaw::files::salvage;

/// Why a file was not mended.
enum Not {
    /// It is not what was planned.
    Changed(String),
    /// A lock is held.
    Busy(String),
    /// The time was over.
    Late,
}

impl Work<'_> {
    /// Mends one file, or says why not; a file that was not mended is as it was.
    pub(super) fn mend(&mut self, item: &MendItem) {
        let what = item.path.display();
        let done = match &item.how {
            _ if self.is_late() => Ok(Some(Not::Late)),
            Mending::Transcript { header } => self.transcript(item, header.as_bytes()),
            Mending::Salvage { .. } | Mending::Adopt { .. } => self.store(item),
        };
        let totals = &mut self.outcome.done;
        match done {
            Ok(None) => match item.how {
                Mending::Transcript { .. } => totals.repair += 1,
                Mending::Salvage { .. } => totals.salvage += 1,
                Mending::Adopt { .. } => {}
            },
            Ok(Some(Not::Changed(why))) => {
                self.outcome.skipped.push(Left::new(what, format!("changed-since-plan: {why}")));
            }
            Ok(Some(Not::Late)) => self.outcome.late.push(Left::new(what, format!("{OVER} before it was mended"))),
            Ok(Some(Not::Busy(why))) => self.outcome.refused.push(Left::new(what, why)),
            Err(error) => self.outcome.failed.push(Left::new(what, format!("{error:#}"))),
        }
    }

    fn transcript(&mut self, item: &MendItem, header: &[u8]) -> anyhow::Result<Option<Not>> {
        let (dir, name) = match place(item)? {
            Ok(found) => found,
            Err(not) => return Ok(Some(not)),
        };
        if let Some(owner) = held_by(&dir, &lock_name(name))? {
            return Ok(Some(Not::Busy(owner)));
        }
        let is_planned = |info: FileInfo| info.regular && Some(info.stamp) == item.stamp;
        let opened = match dir.info(name)? {
            Some(info) if is_planned(info) => Some(dir.open_file(name)?),
            _ => None,
        };
        let Some((mut file, info)) = opened.filter(|(_, info)| is_planned(*info)) else {
            return Ok(Some(Not::Changed("it is not the file that was planned".to_owned())));
        };
        let size = info.stamp.size;
        let reading = || format!("cannot read {}", item.path.display());
        let deadline = self.deadline;
        let (before, cure) = match read::judge(&file, size, deadline) {
            Err(_) if deadline.has_passed() => return Ok(Some(Not::Late)),
            judged => judged.with_context(reading)?,
        };
        let Some(cure) = cure else { return Ok(Some(Not::Changed("there is nothing to mend".to_owned()))) };
        let (archive, below) = self.run.agent_dir(&item.agent)?;
        let to = self.free_name(&archive, &below, name)?;
        self.plan_mend(item, Some((below.join(&to), info.stamp)), None)?;
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
        let (mut guard, mut not) = (None, None);
        // The lock is held from here to the rename only: a large file takes longer to write than a turn waits.
        let last_look = |new: Stamp| {
            let after = proof.take().finish();
            anyhow::ensure!(cure.is_exact(&before, &after), "{} has no exact repair", item.path.display());
            not = match lock::of_transcript(&dir, name, &archive)? {
                Ok(lock) => {
                    guard = lock;
                    let same = dir.info(name)?.is_some_and(|now| now.stamp == info.stamp);
                    (!same).then(|| Not::Changed("it was written meanwhile".to_owned()))
                }
                Err(owner) => Some(Not::Busy(owner)),
            };
            anyhow::ensure!(not.is_none(), "{} is in use", item.path.display());
            self.keep_and_announce((&dir, name), (&archive, &to), &info, Some(new))
        };
        let written = atomic::replace_with(&dir, name, fill, &info, last_look);
        if written.is_ok() && archive::was_written(&archive, &to, info.stamp)? {
            let new = self.run.manifest.mends.last().and_then(|record| record.new);
            archive::swap_back((&dir, name), (&archive, &to), new)?;
            not = Some(Not::Changed("it was written meanwhile".to_owned()));
        }
        drop(guard);
        let not = not.or_else(|| late.get().then_some(Not::Late));
        let written = if not.is_some() { Ok(()) } else { written };
        self.settle_mend(written)?;
        Ok(not)
    }

    /// Puts another store in place of one that is broken, or that lacks a binding.
    fn store(&mut self, item: &MendItem) -> anyhow::Result<Option<Not>> {
        let (dir, name) = match place(item)? {
            Ok(found) => found,
            Err(not) => return Ok(Some(not)),
        };
        let (archive, below) = self.run.agent_dir(&item.agent)?;
        self.run.announce_dead_lock(&dir, name, &archive, &below)?;
        let taken = StoreLock::acquire(&dir, name, &archive, self.deadline.clip(self.patience));
        self.run.settle_dead_lock(&dir, name, &archive);
        let lock = match taken? {
            Acquired::Ours(lock) => lock,
            Acquired::Busy(owner) => return Ok(Some(Not::Busy(format!("{owner}; nothing in it was touched")))),
        };
        let old = dir.info(name)?;
        if old.map(|info| info.stamp) != item.stamp {
            return Ok(Some(Not::Changed("it is not the file that was planned".to_owned())));
        }
        let text = match old {
            Some(_) => Some(read_locked(&dir, name)?.0),
            None => None,
        };
        let Some(new) = new_store(item, &dir, name, text.as_deref())? else {
            return Ok(Some(Not::Changed("it would not become what was planned".to_owned())));
        };
        let to = self.free_name(&archive, &below, name)?;
        self.plan_mend(item, old.map(|info| (below.join(&to), info.stamp)), Some(sha256(&new)))?;
        let like = match old {
            Some(info) => info,
            None => FileInfo { mode: 0o600, ..dir.own_info()? },
        };
        let kept = match &old {
            Some(info) => self.keep_and_announce((&dir, name), (&archive, &to), info, None),
            None => Ok(()),
        };
        let stamp = old.map(|info| info.stamp);
        let written = kept.and_then(|()| lock.replace_store([new.as_slice()], &like, stamp));
        drop(lock);
        self.settle_mend(written)?;
        Ok(None)
    }

    /// Records what is about to be mended. `kept` is where the original goes, and what it is.
    fn plan_mend(
        &mut self,
        item: &MendItem,
        kept: Option<(PathBuf, Stamp)>,
        store_sha256: Option<String>,
    ) -> anyhow::Result<()> {
        let (to, old) = kept.unzip();
        self.run.manifest.mends.push(MendRecord {
            path: item.path.clone(),
            to,
            old,
            new: None,
            store_sha256,
            why: item.reason,
            codes: item.codes.clone(),
            keys: item.keys.clone(),
            state: StepState::Planned,
            restored: false,
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
        if let Some(record) = self.run.manifest.mends.last_mut() {
            record.new = new;
        }
        self.run.save()
    }

    /// What became of the file that was recorded last: an error may have come after the rename. What is in its place
    /// by now may be somebody else's already, so what was announced stays as it is.
    fn settle_mend(&mut self, written: anyhow::Result<()>) -> anyhow::Result<()> {
        let Some(record) = self.run.manifest.mends.last() else { return written };
        let mended = archive::mended(&self.run, record);
        if let Some(record) = self.run.manifest.mends.last_mut() {
            // What cannot be looked at may be mended: a restore looks again.
            record.state = if matches!(mended, Ok(false)) { StepState::Skipped } else { StepState::Done };
        }
        written.and(mended.map(drop))
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
        Mending::Adopt { key, entry } => {
            let text = text.filter(|text| !text.trim_ascii().is_empty()).unwrap_or(b"{}");
            let Ok(document) = store::read(text) else { return Ok(None) };
            let quoted = serde_json::to_string(key)?;
            let raw = quoted.get(1..quoted.len() - 1).unwrap_or_default();
            let bound = document.effective(text).iter().any(|place| place.key == *key);
            let member = (raw.as_bytes().to_vec(), entry.as_bytes().to_vec());
            Ok((!bound).then(|| document.with_members(text, &[member])))
        }
    }
}

/// The directory and name of a file, when it is still the planned directory.
fn place(item: &MendItem) -> anyhow::Result<Result<(Dir, &OsStr), Not>> {
    let dir = Dir::open(item.path.parent().unwrap_or(Path::new("/")))?;
    if dir.id()? != item.dir {
        let why = "another directory stands in its place since the plan";
        return Ok(Err(Not::Changed(why.to_owned())));
    }
    Ok(Ok((dir, item.path.file_name().unwrap_or_default())))
}
