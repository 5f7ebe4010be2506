//! How a whole process is measured: medians of several runs, from the same files.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use wait4::Wait4 as _;

pub const OURS: &str = env!("CARGO_BIN_EXE_claw-sessions");
pub const NOW: &str = "2026-11-22T22:30:00Z";

/// A directory for one part of the measurement, and what it takes there.
pub struct World {
    root: tempfile::TempDir,
}

impl World {
    /// `None`, and said, when the disk has no room for so many bytes.
    pub fn with_room(part: &str, bytes: u64) -> Option<Self> {
        let root = tempfile::tempdir().unwrap();
        let there = rustix::fs::statvfs(root.path()).unwrap();
        let free = there.f_bavail * there.f_frsize;
        if free < bytes {
            println!("\n{part}: skipped: {} free, {} needed", mega(free), mega(bytes));
            return None;
        }
        Some(Self { root })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Makes a state directory. In a process of its own: what this one holds in memory would count as its children's peak.
    pub fn generate(&self, name: &str, what: &[&str]) -> PathBuf {
        let dir = self.path(name);
        let me = std::env::current_exe().unwrap();
        let status = Command::new(me).arg("--generate").arg(&dir).args(what).status();
        assert!(status.unwrap().success());
        dir
    }

    /// A command with nothing of this environment but `PATH`, and its home in here.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let root = self.root.path();
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", root)
            .env("XDG_CACHE_HOME", root.join("cache"))
            .env("TMPDIR", root)
            .env("TZ", "UTC")
            .current_dir(root)
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// Our binary on a state directory.
    pub fn ours(&self, state: &Path, args: &[&str]) -> Command {
        let mut command = self.command(OURS);
        command.args(args).args(["--json", "--now", NOW, "--state-dir"]).arg(state);
        command
    }

    /// The same, measured; nothing is remembered from before unless `remembered`.
    pub fn run(&self, state: &Path, args: &[&str], runs: usize, remembered: bool) -> Figures {
        let mut command = self.ours(state, args);
        measure(&mut command, runs, self.root.path(), || {
            if !remembered {
                self.forget();
            }
        })
    }

    /// Runs our binary once for what it says that it did.
    pub fn done(&self, state: &Path, args: &[&str]) -> serde_json::Value {
        // The rest of the document is large, and must not stay in this process.
        #[derive(serde::Deserialize)]
        struct Document {
            done: serde_json::Value,
        }
        let stdout = self.path("stdout");
        let status = self.ours(state, args).stdout(File::create(&stdout).unwrap()).status().unwrap();
        assert!(is_fine(status), "{args:?}: {status}");
        serde_json::from_reader::<_, Document>(BufReader::new(File::open(stdout).unwrap())).unwrap().done
    }

    /// What was remembered of transcripts is forgotten.
    pub fn forget(&self) {
        drop(fs::remove_dir_all(self.path("cache")));
    }
}

/// Writes everything to the disk and forgets what was read from it; whether that is permitted.
pub fn drop_page_cache() -> bool {
    rustix::fs::sync();
    fs::write("/proc/sys/vm/drop_caches", "3").is_ok()
}

/// The median of a number of runs.
#[derive(Clone, Copy)]
pub struct Figures {
    pub millis: f64,
    pub bytes: u64,
    pub runs: usize,
}

impl Figures {
    pub fn print(&self, name: &str) {
        println!("{name:<66} {:>9.1} ms {:>12} {:>5}", self.millis, mega(self.bytes), self.runs);
    }

    /// The same with the rate at which so many bytes went by.
    pub fn print_rate(&self, name: &str, bytes: u64) {
        let rate = bytes as f64 / 1e6 / self.millis;
        println!("{name:<66} {:>9.1} ms {:>12} {:>5} {rate:>7.2} GB/s", self.millis, mega(self.bytes), self.runs);
    }
}

/// The heading over what [`Figures::print`] prints.
pub fn heading(title: &str) {
    println!("\n{title}");
    println!("{:<66} {:>12} {:>12} {:>5}", "", "median wall", "peak memory", "runs");
}

/// A ratio and the bar it is held against.
pub fn ratio(name: &str, value: f64, bar: &str) {
    println!("  {name:<64} {value:>9.2}     bar: {bar}");
}

/// Medians of `runs` runs after one that is thrown away. Each must succeed. This process must stay small meanwhile: what
/// it holds at a fork counts as its child's peak.
pub fn measure(command: &mut Command, runs: usize, world: &Path, before: impl Fn()) -> Figures {
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
        assert!(is_fine(used.status), "{command:?}: {}", used.status);
    }
    Figures { millis: median(&mut millis[1..]), bytes: median(&mut bytes[1..]), runs }
}

/// 1 says that something was found.
fn is_fine(status: ExitStatus) -> bool {
    matches!(status.code(), Some(0 | 1))
}

fn median<T: PartialOrd + Copy>(values: &mut [T]) -> T {
    values.sort_by(|a, b| a.partial_cmp(b).unwrap());
    values[values.len() / 2]
}

/// A command as another program runs it.
pub fn under(program: &Path, args: &[&str], command: &Command) -> Command {
    let mut outer = Command::new(program);
    outer.args(args).arg(command.get_program()).args(command.get_args()).env_clear().stdin(Stdio::null());
    outer.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    outer
}

/// A program on the `PATH`.
pub fn find(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join(program)).find(|path| path.is_file())
}

/// Every file below a directory whose name ends in this.
pub fn files(dir: &Path, end: &str) -> Vec<PathBuf> {
    walkdir::WalkDir::new(dir)
        .sort_by_file_name()
        .into_iter()
        .map(|entry| entry.unwrap().into_path())
        .filter(|path| path.is_file() && path.to_string_lossy().ends_with(end))
        .collect()
}

pub fn size(dir: &Path, end: &str) -> u64 {
    files(dir, end).iter().map(|path| path.metadata().unwrap().len()).sum()
}

pub fn mega(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// How often each system call is made, and how many there are in all; `None` without strace.
pub fn calls(command: &Command, log: &Path) -> Option<Vec<(String, u64)>> {
    let strace = find("strace")?;
    let mut traced = under(&strace, &["-f", "-qq", "-o", &log.to_string_lossy()], command);
    let status = traced.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert!(is_fine(status), "{command:?}: {status}");
    let mut counts = std::collections::BTreeMap::<String, u64>::new();
    for line in BufReader::new(File::open(log).unwrap()).lines().map_while(Result::ok) {
        // `PID name(…`; what was interrupted is resumed on a line of its own.
        let call = line.split_once(' ').and_then(|(_, rest)| rest.trim_start().split_once('('));
        if let Some((name, _)) = call.filter(|(name, _)| !name.contains(' ')) {
            *counts.entry(name.to_owned()).or_default() += 1;
        }
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    Some(counts)
}

pub fn machine() {
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
