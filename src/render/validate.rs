//! What `validate` tells, as a document and as one line for each problem.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::escape::escape;
use super::mended::{self, MendedDocument};
use super::refusal;
use super::table::{Column, Row, lay_out};
use super::view::{LeftDocument, View};
use super::words::{BOLD, DIM, Layout, count, left, list, next, shell};
use crate::decide::problems::{Problem, Problems};
use crate::model::problem::{About, Code, Remedy, Severity};

/// `validate --json`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ValidateDocument {
    /// The document's type and version.
    pub schema: String,
    /// The version of claw-sessions.
    pub version: String,
    /// The time at which clocks were judged.
    pub now: DateTime<Utc>,
    /// The state directory, as resolved; null when single files were checked.
    pub state_dir: Option<String>,
    /// `meta.lastTouchedVersion`; null when unknown. Effects are told as of 2026.3.11, or of 2026.6.11 for later ones.
    pub openclaw_version: Option<String>,
    /// What a person should know about how these were found.
    pub warnings: Vec<String>,
    /// Every problem.
    pub problems: Vec<ProblemDocument>,
    /// Totals.
    pub summary: ValidateSummary,
    /// What a repair did, or would do; null when none was asked for.
    pub repair: Option<RepairDocument>,
}

/// A problem.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProblemDocument {
    /// How bad it is.
    pub severity: Severity,
    /// What it is: a stable code.
    pub code: Code,
    /// The file.
    pub path: String,
    /// The line, from 1; absent when the file as a whole is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The byte in the file, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub byte: Option<u64>,
    /// The number of the event in SQLite; null for everything else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<i64>,
    /// The binding it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The agent of that binding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// What it is, in words.
    pub what: String,
    /// More.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What OpenClaw does with it.
    pub effect: String,
    /// What to run, or to do; absent when nothing needs to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// Totals of a check.
#[derive(Clone, Copy, Debug, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ValidateSummary {
    /// Problems of the worst kind.
    pub fatal: usize,
    /// Bad ones.
    pub high: usize,
    /// Lesser ones.
    pub low: usize,
    /// Normal things worth knowing.
    pub info: usize,
    /// Further ones of kinds that were told a thousand times in one file.
    pub more: u64,
    /// Stores that were read.
    pub stores: usize,
    /// Their bindings.
    pub bindings: usize,
    /// Transcripts that were read.
    pub transcripts: usize,
    /// Their lines.
    pub lines: u64,
}

/// What a repair did, or would do.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RepairDocument {
    /// The run's id; null when nothing was changed.
    pub run: Option<String>,
    /// Whether nothing was to be changed.
    pub dry_run: bool,
    /// What was mended, or would be.
    pub mended: Vec<MendedDocument>,
    /// What was left alone because it changed since it was read.
    pub skipped: Vec<LeftDocument>,
    /// What failed.
    pub failed: Vec<LeftDocument>,
    /// What was refused for safety.
    pub refused: Vec<LeftDocument>,
    /// Past runs that had been cut off, and what became of them.
    pub recovered: Vec<String>,
}

impl ValidateSummary {
    /// Counts problems.
    pub fn of(problems: &Problems, stores: usize, bindings: usize) -> Self {
        let count = |severity| problems.list.iter().filter(|problem| problem.severity() == severity).count();
        Self {
            fatal: count(Severity::Fatal),
            high: count(Severity::High),
            low: count(Severity::Low),
            info: count(Severity::Info),
            more: problems.more,
            stores,
            bindings,
            transcripts: problems.transcripts,
            lines: problems.lines,
        }
    }
}

/// What is known of rows.
const fn of_rows(code: Code) -> &'static str {
    match code.about() {
        About::Line => "keeps it in a row; what it does with that was not tried",
        About::Store | About::Binding | About::File => "was not tried with that",
    }
}

/// A problem as a document. `later`: the installed OpenClaw is 2026.6.11 or newer.
pub fn problem(problem: &Problem, view: View<'_>, later: bool, same_place: &str) -> ProblemDocument {
    ProblemDocument {
        severity: problem.severity(),
        code: problem.code,
        path: view.path(&problem.path),
        line: problem.at.map(|at| at.0),
        byte: problem.at.and_then(|at| at.1),
        seq: problem.seq,
        agent: problem.agent.clone(),
        key: problem.binding.as_ref().map(|binding| binding.key.clone()),
        what: problem.code.describe().to_owned(),
        detail: problem.detail.clone(),
        effect: if problem.of_row { of_rows(problem.code) } else { problem.code.effect_in(later) }.to_owned(),
        remedy: remedy(problem, same_place),
    }
}

fn remedy(problem: &Problem, same_place: &str) -> Option<String> {
    match problem.remedy {
        Remedy::Repair => Some(format!("claw-sessions validate --repair{same_place}")),
        Remedy::Salvage => Some(format!("claw-sessions validate --repair --salvage{same_place}")),
        Remedy::StuckBak => Some(format!("claw-sessions restore --stuck-bak{same_place}")),
        Remedy::Quarantine => {
            let binding = problem.binding.as_ref()?;
            let agent = problem.agent.as_ref().filter(|_| !refusal::names_agent(&binding.key));
            let agent = agent.map_or_else(String::new, |agent| format!(" --agent {}", shell(agent)));
            Some(format!("claw-sessions quarantine {}{agent}{same_place}", shell(&binding.key)))
        }
        Remedy::Person(what) => Some(what.to_owned()),
        Remedy::Nothing => None,
    }
}

const fn style(severity: Severity) -> Style {
    match severity {
        Severity::Fatal => AnsiColor::Red.on_default().bold(),
        Severity::High => AnsiColor::Red.on_default(),
        Severity::Low => AnsiColor::Yellow.on_default(),
        Severity::Info => DIM,
    }
}

/// One line for each problem, and the counts.
pub fn text(document: &ValidateDocument, layout: &Layout) -> String {
    let mut text = String::new();
    list(&mut text, "warning: ", &document.warnings);
    if let Some(repair) = &document.repair {
        list(&mut text, "recovered: ", &repair.recovered);
        repaired(&mut text, repair, layout);
    }
    let shown = |problem: &&ProblemDocument| layout.verbose || problem.severity < Severity::Info;
    if !layout.quiet {
        for problem in document.problems.iter().filter(shown) {
            line(&mut text, problem);
        }
    }
    let ValidateSummary { fatal, high, low, info, more, stores, bindings, transcripts, lines } = document.summary;
    let hidden = if info > 0 && !layout.verbose && !layout.quiet { " (-v shows them)" } else { "" };
    let rest = if more > 0 { format!(", {more} more of the same") } else { String::new() };
    let read = format!(
        "{}, {}, {} of {}",
        count(stores, "store"),
        count(bindings, "binding"),
        count(transcripts, "transcript"),
        count(lines as usize, "line")
    );
    let _ = writeln!(text, "{BOLD}{fatal} fatal, {high} high, {low} low, {info} info{BOLD:#}{hidden}{rest} in {read}");
    text
}

/// A problem in a sentence: how bad, what, where.
pub(super) fn sentence(problem: &ProblemDocument) -> String {
    let place = problem.line.map_or_else(String::new, |line| format!(" in line {line}"));
    let detail = problem.detail.as_ref().map_or_else(String::new, |detail| format!(" ({})", escape(detail)));
    format!("{} {}{place}: {}{detail}", problem.severity.as_str(), problem.code.as_str(), problem.what)
}

fn line(text: &mut String, problem: &ProblemDocument) {
    let mut place = escape(&problem.path).into_owned();
    for number in [problem.line, problem.byte].into_iter().flatten() {
        let _ = write!(place, ":{number}");
    }
    let style = style(problem.severity);
    let _ = write!(
        text,
        "{style}{:<5} {}{style:#} {BOLD}{place}{BOLD:#}: {}",
        problem.severity.as_str(),
        problem.code.as_str(),
        problem.what
    );
    if let Some(detail) = &problem.detail {
        let _ = write!(text, " ({})", escape(detail));
    }
    let _ = write!(text, "; OpenClaw {}", problem.effect);
    if let Some(key) = problem
        .key
        .as_ref()
        .filter(|_| (problem.line.is_some() && problem.path.ends_with(".json")) || problem.path.ends_with(".sqlite"))
    {
        let named = refusal::binding(problem.agent.as_deref().unwrap_or_default(), key);
        let _ = write!(text, "; {}", escape(&named));
    }
    let remedy =
        problem.remedy.as_ref().map_or_else(String::new, |remedy| format!("; {DIM}→ {}{DIM:#}", escape(remedy)));
    let _ = writeln!(text, "{remedy}");
}

fn repaired(text: &mut String, repair: &RepairDocument, layout: &Layout) {
    mended::list(text, &repair.mended, repair.dry_run, &layout.same_place);
    let style = style(Severity::High);
    left(text, "left alone", style, &repair.skipped);
    left(text, "failed", style, &repair.failed);
    left(text, "refused", style, &repair.refused);
    if repair.mended.is_empty() {
        let _ = writeln!(text, "Nothing to mend.\n");
    } else if repair.dry_run {
        let command = format!("claw-sessions validate --repair{}", layout.same_place);
        next(text, &command, "with the same options does it; `restore latest` undoes it");
    } else if let Some(run) = &repair.run {
        let command = format!("claw-sessions restore {run}{}", layout.same_place);
        next(text, &command, "brings the originals back, byte for byte");
    }
    if !repair.mended.is_empty() {
        text.push('\n');
    }
}

/// Every kind of problem, as a table for people.
pub fn checks(layout: &Layout) -> String {
    let columns = [
        Column::new("CODE"),
        Column::new("SEVERITY"),
        Column::new("WHAT").shrinks_to(24),
        Column::new("OPENCLAW").shrinks_to(24).expendable(1),
    ];
    let rows: Vec<Row> = Code::ALL
        .iter()
        .map(|code| Row {
            cells: vec![
                code.as_str().to_owned(),
                code.severity().as_str().to_owned(),
                code.describe().to_owned(),
                code.effect().to_owned(),
            ],
            style: style(code.severity()),
        })
        .collect();
    lay_out(&columns, &rows, layout.width.max(200))
}

/// A kind of problem as a document.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckDocument {
    /// The stable code.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// What it is.
    pub what: &'static str,
    /// What OpenClaw 2026.3.11 does with it.
    pub effect: &'static str,
    /// What 2026.6.11 and later does, where that differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub later_effect: Option<&'static str>,
    /// Whether `validate --repair` may mend it.
    pub repairable: bool,
}

/// `validate --list-checks --json`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ChecksDocument {
    /// The document's type and version.
    pub schema: String,
    /// Every kind of problem.
    pub checks: Vec<CheckDocument>,
}

/// All kinds of problems as a document.
pub fn checks_document(schema: String) -> ChecksDocument {
    let check = |&code: &Code| CheckDocument {
        code,
        severity: code.severity(),
        what: code.describe(),
        effect: code.effect(),
        later_effect: code.later_effect(),
        repairable: matches!(code.remedy(), Remedy::Repair | Remedy::Salvage),
    };
    ChecksDocument { schema, checks: Code::ALL.iter().map(check).collect() }
}
