//! Putting the originals of mended files back: over what took their place, as long as that is still what was put there.

use std::ffi::OsStr;
use std::path::Path;

use super::{Left, Work};
use crate::change::apply::read_locked;
use crate::change::archive;
use crate::change::manifest::{MendRecord, StepState, StoreRecord};
use crate::disk::dir::Dir;
use crate::model::proof::Stamp;
use crate::model::proof::sha256;
use crate::openclaw::files::lock::{self, Acquired, StoreLock};

const NO_ORIGINAL: &str = "there is no original";

impl Work<'_> {
    /// The mended files whose originals go back: all of a whole run, else those of the wanted keys.
    pub(super) fn mends(&mut self) {
        if self.options.deferred {
            return;
        }
        let all = self.options.keys.is_empty();
        for index in 0..self.source.manifest.mends.len() {
            let record = self.source.manifest.mends[index].clone();
            let wanted = all || record.keys.iter().any(|key| self.wanted(key));
            if !wanted || record.restored || record.state != StepState::Done || !self.in_time() {
                continue;
            }
            match self.original(&record) {
                Ok(Ok(())) => {
                    self.source.manifest.mends[index].restored = true;
                    self.outcome.files += 1;
                    self.outcome.bytes += record.old.map_or(0, |old| old.size);
                }
                Ok(Err(why)) => self.outcome.refused.push(Left::new(record.path.display(), why)),
                Err(error) => self.outcome.failed.push(Left::new(record.path.display(), format!("{error:#}"))),
            }
        }
    }

    /// Puts one original back, or says why not.
    fn original(&mut self, record: &MendRecord) -> anyhow::Result<Result<(), String>> {
        let parent = record.path.parent().unwrap_or(Path::new("/"));
        let name = record.path.file_name().unwrap_or_default();
        if !self.source.manifest.is_ours(parent) {
            return Ok(Err("it lies outside the state directory, which was moved since".to_owned()));
        }
        let dir = Dir::open_below(&self.source.manifest.state_dir, parent)?;
        if let Some(planned) = &record.store_sha256 {
            return self.store_original(record, &dir, name, planned);
        }
        let Some(to) = &record.to else { return Ok(Err(NO_ORIGINAL.to_owned())) };
        let (archive, _) = self.source.locate(to)?;
        // Held until the original is in its place: a turn that is written meanwhile would go with the mended file.
        let _lock = match lock::of_transcript(&dir, name, &archive)? {
            Ok(lock) => lock,
            Err(owner) => return Ok(Err(owner)),
        };
        let now = dir.info(name)?.map(|info| info.stamp);
        if now.is_some_and(|now| !self.is_unchanged(now, record)) {
            if Self::is_in_place(record, &dir, name)? {
                return Ok(Ok(()));
            }
            return self.beside(record, &dir, name);
        }
        if now.is_none() {
            if self.options.as_new {
                return self.beside(record, &dir, name);
            }
            let why = "the mended file is not in its place: restore the run that took it first, or bring the original \
                       back beside it with --as-new";
            return Ok(Err(why.to_owned()));
        }
        self.put_over(record, &dir, name)
    }

    /// The same for a store, under its lock.
    fn store_original(
        &mut self,
        record: &MendRecord,
        dir: &Dir,
        name: &OsStr,
        planned: &str,
    ) -> anyhow::Result<Result<(), String>> {
        let agent = self.source.manifest.stores.iter().find(|store| store.path == record.path);
        let agent = agent.map_or_else(|| "main".to_owned(), |store| store.agent.clone());
        let (archive, below) = self.own.agent_dir(&agent)?;
        self.own.announce_dead_lock(dir, name, &archive, &below)?;
        let taken = StoreLock::acquire(dir, name, &archive, self.options.patience);
        self.own.settle_dead_lock(dir, name, &archive);
        let _lock = match taken? {
            Acquired::Ours(lock) => lock,
            Acquired::Busy(owner) => return Ok(Err(format!("{owner}; nothing in it was touched"))),
        };
        if Self::is_in_place(record, dir, name)? {
            return Ok(Ok(()));
        }
        if dir.info(name)?.is_none() || sha256(&read_locked(dir, name)?.0) != planned {
            return Ok(Err("it was written since it was salvaged: what was broken stays in the archive".to_owned()));
        }
        if record.to.is_none() {
            // There was no file: what stands there is a copy of the backup beside it.
            dir.remove(name)?;
            dir.sync()?;
            return Ok(Ok(()));
        }
        self.put_over(record, dir, name)
    }

    /// Whether a file is still the mended one. In a copied state directory it is another inode.
    fn is_unchanged(&self, now: Stamp, record: &MendRecord) -> bool {
        let Some(new) = record.new else { return false };
        let moved = self.source.manifest.moved;
        now == new || (moved && (now.size, now.mtime_ns) == (new.size, new.mtime_ns))
    }

    fn put_over(&self, record: &MendRecord, dir: &Dir, name: &OsStr) -> anyhow::Result<Result<(), String>> {
        let Some(to) = &record.to else { return Ok(Err(NO_ORIGINAL.to_owned())) };
        let (archive, kept) = self.source.locate(to)?;
        let Some(info) = archive.info(&kept)? else {
            return Ok(Err(format!("{} is not in the archive any more", to.display())));
        };
        let Some(mended) = dir.info(name)? else { return Ok(Err("the mended file is gone".to_owned())) };
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
            return Ok(Err("it was written meanwhile: the original stays in the archive".to_owned()));
        }
        archive.remove(&spare)?;
        Ok(Ok(()))
    }

    /// A restore that was cut off had this one back already; a copy of it may still be in the archive.
    fn is_in_place(record: &MendRecord, dir: &Dir, name: &OsStr) -> anyhow::Result<bool> {
        let content = |stamp: Stamp| (stamp.size, stamp.mtime_ns);
        let now = dir.info(name)?.map(|info| info.stamp);
        Ok(now.map(content) == record.old.map(content) && (record.new.is_none() || now != record.new))
    }

    /// A restore that was cut off had the broken store back already, in which every entry of the run is.
    pub(super) fn is_broken_again(&self, store: &StoreRecord, dir: &Dir, name: &OsStr) -> anyhow::Result<bool> {
        let mends = self.source.manifest.mends.iter();
        let mut mends = mends.filter(|mend| mend.path == store.path && mend.state == StepState::Done);
        mends.next().map_or(Ok(false), |mend| Self::is_in_place(mend, dir, name))
    }

    /// The file was written since: its original comes back beside it, when that was asked for.
    fn beside(&self, record: &MendRecord, dir: &Dir, name: &OsStr) -> anyhow::Result<Result<(), String>> {
        let (Some(to), true) = (&record.to, self.options.as_new) else {
            return Ok(Err(
                "it was written since it was mended; --as-new brings the original back beside it".to_owned()
            ));
        };
        let (archive, kept) = self.source.locate(to)?;
        let new = dir.free_name(&self.new_name(name), |_| false)?;
        archive.move_to(&kept, dir, &new)?;
        dir.sync()?;
        Ok(Ok(()))
    }
}
