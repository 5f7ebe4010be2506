//! Whether a process lives: by pid and start time, never by age (`openclaw-format.md` §5).

use rustix::process::{Pid, test_kill_process};

use crate::disk::platform;
use crate::model::lock::{LockPayload, LockState, ProcessState};

/// What the system says of a pid. A process that may not be signalled (EPERM) exists all the same.
pub fn state(pid: u32) -> ProcessState {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return ProcessState::Gone };
    if test_kill_process(pid) == Err(rustix::io::Errno::SRCH) {
        return ProcessState::Gone;
    }
    platform::state(pid.as_raw_nonzero().get().unsigned_abs())
}

/// Judges a lock file's bytes. A start time that another system counted is not compared.
pub fn judge(bytes: &[u8]) -> (LockPayload, LockState) {
    let payload = LockPayload::read(bytes);
    let comparable = LockPayload {
        starttime: payload.starttime.filter(|starttime| platform::is_comparable(*starttime)),
        ..payload.clone()
    };
    let judged = LockState::judge(&comparable, state);
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
