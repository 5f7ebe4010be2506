//! What came of a change: what was done, and what was left as it was, each with the reason as a value.
//!
//! No sentence is made here: `render` makes them, and programs get the codes.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::decide::plan::Totals;
use crate::model::ids::{BindingId, RunId};

pub use refusal::{Changed, Jump, Late, List, NotDone, Refusal};

mod refusal;

/// The keys of the bindings that left each store.
pub type Taken = HashMap<PathBuf, HashSet<String>>;

/// What came of a change.
#[derive(Debug, Default)]
#[must_use = "an outcome may hold failures"]
pub struct Outcome {
    /// The run; `None` when nothing was changed.
    pub run: Option<RunId>,
    /// How much was done.
    pub totals: Totals,
    /// The bindings that left.
    pub taken: Taken,
    /// What came back.
    pub back: Back,
    /// What was left as it was.
    pub left: Vec<Left>,
    /// Something is left for the next run to do: the run stays unfinished.
    pub unfinished: bool,
}

/// What a restore brought back.
#[derive(Debug, Default)]
pub struct Back {
    /// Bindings that are bound again.
    pub bindings: Vec<Bound>,
    /// Files that are back in their places.
    pub files: usize,
    /// Bytes of them, entries included.
    pub bytes: u64,
    /// Of the bindings, those whose rows had been mended: what was wrong with them is back.
    pub damaged: usize,
    /// Of the bindings, those whose rows say running again.
    pub running: usize,
}

/// A binding that is bound again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The agent.
    pub agent: String,
    /// Its store, and its key there.
    pub id: BindingId,
}

impl Outcome {
    /// Notes that something was left.
    pub(crate) fn leave(&mut self, subject: Subject, refusal: impl Into<Refusal>) {
        self.left.push(Left { subject, refusal: refusal.into() });
    }

    /// Returns what was left in this list.
    pub fn in_list(&self, list: List) -> impl Iterator<Item = &Left> {
        self.left.iter().filter(move |left| left.refusal.list() == list)
    }
}

/// Something that was left as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// What.
    pub subject: Subject,
    /// Why.
    pub refusal: Refusal,
}

impl Left {
    /// Something left, and why.
    pub fn new(subject: Subject, refusal: impl Into<Refusal>) -> Self {
        Self { subject, refusal: refusal.into() }
    }
}

/// What was left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// A binding.
    Binding {
        /// The agent of its store.
        agent: String,
        /// Its store, and its key there.
        id: BindingId,
    },
    /// A file or a directory.
    Path(PathBuf),
    /// A run.
    Run(RunId),
    /// The plan as a whole.
    Plan,
    /// The quarantine that was asked for.
    Quarantine,
    /// The repair that was asked for.
    Repair,
    /// The directory of past runs.
    Runs,
    /// The line of a run in the history.
    History,
    /// What a start found.
    Start,
}

impl Subject {
    /// A binding of a store.
    pub fn binding(agent: impl Into<String>, store: impl Into<PathBuf>, key: impl Into<String>) -> Self {
        Self::Binding { agent: agent.into(), id: BindingId::new(store, key) }
    }
}
