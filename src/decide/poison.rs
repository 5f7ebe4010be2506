//! The poison detector: a session that is found failed or cut off, its transcript unchanged, at one start after the
//! other brings every start to the same end. It alone is taken aside; a protected conversation only when a start runs it
//! again.

use crate::decide::facts::{Facts, RunState};
use crate::model::inventory::{Binding, Inventory, Sighting, Store};
use crate::model::transcript::Integrity;

use super::verdict::Classified;

/// Whether a binding is one that a start may run into again: what was cut off, and what failed for good. An error that
/// passes is no sign of it.
pub(super) fn is_suspect(facts: &Facts) -> bool {
    let permanent = facts.failure.as_ref().is_some_and(|failure| failure.kind.is_permanent());
    facts.run == RunState::Interrupted || facts.run == RunState::Errored && permanent
}

/// Returns at how many starts in a row, this one included, a binding was found as it is now; `None` when this is no
/// start.
pub(super) fn starts(inventory: &Inventory, store: &Store, binding: &Binding) -> Option<u32> {
    let sightings = inventory.sightings.as_ref()?;
    let now = sighting(inventory, store, binding);
    let before = sightings.get(&(now.store.clone(), now.key.clone()));
    let same = before.filter(|before| (&before.session_id, before.stamp) == (&now.session_id, now.stamp));
    Some(same.map_or(0, |before| before.starts).saturating_add(1))
}

fn sighting(inventory: &Inventory, store: &Store, binding: &Binding) -> Sighting {
    Sighting {
        store: store.path.strip_prefix(&inventory.state_dir).unwrap_or(&store.path).to_owned(),
        key: binding.key.clone(),
        session_id: binding.entry.session_id.clone(),
        stamp: binding.transcript.stamp,
        starts: 0,
    }
}

/// What the next start is to know: the suspects that stay.
pub fn sightings(
    inventory: &Inventory,
    classified: &[Classified],
    stays: impl Fn(&Classified) -> bool,
) -> Vec<Sighting> {
    let seen = classified.iter().filter(|one| stays(one)).filter_map(|one| {
        let (store, binding) = (one.store(inventory), one.binding(inventory));
        let now = sighting(inventory, store, binding);
        if one.facts.integrity == Integrity::NotChecked {
            // Not looked at this time: what is known of it stays.
            return inventory.sightings.as_ref()?.get(&(now.store, now.key)).cloned();
        }
        let starts = starts(inventory, store, binding)?;
        is_suspect(&one.facts).then_some(Sighting { starts, ..now })
    });
    seen.collect()
}
