//! What was left as it was, in words.

use super::view::{LeftDocument, View};
use super::words::count;
use crate::change::outcome::{Changed, Jump, Late, Left, NotDone, Refusal, Subject};
use crate::decide::lost::LostIndex;
use crate::model::database::Unfit;
use crate::model::key;
use crate::openclaw::files::lock::{Holder, Who};

/// Something left as a document.
pub fn document(left: &Left, view: View<'_>) -> LeftDocument {
    let mut document = LeftDocument {
        what: subject(&left.subject, view),
        why: sentence(&left.refusal, view),
        code: left.refusal.code().to_owned(),
        agent: None,
        key: None,
        path: None,
        run: None,
    };
    match &left.subject {
        Subject::Binding { agent, id } => {
            document.agent = Some(agent.clone());
            document.key = Some(id.key.clone());
        }
        Subject::Path(path) => document.path = Some(view.path(path)),
        Subject::Run(id) => document.run = Some(id.to_string()),
        _ => {}
    }
    document
}

fn subject(subject: &Subject, view: View<'_>) -> String {
    match subject {
        Subject::Binding { agent, id } => binding(agent, &id.key),
        Subject::Path(path) => view.path(path),
        Subject::Run(id) => format!("the run {id}"),
        Subject::Plan => "the plan".to_owned(),
        Subject::Quarantine => "the quarantine".to_owned(),
        Subject::Repair => "the repair".to_owned(),
        Subject::Runs => "claw-sessions/runs".to_owned(),
        Subject::History => "history.jsonl".to_owned(),
        Subject::Start => "what this start found".to_owned(),
    }
}

/// What was left and why, on one line.
pub fn line(left: &Left, view: View<'_>) -> String {
    format!("{}: {}", subject(&left.subject, view), sentence(&left.refusal, view))
}

/// Returns whether a key names its agent.
pub fn names_agent(key: &str) -> bool {
    key::parse(key, "main", None).agent.is_some()
}

/// A key, with its agent where the key does not name it.
pub fn binding(agent: &str, key: &str) -> String {
    if agent.is_empty() || names_agent(key) { key.to_owned() } else { format!("{key} (agent {agent})") }
}

// Why a restore does not bring something back, and the way to have it all the same.

const KEY_TAKEN: &str =
    "the key is bound again: `claw-sessions quarantine` takes that session aside, then restore once more";
const UNACCOMPANIED: &str = "its transcript did not come back, and alone the binding would lead to another; --as-new \
                             brings both back under new names";
const WRITTEN: &str = "it was written since it was mended; --as-new brings the original of a transcript back beside it";
const MENDED_GONE: &str = "the mended file is not in its place: restore the run that took it first, or bring the \
                           original back beside it with --as-new";

/// Why something was left, as a sentence without its end.
pub fn sentence(refusal: &Refusal, view: View<'_>) -> String {
    match refusal {
        Refusal::Changed(changed) => format!("changed-since-plan: {}", change(changed, view)),
        Refusal::Busy(holder) => format!("{}; nothing in it was touched", held(holder, view)),
        Refusal::Late(late) => format!("the time was over{}", lateness(late)),
        Refusal::Store { state, problem } => format!("{state}: {problem}; nothing in its directory is touched"),
        Refusal::Migrated { problem } => format!("sqlite: {problem}; nothing in its directory is touched"),
        Refusal::Unfit(unfit) => unfit_words(unfit),
        Refusal::InUse(sign) => format!("somebody is at work on it: {sign}; nothing was touched: stop OpenClaw first"),
        Refusal::SchemaDiffers { kept, now } => format!(
            "its rows are of schema {kept}, and the database has schema {now}: they come back with the release that has that schema"
        ),
        Refusal::NotCompactable => {
            "it gives no pages back unless all of it is copied: `openclaw doctor --session-sqlite compact` does that"
                .to_owned()
        }
        Refusal::ForeignOwner(uid) => format!("it belongs to user {uid}: run this as that user"),
        Refusal::Network(kind) => format!("it lies on {kind}, where SQLite's locks are not to be trusted"),
        Refusal::SessionTaken(session) => {
            format!("the session {session} is there again, under another key: take that one out first")
        }
        Refusal::OwnerGone(name) => {
            format!("{name}, to which its rows belong, is gone: restore the run that took it first, if one did")
        }
        Refusal::KeyTaken => KEY_TAKEN.to_owned(),
        Refusal::RowsWritten => "its rows were written since: what is there now is newer, and stays".to_owned(),
        Refusal::Outside => "it lies outside the state directory, which was moved since".to_owned(),
        Refusal::Taken(path) => format!("{} exists", view.path(path)),
        Refusal::Bound => "the key is bound again; --as-new brings it back under another key".to_owned(),
        Refusal::Unaccompanied => UNACCOMPANIED.to_owned(),
        Refusal::Written => WRITTEN.to_owned(),
        Refusal::MendedGone => MENDED_GONE.to_owned(),
        Refusal::NoStore => "no store here belongs to that agent".to_owned(),
        Refusal::Referred => "a binding refers to it".to_owned(),
        Refusal::Shielded { code, rule } => format!("{code}: {rule}"),
        Refusal::Gateway { version, evidence } => gateway(version.as_deref(), evidence),
        Refusal::NotArchived(path) => format!(
            "{} is not in the archive any more: put it there again, from a backup, and restore once more",
            path.display()
        ),
        Refusal::Damaged(path) => format!(
            "{} in the archive is not what was put there: it stays there, and was not brought back",
            path.display()
        ),
        Refusal::NoSource(id) => format!("the run {id}, which it was to bring back, does not exist any more"),
        Refusal::Unsafe(why) | Refusal::Unreadable(why) | Refusal::Error(why) => why.clone(),
        Refusal::LostManifest { id, why } => {
            format!("{why}; `claw-sessions restore --from-files {id}` brings back what the names of its files tell")
        }
        Refusal::VersionBefore(why) => format!("{why}; the version before it is used"),
        Refusal::Unknowable(why) => format!("it stays, because a store may refer to it: {why}"),
        Refusal::NotDone(what) => not_done(what).to_owned(),
        Refusal::Clock(jump) => clock(jump),
        Refusal::More(count) => format!("and {count} more"),
    }
}

/// Why nothing of a database is changed, as a sentence without its end.
pub fn unfit_words(unfit: &Unfit) -> String {
    let why = match unfit {
        Unfit::Schema(version) => format!(
            "its schema {version} is not one that is known (19, 21, 23), or its two marks of it differ: look for a newer claw-sessions"
        ),
        Unfit::Shape(what) => format!("{what}: that is of another release than those that are known"),
        Unfit::Incomplete(trigger) => format!("the trigger {trigger} is gone: `openclaw doctor` tells what is missing"),
        Unfit::Pages(what) => format!("its pages are damaged ({what}): `openclaw doctor` has what helps"),
        Unfit::Mixed => "there is a store file too: let OpenClaw's `doctor --fix` import it first".to_owned(),
        Unfit::Unread(why) => format!("its rows were not read: {why}"),
    };
    format!("{}: {why}; nothing of it is changed", unfit.code())
}

fn gateway(version: Option<&str>, evidence: &[String]) -> String {
    let version = version.unwrap_or("of unknown version");
    let evidence = evidence.join("; ");
    format!("a gateway {version} is alive ({evidence}); nothing was touched: stop it first, or accept it with --online")
}

fn not_done(what: &NotDone) -> &'static str {
    match what {
        NotDone::StillBound => "it is still in its store",
        NotDone::Unreadable => "it cannot be read again",
        NotDone::NotWhole => "it did not arrive whole in the archive",
    }
}

fn clock(jump: &Jump) -> String {
    let time = |at: &chrono::DateTime<chrono::Utc>| at.format("%Y-%m-%d %H:%MZ").to_string();
    let why = match jump {
        Jump::Behind(trace) => format!("the clock stands before {}, of which there is a trace here", time(trace)),
        Jump::Ahead(trace) => {
            format!("the clock is more than a week ahead of the newest trace here, of {}", time(trace))
        }
    };
    format!("{why}: no run was forgotten for its age")
}

fn change(changed: &Changed, view: View<'_>) -> String {
    let words = match changed {
        Changed::BindingGone => "its binding is gone",
        Changed::Entry => "its entry changed",
        Changed::Transcript => "its transcript changed",
        Changed::TranscriptGone => "its transcript is gone",
        Changed::TranscriptKind => "its transcript is no regular file any more",
        Changed::TranscriptBegun => "its transcript came into being",
        Changed::Unseen => "it cannot be looked at",
        Changed::Gone => "it is gone",
        Changed::File => "it is not the file that was planned",
        Changed::Replaced => "it was replaced at the last moment",
        Changed::Meanwhile => "it was written meanwhile",
        Changed::Held(holder) => return held(holder, view),
        Changed::Bound => "a binding refers to it now",
        Changed::Directory => "another directory stands in its place since the plan",
        Changed::Unreadable => "it became unreadable since the plan",
        Changed::Sound => "there is nothing to mend",
        Changed::Result => "it would not become what was planned",
    };
    words.to_owned()
}

fn lateness(late: &Late) -> String {
    match late {
        Late::Bindings(count) => format!(" before its {count} bindings were taken out"),
        Late::Move => ": the next run moves it".to_owned(),
        Late::Loose => ": it stays".to_owned(),
        Late::Mend => " before it was mended".to_owned(),
        Late::Unread { begun } => format!(" before it was {}", if *begun { "read to its end" } else { "read" }),
        Late::Restore => ": the next run goes on with it".to_owned(),
    }
}

/// The warning of a sessions directory whose index was lost.
pub fn lost_index(dir: &str, lost: LostIndex) -> String {
    let LostIndex { bound, unbound } = lost;
    format!(
        "{dir}: the index was lost, as it seems: the store binds {}; beside it, without a binding: {}; gc leaves them; \
         `claw-sessions adopt --all -n` shows how they can be bound again",
        count(bound, "session"),
        count(unbound, "transcript")
    )
}

/// Who holds a lock.
pub fn held(holder: &Holder, view: View<'_>) -> String {
    let path = view.path(&holder.lock);
    match holder.who {
        Who::Process(pid) => format!("{path} is held by pid {pid}"),
        Who::Nameless => format!("{path} names no owner; if no OpenClaw is running, remove it"),
        Who::NoFile => format!("{path} is not a regular file"),
        Who::Unseen(pid) => format!(
            "{path} names pid {pid}, which is not here, and a gateway in a container may be its owner: stop that one first"
        ),
        Who::Changing => format!("{path} keeps changing its owner"),
    }
}
