//! The rules of design §4, in their order, for one binding at a time. Pure: evidence, policy and `now` in, verdict out.

use chrono::{DateTime, TimeZone, Utc};

pub(super) use self::words::clock_words;
use self::words::integrity_words;
use super::facts::{Facts, Finding, FindingCode};
use super::poison;
use super::startup::Model;
use super::verdict::{Action, Reason, Verdict};
use crate::config::duration::display as span;
use crate::config::policy::{ClassPolicy, Policy};
use crate::model::inventory::{Binding, Inventory, Store};
use crate::model::key::Class;
use crate::model::transcript::Integrity;

mod age;
mod protection;
mod words;

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
        if let Some(row) = &case.binding.row {
            let verdict = self.row_verdict(case, row, trail, &mut findings);
            return (verdict, findings);
        }
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
        if self.is_within_grace(case, trail) {
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
        if let Some(row) = &case.binding.row {
            return self.row_mend_verdict(case, row, trail);
        }
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
        // What a start would resume is no hindrance for a person.
        let spared = case.binding.row.as_ref().and_then(|row| self.row_spared(row, trail));
        if let Some(reason) = spared.filter(|reason| *reason != Reason::Resumable) {
            return Verdict::new(Action::Keep, reason);
        }
        let reason = fatal_reason(case.facts.integrity);
        let reasons = reason.into_iter().chain([why]).collect();
        Verdict { action: Action::Quarantine, reasons }
    }

    /// Rule 1, and the grace beside a live gateway.
    pub(super) fn shielded(&self, case: Case<'_>, trail: &mut Trail) -> Option<Reason> {
        self.out_of_reach(case, trail).or_else(|| self.set_apart(case, trail))
    }

    /// The rest of rule 1, and the grace beside a live gateway.
    pub(super) fn set_apart(&self, case: Case<'_>, trail: &mut Trail) -> Option<Reason> {
        if let Some(reason) = self.untouchable(case, trail) {
            return Some(reason);
        }
        let shielded = self.is_recent(case.facts) && self.inventory.gateway.alive;
        trail.test(Reason::Recent, shielded, || self.recent_words(case.facts)).then_some(Reason::Recent)
    }

    fn class_policy(&self, class: Class) -> Option<&ClassPolicy> {
        self.policy.classes.get(&class)
    }

    /// Returns whether it was active within the grace.
    pub(super) fn is_within_grace(&self, case: Case<'_>, trail: &mut Trail) -> bool {
        trail.test(Reason::Recent, self.is_recent(case.facts), || self.recent_words(case.facts))
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
        if self.is_poisoned(case, trail) {
            return Some(Verdict::new(Action::Quarantine, Reason::PoisonLoop));
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

    /// Returns whether start after start found it failed or cut off. Of a protected conversation that alone says nothing:
    /// it shows at every start until somebody writes, unless a start is known to run it again.
    fn is_poisoned(&self, case: Case<'_>, trail: &mut Trail) -> bool {
        let most = &self.policy.limits.poison_starts;
        let starts = poison::starts(self.inventory, case.store, case.binding);
        let (Some(limit), Some(starts)) = (most.value, starts) else { return false };
        let many = poison::is_suspect(case.facts) && starts as usize >= limit;
        let harmless = many
            && !case.binding.class.is_synthetic()
            && !Model::InterruptedOnly.resumes(case.binding)
            && self.protection(case, &mut Trail::default()).is_some();
        trail.test(Reason::PoisonLoop, many && !harmless, || {
            let run = case.facts.run.as_str();
            let but = if harmless { "; protected, and no start runs it again" } else { "" };
            format!("{run} and unchanged at {starts} starts in a row; limit {limit} ({}){but}", most.source)
        })
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
