//! A plan from outside: it can do no more than planning could do now.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::made::row_plans;
use super::{FileItem, Item, Plan, RowItem, RowsPlan, StorePlan};
use crate::decide::verdict::{Action, ClassifiedFile, FileAction, Reason, Verdict, Verdicts};
use crate::model::inventory::{Inventory, LooseFile, Store};
use crate::model::names::FileKind;
use crate::model::row::RowChange;

impl Plan<'_> {
    /// The verdicts as this plan has them: what it takes leaves for its reasons, all else stays.
    pub fn override_verdicts(&self, inventory: &Inventory, verdicts: &mut Verdicts) {
        let key = |store: &Path, key: &str| (store.to_owned(), key.to_owned());
        let planned: HashMap<(PathBuf, String), &Item<'_>> = self
            .stores
            .iter()
            .flat_map(|store| store.items.iter().map(|item| (key(&store.path, &item.key), item)))
            .collect();
        let mended: HashSet<Option<PathBuf>> = self.mends.iter().map(|item| Some(item.path.clone())).collect();
        for one in &mut verdicts.bindings {
            match planned.get(&key(&one.store(inventory).path, &one.binding(inventory).key)) {
                Some(item) => one.verdict = Verdict { action: item.action, reasons: item.reasons.clone() },
                None if mended.contains(&one.binding(inventory).transcript.path) => {
                    let reason = one.verdict.reasons.first().copied().unwrap_or(Reason::Mendable);
                    one.verdict = Verdict::new(Action::Repair, reason);
                }
                None if one.verdict.action != Action::Keep => {
                    one.verdict = Verdict::new(Action::Keep, Reason::NotPlanned);
                }
                None => {}
            }
        }
        self.override_rows(inventory, verdicts);
        let files: HashMap<&Path, &FileItem> = self.files.iter().map(|item| (item.file.path.as_path(), item)).collect();
        for judged in &mut verdicts.files {
            match files.get(inventory.files[judged.index].path.as_path()) {
                Some(item) => (judged.action, judged.reason) = (item.action, item.reason),
                None if judged.action != FileAction::Keep => {
                    (judged.action, judged.reason) = (FileAction::Keep, Reason::NotPlanned);
                }
                None => {}
            }
        }
    }

    /// The same for rows.
    fn override_rows(&self, inventory: &Inventory, verdicts: &mut Verdicts) {
        let planned =
            self.rows.iter().flat_map(|rows| rows.items.iter().map(move |item| ((&rows.store, &item.key), item)));
        let mut changes: HashMap<(&PathBuf, &String), Vec<&RowItem<'_>>> = HashMap::new();
        planned.for_each(|(of, item)| changes.entry(of).or_default().push(item));
        for one in verdicts.bindings.iter_mut().filter(|one| one.binding(inventory).row.is_some()) {
            let of = (&one.store(inventory).path, &one.binding(inventory).key);
            let items = changes.get(&of);
            one.rows = items.into_iter().flatten().map(|item| item.change.clone()).collect();
            if let Some(item) = items.and_then(|items| items.first()) {
                one.verdict = Verdict { action: item.action, reasons: item.reasons.clone() };
            }
        }
    }

    /// Checks a plan that came from outside against what is here: it can do no more than planning could do now. `mends`
    /// is the plan that mends all that can be mended. Files that changed since are dropped, and returned; anything else
    /// that does not fit refuses the plan whole.
    pub fn fit(
        &mut self,
        inventory: &Inventory,
        verdicts: &Verdicts,
        mends: &Plan<'_>,
    ) -> Result<Vec<PathBuf>, String> {
        self.stores.iter().try_for_each(|planned| fits_store(planned, inventory))?;
        let now = row_plans(inventory, verdicts);
        let now = || now.iter().chain(&mends.rows).flat_map(|rows| &rows.items);
        self.rows.iter().try_for_each(|planned| fits_rows(planned, inventory, now))?;
        let mut changed = Vec::new();
        self.mends.retain(|item| {
            let fits = mends.mends.iter().any(|now| now.path == item.path && now.how == item.how);
            changed.extend((!fits).then(|| item.path.clone()));
            fits
        });
        let mut wrong = None;
        self.files.retain(|item| {
            let path = &item.file.path;
            let found = inventory.files.iter().position(|file| file.path == *path);
            let same = found.filter(|&at| inventory.files[at].stamp == item.file.stamp);
            let judged = same.and_then(|at| verdicts.files.iter().find(|judged| judged.index == at));
            match judged {
                Some(judged) if may(item.action, &inventory.files[judged.index], judged) => return true,
                Some(_) => wrong = Some(format!("{} is nothing to {}", path.display(), item.action.as_str())),
                None if inventory.holds(path) => wrong = Some(format!("{} is no loose file", path.display())),
                None => changed.push(path.clone()),
            }
            false
        });
        self.known_stores = inventory.writable();
        wrong.map_or(Ok(changed), Err)
    }
}

/// Returns whether a change of rows is one that planning could do now.
fn fits_rows<'i, I: Iterator<Item = &'i RowItem<'i>>>(
    planned: &RowsPlan<'_>,
    inventory: &Inventory,
    now: impl Fn() -> I,
) -> Result<(), String> {
    let of = |store: &Store| store.path == planned.store && store.may_change().is_ok();
    let store = inventory.stores.iter().find(|store| store.is_migrated() && of(store));
    let database = store.and_then(Store::database).filter(|database| database.path == planned.database);
    let (Some(store), Some(_)) = (store, database) else {
        return Err(format!("{} is no database that can be changed", planned.database.display()));
    };
    for item in &planned.items {
        let known = now().any(|one| one.key == item.key && one.change == item.change);
        let plain = matches!(item.change, RowChange::TakeOut | RowChange::Settle | RowChange::Archive)
            && store.bindings.iter().any(|binding| binding.key == item.key && binding.row.is_some());
        if !known && !plain {
            return Err(format!("{} has no such change to make", item.key));
        }
    }
    Ok(())
}

/// Whether what is to leave a store is led to by its bindings as they are now. One that changed since is found out when
/// it is to leave.
fn fits_store(planned: &StorePlan<'_>, inventory: &Inventory) -> Result<(), String> {
    let store = inventory.stores.iter().find(|store| store.path == planned.path && store.may_write().is_ok());
    let Some(store) = store else {
        return Err(format!("{} is no store of this state directory that can be written", planned.path.display()));
    };
    for item in &planned.items {
        let binding = store.bindings.iter().find(|binding| binding.key == item.key);
        let binding = binding.filter(|binding| item.entry.is(store.entry_bytes(binding)));
        let path = binding.and_then(|binding| binding.transcript.path.as_ref());
        if let (Some(file), Some(path)) = (&item.file, path)
            && file.path != *path
        {
            return Err(format!("{} is not the transcript of {}", file.path.display(), item.key));
        }
    }
    Ok(())
}

/// Returns whether planning could do this with a loose file now, under some limits.
fn may(action: FileAction, file: &LooseFile, judged: &ClassifiedFile) -> bool {
    let is_archive = matches!(
        file.kind,
        FileKind::ArchiveDeleted | FileKind::ArchiveBak | FileKind::ArchiveReset | FileKind::StoreBak
    );
    let by_choice = matches!(judged.reason, Reason::NotSelected | Reason::OrphansOff | Reason::Left);
    match action {
        _ if judged.action == action => true,
        FileAction::Purge => by_choice && is_archive,
        FileAction::Archive => by_choice && file.kind == FileKind::Orphan,
        FileAction::Remove => by_choice && file.kind == FileKind::LockDead,
        FileAction::Keep => false,
    }
}
