//! The report for a terminal.

use std::fmt::Write as _;

use anstyle::Style;
use chrono::TimeDelta;
use indicatif::HumanBytes;

use super::{Changes, Check, ReportDocument, Share, UNFINISHED, largest};
use crate::decide::startup::Cost;
use crate::render::escape::escape;
use crate::render::sqlite;
use crate::render::startup;
use crate::render::table::{Column, Row, lay_out};
use crate::render::text::{coarse, head, totals};
use crate::render::words::{BAD, BOLD, DIM, Layout, WARN, count, next};

/// So many past runs are shown.
const RUNS: usize = 5;

/// Everything that fits a terminal.
pub fn write(document: &ReportDocument, layout: &Layout) -> String {
    let mut text = head(&document.preamble, &document.stores, Some(layout));
    agents(&mut text, document, layout);
    if !layout.quiet {
        sqlite::mixed(&mut text, &document.stores, layout);
        sqlite::leftovers(&mut text, &document.files, layout);
    }
    if let Some(changes) = &document.since {
        since(&mut text, changes, document);
    }
    startup::lines(&mut text, &document.startup, &Layout { quiet: true, ..layout.clone() });
    if !layout.quiet {
        costliest(&mut text, &document.startup.costliest, layout);
        largest::write(&mut text, &document.stores, &document.largest);
    }
    let _ = writeln!(text, "\n{BOLD}The next gc{BOLD:#} would do: {}.", totals(&document.planned));
    if document.deferred > 0 {
        let _ = writeln!(text, "Deferred by the startup budget, and not readmitted: {}.", document.deferred);
    }
    past(&mut text, document, layout);
    for advice in &document.next {
        next(&mut text, &format!("{}{}", advice.command, layout.same_place), &advice.why);
    }
    text
}

fn agents(text: &mut String, document: &ReportDocument, layout: &Layout) {
    let columns = [
        Column::new("AGENT").shrinks_to(8),
        Column::new("BINDINGS").right(),
        Column::new("TRANSCRIPTS").right().expendable(4),
        Column::new("OLDEST").right().expendable(1),
        Column::new("SIZE").right().expendable(3),
        Column::new("LIVE").right().expendable(6),
        Column::new("STALE").right(),
        Column::new("FAILED").right().expendable(2),
        Column::new("DAMAGED").right(),
        Column::new("ORPHANS").right().expendable(5),
    ];
    let row = |share: &Share, name: &str, style: Style| Row {
        cells: vec![
            escape(name).into_owned(),
            share.bindings.to_string(),
            share.transcripts.to_string(),
            share.oldest_seconds.map_or_else(|| "-".to_owned(), |seconds| coarse(TimeDelta::seconds(seconds))),
            HumanBytes(share.bytes).to_string(),
            share.live.to_string(),
            share.stale.to_string(),
            share.failed.to_string(),
            share.damaged.to_string(),
            share.orphans.to_string(),
        ],
        style,
    };
    let style = |share: &Share| match (share.fatal, share.damaged + share.stale) {
        (1.., _) => BAD,
        (0, 1..) => WARN,
        (0, 0) => Style::new(),
    };
    let mut rows: Vec<Row> = document.agents.iter().map(|share| row(share, &share.agent, style(share))).collect();
    rows.push(row(&document.total, "total", BOLD));
    text.push('\n');
    text.push_str(&lay_out(&columns, &rows, layout.width));
}

fn costliest(text: &mut String, costliest: &[Cost], layout: &Layout) {
    if costliest.is_empty() {
        return;
    }
    let columns = [
        Column::new("COSTS MOST AT A START").shrinks_to(21),
        Column::new("RUN").expendable(1),
        Column::new("INTEGRITY").expendable(3),
        Column::new("SIZE").right().expendable(2),
        Column::new("NEXT GC"),
    ];
    let rows: Vec<Row> = costliest
        .iter()
        .map(|one| Row {
            cells: vec![
                escape(&one.key).into_owned(),
                one.run.as_str().to_owned(),
                one.integrity.as_str().to_owned(),
                HumanBytes(one.bytes).to_string(),
                one.action.as_str().to_owned(),
            ],
            style: if one.integrity.is_fatal() { BAD } else { Style::new() },
        })
        .collect();
    text.push('\n');
    text.push_str(&lay_out(&columns, &rows, layout.width));
}

fn past(text: &mut String, document: &ReportDocument, layout: &Layout) {
    let all = document.history.len();
    if all == 0 {
        let _ = writeln!(text, "No run has changed anything here yet.");
        return;
    }
    let shown = if layout.verbose { all } else { RUNS.min(all) };
    let _ = writeln!(text, "\n{BOLD}Past runs{BOLD:#}, the last {shown} of {all}:");
    for run in document.history.iter().rev().take(shown) {
        let problems = match run.problems {
            0 => String::new(),
            problems => format!("; {WARN}{} it could not do{WARN:#}", count(problems, "thing")),
        };
        let when = run.started_at.format("%Y-%m-%d %H:%M:%SZ");
        let _ = writeln!(text, "  {DIM}{when}{DIM:#}  {}: {}{problems}", escape(&run.command), run.did());
    }
}

fn since(text: &mut String, changes: &Changes, document: &ReportDocument) {
    let of = changes.run.as_ref().map_or_else(String::new, |run| format!(" ({run})"));
    let at = changes.at.format("%Y-%m-%d %H:%M:%SZ");
    let _ = writeln!(text, "\n{BOLD}Since {at}{BOLD:#}{of}: {}.", changes.words());
    if let (Some(bindings), Some(bytes)) = (changes.bindings_then, changes.bytes_then) {
        let now = &document.summary;
        let _ = writeln!(
            text,
            "Then {} and {}, now {} and {}.",
            count(bindings as usize, "binding"),
            HumanBytes(bytes),
            count(now.bindings, "binding"),
            HumanBytes(now.bytes)
        );
    }
}

fn unfinished(runs: u64) -> String {
    if runs == 1 { "1 run is unfinished".to_owned() } else { format!("{runs} runs are unfinished") }
}

/// One line as Nagios plugins print it: the state, what is wrong, and the values with their limits.
pub fn check(document: &ReportDocument) -> String {
    let mut exceeded: Vec<&Check> = document.checks.iter().filter(|check| check.exceeded).collect();
    exceeded.sort_by_key(|check| check.name != UNFINISHED);
    let exceeded: Vec<String> = exceeded
        .into_iter()
        .map(|check| match check.name.as_str() {
            UNFINISHED => unfinished(check.value),
            "broken-stores" => format!("{} cannot be read", count(check.value as usize, "store")),
            name => format!("{name} {} is more than {}", check.value, check.limit),
        })
        .collect();
    let (state, what) = if exceeded.is_empty() {
        ("OK", format!("{} of {}", count(document.summary.bindings, "binding"), count(document.agents.len(), "agent")))
    } else {
        ("WARNING", exceeded.join(", "))
    };
    let values: Vec<String> = document
        .checks
        .iter()
        .map(|check| {
            let unit = match check.name.as_str() {
                "worst-seconds" => "s",
                "bytes" => "B",
                _ => "",
            };
            format!("{}={}{unit};{};;0", check.name, check.value, check.limit)
        })
        .collect();
    format!("SESSIONS {state}: {what} | {}\n", values.join(" "))
}
