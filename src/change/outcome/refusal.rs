//! Why something was left as it was: a value with a code that stays.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::model::database::{Database, Unfit};
use crate::model::home::{Bar, Condition};
use crate::model::ids::RunId;
use crate::model::inventory::Store;
use crate::model::store::Defect;
use crate::openclaw::files::lock::Holder;

/// The list of a document that something left belongs to, which decides how the command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// It changed since the plan.
    Skipped,
    /// It failed.
    Failed,
    /// It was refused for safety.
    Refused,
    /// The deadline left it.
    Late,
}

/// Why something was left as it was. Each has a stable code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// It is not what was planned any more.
    Changed(Changed),
    /// Somebody holds its lock.
    Busy(Holder),
    /// The time was over.
    Late(Late),
    /// A store, or the directory of one, is in a state in which nothing of it may be touched.
    Store {
        /// Its state, by its name in documents.
        state: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Its sessions live in SQLite.
    Migrated {
        /// What says so.
        problem: String,
    },
    /// Nothing of its database is changed.
    Unfit(Unfit),
    /// Somebody is at work on its database; the sign of it.
    InUse(String),
    /// Its database has another schema than the one that the rows were taken from.
    SchemaDiffers {
        /// The version that they are of.
        kept: u32,
        /// The version that is there.
        now: u32,
    },
    /// Its database gives no pages back unless all of it is copied.
    NotCompactable,
    /// Its database belongs to this user, and this process runs as another.
    ForeignOwner(u32),
    /// Its database lies on a network's file system.
    Network(String),
    /// A session that is to come back is there again, under another key.
    SessionTaken(String),
    /// The key, session or event that rows belong to, by name, is gone.
    OwnerGone(String),
    /// The key of rows that are to come back is bound anew.
    KeyTaken,
    /// Rows were written since they were changed.
    RowsWritten,
    /// It lies outside the state directory, which was moved or copied since.
    Outside,
    /// The name that it is to get is in use.
    Taken(PathBuf),
    /// Its key was bound anew.
    Bound,
    /// Its transcript did not come back, so it did not either.
    Unaccompanied,
    /// The file was written since it was mended.
    Written,
    /// The mended file is gone, and with it the place for its original.
    MendedGone,
    /// A binding refers to the file.
    Referred,
    /// No store belongs to the agent of whom this is.
    NoStore,
    /// A rule shields it, by its code and sentence.
    Shielded {
        /// The rule's code.
        code: String,
        /// The rule in words.
        rule: String,
    },
    /// A live gateway offers outsiders no lock.
    Gateway {
        /// Its version, as far as it is known.
        version: Option<String>,
        /// What tells that it is alive.
        evidence: Vec<String>,
    },
    /// The plan as a whole is not safe, in words of the guard.
    Unsafe(String),
    /// The file is not in the run's archive any more.
    NotArchived(PathBuf),
    /// What the archive holds is not what was put there.
    Damaged(PathBuf),
    /// The run whose sessions were to come back does not exist any more.
    NoSource(RunId),
    /// The directory of runs, or something in it, cannot be read.
    Unreadable(String),
    /// The manifest of a run cannot be read, or not be believed.
    LostManifest {
        /// The run.
        id: RunId,
        /// Why.
        why: String,
    },
    /// The manifest of a run is damaged, and its version before is used; why.
    VersionBefore(String),
    /// A store that may refer to the file cannot be read.
    Unknowable(String),
    /// Read again, it is not as it was meant to be.
    NotDone(NotDone),
    /// The age of runs is not known: the clock jumped.
    Clock(Jump),
    /// So many more things, which are not named.
    More(usize),
    /// The system failed, in its words.
    Error(String),
}

/// How something differs from what was planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Changed {
    /// The binding is gone.
    BindingGone,
    /// The entry is another.
    Entry,
    /// The transcript was written.
    Transcript,
    /// The transcript is gone.
    TranscriptGone,
    /// The transcript is no regular file any more.
    TranscriptKind,
    /// The transcript came into being: a first turn is under way.
    TranscriptBegun,
    /// It cannot be looked at.
    Unseen,
    /// The file is gone.
    Gone,
    /// The file is another.
    File,
    /// The file was replaced at the last moment.
    Replaced,
    /// The file was written while it was to be changed.
    Meanwhile,
    /// Somebody holds the lock of the file.
    Held(Holder),
    /// A binding refers to the file now.
    Bound,
    /// Another directory stands in the place of the planned one.
    Directory,
    /// The store became unreadable.
    Unreadable,
    /// There is nothing to mend.
    Sound,
    /// The mended file would not be what was planned.
    Result,
}

/// What the deadline kept from being done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Late {
    /// So many bindings were not taken out.
    Bindings(usize),
    /// The file was not moved; the next run moves it.
    Move,
    /// The loose file stays.
    Loose,
    /// The file was not mended.
    Mend,
    /// The transcript was not read, or not to its end.
    Unread {
        /// Whether reading was begun.
        begun: bool,
    },
    /// The rest of the restore; the next run goes on with it.
    Restore,
}

/// What is not as it was meant to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NotDone {
    /// The binding is still in its store.
    StillBound,
    /// The store cannot be read again.
    Unreadable,
    /// The file did not arrive whole in the archive.
    NotWhole,
}

/// How the clock contradicts what is on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Jump {
    /// It stands before the newest trace of this time.
    Behind(chrono::DateTime<chrono::Utc>),
    /// It is further than a week ahead of the newest trace of this time.
    Ahead(chrono::DateTime<chrono::Utc>),
}

impl Refusal {
    /// A store that is none now.
    pub(crate) fn broken(defect: &Defect) -> Self {
        let state = Condition::of(defect).as_str().to_owned();
        Self::Store { state, problem: "it is no readable store now: put it right first".to_owned() }
    }

    /// The refusal of a store that may not be changed.
    pub fn barred(store: &Store, bar: Bar) -> Self {
        let problem = store.problem.clone().unwrap_or_default();
        match bar {
            Bar::Migrated => match store.database().and_then(Database::unfit) {
                Some(unfit) => Self::Unfit(unfit),
                None => Self::Migrated { problem },
            },
            Bar::Linked => Self::Store { state: "symlink".to_owned(), problem },
            Bar::Condition(condition) => Self::Store { state: condition.as_str().to_owned(), problem },
        }
    }

    /// Returns the stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Changed(_) => "changed-since-plan",
            Self::Busy(_) => "busy",
            Self::Late(_) => "late",
            Self::Store { .. } => "store-state",
            Self::Migrated { .. } => "sqlite",
            Self::Unfit(unfit) => unfit.code(),
            Self::InUse(_) => "in-use",
            Self::SchemaDiffers { .. } => "schema-differs",
            Self::NotCompactable => "not-compactable",
            Self::ForeignOwner(_) => "wrong-owner",
            Self::Network(_) => "network",
            Self::SessionTaken(_) => "session-taken",
            Self::OwnerGone(_) => "session-gone",
            Self::Outside => "outside",
            Self::Taken(_) => "name-taken",
            Self::Bound | Self::KeyTaken => "key-bound",
            Self::Unaccompanied => "transcript-not-back",
            Self::Written | Self::RowsWritten => "written-since",
            Self::MendedGone => "mended-gone",
            Self::Referred => "referred-to",
            Self::NoStore => "no-store",
            Self::Shielded { .. } => "shielded",
            Self::Gateway { .. } => "gateway-alive",
            Self::Unsafe(_) => "plan-unsafe",
            Self::NotArchived(_) => "not-in-archive",
            Self::Damaged(_) => "archive-damaged",
            Self::NoSource(_) => "no-source",
            Self::Unreadable(_) => "unreadable",
            Self::LostManifest { .. } => "manifest-lost",
            Self::VersionBefore(_) => "manifest-damaged",
            Self::Unknowable(_) => "store-unknown",
            Self::NotDone(_) => "not-done",
            Self::Clock(_) => "clock",
            Self::More(_) => "more",
            Self::Error(_) => "error",
        }
    }

    /// Returns the list that it belongs to.
    pub const fn list(&self) -> List {
        match self {
            Self::Changed(_) => List::Skipped,
            Self::Late(Late::Bindings(_) | Late::Move | Late::Loose | Late::Mend | Late::Unread { .. }) => List::Late,
            Self::Busy(_)
            | Self::Store { .. }
            | Self::Migrated { .. }
            | Self::Unfit(_)
            | Self::InUse(_)
            | Self::SchemaDiffers { .. }
            | Self::NotCompactable
            | Self::ForeignOwner(_)
            | Self::Network(_)
            | Self::SessionTaken(_)
            | Self::OwnerGone(_)
            | Self::KeyTaken
            | Self::RowsWritten
            | Self::Outside
            | Self::Taken(_)
            | Self::Bound
            | Self::Unaccompanied
            | Self::Written
            | Self::MendedGone
            | Self::Referred
            | Self::NoStore
            | Self::Shielded { .. }
            | Self::Gateway { .. }
            | Self::Unsafe(_)
            | Self::NotDone(_) => List::Refused,
            Self::Late(Late::Restore)
            | Self::NotArchived(_)
            | Self::Damaged(_)
            | Self::NoSource(_)
            | Self::Unreadable(_)
            | Self::LostManifest { .. }
            | Self::VersionBefore(_)
            | Self::Unknowable(_)
            | Self::Clock(_)
            | Self::More(_)
            | Self::Error(_) => List::Failed,
        }
    }
}

impl From<Changed> for Refusal {
    fn from(changed: Changed) -> Self {
        Self::Changed(changed)
    }
}

impl From<Holder> for Refusal {
    fn from(holder: Holder) -> Self {
        Self::Busy(holder)
    }
}

impl From<Late> for Refusal {
    fn from(late: Late) -> Self {
        Self::Late(late)
    }
}

impl From<NotDone> for Refusal {
    fn from(what: NotDone) -> Self {
        Self::NotDone(what)
    }
}

impl From<anyhow::Error> for Refusal {
    fn from(error: anyhow::Error) -> Self {
        Self::Error(format!("{error:#}"))
    }
}
