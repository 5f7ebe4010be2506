//! The startup estimate: how long resumed runs can hold `lane=main` after a start (design §6, F§9), and the budget that
//! bounds it.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::facts::RunState;
use super::verdict::{Action, Classified};
use crate::config::openclaw::Version;
use crate::config::policy::{Policy, Source};
use crate::model::inventory::{Binding, Content, Inventory, Store};
use crate::model::key::Class;
use crate::model::transcript::{Ending, Integrity};

/// Which bindings a start resumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Model {
    /// Every binding, as openclaw#44687 claims: an upper bound.
    AllBindings,
    /// Rows that say `running` and end with a user's message or a tool's result: what OpenClaw 2026.4.24 and later runs
    /// again (F§13.6).
    InterruptedOnly,
    /// Rows of SQLite that say `running`, however they end: each is a call of a model that nobody asked for.
    RunningRows,
}

impl Model {
    /// The model that the installed OpenClaw follows.
    pub fn of(inventory: &Inventory) -> Self {
        if inventory.selected().any(Store::is_migrated) {
            Self::RunningRows
        } else if inventory.openclaw.resumes_interrupted {
            Self::InterruptedOnly
        } else {
            Self::AllBindings
        }
    }

    /// Its name in texts and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AllBindings => "all-bindings",
            Self::InterruptedOnly => "interrupted-only",
            Self::RunningRows => "running-rows",
        }
    }

    /// Returns whether a start resumes this binding.
    pub fn resumes(self, binding: &Binding) -> bool {
        match (self, &binding.transcript.content) {
            (Self::AllBindings, _) => true,
            (Self::RunningRows, _) => {
                let program = matches!(binding.class, Class::Cron | Class::CronRun | Class::Subagent | Class::Acp);
                !program && binding.row.as_ref().is_some_and(|row| row.is_resumed())
            }
            (Self::InterruptedOnly, Content::Read(summary)) => {
                !binding.class.is_synthetic()
                    && binding.entry.status.as_deref() == Some("running")
                    && summary.ending == Some(Ending::Unanswered)
            }
            // It may be one of them.
            (Self::InterruptedOnly, Content::NotChecked { .. }) => {
                !binding.class.is_synthetic() && binding.entry.status.as_deref() == Some("running")
            }
            (Self::InterruptedOnly, _) => false,
        }
    }
}

/// How many are resumed, and how long they can hold the lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Load {
    /// Bindings that are resumed.
    pub resumable: u64,
    /// `ceil(resumable / slots) × timeout`, seconds.
    pub worst_seconds: u64,
}

/// The estimate before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Startup {
    /// Which bindings count: the model that the installed OpenClaw follows.
    pub model: Model,
    /// Slots of `lane=main`.
    pub slots: u32,
    /// Seconds that one run may take.
    pub timeout_seconds: u64,
    /// As the stores are.
    pub before: Load,
    /// As the plan leaves them.
    pub after: Load,
    /// The same by the other model.
    pub other: Estimate,
    /// The same for each agent that has resumable bindings, as if it were alone.
    pub agents: Vec<AgentLoad>,
    /// The resumable bindings that cost most, worst first.
    pub costliest: Vec<Cost>,
    /// `max-resumes`, when it is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
}

/// An estimate by one model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Estimate {
    /// Which bindings count.
    pub model: Model,
    /// As the stores are.
    pub before: Load,
    /// As the plan leaves them.
    pub after: Load,
}

/// The estimate for one agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentLoad {
    /// The agent.
    pub agent: String,
    /// As its store is.
    pub before: Load,
    /// As the plan leaves it.
    pub after: Load,
}

/// A resumable binding and what makes it dear: each holds a slot for the whole timeout at worst.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cost {
    /// Its agent.
    pub agent: String,
    /// Its key.
    pub key: String,
    /// How sound its transcript is: one that freezes holds the whole gateway.
    pub integrity: Integrity,
    /// How its last run stands: what did not end well once holds its slot again.
    pub run: RunState,
    /// What is read for it: transcript and entry.
    pub bytes: u64,
    /// What happens to it.
    pub action: Action,
}

/// The startup budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Budget {
    /// So many may be resumed.
    pub max_resumes: u64,
    /// So many more stay, because they are protected or in use.
    pub over: u64,
}

/// So many of the costliest bindings are named.
const NAMED: usize = 10;

/// Estimates the start as the stores were, and without the bindings that leave.
pub fn estimate(
    inventory: &Inventory,
    classified: &[Classified],
    policy: &Policy,
    leaves: impl Fn(&Classified) -> bool,
) -> Startup {
    let model = Model::of(inventory);
    let Pace { slots, timeout_seconds } = Pace::of(model, inventory, policy);
    let load = |resumable: u64| Load {
        resumable,
        worst_seconds: resumable.div_ceil(u64::from(slots)).saturating_mul(timeout_seconds),
    };
    let count = |model: Model| {
        let resumed = classified.iter().filter(|one| model.resumes(one.binding(inventory)));
        let stays: Vec<bool> = resumed.map(|one| !leaves(one)).collect();
        (load(stays.len() as u64), load(stays.into_iter().filter(|stays| *stays).count() as u64))
    };
    let resumed: Vec<&Classified> = classified.iter().filter(|one| model.resumes(one.binding(inventory))).collect();
    let mut agents: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for one in &resumed {
        let (before, after) = agents.entry(&one.binding(inventory).agent).or_default();
        *before += 1;
        *after += u64::from(!leaves(one));
    }
    let other = match model {
        Model::AllBindings => Model::InterruptedOnly,
        Model::InterruptedOnly | Model::RunningRows => Model::AllBindings,
    };
    let ((before, after), (other_before, other_after)) = (count(model), count(other));
    let budget = policy
        .limits
        .max_resumes
        .value
        .map(|limit| Budget { max_resumes: limit as u64, over: after.resumable.saturating_sub(limit as u64) });
    Startup {
        model,
        slots,
        timeout_seconds,
        before,
        after,
        other: Estimate { model: other, before: other_before, after: other_after },
        agents: agents
            .into_iter()
            .map(|(agent, (before, after))| AgentLoad {
                agent: agent.to_owned(),
                before: load(before),
                after: load(after),
            })
            .collect(),
        costliest: costliest(inventory, resumed),
        budget,
    }
}

/// OpenClaw's own `timeoutSeconds` since sessions live in SQLite.
const TWO_DAYS: u64 = 48 * 3600;

/// How fast a start works off what it resumes.
struct Pace {
    slots: u32,
    timeout_seconds: u64,
}

impl Pace {
    /// The pace of a model. In SQLite, 2026.9.6 resumes one run at a time, and earlier releases all of them on the lane.
    fn of(model: Model, inventory: &Inventory, policy: &Policy) -> Self {
        let Policy { slots, timeout_seconds, .. } = policy;
        if model != Model::RunningRows {
            return Self { slots: slots.value.max(1), timeout_seconds: timeout_seconds.value };
        }
        let set = |source: &Source| !matches!(source, Source::Default | Source::ConfigInvalid);
        let timeout_seconds = if set(&timeout_seconds.source) { timeout_seconds.value } else { TWO_DAYS };
        let versions = inventory.selected().filter_map(|store| store.database()?.app_version.as_deref());
        let serial = versions.filter_map(Version::parse).max().is_none_or(|newest| newest >= Version::new(2026, 9, 6));
        // The lane has 8 slots at least where nothing is configured.
        let lane = if set(&slots.source) { slots.value.max(1) } else { 8 };
        Self { slots: if serial { 1 } else { lane }, timeout_seconds }
    }
}

fn costliest(inventory: &Inventory, resumed: Vec<&Classified>) -> Vec<Cost> {
    let bytes = |one: &Classified| {
        let binding = one.binding(inventory);
        binding.entry_bytes + binding.transcript.stamp.map_or(0, |stamp| stamp.size)
    };
    let mut resumed = resumed;
    resumed.sort_by_cached_key(|one| {
        let harm = match one.facts.integrity {
            Integrity::Freezes => 2,
            Integrity::Blocks => 1,
            _ => 0,
        };
        let unwell = match one.facts.run {
            RunState::Interrupted => 3,
            RunState::Errored => 2,
            RunState::Aborted => 1,
            _ => 0,
        };
        Reverse((harm, unwell, bytes(one)))
    });
    let cost = |one: &Classified| Cost {
        agent: one.binding(inventory).agent.clone(),
        key: one.binding(inventory).key.clone(),
        integrity: one.facts.integrity,
        run: one.facts.run,
        bytes: bytes(one),
        action: one.verdict.action,
    };
    resumed.into_iter().take(NAMED).map(cost).collect()
}
