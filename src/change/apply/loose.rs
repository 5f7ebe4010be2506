//! Loose files: orphans and dead locks go into the archive, and what was asked to be deleted is deleted.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::{Left, Work, references_now};
use crate::change::manifest::StepState;
use crate::decide::plan::{FileItem, Plan};
use crate::decide::verdict::FileAction;
use crate::disk::deadline::OVER;
use crate::disk::dir::Dir;

impl Work<'_> {
    /// Archives and removes loose files, and deletes what was asked to be deleted: all of them recorded first.
    pub(super) fn loose_files(&mut self, plan: &Plan<'_>) -> anyhow::Result<()> {
        if plan.files.is_empty() {
            return Ok(());
        }
        if self.is_late() {
            let late = plan.files.iter().map(|item| Left::new(item.file.path.display(), format!("{OVER}: it stays")));
            self.outcome.late.extend(late);
            return Ok(());
        }
        let orphans = plan.files.iter().any(|item| item.action == FileAction::Archive);
        let references = if orphans { references_now(&plan.known_stores) } else { Ok(Vec::new()) };
        let adopted = |item: &FileItem| match &references {
            Ok(references) => references.iter().any(|one| one.refer_to(&item.file.path, None)),
            Err(_) => true,
        };
        let (stay, items): (Vec<&FileItem>, Vec<&FileItem>) =
            plan.files.iter().partition(|item| item.action == FileAction::Archive && adopted(item));
        for path in stay.into_iter().map(|item| item.file.path.display()) {
            match &references {
                Ok(_) => {
                    let why = "changed-since-plan: a binding refers to it now";
                    self.outcome.skipped.push(Left::new(path, why));
                }
                Err(error) => {
                    let why = format!("it stays, because a store may refer to it: {error:#}");
                    self.outcome.failed.push(Left::new(path, why));
                }
            }
        }
        // A dead store lock that stood in our way is in the archive already.
        let moves = self.run.manifest.moves.iter().filter(|record| record.state == StepState::Done);
        let gone: HashSet<PathBuf> = moves.map(|record| record.from.clone()).collect();
        let (reclaimed, items): (Vec<&FileItem>, Vec<&FileItem>) =
            items.into_iter().partition(|item| gone.contains(&item.file.path));
        self.outcome.done.remove += reclaimed.len();
        self.outcome.done.freed_bytes += reclaimed.iter().map(|item| item.file.stamp.size).sum::<u64>();
        let first = self.run.manifest.moves.len();
        let (purged, moved): (Vec<&FileItem>, Vec<&FileItem>) =
            items.into_iter().partition(|item| item.action == FileAction::Purge);
        let mut archives: HashMap<&String, (Dir, PathBuf)> = HashMap::new();
        for item in &moved {
            let archive = match archives.entry(&item.agent) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(self.run.agent_dir(&item.agent)?),
            };
            self.plan_move(archive, &item.file.path, item.dir, item.file.stamp, item.reason)?;
        }
        self.run.manifest.purged = purged.iter().map(|item| item.file.path.clone()).collect();
        self.run.save()?;
        for (at, item) in moved.into_iter().enumerate() {
            if self.is_late() {
                let left = Left::new(item.file.path.display(), format!("{OVER}: the next run moves it"));
                self.outcome.late.push(left);
            } else if self.carry_out(first + at) {
                match item.action {
                    FileAction::Remove => self.outcome.done.remove += 1,
                    _ => self.outcome.done.archive += 1,
                }
            }
        }
        let mut gone = Vec::new();
        for item in purged {
            if self.is_late() {
                self.outcome.late.push(Left::new(item.file.path.display(), format!("{OVER}: it stays")));
                continue;
            }
            match purge(item) {
                Ok(true) => {
                    gone.push(item.file.path.clone());
                    self.outcome.done.purge += 1;
                    self.outcome.done.freed_bytes += if item.file.frees { item.file.stamp.size } else { 0 };
                }
                Ok(false) => self.outcome.skipped.push(Left::new(item.file.path.display(), "changed-since-plan")),
                Err(error) => self.outcome.failed.push(Left::new(item.file.path.display(), format!("{error:#}"))),
            }
        }
        self.run.manifest.purged = gone;
        Ok(())
    }
}

/// Deletes a file for good, if it is still the planned one.
fn purge(item: &FileItem) -> anyhow::Result<bool> {
    let path = &item.file.path;
    let dir = Dir::open(path.parent().unwrap_or(Path::new("/")))?;
    let name = path.file_name().unwrap_or_default();
    if dir.id()? != item.dir || dir.info(name)?.is_none_or(|info| info.stamp != item.file.stamp || !info.regular) {
        return Ok(false);
    }
    dir.remove(name)?;
    Ok(true)
}
