//! An error at every single system call: what could be done is done, the rest is told, and nothing is lost.

use std::path::Path;

use crate::ledger;
use crate::promise::{assert_each_once, assert_old_new_or_between, assert_put_right, tree};
use crate::scenario::{self, Reference, Scenario};
use crate::strace::{Point, count, fail, points};
use support::{Output, Store, Tree, sys};

/// The calls that change something: each meets every error.
const WRITING: [&str; 7] = ["write", "fsync", "renameat", "renameat2", "linkat", "unlinkat", "mkdirat"];
/// Those that open, read, list and look: each meets two of the errors, in turn.
const READING: [&str; 6] = ["openat", "read", "getdents64", "statx", "newfstatat", "fstat"];
const ERRORS: [&str; 8] = ["ENOSPC", "EIO", "EACCES", "EROFS", "EDQUOT", "EMFILE", "EXDEV", "EINTR"];

#[test]
fn an_error_of_any_call_is_told_and_loses_nothing() {
    if !sys::has("strace") {
        return ledger::skip("an error of a call", "all", "no strace");
    }
    let calls = [&WRITING[..], &READING].concat().join(",");
    let start = count(&Store::empty(), &["--version"], &calls);
    scenario::each(|scenario| {
        let reference = scenario.reference(&calls);
        let mut points = points(&reference.counts, 2);
        // Before `main` it is the loader of programs that fails.
        points.retain(|(name, at)| *at > start.get(*name).copied().unwrap_or(0));
        let faults: Vec<(Point, &str)> = points
            .iter()
            .enumerate()
            .flat_map(|(index, point)| {
                let times = match crate::full() {
                    false => 1,
                    true if READING.contains(&point.0) => 2,
                    true => ERRORS.len(),
                };
                // Three apart, so that neighbors meet other ones.
                (0..times).map(move |turn| (*point, ERRORS[(index + 3 * turn) % ERRORS.len()]))
            })
            .collect();
        ledger::each("an error of a call", scenario.name, &faults, |(point, error)| {
            let at = format!("{}: {error} of {} {}", scenario.name, point.0, point.1);
            let store = scenario.prepare();
            let output = fail(&store, scenario.args, *point, error);
            let now = tree(&store);
            assert_old_new_or_between(&reference, &now, &at);
            assert_each_once(scenario, &reference, &now, &at);
            assert_told(scenario, &reference, &now, &output, &at);
            assert_nothing_unknown(&reference, &now, *point, &format!("{at}\n{output}"));
            assert_put_right(scenario, &reference, &store, &at);
        });
    });
}

/// Either all was done all the same, or the exit status says that not all was, and a line names a file.
pub(crate) fn assert_told(scenario: &Scenario, reference: &Reference, now: &Tree, output: &Output, at: &str) {
    let left = reference.last.contents().diff(&now.contents());
    match output.code {
        Some(0 | 1) if left.is_empty() => {}
        // What could not be mended is still among the problems.
        Some(1) => assert!(output.stdout.contains("fatal "), "{at}: {output}"),
        Some(0) if scenario.args.contains(&"--boot") => assert!(!output.stderr.is_empty(), "{at}: {output}"),
        Some(3 | 4) => {
            let text = format!("{output}");
            let named = text.contains("/.openclaw") || text.contains("agents/") || text.contains("standard output");
            assert!(named, "{at}: no file is named\n{output}");
        }
        // Nothing was begun: the state directory itself could not be opened.
        Some(2) if reference.first.contents().diff(&now.contents()).is_empty() => {
            assert!(output.stderr.contains("/.openclaw"), "{at}: {output}");
        }
        _ => panic!("{at}: {output}\nleft:\n{left}"),
    }
}

/// In the directories of OpenClaw no name appears that a whole run does not leave; only what could not be removed is
/// there still.
fn assert_nothing_unknown(reference: &Reference, now: &Tree, point: Point, at: &str) {
    let known = |path: &Path| reference.first.0.contains_key(path) || reference.last.0.contains_key(path);
    let unknown: Vec<_> = now.0.keys().filter(|path| path.starts_with("agents") && !known(path)).collect();
    assert!(unknown.is_empty() || point.0 == "unlinkat", "{at}: {unknown:?}");
}
