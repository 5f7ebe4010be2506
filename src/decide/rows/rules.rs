//! The rules for sessions in SQLite. By default goes what OpenClaw itself deletes there, never what it archives, and what
//! is damaged; a person's limits mark conversations as archived, and take them out on request.

use chrono::{TimeDelta, TimeZone};

use crate::config::duration::display as span;
use crate::config::policy::{FailedMode, IdleRule, Source, StaleCode};
use crate::decide::facts::{Elapsed, Finding, FindingCode};
use crate::decide::rules::{Case, Judge, Trail, clock_words};
use crate::decide::verdict::{Action, Reason, Verdict};
use crate::model::failure::FailureKind;
use crate::model::key::Class;
use crate::model::row::{RowDamage, SessionRow, Standing};

/// A job's base key, and a window that nobody names, may be of a run that is not over yet until this.
pub(super) const YOUNG: TimeDelta = TimeDelta::hours(24);

/// OpenClaw deletes the sessions of its probes after this.
const PROBES: TimeDelta = TimeDelta::hours(24);

/// `session.maintenance.pruneAfter`, unless it is set.
const PRUNE_AFTER: TimeDelta = TimeDelta::days(30);

impl<Tz: TimeZone> Judge<'_, Tz> {
    /// The verdict for a session in rows.
    pub(in crate::decide) fn row_verdict(
        &self,
        case: Case<'_>,
        row: &SessionRow,
        trail: &mut Trail,
        findings: &mut Vec<Finding>,
    ) -> Verdict {
        let keep = |reason| Verdict::new(Action::Keep, reason);
        if let Some(reason) = self.out_of_reach(case, trail) {
            return keep(reason);
        }
        if let Some(verdict) = row_damage(row, trail) {
            return verdict;
        }
        if let Some(reason) = self.set_apart(case, trail).or_else(|| self.row_spared(row, trail)) {
            return keep(reason);
        }
        if row.standing == Standing::Placeholder {
            if let Some(reason) = self.row_protection(case, row, trail) {
                return keep(reason);
            }
            let synthetic = case.binding.class.is_synthetic();
            let limit = self.program_limit(case);
            let old = limit.is_some_and(|limit| case.facts.idle.is_some_and(|idle| idle.duration() >= limit));
            let goes = trail.test(Reason::Placeholder, synthetic && old, || {
                let limit = limit.map_or_else(|| "no limit".to_owned(), |limit| format!("limit {}", span(limit)));
                format!("no entry, class {}; {}; {limit}", case.binding.class, clock_words(case.facts))
            });
            return Verdict::new(if goes { Action::Expire } else { Action::Keep }, Reason::Placeholder);
        }
        if trail.test(Reason::All, self.policy.all.value, || {
            if self.policy.all.value { "--all" } else { "no --all" }.to_owned()
        }) {
            return Verdict::new(Action::Expire, Reason::All);
        }
        if trail.test(Reason::AgeUnknown, case.facts.idle.is_none(), || clock_words(case.facts)) {
            return keep(Reason::AgeUnknown);
        }
        if self.is_within_grace(case, trail) {
            return keep(Reason::Recent);
        }
        if let Some(reason) = self.row_protection(case, row, trail) {
            return keep(reason);
        }
        if let Some(reason) = self.row_failure(case, trail, findings) {
            return Verdict::new(Action::Expire, reason);
        }
        let Some(stale) = self.row_staleness(case, trail) else { return keep(Reason::WithinLimits) };
        // OpenClaw's mark of what is archived loses nothing.
        let lost = if stale.action.removes() { row_preferences(case, row, trail) } else { None };
        lost.map_or(stale, keep)
    }

    /// What `validate --repair` does with a session in rows: mends all that has one exact answer.
    pub(in crate::decide) fn row_mend_verdict(&self, case: Case<'_>, row: &SessionRow, trail: &mut Trail) -> Verdict {
        if let Some(reason) = self.out_of_reach(case, trail) {
            return Verdict::new(Action::Keep, reason);
        }
        let unreadable = row.damage.contains(&RowDamage::EntryUnreadable);
        match row.damage.is_empty() {
            false if unreadable => Verdict::new(Action::Keep, Reason::RowUnreadable),
            false => Verdict::new(Action::Repair, Reason::RowDamage),
            true => Verdict::new(Action::Keep, Reason::WithinLimits),
        }
    }

    /// What OpenClaw still needs.
    #[expect(clippy::unused_self, reason = "the rules for files ask the judge, and know nothing of this file")]
    pub(in crate::decide) fn row_spared(&self, row: &SessionRow, trail: &mut Trail) -> Option<Reason> {
        let running = row.status.as_deref() == Some("running");
        let checks: [(Reason, bool, &dyn Fn() -> String); 4] = [
            (Reason::QueuedInput, row.queued > 0, &|| format!("{} accepted messages wait", row.queued)),
            (Reason::ColdStorage, row.cold, &|| {
                if row.cold { "its events are in cold storage" } else { "not in cold storage" }.to_owned()
            }),
            (Reason::BoundOutside, !row.more.bound.is_empty(), &|| match row.more.bound.join(", ") {
                none if none.is_empty() => "nothing".to_owned(),
                fields => fields,
            }),
            (Reason::Resumable, running, &|| {
                let status = row.status.as_deref().unwrap_or("none");
                format!("status {status}")
            }),
        ];
        checks.into_iter().find(|(reason, applies, values)| trail.test(*reason, *applies, values)).map(|found| found.0)
    }

    /// Who is protected. In rows a reset discards nothing: what a person chose is honored as long as the session is there.
    fn row_protection(&self, case: Case<'_>, row: &SessionRow, trail: &mut Trail) -> Option<Reason> {
        let class = self.policy.classes.get(&case.binding.class);
        let acp =
            case.binding.class == Class::Acp && class.is_none_or(|class| class.protected.source == Source::Default);
        if trail.test(Reason::ProtectedClass, acp, || format!("class {}", case.binding.class)) {
            return Some(Reason::ProtectedClass);
        }
        let continues = row.more.continuation && self.has_unsettled_children(&case.binding.key);
        if trail.test(Reason::SubagentRun, continues, || "it waits for runs that are not settled".to_owned()) {
            return Some(Reason::SubagentRun);
        }
        if self.is_protected_class(case, trail) {
            return Some(Reason::ProtectedClass);
        }
        self.other_protection(case, trail)
    }

    fn has_unsettled_children(&self, key: &str) -> bool {
        let side = &self.inventory.side;
        let child = |binding: &crate::model::inventory::Binding| {
            let parent = binding.row.as_ref().and_then(|row| row.more.parent.as_deref());
            parent == Some(key) && side.subagents.get(&binding.key).is_some_and(|run| !run.announced)
        };
        side.unreadable.subagents || self.inventory.stores.iter().flat_map(|store| &store.bindings).any(child)
    }

    /// A failure decides only where it sits in the conversation's own history: one of the provider passes.
    fn row_failure(&self, case: Case<'_>, trail: &mut Trail, findings: &mut Vec<Finding>) -> Option<Reason> {
        let facts = case.facts;
        let reason = facts.run.reason()?;
        let kind = facts.failure.as_ref().map(|failure| failure.kind);
        let own = matches!(kind, Some(FailureKind::Overflow | FailureKind::InvalidRequest));
        let (reason, counts) = match self.policy.limits.failed.value {
            Some(FailedMode::Off) => (reason, false),
            Some(FailedMode::Any) => (reason, true),
            Some(FailedMode::Permanent) | None => (Reason::FailedPermanent, own),
        };
        let limit = self.policy.limits.error_idle.value;
        let applies = counts && facts.idle.is_some_and(|idle| idle.duration() >= limit);
        let applies = trail.test(reason, applies, || {
            let kind = kind.map_or_else(String::new, |kind| format!(" {}", kind.as_str()));
            let source = &self.policy.limits.error_idle.source;
            format!("{}{kind}; {}; limit {} ({source})", facts.run.as_str(), clock_words(facts), span(limit))
        });
        if !applies && !counts {
            findings.push(Finding::new(FindingCode::FailedKept));
        }
        applies.then_some(reason)
    }

    /// Age. A person's limit marks a conversation as archived; what programs leave behind goes as OpenClaw lets it go.
    fn row_staleness(&self, case: Case<'_>, trail: &mut Trail) -> Option<Verdict> {
        let class = self.policy.classes.get(&case.binding.class)?;
        let explicit = |source: &Source| matches!(source, Source::Flag(_) | Source::PolicyFile(_));
        let age = case.facts.age.map(Elapsed::duration);
        let idle = case.facts.idle.map(Elapsed::duration);
        let by_age = class.max_age.value.filter(|_| explicit(&class.max_age.source));
        let by_idle = match class.idle.value {
            IdleRule::After(limit, _) if explicit(&class.idle.source) => Some(limit),
            _ => None,
        };
        let limits =
            [(Reason::MaxAge, by_age, age, &class.max_age.source), (Reason::Idle, by_idle, idle, &class.idle.source)];
        for (reason, limit, elapsed, source) in limits {
            let Some(limit) = limit else { continue };
            let applies = elapsed.is_some_and(|elapsed| elapsed >= limit);
            if trail.test(reason, applies, || format!("{}; limit {} ({source})", clock_words(case.facts), span(limit)))
            {
                return Some(Verdict::new(self.by_age(case), reason));
            }
        }
        if by_idle.is_some() || explicit(&class.idle.source) {
            return None;
        }
        let (reason, limit) = (program_reason(case), self.program_limit(case)?);
        let applies = idle.is_some_and(|idle| idle >= limit);
        trail
            .test(reason, applies, || {
                let source = self.program_source(case);
                format!("{}; limit {} ({source})", clock_words(case.facts), span(limit))
            })
            .then(|| Verdict::new(Action::Expire, reason))
    }

    /// What an age limit does: a program's session goes, a conversation is marked as archived unless it is to be taken out.
    fn by_age(&self, case: Case<'_>) -> Action {
        let archives = !case.binding.class.is_synthetic() && case.binding.class != Class::Main;
        if archives && !self.policy.take_out.value { Action::Archive } else { Action::Expire }
    }

    /// After how long OpenClaw itself deletes such a session; `None` of one that it keeps.
    pub(super) fn program_limit(&self, case: Case<'_>) -> Option<TimeDelta> {
        let binding = case.binding;
        if is_probe(&binding.key) {
            return Some(PROBES);
        }
        let class = self.policy.classes.get(&binding.class)?;
        let openclaws = match class.idle.value {
            IdleRule::After(limit, StaleCode::CronRetention) if binding.class == Class::CronRun => return Some(limit),
            IdleRule::After(limit, StaleCode::Idle) if matches!(class.idle.source, Source::Flag(_)) => Some(limit),
            IdleRule::Off if class.idle.source != Source::Default => return None,
            _ => None,
        };
        if self.policy.reports_only.value || class.idle.source == Source::ConfigInvalid {
            return openclaws;
        }
        let pruned = self.policy.prune_after.value.unwrap_or(PRUNE_AFTER);
        match binding.class {
            // Its job is gone: else it were protected.
            Class::Cron => Some(YOUNG),
            Class::Hook | Class::Subagent | Class::Node => Some(pruned),
            _ => openclaws,
        }
    }

    fn program_source(&self, case: Case<'_>) -> String {
        let class = self.policy.classes.get(&case.binding.class);
        match case.binding.class {
            Class::CronRun => class.map_or_else(String::new, |class| class.idle.source.to_string()),
            Class::Cron => "its job does not exist".to_owned(),
            _ if is_probe(&case.binding.key) => "OpenClaw's own, of probes".to_owned(),
            _ => self.policy.prune_after.source.to_string(),
        }
    }
}

/// Damage that keeps a gateway down, an agent unreadable or a session failing.
fn row_damage(row: &SessionRow, trail: &mut Trail) -> Option<Verdict> {
    let unreadable = row.damage.contains(&RowDamage::EntryUnreadable);
    if trail.test(Reason::RowUnreadable, unreadable, || {
        if unreadable { "the entry is no JSON object" } else { "the entry can be read" }.to_owned()
    }) {
        return Some(Verdict::new(Action::Keep, Reason::RowUnreadable));
    }
    let grave = row.damage.iter().filter(|damage| is_grave(damage)).count();
    trail
        .test(Reason::RowDamage, grave > 0, || format!("{grave} things are wrong with its rows"))
        .then(|| Verdict::new(Action::Repair, Reason::RowDamage))
}

/// Choices of a person that taking the session out would lose.
fn row_preferences(case: Case<'_>, row: &SessionRow, trail: &mut Trail) -> Option<Reason> {
    let of_model = |name: &str| ["modelOverride", "providerOverride"].contains(&name) && row.more.model_is_automatic;
    let chosen: Vec<&str> = case.binding.entry.preferences.iter().copied().filter(|name| !of_model(name)).collect();
    let honored = !case.binding.class.is_synthetic() && !chosen.is_empty();
    let words = || if chosen.is_empty() { "none".to_owned() } else { chosen.join(", ") };
    trail.test(Reason::Preferences, honored, words).then_some(Reason::Preferences)
}

fn program_reason(case: Case<'_>) -> Reason {
    match case.binding.class {
        Class::CronRun => Reason::CronRetention,
        Class::Cron => Reason::JobGone,
        _ if is_probe(&case.binding.key) => Reason::Probe,
        _ => Reason::PruneAfter,
    }
}

/// Returns whether damage keeps a gateway down, an agent unreadable or a session failing; the rest OpenClaw mends at its
/// next use.
pub(crate) const fn is_grave(damage: &RowDamage) -> bool {
    !matches!(damage, RowDamage::EntryUnreadable | RowDamage::Behind { .. })
}

/// Returns whether a key is one of OpenClaw's probes of a model.
fn is_probe(key: &str) -> bool {
    let rest = key.split_once(":explicit:model-run-").map(|(_, rest)| rest);
    rest.is_some_and(|rest| rest.len() == 36 && rest.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-'))
}
