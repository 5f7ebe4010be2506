//! `report`: one document, and how it is written for people and machines.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use self::largest::LargestDocument;
use super::json::{BindingDocument, Body, FileDocument, Preamble, ScanSummary, StoreDocument};
use super::store_state::StoreState;
use super::text::totals;
use super::words::count;
use crate::decide::facts::RunState;
use crate::decide::plan::Totals;
use crate::decide::startup::Startup;
use crate::decide::verdict::{Action, Reason};
use crate::model::key::Class;
use crate::model::names::FileKind;
use crate::model::problem::Severity;

pub mod csv;
pub mod html;
pub mod largest;
pub mod markdown;
pub mod prometheus;
pub mod text;

/// `report --json`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportDocument {
    /// Where, when, what version.
    #[serde(flatten)]
    pub preamble: Preamble,
    /// A row for each agent.
    pub agents: Vec<Share>,
    /// The sum of all rows.
    pub total: Share,
    /// The startup estimate.
    pub startup: Startup,
    /// What the next gc would do.
    pub planned: Totals,
    /// Bindings that the startup budget took out and nobody readmitted.
    pub deferred: usize,
    /// What past runs did, oldest first.
    pub history: Vec<PastRun>,
    /// What to do next, the most urgent first.
    pub next: Vec<Advice>,
    /// What changed since a run or a time, when that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Changes>,
    /// The limits that were checked, when that was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
    /// The sessions that take most room, the largest first.
    pub largest: Vec<LargestDocument>,
    /// Totals, as scan has them.
    pub summary: ScanSummary,
    /// Every store.
    pub stores: Vec<StoreDocument>,
    /// Every binding.
    pub bindings: Vec<BindingDocument>,
    /// Every file that is neither store nor bound transcript.
    pub files: Vec<FileDocument>,
}

/// What one agent has, or all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Share {
    /// The agent; empty for the sum.
    pub agent: String,
    /// Bindings.
    pub bindings: u64,
    /// Transcripts, bound or not: files, or sessions with rows in SQLite.
    pub transcripts: u64,
    /// Age of the oldest binding, seconds; null when no age is known.
    pub oldest_seconds: Option<i64>,
    /// Bytes of stores, transcripts and loose files.
    pub bytes: u64,
    /// Bindings in use: a process holds the lock, or a run is in progress.
    pub live: u64,
    /// Bindings that the next gc takes because of their age, idleness or number.
    pub stale: u64,
    /// Bindings whose last run failed, was aborted or was cut off.
    pub failed: u64,
    /// Bindings whose transcript is damaged, missing or empty.
    pub damaged: u64,
    /// Of the damaged ones those whose next use loses the history, fails, or hangs the gateway.
    pub fatal: u64,
    /// Transcripts that nothing refers to.
    pub orphans: u64,
}

/// A past run.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PastRun {
    /// Its id.
    pub run: String,
    /// Its verb.
    pub command: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// How long it took, seconds; null when it was cut off.
    pub seconds: Option<f64>,
    /// What it did; of a restore `transcripts` are the files that came back.
    pub totals: Totals,
    /// How many things it could not do.
    pub problems: usize,
    /// Bindings that there were when it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bindings: Option<u64>,
    /// Bytes that there were when it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

impl PastRun {
    /// What it did, in words.
    fn did(&self) -> String {
        match self.command.as_str() {
            "restore" => format!("{} came back", count(self.totals.transcripts, "file")),
            _ => totals(&self.totals),
        }
    }
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Advice {
    /// The command, without the options that lead to the state directory.
    pub command: String,
    /// Why.
    pub why: String,
}

/// What changed since a time.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Changes {
    /// Since when.
    pub at: DateTime<Utc>,
    /// The run that was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Runs since then, that run included.
    pub runs: usize,
    /// What they took, together; restores left out.
    pub totals: Totals,
    /// How many of them were restores.
    pub restores: usize,
    /// Keys of bindings that began since.
    pub begun: Vec<String>,
    /// Bindings that were active since.
    pub active: u64,
    /// Bindings that there were then; null when no run noted it.
    pub bindings_then: Option<u64>,
    /// Bytes that there were then; null when no run noted it.
    pub bytes_then: Option<u64>,
}

impl Changes {
    fn words(&self) -> String {
        let began = count(self.begun.len(), "binding");
        let runs = count(self.runs - self.restores, "run");
        let restores = match self.restores {
            0 => String::new(),
            restores => format!("; {}", count(restores, "restore")),
        };
        format!("{began} began, {} were active; {runs}: {}{restores}", self.active, totals(&self.totals))
    }
}

/// The check for runs that were cut off; it is told first.
pub const UNFINISHED: &str = "unfinished-runs";

/// A limit that was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Check {
    /// `damaged`, `worst-seconds` or `bytes`.
    pub name: String,
    /// What there is.
    pub value: u64,
    /// What is allowed.
    pub limit: u64,
    /// Whether there is more than allowed.
    pub exceeded: bool,
}

fn row<'a, 'b>(rows: &'b mut BTreeMap<&'a str, Share>, agent: &'a str) -> &'b mut Share {
    rows.entry(agent).or_insert_with(|| Share { agent: agent.to_owned(), ..Share::default() })
}

/// A row for each agent, and their sum.
pub fn shares(body: &Body) -> (Vec<Share>, Share) {
    let mut rows: BTreeMap<&str, Share> = BTreeMap::new();
    let there = |store: &&StoreDocument| store.state != StoreState::Missing || body.stores.len() == 1;
    for store in body.stores.iter().filter(there) {
        row(&mut rows, &store.agent).bytes += store.bytes;
    }
    let mut seen = BTreeSet::new();
    for one in &body.bindings {
        let row = row(&mut rows, &one.agent);
        row.bindings += 1;
        row.oldest_seconds = row.oldest_seconds.max(one.age.map(|age| age.seconds));
        row.live += u64::from(is_live(one));
        row.stale += u64::from(is_stale(one));
        row.failed += u64::from(is_failed(one));
        row.damaged += u64::from(one.integrity.severity().is_some());
        row.fatal += u64::from(one.integrity.severity() == Some(Severity::Fatal));
        // What is in rows has no path; its session is its name.
        let name = if one.rows.is_some() { &one.session_id } else { &one.transcript };
        if name.as_ref().is_some_and(|name| one.bytes > 0 && seen.insert((one.rows.is_some(), name))) {
            row.transcripts += 1;
            row.bytes += one.bytes;
        }
    }
    for file in &body.files {
        let row = row(&mut rows, &file.agent);
        row.bytes += file.bytes;
        // Beside a store that cannot be read nobody knows what refers to it.
        let known = !file.reasons.contains(&Reason::StoreUnknown);
        let orphan = u64::from(file.kind == FileKind::Orphan && known);
        row.orphans += orphan;
        row.transcripts += orphan;
    }
    let rows: Vec<Share> = rows.into_values().collect();
    let sum = |of: fn(&Share) -> u64| rows.iter().map(of).sum();
    let total = Share {
        agent: String::new(),
        bindings: sum(|row| row.bindings),
        transcripts: sum(|row| row.transcripts),
        oldest_seconds: rows.iter().filter_map(|row| row.oldest_seconds).max(),
        bytes: sum(|row| row.bytes),
        live: sum(|row| row.live),
        stale: sum(|row| row.stale),
        failed: sum(|row| row.failed),
        damaged: sum(|row| row.damaged),
        fatal: sum(|row| row.fatal),
        orphans: sum(|row| row.orphans),
    };
    (rows, total)
}

fn is_live(one: &BindingDocument) -> bool {
    one.run == RunState::Running || one.lock.as_ref().is_some_and(|lock| lock.state.is_held())
}

fn is_stale(one: &BindingDocument) -> bool {
    let rule = one.reasons.first().map_or("", |reason| reason.rule());
    one.action.removes() && matches!(rule, "staleness" | "count")
}

fn is_failed(one: &BindingDocument) -> bool {
    matches!(one.run, RunState::Errored | RunState::Aborted | RunState::Interrupted)
}

/// Returns whether bindings of a store can be counted: also of one that moved to SQLite.
pub fn can_be_read(state: StoreState) -> bool {
    matches!(state, StoreState::Ok | StoreState::Missing | StoreState::Symlink | StoreState::Sqlite)
}

/// What a person should do next, the most urgent first.
pub fn advice(
    body: &Body,
    total: &Share,
    planned: &Totals,
    deferred: usize,
    last_gc: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Vec<Advice> {
    let mut advice = Vec::new();
    let mut say = |command: &str, why: String| advice.push(Advice { command: command.to_owned(), why });
    let broken = |store: &&StoreDocument| {
        matches!(store.state, StoreState::Malformed | StoreState::Bom | StoreState::RotatedAway)
    };
    let broken = body.stores.iter().filter(broken).count();
    if broken > 0 {
        say(
            "claw-sessions validate --repair --salvage -n",
            format!("shows what is whole of {}", count(broken, "broken store")),
        );
    }
    let others = body.stores.iter().filter(|store| !can_be_read(store.state)).count() - broken;
    if others > 0 {
        say("claw-sessions validate", format!("names what is wrong with {}", count(others, "store")));
    }
    if *planned != Totals::default() {
        let fatal = body.bindings.iter().filter(|one| one.action != Action::Keep && one.integrity.is_fatal()).count();
        let why = if fatal > 0 {
            format!(
                "shows what would be done about {} that would lose its history or hang the gateway",
                count(fatal, "session")
            )
        } else {
            "shows what would go; gc takes it, restore latest brings it back".to_owned()
        };
        say("claw-sessions gc -n", why);
    }
    if total.damaged > 0 && others == 0 {
        say(
            "claw-sessions validate",
            format!("names the damage of {} line by line", count(total.damaged as usize, "session")),
        );
    }
    if deferred > 0 {
        say(
            "claw-sessions restore --deferred --next 2",
            format!("readmits two of {}", count(deferred, "deferred session")),
        );
    }
    if *planned != Totals::default()
        && let Some(why) = why_by_itself(last_gc, now)
    {
        say("claw-sessions systemd", why);
    }
    advice
}

/// Returns why gc should run by itself, when it does not seem to.
fn why_by_itself(last_gc: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Option<String> {
    let Some(last) = last_gc else {
        return Some(
            "no gc has changed anything here yet; shows the units that run it at every start and at night".to_owned(),
        );
    };
    let days = (now - last).num_days();
    (days > 7).then(|| format!("the last gc ran {days} days ago; shows the units that run it"))
}

/// Bindings by agent, class, run state and action.
fn groups(bindings: &[BindingDocument]) -> BTreeMap<(&str, Class, &'static str, &'static str), u64> {
    let mut groups = BTreeMap::new();
    for one in bindings {
        *groups.entry((one.agent.as_str(), one.class, one.run.as_str(), one.action.as_str())).or_default() += 1;
    }
    groups
}
