//! The plan: what is to be done, item by item, each with what must still be true when it is done (design §5.1).
//!
//! A plan is complete in itself: it can be written to a file, read by a person, and applied later. Applying consumes
//! it, so no plan runs twice.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
pub use totals::Totals;

use super::expected::Expected;
use super::rows::plan::{RowItem, RowsPlan};
use super::verdict::{Action, FileAction, Reason};
use crate::config::policy::MaxRemovals;
use crate::model::ids::BindingId;
use crate::model::key::Class;
use crate::model::problem::Code;
use crate::model::proof::{DirId, Stamp};

mod fit;
mod made;
mod totals;

/// What is to be done.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[must_use = "a plan does nothing until it is applied"]
pub struct Plan<'a> {
    /// `claw-sessions/plan/v1`
    pub schema: String,
    /// The state directory it was made for.
    pub state_dir: PathBuf,
    /// The time at which ages were judged.
    pub now: DateTime<Utc>,
    /// Bindings in all stores.
    pub bindings: usize,
    /// Bytes of stores, transcripts and loose files, when all of them were looked at.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bytes: Option<u64>,
    /// Every store that may refer to a file: looked at again before an orphan goes.
    pub known_stores: Vec<PathBuf>,
    /// Files that are mended, before anything leaves.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub mends: Vec<MendItem>,
    /// What leaves each store.
    pub stores: Vec<StorePlan<'a>>,
    /// What is changed in databases.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub rows: Vec<RowsPlan<'a>>,
    /// Loose files.
    pub files: Vec<FileItem>,
}

/// What leaves one store.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StorePlan<'a> {
    /// The agent of the store.
    pub agent: String,
    /// The store.
    pub path: PathBuf,
    /// The directory's device and inode: a directory that was swapped is not touched.
    pub dir: DirId,
    /// Bindings, in file order.
    pub items: Vec<Item<'a>>,
}

/// A binding that leaves its store.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Item<'a> {
    /// The agent named in the key, else the store's.
    pub agent: String,
    /// The key.
    pub key: String,
    /// What the key names.
    pub class: Class,
    /// `expire`, `quarantine` or `defer`.
    pub action: Action,
    /// Why; the first decides.
    pub reasons: Vec<Reason>,
    /// SHA-256 of the entry's bytes.
    #[serde(rename = "entrySha256")]
    pub entry: Expected<'a>,
    /// The session it points to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub session_id: Option<String>,
    /// Bytes of the entry.
    pub entry_bytes: u64,
    /// When it was last active; of deferred ones the youngest are readmitted first.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub active_at: Option<DateTime<Utc>>,
    /// The transcript that goes with it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub file: Option<PlannedFile>,
    /// Where its transcript was looked for in vain: should it be there by now, a first turn was under way.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub absent: Option<PathBuf>,
}

/// A file as it was when the plan was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlannedFile {
    /// Its path.
    pub path: PathBuf,
    /// Its stamp.
    pub stamp: Stamp,
    /// Whether moving it frees its bytes: not while other hard links exist.
    pub frees: bool,
}

/// A loose file that goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileItem {
    /// The agent of the store beside it.
    pub agent: String,
    /// What happens.
    pub action: FileAction,
    /// Why.
    pub reason: Reason,
    /// The file.
    pub file: PlannedFile,
    /// The directory's device and inode.
    pub dir: DirId,
}

/// A file that is mended: a new one takes its place, and it goes into the run's archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MendItem {
    /// The agent of the store.
    pub agent: String,
    /// The file.
    pub path: PathBuf,
    /// Its stamp; absent when there is no file: a store that is gone.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stamp: Option<Stamp>,
    /// The directory's device and inode.
    pub dir: DirId,
    /// Why.
    pub reason: Reason,
    /// The problems that are mended.
    pub codes: Vec<Code>,
    /// The bindings that point at it.
    pub bindings: Vec<BindingId>,
    /// How.
    pub how: Mending,
}

/// How a file is mended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mending {
    /// A transcript; this header goes to its top when one is due and the file has none.
    Transcript {
        /// The header line.
        header: String,
    },
    /// A broken store: every whole entry is given back.
    Salvage {
        /// SHA-256 of what it will be.
        sha256: String,
        /// Keys that only a backup still has are added.
        from_backups: bool,
    },
    /// A store: entries whose `sessionFile` leads to a place that is gone name the file beside the store.
    Shorten {
        /// The keys, each with the name of its file.
        files: BTreeMap<String, String>,
    },
    /// A store: transcripts that nothing refers to are bound again.
    Adopt {
        /// The keys, each with its entry.
        entries: BTreeMap<String, String>,
    },
}

/// The schema of plan files.
pub const SCHEMA: &str = "claw-sessions/plan/v1";

impl<'a> Plan<'a> {
    /// A plan that mends these files and does nothing else.
    pub fn mending(state_dir: &Path, now: DateTime<Utc>, items: Vec<MendItem>) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            state_dir: state_dir.to_owned(),
            now,
            bindings: 0,
            bytes: None,
            known_stores: items.iter().map(|item| item.path.clone()).collect(),
            mends: items,
            stores: Vec::new(),
            rows: Vec::new(),
            files: Vec::new(),
        }
    }

    /// Returns whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.mends.is_empty() && self.stores.is_empty() && self.rows.is_empty() && self.files.is_empty()
    }

    /// Returns every change of rows.
    pub fn row_items(&self) -> impl Iterator<Item = &RowItem<'a>> {
        self.rows.iter().flat_map(|rows| &rows.items)
    }

    /// Returns how many bindings leave, of files and rows.
    pub fn removals(&self) -> usize {
        self.items().count() + self.rows.iter().map(RowsPlan::removals).sum::<usize>()
    }

    /// Every binding that leaves.
    pub fn items(&self) -> impl Iterator<Item = &Item<'a>> {
        self.stores.iter().flat_map(|store| &store.items)
    }

    /// The transcripts that go, each once: a cron key and its run share one.
    pub fn transcripts(&self) -> BTreeMap<&Path, &PlannedFile> {
        self.items().filter_map(|item| item.file.as_ref()).map(|file| (file.path.as_path(), file)).collect()
    }

    /// How much there is to do.
    pub fn totals(&self) -> Totals {
        let in_rows = |action| self.row_items().filter(|item| item.action == action).count();
        let count = |action| self.items().filter(|item| item.action == action).count() + in_rows(action);
        let counted = |action| self.files.iter().filter(|item| item.action == action).count();
        let transcripts = self.transcripts();
        let freed = |file: &PlannedFile| if file.frees { file.stamp.size } else { 0 };
        Totals {
            expire: count(Action::Expire),
            quarantine: count(Action::Quarantine),
            defer: count(Action::Defer),
            repair: self
                .mends
                .iter()
                .filter(|item| matches!(item.how, Mending::Transcript { .. } | Mending::Shorten { .. }))
                .count()
                + in_rows(Action::Repair),
            salvage: self.mends.iter().filter(|item| matches!(item.how, Mending::Salvage { .. })).count(),
            settle: in_rows(Action::Settle),
            mark: in_rows(Action::Archive),
            trim: in_rows(Action::Trim),
            transcripts: transcripts.len(),
            archive: counted(FileAction::Archive),
            remove: counted(FileAction::Remove),
            purge: counted(FileAction::Purge),
            freed_bytes: self
                .items()
                .map(|item| item.entry_bytes)
                .chain(self.row_items().map(|item| item.bytes))
                .chain(transcripts.values().map(|file| freed(file)))
                .chain(self.files.iter().map(|item| freed(&item.file)))
                .sum(),
        }
    }

    /// Returns how many orphans leave.
    pub fn orphans(&self) -> usize {
        self.files.iter().filter(|item| item.action == FileAction::Archive).count()
    }

    /// The share of all bindings, and of the orphans that leave, which leaves, in per cent.
    pub fn share(&self) -> f64 {
        let (taken, all) = (self.removals() + self.orphans(), self.bindings + self.orphans());
        if all == 0 { 0.0 } else { taken as f64 * 100.0 / all as f64 }
    }

    /// Returns whether the plan takes more than allowed.
    pub fn exceeds(&self, limit: MaxRemovals) -> bool {
        match limit {
            MaxRemovals::Count(count) => self.removals() + self.orphans() > count,
            MaxRemovals::Percent(percent) => self.share() > percent,
        }
    }
}
