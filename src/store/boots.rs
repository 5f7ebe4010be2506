//! What starts found: which sessions were failed or cut off, and at how many starts in a row. It stands in
//! `claw-sessions/boots.json`, never in a store.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::journal::{self, Journal};
use crate::model::inventory::Sighting;

const NAME: &str = "boots.json";
const SCHEMA: &str = "claw-sessions/boots/v1";

#[derive(Serialize, Deserialize)]
struct Boots {
    schema: String,
    sessions: Vec<Sighting>,
}

/// What the last start noted. What cannot be read counts as nothing: then it takes more starts to see a loop.
pub fn read(state_dir: &Path) -> BTreeMap<(PathBuf, String), Sighting> {
    let text = fs_err::read(journal::own_path(state_dir).join(NAME)).unwrap_or_default();
    let boots = serde_json::from_slice::<Boots>(&text).ok().filter(|boots| boots.schema == SCHEMA);
    let sessions = boots.map(|boots| boots.sessions).unwrap_or_default();
    sessions.into_iter().map(|one| ((one.store.clone(), one.key.clone()), one)).collect()
}

/// Notes what this start found; what it did not find is forgotten.
pub fn write(journal: &Journal, found: &[Sighting]) -> anyhow::Result<()> {
    let boots = Boots { schema: SCHEMA.to_owned(), sessions: found.to_vec() };
    journal.write_own(NAME, &serde_json::to_vec_pretty(&boots)?)
}
