//! Tables of bindings and of loose files.

use std::fmt::Write as _;

use anstyle::Style;
use indicatif::HumanBytes;

use super::coarse;
use crate::decide::facts::Elapsed;
use crate::decide::verdict::{Action, FileAction};
use crate::model::transcript::Integrity;
use crate::render::escape::escape;
use crate::render::json::{BindingDocument, FileDocument};
use crate::render::table::{Column, Row, lay_out};
use crate::render::words::{BAD, Layout, WARN};

pub(super) fn bindings(text: &mut String, rows: &[&BindingDocument], layout: &Layout) {
    if rows.is_empty() {
        return;
    }
    // Where there is no room for a column of agents, they stand in the keys.
    let narrow = layout.width < NARROW;
    let columns = [
        Column::new("AGENT").shrinks_to(10),
        Column::new("KEY").shrinks_to(18),
        Column::new("CLASS").expendable(5),
        Column::new("IDLE").right(),
        Column::new("AGE").right().expendable(6),
        Column::new("STATE").expendable(1),
        Column::new("SIZE").right().expendable(4),
        Column::new("ACTION"),
        Column::new("REASON").expendable(2),
    ];
    let span = |elapsed: Option<Elapsed>| elapsed.map_or_else(|| "-".to_owned(), |e| coarse(e.duration()));
    let made = rows.iter().map(|one| Row {
        cells: vec![
            escape(&one.agent).into_owned(),
            escape(short_key(&one.key, if narrow { None } else { Some(&one.agent) })).into_owned(),
            one.class.as_str().to_owned(),
            span(one.idle),
            span(one.age),
            state(one),
            HumanBytes(one.bytes).to_string(),
            one.action.as_str().to_owned(),
            one.reasons.iter().map(|reason| reason.as_str()).collect::<Vec<_>>().join(" "),
        ],
        style: match one.action {
            Action::Keep => Style::new(),
            Action::Expire | Action::Defer | Action::Settle | Action::Archive | Action::Trim => WARN,
            Action::Quarantine | Action::Repair => BAD,
        },
    });
    text.push('\n');
    let rows: Vec<Row> = made.collect();
    let shown: Vec<Column> = if narrow { columns[1..].to_vec() } else { columns.to_vec() };
    let rows: Vec<Row> =
        if narrow { rows.into_iter().map(|row| Row { cells: row.cells[1..].to_vec(), ..row }).collect() } else { rows };
    text.push_str(&lay_out(&shown, &rows, layout.width));
}

/// Tables narrower than this have no column of agents.
const NARROW: usize = 100;

/// The key without `agent:`, and without the agent where that has a column of its own.
fn short_key<'a>(key: &'a str, agent: Option<&str>) -> &'a str {
    let Some(rest) = key.strip_prefix("agent:") else { return key };
    match agent {
        Some(agent) => rest.strip_prefix(agent).and_then(|rest| rest.strip_prefix(':')).unwrap_or(key),
        None => rest,
    }
}

fn state(one: &BindingDocument) -> String {
    let mut state = one.run.as_str().to_owned();
    if let Some(error) = &one.error {
        let _ = write!(state, " {}", error.kind.as_str());
    }
    if !matches!(one.integrity, Integrity::Intact | Integrity::NeverWritten) {
        let _ = write!(state, ", {}", one.integrity.as_str());
    }
    state
}

pub(super) fn files(text: &mut String, files: &[FileDocument], layout: &Layout, all: bool) {
    let rows: Vec<Row> = files
        .iter()
        .filter(|file| all || file.action != FileAction::Keep)
        .map(|file| Row {
            cells: vec![
                escape(&file.path).into_owned(),
                file.kind.as_str().to_owned(),
                HumanBytes(file.bytes).to_string(),
                file.action.as_str().to_owned(),
                file.reasons.iter().map(|reason| reason.as_str()).collect::<Vec<_>>().join(" "),
            ],
            style: match file.action {
                FileAction::Keep => Style::new(),
                FileAction::Archive | FileAction::Remove => WARN,
                FileAction::Purge => BAD,
            },
        })
        .collect();
    if rows.is_empty() {
        return;
    }
    let columns = [
        Column::new("FILE").shrinks_to(18),
        Column::new("KIND").expendable(2),
        Column::new("SIZE").right().expendable(3),
        Column::new("ACTION"),
        Column::new("REASON").expendable(1),
    ];
    text.push('\n');
    text.push_str(&lay_out(&columns, &rows, layout.width));
}
