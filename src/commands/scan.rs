//! `scan`: classify every binding; change nothing.

use super::context::Context;
use super::{Exit, Failure, Session};
use crate::cli::ScanArgs;
use crate::decide::restart;
use crate::render::escape::escape;
use crate::render::json::{Body, RestartDocument, ScanDocument};
use crate::render::store_state::StoreState;
use crate::render::text;

/// Runs the verb.
pub(super) fn run(session: &Session, args: &ScanArgs) -> Result<Exit, Failure> {
    let mut context = Context::new(session, &args.policy.flags())?;
    let inventory = context.load()?;
    let verdicts = context.judge(&inventory).classify();
    let plan = context.plan(&inventory, &verdicts);
    let restart = args.restart_due.map(|quiet| {
        let due = restart::due(&inventory, &verdicts, plan.is_empty(), context.now, quiet);
        RestartDocument { due: due.is_ok(), why: due.unwrap_or_else(|why| why) }
    });
    let unfinished = context.unfinished();
    let cut_off = !unfinished.is_empty();
    let document = ScanDocument {
        preamble: context.preamble("scan", &inventory.gateway, unfinished),
        body: context.body(&inventory, &verdicts, plan.totals(), context.planned_startup(&inventory, &verdicts)),
        restart,
    };
    if session.cli.global.json {
        session.print_document(&document)?;
    } else if let Some(restart) = &document.restart {
        session.print(&format!("{}\n", escape(&restart.sentence())))?;
    } else {
        let details = context.details(&inventory.gateway);
        session.print(&text::scan(&document, &details, &session.layout()))?;
    }
    if let Some(restart) = &document.restart {
        return Ok(if restart.due { Exit::Done } else { Exit::Problems });
    }
    let found = has_problems(&document.body, plan.is_empty()) || !inventory.unseen.is_empty() || cut_off;
    let problems = args.check && found;
    Ok(if problems { Exit::Problems } else { Exit::Done })
}

fn has_problems(body: &Body, nothing_to_do: bool) -> bool {
    let sound = |state| matches!(state, StoreState::Ok | StoreState::Missing | StoreState::Symlink);
    !nothing_to_do || body.stores.iter().any(|store| !sound(store.state))
}
