//! Guards: when a plan is refused whole, because it takes more than was allowed or because the clock cannot be right.

use chrono::{DateTime, TimeDelta, Utc};

use super::plan::Plan;
use crate::config::policy::Policy;
use crate::model::entry::Clock;
use crate::model::inventory::Inventory;

/// Nothing in a state directory is younger than this: then the clock is more likely wrong than the host unused.
const SILENCE: TimeDelta = TimeDelta::days(365);
/// With a clock in doubt, a plan may take no more than this share, in per cent.
const DOUBTFUL_SHARE: f64 = 50.0;

/// Why this plan is refused, with the way out.
pub fn refusal(plan: &Plan<'_>, inventory: &Inventory, policy: &Policy, now: DateTime<Utc>) -> Option<String> {
    let taken = plan.removals();
    if let Some(limit) = policy.limits.max_removals.value {
        return plan.exceeds(limit).then(|| {
            format!(
                "the plan takes {taken} of {} bindings{} ({:.0} %), more than --max-removals {limit}",
                plan.bindings,
                orphans(plan),
                plan.share()
            )
        });
    }
    let silence = now - newest(inventory)?;
    (silence > SILENCE && plan.share() > DOUBTFUL_SHARE).then(|| {
        format!(
            "everything in the state directory is {} days old or older, and the plan takes {taken} of {} bindings{}: is the \
             clock right? If it is, allow the plan with --max-removals 100%",
            silence.num_days(),
            plan.bindings,
            orphans(plan)
        )
    })
}

/// The orphans that leave with the bindings, in words.
fn orphans(plan: &Plan<'_>) -> String {
    match plan.orphans() {
        0 => String::new(),
        1 => " and 1 orphan".to_owned(),
        more => format!(" and {more} orphans"),
    }
}

/// The youngest time that anything in the state directory shows.
fn newest(inventory: &Inventory) -> Option<DateTime<Utc>> {
    let entries = inventory.stores.iter().flat_map(|store| &store.bindings).filter_map(|binding| {
        match binding.entry.updated_at {
            Some(Clock::At(time)) => Some(time),
            _ => None,
        }
    });
    let stores = inventory.stores.iter().filter_map(|store| store.stamp);
    let transcripts =
        inventory.stores.iter().flat_map(|store| &store.bindings).filter_map(|binding| binding.transcript.stamp);
    let files = inventory.files.iter().map(|file| file.stamp);
    let touched = stores.chain(transcripts).chain(files).map(|stamp| DateTime::from_timestamp_nanos(stamp.mtime_ns));
    entries.chain(touched).max()
}
