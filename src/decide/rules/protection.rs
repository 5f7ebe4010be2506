//! The rules that keep: what nobody may touch, and what is protected from the rules after damage.

use chrono::TimeZone;

use super::words::{home_words, integrity_words, lock_words};
use super::{Case, Judge, Trail};
use crate::config::policy;
use crate::decide::facts::RunState;
use crate::decide::verdict::Reason;
use crate::model::key::Class;
use crate::model::transcript::Integrity;

impl<Tz: TimeZone> Judge<'_, Tz> {
    /// The beginning of rule 1: it was not asked for, or its home is not to be changed.
    pub(in crate::decide) fn out_of_reach(&self, case: Case<'_>, trail: &mut Trail) -> Option<Reason> {
        let Case { binding, store, .. } = case;
        let only = &self.policy.only;
        let deselected = !only.is_empty() && !only.iter().any(|pattern| policy::matches(&pattern.value, &binding.key));
        if trail.test(Reason::NotSelected, deselected, || {
            let patterns: Vec<&str> = only.iter().map(|pattern| pattern.value.as_str()).collect();
            if only.is_empty() { "no --only".to_owned() } else { format!("--only {}", patterns.join(", ")) }
        }) {
            return Some(Reason::NotSelected);
        }
        let barred = store.is_migrated() && store.may_change().is_err();
        trail.test(Reason::Sqlite, barred, || home_words(store)).then_some(Reason::Sqlite)
    }

    /// The rest of rule 1.
    pub(super) fn untouchable(&self, case: Case<'_>, trail: &mut Trail) -> Option<Reason> {
        let Case { binding, facts, store, .. } = case;
        let held = binding.lock.as_ref().filter(|lock| lock.state.is_held());
        let pin = self.policy.keep.iter().find(|pattern| policy::matches(&pattern.value, &binding.key));
        let checks: [(Reason, bool, &dyn Fn() -> String); 7] = [
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

    /// Who is protected from the rules after damage.
    pub(super) fn protection(&self, case: Case<'_>, trail: &mut Trail) -> Option<Reason> {
        let Case { binding, facts, .. } = case;
        if self.is_protected_class(case, trail) {
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
        self.other_protection(case, trail)
    }

    /// Returns whether its class is protected.
    pub(in crate::decide) fn is_protected_class(&self, case: Case<'_>, trail: &mut Trail) -> bool {
        let class = self.class_policy(case.binding.class);
        let protected = class.is_some_and(|class| class.protected.value);
        trail.test(Reason::ProtectedClass, protected, || {
            let source = class.map_or_else(String::new, |class| format!(" ({})", class.protected.source));
            format!("class {}{source}", case.binding.class)
        })
    }

    /// Protection by what else refers to it, and by number.
    pub(in crate::decide) fn other_protection(&self, case: Case<'_>, trail: &mut Trail) -> Option<Reason> {
        let binding = case.binding;
        let class = self.class_policy(binding.class);
        if let Some(reason) = self.in_use_elsewhere(case, trail) {
            return Some(reason);
        }
        let last = &class.filter(|_| binding.class == Class::CronRun)?.keep_last;
        let number = last.value?;
        trail
            .test(Reason::KeepLast, case.among_last, || format!("the last {number} of each job ({})", last.source))
            .then_some(Reason::KeepLast)
    }

    /// Names what else of OpenClaw's refers to the binding: a cron job, a run of a subagent, a thread.
    fn in_use_elsewhere(&self, case: Case<'_>, trail: &mut Trail) -> Option<Reason> {
        let binding = case.binding;
        let side = &self.inventory.side;
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
        trail
            .test(Reason::ThreadBinding, bound, || match (unknown, bound) {
                (true, _) => "a file of thread bindings cannot be read".to_owned(),
                (false, true) => "bound".to_owned(),
                (false, false) => "not bound".to_owned(),
            })
            .then_some(Reason::ThreadBinding)
    }
}
