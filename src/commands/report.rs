//! `report`: what a scan means, for people and machines. Reads only.

use std::path::{Path, PathBuf};

use chrono::{DateTime, NaiveDate, Utc};

use super::context::Context;
use super::{Exit, Failure, Session};
use crate::change::deferred;
use crate::change::history::HistoryLine;
use crate::change::journal::{self, Past};
use crate::change::manifest::Manifest;
use crate::cli::{Format, ReportArgs};
use crate::config::duration;
use crate::decide::plan::Totals;
use crate::disk::document;
use crate::render::json::BindingDocument;
use crate::render::refusal;
use crate::render::report::{self, Changes, Check, PastRun, ReportDocument};
use crate::render::view;

/// Runs the verb.
pub(super) fn run(session: &Session, args: &ReportArgs) -> Result<Exit, Failure> {
    check_format(args)?;
    let mut context = Context::new(session, &args.policy.flags())?;
    let past = journal::history(&context.home.real_dir);
    let all = context.past();
    let unfinished = all.unfinished();
    let Past { runs, unread } = all;
    let problems: Vec<String> = unread.iter().map(|left| refusal::line(left, context.view())).collect();
    let since = args.since.as_deref().map(|since| moment(&runs, since, context.now)).transpose()?;
    if let Some((at, _)) = since.as_ref().filter(|(at, run)| run.is_none() && *at > context.now) {
        return Err(Failure::usage(anyhow::anyhow!("{at} is yet to come")));
    }
    let inventory = context.load()?;
    let verdicts = context.judge(&inventory).classify();
    let planned = context.plan(&inventory, &verdicts).totals();
    let startup = context.planned_startup(&inventory, &verdicts);
    let mut preamble = context.preamble("report", &inventory.gateway, unfinished);
    preamble.warnings.extend(problems);
    let mut body = context.body(&inventory, &verdicts, planned, startup);
    if !session.cli.global.show_text {
        // Also the beginning of an error may quote what people wrote, and a report is passed on.
        for error in body.bindings.iter_mut().filter_map(|one| one.error.as_mut()) {
            error.message = None;
        }
    }
    let (agents, total) = report::shares(&body);
    let deferred = deferred::of(&runs).len();
    let last_gc = past.iter().rev().find(|line| line.command == "gc").map(|line| line.started_at);
    let next = report::advice(&body, &total, &planned, deferred, last_gc, context.now);
    let since = since.map(|(at, run)| changes(&past, &body.bindings, at, run, context.now));
    let mut document = ReportDocument {
        preamble,
        agents,
        total,
        planned,
        deferred,
        history: past.iter().map(past_run).collect(),
        next,
        since,
        checks: Vec::new(),
        startup: body.startup,
        largest: report::largest::of(&body.bindings),
        summary: body.summary,
        stores: body.stores,
        bindings: body.bindings,
        files: body.files,
    };
    document.checks = checks(args, &document, inventory.unseen.len());
    let exceeded = document.checks.iter().any(|check| check.exceeded);
    show(session, &context, args, &document)?;
    Ok(if exceeded { Exit::Problems } else { Exit::Done })
}

/// Checks that the format can tell what was asked for.
fn check_format(args: &ReportArgs) -> Result<(), Failure> {
    let format = args.format;
    if args.check && format != Format::Text {
        return Err(Failure::usage(anyhow::anyhow!("--check prints text or json, not {}", format.name())));
    }
    if args.since.is_some() && !matches!(format, Format::Text | Format::Markdown) {
        return Err(Failure::usage(anyhow::anyhow!(
            "--since is told in text, markdown and json, not in {}",
            format.name()
        )));
    }
    Ok(())
}

fn show(session: &Session, context: &Context<'_>, args: &ReportArgs, document: &ReportDocument) -> Result<(), Failure> {
    let layout = session.layout();
    let json = session.cli.global.json;
    let text = match args.format {
        _ if json => view::to_text(document),
        Format::Markdown => report::markdown::write(document, &layout),
        Format::Csv => report::csv::write(document)?,
        Format::Html => report::html::write(document, &layout)?,
        Format::Prometheus => report::prometheus::write(document),
        Format::Text if args.check => report::text::check(document),
        Format::Text => report::text::write(document, &layout),
    };
    match &args.out {
        Some(path) if path.as_os_str() != "-" => {
            let stores = inventory_dirs(context, document);
            if document::lies_in(path, &stores) {
                return Err(Failure::usage(anyhow::anyhow!("{} lies among OpenClaw's files", path.display()))
                    .hint("name a file elsewhere"));
            }
            // Keys name people: only the collector, which is another user, may read what it collects.
            let mode = if args.format == Format::Prometheus { 0o644 } else { 0o600 };
            Ok(document::replace(path, session.plain(&text).as_bytes(), mode)?)
        }
        _ if args.format == Format::Text && !json => Ok(session.print(&text)?),
        _ => Ok(session.print_plain(&text)?),
    }
}

/// The directories that a report must not be written to.
fn inventory_dirs(context: &Context<'_>, document: &ReportDocument) -> Vec<PathBuf> {
    let stores = document.stores.iter().map(|store| context.home.real_dir.join(&store.path));
    let dirs = stores.filter_map(|store| store.parent().map(Path::to_owned));
    dirs.chain([context.home.real_dir.clone()]).collect()
}

fn past_run(line: &HistoryLine) -> PastRun {
    let took = line.finished_at.map(|end| (end - line.started_at).as_seconds_f64());
    PastRun {
        run: line.run.to_string(),
        command: line.command.clone(),
        started_at: line.started_at,
        seconds: took,
        totals: line.totals,
        problems: line.problems,
        bindings: line.before.map(|before| before.bindings),
        bytes: line.before.map(|before| before.bytes),
    }
}

/// The time that `--since` names, and the run, when it names one.
fn moment(runs: &[Manifest], since: &str, now: DateTime<Utc>) -> Result<(DateTime<Utc>, Option<String>), Failure> {
    if let Ok(ago) = duration::parse(since) {
        return Ok((now - ago, None));
    }
    if let Ok(time) = DateTime::parse_from_rfc3339(since) {
        return Ok((time.to_utc(), None));
    }
    if let Some(midnight) = since.parse::<NaiveDate>().ok().and_then(|date| date.and_hms_opt(0, 0, 0)) {
        return Ok((midnight.and_utc(), None));
    }
    let found: Vec<&Manifest> = match since {
        "latest" => runs.last().into_iter().collect(),
        prefix => runs.iter().filter(|run| run.id.as_str().starts_with(prefix)).collect(),
    };
    match found.as_slice() {
        [run] => Ok((run.started_at, Some(run.id.to_string()))),
        [] => Err(Failure::usage(anyhow::anyhow!("{since} is no run, no date and no time ago"))
            .hint("`claw-sessions runs` lists the runs; a date is 2026-11-22, a time ago 7d")),
        many => Err(Failure::usage(anyhow::anyhow!("{} runs begin with {since}", many.len()))
            .hint("give more of the id; `claw-sessions runs` lists them")),
    }
}

fn changes(
    past: &[HistoryLine],
    bindings: &[BindingDocument],
    at: DateTime<Utc>,
    run: Option<String>,
    now: DateTime<Utc>,
) -> Changes {
    let passed = (now - at).num_seconds();
    let runs: Vec<&HistoryLine> = past.iter().filter(|line| line.started_at >= at).collect();
    let mut totals = Totals::default();
    let (restores, others): (Vec<&HistoryLine>, Vec<&HistoryLine>) =
        runs.iter().partition(|line| line.command == "restore");
    for line in others {
        totals.add(&line.totals);
    }
    let then = past.iter().rev().filter(|line| line.started_at <= at).find_map(|line| line.before);
    let within = |elapsed: Option<crate::decide::facts::Elapsed>| elapsed.is_some_and(|since| since.seconds <= passed);
    Changes {
        at,
        run,
        runs: runs.len(),
        totals,
        restores: restores.len(),
        begun: bindings.iter().filter(|one| within(one.age)).map(|one| one.key.clone()).collect(),
        active: bindings.iter().filter(|one| within(one.idle)).count() as u64,
        bindings_then: then.map(|then| then.bindings),
        bytes_then: then.map(|then| then.bytes),
    }
}

fn checks(args: &ReportArgs, document: &ReportDocument, unseen: usize) -> Vec<Check> {
    let limits = [
        ("damaged", document.total.damaged, args.max_damaged),
        ("worst-seconds", document.startup.before.worst_seconds, args.max_worst_seconds),
        ("bytes", document.summary.bytes, args.max_bytes),
    ];
    let check = |(name, value, limit): (&str, u64, Option<u64>)| {
        let limit = limit?;
        Some(Check { name: name.to_owned(), value, limit, exceeded: value > limit })
    };
    let unfinished = document.preamble.unfinished.len() as u64;
    let unfinished = args.check.then(|| Check {
        name: report::UNFINISHED.to_owned(),
        value: unfinished,
        limit: 0,
        exceeded: unfinished > 0,
    });
    let broken = document.stores.iter().filter(|store| !report::can_be_read(store.state)).count();
    let broken = (broken + unseen) as u64;
    let stores =
        args.check.then(|| Check { name: "broken-stores".to_owned(), value: broken, limit: 0, exceeded: broken > 0 });
    limits.into_iter().filter_map(check).chain(stores).chain(unfinished).collect()
}
