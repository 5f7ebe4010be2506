//! The rules of design §4, in their order, for one binding at a time. Pure: evidence, policy and `now` in, verdict out.

use chrono::{DateTime, TimeDelta, TimeZone, Utc};

use super::facts::{Facts, Finding, FindingCode, RunState};
use super::poison;
use super::verdict::{Action, Reason, Verdict};
use crate::config::duration::display as span;
use crate::config::policy::{self, ClassPolicy, FailedMode, IdleRule, Policy, Source, StaleCode};
use crate::model::home::Bar;
use crate::model::inventory::{Binding, Inventory, Store};
use crate::model::key::Class;
use crate::model::transcript::Integrity;

/// A rule that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleStep {
    /// The rule's name.
    pub rule: &'static str,
    /// The reason it would give.
    pub reason: Reason,
    /// Whether it applied.
    pub applies: bool,
    /// The values it compared, in words.
    pub values: String,
}

/// Records the rules that were tried, when somebody wants to know.
#[derive(Default)]
pub struct Trail(Option<Vec<RuleStep>>);

impl Trail {
    /// A trail that keeps its steps.
    pub fn recording() -> Self {
        Self(Some(Vec::new()))
    }

    /// The steps, in the order in which they were tried.
    pub fn into_steps(self) -> Vec<RuleStep> {
        self.0.unwrap_or_default()
    }

    /// Notes a test and hands its outcome through.
    pub(super) fn test(&mut self, reason: Reason, applies: bool, values: impl FnOnce() -> String) -> bool {
        if let Some(steps) = &mut self.0 {
            steps.push(RuleStep { rule: reason.rule(), reason, applies, values: values() });
        }
        applies
    }
}

/// What every rule may look at.
pub struct Judge<'a, Tz> {
    /// All evidence.
    pub inventory: &'a Inventory,
    /// All limits.
    pub policy: &'a Policy,
    /// The time of judgment.
    pub now: DateTime<Utc>,
    /// The gateway's time zone.
    pub zone: &'a Tz,
}

/// One binding with everything that the rules need of it.
#[derive(Clone, Copy)]
pub(super) struct Case<'a> {
    pub(super) store: &'a Store,
    pub(super) binding: &'a Binding,
    pub(super) facts: &'a Facts,
    /// Among the newest `keep-last` runs of its job.
    pub(super) among_last: bool,
}

impl<Tz: TimeZone> Judge<'_, Tz> {
    /// Rules 1 to 4, which look at one binding alone.
    pub(super) fn verdict(&self, case: Case<'_>, trail: &mut Trail) -> (Verdict, Vec<Finding>) {
        let mut findings = Vec::new();
        if let Some(reason) = self.shielded(case, trail) {
            return (Verdict::new(Action::Keep, reason), findings);
        }
        let mut repair = None;
        match self.damage(case, trail, &mut findings) {
            // What is taken out anyway need not be mended.
            Some(verdict) if verdict.action == Action::Repair => repair = Some(verdict),
            Some(verdict) => return (verdict, findings),
            None => {}
        }
        let mut verdict = self.after_damage(case, trail, &mut findings);
        if let Some(repair) = repair {
            if !verdict.action.removes() {
                return (repair, findings);
            }
            verdict.reasons.extend(repair.reasons);
        }
        (verdict, findings)
    }

    /// The rules after damage.
    fn after_damage(&self, case: Case<'_>, trail: &mut Trail, findings: &mut Vec<Finding>) -> Verdict {
        let keep = |reason| Verdict::new(Action::Keep, reason);
        if trail.test(Reason::All, self.policy.all.value, || {
            if self.policy.all.value { "--all" } else { "no --all" }.to_owned()
        }) {
            return Verdict::new(Action::Expire, Reason::All);
        }
        let unknown = case.facts.idle.is_none();
        if trail.test(Reason::AgeUnknown, unknown, || clock_words(case.facts)) {
            return keep(Reason::AgeUnknown);
        }
        if trail.test(Reason::Recent, self.is_recent(case.facts), || self.recent_words(case.facts)) {
            return keep(Reason::Recent);
        }
        if let Some(reason) = self.protection(case, trail) {
            return keep(reason);
        }
        // How its last run ended is not known of a transcript that was not read; how long it is idle is.
        let unread = case.facts.integrity == Integrity::NotChecked;
        let failure = if unread { None } else { self.failure(case, trail, findings) };
        let otherwise = if unread { Reason::NotChecked } else { Reason::WithinLimits };
        failure
            .or_else(|| self.staleness(case, trail))
            .map_or_else(|| keep(otherwise), |reason| Verdict::new(Action::Expire, reason))
    }

    /// What `validate --repair` does with one binding: mends its transcript, unless rule 1 leaves it alone.
    pub(super) fn mend_verdict(&self, case: Case<'_>, trail: &mut Trail) -> Verdict {
        if let Some(reason) = self.shielded(case, trail) {
            return Verdict::new(Action::Keep, reason);
        }
        match fatal_reason(case.facts.integrity) {
            _ if !case.binding.transcript.is_mendable() => Verdict::new(Action::Keep, Reason::WithinLimits),
            Some(reason) => Verdict::new(Action::Repair, reason),
            None => Verdict::new(Action::Repair, Reason::Mendable),
        }
    }

    /// What `quarantine` does with a binding that was asked for. A pin holds off rules, not a person.
    pub(super) fn aside_verdict(&self, case: Case<'_>, why: Reason, trail: &mut Trail) -> Verdict {
        let by_name = why == Reason::Named;
        match self.shielded(case, trail) {
            Some(Reason::Pinned | Reason::Archived) if by_name => {}
            Some(reason) => return Verdict::new(Action::Keep, reason),
            None => {}
        }
        let reason = fatal_reason(case.facts.integrity);
        let reasons = reason.into_iter().chain([why]).collect();
        Verdict { action: Action::Quarantine, reasons }
    }

    /// Rule 1, and the grace beside a live gateway.
    pub(super) fn shielded(&self, case: Case<'_>, trail: &mut Trail) -> Option<Reason> {
        if let Some(reason) = self.untouchable(case, trail) {
            return Some(reason);
        }
        let shielded = self.is_recent(case.facts) && self.inventory.gateway.alive;
        trail.test(Reason::Recent, shielded, || self.recent_words(case.facts)).then_some(Reason::Recent)
    }

    fn class_policy(&self, class: Class) -> Option<&ClassPolicy> {
        self.policy.classes.get(&class)
    }

    fn is_recent(&self, facts: &Facts) -> bool {
        facts.idle.is_some_and(|idle| idle.duration() < self.policy.limits.grace.value)
    }

    fn recent_words(&self, facts: &Facts) -> String {
        let gateway = if self.inventory.gateway.alive { "alive" } else { "not alive" };
        format!(
            "{}; grace {} ({}); gateway {gateway}",
            clock_words(facts),
            span(self.policy.limits.grace.value),
            self.policy.limits.grace.source
        )
    }

    /// Rule 1.
    fn untouchable(&self, case: Case<'_>, trail: &mut Trail) -> Option<Reason> {
        let Case { binding, facts, store, .. } = case;
        let only = &self.policy.only;
        let deselected = !only.is_empty() && !only.iter().any(|pattern| policy::matches(&pattern.value, &binding.key));
        let held = binding.lock.as_ref().filter(|lock| lock.state.is_held());
        let pin = self.policy.keep.iter().find(|pattern| policy::matches(&pattern.value, &binding.key));
        let checks: [(Reason, bool, &dyn Fn() -> String); 9] = [
            (Reason::NotSelected, deselected, &|| {
                let patterns: Vec<&str> = only.iter().map(|pattern| pattern.value.as_str()).collect();
                if only.is_empty() { "no --only".to_owned() } else { format!("--only {}", patterns.join(", ")) }
            }),
            (Reason::Sqlite, store.is_migrated(), &|| home_words(store)),
            (Reason::LiveLock, held.is_some(), &|| lock_words(binding)),
            (Reason::Running, facts.run == RunState::Running, &|| format!("run state {}", facts.run.as_str())),
            (Reason::Symlink, store.is_linked(), &|| home_words(store)),
            (Reason::Outside, facts.integrity == Integrity::Outside, &|| integrity_words(facts)),
            (Reason::Unreadable, facts.integrity == Integrity::Unreadable, &|| integrity_words(facts)),
            (Reason::Pinned, pin.is_some() || binding.entry.pinned, &|| match pin {
                Some(pin) => format!("{} ({})", pin.value, pin.source),
                None if binding.entry.pinned => "pinned in OpenClaw".to_owned(),
                None => "no pattern matches, not pinned in OpenClaw".to_owned(),
            }),
            (Reason::Archived, binding.entry.archived, &|| {
                if binding.entry.archived { "archived in OpenClaw" } else { "not archived in OpenClaw" }.to_owned()
            }),
        ];
        checks.into_iter().find(|(reason, applies, values)| trail.test(*reason, *applies, values)).map(|found| found.0)
    }

    /// Rule 2.
    fn damage(&self, case: Case<'_>, trail: &mut Trail, findings: &mut Vec<Finding>) -> Option<Verdict> {
        let words = || integrity_words(case.facts);
        for integrity in [Integrity::Freezes, Integrity::Blocks, Integrity::Wiped] {
            let Some(reason) = fatal_reason(integrity) else { continue };
            let mendable = case.binding.transcript.is_mendable();
            let applies = case.facts.integrity == integrity;
            let words = || match (applies, mendable) {
                (false, _) => words(),
                (true, true) => format!("{}; there is one exact repair", words()),
                (true, false) => format!("{}; there is no exact repair", words()),
            };
            if trail.test(reason, applies, words) {
                let action = if mendable { Action::Repair } else { Action::Quarantine };
                return Some(Verdict::new(action, reason));
            }
        }
        let most = &self.policy.limits.poison_starts;
        let starts = poison::starts(self.inventory, case.store, case.binding);
        if let (Some(limit), Some(starts)) = (most.value, starts) {
            let applies = poison::is_suspect(case.facts) && starts as usize >= limit;
            if trail.test(Reason::PoisonLoop, applies, || {
                let run = case.facts.run.as_str();
                format!("{run} and unchanged at {starts} starts in a row; limit {limit} ({})", most.source)
            }) {
                return Some(Verdict::new(Action::Quarantine, Reason::PoisonLoop));
            }
        }
        for (integrity, reason) in [(Integrity::Missing, Reason::Missing), (Integrity::Empty, Reason::Empty)] {
            if !trail.test(reason, case.facts.integrity == integrity, words) {
                continue;
            }
            if self.protection(case, trail).is_none() {
                return Some(Verdict::new(Action::Expire, reason));
            }
            findings.push(Finding::new(FindingCode::DamageKept));
        }
        None
    }

    /// Who is protected from the rules after damage.
    fn protection(&self, case: Case<'_>, trail: &mut Trail) -> Option<Reason> {
        let Case { binding, facts, .. } = case;
        let side = &self.inventory.side;
        let class = self.class_policy(binding.class);
        let protected = class.is_some_and(|class| class.protected.value);
        if trail.test(Reason::ProtectedClass, protected, || {
            let source = class.map_or_else(String::new, |class| format!(" ({})", class.protected.source));
            format!("class {}{source}", binding.class)
        }) {
            return Some(Reason::ProtectedClass);
        }
        let chosen = !binding.class.is_synthetic() && !binding.entry.preferences.is_empty();
        let honored = chosen && !self.is_reset_stale(binding, facts);
        if trail.test(Reason::Preferences, honored, || match (chosen, honored) {
            (false, _) => "none".to_owned(),
            (true, true) => binding.entry.preferences.join(", "),
            (true, false) => {
                format!("{}: gone at the next message, by the reset rule", binding.entry.preferences.join(", "))
            }
        }) {
            return Some(Reason::Preferences);
        }
        let job = binding.cron_job.as_ref().filter(|_| binding.class == Class::Cron);
        let exists = job.is_some_and(|job| side.unreadable.cron_jobs || side.cron_jobs.contains(job));
        if trail.test(Reason::CronJob, exists, || match job {
            None => "no cron base key".to_owned(),
            Some(_) if side.unreadable.cron_jobs => "cron/jobs.json cannot be read".to_owned(),
            Some(job) => format!("job {job}"),
        }) {
            return Some(Reason::CronJob);
        }
        let run = side.subagents.get(&binding.key);
        let unknown = side.unreadable.subagents && binding.class == Class::Subagent;
        let pending = unknown || run.is_some_and(|run| run.ended_at.is_none() || !run.announced);
        if trail.test(Reason::SubagentRun, pending, || match run {
            _ if unknown => "subagents/runs.json cannot be read".to_owned(),
            None => "no run".to_owned(),
            Some(run) if run.ended_at.is_none() => "its run has not ended".to_owned(),
            Some(run) if run.announced => "its run ended and was announced".to_owned(),
            Some(_) => "its run ended and was not announced".to_owned(),
        }) {
            return Some(Reason::SubagentRun);
        }
        let unknown = side.unreadable.bindings && !binding.class.is_synthetic();
        let bound = unknown || side.bound_keys.contains(&binding.key);
        if trail.test(Reason::ThreadBinding, bound, || match (unknown, bound) {
            (true, _) => "a file of thread bindings cannot be read".to_owned(),
            (false, true) => "bound".to_owned(),
            (false, false) => "not bound".to_owned(),
        }) {
            return Some(Reason::ThreadBinding);
        }
        let last = &class.filter(|_| binding.class == Class::CronRun)?.keep_last;
        let number = last.value?;
        trail
            .test(Reason::KeepLast, case.among_last, || format!("the last {number} of each job ({})", last.source))
            .then_some(Reason::KeepLast)
    }

    /// Rule 3.
    fn failure(&self, case: Case<'_>, trail: &mut Trail, findings: &mut Vec<Finding>) -> Option<Reason> {
        let facts = case.facts;
        let reason = match facts.run {
            RunState::Errored => Reason::Errored,
            RunState::Aborted => Reason::Aborted,
            RunState::Interrupted => Reason::Interrupted,
            _ => return None,
        };
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
    fn staleness(&self, case: Case<'_>, trail: &mut Trail) -> Option<Reason> {
        let Case { binding, facts, .. } = case;
        let class = self.class_policy(binding.class)?;
        let reached = |elapsed: Option<TimeDelta>, limit: TimeDelta| elapsed.is_some_and(|elapsed| elapsed >= limit);
        let idle = facts.idle.map(super::facts::Elapsed::duration);
        if let Some(limit) = class.max_age.value {
            let applies = reached(facts.age.map(super::facts::Elapsed::duration), limit);
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
    pub(super) fn is_reset_stale(&self, binding: &Binding, facts: &Facts) -> bool {
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

/// The reason that a fatal integrity gives.
pub(super) const fn fatal_reason(integrity: Integrity) -> Option<Reason> {
    match integrity {
        Integrity::Freezes => Some(Reason::Freezes),
        Integrity::Blocks => Some(Reason::Blocks),
        Integrity::Wiped => Some(Reason::Wiped),
        _ => None,
    }
}

pub(super) fn clock_words(facts: &Facts) -> String {
    facts.idle.map_or_else(
        || "no clock".to_owned(),
        |idle| format!("idle {} by {}", span(idle.duration()), idle.from.as_str()),
    )
}

fn age_words(facts: &Facts) -> String {
    facts.age.map_or_else(
        || "age not known".to_owned(),
        |age| format!("age {} by {}", span(age.duration()), age.from.as_str()),
    )
}

fn integrity_words(facts: &Facts) -> String {
    format!("transcript {}", facts.integrity.as_str())
}

fn lock_words(binding: &Binding) -> String {
    match &binding.lock {
        None => "no lock".to_owned(),
        Some(lock) => {
            let owner = lock.pid.map_or_else(|| "no owner named".to_owned(), |pid| format!("pid {pid}"));
            format!("{owner}: {:?}", lock.state).to_lowercase()
        }
    }
}

fn home_words(store: &Store) -> String {
    let words = match store.may_change() {
        Ok(()) => "ok",
        Err(Bar::Migrated) => "sqlite",
        Err(Bar::Linked) => "symlink",
        Err(Bar::Condition(condition)) => condition.as_str(),
    };
    format!("store {words}")
}
