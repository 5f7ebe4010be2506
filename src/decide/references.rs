//! References: which transcripts something still points at, by path and by session id (`openclaw-format.md` §1.4).

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::verdict::Classified;
use crate::model::entry::Entry;
use crate::model::inventory::{Binding, Content, Inventory};
use crate::model::names::is_session_id;

/// Files and ids that something refers to.
pub struct References {
    paths: HashSet<PathBuf>,
    ids: HashSet<String>,
}

impl References {
    /// What the bindings that stay refer to.
    pub fn of_kept(inventory: &Inventory, bindings: &[Classified]) -> Self {
        let kept = bindings.iter().filter(|one| !one.verdict.action.removes());
        Self::collect(inventory, kept)
    }

    /// What any binding, or any other file of the state directory, refers to.
    pub fn of_all(inventory: &Inventory, bindings: &[Classified]) -> Self {
        let mut all = Self::collect(inventory, bindings.iter());
        all.ids.extend(inventory.side.cron_session_ids.iter().cloned());
        all
    }

    fn collect<'a>(inventory: &Inventory, bindings: impl Iterator<Item = &'a Classified>) -> Self {
        let mut references = Self { paths: HashSet::new(), ids: HashSet::new() };
        for store in inventory.stores.iter().filter(|store| !store.selected) {
            store.bindings.iter().for_each(|binding| references.add(binding, store.dir()));
        }
        for one in bindings {
            references.add(one.binding(inventory), one.store(inventory).dir());
        }
        references
    }

    /// What these entries of a store in `dir` refer to.
    pub fn of_entries<'a>(entries: impl IntoIterator<Item = &'a Entry>, dir: &Path) -> Self {
        let mut references = Self { paths: HashSet::new(), ids: HashSet::new() };
        entries.into_iter().for_each(|entry| references.add_entry(entry, dir));
        references
    }

    fn add(&mut self, binding: &Binding, dir: &Path) {
        self.paths.extend(binding.transcript.path.clone());
        self.add_entry(&binding.entry, dir);
        if let Content::Read(summary) = &binding.transcript.content {
            let parent = summary.parent_session.as_deref().and_then(|path| Path::new(path).file_name());
            self.paths.extend(parent.map(|name| dir.join(name)));
        }
    }

    fn add_entry(&mut self, entry: &Entry, dir: &Path) {
        let named = entry.session_file.iter().chain(&entry.checkpoint_files);
        for name in named {
            // Whatever directory it names, the file of that name beside the store is what a copied state has (F§4.2).
            self.paths.extend(Path::new(name).file_name().map(|name| dir.join(name)));
            self.paths.extend(name.rsplit_once('\\').map(|(_, name)| dir.join(name)));
            self.paths.insert(dir.join(name));
        }
        if let Some(id) = entry.session_id.as_ref().filter(|id| is_session_id(id)) {
            self.paths.insert(dir.join(format!("{}.jsonl", id.trim())));
            self.ids.insert(id.trim().to_owned());
        }
    }

    /// Whether something refers to the file at `path`, to the session that its name says, or to the session `id`.
    pub fn refer_to(&self, path: &Path, id: Option<&str>) -> bool {
        let named = path.file_name().and_then(|name| name.to_str()).and_then(session_of);
        self.paths.contains(path) || [id.map(str::trim), named].into_iter().flatten().any(|id| self.ids.contains(id))
    }
}

/// The session id in `<id>.jsonl` and `<id>-topic-<n>.jsonl`.
fn session_of(name: &str) -> Option<&str> {
    let stem = name.strip_suffix(".jsonl")?;
    Some(stem.split_once("-topic-").map_or(stem, |(id, _)| id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c23_an_id_that_begins_another_id_is_not_that_id() {
        let references = References { paths: HashSet::new(), ids: HashSet::from(["abc".to_owned()]) };
        assert!(references.refer_to(Path::new("/x/abc.jsonl"), None));
        assert!(references.refer_to(Path::new("/x/abc-topic-7.jsonl"), None));
        assert!(!references.refer_to(Path::new("/x/abcd.jsonl"), None));
        assert!(!references.refer_to(Path::new("/x/ab.jsonl"), None));
        assert!(references.refer_to(Path::new("/x/other.jsonl"), Some("abc")));
    }
}
