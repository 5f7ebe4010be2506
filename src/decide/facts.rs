//! Facts: what the evidence of one binding means at a given time (design §3).

use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rows;
pub use super::run::{RunFailure, RunState};
use crate::model::entry::{Clock, Entry};
use crate::model::failure::FailureKind;
use crate::model::inventory::{Binding, Content, Side};
use crate::model::lock::LockState;
use crate::model::problem::Code;
use crate::model::row::RowDamage;
use crate::model::transcript::{Ending, Integrity};

/// A time span and the clock it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Elapsed {
    /// Whole seconds, never negative.
    pub seconds: i64,
    /// The clock.
    pub from: ClockSource,
}

impl Elapsed {
    /// As a duration.
    pub fn duration(self) -> TimeDelta {
        TimeDelta::seconds(self.seconds)
    }
}

/// The clocks, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ClockSource {
    /// The entry's `lastInteractionAt`.
    LastInteractionAt,
    /// The entry's `updatedAt`.
    UpdatedAt,
    /// The entry's `sessionStartedAt`.
    SessionStartedAt,
    /// The transcript's header.
    Header,
    /// A line of the transcript.
    Transcript,
}

impl ClockSource {
    /// Its name in texts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LastInteractionAt => "lastInteractionAt",
            Self::UpdatedAt => "updatedAt",
            Self::SessionStartedAt => "sessionStartedAt",
            Self::Header => "the transcript's header",
            Self::Transcript => "the transcript's lines",
        }
    }
}

/// A remark that decides nothing by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// A stable code.
    pub code: FindingCode,
    /// The line of the transcript, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The byte offset in the transcript.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub byte: Option<u64>,
    /// More, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Finding {
    /// A finding about the binding as a whole.
    pub fn new(code: FindingCode) -> Self {
        Self { code, line: None, byte: None, detail: None }
    }

    fn with(code: FindingCode, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..Self::new(code) }
    }
}

/// The codes of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FindingCode {
    /// A failure that this conversation can outlive.
    FailedKept,
    /// Missing or empty, and kept because of its class or its preferences.
    DamageKept,
    /// A problem that `validate` tells too.
    #[serde(untagged)]
    Problem(Code),
}

/// What the evidence means.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Since the last activity; `None` without a clock.
    pub idle: Option<Elapsed>,
    /// Since the start.
    pub age: Option<Elapsed>,
    /// When the last activity was.
    pub active_at: Option<DateTime<Utc>>,
    /// How the last run stands.
    pub run: RunState,
    /// Why it failed, when it did.
    pub failure: Option<RunFailure>,
    /// How sound the transcript is.
    pub integrity: Integrity,
    /// Remarks.
    pub findings: Vec<Finding>,
}

impl Facts {
    /// Reads the evidence at `now`. `recent` is how young an activity makes a `running` mark believable.
    pub fn of(binding: &Binding, side: &Side, now: DateTime<Utc>, recent: TimeDelta) -> Self {
        let mut findings = Vec::new();
        let (idle, active_at) = idle(binding, now, &mut findings);
        let integrity = integrity(binding);
        let recent = idle.is_some_and(|idle| idle.duration() < recent);
        let (run, failure) = match &binding.row {
            // Where no gateway is alive, nothing is recent that a row says.
            Some(row) => rows::state::of(binding, row, recent),
            None => run_state(binding, side, integrity, recent),
        };
        remarks(binding, &mut findings);
        Self { idle, age: age(binding, now), active_at, run, failure, integrity, findings }
    }
}

/// A time more than this ahead is no time.
const MAX_AHEAD: TimeDelta = TimeDelta::days(1);

fn usable(clock: Option<Clock>, now: DateTime<Utc>, name: &str, findings: &mut Vec<Finding>) -> Option<DateTime<Utc>> {
    match clock? {
        Clock::At(time) if time - now <= MAX_AHEAD => Some(time),
        Clock::At(_) => {
            findings.push(Finding::with(FindingCode::Problem(Code::BadClock), format!("{name} lies in the future")));
            None
        }
        Clock::Unusable => {
            findings.push(Finding::with(
                FindingCode::Problem(Code::BadClock),
                format!("{name} is no time in milliseconds"),
            ));
            None
        }
    }
}

fn since(time: DateTime<Utc>, now: DateTime<Utc>, from: ClockSource) -> Elapsed {
    Elapsed { seconds: (now - time).num_seconds().max(0), from }
}

fn idle(
    binding: &Binding,
    now: DateTime<Utc>,
    findings: &mut Vec<Finding>,
) -> (Option<Elapsed>, Option<DateTime<Utc>>) {
    let entry = &binding.entry;
    let last_line = summary_time(binding, |summary| summary.last_at);
    let found = usable(entry.last_interaction_at, now, "lastInteractionAt", findings)
        .map(|time| (time, ClockSource::LastInteractionAt))
        .or_else(|| Some((usable(entry.updated_at, now, "updatedAt", findings)?, ClockSource::UpdatedAt)))
        .or_else(|| Some((last_line.filter(|&time| time - now <= MAX_AHEAD)?, ClockSource::Transcript)));
    (found.map(|(time, from)| since(time, now, from)), found.map(|(time, _)| time))
}

fn age(binding: &Binding, now: DateTime<Utc>) -> Option<Elapsed> {
    let usable = |time: DateTime<Utc>| (time - now <= MAX_AHEAD).then_some(time);
    let entry = match binding.entry.session_started_at {
        Some(Clock::At(time)) => usable(time),
        _ => None,
    };
    let header = summary_time(binding, |summary| summary.started_at).and_then(usable);
    let first = summary_time(binding, |summary| summary.first_at).and_then(usable);
    let (time, from) = entry
        .map(|time| (time, ClockSource::SessionStartedAt))
        .or(header.map(|time| (time, ClockSource::Header)))
        .or(first.map(|time| (time, ClockSource::Transcript)))?;
    Some(since(time, now, from))
}

fn summary_time(
    binding: &Binding,
    pick: fn(&crate::model::transcript::Summary) -> Option<DateTime<Utc>>,
) -> Option<DateTime<Utc>> {
    match &binding.transcript.content {
        Content::Read(summary) => pick(summary),
        _ => None,
    }
}

fn integrity(binding: &Binding) -> Integrity {
    // Each keeps the gateway down, makes the agent unreadable, or fails every turn.
    if binding.row.as_ref().is_some_and(|row| row.damage.iter().any(|one| !matches!(one, RowDamage::Behind { .. }))) {
        return Integrity::Blocks;
    }
    match &binding.transcript.content {
        Content::Read(summary) => summary.integrity,
        Content::Unreadable(_) => Integrity::Unreadable,
        Content::Outside(_) => Integrity::Outside,
        Content::NotChecked { .. } => Integrity::NotChecked,
        // Of rows only an original of the session tells that there should be some.
        Content::Absent if binding.transcript.rows.is_some() && binding.transcript.original.is_some() => {
            Integrity::Missing
        }
        Content::Absent if binding.lock.is_some() || !expects_file(binding) => Integrity::NeverWritten,
        Content::Absent => Integrity::Missing,
    }
}

/// A transcript is expected once a turn was begun or a file named (F§12); not since a `/new`, nor of a first run that
/// was stopped before it began (F§13.4, §13.5).
fn expects_file(binding: &Binding) -> bool {
    let entry = &binding.entry;
    let is_new = entry.system_sent == Some(false);
    let never_began = entry.status.as_deref() == Some("killed") && entry.ended_at_once && !entry.model_known;
    let is_named = entry.session_file.is_some() || (entry.system_sent == Some(true) && entry.session_id.is_some());
    is_named && !is_new && !never_began
}

fn run_state(binding: &Binding, side: &Side, integrity: Integrity, recent: bool) -> (RunState, Option<RunFailure>) {
    let entry = &binding.entry;
    let says_running = entry.status.as_deref() == Some("running") || entry.acp_state.as_deref() == Some("running");
    match binding.lock.as_ref().map(|lock| lock.state) {
        Some(state) if state.is_held() => return (RunState::Running, None),
        _ if says_running && recent => return (RunState::Running, None),
        Some(_) => return (RunState::Interrupted, None),
        None => {}
    }
    let failure = |message: Option<&String>| {
        let kind = message.map_or(FailureKind::Unknown, |text| FailureKind::of(text));
        Some(RunFailure { kind, message: message.cloned() })
    };
    if let Content::Read(summary) = &binding.transcript.content {
        match &summary.ending {
            Some(Ending::Answered) => return (RunState::Completed, None),
            // An answer that says nothing completes no run, whatever the entry says of it.
            Some(Ending::Empty) => {
                let told = by_status(entry).filter(|state| *state != RunState::Completed).unwrap_or(RunState::Unknown);
                return (told, failure(None).filter(|_| told == RunState::Errored));
            }
            Some(Ending::Unanswered | Ending::InTool) => return (RunState::Interrupted, None),
            Some(Ending::Error(message)) => return (RunState::Errored, failure(message.as_ref())),
            Some(Ending::Aborted(_)) => return (RunState::Aborted, None),
            None => {}
        }
    }
    if let Some(state) = by_status(entry) {
        return (state, failure(None).filter(|_| state == RunState::Errored));
    }
    if entry.acp_state.as_deref() == Some("error") {
        return (RunState::Errored, failure(None));
    }
    let subagent = side.subagents.get(&binding.key).and_then(|run| run.outcome.as_deref());
    let cron = side.cron_runs.get(&binding.key);
    match (subagent, cron.map(|run| run.status.as_str())) {
        (Some("error"), _) => return (RunState::Errored, failure(None)),
        (Some("timeout"), _) => return (RunState::Aborted, None),
        (_, Some("error")) => return (RunState::Errored, failure(cron.and_then(|run| run.error.as_ref()))),
        (Some("ok"), _) | (_, Some("ok")) => return (RunState::Completed, None),
        _ => {}
    }
    let header_only = matches!(&binding.transcript.content, Content::Read(summary) if summary.started_at.is_some());
    match integrity {
        // A turn was begun, and the entry does not say in which session: a cron run that did not end well (F§13.3).
        Integrity::NeverWritten if entry.system_sent == Some(true) => (RunState::Unknown, None),
        Integrity::NeverWritten => (RunState::NeverRan, None),
        _ if header_only && entry.system_sent != Some(true) => (RunState::NeverRan, None),
        _ => (RunState::Unknown, None),
    }
}

/// Returns how the entry itself says that a run ended.
fn by_status(entry: &Entry) -> Option<RunState> {
    match entry.status.as_deref() {
        Some("running") => Some(RunState::Interrupted),
        Some("failed") => Some(RunState::Errored),
        Some("killed" | "timeout") => Some(RunState::Aborted),
        Some("done") => Some(RunState::Completed),
        _ => (entry.aborted_last_run == Some(true)).then_some(RunState::Aborted),
    }
}

fn remarks(binding: &Binding, findings: &mut Vec<Finding>) {
    use crate::model::names::is_session_id;
    let entry = &binding.entry;
    if entry.not_an_object {
        findings.push(Finding::new(FindingCode::Problem(Code::NotAnObject)));
    } else {
        match &entry.session_id {
            None => findings.push(Finding::new(FindingCode::Problem(Code::NoSessionId))),
            Some(id) if !is_session_id(id) => findings.push(Finding::new(FindingCode::Problem(Code::InvalidSessionId))),
            Some(_) => {}
        }
    }
    if !binding.place.hidden.is_empty() {
        let times = binding.place.hidden.len() + 1;
        findings
            .push(Finding::with(FindingCode::Problem(Code::DuplicateKey), format!("{times} times; the last counts")));
    }
    if binding.case_collision {
        findings.push(Finding::new(FindingCode::Problem(Code::CaseCollision)));
    }
    if binding.transcript.relocated {
        findings.push(Finding::new(FindingCode::Problem(Code::Relocated)));
    }
    if binding.transcript.linked {
        findings.push(Finding::new(FindingCode::Problem(Code::HardLinked)));
    }
    if binding.lock.as_ref().is_some_and(|lock| lock.state == LockState::Unreadable) {
        findings.push(Finding::new(FindingCode::Problem(Code::LockUnreadable)));
    }
    match &binding.transcript.content {
        Content::Read(summary) => findings.extend(summary.findings.iter().map(|found| Finding {
            code: FindingCode::Problem(found.code),
            line: Some(found.line).filter(|&line| line > 0),
            byte: found.byte,
            detail: found.detail.clone(),
        })),
        Content::Unreadable(why) => findings.push(Finding::with(FindingCode::Problem(Code::Unreadable), why)),
        Content::Outside(why) => {
            let code = if binding.transcript.elsewhere { Code::UsedElsewhere } else { Code::Outside };
            findings.push(Finding::with(FindingCode::Problem(code), why));
        }
        Content::Absent | Content::NotChecked { .. } => {}
    }
}
