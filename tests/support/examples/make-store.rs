//! Writes a generated state directory, or long transcripts, for measurements by hand.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "a test tool")]

use std::path::Path;
use std::process::ExitCode;

use support::chat::Lines;
use support::generate::{self, Spec};

const USAGE: &str = "usage: make-store DIR (issue-44687 | BINDINGS ENTRY_BYTES TRANSCRIPT_BYTES AGENTS SEED) NOW
       make-store DIR chat FILES BYTES_EACH (mixed | LINE_BYTES) SEED";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let n = |word: &str| word.parse::<u64>().expect(USAGE);
    let (dir, spec, now) = match words[..] {
        [dir, "issue-44687", now] => (dir, Spec::issue_44687(), now),
        [dir, "chat", files, bytes, lines, seed] => {
            let lines = if lines == "mixed" { Lines::Mixed } else { Lines::Of(n(lines) as usize) };
            generate::conversations(Path::new(dir), n(files), n(bytes), lines, seed);
            return ExitCode::SUCCESS;
        }
        [dir, bindings, entry, transcript, agents, seed, now] => {
            let size = |word: &str| n(word) as usize;
            (dir, Spec::size(size(bindings), size(entry), size(transcript), size(agents), n(seed)), now)
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    generate::generate(Path::new(dir), &spec, now.parse().expect("NOW is RFC 3339"));
    ExitCode::SUCCESS
}
