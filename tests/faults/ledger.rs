//! How many faults were tried, and how many broke the promise. With `FIGURES=FILE` each figure becomes a line of that
//! file: `part TAB what TAB who TAB tried TAB broken`, or the reason why a part was skipped in place of the numbers.

use std::any::Any;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use support::sys;

/// What breaks is told up to this many times.
const TOLD: usize = 8;

/// Lets `work` meet every fault, two at a time. One that panics broke the promise; the others are tried all the same.
pub(crate) fn each<F: Sync>(part: &str, what: &str, faults: &[F], work: impl Fn(&F) + Sync) {
    assert!(!faults.is_empty(), "{part}, {what}: there is no fault to try");
    let next = AtomicUsize::new(0);
    let broken = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(fault) = faults.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(fault))) {
                        broken.lock().unwrap().push(message(&*panic));
                    }
                }
            });
        }
    });
    let broken = broken.into_inner().unwrap();
    record(part, what, faults.len(), broken.len());
    let told = broken.iter().take(TOLD).map(String::as_str).collect::<Vec<_>>().join("\n\n");
    assert!(broken.is_empty(), "{part}, {what}: {} of {} broke the promise\n{told}", broken.len(), faults.len());
}

/// One figure: so many faults were tried, so many of them broke the promise.
pub(crate) fn record(part: &str, what: &str, tried: usize, broken: usize) {
    line(part, what, &format!("{tried}\t{broken}"));
}

/// Says that this machine or this user cannot try it, and why.
pub(crate) fn skip(part: &str, what: &str, why: &str) {
    sys::skip(&format!("{part}, {what}: {why}"));
    line(part, what, &format!("skipped\t{why}"));
}

fn line(part: &str, what: &str, figures: &str) {
    let who = std::env::var("WHO").unwrap_or_else(|_| if sys::is_root() { "root" } else { "user" }.to_owned());
    if let Some(path) = std::env::var_os("FIGURES") {
        let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(format!("{part}\t{what}\t{who}\t{figures}\n").as_bytes()).unwrap();
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_owned()
}
