//! The startup estimate: how long resumed runs can hold `lane=main` after a start (design §6, F§9).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::verdict::Classified;
use crate::config::policy::Policy;
use crate::model::inventory::{Content, Inventory};
use crate::model::transcript::Ending;

/// Which bindings a start resumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Model {
    /// Every binding, as openclaw#44687 claims: an upper bound.
    AllBindings,
    /// Rows that say `running` and end with an unanswered message: what OpenClaw 2026.4.24 and later runs again.
    InterruptedOnly,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Startup {
    /// Which bindings count.
    pub model: Model,
    /// Slots of `lane=main`.
    pub slots: u32,
    /// Seconds that one run may take.
    pub timeout_seconds: u64,
    /// As the stores are.
    pub before: Load,
    /// As the plan leaves them.
    pub after: Load,
}

/// Estimates the start as the stores were, and without the bindings that leave.
pub fn estimate(
    inventory: &Inventory,
    classified: &[Classified],
    policy: &Policy,
    leaves: impl Fn(&Classified) -> bool,
) -> Startup {
    let model = if inventory.openclaw.resumes_interrupted { Model::InterruptedOnly } else { Model::AllBindings };
    let slots = policy.slots.value.max(1);
    let timeout_seconds = policy.timeout_seconds.value;
    let load = |resumable: u64| Load {
        resumable,
        worst_seconds: resumable.div_ceil(u64::from(slots)).saturating_mul(timeout_seconds),
    };
    let counts = |one: &&Classified| {
        let binding = one.binding(inventory);
        match (model, &binding.transcript.content) {
            (Model::AllBindings, _) => true,
            (Model::InterruptedOnly, Content::Read(summary)) => {
                !binding.class.is_synthetic()
                    && binding.entry.status.as_deref() == Some("running")
                    && matches!(summary.ending, Some(Ending::Unanswered | Ending::InTool))
            }
            (Model::InterruptedOnly, _) => false,
        }
    };
    let before = classified.iter().filter(counts).count() as u64;
    let after = classified.iter().filter(|one| !leaves(one)).filter(counts).count() as u64;
    Startup { model, slots, timeout_seconds, before: load(before), after: load(after) }
}
