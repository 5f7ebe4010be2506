//! OpenClaw's lock files: what one says, and whether its owner lives (`openclaw-format.md` §5).

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// More bytes than any lock has.
pub const LONGEST: u64 = 64 * 1024;

/// What a lock file says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockPayload {
    /// The owner's process id.
    #[serde(default, deserialize_with = "lenient_pid")]
    pub pid: Option<u32>,
    /// When it was taken, ISO-8601. Shown, never trusted.
    #[serde(rename = "createdAt", default)]
    pub created_at: Option<serde_json::Value>,
    /// Field 22 of `/proc/<pid>/stat` of the owner; `startTime` in gateway locks (F§5.4).
    #[serde(default, alias = "startTime", deserialize_with = "lenient_ticks")]
    pub starttime: Option<u64>,
    /// The configuration a gateway lock belongs to.
    #[serde(rename = "configPath", default)]
    pub config_path: Option<serde_json::Value>,
}

fn lenient_pid<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    let value = serde_json::Value::deserialize(from)?;
    Ok(value.as_u64().and_then(|pid| u32::try_from(pid).ok()).filter(|&pid| pid > 0))
}

fn lenient_ticks<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    Ok(serde_json::Value::deserialize(from)?.as_u64())
}

impl LockPayload {
    /// When it says that it was taken.
    pub fn taken_at(&self) -> Option<DateTime<Utc>> {
        let text = self.created_at.as_ref()?.as_str()?;
        DateTime::parse_from_rfc3339(text).ok().map(|time| time.with_timezone(&Utc))
    }

    /// Reads a lock file; an empty or garbled one names no owner.
    pub fn read(bytes: &[u8]) -> Self {
        serde_json::from_slice(bytes).unwrap_or_default()
    }
}

/// What the system says of a process id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessState {
    /// No such process, or a zombie.
    Gone,
    /// It exists; its start time where that can be read.
    Exists(Option<u64>),
}

/// Whether a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LockState {
    /// Its owner exists.
    Live,
    /// Its owner is gone.
    Dead,
    /// Its owner's pid belongs to another process now.
    Recycled,
    /// It names no owner. Treated as live: another process may be about to write it.
    Unreadable,
    /// Its owner is not here, and a gateway in a container, which has ids of its own, may be that owner.
    Unseen,
}

impl LockState {
    /// Judges a lock by pid and start time; never by age (F§5.6, rule 4).
    pub fn judge(payload: &LockPayload, process: impl FnOnce(u32) -> ProcessState) -> Self {
        let Some(pid) = payload.pid else { return Self::Unreadable };
        match (process(pid), payload.starttime) {
            (ProcessState::Gone, _) => Self::Dead,
            (ProcessState::Exists(Some(now)), Some(then)) if now != then => Self::Recycled,
            (ProcessState::Exists(_), _) => Self::Live,
        }
    }

    /// The same beside a gateway in a container: there the owner may be.
    #[must_use]
    pub const fn beside_container(self) -> Self {
        match self {
            Self::Dead | Self::Recycled => Self::Unseen,
            Self::Live | Self::Unreadable | Self::Unseen => self,
        }
    }

    /// Returns whether it must be respected.
    pub const fn is_held(self) -> bool {
        matches!(self, Self::Live | Self::Unreadable | Self::Unseen)
    }
}

/// Field 22 of `/proc/<pid>/stat`, and whether the process is a zombie. The command name may hold `)` and spaces.
pub fn parse_stat(stat: &str) -> Option<(u64, bool)> {
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
    let state = fields.next()?;
    let starttime = fields.nth(18)?.parse().ok()?;
    Some((starttime, matches!(state, "Z" | "X" | "x")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAYLOAD: &[u8] = br#"{ "pid": 42, "createdAt": "2026-11-22T22:00:26.402Z", "starttime": 7 }"#;

    fn judged(bytes: &[u8], process: ProcessState) -> LockState {
        LockState::judge(&LockPayload::read(bytes), |_| process)
    }

    #[test]
    fn c12_a_lock_is_judged_by_pid_and_start_time() {
        assert_eq!(judged(PAYLOAD, ProcessState::Gone), LockState::Dead);
        assert_eq!(judged(PAYLOAD, ProcessState::Exists(Some(7))), LockState::Live);
        assert_eq!(judged(PAYLOAD, ProcessState::Exists(Some(8))), LockState::Recycled);
        assert_eq!(judged(PAYLOAD, ProcessState::Exists(None)), LockState::Live);
        assert_eq!(judged(br#"{"pid":42}"#, ProcessState::Exists(Some(8))), LockState::Live);
        assert_eq!(judged(br#"{"pid":42,"startTime":9}"#, ProcessState::Exists(Some(8))), LockState::Recycled);
    }

    #[test]
    fn a_lock_without_owner_is_respected() {
        for bytes in [&b""[..], b"garbage", b"{}", b"{\"pid\":\"x\"}", b"{\"pid\":-1}"] {
            assert_eq!(judged(bytes, ProcessState::Gone), LockState::Unreadable, "{}", bytes.escape_ascii());
        }
        assert!(LockState::Unreadable.is_held());
    }

    #[test]
    fn a_command_name_with_brackets_does_not_shift_the_fields() {
        let stat = "42 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21";
        assert_eq!(parse_stat(stat), Some((4711, false)));
        assert_eq!(parse_stat("42 (x) Z 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 5"), Some((5, true)));
        assert_eq!(parse_stat("garbage"), None);
    }
}
