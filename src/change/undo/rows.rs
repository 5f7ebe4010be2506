//! Rows that come back, unit by unit: what was written since is left as it is.

use std::collections::BTreeSet;

use super::Restoring;
use crate::change::manifest::{Batch, EntryRecord, RowImages, StepState, Undone};
use crate::change::outcome::{Bound, Refusal, Subject};
use crate::change::rows::back::ReturningUnit;
use crate::change::rows::kept::Kept;
use crate::change::rows::open::Target;
use crate::decide::verdict::Action;
use crate::model::ids::BindingId;

impl Restoring<'_> {
    /// Puts the wanted units of a database back.
    pub(super) fn rows(&mut self, at: usize, batch: &Batch) -> anyhow::Result<Result<(), Refusal>> {
        let Some(images) = batch.images() else { return Ok(Ok(())) };
        let due = |entry: &&EntryRecord| entry.is_away() && self.options.asked.wants(&batch.store, entry);
        let wanted: Vec<&EntryRecord> = batch.entries.iter().filter(due).collect();
        if batch.state != StepState::Done || wanted.is_empty() || !self.in_time() {
            return Ok(Ok(()));
        }
        if !self.source.manifest.is_ours(&images.database) {
            return Ok(Err(Refusal::Outside));
        }
        let (dir, name) = self.source.locate(&images.kept)?;
        let Some(kept) = Kept::open(&dir, &name, &images.sha256)? else {
            return Ok(Err(Refusal::Damaged(images.kept.clone())));
        };
        // What was mended may have had no owner: it comes back as it was, foreign keys or not.
        for mended in [false, true] {
            let of_kind = wanted.iter().filter(|entry| (entry.action == Action::Repair) == mended);
            let units: BTreeSet<u32> = of_kind.filter_map(|entry| entry.unit()).collect();
            if units.is_empty() {
                continue;
            }
            match self.units(at, (batch, images), &kept, &units, !mended)? {
                Ok(()) => {}
                Err(refusal) => return Ok(Err(refusal)),
            }
        }
        Ok(Ok(()))
    }

    /// Brings some units back in one transaction, or only looks whether they would come back.
    fn units(
        &mut self,
        at: usize,
        (batch, images): (&Batch, &RowImages),
        kept: &Kept,
        units: &BTreeSet<u32>,
        keys: bool,
    ) -> anyhow::Result<Result<(), Refusal>> {
        let state_dir = self.source.manifest.state_dir.clone();
        let (database, agent, schema) = (images.database.as_path(), batch.agent.as_str(), images.schema);
        let target = Target { state_dir: &state_dir, database, dir: None, agent, schema };
        let all = (kept, units, keys);
        let tried = if self.own.is_some() { bring(&target, all)? } else { self.look(&target, all)? };
        let tried = match tried {
            Ok(tried) => tried,
            Err(refusal) => return Ok(Err(refusal)),
        };
        for (unit, refusal) in tried {
            for index in 0..batch.entries.len() {
                let entry = &mut self.source.manifest.batches[at].entries[index];
                if entry.unit() != Some(unit) || !entry.is_away() {
                    continue;
                }
                if let Some(refusal) = &refusal {
                    let subject = Subject::binding(&entry.agent, &batch.store, &entry.key);
                    self.leave(subject, refusal.clone());
                    continue;
                }
                entry.undone = Some(Undone::Restored);
                let back = &mut self.outcome.back;
                back.bytes += entry.bytes();
                back.damaged += usize::from(entry.action == Action::Repair);
                back.running += usize::from(entry.action == Action::Settle);
                let id = BindingId::new(&batch.store, &entry.key);
                back.bindings.push(Bound { agent: entry.agent.clone(), id });
            }
        }
        Ok(Ok(()))
    }

    /// Finds out which units would come back. Reads only.
    fn look(&mut self, target: &Target<'_>, (kept, units, keys): Units<'_>) -> anyhow::Result<Result<Tried, Refusal>> {
        let (opened, shape) = match target.look(self.options.deadline)? {
            Ok(opened) => opened,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let mut tried = Tried::new();
        for &unit in units.iter().rev() {
            let returning = ReturningUnit { db: &opened.db, shape: &shape, kept, unit, keys };
            tried.push((unit, returning.look(target.database, &mut self.returned_rows)?.err()));
        }
        Ok(Ok(tried))
    }
}

/// The units of an archive that are to come back, and whether foreign keys are held to.
type Units<'a> = (&'a Kept, &'a BTreeSet<u32>, bool);

/// Units, and why those of them that did not come back did not.
type Tried = Vec<(u32, Option<Refusal>)>;

/// Brings units back in one transaction. One that cannot come back is left, and the others come.
fn bring(target: &Target<'_>, (kept, units, keys): Units<'_>) -> anyhow::Result<Result<Tried, Refusal>> {
    let writable = match target.open(keys)? {
        Ok(writable) => writable,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let shape = match target.begin(&writable)? {
        Ok(shape) => shape,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let db = &writable.db;
    let mut tried = Tried::new();
    // The last change is undone first: units may have changed the same rows.
    for &unit in units.iter().rev() {
        db.execute_batch("SAVEPOINT unit")?;
        let back = ReturningUnit { db, shape: &shape, kept, unit, keys }.bring();
        let refusal = back.map_or_else(|error| Some(error.into()), Result::err);
        db.execute_batch(if refusal.is_some() { "ROLLBACK TO unit; RELEASE unit" } else { "RELEASE unit" })?;
        tried.push((unit, refusal));
    }
    db.execute_batch("COMMIT")?;
    writable.db.close().map_err(|(_, error)| error)?;
    Ok(Ok(tried))
}
