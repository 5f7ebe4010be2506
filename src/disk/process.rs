//! Whether a process lives: by pid and start time, never by age (`openclaw-format.md` §5).

use rustix::process::{Pid, test_kill_process};

use crate::model::lock::{LockPayload, LockState, ProcessState, parse_stat};

/// What the system says of a pid. A process that may not be signalled (EPERM) exists all the same.
pub fn state(pid: u32) -> ProcessState {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return ProcessState::Gone };
    if test_kill_process(pid) == Err(rustix::io::Errno::SRCH) {
        return ProcessState::Gone;
    }
    let stat = fs_err::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok();
    match stat.as_deref().and_then(parse_stat) {
        Some((_, true)) => ProcessState::Gone,
        Some((starttime, false)) => ProcessState::Exists(Some(starttime)),
        None => ProcessState::Exists(None),
    }
}

/// Judges a lock file's bytes.
pub fn judge(bytes: &[u8]) -> (LockPayload, LockState) {
    let payload = LockPayload::read(bytes);
    let judged = LockState::judge(&payload, state);
    (payload, judged)
}

/// This process's pid and start time.
pub fn own() -> (u32, Option<u64>) {
    let pid = std::process::id();
    match state(pid) {
        ProcessState::Exists(starttime) => (pid, starttime),
        ProcessState::Gone => (pid, None),
    }
}
