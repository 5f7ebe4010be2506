//! A store as it was read: its bindings, their transcripts and locks.

use crate::model::row::SessionRow;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::Access;
use crate::model::database::{Database, RowCount};
use crate::model::entry::Entry;
use crate::model::home::{Bar, Condition, Home};
use crate::model::key::{self, Class};
use crate::model::lock::LockState;
use crate::model::problem::Code;
use crate::model::proof::Stamp;
use crate::model::salvage::Broken;
use crate::model::store::{Document, Effective};
use crate::model::transcript::Summary;

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
            (Home::Rows(Some(database)), _) if database.unfit().is_none() => Ok(()),
            (Home::Rows(_), _) => Err(Bar::Migrated),
            (Home::Files { linked: true }, Condition::Sound) => Err(Bar::Linked),
            (Home::Files { .. }, Condition::Sound) => Ok(()),
            (Home::Files { .. }, condition) => Err(Bar::Condition(condition)),
        }
    }

    /// Returns whether its file may be written: it is no database.
    pub fn may_write(&self) -> Result<(), Bar> {
        if self.is_migrated() { Err(Bar::Migrated) } else { self.may_change() }
    }

    /// Returns whether a transcript may be bound in it: it can be changed, or made.
    pub fn may_bind(&self) -> Result<(), Bar> {
        match self.may_write() {
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
    /// In SQLite: what its rows say besides the entry.
    pub row: Option<Box<SessionRow>>,
}

impl Binding {
    /// Bytes of its transcript, and in SQLite of its older windows.
    pub fn bytes(&self) -> u64 {
        let windows = self.row.iter().flat_map(|row| &row.windows).map(|window| window.bytes);
        self.transcript.bytes() + windows.sum::<u64>()
    }

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
            row: None,
        }
    }
}

/// A binding's transcript file.
#[derive(Clone, Debug, Default)]
pub struct Transcript {
    /// Where it is, or would be; `None` when neither `sessionFile` nor a usable `sessionId` names one.
    pub path: Option<PathBuf>,
    /// `sessionFile` leads to a place that is gone, and this is the file beside the store that it means (F§4.2).
    pub relocated: bool,
    /// An absolute `sessionFile` leads to a file out of the sessions directory, and OpenClaw uses that one (F§4.2).
    pub elsewhere: bool,
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
