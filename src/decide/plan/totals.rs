//! How much a plan has to do, and how much a run did.

use crate::decide::verdict::Action;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much there is to do, or was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// Bindings that expire.
    pub expire: usize,
    /// Bindings that go into quarantine.
    pub quarantine: usize,
    /// Bindings that the startup budget takes out, to be readmitted.
    #[serde(default)]
    pub defer: usize,
    /// Transcripts that are mended.
    #[serde(default)]
    pub repair: usize,
    /// Broken stores that get their whole entries back.
    #[serde(default)]
    pub salvage: usize,
    /// Rows that said running and are marked as failed.
    #[serde(default)]
    pub settle: usize,
    /// Conversations that get OpenClaw's mark of what is archived.
    #[serde(default)]
    pub mark: usize,
    /// Kept sessions of which traces or windows go.
    #[serde(default)]
    pub trim: usize,
    /// Transcripts that go with their bindings.
    pub transcripts: usize,
    /// Orphans that are archived.
    pub archive: usize,
    /// Dead locks that are removed.
    pub remove: usize,
    /// Archives of OpenClaw that are deleted.
    pub purge: usize,
    /// Bytes that leave the stores and the sessions directories.
    pub freed_bytes: u64,
}

impl Totals {
    /// Counts a binding with which this was done.
    pub(crate) fn count(&mut self, action: Action) {
        let count = match action {
            Action::Quarantine => &mut self.quarantine,
            Action::Defer => &mut self.defer,
            Action::Repair => &mut self.repair,
            Action::Settle => &mut self.settle,
            Action::Archive => &mut self.mark,
            Action::Trim => &mut self.trim,
            Action::Expire | Action::Keep => &mut self.expire,
        };
        *count += 1;
    }

    /// Adds what another run did.
    pub fn add(&mut self, other: &Self) {
        self.expire += other.expire;
        self.quarantine += other.quarantine;
        self.defer += other.defer;
        self.repair += other.repair;
        self.salvage += other.salvage;
        self.settle += other.settle;
        self.mark += other.mark;
        self.trim += other.trim;
        self.transcripts += other.transcripts;
        self.archive += other.archive;
        self.remove += other.remove;
        self.purge += other.purge;
        self.freed_bytes += other.freed_bytes;
    }
}
