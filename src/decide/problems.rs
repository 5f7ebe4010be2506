//! Problems: everything that `validate` tells, each with where it is. Pure: the same inventory gives the same list.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};

pub use self::store::of_text;
use self::store::{Lines, mode, of_entry, of_member, of_store, owner};
use super::facts::{Facts, FindingCode};
use super::lost::{LostIndex, lost_indices};
use crate::model::entry;
use crate::model::ids::BindingId;
use crate::model::inventory::{Binding, Content, Inventory, Store};
use crate::model::names::FileKind;
use crate::model::problem::{Code, Remedy, Severity};
use crate::model::transcript::{Integrity, Summary};

mod rows;
mod store;
mod transcript;

/// Something that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What it is.
    pub code: Code,
    /// The file it is in.
    pub path: PathBuf,
    /// The line, from 1, and the byte in the file, from 0.
    pub at: Option<(u64, Option<u64>)>,
    /// The number of the event in SQLite.
    pub seq: Option<i64>,
    /// The binding it concerns.
    pub binding: Option<BindingId>,
    /// The agent of that binding.
    pub agent: Option<String>,
    /// More, in words.
    pub detail: Option<String>,
    /// What can be done about it, here.
    pub remedy: Remedy,
    /// It is in a row of SQLite, not in a file: what OpenClaw does with it was not tried.
    pub of_row: bool,
}

impl Problem {
    /// A problem of a file as a whole.
    fn of(code: Code, path: &Path) -> Self {
        Self {
            code,
            path: path.to_owned(),
            at: None,
            seq: None,
            binding: None,
            agent: None,
            detail: None,
            remedy: code.remedy(),
            of_row: false,
        }
    }

    fn of_binding(self, store: &Path, binding: &Binding) -> Self {
        Self {
            binding: Some(BindingId::new(store, &binding.key)),
            agent: Some(binding.agent.clone()).filter(|agent| !agent.is_empty()),
            ..self
        }
    }

    fn at(self, line: u64, byte: u64) -> Self {
        Self { at: Some((line, Some(byte))), ..self }
    }

    fn with(self, detail: impl Into<Option<String>>) -> Self {
        Self { detail: detail.into(), ..self }
    }

    /// A file that could not be read.
    pub fn unreadable(path: &Path, why: String) -> Self {
        Self::of(Code::Unreadable, path).with(why)
    }

    /// How bad it is.
    pub fn severity(&self) -> Severity {
        self.code.severity()
    }

    /// Returns whether something could not be looked at.
    pub fn hides(&self) -> bool {
        matches!(self.code, Code::Unreadable | Code::StoreUnreadable)
    }
}

/// What was found, and how many findings of kinds that were told often enough there are besides.
#[derive(Clone, Debug, Default)]
pub struct Problems {
    /// Every problem: the stores in their order, after each what lies beside it.
    pub list: Vec<Problem>,
    /// How many more there are.
    pub more: u64,
    /// Lines of transcripts that were read.
    pub lines: u64,
    /// Transcripts that were read.
    pub transcripts: usize,
    /// Transcripts that were told of: two bindings may share one.
    seen: HashSet<PathBuf>,
    /// The store at hand has one problem for all of its paths that lead to places that are gone.
    moved: bool,
}

/// All problems of what was loaded; of orphans and archives when `archives` says so.
pub fn of_inventory(inventory: &Inventory, now: DateTime<Utc>, archives: bool) -> Problems {
    let mut problems = Problems::default();
    let mut users: HashMap<&Path, Vec<&Binding>> = HashMap::new();
    for binding in inventory.stores.iter().flat_map(|store| &store.bindings) {
        if let Some(path) = binding.transcript.path.as_deref() {
            users.entry(path).or_default().push(binding);
        }
    }
    problems.list.extend(inventory.unseen.iter().map(|(path, why)| Problem::unreadable(path, why.clone())));
    let mut told: Vec<&Path> = Vec::new();
    let lost = lost_indices(inventory);
    for store in inventory.selected() {
        let dir = store.dir();
        let beside = || inventory.files.iter().filter(move |file| file.path.parent() == Some(dir));
        let orphans = beside().any(|file| file.kind == FileKind::Orphan);
        problems.list.extend(of_store(store, orphans));
        problems.list.extend(owner(inventory, &store.path, store.access));
        if let Some(LostIndex { bound, unbound }) = lost.get(dir).filter(|_| !told.contains(&dir)) {
            let detail = format!("{bound} bound, {unbound} beside it");
            problems.list.push(Problem::of(Code::IndexLost, &store.path).with(detail));
        }
        let moved = moved(store);
        problems.moved = moved.is_some();
        problems.list.extend(moved);
        let lines = Lines::of(&store.text);
        for binding in &store.bindings {
            let shared = binding.transcript.path.as_deref().and_then(|path| sharing(users.get(path)?));
            problems.binding(inventory, store, &lines, (binding, shared), now);
        }
        // Stores that share a directory share what lies in it.
        if !told.contains(&dir) {
            told.push(dir);
            beside().for_each(|file| problems.file(inventory, file, archives));
        }
    }
    problems
}

/// All problems of an archived transcript above `info`, worst first.
pub fn of_file(path: &Path, summary: &Summary) -> Vec<Problem> {
    let mut problems = Problems::default();
    problems.add(path, summary);
    problems.list.retain(|problem| problem.severity() < Severity::Info);
    problems.list.sort_by_key(Problem::severity);
    problems.list
}

impl Problems {
    /// Adds the problems of a transcript that stands alone.
    pub fn add(&mut self, path: &Path, summary: &Summary) {
        self.lines_of(path, summary, None, false);
    }

    /// Outside a state directory there is no archive to keep an original in: what claw-sessions could do, it cannot here.
    pub fn without_archive(&mut self) {
        for problem in self.list.iter_mut().filter(|problem| !matches!(problem.remedy, Remedy::Person(_))) {
            problem.remedy = Remedy::Nothing;
        }
    }

    fn binding(
        &mut self,
        inventory: &Inventory,
        store: &Store,
        lines: &Lines,
        (binding, shared): (&Binding, Option<Code>),
        now: DateTime<Utc>,
    ) {
        let facts = Facts::of(binding, &inventory.side, now, TimeDelta::zero());
        if store.database().is_some() {
            return self.rows(store, binding, facts);
        }
        let member = store.document.members.get(binding.place.member);
        let (line, byte) = lines.place(member.map_or(0, |member| member.key.start.saturating_sub(1)));
        let here = |code: Code, detail: Option<String>| {
            Problem::of(code, &store.path).at(line, byte).with(detail).of_binding(&store.path, binding)
        };
        let missing = (facts.integrity == Integrity::Missing).then(|| {
            let path = binding.transcript.path.as_deref().and_then(Path::file_name);
            (Code::Missing, path.map(|name| name.to_string_lossy().into_owned()))
        });
        let found = facts.findings.into_iter().filter(|finding| finding.line.is_none()).filter_map(|finding| {
            match finding.code {
                FindingCode::Problem(Code::Relocated) if self.moved => None,
                // Told once for the file, below.
                FindingCode::Problem(Code::HardLinked | Code::Unreadable)
                | FindingCode::FailedKept
                | FindingCode::DamageKept => None,
                FindingCode::Problem(code) => Some((code, finding.detail)),
            }
        });
        let of_entry = of_entry(binding, &entry::largest_if_huge(store.entry_bytes(binding)));
        let of_file = shared.map(|code| (code, None));
        self.list.extend(found.chain(of_entry).chain(missing).chain(of_file).map(|(code, detail)| here(code, detail)));
        if let Some(member) = member {
            let odd = of_member(member, &store.text, lines);
            self.list.extend(odd.map(|(code, (line, byte))| here(code, None).at(line, byte)));
        }
        let transcript = &binding.transcript;
        let Some(path) = transcript.path.as_deref() else { return };
        if !self.seen.insert(path.to_owned()) {
            return;
        }
        match &transcript.content {
            Content::Read(summary) => {
                self.lines_of(path, summary, Some((store, binding)), transcript.cut_header.is_some());
            }
            Content::Unreadable(why) => {
                self.list.push(Problem::of(Code::Unreadable, path).with(why.clone()).of_binding(&store.path, binding));
            }
            Content::Absent | Content::Outside(_) | Content::NotChecked { .. } => {}
        }
        if transcript.linked {
            self.list.push(Problem::of(Code::HardLinked, path));
        }
        self.list.extend(owner(inventory, path, transcript.access));
        self.list.extend(mode(Code::FileMode, path, transcript.access, 0o022));
    }
}

/// One problem for all paths of a store that lead to places that are gone, when there are many: then the state directory was
/// moved, or is a copy.
fn moved(store: &Store) -> Option<Problem> {
    const MANY: usize = 4;
    let mut relocated = store.bindings.iter().filter(|binding| binding.transcript.relocated);
    let first = relocated.next()?;
    let count = 1 + relocated.count();
    let detail = || format!("{count} entries, such as that of {}", first.key);
    (count >= MANY).then(|| Problem::of(Code::Relocated, &store.path).with(detail()))
}

/// What it means that these bindings point at one transcript.
fn sharing(users: &[&Binding]) -> Option<Code> {
    let (first, others) = users.split_first().filter(|(_, others)| !others.is_empty())?;
    let same_job = first.cron_job.is_some() && others.iter().all(|other| other.cron_job == first.cron_job);
    Some(if same_job { Code::SharedFile } else { Code::MixedFile })
}
