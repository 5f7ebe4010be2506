//! Planned is done: after a run everything is read again.

use std::collections::HashMap;
use std::path::Path;

use super::read_locked;
use crate::decide::plan::sha256;
use crate::model::store;
use crate::store::dir::Dir;
use crate::store::journal::Run;
use crate::store::manifest::StepState;

/// Reads everything again: what was taken is gone from its place and whole in the archive.
pub(super) fn verify(run: &Run) -> Vec<String> {
    let mut mismatches = Vec::new();
    for record in run.manifest.stores.iter().filter(|record| record.state == StepState::Done) {
        let parent = record.path.parent().unwrap_or(Path::new("/"));
        let name = record.path.file_name().unwrap_or_default();
        let read = Dir::open(parent).and_then(|dir| read_locked(&dir, name));
        let Ok((text, document)) = read.and_then(|(text, _)| {
            let document = store::read(&text).map_err(|_| anyhow::anyhow!("not a store"))?;
            Ok((text, document))
        }) else {
            mismatches.push(format!("{} cannot be read again", record.path.display()));
            continue;
        };
        let gone: HashMap<&str, &str> =
            record.entries.iter().map(|entry| (entry.key.as_str(), entry.entry_sha256.as_str())).collect();
        for place in document.effective(&text) {
            let bytes = document.members[place.member].entry.span.of(&text);
            if gone.get(place.key.as_str()).is_some_and(|hash| **hash == sha256(bytes)) {
                mismatches.push(format!("{} is still in {}", place.key, record.path.display()));
            }
        }
    }
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
