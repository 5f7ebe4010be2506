//! Apply: carries a plan out (design §5). The only place, with [`restore`](super::restore) and
//! [`recover`](super::recover), from which files are moved or removed.
//!
//! The order makes every crash harmless: the manifest is durable before the store changes, the store changes before
//! any file moves, and a file that moved is known to the manifest. What a crash leaves is completed or reverted by the
//! next run.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use rayon::prelude::*;

use super::deadline::{Deadline, OVER};
use super::dir::{Dir, FileInfo};
use super::history::Census;
use super::journal::{Journal, Run};
use super::lock::{Acquired, StoreLock, held_by, lock_name};
use super::manifest::{EntryRecord, MoveRecord, RunState, StepState, StoreRecord};
use super::read::room;
use super::transfer;

mod loose;
mod mend;
mod verify;
use crate::decide::plan::{DirId, Item, MendItem, Mending, Plan, StorePlan, Totals, sha256, sha256_of};
use crate::decide::references::References;
use crate::decide::verdict::{Action, Reason};
use crate::model::entry;
use crate::model::inventory::Stamp;
use crate::model::json::Span;
use crate::model::store::{self, Document, Effective};

/// How to apply.
pub struct Options<'a> {
    /// The verb, for the manifest.
    pub command: &'a str,
    /// The time now, for the run's id and history.
    pub started_at: DateTime<Utc>,
    /// How long to wait for a store lock.
    pub patience: Duration,
    /// When to begin nothing more.
    pub deadline: Deadline,
}

/// What came of it.
#[derive(Debug, Default)]
#[must_use = "an outcome may hold failures"]
pub struct Outcome {
    /// The run; `None` when nothing was changed.
    pub run: Option<String>,
    /// What was done.
    pub done: Totals,
    /// The bindings that left: store and key.
    pub taken: HashSet<(PathBuf, String)>,
    /// Keys and paths that were left alone because something changed since the plan.
    pub skipped: Vec<Left>,
    /// Keys and paths where something failed.
    pub failed: Vec<Left>,
    /// Stores that were refused whole.
    pub refused: Vec<Left>,
    /// What the deadline left. Files that were to follow their bindings stay planned: the next run moves them.
    pub late: Vec<Left>,
    /// What is not as it was meant to be, found by reading everything again.
    pub mismatches: Vec<String>,
}

/// Something that was left as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The key or path.
    pub what: String,
    /// Why.
    pub why: String,
}

impl Left {
    /// Something left, and why.
    pub fn new(what: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self { what: format!("{what}"), why: format!("{why}") }
    }
}

/// Carries out `plan`.
#[expect(clippy::needless_pass_by_value, reason = "a plan is used up: it must not run twice")]
pub fn apply(plan: Plan, journal: &Journal, options: &Options<'_>) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    if plan.is_empty() {
        return Ok(outcome);
    }
    let run = journal.begin(options.command, plan.now, options.started_at)?;
    let (patience, deadline) = (options.patience, options.deadline);
    let mut work =
        Work { run, outcome: &mut outcome, leaving: HashSet::new(), archived: HashSet::new(), patience, deadline };
    work.run.manifest.touches.clone_from(&plan.known_stores);
    work.run.manifest.before = plan.bytes.map(|bytes| Census { bindings: plan.bindings as u64, bytes });
    work.run.save()?;
    // What matters most comes first: a deadline leaves the end of it.
    let (transcripts, stores): (Vec<&MendItem>, Vec<&MendItem>) =
        plan.mends.iter().partition(|item| matches!(item.how, Mending::Transcript { .. }));
    for item in stores {
        work.mend(item);
    }
    let mut left_behind = HashSet::new();
    for store in &plan.stores {
        let done = if work.is_late() { None } else { Some(work.take_out(store, &mut left_behind)) };
        match done {
            Some(Ok(None)) => continue,
            None => {
                let why = format!("{OVER} before its {} bindings were taken out", store.items.len());
                work.outcome.late.push(Left::new(store.path.display(), why));
            }
            Some(Ok(Some(why))) => work.outcome.refused.push(Left::new(store.path.display(), why)),
            Some(Err(error)) => work.outcome.failed.push(Left::new(store.path.display(), format!("{error:#}"))),
        }
        // A store that was not changed keeps all its files.
        left_behind.extend(store.items.iter().filter_map(|item| item.file.as_ref()).map(|file| file.path.clone()));
    }
    for item in transcripts {
        work.mend(item);
    }
    work.move_transcripts(&left_behind);
    work.loose_files(&plan)?;
    work.finish(journal)?;
    Ok(outcome)
}

struct Work<'a> {
    run: Run,
    outcome: &'a mut Outcome,
    /// Files that have a move in the manifest.
    leaving: HashSet<PathBuf>,
    /// Names in the archive that a move of the manifest takes.
    archived: HashSet<PathBuf>,
    patience: Duration,
    deadline: Deadline,
}

/// A binding that may leave, found again in the store as it is now.
struct Leaving<'a> {
    item: &'a Item,
    members: Vec<usize>,
}

impl Work<'_> {
    /// Takes the planned bindings out of one store, or says why it was refused; after a refusal or an error the store is
    /// as it was. `left_behind` collects the transcripts of bindings that stay.
    fn take_out(&mut self, plan: &StorePlan, left_behind: &mut HashSet<PathBuf>) -> anyhow::Result<Option<String>> {
        let name = plan.path.file_name().unwrap_or_default();
        let dir = Dir::open(plan.path.parent().unwrap_or(Path::new("/")))?;
        if dir.id()? != plan.dir {
            return Ok(Some("another directory stands in its place since the plan".to_owned()));
        }
        let (archive, below) = self.run.agent_dir(&plan.agent)?;
        self.run.announce_dead_lock(&dir, name, &archive, &below)?;
        let taken = StoreLock::acquire(&dir, name, &archive, self.deadline.clip(self.patience));
        self.run.settle_dead_lock(&dir, name, &archive);
        let lock = match taken? {
            Acquired::Ours(lock) => lock,
            Acquired::Busy(owner) => return Ok(Some(format!("{owner}; nothing in this store was touched"))),
        };
        let (text, info) = read_locked(&dir, name)?;
        let Ok(document) = store::read(&text) else {
            return Ok(Some("it became unreadable since the plan".to_owned()));
        };
        let (leaving, old_sha256) =
            beside(|| self.still_true(plan, &document, &text, &dir, left_behind), || sha256(&text));
        if leaving.is_empty() {
            return Ok(None);
        }
        let members: Vec<usize> = leaving.iter().flat_map(|leaving| leaving.members.iter().copied()).collect();
        spare_referenced(&references(&document, &text, &members, &dir), &leaving, left_behind);
        let cuts = document.cuts(&members);
        let removed = archive.free_name(&removed_name(name), |_| false)?;
        let (removed_is_safe, new_sha256) = beside(
            || self.run.write_new(&archive, &removed, cuts.iter().map(|cut| cut.of(&text))),
            || sha256_of(kept(&text, &cuts)),
        );
        removed_is_safe?;
        let record = StoreRecord {
            agent: plan.agent.clone(),
            path: plan.path.clone(),
            dir: plan.dir,
            state: StepState::Planned,
            old_sha256,
            new_sha256,
            cuts: cuts.iter().map(|cut| (cut.start, cut.end)).collect(),
            removed: below.join(&removed),
            entries: leaving.iter().filter_map(|leaving| entry_record(leaving, &document, &cuts)).collect(),
        };
        self.plan_moves(&leaving, plan, &(archive, below), left_behind)?;
        self.run.manifest.stores.push(record);
        let written = self.run.save().and_then(|()| lock.replace_store(kept(&text, &cuts), &info, Some(info.stamp)));
        drop(lock);
        self.settle_store(&dir, name, written)?;
        for leaving in &leaving {
            self.count(leaving.item);
            self.outcome.taken.insert((plan.path.clone(), leaving.item.key.clone()));
        }
        Ok(None)
    }

    /// What became of the store that was recorded last. An error that came after the rename means "there, but perhaps
    /// not durable": then it is told, and the rest follows; what counts is what the file holds.
    fn settle_store(&mut self, dir: &Dir, name: &OsStr, written: anyhow::Result<()>) -> anyhow::Result<()> {
        let Some(record) = self.run.manifest.stores.last_mut() else { return written };
        let Err(error) = written else {
            record.state = StepState::Done;
            return Ok(());
        };
        if read_locked(dir, name).is_ok_and(|(now, _)| sha256(&now) == record.new_sha256) {
            record.state = StepState::Done;
            self.outcome.failed.push(Left::new(record.path.display(), format!("{error:#}")));
            return Ok(());
        }
        record.state = StepState::Skipped;
        Err(error)
    }

    fn is_late(&self) -> bool {
        self.deadline.has_passed()
    }

    fn count(&mut self, item: &Item) {
        let done = &mut self.outcome.done;
        match item.action {
            Action::Quarantine => done.quarantine += 1,
            Action::Defer => done.defer += 1,
            _ => done.expire += 1,
        }
        done.freed_bytes += item.entry_bytes;
    }

    /// The items whose entry, transcript and lock are as they were when the plan was made.
    fn still_true<'p>(
        &mut self,
        plan: &'p StorePlan,
        document: &Document,
        text: &[u8],
        dir: &Dir,
        left_behind: &mut HashSet<PathBuf>,
    ) -> Vec<Leaving<'p>> {
        let now: HashMap<String, Effective> =
            document.effective(text).into_iter().map(|place| (place.key.clone(), place)).collect();
        let is_same = |item: &Item| {
            let place = now.get(&item.key)?;
            Some(sha256(document.members[place.member].entry.span.of(text)) == item.entry_sha256)
        };
        let same: Vec<Option<bool>> = plan.items.par_iter().map(is_same).collect();
        let mut leaving = Vec::with_capacity(plan.items.len());
        for (item, same) in plan.items.iter().zip(same) {
            let changed = match same {
                None => Some("its binding is gone".to_owned()),
                Some(false) => Some("its entry changed".to_owned()),
                Some(true) => match (&item.file, &item.absent) {
                    (Some(file), _) => file_changed(dir, &file.path, &file.stamp),
                    (None, Some(path)) => file_appeared(dir, path),
                    (None, None) => Ok(None),
                }
                .unwrap_or_else(|error| {
                    self.outcome.failed.push(Left::new(&item.key, format!("{error:#}")));
                    Some("it cannot be looked at".to_owned())
                }),
            };
            match (changed, now.get(&item.key)) {
                (None, Some(place)) => {
                    let members = place.hidden.iter().copied().chain([place.member]).collect();
                    leaving.push(Leaving { item, members });
                }
                (why, _) => {
                    left_behind.extend(item.file.as_ref().map(|file| file.path.clone()));
                    let why = why.unwrap_or_default();
                    self.outcome.skipped.push(Left::new(&item.key, format!("changed-since-plan: {why}")));
                }
            }
        }
        leaving
    }

    fn plan_moves(
        &mut self,
        leaving: &[Leaving<'_>],
        plan: &StorePlan,
        archive: &(Dir, PathBuf),
        left_behind: &HashSet<PathBuf>,
    ) -> anyhow::Result<()> {
        for item in leaving.iter().map(|leaving| leaving.item) {
            let Some(file) = item.file.as_ref().filter(|file| !left_behind.contains(&file.path)) else { continue };
            if self.leaving.contains(&file.path) {
                continue;
            }
            let why = item.reasons.first().copied().unwrap_or(Reason::Idle);
            self.plan_move(archive, &file.path, plan.dir, file.stamp, why)?;
        }
        Ok(())
    }

    /// A name in the archive that neither a file nor a plan has, and that is now planned.
    fn free_name(&mut self, archive: &Dir, below: &Path, name: &OsStr) -> anyhow::Result<OsString> {
        let free = archive.free_name(name, |name| self.archived.contains(&below.join(name)))?;
        self.archived.insert(below.join(&free));
        Ok(free)
    }

    /// `archive` is a directory of the run and its path below the run's directory.
    fn plan_move(
        &mut self,
        (archive, below): &(Dir, PathBuf),
        from: &Path,
        dir: DirId,
        stamp: Stamp,
        why: Reason,
    ) -> anyhow::Result<()> {
        let name = self.free_name(archive, below, from.file_name().unwrap_or_default())?;
        self.leaving.insert(from.to_owned());
        self.run.manifest.moves.push(MoveRecord {
            from: from.to_owned(),
            dir,
            to: below.join(name),
            stamp,
            why,
            state: StepState::Planned,
            restored: false,
            purged: false,
        });
        Ok(())
    }

    /// Moves what the bindings that left pointed at, once nothing points at it any more.
    fn move_transcripts(&mut self, left_behind: &HashSet<PathBuf>) {
        for index in 0..self.run.manifest.moves.len() {
            let record = &self.run.manifest.moves[index];
            if record.state != StepState::Planned {
                continue;
            }
            if left_behind.contains(&record.from) {
                self.run.manifest.moves[index].state = StepState::Skipped;
                continue;
            }
            if self.is_late() {
                let left = Left::new(record.from.display(), format!("{OVER}: the next run moves it"));
                self.outcome.late.push(left);
                continue;
            }
            if self.carry_out(index) {
                self.outcome.done.transcripts += 1;
            }
        }
    }

    /// Carries out one move of the manifest; whether the file went.
    fn carry_out(&mut self, index: usize) -> bool {
        let record = self.run.manifest.moves[index].clone();
        let state = match transfer::out(&self.run, &record) {
            Ok(transfer::Moved::Yes { frees }) => {
                self.outcome.done.freed_bytes += if frees { record.stamp.size } else { 0 };
                StepState::Done
            }
            // A dead lock that went to make room for ours may not have been seen to arrive.
            Ok(transfer::Moved::Changed(_)) if matches!(transfer::arrived(&self.run, &record), Ok(true)) => {
                StepState::Done
            }
            Ok(transfer::Moved::Changed(why)) => {
                self.outcome.skipped.push(Left::new(record.from.display(), format!("changed-since-plan: {why}")));
                StepState::Skipped
            }
            Err(error) => {
                self.outcome.failed.push(Left::new(record.from.display(), format!("{error:#}")));
                // The error may have come after the rename: what counts is where the file is. Else the move stays
                // planned, and the next run tries again.
                match transfer::arrived(&self.run, &record) {
                    Ok(true) => StepState::Done,
                    Ok(false) | Err(_) => StepState::Planned,
                }
            }
        };
        self.run.manifest.moves[index].state = state;
        state == StepState::Done
    }

    /// Makes everything durable, says so in the manifest, and forgets a run that did nothing.
    fn finish(mut self, journal: &Journal) -> anyhow::Result<()> {
        let manifest = &mut self.run.manifest;
        let changed = manifest.stores.iter().any(|record| record.state == StepState::Done)
            || manifest.mends.iter().any(|record| record.state != StepState::Skipped)
            || manifest.moves.iter().any(|record| record.state != StepState::Skipped)
            || !manifest.purged.is_empty();
        if !changed {
            return journal.forget(self.run.id());
        }
        let unsynced = transfer::sync(&self.run);
        self.outcome
            .failed
            .extend(unsynced.iter().map(|(path, error)| Left::new(path.display(), format!("{error:#}"))));
        let manifest = &mut self.run.manifest;
        manifest.problems = self.outcome.failed.iter().map(|left| format!("{}: {}", left.what, left.why)).collect();
        manifest.totals = self.outcome.done;
        let settled = manifest.moves.iter().all(|record| record.state != StepState::Planned)
            && manifest.mends.iter().all(|record| record.state != StepState::Planned);
        if settled {
            manifest.state = RunState::Done;
            manifest.finished_at = Some(Utc::now());
        }
        self.run.save()?;
        self.outcome.run = Some(self.run.id().to_owned());
        if !self.is_late() {
            self.outcome.mismatches = verify::verify(&self.run);
        }
        // Of a run that the deadline cut off the one that finishes it tells.
        if settled && let Err(error) = journal.remember(&self.run.manifest.history_line()) {
            self.outcome.failed.push(Left::new("history.jsonl", format!("{error:#}")));
        }
        Ok(())
    }
}

/// Calculates something while this thread, which alone reads and writes, goes on.
fn beside<R, C: Default + Send>(work: impl FnOnce() -> R, calculate: impl FnOnce() -> C + Send) -> (R, C) {
    let mut calculated = C::default();
    let done = rayon::in_place_scope(|scope| {
        scope.spawn(|_| calculated = calculate());
        work()
    });
    (done, calculated)
}

/// Reads a store, with what it is.
pub(super) fn read_locked(dir: &Dir, name: &OsStr) -> anyhow::Result<(Vec<u8>, FileInfo)> {
    let (mut file, info) = dir.open_file(name)?;
    let mut text = room(info.stamp.size).with_context(|| format!("cannot read {}", dir.join(name).display()))?;
    file.read_to_end(&mut text).with_context(|| format!("cannot read {}", dir.join(name).display()))?;
    Ok((text, info))
}

fn kept<'a>(text: &'a [u8], cuts: &[Span]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::with_capacity(cuts.len() + 1);
    let mut from = 0;
    for cut in cuts {
        pieces.push(&text[from..cut.start]);
        from = cut.end;
    }
    pieces.push(&text[from..]);
    pieces
}

/// Why a file is not as planned, if it is not.
fn file_changed(dir: &Dir, path: &Path, stamp: &Stamp) -> anyhow::Result<Option<String>> {
    let Ok(inside) = path.strip_prefix(dir.path()) else { return Ok(None) };
    Ok(match dir.info(inside.as_os_str())? {
        Some(info) if !info.regular => Some("its transcript is no regular file any more".to_owned()),
        Some(info) if info.stamp != *stamp => Some("its transcript changed".to_owned()),
        Some(_) => held_by(dir, &lock_name(inside.as_os_str()))?,
        None => Some("its transcript is gone".to_owned()),
    })
}

/// Why a transcript that was not there counts as begun, if it does: it is there, or somebody holds its lock.
fn file_appeared(dir: &Dir, path: &Path) -> anyhow::Result<Option<String>> {
    let Ok(inside) = path.strip_prefix(dir.path()) else { return Ok(None) };
    match dir.info(inside.as_os_str())? {
        Some(_) => Ok(Some("its transcript came into being".to_owned())),
        None => held_by(dir, &lock_name(inside.as_os_str())),
    }
}

/// A binding that came since the plan may point at a file of one that leaves: then the file stays.
fn spare_referenced(references: &References, leaving: &[Leaving<'_>], left_behind: &mut HashSet<PathBuf>) {
    for item in leaving.iter().map(|leaving| leaving.item) {
        let file = item.file.as_ref().filter(|file| references.refer_to(&file.path, item.session_id.as_deref()));
        left_behind.extend(file.map(|file| file.path.clone()));
    }
}

/// What the entries of a store refer to, those of `members` left out.
fn references(document: &Document, text: &[u8], members: &[usize], dir: &Dir) -> References {
    let left_out: HashSet<usize> = members.iter().copied().collect();
    let places = document.effective(text).into_iter().filter(|place| !left_out.contains(&place.member));
    let entries: Vec<entry::Entry> =
        places.filter_map(|place| entry::read(document.members[place.member].entry.span.of(text)).ok()).collect();
    References::of_entries(&entries, dir.path())
}

/// What the stores refer to as they are now. A store that cannot be read any more may refer to anything.
pub(super) fn references_now(stores: &[PathBuf]) -> anyhow::Result<Vec<References>> {
    let mut all = Vec::with_capacity(stores.len());
    for path in stores {
        let parent = path.parent().unwrap_or(Path::new("/"));
        if fs_err::symlink_metadata(parent).is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            continue;
        }
        let dir = Dir::open(parent)?;
        let name = path.file_name().unwrap_or_default();
        if dir.info(name)?.is_none() {
            continue;
        }
        let (text, _) = read_locked(&dir, name)?;
        let document =
            store::read(&text).map_err(|_| anyhow::anyhow!("{} is no readable store now", path.display()))?;
        all.push(references(&document, &text, &[], &dir));
    }
    Ok(all)
}

fn entry_record(leaving: &Leaving<'_>, document: &Document, cuts: &[Span]) -> Option<EntryRecord> {
    let item = leaving.item;
    let member = document.members.get(*leaving.members.last()?)?;
    let in_removed = |span: Span| {
        let mut before = 0;
        for cut in cuts {
            if cut.start <= span.start && span.end <= cut.end {
                let start = before + span.start - cut.start;
                return Some((start, start + span.len()));
            }
            before += cut.len();
        }
        None
    };
    Some(EntryRecord {
        agent: item.agent.clone(),
        key: item.key.clone(),
        class: item.class,
        action: item.action,
        reasons: item.reasons.clone(),
        key_at: in_removed(member.key)?,
        entry_at: in_removed(member.entry.span)?,
        entry_sha256: item.entry_sha256.clone(),
        session_id: item.session_id.clone(),
        active_at: item.active_at,
        file: item.file.as_ref().map(|file| file.path.clone()),
        restored: false,
        purged: false,
        superseded: false,
    })
}

/// `sessions.json.removed`: what was cut out of a store.
fn removed_name(store: &OsStr) -> OsString {
    let mut name = store.to_owned();
    name.push(".removed");
    name
}

/// Writes a plan or another document to a new file that the user named; `-` is standard output's business.
pub fn write_document(path: &Path, text: &[u8]) -> anyhow::Result<()> {
    let mut file = fs_err::OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(text)?;
    file.sync_all()?;
    Ok(())
}
