//! `explain` in text: all that is known of a binding, and the rules that were tried.

use crate::render::row::RowDocument;
use std::fmt::Write as _;

use indicatif::HumanBytes;

use super::{coarse, unfinished};
use crate::config::duration;
use crate::decide::facts::Elapsed;
use crate::render::escape::escape;
use crate::render::json::{BindingDocument, ExplainDocument};
use crate::render::words::{BOLD, DIM, Layout, count};

/// `explain`.
pub fn explain(document: &ExplainDocument, layout: &Layout) -> String {
    let mut text = String::new();
    unfinished(&mut text, &document.preamble.unfinished, layout);
    for explained in &document.bindings {
        let one = &explained.binding;
        let _ = writeln!(text, "{BOLD}{}{BOLD:#}", escape(&one.key));
        let mut say = |name: &str, value: &str| {
            let _ = writeln!(text, "  {name:<12}{}", escape(value));
        };
        say("agent", &one.agent);
        say("class", one.class.as_str());
        say("session", one.session_id.as_deref().unwrap_or("-"));
        let size = HumanBytes(one.bytes).to_string();
        let transcript = match (&one.transcript, one.rows) {
            (Some(path), _) => format!("{path} ({size})"),
            (None, Some(rows)) => format!("{} in SQLite ({size})", count(rows as usize, "row")),
            (None, None) => "-".to_owned(),
        };
        say("transcript", &transcript);
        say("entry", &HumanBytes(one.entry_bytes).to_string());
        for (name, words) in one.row.iter().flat_map(RowDocument::lines) {
            say(name, &words);
        }
        say("idle", &clock(one.idle));
        say("age", &clock(one.age));
        say("run", &run_words(one));
        say("integrity", &format!("{}: at the next use, {}", one.integrity.as_str(), one.integrity.at_next_use()));
        if let Some(lock) = &one.lock {
            let owner = lock.pid.map_or_else(|| "no owner named".to_owned(), |pid| format!("pid {pid}"));
            let taken = lock.created_at.map_or_else(String::new, |time| {
                format!(", taken {} ago, as it says", coarse(document.preamble.now - time))
            });
            say("lock", &format!("{owner}: {}{taken}", format!("{:?}", lock.state).to_lowercase()));
        }
        for finding in &one.findings {
            let code = serde_json::to_value(finding.code).ok().and_then(|code| code.as_str().map(str::to_owned));
            let line = finding.line.map_or_else(String::new, |line| format!(", line {line}"));
            let detail = finding.detail.as_ref().map_or_else(String::new, |detail| format!(": {detail}"));
            say("finding", &format!("{}{line}{detail}", code.unwrap_or_default()));
        }
        let _ = writeln!(text, "\nRules, in the order in which they were tried:");
        for step in &explained.rules {
            let mark = if step.applies { "✓" } else { "·" };
            let style = if step.applies { BOLD } else { DIM };
            let values = if step.values.is_empty() { String::new() } else { format!(" — {}", escape(&step.values)) };
            let _ = writeln!(text, "{style}  {mark} {:<11} {:<17}{style:#}{values}", step.rule, step.reason.as_str());
        }
        let reasons: Vec<String> =
            one.reasons.iter().map(|reason| format!("{} ({})", reason.as_str(), reason.describe())).collect();
        let _ = writeln!(text, "\nVerdict: {BOLD}{}{BOLD:#}: {}.\n", one.action.as_str(), reasons.join("; "));
    }
    text
}

fn run_words(one: &BindingDocument) -> String {
    let error = one.error.as_ref().map_or_else(String::new, |error| {
        let message = error.message.as_ref().map_or_else(String::new, |message| format!(": {message}"));
        format!(", {}{message}", error.kind.as_str())
    });
    format!("{}{error}", one.run.as_str())
}

fn clock(elapsed: Option<Elapsed>) -> String {
    elapsed.map_or_else(
        || "no clock".to_owned(),
        |elapsed| format!("{} by {}", duration::display(elapsed.duration()), elapsed.from.as_str()),
    )
}
