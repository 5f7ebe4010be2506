//! What a person wants to know of sessions in SQLite: which keys are only in one place, and what the leftovers hold.

use std::fmt::Write as _;

use anstyle::Style;
use indicatif::HumanBytes;
use schemars::JsonSchema;
use serde::Serialize;

use super::escape::escape;
use super::json::{FileDocument, StoreDocument};
use super::table::{Column, Row, lay_out};
use super::view::View;
use super::words::{BAD, DIM, Layout, WARN, count};
use crate::model::database::{Database, RowCensus};
use crate::model::leftover::{Leftover, LeftoverState};

/// A database that sessions live in.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseDocument {
    /// Its path.
    pub path: String,
    /// `migrated`, or `mixed` when there is a store file too.
    pub state: DatabaseState,
    /// Its schema version.
    pub schema: u32,
    /// Whether that is a version whose tables are known; of a newer one what is known of it was read.
    pub known: bool,
    /// The release of OpenClaw that wrote it last, as it says.
    pub app_version: Option<String>,
    /// Bytes of it and its `-wal`.
    pub bytes: u64,
    /// Why nothing of it is changed: a stable code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unfit: Option<String>,
    /// How its bytes are used.
    pub census: RowCensus,
    /// Why its rows were not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unread: Option<String>,
    /// Of a mixed one: keys that only the store file has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only_in_file: Option<Vec<String>>,
    /// Of a mixed one: keys that only the rows have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only_in_rows: Option<Vec<String>>,
}

/// What a database with sessions means for the store file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DatabaseState {
    /// The sessions are in its rows, and there is no store file.
    Migrated,
    /// There is a store file beside its rows: an import that failed, or was never made.
    Mixed,
}

/// A leftover transcript, compared with the rows.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeftoverDocument {
    /// What of it stands in SQLite.
    pub state: LeftoverState,
    /// Its lines.
    pub lines: u64,
    /// How many of them no row has.
    pub missing: u64,
    /// The sessions whose rows it was compared with.
    pub sessions: Vec<String>,
    /// An archive of the import with the same bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archived_as: Option<String>,
}

impl DatabaseDocument {
    /// As a document.
    pub(super) fn of(found: &Database, view: View<'_>) -> Self {
        let mixed = found.mixed.as_ref();
        let read = mixed.filter(|_| found.unread.is_none());
        Self {
            path: view.path(&found.path),
            state: if mixed.is_some() { DatabaseState::Mixed } else { DatabaseState::Migrated },
            schema: found.schema,
            known: found.is_known(),
            app_version: found.app_version.clone(),
            bytes: found.bytes,
            unfit: found.unfit().map(|unfit| unfit.code().to_owned()),
            census: found.census,
            unread: found.unread.clone(),
            only_in_file: read.filter(|mixed| mixed.unread.is_none()).map(|mixed| mixed.only_in_file.clone()),
            only_in_rows: read.map(|mixed| mixed.only_in_rows.clone()),
        }
    }
}

impl LeftoverDocument {
    /// As a document.
    pub(super) fn of(found: &Leftover, view: View<'_>) -> Self {
        Self {
            state: found.state,
            lines: found.lines,
            missing: found.missing,
            sessions: found.sessions.clone(),
            archived_as: found.archived_as.as_deref().map(|path| view.path(path)),
        }
    }
}

/// So many keys are named.
const KEYS: usize = 5;

/// The keys that only the store file has, or only the rows.
pub(super) fn mixed(text: &mut String, stores: &[StoreDocument], layout: &Layout) {
    for store in stores {
        let Some(database) = &store.database else { continue };
        for (place, keys) in [("the store file", &database.only_in_file), ("SQLite", &database.only_in_rows)] {
            let Some(keys) = keys.as_ref().filter(|keys| !keys.is_empty()) else { continue };
            let shown = if layout.verbose { keys.len() } else { keys.len().min(KEYS) };
            let mut names = keys[..shown].iter().map(|key| escape(key).into_owned()).collect::<Vec<_>>().join(", ");
            if shown < keys.len() {
                let _ = write!(names, " and {} more (-v names them)", keys.len() - shown);
            }
            let _ = writeln!(text, "{WARN}only in {place}{WARN:#} of {}: {names}", escape(&store.agent));
        }
    }
}

/// What each leftover transcript holds that SQLite does not.
pub(super) fn leftovers(text: &mut String, files: &[FileDocument], layout: &Layout) {
    let judged: Vec<(&FileDocument, &LeftoverDocument)> =
        files.iter().filter_map(|file| Some((file, file.leftover.as_ref()?))).collect();
    if judged.is_empty() {
        return;
    }
    let columns = [
        Column::new("LEFTOVER").shrinks_to(18),
        Column::new("SIZE").right().expendable(3),
        Column::new("LINES").right().expendable(2),
        Column::new("NOT IN SQLITE").right(),
        Column::new("STATE"),
        Column::new("SAME BYTES IN ARCHIVE").expendable(1),
    ];
    let rows: Vec<Row> = judged
        .iter()
        .map(|(file, found)| Row {
            cells: vec![
                escape(&file.path).into_owned(),
                HumanBytes(file.bytes).to_string(),
                found.lines.to_string(),
                found.missing.to_string(),
                found.state.as_str().to_owned(),
                if found.archived_as.is_some() { "yes" } else { "no" }.to_owned(),
            ],
            style: match found.state {
                LeftoverState::OnlyCopy => BAD,
                LeftoverState::Partly => WARN,
                LeftoverState::InSqlite | LeftoverState::Reminted => Style::new(),
            },
        })
        .collect();
    text.push('\n');
    text.push_str(&lay_out(&columns, &rows, layout.width));
    let holding = judged.iter().filter(|(_, found)| found.state.holds_something()).count();
    let _ = match holding {
        0 => writeln!(text, "{DIM}Every line of {} is in SQLite.{DIM:#}", count(judged.len(), "leftover")),
        _ => writeln!(
            text,
            "{WARN}{} of {} hold{} what SQLite does not.{WARN:#}",
            holding,
            count(judged.len(), "leftover"),
            if holding == 1 { "s" } else { "" }
        ),
    };
}
