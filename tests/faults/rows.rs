//! Sessions in SQLite under every crash and every error: the database is the old one or the new one, the next run puts
//! right what was cut off, and `restore` gives every row back as it was.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use support::rows::{Rows, differences};
use support::{Output, Store, sys};

use crate::ledger;
use crate::strace::{self, Point, fail, kill};

/// After the recorded runs.
const NOW: &str = "2026-11-30T21:30:00Z";
const DIRECT: &str = "agent:main:telegram:direct:700000010";
/// The calls by which this tool and SQLite write.
const WRITING: &str = "openat,write,pwrite64,fsync,fdatasync,ftruncate,renameat,renameat2,unlink,unlinkat,mkdirat";
const GC: &[&str] = &["gc", "--all", "--now", NOW, "--jobs=1"];
const TRIM: &[&str] = &["gc", "--only", DIRECT, "--trajectories=30d", "--history=30d", "--now", NOW, "--jobs=1"];
const REPAIR: &[&str] = &["validate", "--repair", "--now", NOW, "--jobs=1"];
const RESTORE: &[&str] = &["restore", "latest", "--jobs=1"];

/// A command that changes rows, and what it meets.
struct Scenario {
    /// What the figures call it.
    name: &'static str,
    args: &'static [&'static str],
    /// How the recorded database is changed before.
    edit: Edit,
    /// The command that was given before.
    before: &'static [&'static str],
}

#[derive(Clone, Copy)]
enum Edit {
    None,
    /// Old traces, and a window that nobody names.
    Old,
    /// Something is wrong that can be put right.
    Damage,
}

const SCENARIOS: [Scenario; 8] = [
    Scenario { name: "rows: gc", args: GC, edit: Edit::None, before: &[] },
    Scenario { name: "rows: gc of traces and windows", args: TRIM, edit: Edit::Old, before: &[] },
    Scenario {
        name: "rows: gc --max-resumes",
        args: &["gc", "--max-resumes=0", "--now", NOW, "--jobs=1"],
        edit: Edit::None,
        before: &[],
    },
    Scenario {
        name: "rows: quarantine",
        args: &["quarantine", DIRECT, "--now", NOW, "--jobs=1"],
        edit: Edit::None,
        before: &[],
    },
    Scenario { name: "rows: repair", args: REPAIR, edit: Edit::Damage, before: &[] },
    Scenario { name: "rows: restore of a gc", args: RESTORE, edit: Edit::None, before: GC },
    Scenario { name: "rows: restore of traces and windows", args: RESTORE, edit: Edit::Old, before: TRIM },
    Scenario { name: "rows: restore of a repair", args: RESTORE, edit: Edit::Damage, before: REPAIR },
];

/// What a whole run does.
struct Reference {
    /// Before everything.
    untouched: Rows,
    /// As the command met it, and as it left it.
    first: Rows,
    last: Rows,
    counts: BTreeMap<String, usize>,
}

impl Scenario {
    fn untouched(&self) -> Store {
        let store = Store::recorded_in_memory(support::rows::NATIVE);
        let session = format!("(SELECT current_session_id FROM session_nodes WHERE session_key = '{DIRECT}')");
        match self.edit {
            Edit::None => {}
            Edit::Old => store.edit_rows(
                "main",
                &format!(
                    "INSERT INTO session_windows (session_id, session_key, created_at, updated_at) VALUES ('old', '{DIRECT}', 1, 1); \
                     INSERT INTO trajectory_runtime_events (session_id, seq, event_json, created_at) VALUES ({session}, 1000, '{{}}', 1)"
                ),
            ),
            Edit::Damage => store.edit_rows(
                "main",
                &format!(
                    "UPDATE session_nodes SET entry_json = json_set(entry_json, '$.label', 'mine') WHERE session_key = '{DIRECT}'; \
                     DELETE FROM transcript_events WHERE seq = 0 AND session_id = {session}; \
                     DELETE FROM transcript_event_identities WHERE seq = 0 AND session_id = {session}"
                ),
            ),
        }
        store
    }

    fn prepare(&self) -> Store {
        let store = self.untouched();
        if !self.before.is_empty() {
            let output = store.run(self.before);
            assert!(matches!(output.code, Some(0 | 1)), "{}: {output}", self.name);
        }
        store
    }

    fn reference(&self, trace: &str) -> Reference {
        let store = self.prepare();
        let first = store.all_rows("main");
        let counts = strace::count(&store, self.args, trace);
        let last = store.all_rows("main");
        assert!(!differences(&first, &last).is_empty(), "{} changes nothing", self.name);
        Reference { untouched: self.untouched().all_rows("main"), first, last, counts }
    }

    /// The command, given once more, and then `restore`, give every row back.
    fn assert_put_right(&self, reference: &Reference, store: &Store, at: &str) {
        let next = store.run(self.args);
        // What was named may have gone, or come back, with the run that was cut off.
        let is_done = next.code == Some(2) && ["quarantine", "restore"].contains(&self.args[0]);
        assert!(matches!(next.code, Some(0 | 1)) || is_done, "{at}: the next run: {next}");
        assert_sound(store, at);
        let runs = store.run(["runs", "--json"]).ok().json();
        for run in runs["runs"].as_array().unwrap().iter().rev().filter(|run| run["restorable"] == true) {
            store.run(["restore", run["id"].as_str().unwrap()]).ok();
        }
        let lost = differences(&reference.untouched, &store.all_rows("main"));
        assert!(lost.is_empty(), "{at}: after a restore: {lost:?}\n{next}");
        let tree = store.tree();
        let left = tree.0.keys().find(|path| path.to_string_lossy().contains(".claw-sessions.tmp"));
        assert_eq!(left, None, "{at}: lies about");
    }
}

fn each(work: impl Fn(&Scenario)) {
    let wanted = std::env::var("SCENARIO").ok();
    let chosen = SCENARIOS.iter().filter(|scenario| wanted.as_ref().is_none_or(|wanted| scenario.name == wanted));
    let broken = chosen.filter(|scenario| catch_unwind(AssertUnwindSafe(|| work(scenario))).is_err());
    let broken: Vec<_> = broken.map(|scenario| scenario.name).collect();
    assert!(broken.is_empty(), "broken: {broken:?}");
}

/// The points of these calls: some of each, from the end; SQLite makes one for every page.
fn spread(counts: &BTreeMap<String, usize>, sample: usize) -> Vec<Point> {
    let most = if crate::full() { 40 } else { sample };
    let of = |(name, times): (&String, &usize)| -> Vec<Point> {
        let name: &'static str = name.clone().leak();
        (1..=*times).rev().step_by(times.div_ceil(most).max(1)).map(|at| (name, at)).collect()
    };
    counts.iter().flat_map(of).collect()
}

/// The database is whole, and every reference in it leads somewhere.
fn assert_sound(store: &Store, at: &str) {
    assert_eq!(
        store.count_rows("main", "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"),
        0,
        "{at}"
    );
    assert_eq!(store.count_rows("main", "SELECT count(*) FROM pragma_foreign_key_check"), 0, "{at}");
}

/// All of the change is there or nothing. A time of the command differs from run to run: how many rows differ is compared.
fn assert_old_or_new(reference: &Reference, first: &Rows, store: &Store, at: &str) {
    let done = differences(first, &store.all_rows("main"));
    let whole = differences(&reference.first, &reference.last);
    assert!(done.is_empty() || done == whole, "{at}: neither old nor new: {done:?} of {whole:?}");
}

#[test]
fn a_change_of_rows_that_was_killed_at_any_call_is_put_right_by_the_next() {
    let part = "killed at a call";
    each(|scenario| {
        if !sys::has("strace") {
            return ledger::skip(part, scenario.name, "no strace");
        }
        let reference = scenario.reference(WRITING);
        let points = spread(&reference.counts, 1);
        let ended = AtomicUsize::new(0);
        ledger::each(part, scenario.name, &points, |point| {
            let at = format!("{}: killed at {} {}", scenario.name, point.0, point.1);
            let store = scenario.prepare();
            let first = store.all_rows("main");
            ended.fetch_add(usize::from(kill(&store, scenario.args, *point, "SIGKILL")), Ordering::Relaxed);
            assert_old_or_new(&reference, &first, &store, &at);
            scenario.assert_put_right(&reference, &store, &at);
        });
        // How often a thread waits for another differs a little.
        let (ended, all) = (ended.into_inner(), points.len());
        assert!(ended + 2 + all / 20 >= all, "{}: only {ended} of {all} were ended", scenario.name);
    });
}

#[test]
fn an_error_of_any_call_that_changes_rows_is_told_and_loses_nothing() {
    let part = "an error of a call";
    each(|scenario| {
        if !sys::has("strace") {
            return ledger::skip(part, scenario.name, "no strace");
        }
        let calls = format!("{WRITING},pread64,read,newfstatat,statx,flock");
        let reference = scenario.reference(&calls);
        let errors = ["ENOSPC", "EIO", "EACCES", "EINTR"];
        let faults: Vec<(Point, &str)> =
            spread(&reference.counts, 1).into_iter().zip(errors.into_iter().cycle()).collect();
        ledger::each(part, scenario.name, &faults, |(point, error)| {
            let at = format!("{}: {error} of {} {}", scenario.name, point.0, point.1);
            let store = scenario.prepare();
            let first = store.all_rows("main");
            let output = fail(&store, scenario.args, *point, error);
            assert_old_or_new(&reference, &first, &store, &at);
            assert_told(&first, &store, &output, &at);
            scenario.assert_put_right(&reference, &store, &at);
        });
    });
}

/// All was done all the same, or the exit status says that not all was.
fn assert_told(first: &Rows, store: &Store, output: &Output, at: &str) {
    let undone = differences(first, &store.all_rows("main")).is_empty();
    match output.code {
        Some(0 | 1) => assert!(!undone, "{at}: nothing was done, and nothing said: {output}"),
        Some(2..=4) => {}
        _ => panic!("{at}: {output}"),
    }
}

/// A second kill meets the run that mends the first.
#[test]
fn a_change_of_rows_may_be_cut_off_twice() {
    let part = "a second fault";
    each(|scenario| {
        if !sys::has("strace") {
            return ledger::skip(part, scenario.name, "no strace");
        }
        let reference = scenario.reference(WRITING);
        let firsts = spread(&reference.counts, 1);
        let seconds = spread(&reference.counts, 1);
        let pairs = firsts.iter().enumerate().flat_map(|(at, first)| {
            let every = if crate::full() { 29 } else { 7 };
            seconds.iter().skip(at % every).step_by(every).map(move |second| (*first, *second))
        });
        ledger::each(part, scenario.name, &pairs.collect::<Vec<_>>(), |(first, second)| {
            let at = format!("{}: killed at {first:?}, then at {second:?}", scenario.name);
            let store = scenario.prepare();
            kill(&store, scenario.args, *first, "SIGKILL");
            let _ = strace::inject(&store, scenario.args, *second, "signal=SIGKILL");
            scenario.assert_put_right(&reference, &store, &at);
        });
    });
}
