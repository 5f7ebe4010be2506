//! Puts the layers together: of every limit the strongest that is set, with its name.

use chrono::TimeDelta;

use super::{ClassPolicy, IdleRule, Policy, PolicyFlags, Source, Sourced, StaleCode};
use crate::config::duration::Limit;
use crate::config::openclaw::{ConfigState, LoadedConfig, OpenclawConfig};
use crate::config::policy_file::{ClassLimits, PolicyFile};
use crate::model::key::Class;

/// The policy in force: flags, else the policy file, else `openclaw.json`, else the defaults (design §4). Nothing of
/// an invalid `openclaw.json` is used.
pub fn resolve(flags: &PolicyFlags, file: Option<&PolicyFile>, config: &LoadedConfig) -> Policy {
    let (no_file, no_config) = (PolicyFile::default(), OpenclawConfig::default());
    let file = file.unwrap_or(&no_file);
    let usable = config.state != ConfigState::Invalid;
    let config = if usable { &config.config } else { &no_config };
    let layers = Layers { flags, file, config, usable };
    Policy {
        grace: first([flag(flags.grace, "--grace"), setting(file.grace, "grace")], default(TimeDelta::minutes(15))),
        error_idle: first(
            [flag(flags.error_idle, "--error-idle"), setting(file.error_idle, "error-idle")],
            default(TimeDelta::hours(1)),
        ),
        failed: first(
            [flag(flags.failed.map(Some), "--failed"), setting(file.failed.map(Some), "failed")],
            default(None),
        ),
        classes: Class::ALL.into_iter().map(|class| (class, layers.class(class))).collect(),
        prune_after: layers.prune_after(),
        reset: usable.then(|| config.reset.clone()),
        max_bindings: first(
            [
                flag(flags.max_bindings.map(Some), "--max-bindings"),
                setting(file.max_bindings.map(Some), "max-bindings"),
                openclaw(config.max_entries.map(Some), "session.maintenance.maxEntries"),
            ],
            default(None),
        ),
        max_resumes: first(
            [flag(flags.max_resumes.map(Some), "--max-resumes"), setting(file.max_resumes.map(Some), "max-resumes")],
            default(None),
        ),
        keep: layers.keep(),
        only: flags.only.clone(),
        all: flags.all,
        orphans: !flags.no_orphans,
        purge_archives: first(
            [
                flag(flags.purge_archives.map(Some), "--purge-archives"),
                setting(file.purge_archives.map(Some), "purge-archives"),
            ],
            default(None),
        ),
        purge_resets: first(
            [
                flag(flags.purge_resets.map(Some), "--purge-resets"),
                setting(file.purge_resets.map(Some), "purge-resets"),
            ],
            default(None),
        ),
        keep_runs: first(
            [flag(flags.keep_runs, "--keep-runs"), setting(file.keep_runs, "keep-runs")],
            default(Some(TimeDelta::days(30))),
        ),
        max_removals: first(
            [
                flag(flags.max_removals.map(Some), "--max-removals"),
                setting(file.max_removals.map(Some), "max-removals"),
            ],
            default(None),
        ),
        poison_starts: flags.poison_starts,
        slots: first([openclaw(config.max_concurrent, "agents.defaults.maxConcurrent")], default(4)),
        timeout_seconds: first([openclaw(config.timeout_seconds, "agents.defaults.timeoutSeconds")], default(600)),
    }
}

/// The places a limit can come from, strongest first.
struct Layers<'a> {
    flags: &'a PolicyFlags,
    file: &'a PolicyFile,
    config: &'a OpenclawConfig,
    usable: bool,
}

impl Layers<'_> {
    fn class(&self, class: Class) -> ClassPolicy {
        let limits = self.file.class.get(&class);
        ClassPolicy {
            protected: self.protected(class),
            idle: self.idle(class, limits),
            max_age: self.max_age(class, limits),
            keep_last: self.keep_last(class, limits),
        }
    }

    fn protected(&self, class: Class) -> Sourced<bool> {
        let named = |classes: &[Class], value: bool| classes.contains(&class).then_some(value);
        let protect = &self.file.protect;
        first(
            [
                flag(named(&self.flags.unprotect, false), "--unprotect"),
                flag(named(&self.flags.protect, true), "--protect"),
                setting(named(&protect.unprotect, false), "protect.unprotect"),
                setting(named(&protect.classes, true), "protect.classes"),
            ],
            default(class.is_protected_by_default()),
        )
    }

    fn idle(&self, class: Class, limits: Option<&ClassLimits>) -> Sourced<IdleRule> {
        let rule = |limit: Limit| limit.map_or(IdleRule::Off, |after| IdleRule::After(after, StaleCode::Idle));
        let bindings = self.config.binding_idle.filter(|idle| !idle.is_zero());
        first(
            [
                flag(self.flags.idle.map(rule), "--idle"),
                setting(limits.and_then(|limits| limits.idle).map(rule), format!("class.{class}.idle")),
                setting(self.file.idle.map(rule), "idle"),
                self.own_retention(class),
                // What ends by itself keeps its own, shorter retention.
                openclaw(
                    bindings.filter(|_| !matches!(class, Class::CronRun | Class::Subagent)).map(Some).map(rule),
                    "session.threadBindings.idleHours",
                ),
            ],
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

    fn max_age(&self, class: Class, limits: Option<&ClassLimits>) -> Sourced<Limit> {
        let bindings = self.config.binding_max_age.filter(|age| !age.is_zero());
        first(
            [
                flag(self.flags.max_age, "--max-age"),
                setting(limits.and_then(|limits| limits.max_age), format!("class.{class}.max-age")),
                setting(self.file.max_age, "max-age"),
                openclaw(bindings.map(Some), "session.threadBindings.maxAgeHours"),
            ],
            default(None),
        )
    }

    fn keep_last(&self, class: Class, limits: Option<&ClassLimits>) -> Sourced<usize> {
        if class != Class::CronRun {
            return default(0);
        }
        first(
            [
                flag(self.flags.keep_last, "--keep-last"),
                setting(limits.and_then(|limits| limits.keep_last), format!("class.{class}.keep-last")),
                setting(self.file.keep_last, "keep-last"),
            ],
            default(0),
        )
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

    fn keep(&self) -> Vec<Sourced<String>> {
        let typed = self.flags.keep.iter().filter_map(|pattern| flag(Some(pattern.clone()), "--keep"));
        let written = self.file.protect.keys.iter();
        typed.chain(written.filter_map(|pattern| setting(Some(pattern.clone()), "protect.keys"))).collect()
    }
}

fn cron_retention(limit: Limit) -> IdleRule {
    limit.map_or(IdleRule::Off, |after| IdleRule::After(after, StaleCode::CronRetention))
}

fn archive_after(after: TimeDelta) -> IdleRule {
    if after.is_zero() { IdleRule::Off } else { IdleRule::After(after, StaleCode::ArchiveAfter) }
}

fn first<T, const N: usize>(layers: [Option<Sourced<T>>; N], default: Sourced<T>) -> Sourced<T> {
    layers.into_iter().flatten().next().unwrap_or(default)
}

fn flag<T>(value: Option<T>, name: &'static str) -> Option<Sourced<T>> {
    value.map(|value| Sourced { value, source: Source::Flag(name) })
}

fn setting<T>(value: Option<T>, key: impl Into<String>) -> Option<Sourced<T>> {
    value.map(|value| Sourced { value, source: Source::PolicyFile(key.into()) })
}

fn openclaw<T>(value: Option<T>, key: &str) -> Option<Sourced<T>> {
    value.map(|value| Sourced { value, source: Source::Openclaw(key.to_owned()) })
}

fn default<T>(value: T) -> Sourced<T> {
    Sourced { value, source: Source::Default }
}

#[cfg(test)]
mod tests;
