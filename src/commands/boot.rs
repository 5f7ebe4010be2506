//! `gc --boot`: what is said and how it ends when gc runs before the gateway: one line, and no reason not to start.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{TimeDelta, Utc};

use super::context::Context;
use super::gc::Passed;
use super::permit::{self, Patience};
use super::{Exit, Failure, Session, session};
use crate::change::outcome::{Left, List, Refusal, Subject};
use crate::model::ids::RunId;
use crate::render::text;

/// Priorities of syslog, which the journal reads from the beginning of a line.
const ERROR: u8 = 3;
const WARNING: u8 = 4;
const INFO: u8 = 6;

/// How long a start may take; systemd gives a gateway 30 s.
pub(super) const DEADLINE: TimeDelta = TimeDelta::seconds(20);

/// How long a start waits for another claw-sessions, and for a store lock.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// How long after the deadline a reading that does not end is given up.
const READING_SLACK: Duration = Duration::from_millis(500);

/// The same for a change, which is better ended than cut off.
const CHANGING_SLACK: Duration = Duration::from_secs(5);

/// How long to wait until the last words are out.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// So many problems are noted of one start; the first ones tell.
const NOTED: usize = 20;

/// Ends a start that hangs: on a disk that does not answer no deadline is looked at.
pub(super) struct StartWatch(Arc<AtomicBool>);

impl StartWatch {
    /// Watches from now on.
    pub(super) fn start(session: &Session, limit: Duration) -> Self {
        let changing = Arc::new(AtomicBool::new(false));
        let (seen, prefix) = (Arc::clone(&changing), prefix(session, WARNING));
        let watch = move || {
            std::thread::sleep(limit + READING_SLACK);
            let mut what = "nothing is left half done";
            if seen.load(Ordering::Acquire) {
                std::thread::sleep(CHANGING_SLACK.saturating_sub(READING_SLACK));
                what = "the next run finishes or reverts what was begun";
            }
            let seconds = limit.as_secs_f64();
            let text = format!("the disk did not answer within {seconds} s; {what}; the gateway starts");
            give_up(format!("{prefix}claw-sessions: {text}"));
        };
        let prefix = self::prefix(session, ERROR);
        std::panic::set_hook(Box::new(move |panic| {
            give_up(format!("{prefix}claw-sessions: {panic}; please report this; the gateway starts"));
        }));
        // Without a thread the deadline alone has to do.
        let _ = std::thread::Builder::new().name("watch".to_owned()).spawn(watch);
        Self(changing)
    }

    /// Says whether something is being changed.
    pub(super) fn changing(&self, changing: bool) {
        self.0.store(changing, Ordering::Release);
    }
}

/// Ends a start, and says why if that can be said: what reads standard error may be stuck as well.
fn give_up(text: String) {
    let _ = std::thread::Builder::new().name("last words".to_owned()).spawn(move || session::say_last(&text));
    std::thread::sleep(LAST_WORDS);
    std::process::exit(Exit::Done.code().into());
}

/// Tells and notes what was done.
pub(super) fn tell(session: &Session, context: &Context<'_>, passed: Passed) -> Exit {
    let Passed { document, run, left } = passed;
    let problems: Vec<Left> = left.into_iter().filter(|left| left.refusal.list() != List::Skipped).collect();
    let priority = if problems.is_empty() { INFO } else { WARNING };
    if !problems.is_empty() && !document.dry_run {
        note(context, run.as_ref(), problems);
    }
    let seconds = (Utc::now() - session.started_at).as_seconds_f64();
    line(session, priority, &text::boot(&document, seconds));
    if session.cli.global.json {
        let _ = session.print_document(&document);
    } else if session.on_terminal() {
        let details = context.details(&document.preamble.gateway);
        let _ = session.print(&text::gc(&document, &details, &session.layout()));
    }
    Exit::Done
}

/// A failure is told, and noted where it can be, and is no failure of the start.
pub(super) fn forgive(session: &Session, context: Option<&Context<'_>>, failure: &Failure) -> Exit {
    let error = format!("{:#}", failure.error);
    if let Some(context) = context {
        note(context, None, vec![Left::new(Subject::Start, Refusal::Error(error.clone()))]);
    }
    line(session, ERROR, &format!("{error}; the gateway starts as it is"));
    if session.cli.global.json {
        let _ = session.print_document(&failure.document(Exit::Done));
    }
    Exit::Done
}

/// Notes in the run's manifest, or in one of its own, what could not be done. Where nothing can be written, the line
/// has to do.
fn note(context: &Context<'_>, run: Option<&RunId>, mut problems: Vec<Left>) {
    let more = problems.len().saturating_sub(NOTED);
    problems.truncate(NOTED);
    problems.extend((more > 0).then(|| Left::new(Subject::Start, Refusal::More(more))));
    let limits = Patience { patience: Duration::ZERO, ..Patience::default() };
    if let Ok(journal) = permit::open(context, limits) {
        let _ = journal.note(run, context.session.started_at, problems);
    }
}

fn line(session: &Session, priority: u8, text: &str) {
    session.say(&format!("{}claw-sessions: {text}", prefix(session, priority)));
}

/// Returns how a warning of a start begins.
pub(super) fn warning(session: &Session) -> String {
    format!("{}claw-sessions: ", prefix(session, WARNING))
}

/// The journal reads a priority at the beginning of a line.
fn prefix(session: &Session, priority: u8) -> String {
    if session.environment.var("JOURNAL_STREAM").is_some() { format!("<{priority}>") } else { String::new() }
}
