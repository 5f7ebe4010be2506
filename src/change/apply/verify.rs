//! Planned is done: a store is read again once it was written, the archive when all is done.

use std::collections::HashMap;
use std::ffi::OsStr;

use anyhow::Context as _;

use super::bindings::{Gone, kept};
use super::current::{Current, holds};
use crate::change::archive::parts;
use crate::change::manifest::StepState;
use crate::change::outcome::{Left, NotDone, Subject};
use crate::change::run::Run;
use crate::decide::plan::Item;
use crate::disk::dir::Dir;
use crate::model::json;
use crate::model::store::Document;

/// Returns what is not whole in the archive.
pub(super) fn archived(run: &Run) -> Vec<Left> {
    let done = run.manifest.steps.iter().filter(|step| step.state == StepState::Done);
    let lost = done.filter(|step| {
        let Some((kept, before)) = step.kept().zip(step.before.as_ref()) else { return false };
        let found = run.locate(kept).and_then(|(dir, name)| dir.info(&name));
        !matches!(found, Ok(Some(info)) if info.stamp.size == before.stamp.size)
    });
    lost.map(|step| Left::new(Subject::Path(step.path.clone()), NotDone::NotWhole)).collect()
}

impl Gone<'_> {
    /// Reads the store again, and returns what of it is still there.
    pub(super) fn verify(self) -> Vec<Left> {
        let found = parts(self.store).and_then(|(parent, name)| self.found_in(&Dir::open(parent)?, name));
        match found {
            Ok(keys) => {
                let agent = |key: &str| self.items.iter().find(|item| item.key == key).map(|item| item.agent.clone());
                let subject = |key: String| Subject::binding(agent(&key).unwrap_or_default(), self.store, key);
                keys.into_iter().map(|key| Left::new(subject(key), NotDone::StillBound)).collect()
            }
            Err(_) => vec![Left::new(Subject::Path(self.store.to_owned()), NotDone::Unreadable)],
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
