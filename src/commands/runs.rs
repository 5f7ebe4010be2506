//! `runs`: past runs: what each took, what can still be restored.

use super::context::{Context, schema};
use super::permit::{Limits, open};
use super::{Exit, Failure, Session};
use crate::change::journal::{self, Forgotten};
use crate::cli::{RunsArgs, RunsCommand};
use crate::config::policy::PolicyFlags;
use crate::render::json::{self, RunsDocument};
use crate::render::text;

/// Runs the verb.
pub(super) fn run(session: &Session, args: &RunsArgs) -> Result<Exit, Failure> {
    let context = Context::new(session, &PolicyFlags::default())?;
    let done = match args.command {
        Some(RunsCommand::Prune { older_than }) if journal::exists(&context.home.real_dir) => {
            let journal = open(&context, Limits::default())?;
            journal.forget_older(session.started_at, older_than, None)
        }
        _ => Forgotten::default(),
    };
    let Forgotten { forgotten, kept, failed } = done;
    let (runs, mut problems) = journal::past_runs(&context.home.real_dir);
    let partial = !failed.is_empty();
    problems.extend(failed);
    let document =
        RunsDocument { schema: schema("runs"), runs: runs.iter().map(json::run).collect(), forgotten, kept, problems };
    if session.cli.global.json {
        session.print_document(&document)?;
    } else {
        session.print(&text::runs(&document, &session.layout()))?;
    }
    Ok(Exit::after(false, partial))
}
