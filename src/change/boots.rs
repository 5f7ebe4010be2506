//! What starts leave for the next one: which sessions were failed or cut off, and at how many starts in a row; which
//! transcripts the deadline left unread. It stands in `claw-sessions/boots.json`, never in a store.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::change::journal::{self, Journal};
use crate::model::inventory::Boots;

const NAME: &str = "boots.json";
const SCHEMA: &str = "claw-sessions/boots/v1";

/// More than any start notes.
const LONGEST: u64 = 64 << 20;

#[derive(Serialize, Deserialize)]
struct BootsFile {
    schema: String,
    #[serde(flatten)]
    boots: Boots,
}

/// What the last start noted. What cannot be read counts as nothing: then it takes more starts to see a loop.
pub fn read(state_dir: &Path) -> Boots {
    let text = journal::read_own(state_dir, NAME, LONGEST).unwrap_or_default();
    let document = serde_json::from_slice::<BootsFile>(&text).ok().filter(|document| document.schema == SCHEMA);
    document.map(|document| document.boots).unwrap_or_default()
}

/// Notes what this start leaves; what it did not find is forgotten.
pub fn write(journal: &Journal, boots: Boots) -> anyhow::Result<()> {
    let document = BootsFile { schema: SCHEMA.to_owned(), boots };
    journal.write_own(NAME, &serde_json::to_vec_pretty(&document)?)
}
