//! Putting the originals of replaced files back: over what took their place, as long as that is still what was put there.

use std::ffi::OsStr;

use anyhow::Context as _;

use super::Restoring;
use super::files::new_name;
use crate::change::archive::{self, parts, read_whole};
use crate::change::manifest::{After, Batch, Change, Step, StepState, Undone};
use crate::change::outcome::{Refusal, Subject};
use crate::disk::carry::carry;
use crate::disk::dir::Dir;
use crate::model::proof::{Stamp, sha256};
use crate::openclaw::files::lock;

impl Restoring<'_> {
    /// The replaced files whose originals go back: all of a whole run, else those of the wanted bindings.
    pub(super) fn originals(&mut self) {
        if self.options.asked.deferred {
            return;
        }
        for at in 0..self.source.manifest.steps.len() {
            let step = self.source.manifest.steps[at].clone();
            let Change::Replace { bindings, .. } = &step.change else { continue };
            let asked = self.options.asked;
            let wanted = asked.is_all() || bindings.iter().any(|one| asked.names(&one.store, &one.key));
            if !wanted || !step.stands() || !self.in_time() {
                continue;
            }
            let subject = Subject::Path(step.path.clone());
            match self.original(&step) {
                Ok(Ok(())) => {
                    self.source.manifest.steps[at].undone = Some(Undone::Restored);
                    self.outcome.back.files += 1;
                    self.outcome.back.bytes += step.bytes();
                }
                Ok(Err(refusal)) => self.leave(subject, refusal),
                Err(error) => self.leave(subject, error),
            }
        }
    }

    /// Puts one original back, or says why not.
    fn original(&mut self, step: &Step) -> anyhow::Result<Result<(), Refusal>> {
        let Change::Replace { to, after, .. } = &step.change else { return Ok(Ok(())) };
        let (parent, name) = parts(&step.path)?;
        if !self.source.manifest.is_ours(parent) {
            return Ok(Err(Refusal::Outside));
        }
        let dir = Dir::open_below(&self.source.manifest.state_dir, parent)?;
        let written = match after {
            After::Store { sha256 } => return self.store_original(step, &dir, name, sha256),
            After::Transcript { stamp } => *stamp,
        };
        let to = to.as_ref().context("a transcript was mended, and has no original")?;
        let (archive, _) = self.source.locate(to)?;
        // Held until the original is in its place: a turn that is written meanwhile would go with the mended file.
        let held = match self.own {
            Some(_) => lock::of_transcript(&dir, name, &archive)?,
            None => lock::held_by(&dir, &lock::lock_name(name))?.map_or(Ok(None), Err),
        };
        let _lock = match held {
            Ok(lock) => lock,
            Err(holder) => return Ok(Err(holder.into())),
        };
        let now = dir.info(name)?.map(|info| info.stamp);
        match now {
            Some(now) if self.is_unchanged(now, written) => self.put_over(step, &dir, name),
            Some(_) if Self::is_in_place(step, &dir, name)? => Ok(Ok(())),
            _ if self.options.asked.as_new => self.beside(step, &dir, name),
            Some(_) => Ok(Err(Refusal::Written)),
            None => Ok(Err(Refusal::MendedGone)),
        }
    }

    /// The same for a store, under its lock.
    fn store_original(
        &mut self,
        step: &Step,
        dir: &Dir,
        name: &OsStr,
        planned: &str,
    ) -> anyhow::Result<Result<(), Refusal>> {
        let _lock = match self.lock(&step.agent, dir, name)? {
            Ok(lock) => lock,
            Err(holder) => return Ok(Err(holder.into())),
        };
        if Self::is_in_place(step, dir, name)? {
            return Ok(Ok(()));
        }
        if dir.info(name)?.is_none() || sha256(&read_whole(dir, name)?.0) != planned {
            return Ok(Err(Refusal::Written));
        }
        if step.kept().is_none() {
            // There was no file: what stands there is a copy of the backup beside it.
            if self.own.is_some() {
                dir.remove(name)?;
                dir.sync()?;
            }
            return Ok(Ok(()));
        }
        self.put_over(step, dir, name)
    }

    /// Returns whether a file is still the mended one. In a copied state directory it is another inode.
    fn is_unchanged(&self, now: Stamp, written: Option<Stamp>) -> bool {
        let Some(new) = written else { return false };
        let moved = self.source.manifest.moved;
        now == new || (moved && (now.size, now.mtime_ns) == (new.size, new.mtime_ns))
    }

    fn put_over(&self, step: &Step, dir: &Dir, name: &OsStr) -> anyhow::Result<Result<(), Refusal>> {
        let to = step.kept().context("there is no original")?;
        let (archive, kept) = self.source.locate(to)?;
        let Some(info) = archive.info(&kept)? else { return Ok(Err(Refusal::NotArchived(to.to_owned()))) };
        if !archive::is_whole(&archive, &kept, step.before.as_ref())? {
            return Ok(Err(Refusal::Damaged(to.to_owned())));
        }
        let Some(mended) = dir.info(name)? else { return Ok(Err(Refusal::MendedGone)) };
        if self.own.is_none() {
            return Ok(Ok(()));
        }
        // What goes keeps a second name until it is known that nobody wrote to it in its last moment.
        let mut spare = kept.clone();
        spare.push(".mended");
        archive.remove(&spare)?;
        archive::keep(dir, name, &archive, &spare, &mended)?;
        archive::put_over(&archive, &kept, dir, name, &info)?;
        if archive::was_written(&archive, &spare, mended.stamp)? {
            archive::keep(dir, name, &archive, &kept, &info)?;
            let original = dir.info(name)?.map(|info| info.stamp);
            archive::swap_back((dir, name), (&archive, &spare), original)?;
            return Ok(Err(Refusal::Written));
        }
        archive.remove(&spare)?;
        Ok(Ok(()))
    }

    /// Returns whether a restore that was cut off had this one back already; a copy of it may still be in the archive.
    fn is_in_place(step: &Step, dir: &Dir, name: &OsStr) -> anyhow::Result<bool> {
        let (Some(before), Some(now)) = (&step.before, dir.info(name)?) else {
            return Ok(step.before.is_none() && dir.info(name)?.is_none());
        };
        let content = |stamp: Stamp| (stamp.size, stamp.mtime_ns);
        let written = match &step.change {
            Change::Replace { after: After::Transcript { stamp }, .. } => *stamp,
            _ => None,
        };
        let same = now.regular && content(now.stamp) == content(before.stamp) && Some(now.stamp) != written;
        Ok(same && archive::is_whole(dir, name, Some(before))?)
    }

    /// Whether a restore that was cut off had the broken store back already, in which every entry of the run is.
    pub(super) fn is_broken_again(&self, batch: &Batch, dir: &Dir, name: &OsStr) -> anyhow::Result<bool> {
        let mut steps = self.source.manifest.steps.iter();
        let replaced =
            |step: &&Step| step.is_replacement() && step.path == batch.store && step.state == StepState::Done;
        steps.find(replaced).map_or(Ok(false), |step| Ok(step.before.is_some() && Self::is_in_place(step, dir, name)?))
    }

    /// The file was written since: its original comes back beside it.
    fn beside(&self, step: &Step, dir: &Dir, name: &OsStr) -> anyhow::Result<Result<(), Refusal>> {
        let to = step.kept().context("there is no original")?;
        let (archive, kept) = self.source.locate(to)?;
        let Some(info) = archive.info(&kept)? else { return Ok(Err(Refusal::NotArchived(to.to_owned()))) };
        if self.own.is_none() {
            return Ok(Ok(()));
        }
        let new = dir.free_name(&new_name(name, self.options.asked.of.suffix(), 1), |_| false)?;
        carry(&archive, &kept, dir, &new, &info)?;
        dir.sync()?;
        Ok(Ok(()))
    }
}
