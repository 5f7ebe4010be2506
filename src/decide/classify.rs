//! Classify: a verdict for every binding and every loose file.

use std::collections::{HashMap, HashSet};

use chrono::{TimeDelta, TimeZone};

use super::facts::{Facts, Finding};
use super::lost::lost_indices;
use super::references::References;
use super::rows::changes::Purpose;
use super::rules::{Case, Judge, RuleStep, Trail, clock_words};
use super::startup::Model;
use super::verdict::{Action, Classified, ClassifiedFile, FileAction, Reason, Verdict, Verdicts};
use crate::model::ids::BindingId;
use crate::model::inventory::{Beside, Binding, Content, LooseFile};
use crate::model::key::Class;
use crate::model::names::FileKind;
use crate::model::transcript::Integrity;

/// An unbound transcript younger than this may belong to a run that is not in the store yet.
const ORPHAN_AGE: TimeDelta = TimeDelta::hours(24);

/// A cron job: agent and id.
type Job<'a> = (&'a str, &'a str);
/// A run of a job: idle seconds, store, index.
type Ranked = (i64, usize, usize);

impl<Tz: TimeZone> Judge<'_, Tz> {
    /// Judges everything.
    pub fn classify(&self) -> Verdicts {
        let mut bindings = self.judge_bindings(|_| Trail::default(), |case, trail| self.verdict(case, trail)).0;
        self.over_count(&mut bindings, &mut HashMap::new());
        self.over_budget(&mut bindings, &mut HashMap::new());
        self.settle_files(&mut bindings);
        self.settle_rows(&mut bindings, Purpose::Clean);
        let files = self.judge_files(&bindings);
        Verdicts { bindings, files, mends_orphans: self.policy.only.is_empty(), shortens_paths: false }
    }

    /// What `validate --repair` mends.
    pub fn mend(&self) -> Verdicts {
        let verdict = |case: Case<'_>, trail: &mut Trail| (self.mend_verdict(case, trail), Vec::new());
        let mut bindings = self.judge_bindings(|_| Trail::default(), verdict).0;
        self.settle_rows(&mut bindings, Purpose::Mend);
        Verdicts { bindings, files: Vec::new(), mends_orphans: true, shortens_paths: true }
    }

    /// What `quarantine` takes aside: the bindings that `named` or `damaged` holds, unless rule 1 leaves them alone.
    pub fn set_aside(&self, named: &HashSet<BindingId>, damaged: &HashSet<BindingId>) -> Verdicts {
        let verdict = |case: Case<'_>, trail: &mut Trail| {
            let id = BindingId::new(&case.store.path, &case.binding.key);
            let verdict = match (named.contains(&id), damaged.contains(&id)) {
                (true, _) => self.aside_verdict(case, Reason::Named, trail),
                (false, true) => self.aside_verdict(case, Reason::Damaged, trail),
                (false, false) => Verdict::new(Action::Keep, Reason::NotSelected),
            };
            (verdict, Vec::new())
        };
        let mut bindings = self.judge_bindings(|_| Trail::default(), verdict).0;
        self.settle_files(&mut bindings);
        self.settle_rows(&mut bindings, Purpose::Aside);
        Verdicts { bindings, files: Vec::new(), mends_orphans: false, shortens_paths: false }
    }

    /// The rules tried for the bindings with this key, per binding.
    pub fn explain(&self, key: &str) -> Vec<Vec<RuleStep>> {
        let record = |binding: &Binding| if binding.key == key { Trail::recording() } else { Trail::default() };
        let (mut bindings, trails) = self.judge_bindings(record, |case, trail| self.verdict(case, trail));
        let mut trails: HashMap<(usize, usize), Trail> =
            bindings.iter().zip(trails).map(|(one, trail)| ((one.store, one.index), trail)).collect();
        self.over_count(&mut bindings, &mut trails);
        self.over_budget(&mut bindings, &mut trails);
        let asked = bindings.iter().filter(|one| one.binding(self.inventory).key == key);
        asked.map(|one| trails.remove(&(one.store, one.index)).unwrap_or_default().into_steps()).collect()
    }

    fn judge_bindings(
        &self,
        trail: impl Fn(&Binding) -> Trail,
        verdict: impl Fn(Case<'_>, &mut Trail) -> (Verdict, Vec<Finding>),
    ) -> (Vec<Classified>, Vec<Trail>) {
        let grace = self.policy.limits.grace.value;
        // A row that says running is believed beside a live gateway, whatever its age.
        let beside = if self.inventory.gateway.alive { TimeDelta::MAX } else { TimeDelta::zero() };
        let mut facts: Vec<Vec<Facts>> = Vec::with_capacity(self.inventory.stores.len());
        for store in &self.inventory.stores {
            let recent = if store.is_migrated() { beside } else { grace };
            let of = |binding| Facts::of(binding, &self.inventory.side, self.now, recent);
            facts.push(store.bindings.iter().map(of).collect());
        }
        let last = self.last_runs(&facts);
        let (mut judged, mut trails) = (Vec::new(), Vec::new());
        for (at, (store, facts)) in self.inventory.stores.iter().zip(facts).enumerate() {
            if !store.selected {
                continue;
            }
            for (index, (binding, mut facts)) in store.bindings.iter().zip(facts).enumerate() {
                let mut trail = trail(binding);
                let among_last = last.contains(&(at, index));
                let case = Case { store, binding, facts: &facts, among_last };
                let (verdict, findings) = verdict(case, &mut trail);
                facts.findings.extend(findings);
                judged.push(Classified { store: at, index, facts, verdict, file: None, rows: Vec::new() });
                trails.push(trail);
            }
        }
        (judged, trails)
    }

    /// The newest `keep-last` runs of every cron job.
    fn last_runs(&self, facts: &[Vec<Facts>]) -> HashSet<(usize, usize)> {
        let keep = self.policy.classes.get(&Class::CronRun).and_then(|class| class.keep_last.value).unwrap_or(0);
        let mut jobs: HashMap<Job<'_>, Vec<Ranked>> = HashMap::new();
        if keep > 0 {
            for (at, store) in self.inventory.stores.iter().enumerate() {
                for (index, binding) in store.bindings.iter().enumerate() {
                    if let (Class::CronRun, Some(job)) = (binding.class, &binding.cron_job) {
                        let idle = facts[at][index].idle.map_or(i64::MAX, |idle| idle.seconds);
                        jobs.entry((&binding.agent, job)).or_default().push((idle, at, index));
                    }
                }
            }
        }
        let mut last = HashSet::new();
        for mut runs in jobs.into_values() {
            runs.sort_unstable();
            last.extend(runs.into_iter().take(keep).map(|(_, at, index)| (at, index)));
        }
        last
    }

    /// Rule 5: the longest idle ones beyond the count go; protected ones count but stay.
    fn over_count(&self, bindings: &mut [Classified], trails: &mut HashMap<(usize, usize), Trail>) {
        let Some(limit) = self.policy.limits.max_bindings.value else { return };
        let mut agents: HashMap<String, Vec<usize>> = HashMap::new();
        for (at, one) in bindings.iter().enumerate() {
            if !one.verdict.action.removes() {
                agents.entry(one.binding(self.inventory).agent.clone()).or_default().push(at);
            }
        }
        for (agent, kept) in agents {
            let mut excess = kept.len().saturating_sub(limit);
            let mut free: Vec<usize> =
                kept.iter().copied().filter(|&at| bindings[at].verdict.reasons == [Reason::WithinLimits]).collect();
            free.sort_by_key(|&at| std::cmp::Reverse(bindings[at].facts.idle.map_or(0, |idle| idle.seconds)));
            for at in free {
                let one = &mut bindings[at];
                let over = excess > 0;
                let trail = trails.entry((one.store, one.index)).or_default();
                if trail.test(Reason::OverCount, over, || {
                    let source = &self.policy.limits.max_bindings.source;
                    format!(
                        "{} bindings of {agent} remain; limit {limit} ({source}); {}",
                        kept.len(),
                        clock_words(&one.facts)
                    )
                }) {
                    one.verdict = Verdict::new(Action::Expire, Reason::OverCount);
                    excess -= 1;
                }
            }
        }
    }

    /// Rule 6: of the bindings that a start resumes those beyond the budget are deferred, a program's first, then the
    /// longest idle; protected ones count but stay.
    fn over_budget(&self, bindings: &mut [Classified], trails: &mut HashMap<(usize, usize), Trail>) {
        let Some(limit) = self.policy.limits.max_resumes.value else { return };
        let model = Model::of(self.inventory);
        let resumed: Vec<usize> = (0..bindings.len())
            .filter(|&at| !bindings[at].verdict.action.removes() && model.resumes(bindings[at].binding(self.inventory)))
            .collect();
        let mut excess = resumed.len().saturating_sub(limit);
        // A row that says running is kept for just that; what settles it keeps the session.
        let is_free = |one: &Classified| matches!(one.verdict.reasons[..], [Reason::WithinLimits | Reason::Resumable]);
        let mut free: Vec<usize> = resumed.iter().copied().filter(|&at| is_free(&bindings[at])).collect();
        free.sort_by_key(|&at| {
            let one = &bindings[at];
            let idle = one.facts.idle.map_or(0, |idle| idle.seconds);
            std::cmp::Reverse((one.binding(self.inventory).class.is_synthetic(), idle))
        });
        for at in free {
            let one = &mut bindings[at];
            let over = excess > 0;
            let in_rows = one.binding(self.inventory).row.is_some();
            let trail = trails.entry((one.store, one.index)).or_default();
            if trail.test(Reason::OverBudget, over, || {
                let (model, source) = (model.as_str(), &self.policy.limits.max_resumes.source);
                let words = clock_words(&one.facts);
                format!("{} resumable remain by {model}; limit {limit} ({source}); {words}", resumed.len())
            }) {
                let action = if in_rows { Action::Settle } else { Action::Defer };
                one.verdict = Verdict::new(action, Reason::OverBudget);
                excess -= 1;
            }
        }
    }

    /// Which transcripts go with their bindings: those that nothing that stays refers to.
    fn settle_files(&self, bindings: &mut [Classified]) {
        let inventory = self.inventory;
        if bindings.iter().all(|one| !one.verdict.action.removes() || one.binding(inventory).transcript.stamp.is_none())
        {
            return;
        }
        let kept = References::of_kept(inventory, bindings);
        for one in bindings.iter_mut().filter(|one| one.verdict.action.removes()) {
            let binding = one.binding(inventory);
            let transcript = &binding.transcript;
            let (Some(path), Some(_)) = (&transcript.path, transcript.stamp) else { continue };
            if kept.refer_to(path, binding.entry.session_id.as_deref()) {
                one.verdict.reasons.push(Reason::SharedId);
            } else {
                one.file = Some(path.clone());
            }
        }
    }

    fn judge_files(&self, bindings: &[Classified]) -> Vec<ClassifiedFile> {
        // A transcript that was not read may refer to any of them.
        let read = bindings.iter().all(|one| one.facts.integrity != Integrity::NotChecked);
        let orphans = self.inventory.files.iter().any(|file| file.kind == FileKind::Orphan);
        let all = (read && orphans).then(|| References::of_all(self.inventory, bindings));
        let lost = lost_indices(self.inventory);
        let judge = |(index, file): (usize, &LooseFile)| {
            let is_lost = file.path.parent().is_some_and(|dir| lost.contains_key(dir));
            let (action, reason) = self.judge_file(file, all.as_ref(), is_lost);
            ClassifiedFile { index, action, reason }
        };
        self.inventory.files.iter().enumerate().map(judge).collect()
    }

    /// `is_lost`: the index of its directory was lost.
    fn judge_file(&self, file: &LooseFile, references: Option<&References>, is_lost: bool) -> (FileAction, Reason) {
        let keep = |reason| (FileAction::Keep, reason);
        if !self.policy.only.is_empty() {
            return keep(Reason::NotSelected);
        }
        if file.beside == Beside::Migrated {
            return self.judge_leftover(file);
        }
        if file.special {
            return keep(Reason::Outside);
        }
        if file.beside == Beside::Linked {
            return keep(Reason::Symlink);
        }
        let older = |limit: Option<TimeDelta>| {
            limit.is_some_and(|limit| file.archived_at.is_some_and(|time| self.now - time >= limit))
        };
        match file.kind {
            FileKind::Orphan => {
                let quiet = |time| self.now - time >= ORPHAN_AGE;
                let awaited = self.inventory.awaited.as_ref();
                let unknown =
                    file.beside == Beside::Unknown || self.inventory.side.unreadable.cron_runs || awaited.is_none();
                let Some(references) = references.filter(|_| !unknown) else { return keep(Reason::StoreUnknown) };
                if matches!(file.content, Content::NotChecked { .. }) {
                    keep(Reason::NotChecked)
                } else if references.refer_to(&file.path, None)
                    || awaited.is_some_and(|files| files.contains(&file.path))
                {
                    keep(Reason::Referenced)
                } else if file.held {
                    keep(Reason::LockLive)
                } else if is_lost {
                    keep(Reason::IndexLost)
                } else if !self.policy.orphans.value {
                    keep(Reason::OrphansOff)
                } else if quiet(file.touched_at) && file.last_at().is_none_or(quiet) {
                    (FileAction::Archive, Reason::Orphan)
                } else {
                    keep(Reason::Grace)
                }
            }
            FileKind::LockLive => keep(Reason::LockLive),
            FileKind::LockDead if self.inventory.openclaw.locks_are_evidence => keep(Reason::LockEvidence),
            FileKind::LockDead => (FileAction::Remove, Reason::LockDead),
            FileKind::ArchiveDeleted | FileKind::ArchiveBak | FileKind::StoreBak
                if older(self.policy.limits.purge_archives.value) =>
            {
                (FileAction::Purge, Reason::PurgeArchives)
            }
            FileKind::ArchiveReset if older(self.policy.limits.purge_resets.value) => {
                (FileAction::Purge, Reason::PurgeResets)
            }
            _ => keep(Reason::Left),
        }
    }
}

#[cfg(test)]
mod tests;
