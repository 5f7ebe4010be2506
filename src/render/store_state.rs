//! The state of a store in documents: where its sessions live and its condition, in one word.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::home::{Condition, Home};
use crate::model::inventory::Store;

/// The state of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StoreState {
    /// One JSON object.
    Ok,
    /// No such file, and no sign that there was one.
    Missing,
    /// 0 bytes or white space. OpenClaw reads no bindings and writes `{}` at its next save.
    Empty,
    /// Not JSON. OpenClaw reads no bindings and overwrites the file at its next save.
    Malformed,
    /// JSON, but an array, a scalar or `null`.
    NotAnObject,
    /// Good JSON behind a byte order mark.
    Bom,
    /// Could not be read.
    Unreadable,
    /// Gone or empty beside `sessions.json.bak.*`: a rotation lost it (F§6.2).
    RotatedAway,
    /// The file, or a directory on the way to it, is a symbolic link: read, never written.
    Symlink,
    /// Sessions live in SQLite.
    Sqlite,
}

impl StoreState {
    /// The state of a store that was read.
    pub fn of(store: &Store) -> Self {
        match (&store.home, store.condition) {
            (Home::Rows(_), _) => Self::Sqlite,
            (Home::Files { linked: true }, Condition::Sound | Condition::Unreadable) => Self::Symlink,
            (_, Condition::Sound) => Self::Ok,
            (_, Condition::Missing) => Self::Missing,
            (_, Condition::Empty) => Self::Empty,
            (_, Condition::Malformed) => Self::Malformed,
            (_, Condition::NotAnObject) => Self::NotAnObject,
            (_, Condition::Bom) => Self::Bom,
            (_, Condition::RotatedAway) => Self::RotatedAway,
            (_, Condition::Unreadable) => Self::Unreadable,
        }
    }

    /// Returns its name in tables and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Missing => "missing",
            Self::Empty => "empty",
            Self::Malformed => "malformed",
            Self::NotAnObject => "not-an-object",
            Self::Bom => "bom",
            Self::Unreadable => "unreadable",
            Self::RotatedAway => "rotated-away",
            Self::Symlink => "symlink",
            Self::Sqlite => "sqlite",
        }
    }
}
