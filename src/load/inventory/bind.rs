//! Bindings of the members of a store, or of the rows of a database.

use crate::model::entry::Entry;
use crate::model::inventory::{Binding, Store, Transcript};
use crate::model::key;
use crate::model::store::{self, Effective};

/// Makes the bindings of a store file.
pub(super) fn of_file(store: &Store, entries: Vec<Entry>, main_key: &str, shared: bool) -> Vec<Binding> {
    let mut entries: Vec<Option<Entry>> = entries.into_iter().map(Some).collect();
    let entry = |member: usize| {
        let bytes = store.document.members[member].entry.span.len() as u64;
        (entries.get_mut(member).and_then(Option::take).unwrap_or_default(), bytes)
    };
    bindings(store, store.document.effective(&store.text), entry, main_key, shared)
}

/// Makes bindings of the members that count; `entry` gives the entry of each, and its bytes.
pub(super) fn bindings(
    store: &Store,
    places: Vec<Effective>,
    mut entry: impl FnMut(usize) -> (Entry, u64),
    main_key: &str,
    shared: bool,
) -> Vec<Binding> {
    let collisions = store::case_collisions(&places);
    places
        .into_iter()
        .map(|place| {
            let (entry, entry_bytes) = entry(place.member);
            let parsed = key::parse(&place.key, main_key, entry.chat_type.as_deref());
            let named = parsed.agent.filter(|_| shared).map(key::normalize_agent_id);
            Binding {
                agent: named.unwrap_or_else(|| store.agent.clone()),
                class: parsed.class,
                channel: parsed.channel.map(str::to_owned).or_else(|| entry.channel.clone()),
                cron_job: parsed.cron_job.map(str::to_owned),
                entry_bytes,
                case_collision: collisions.contains(&place.key.to_lowercase()),
                transcript: Transcript::default(),
                lock: None,
                row: None,
                key: place.key.clone(),
                place,
                entry,
            }
        })
        .collect()
}
