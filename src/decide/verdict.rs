//! Verdicts: an action and the reasons for it, each with a stable code.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::facts::Facts;
use crate::model::ids::BindingId;
use crate::model::inventory::{Binding, Inventory, Store};
use crate::model::row::RowChange;

/// What happens to a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It stays.
    Keep,
    /// It is taken out of the store; its transcript goes into the run's archive.
    Expire,
    /// The same, flagged as damaged.
    Quarantine,
    /// It stays, and its transcript is mended; the original goes into the run's archive.
    Repair,
    /// It is taken out by the startup budget, to be readmitted by `restore --deferred`.
    Defer,
    /// In SQLite: it stays, and its run that was cut off is marked as failed, so that no start resumes it.
    Settle,
    /// In SQLite: it gets OpenClaw's own mark of what is archived: unlisted, and readable.
    Archive,
    /// In SQLite: it stays; traces of its runs, or windows that no entry names, go into the run's archive.
    Trim,
}

impl Action {
    /// Every action, in table order.
    pub const ALL: [Self; 8] = [
        Self::Keep,
        Self::Expire,
        Self::Quarantine,
        Self::Repair,
        Self::Defer,
        Self::Settle,
        Self::Archive,
        Self::Trim,
    ];

    /// Its name in tables and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Expire => "expire",
            Self::Quarantine => "quarantine",
            Self::Repair => "repair",
            Self::Defer => "defer",
            Self::Settle => "settle",
            Self::Archive => "archive",
            Self::Trim => "trim",
        }
    }

    /// Returns whether the binding leaves its store.
    pub const fn removes(self) -> bool {
        matches!(self, Self::Expire | Self::Quarantine | Self::Defer)
    }
}

/// What happens to a file that is no bound transcript.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FileAction {
    /// It stays.
    Keep,
    /// It goes into the run's archive.
    Archive,
    /// A dead lock: it goes into the run's archive.
    Remove,
    /// It is deleted, on request.
    Purge,
}

impl FileAction {
    /// Its name in tables and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Archive => "archive",
            Self::Remove => "remove",
            Self::Purge => "purge",
        }
    }
}

macro_rules! reasons {
    ($($name:ident $code:literal $rule:literal $text:literal;)*) => {
        /// Why: stable codes (design §4). The rule that each belongs to is said by [`Reason::rule`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum Reason {
            $(#[doc = $text] #[serde(rename = $code)] $name,)*
        }

        impl Reason {
            /// Every reason, in the order of the rules.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The stable code.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The rule of design §4 that gives it.
            pub const fn rule(self) -> &'static str {
                match self { $(Self::$name => $rule,)* }
            }

            /// What it means.
            pub const fn describe(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

reasons! {
    NotSelected "not-selected" "selection" "no --only pattern matches the key";
    NotPlanned "not-planned" "selection" "the plan that was given does not take it";
    JustRestored "just-restored" "selection" "a restore brought it back that this run finished";
    Sqlite "sqlite" "untouchable" "its sessions live in a database that is not to be changed";
    LiveLock "live-lock" "untouchable" "a process that exists holds the transcript's lock";
    Running "running" "untouchable" "the entry says that a run is in progress, and it was active within the grace";
    Symlink "symlink" "untouchable" "the store is reached through a symbolic link";
    Outside "outside" "untouchable" "the transcript leads out of its sessions directory, or is a symbolic link";
    Unreadable "unreadable" "untouchable" "the transcript could not be read";
    Pinned "pinned" "untouchable" "pinned by --keep, the policy file or in OpenClaw";
    Archived "archived" "untouchable" "archived in OpenClaw by a person";
    AgeUnknown "age-unknown" "untouchable" "neither the entry nor the transcript has a usable clock";
    Recent "recent" "untouchable" "active within the grace";
    QueuedInput "queued-input" "untouchable" "OpenClaw accepted a message for it that has not run";
    ColdStorage "cold-storage" "untouchable" "its events were moved to OpenClaw's cold storage";
    BoundOutside "bound-outside" "untouchable" "it is bound to a worktree, a plugin, a goal or something else outside of its rows";
    Resumable "resumable" "untouchable" "its row says running: the next start resumes it";
    ParentOf "parent-of" "untouchable" "a session that stays names it as its parent";
    RowUnreadable "row-unreadable" "damage" "its entry cannot be read; `openclaw doctor --fix` rebuilds it from its columns";
    RowDamage "row-damage" "damage" "its rows keep the gateway down, its agent unreadable, or its turns failing";
    Placeholder "placeholder" "none" "it has no entry, and anchors a history that OpenClaw lists nowhere";
    Freezes "freezes" "damage" "the next use would freeze the whole gateway";
    Blocks "blocks" "damage" "every run of this session would fail";
    Wiped "wiped" "damage" "the next use would replace the whole history by an empty one";
    Mendable "mendable" "damage" "its transcript has a defect with one exact answer";
    PoisonLoop "poison-loop" "damage" "found failed or cut off, its transcript unchanged, at start after start";
    Named "named" "quarantine" "named by the user";
    Damaged "damaged" "quarantine" "it has a problem at least as bad as --severity";
    Missing "missing" "damage" "the transcript is expected and absent";
    Empty "empty" "damage" "the transcript holds no entries";
    All "all" "all" "--all takes every binding that is not live";
    ProtectedClass "protected-class" "protection" "its class is protected";
    Preferences "preferences" "protection" "the entry carries choices made by a person that OpenClaw would still honor";
    CronJob "cron-job" "protection" "its job exists in cron/jobs.json";
    SubagentRun "subagent-run" "protection" "subagents/runs.json has its run unfinished or unannounced";
    ThreadBinding "thread-binding" "protection" "a channel thread is bound to it";
    KeepLast "keep-last" "protection" "among the newest runs of its job that are to stay";
    Errored "errored" "failure" "its last run ended in an error";
    Aborted "aborted" "failure" "its last run was aborted";
    Interrupted "interrupted" "failure" "its last run was cut off";
    FailedPermanent "failed-permanent" "failure" "its last run ended in an error that the session cannot outlive";
    MaxAge "max-age" "staleness" "older than the age limit";
    Idle "idle" "staleness" "idle for longer than the idle limit";
    CronRetention "cron-retention" "staleness" "a cron run past cron.sessionRetention";
    JobGone "job-gone" "staleness" "the base key of a cron job that does not exist any more";
    Probe "probe" "staleness" "a probe of a model, older than OpenClaw keeps them";
    ArchiveAfter "archive-after" "staleness" "a subagent whose run ended longer ago than archiveAfterMinutes";
    ResetStale "reset-stale" "staleness" "OpenClaw's own reset rule would discard it at its next message";
    PruneAfter "prune-after" "staleness" "idle for longer than session.maintenance.pruneAfter";
    OverCount "over-count" "count" "more bindings than allowed for its agent; among the longest idle";
    ResumeMaxAge "resume-max-age" "budget" "its row says running, and it is idle for longer than --resume-max-age";
    OldTraces "old-traces" "traces" "it stays; traces of its runs are older than --trajectories";
    UnnamedWindow "unnamed-window" "history" "it stays; windows of it that no entry names are past their time";
    OverBudget "over-budget" "budget" "more resumable bindings than --max-resumes allows; a program's first, then the longest idle";
    NotChecked "not-checked" "none" "no rule applies that needs no transcript: the time was over before it was read";
    WithinLimits "within-limits" "none" "no rule applies";
    SharedId "shared-id" "file" "its file stays: another binding or file refers to it";
    Orphan "orphan" "file" "nothing refers to it";
    Grace "grace" "file" "nothing refers to it, but it is too young to tell";
    Referenced "referenced" "file" "something refers to it";
    StoreUnknown "store-unknown" "file" "a store of its directory, or another file that may refer to it, cannot be read";
    OrphansOff "orphans-off" "file" "--no-orphans";
    IndexLost "index-lost" "file" "the index was lost: its store binds none, or far fewer, of the conversations beside it";
    LockDead "lock-dead" "file" "its owner is gone";
    LockLive "lock-held" "file" "its owner exists, or it names none";
    LockEvidence "lock-evidence" "file" "its owner is gone; this OpenClaw, or one of unknown version, reads it at its next start";
    PurgeArchives "purge-archives" "file" "archived longer ago than --purge-archives";
    PurgeResets "purge-resets" "file" "archived longer ago than --purge-resets";
    Salvaged "salvaged" "store" "its store was broken: every whole entry was given back";
    Adopted "adopted" "store" "a transcript was bound again";
    InRows "in-rows" "file" "a leftover transcript, and all of it is in SQLite";
    Left "left" "file" "no orphan, no lock: left to OpenClaw, or to you";
}

/// What happens to one binding, and why; the first reason decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What happens.
    pub action: Action,
    /// Why.
    pub reasons: Vec<Reason>,
}

impl Verdict {
    /// A verdict with one reason.
    pub fn new(action: Action, reason: Reason) -> Self {
        Self { action, reasons: vec![reason] }
    }
}

/// A binding, judged.
#[derive(Clone, Debug)]
pub struct Classified {
    /// Index of its store in the inventory.
    pub store: usize,
    /// Index of the binding in its store.
    pub index: usize,
    /// What the evidence means.
    pub facts: Facts,
    /// What happens.
    pub verdict: Verdict,
    /// The transcript that goes with it; `None` when there is none or it stays.
    pub file: Option<PathBuf>,
    /// What happens to its rows.
    pub rows: Vec<RowChange>,
}

impl Classified {
    /// The binding.
    pub fn binding<'a>(&self, inventory: &'a Inventory) -> &'a Binding {
        &inventory.stores[self.store].bindings[self.index]
    }

    /// Its store.
    pub fn store<'a>(&self, inventory: &'a Inventory) -> &'a Store {
        &inventory.stores[self.store]
    }
}

/// A loose file, judged.
#[derive(Clone, Debug)]
pub struct ClassifiedFile {
    /// Index in the inventory.
    pub index: usize,
    /// What happens.
    pub action: FileAction,
    /// Why.
    pub reason: Reason,
}

/// All verdicts.
#[derive(Clone, Debug)]
pub struct Verdicts {
    /// Every binding, in the order of the stores.
    pub bindings: Vec<Classified>,
    /// Every loose file.
    pub files: Vec<ClassifiedFile>,
    /// Rows without an owner are put right too.
    pub mends_orphans: bool,
    /// A `sessionFile` that leads to a place that is gone is shortened to the name of the file beside the store.
    pub shortens_paths: bool,
}

impl Verdicts {
    /// Leaves bindings alone that a restore has just brought back.
    pub fn spare(&mut self, inventory: &Inventory, back: &[BindingId]) {
        for one in self.bindings.iter_mut().filter(|one| !back.is_empty() && one.verdict.action.removes()) {
            let (store, key) = (&one.store(inventory).path, &one.binding(inventory).key);
            if back.iter().any(|id| id.store == *store && id.key == *key) {
                one.verdict = Verdict::new(Action::Keep, Reason::JustRestored);
                one.file = None;
                one.rows.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_code() {
        let codes: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
    }
}
