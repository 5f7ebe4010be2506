//! Where the paths of a manifest lead: into the state directory in which it is read, or nowhere.

use std::path::{Path, PathBuf};

use super::{After, Batch, BatchSource, Change, Manifest, RunKind, Step};
use crate::model::places::{Places, is_below};

impl Manifest {
    /// Follows a state directory that was copied or moved: what it says of files below the old place is meant of those
    /// below the new one. Otherwise a restore in a copy would write to the original.
    pub(crate) fn follow(&mut self, state_dir: &Path) {
        if self.state_dir == state_dir {
            return;
        }
        let old = std::mem::replace(&mut self.state_dir, state_dir.to_owned());
        self.moved = true;
        let follow = |path: &mut PathBuf| {
            if let Ok(below) = path.strip_prefix(&old) {
                *path = state_dir.join(below);
            }
        };
        self.stores.iter_mut().for_each(follow);
        for batch in &mut self.batches {
            follow(&mut batch.store);
            if let BatchSource::Rows(images) = &mut batch.from {
                follow(&mut images.database);
            }
            batch.entries.iter_mut().filter_map(|entry| entry.file.as_mut()).for_each(follow);
        }
        for step in &mut self.steps {
            follow(&mut step.path);
            match &mut step.change {
                Change::Rename { to } => follow(to),
                Change::Replace { bindings, .. } => bindings.iter_mut().for_each(|one| follow(&mut one.store)),
                Change::Archive { .. } | Change::ClearLock { .. } | Change::Delete => {}
            }
        }
        if let RunKind::Restore(asked) = &mut self.kind {
            asked.bindings.iter_mut().for_each(|one| follow(&mut one.store));
        }
    }

    /// Returns the first path that leads where this state directory keeps no sessions. Whoever wrote the manifest, it
    /// says nothing about other places.
    pub(crate) fn stray(&self, places: &Places) -> Option<&Path> {
        // In a copied state directory a path outside may be another's, and is refused one by one.
        let elsewhere = |path: &Path| self.moved && !path.starts_with(&self.state_dir) && path.is_absolute();
        let is_store = |path: &Path| places.is_store(path) || elsewhere(path);
        let is_file = |path: &Path| places.is_file(path) || elsewhere(path);
        let stores = self.stores.iter().chain(self.batches.iter().map(|batch| &batch.store));
        let mut stores = stores.map(PathBuf::as_path);
        let entries = self.batches.iter().flat_map(|batch| &batch.entries);
        let mut files = entries.filter_map(|entry| entry.file.as_deref());
        let mut below = self.batches.iter().map(Batch::kept).chain(self.steps.iter().filter_map(Step::kept));
        let databases =
            self.batches.iter().filter_map(|batch| Some((batch.images()?.database.as_path(), &batch.store)));
        let mut databases = databases.filter(|(path, store)| !places.is_database(path, store) && !elsewhere(path));
        let of_step = |step: &Step| {
            let to = match &step.change {
                Change::Rename { to } => is_file(to) && to.parent() == step.path.parent(),
                _ => true,
            };
            let store = matches!(step.change, Change::Replace { after: After::Store { .. }, .. });
            to && if store { is_store(&step.path) } else { is_file(&step.path) }
        };
        stores
            .find(|path| !is_store(path))
            .or_else(|| files.find(|path| !is_file(path)))
            .or_else(|| databases.next().map(|(path, _)| path))
            .or_else(|| below.find(|path| !is_below(path) || !path.starts_with("files")))
            .or_else(|| self.steps.iter().find(|step| !of_step(step)).map(|step| step.path.as_path()))
    }

    /// Returns whether a path is still the one that was meant.
    pub fn is_ours(&self, path: &Path) -> bool {
        !self.moved || path.starts_with(&self.state_dir)
    }
}
