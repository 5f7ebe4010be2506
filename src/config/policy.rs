//! The policy: every limit that decides, each with the place it came from.

mod kind;
mod limits;
mod pattern;
mod resolve;

use std::collections::BTreeMap;
use std::fmt;

use chrono::TimeDelta;
use clap::Args;

pub use self::kind::{ValueKind, Written};
pub use self::limits::{
    ClassLimits, ClassPolicy, Described, GcLimitArgs, Limits, PolicyArgs, PolicyFile, Shown, described,
};
pub use self::pattern::matches;
pub use self::resolve::resolve;
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

/// Which failures let a binding expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
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
    /// The limits that hold for all classes.
    pub limits: Limits,
    /// Limits by class; every class has one.
    pub classes: BTreeMap<Class, ClassPolicy>,
    /// `session.maintenance.pruneAfter`, when set: idle for longer is stale whatever else holds.
    pub prune_after: Sourced<Option<TimeDelta>>,
    /// OpenClaw's reset rule; `None` when its configuration could not be read.
    pub reset: Option<ResetRules>,
    /// Keys that stay, as patterns with `*` and `?`.
    pub keep: Vec<Sourced<String>>,
    /// Keys to look at, as patterns; empty means all.
    pub only: Vec<Sourced<String>>,
    /// Take every binding that is not live.
    pub all: Sourced<bool>,
    /// Whether orphans are archived.
    pub orphans: Sourced<bool>,
    /// In SQLite: an age limit takes a conversation out, where it else marks it as archived.
    pub take_out: Sourced<bool>,
    /// `session.maintenance.mode` is `warn`: in SQLite nothing goes by age without an option.
    pub reports_only: Sourced<bool>,
    /// Slots of `lane=main`.
    pub slots: Sourced<u32>,
    /// Seconds that one agent run may take.
    pub timeout_seconds: Sourced<u64>,
}

/// What the command line sets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolicyFlags {
    /// Of every command that judges.
    pub policy: PolicyArgs,
    /// Of `gc` alone.
    pub gc: GcLimitArgs,
}

/// Options that choose bindings, classes and files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct ChoiceArgs {
    /// Every binding that is not live: the manual recipe, undoable.
    #[arg(long, help_heading = "What goes")]
    pub all: bool,
    /// In SQLite: what --idle and --max-age name is taken out, not marked as archived.
    #[arg(long, help_heading = "What goes")]
    pub take_out: bool,
    /// Take only keys that match, and no loose files; repeatable.
    #[arg(long, value_name = "PATTERN", help_heading = "What goes")]
    pub only: Vec<String>,
    /// Protect a class: main direct group channel topic thread cron cron-run hook subagent acp heartbeat slash node
    /// global other; repeatable.
    #[arg(long, value_enum, value_name = "CLASS", hide_possible_values = true, help_heading = "What stays")]
    pub protect: Vec<Class>,
    /// Do not protect a class [protected: main global group channel topic thread]; repeatable.
    #[arg(long, value_enum, value_name = "CLASS", hide_possible_values = true, help_heading = "What stays")]
    pub unprotect: Vec<Class>,
    /// Keep keys that match (`*` and `?`, else exact); repeatable.
    #[arg(long, value_name = "PATTERN", help_heading = "What stays")]
    pub keep: Vec<String>,
    /// Leave transcripts alone that nothing refers to.
    #[arg(long, help_heading = "What stays")]
    pub no_orphans: bool,
}

impl PolicyArgs {
    /// Returns the same as flags, with none of `gc`.
    pub fn flags(&self) -> PolicyFlags {
        PolicyFlags { policy: self.clone(), ..PolicyFlags::default() }
    }
}

impl Policy {
    /// Returns the place that sets the reset rule of a kind of conversation, or of a channel that has its own.
    pub fn reset_source(&self, class: Class, channel: Option<&str>) -> Source {
        let Some(rules) = &self.reset else { return Source::ConfigInvalid };
        let named = channel.map(str::to_lowercase).filter(|name| rules.by_channel.contains_key(name));
        let by_type = |name: &str| rules.by_type.contains_key(name).then(|| format!("session.resetByType.{name}"));
        let kind = ResetRules::kind(class);
        named
            .map(|name| format!("session.resetByChannel.{name}"))
            .or_else(|| by_type(kind))
            .or_else(|| by_type("dm").filter(|_| kind == "direct"))
            .or_else(|| rules.base.map(|_| "session.reset".to_owned()))
            .or_else(|| rules.idle_minutes.map(|_| "session.idleMinutes".to_owned()))
            .map_or(Source::Default, Source::Openclaw)
    }
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
