//! The inventory: everything that was read, as values. Classifying and planning see nothing else.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::leftover::Leftover;
use super::names::FileKind;
use super::proof::Stamp;

pub use side::{CronRun, Placement, Side, SubagentRun, Unreadable};
pub use store::{Binding, Content, Lock, Salvage, Store, Transcript};

mod side;
mod store;

/// Who may do what with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
}

/// Everything that was read.
#[derive(Debug)]
pub struct Inventory {
    /// The state directory, links resolved.
    pub state_dir: PathBuf,
    /// Its owner.
    pub owner: Option<u32>,
    /// The installed OpenClaw, as `meta.lastTouchedVersion` says.
    pub openclaw: Generation,
    /// Whether a gateway serves this state directory.
    pub gateway: Gateway,
    /// Every store, in the order of the agents.
    pub stores: Vec<Store>,
    /// What could not be looked into, and why: there may be stores in it.
    pub unseen: Vec<(PathBuf, String)>,
    /// Transcripts without a binding and all that is neither transcript nor store.
    pub files: Vec<LooseFile>,
    /// What other files say of the bindings.
    pub side: Side,
    /// Bindings that earlier starts found failed or cut off, by store and key; `None` when this is no start.
    pub sightings: Option<BTreeMap<(PathBuf, String), Sighting>>,
    /// Files whose bindings past runs have in their archives, or that a run was cut off before it moved; absent when
    /// a past run cannot be read.
    pub awaited: Option<HashSet<PathBuf>>,
}

/// What earlier starts leave for the next one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Boots {
    /// Bindings that were found failed or cut off.
    pub sessions: Vec<Sighting>,
    /// Transcripts that the deadline left unread, relative to the state directory, and whether reading was begun.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub not_checked: BTreeMap<PathBuf, bool>,
}

/// A binding that a start found failed or cut off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sighting {
    /// Its store, relative to the state directory.
    pub store: PathBuf,
    /// Its key.
    pub key: String,
    /// The session it pointed to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub session_id: Option<String>,
    /// Its transcript's stamp; absent when there was no transcript.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stamp: Option<Stamp>,
    /// At how many starts in a row it was found so.
    pub starts: u32,
}

impl Inventory {
    /// Returns the stores that can be written.
    pub fn writable(&self) -> Vec<PathBuf> {
        self.stores.iter().filter(|store| store.may_write().is_ok()).map(|store| store.path.clone()).collect()
    }

    /// Returns whether a path is that of a store, or of what a binding points at.
    pub fn holds(&self, path: &Path) -> bool {
        let is_it = |store: &Store| {
            store.path == path || store.bindings.iter().any(|one| one.transcript.path.as_deref() == Some(path))
        };
        self.stores.iter().any(is_it)
    }

    /// The transcripts that the deadline left unread, and whether reading was begun.
    pub fn not_checked(&self) -> BTreeMap<PathBuf, bool> {
        let bound = self.selected().flat_map(|store| &store.bindings);
        let bound = bound.filter_map(|binding| Some((binding.transcript.path.as_ref()?, &binding.transcript.content)));
        let loose = self.files.iter().map(|file| (&file.path, &file.content));
        let relative = |path: &Path| path.strip_prefix(&self.state_dir).unwrap_or(path).to_owned();
        let unread = bound.chain(loose).filter_map(|(path, content)| match content {
            Content::NotChecked { begun } => Some((relative(path), *begun)),
            _ => None,
        });
        unread.collect()
    }

    /// Bytes of the stores that were asked for, their transcripts, each once, and the loose files.
    pub fn bytes(&self) -> u64 {
        let bound = self.selected().flat_map(|store| &store.bindings);
        let transcripts: BTreeMap<&Path, u64> = bound
            .filter_map(|binding| Some((binding.transcript.path.as_deref()?, binding.transcript.stamp?.size)))
            .collect();
        let in_rows = self.selected().filter(|store| store.database().is_some()).map(|store| {
            let of = |binding: &'_ Binding| Some((binding.entry.session_id.clone()?, binding.transcript.rows?.bytes));
            let current: BTreeMap<String, u64> = store.bindings.iter().filter_map(of).collect();
            let rows = store.bindings.iter().filter_map(|binding| binding.row.as_ref());
            let older = rows.map(|row| row.traces.bytes + row.windows.iter().map(|window| window.bytes).sum::<u64>());
            current.values().sum::<u64>() + older.sum::<u64>()
        });
        self.selected().map(|store| store.bytes).sum::<u64>()
            + in_rows.sum::<u64>()
            + transcripts.values().sum::<u64>()
            + self.files.iter().map(|file| file.stamp.size).sum::<u64>()
    }

    /// The stores that were asked for.
    pub fn selected(&self) -> impl Iterator<Item = &Store> {
        self.stores.iter().filter(|store| store.selected)
    }
}

/// What the version of OpenClaw means for a tool (F§0). An unknown version is treated with the care of a late one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation {
    /// The store lock is honored by a live gateway: 2026.2.26 to 2026.4.29.
    pub has_store_lock: bool,
    /// Dead transcript locks tell the gateway what to resume: 2026.4.24 and later.
    pub locks_are_evidence: bool,
    /// Interrupted conversations are run again at a start: 2026.4.24 and later.
    pub resumes_interrupted: bool,
}

/// Whether a gateway serves this state directory, and how that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Gateway {
    /// Whether one is alive.
    pub alive: bool,
    /// What speaks for it, one sentence each.
    pub evidence: Vec<String>,
    /// It lives in a container, or out of sight: a lock names its owner by an id that is unknown on the other side, and
    /// looks there as if its owner were gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub apart: bool,
}

impl Gateway {
    /// Returns whether it waits for a store lock of ours. One that is apart takes our lock for a dead one's.
    pub const fn honors_lock(&self, openclaw: Generation) -> bool {
        openclaw.has_store_lock && !self.apart
    }
}

/// A file that is neither store nor bound transcript.
#[derive(Clone, Debug)]
pub struct LooseFile {
    /// The agent of the store beside it.
    pub agent: String,
    /// Its path.
    pub path: PathBuf,
    /// What it is.
    pub kind: FileKind,
    /// Its stamp.
    pub stamp: Stamp,
    /// Other names of the same file exist.
    pub linked: bool,
    /// No regular file, or a name that no document can hold.
    pub special: bool,
    /// Its lock is held.
    pub held: bool,
    /// Modification time.
    pub touched_at: DateTime<Utc>,
    /// Its owner and mode.
    pub access: Access,
    /// What is in it: of orphans, and of archives when they are checked.
    pub content: Content,
    /// When it was archived, from its name.
    pub archived_at: Option<DateTime<Utc>>,
    /// What the stores of its directory are.
    pub beside: Beside,
    /// Of a leftover transcript: what of it stands in the rows.
    pub leftover: Option<Leftover>,
}

/// The stores of a loose file's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    /// They can be read: that nothing refers to a file means something.
    Known,
    /// One of them cannot be read, or not whole: any file beside it may be bound.
    Unknown,
    /// One of them is reached through a symbolic link: the file may lie anywhere.
    Linked,
    /// Their sessions live in SQLite.
    Migrated,
}

impl LooseFile {
    /// The last timestamp in it, for transcripts.
    pub fn last_at(&self) -> Option<DateTime<Utc>> {
        match &self.content {
            Content::Read(summary) => summary.last_at,
            _ => None,
        }
    }
}
