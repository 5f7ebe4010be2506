//! Entries that come back into their stores, each with its transcript.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::Restoring;
use crate::change::archive::{parts, read_whole};
use crate::change::manifest::{Batch, BatchSource, EntryRecord, StepState, Undone};
use crate::change::outcome::{Bound, Refusal, Subject};
use crate::disk::dir::{Dir, FileInfo};
use crate::model::ids::BindingId;
use crate::model::json::{self, JsonError, Scanner};
use crate::model::proof::sha256;
use crate::model::store::{self, Document};

/// An entry that goes back into its store.
struct Returning {
    /// Which of the batch's.
    at: usize,
    /// Its raw key.
    key: Vec<u8>,
    /// Its raw entry.
    entry: Vec<u8>,
}

/// A store as it is now.
struct Now<'a> {
    text: &'a [u8],
    document: Document,
    bound: HashMap<String, usize>,
}

impl Now<'_> {
    /// Returns whether a key is bound, and then whether to this very entry.
    fn has(&self, key: &str, entry: &[u8]) -> Option<bool> {
        self.bound.get(key).map(|&member| self.document.members[member].entry.span.of(self.text) == entry)
    }
}

impl Restoring<'_> {
    /// Puts the wanted entries of every store back.
    pub(super) fn batches(&mut self) {
        // The last one is undone first: rows may have changed more than once.
        for at in (0..self.source.manifest.batches.len()).rev() {
            let store = self.source.manifest.batches[at].store.clone();
            match self.batch(at) {
                Ok(Ok(())) => {}
                Ok(Err(refusal)) => self.leave(Subject::Path(store), refusal),
                Err(error) => self.leave(Subject::Path(store), error),
            }
        }
    }

    fn batch(&mut self, at: usize) -> anyhow::Result<Result<(), Refusal>> {
        let batch = self.source.manifest.batches[at].clone();
        let BatchSource::File(cuts) = &batch.from else { return self.rows(at, &batch) };
        let due = |entry: &EntryRecord| entry.is_away() && self.options.asked.wants(&batch.store, entry);
        if batch.state != StepState::Done || !batch.entries.iter().any(due) || !self.in_time() {
            return Ok(Ok(()));
        }
        let (parent, name) = parts(&batch.store)?;
        if !self.source.manifest.is_ours(parent) {
            return Ok(Err(Refusal::Outside));
        }
        let dir = Dir::open_below(&self.source.manifest.state_dir, parent)?;
        let lock = match self.lock(&batch.agent, &dir, name)? {
            Ok(lock) => lock,
            Err(holder) => return Ok(Err(holder.into())),
        };
        if self.is_broken_again(&batch, &dir, name)? {
            for entry in &mut self.source.manifest.batches[at].entries {
                entry.undone = Some(Undone::Restored);
            }
            return Ok(Ok(()));
        }
        let (text, info) = if dir.info(name)?.is_some() {
            read_whole(&dir, name)?
        } else {
            (b"{}".to_vec(), FileInfo { mode: 0o600, ..dir.own_info()? })
        };
        let (shelf, cut) = self.source.locate(&cuts.removed)?;
        if shelf.info(&cut)?.is_none() {
            return Ok(Err(Refusal::NotArchived(shelf.join(&cut))));
        }
        let removed = self.source.read(&cuts.removed)?;
        let document = match store::read(&text) {
            Ok(document) => document,
            Err(defect) => return Ok(Err(Refusal::broken(&defect))),
        };
        let Some((new, back)) = self.put_back(&batch, &text, document, &removed)? else { return Ok(Ok(())) };
        if let Some(lock) = lock {
            lock.replace_store([new.as_slice()], &info, Some(info.stamp).filter(|_| info.regular))?;
        }
        for index in back {
            let entry = &mut self.source.manifest.batches[at].entries[index];
            entry.undone = Some(Undone::Restored);
            self.outcome.back.bytes += entry.bytes();
            let id = BindingId::new(&batch.store, &entry.key);
            self.outcome.back.bindings.push(Bound { agent: entry.agent.clone(), id });
        }
        Ok(Ok(()))
    }

    /// Returns the store's new text and the entries that are in it again. Their files come back on the way; an entry
    /// whose file does not is left out.
    fn put_back(
        &mut self,
        batch: &Batch,
        text: &[u8],
        document: Document,
        removed: &[u8],
    ) -> anyhow::Result<Option<(Vec<u8>, Vec<usize>)>> {
        let places = document.effective(text).into_iter();
        let bound: HashMap<String, usize> = places.map(|place| (place.key, place.member)).collect();
        let now = Now { text, document, bound };
        let chosen = self.choose(batch, &now, removed);
        if chosen.is_empty() {
            return Ok(None);
        }
        let whole = chosen.len() == batch.entries.len();
        let all = || (0..batch.entries.len()).collect();
        // Nobody wrote the store since: the cuts go back to where they were.
        if whole
            && self.renamed.is_empty()
            && let Some(cuts) = batch.cuts()
            && sha256(text) == cuts.new_sha256
            && let Some(old) = store::uncut(text, &cuts.spans(), removed)
            && sha256(&old) == cuts.old_sha256
        {
            return Ok(Some((old, all())));
        }
        let (returning, mut back) = self.returning(batch, &now, removed, &chosen)?;
        if returning.is_empty() && back.is_empty() {
            return Ok(None);
        }
        back.extend(returning.iter().map(|one| one.at));
        let members: Vec<_> = returning.into_iter().map(|one| (one.key, one.entry)).collect();
        let new = now.document.with_members(text, &members);
        let keys = now.bound.into_keys().chain(members.iter().map(|(key, _)| json::unescape(key)));
        anyhow::ensure!(
            store::has_keys(&new, keys),
            "{} would not be a store with what is to come back",
            batch.store.display()
        );
        Ok(Some((new, back)))
    }

    /// Chooses the entries that come back, and brings their files back.
    fn choose(&mut self, batch: &Batch, now: &Now<'_>, removed: &[u8]) -> Vec<usize> {
        let mut chosen = Vec::new();
        let mut files: HashMap<PathBuf, bool> = HashMap::new();
        for (at, entry) in batch.entries.iter().enumerate() {
            if !entry.is_away() || !self.options.asked.wants(&batch.store, entry) {
                continue;
            }
            let subject = Subject::binding(&entry.agent, &batch.store, &entry.key);
            let Some(value) = whole_entry(entry, removed) else {
                self.leave(subject, Refusal::Damaged(batch.kept().to_owned()));
                continue;
            };
            if now.has(&entry.key, value) == Some(false) && !self.options.asked.as_new {
                self.leave(subject, Refusal::Bound);
                continue;
            }
            let accompanied = entry
                .file
                .as_ref()
                .is_none_or(|file| *files.entry(file.clone()).or_insert_with(|| self.transcript(file)));
            if accompanied {
                chosen.push(at);
            } else {
                self.leave(subject, Refusal::Unaccompanied);
            }
        }
        chosen
    }

    /// Brings the transcript of an entry back; whether it is there.
    fn transcript(&mut self, file: &Path) -> bool {
        let step = self.source.manifest.steps.iter().position(|step| step.is_move() && step.path == file);
        // A file that was never to be moved is where it was.
        let Some(at) = step else { return true };
        match self.file(at) {
            Ok(Ok(())) => return true,
            Ok(Err(refusal)) => self.leave(Subject::Path(file.to_owned()), refusal),
            Err(error) => self.leave(Subject::Path(file.to_owned()), error),
        }
        false
    }

    /// Returns the members to add, and the entries that are back already.
    fn returning(
        &self,
        batch: &Batch,
        now: &Now<'_>,
        removed: &[u8],
        chosen: &[usize],
    ) -> anyhow::Result<(Vec<Returning>, Vec<usize>)> {
        // The last of equal keys would hide the others.
        let mut used: HashSet<String> = batch.entries.iter().map(|entry| entry.key.clone()).collect();
        let (mut returning, mut back) = (Vec::new(), Vec::new());
        for &at in chosen {
            let entry = &batch.entries[at];
            let key_at = entry.cut().map_or(0..0, |cut| cut.key_at.0..cut.key_at.1);
            let mut key = removed.get(key_at).unwrap_or_default().to_vec();
            let mut value = whole_entry(entry, removed).unwrap_or_default().to_vec();
            let is_bound = now.has(&entry.key, &value);
            if let Some(path) = entry.file.as_ref().and_then(|file| self.renamed.get(file)) {
                value = pointing_to(&value, path)?;
            }
            // What a restore had put back that was cut off may already lead to the new name.
            match is_bound.max(now.has(&entry.key, &value)) {
                None => {}
                Some(true) => {
                    back.push(at);
                    continue;
                }
                Some(false) => {
                    let suffix = self.new_suffix(|suffix| {
                        let new = format!("{}{suffix}", entry.key);
                        used.contains(&new) || now.has(&new, &value) == Some(false)
                    });
                    let new = format!("{}{suffix}", entry.key);
                    if now.has(&new, &value).is_some() {
                        back.push(at);
                        continue;
                    }
                    used.insert(new);
                    key.extend_from_slice(suffix.as_bytes());
                }
            }
            returning.push(Returning { at, key, entry: value });
        }
        Ok((returning, back))
    }

    /// Returns what makes another key of a key: `:restored-<run>`, with a number when that is taken.
    fn new_suffix(&self, is_taken: impl Fn(&str) -> bool) -> String {
        let run = self.options.asked.of.suffix();
        let mut suffix = format!(":restored-{run}");
        for number in 2_u32.. {
            if !is_taken(&suffix) {
                break;
            }
            suffix = format!(":restored-{run}-{number}");
        }
        suffix
    }
}

/// The bytes of an archived entry, if they are what was taken out.
fn whole_entry<'a>(entry: &EntryRecord, removed: &'a [u8]) -> Option<&'a [u8]> {
    let cut = entry.cut()?;
    let value = removed.get(cut.entry_at.0..cut.entry_at.1)?;
    let key = removed.get(cut.key_at.0..cut.key_at.1)?;
    (sha256(value) == cut.entry_sha256 && json::unescape(key) == entry.key).then_some(value)
}

/// The entry with `sessionId` and `sessionFile` of another transcript; every other byte is kept.
fn pointing_to(entry: &[u8], path: &Path) -> anyhow::Result<Vec<u8>> {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let id = serde_json::to_string(name.strip_suffix(".jsonl").unwrap_or(name))?;
    let name = serde_json::to_string(name)?;
    let mut patches = Vec::new();
    let mut scanner = Scanner::new(entry);
    scanner
        .object(|scanner, key| {
            let value = scanner.value()?;
            match &*json::plain(key.of(entry)) {
                b"sessionId" => patches.push((value.span, &id)),
                b"sessionFile" => patches.push((value.span, &name)),
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

    #[test]
    fn a_name_with_quotes_stays_a_string() {
        let entry = br#"{"sessionFile":"x"}"#;
        let name = "a\"b\\c\n.jsonl";
        let new = pointing_to(entry, &Path::new("/new").join(name)).unwrap();
        let read: serde_json::Value = serde_json::from_slice(&new).unwrap();
        assert_eq!(read["sessionFile"], name);
    }
}
