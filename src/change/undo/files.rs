//! Files that come back from the archive to where they were.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::Restoring;
use crate::change::archive::{self, Arrival, parts};
use crate::change::manifest::{Change, Step, StepState, Undone};
use crate::change::outcome::{Refusal, Subject};
use crate::decide::verdict::Reason;
use crate::disk::dir::Dir;

impl Restoring<'_> {
    /// The files of a whole run that no entry in its archive awaits. Dead locks come later.
    pub(super) fn loose_files(&mut self) {
        if !self.options.asked.is_all() {
            return;
        }
        let batches = self.source.manifest.batches.iter().flat_map(|batch| &batch.entries);
        let awaited: HashSet<PathBuf> =
            batches.filter(|entry| entry.is_away()).filter_map(|entry| entry.file.clone()).collect();
        for at in 0..self.source.manifest.steps.len() {
            let step = &self.source.manifest.steps[at];
            let is_loose = step.is_move() && step.undone.is_none() && step.why != Reason::LockDead;
            let is_loose = is_loose && !awaited.contains(&step.path);
            if is_loose && self.in_time() {
                self.loose_file(at);
            }
        }
    }

    /// Brings one file back that comes alone.
    pub(super) fn loose_file(&mut self, at: usize) {
        let step = &self.source.manifest.steps[at];
        let subject = Subject::Path(step.path.clone());
        match self.file(at) {
            Ok(Ok(())) => {}
            Ok(Err(refusal)) => self.leave(subject, refusal),
            Err(error) => self.leave(subject, error),
        }
    }

    /// Brings the file of a step back, if it is away; `Ok` when it is in its place, or under the name in `renamed`.
    pub(super) fn file(&mut self, at: usize) -> anyhow::Result<Result<(), Refusal>> {
        let step = self.source.manifest.steps[at].clone();
        match step.state {
            StepState::Planned if self.arrived(&step)? => {
                self.source.manifest.steps[at].state = StepState::Done;
            }
            // It never left: it stays where it is.
            StepState::Planned | StepState::Skipped => return Ok(Ok(())),
            StepState::Done => {}
        }
        match step.undone {
            Some(Undone::Restored) => return Ok(Ok(())),
            Some(Undone::Purged) => return Ok(Err(Refusal::NotArchived(step.path))),
            None => {}
        }
        let (_, name) = parts(&step.path)?;
        self.advance(0);
        let tried = self.try_back(at, &step, name);
        self.advance(step.bytes());
        tried
    }

    fn try_back(&mut self, at: usize, step: &Step, name: &OsStr) -> anyhow::Result<Result<(), Refusal>> {
        let mut tried = self.back(step, name)?;
        if let Err(Refusal::Taken(_) | Refusal::NotArchived(_)) = &tried {
            if self.is_back(step, name)? {
                // A restore that was cut off had it back already.
                self.source.manifest.steps[at].undone = Some(Undone::Restored);
                return Ok(Ok(()));
            }
            if self.options.asked.as_new && step.why != Reason::LockDead {
                tried = self.under_new_name(step, name)?;
            }
        }
        if tried.is_ok() {
            self.source.manifest.steps[at].undone = Some(Undone::Restored);
            self.outcome.back.files += 1;
            self.outcome.back.bytes += step.bytes();
        }
        Ok(tried)
    }

    /// Whether a restore that was cut off had this file back already, under this name. What a copy across file systems
    /// left in the archive then goes.
    fn is_back(&self, step: &Step, name: &OsStr) -> anyhow::Result<bool> {
        let (place, _) = parts(&step.path)?;
        let Some(kept) = step.kept() else { return Ok(false) };
        let to = Dir::open_below(&self.source.manifest.state_dir, place)?;
        if to.info(name)?.is_none_or(|info| !info.regular) {
            return Ok(false);
        }
        let (archive, from) = self.source.locate(kept)?;
        if archive.info(&from)?.is_none() {
            return archive::is_whole(&to, name, step.before.as_ref());
        }
        if !archive::same_bytes((&to, name), (&archive, &from))? {
            return Ok(false);
        }
        if self.own.is_some() {
            to.sync()?;
            archive.remove(&from)?;
        }
        Ok(true)
    }

    /// Finds out whether a file is in the archive.
    fn arrived(&self, step: &Step) -> anyhow::Result<bool> {
        match self.own {
            Some(_) => archive::arrived(self.source, step),
            None => Ok(archive::place_of(self.source, step)? == Arrival::Whole),
        }
    }

    /// Brings a file back under this name.
    fn back(&self, step: &Step, name: &OsStr) -> anyhow::Result<Result<(), Refusal>> {
        match self.own {
            Some(_) => archive::back(self.source, step, name),
            None => Ok(archive::may_come_back(self.source, step, name)?.map(drop)),
        }
    }

    /// Brings a file back under a free name, which is recorded first: a restore that is cut off knows it again.
    fn under_new_name(&mut self, step: &Step, name: &OsStr) -> anyhow::Result<Result<(), Refusal>> {
        let mut steps = self.own.as_deref().into_iter().flat_map(|own| &own.manifest.steps);
        let recorded = steps.find_map(|own| match &own.change {
            Change::Rename { to } if own.path == step.path => Some(to.clone()),
            _ => None,
        });
        if let Some(to) = recorded {
            let (_, new) = parts(&to)?;
            let back = match archive::back(self.source, step, new)? {
                Err(Refusal::NotArchived(_) | Refusal::Taken(_)) if self.is_back(step, new)? => Ok(()),
                back => back,
            };
            if back.is_ok() {
                self.renamed.insert(step.path.clone(), to);
                return Ok(back);
            }
        }
        for number in 1_u32.. {
            let to = step.path.with_file_name(new_name(name, self.options.asked.of.suffix(), number));
            if fs_err::symlink_metadata(&to).is_ok() {
                continue;
            }
            if let Some(own) = self.own.as_deref_mut() {
                own.manifest.steps.push(Step {
                    change: Change::Rename { to: to.clone() },
                    state: StepState::Done,
                    ..step.clone()
                });
                own.save()?;
            }
            let (_, new) = parts(&to)?;
            let back = self.back(step, new)?;
            if !matches!(back, Err(Refusal::Taken(_))) {
                if back.is_ok() {
                    self.renamed.insert(step.path.clone(), to);
                }
                return Ok(back);
            }
            if let Some(own) = self.own.as_deref_mut() {
                own.manifest.steps.pop();
            }
        }
        Ok(Err(Refusal::Taken(step.path.clone())))
    }

    /// A file that did not follow its entry stays where it is, now that the entry is back.
    pub(super) fn spare_followers(&mut self) {
        let manifest = &mut self.source.manifest;
        let entries = || manifest.batches.iter().flat_map(|batch| &batch.entries);
        let back: HashSet<&PathBuf> =
            entries().filter(|entry| !entry.is_away()).filter_map(|entry| entry.file.as_ref()).collect();
        let away: HashSet<&PathBuf> =
            entries().filter(|entry| entry.is_away()).filter_map(|entry| entry.file.as_ref()).collect();
        let all = self.options.asked.is_all();
        for step in manifest.steps.iter_mut().filter(|step| step.is_move() && step.state == StepState::Planned) {
            if !away.contains(&step.path) && (all || back.contains(&step.path)) {
                step.state = StepState::Skipped;
            }
        }
    }
}

/// `<stem>-restored-<run>.jsonl`, from the second on with a number.
pub(super) fn new_name(name: &OsStr, suffix: &str, number: u32) -> OsString {
    let mut new = Path::new(name).file_stem().unwrap_or(name).to_owned();
    new.push(match number {
        1 => format!("-restored-{suffix}.jsonl"),
        _ => format!("-restored-{suffix}-{number}.jsonl"),
    });
    new
}
