//! Killed at every single system call: whatever a command was doing, the next one puts it right.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::ledger;
use crate::promise::{
    assert_each_once, assert_locks_reclaimable, assert_old_or_new, assert_put_right, assert_reading_changes_nothing,
    is_salvaged, tree,
};
use crate::scenario::{self, BOOT, Reference, Scenario};
use crate::strace::{Point, kill, points};
use support::sys;

#[test]
fn a_command_that_was_killed_at_any_call_is_put_right_by_the_next() {
    let part = "killed at a call";
    scenario::each(|scenario| {
        if !sys::has("strace") {
            return ledger::skip(part, scenario.name, "no strace");
        }
        // Where nothing is to be left out, the calls that only read are tried too.
        let reference = scenario.reference(if crate::full() { "%file,%desc" } else { WRITING });
        killed_anywhere(part, "SIGKILL", scenario, &reference);
    });
}

#[test]
fn a_start_that_systemd_ends_at_any_call_is_put_right_by_the_next() {
    let part = "SIGTERM at a call";
    if !sys::has("strace") {
        return ledger::skip(part, BOOT.name, "no strace");
    }
    killed_anywhere(part, "SIGTERM", &BOOT, &BOOT.reference(WRITING));
}

/// The calls that change something, and the opening of files.
const WRITING: &str = "openat,write,fsync,renameat,renameat2,linkat,unlinkat,mkdirat,rmdir,fchmod,fchown,flock";

fn killed_anywhere(part: &str, signal: &str, scenario: &Scenario, reference: &Reference) {
    let points: Vec<Point> = points(&reference.counts, 2);
    let ended = AtomicUsize::new(0);
    ledger::each(part, scenario.name, &points, |point| {
        let at = format!("{}: {signal} at {} {}", scenario.name, point.0, point.1);
        let store = scenario.prepare();
        ended.fetch_add(usize::from(kill(&store, scenario.args, *point, signal)), Ordering::Relaxed);
        let now = tree(&store);
        assert_old_or_new(reference, &now, |path, node| is_salvaged(reference, path, &node.bytes), &at);
        assert_each_once(scenario, reference, &now, &at);
        assert_locks_reclaimable(&store, &at);
        assert_reading_changes_nothing(&store, &at);
        assert_put_right(scenario, reference, &store, &at);
    });
    // How often a run waits for another thread differs a little; all but a few must really have been ended. Of SIGTERM
    // another thread says a sentence first, and the run may come to its end meanwhile.
    let (ended, all) = (ended.into_inner(), points.len());
    let others = if signal == "SIGTERM" { all * 3 / 4 } else { 2 + all / 50 };
    assert!(ended + others >= all, "{part}, {}: only {ended} of {all} were ended", scenario.name);
}
