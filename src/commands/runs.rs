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
    let (forgotten, kept) = match args.command {
        Some(RunsCommand::Prune { older_than }) if journal::exists(&context.home.real_dir) => {
            let journal = open(&context)?;
            prune(&context.home.real_dir, &journal, session.started_at, older_than)?
        }
        _ => (Vec::new(), Vec::new()),
    };
    let (runs, problems) = journal::past_runs(&context.home.real_dir);
    let document =
        RunsDocument { schema: schema("runs"), runs: runs.iter().map(json::run).collect(), forgotten, kept, problems };
    if session.cli.global.wants_json() {
        session.print_document(&document)?;
    } else {
        session.print(&text::runs(&document, &session.layout()))?;
    }
    Ok(Exit::Done)
}

/// Forgets runs that ended longer ago than `age`; those with quarantined bindings stay. Gives both.
pub(super) fn prune(
    state_dir: &Path,
    journal: &Journal,
    now: DateTime<Utc>,
    age: TimeDelta,
) -> Result<(Vec<String>, Vec<String>), Failure> {
    let (runs, _) = journal::past_runs(state_dir);
    let (mut forgotten, mut kept) = (Vec::new(), Vec::new());
    for run in runs.into_iter().filter(|run| is_old(run, now, age)) {
        if holds_quarantined(&run) {
            kept.push(run.id);
        } else {
            journal.forget(&run.id)?;
            forgotten.push(run.id);
        }
    }
    Ok((forgotten, kept))
}

fn is_old(run: &Manifest, now: DateTime<Utc>, age: TimeDelta) -> bool {
    run.state != RunState::Unfinished && now - run.finished_at.unwrap_or(run.started_at) >= age
}

fn holds_quarantined(run: &Manifest) -> bool {
    let mut entries = run.stores.iter().flat_map(|record| &record.entries);
    entries.any(|entry| entry.action == Action::Quarantine && !entry.restored)
}
