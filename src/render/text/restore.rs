//! `restore` in text: what came back, or would.

use std::fmt::Write as _;

use indicatif::HumanBytes;

use crate::render::escape::escape;
use crate::render::json::{BoundDocument, RestoreDocument};
use crate::render::words::{BAD, BOLD, Layout, WARN, count, left, list, next};

/// `restore`.
pub fn restore(document: &RestoreDocument, layout: &Layout) -> String {
    let mut text = String::new();
    list(&mut text, "recovered: ", &document.recovered);
    let (bindings, files) = (document.bindings.len(), document.files);
    if document.dry_run {
        would_restore(&mut text, document, layout);
        return text;
    }
    if let (Some(path), Some(run)) = (&document.adopted, &document.run) {
        let name = document.bindings.first().map(BoundDocument::name).unwrap_or_default();
        let _ = writeln!(text, "{BOLD}Bound{BOLD:#} {} as {}.", escape(path), escape(&name));
        next(&mut text, &format!("claw-sessions restore {run}{}", layout.same_place), "takes that back");
    } else if document.run.is_some() {
        let _ = writeln!(
            text,
            "{BOLD}Restored{BOLD:#}: {} and {} ({}) of {}.",
            count(bindings, "binding"),
            count(files, "file"),
            HumanBytes(document.bytes),
            document.of.join(", ")
        );
    } else if !document.of.is_empty() {
        let why = if document.refused.is_empty() && document.failed.is_empty() {
            format!(": nothing of {} is away", document.of.join(", "))
        } else {
            String::new()
        };
        let _ = writeln!(text, "Nothing was restored{why}.");
    }
    again(&mut text, document, layout);
    left(&mut text, "refused", WARN, &document.refused);
    left(&mut text, "failed", BAD, &document.failed);
    text
}

/// `adopt --all`: the keys that were bound, or would be.
pub fn adopted(document: &RestoreDocument, layout: &Layout) -> String {
    let mut text = String::new();
    list(&mut text, "recovered: ", &document.recovered);
    let names: Vec<String> = document.bindings.iter().map(BoundDocument::name).collect();
    let what = count(names.len(), "conversation");
    let head = match (names.is_empty(), document.dry_run) {
        (true, _) => "Nothing to bind: no index was lost.".to_owned(),
        (false, true) => format!("{BOLD}Would bind{BOLD:#} {what}:"),
        (false, false) => format!("{BOLD}Bound{BOLD:#} {what}:"),
    };
    let _ = writeln!(text, "{head}");
    list(&mut text, "  ", &names);
    left(&mut text, "refused", WARN, &document.refused);
    left(&mut text, "failed", BAD, &document.failed);
    if let Some(run) = &document.run {
        next(&mut text, &format!("claw-sessions restore {run}{}", layout.same_place), "takes that back");
    } else if document.dry_run && !names.is_empty() {
        next(&mut text, &format!("claw-sessions adopt --all{}", layout.same_place), "binds them");
    }
    text
}

/// What a restore would bring back.
fn would_restore(text: &mut String, document: &RestoreDocument, layout: &Layout) {
    let names: Vec<String> = document.bindings.iter().map(BoundDocument::name).collect();
    let (bindings, files) = (count(names.len(), "binding"), count(document.files, "file"));
    if let Some(path) = &document.adopted {
        let _ = writeln!(text, "{BOLD}Would bind{BOLD:#} {} as {}.", escape(path), escape(&names.join(", ")));
    } else if names.len() + document.files > 0 {
        let size = HumanBytes(document.bytes);
        let of = document.of.join(", ");
        let _ = writeln!(text, "{BOLD}Would come back{BOLD:#}: {bindings} and {files} ({size}) of {of}.");
        if !layout.quiet {
            list(text, "  ", &names);
        }
    } else {
        let _ = writeln!(text, "Nothing would come back.");
    }
    list(text, "bound anew meanwhile, and left as it is: ", &document.superseded);
    left(text, "refused", WARN, &document.refused);
    left(text, "failed", BAD, &document.failed);
    let _ = writeln!(text, "Nothing was changed: this was a dry run.");
}

/// `restore --deferred`.
pub fn deferred(document: &RestoreDocument, layout: &Layout) -> String {
    let mut text = String::new();
    list(&mut text, "recovered: ", &document.recovered);
    if document.dry_run {
        would_restore(&mut text, document, layout);
        return text;
    }
    let still = document.still_deferred.unwrap_or_default();
    if !document.bindings.is_empty() {
        let _ = writeln!(
            text,
            "{BOLD}Readmitted{BOLD:#}: {} and {} ({}); {still} deferred still.",
            count(document.bindings.len(), "binding"),
            count(document.files, "file"),
            HumanBytes(document.bytes)
        );
        if !layout.quiet {
            let names: Vec<String> = document.bindings.iter().map(BoundDocument::name).collect();
            list(&mut text, "  ", &names);
        }
    } else if still == 0 {
        let _ = writeln!(text, "Nothing is deferred.");
    } else {
        let _ = writeln!(text, "Nothing was readmitted; {still} deferred still.");
    }
    list(&mut text, "bound anew meanwhile, and left as it is: ", &document.superseded);
    left(&mut text, "refused", WARN, &document.refused);
    left(&mut text, "failed", BAD, &document.failed);
    text
}

/// Warns of what came back with the rows.
fn again(text: &mut String, document: &RestoreDocument, layout: &Layout) {
    if document.damaged_again > 0 {
        let rows = count(document.damaged_again, "binding");
        let _ = writeln!(
            text,
            "{WARN}warning{WARN:#} the damage of {rows} is back with the rows: it may keep the gateway down again."
        );
        next(text, &format!("claw-sessions validate{}", layout.same_place), "names it");
    }
    if document.running_again > 0 {
        let rows = count(document.running_again, "row");
        let _ = writeln!(text, "{WARN}warning{WARN:#} {rows} say running again: the next start resumes them.");
    }
}
