//! Changing rows: a batch is one transaction. What it changes is safe in the archive and known to the manifest before it
//! is committed; a crash before that leaves the old, and after it the new.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;

use rusqlite::Connection;

use super::Applying;
use crate::change::manifest::{ArchivePart, Batch, BatchSource, EntryRecord, RowImages, StepState};
use crate::change::outcome::{Late, Refusal, Subject};
use crate::change::rows::kept::{self, Image, Keeper};
use crate::change::rows::open::{Target, Writable};
use crate::change::rows::unit::{Named, Unit};
use crate::change::run::Shelf;
use crate::decide::plan::Plan;
use crate::decide::rows::plan::{RowItem, RowsPlan};
use crate::decide::verdict::Action;
use crate::model::row::RowChange;
use crate::openclaw::rows::shape::{BY_KEY, BY_SESSION, Shape};

/// So many bytes of rows, and so many changes, go in one transaction: OpenClaw waits for the lock on its main thread.
const MOST: (u64, usize) = (16 << 20, 500);

impl Applying<'_> {
    /// Makes the planned changes of every database. A database that is refused is left as it is; the others are done.
    pub(super) fn rows(&mut self, plan: &Plan<'_>) {
        for rows in &plan.rows {
            match self.database(rows) {
                Ok(Ok(())) => {}
                Ok(Err(refusal)) => self.outcome.leave(Subject::Path(rows.store.clone()), refusal),
                Err(error) => self.outcome.leave(Subject::Path(rows.store.clone()), error),
            }
        }
    }

    fn database(&mut self, plan: &RowsPlan<'_>) -> anyhow::Result<Result<(), Refusal>> {
        let state_dir = self.run.manifest.state_dir.clone();
        let target = Target {
            state_dir: &state_dir,
            database: &plan.database,
            dir: Some(plan.dir),
            agent: &plan.agent,
            schema: plan.schema,
        };
        let writable = match target.open(true)? {
            Ok(writable) => writable,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let named = Named::read(&writable.db)?;
        let version = data_version(&writable.db)?;
        let mut left = plan.items.as_slice();
        while !left.is_empty() {
            if self.is_late() {
                self.outcome.leave(Subject::Path(plan.store.clone()), Late::Bindings(left.len()));
                break;
            }
            let (now, later) = left.split_at(share(left));
            left = later;
            let shape = match target.begin(&writable)? {
                Ok(shape) => shape,
                Err(refusal) => return Ok(Err(refusal)),
            };
            // Somebody wrote since the entries were read: what they name is read again.
            let again = (data_version(&writable.db)? != version).then(|| Named::read(&writable.db)).transpose()?;
            let done = self.batch(plan, now, &writable, &shape, again.as_ref().unwrap_or(&named));
            if let Err(error) = done {
                // A commit that failed has ended the transaction, or not.
                let _ = writable.db.execute_batch("ROLLBACK");
                return Err(error);
            }
        }
        // The last one to close a database brings its log in, as a gateway that ends does.
        writable.db.close().map_err(|(_, error)| error)?;
        Ok(Ok(()))
    }

    /// Makes some changes in one transaction, which has begun.
    fn batch(
        &mut self,
        plan: &RowsPlan<'_>,
        items: &[RowItem<'_>],
        writable: &Writable,
        shape: &Shape,
        named: &Named,
    ) -> anyhow::Result<()> {
        let db = &writable.db;
        let shelf = self.run.shelf(&plan.agent)?;
        let name = self.free_name(&shelf, OsString::from("sessions.rows.sqlite").as_os_str())?;
        let (temporary, path) = kept::temporary(&shelf.dir, &name);
        let mut keeper = Keeper::begin(path)?;
        let counts = counts(db, shape)?;
        let leaving =
            items.iter().filter(|item| item.change == RowChange::TakeOut).map(|item| item.key.clone()).collect();
        let entries = self.units(items, db, shape, &mut keeper, named, &leaving)?;
        if entries.is_empty() {
            db.execute_batch("ROLLBACK")?;
            drop(keeper);
            return shelf.dir.remove(&temporary);
        }
        check(db, shape, &keeper, &counts)?;
        let rows = keeper.rows;
        let sha256 = keeper.end(&self.run, &shelf.dir, &temporary, &name)?;
        self.commit(plan, db, &shelf, entries, (shelf.below.join(&name), sha256, rows))?;
        let taken = self.outcome.taken.entry(plan.store.clone()).or_default();
        taken.extend(items.iter().filter(|item| item.action.removes()).map(|item| item.key.clone()));
        Ok(())
    }

    /// Makes one change after the other; their records. One that does not fit any more is left.
    fn units(
        &mut self,
        items: &[RowItem<'_>],
        db: &Connection,
        shape: &Shape,
        keeper: &mut Keeper,
        named: &Named,
        leaving: &HashSet<String>,
    ) -> anyhow::Result<Vec<EntryRecord>> {
        let mut entries = Vec::new();
        // Keys that share a session come back together.
        let mut shared: HashMap<&str, u32> = HashMap::new();
        let now = self.run.manifest.started_at;
        for (at, item) in items.iter().enumerate() {
            let number = at as u32 + 1;
            let session = item.session_id.as_deref().filter(|_| item.change == RowChange::TakeOut);
            let number = session.map_or(number, |session| *shared.entry(session).or_insert(number));
            let before = keeper.bytes;
            let mut unit = Unit { db, shape, keeper, number, named, leaving, now };
            match unit.make(item)? {
                Ok(()) => entries.push(record(item, number, keeper.bytes - before)),
                Err(refusal) => {
                    let subject = Subject::binding(&item.agent, self.run.manifest.state_dir.clone(), &item.key);
                    self.outcome.leave(subject, refusal);
                }
            }
        }
        Ok(entries)
    }

    /// Records the batch, commits it, and counts what was done.
    fn commit(
        &mut self,
        plan: &RowsPlan<'_>,
        db: &Connection,
        _shelf: &Shelf,
        entries: Vec<EntryRecord>,
        (kept, sha256, rows): (std::path::PathBuf, String, u64),
    ) -> anyhow::Result<()> {
        let images = RowImages { database: plan.database.clone(), schema: plan.schema, kept, sha256, rows };
        self.run.manifest.batches.push(Batch {
            agent: plan.agent.clone(),
            store: plan.store.clone(),
            dir: plan.dir,
            state: StepState::Planned,
            from: BatchSource::Rows(images),
            entries,
        });
        self.run.save()?;
        let committed = db.execute_batch("COMMIT");
        let Some(batch) = self.run.manifest.batches.last_mut() else { return Ok(()) };
        if let Err(error) = committed {
            // Rolled back: nothing of it happened.
            batch.state = StepState::Skipped;
            return Err(error.into());
        }
        batch.state = StepState::Done;
        let totals = &mut self.outcome.totals;
        for entry in &batch.entries {
            match entry.action {
                Action::Quarantine => totals.quarantine += 1,
                Action::Defer => totals.defer += 1,
                Action::Repair => totals.repair += 1,
                Action::Settle => totals.settle += 1,
                Action::Archive => totals.mark += 1,
                Action::Trim => totals.trim += 1,
                Action::Expire | Action::Keep => totals.expire += 1,
            }
            if !matches!(entry.action, Action::Settle | Action::Archive | Action::Repair) {
                totals.freed_bytes += entry.bytes();
            }
        }
        Ok(())
    }
}

/// How many of the changes go in the next transaction.
fn share(items: &[RowItem<'_>]) -> usize {
    let mut bytes = 0;
    let fits = items.iter().take(MOST.1).take_while(|item| {
        bytes += item.bytes;
        bytes <= MOST.0
    });
    fits.count().max(1)
}

fn record(item: &RowItem<'_>, unit: u32, bytes: u64) -> EntryRecord {
    EntryRecord {
        agent: item.agent.clone(),
        key: item.key.clone(),
        class: item.class,
        action: item.action,
        reasons: item.reasons.clone(),
        part: ArchivePart::Unit { unit, bytes },
        session_id: item.session_id.clone(),
        active_at: item.active_at,
        file: None,
        undone: None,
        superseded: false,
    }
}

/// A number that changes when another connection writes.
fn data_version(db: &Connection) -> anyhow::Result<i64> {
    Ok(db.pragma_query_value(None, "data_version", |row| row.get(0))?)
}

/// How many rows every table of sessions has.
fn counts(db: &Connection, shape: &Shape) -> anyhow::Result<BTreeMap<&'static str, i64>> {
    let tables = ["session_nodes", "session_windows"].into_iter().chain(BY_KEY).chain(BY_SESSION);
    let count = |table: &'static str| {
        let count = db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?;
        Ok((table, count))
    };
    tables.filter(|table| shape.has(table)).map(count).collect()
}

/// Makes sure that as many rows went as are in the archive, and no other.
fn check(db: &Connection, shape: &Shape, keeper: &Keeper, before: &BTreeMap<&'static str, i64>) -> anyhow::Result<()> {
    for (table, after) in counts(db, shape)? {
        let gone = keeper.count(table, Image::Before)? - keeper.count(table, Image::After)?;
        let expected = before.get(table).copied().unwrap_or_default() - gone;
        anyhow::ensure!(after == expected, "{table} would have {after} rows, not {expected}: nothing was changed");
    }
    Ok(())
}
