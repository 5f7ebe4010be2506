//! What became of runs that were cut off, in words.

use std::fmt::Write as _;

use super::words::count;
use crate::change::settle::{Ended, Finished, RunEnding};

/// What became of a run, as a sentence without its end.
pub fn sentence(ended: &Ended) -> String {
    let Ended { run, kind, how } = ended;
    let name = if *kind == "restore" { format!("the restore {run}") } else { format!("the run {run}") };
    match how {
        RunEnding::Finished(finished) => format!("{name} was cut off and is finished now: {}", done(kind, *finished)),
        RunEnding::Nothing => format!("{name} was cut off before it changed anything"),
        RunEnding::Waits => format!("{name} was cut off and waits for a later run"),
        RunEnding::WaitsForFiles => format!("{name} was cut off; the next run moves its other files"),
        RunEnding::Pending => format!("{name} was cut off; the next gc or restore finishes it first"),
    }
}

fn done(kind: &str, finished: Finished) -> String {
    let Finished { bindings, files, left, mended, changed } = finished;
    let (bindings, files) = (count(bindings, "binding"), count(files, "file"));
    let mut text = match kind {
        "restore" | "stuck-bak" => format!("{bindings} and {files} came back"),
        _ => format!("{bindings} removed, {files} followed"),
    };
    if mended > 0 {
        let _ = write!(text, ", {} mended", count(mended, "file"));
    }
    if changed > 0 {
        let _ = write!(text, ", {} changed", count(changed, "session"));
    }
    if left > 0 {
        let _ = write!(text, ", {left} left as they are");
    }
    text
}
