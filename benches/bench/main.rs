//! Time, memory and size of the shipped binary, beside named peers in the same run: what is not installed is skipped by
//! name (`make peer` installs OpenClaw 2026.3.11 and Node.js). Prints tables; asserts nothing about time.
//!
//! `cargo bench --bench bench -- transcripts` measures one part.

#![allow(clippy::disallowed_methods, reason = "a benchmark")]
#![allow(clippy::print_stdout, reason = "printing is its purpose")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]
#![allow(unreachable_pub, missing_docs, reason = "no library")]

mod measure;
mod start;
mod stores;
mod transcripts;

use std::path::Path;

use support::chat::Lines;
use support::generate::{self, Spec};

/// The parts, in the order of their tables.
const PARTS: [(&str, fn()); 9] = [
    ("issue", start::issue_44687),
    ("boot", start::boots),
    ("calls", start::calls_of_a_scan),
    ("check", transcripts::check),
    ("lines", transcripts::by_line_size),
    ("memory", transcripts::memory),
    ("remembered", transcripts::remembered),
    ("store", stores::half_of_a_large_one),
    ("growth", stores::growth),
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if let [flag, dir, what @ ..] = args.as_slice()
        && flag == "--generate"
    {
        return make(Path::new(dir), &what.iter().map(String::as_str).collect::<Vec<_>>());
    }
    measure::machine();
    for (name, part) in PARTS {
        if args.is_empty() || args.iter().any(|wanted| wanted == name) {
            part();
        }
    }
    let size = std::fs::metadata(measure::OURS).unwrap().len();
    println!("\nbinary: {}     bar: 8 MB", measure::mega(size));
}

/// Writes what a part is measured with.
fn make(dir: &Path, what: &[&str]) {
    let number = |word: &str| word.parse::<u64>().unwrap();
    let spec = match what {
        ["issue-44687"] => Spec::issue_44687(),
        ["chat", files, bytes, lines] => {
            let lines = if *lines == "mixed" { Lines::Mixed } else { Lines::Of(number(lines) as usize) };
            generate::conversations(dir, number(files), number(bytes), lines, "bench");
            return;
        }
        [bindings, entry, transcript, agents] => {
            let size = |word: &str| number(word) as usize;
            Spec::size(size(bindings), size(entry), size(transcript), size(agents), 7)
        }
        other => panic!("{other:?}"),
    };
    generate::generate(dir, &spec, measure::NOW.parse().unwrap());
}
