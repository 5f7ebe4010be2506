//! The inventory: everything that was read, as values. Classifying and planning see nothing else.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::database::{Database, RowCount};
use super::entry::Entry;
use super::home::{Bar, Condition, Home};
use super::key::{self, Class};
use super::leftover::Leftover;
use super::lock::LockState;
use super::names::FileKind;
use super::problem::Code;
use super::proof::Stamp;
use super::salvage::Broken;
use super::store::{Document, Effective};
use super::transcript::Summary;

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
        self.stores.iter().filter(|store| store.may_change().is_ok()).map(|store| store.path.clone()).collect()
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
            store.bindings.iter().filter_map(of).collect::<BTreeMap<String, u64>>().values().sum::<u64>()
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

/// One store and its bindings.
#[derive(Debug)]
pub struct Store {
    /// The agent it belongs to; for a store that agents share, the default agent.
    pub agent: String,
    /// The file.
    pub path: PathBuf,
    /// Whether it was asked for. The others only say what they refer to.
    pub selected: bool,
    /// Where its sessions live. In SQLite its text, members and bindings are those of the rows.
    pub home: Home,
    /// Its condition.
    pub condition: Condition,
    /// What is wrong with it, or odd, in words.
    pub problem: Option<String>,
    /// Its size.
    pub bytes: u64,
    /// Its stamp when it was read.
    pub stamp: Option<Stamp>,
    /// Its owner and mode.
    pub access: Option<Access>,
    /// Its bytes.
    pub text: Bytes,
    /// Its members.
    pub document: Document,
    /// Its bindings.
    pub bindings: Vec<Binding>,
    /// It is broken, and what stands here is what can be given back of it.
    pub salvage: Option<Salvage>,
}

/// What a broken store gives back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Salvage {
    /// What is wrong with it.
    pub code: Code,
    /// Keys that only a backup still had were added.
    pub from_backups: bool,
    /// Entries that are back.
    pub entries: usize,
    /// The backup that comes back in the store's place.
    pub backup: Option<PathBuf>,
    /// Entries that were broken.
    pub broken: Vec<Broken>,
    /// Keys that only a backup has, with that backup.
    pub in_backups: Vec<(String, PathBuf)>,
}

impl Store {
    /// The one gate: whether the store and what lies beside it may be changed.
    pub fn may_change(&self) -> Result<(), Bar> {
        match (&self.home, self.condition) {
            (Home::Rows(_), _) => Err(Bar::Migrated),
            (Home::Files { linked: true }, Condition::Sound) => Err(Bar::Linked),
            (Home::Files { .. }, Condition::Sound) => Ok(()),
            (Home::Files { .. }, condition) => Err(Bar::Condition(condition)),
        }
    }

    /// Returns whether a transcript may be bound in it: it can be changed, or made.
    pub fn may_bind(&self) -> Result<(), Bar> {
        match self.may_change() {
            Err(Bar::Condition(Condition::Missing | Condition::Empty)) => Ok(()),
            other => other,
        }
    }

    /// The database that its sessions live in.
    pub fn database(&self) -> Option<&Database> {
        match &self.home {
            Home::Rows(database) => database.as_deref(),
            Home::Files { .. } => None,
        }
    }

    /// Returns whether its sessions live in SQLite.
    pub fn is_migrated(&self) -> bool {
        matches!(self.home, Home::Rows(_))
    }

    /// Returns whether it is reached through a symbolic link.
    pub fn is_linked(&self) -> bool {
        matches!(self.home, Home::Files { linked: true })
    }

    /// Whether its transcripts' owners are known. A store that cannot be read, or not whole, makes files look like orphans.
    pub fn is_known(&self) -> bool {
        let read = self.condition == Condition::Sound || self.is_linked() && self.condition == Condition::Unreadable;
        read && !self.is_migrated() && self.salvage.is_none()
    }

    /// The file in which its bindings are.
    pub fn holder(&self) -> &Path {
        self.database().map_or(&self.path, |database| &database.path)
    }

    /// The bytes of a binding's entry.
    pub fn entry_bytes(&self, binding: &Binding) -> &[u8] {
        self.document.members.get(binding.place.member).map_or(&[], |member| member.entry.span.of(&self.text))
    }

    /// The directory of its transcripts (F§1.3).
    pub fn dir(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }
}

/// One key, its entry, and what its transcript and locks show.
#[derive(Debug)]
pub struct Binding {
    /// The agent named in the key, else the store's.
    pub agent: String,
    /// The key, decoded.
    pub key: String,
    /// Where it stands in the store.
    pub place: Effective,
    /// What the key names.
    pub class: Class,
    /// The channel named in the key, else in the entry.
    pub channel: Option<String>,
    /// The job of a cron key.
    pub cron_job: Option<String>,
    /// The entry.
    pub entry: Entry,
    /// Bytes of the entry.
    pub entry_bytes: u64,
    /// Another key of the store differs only in case.
    pub case_collision: bool,
    /// Its transcript.
    pub transcript: Transcript,
    /// The lock of its transcript.
    pub lock: Option<Lock>,
}

impl Binding {
    /// A binding of a store that stands alone: nothing beside it was looked at.
    pub fn alone(place: Effective, entry: Entry, entry_bytes: u64) -> Self {
        let key = place.key.clone();
        Self {
            agent: String::new(),
            class: key::parse(&key, "main", entry.chat_type.as_deref()).class,
            key,
            place,
            channel: None,
            cron_job: None,
            entry,
            entry_bytes,
            case_collision: false,
            transcript: Transcript::default(),
            lock: None,
        }
    }
}

/// A binding's transcript file.
#[derive(Clone, Debug, Default)]
pub struct Transcript {
    /// Where it is, or would be; `None` when neither `sessionFile` nor a usable `sessionId` names one.
    pub path: Option<PathBuf>,
    /// An absolute `sessionFile` leads elsewhere, and the file of the same name beside the store was taken (design §3).
    pub relocated: bool,
    /// What was found there.
    pub content: Content,
    /// Its stamp.
    pub stamp: Option<Stamp>,
    /// Its owner and mode.
    pub access: Option<Access>,
    /// Other names of the same file (hard links) exist.
    pub linked: bool,
    /// The header of the copy that `sessions.compact` made before it cut this file's header off (F§4.5).
    pub cut_header: Option<Vec<u8>>,
    /// It is no file but rows in SQLite: how many.
    pub rows: Option<RowCount>,
    /// Its rows are gone or never were, and there is or was a file of this session: the name of it.
    pub original: Option<String>,
}

impl Transcript {
    /// Its size: of the file, or what a file of its rows would have.
    pub fn bytes(&self) -> u64 {
        self.rows.map_or_else(|| self.stamp.map_or(0, |stamp| stamp.size), |rows| rows.bytes)
    }

    /// Returns whether what is wrong with it has one exact answer.
    pub fn is_mendable(&self) -> bool {
        matches!(&self.content, Content::Read(summary) if summary.mends.is_some())
    }
}

/// What was found at a transcript's path.
#[derive(Clone, Debug, Default)]
pub enum Content {
    /// No file.
    #[default]
    Absent,
    /// Read whole.
    Read(Summary),
    /// Exists and could not be read; why.
    Unreadable(String),
    /// Leads out of the sessions directory, or is a symbolic link; in words.
    Outside(String),
    /// Not read, or not to its end: the time was over.
    NotChecked {
        /// Whether reading it was begun.
        begun: bool,
    },
}

/// A lock file.
#[derive(Clone, Debug)]
pub struct Lock {
    /// Its path.
    pub path: PathBuf,
    /// Whether it is held.
    pub state: LockState,
    /// The owner it names.
    pub pid: Option<u32>,
    /// When it says that it was taken. Shown, never trusted.
    pub created_at: Option<DateTime<Utc>>,
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

/// What other files of the state directory say (F§1.4).
#[derive(Clone, Debug, Default)]
pub struct Side {
    /// `subagents/runs.json`, by the child's key.
    pub subagents: BTreeMap<String, SubagentRun>,
    /// Ids of the jobs in `cron/jobs.json`.
    pub cron_jobs: BTreeSet<String>,
    /// Files that exist and could not be read: what they would protect is protected.
    pub unreadable: Unreadable,
    /// The last line of `cron/runs/*.jsonl` for a session key.
    pub cron_runs: BTreeMap<String, CronRun>,
    /// Session ids named in `cron/runs/*.jsonl`.
    pub cron_session_ids: BTreeSet<String>,
    /// Keys bound to threads in `telegram/thread-bindings-*.json` and `discord/thread-bindings.json`.
    pub bound_keys: BTreeSet<String>,
    /// Files that could not be read, with why.
    pub problems: Vec<String>,
}

/// Which side files exist and could not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unreadable {
    /// `subagents/runs.json`.
    pub subagents: bool,
    /// `cron/jobs.json`.
    pub cron_jobs: bool,
    /// A file of thread bindings, or the list of jobs, which bind sessions too.
    pub bindings: bool,
    /// A file of `cron/runs/`.
    pub cron_runs: bool,
}

/// A run of a subagent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubagentRun {
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// Its requester was told, or need not be.
    pub announced: bool,
    /// `outcome.status`.
    pub outcome: Option<String>,
}

/// A run of a cron job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CronRun {
    /// `status`: ok, error, skipped.
    pub status: String,
    /// `error`.
    pub error: Option<String>,
}
