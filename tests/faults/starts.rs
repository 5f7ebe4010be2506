//! A start that its deadline ends in any phase is put right by the next one.

use crate::ledger;
use crate::promise::{assert_each_once, assert_old_new_or_between, assert_put_right, tree};
use crate::scenario::BOOT;
use crate::strace::{inject, points};
use support::sys;

/// The calls of every phase: finding and listing, reading, locking, writing, moving, syncing, telling.
const CALLS: &str = "getdents64,openat,read,mkdirat,linkat,renameat,renameat2,unlinkat,fsync,write";

#[test]
fn a_start_whose_deadline_comes_in_any_phase_is_put_right_by_the_next() {
    let part = "a deadline at a call";
    if !sys::has("strace") {
        return ledger::skip(part, BOOT.name, "no strace");
    }
    let reference = BOOT.reference(CALLS);
    let args = [BOOT.args, &["--deadline=1s"]].concat();
    ledger::each(part, BOOT.name, &points(&reference.counts, 2), |point| {
        let at = format!("late at {} {}", point.0, point.1);
        let store = BOOT.prepare();
        let cut = inject(&store, &args, *point, "delay_enter=1200000");
        assert_eq!(cut.code, Some(0), "{at}: {cut}");
        assert!(cut.stderr.contains("claw-sessions: "), "{at}: {cut}");
        let now = tree(&store);
        assert_old_new_or_between(&reference, &now, &at);
        assert_each_once(&BOOT, &reference, &now, &at);
        assert_put_right(&BOOT, &reference, &store, &at);
    });
}
