//! Processes as `ps` shows them, where there is no `/proc`: macOS and the BSDs.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::NaiveDateTime;

use super::{Called, Listener, Opener, Status};
use crate::model::lock::ProcessState;
use crate::model::proof::DirId;

/// Start times are in whole seconds, so an answer of this age tells a process from another as well as a new one.
const FRESH: Duration = Duration::from_secs(1);

/// A start time below this one is in ticks since the boot: a container of Linux wrote it into a folder that it shares.
const FIRST_SECOND: u64 = 1_000_000_000;

/// Answers about processes, with the moment of each: a gateway may hold many locks.
static KNOWN: LazyLock<Mutex<HashMap<u32, (Instant, ProcessState)>>> = LazyLock::new(Mutex::default);

/// Returns what the system says of a process that exists. The start time is in seconds since the epoch, as OpenClaw writes
/// it into its locks there.
pub(crate) fn state(pid: u32) -> ProcessState {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, state)) = known.get(&pid).filter(|(at, _)| at.elapsed() < FRESH) {
        return *state;
    }
    let line = ps(&["-o", "stat=", "-o", "lstart=", "-p", &pid.to_string()]);
    let state = line.map_or(ProcessState::Exists(None), |line| read_state(&String::from_utf8_lossy(&line)));
    known.insert(pid, (Instant::now(), state));
    state
}

/// Reads `Ss   Mon Nov 30 19:01:05 2026`, in UTC.
fn read_state(line: &str) -> ProcessState {
    let (stat, started) = line.trim().split_once(' ').unwrap_or_default();
    let started = NaiveDateTime::parse_from_str(started.trim(), "%a %b %e %H:%M:%S %Y").ok();
    match started.and_then(|time| u64::try_from(time.and_utc().timestamp()).ok()) {
        _ if stat.starts_with('Z') => ProcessState::Gone,
        started => ProcessState::Exists(started),
    }
}

/// Returns whether the start time of a lock is counted as this system counts.
pub(crate) const fn is_comparable(starttime: u64) -> bool {
    starttime >= FIRST_SECOND
}

/// Returns the ids of all processes.
pub(crate) fn all() -> impl Iterator<Item = u32> {
    let table = ps(&["-ax", "-o", "pid="]).unwrap_or_default();
    let ids: Vec<u32> = String::from_utf8_lossy(&table).split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    ids.into_iter()
}

/// Returns the processes whose program `may_be` accepts, by the base of its name.
pub(crate) fn named(may_be: fn(&[u8]) -> bool) -> impl Iterator<Item = Called> {
    let table = ps(&["-axww", "-o", "pid=", "-o", "command="]).unwrap_or_default();
    let called: Vec<Called> = table.split(|&byte| byte == b'\n').filter_map(|line| read_line(line, may_be)).collect();
    called.into_iter()
}

/// Reads `  4711 /usr/local/bin/node /opt/openclaw/dist/index.js gateway`.
fn read_line(line: &[u8], may_be: fn(&[u8]) -> bool) -> Option<Called> {
    let line = line.trim_ascii();
    let (pid, cmdline) = line.split_at(line.iter().position(|&byte| byte == b' ')?);
    let cmdline = cmdline.trim_ascii_start();
    let program = cmdline.split(|&byte| byte == b' ').next()?;
    let name = program.rsplit(|&byte| byte == b'/').next()?;
    let pid = std::str::from_utf8(pid).ok()?.parse().ok()?;
    may_be(name).then(|| Called { pid, cmdline: cmdline.to_owned() })
}

/// Reads the status of a process; `None` when it is gone. There are no containers beside this system.
pub(crate) fn status(pid: u32) -> Option<Status> {
    let line = ps(&["-o", "uid=", "-o", "ruid=", "-p", &pid.to_string()])?;
    let uids = String::from_utf8_lossy(&line).split_whitespace().filter_map(|uid| uid.parse().ok()).collect();
    Some(Status { uids, nested: false })
}

/// Reads the environment of a process: pairs that end in NUL. That of another user cannot be read.
pub(crate) fn environ(pid: u32) -> io::Result<Vec<u8>> {
    let id = pid.to_string();
    let line = ps(&["-ww", "-o", "command=", "-p", &id]);
    let both = ps(&["eww", "-o", "command=", "-p", &id]);
    let found = line.zip(both).and_then(|(line, both)| {
        let environ = both.trim_ascii().strip_prefix(line.trim_ascii())?.trim_ascii();
        (!environ.is_empty()).then(|| pairs(environ))
    });
    found.ok_or_else(|| io::ErrorKind::PermissionDenied.into())
}

/// Parts pairs that `ps` shows with spaces between them. A value may hold spaces too: it ends where a name and `=` follow.
fn pairs(environ: &[u8]) -> Vec<u8> {
    let begins_pair = |word: &[u8]| {
        let name = word.split(|&byte| byte == b'=').next().unwrap_or_default();
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        name.len() < word.len() && !name.is_empty() && name.iter().all(is_name) && !name[0].is_ascii_digit()
    };
    let mut pairs: Vec<u8> = Vec::with_capacity(environ.len());
    for (at, word) in environ.split(|&byte| byte == b' ').enumerate() {
        if at > 0 {
            pairs.push(if begins_pair(word) { 0 } else { b' ' });
        }
        pairs.extend_from_slice(word);
    }
    pairs
}

/// Returns the directory in which a process works: `ps` does not tell.
pub(crate) const fn cwd(_: u32) -> Option<PathBuf> {
    None
}

/// Returns whether a process sees the files and the processes that this one sees: all do.
pub(crate) const fn is_beside(_: u32) -> bool {
    true
}

/// Returns what a process finds at an absolute path; `None` when it finds nothing.
pub(crate) fn finds(_: u32, path: &Path) -> io::Result<Option<DirId>> {
    match std::fs::metadata(path) {
        Ok(meta) => Ok(Some(DirId { dev: meta.dev(), ino: meta.ino() })),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns the sockets that may answer to a connection to this port: `ps` does not tell.
pub(crate) const fn listeners(_: u16) -> Vec<Listener> {
    Vec::new()
}

/// Returns whether a process has this socket open: `ps` does not tell.
pub(crate) const fn holds(_: u32, _: &Listener) -> bool {
    false
}

/// Returns another process that has a file open, as `lsof` says, which macOS has.
pub(crate) fn opened(path: &Path) -> Opener {
    let lsof = ["/usr/sbin/lsof", "/usr/bin/lsof"].into_iter().find(|program| Path::new(program).exists());
    let output = lsof.map(|lsof| Command::new(lsof).args(["-t", "--"]).arg(path).stdin(Stdio::null()).output());
    let Some(Ok(output)) = output else { return Opener::Unseen };
    // It ends with 1 and says nothing when there is none.
    if !output.status.success() && !output.stderr.is_empty() {
        return Opener::Unseen;
    }
    let own = std::process::id();
    let text = String::from_utf8_lossy(&output.stdout);
    let mut pids = text.split_whitespace().filter_map(|pid| pid.parse().ok());
    pids.find(|pid| *pid != own).map_or(Opener::Nobody, Opener::By)
}

/// Returns the signals that this process was started to ignore, a bit each: not every `ps` tells.
pub(crate) const fn ignored_signals() -> u64 {
    0
}

fn ps(arguments: &[&str]) -> Option<Vec<u8>> {
    let mut command = Command::new("/bin/ps");
    command.args(arguments).env_clear().env("LC_ALL", "C").env("TZ", "UTC");
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output();
    output.ok().filter(|output| output.status.success()).map(|output| output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_ps_names_pid_and_command_line() {
        let line = b"  4711 /opt/homebrew/bin/node /opt/homebrew/lib/node_modules/openclaw/dist/index.js gateway";
        let read = read_line(line, |name| name == b"node");
        assert_eq!(read, Some(Called { pid: 4711, cmdline: line[7..].to_vec() }));
        assert_eq!(read_line(line, |_| false), None);
        assert_eq!(read_line(b"", |_| true), None);
    }

    #[test]
    fn this_process_is_seen() {
        let own = std::process::id();
        assert!(all().any(|pid| pid == own));
        assert!(named(|_| true).any(|process| process.pid == own));
        assert!(matches!(state(own), ProcessState::Exists(Some(started)) if is_comparable(started)));
        let uid = rustix::process::geteuid().as_raw();
        assert_eq!(status(own), Some(Status { uids: vec![uid, uid], nested: false }));
        assert_eq!(status(u32::MAX >> 1), None);
    }

    #[test]
    fn a_start_time_is_in_seconds_since_the_epoch() {
        assert_eq!(read_state("Ss   Mon Nov 30 19:01:05 2026\n"), ProcessState::Exists(Some(1_796_065_265)));
        assert_eq!(read_state("S+   Tue Dec  1 09:01:05 2026"), ProcessState::Exists(Some(1_796_115_665)));
        assert_eq!(read_state("Z    Mon Nov 30 19:01:05 2026"), ProcessState::Gone);
        assert_eq!(read_state("S    gestern"), ProcessState::Exists(None));
        assert!(!is_comparable(24_170_343), "ticks of a container");
    }

    #[test]
    fn the_environment_of_an_own_process_is_read() {
        let mut child = Command::new("/bin/sleep");
        let child = child.arg("5").env_clear().env("OPENCLAW_STATE_DIR", "/x y/z").env("HOME", "/h").spawn();
        let mut child = child.unwrap_or_else(|error| unreachable!("{error}"));
        // Until it runs `sleep`, it is still this program.
        let mut read = String::new();
        for _ in 0..100 {
            read = String::from_utf8(environ(child.id()).unwrap_or_default()).unwrap_or_default();
            if read.contains("/h") {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = child.kill();
        let _ = child.wait();
        let mut pairs: Vec<&str> = read.split('\0').collect();
        pairs.sort_unstable();
        assert_eq!(pairs, ["HOME=/h", "OPENCLAW_STATE_DIR=/x y/z"]);
    }
}
