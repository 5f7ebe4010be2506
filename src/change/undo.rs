//! Restore: brings back what a run took, byte for byte (design §5). Never overwrites: a key that is bound again and a
//! name that is taken are left alone, or, on request, what comes back gets a new one.
//!
//! A restore is a run of its own. It may be cut off at any moment: what is back already is recognized, and the rest
//! follows when it is asked for again, or when the next run finds it unfinished.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::change::apply::{Left, read_locked, references_now};
use crate::change::archive;
use crate::change::journal::{Journal, Run};
use crate::change::manifest::{EntryRecord, MoveRecord, RunState, StepState, StoreRecord};
use crate::change::stuck;
use crate::disk::deadline::{Deadline, OVER};
use crate::disk::dir::{Dir, FileInfo};
use crate::openclaw::files::lock::{Acquired, StoreLock};

mod mend;
use crate::decide::verdict::Reason;
use crate::model::json::{self, JsonError, Scanner};
use crate::model::proof::sha256;
use crate::model::store;

/// What to bring back, and how.
pub struct Options<'a> {
    /// The run it was taken by.
    pub of: &'a str,
    /// The keys; all that the run took when empty.
    pub keys: &'a [String],
    /// Give a new name to what would collide.
    pub as_new: bool,
    /// Only what the startup budget deferred.
    pub deferred: bool,
    /// The time now.
    pub started_at: DateTime<Utc>,
    /// How long to wait for a store lock.
    pub patience: Duration,
    /// When to begin nothing more; what is left follows when the next run finishes this one.
    pub deadline: Deadline,
}

/// What came of it.
#[derive(Debug, Default)]
#[must_use = "an outcome may hold failures"]
pub struct Outcome {
    /// This restore's own run; `None` when nothing was changed.
    pub run: Option<String>,
    /// Keys that are bound again.
    pub bindings: Vec<String>,
    /// Files that are back in their places.
    pub files: usize,
    /// Their bytes, entries included.
    pub bytes: u64,
    /// What was left alone because a key or name is taken.
    pub refused: Vec<Left>,
    /// What failed.
    pub failed: Vec<Left>,
}

/// Brings back what `options` names.
pub fn restore(journal: &Journal, options: &Options<'_>) -> anyhow::Result<Outcome> {
    finished(journal, options.of)?;
    let own = journal.begin("restore", options.started_at, options.started_at)?;
    continue_restore(journal, own, options)
}

/// The same, for a restore whose run exists already.
pub(crate) fn continue_restore(journal: &Journal, mut own: Run, options: &Options<'_>) -> anyhow::Result<Outcome> {
    let mut source = finished(journal, options.of)?;
    own.manifest.of = Some(options.of.to_owned());
    own.manifest.keys = options.keys.to_vec();
    own.manifest.as_new = options.as_new;
    own.manifest.deferred = options.deferred;
    own.manifest.touches = source.manifest.stores.iter().map(|record| record.path.clone()).collect();
    own.manifest.touches.extend(source.manifest.mends.iter().map(|record| record.path.clone()));
    own.save()?;
    let mut work = Work {
        source: &mut source,
        own: &mut own,
        options,
        outcome: Outcome::default(),
        renamed: HashMap::new(),
        late: false,
    };
    work.files(|record| record.why != Reason::LockDead);
    for index in 0..work.source.manifest.stores.len() {
        let path = work.source.manifest.stores[index].path.clone();
        if let Err(error) = work.store(index) {
            work.outcome.failed.push(Left::new(path.display(), format!("{error:#}")));
        }
    }
    work.spare_followers();
    work.mends();
    work.renames();
    // Dead locks come last: one of them may stand where our own lock stood a moment ago.
    work.give_back_cleared();
    work.files(|record| record.why == Reason::LockDead);
    let late = work.late;
    let mut outcome = work.outcome;
    let unsynced = archive::sync(&source).into_iter().chain(archive::sync(&own));
    outcome.failed.extend(unsynced.map(|(path, error)| Left::new(path.display(), format!("{error:#}"))));
    settle(&mut source);
    source.save()?;
    if late {
        own.save()?;
        outcome.failed.push(Left::new(own.id(), format!("{OVER}: the next run goes on with it")));
        return Ok(outcome);
    }
    // A dead lock that could not be put back is still in this run's archive: then the run is kept.
    let holds_nothing = own.manifest.moves.iter().all(|record| record.restored || record.state == StepState::Skipped);
    if outcome.bindings.is_empty() && outcome.files == 0 && holds_nothing {
        journal.forget(own.id())?;
        return Ok(outcome);
    }
    own.manifest.totals.transcripts = outcome.files;
    own.manifest.problems = outcome.failed.iter().map(|left| format!("{}: {}", left.what, left.why)).collect();
    own.manifest.state = RunState::Done;
    own.manifest.finished_at = Some(Utc::now());
    own.save()?;
    outcome.run = Some(own.id().to_owned());
    if let Err(error) = journal.remember(&own.manifest.history_line()) {
        outcome.failed.push(Left::new(own.id(), format!("{error:#}")));
    }
    Ok(outcome)
}

/// A run to restore from. Of one that was cut off and could not be finished it is not known what it took; that files
/// of it did not follow yet is no hindrance.
fn finished(journal: &Journal, id: &str) -> anyhow::Result<Run> {
    let run = journal.open_run(id)?;
    let manifest = &run.manifest;
    let steps = manifest.stores.iter().map(|record| record.state);
    let steps = steps.chain(manifest.mends.iter().map(|record| record.state));
    let mut steps = steps.chain(manifest.renames.iter().map(|record| record.state));
    anyhow::ensure!(
        manifest.state != RunState::Unfinished || steps.all(|state| state != StepState::Planned),
        "the run {id} was cut off and could not be finished, nothing of it was restored: `claw-sessions gc` says why"
    );
    Ok(run)
}

/// Says in the source's manifest how much of it is still away.
fn settle(source: &mut Run) {
    let manifest = &mut source.manifest;
    if manifest.moves.iter().any(|record| record.state == StepState::Planned) {
        return;
    }
    let entries =
        manifest.stores.iter().filter(|record| record.state == StepState::Done).flat_map(|record| &record.entries);
    let moves = manifest.moves.iter().filter(|record| record.state == StepState::Done);
    let mends = manifest.mends.iter().filter(|record| record.state == StepState::Done);
    let renames = manifest.renames.iter().filter(|record| record.state == StepState::Done);
    let back: Vec<bool> = entries
        .map(|entry| !entry.is_away())
        .chain(moves.map(|record| !record.is_away()))
        .chain(mends.map(|record| record.restored))
        .chain(renames.map(|record| record.restored))
        .collect();
    if back.is_empty() {
        return;
    }
    if back.iter().all(|&back| back) {
        manifest.state = RunState::Restored;
    } else if back.iter().any(|&back| back) {
        manifest.state = RunState::PartlyRestored;
    }
}

struct Work<'a> {
    source: &'a mut Run,
    own: &'a mut Run,
    options: &'a Options<'a>,
    outcome: Outcome,
    /// Transcripts that came back under another name.
    renamed: HashMap<PathBuf, PathBuf>,
    /// The deadline left something.
    late: bool,
}

/// An entry that goes back into its store.
struct Returning {
    index: usize,
    key: Vec<u8>,
    entry: Vec<u8>,
}

impl Work<'_> {
    fn wanted(&self, key: &str) -> bool {
        self.options.keys.is_empty() || self.options.keys.iter().any(|wanted| wanted == key)
    }

    fn wants(&self, entry: &EntryRecord) -> bool {
        self.wanted(&entry.key) && (!self.options.deferred || entry.is_deferred())
    }

    fn in_time(&mut self) -> bool {
        self.late |= self.options.deadline.has_passed();
        !self.late
    }

    /// The files that go back: all of a whole run, else those of the wanted keys.
    fn files(&mut self, of_kind: impl Fn(&MoveRecord) -> bool) {
        let all = self.options.keys.is_empty();
        let of_keys: Vec<PathBuf> = self
            .source
            .manifest
            .stores
            .iter()
            .flat_map(|record| &record.entries)
            .filter(|entry| self.wants(entry))
            .filter_map(|entry| entry.file.clone())
            .collect();
        for index in 0..self.source.manifest.moves.len() {
            let mut record = self.source.manifest.moves[index].clone();
            if !of_kind(&record) || !(all || of_keys.contains(&record.from)) || !self.in_time() {
                continue;
            }
            if record.state == StepState::Planned {
                match archive::arrived(self.source, &record) {
                    Ok(true) => record.state = StepState::Done,
                    Ok(false) => continue,
                    Err(error) => {
                        self.outcome.failed.push(Left::new(record.from.display(), format!("{error:#}")));
                        continue;
                    }
                }
                self.source.manifest.moves[index].state = record.state;
            }
            if record.is_away() {
                self.file(index, &record);
            }
        }
    }

    /// A file that did not follow its entry stays where it is, now that the entry is back.
    fn spare_followers(&mut self) {
        let manifest = &mut self.source.manifest;
        let entries = || manifest.stores.iter().flat_map(|record| &record.entries);
        let back: HashSet<&PathBuf> =
            entries().filter(|entry| !entry.is_away()).filter_map(|entry| entry.file.as_ref()).collect();
        let away: HashSet<&PathBuf> =
            entries().filter(|entry| entry.is_away()).filter_map(|entry| entry.file.as_ref()).collect();
        let all = self.options.keys.is_empty();
        for record in manifest.moves.iter_mut().filter(|record| record.state == StepState::Planned) {
            if !away.contains(&record.from) && (all || back.contains(&record.from)) {
                record.state = StepState::Skipped;
            }
        }
    }

    /// Undoes what `restore --stuck-bak` did to names: of a whole run only.
    fn renames(&mut self) {
        let manifest = &self.source.manifest;
        if manifest.renames.is_empty() || !self.options.keys.is_empty() {
            return;
        }
        let references = match references_now(&manifest.touches) {
            Ok(references) => references,
            Err(error) => {
                let why = format!("its files keep their names, because a store may refer to them: {error:#}");
                return self.outcome.failed.push(Left::new(self.options.of, why));
            }
        };
        for index in 0..self.source.manifest.renames.len() {
            let record = &self.source.manifest.renames[index];
            if record.restored || record.state != StepState::Done {
                continue;
            }
            match stuck::undo(&self.source.manifest, record, &references) {
                Ok(Ok(())) => {
                    self.outcome.files += 1;
                    self.outcome.bytes += record.stamp.size;
                    self.source.manifest.renames[index].restored = true;
                }
                Ok(Err(why)) => self.outcome.refused.push(Left::new(record.to.display(), why)),
                Err(error) => self.outcome.failed.push(Left::new(record.to.display(), format!("{error:#}"))),
            }
        }
    }

    /// Puts the dead locks back that stood in this restore's own way.
    fn give_back_cleared(&mut self) {
        for index in 0..self.own.manifest.moves.len() {
            let record = self.own.manifest.moves[index].clone();
            // A restore that was cut off may not have noted that the lock was moved.
            let away = match record.state {
                StepState::Planned => archive::arrived(self.own, &record).unwrap_or(true),
                state => state == StepState::Done,
            };
            self.own.manifest.moves[index].state = if away { StepState::Done } else { StepState::Skipped };
            if !away || record.restored {
                continue;
            }
            let back = archive::back(self.own, &record, record.from.file_name().unwrap_or_default());
            self.own.manifest.moves[index].restored = matches!(back, Ok(archive::Moved::Yes { .. }));
        }
    }

    fn file(&mut self, index: usize, record: &MoveRecord) {
        let name = record.from.file_name().unwrap_or_default().to_owned();
        let mut result = archive::back(self.source, record, &name);
        let renamable = self.options.as_new && record.why != Reason::LockDead;
        if renamable && matches!(result, Ok(archive::Moved::Changed(_))) {
            let new = self.new_name(&name);
            result = archive::back(self.source, record, &new);
            if matches!(result, Ok(archive::Moved::Yes { .. })) {
                self.renamed.insert(record.from.clone(), record.from.with_file_name(&new));
            }
        }
        match result {
            Ok(archive::Moved::Yes { .. }) => {
                self.source.manifest.moves[index].restored = true;
                self.outcome.files += 1;
                self.outcome.bytes += record.stamp.size;
            }
            Ok(archive::Moved::Changed(_)) if self.is_back(record) => {
                self.source.manifest.moves[index].restored = true;
            }
            Ok(archive::Moved::Changed(why)) => self.outcome.refused.push(Left::new(record.from.display(), why)),
            Err(error) => self.outcome.failed.push(Left::new(record.from.display(), format!("{error:#}"))),
        }
    }

    /// A restore that was cut off had this one back already.
    fn is_back(&self, record: &MoveRecord) -> bool {
        let away = self.source.locate(&record.to).and_then(|(dir, name)| dir.info(&name));
        let place = fs_err::symlink_metadata(&record.from);
        matches!(away, Ok(None)) && place.is_ok_and(|meta| meta.is_file() && meta.len() == record.stamp.size)
    }

    fn suffix(&self) -> &str {
        self.options.of.rsplit('-').next().unwrap_or(self.options.of)
    }

    /// What makes another key of a key: `:restored-<run>`, with a number when that is taken.
    fn new_suffix(&self, is_taken: impl Fn(&str) -> bool) -> String {
        let mut suffix = format!(":restored-{}", self.suffix());
        for number in 2_u32.. {
            if !is_taken(&suffix) {
                break;
            }
            suffix = format!(":restored-{}-{number}", self.suffix());
        }
        suffix
    }

    /// `<stem>-restored-<run>.jsonl`
    fn new_name(&self, name: &OsStr) -> std::ffi::OsString {
        let stem = Path::new(name).file_stem().unwrap_or(name);
        let mut new = stem.to_owned();
        new.push(format!("-restored-{}.jsonl", self.suffix()));
        new
    }

    /// Puts the wanted entries of one store back.
    fn store(&mut self, index: usize) -> anyhow::Result<()> {
        let record = self.source.manifest.stores[index].clone();
        let due = |entry: &EntryRecord| entry.is_away() && self.wants(entry);
        if record.state != StepState::Done || !record.entries.iter().any(due) || !self.in_time() {
            return Ok(());
        }
        let parent = record.path.parent().unwrap_or(Path::new("/"));
        let name = record.path.file_name().unwrap_or_default();
        if !self.source.manifest.is_ours(parent) {
            let why = "it lies outside the state directory, which was moved since";
            self.outcome.refused.push(Left::new(record.path.display(), why));
            return Ok(());
        }
        let dir = Dir::open_below(&self.source.manifest.state_dir, parent)?;
        let (archive, below) = self.own.agent_dir(&record.agent)?;
        self.own.announce_dead_lock(&dir, name, &archive, &below)?;
        let taken = StoreLock::acquire(&dir, name, &archive, self.options.deadline.clip(self.options.patience));
        self.own.settle_dead_lock(&dir, name, &archive);
        let lock = match taken? {
            Acquired::Ours(lock) => lock,
            Acquired::Busy(owner) => {
                self.outcome
                    .refused
                    .push(Left::new(record.path.display(), format!("{owner}; nothing in it was touched")));
                return Ok(());
            }
        };
        if self.is_broken_again(&record, &dir, name)? {
            self.source.manifest.stores[index].entries.iter_mut().for_each(|entry| entry.restored = true);
            return Ok(());
        }
        let (text, info) = if dir.info(name)?.is_some() {
            read_locked(&dir, name)?
        } else {
            (b"{}".to_vec(), FileInfo { mode: 0o600, ..dir.own_info()? })
        };
        let removed = self.source.read(&record.removed)?;
        let Some((new, back)) = self.put_back(&record, &text, &removed)? else { return Ok(()) };
        lock.replace_store([new.as_slice()], &info, Some(info.stamp).filter(|_| info.regular))?;
        drop(lock);
        for at in back {
            let entry = &mut self.source.manifest.stores[index].entries[at];
            entry.restored = true;
            self.outcome.bytes += (entry.entry_at.1 - entry.entry_at.0) as u64;
            self.outcome.bindings.push(entry.key.clone());
        }
        Ok(())
    }

    /// The store's new text and the entries that are in it again.
    fn put_back(
        &mut self,
        record: &StoreRecord,
        text: &[u8],
        removed: &[u8],
    ) -> anyhow::Result<Option<(Vec<u8>, Vec<usize>)>> {
        let whole = record.entries.iter().all(|entry| entry.is_away() && self.wants(entry));
        let all: Vec<usize> = (0..record.entries.len()).collect();
        // Nobody wrote the store since: the cuts go back to where they were.
        if whole
            && self.renamed.is_empty()
            && sha256(text) == record.new_sha256
            && let Some(old) = store::uncut(text, &record.spans(), removed)
            && sha256(&old) == record.old_sha256
        {
            return Ok(Some((old, all)));
        }
        let Ok(document) = store::read(text) else {
            anyhow::bail!("{} is no readable store now: put it right first", record.path.display())
        };
        let bound: HashMap<String, usize> =
            document.effective(text).into_iter().map(|place| (place.key, place.member)).collect();
        // The last of equal keys would hide the others.
        let mut used: HashSet<String> = record.entries.iter().map(|entry| entry.key.clone()).collect();
        let mut returning = Vec::new();
        let mut back = Vec::new();
        for (at, entry) in record.entries.iter().enumerate() {
            if !entry.is_away() || !self.wants(entry) {
                continue;
            }
            let bytes = |(start, end): (usize, usize)| removed.get(start..end).unwrap_or_default().to_vec();
            let (mut key, mut value) = (bytes(entry.key_at), bytes(entry.entry_at));
            anyhow::ensure!(sha256(&value) == entry.entry_sha256, "the archived entry of {} is damaged", entry.key);
            let has = |key: &str, value: &[u8]| {
                bound.get(key).map(|&member| document.members[member].entry.span.of(text) == value)
            };
            let is_bound = has(&entry.key, &value);
            if let Some(path) = entry.file.as_ref().and_then(|file| self.renamed.get(file)) {
                value = pointing_to(&value, path)?;
            }
            match is_bound {
                None => {}
                Some(true) => {
                    back.push(at);
                    continue;
                }
                Some(false) if !self.options.as_new => {
                    let why = "the key is bound again; --as-new brings it back under another key";
                    self.outcome.refused.push(Left::new(&entry.key, why));
                    continue;
                }
                Some(false) => {
                    let suffix = self.new_suffix(|suffix| {
                        let new = format!("{}{suffix}", entry.key);
                        used.contains(&new) || has(&new, &value) == Some(false)
                    });
                    let new = format!("{}{suffix}", entry.key);
                    // A restore that was cut off had it back already.
                    if has(&new, &value).is_some() {
                        back.push(at);
                        continue;
                    }
                    used.insert(new);
                    key.extend_from_slice(suffix.as_bytes());
                }
            }
            returning.push(Returning { index: at, key, entry: value });
        }
        if returning.is_empty() && back.is_empty() {
            return Ok(None);
        }
        back.extend(returning.iter().map(|one| one.index));
        let members: Vec<_> = returning.into_iter().map(|one| (one.key, one.entry)).collect();
        Ok(Some((document.with_members(text, &members), back)))
    }
}

/// The entry with `sessionId` and `sessionFile` of another transcript; every other byte is kept.
fn pointing_to(entry: &[u8], path: &Path) -> anyhow::Result<Vec<u8>> {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let id = name.strip_suffix(".jsonl").unwrap_or(name);
    let mut patches = Vec::new();
    let mut scanner = Scanner::new(entry);
    scanner
        .object(|scanner, key| {
            let value = scanner.value()?;
            match &*json::plain(key.of(entry)) {
                b"sessionId" => patches.push((value.span, format!("\"{id}\""))),
                b"sessionFile" => patches.push((value.span, format!("\"{name}\""))),
                _ => {}
            }
            Ok::<(), JsonError>(())
        })
        .map_err(|_| anyhow::anyhow!("the archived entry is no object"))?;
    let mut new = Vec::with_capacity(entry.len());
    let mut from = 0;
    for (span, text) in patches {
        new.extend_from_slice(&entry[from..span.start]);
        new.extend_from_slice(text.as_bytes());
        from = span.end;
    }
    new.extend_from_slice(&entry[from..]);
    debug_assert!(json::check(&new).is_ok());
    Ok(new)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_pointed_elsewhere_and_keeps_its_other_bytes() {
        let entry = br#"{ "a":1.0, "sessionId": "x","sessionFile":"/old/x.jsonl","big":12345678901234567890 }"#;
        let new = pointing_to(entry, Path::new("/new/x-restored-1.jsonl")).unwrap();
        let expected =
            r#"{ "a":1.0, "sessionId": "x-restored-1","sessionFile":"x-restored-1.jsonl","big":12345678901234567890 }"#;
        assert_eq!(String::from_utf8(new).unwrap(), expected);
    }
}
