//! `openclaw.json` as a typed view: only what decides where sessions are and when they are stale, and whether each
//! value was written or is a default (`openclaw-format.md` §1.2, §1.3, §7.1).
//!
//! OpenClaw refuses to start with a value of a wrong type, so here such a value is a problem and never a default.
//! Unknown keys are left alone: which keys are known depends on the release.

mod read;
mod substitute;
mod version;

use std::fmt;
use std::path::PathBuf;

use chrono::TimeDelta;

pub use self::substitute::{own_variables, substitute};
pub use self::version::Version;
use super::duration::Limit;
use crate::model::reset::ResetRules;

/// The configuration as found, usable or not.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedConfig {
    /// Where it is, or would be.
    pub path: PathBuf,
    /// Whether it can be used.
    pub state: ConfigState,
    /// The values; all unset unless the state is [`ConfigState::Valid`].
    pub config: OpenclawConfig,
    /// Why it is invalid.
    pub problems: Vec<ConfigProblem>,
    /// What is worth saying though nothing is wrong.
    pub notes: Vec<String>,
    /// It is there and could not be read, whatever may stand in it.
    pub unread: bool,
}

/// Whether `openclaw.json` can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigState {
    /// There is none: OpenClaw's defaults hold.
    Missing,
    /// Read whole.
    Valid,
    /// OpenClaw would refuse it; nothing of it is used.
    Invalid,
}

/// One thing wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The dotted path of the setting, or the file.
    pub place: String,
    /// What is wrong there.
    pub message: String,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// The settings that matter here; `None` was not written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OpenclawConfig {
    /// `agents.list[].id` or the keys of `agents.entries`: normalized, without repetition, in order.
    pub agents: Vec<String>,
    /// The agent with `default: true`.
    pub marked_default_agent: Option<String>,
    /// `session.store`, a path that may hold `{agentId}` and `~`.
    pub store: Option<String>,
    /// `session.mainKey`.
    pub main_key: Option<String>,
    /// `session.scope`.
    pub scope: Option<Scope>,
    /// `session.reset`, `resetByType`, `resetByChannel`, `idleMinutes`.
    pub reset: ResetRules,
    /// `session.maintenance.pruneAfter`.
    pub prune_after: Option<TimeDelta>,
    /// `session.maintenance.pruneDays`, deprecated.
    pub prune_days: Option<TimeDelta>,
    /// `session.maintenance.mode` is `warn`.
    pub reports_only: bool,
    /// `session.maintenance.maxEntries`.
    pub max_entries: Option<usize>,
    /// `session.threadBindings.idleHours`; zero is off.
    pub binding_idle: Option<TimeDelta>,
    /// `session.threadBindings.maxAgeHours`; zero is off.
    pub binding_max_age: Option<TimeDelta>,
    /// `cron.sessionRetention`; `false` is off.
    pub cron_retention: Option<Limit>,
    /// `cron.store`.
    pub cron_store: Option<String>,
    /// `agents.defaults.maxConcurrent`.
    pub max_concurrent: Option<u32>,
    /// `agents.defaults.timeoutSeconds`.
    pub timeout_seconds: Option<u64>,
    /// `agents.defaults.subagents.archiveAfterMinutes`; zero is off.
    pub archive_after: Option<TimeDelta>,
    /// `gateway.port`.
    pub gateway_port: Option<u16>,
    /// `meta.lastTouchedVersion`, as written.
    pub last_touched_version: Option<String>,
}

/// `session.scope`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// A session for each sender, the default.
    PerSender,
    /// One session for all.
    Global,
}

impl OpenclawConfig {
    /// The agents as OpenClaw lists them: `main` when none is configured (`openclaw-format.md` §1.3).
    pub fn agent_ids(&self) -> Vec<String> {
        if self.agents.is_empty() { vec!["main".to_owned()] } else { self.agents.clone() }
    }

    /// The agent marked as default, else the first, else `main` (`openclaw-format.md` §1.3).
    pub fn default_agent(&self) -> &str {
        self.marked_default_agent.as_ref().or_else(|| self.agents.first()).map_or("main", String::as_str)
    }

    /// The last part of main conversations' keys.
    pub fn main_key(&self) -> &str {
        self.main_key.as_deref().map_or("main", str::trim)
    }

    /// The release that last wrote the configuration, when its name can be read.
    pub fn version(&self) -> Option<Version> {
        self.last_touched_version.as_deref().and_then(Version::parse)
    }
}
