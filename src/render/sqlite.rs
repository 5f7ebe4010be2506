//! What a person wants to know of sessions in SQLite: which keys are only in one place, and what the leftovers hold.

use std::fmt::Write as _;

use anstyle::Style;
use indicatif::HumanBytes;

use super::escape::escape;
use super::json::{FileDocument, LeftoverDocument, StoreDocument};
use super::table::{Column, Row, lay_out};
use super::words::{BAD, DIM, Layout, WARN, count};
use crate::model::leftover::LeftoverState;

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
