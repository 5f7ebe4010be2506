//! Planned is done: a store is read again once it was written, the archive when all is done.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::Path;

use anyhow::Context as _;

use super::bindings::{Gone, kept};
use super::current::{Current, holds};
use crate::change::journal::Run;
use crate::change::manifest::StepState;
use crate::decide::plan::Item;
use crate::disk::dir::Dir;
use crate::model::json;
use crate::model::store::Document;

/// Whether what was moved is whole in the archive.
pub(super) fn archived(run: &Run) -> Vec<String> {
    let mut mismatches = Vec::new();
    for record in run.manifest.moves.iter().filter(|record| record.state == StepState::Done) {
        let kept = run.locate(&record.to).and_then(|(dir, name)| dir.info(&name));
        if !matches!(kept, Ok(Some(info)) if info.stamp.size == record.stamp.size) {
            mismatches.push(format!("{} did not arrive whole in the archive", record.from.display()));
        }
    }
    for record in run.manifest.mends.iter().filter(|record| record.state == StepState::Done) {
        let Some((to, old)) = record.to.as_ref().zip(record.old) else { continue };
        let kept = run.locate(to).and_then(|(dir, name)| dir.info(&name));
        if !matches!(kept, Ok(Some(info)) if info.stamp.size == old.size) {
            mismatches.push(format!("the original of {} is not whole in the archive", record.path.display()));
        }
    }
    mismatches
}

impl Gone<'_> {
    /// Reads the store again: what of it is still there.
    pub(super) fn verify(self) -> Vec<String> {
        let dir = Dir::open(self.store.parent().unwrap_or(Path::new("/")));
        let found = dir.and_then(|dir| self.found_in(&dir, self.store.file_name().unwrap_or_default()));
        match found {
            Ok(keys) => keys.iter().map(|key| format!("{key} is still in {}", self.store.display())).collect(),
            Err(_) => vec![format!("{} cannot be read again", self.store.display())],
        }
    }

    fn found_in(&self, dir: &Dir, name: &OsStr) -> anyhow::Result<Vec<String>> {
        let items: HashMap<&str, &Item<'_>> = self.items.iter().map(|item| (item.key.as_str(), *item)).collect();
        let Document { members, .. } = &*self.old.document;
        // As a rule it has, byte for byte, what was to stay.
        if holds(&mut dir.open_file(name)?.0, kept(&self.old.text, &self.cuts))? {
            let mut cuts = self.cuts.iter().peekable();
            let stays = members.iter().filter(|member| {
                while cuts.next_if(|cut| cut.end <= member.key.start).is_some() {}
                cuts.peek().is_none_or(|cut| member.key.start < cut.start)
            });
            let keys = stays.map(|member| json::unescape(member.key.of(&self.old.text)));
            return Ok(keys.filter(|key| items.contains_key(key.as_str())).collect());
        }
        let now = Current::read(dir, name, None)?.context("not a store")?;
        let places = now.document.effective(&now.text).into_iter();
        let there = places.filter(|place| items.get(place.key.as_str()).is_some_and(|item| now.has(item, place)));
        Ok(there.map(|place| place.key).collect())
    }
}
