//! The rules of time: a run that failed, and a binding that is idle.

use chrono::{TimeDelta, TimeZone};

use super::words::{age_words, clock_words};
use super::{Case, Judge, Trail};
use crate::config::duration::display as span;
use crate::config::policy::{FailedMode, IdleRule, Source, StaleCode};
use crate::decide::facts::{Elapsed, Facts, Finding, FindingCode};
use crate::decide::verdict::Reason;
use crate::model::inventory::Binding;

impl<Tz: TimeZone> Judge<'_, Tz> {
    /// Rule 3.
    pub(super) fn failure(&self, case: Case<'_>, trail: &mut Trail, findings: &mut Vec<Finding>) -> Option<Reason> {
        let facts = case.facts;
        let reason = facts.run.reason()?;
        let permanent = facts.failure.as_ref().is_some_and(|failure| failure.kind.is_permanent());
        let limit = self.policy.limits.error_idle.value;
        let long_enough = facts.idle.is_some_and(|idle| idle.duration() >= limit);
        let (reason, counts) = match self.policy.limits.failed.value {
            Some(FailedMode::Off) => (reason, false),
            Some(FailedMode::Any) => (reason, true),
            None if case.binding.class.is_synthetic() => (reason, true),
            Some(FailedMode::Permanent) | None => (Reason::FailedPermanent, permanent),
        };
        let applies = counts && long_enough;
        let applies = trail.test(reason, applies, || {
            let kind = facts.failure.as_ref().map_or_else(String::new, |failure| format!(" {}", failure.kind.as_str()));
            let mode = self.policy.limits.failed.value.map_or_else(
                || "any failure of a program's session, a permanent one of a conversation".to_owned(),
                |mode| format!("--failed {mode:?}").to_lowercase(),
            );
            format!(
                "{}{kind}; {}; limit {} ({}); {mode}",
                facts.run.as_str(),
                clock_words(facts),
                span(limit),
                self.policy.limits.error_idle.source
            )
        });
        if !applies && !counts && !case.binding.class.is_synthetic() {
            findings.push(Finding::new(FindingCode::FailedKept));
        }
        applies.then_some(reason)
    }

    /// Rule 4.
    pub(super) fn staleness(&self, case: Case<'_>, trail: &mut Trail) -> Option<Reason> {
        let Case { binding, facts, .. } = case;
        let class = self.class_policy(binding.class)?;
        let reached = |elapsed: Option<TimeDelta>, limit: TimeDelta| elapsed.is_some_and(|elapsed| elapsed >= limit);
        let idle = facts.idle.map(Elapsed::duration);
        if let Some(limit) = class.max_age.value {
            let applies = reached(facts.age.map(Elapsed::duration), limit);
            if trail.test(Reason::MaxAge, applies, || {
                format!("{}; limit {} ({})", age_words(facts), span(limit), class.max_age.source)
            }) {
                return Some(Reason::MaxAge);
            }
        }
        match &class.idle.value {
            IdleRule::After(limit, code) => {
                let (reason, elapsed) = match code {
                    StaleCode::Idle => (Reason::Idle, idle),
                    StaleCode::CronRetention => (Reason::CronRetention, idle),
                    StaleCode::ArchiveAfter => (Reason::ArchiveAfter, self.since_run_ended(binding).or(idle)),
                };
                if trail.test(reason, reached(elapsed, *limit), || {
                    format!("{}; limit {} ({})", clock_words(facts), span(*limit), class.idle.source)
                }) {
                    return Some(reason);
                }
            }
            IdleRule::OpenclawReset => {
                if trail
                    .test(Reason::ResetStale, self.is_reset_stale(binding, facts), || self.reset_words(binding, facts))
                {
                    return Some(Reason::ResetStale);
                }
            }
            IdleRule::Off => {
                trail.test(Reason::Idle, false, || format!("off ({})", class.idle.source));
            }
        }
        // An explicit idle limit, or `off`, is the last word on idleness.
        let explicit = matches!(class.idle.source, Source::Flag(_) | Source::PolicyFile(_));
        let limit = self.policy.prune_after.value.filter(|_| !explicit)?;
        trail
            .test(Reason::PruneAfter, reached(idle, limit), || {
                format!("{}; limit {} ({})", clock_words(facts), span(limit), self.policy.prune_after.source)
            })
            .then_some(Reason::PruneAfter)
    }

    fn since_run_ended(&self, binding: &Binding) -> Option<TimeDelta> {
        let ended = self.inventory.side.subagents.get(&binding.key)?.ended_at?;
        Some((self.now - ended).max(TimeDelta::zero()))
    }

    /// Returns whether OpenClaw would start a new session at the next message. Not known when its configuration is not.
    pub(in crate::decide) fn is_reset_stale(&self, binding: &Binding, facts: &Facts) -> bool {
        match (&self.policy.reset, facts.active_at) {
            (Some(rules), Some(active)) => {
                rules.resolve(binding.class, binding.channel.as_deref()).is_stale(active, self.now, self.zone)
            }
            _ => false,
        }
    }

    fn reset_words(&self, binding: &Binding, facts: &Facts) -> String {
        let Some(rules) = &self.policy.reset else { return "OpenClaw's rule is not known".to_owned() };
        let rule = rules.resolve(binding.class, binding.channel.as_deref());
        let mut parts = vec![clock_words(facts)];
        parts.extend(rule.daily_at_hour.map(|hour| format!("daily reset at {hour}:00 local time")));
        parts.extend(rule.idle_minutes.map(|minutes| format!("reset after {minutes} idle minutes")));
        let source = self.policy.reset_source(binding.class, binding.channel.as_deref());
        format!("{} ({source})", parts.join("; "))
    }
}
