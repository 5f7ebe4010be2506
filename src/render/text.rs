//! Text for people: the summary first, then a table that fits, then what to do next. Made from the same documents as
//! the JSON output, so the two never disagree.

use std::fmt::Write as _;

use anstyle::Style;
use chrono::TimeDelta;
use indicatif::HumanBytes;

use super::escape::escape;
use super::json::{
    BindingDocument, Body, BoundDocument, ExplainDocument, FileDocument, GcDocument, Preamble, RestoreDocument,
    RunsDocument, ScanDocument, StoreDocument,
};
use super::mended;
use super::sqlite;
use super::startup;
use super::store_state::StoreState;
use super::table::{Column, Row, lay_out};
use super::view::LeftDocument;
use super::words::{BAD, BOLD, DIM, Layout, WARN, count, left, list, next, shell};
use crate::config::duration;
use crate::decide::facts::Elapsed;
use crate::decide::plan::Totals;
use crate::decide::verdict::{Action, FileAction};
use crate::model::transcript::Integrity;

/// `scan`.
pub fn scan(document: &ScanDocument, details: &[String], layout: &Layout) -> String {
    let mut text = head(&document.preamble, &document.body.stores, Some(layout));
    if layout.verbose {
        list(&mut text, "", details);
    }
    verdict_line(&mut text, &document.body);
    if !layout.quiet {
        let rows: Vec<&BindingDocument> = document.body.bindings.iter().collect();
        bindings(&mut text, &rows, layout);
        files(&mut text, &document.body.files, layout, layout.verbose);
        sqlite::mixed(&mut text, &document.body.stores, layout);
        sqlite::leftovers(&mut text, &document.body.files, layout);
    }
    startup::lines(&mut text, &document.body.startup, layout);
    let summary = &document.body.summary;
    let goes = summary.expire + summary.quarantine + summary.repair + summary.defer;
    if goes > 0 || document.body.files.iter().any(|file| file.action != FileAction::Keep) {
        let command = format!("claw-sessions gc -n{}", layout.same_place);
        next(&mut text, &command, "shows what would go; `gc` takes it, `restore latest` brings it back");
    }
    salvageable(&mut text, &document.body, layout);
    if let Some(one) = document.body.bindings.iter().find(|one| one.action != Action::Keep) {
        next(&mut text, &format!("claw-sessions explain {}{}", shell(&one.key), layout.same_place), "tells why");
    }
    text
}

/// What is whole of a broken store can be given back.
fn salvageable(text: &mut String, body: &Body, layout: &Layout) {
    let broken = |state| matches!(state, StoreState::Malformed | StoreState::Bom | StoreState::RotatedAway);
    if body.stores.iter().any(|store| broken(store.state)) {
        let command = format!("claw-sessions validate --repair --salvage -n{}", layout.same_place);
        next(text, &command, "shows what is whole of a broken store; without -n it gives that back");
    }
}

/// `gc`, dry or done.
pub fn gc(document: &GcDocument, details: &[String], layout: &Layout) -> String {
    let mut text = head(&document.preamble, &document.body.stores, None);
    if layout.verbose {
        list(&mut text, "", details);
    }
    list(&mut text, "recovered: ", &document.recovered);
    let leaving: Vec<&BindingDocument> =
        document.body.bindings.iter().filter(|one| one.action != Action::Keep).collect();
    verdict_line(&mut text, &document.body);
    if !layout.quiet {
        if layout.verbose {
            bindings(&mut text, &document.body.bindings.iter().collect::<Vec<_>>(), layout);
        } else {
            bindings(&mut text, &leaving, layout);
        }
        mended::list(&mut text, &document.mended, document.run.is_none(), &layout.same_place);
        files(&mut text, &document.body.files, layout, false);
    }
    if document.dry_run {
        startup::lines(&mut text, &document.body.startup, layout);
        left(&mut text, "failed", BAD, &document.failed);
        left(&mut text, "refused", BAD, &document.refused);
        late(&mut text, &document.late, layout);
        if document.planned == Totals::default() {
            let _ = writeln!(text, "\nNothing to do.");
        } else {
            let _ = writeln!(text, "\nNothing was changed: this was a dry run.");
            if let Some(file) = &layout.plan {
                let command = format!("claw-sessions gc --apply {}{}", shell(file), layout.same_place);
                next(&mut text, &command, "does what the plan says; `restore latest` undoes it");
            } else if document.refused.is_empty() {
                let command = format!("claw-sessions gc{}", layout.same_place);
                next(&mut text, &command, "with the same options does it; `restore latest` undoes it");
            }
        }
    } else {
        outcome(&mut text, document, layout);
    }
    salvageable(&mut text, &document.body, layout);
    text
}

fn outcome(text: &mut String, document: &GcDocument, layout: &Layout) {
    let done = &document.done;
    if document.run.is_some() {
        let planned = if *done == document.planned {
            "as planned".to_owned()
        } else {
            format!("planned: {}", totals(&document.planned))
        };
        let _ = writeln!(text, "\n{BOLD}Done{BOLD:#}: {}; {planned}.", totals(done));
    }
    left(text, "left alone", WARN, &document.skipped);
    left(text, "failed", BAD, &document.failed);
    left(text, "refused", BAD, &document.refused);
    late(text, &document.late, layout);
    if let Some(run) = &document.run {
        startup::lines(text, &document.body.startup, layout);
        let comes_back = done.expire + done.quarantine + done.defer + done.transcripts + done.archive + done.remove > 0
            || done.repair + done.salvage > 0;
        if comes_back {
            next(text, &format!("claw-sessions restore {run}{}", layout.same_place), "brings it back, byte for byte");
        }
        if done.defer > 0 {
            let command = format!("claw-sessions restore --deferred --next 2{}", layout.same_place);
            next(text, &command, "readmits the two that were active last");
        }
        if done.purge > 0 {
            let _ = writeln!(text, "Deleted for good, as asked: {}.", count(done.purge, "archive"));
        }
    } else {
        let nothing = document.planned == Totals::default() && document.refused.is_empty() && document.late.is_empty();
        let _ = writeln!(text, "\n{}", if nothing { "Nothing to do." } else { "Nothing was changed." });
    }
    if !document.forgotten.is_empty() {
        let ids = document.forgotten.join(", ");
        let _ =
            writeln!(text, "Forgotten, because of their age: {} ({ids}).", count(document.forgotten.len(), "past run"));
    }
}

/// What the deadline left: the first of it, or all.
fn late(text: &mut String, late: &[LeftDocument], layout: &Layout) {
    let shown = if layout.verbose { late.len() } else { late.len().min(5) };
    left(text, "not in time", WARN, &late[..shown]);
    if shown < late.len() {
        let _ = writeln!(text, "{WARN}not in time{WARN:#} {} more (-v names them)", late.len() - shown);
    }
}

/// The line of `gc --boot`.
pub fn boot(document: &GcDocument, seconds: f64) -> String {
    let bindings = document.body.summary.bindings;
    let mut text = if document.dry_run {
        format!("would do {}", totals(&document.planned))
    } else {
        format!("{} of {}", totals(&document.done), count(bindings, "binding"))
    };
    let startup = &document.body.startup;
    let _ = write!(
        text,
        "; start-up at worst {} s, before {} s",
        startup.after.worst_seconds, startup.before.worst_seconds
    );
    let lists = [
        ("left alone", &document.skipped),
        ("failed", &document.failed),
        ("refused", &document.refused),
        ("not in time", &document.late),
    ];
    for (what, list) in lists {
        if let Some(first) = list.first() {
            let more = if list.len() > 1 { format!(" and {} more", list.len() - 1) } else { String::new() };
            let _ = write!(text, "; {what}: {}: {}{more}", first.what, first.why);
        }
    }
    let _ = write!(text, "; {seconds:.2} s");
    if let Some(run) = &document.run {
        let _ = write!(text, "; `claw-sessions restore {run}` undoes it");
    }
    text
}

/// `restore`.
pub fn restore(document: &RestoreDocument, layout: &Layout) -> String {
    let mut text = String::new();
    list(&mut text, "recovered: ", &document.recovered);
    let (bindings, files) = (document.bindings.len(), document.files);
    if document.dry_run {
        would_restore(&mut text, document, layout);
        return text;
    }
    if let (Some(path), Some(run)) = (&document.adopted, &document.run) {
        let name = document.bindings.first().map(BoundDocument::name).unwrap_or_default();
        let _ = writeln!(text, "{BOLD}Bound{BOLD:#} {} as {}.", escape(path), escape(&name));
        next(&mut text, &format!("claw-sessions restore {run}{}", layout.same_place), "takes that back");
    } else if document.run.is_some() {
        let _ = writeln!(
            text,
            "{BOLD}Restored{BOLD:#}: {} and {} ({}) of {}.",
            count(bindings, "binding"),
            count(files, "file"),
            HumanBytes(document.bytes),
            document.of.join(", ")
        );
    } else if !document.of.is_empty() {
        let why = if document.refused.is_empty() && document.failed.is_empty() {
            format!(": nothing of {} is away", document.of.join(", "))
        } else {
            String::new()
        };
        let _ = writeln!(text, "Nothing was restored{why}.");
    }
    left(&mut text, "refused", WARN, &document.refused);
    left(&mut text, "failed", BAD, &document.failed);
    text
}

/// What a restore would bring back.
fn would_restore(text: &mut String, document: &RestoreDocument, layout: &Layout) {
    let names: Vec<String> = document.bindings.iter().map(BoundDocument::name).collect();
    let (bindings, files) = (count(names.len(), "binding"), count(document.files, "file"));
    if let Some(path) = &document.adopted {
        let _ = writeln!(text, "{BOLD}Would bind{BOLD:#} {} as {}.", escape(path), escape(&names.join(", ")));
    } else if names.len() + document.files > 0 {
        let size = HumanBytes(document.bytes);
        let of = document.of.join(", ");
        let _ = writeln!(text, "{BOLD}Would come back{BOLD:#}: {bindings} and {files} ({size}) of {of}.");
        if !layout.quiet {
            list(text, "  ", &names);
        }
    } else {
        let _ = writeln!(text, "Nothing would come back.");
    }
    list(text, "bound anew meanwhile, and left as it is: ", &document.superseded);
    left(text, "refused", WARN, &document.refused);
    left(text, "failed", BAD, &document.failed);
    let _ = writeln!(text, "Nothing was changed: this was a dry run.");
}

/// `restore --deferred`.
pub fn deferred(document: &RestoreDocument, layout: &Layout) -> String {
    let mut text = String::new();
    list(&mut text, "recovered: ", &document.recovered);
    if document.dry_run {
        would_restore(&mut text, document, layout);
        return text;
    }
    let still = document.still_deferred.unwrap_or_default();
    if !document.bindings.is_empty() {
        let _ = writeln!(
            text,
            "{BOLD}Readmitted{BOLD:#}: {} and {} ({}); {still} deferred still.",
            count(document.bindings.len(), "binding"),
            count(document.files, "file"),
            HumanBytes(document.bytes)
        );
        if !layout.quiet {
            let names: Vec<String> = document.bindings.iter().map(BoundDocument::name).collect();
            list(&mut text, "  ", &names);
        }
    } else if still == 0 {
        let _ = writeln!(text, "Nothing is deferred.");
    } else {
        let _ = writeln!(text, "Nothing was readmitted; {still} deferred still.");
    }
    list(&mut text, "bound anew meanwhile, and left as it is: ", &document.superseded);
    left(&mut text, "refused", WARN, &document.refused);
    left(&mut text, "failed", BAD, &document.failed);
    text
}

/// `runs`; `age` is what `prune` was asked for.
pub fn runs(document: &RunsDocument, age: Option<&str>, layout: &Layout) -> String {
    let mut text = String::new();
    unfinished(&mut text, &document.unfinished, layout);
    list(&mut text, "recovered: ", &document.recovered);
    list(&mut text, "forgotten: ", &document.forgotten);
    list(&mut text, "would be forgotten: ", &document.due);
    list(&mut text, "kept, because what it set aside is still there: ", &document.kept);
    list(&mut text, "warning: ", &document.problems);
    if let Some(age) = age.filter(|_| document.forgotten.len() + document.due.len() + document.kept.len() == 0) {
        let _ = writeln!(text, "No run ended longer than {age} ago.");
    }
    if document.dry_run {
        let _ = writeln!(text, "Nothing was changed: this was a dry run.");
    }
    if document.runs.is_empty() {
        let _ = writeln!(text, "No runs yet.");
        return text;
    }
    let columns = [
        Column::new("RUN").shrinks_to(16),
        Column::new("COMMAND").expendable(2),
        Column::new("STARTED").expendable(4),
        Column::new("STATE"),
        Column::new("BINDINGS").right().expendable(1),
        Column::new("FILES").right().expendable(3),
        Column::new("ARCHIVE").right().expendable(5),
        Column::new("RESTORABLE"),
    ];
    let rows: Vec<Row> = document
        .runs
        .iter()
        .map(|run| Row {
            cells: vec![
                run.id.clone(),
                escape(&run.command).into_owned(),
                run.started_at.format("%Y-%m-%d %H:%M:%SZ").to_string(),
                run.state.as_str().to_owned(),
                run.bindings.to_string(),
                run.files.to_string(),
                HumanBytes(run.archive_bytes).to_string(),
                if run.restorable { "yes" } else { "no" }.to_owned(),
            ],
            style: if run.restorable { Style::new() } else { DIM },
        })
        .collect();
    text.push_str(&lay_out(&columns, &rows, layout.width));
    for run in &document.runs {
        for problem in run.problems.iter().take(if layout.verbose { usize::MAX } else { 1 }) {
            let _ = writeln!(text, "{WARN}{}{WARN:#} could not do all: {}", run.id, escape(problem));
        }
    }
    text
}

/// `explain`.
pub fn explain(document: &ExplainDocument, layout: &Layout) -> String {
    let mut text = String::new();
    unfinished(&mut text, &document.preamble.unfinished, layout);
    for explained in &document.bindings {
        let one = &explained.binding;
        let _ = writeln!(text, "{BOLD}{}{BOLD:#}", escape(&one.key));
        let mut say = |name: &str, value: &str| {
            let _ = writeln!(text, "  {name:<12}{}", escape(value));
        };
        say("agent", &one.agent);
        say("class", one.class.as_str());
        say("session", one.session_id.as_deref().unwrap_or("-"));
        let size = HumanBytes(one.bytes).to_string();
        let transcript = match (&one.transcript, one.rows) {
            (Some(path), _) => format!("{path} ({size})"),
            (None, Some(rows)) => format!("{} in SQLite ({size})", count(rows as usize, "row")),
            (None, None) => "-".to_owned(),
        };
        say("transcript", &transcript);
        say("entry", &HumanBytes(one.entry_bytes).to_string());
        say("idle", &clock(one.idle));
        say("age", &clock(one.age));
        say("run", &run_words(one));
        say("integrity", &format!("{}: at the next use, {}", one.integrity.as_str(), one.integrity.at_next_use()));
        if let Some(lock) = &one.lock {
            let owner = lock.pid.map_or_else(|| "no owner named".to_owned(), |pid| format!("pid {pid}"));
            let taken = lock.created_at.map_or_else(String::new, |time| {
                format!(", taken {} ago, as it says", coarse(document.preamble.now - time))
            });
            say("lock", &format!("{owner}: {}{taken}", format!("{:?}", lock.state).to_lowercase()));
        }
        for finding in &one.findings {
            let code = serde_json::to_value(finding.code).ok().and_then(|code| code.as_str().map(str::to_owned));
            let line = finding.line.map_or_else(String::new, |line| format!(", line {line}"));
            let detail = finding.detail.as_ref().map_or_else(String::new, |detail| format!(": {detail}"));
            say("finding", &format!("{}{line}{detail}", code.unwrap_or_default()));
        }
        let _ = writeln!(text, "\nRules, in the order in which they were tried:");
        for step in &explained.rules {
            let mark = if step.applies { "✓" } else { "·" };
            let style = if step.applies { BOLD } else { DIM };
            let values = if step.values.is_empty() { String::new() } else { format!(" — {}", escape(&step.values)) };
            let _ = writeln!(text, "{style}  {mark} {:<11} {:<17}{style:#}{values}", step.rule, step.reason.as_str());
        }
        let reasons: Vec<String> =
            one.reasons.iter().map(|reason| format!("{} ({})", reason.as_str(), reason.describe())).collect();
        let _ = writeln!(text, "\nVerdict: {BOLD}{}{BOLD:#}: {}.\n", one.action.as_str(), reasons.join("; "));
    }
    text
}

/// Says which runs were cut off.
fn unfinished(text: &mut String, runs: &[String], layout: &Layout) {
    if let Some(sentence) = cut_off(runs, layout) {
        let _ = writeln!(text, "{BAD}unfinished{BAD:#}: {sentence}");
    }
}

/// Which runs were cut off, and what finishes them, as a sentence without its end; `None` when there is none.
pub(super) fn cut_off(runs: &[String], layout: &Layout) -> Option<String> {
    let finish = format!("`claw-sessions gc{}` finishes", layout.same_place);
    match runs {
        [] => None,
        [run] => Some(format!("run {run} was cut off; {finish} it")),
        runs => Some(format!("runs {} were cut off; {finish} them", runs.join(", "))),
    }
}

/// Where and what; with `layout` also the runs that were cut off.
pub(super) fn head(preamble: &Preamble, stores: &[StoreDocument], layout: Option<&Layout>) -> String {
    let mut text = String::new();
    let version =
        preamble.openclaw_version.as_deref().map_or("of unknown version".to_owned(), |v| escape(v).into_owned());
    let gateway = if preamble.gateway.alive { "gateway alive" } else { "gateway not running" };
    let _ = writeln!(text, "{BOLD}{}{BOLD:#}  OpenClaw {version}, {gateway}", escape(&preamble.state_dir));
    if let Some(layout) = layout {
        unfinished(&mut text, &preamble.unfinished, layout);
    }
    list(&mut text, "warning: ", &preamble.warnings);
    for store in worth_saying(stores) {
        let style = if matches!(store.state, StoreState::Symlink | StoreState::Sqlite) { WARN } else { BAD };
        let problem = store.problem.as_deref().unwrap_or_default();
        let _ = writeln!(text, "{style}{}{style:#} {}: {}", store.state.as_str(), escape(&store.path), escape(problem));
    }
    text
}

/// The stores that a person should know of: of several agents one may have no store yet.
pub(super) fn worth_saying(stores: &[StoreDocument]) -> impl Iterator<Item = &StoreDocument> {
    let alone = stores.len() == 1;
    let silent = move |state| state == StoreState::Ok || (state == StoreState::Missing && !alone);
    stores.iter().filter(move |store| !silent(store.state))
}

fn verdict_line(text: &mut String, body: &Body) {
    let summary = &body.summary;
    let agents: std::collections::BTreeSet<&str> = body.stores.iter().map(|store| store.agent.as_str()).collect();
    let _ = writeln!(
        text,
        "{} of {}: {} stay, {} expire, {} to quarantine{}{}; {}; {} in all, {} would leave",
        count(summary.bindings, "binding"),
        count(agents.len(), "agent"),
        summary.keep,
        summary.expire,
        summary.quarantine,
        if summary.repair > 0 { format!(", {} to repair", summary.repair) } else { String::new() },
        if summary.defer > 0 { format!(", {} to defer", summary.defer) } else { String::new() },
        count(summary.orphans, "orphan"),
        HumanBytes(summary.bytes),
        HumanBytes(summary.freed_bytes)
    );
    share(text, summary.expire + summary.quarantine + summary.defer, summary.bindings);
}

/// A run that takes most of a store is worth a second look.
fn share(text: &mut String, leaving: usize, all: usize) {
    if leaving * 2 > all && leaving > 4 {
        let _ = writeln!(
            text,
            "{WARN}That is {} % of all bindings{WARN:#}; --max-removals sets a limit.",
            leaving * 100 / all
        );
    }
}

fn bindings(text: &mut String, rows: &[&BindingDocument], layout: &Layout) {
    if rows.is_empty() {
        return;
    }
    // Where there is no room for a column of agents, they stand in the keys.
    let narrow = layout.width < NARROW;
    let columns = [
        Column::new("AGENT").shrinks_to(10),
        Column::new("KEY").shrinks_to(18),
        Column::new("CLASS").expendable(5),
        Column::new("IDLE").right(),
        Column::new("AGE").right().expendable(6),
        Column::new("STATE").expendable(1),
        Column::new("SIZE").right().expendable(4),
        Column::new("ACTION"),
        Column::new("REASON").expendable(2),
    ];
    let span = |elapsed: Option<Elapsed>| elapsed.map_or_else(|| "-".to_owned(), |e| coarse(e.duration()));
    let made = rows.iter().map(|one| Row {
        cells: vec![
            escape(&one.agent).into_owned(),
            escape(short_key(&one.key, if narrow { None } else { Some(&one.agent) })).into_owned(),
            one.class.as_str().to_owned(),
            span(one.idle),
            span(one.age),
            state(one),
            HumanBytes(one.bytes).to_string(),
            one.action.as_str().to_owned(),
            one.reasons.iter().map(|reason| reason.as_str()).collect::<Vec<_>>().join(" "),
        ],
        style: match one.action {
            Action::Keep => Style::new(),
            Action::Expire | Action::Defer => WARN,
            Action::Quarantine | Action::Repair => BAD,
        },
    });
    text.push('\n');
    let rows: Vec<Row> = made.collect();
    let shown: Vec<Column> = if narrow { columns[1..].to_vec() } else { columns.to_vec() };
    let rows: Vec<Row> =
        if narrow { rows.into_iter().map(|row| Row { cells: row.cells[1..].to_vec(), ..row }).collect() } else { rows };
    text.push_str(&lay_out(&shown, &rows, layout.width));
}

/// Tables narrower than this have no column of agents.
const NARROW: usize = 100;

/// The key without `agent:`, and without the agent where that has a column of its own.
fn short_key<'a>(key: &'a str, agent: Option<&str>) -> &'a str {
    let Some(rest) = key.strip_prefix("agent:") else { return key };
    match agent {
        Some(agent) => rest.strip_prefix(agent).and_then(|rest| rest.strip_prefix(':')).unwrap_or(key),
        None => rest,
    }
}

fn state(one: &BindingDocument) -> String {
    let mut state = one.run.as_str().to_owned();
    if let Some(error) = &one.error {
        let _ = write!(state, " {}", error.kind.as_str());
    }
    if !matches!(one.integrity, Integrity::Intact | Integrity::NeverWritten) {
        let _ = write!(state, ", {}", one.integrity.as_str());
    }
    state
}

fn run_words(one: &BindingDocument) -> String {
    let error = one.error.as_ref().map_or_else(String::new, |error| {
        let message = error.message.as_ref().map_or_else(String::new, |message| format!(": {message}"));
        format!(", {}{message}", error.kind.as_str())
    });
    format!("{}{error}", one.run.as_str())
}

fn files(text: &mut String, files: &[FileDocument], layout: &Layout, all: bool) {
    let rows: Vec<Row> = files
        .iter()
        .filter(|file| all || file.action != FileAction::Keep)
        .map(|file| Row {
            cells: vec![
                escape(&file.path).into_owned(),
                file.kind.as_str().to_owned(),
                HumanBytes(file.bytes).to_string(),
                file.action.as_str().to_owned(),
                file.reasons.iter().map(|reason| reason.as_str()).collect::<Vec<_>>().join(" "),
            ],
            style: match file.action {
                FileAction::Keep => Style::new(),
                FileAction::Archive | FileAction::Remove => WARN,
                FileAction::Purge => BAD,
            },
        })
        .collect();
    if rows.is_empty() {
        return;
    }
    let columns = [
        Column::new("FILE").shrinks_to(18),
        Column::new("KIND").expendable(2),
        Column::new("SIZE").right().expendable(3),
        Column::new("ACTION"),
        Column::new("REASON").expendable(1),
    ];
    text.push('\n');
    text.push_str(&lay_out(&columns, &rows, layout.width));
}

pub(super) fn totals(totals: &Totals) -> String {
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    let parts = [
        (totals.expire, "expired".to_owned()),
        (totals.quarantine, "quarantined".to_owned()),
        (totals.defer, "deferred".to_owned()),
        (totals.repair, "mended".to_owned()),
        (totals.salvage, format!("store{} salvaged", plural(totals.salvage))),
        (totals.transcripts, format!("transcript{} moved", plural(totals.transcripts))),
        (totals.archive, format!("orphan{} archived", plural(totals.archive))),
        (totals.remove, format!("dead lock{} removed", plural(totals.remove))),
        (totals.purge, "purged".to_owned()),
    ];
    let mut said: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    if said.is_empty() {
        return "nothing".to_owned();
    }
    if totals.freed_bytes > 0 {
        said.push(HumanBytes(totals.freed_bytes).to_string());
    }
    said.join(", ")
}

fn clock(elapsed: Option<Elapsed>) -> String {
    elapsed.map_or_else(
        || "no clock".to_owned(),
        |elapsed| format!("{} by {}", duration::display(elapsed.duration()), elapsed.from.as_str()),
    )
}

/// A span in its largest unit: a column of `3d` and `17m` is read at a glance.
pub(super) fn coarse(span: TimeDelta) -> String {
    let seconds = span.num_seconds();
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}
