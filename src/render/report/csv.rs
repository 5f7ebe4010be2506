//! The report as a table: a row for each binding.

use anyhow::Context as _;

use super::ReportDocument;
use crate::render::escape::escape;

const COLUMNS: [&str; 16] = [
    "agent",
    "key",
    "class",
    "session_id",
    "transcript",
    "transcript_bytes",
    "entry_bytes",
    "age_seconds",
    "idle_seconds",
    "idle_from",
    "run",
    "error",
    "integrity",
    "action",
    "reasons",
    "findings",
];

/// A row for each binding, below a row of names.
pub fn write(document: &ReportDocument) -> anyhow::Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(COLUMNS)?;
    for one in &document.bindings {
        let seconds = |elapsed: Option<crate::decide::facts::Elapsed>| {
            elapsed.map_or_else(String::new, |elapsed| elapsed.seconds.to_string())
        };
        let reasons: Vec<&str> = one.reasons.iter().map(|reason| reason.as_str()).collect();
        writer.write_record([
            cell(&one.agent),
            cell(&one.key),
            one.class.as_str().to_owned(),
            cell(one.session_id.as_deref().unwrap_or_default()),
            cell(one.transcript.as_deref().unwrap_or_default()),
            one.bytes.to_string(),
            one.entry_bytes.to_string(),
            seconds(one.age),
            seconds(one.idle),
            one.idle.map_or("", |idle| idle.from.as_str()).to_owned(),
            one.run.as_str().to_owned(),
            one.error.as_ref().map_or("", |error| error.kind.as_str()).to_owned(),
            one.integrity.as_str().to_owned(),
            one.action.as_str().to_owned(),
            reasons.join(" "),
            one.findings.len().to_string(),
        ])?;
    }
    let bytes = writer.into_inner().context("cannot write the table")?;
    String::from_utf8(bytes).context("cannot write the table")
}

/// Text that no spreadsheet takes for a formula.
fn cell(text: &str) -> String {
    let text = escape(text);
    if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text.into_owned() }
}
