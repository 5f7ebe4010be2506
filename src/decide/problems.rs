//! Problems: everything that `validate` tells, each with where it is. Pure: the same inventory gives the same list.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};

use super::facts::{Facts, FindingCode};
use crate::model::database::LIVE_IN;
use crate::model::entry;
use crate::model::home::{Condition, Home};
use crate::model::ids::BindingId;
use crate::model::inventory::{Access, Beside, Binding, Content, Inventory, LooseFile, Side, Store};
use crate::model::json::Scanner;
use crate::model::leftover::{Leftover, LeftoverState};
use crate::model::names::FileKind;
use crate::model::problem::{Code, Remedy, Severity};
use crate::model::store::{self, Defect, Member};
use crate::model::transcript::{Integrity, Summary};

/// An entry of more bytes than this is told: usual are ten thousand (F§12).
const HUGE: u64 = 256 * 1024;

/// Something that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What it is.
    pub code: Code,
    /// The file it is in.
    pub path: PathBuf,
    /// The line, from 1, and the byte in the file, from 0.
    pub at: Option<(u64, Option<u64>)>,
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
    for store in inventory.selected() {
        let dir = store.dir();
        let beside = || inventory.files.iter().filter(move |file| file.path.parent() == Some(dir));
        let orphans = beside().any(|file| file.kind == FileKind::Orphan);
        problems.list.extend(of_store(store, orphans));
        problems.list.extend(owner(inventory, &store.path, store.access));
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

/// All problems of a store that stands alone.
pub fn of_text(path: &Path, text: &[u8], now: DateTime<Utc>) -> Vec<Problem> {
    match store::read_entries(text) {
        Err(defect) => vec![of_defect(path, text, &defect)],
        Ok((document, entries)) => {
            let lines = Lines::of(text);
            let effective = document.effective(text);
            let collisions = store::case_collisions(&effective);
            let members =
                entries.iter().zip(&document.members).map(|(entry, member)| (entry, member.entry.span.of(text)));
            if store::is_wrapped(members) {
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
                let of_entry = of_entry(&binding, member.entry.span.of(text));
                list.extend(at_entry.chain(of_entry).map(|(code, detail)| here(code, detail, place)));
                list.extend(of_member(&member, text, &lines).map(|(code, place)| here(code, None, place)));
            }
            list
        }
    }
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
                // Told once for the file, below.
                FindingCode::Problem(Code::HardLinked | Code::Unreadable)
                | FindingCode::FailedKept
                | FindingCode::DamageKept => None,
                FindingCode::Problem(code) => Some((code, finding.detail)),
            }
        });
        let of_entry = of_entry(binding, store.entry_bytes(binding));
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

    /// The problems of a binding whose transcript is rows. They have no place in a file: a row is named by its number.
    fn rows(&mut self, store: &Store, binding: &Binding, facts: Facts) {
        let here = |code: Code, detail: Option<String>| {
            let remedy = if matches!(code.remedy(), Remedy::Person(_)) { code.remedy() } else { Remedy::Nothing };
            let problem = Problem::of(code, store.holder()).with(detail).of_binding(&store.path, binding);
            Problem { remedy, of_row: true, ..problem }
        };
        let transcript = &binding.transcript;
        let missing = (facts.integrity == Integrity::Missing)
            .then(|| (Code::Missing, transcript.original.as_ref().map(|name| format!("no rows; there is {name}"))));
        let found = facts.findings.into_iter().filter_map(|finding| match finding.code {
            FindingCode::Problem(code) => {
                let row = finding.line.map(|line| format!("row {}", line.saturating_sub(1)));
                let words = [row, finding.detail].into_iter().flatten().collect::<Vec<_>>().join(": ");
                Some((code, Some(words).filter(|words| !words.is_empty())))
            }
            FindingCode::FailedKept | FindingCode::DamageKept => None,
        });
        let of_entry = of_entry(binding, store.entry_bytes(binding));
        self.list.extend(found.chain(of_entry).chain(missing).map(|(code, detail)| here(code, detail)));
        if let Content::Read(summary) = &transcript.content {
            self.transcripts += 1;
            self.lines += summary.lines;
            self.more += summary.more;
        }
    }

    fn file(&mut self, inventory: &Inventory, file: &LooseFile, archives: bool) {
        let code = match file.kind {
            FileKind::Temp => Some(Code::TempFile),
            FileKind::RepairBak => Some(Code::RepairBackup),
            FileKind::StuckBak => Some(Code::StuckBackup),
            _ => None,
        };
        self.list.extend(code.map(|code| Problem::of(code, &file.path)));
        self.list.extend(file.leftover.as_ref().map(|found| leftover(&file.path, found)));
        // Where a store cannot be read, any file beside it may be bound.
        if !archives && matches!(file.beside, Beside::Known | Beside::Linked) {
            return;
        }
        match &file.content {
            Content::Read(summary) => self.lines_of(&file.path, summary, None, false),
            Content::Unreadable(why) => {
                self.list.push(Problem::of(Code::Unreadable, &file.path).with(why.clone()));
            }
            Content::Absent | Content::Outside(_) | Content::NotChecked { .. } => return,
        }
        self.list.extend(owner(inventory, &file.path, Some(file.access)));
    }

    fn lines_of(&mut self, path: &Path, summary: &Summary, of: Option<(&Store, &Binding)>, compacted: bool) {
        self.transcripts += 1;
        self.lines += summary.lines;
        self.more += summary.more;
        let header_id = summary.header_id.as_deref().filter(|id| !id.is_empty());
        let (line, byte) = summary.header_place.unwrap_or((1, 0));
        let other_name =
            header_id.filter(|id| names_another(path, id)).map(|_| (Code::HeaderId, line, Some(byte), None));
        let found = summary.findings.iter().map(|found| {
            let code = if found.code == Code::NoHeader && compacted { Code::Compacted } else { found.code };
            (code, found.line, found.byte, found.detail.clone())
        });
        self.list.extend(found.chain(other_name).map(|(code, line, byte, detail)| {
            let remedy = match code.remedy() {
                Remedy::Repair if summary.mends.is_none() => match (code.severity(), of) {
                    (Severity::Fatal, Some(_)) => Remedy::Quarantine,
                    _ => Remedy::Nothing,
                },
                // Only what is bound is mended or taken aside.
                Remedy::Quarantine | Remedy::Repair if of.is_none() => Remedy::Nothing,
                remedy => remedy,
            };
            let problem = Problem { at: Some((line, byte)), remedy, ..Problem::of(code, path).with(detail) };
            match of {
                Some((store, binding)) => problem.of_binding(&store.path, binding),
                None => problem,
            }
        }));
    }
}

fn leftover(path: &Path, found: &Leftover) -> Problem {
    let code = match found.state {
        LeftoverState::InSqlite => Code::LeftoverInSqlite,
        LeftoverState::Partly => Code::LeftoverPartly,
        LeftoverState::OnlyCopy => Code::LeftoverOnlyCopy,
        LeftoverState::Reminted => Code::LeftoverReminted,
    };
    let archived = found.archived_as.as_deref().and_then(Path::file_name);
    let archived = archived.map_or_else(String::new, |name| {
        format!("; the import's archive has the same bytes, {}", name.to_string_lossy())
    });
    let missing = match found.missing {
        0 => String::new(),
        missing => format!("{missing} of "),
    };
    let detail =
        format!("{missing}{} lines{}{archived}", found.lines, if found.missing > 0 { " nowhere in it" } else { "" });
    Problem::of(code, path).with(detail)
}

/// `<id>.jsonl` and `<id>-topic-<n>.jsonl` are named after the header; forks and files of pi are not (F§4.1).
fn names_another(path: &Path, id: &str) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| !name.contains(id))
}

/// What it means that these bindings point at one transcript.
fn sharing(users: &[&Binding]) -> Option<Code> {
    let (first, others) = users.split_first().filter(|(_, others)| !others.is_empty())?;
    let same_job = first.cron_job.is_some() && others.iter().all(|other| other.cron_job == first.cron_job);
    Some(if same_job { Code::SharedFile } else { Code::MixedFile })
}

fn of_entry(binding: &Binding, raw: &[u8]) -> Vec<(Code, Option<String>)> {
    let mut found = Vec::new();
    if !binding.entry.not_an_object && binding.entry.updated_at.is_none() {
        found.push((Code::NoUpdatedAt, None));
    }
    if binding.entry_bytes > HUGE {
        let fields: Vec<String> =
            entry::largest_fields(raw, 3).into_iter().map(|(name, bytes)| format!("{name} {bytes}")).collect();
        found.push((Code::HugeEntry, Some(format!("{} bytes: {}", binding.entry_bytes, fields.join(", ")))));
    }
    found
}

/// What is odd in the text of a key and its entry, and where.
fn of_member(member: &Member, text: &[u8], lines: &Lines) -> impl Iterator<Item = (Code, (u64, u64))> {
    let start = member.key.start.saturating_sub(1);
    let mut scanner = Scanner::at(text, start);
    let whole = scanner.key().and_then(|_| scanner.value()).is_ok();
    let lone = scanner.lone_surrogate().filter(|_| whole).map(|at| (Code::LoneSurrogate, at));
    let bytes = text.get(start..member.entry.span.end).unwrap_or_default();
    let invalid = std::str::from_utf8(bytes).err().map(|error| (Code::InvalidUtf8, start + error.valid_up_to()));
    [lone, invalid].into_iter().flatten().map(|(code, at)| (code, lines.place(at)))
}

fn of_store(store: &Store, orphans: bool) -> Vec<Problem> {
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
            let newer = database.filter(|database| !database.is_known());
            found
                .extend(newer.map(|database| {
                    Problem::of(Code::SchemaUnknown, path).with(format!("schema {}", database.schema))
                }));
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

fn mode(code: Code, path: &Path, access: Option<Access>, unwanted: u32) -> Option<Problem> {
    let mode = access?.mode;
    (mode & unwanted != 0).then(|| Problem::of(code, path).with(format!("mode {mode:04o}")))
}

fn owner(inventory: &Inventory, path: &Path, access: Option<Access>) -> Option<Problem> {
    let (uid, wanted) = (access?.uid, inventory.owner?);
    (uid != wanted).then(|| Problem::of(Code::WrongOwner, path).with(format!("user {uid}, not {wanted}")))
}

/// Where the lines of a text begin.
struct Lines {
    newlines: Vec<usize>,
}

impl Lines {
    fn of(text: &[u8]) -> Self {
        Self { newlines: text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at).collect() }
    }

    /// The line, from 1, of a byte, and the byte.
    fn place(&self, byte: usize) -> (u64, u64) {
        (self.newlines.partition_point(|&newline| newline < byte) as u64 + 1, byte as u64)
    }
}
