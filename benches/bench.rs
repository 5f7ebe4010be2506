//! Time, memory and size of the shipped binary, beside openclaw 2026.3.11 when `make peer` has
//! installed it. Prints a table; asserts nothing about time.

#![allow(clippy::print_stdout, reason = "printing is its purpose")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

#[path = "../tests/support/chat.rs"]
mod chat;
#[path = "../tests/support/generate.rs"]
mod generate;
#[path = "../tests/support/openclaw.rs"]
mod openclaw;

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use wait4::Wait4 as _;

const OURS: &str = env!("CARGO_BIN_EXE_claw-sessions");
const NOW: &str = "2026-11-22T22:30:00Z";
const ISSUE: &str = "issue-44687";
/// 10,000 bindings with entries of 11 kB, 3 GB of transcripts.
const LARGE: &str = "large";
/// What the large case needs on the disk.
const ROOM: u64 = 6_000_000_000;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let [_, flag, case, dir] = args.as_slice()
        && flag == "--generate"
    {
        let spec = match case.as_str() {
            ISSUE => generate::Spec::issue_44687(),
            _ => generate::Spec::size(10_000, 11_000, 375_000, 3, 7),
        };
        return generate::generate(dir.as_ref(), &spec, NOW.parse().unwrap());
    }
    machine();
    issue_44687();
    boot(ISSUE, "before a start, openclaw#44687", 15);
    boot(LARGE, "before a start, 10,000 bindings", 3);
    println!("\nbinary: {}", mega(fs::metadata(OURS).unwrap().len()));
}

/// Makes a state directory. In a process of its own: what this one holds in memory would count as its children's peak.
fn make(case: &str, dir: &Path) {
    let status = Command::new(std::env::current_exe().unwrap()).args(["--generate", case]).arg(dir).status();
    assert!(status.unwrap().success());
}

fn issue_44687() {
    let world = tempfile::tempdir().unwrap();
    let (state, copy) = (world.path().join("ours"), world.path().join("theirs"));
    for dir in [&state, &copy] {
        make(ISSUE, dir);
    }
    println!("\nopenclaw#44687: 3 agents, 66 bindings, 56 transcripts, {}", mega(size(&state)));
    println!("{:<58} {:>11} {:>12} {:>6}", "", "median wall", "peak memory", "runs");

    let ours = |args: &[&str], first: bool| {
        let mut command = clean(OURS, world.path());
        command.args(args).args(["--json", "--now", NOW, "--state-dir"]).arg(&state);
        let figures = measure(&mut command, 41, world.path(), || {
            if first {
                drop(fs::remove_dir_all(world.path().join("cache")));
            }
        });
        let when = if first { "first time" } else { "again" };
        figures.print(&format!("claw-sessions {} --json, {when}", args.join(" ")));
        figures
    };
    ours(&["scan"], false);
    let first = ours(&["gc", "-n"], true);
    let again = ours(&["gc", "-n"], false);

    let peer = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peer");
    if peer.join(".installed").exists() {
        let mut command = clean(peer.join("node").to_str().unwrap(), world.path());
        command.arg(peer.join("node_modules/openclaw/openclaw.mjs")).env("OPENCLAW_STATE_DIR", &copy);
        command.args(["sessions", "cleanup", "--all-agents", "--dry-run", "--json"]);
        let theirs = measure(&mut command, 5, world.path(), || {});
        theirs.print("openclaw sessions cleanup --all-agents --dry-run --json");
        for (when, ours) in [("first time", &first), ("again", &again)] {
            let memory = theirs.bytes as f64 / ours.bytes as f64;
            let name = format!("gc -n, {when}: times faster, part of its memory");
            println!("{name:<58} {:>9.0} × {:>12}", theirs.millis / ours.millis, format!("1/{memory:.0}"));
        }
        println!("{:<58} {:>9} × {:>12}", "  the bar", "300", "1/15");
    } else {
        println!("{:<58} skipped: peer not installed (make peer)", "openclaw sessions cleanup");
    }
}

/// What stands between `systemctl start` and the gateway, when much is to be taken: with the transcripts remembered
/// from before and without, from a cold page cache and a warm one. Before each run the last one is undone.
fn boot(case: &str, name: &str, runs: usize) {
    let world = tempfile::tempdir().unwrap();
    if case == LARGE && free(world.path()) < ROOM {
        return println!("\ngc --boot, {name}: skipped: {} free, {} needed", mega(free(world.path())), mega(ROOM));
    }
    let state = world.path().join("state");
    make(case, &state);
    println!("\n{name}, {}", mega(size(&state)));
    let ours = |args: &[&str]| {
        let mut command = clean(OURS, world.path());
        command.args(args).args(["--json", "--now", NOW, "--state-dir"]).arg(&state);
        command
    };
    let quietly = |args: &[&str]| ours(args).stdout(Stdio::null()).status().unwrap();
    let boot = ["gc", "--boot", "--no-poison"];
    let done = ours(&boot).output().unwrap();
    let done = serde_json::from_slice::<Value>(&done.stdout).unwrap()["done"].clone();
    println!("each takes {} bindings and moves {} transcripts", done["expire"], done["transcripts"]);
    println!("{:<58} {:>11} {:>12} {:>6}", "", "median wall", "peak memory", "runs");
    for remembered in [false, true] {
        for cold in [true, false] {
            let row = format!(
                "claw-sessions gc --boot, {}, {}",
                if cold { "cold" } else { "warm" },
                if remembered { "remembered" } else { "nothing remembered" }
            );
            if cold && !drop_page_cache() {
                println!("{row:<58} skipped: /proc/sys/vm/drop_caches cannot be written");
                continue;
            }
            let undo = || {
                assert!(quietly(&["restore", "latest"]).success());
                drop(fs::remove_dir_all(state.join("claw-sessions")));
                drop(fs::remove_dir_all(world.path().join("cache")));
                if remembered {
                    // What was touched a moment ago is not remembered.
                    std::thread::sleep(Duration::from_millis(2500));
                    quietly(&["scan"]);
                }
                if cold {
                    drop_page_cache();
                }
            };
            measure(&mut ours(&boot), runs, world.path(), undo).print(&row);
        }
    }
}

/// Writes everything to the disk and forgets what was read from it; whether that is permitted.
fn drop_page_cache() -> bool {
    rustix::fs::sync();
    fs::write("/proc/sys/vm/drop_caches", "3").is_ok()
}

fn free(dir: &Path) -> u64 {
    let there = rustix::fs::statvfs(dir).unwrap();
    there.f_bavail * there.f_frsize
}

struct Figures {
    millis: f64,
    bytes: u64,
    runs: usize,
}

impl Figures {
    fn print(&self, name: &str) {
        println!("{name:<58} {:>8.1} ms {:>12} {:>6}", self.millis, mega(self.bytes), self.runs);
    }
}

/// Medians of `runs` runs after one that is thrown away. Each must succeed and print JSON.
fn measure(command: &mut Command, runs: usize, world: &Path, before: impl Fn()) -> Figures {
    let stdout = world.join("stdout");
    let mut millis = Vec::new();
    let mut bytes = Vec::new();
    for _ in 0..=runs {
        before();
        command.stdout(File::create(&stdout).unwrap());
        let start = Instant::now();
        let used = command.spawn().unwrap().wait4().unwrap();
        millis.push(start.elapsed().as_secs_f64() * 1e3);
        bytes.push(used.rusage.maxrss);
        assert!(used.status.success(), "{command:?}: {}", used.status);
        // The peer may log to stdout before its JSON.
        let text = fs::read_to_string(&stdout).unwrap();
        let json = text.find('{').map(|start| serde_json::from_str::<Value>(&text[start..]));
        assert!(matches!(json, Some(Ok(_))), "{command:?}: no JSON on stdout:\n{text}");
    }
    Figures { millis: median(&mut millis[1..]), bytes: median(&mut bytes[1..]), runs }
}

fn median<T: PartialOrd + Copy>(values: &mut [T]) -> T {
    values.sort_by(|a, b| a.partial_cmp(b).unwrap());
    values[values.len() / 2]
}

/// A command with nothing of this environment but `PATH`, and its home in `world`.
fn clean(program: &str, world: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", world)
        .env("XDG_CACHE_HOME", world.join("cache"))
        .env("TMPDIR", world)
        .env("TZ", "UTC")
        .current_dir(world)
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    command
}

fn machine() {
    let field = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
        line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    println!(
        "{}, {} cores, {} of memory, Linux {}",
        field("/proc/cpuinfo", "model name"),
        std::thread::available_parallelism().map_or(0, usize::from),
        field("/proc/meminfo", "MemTotal"),
        kernel.trim()
    );
}

fn size(dir: &Path) -> u64 {
    walkdir::WalkDir::new(dir)
        .into_iter()
        .map(|entry| entry.unwrap().metadata().unwrap())
        .filter(fs::Metadata::is_file)
        .map(|meta| meta.len())
        .sum()
}

fn mega(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
