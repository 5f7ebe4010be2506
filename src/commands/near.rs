//! A key that no store has: which ones may have been meant. A run by a part of its id.

use std::collections::BTreeMap;
use std::path::Path;

use super::Failure;
use crate::change::manifest::Manifest;
use crate::model::inventory::Inventory;

/// How alike two keys are at least to be suggested, from 0 to 1.
const ALIKE: f64 = 0.85;
/// Fewer characters are part of any key.
const LEAST: usize = 3;
/// How many are suggested.
const MOST: usize = 3;

/// The error for a key, or session id, that nothing has.
pub(super) fn no_such_key(inventory: &Inventory, asked: &str) -> Failure {
    let failure = Failure::usage(anyhow::anyhow!("no store has the key or session id {asked}"));
    match near(inventory, asked).as_slice() {
        [] => failure.hint("`claw-sessions scan` lists all keys"),
        keys => failure.hint(format!("did you mean {}?", keys.join(", or "))),
    }
}

/// Refuses a name that bindings of several stores have: with a key alone nobody says which of them is meant.
pub(super) fn refuse_namesakes<'a>(
    asked: &str,
    found: impl Iterator<Item = (&'a Path, &'a str)>,
) -> Result<(), Failure> {
    let agents: BTreeMap<&Path, &str> = found.collect();
    if agents.len() < 2 {
        return Ok(());
    }
    let names: Vec<&str> = agents.into_values().collect();
    Err(Failure::usage(anyhow::anyhow!("{asked} is a name of several agents: {}", names.join(", ")))
        .code("ambiguous")
        .hint(format!("say which one is meant with --agent, as --agent {}", names[0])))
}

/// Returns the run that is meant: by its id, a unique prefix, or as `latest`.
pub(super) fn run<'a>(runs: &'a [Manifest], what: &str) -> Result<&'a Manifest, Failure> {
    let found: Vec<&Manifest> = match what {
        "latest" => runs.last().into_iter().collect(),
        id if runs.iter().any(|run| run.id.as_str() == id) => runs.iter().filter(|run| run.id.as_str() == id).collect(),
        prefix => runs.iter().filter(|run| run.id.as_str().starts_with(prefix)).collect(),
    };
    match found.as_slice() {
        [run] => Ok(run),
        [] if what == "latest" => Err(Failure::usage(anyhow::anyhow!("there are no runs"))),
        [] => {
            Err(Failure::usage(anyhow::anyhow!("no run is called {what}")).hint("`claw-sessions runs` lists the runs"))
        }
        many => Err(Failure::usage(anyhow::anyhow!("{} runs begin with {what}", many.len()))
            .hint("give more of the id; `claw-sessions runs` lists them")),
    }
}

/// Keys that contain what was asked for, then those that are spelled alike.
fn near<'a>(inventory: &'a Inventory, asked: &str) -> Vec<&'a str> {
    let folded = asked.to_lowercase();
    let keys = || inventory.stores.iter().flat_map(|store| &store.bindings).map(|binding| binding.key.as_str());
    let mut near: Vec<(bool, f64, &str)> = keys()
        .map(|key| {
            let lower = key.to_lowercase();
            let contains = folded.len() >= LEAST && lower.contains(&folded);
            (contains, strsim::jaro_winkler(&lower, &folded), key)
        })
        .filter(|(contains, alike, _)| *contains || *alike >= ALIKE)
        .collect();
    near.sort_by(|one, other| (other.0, other.1).partial_cmp(&(one.0, one.1)).unwrap_or(std::cmp::Ordering::Equal));
    near.truncate(MOST);
    near.into_iter().map(|(_, _, key)| key).collect()
}
