//! Where the sessions of a store live, in what condition it is, and whether it may be changed: the one gate.

use super::database::Database;
use super::store::Defect;

/// Where the sessions of a store live.
#[derive(Debug)]
pub enum Home {
    /// In `sessions.json` and in transcripts beside it.
    Files {
        /// The file, or a directory on the way to it, is a symbolic link: read, never written.
        linked: bool,
    },
    /// In SQLite: the database, where it was found.
    Rows(Option<Box<Database>>),
}

/// The condition of a store before its bindings are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Its bindings can be read.
    Sound,
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
    /// Gone or empty beside `sessions.json.bak.*`: a rotation lost it (F§6.2).
    RotatedAway,
    /// It could not be read.
    Unreadable,
}

impl Condition {
    /// The condition that a defect of the text means.
    pub fn of(defect: &Defect) -> Self {
        match defect {
            Defect::Empty => Self::Empty,
            Defect::Bom => Self::Bom,
            Defect::NotAnObject(_) => Self::NotAnObject,
            Defect::Malformed { .. } => Self::Malformed,
        }
    }

    /// Returns its name in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sound => "ok",
            Self::Missing => "missing",
            Self::Empty => "empty",
            Self::Malformed => "malformed",
            Self::NotAnObject => "not-an-object",
            Self::Bom => "bom",
            Self::RotatedAway => "rotated-away",
            Self::Unreadable => "unreadable",
        }
    }
}

/// The reason why a store may not be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bar {
    /// Its sessions live in SQLite.
    Migrated,
    /// It is reached through a symbolic link.
    Linked,
    /// It is not sound.
    Condition(Condition),
}

impl Bar {
    /// Returns whether nothing is wrong: there is no store, or it is a link that somebody made.
    pub fn is_harmless(self) -> bool {
        matches!(self, Self::Linked | Self::Condition(Condition::Missing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::store;

    #[test]
    fn every_defect_means_a_condition() {
        let condition =
            |text: &[u8]| store::read(text).map_or_else(|defect| Condition::of(&defect), |_| Condition::Sound);
        assert_eq!(condition(b""), Condition::Empty);
        assert_eq!(condition(b" \n"), Condition::Empty);
        assert_eq!(condition(b"\xef\xbb\xbf{}"), Condition::Bom);
        assert_eq!(condition(b"[]"), Condition::NotAnObject);
        assert_eq!(condition(b"null"), Condition::NotAnObject);
        assert_eq!(condition(b"{\"a\":{}"), Condition::Malformed);
        assert_eq!(condition(b"{} x"), Condition::Malformed);
        assert_eq!(condition(b"{\"a\":{\"sessionId\":\"\\ud83d\",\"n\":12345678901234567890}}"), Condition::Sound);
    }
}
