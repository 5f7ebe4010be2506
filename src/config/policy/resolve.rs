//! Puts the layers together: of every limit the strongest that is set, with its name.

use chrono::TimeDelta;

use super::{ClassPolicy, IdleRule, Limits, Policy, PolicyFile, PolicyFlags, Source, Sourced, StaleCode};
use crate::config::duration::Limit;
use crate::config::openclaw::{ConfigState, LoadedConfig, OpenclawConfig};
use crate::model::key::Class;

/// The policy in force: flags, else the policy file, else `openclaw.json`, else the defaults (design §4). Nothing of
/// an invalid `openclaw.json` is used.
pub fn resolve(flags: &PolicyFlags, file: Option<&PolicyFile>, config: &LoadedConfig) -> Policy {
    let (no_file, no_config) = (PolicyFile::default(), OpenclawConfig::default());
    let file = file.unwrap_or(&no_file);
    let usable = config.state != ConfigState::Invalid;
    let config = if usable { &config.config } else { &no_config };
    let layers = Layers { flags, file, config, usable };
    let choice = &flags.policy.choice;
    Policy {
        limits: Limits::resolve(&layers),
        classes: Class::ALL.into_iter().map(|class| (class, ClassPolicy::resolve(&layers, class))).collect(),
        prune_after: layers.prune_after(),
        reset: usable.then(|| config.reset.clone()),
        keep: named(&choice.keep, &Source::Flag("--keep"))
            .chain(named(&file.protect.keys, &Source::PolicyFile("protect.keys".to_owned())))
            .collect(),
        only: named(&choice.only, &Source::Flag("--only")).collect(),
        all: first([flag(choice.all.then_some(true), "--all")], default(false)),
        orphans: first([flag(choice.no_orphans.then_some(false), "--no-orphans")], default(true)),
        take_out: first([flag(choice.take_out.then_some(true), "--take-out")], default(false)),
        reports_only: first(
            [openclaw(config.reports_only.then_some(true), "session.maintenance.mode")],
            default(false),
        ),
        slots: first([openclaw(config.max_concurrent, "agents.defaults.maxConcurrent")], default(4)),
        timeout_seconds: first([openclaw(config.timeout_seconds, "agents.defaults.timeoutSeconds")], default(600)),
    }
}

/// The places a limit can come from, strongest first.
pub(super) struct Layers<'a> {
    pub(super) flags: &'a PolicyFlags,
    pub(super) file: &'a PolicyFile,
    pub(super) config: &'a OpenclawConfig,
    usable: bool,
}

impl Layers<'_> {
    pub(super) fn protected(&self, class: Class) -> Sourced<bool> {
        let named = |classes: &[Class], value: bool| classes.contains(&class).then_some(value);
        let (choice, protect) = (&self.flags.policy.choice, &self.file.protect);
        first(
            [
                flag(named(&choice.unprotect, false), "--unprotect"),
                flag(named(&choice.protect, true), "--protect"),
                setting(named(&protect.unprotect, false), "protect.unprotect"),
                setting(named(&protect.classes, true), "protect.classes"),
            ],
            default(class.is_protected_by_default()),
        )
    }

    /// Returns the idle limit that `openclaw.json` or its absence gives a class.
    pub(super) fn openclaws_idle(&self, class: Class) -> Sourced<IdleRule> {
        let bindings = self.config.binding_idle.filter(|idle| !idle.is_zero());
        // What ends by itself keeps its own, shorter retention.
        let bindings = bindings.filter(|_| !matches!(class, Class::CronRun | Class::Subagent));
        let rule = |after| IdleRule::After(after, StaleCode::Idle);
        first(
            [self.own_retention(class), openclaw(bindings.map(rule), "session.threadBindings.idleHours")],
            self.default_idle(class),
        )
    }

    /// What `openclaw.json` says for this class alone.
    fn own_retention(&self, class: Class) -> Option<Sourced<IdleRule>> {
        match class {
            Class::CronRun => openclaw(self.config.cron_retention.map(cron_retention), "cron.sessionRetention"),
            Class::Subagent => {
                openclaw(self.config.archive_after.map(archive_after), "agents.defaults.subagents.archiveAfterMinutes")
            }
            _ => None,
        }
    }

    fn default_idle(&self, class: Class) -> Sourced<IdleRule> {
        if !self.usable {
            // The file may hold a rule that keeps more than the default one: without it nothing is stale.
            return Sourced { value: IdleRule::Off, source: Source::ConfigInvalid };
        }
        default(match class {
            Class::CronRun => cron_retention(Some(TimeDelta::hours(24))),
            Class::Subagent => archive_after(TimeDelta::minutes(60)),
            _ => IdleRule::OpenclawReset,
        })
    }

    /// Returns the age limit that `openclaw.json` or its absence gives a class.
    pub(super) fn openclaws_max_age(&self, _: Class) -> Sourced<Limit> {
        let bindings = self.config.binding_max_age.filter(|age| !age.is_zero());
        first([openclaw(bindings.map(Some), "session.threadBindings.maxAgeHours")], default(None))
    }

    /// Returns the number of runs to keep where none is set; OpenClaw has no such setting.
    #[expect(clippy::unused_self, reason = "called as the other rows of the table call theirs")]
    pub(super) fn no_keep_last(&self, _: Class) -> Sourced<Option<usize>> {
        default(None)
    }

    fn prune_after(&self) -> Sourced<Limit> {
        // Zero would empty every store at once; nobody means that.
        let set = |limit: Limit| limit.filter(|after| !after.is_zero()).map(Some);
        first(
            [
                openclaw(set(self.config.prune_after), "session.maintenance.pruneAfter"),
                openclaw(set(self.config.prune_days), "session.maintenance.pruneDays"),
            ],
            default(None),
        )
    }
}

fn named<'a>(patterns: &'a [String], source: &'a Source) -> impl Iterator<Item = Sourced<String>> + 'a {
    patterns.iter().map(|pattern| Sourced { value: pattern.clone(), source: source.clone() })
}

fn cron_retention(limit: Limit) -> IdleRule {
    limit.map_or(IdleRule::Off, |after| IdleRule::After(after, StaleCode::CronRetention))
}

fn archive_after(after: TimeDelta) -> IdleRule {
    if after.is_zero() { IdleRule::Off } else { IdleRule::After(after, StaleCode::ArchiveAfter) }
}

pub(super) fn first<T, const N: usize>(layers: [Option<Sourced<T>>; N], default: Sourced<T>) -> Sourced<T> {
    layers.into_iter().flatten().next().unwrap_or(default)
}

pub(super) fn flag<T>(value: Option<T>, name: &'static str) -> Option<Sourced<T>> {
    value.map(|value| Sourced { value, source: Source::Flag(name) })
}

pub(super) fn setting<T>(value: Option<T>, key: impl Into<String>) -> Option<Sourced<T>> {
    value.map(|value| Sourced { value, source: Source::PolicyFile(key.into()) })
}

pub(super) fn openclaw<T>(value: Option<T>, key: &str) -> Option<Sourced<T>> {
    value.map(|value| Sourced { value, source: Source::Openclaw(key.to_owned()) })
}

pub(super) fn default<T>(value: T) -> Sourced<T> {
    Sourced { value, source: Source::Default }
}

#[cfg(test)]
mod tests;
