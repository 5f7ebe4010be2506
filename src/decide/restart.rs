//! Whether restarting a live gateway is worth it, so that what runs before its start can do what gc must not do beside
//! it.

use chrono::{DateTime, TimeDelta, Utc};

use super::facts::RunState;
use super::verdict::{Classified, Reason, Verdicts};
use crate::config::duration;
use crate::model::entry::Clock;
use crate::model::inventory::{Content, Inventory};

/// Why a restart is worth it (`Ok`), or why not (`Err`), in one sentence. `idle_plan` says that gc has nothing to do;
/// `quiet` is how long nothing may have been active.
pub fn due(
    inventory: &Inventory,
    verdicts: &Verdicts,
    idle_plan: bool,
    now: DateTime<Utc>,
    quiet: TimeDelta,
) -> Result<String, String> {
    if !inventory.gateway.alive {
        return Err("no gateway is alive: gc needs no restart".to_owned());
    }
    if inventory.gateway.honors_lock(inventory.openclaw) {
        return Err("the gateway honors the store lock: gc works beside it".to_owned());
    }
    if idle_plan {
        return Err("gc has nothing to do".to_owned());
    }
    if let Some(one) = verdicts.bindings.iter().find(|one| is_live(one, inventory, now, quiet)) {
        return Err(format!("a run of {} is live", one.binding(inventory).key));
    }
    if let Some(file) = verdicts.files.iter().find(|file| file.reason == Reason::LockLive) {
        let path = &inventory.files[file.index].path;
        return Err(format!("{} is held", path.strip_prefix(&inventory.state_dir).unwrap_or(path).display()));
    }
    let youngest = verdicts.bindings.iter().filter_map(|one| Some((one.facts.idle?.duration(), one)));
    match youngest.min_by_key(|(idle, _)| *idle) {
        Some((idle, one)) if idle < quiet => {
            let (key, ago) = (&one.binding(inventory).key, duration::display(idle));
            Err(format!("{key} was active {ago} ago; it must be quiet for {}", duration::display(quiet)))
        }
        _ => Ok(format!("gc has something to do, and nothing was active for {}", duration::display(quiet))),
    }
}

/// Whether a run is live: its lock is held, or the entry says so and something of it changed lately. `lastInteractionAt`
/// alone does not tell: a long run answers an old message.
fn is_live(one: &Classified, inventory: &Inventory, now: DateTime<Utc>, quiet: TimeDelta) -> bool {
    let binding = one.binding(inventory);
    let says_running =
        [&binding.entry.status, &binding.entry.acp_state].iter().any(|mark| mark.as_deref() == Some("running"));
    let updated = match binding.entry.updated_at {
        Some(Clock::At(time)) => Some(time),
        _ => None,
    };
    let last_line = match &binding.transcript.content {
        Content::Read(summary) => summary.last_at,
        _ => None,
    };
    let changed_lately = || [updated, last_line].into_iter().flatten().any(|time| now - time < quiet);
    one.facts.run == RunState::Running || (says_running && changed_lately())
}
