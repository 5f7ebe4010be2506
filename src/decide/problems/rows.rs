//! Problems of sessions in SQLite: of the database as a whole, and of the rows of a key.

use super::store::of_entry;
use super::{Problem, Problems};
use crate::decide::facts::{Facts, FindingCode, RunState};
use crate::model::database::{Database, MoreInFile, Unfit};
use crate::model::ids::BindingId;
use crate::model::inventory::{Binding, Content, Store};
use crate::model::problem::{Code, Remedy};
use crate::model::row::{RowDamage, SessionRow, Standing};
use crate::model::transcript::Integrity;

impl Problems {
    /// The problems of a binding whose transcript is rows. They have no place in a file: a row is named by its number.
    pub(super) fn rows(&mut self, store: &Store, binding: &Binding, facts: Facts) {
        let here = |code: Code, detail: Option<String>| {
            let remedy = if matches!(code.remedy(), Remedy::Person(_)) { code.remedy() } else { Remedy::Nothing };
            let problem = Problem::of(code, store.holder()).with(detail).of_binding(&store.path, binding);
            Problem { remedy, of_row: true, ..problem }
        };
        let run = facts.run;
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
        let row = binding.row.as_deref();
        let of_row = row.into_iter().flat_map(|row| of_row(store, binding, row, run));
        self.list.extend(of_row.map(|problem| problem.of_binding(&store.path, binding)));
        // A placeholder has no entry; what an entry lacks it cannot lack.
        let listed = row.is_none_or(|row| row.standing == Standing::Session);
        let largest = row.map_or(&[][..], |row| &row.largest);
        let of_entry = of_entry(binding, largest).into_iter().filter(|_| listed);
        let found = found.filter(|(code, _)| listed || *code != Code::NoSessionId);
        self.list.extend(found.chain(of_entry).chain(missing).map(|(code, detail)| here(code, detail)));
        if let Content::Read(summary) = &transcript.content {
            self.transcripts += 1;
            self.lines += summary.lines;
            self.more += summary.more;
        }
    }
}

/// What is wrong with a database as a whole.
pub(super) fn of_database(store: &Store, database: &Database) -> Vec<Problem> {
    let here = |code: Code, detail: String| Problem::of(code, &database.path).with(detail);
    let mut found = Vec::new();
    found.extend(match &database.strange {
        Some(Unfit::Schema(version)) => {
            Some(Problem::of(Code::SchemaUnknown, &store.path).with(format!("schema {version}")))
        }
        Some(Unfit::Shape(what)) => Some(here(Code::ShapeUnknown, what.clone())),
        Some(Unfit::Incomplete(trigger)) => Some(here(Code::SchemaIncomplete, trigger.clone())),
        Some(Unfit::Pages(what)) => Some(here(Code::PagesDamaged, what.clone())),
        None | Some(Unfit::Mixed | Unfit::Unread(_)) => None,
    });
    for damage in &database.orphans {
        let RowDamage::Orphaned { name, rows, .. } = damage else { continue };
        let problem = of_key(store, here(Code::RowsOrphaned, format!("{rows} rows of {name}")), name);
        found.push(Problem { remedy: mendable(store, Code::RowsOrphaned), ..problem });
    }
    for (key, session) in &database.elsewhere {
        found.push(of_key(store, here(Code::KnownElsewhere, format!("session {session}")), key));
    }
    for (key, more) in database.mixed.iter().flat_map(|mixed| &mixed.more_in_file) {
        let what = match more {
            MoreInFile::Key => "the key is only in the file",
            MoreInFile::NoSession => "the entry in the file has no sessionId",
            MoreInFile::Newer => "the entry in the file is newer than the row",
        };
        found.push(of_key(store, Problem::of(Code::MixedKey, &store.path).with(what.to_owned()), key));
    }
    found
}

fn of_key(store: &Store, problem: Problem, key: &str) -> Problem {
    Problem { binding: Some(BindingId::new(&store.path, key)), agent: Some(store.agent.clone()), ..problem }
}

fn mendable(store: &Store, code: Code) -> Remedy {
    if store.may_change().is_ok() { code.remedy() } else { Remedy::Nothing }
}

/// What is wrong, or odd, with the rows of a key.
fn of_row(store: &Store, binding: &Binding, row: &SessionRow, run: RunState) -> Vec<Problem> {
    let here = |code: Code, detail: Option<String>| {
        let remedy = match code.remedy() {
            Remedy::Repair => mendable(store, code),
            other => other,
        };
        Problem { remedy, ..Problem::of(code, store.holder()).with(detail) }
    };
    let mut found: Vec<Problem> = row.damage.iter().map(|damage| of_damage(damage, here)).collect();
    let queued = (row.queued > 0).then(|| here(Code::InputWaiting, Some(format!("{} of them", row.queued))));
    let stuck = (row.stuck > 0).then(|| here(Code::StuckInputs, Some(format!("{} of them", row.stuck))));
    found.extend(queued.into_iter().chain(stuck));
    if row.is_resumed() && run == RunState::Interrupted {
        let claim = row.more.claim.as_ref().map(|claim| format!("claimed by the run {claim}"));
        found.push(here(Code::StaleRunning, claim));
    }
    let is_empty = matches!(binding.transcript.content, Content::Absent)
        || binding.transcript.rows.is_some_and(|rows| rows.events <= 1);
    let history = row.windows.iter().filter(|window| window.events > 1).max_by_key(|window| window.events);
    if let Some(window) = history.filter(|_| is_empty && !binding.class.is_synthetic()) {
        let words = format!("{} has {} events", window.session_id, window.events);
        found.push(here(Code::HistoryInWindow, Some(words)));
    }
    if is_alias(&binding.key) {
        found.push(here(Code::AliasKey, None));
    }
    found
}

fn of_damage(damage: &RowDamage, here: impl Fn(Code, Option<String>) -> Problem) -> Problem {
    let (detail, at) = match damage {
        RowDamage::EntryUnreadable => (None, None),
        RowDamage::EntryDiffers { columns } => ((!columns.is_empty()).then(|| columns.join(", ")), None),
        RowDamage::Alias { of: Some(key) } => (Some(format!("its window is that of {key}")), None),
        RowDamage::Alias { of: None } => (Some("its window is gone".to_owned()), None),
        RowDamage::TornEvent { session_id, seq } => (Some(format!("seq {seq} of {session_id}")), Some(*seq)),
        RowDamage::NoHeader { session_id } | RowDamage::Behind { session_id } => (Some(session_id.clone()), None),
        RowDamage::Orphaned { name, rows, .. } => (Some(format!("{rows} rows of {name}")), None),
    };
    Problem { seq: at, ..here(damage.code(), detail) }
}

/// Returns whether a key has a channel in capitals: OpenClaw writes it small.
fn is_alias(key: &str) -> bool {
    let mut parts = key.split(':');
    parts.next() == Some("agent")
        && parts.nth(1).is_some_and(|channel| channel.bytes().any(|byte| byte.is_ascii_uppercase()))
}
