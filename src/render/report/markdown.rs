//! The report for an issue or a mail.

use std::fmt::Write as _;

use chrono::TimeDelta;
use indicatif::HumanBytes;

use super::{ReportDocument, Share};
use crate::decide::startup::{Estimate, Load};
use crate::render::escape::escape;
use crate::render::startup::words;
use crate::render::text::{coarse, cut_off, totals, worth_saying};
use crate::render::words::{Layout, thousands};

/// Everything that a reader of an issue wants to know.
pub fn write(document: &ReportDocument, layout: &Layout) -> String {
    let mut text = String::new();
    let preamble = &document.preamble;
    let version = preamble.openclaw_version.as_deref().unwrap_or("of unknown version");
    let gateway = if preamble.gateway.alive { "alive" } else { "not running" };
    let _ = writeln!(
        text,
        "## Sessions of {}\n\nOpenClaw {}, gateway {gateway}; judged at {}.",
        code(&preamble.state_dir),
        plain(version),
        preamble.now.format("%Y-%m-%d %H:%M:%S UTC")
    );
    if let Some(sentence) = cut_off(&preamble.unfinished, layout) {
        let _ = writeln!(text, "\n> **Unfinished:** {}", plain(&sentence));
    }
    for warning in &preamble.warnings {
        let _ = writeln!(text, "\n> **Warning:** {}", plain(warning));
    }
    for store in worth_saying(&document.stores).filter_map(|store| Some((store, store.problem.as_ref()?))) {
        let _ = writeln!(text, "\n> **{}** {}: {}", store.0.state.as_str(), code(&store.0.path), plain(store.1));
    }
    agents(&mut text, document);
    startup(&mut text, document);
    let _ = writeln!(text, "\n### The next gc\n\nIt would do: {}.", totals(&document.planned));
    if document.deferred > 0 {
        let _ = writeln!(text, "Deferred by the startup budget, and not readmitted: {}.", document.deferred);
    }
    if let Some(changes) = &document.since {
        let at = changes.at.format("%Y-%m-%d %H:%M:%S UTC");
        let _ = writeln!(text, "\n### Since {at}\n\n{}.", changes.words());
    }
    if !document.history.is_empty() {
        let _ = writeln!(text, "\n### Past runs\n\n| began | command | did | not done |\n|---|---|---|---:|");
        for run in document.history.iter().rev().take(10) {
            let when = run.started_at.format("%Y-%m-%d %H:%M:%SZ");
            let _ = writeln!(text, "| {when} | {} | {} | {} |", plain(&run.command), run.did(), run.problems);
        }
    }
    if !document.next.is_empty() {
        let _ = writeln!(text, "\n### Next\n");
        for advice in &document.next {
            let _ = writeln!(
                text,
                "- {}: {}",
                code(&format!("{}{}", advice.command, layout.same_place)),
                plain(&advice.why)
            );
        }
    }
    text
}

fn agents(text: &mut String, document: &ReportDocument) {
    let _ = writeln!(
        text,
        "\n| Agent | Bindings | Transcripts | Oldest | Size | Live | Stale | Failed | Damaged | Orphans |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
    );
    let mut row = |share: &Share, name: &str| {
        let oldest = share.oldest_seconds.map_or_else(|| "–".to_owned(), |seconds| coarse(TimeDelta::seconds(seconds)));
        let _ = writeln!(
            text,
            "| {name} | {} | {} | {oldest} | {} | {} | {} | {} | {} | {} |",
            share.bindings,
            share.transcripts,
            HumanBytes(share.bytes),
            share.live,
            share.stale,
            share.failed,
            share.damaged,
            share.orphans
        );
    };
    document.agents.iter().for_each(|share| row(share, &plain(&share.agent)));
    row(&document.total, "**Total**");
}

fn startup(text: &mut String, document: &ReportDocument) {
    let startup = &document.startup;
    let load = |load: Load| format!("{} s for {} resumable", thousands(load.worst_seconds), load.resumable);
    let _ = writeln!(
        text,
        "\n### The next start, at worst ({} slots × {} s)\n\n| Model | As it is | After gc |\n|---|---|---|",
        startup.slots, startup.timeout_seconds
    );
    let own = Estimate { model: startup.model, before: startup.before, after: startup.after };
    for one in [own, startup.other] {
        let _ = writeln!(text, "| {} | {} | {} |", words(one.model), load(one.before), load(one.after));
    }
    if let Some(budget) = startup.budget.filter(|budget| budget.over > 0) {
        let (limit, over) = (budget.max_resumes, budget.over);
        let _ = writeln!(
            text,
            "\nThe budget of {limit} cannot be met: {over} more stay, because they are protected or in use."
        );
    }
    if startup.costliest.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n| Costs most | Run | Integrity | Size | Next gc |\n|---|---|---|---:|---|");
    for one in &startup.costliest {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            code(&one.key),
            one.run.as_str(),
            one.integrity.as_str(),
            HumanBytes(one.bytes),
            one.action.as_str()
        );
    }
}

/// A longer word says nothing to a reader, and breaks a table.
const LONGEST: usize = 200;

fn short(text: &str) -> String {
    if text.chars().count() <= LONGEST { text.to_owned() } else { text.chars().take(LONGEST).chain(['…']).collect() }
}

/// Text that is nothing but text: no markup, no table cell, no HTML, no mention.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    for c in short(&escape(text)).chars() {
        match c {
            '<' => plain.push_str("&lt;"),
            '>' => plain.push_str("&gt;"),
            '&' => plain.push_str("&amp;"),
            '@' => plain.push_str("&#64;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' => plain.extend(['\\', c]),
            c => plain.push(c),
        }
    }
    plain
}

/// The same as code. In a table a bar would end the cell, also inside of code.
fn code(text: &str) -> String {
    let text = short(&escape(text)).replace('|', "\\|");
    let fence = "`".repeat(longest_run_of_ticks(&text) + 1);
    let pad = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{fence}{pad}{text}{pad}{fence}")
}

fn longest_run_of_ticks(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_a_store_is_never_markup() {
        assert_eq!(plain("a|b <script> *x* @all\n"), "a\\|b &lt;script&gt; \\*x\\* &#64;all\\\\u{a}");
        assert_eq!(code("a`b|c"), "``a`b\\|c``");
        assert_eq!(code("`"), "`` ` ``");
        assert_eq!(plain(&"x".repeat(65_536)).chars().count(), LONGEST + 1);
    }
}
