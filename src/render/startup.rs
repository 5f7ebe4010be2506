//! The startup estimate in words.

use std::fmt::Write as _;

use indicatif::HumanBytes;

use super::escape::escape;
use super::words::{BAD, DIM, Layout, WARN, thousands};
use crate::decide::startup::{Cost, Load, Model, Startup};
use crate::decide::verdict::Action;
use crate::model::transcript::Integrity;

/// So many of the costliest bindings are shown; JSON names more.
const SHOWN: usize = 3;

/// The estimate: one line, and, unless it is to be brief, who it comes from.
pub(super) fn lines(text: &mut String, startup: &Startup, layout: &Layout) {
    let _ = writeln!(
        text,
        "\nStart-up, at worst: {} before, {} after ({} slots × {} s; model {})",
        load(startup.before),
        load(startup.after),
        startup.slots,
        startup.timeout_seconds,
        words(startup.model)
    );
    if let Some(budget) = startup.budget.filter(|budget| budget.over > 0) {
        let _ = writeln!(
            text,
            "{WARN}The budget of {} cannot be met{WARN:#}: {} more stay, because they are protected or in use.",
            budget.max_resumes, budget.over
        );
    }
    if layout.quiet || startup.before.resumable + startup.other.before.resumable == 0 {
        return;
    }
    let other = &startup.other;
    let loads = if other.before == other.after {
        load(other.before)
    } else {
        format!("{} before, {} after", load(other.before), load(other.after))
    };
    let _ = writeln!(text, "{DIM}  by the other model, {}: {loads}{DIM:#}", words(other.model));
    if startup.agents.len() > 1 {
        let agents = startup.agents.iter().map(|one| {
            let (before, after) = (one.before.resumable, one.after.resumable);
            if before == after {
                format!("{} {before}", escape(&one.agent))
            } else {
                format!("{} {before} → {after}", escape(&one.agent))
            }
        });
        let _ = writeln!(text, "{DIM}  resumable of each agent: {}{DIM:#}", agents.collect::<Vec<_>>().join(", "));
    }
    for (at, one) in startup.costliest.iter().take(SHOWN).enumerate() {
        let lead = if at == 0 { "cost most:" } else { "          " };
        let style = if one.integrity.is_fatal() { BAD } else { DIM };
        let _ = writeln!(text, "{style}  {lead} {} ({}){style:#}", escape(&one.key), cost(one));
    }
}

pub(super) fn words(model: Model) -> &'static str {
    match model {
        Model::AllBindings => "all-bindings, an upper bound",
        Model::RunningRows => "running-rows, each a call of a model that nobody asked for",
        Model::InterruptedOnly => "interrupted-only, what OpenClaw 2026.4.24 and later run again",
    }
}

fn load(load: Load) -> String {
    format!("{} s for {} resumable", thousands(load.worst_seconds), load.resumable)
}

fn cost(one: &Cost) -> String {
    let mut words = one.run.as_str().to_owned();
    if !matches!(one.integrity, Integrity::Intact | Integrity::NeverWritten) {
        let _ = write!(words, ", {}", one.integrity.as_str());
    }
    let _ = write!(words, ", {}", HumanBytes(one.bytes));
    if one.action != Action::Keep {
        let _ = write!(words, ", {}", one.action.as_str());
    }
    words
}
