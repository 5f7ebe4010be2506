//! Power loss: what is not synced is lost, torn or out of order. A run is recorded once, call by call; then every state
//! that a disk may be in after a power cut at any of its calls is laid out, and the next run has to put it right.
//!
//! A lock left behind must be whole: OpenClaw reclaims one that names a dead process at once, an empty or torn one only
//! when its time of modification is half a minute old.
//!
//! Not modelled: owners, times and attributes that are lost; a disk that loses or damages what it said was durable; a
//! power cut during the run that recovers from one; an archive on another file system; two runs at once.

mod disk;
mod layout;
mod trace;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use self::disk::State;
use self::layout::Recording;
use self::trace::Op;
use crate::ledger;
use crate::promise::{
    assert_each_once, assert_locks_reclaimable, assert_old_or_new, assert_put_right_but_for_locks,
    assert_reading_changes_nothing, tree,
};
use crate::scenario::{self, EXPIRY, Scenario};
use support::sys;

/// How many states are tried of each run when not all of them are.
const SAMPLE: usize = 10;

#[test]
fn a_command_survives_a_power_cut_after_any_call() {
    let part = "power loss";
    scenario::each(|scenario| {
        if !sys::has("strace") {
            return ledger::skip(part, scenario.name, "no strace");
        }
        if scenario.is_piecemeal() {
            let why = "a lock of ours whose removal is lost keeps an older dead one from coming back";
            return ledger::skip(part, scenario.name, why);
        }
        let recording = Recording::of(scenario);
        let disk = &recording.disk;
        let states = if crate::full() { disk.states() } else { disk.sample(SAMPLE, scenario.name) };
        ledger::each(part, scenario.name, &states, |state| judge(scenario, &recording, state));
    });
}

/// Lays a state out, and puts it to the promises.
fn judge(scenario: &Scenario, recording: &Recording, state: &State) {
    let (store, reference, at) = (recording.lay_out(state), &recording.reference, state.told.as_str());
    let now = tree(&store);
    assert_old_or_new(reference, &now, |path, node| recording.disk.held(path, node), at);
    assert_each_once(scenario, reference, &now, at);
    assert_locks_reclaimable(&store, at);
    assert_reading_changes_nothing(&store, at);
    assert_put_right_but_for_locks(scenario, reference, &store, at);
}

/// The model finds what it is there to find: without the fsyncs of files, of directories, or of both, states are
/// reachable that no run can put right.
#[test]
fn the_model_finds_what_a_missing_fsync_breaks() {
    if !sys::has("strace") {
        return sys::skip("no strace");
    }
    let mut recording = Recording::of(&EXPIRY);
    let is_dir = |node: &support::tree::Node| node.kind == "dir";
    let last = recording.reference.last.0.iter();
    let directories: Vec<PathBuf> = last.filter(|(_, node)| is_dir(node)).map(|(path, _)| path.clone()).collect();
    let is_dir = |path: &Path| directories.iter().any(|dir| dir == path);
    for which in ["any", "a file's", "a directory's"] {
        let undone = |path: &Path| match which {
            "any" => true,
            "a file's" => !is_dir(path),
            _ => is_dir(path),
        };
        recording.forget(|op| matches!(op, Op::Sync(path) if undone(path)));
        let breaks = |state: &State| catch_unwind(AssertUnwindSafe(|| judge(&EXPIRY, &recording, state))).is_err();
        assert!(recording.disk.sample(60, which).iter().any(breaks), "without {which} fsync nothing breaks");
    }
}
