//! `gc` in text: what would go, what went, what was left.

use std::fmt::Write as _;

use indicatif::HumanBytes;

use super::{bindings, files, head, salvageable, verdict_line};
use crate::decide::plan::Totals;
use crate::decide::verdict::Action;
use crate::render::escape::escape;
use crate::render::json::{BindingDocument, GcDocument};
use crate::render::mended;
use crate::render::startup;
use crate::render::view::LeftDocument;
use crate::render::words::{BAD, BOLD, Layout, WARN, count, left, list, next, shell};

/// `gc`, dry or done.
pub fn gc(document: &GcDocument, details: &[String], layout: &Layout) -> String {
    let mut text = head(&document.preamble, &document.body.stores, None);
    if layout.verbose {
        list(&mut text, "", details);
    }
    list(&mut text, "recovered: ", &document.recovered);
    let leaving: Vec<&BindingDocument> =
        document.body.bindings.iter().filter(|one| one.action != Action::Keep).collect();
    verdict_line(&mut text, &document.body);
    if !layout.quiet {
        if layout.verbose {
            bindings(&mut text, &document.body.bindings.iter().collect::<Vec<_>>(), layout);
        } else {
            bindings(&mut text, &leaving, layout);
        }
        mended::list(&mut text, &document.mended, document.run.is_none(), &layout.same_place);
        files(&mut text, &document.body.files, layout, false);
    }
    if document.dry_run {
        startup::lines(&mut text, &document.body.startup, layout);
        left(&mut text, "failed", BAD, &document.failed);
        left(&mut text, "refused", BAD, &document.refused);
        late(&mut text, &document.late, layout);
        if document.planned == Totals::default() {
            let _ = writeln!(text, "\nNothing to do.");
        } else {
            let _ = writeln!(text, "\nNothing was changed: this was a dry run.");
            if let Some(file) = &layout.plan {
                let command = format!("claw-sessions gc --apply {}{}", shell(file), layout.same_place);
                next(&mut text, &command, "does what the plan says; `restore latest` undoes it");
            } else if document.refused.is_empty() {
                let command = format!("claw-sessions gc{}", layout.same_place);
                next(&mut text, &command, "with the same options does it; `restore latest` undoes it");
            }
        }
    } else {
        outcome(&mut text, document, layout);
    }
    salvageable(&mut text, &document.body, layout);
    text
}

fn outcome(text: &mut String, document: &GcDocument, layout: &Layout) {
    let done = &document.done;
    if document.run.is_some() {
        let planned = if *done == document.planned {
            "as planned".to_owned()
        } else {
            format!("planned: {}", totals(&document.planned))
        };
        let _ = writeln!(text, "\n{BOLD}Done{BOLD:#}: {}; {planned}.", totals(done));
    }
    left(text, "left alone", WARN, &document.skipped);
    left(text, "failed", BAD, &document.failed);
    left(text, "refused", BAD, &document.refused);
    late(text, &document.late, layout);
    if let Some(run) = &document.run {
        startup::lines(text, &document.body.startup, layout);
        let comes_back = done.expire + done.quarantine + done.defer + done.transcripts + done.archive + done.remove > 0
            || done.repair + done.salvage > 0;
        if comes_back {
            next(text, &format!("claw-sessions restore {run}{}", layout.same_place), "brings it back, byte for byte");
        }
        if done.defer > 0 {
            let command = format!("claw-sessions restore --deferred --next 2{}", layout.same_place);
            next(text, &command, "readmits the two that were active last");
        }
        if done.purge > 0 {
            let _ = writeln!(text, "Deleted for good, as asked: {}.", count(done.purge, "archive"));
        }
    } else {
        let nothing = document.planned == Totals::default() && document.refused.is_empty() && document.late.is_empty();
        let _ = writeln!(text, "\n{}", if nothing { "Nothing to do." } else { "Nothing was changed." });
    }
    for one in document.compacted.iter().filter(|one| one.bytes > 0) {
        let _ = writeln!(text, "The database of {} is {} smaller.", escape(&one.agent), HumanBytes(one.bytes));
    }
    if !document.forgotten.is_empty() {
        let ids = document.forgotten.join(", ");
        let _ =
            writeln!(text, "Forgotten, because of their age: {} ({ids}).", count(document.forgotten.len(), "past run"));
    }
}

/// What the deadline left: the first of it, or all.
fn late(text: &mut String, late: &[LeftDocument], layout: &Layout) {
    let shown = if layout.verbose { late.len() } else { late.len().min(5) };
    left(text, "not in time", WARN, &late[..shown]);
    if shown < late.len() {
        let _ = writeln!(text, "{WARN}not in time{WARN:#} {} more (-v names them)", late.len() - shown);
    }
}

/// The line of `gc --boot`.
pub fn boot(document: &GcDocument, seconds: f64) -> String {
    let bindings = document.body.summary.bindings;
    let mut text = if document.dry_run {
        format!("would do {}", totals(&document.planned))
    } else {
        format!("{} of {}", totals(&document.done), count(bindings, "binding"))
    };
    let startup = &document.body.startup;
    let _ = write!(
        text,
        "; start-up at worst {} s, before {} s",
        startup.after.worst_seconds, startup.before.worst_seconds
    );
    let lists = [
        ("left alone", &document.skipped),
        ("failed", &document.failed),
        ("refused", &document.refused),
        ("not in time", &document.late),
    ];
    for (what, list) in lists {
        if let Some(first) = list.first() {
            let more = if list.len() > 1 { format!(" and {} more", list.len() - 1) } else { String::new() };
            let _ = write!(text, "; {what}: {}: {}{more}", first.what, first.why);
        }
    }
    let _ = write!(text, "; {seconds:.2} s");
    if let Some(run) = &document.run {
        let _ = write!(text, "; `claw-sessions restore {run}` undoes it");
    }
    text
}

pub(in crate::render) fn totals(totals: &Totals) -> String {
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    let parts = [
        (totals.expire, "expired".to_owned()),
        (totals.quarantine, "quarantined".to_owned()),
        (totals.defer, "deferred".to_owned()),
        (totals.repair, "mended".to_owned()),
        (totals.salvage, format!("store{} salvaged", plural(totals.salvage))),
        (totals.transcripts, format!("transcript{} moved", plural(totals.transcripts))),
        (totals.archive, format!("orphan{} archived", plural(totals.archive))),
        (totals.remove, format!("dead lock{} removed", plural(totals.remove))),
        (totals.purge, "purged".to_owned()),
    ];
    let mut said: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    if said.is_empty() {
        return "nothing".to_owned();
    }
    if totals.freed_bytes > 0 {
        said.push(HumanBytes(totals.freed_bytes).to_string());
    }
    said.join(", ")
}
