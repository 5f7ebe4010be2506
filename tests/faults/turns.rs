//! A turn that OpenClaw writes at any moment of a repair, or of its restore, stays.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::ledger;
use crate::strace::{count, inject};
use support::{NOW, Store, lock_payload, process, sys};

/// A transcript without header, and what OpenClaw appends to it.
const WIPED: &str = "agents/main/sessions/6f200014-d381-4049-a079-0b2ed82e22fb.jsonl";
const TURN: &[u8] = b"{\"type\":\"custom\",\"id\":\"the-turn\"}\n";

const MEND: [&str; 4] = ["gc", "--now", NOW, "--jobs=1"];
const RESTORE: [&str; 3] = ["restore", "latest", "--jobs=1"];

/// The calls that put one file in another's place, and whether it is before or after them that a turn can do harm.
const CALLS: [(&str, &str); 4] =
    [("renameat", "enter"), ("renameat2", "enter"), ("linkat", "exit"), ("unlinkat", "exit")];

/// Writes a turn as OpenClaw does, when it can have the transcript's lock. From 2026.5.3 on it takes a lock away whose owner
/// is not OpenClaw (F§5.3): ours does not keep it out.
fn take_a_turn(transcript: &Path, takes_locks_away: bool) {
    let lock = PathBuf::from(format!("{}.lock", transcript.display()));
    while fs::File::create_new(&lock).is_err() {
        if takes_locks_away {
            drop(fs::remove_file(&lock));
        } else {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    fs::write(&lock, lock_payload(std::process::id(), process::starttime(std::process::id()))).unwrap();
    fs::OpenOptions::new().append(true).open(transcript).unwrap().write_all(TURN).unwrap();
    fs::remove_file(lock).unwrap();
}

#[test]
fn a_turn_that_is_written_while_a_transcript_is_mended_or_put_back_is_never_lost() {
    let part = "a turn about a call";
    if !sys::has("strace") {
        return ledger::skip(part, "all", "no strace");
    }
    let reference = Store::recorded("real-small");
    let (of_mend, of_restore) = (count(&reference, &MEND, "%file"), count(&reference, &RESTORE, "%file"));
    let points = |counts: &BTreeMap<String, usize>| -> Vec<_> {
        let times = |name| counts.get(name).copied().unwrap_or(0);
        CALLS.iter().flat_map(|&(name, when)| (1..=times(name)).map(move |at| (name, at, when))).collect()
    };
    let commands = [("repair", &MEND[..], &of_mend), ("restore of a repair", &RESTORE, &of_restore)];
    for ((what, args, counts), takes_locks_away) in commands.iter().flat_map(|one| [(*one, false), (*one, true)]) {
        let what = if takes_locks_away { &format!("{what}, our lock taken away") } else { what };
        ledger::each(part, what, &points(counts), |(name, at, when)| {
            let told = format!("{what}: a turn about the {when} of {name} {at}");
            let store = Store::recorded("real-small");
            if args == RESTORE {
                store.run(MEND).ok();
            }
            let output = std::thread::scope(|scope| {
                scope.spawn(|| {
                    std::thread::sleep(Duration::from_millis(300));
                    take_a_turn(&store.path(WIPED), takes_locks_away);
                });
                inject(&store, args, (name, *at), &format!("delay_{when}=500000"))
            });
            let has_turn = || store.read(WIPED).windows(TURN.len()).any(|bytes| bytes == TURN);
            assert!(has_turn(), "{told}\n{output}");
            // What was mended before the turn is not put back over it.
            drop(store.run(RESTORE));
            assert!(has_turn(), "{told}; restore latest\n{output}");
        });
    }
}
