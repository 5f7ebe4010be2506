//! `restore --from-files`: brings back what lies in the archive of a run whose manifest is lost.

use super::context::Context;
use super::permit::{Patience, open, refuse_beside_gateway, settle};
use super::{Exit, Failure, Session, restore};
use crate::change::manifest::Asked;
use crate::config::policy::PolicyFlags;
use crate::model::ids::RunId;

/// Brings back what lies in the archive of `run`.
pub(super) fn run(session: &Session, run: &str, online: bool) -> Result<Exit, Failure> {
    let context = Context::new(session, &PolicyFlags::default())?;
    let no_run = || {
        Failure::usage(anyhow::anyhow!("there is no run {run}"))
            .hint("`claw-sessions runs` names the runs whose manifests cannot be read")
    };
    let of = RunId::parse(run).ok_or_else(no_run)?;
    if context.past().runs.iter().any(|known| known.id == of) {
        return Err(Failure::usage(anyhow::anyhow!("the manifest of {of} can be read"))
            .hint(format!("`claw-sessions restore {of}` brings back what it took")));
    }
    refuse_beside_gateway(&context, online)?;
    let limits = Patience::default();
    let journal = open(&context, limits)?;
    if !journal.has_run(&of)? {
        return Err(no_run());
    }
    let settled = settle(&context, &journal, limits)?;
    let asked = Asked { from_files: true, ..Asked::all(of.clone()) };
    let outcome = limits.restore(session, &journal, &asked)?;
    // That its manifest is lost is known.
    let settled = crate::change::settle::Settled { left: Vec::new(), ..settled };
    restore::show(&context, &of, outcome, &settled, false)
}
