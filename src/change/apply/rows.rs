//! Changing rows: a batch is one transaction. What it changes is safe in the archive and known to the manifest before it
//! is committed; a crash before that leaves the old, and after it the new.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;

use rusqlite::{Connection, ErrorCode};

use super::Applying;
use crate::change::manifest::{ArchivePart, Batch, BatchSource, EntryRecord, RowImages, StepState};
use crate::change::outcome::{Late, Left, Refusal, Subject};
use crate::change::rows::kept::{self, Image, Keeper};
use crate::change::rows::open::{Target, Writable};
use crate::change::rows::unit::{Named, Unit};
use crate::decide::plan::Plan;
use crate::decide::rows::plan::{RowItem, RowsPlan};
use crate::decide::verdict::Action;
use crate::model::row::RowChange;
use crate::openclaw::rows::shape::{BY_KEY, BY_SESSION, Shape};

/// Limits of one transaction, in bytes of rows and in changes: OpenClaw waits for the lock on its main thread.
const MOST: (u64, usize) = (16 << 20, 500);

/// A database that is being changed.
struct Changing<'a> {
    plan: &'a RowsPlan<'a>,
    target: Target<'a>,
    writable: Writable,
    /// Sessions that entries named at this version of the data.
    named: (i64, Named),
}

/// A change that cannot be made: its place in the transaction, and why.
type Failed = (usize, Refusal);

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
        // The version first: what is written while the entries are read makes another one.
        let named = (data_version(&writable.db)?, Named::read(&writable.db)?);
        let changing = Changing { plan, target, writable, named };
        let mut left = plan.items.as_slice();
        while !left.is_empty() {
            if self.is_late() {
                self.outcome.leave(Subject::Path(plan.store.clone()), Late::Bindings(left.len()));
                break;
            }
            let (now, later) = left.split_at(share(left));
            left = later;
            if let Err(refusal) = self.transaction(&changing, now.iter().collect())? {
                return Ok(Err(refusal));
            }
        }
        // The last one to close a database brings its log in, as a gateway that ends does.
        changing.writable.db.close().map_err(|(_, error)| error)?;
        Ok(Ok(()))
    }

    /// Makes some changes in one transaction. One that cannot be made is left, and the others are made without it.
    fn transaction(
        &mut self,
        changing: &Changing<'_>,
        mut items: Vec<&RowItem<'_>>,
    ) -> anyhow::Result<Result<(), Refusal>> {
        let db = &changing.writable.db;
        let shelf = self.run.shelf(&changing.plan.agent)?;
        let name = self.free_name(&shelf, OsString::from("sessions.rows.sqlite").as_os_str())?;
        let (temporary, path) = kept::temporary(&shelf.dir, &name);
        let images = loop {
            let shape = match changing.target.begin(&changing.writable)? {
                Ok(shape) => shape,
                Err(refusal) => return Ok(Err(refusal)),
            };
            let made = Keeper::begin(path.clone()).and_then(|mut keeper| {
                match self.units(changing, &mut items, &shape, &mut keeper)? {
                    Ok(entries) if entries.is_empty() => Ok(Ok(None)),
                    Ok(entries) => {
                        let rows = keeper.rows;
                        let sha256 = keeper.end(&self.run, &shelf.dir, &temporary, &name)?;
                        Ok(Ok(Some((entries, sha256, rows))))
                    }
                    Err(failed) => Ok(Err(failed)),
                }
            });
            match made {
                Ok(Ok(Some(made))) => break made,
                nothing => {
                    // An error may have ended the transaction already: then nothing is left to roll back.
                    let _ = db.execute_batch("ROLLBACK");
                    shelf.dir.remove(&temporary)?;
                    let Err((at, refusal)) = nothing? else { return Ok(Ok(())) };
                    self.leave_row(changing.plan, items.remove(at), refusal);
                }
            }
        };
        let (entries, sha256, rows) = images;
        let (database, schema) = (changing.plan.database.clone(), changing.plan.schema);
        let images = RowImages { database, schema, kept: shelf.below.join(&name), sha256, rows };
        self.commit(changing.plan, db, entries, images)?;
        Ok(Ok(()))
    }

    /// Makes one change after the other, and returns their records. What does not fit any more is left, and is no longer
    /// among the items; one that fails ends the transaction.
    fn units(
        &mut self,
        changing: &Changing<'_>,
        items: &mut Vec<&RowItem<'_>>,
        shape: &Shape,
        keeper: &mut Keeper,
    ) -> anyhow::Result<Result<Vec<EntryRecord>, Failed>> {
        let db = &changing.writable.db;
        // Somebody wrote since the entries were read: what they name is read again.
        let (version, named) = &changing.named;
        let again = (data_version(db)? != *version).then(|| Named::read(db)).transpose()?;
        let named = again.as_ref().unwrap_or(named);
        let counts = counts(db, shape)?;
        let now = self.run.manifest.started_at;
        let leaving = leaving(items);
        let mut unit = Unit { db, shape, keeper, number: 0, named, leaving: &leaving, now };
        // All of them are looked at before the first is made: several changes of a key are planned on the same rows.
        let mut fitting = Vec::with_capacity(items.len());
        for item in items.drain(..) {
            match unit.fits(item)? {
                Ok(()) => fitting.push(item),
                Err(changed) => self.leave_row(changing.plan, item, changed.into()),
            }
        }
        *items = fitting;
        let leaving = self::leaving(items);
        unit.leaving = &leaving;
        // Keys that share a session come back together.
        let mut shared: HashMap<&str, u32> = HashMap::new();
        let mut entries = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            let number = at as u32 + 1;
            let session = item.session_id.as_deref().filter(|_| item.change == RowChange::TakeOut);
            unit.number = session.map_or(number, |session| *shared.entry(session).or_insert(number));
            let before = unit.keeper.bytes;
            match unit.make(item) {
                Ok(Ok(())) => entries.push(record(item, unit.number, unit.keeper.bytes - before)),
                Ok(Err(refusal)) => return Ok(Err((at, refusal))),
                Err(error) if is_of_item(&error) && !db.is_autocommit() => return Ok(Err((at, error.into()))),
                Err(error) => return Err(error),
            }
        }
        check(db, shape, keeper, &counts)?;
        Ok(Ok(entries))
    }

    /// Leaves a change; several of one key that are left for the same reason are told once.
    fn leave_row(&mut self, plan: &RowsPlan<'_>, item: &RowItem<'_>, refusal: Refusal) {
        let left = Left::new(Subject::binding(&item.agent, &plan.store, &item.key), refusal);
        if !self.outcome.left.contains(&left) {
            self.outcome.left.push(left);
        }
    }

    /// Records the batch, commits it, and counts what was done.
    fn commit(
        &mut self,
        plan: &RowsPlan<'_>,
        db: &Connection,
        entries: Vec<EntryRecord>,
        images: RowImages,
    ) -> anyhow::Result<()> {
        self.run.manifest.batches.push(Batch {
            agent: plan.agent.clone(),
            store: plan.store.clone(),
            dir: plan.dir,
            state: StepState::Planned,
            from: BatchSource::Rows(images),
            entries,
        });
        let saved = self.run.save();
        let committed = saved.and_then(|()| Ok(db.execute_batch("COMMIT")?));
        let Some(batch) = self.run.manifest.batches.last_mut() else { return Ok(()) };
        if let Err(error) = committed {
            // A transaction that is open still is rolled back. One that an error ended may have come to the disk: the
            // next run finds out, and until then the archive stays.
            if !db.is_autocommit() && db.execute_batch("ROLLBACK").is_ok() {
                batch.state = StepState::Skipped;
            }
            return Err(error);
        }
        batch.state = StepState::Done;
        let gone = batch.entries.iter().filter(|entry| entry.action.removes()).map(|entry| entry.key.clone());
        self.outcome.taken.entry(plan.store.clone()).or_default().extend(gone);
        let totals = &mut self.outcome.totals;
        for entry in &batch.entries {
            totals.count(entry.action);
            if !matches!(entry.action, Action::Settle | Action::Archive | Action::Repair) {
                totals.freed_bytes += entry.bytes();
            }
        }
        Ok(())
    }
}

/// Returns the keys that leave with these changes.
fn leaving(items: &[&RowItem<'_>]) -> HashSet<String> {
    items.iter().filter(|item| item.change == RowChange::TakeOut).map(|item| item.key.clone()).collect()
}

/// Returns whether an error lies in the rows of one change: the others can be made.
fn is_of_item(error: &anyhow::Error) -> bool {
    let of_sqlite = error.chain().find_map(|cause| cause.downcast_ref::<rusqlite::Error>());
    let code = of_sqlite.and_then(rusqlite::Error::sqlite_error_code);
    code.is_none_or(|code| code == ErrorCode::ConstraintViolation) && !error.root_cause().is::<std::io::Error>()
}

/// Returns how many of the changes go in the next transaction: those of one key go together.
fn share(items: &[RowItem<'_>]) -> usize {
    let mut bytes = 0;
    let fits = items.iter().take(MOST.1).take_while(|item| {
        bytes += item.bytes;
        bytes <= MOST.0
    });
    let count = fits.count().max(1);
    let last = items.get(count - 1).map(|item| &item.key);
    count + items[count..].iter().take_while(|item| Some(&item.key) == last).count()
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
