//! `runs`: past runs: what each took, what can still be restored.

use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};

use super::context::{Context, schema};
use super::gc::open;
use super::{Exit, Failure, Session};
use crate::cli::{RunsArgs, RunsCommand};
use crate::config::policy::PolicyFlags;
use crate::decide::verdict::Action;
use crate::render::json::{self, RunsDocument};
use crate::render::text;
use crate::store::journal::{self, Journal, Manifest, RunState};

/// Runs the verb.
pub(super) fn run(session: &Session, args: &RunsArgs) -> Result<Exit, Failure> {
    let context = Context::new(session, &PolicyFlags::default())?;
    let forgotten = match args.command {
        Some(RunsCommand::Prune { older_than }) => {
            let journal = open(&context)?;
            prune(&context.home.real_dir, &journal, session.started_at, older_than)?
        }
        None => Vec::new(),
    };
    let (runs, problems) = journal::past_runs(&context.home.real_dir);
    let document =
        RunsDocument { schema: schema("runs"), runs: runs.iter().map(json::run).collect(), forgotten, problems };
    if session.cli.global.wants_json() {
        session.print_document(&document)?;
    } else {
        session.print(&text::runs(&document, session.layout()))?;
    }
    Ok(Exit::Done)
}

/// Forgets runs that ended longer ago than `age`; those with quarantined bindings, and unfinished ones, stay.
pub(super) fn prune(
    state_dir: &Path,
    journal: &Journal,
    now: DateTime<Utc>,
    age: TimeDelta,
) -> Result<Vec<String>, Failure> {
    let (runs, _) = journal::past_runs(state_dir);
    let mut forgotten = Vec::new();
    for run in runs.into_iter().filter(|run| may_be_forgotten(run, now, age)) {
        journal.forget(&run.id)?;
        forgotten.push(run.id);
    }
    Ok(forgotten)
}

fn may_be_forgotten(run: &Manifest, now: DateTime<Utc>, age: TimeDelta) -> bool {
    let ended = run.finished_at.unwrap_or(run.started_at);
    let quarantined = run
        .stores
        .iter()
        .flat_map(|record| &record.entries)
        .any(|entry| entry.action == Action::Quarantine && !entry.restored);
    run.state != RunState::Unfinished && !quarantined && now - ended >= age
}
