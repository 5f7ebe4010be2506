//! The binary under strace: which system calls it makes, and what happens when one of them does not go well.

use std::collections::BTreeMap;
use std::fs;

use support::{Output, Store};

/// A system call of a run: its name, and the how many-th of that name it is.
pub(crate) type Point = (&'static str, usize);

/// Runs the command under strace with these options.
pub(crate) fn traced(store: &Store, args: &[&str], options: &[&str]) -> Output {
    Output::of(&mut store.under("strace", [&["-f"], options].concat(), args))
}

/// How often a thread makes each of these calls in a whole run, which is carried out. `trace` is strace's word for them.
pub(crate) fn count(store: &Store, args: &[&str], trace: &str) -> BTreeMap<String, usize> {
    let log = store.root().join("calls");
    let output = traced(store, args, &["-e", &format!("trace={trace}"), "-o", log.to_str().unwrap()]);
    assert!(matches!(output.code, Some(0 | 1)), "{args:?}: {output}");
    let text = fs::read_to_string(log).unwrap();
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for line in text.lines() {
        let (thread, call) = line.split_once(' ').unwrap();
        // Not the end of a call that another thread interrupted, nor a signal.
        if let Some((name, _)) = call.trim_start().split_once('(')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        {
            *counts.entry((thread, name)).or_default() += 1;
        }
    }
    let mut most: BTreeMap<String, usize> = BTreeMap::new();
    for ((_, name), times) in counts {
        let known = most.entry(name.to_owned()).or_default();
        *known = times.max(*known);
    }
    most
}

/// The points of these calls: every one with `FULL=1`, else up to `sample` of each call, the last ones among them.
pub(crate) fn points(counts: &BTreeMap<String, usize>, sample: usize) -> Vec<Point> {
    let mut points = Vec::new();
    for (name, times) in counts {
        let name: &'static str = name.clone().leak();
        let step = if crate::full() { 1 } else { times.div_ceil(sample).max(1) };
        // From the end: the beginning only reads.
        points.extend((1..=*times).rev().step_by(step).map(|at| (name, at)));
    }
    points
}

/// Runs the command while something happens to this call.
pub(crate) fn inject(store: &Store, args: &[&str], (name, at): Point, what: &str) -> Output {
    let (trace, inject) = (format!("trace={name}"), format!("inject={name}:{what}:when={at}"));
    traced(store, args, &["-e", &trace, "-o", "/dev/null", "-e", &inject])
}

/// Runs the command until a signal ends it at this call; whether it came so far.
pub(crate) fn kill(store: &Store, args: &[&str], point: Point, signal: &str) -> bool {
    let output = inject(store, args, point, &format!("signal={signal}"));
    assert!(output.code.is_none_or(|code| matches!(code, 0 | 1 | 137 | 143)), "{signal} {point:?}: {output}");
    !matches!(output.code, Some(0 | 1))
}

/// Runs the command while this call fails once with this error.
pub(crate) fn fail(store: &Store, args: &[&str], (name, at): Point, error: &str) -> Output {
    let (trace, inject) = (format!("trace={name}"), format!("inject={name}:error={error}:when={at}"));
    // Twice as fast; with it no signal is injected.
    traced(store, args, &["--seccomp-bpf", "-e", &trace, "-o", "/dev/null", "-e", &inject])
}
