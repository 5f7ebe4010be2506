//! File names in a sessions directory (`openclaw-format.md` §4.1, §13.1): what a name says a file is.

use chrono::{DateTime, NaiveDateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a file's name says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameKind {
    /// `<name>.jsonl`, and nothing more special.
    Transcript,
    /// `<file>.lock`
    Lock,
    /// Any other file.
    Artifact(FileKind),
}

/// What a file beside the transcripts is (design §6, `files[].kind`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FileKind {
    /// A transcript that nothing refers to.
    Orphan,
    /// A transcript beside sessions that live in SQLite.
    Leftover,
    /// `.reset.<TS>`: history that a person may want back.
    ArchiveReset,
    /// `.deleted.<TS>`
    ArchiveDeleted,
    /// `.bak.<TS>`, made by `sessions.compact`.
    ArchiveBak,
    /// `sessions.json.bak.<ms>`, made by rotation.
    StoreBak,
    /// `.stuck-bak`, made by the manual recipe of openclaw#44687.
    StuckBak,
    /// `.jsonl.bak-<pid>-<ms>` or `.corrupt-…`, made by OpenClaw's repair.
    RepairBak,
    /// A temporary file that a crash left.
    Temp,
    /// A lock whose owner is gone.
    LockDead,
    /// A lock that is held.
    LockLive,
    /// `.checkpoint.<uuid>.jsonl`
    Checkpoint,
    /// `.trajectory.jsonl` or `.trajectory-path.json`
    Trajectory,
    /// Below `skills-prompts/`.
    PromptBlob,
    /// Anything else.
    Other,
}

impl FileKind {
    /// Its name in tables and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Orphan => "orphan",
            Self::Leftover => "leftover",
            Self::ArchiveReset => "archive-reset",
            Self::ArchiveDeleted => "archive-deleted",
            Self::ArchiveBak => "archive-bak",
            Self::StoreBak => "store-bak",
            Self::StuckBak => "stuck-bak",
            Self::RepairBak => "repair-bak",
            Self::Temp => "temp",
            Self::LockDead => "lock-dead",
            Self::LockLive => "lock-live",
            Self::Checkpoint => "checkpoint",
            Self::Trajectory => "trajectory",
            Self::PromptBlob => "prompt-blob",
            Self::Other => "other",
        }
    }
}

/// Tells what a name in a sessions directory means; `store` is the name of the store file there.
pub fn classify(name: &str, store: &str) -> NameKind {
    use NameKind::Artifact;
    if name.ends_with(".lock") {
        return NameKind::Lock;
    }
    if name.ends_with(".stuck-bak") {
        return Artifact(FileKind::StuckBak);
    }
    let rotated = name.strip_prefix(store).and_then(|rest| rest.strip_prefix(".bak."));
    if rotated.is_some_and(|millis| !millis.is_empty() && millis.bytes().all(|byte| byte.is_ascii_digit())) {
        return Artifact(FileKind::StoreBak);
    }
    if name.ends_with(".tmp") {
        return Artifact(FileKind::Temp);
    }
    for (marker, kind) in
        [(".reset.", FileKind::ArchiveReset), (".deleted.", FileKind::ArchiveDeleted), (".bak.", FileKind::ArchiveBak)]
    {
        if archive_time(name, marker).is_some() {
            return Artifact(kind);
        }
    }
    if name.contains(".jsonl.bak-") || name.contains(".corrupt-") {
        return Artifact(FileKind::RepairBak);
    }
    if name.ends_with(".trajectory.jsonl") || name.ends_with(".trajectory-path.json") {
        return Artifact(FileKind::Trajectory);
    }
    if name.ends_with(".jsonl") && name.contains(".checkpoint.") {
        return Artifact(FileKind::Checkpoint);
    }
    if name.ends_with(".jsonl") && name != store && name.len() > ".jsonl".len() {
        return NameKind::Transcript;
    }
    Artifact(FileKind::Other)
}

/// When an archive was made, from its name: `<file><marker>YYYY-MM-DDTHH-MM-SS(.mmm)?Z`, `.zst` allowed behind.
/// Never from its modification time.
pub fn archive_time(name: &str, marker: &str) -> Option<DateTime<Utc>> {
    let stamp = &name[name.rfind(marker)? + marker.len()..];
    let stamp = stamp.strip_suffix(".zst").unwrap_or(stamp).strip_suffix('Z')?;
    NaiveDateTime::parse_from_str(stamp, "%Y-%m-%dT%H-%M-%S%.f").ok().map(|time| time.and_utc())
}

/// When an archive of this kind was made, from its name.
pub fn archived_at(name: &str, kind: FileKind) -> Option<DateTime<Utc>> {
    match kind {
        FileKind::ArchiveReset => archive_time(name, ".reset."),
        FileKind::ArchiveDeleted => archive_time(name, ".deleted."),
        FileKind::ArchiveBak => archive_time(name, ".bak."),
        FileKind::StoreBak => {
            let millis = name.rsplit('.').next()?.parse().ok()?;
            DateTime::from_timestamp_millis(millis)
        }
        _ => None,
    }
}

/// Returns whether OpenClaw accepts a session id as a file name: `^[a-z0-9][a-z0-9._-]{0,127}$`, any case (F§4.1).
pub fn is_session_id(id: &str) -> bool {
    let id = id.trim();
    (1..=128).contains(&id.len())
        && id.starts_with(|c: char| c.is_ascii_alphanumeric())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use FileKind::{ArchiveBak, ArchiveDeleted, ArchiveReset, Checkpoint, Other, RepairBak, StoreBak, StuckBak, Temp};

    #[test]
    fn every_name_of_the_format_reference_is_told_apart() {
        for (name, kind) in [
            ("a.jsonl", NameKind::Transcript),
            ("a-topic-12.jsonl", NameKind::Transcript),
            ("2026-11-22T22-00-00-000Z_0d.jsonl", NameKind::Transcript),
            ("a.jsonl.lock", NameKind::Lock),
            ("sessions.json.lock", NameKind::Lock),
            ("a.jsonl.reset.2026-11-22T22-01-35.689Z", NameKind::Artifact(ArchiveReset)),
            ("a.jsonl.deleted.2026-11-22T22-01-35Z", NameKind::Artifact(ArchiveDeleted)),
            ("a.jsonl.deleted.2026-11-22T22-01-35.689Z.zst", NameKind::Artifact(ArchiveDeleted)),
            ("a.jsonl.bak.2026-11-22T22-01-35.689Z", NameKind::Artifact(ArchiveBak)),
            ("a.jsonl.reset.yesterday", NameKind::Artifact(Other)),
            ("sessions.json.bak.1795384800000", NameKind::Artifact(StoreBak)),
            ("a.jsonl.bak-12-1795384800000", NameKind::Artifact(RepairBak)),
            ("a.jsonl.repair-12-1795384800000.tmp", NameKind::Artifact(Temp)),
            ("sessions.json.0d5b.tmp", NameKind::Artifact(Temp)),
            ("a.jsonl.stuck-bak", NameKind::Artifact(StuckBak)),
            ("a.checkpoint.0d.jsonl", NameKind::Artifact(Checkpoint)),
            ("a.trajectory.jsonl", NameKind::Artifact(FileKind::Trajectory)),
            ("a.trajectory-path.json", NameKind::Artifact(FileKind::Trajectory)),
            ("a.jsonl.corrupt-2026-11-22T23-39-25-471Z-faec0a6a.jsonl", NameKind::Artifact(RepairBak)),
            ("notes.txt", NameKind::Artifact(Other)),
        ] {
            assert_eq!(classify(name, "sessions.json"), kind, "{name}");
        }
    }

    #[test]
    fn ids_that_openclaw_rejects_are_known() {
        assert!(is_session_id("my-named-session") && is_session_id(" A.b_c "));
        assert!(!is_session_id("") && !is_session_id("../x") && !is_session_id("a/b") && !is_session_id(".x"));
        assert!(!is_session_id(&"a".repeat(129)));
    }
}
