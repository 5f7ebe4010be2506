//! The text of `restore --stuck-bak`.

use std::fmt::Write as _;

use indicatif::HumanBytes;

use super::escape::escape;
use super::json::{RestoreDocument, UnboundDocument};
use super::words::{BAD, BOLD, Layout, WARN, count, left, list, next};

/// What is back, what is left without a binding, and how to bind it.
pub fn stuck_bak(document: &RestoreDocument, layout: &Layout) -> String {
    let mut text = String::new();
    list(&mut text, "recovered: ", &document.recovered);
    let Some(run) = &document.run else {
        if document.refused.is_empty() && document.failed.is_empty() {
            let _ = writeln!(text, "Nothing to put back: there are no .stuck-bak files.");
        }
        troubles(&mut text, document);
        return text;
    };
    let _ = writeln!(
        text,
        "{BOLD}Put back{BOLD:#}: {} and {} ({}).",
        count(document.files, "transcript"),
        count(document.bindings.len(), "binding"),
        HumanBytes(document.bytes),
    );
    next(&mut text, &format!("claw-sessions restore {run}{}", layout.same_place), "takes that back");
    let unbound = document.unbound.as_deref().unwrap_or_default();
    if !unbound.is_empty() {
        let number = count(unbound.len(), "transcript");
        let _ = writeln!(text, "{WARN}{number} without a binding{WARN:#}: gc archives what is older than a day:");
        if !layout.quiet {
            for one in unbound {
                line(&mut text, one);
            }
        }
        let command = format!("claw-sessions restore --adopt FILE --key KEY{}", layout.same_place);
        next(&mut text, &command, "binds one; keys are written as `claw-sessions scan --json` shows them");
    }
    troubles(&mut text, document);
    text
}

fn line(text: &mut String, one: &UnboundDocument) {
    let _ = write!(text, "  {}", escape(&one.path));
    match &one.last_at {
        Some(last) => {
            let first = one.first_at.unwrap_or(*last);
            let _ = write!(text, "  {} to {}", first.format("%Y-%m-%d %H:%MZ"), last.format("%Y-%m-%d %H:%MZ"));
        }
        None => text.push_str("  no timestamp"),
    }
    let _ = write!(text, ", {}", HumanBytes(one.bytes));
    // The name of most transcripts is their session id.
    if let Some(id) = one.session_id.as_deref().filter(|id| !one.path.contains(id)) {
        let _ = write!(text, ", session {}", escape(id));
    }
    if let Some(key) = &one.key {
        let _ = write!(text, ", was bound as {}", escape(key));
    }
    text.push('\n');
}

fn troubles(text: &mut String, document: &RestoreDocument) {
    left(text, "refused", WARN, &document.refused);
    left(text, "failed", BAD, &document.failed);
}
