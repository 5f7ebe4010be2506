//! Rows that come back, unit by unit: what was written since is left as it is.

use std::collections::BTreeSet;

use super::Restoring;
use crate::change::manifest::{ArchivePart, Batch, EntryRecord, RowImages, StepState, Undone};
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

    /// Brings some units back in one transaction.
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
        let writable = match target.open(keys)? {
            Ok(writable) => writable,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let shape = match target.begin(&writable)? {
            Ok(shape) => shape,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let mut back = Vec::new();
        // The last change is undone first: units may have changed the same rows.
        for &unit in units.iter().rev() {
            writable.db.execute_batch("SAVEPOINT unit")?;
            match (ReturningUnit { db: &writable.db, shape: &shape, kept, unit }).bring()? {
                Ok(_) => {
                    writable.db.execute_batch("RELEASE unit")?;
                    back.push(unit);
                }
                Err(refusal) => {
                    writable.db.execute_batch("ROLLBACK TO unit; RELEASE unit")?;
                    for entry in batch.entries.iter().filter(|entry| entry.unit() == Some(unit)) {
                        self.leave(Subject::binding(&entry.agent, &batch.store, &entry.key), refusal.clone());
                    }
                }
            }
        }
        writable.db.execute_batch("COMMIT")?;
        writable.db.close().map_err(|(_, error)| error)?;
        for entry in &mut self.source.manifest.batches[at].entries {
            if !matches!(entry.part, ArchivePart::Unit { unit, .. } if back.contains(&unit)) || !entry.is_away() {
                continue;
            }
            entry.undone = Some(Undone::Restored);
            self.outcome.back.bytes += entry.bytes();
            self.outcome.back.damaged += usize::from(entry.action == Action::Repair);
            self.outcome.back.running += usize::from(entry.action == Action::Settle);
            let id = BindingId::new(&batch.store, &entry.key);
            self.outcome.back.bindings.push(Bound { agent: entry.agent.clone(), id });
        }
        Ok(Ok(()))
    }
}
