//! The policy: every limit that decides, each with the place it came from.

mod pattern;
mod resolve;

use std::collections::BTreeMap;
use std::fmt;

use chrono::TimeDelta;
use serde::Deserialize;

pub use self::pattern::matches;
pub use self::resolve::resolve;
use super::duration::Limit;
use crate::model::key::Class;
use crate::model::reset::ResetRules;

/// A value and where it was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sourced<T> {
    /// The value in force.
    pub value: T,
    /// Where it came from.
    pub source: Source,
}

/// Where a limit came from, strongest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A command-line flag, such as `--idle`.
    Flag(&'static str),
    /// A key of the policy file, such as `class.cron-run.idle`.
    PolicyFile(String),
    /// A setting of `openclaw.json`, such as `session.threadBindings.idleHours`.
    Openclaw(String),
    /// The built-in default.
    Default,
    /// The default, switched off because `openclaw.json` could not be used.
    ConfigInvalid,
}

/// When an idle binding of some class is stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdleRule {
    /// Idle for this long or longer.
    After(TimeDelta, StaleCode),
    /// OpenClaw's own reset rule would start a new session at the next message.
    OpenclawReset,
    /// Never.
    Off,
}

/// Which reason an [`IdleRule::After`] gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaleCode {
    /// An explicit idle limit.
    Idle,
    /// `cron.sessionRetention`.
    CronRetention,
    /// `agents.defaults.subagents.archiveAfterMinutes`, counted from the end of the run.
    ArchiveAfter,
}

/// The limits for one class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassPolicy {
    /// Protected from the failure, staleness and count rules.
    pub protected: Sourced<bool>,
    /// When it is stale by idleness.
    pub idle: Sourced<IdleRule>,
    /// When it is stale by age; `None` is off.
    pub max_age: Sourced<Option<TimeDelta>>,
    /// The newest so many of each cron job stay; only for `cron-run`.
    pub keep_last: Sourced<usize>,
}

/// Which failures let a binding expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailedMode {
    /// Any failure, conversations included.
    Any,
    /// Only errors that the session cannot outlive.
    Permanent,
    /// None.
    Off,
}

/// The share of bindings that one run may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MaxRemovals {
    /// At most so many bindings.
    Count(usize),
    /// At most so many per cent of all bindings.
    Percent(f64),
}

/// Everything that decides, resolved from flags, policy file, `openclaw.json` and defaults (design §4).
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Activity within this shields a binding.
    pub grace: Sourced<TimeDelta>,
    /// A failed binding goes after this idle time.
    pub error_idle: Sourced<TimeDelta>,
    /// `None`: any failure for synthetic classes, permanent ones for conversations.
    pub failed: Sourced<Option<FailedMode>>,
    /// Limits by class; every class has one.
    pub classes: BTreeMap<Class, ClassPolicy>,
    /// `session.maintenance.pruneAfter`, when set: idle for longer is stale whatever else holds.
    pub prune_after: Sourced<Option<TimeDelta>>,
    /// OpenClaw's reset rule; `None` when its configuration could not be read.
    pub reset: Option<ResetRules>,
    /// At most so many bindings for one agent.
    pub max_bindings: Sourced<Option<usize>>,
    /// At most so many bindings that a start resumes, in the whole state directory; the others are deferred.
    pub max_resumes: Sourced<Option<usize>>,
    /// Keys that stay, as patterns with `*` and `?`, each with its source.
    pub keep: Vec<Sourced<String>>,
    /// Keys to look at, as patterns; empty means all.
    pub only: Vec<String>,
    /// Take every binding that is not live.
    pub all: bool,
    /// Whether orphans are archived.
    pub orphans: bool,
    /// Delete OpenClaw's `.deleted.` and `.bak` archives older than this.
    pub purge_archives: Sourced<Option<TimeDelta>>,
    /// Delete OpenClaw's `.reset.` archives older than this.
    pub purge_resets: Sourced<Option<TimeDelta>>,
    /// Own runs are forgotten after this; `None` keeps them.
    pub keep_runs: Sourced<Option<TimeDelta>>,
    /// A plan above this is refused.
    pub max_removals: Sourced<Option<MaxRemovals>>,
    /// A session found failed and unchanged at so many starts in a row is taken aside.
    pub poison_starts: Option<u32>,
    /// Slots of `lane=main`.
    pub slots: Sourced<u32>,
    /// Seconds that one agent run may take.
    pub timeout_seconds: Sourced<u64>,
}

/// What the command line sets; an inner `None` is `off`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolicyFlags {
    /// `--idle`.
    pub idle: Option<Limit>,
    /// `--max-age`.
    pub max_age: Option<Limit>,
    /// `--error-idle`.
    pub error_idle: Option<TimeDelta>,
    /// `--grace`.
    pub grace: Option<TimeDelta>,
    /// `--max-bindings`.
    pub max_bindings: Option<usize>,
    /// `--max-resumes`.
    pub max_resumes: Option<usize>,
    /// `--protect`.
    pub protect: Vec<Class>,
    /// `--unprotect`.
    pub unprotect: Vec<Class>,
    /// `--keep`.
    pub keep: Vec<String>,
    /// `--only`.
    pub only: Vec<String>,
    /// `--keep-last`.
    pub keep_last: Option<usize>,
    /// `--failed`.
    pub failed: Option<FailedMode>,
    /// `--all`.
    pub all: bool,
    /// `--no-orphans`.
    pub no_orphans: bool,
    /// `--keep-runs`.
    pub keep_runs: Option<Limit>,
    /// `--purge-archives`.
    pub purge_archives: Option<TimeDelta>,
    /// `--purge-resets`.
    pub purge_resets: Option<TimeDelta>,
    /// `--max-removals`.
    pub max_removals: Option<MaxRemovals>,
    /// `--boot`, unless `--no-poison`: `--poison-starts`.
    pub poison_starts: Option<u32>,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => f.pad(name),
            Self::PolicyFile(key) => write!(f, "policy file: {key}"),
            Self::Openclaw(key) => write!(f, "openclaw.json: {key}"),
            Self::Default => f.pad("default"),
            Self::ConfigInvalid => f.pad("default while openclaw.json is invalid"),
        }
    }
}

impl fmt::Display for MaxRemovals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(share) => write!(f, "{share} %"),
        }
    }
}

impl MaxRemovals {
    /// Reads `10` or `50%`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parsed = match text.strip_suffix('%') {
            Some(share) => share.parse().ok().filter(|share| *share > 0.0 && *share <= 100.0).map(Self::Percent),
            None => text.parse().ok().map(Self::Count),
        };
        parsed.ok_or_else(|| format!("'{text}' is neither a number of bindings nor a share: use 10 or 50%"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_says_where_the_limit_was_set() {
        let shown = |source: Source| source.to_string();
        assert_eq!(shown(Source::Flag("--idle")), "--idle");
        assert_eq!(shown(Source::PolicyFile("class.cron-run.idle".into())), "policy file: class.cron-run.idle");
        assert_eq!(shown(Source::Openclaw("cron.sessionRetention".into())), "openclaw.json: cron.sessionRetention");
        assert_eq!(shown(Source::Default), "default");
        assert_eq!(shown(Source::ConfigInvalid), "default while openclaw.json is invalid");
    }

    #[test]
    fn removals_are_limited_by_number_or_share() {
        assert_eq!(MaxRemovals::parse("10"), Ok(MaxRemovals::Count(10)));
        assert_eq!(MaxRemovals::parse("50%"), Ok(MaxRemovals::Percent(50.0)));
        assert_eq!(MaxRemovals::parse("0.5%"), Ok(MaxRemovals::Percent(0.5)));
        assert_eq!(MaxRemovals::parse("100%"), Ok(MaxRemovals::Percent(100.0)));
        for text in ["", "%", "0%", "100.1%", "-1", "-1%", "NaN%", "inf%", "1.5", "ten", "5 %"] {
            assert!(MaxRemovals::parse(text).is_err_and(|problem| problem.contains("50%")), "{text}");
        }
    }
}
