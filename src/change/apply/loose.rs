//! Loose files: orphans and dead locks go into the archive, and what was asked to be deleted is deleted.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use super::{Applying, references_now};
use crate::change::archive::parts;
use crate::change::manifest::{Before, Change, Step, StepState};
use crate::change::outcome::{Changed, Late, Refusal, Subject};
use crate::change::run::Shelf;
use crate::decide::plan::{FileItem, Plan};
use crate::decide::verdict::FileAction;
use crate::disk::dir::Dir;

impl Applying<'_> {
    /// Archives and removes loose files, and deletes what was asked to be deleted: all of them recorded first.
    pub(super) fn loose_files(&mut self, plan: &Plan<'_>) -> anyhow::Result<()> {
        if plan.files.is_empty() {
            return Ok(());
        }
        if self.is_late() {
            plan.files.iter().for_each(|item| self.leave_file(item, Late::Loose));
            return Ok(());
        }
        let items = self.unreferred(plan);
        // A dead store lock that stood in our way is in the archive already.
        let done = self.run.manifest.steps.iter().filter(|step| step.state == StepState::Done);
        let gone: HashSet<PathBuf> = done.map(|step| step.path.clone()).collect();
        let (reclaimed, items): (Vec<&FileItem>, Vec<&FileItem>) =
            items.into_iter().partition(|item| gone.contains(&item.file.path));
        self.outcome.totals.remove += reclaimed.len();
        self.outcome.totals.freed_bytes += reclaimed.iter().map(|item| item.file.stamp.size).sum::<u64>();
        let (purged, moved): (Vec<&FileItem>, Vec<&FileItem>) =
            items.into_iter().partition(|item| item.action == FileAction::Purge);
        let first = self.run.manifest.steps.len();
        let mut shelves: HashMap<&String, Shelf> = HashMap::new();
        for item in &moved {
            let shelf = match shelves.entry(&item.agent) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(self.run.shelf(&item.agent)?),
            };
            self.plan_move(shelf, &item.agent, &item.file.path, item.dir, item.file.stamp, item.reason)?;
        }
        self.run.manifest.steps.extend(purged.iter().map(|item| deletion(item)));
        self.run.save()?;
        for (at, item) in moved.iter().enumerate() {
            if self.is_late() {
                self.leave_file(item, Late::Move);
            } else if self.carry_out(first + at) {
                match item.action {
                    FileAction::Remove => self.outcome.totals.remove += 1,
                    _ => self.outcome.totals.archive += 1,
                }
            }
        }
        for (at, item) in purged.into_iter().enumerate() {
            self.run.manifest.steps[first + moved.len() + at].state = self.purge(item);
        }
        Ok(())
    }

    /// Returns the files that no binding refers to by now; of the others is said why they stay.
    fn unreferred<'p>(&mut self, plan: &'p Plan<'p>) -> Vec<&'p FileItem> {
        let orphans = plan.files.iter().any(|item| item.action == FileAction::Archive);
        let references = if orphans { references_now(&plan.known_stores) } else { Ok(Vec::new()) };
        let mut free = Vec::with_capacity(plan.files.len());
        for item in &plan.files {
            match &references {
                _ if item.action != FileAction::Archive => free.push(item),
                Ok(references) if references.iter().any(|one| one.refer_to(&item.file.path, None)) => {
                    self.leave_file(item, Changed::Bound);
                }
                Ok(_) => free.push(item),
                Err(error) => self.leave_file(item, Refusal::Unknowable(format!("{error:#}"))),
            }
        }
        free
    }

    fn leave_file(&mut self, item: &FileItem, refusal: impl Into<Refusal>) {
        self.outcome.leave(Subject::Path(item.file.path.clone()), refusal);
    }

    /// Deletes a file for good, if it is still the planned one.
    fn purge(&mut self, item: &FileItem) -> StepState {
        if self.is_late() {
            self.leave_file(item, Late::Loose);
            return StepState::Skipped;
        }
        match delete(item) {
            Ok(true) => {
                self.outcome.totals.purge += 1;
                self.outcome.totals.freed_bytes += if item.file.frees { item.file.stamp.size } else { 0 };
                StepState::Done
            }
            Ok(false) => {
                self.leave_file(item, Changed::File);
                StepState::Skipped
            }
            Err(error) => {
                self.leave_file(item, error);
                StepState::Skipped
            }
        }
    }
}

fn deletion(item: &FileItem) -> Step {
    Step {
        agent: item.agent.clone(),
        path: item.file.path.clone(),
        dir: item.dir,
        before: Some(Before { stamp: item.file.stamp, sha256: None }),
        change: Change::Delete,
        why: item.reason,
        state: StepState::Planned,
        undone: None,
    }
}

fn delete(item: &FileItem) -> anyhow::Result<bool> {
    let (parent, name) = parts(&item.file.path)?;
    let dir = Dir::open(parent)?;
    if dir.id()? != item.dir || dir.info(name)?.is_none_or(|info| info.stamp != item.file.stamp || !info.regular) {
        return Ok(false);
    }
    dir.remove(name)?;
    Ok(true)
}
