//! Hostile paths: links out of the state directory in every position, names that no writer of OpenClaw's makes, things
//! that are no files, other file systems. Nothing outside is touched, nothing hangs, and what was taken comes back.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};

use crate::{full, ledger};
use support::openclaw::{DEAD_PID, pretty};
use support::{NOW, Output, Store, StoreBuilder, lock_payload, sys, tree};

const PART: &str = "paths";

/// More than any command needs here.
const PATIENCE: &str = "20";

const GC: [&str; 6] = ["--idle", "10m", "--failed", "any", "--unprotect", "main"];
const COMMANDS: [&[&str]; 8] = [
    &["scan"],
    &["validate"],
    &["report"],
    &["gc", "--idle", "10m", "--failed", "any", "--unprotect", "main"],
    &["gc", "--boot", "--idle", "10m"],
    &["quarantine", "--damaged"],
    &["validate", "--repair", "--salvage"],
    &["restore", "latest"],
];

const SESSIONS: &str = "agents/main/sessions";
/// A transcript without header, one that is stale, and the lock of each.
const WIPED: &str = "agents/main/sessions/6f200014-d381-4049-a079-0b2ed82e22fb.jsonl";

/// A gateway's store with a run behind it and more to do, and the directory of that run.
fn with_a_run() -> (Store, String) {
    let store = Store::recorded("real-small");
    // Something that only a lock could keep, and old enough to go.
    store.write(format!("{WIPED}.lock"), lock_payload(DEAD_PID, 1));
    store.write(format!("{SESSIONS}/sessions.json.lock"), lock_payload(DEAD_PID, 1));
    store.write(format!("{SESSIONS}/lonely.jsonl"), "{\"type\":\"session\",\"version\":3,\"id\":\"lonely\"}\n");
    store.set_mtime(format!("{SESSIONS}/lonely.jsonl"), Utc::now() - TimeDelta::days(30));
    let first = ["gc", "--boot", "--agent", "illarion", "--agent", "marketer", "--all", "--now", NOW, "--json"];
    let done = store.run(first).ok().json();
    let run = format!("claw-sessions/runs/{}", done["run"].as_str().unwrap_or_else(|| panic!("{done:#}")));
    (store, run)
}

/// The command on this state directory, ended when it hangs.
fn patiently(store: &Store, args: &[&str]) -> Output {
    under_timeout(store, &[], args)
}

/// The same with all that it does to files written to `log`.
fn traced(store: &Store, args: &[&str], log: &Path) -> Output {
    let calls = format!("trace={}", CALLS.join(","));
    under_timeout(store, &["strace", "-f", "-y", "-e", &calls, "-o", log.to_str().unwrap()], args)
}

fn under_timeout(store: &Store, tracer: &[&str], args: &[&str]) -> Output {
    let args = [args, &["--now", NOW, "--jobs", "1"]].concat();
    let output = Output::of(&mut store.under("timeout", [&[PATIENCE], tracer].concat(), args));
    let left: Vec<_> = fs::read_dir(store.root()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_ne!(output.code, Some(124), "{} hangs in {left:?}", output.command);
    output
}

const CALLS: [&str; 32] = [
    "?open",
    "openat",
    "?openat2",
    "?creat",
    "?rename",
    "?renameat",
    "renameat2",
    "?unlink",
    "unlinkat",
    "?rmdir",
    "?mkdir",
    "mkdirat",
    "?link",
    "linkat",
    "?symlink",
    "symlinkat",
    "?chmod",
    "fchmod",
    "fchmodat",
    "?chown",
    "fchown",
    "fchownat",
    "?lchown",
    "truncate",
    "ftruncate",
    "utimensat",
    "write",
    "pwrite64",
    "fallocate",
    "copy_file_range",
    "sendfile",
    "fsetxattr",
];

/// The calls of a trace that succeeded, each on one line.
fn calls(log: &Path) -> Vec<String> {
    let text = fs::read_to_string(log).unwrap();
    let mut begun: Vec<(&str, &str)> = Vec::new();
    let mut whole = Vec::new();
    for line in text.lines() {
        let (thread, call) = line.split_once(' ').unwrap();
        let call = call.trim_start();
        if let Some(start) = call.strip_suffix(" <unfinished ...>") {
            begun.push((thread, start));
        } else if let Some((_, rest)) = call.split_once(" resumed>") {
            let at = begun.iter().position(|(of, _)| *of == thread).unwrap();
            whole.push(format!("{}{rest}", begun.swap_remove(at).1));
        } else {
            whole.push(call.to_owned());
        }
    }
    whole.retain(|call| call.rsplit_once(" = ").is_some_and(|(_, result)| !result.starts_with('-')));
    whole
}

/// What a trace did below `outside`: it wrote there, or, unless that is allowed, read there.
fn trespasses(log: &Path, outside: &Path, may_read: bool) -> Vec<String> {
    let descriptor = format!("<{}", outside.display());
    let leads_there = |call: &str| {
        let paths = call.split('"').skip(1).step_by(2).filter(|text| text.starts_with('/')).map(Path::new);
        let mut real = paths.filter_map(|path| Some(fs::canonicalize(path.parent()?).ok()?.join(path.file_name()?)));
        real.any(|path| path.starts_with(outside))
    };
    let is_trespass = |call: &String| {
        if !call.starts_with("open") {
            return call.contains(&descriptor) || leads_there(call);
        }
        let (arguments, result) = call.rsplit_once(" = ").unwrap();
        let writes = ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"].iter().any(|flag| arguments.contains(flag));
        result.contains(&descriptor) && (writes || !may_read)
    };
    calls(log).into_iter().filter(is_trespass).collect()
}

#[test]
fn no_descriptor_follows_a_link_out_of_the_state_directory() {
    if !sys::has("strace") {
        return ledger::skip(PART, "links in every position", "no strace");
    }
    let stale = "agents/main/sessions/lonely.jsonl";
    // What a store is reached through is read, and files of OpenClaw that only say something.
    let read = ["agents", "agents/main", SESSIONS, "agents/main/sessions/sessions.json", "openclaw.json", "cron"];
    let own = ["", "/manifest.json", "/files", "/files/illarion", "/files/illarion/sessions.json.removed"];
    let positions: Vec<(String, bool)> = read
        .map(|path| (path.to_owned(), true))
        .into_iter()
        .chain([WIPED, stale].map(|path| (path.to_owned(), false)))
        .chain([WIPED, stale, "agents/main/sessions/sessions.json"].map(|path| (format!("{path}.lock"), false)))
        .chain(
            ["", "/lock", "/runs", "/history.jsonl", "/boots.json"].map(|path| (format!("claw-sessions{path}"), false)),
        )
        .chain(own.map(|path| (format!("RUN{path}"), false)))
        .collect();
    let faults: Vec<_> = positions.iter().flat_map(|position| COMMANDS.map(|command| (position, command))).collect();
    let step = if full() { 1 } else { 5 };
    let faults: Vec<_> = faults.into_iter().step_by(step).collect();
    ledger::each(PART, "links in every position", &faults, |((path, may_read), command)| {
        let told = format!("{path}: {}", command.join(" "));
        let (store, run) = with_a_run();
        let path = path.replace("RUN", &run);
        let outside = Store::empty();
        // All of it is outside too, to the last byte: a plausible place to go.
        assert!(Command::new("cp").arg("-a").arg(store.path(".")).arg(outside.path(".")).status().unwrap().success());
        if !outside.exists(&path) {
            outside.write(&path, lock_payload(DEAD_PID, 1));
        }
        if store.exists(&path) {
            store.remove(&path);
        }
        symlink(outside.path(&path), store.path(&path)).unwrap();
        let (precious, log) = (outside.tree(), store.root().join("trace"));
        let output = traced(&store, command, &log);
        assert!(matches!(output.code, Some(0..=4)), "{told}\n{output}");
        let diff = precious.exact().diff(&outside.tree().exact());
        assert!(diff.is_empty(), "{told}: what the link leads to changed\n{diff}\n{output}");
        let trespasses = trespasses(&log, &outside.state_dir(), *may_read);
        assert!(trespasses.is_empty(), "{told}\n{}\n{output}", trespasses.join("\n"));
        let stays = fs::read_link(store.path(&path)).is_ok() || path.ends_with("boots.json");
        assert!(stays, "{told}: the link itself stays\n{output}");
    });
}

#[test]
fn a_linked_state_directory_is_the_state_directory() {
    let place = |store: &Store, command: &[&str]| {
        let link = store.root().join("link");
        let args = [command, &["--now", NOW, "--jobs", "1", "--state-dir", link.to_str().unwrap()]].concat();
        store.run_bare(args, &[])
    };
    ledger::each(PART, "a linked state directory", &COMMANDS, |command| {
        let ((direct, _), (linked, _)) = (with_a_run(), with_a_run());
        symlink(linked.state_dir(), linked.root().join("link")).unwrap();
        let (one, other) = (patiently(&direct, command), place(&linked, command));
        assert_eq!(one.code, other.code, "{one}\n{other}");
        let diff = direct.tree().contents().diff(&linked.tree().contents());
        assert!(diff.is_empty(), "{}\n{diff}", command.join(" "));
    });
}

/// Something that is no regular file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Odd {
    Fifo,
    LinkToFifo,
    Directory,
    Socket,
    Loop,
    Device,
}

impl Odd {
    /// Puts it at `path`; whether this user can.
    fn make(self, path: &Path) -> bool {
        let made = |program: &str, args: &[&OsStr]| Command::new(program).args(args).status().unwrap().success();
        match self {
            Self::Fifo => made("mkfifo", &[path.as_os_str()]),
            Self::LinkToFifo => {
                let fifo = path.with_file_name("a-fifo");
                symlink(&fifo, path).unwrap();
                fifo.exists() || made("mkfifo", &[fifo.as_os_str()])
            }
            Self::Directory => fs::create_dir(path).is_ok(),
            // The path of a socket is short: it is made elsewhere.
            Self::Socket => {
                let short = std::env::temp_dir().join(format!("claw-socket-{}", std::process::id()));
                let short = tempfile::Builder::new().prefix("claw-").tempdir_in(short.parent().unwrap()).unwrap();
                drop(UnixListener::bind(short.path().join("s")).unwrap());
                fs::rename(short.path().join("s"), path).is_ok()
            }
            Self::Loop => symlink(path.file_name().unwrap(), path).is_ok(),
            // `/dev/zero`: who reads it never comes to an end.
            Self::Device => made("mknod", &[path.as_os_str(), "c".as_ref(), "1".as_ref(), "5".as_ref()]),
        }
    }
}

#[test]
fn what_is_no_file_hangs_nothing_and_stays() {
    if !sys::has("timeout") {
        return ledger::skip(PART, "what is no file", "no timeout");
    }
    let mut kinds = vec![Odd::Fifo, Odd::LinkToFifo, Odd::Directory, Odd::Socket, Odd::Loop];
    let probe = Store::empty();
    if Odd::Device.make(&probe.path("device")) && fs::File::open(probe.path("device")).is_ok() {
        kinds.push(Odd::Device);
    } else {
        ledger::skip(PART, "a device in place of a file", "this user can make none");
    }
    let uid = std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self").unwrap());
    let gateway = format!("../../tmp/openclaw-{uid}/gateway.00000000.lock");
    let wiped_lock = format!("{WIPED}.lock");
    let places = [
        "agents",
        "agents/main",
        SESSIONS,
        "agents/main/sessions/sessions.json",
        WIPED,
        "agents/main/sessions/lonely.jsonl",
        "agents/main/sessions/x.jsonl",
        &wiped_lock,
        "agents/main/sessions/sessions.json.lock",
        "agents/main/sessions/sessions.json.bak.1795000000000",
        "openclaw.json",
        ".env",
        "cron/jobs.json",
        "subagents/runs.json",
        &gateway,
        "claw-sessions",
        "claw-sessions/lock",
        "claw-sessions/history.jsonl",
        "claw-sessions/boots.json",
        "claw-sessions/runs",
        "RUN",
        "RUN/manifest.json",
        "RUN/files",
        "RUN/files/illarion/sessions.json.removed",
    ];
    let faults: Vec<_> = places.iter().flat_map(|place| kinds.iter().map(|kind| (*place, *kind))).collect();
    let step = if full() { 1 } else { 7 };
    let faults: Vec<_> = faults.into_iter().step_by(step).collect();
    ledger::each(PART, "what is no file", &faults, |&(place, kind)| {
        let (store, run) = with_a_run();
        let place = place.replace("RUN", &run);
        let told = format!("{kind:?} at {place}");
        let path = store.path(&place);
        if path.symlink_metadata().is_ok() {
            store.remove(&place);
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        assert!(kind.make(&path), "{told}");
        let before = tree(store.root());
        let what = |path: &Path| fs::symlink_metadata(path).map(|meta| meta.file_type()).ok();
        let was = what(&path);
        for command in COMMANDS {
            let output = patiently(&store, command);
            assert!(matches!(output.code, Some(0..=4)), "{told}: {}\n{output}", output.command);
            assert!(!command.contains(&"--boot") || output.code == Some(0), "{told}: a start goes on\n{output}");
            // An empty directory may be one of ours, and what a start found is written anew.
            let ours = kind == Odd::Directory || place.ends_with("boots.json");
            assert!(ours || what(&path) == was, "{told}: {} touched it\n{output}", output.command);
        }
        let now = tree(store.root());
        let transcripts = before.0.iter().filter(|(path, node)| {
            node.kind == "file" && path.to_string_lossy().ends_with(".jsonl") && !path.ends_with("history.jsonl")
        });
        for (path, node) in transcripts {
            let kept = now.0.values().any(|other| other.bytes == node.bytes);
            assert!(kept, "{told}: what was in {} is nowhere", path.display());
        }
    });
}

/// A name of 255 bytes.
fn longest(end: &str) -> Vec<u8> {
    [vec![b'n'; 255 - end.len()], end.as_bytes().to_vec()].concat()
}

#[test]
fn a_strange_name_is_one_name_and_comes_back() {
    let names: Vec<Vec<u8>> = vec![
        b"line\nDone: nothing was taken.jsonl".to_vec(),
        b"\rDone.jsonl".to_vec(),
        b"esc\x1b[31mred\x1b]0;title\x07.jsonl".to_vec(),
        b"bidi\xe2\x80\xaegnp.jsonl".to_vec(),
        b"\xff\xfe.jsonl".to_vec(),
        b"--purge-archives.jsonl".to_vec(),
        b"-rf.jsonl".to_vec(),
        b" .jsonl".to_vec(),
        b"..jsonl".to_vec(),
        b"...jsonl".to_vec(),
        b"\"quoted\\.jsonl".to_vec(),
        b"%n%s{}$HOME`id`.jsonl".to_vec(),
        longest(".jsonl"),
        longest("lock.jsonl")[5..].to_vec(),
        longest("temp.jsonl")[30..].to_vec(),
    ];
    let faults: Vec<_> = names.iter().flat_map(|name| [(name, true), (name, false)]).collect();
    ledger::each(PART, "strange names", &faults, |(name, bound)| {
        let told = name.escape_ascii();
        // JSON cannot name what is no text.
        let text = std::str::from_utf8(name).ok().filter(|_| *bound);
        let store = StoreBuilder::new()
            .agent("main")
            .binding("agent:main:telegram:direct:1", |one| one.idle("9d").session_id("one").field("sessionFile", text))
            .binding("agent:main:telegram:direct:2", |one| one.idle("1h").session_id("two"))
            .orphan("lonely", "9d")
            .build();
        let from = if text.is_some() { "one.jsonl" } else { "lonely.jsonl" };
        let sessions = store.path(SESSIONS);
        let named = sessions.join(OsStr::from_bytes(name));
        fs::rename(sessions.join(from), &named).unwrap();
        let before = store.tree().contents();
        let mut outputs: Vec<Output> =
            ["scan", "validate", "report"].map(|verb| store.run([verb, "--now", NOW])).into();
        outputs.push(store.run(["scan", "-v", "--json", "--now", NOW]));
        outputs.push(store.run(["gc", "--now", NOW]).ok());
        // What is no text is nobody's: it is left.
        assert_eq!(named.exists(), std::str::from_utf8(name).is_err(), "{told}: it goes");
        outputs.push(store.run(["runs"]).ok());
        outputs.push(store.run(["gc", "--now", NOW]).ok());
        outputs.push(store.run(["restore", "latest"]).ok());
        let diff = before.diff(&store.tree().contents());
        assert!(diff.is_empty(), "{told}\n{diff}");
        for output in &outputs {
            let text = format!("{}{}", output.stdout, output.stderr);
            assert!(!text.contains(['\x1b', '\r', '\x07', '\u{202e}']), "{told}: {} prints it raw", output.command);
            assert!(!text.contains("\nDone: nothing was"), "{told}: {} is told what to say", output.command);
        }
    });
}

#[test]
fn a_session_that_leads_out_of_its_directory_is_not_followed() {
    if !sys::has("strace") {
        return ledger::skip(PART, "entries that lead outside", "no strace");
    }
    let outside = two_of_a_kind();
    let precious = outside.path("agents/main/sessions/one.jsonl");
    let absolute = precious.to_str().unwrap().to_owned();
    let relative = format!("../../../../../../..{absolute}");
    let by_file = |file: &str| ("sessionFile", file.to_owned());
    let faults = [
        by_file("/etc/passwd"),
        by_file("/dev/zero"),
        by_file("/proc/self/mem"),
        by_file("../../../openclaw.json"),
        by_file("../../desk/sessions/sessions.json"),
        by_file("../../../claw-sessions/lock"),
        by_file("sub/../../../../openclaw.json"),
        by_file("."),
        by_file(".."),
        by_file("sessions.json"),
        by_file("linked/one.jsonl"),
        by_file("linked/../one.jsonl"),
        by_file(&relative),
        by_file(&absolute),
        ("sessionId", "../../../openclaw".to_owned()),
        ("sessionId", relative.trim_end_matches(".jsonl").to_owned()),
        ("sessionId", absolute.trim_end_matches(".jsonl").to_owned()),
    ];
    ledger::each(PART, "entries that lead outside", &faults, |(field, value)| {
        let told = format!("{field} {value}");
        let store = two_of_a_kind();
        let path = store.path("agents/main/sessions/sessions.json");
        let mut entries = store.sessions("main");
        entries["agent:main:telegram:direct:1"][*field] = json!(value);
        fs::write(&path, pretty(&entries)).unwrap();
        fs::remove_file(store.path("agents/main/sessions/one.jsonl")).unwrap();
        symlink(precious.parent().unwrap(), store.path("agents/main/sessions/linked")).unwrap();
        let (before, canary) = (store.tree(), outside.tree());
        let others = |tree: &support::Tree| -> Vec<(PathBuf, Vec<u8>)> {
            let files = tree.0.iter().filter(|(path, node)| {
                node.kind == "file" && !path.starts_with(SESSIONS) && !path.starts_with("claw-sessions")
            });
            files.map(|(path, node)| (path.clone(), node.bytes.clone())).collect()
        };
        for command in COMMANDS {
            let log = store.root().join("trace");
            let output = traced(&store, command, &log);
            assert!(matches!(output.code, Some(0..=4)), "{told}: {}\n{output}", output.command);
            let trespasses = trespasses(&log, outside.root(), false);
            assert!(trespasses.is_empty(), "{told}\n{}\n{output}", trespasses.join("\n"));
            let meant =
                calls(&log).into_iter().find(|call| call.starts_with("open") && call.contains(&format!("<{value}>")));
            assert!(meant.is_none() || value.contains("/etc/"), "{told}: {meant:?}");
            assert_eq!(others(&before), others(&store.tree()), "{told}: {}\n{output}", output.command);
        }
        let diff = canary.exact().diff(&outside.tree().exact());
        assert!(diff.is_empty(), "{told}\n{diff}");
    });
}

fn two_of_a_kind() -> Store {
    StoreBuilder::new()
        .agent("main")
        .binding("agent:main:telegram:direct:1", |one| one.idle("9d").session_id("one"))
        .agent("desk")
        .binding("agent:desk:telegram:direct:1", |one| one.idle("1m").session_id("one"))
        .config(r#"{"meta": {"lastTouchedVersion": "2026.3.11"}}"#)
        .build()
}

/// In a mount namespace of its own: what is at `$AT` is moved to a mount; then gc and restore, and what each left.
const ELSEWHERE: &str = r#"
set -e
mkdir -p "$STATE/$AT" "$ROOT/other"
cp -a "$STATE/$AT/." "$ROOT/other/"
case "$MOUNT" in
  tmpfs) mount -t tmpfs -o mode=755 none "$STATE/$AT"; cp -a "$ROOT/other/." "$STATE/$AT/" ;;
  bind) mount --bind "$ROOT/other" "$STATE/$AT" ;;
  itself) mount --bind "$STATE/$AT" "$STATE/$AT" ;;
esac
cp -a "$STATE" "$ROOT/first"
"$@" gc --json $GC > "$ROOT/gc.json"
cp -a "$STATE" "$ROOT/taken"
"$@" gc --json $GC > "$ROOT/again.json"
"$@" restore latest --json > "$ROOT/restore.json"
cp -a "$STATE" "$ROOT/last"
"#;

#[test]
fn other_file_systems_are_copied_to_and_from() {
    let namespaces = if sys::is_root() { "-m" } else { "-rm" };
    let can = Command::new("unshare").args([namespaces, "sh", "-c", "mount -t tmpfs none /mnt"]).output();
    if !can.is_ok_and(|can| can.status.success()) {
        return ledger::skip(PART, "other file systems", "this user cannot mount, not even in a namespace");
    }
    let places = [SESSIONS, "agents/main", "agents", "claw-sessions", "claw-sessions/runs"];
    let faults: Vec<_> = places.iter().flat_map(|at| ["tmpfs", "bind", "itself"].map(|mount| (*at, mount))).collect();
    ledger::each(PART, "other file systems", &faults, |(at, mount)| {
        let told = format!("{mount} on {at}");
        let store = Store::recorded("real-small");
        let direct = store.command(["--state-dir"]);
        let trace = store.root().join("trace");
        let mut command = Command::new("unshare");
        command.args([namespaces, "sh", "-c", ELSEWHERE, "sh"]);
        if sys::has("strace") {
            let calls = "trace=renameat2,fsync,unlinkat";
            command.args(["strace", "-f", "-y", "-A", "-e", calls, "-o"]).arg(&trace);
        }
        // The options stand behind the verb.
        let wrapper = store.root().join("run");
        fs::write(
            &wrapper,
            format!(
                "verb=$1; shift\nexec '{}' \"$verb\" \"$@\" --state-dir \"$STATE\"\n",
                direct.get_program().display()
            ),
        )
        .unwrap();
        command.arg("sh").arg(&wrapper);
        command.env("STATE", store.state_dir()).env("ROOT", store.root()).env("AT", at).env("MOUNT", mount);
        command.env("GC", [&GC[..], &["--jobs", "1", "--now", NOW]].concat().join(" "));
        for (name, value) in direct.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        let output = Output::of(&mut command);
        let json = |name: &str| -> Value {
            serde_json::from_slice(&fs::read(store.root().join(name)).unwrap_or_default()).unwrap_or_default()
        };
        assert_eq!(output.code, Some(0), "{told}\n{output}\n{:#}", json("gc.json"));
        let done = json("gc.json");
        assert_eq!(done["planned"], done["done"], "{told}");
        assert!(done["done"]["transcripts"].as_u64() > Some(0), "{told}: {}", done["done"]);
        assert_eq!(json("again.json")["run"], Value::Null, "{told}: nothing is left to do");
        let [first, taken, last] = ["first", "taken", "last"].map(|name| tree(&store.root().join(name)));
        let diff = first.contents().diff(&last.contents());
        assert!(diff.is_empty(), "{told}\n{diff}");
        let is_transcript = |path: &Path| path.extension().is_some_and(|extension| extension == "jsonl");
        let gone = first.0.iter().filter(|(path, _)| is_transcript(path) && !taken.0.contains_key(*path));
        let mut moved = 0;
        for (path, node) in gone {
            let kept = taken.0.iter().find(|(to, kept)| {
                let same = (&kept.bytes, kept.mode, kept.mtime_ns) == (&node.bytes, node.mode, node.mtime_ns);
                to.starts_with("claw-sessions") && to.file_name() == path.file_name() && same
            });
            assert!(kept.is_some(), "{told}: {} is not in the archive as it was", path.display());
            moved += 1;
            if sys::has("strace") {
                synced_before_it_goes(&trace, path, &told);
            }
        }
        assert!(moved > 0, "{told}");
    });
}

/// Where a file could not be renamed, its copy and the copy's directory were synced before the original went.
fn synced_before_it_goes(trace: &Path, path: &Path, told: &str) {
    let text = fs::read_to_string(trace).unwrap();
    let (agent, name) = (path.iter().nth(1).unwrap(), path.file_name().unwrap().to_str().unwrap());
    let lines: Vec<&str> = text.lines().collect();
    let find = |all: &[&str]| lines.iter().position(|line| all.iter().all(|part| line.contains(part)));
    let Some(gone) = find(&["unlinkat", &format!("/sessions>, \"{name}\"")]) else {
        let renamed = find(&["renameat2", &format!("\"{name}\""), "= 0"]);
        assert!(renamed.is_some(), "{told}: {name} neither moved nor was copied\n{text}");
        return;
    };
    let synced = find(&["fsync", "/files/", &format!("/{name}.")]);
    assert!(synced.is_some_and(|synced| synced < gone), "{told}: {name} went before its copy was safe\n{text}");
    let archive = format!("/files/{}>", agent.display());
    let listed = lines[..gone].iter().rposition(|line| line.contains("fsync") && line.contains(&archive));
    assert!(listed > synced, "{told}: {name} went before its copy had a name\n{text}");
}
