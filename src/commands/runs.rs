//! `runs`: past runs: what each took, what can still be restored.

use super::context::{Context, schema};
use super::permit::{self, Patience, beside_gateway, open, settle};
use super::{Exit, Failure, Session};
use crate::change::journal::{self, Forgotten, Past};
use crate::change::manifest::Manifest;
use crate::change::outcome::Left;
use crate::cli::{RunsArgs, RunsCommand};
use crate::config::policy::PolicyFlags;
use crate::model::ids::RunId;
use crate::render::json::{self, RunsDocument};
use crate::render::refusal;
use crate::render::text;

/// Runs the verb.
pub(super) fn run(session: &Session, args: &RunsArgs) -> Result<Exit, Failure> {
    let context = Context::new(session, &PolicyFlags::default())?;
    let mut recovered = Vec::new();
    let mut done = Forgotten::default();
    if let Some(RunsCommand::Prune { older_than }) = args.command
        && journal::exists(&context.home.real_dir)
    {
        // What was cut off is finished first: a restore that is not done with a run still needs it. Beside a gateway
        // without lock it stays as it is, and so does what it needs.
        let journal = open(&context, Patience::default())?;
        if beside_gateway(&context, false).is_none() {
            let settled = settle(&context, &journal, Patience::default())?;
            recovered = permit::recovered(&settled);
            done.left = settled.left;
        }
        let pruned = journal.prune(session.started_at, older_than);
        done.left.extend(pruned.left);
        done = Forgotten { forgotten: pruned.forgotten, kept: pruned.kept, left: done.left };
    }
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
        recovered,
        problems: problems.map(sentence).collect(),
        forgotten: names(done.forgotten),
        kept: names(done.kept),
    };
    if session.cli.global.json {
        session.print_document(&document)?;
    } else {
        session.print(&text::runs(&document, &session.layout()))?;
    }
    Ok(Exit::after(false, partial))
}
