//! Problems of a store: of the file, of its entries, and of its keys.

use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};

use super::Problem;
use super::rows;
use crate::decide::facts::{Facts, FindingCode};
use crate::model::database::LIVE_IN;
use crate::model::entry;
use crate::model::home::{Condition, Home};
use crate::model::inventory::{Access, Binding, Inventory, Side, Store};
use crate::model::json::Scanner;
use crate::model::problem::Code;
use crate::model::store::{self, Defect, Member};

/// All problems of a store that stands alone.
pub fn of_text(path: &Path, text: &[u8], now: DateTime<Utc>) -> Vec<Problem> {
    match store::read_entries(text) {
        Err(defect) => vec![of_defect(path, text, &defect)],
        Ok((document, entries)) => {
            let lines = Lines::of(text);
            let effective = document.effective(text);
            let collisions = store::case_collisions(&effective);
            let members = effective.iter().filter_map(|place| {
                let raw = document.members.get(place.member)?.entry.span.of(text);
                Some((place.key.as_str(), entries.get(place.member)?, raw))
            });
            if store::is_other_layout(members) {
                return vec![Problem::of(Code::StoreLayout, path)];
            }
            let mut list = Vec::new();
            for place in effective {
                let member = document.members[place.member];
                let Some(entry) = entries.get(place.member) else { continue };
                let mut binding = Binding::alone(place, entry.clone(), member.entry.span.len() as u64);
                binding.case_collision = collisions.contains(&binding.key.to_lowercase());
                let found = Facts::of(&binding, &Side::default(), now, TimeDelta::zero()).findings;
                let place = lines.place(member.key.start.saturating_sub(1));
                let at_entry = found.into_iter().filter_map(|finding| match finding.code {
                    FindingCode::Problem(code) => Some((code, finding.detail)),
                    _ => None,
                });
                let here = |code, detail, (line, byte)| {
                    Problem::of(code, path).at(line, byte).with(detail).of_binding(path, &binding)
                };
                let of_entry = of_entry(&binding, &entry::largest_if_huge(member.entry.span.of(text)));
                list.extend(at_entry.chain(of_entry).map(|(code, detail)| here(code, detail, place)));
                list.extend(of_member(&member, text, &lines).map(|(code, place)| here(code, None, place)));
            }
            list
        }
    }
}

/// Returns the oddities of an entry; `largest` are the largest fields of one that is huge.
pub(super) fn of_entry(binding: &Binding, largest: &[(String, usize)]) -> Vec<(Code, Option<String>)> {
    let mut found = Vec::new();
    if !binding.entry.not_an_object && binding.entry.updated_at.is_none() {
        found.push((Code::NoUpdatedAt, None));
    }
    if binding.entry_bytes > entry::HUGE as u64 {
        let fields: Vec<String> = largest.iter().map(|(name, bytes)| format!("{name} {bytes}")).collect();
        found.push((Code::HugeEntry, Some(format!("{} bytes: {}", binding.entry_bytes, fields.join(", ")))));
    }
    found
}

/// What is odd in the text of a key and its entry, and where.
pub(super) fn of_member(member: &Member, text: &[u8], lines: &Lines) -> impl Iterator<Item = (Code, (u64, u64))> {
    let start = member.key.start.saturating_sub(1);
    let mut scanner = Scanner::at(text, start);
    let whole = scanner.key().and_then(|_| scanner.value()).is_ok();
    let lone = scanner.lone_surrogate().filter(|_| whole).map(|at| (Code::LoneSurrogate, at));
    let bytes = text.get(start..member.entry.span.end).unwrap_or_default();
    let invalid = std::str::from_utf8(bytes).err().map(|error| (Code::InvalidUtf8, start + error.valid_up_to()));
    [lone, invalid].into_iter().flatten().map(|(code, at)| (code, lines.place(at)))
}

pub(super) fn of_store(store: &Store, orphans: bool) -> Vec<Problem> {
    let path = &store.path;
    let why = store.problem.clone();
    let mut found = Vec::new();
    match (&store.home, store.condition) {
        (Home::Rows(database), _) => {
            let database = database.as_deref();
            let mixed = database.is_some_and(|database| database.mixed.is_some());
            let code = if mixed { Code::StoreMixed } else { Code::StoreSqlite };
            let why = why.map(|why| why.strip_prefix(LIVE_IN).map(str::to_owned).unwrap_or(why));
            found.push(Problem::of(code, path).with(why));
            found.extend(database.into_iter().flat_map(|database| rows::of_database(store, database)));
        }
        (Home::Files { linked: true }, Condition::Sound | Condition::Unreadable) => {
            found.push(Problem::of(Code::StoreSymlink, path));
        }
        (_, Condition::Missing) if orphans => found.push(Problem::of(Code::StoreMissing, path)),
        (_, Condition::Sound | Condition::Missing) => {}
        (_, Condition::RotatedAway) => found.push(Problem::of(Code::StoreRotatedAway, path)),
        (_, Condition::Unreadable) => found.push(Problem::of(Code::StoreUnreadable, path).with(why)),
        (_, Condition::Empty | Condition::Malformed | Condition::NotAnObject | Condition::Bom) => {
            match store::read(&store.text) {
                Err(defect) => found.push(of_defect(path, &store.text, &defect)),
                Ok(_) => found.push(Problem::of(Code::StoreLayout, path)),
            }
        }
    }
    // The mode of a link says nothing, nor that of what is no file.
    let access = store.access.filter(|_| !store.is_linked() && store.condition != Condition::Unreadable);
    found.extend(mode(Code::StoreMode, path, access, 0o077));
    found
}

fn of_defect(path: &Path, text: &[u8], defect: &Defect) -> Problem {
    let start = |code| Problem::of(code, path).at(1, 0);
    match defect {
        Defect::Empty => start(Code::StoreEmpty),
        Defect::Bom => start(Code::StoreBom),
        Defect::NotAnObject(kind) => start(Code::StoreNotObject).with(format!("{kind:?}").to_lowercase()),
        Defect::Malformed { error, complete } => {
            let (line, byte) = Lines::of(text).place(error.offset);
            let detail = format!("{}; {complete} whole entries stand before", error.kind.describe());
            Problem::of(Code::StoreMalformed, path).at(line, byte).with(detail)
        }
    }
}

pub(super) fn mode(code: Code, path: &Path, access: Option<Access>, unwanted: u32) -> Option<Problem> {
    let mode = access?.mode;
    (mode & unwanted != 0).then(|| Problem::of(code, path).with(format!("mode {mode:04o}")))
}

pub(super) fn owner(inventory: &Inventory, path: &Path, access: Option<Access>) -> Option<Problem> {
    let (uid, wanted) = (access?.uid, inventory.owner?);
    (uid != wanted).then(|| Problem::of(Code::WrongOwner, path).with(format!("user {uid}, not {wanted}")))
}

/// Where the lines of a text begin.
pub(super) struct Lines {
    newlines: Vec<usize>,
}

impl Lines {
    pub(super) fn of(text: &[u8]) -> Self {
        Self { newlines: text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at).collect() }
    }

    /// The line, from 1, of a byte, and the byte.
    pub(super) fn place(&self, byte: usize) -> (u64, u64) {
        (self.newlines.partition_point(|&newline| newline < byte) as u64 + 1, byte as u64)
    }
}
