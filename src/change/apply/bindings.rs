//! Taking bindings out of stores: what leaves is safe in the archive and known to the manifest before the new store
//! takes the place of the old one.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rayon::prelude::*;

use super::current::Current;
use super::{Applying, beside};
use crate::change::archive::{parts, read_whole};
use crate::change::locking::lock_store;
use crate::change::manifest::{ArchivePart, Batch, BatchSource, CutPart, EntryRecord, FileCuts, StepState};
use crate::change::outcome::{Changed, Late, Refusal, Subject};
use crate::change::run::Shelf;
use crate::decide::plan::{Item, Plan, StorePlan};
use crate::decide::references::References;
use crate::decide::verdict::Reason;
use crate::disk::dir::Dir;
use crate::model::inventory::{Inventory, Store};
use crate::model::json::Span;
use crate::model::proof::{Stamp, sha256, sha256_of};
use crate::model::store::{self, Document, Effective};
use crate::openclaw::files::lock::{held_by, lock_name};

/// A binding that may leave, found again in the store as it is now.
struct Leaving<'a> {
    item: &'a Item<'a>,
    members: Vec<usize>,
}

/// What left a store.
pub(super) struct Gone<'a> {
    pub(super) store: &'a Path,
    pub(super) items: Vec<&'a Item<'a>>,
    /// What it was. Giving that back takes a while, of its file too, which is held open.
    pub(super) old: Current<'a>,
    /// What of it went.
    pub(super) cuts: Vec<Span>,
}

/// What the plan was made of, and its SHA-256, which is calculated once.
struct SeenStore<'a> {
    store: &'a Store,
    sha256: OnceLock<String>,
}

impl SeenStore<'_> {
    fn sha256(&self) -> &str {
        self.sha256.get_or_init(|| sha256(&self.store.text))
    }
}

impl Applying<'_> {
    /// Takes the planned bindings out of every store, while those to come are hashed. Returns the transcripts of bindings
    /// that stay, and what left the last store.
    pub(super) fn bindings<'p>(
        &mut self,
        plan: &'p Plan<'p>,
        inventory: Option<&'p Inventory>,
    ) -> (HashSet<PathBuf>, Option<Gone<'p>>) {
        let seen = |plan: &StorePlan<'_>| {
            let store = inventory?.stores.iter().find(|one| one.path == plan.path)?;
            Some(SeenStore { store, sha256: OnceLock::new() })
        };
        let seen: Vec<Option<SeenStore<'p>>> = plan.stores.iter().map(seen).collect();
        let deadline = self.deadline;
        let hash = || {
            for seen in seen.iter().flatten().take_while(|_| !deadline.has_passed()) {
                seen.sha256();
            }
        };
        beside(|| self.store_by_store(plan, &seen), hash).0
    }

    /// One store after the other, so that one lock is held at a time. While one is at work, the one before it is read
    /// again.
    fn store_by_store<'p>(
        &mut self,
        plan: &'p Plan<'p>,
        seen: &[Option<SeenStore<'p>>],
    ) -> (HashSet<PathBuf>, Option<Gone<'p>>) {
        let mut left_behind = HashSet::new();
        let mut gone = None;
        for (store, seen) in plan.stores.iter().zip(seen) {
            let last = gone.take();
            let (done, mismatches) = beside(
                || (!self.is_late()).then(|| self.take_out(store, seen.as_ref(), &mut left_behind)),
                || last.map_or_else(Vec::new, Gone::verify),
            );
            self.outcome.left.extend(mismatches);
            match done {
                Some(Ok(Ok(taken))) => {
                    gone = taken;
                    continue;
                }
                None => self.leave_store(store, Late::Bindings(store.items.len())),
                Some(Ok(Err(refusal))) => self.leave_store(store, refusal),
                Some(Err(error)) => self.leave_store(store, error),
            }
            // A store that was not changed keeps all its files.
            left_behind.extend(store.items.iter().filter_map(|item| item.file.as_ref()).map(|file| file.path.clone()));
        }
        (left_behind, gone)
    }

    fn leave_store(&mut self, store: &StorePlan<'_>, refusal: impl Into<Refusal>) {
        self.outcome.leave(Subject::Path(store.path.clone()), refusal);
    }

    /// Takes the planned bindings out of one store, or says why it was refused; after a refusal or an error the store is
    /// as it was. `left_behind` collects the transcripts of bindings that stay.
    fn take_out<'p>(
        &mut self,
        plan: &'p StorePlan<'p>,
        seen: Option<&SeenStore<'p>>,
        left_behind: &mut HashSet<PathBuf>,
    ) -> anyhow::Result<Result<Option<Gone<'p>>, Refusal>> {
        let (parent, name) = parts(&plan.path)?;
        let dir = Dir::open(parent)?;
        if dir.id()? != plan.dir {
            return Ok(Err(Changed::Directory.into()));
        }
        let shelf = self.run.shelf(&plan.agent)?;
        let patience = self.deadline.clip(self.patience);
        let lock = match lock_store(&mut self.run, &plan.agent, &dir, name, &shelf, patience)? {
            Ok(lock) => lock,
            Err(holder) => return Ok(Err(holder.into())),
        };
        let Some(current) = Current::read(&dir, name, seen.map(|seen| seen.store))? else {
            return Ok(Err(Changed::Unreadable.into()));
        };
        let leaving = self.still_true(plan, &current, &dir, left_behind);
        if leaving.is_empty() {
            return Ok(Ok(None));
        }
        let members: Vec<usize> = leaving.iter().flat_map(|leaving| leaving.members.iter().copied()).collect();
        if leaving.iter().any(|leaving| leaving.item.file.is_some()) {
            spare_referenced(&current.references(&members, dir.path()), &leaving, left_behind);
        }
        let text = &*current.text;
        let cuts = current.document.cuts(&members);
        anyhow::ensure!(
            store::cuts_leave_an_object(text, &cuts),
            "{} would not be a store without what leaves it",
            plan.path.display()
        );
        let seen = seen.filter(|_| current.is_seen());
        let batch = self.archive_cuts(plan, (&leaving, &cuts), &current, seen, &shelf)?;
        self.plan_moves(&leaving, plan, &shelf, left_behind)?;
        self.run.manifest.batches.push(batch);
        let info = &current.info;
        let written = self.run.save().and_then(|()| lock.replace_store(kept(text, &cuts), info, Some(info.stamp)));
        drop(lock);
        self.settle_batch(&dir, name, written)?;
        let items: Vec<&Item<'_>> = leaving.into_iter().map(|leaving| leaving.item).collect();
        for item in &items {
            self.count(item);
        }
        self.outcome.taken.insert(plan.path.clone(), items.iter().map(|item| item.key.clone()).collect());
        Ok(Ok(Some(Gone { store: &plan.path, items, old: current, cuts })))
    }

    /// Writes the bytes that leave into the archive while everything is hashed, and returns what a restore needs to know.
    fn archive_cuts(
        &self,
        plan: &StorePlan<'_>,
        (leaving, cuts): (&[Leaving<'_>], &[Span]),
        current: &Current<'_>,
        seen: Option<&SeenStore<'_>>,
        shelf: &Shelf,
    ) -> anyhow::Result<Batch> {
        let (text, document) = (&*current.text, &*current.document);
        let (_, name) = parts(&plan.path)?;
        let removed = shelf.dir.free_name(&removed_name(name), |_| false)?;
        let (removed_is_safe, (entries, (new_sha256, old_sha256))) = beside(
            || self.run.write_new(&shelf.dir, &removed, cuts.iter().map(|cut| cut.of(text))),
            || {
                let old = || seen.map_or_else(|| sha256(text), |seen| seen.sha256().to_owned());
                let whole = || rayon::join(|| sha256_of(kept(text, cuts)), old);
                rayon::join(|| entry_records(leaving, document, cuts), whole)
            },
        );
        removed_is_safe?;
        Ok(Batch {
            agent: plan.agent.clone(),
            store: plan.path.clone(),
            dir: plan.dir,
            state: StepState::Planned,
            from: BatchSource::File(FileCuts {
                old_sha256,
                new_sha256,
                cuts: cuts.iter().map(|cut| (cut.start, cut.end)).collect(),
                removed: shelf.below.join(&removed),
            }),
            entries,
        })
    }

    /// Says what became of the store that was recorded last. An error that came after the rename means "there, but
    /// perhaps not durable": then it is told, and the rest follows; what counts is what the file holds.
    fn settle_batch(&mut self, dir: &Dir, name: &OsStr, written: anyhow::Result<()>) -> anyhow::Result<()> {
        let Some(batch) = self.run.manifest.batches.last_mut() else { return written };
        let Err(error) = written else {
            batch.state = StepState::Done;
            return Ok(());
        };
        let is_new = |now: &[u8]| batch.cuts().is_some_and(|cuts| sha256(now) == cuts.new_sha256);
        if read_whole(dir, name).is_ok_and(|(now, _)| is_new(&now)) {
            batch.state = StepState::Done;
            self.outcome.leave(Subject::Path(batch.store.clone()), error);
            return Ok(());
        }
        batch.state = StepState::Skipped;
        Err(error)
    }

    fn count(&mut self, item: &Item<'_>) {
        let done = &mut self.outcome.totals;
        done.count(item.action);
        done.freed_bytes += item.entry_bytes;
    }

    /// The items whose entry, transcript and lock are as they were when the plan was made.
    fn still_true<'p>(
        &mut self,
        plan: &'p StorePlan<'p>,
        current: &Current<'_>,
        dir: &Dir,
        left_behind: &mut HashSet<PathBuf>,
    ) -> Vec<Leaving<'p>> {
        let places = current.document.effective(&current.text);
        let now: HashMap<&str, &Effective> = places.iter().map(|place| (place.key.as_str(), place)).collect();
        let mut leaving = Vec::with_capacity(plan.items.len());
        for item in &plan.items {
            let found = match now.get(item.key.as_str()) {
                None => Err(Changed::BindingGone),
                Some(place) if !current.has(item, place) => Err(Changed::Entry),
                Some(place) => {
                    let changed = match (&item.file, &item.absent) {
                        (Some(file), _) => file_changed(dir, &file.path, &file.stamp),
                        (None, Some(path)) => file_appeared(dir, path),
                        (None, None) => Ok(None),
                    };
                    let changed = changed.unwrap_or_else(|error| {
                        self.outcome.leave(subject(plan, item), error);
                        Some(Changed::Unseen)
                    });
                    changed.map_or(Ok(place), Err)
                }
            };
            match found {
                Ok(place) => {
                    let members = place.hidden.iter().copied().chain([place.member]).collect();
                    leaving.push(Leaving { item, members });
                }
                Err(changed) => {
                    left_behind.extend(item.file.as_ref().map(|file| file.path.clone()));
                    self.outcome.leave(subject(plan, item), changed);
                }
            }
        }
        leaving
    }

    fn plan_moves(
        &mut self,
        leaving: &[Leaving<'_>],
        plan: &StorePlan<'_>,
        shelf: &Shelf,
        left_behind: &HashSet<PathBuf>,
    ) -> anyhow::Result<()> {
        for item in leaving.iter().map(|leaving| leaving.item) {
            let Some(file) = item.file.as_ref().filter(|file| !left_behind.contains(&file.path)) else { continue };
            if self.leaving.contains(&file.path) {
                continue;
            }
            let why = item.reasons.first().copied().unwrap_or(Reason::Idle);
            self.plan_move(shelf, &plan.agent, &file.path, plan.dir, file.stamp, why)?;
        }
        Ok(())
    }
}

/// What stays, piece by piece.
pub(super) fn kept<'a>(text: &'a [u8], cuts: &[Span]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::with_capacity(cuts.len() + 1);
    let mut from = 0;
    for cut in cuts {
        pieces.push(&text[from..cut.start]);
        from = cut.end;
    }
    pieces.push(&text[from..]);
    pieces
}

fn subject(plan: &StorePlan<'_>, item: &Item<'_>) -> Subject {
    Subject::binding(&item.agent, &plan.path, &item.key)
}

/// Returns how a file is not as planned, if it is not.
fn file_changed(dir: &Dir, path: &Path, stamp: &Stamp) -> anyhow::Result<Option<Changed>> {
    let Ok(inside) = path.strip_prefix(dir.path()) else { return Ok(None) };
    Ok(match dir.info(inside.as_os_str())? {
        Some(info) if !info.regular => Some(Changed::TranscriptKind),
        Some(info) if info.stamp != *stamp => Some(Changed::Transcript),
        Some(_) => held_by(dir, &lock_name(inside.as_os_str()))?.map(Changed::Held),
        None => Some(Changed::TranscriptGone),
    })
}

/// Returns how a transcript that was not there counts as begun, if it does: it is there, or somebody holds its lock.
fn file_appeared(dir: &Dir, path: &Path) -> anyhow::Result<Option<Changed>> {
    let Ok(inside) = path.strip_prefix(dir.path()) else { return Ok(None) };
    match dir.info(inside.as_os_str())? {
        Some(_) => Ok(Some(Changed::TranscriptBegun)),
        None => Ok(held_by(dir, &lock_name(inside.as_os_str()))?.map(Changed::Held)),
    }
}

/// A binding that came since the plan may point at a file of one that leaves: then the file stays.
fn spare_referenced(references: &References, leaving: &[Leaving<'_>], left_behind: &mut HashSet<PathBuf>) {
    for item in leaving.iter().map(|leaving| leaving.item) {
        let file = item.file.as_ref().filter(|file| references.refer_to(&file.path, item.session_id.as_deref()));
        left_behind.extend(file.map(|file| file.path.clone()));
    }
}

fn entry_records(leaving: &[Leaving<'_>], document: &Document, cuts: &[Span]) -> Vec<EntryRecord> {
    // Where each cut stands in the removed bytes.
    let starts: Vec<usize> = cuts.iter().scan(0, |end, cut| Some(std::mem::replace(end, *end + cut.len()))).collect();
    let in_removed = |span: Span| {
        let at = cuts.partition_point(|cut| cut.end < span.end);
        let cut = cuts.get(at).filter(|cut| cut.start <= span.start)?;
        let start = starts[at] + span.start - cut.start;
        Some((start, start + span.len()))
    };
    leaving.par_iter().filter_map(|leaving| entry_record(leaving, document, in_removed)).collect()
}

fn entry_record(
    leaving: &Leaving<'_>,
    document: &Document,
    in_removed: impl Fn(Span) -> Option<(usize, usize)>,
) -> Option<EntryRecord> {
    let item = leaving.item;
    let member = document.members.get(*leaving.members.last()?)?;
    Some(EntryRecord {
        agent: item.agent.clone(),
        key: item.key.clone(),
        class: item.class,
        action: item.action,
        reasons: item.reasons.clone(),
        part: ArchivePart::Cut(CutPart {
            key_at: in_removed(member.key)?,
            entry_at: in_removed(member.entry.span)?,
            entry_sha256: item.entry.sha256().into_owned(),
        }),
        session_id: item.session_id.clone(),
        active_at: item.active_at,
        file: item.file.as_ref().map(|file| file.path.clone()),
        undone: None,
        superseded: false,
    })
}

/// `sessions.json.removed`: what was cut out of a store.
fn removed_name(store: &OsStr) -> OsString {
    let mut name = store.to_owned();
    name.push(".removed");
    name
}
