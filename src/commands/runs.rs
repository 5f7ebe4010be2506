//! `runs`: past runs: what each took, what can still be restored.

use chrono::TimeDelta;
use indicatif::HumanBytes;

use super::context::{Context, schema};
use super::permit::{self, Patience, beside_gateway, open, settle};
use super::{Exit, Failure, Session, near};
use crate::change::journal::{self, Forgotten, Past};
use crate::change::manifest::Manifest;
use crate::change::outcome::Left;
use crate::cli::{RunsArgs, RunsCommand};
use crate::config::duration;
use crate::config::policy::PolicyFlags;
use crate::model::ids::RunId;
use crate::render::json::{self, RunsDocument};
use crate::render::{refusal, run, text};

/// Runs the verb.
pub(super) fn run(session: &Session, args: &RunsArgs) -> Result<Exit, Failure> {
    let context = Context::new(session, &PolicyFlags::default())?;
    match &args.command {
        None => list(&context, Pruned::default()),
        Some(RunsCommand::Show { run }) => show(&context, run),
        Some(RunsCommand::Prune { older_than, dry_run, yes }) => prune(&context, *older_than, *dry_run, *yes),
    }
}

/// What a prune did, or would do.
#[derive(Default)]
struct Pruned {
    /// Older than what, when it was a prune.
    age: Option<TimeDelta>,
    dry_run: bool,
    due: Vec<RunId>,
    recovered: Vec<String>,
    done: Forgotten,
}

fn prune(context: &Context<'_>, age: TimeDelta, dry_run: bool, yes: bool) -> Result<Exit, Failure> {
    let session = context.session;
    let mut pruned = Pruned { age: Some(age), dry_run, ..Pruned::default() };
    let (due, kept) = journal::due(&context.past().runs, session.started_at, age);
    if dry_run {
        pruned.due = due;
        pruned.done.kept = kept;
        return list(context, pruned);
    }
    if !yes && !may_forget(context, &due)? {
        session.print("Nothing was forgotten.\n")?;
        return Ok(Exit::Done);
    }
    if journal::exists(&context.home.real_dir) {
        // What was cut off is finished first: a restore that is not done with a run still needs it. Beside a gateway
        // without lock it stays as it is, and so does what it needs.
        let journal = open(context, Patience::default())?;
        if beside_gateway(context, false).is_none() {
            let settled = settle(context, &journal, Patience::default())?;
            pruned.recovered = permit::recovered(&settled);
            pruned.done.left = settled.left;
        }
        let Forgotten { forgotten, kept, left } =
            journal.prune(session.started_at, age, Some(&due[..]).filter(|_| !yes));
        pruned.done.left.extend(left);
        pruned.done = Forgotten { forgotten, kept, left: pruned.done.left };
    }
    list(context, pruned)
}

/// Asks whether what these runs took may die.
fn may_forget(context: &Context<'_>, due: &[RunId]) -> Result<bool, Failure> {
    let bytes: u64 = due.iter().map(|id| journal::archive_bytes(&context.home.real_dir, id)).sum();
    if bytes == 0 {
        return Ok(true);
    }
    let size = HumanBytes(bytes);
    let what = match due.len() {
        1 => format!("1 run with {size} in its archive"),
        runs => format!("{runs} runs with {size} in their archives"),
    };
    let answer = context.session.confirm(&format!("Forget {what} for good?"))?;
    answer.ok_or_else(|| {
        Failure::usage(anyhow::anyhow!("this would forget {what} for good; nothing was touched"))
            .hint("-n names them; confirm with --yes where nobody can be asked")
    })
}

fn list(context: &Context<'_>, pruned: Pruned) -> Result<Exit, Failure> {
    let Pruned { age, dry_run, due, recovered, done } = pruned;
    let past = context.past();
    let unfinished = past.unfinished();
    let Past { runs, unread } = past;
    let partial = !done.left.is_empty();
    let known: Vec<&Left> = done.left.iter().collect();
    let problems = done.left.iter().chain(unread.iter().filter(|left| !known.contains(left)));
    let told = |run: &Manifest| json::run(run, journal::archive_bytes(&context.home.real_dir, &run.id), context.view());
    let sentence = |left: &Left| refusal::line(left, context.view());
    let names = |ids: Vec<RunId>| ids.into_iter().map(String::from).collect();
    let document = RunsDocument {
        schema: schema("runs"),
        unfinished: names(unfinished),
        runs: runs.iter().map(told).collect(),
        dry_run,
        recovered,
        problems: problems.map(sentence).collect(),
        due: names(due),
        forgotten: names(done.forgotten),
        kept: names(done.kept),
    };
    let session = context.session;
    if session.cli.global.json {
        session.print_document(&document)?;
    } else {
        let age = age.map(duration::display);
        session.print(&text::runs(&document, age.as_deref(), &session.layout()))?;
    }
    Ok(Exit::after(false, partial))
}

fn show(context: &Context<'_>, what: &str) -> Result<Exit, Failure> {
    let Past { runs, unread } = context.past();
    let found = near::run(&runs, what).map_err(|failure| match unread.first() {
        Some(left) => {
            Failure::from(failure.error.context(refusal::line(left, context.view()))).code(left.refusal.code())
        }
        None => failure,
    })?;
    let archive_bytes = journal::archive_bytes(&context.home.real_dir, &found.id);
    let document = run::document(schema("run"), found, archive_bytes, context.view());
    let session = context.session;
    if session.cli.global.json {
        session.print_document(&document)?;
    } else {
        session.print(&run::show(&document, &session.layout()))?;
    }
    Ok(Exit::Done)
}
