//! `runs` in text.

use std::fmt::Write as _;

use anstyle::Style;
use indicatif::HumanBytes;

use super::unfinished;
use crate::render::escape::escape;
use crate::render::json::RunsDocument;
use crate::render::table::{Column, Row, lay_out};
use crate::render::words::{DIM, Layout, WARN, list};

/// `runs`; `age` is what `prune` was asked for.
pub fn runs(document: &RunsDocument, age: Option<&str>, layout: &Layout) -> String {
    let mut text = String::new();
    unfinished(&mut text, &document.unfinished, layout);
    list(&mut text, "recovered: ", &document.recovered);
    list(&mut text, "forgotten: ", &document.forgotten);
    list(&mut text, "would be forgotten: ", &document.due);
    list(&mut text, "kept, because what it set aside is still there: ", &document.kept);
    list(&mut text, "warning: ", &document.problems);
    if let Some(age) = age.filter(|_| document.forgotten.len() + document.due.len() + document.kept.len() == 0) {
        let _ = writeln!(text, "No run ended longer than {age} ago.");
    }
    if document.dry_run {
        let _ = writeln!(text, "Nothing was changed: this was a dry run.");
    }
    if document.runs.is_empty() {
        let _ = writeln!(text, "No runs yet.");
        return text;
    }
    let columns = [
        Column::new("RUN").shrinks_to(16),
        Column::new("COMMAND").expendable(2),
        Column::new("STARTED").expendable(4),
        Column::new("STATE"),
        Column::new("BINDINGS").right().expendable(1),
        Column::new("FILES").right().expendable(3),
        Column::new("ARCHIVE").right().expendable(5),
        Column::new("RESTORABLE"),
    ];
    let rows: Vec<Row> = document
        .runs
        .iter()
        .map(|run| Row {
            cells: vec![
                run.id.clone(),
                escape(&run.command).into_owned(),
                run.started_at.format("%Y-%m-%d %H:%M:%SZ").to_string(),
                run.state.as_str().to_owned(),
                run.bindings.to_string(),
                run.files.to_string(),
                HumanBytes(run.archive_bytes).to_string(),
                if run.restorable { "yes" } else { "no" }.to_owned(),
            ],
            style: if run.restorable { Style::new() } else { DIM },
        })
        .collect();
    text.push_str(&lay_out(&columns, &rows, layout.width));
    for run in &document.runs {
        for problem in run.problems.iter().take(if layout.verbose { usize::MAX } else { 1 }) {
            let _ = writeln!(text, "{WARN}{}{WARN:#} could not do all: {}", run.id, escape(problem));
        }
    }
    text
}
