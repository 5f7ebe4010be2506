//! Writes a generated state directory, for measurements by hand.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "a test tool")]

mod generate;
mod openclaw;

use std::path::Path;
use std::process::ExitCode;

use generate::Spec;

const USAGE: &str = "usage: make-store DIR (issue-44687 | BINDINGS ENTRY_BYTES TRANSCRIPT_BYTES AGENTS SEED) NOW";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let (dir, spec, now) = match words[..] {
        [dir, "issue-44687", now] => (dir, Spec::issue_44687(), now),
        [dir, bindings, entry, transcript, agents, seed, now] => {
            let n = |word: &str| word.parse::<usize>().expect(USAGE);
            (dir, Spec::size(n(bindings), n(entry), n(transcript), n(agents), n(seed) as u64), now)
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    generate::generate(Path::new(dir), &spec, now.parse().expect("NOW is RFC 3339"));
    ExitCode::SUCCESS
}
