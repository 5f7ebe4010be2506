//! A run may be killed at any moment: the stores are old or new, every transcript is there once, and the next run puts
//! all of it right. The real binary is killed as it enters a system call; `FULL=1` tries every call, not a sample.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::recipe::OLDER;
use crate::support::{self, NOW, Output, Store, StoreBuilder, Tree, lock_payload, sys};

const LIMITS: [&str; 14] = [
    "--idle",
    "10m",
    "--now",
    "2026-11-25T00:00:00Z",
    "--failed",
    "any",
    "--unprotect",
    "group",
    "--unprotect",
    "topic",
    "--unprotect",
    "main",
    "--jobs",
    "1",
];
/// What a run does to the disk, and how many of each kind are tried.
const CALLS: [(&str, usize); 9] = [
    ("renameat", 12),
    ("renameat2", 12),
    ("linkat", 8),
    ("unlinkat", 8),
    ("mkdirat", 8),
    ("fsync", 12),
    ("write", 12),
    ("openat", 16),
    ("fchmod", 6),
];
const AGENTS: [&str; 3] = ["main", "illarion", "marketer"];

fn traced(store: &Store, args: &[&str], strace: &[String]) -> Output {
    let direct = store.command(args.iter().chain(&["--state-dir"]));
    let mut command = Command::new("strace");
    command.arg("-f").args(strace).arg(direct.get_program()).args(direct.get_args()).arg(store.state_dir());
    command.env_clear().current_dir(store.root());
    for (name, value) in direct.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    Output::of(&mut command)
}

/// How often a thread makes each call in a whole run.
fn count(store: &Store, args: &[&str]) -> BTreeMap<&'static str, usize> {
    count_of(store, args, &CALLS.map(|(name, _)| name))
}

fn count_of(store: &Store, args: &[&str], names: &[&'static str]) -> BTreeMap<&'static str, usize> {
    let log = store.root().join("calls");
    let options = ["-e".to_owned(), format!("trace={}", names.join(",")), "-o".to_owned(), log.display().to_string()];
    traced(store, args, &options).ok();
    let text = fs::read_to_string(log).unwrap();
    let mut counts: BTreeMap<(&str, &'static str), usize> = BTreeMap::new();
    for line in text.lines() {
        let (thread, call) = line.split_once(' ').unwrap();
        if let Some(name) = names.iter().find(|name| call.trim_start().starts_with(&format!("{name}("))) {
            *counts.entry((thread, *name)).or_default() += 1;
        }
    }
    let mut most = BTreeMap::new();
    for ((_, name), times) in counts {
        let known: &mut usize = most.entry(name).or_default();
        *known = times.max(*known);
    }
    most
}

/// The calls to be killed at: the name and its how many-th.
fn points(counts: &BTreeMap<&'static str, usize>) -> Vec<(&'static str, usize)> {
    let full = std::env::var_os("FULL").is_some();
    let mut points = Vec::new();
    for (name, sample) in CALLS {
        let times = counts.get(name).copied().unwrap_or(0);
        let step = if full { 1 } else { times.div_ceil(sample).max(1) };
        // From the end: the beginning only reads.
        points.extend((1..=times).rev().step_by(step).map(|at| (name, at)));
    }
    points
}

/// Runs the command while something happens to this call.
fn inject(store: &Store, args: &[&str], (name, at): (&str, usize), what: &str) -> Output {
    let inject = format!("inject={name}:{what}:when={at}");
    let options =
        ["-e".to_owned(), format!("trace={name}"), "-o".to_owned(), "/dev/null".to_owned(), "-e".to_owned(), inject];
    traced(store, args, &options)
}

/// Runs the command until a signal ends it at this call.
fn kill(store: &Store, args: &[&str], point: (&str, usize), signal: &str) {
    let output = inject(store, args, point, &format!("signal={signal}"));
    assert!(output.code.is_none_or(|code| matches!(code, 0 | 137 | 143)), "{signal} {point:?}: {output}");
}

/// Runs the command while this call fails once with this error.
fn fail(store: &Store, args: &[&str], point: (&str, usize), error: &str) -> Output {
    inject(store, args, point, &format!("error={error}"))
}

/// Every transcript of the first tree, by name and content, and where it must be found once.
fn assert_each_once(first: &Tree, now: &Tree, at: &str) {
    let transcripts = |tree: &Tree| -> BTreeMap<(PathBuf, Vec<u8>), usize> {
        let mut found = BTreeMap::new();
        for (path, node) in &tree.0 {
            if node.kind == "file" && path.to_string_lossy().contains(".jsonl") && !path.ends_with("history.jsonl") {
                let name = Path::new(path.file_name().unwrap()).to_owned();
                *found.entry((name, node.bytes.clone())).or_default() += 1;
            }
        }
        found
    };
    let (was, is) = (transcripts(first), transcripts(now));
    for ((name, bytes), times) in &was {
        let found = is.get(&(name.clone(), bytes.clone())).copied().unwrap_or(0);
        assert_eq!(found, *times, "{at}: {} is there {found} times", name.display());
    }
}

fn assert_old_or_new(store: &Store, old: &Tree, new: &Tree, at: &str) {
    for agent in AGENTS {
        let path = PathBuf::from(format!("agents/{agent}/sessions/sessions.json"));
        let now = store.read(&path);
        assert!(
            now == old.0[&path].bytes || now == new.0[&path].bytes,
            "{at}: {} is neither old nor new",
            path.display()
        );
    }
}

/// Brings everything back that past runs took, the newest first: then all is as it was.
fn assert_comes_back(first: &Tree, store: &Store, at: &str) {
    let runs = store.run(["runs", "--json"]).ok().json();
    let runs = runs["runs"].as_array().unwrap();
    for run in runs.iter().rev().filter(|run| run["restorable"] == true) {
        let output = store.run(["restore", run["id"].as_str().unwrap()]);
        assert_eq!(output.code, Some(0), "{at}: {output}");
    }
    assert_contents(first, store, at);
}

fn assert_contents(expected: &Tree, store: &Store, at: &str) {
    let diff = expected.contents().diff(&store.tree().contents());
    assert!(diff.is_empty(), "{at}:\n{diff}");
}

/// Two points at a time.
fn on_two_cores(points: &[(&'static str, usize)], work: impl Fn((&'static str, usize)) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(point) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(*point);
                }
            });
        }
    });
}

/// Kills the command at the points of its calls, and lets `check` look at each store that is left.
fn killed_anywhere(
    counts: &BTreeMap<&'static str, usize>,
    args: &[&str],
    prepare: impl Fn() -> Store + Sync,
    check: impl Fn(&Store, &str) + Sync,
) {
    on_two_cores(&points(counts), |point| {
        let store = prepare();
        kill(&store, args, point, "SIGKILL");
        check(&store, &format!("killed at {} {}", point.0, point.1));
    });
}

#[test]
fn a_gc_that_was_killed_anywhere_is_put_right_by_the_next() {
    if !sys::has("strace") {
        return sys::skip("no strace");
    }
    let gc = [&["gc"][..], &LIMITS].concat();
    let reference = Store::recorded("real-small");
    let first = reference.tree();
    let counts = count(&reference, &gc);
    let last = reference.tree();
    assert!(AGENTS.iter().all(|agent| {
        let path = PathBuf::from(format!("agents/{agent}/sessions/sessions.json"));
        first.0[&path].bytes != last.0[&path].bytes
    }));
    killed_anywhere(
        &counts,
        &gc,
        || Store::recorded("real-small"),
        |store, at| {
            assert_old_or_new(store, &first, &last, at);
            assert_each_once(&first, &store.tree(), at);
            let before = store.tree().exact();
            for reading in [&["scan"][..], &["runs"], &[&["gc", "-n"], &LIMITS[..]].concat()] {
                let output = store.run(reading);
                assert_eq!(output.code, Some(0), "{at}: {output}");
            }
            before.assert_same(&store.tree().exact());

            let next = store.run([&gc[..], &["--json"]].concat());
            assert_eq!(next.code, Some(0), "{at}: {next}");
            assert_contents(&last, store, at);
            assert_each_once(&first, &store.tree(), at);
            assert_comes_back(&first, store, at);
        },
    );
}

#[test]
fn an_error_of_any_writing_call_loses_nothing_and_leaves_no_binding_without_its_file() {
    if !sys::has("strace") {
        return sys::skip("no strace");
    }
    let gc = [&["gc"][..], &LIMITS].concat();
    let reference = Store::recorded("real-small");
    let first = reference.tree();
    let counts = count(&reference, &gc);
    let last = reference.tree();
    let mut points = points(&counts);
    points.retain(|(name, _)| *name != "openat");
    on_two_cores(&points, |point| {
        for error in ["EIO", "ENOSPC"] {
            let at = format!("{error} of {} {}", point.0, point.1);
            let store = Store::recorded("real-small");
            let output = fail(&store, &gc, point, error);
            assert!(matches!(output.code, Some(0 | 3 | 4)), "{at}: {output}");

            let now = store.tree();
            assert_old_or_new(&store, &first, &last, &at);
            assert_each_once(&first, &now, &at);
            for agent in AGENTS {
                let sessions = PathBuf::from(format!("agents/{agent}/sessions"));
                let old =
                    now.0[&sessions.join("sessions.json")].bytes == first.0[&sessions.join("sessions.json")].bytes;
                let store_text = String::from_utf8_lossy(&first.0[&sessions.join("sessions.json")].bytes).into_owned();
                let bound = |path: &Path| {
                    let stem = path.file_stem().unwrap().to_str().unwrap();
                    path.extension().is_some_and(|ext| ext == "jsonl") && store_text.contains(stem)
                };
                let gone = first.0.keys().filter(|path| path.starts_with(&sessions) && !now.0.contains_key(*path));
                let missing: Vec<_> = gone.filter(|path| bound(path)).collect();
                assert!(!old || missing.is_empty(), "{at}: the store is the old one and lacks {missing:?}\n{output}");
            }
            let next = store.run([&gc[..], &["--json"]].concat());
            assert_eq!(next.code, Some(0), "{at}: {next}");
            assert_comes_back(&first, &store, &at);
        }
    });
}

#[test]
fn an_error_of_a_look_at_a_file_never_loses_sight_of_it() {
    if !sys::has("strace") {
        return sys::skip("no strace");
    }
    let gc = [&["gc"][..], &LIMITS].concat();
    let reference = Store::recorded("real-small");
    let first = reference.tree();
    let looks = count_of(&reference, &gc, &["newfstatat", "statx"]);
    let step = if std::env::var_os("FULL").is_some() { 1 } else { 7 };
    // From the end, where files move: the beginning only reads.
    let points: Vec<_> = looks
        .iter()
        .flat_map(|(name, times)| (1..=*times).rev().take(120).step_by(step).map(|at| (*name, at)))
        .collect();
    assert!(!points.is_empty(), "gc looks at files by neither call: inject into the one that it uses");
    on_two_cores(&points, |point| {
        let at = format!("EIO of {} {}", point.0, point.1);
        let store = Store::recorded("real-small");
        let output = fail(&store, &gc, point, "EIO");
        // 2: the state directory itself could not be looked at, and nothing was begun.
        assert!(matches!(output.code, Some(0 | 2 | 3 | 4)), "{at}: {output}");
        assert_each_once(&first, &store.tree(), &at);
        store.run(&gc).ok();
        assert_comes_back(&first, &store, &at);
    });
}

#[test]
fn a_restore_that_was_killed_anywhere_is_put_right_by_the_next() {
    if !sys::has("strace") {
        return sys::skip("no strace");
    }
    let gc = [&["gc"][..], &LIMITS].concat();
    let restore = ["restore", "latest", "--jobs", "1"];
    let reference = Store::recorded("real-small");
    let first = reference.tree();
    reference.run(&gc).ok();
    let taken = reference.tree();
    let counts = count(&reference, &restore);
    assert_contents(&first, &reference, "a whole restore");
    let taken_out = || {
        let store = Store::recorded("real-small");
        store.run(&gc).ok();
        store
    };
    killed_anywhere(&counts, &restore, taken_out, |store, at| {
        assert_old_or_new(store, &first, &taken, at);
        assert_each_once(&first, &store.tree(), at);
        let before = store.tree().exact();
        for reading in [&["scan"][..], &["runs"]] {
            let output = store.run(reading);
            assert_eq!(output.code, Some(0), "{at}: {output}");
        }
        before.assert_same(&store.tree().exact());

        let next = store.run(restore);
        assert_eq!(next.code, Some(0), "{at}: {next}");
        assert_comes_back(&first, store, at);
    });
}

/// Three transcripts that can be mended, and a store that was cut.
fn mendable() -> Store {
    let store = Store::recorded("real-small");
    let cut = store.read("agents/main/sessions/sessions.json");
    store.write("agents/main/sessions/sessions.json", &cut[..cut.len() - 2000]);
    store
}

const MEND: [&str; 8] = ["validate", "--repair", "--salvage", "--fail-on", "fatal", "--now", NOW, "--jobs=1"];

/// Every file of the sessions directories is the old one or the new one, and every old one still exists.
fn assert_mended_or_not(store: &Store, first: &Tree, last: &Tree, at: &str) {
    let now = store.tree();
    for (path, node) in first.0.iter().filter(|(path, node)| node.kind == "file" && path.starts_with("agents")) {
        let is = &now.0.get(path).unwrap_or_else(|| panic!("{at}: {} is gone", path.display())).bytes;
        assert!(*is == node.bytes || *is == last.0[path].bytes, "{at}: {} is neither", path.display());
        let kept = now.0.values().any(|other| other.bytes == node.bytes);
        assert!(kept, "{at}: the original of {} is nowhere", path.display());
    }
}

#[test]
fn a_repair_that_was_killed_anywhere_is_put_right_by_the_next() {
    if !sys::has("strace") {
        return sys::skip("no strace");
    }
    let reference = mendable();
    let first = reference.tree();
    let counts = count(&reference, &MEND);
    let last = reference.tree();
    let changed = first.0.iter().filter(|(path, node)| last.0[*path].bytes != node.bytes).count();
    assert_eq!(changed, 4, "three transcripts and a store");
    killed_anywhere(&counts, &MEND, mendable, |store, at| {
        assert_mended_or_not(store, &first, &last, at);
        let before = store.tree().exact();
        store.run(["scan"]).ok();
        before.assert_same(&store.tree().exact());

        store.run(MEND).ok();
        assert_contents(&last, store, at);
        assert_comes_back(&first, store, at);
    });
}

#[test]
fn an_error_of_any_writing_call_of_a_repair_loses_nothing() {
    if !sys::has("strace") {
        return sys::skip("no strace");
    }
    let reference = mendable();
    let first = reference.tree();
    let mut points = points(&count(&reference, &MEND));
    let last = reference.tree();
    points.retain(|(name, _)| *name != "openat");
    on_two_cores(&points, |point| {
        for error in ["EIO", "ENOSPC", "EXDEV"] {
            let at = format!("{error} of {} {}", point.0, point.1);
            let store = mendable();
            let output = fail(&store, &MEND, point, error);
            assert!(matches!(output.code, Some(0 | 1 | 3 | 4)), "{at}: {output}");
            assert_mended_or_not(&store, &first, &last, &at);
            store.run(MEND).ok();
            assert_contents(&last, &store, &at);
            assert_comes_back(&first, &store, &at);
        }
    });
}

#[test]
fn a_restore_of_a_repair_that_was_killed_anywhere_is_put_right_by_the_next() {
    if !sys::has("strace") {
        return sys::skip("no strace");
    }
    let restore = ["restore", "latest", "--jobs", "1"];
    let reference = mendable();
    let first = reference.tree();
    reference.run(MEND).ok();
    let last = reference.tree();
    let counts = count(&reference, &restore);
    assert_contents(&first, &reference, "a whole restore");
    let mended = || {
        let store = mendable();
        store.run(MEND).ok();
        store
    };
    killed_anywhere(&counts, &restore, mended, |store, at| {
        assert_mended_or_not(store, &first, &last, at);
        store.run(restore).ok();
        assert_comes_back(&first, store, at);
    });
}

const STUCK: [&str; 3] = ["restore", "--stuck-bak", "--jobs=1"];

/// A store to which the manual recipe was applied, with a backup of what it was.
fn emptied() -> Store {
    let store = Store::recorded("real-small");
    store.back_up_stores(OLDER);
    store.run_recipe(&[]);
    store
}

fn assert_no_binding_without_transcript(store: &Store, at: &str) {
    for agent in AGENTS {
        for entry in store.sessions(agent).as_object().unwrap().values() {
            let file = Path::new(entry["sessionFile"].as_str().unwrap()).file_name().unwrap();
            assert!(store.exists(Path::new("agents").join(agent).join("sessions").join(file)), "{at}: {entry}");
        }
    }
}

/// Every transcript, under whichever of its two names.
fn transcripts_of_the_recipe(tree: &Tree) -> BTreeMap<String, Vec<u8>> {
    let name = |path: &Path| path.display().to_string().trim_end_matches(".stuck-bak").to_owned();
    let files = tree.0.iter().filter(|(path, _)| path.starts_with("agents") && name(path).ends_with(".jsonl"));
    files.map(|(path, node)| (name(path), node.bytes.clone())).collect()
}

#[test]
fn a_restore_of_stuck_files_that_was_killed_anywhere_is_put_right_by_the_next() {
    if !sys::has("strace") {
        return sys::skip("no strace");
    }
    let reference = emptied();
    let first = reference.tree();
    let counts = count(&reference, &STUCK);
    let last = reference.tree();
    let files = transcripts_of_the_recipe(&first);
    assert!(files.len() > 30 && transcripts_of_the_recipe(&last) == files);
    killed_anywhere(&counts, &STUCK, emptied, |store, at| {
        assert_old_or_new(store, &first, &last, at);
        assert!(transcripts_of_the_recipe(&store.tree()) == files, "{at}: a transcript is gone or changed");
        assert_no_binding_without_transcript(store, at);
        // Whatever runs next finishes it, a gc that takes nothing by itself as well.
        let gc = ["gc", "--only", "nothing", "--no-orphans", "--now", NOW];
        store.run(if at.len() % 2 == 0 { &gc[..] } else { &STUCK }).ok();
        store.run(STUCK).ok();
        assert_contents(&last, store, at);
        assert_comes_back(&first, store, at);
    });
}

#[test]
fn an_error_of_any_writing_call_while_stuck_files_come_back_loses_nothing() {
    if !sys::has("strace") {
        return sys::skip("no strace");
    }
    let reference = emptied();
    let first = reference.tree();
    let mut points = points(&count(&reference, &STUCK));
    let last = reference.tree();
    let files = transcripts_of_the_recipe(&first);
    points.retain(|(name, _)| *name != "openat");
    on_two_cores(&points, |point| {
        let at = format!("EIO of {} {}", point.0, point.1);
        let store = emptied();
        let output = fail(&store, &STUCK, point, "EIO");
        assert!(matches!(output.code, Some(0 | 3 | 4)), "{at}: {output}");
        assert_no_binding_without_transcript(&store, &at);
        assert!(transcripts_of_the_recipe(&store.tree()) == files, "{at}: a transcript is gone or changed\n{output}");
        if output.code != Some(0) && store.run(["runs"]).ok().stdout.contains("stuck-bak") {
            store.run(["restore", "latest"]).ok();
        }
        store.run(STUCK).ok();
        assert_contents(&last, &store, &at);
        assert_comes_back(&first, &store, &at);
    });
}

/// Runs the command, and makes this call take half a second, before it does anything or after.
fn delay(store: &Store, args: &[&str], (name, at): (&str, usize), when: &str) -> Output {
    let inject = format!("inject={name}:delay_{when}=500000:when={at}");
    let options =
        ["-e".to_owned(), format!("trace={name}"), "-o".to_owned(), "/dev/null".to_owned(), "-e".to_owned(), inject];
    traced(store, args, &options)
}

/// Writes a turn as OpenClaw does, when it can have the transcript's lock.
fn take_a_turn(transcript: &Path, turn: &[u8]) {
    let lock = PathBuf::from(format!("{}.lock", transcript.display()));
    while fs::File::create_new(&lock).is_err() {
        std::thread::sleep(Duration::from_millis(2));
    }
    fs::write(&lock, lock_payload(std::process::id(), support::process::starttime(std::process::id()))).unwrap();
    fs::OpenOptions::new().append(true).open(transcript).unwrap().write_all(turn).unwrap();
    fs::remove_file(lock).unwrap();
}

/// A transcript without header, and what OpenClaw appends to it.
const WIPED: &str = "agents/main/sessions/6f200014-d381-4049-a079-0b2ed82e22fb.jsonl";
const TURN: &[u8] = b"{\"type\":\"custom\",\"id\":\"the-turn\"}\n";

#[test]
fn a_turn_that_is_written_while_a_transcript_is_mended_or_put_back_is_never_lost() {
    if !sys::has("strace") {
        return sys::skip("no strace");
    }
    let mend = ["gc", "--now", NOW, "--jobs=1"];
    let restore = ["restore", "latest", "--jobs=1"];
    let reference = Store::recorded("real-small");
    let (of_mend, of_restore) = (count(&reference, &mend), count(&reference, &restore));
    let calls = |command, counts: &BTreeMap<&'static str, usize>| -> Vec<_> {
        let calls = [("renameat", "enter"), ("renameat2", "enter"), ("linkat", "exit"), ("unlinkat", "exit")];
        let every = calls.into_iter().flat_map(|(name, when)| {
            let times = counts.get(name).copied().unwrap_or(0);
            (1..=times).map(move |at| (name, at, when))
        });
        every.map(|call| (command, call)).collect()
    };
    let points = [calls("mend", &of_mend), calls("restore", &of_restore)].concat();
    assert!(points.len() > 8, "{points:?}");
    let next = AtomicUsize::new(0);
    let worker = || {
        while let Some((command, (name, at, when))) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
            let told = format!("{command}: a turn about the {when} of {name} {at}");
            let store = Store::recorded("real-small");
            if *command == "restore" {
                store.run(mend).ok();
            }
            let args: &[&str] = if *command == "restore" { &restore } else { &mend };
            let output = std::thread::scope(|scope| {
                scope.spawn(|| {
                    std::thread::sleep(Duration::from_millis(300));
                    take_a_turn(&store.path(WIPED), TURN);
                });
                delay(&store, args, (name, *at), when)
            });
            let has_turn = || store.read(WIPED).windows(TURN.len()).any(|bytes| bytes == TURN);
            assert!(has_turn(), "{told}\n{output}");
            // What was mended before the turn is not put back over it.
            drop(store.run(restore));
            assert!(has_turn(), "{told}; restore latest\n{output}");
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(worker);
        }
    });
}

#[test]
fn what_a_kill_left_is_said_before_it_is_put_right() {
    if !sys::has("strace") {
        return sys::skip("no strace");
    }
    let gc = [&["gc"][..], &LIMITS].concat();
    let store = Store::recorded("real-small");
    let moves = count(&store, &gc)["renameat2"];
    let store = Store::recorded("real-small");
    kill(&store, &gc, ("renameat2", moves), "SIGKILL");
    let runs = store.run(["runs", "--json"]).ok().json();
    assert_eq!(runs["runs"][0]["state"], "unfinished");
    assert!(store.run(["gc", "-n"]).ok().stdout.contains("was cut off"));
    let next = store.gc(LIMITS).ok().json();
    assert!(next["recovered"][0].as_str().unwrap().contains("finished now"), "{}", next["recovered"]);
    let runs = store.run(["runs", "--json"]).ok().json();
    assert!(runs["runs"].as_array().unwrap().iter().all(|run| run["state"] == "done"));
}

/// Two bindings go, one stays; the run is killed when the store is rewritten and nothing has moved yet.
fn killed_between_store_and_files() -> (Store, serde_json::Value) {
    let store = StoreBuilder::new()
        .agent("main")
        .binding(ONE, |one| one.idle("9d").session_id("one"))
        .binding(TWO, |one| one.idle("9d").session_id("two"))
        .binding("agent:main:telegram:direct:3", |one| one.idle("1h").session_id("three"))
        .build();
    let before = store.sessions("main");
    kill(&store, &["gc", "--jobs", "1", "--now", NOW], ("renameat2", 1), "SIGKILL");
    assert_eq!(store.sessions("main").as_object().unwrap().len(), 1, "the store is the new one");
    assert!(store.exists("agents/main/sessions/one.jsonl") && store.exists("agents/main/sessions/two.jsonl"));
    (store, before)
}

const ONE: &str = "agent:main:telegram:direct:1";
const TWO: &str = "agent:main:telegram:direct:2";
const STORE: &str = "agents/main/sessions/sessions.json";

#[test]
fn what_openclaw_wrote_after_the_kill_wins() {
    if !sys::has("strace") {
        return sys::skip("no strace");
    }
    let mut wrong = Vec::new();
    // A run of OpenClaw that was under way writes its entry back: as it was, or with a new time, or under another key.
    for change in ["as it was", "touched", "renamed", "rotated"] {
        let (store, before) = killed_between_store_and_files();
        let mut now = store.sessions("main");
        let key = if change == "renamed" { "agent:main:telegram:direct:4" } else { ONE };
        now[key] = before[ONE].clone();
        if change != "as it was" {
            now[key]["updatedAt"] = serde_json::json!(1_795_386_540_000_i64);
        }
        if change == "rotated" {
            now[key] = serde_json::json!({"sessionId": "new", "updatedAt": 1_795_386_540_000_i64});
        }
        store.write(STORE, support::openclaw::pretty(&now));
        // Recovers, and takes nothing by itself.
        store.run(["gc", "--only", "nothing", "--no-orphans", "--now", NOW]).ok();
        let mut claim = |holds: bool, what: &str| {
            if !holds {
                wrong.push(format!("{change}: {what}"));
            }
        };
        claim(store.sessions("main") == now, "the store is as OpenClaw wrote it");
        let one = "agents/main/sessions/one.jsonl";
        claim(store.exists(one) || change == "rotated", "the file is in its place, for it is bound again");
        // The other one is still to be had, entry and file.
        restore_all_but_refused(&store);
        let restored = store.sessions("main");
        claim(restored[TWO] == before[TWO], "the other entry comes back");
        claim(store.exists("agents/main/sessions/two.jsonl"), "the other file comes back");
        claim(restored[key] == now[key], "the entry that OpenClaw wrote stays");
        claim(store.exists(one) || change == "rotated", "its file stays");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn restore_all_but_refused(store: &Store) {
    let runs = store.run(["runs", "--json"]).ok().json();
    for run in runs["runs"].as_array().unwrap().iter().rev().filter(|run| run["restorable"] == true) {
        let output = store.run(["restore", run["id"].as_str().unwrap()]);
        assert!(matches!(output.code, Some(0 | 4)), "{output}");
    }
}

#[test]
fn a_store_that_went_away_after_the_kill_stops_nobody() {
    if !sys::has("strace") {
        return sys::skip("no strace");
    }
    for gone in [STORE, "agents/main"] {
        let (store, _) = killed_between_store_and_files();
        store.remove(gone);
        let output = store.run(["gc", "--now", NOW]);
        assert!(matches!(output.code, Some(0 | 3 | 4)), "{gone}: {output}");
        store.run(["scan", "--now", NOW]).ok();
        // And once more: nothing is stuck.
        let again = store.run(["gc", "--now", NOW]);
        assert_eq!(again.code, Some(0), "{gone}: {again}");
    }
}

const BOOT: [&str; 4] = ["gc", "--boot", "--deadline", "1s"];

#[test]
fn a_start_whose_deadline_comes_in_any_phase_is_put_right_by_the_next() {
    if !sys::has("strace") {
        return sys::skip("no strace");
    }
    let boot = [&BOOT[..], &LIMITS].concat();
    let reference = Store::recorded("real-small");
    let first = reference.tree();
    // The calls of every phase: finding and listing, reading, locking, writing, moving, syncing, telling.
    let names =
        ["getdents64", "openat", "read", "mkdirat", "linkat", "renameat", "renameat2", "unlinkat", "fsync", "write"];
    let counts = count_of(&reference, &[&["gc", "--boot"][..], &LIMITS].concat(), &names);
    let last = reference.tree();
    let sample = if std::env::var_os("FULL").is_some() { usize::MAX } else { 3 };
    let points: Vec<_> = counts
        .iter()
        .flat_map(|(name, times)| (1..=*times).rev().step_by(times.div_ceil(sample).max(1)).map(|at| (*name, at)))
        .collect();
    on_two_cores(&points, |point| {
        let at = format!("late at {} {}", point.0, point.1);
        let store = Store::recorded("real-small");
        let cut = inject(&store, &boot, point, "delay_enter=1200000");
        assert_eq!(cut.code, Some(0), "{at}: {cut}");
        assert!(cut.stderr.contains("claw-sessions: "), "{at}: {cut}");
        assert_old_or_new(&store, &first, &last, &at);
        assert_each_once(&first, &store.tree(), &at);
        let next = store.run([&["gc", "--boot", "--json"][..], &LIMITS].concat());
        assert_eq!(next.code, Some(0), "{at}: {next}");
        assert_eq!(next.json()["late"], serde_json::json!([]), "{at}: {next}");
        assert_contents(&last, &store, &at);
        assert_comes_back(&first, &store, &at);
    });
}

#[test]
fn a_start_that_systemd_ends_in_any_phase_is_put_right_by_the_next() {
    if !sys::has("strace") {
        return sys::skip("no strace");
    }
    let boot = [&["gc", "--boot"][..], &LIMITS].concat();
    let reference = Store::recorded("real-small");
    let first = reference.tree();
    let counts = count(&reference, &boot);
    let last = reference.tree();
    let step = if std::env::var_os("FULL").is_some() { 1 } else { 4 };
    let points: Vec<_> = points(&counts).into_iter().step_by(step).collect();
    on_two_cores(&points, |point| {
        let at = format!("SIGTERM at {} {}", point.0, point.1);
        let store = Store::recorded("real-small");
        kill(&store, &boot, point, "SIGTERM");
        assert_old_or_new(&store, &first, &last, &at);
        assert_each_once(&first, &store.tree(), &at);
        let next = store.run(&boot);
        assert_eq!(next.code, Some(0), "{at}: {next}");
        assert_contents(&last, &store, &at);
        assert_comes_back(&first, &store, &at);
    });
}
