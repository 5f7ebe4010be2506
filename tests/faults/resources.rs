//! Little of everything: memory, open files, the size of a file, somebody who reads what is printed, a locale. A run
//! that meets such a bound ends as the contract says or as by a kill; nothing is lost, and the next run puts all right.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::Duration;

use crate::promise::{
    assert_each_once, assert_locks_reclaimable, assert_old_new_or_between, assert_put_right, assert_same, tree,
};
use crate::scenario::{self, Reference, Scenario};
use crate::{full, ledger};
use support::{NOW, Store, StoreBuilder};

const PART: &str = "resources";

/// How a run ended, and what it said.
struct End {
    code: Option<i32>,
    signal: Option<i32>,
    stderr: String,
}

/// Runs the command after a line of shell, such as `ulimit -n 64`.
fn after(store: &Store, shell: &str, args: &[&str], stdout: Stdio) -> End {
    let mut command = store.under("sh", ["-c", &format!("{shell}\nexec \"$@\""), "sh"], args);
    let output = command.stdout(stdout).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    End { code: output.status.code(), signal: output.status.signal(), stderr }
}

/// A signal may end it where the kernel does that, the loader of programs may fail; else it ends as the contract says.
fn assert_ended_well(end: &End, signals: &[i32], at: &str) {
    // Before `main` it is the runtime of Rust that fails.
    let began = !end.stderr.contains("fatal runtime error: initialization");
    assert!(!began || !end.stderr.contains("panicked"), "{at}: {}", end.stderr);
    let by_signal = end.signal.is_some_and(|signal| signals.contains(&signal));
    // 126 and 127: it did not even start.
    let by_itself = matches!(end.code, Some(0 | 1 | 3 | 4 | 126 | 127));
    assert!(by_signal || by_itself, "{at}: exit {:?}, signal {:?}\n{}", end.code, end.signal, end.stderr);
}

fn assert_promise(scenario: &Scenario, reference: &Reference, store: &Store, at: &str) {
    let now = tree(store);
    assert_old_new_or_between(reference, &now, at);
    assert_each_once(scenario, reference, &now, at);
    assert_locks_reclaimable(store, at);
    assert_put_right(scenario, reference, store, at);
}

const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;
const SIGBUS: i32 = 7;
const SIGSEGV: i32 = 11;

/// Scenarios, the most telling ones when not all are tried.
fn each(work: impl Fn(&Scenario)) {
    let telling = ["gc", "repair", "restore of a gc", "recovery of a gc that cut stores"];
    scenario::each(|scenario| {
        if full() || telling.contains(&scenario.name) {
            work(scenario);
        }
    });
}

#[test]
fn memory_that_runs_out_is_no_worse_than_a_kill() {
    each(|scenario| {
        let reference = scenario.reference("write");
        // What it can do with: everything below is a fault, and the last mebibytes before it are where it has begun.
        let works = |kib: u32| {
            let store = scenario.prepare();
            matches!(after(&store, &format!("ulimit -v {kib}"), scenario.args, Stdio::null()).code, Some(0 | 1))
        };
        let (mut little, mut enough) = (1 << 10, 1 << 20);
        assert!(works(enough), "{}: a gibibyte is not enough", scenario.name);
        while enough - little > 64 {
            let middle = little.midpoint(enough);
            if works(middle) { enough = middle } else { little = middle }
        }
        let step = if full() { 32 } else { 1200 };
        let faults: Vec<u32> = (0..4096).step_by(step).map(|less| enough - less).collect();
        ledger::each(PART, &format!("{}, memory", scenario.name), &faults, |kib| {
            let at = format!("{} with {kib} KiB", scenario.name);
            let store = scenario.prepare();
            let end = after(&store, &format!("ulimit -v {kib}"), scenario.args, Stdio::null());
            assert_ended_well(&end, &[SIGABRT, SIGKILL, SIGSEGV, SIGBUS], &at);
            assert_promise(scenario, &reference, &store, &at);
        });
    });
}

#[test]
fn memory_that_a_control_group_refuses_is_no_worse_than_a_kill() {
    let part = "memory of a control group";
    let Some(group) = ControlGroup::of_memory("probe", 64 << 20) else {
        return ledger::skip(PART, part, "this user can make no control group with a limit of memory");
    };
    drop(group);
    each(|scenario| {
        let reference = scenario.reference("write");
        let step = if full() { 64 } else { 2048 };
        let faults: Vec<u64> = (256..8192).step_by(step).collect();
        let ended = AtomicUsize::new(0);
        ledger::each(PART, &format!("{}, {part}", scenario.name), &faults, |kib| {
            let at = format!("{} with {kib} KiB", scenario.name);
            let store = scenario.prepare();
            let group =
                ControlGroup::of_memory(store.root().file_name().unwrap().to_str().unwrap(), kib << 10).unwrap();
            let end = after(&store, &format!("echo $$ > '{}'", group.procs().display()), scenario.args, Stdio::null());
            drop(group);
            ended.fetch_add(usize::from(end.signal == Some(SIGKILL)), Ordering::Relaxed);
            assert_ended_well(&end, &[SIGKILL], &at);
            assert_promise(scenario, &reference, &store, &at);
        });
        assert!(ended.into_inner() > 0, "{}: never was the memory too small", scenario.name);
    });
}

/// A control group of one test, below the machine's own.
struct ControlGroup(PathBuf);

impl ControlGroup {
    /// One whose processes have so many bytes together, and no swap; `None` where that cannot be had.
    fn of_memory(name: &str, bytes: u64) -> Option<Self> {
        let root = Path::new("/sys/fs/cgroup");
        let versions = [(root.join("memory"), "memory.limit_in_bytes"), (root.to_owned(), "memory.max")];
        versions.into_iter().find_map(|(root, limit)| {
            let group = Self(root.join(name));
            fs::create_dir(&group.0).ok()?;
            fs::write(group.0.join(limit), bytes.to_string()).ok()?;
            drop(fs::write(group.0.join("memory.swap.max"), "0"));
            Some(group)
        })
    }

    fn procs(&self) -> PathBuf {
        self.0.join("cgroup.procs")
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        // What was killed in it is there for a moment.
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn files_that_may_not_grow_are_told_and_lose_nothing() {
    each(|scenario| {
        let reference = scenario.reference("write");
        // In units of 512 bytes. Whether the signal comes or is ignored, the write fails.
        let sizes = if full() { (0..40).collect() } else { vec![0, 5] };
        let faults: Vec<(u32, bool)> = sizes.into_iter().flat_map(|size| [(size, true), (size, false)]).collect();
        ledger::each(PART, &format!("{}, size of a file", scenario.name), &faults, |(size, ignored)| {
            let at = format!("{} with files of {size} blocks, ignored {ignored}", scenario.name);
            let store = scenario.prepare();
            let trap = if *ignored { "trap '' XFSZ" } else { ":" };
            let end = after(&store, &format!("{trap}; ulimit -f {size}"), scenario.args, Stdio::null());
            assert_ended_well(&end, &[], &at);
            assert_promise(scenario, &reference, &store, &at);
        });
    });
}

#[test]
fn few_open_files_are_told_and_lose_nothing() {
    each(|scenario| {
        let reference = scenario.reference("write");
        let faults: Vec<u32> = if full() { (3..24).collect() } else { vec![5, 9, 12] };
        ledger::each(PART, &format!("{}, open files", scenario.name), &faults, |files| {
            let at = format!("{} with {files} open files", scenario.name);
            let store = scenario.prepare();
            let end = after(&store, &format!("ulimit -n {files}"), scenario.args, Stdio::null());
            // The standard library aborts before `main` when it cannot even poll its three files.
            assert_ended_well(&end, &[], &at);
            assert_promise(scenario, &reference, &store, &at);
        });
    });
}

#[test]
fn sixty_four_open_files_are_enough() {
    ledger::each(PART, "64 open files", &["--jobs=1", "--jobs=8"], |jobs| {
        let store = many();
        let before = tree(&store);
        for args in [&["scan"][..], &["validate"], &["gc", "--now", NOW], &["restore", "latest"]] {
            let args = [args, &[jobs]].concat();
            let end = after(&store, "ulimit -n 64", &args, Stdio::null());
            assert!(end.code == Some(0), "{args:?}: {:?}\n{}", end.code, end.stderr);
            let taken = tree(&store).contents().diff(&before.contents());
            assert_eq!(args[0] == "gc", !taken.is_empty(), "{args:?}: {taken}");
        }
    });
}

/// 10 agents, 200 transcripts, half of which go.
fn many() -> Store {
    let mut builder = StoreBuilder::new();
    for agent in 0..10 {
        builder = builder.agent(&format!("agent{agent}"));
        for one in 0..20 {
            let (key, id) = (format!("agent:agent{agent}:telegram:direct:{one}"), format!("id-{agent}-{one}"));
            let idle = if one % 2 == 0 { "9d" } else { "1h" };
            builder = builder.binding(&key, |binding| binding.idle(idle).session_id(&id));
        }
    }
    builder.build_in_memory()
}

#[test]
fn what_nobody_reads_is_done_all_the_same() {
    each(|scenario| {
        let reference = scenario.reference("write");
        let faults = ["full", "closed", "gone", "all closed"];
        ledger::each(PART, &format!("{}, stdout", scenario.name), &faults, |fault| {
            let at = format!("{}: stdout {fault}", scenario.name);
            let store = scenario.prepare();
            let stdout = match *fault {
                "full" => File::options().write(true).open("/dev/full").unwrap().into(),
                // Its reader is dropped at once.
                "gone" => std::io::pipe().unwrap().1.into(),
                _ => Stdio::null(),
            };
            let shell = match *fault {
                "closed" => "exec >&-",
                "all closed" => "exec <&- >&- 2>&-",
                _ => ":",
            };
            let end = after(&store, shell, scenario.args, stdout);
            assert_ended_well(&end, &[], &at);
            assert!(!matches!(end.code, Some(126 | 127)), "{at}: {}", end.stderr);
            assert_same(&reference.last, &tree(&store), &at);
            assert_promise(scenario, &reference, &store, &at);
        });
    });
}

#[test]
fn any_locale_will_do() {
    let locales = ["LC_ALL=C", "LC_ALL=POSIX", "LC_ALL=de_DE.ISO-8859-1", "LANG=nonsense LC_ALL=", "LC_ALL=C.UTF-8"];
    ledger::each(PART, "locale", &locales, |locale| {
        let key = "agent:größe:telegram:direct:日本";
        let store = StoreBuilder::new()
            .agent("größe")
            .binding(key, |one| one.idle("9d").session_id("Ünïcode-日本"))
            .binding("agent:größe:telegram:direct:2", |one| one.session_id("two"))
            .build_in_memory();
        let before = tree(&store);
        let shell = format!("export {locale}");
        for args in [&["scan"][..], &["gc", "--now", NOW], &["runs"], &["restore", key]] {
            let end = after(&store, &shell, args, Stdio::null());
            let mut at = format!("{locale}: {args:?}");
            write!(at, ": {}", end.stderr).unwrap();
            assert_eq!(end.code, Some(0), "{at}");
            let gone = !store.exists("agents/größe/sessions/Ünïcode-日本.jsonl");
            assert_eq!(gone, ["gc", "runs"].contains(&args[0]), "{at}");
        }
        assert_same(&before, &tree(&store), locale);
    });
}
