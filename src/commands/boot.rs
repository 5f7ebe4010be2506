//! `gc --boot`: what is said and how it ends when gc runs before the gateway: one line, and no reason not to start.

use chrono::Utc;

use super::{Exit, Failure, Session};
use crate::render::json::GcDocument;
use crate::render::text;

/// Priorities of syslog, which the journal reads from the beginning of a line.
const ERROR: u8 = 3;
const WARNING: u8 = 4;
const INFO: u8 = 6;

/// Whether the whole text is wanted besides the line: when a person looks.
pub(super) fn wants_text(session: &Session) -> bool {
    session.cli.global.wants_json() || session.on_terminal()
}

/// Tells what was done.
pub(super) fn tell(session: &Session, document: &GcDocument) {
    let trouble = !document.refused.is_empty() || !document.failed.is_empty();
    let seconds = (Utc::now() - session.started_at).as_seconds_f64();
    line(session, if trouble { WARNING } else { INFO }, &text::boot(document, seconds));
}

/// A failure is told and is no failure of the start; wrong usage is one.
pub(super) fn forgive(session: &Session, result: Result<Exit, Failure>) -> Result<Exit, Failure> {
    match result {
        Err(failure) if failure.exit != Exit::Usage => {
            line(session, ERROR, &format!("{:#}; the gateway starts as it is", failure.error));
            Ok(Exit::Done)
        }
        Ok(_) => Ok(Exit::Done),
        usage => usage,
    }
}

fn line(session: &Session, priority: u8, text: &str) {
    let prefix =
        if session.environment.var("JOURNAL_STREAM").is_some() { format!("<{priority}>") } else { String::new() };
    session.say(&format!("{prefix}claw-sessions: {text}"));
}
