//! Killed at every single system call: whatever a run was doing, the next one puts it right.

use crate::ledger;
use crate::promise::{
    assert_each_once, assert_locks_reclaimable, assert_old_or_new, assert_put_right, assert_reading_changes_nothing,
    tree,
};
use crate::scenario;
use crate::strace::{kill, points};
use crate::support::sys;

#[test]
fn a_command_that_was_killed_at_any_call_is_put_right_by_the_next() {
    scenario::each(|scenario| {
        if !sys::has("strace") {
            return ledger::skip("killed at a call", scenario.name, "no strace");
        }
        let reference = scenario.reference("%file,%desc");
        let points = points(&reference.counts, 1);
        ledger::each("killed at a call", scenario.name, &points, |point| {
            let at = format!("{} killed at {} {}", scenario.name, point.0, point.1);
            let store = scenario.prepare();
            kill(&store, scenario.args, *point, "SIGKILL");
            let now = tree(&store);
            assert_old_or_new(&reference, &now, &at);
            assert_each_once(scenario, &reference, &now, &at);
            assert_locks_reclaimable(&reference, &store, &at);
            assert_reading_changes_nothing(&store, &at);
            assert_put_right(scenario, &reference, &store, &at);
        });
    });
}
