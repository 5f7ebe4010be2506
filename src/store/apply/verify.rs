//! Planned is done: after a run everything is read again.

use std::collections::HashMap;
use std::path::Path;

use rayon::prelude::*;

use super::read_locked;
use crate::decide::plan::sha256;
use crate::model::store::{self, Effective};
use crate::store::dir::Dir;
use crate::store::journal::Run;
use crate::store::manifest::{StepState, StoreRecord};

/// Reads everything again: what was taken is gone from its place and whole in the archive.
pub(super) fn verify(run: &Run) -> Vec<String> {
    let stores: Vec<&StoreRecord> =
        run.manifest.stores.iter().filter(|record| record.state == StepState::Done).collect();
    let mut mismatches: Vec<String> = stores.into_par_iter().flat_map_iter(verify_store).collect();
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

/// What of the entries that were taken is still in a store.
fn verify_store(record: &StoreRecord) -> Vec<String> {
    let parent = record.path.parent().unwrap_or(Path::new("/"));
    let name = record.path.file_name().unwrap_or_default();
    let read = Dir::open(parent).and_then(|dir| read_locked(&dir, name));
    let Ok((text, document)) = read.and_then(|(text, _)| {
        let document = store::read(&text).map_err(|_| anyhow::anyhow!("not a store"))?;
        Ok((text, document))
    }) else {
        return vec![format!("{} cannot be read again", record.path.display())];
    };
    let gone: HashMap<&str, &str> =
        record.entries.iter().map(|entry| (entry.key.as_str(), entry.entry_sha256.as_str())).collect();
    let is_still_there = |place: &Effective| {
        let bytes = document.members[place.member].entry.span.of(&text);
        gone.get(place.key.as_str()).is_some_and(|hash| **hash == sha256(bytes))
    };
    let places = document.effective(&text).into_iter().filter(is_still_there);
    places.map(|place| format!("{} is still in {}", place.key, record.path.display())).collect()
}
