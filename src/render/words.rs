//! Words and lines that texts are made of.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use super::escape::escape;
use super::view::LeftDocument;

/// How much to print, and how wide.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Characters in a line.
    pub width: usize,
    /// Only the summary.
    pub quiet: bool,
    /// Every row, and how everything was found.
    pub verbose: bool,
    /// Options that lead to the same state directory, for commands that are suggested.
    pub same_place: String,
    /// The file that the plan was written to.
    pub plan: Option<String>,
}

pub(super) const BOLD: Style = Style::new().bold();
pub(super) const DIM: Style = Style::new().dimmed();
pub(super) const WARN: Style = AnsiColor::Yellow.on_default();
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();

/// A dimmed line for each, after `lead`.
pub(super) fn list(text: &mut String, lead: &str, lines: &[String]) {
    for line in lines {
        let _ = writeln!(text, "{DIM}{lead}{}{DIM:#}", escape(line));
    }
}

/// A line for each thing that was left alone, and why.
pub(super) fn left(text: &mut String, title: &str, style: Style, left: &[LeftDocument]) {
    for one in left {
        let _ = writeln!(text, "{style}{title}{style:#} {}: {}", escape(&one.what), escape(&one.why));
    }
}

/// A command that may be run next, and what it does.
pub(super) fn next(text: &mut String, command: &str, what: &str) {
    let _ = writeln!(text, "Next: {BOLD}{}{BOLD:#}  {DIM}{what}{DIM:#}", escape(command));
}

/// A number of things.
pub(super) fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// A number with its thousands apart.
pub(super) fn thousands(number: u64) -> String {
    indicatif::HumanCount(number).to_string()
}

/// A word as a shell takes it.
pub fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
