//! The ground of the tests and benchmarks: state directories in a temporary world, the built binary run in a clean
//! environment, trees compared before and after, live processes, builders.
//!
//! ```ignore
//! let store = Store::recorded("real-small");
//! let before = store.tree();
//! store.run(["gc", "-n", "--now", NOW]).ok();
//! before.exact().assert_same(&store.tree().exact());
//! ```

#![allow(clippy::disallowed_methods, reason = "test code")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::missing_panics_doc, reason = "test code")]
#![allow(clippy::return_self_not_must_use, reason = "assertions return what they looked at")]

pub mod attributes;
pub mod build;
pub mod chat;
pub mod gateway;
pub mod generate;
pub mod lessons;
pub mod mutate;
pub mod openclaw;
pub mod process;
pub mod recipe;
pub mod rows;
pub mod sqlite;
pub mod sys;
pub mod tree;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Utc};
use flate2::read::GzDecoder;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use walkdir::WalkDir;

pub use build::StoreBuilder;
pub use process::{FakeGateway, LiveProcess, Place, lock_payload};
pub use tree::{Tree, tree};

/// Half an hour after the recorded stores and the crafted conversations end.
pub const NOW: &str = "2026-11-22T22:30:00Z";

/// Stands for the temporary directory in snapshots. Every one has this width.
const PLACE: &str = "/tmp/claw-XXXXXX";

/// A state directory in a world of its own: `home/.openclaw`, with `cache` and `tmp` beside `home`.
pub struct Store {
    root: TempDir,
}

impl Store {
    /// A state directory with nothing in it.
    pub fn empty() -> Self {
        // Always below /tmp: the width of paths must not depend on the machine.
        Self::empty_in("/tmp")
    }

    /// The same in memory where that can be had, for tests that would wait for the disk most of the time.
    pub fn empty_in_memory() -> Self {
        Self::empty_in(if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" })
    }

    fn empty_in(place: &str) -> Self {
        let root = tempfile::Builder::new().prefix("claw-").rand_bytes(6).tempdir_in(place).unwrap();
        for dir in ["home/.openclaw", "cache", "tmp"] {
            fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        Self { root }
    }

    /// One of `fixtures/*.tar.gz`, as the real OpenClaw left it, modes and modification times included.
    pub fn recorded(name: &str) -> Self {
        Self::empty().with_recorded(name)
    }

    /// The same in memory, where that can be had.
    pub fn recorded_in_memory(name: &str) -> Self {
        Self::empty_in_memory().with_recorded(name)
    }

    fn with_recorded(self, name: &str) -> Self {
        fs::remove_dir(self.state_dir()).unwrap();
        unpack(&fixture(&format!("{name}.tar.gz")), self.root());
        fs::rename(self.root().join(name).join(".openclaw"), self.state_dir()).unwrap();
        self
    }

    /// One folder of `fixtures/crafted`, last written when its conversation ended.
    pub fn crafted(name: &str) -> Self {
        let store = Self::empty();
        let from = fixture("crafted").join(name);
        assert!(from.join("WHY").is_file(), "{} is not a crafted fixture", from.display());
        for entry in WalkDir::new(&from).min_depth(1).into_iter().map(Result::unwrap) {
            let to = store.path(entry.path().strip_prefix(&from).unwrap());
            if entry.file_type().is_dir() {
                fs::create_dir_all(&to).unwrap();
                fs::set_permissions(&to, Permissions::from_mode(0o755)).unwrap();
            } else if entry.file_name() != "WHY" {
                let private = entry.file_name().to_string_lossy().starts_with("sessions.json");
                let ended = 1_795_384_800_000;
                openclaw::write(&to, &fs::read(entry.path()).unwrap(), if private { 0o600 } else { 0o644 }, ended);
            }
        }
        store
    }

    /// The temporary directory that holds all of this.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// The home directory of this world.
    pub fn home(&self) -> PathBuf {
        self.root().join("home")
    }

    /// The state directory, `home/.openclaw`.
    pub fn state_dir(&self) -> PathBuf {
        self.home().join(".openclaw")
    }

    /// A path below the state directory.
    pub fn path(&self, rel: impl AsRef<Path>) -> PathBuf {
        self.state_dir().join(rel)
    }

    /// Reads a file below the state directory.
    #[track_caller]
    pub fn read(&self, rel: impl AsRef<Path>) -> Vec<u8> {
        let path = self.path(rel);
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The parsed `sessions.json` of an agent.
    #[track_caller]
    pub fn sessions(&self, agent: &str) -> Value {
        serde_json::from_slice(&self.read(format!("agents/{agent}/sessions/sessions.json"))).unwrap()
    }

    /// Writes a file and the directories above it. An existing file keeps its mode.
    #[track_caller]
    pub fn write(&self, rel: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
        let path = self.path(rel);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Removes a file or a whole directory.
    #[track_caller]
    pub fn remove(&self, rel: impl AsRef<Path>) {
        let path = self.path(rel);
        if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Tells whether the path is there, be it a link that leads nowhere.
    pub fn exists(&self, rel: impl AsRef<Path>) -> bool {
        self.path(rel).symlink_metadata().is_ok()
    }

    /// Sets a modification time.
    #[track_caller]
    pub fn set_mtime(&self, rel: impl AsRef<Path>, time: DateTime<Utc>) {
        File::open(self.path(rel)).unwrap().set_modified(SystemTime::from(time)).unwrap();
    }

    /// Sets the permission bits.
    #[track_caller]
    pub fn set_mode(&self, rel: impl AsRef<Path>, mode: u32) {
        fs::set_permissions(self.path(rel), Permissions::from_mode(mode)).unwrap();
    }

    /// Everything in the state directory.
    pub fn tree(&self) -> Tree {
        tree(&self.state_dir())
    }

    /// Runs claw-sessions on this state directory.
    #[must_use = "check the exit status with `ok` or `code`"]
    pub fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Output {
        self.run_env(args, &[])
    }

    /// The same with more environment.
    #[must_use = "check the exit status with `ok` or `code`"]
    pub fn run_env<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>, env: &[(&str, &str)]) -> Output {
        let mut args: Vec<OsString> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        args.extend(["--state-dir".into(), self.state_dir().into()]);
        self.run_bare(args, env)
    }

    /// The same without `--state-dir`: the binary has to find it.
    #[must_use = "check the exit status with `ok` or `code`"]
    pub fn run_bare<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>, env: &[(&str, &str)]) -> Output {
        let mut command = self.command(args);
        command.envs(env.iter().copied());
        Output::of(&mut command)
    }

    /// The command itself, for tests that need more than a run: clean environment, no input, this world's directories.
    pub fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(binary());
        command
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home())
            .env("XDG_CACHE_HOME", self.root().join("cache"))
            .env("TMPDIR", self.root().join("tmp"))
            .env("TZ", "UTC")
            .env("COLUMNS", "120")
            .current_dir(self.root())
            .stdin(Stdio::null());
        command
    }

    /// The same on this state directory, started by another program: `strace`, `timeout`, `sh -c …`.
    pub fn under<W: AsRef<OsStr>, A: AsRef<OsStr>>(
        &self,
        program: &str,
        options: impl IntoIterator<Item = W>,
        args: impl IntoIterator<Item = A>,
    ) -> Command {
        let direct = self.command(args);
        let mut command = Command::new(program);
        command.args(options).arg(direct.get_program()).args(direct.get_args());
        command.arg("--state-dir").arg(self.state_dir());
        command.env_clear().current_dir(self.root()).stdin(Stdio::null());
        for (name, value) in direct.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        command
    }

    /// `gc --json` with further arguments.
    #[must_use = "check the exit status with `ok` or `code`"]
    pub fn gc<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Output {
        let more = args.into_iter().map(|arg| arg.as_ref().to_owned());
        self.run(["gc".into(), "--json".into()].into_iter().chain(more))
    }

    /// `restore --json` of everything that the last run took.
    #[must_use = "check the exit status with `ok` or `code`"]
    pub fn restore_latest(&self) -> Output {
        self.run(["restore", "latest", "--json"])
    }

    /// `scan --json` with further arguments, parsed.
    #[track_caller]
    pub fn scan<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Value {
        let more = args.into_iter().map(|arg| arg.as_ref().to_owned());
        self.run(["scan".into(), "--json".into()].into_iter().chain(more)).ok().json()
    }

    /// The manifest of a run.
    pub fn manifest(&self, run: &str) -> Value {
        serde_json::from_slice(&self.read(format!("claw-sessions/runs/{run}/manifest.json"))).unwrap()
    }

    /// Writes the manifest of a run anew, sealed as the tool seals it.
    pub fn set_manifest(&self, run: &str, manifest: Value) {
        self.write(format!("claw-sessions/runs/{run}/manifest.json"), seal(manifest));
    }

    /// The ids of all runs, in their order.
    pub fn run_ids(&self) -> Vec<String> {
        let runs = fs::read_dir(self.path("claw-sessions/runs")).into_iter().flatten();
        let mut ids: Vec<String> = runs.map(|run| run.unwrap().file_name().into_string().unwrap()).collect();
        ids.sort_by_key(|id| id.rsplit('-').next().map(str::to_owned));
        ids
    }

    /// The text with what differs from run to run replaced by something of the same width: the temporary directory,
    /// and the ids of runs, which become `run-1…`, `run-2…` in the order in which they began.
    pub fn redact(&self, text: &str) -> String {
        let mut text = text.replace(&self.root().display().to_string(), PLACE);
        for (i, id) in self.run_ids().iter().enumerate() {
            text = text.replace(id, &format!("{:·<width$}", format!("run-{}", i + 1), width = id.len()));
        }
        text
    }
}

/// A manifest as the tool writes it: it ends with the hash of itself.
pub fn seal(mut manifest: Value) -> Vec<u8> {
    manifest.as_object_mut().unwrap().shift_remove("sha256");
    let mut text = serde_json::to_vec(&manifest).unwrap();
    text.pop();
    let hash = Sha256::digest(&text).iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    text.extend_from_slice(format!(",\"sha256\":\"{hash}\"}}\n").as_bytes());
    text
}

/// What a run printed, and how it ended.
#[derive(Debug)]
pub struct Output {
    /// The command line, for messages.
    pub command: String,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// None when a signal ended it.
    pub code: Option<i32>,
}

impl Output {
    /// Runs a command to its end.
    #[must_use = "check the exit status with `ok` or `code`"]
    pub fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        let args: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
        Self {
            command: format!("claw-sessions {}", args.join(" ")),
            stdout: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
            code: output.status.code(),
        }
    }

    /// Only how it ended: where it prints is set already.
    pub fn of_status(command: &mut Command) -> Option<i32> {
        command.status().unwrap().code()
    }

    /// Asserts exit status 0.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.code(0)
    }

    /// Asserts this exit status.
    #[track_caller]
    pub fn code(self, expected: i32) -> Self {
        assert!(self.code == Some(expected), "expected exit status {expected}\n$ {}\n{self}", self.command);
        self
    }

    /// The one JSON document on stdout.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("stdout: {error}\n$ {}\n{self}", self.command))
    }
}

/// Shaped for snapshots: stdout, stderr when there is any, exit status.
impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.stdout)?;
        if !self.stderr.is_empty() {
            write!(f, "--- stderr\n{}", self.stderr)?;
        }
        match self.code {
            Some(code) => writeln!(f, "--- exit status {code}"),
            None => writeln!(f, "--- ended by a signal"),
        }
    }
}

/// The binding with this key in a document of scan, gc or explain.
#[track_caller]
pub fn binding<'a>(document: &'a Value, key: &str) -> &'a Value {
    let bindings = document["bindings"].as_array().unwrap();
    bindings.iter().find(|one| one["key"] == key).unwrap_or_else(|| panic!("no binding {key} in {document:#}"))
}

/// The keys of the bindings with this action.
pub fn keys(document: &Value, action: &str) -> Vec<String> {
    let bindings = document["bindings"].as_array().unwrap();
    bindings.iter().filter(|one| one["action"] == action).map(|one| one["key"].as_str().unwrap().to_owned()).collect()
}

/// The keys that a restore bound again.
#[track_caller]
pub fn bound(document: &Value) -> Vec<String> {
    let bindings = document["bindings"].as_array().unwrap();
    bindings.iter().map(|one| one["key"].as_str().unwrap().to_owned()).collect()
}

/// The action of the binding with this key, and its first reason: `expire idle`.
#[track_caller]
pub fn verdict(document: &Value, key: &str) -> String {
    let one = binding(document, key);
    format!("{} {}", one["action"].as_str().unwrap(), one["reasons"][0].as_str().unwrap())
}

/// The file whose path ends like this in a document of scan or gc.
#[track_caller]
pub fn file<'a>(document: &'a Value, end: &str) -> &'a Value {
    let files = document["files"].as_array().unwrap();
    let found = files.iter().find(|one| one["path"].as_str().unwrap().ends_with(end));
    found.unwrap_or_else(|| panic!("no file {end} in {:#}", document["files"]))
}

/// The built binary. Cargo names it, from 1.94 on; before that, and without Cargo, it is where Cargo puts it: beside the
/// directory of the running test.
pub fn binary() -> PathBuf {
    let named = std::env::var_os("CARGO_BIN_EXE_claw-sessions").map(PathBuf::from);
    let binary = named.unwrap_or_else(|| {
        let test = std::env::current_exe().unwrap();
        test.ancestors().nth(2).unwrap().join("claw-sessions")
    });
    assert!(binary.is_file(), "{} is not built: cargo build", binary.display());
    binary
}

/// A path in the repository.
pub fn repository(rel: impl AsRef<Path>) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().join(rel)
}

/// A path below `fixtures/`.
pub fn fixture(name: &str) -> PathBuf {
    repository("fixtures").join(name)
}

/// The rows of an `expected.tsv`, each as column name → cell.
pub fn expected(name: &str) -> Vec<BTreeMap<String, String>> {
    let text = fs::read_to_string(fixture(name)).unwrap();
    let mut rows = text.lines().map(|line| line.split('\t').map(str::to_owned));
    let columns: Vec<String> = rows.next().unwrap().collect();
    rows.map(|row| columns.iter().cloned().zip(row).collect()).collect()
}

/// `tar -xpf`, with the nanoseconds of modification times.
fn unpack(archive: &Path, to: &Path) {
    let file = File::open(archive).unwrap_or_else(|error| panic!("{}: {error}", archive.display()));
    let mut archive = tar::Archive::new(GzDecoder::new(file));
    archive.set_preserve_permissions(true);
    let mut times = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut modified = Duration::from_secs(entry.header().mtime().unwrap());
        for extension in entry.pax_extensions().unwrap().into_iter().flatten().map(Result::unwrap) {
            if extension.key() == Ok("mtime") {
                modified = decimal_seconds(extension.value().unwrap());
            }
        }
        entry.unpack_in(to).unwrap();
        times.push((to.join(entry.path().unwrap()), UNIX_EPOCH + modified));
    }
    // Directories last: writing into one changes its time.
    for (path, time) in times.into_iter().rev() {
        File::open(path).unwrap().set_modified(time).unwrap();
    }
}

/// `1795384800.123` as a duration, exactly.
fn decimal_seconds(text: &str) -> Duration {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let nanos = format!("{fraction:0<9}")[..9].parse().unwrap();
    Duration::new(seconds.parse().unwrap(), nanos)
}
