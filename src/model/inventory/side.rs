//! Side files of a state directory, as far as they speak of sessions.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

/// What other files of the state directory say (F§1.4).
#[derive(Clone, Debug, Default)]
pub struct Side {
    /// `subagents/runs.json`, by the child's key.
    pub subagents: BTreeMap<String, SubagentRun>,
    /// Ids of the jobs in `cron/jobs.json`.
    pub cron_jobs: BTreeSet<String>,
    /// Files that exist and could not be read: what they would protect is protected.
    pub unreadable: Unreadable,
    /// The last line of `cron/runs/*.jsonl` for a session key.
    pub cron_runs: BTreeMap<String, CronRun>,
    /// Session ids named in `cron/runs/*.jsonl`.
    pub cron_session_ids: BTreeSet<String>,
    /// Keys bound to threads in `telegram/thread-bindings-*.json` and `discord/thread-bindings.json`.
    pub bound_keys: BTreeSet<String>,
    /// Sessions that OpenClaw's own state in SQLite knows.
    pub placements: Vec<Placement>,
    /// Chats with a message that OpenClaw has not worked off: each is a turn at the next start.
    pub waiting_chats: u64,
    /// Files that could not be read, with why.
    pub problems: Vec<String>,
}

/// A session that OpenClaw's state knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The agent.
    pub agent: String,
    /// The key.
    pub key: String,
    /// The session.
    pub session_id: String,
}

/// Which side files exist and could not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unreadable {
    /// `subagents/runs.json`.
    pub subagents: bool,
    /// `cron/jobs.json`.
    pub cron_jobs: bool,
    /// A file of thread bindings, or the list of jobs, which bind sessions too.
    pub bindings: bool,
    /// A file of `cron/runs/`.
    pub cron_runs: bool,
}

/// A run of a subagent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubagentRun {
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// Its requester was told, or need not be.
    pub announced: bool,
    /// `outcome.status`.
    pub outcome: Option<String>,
}

/// A run of a cron job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CronRun {
    /// `status`: ok, error, skipped.
    pub status: String,
    /// `error`.
    pub error: Option<String>,
}
