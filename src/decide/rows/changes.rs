//! From verdicts to changes of rows: which rows go, what of a kept session is trimmed, and whom a child that stays keeps.

use std::collections::HashSet;

use chrono::TimeZone;

use super::rules::{YOUNG, is_grave};
use crate::decide::rules::Judge;
use crate::decide::verdict::{Action, Classified, FileAction, Reason, Verdict};
use crate::model::inventory::LooseFile;
use crate::model::leftover::LeftoverState;
use crate::model::row::{RowChange, SessionRow, Window};

impl<Tz: TimeZone> Judge<'_, Tz> {
    /// Gives every verdict about a session in rows the changes that carry it out.
    pub(in crate::decide) fn settle_rows(&self, bindings: &mut [Classified], purpose: Purpose) {
        self.settle_old_runs(bindings);
        self.keep_parents(bindings);
        for one in bindings.iter_mut() {
            let binding = one.binding(self.inventory);
            let Some(row) = &binding.row else { continue };
            one.rows = match one.verdict.action {
                Action::Expire | Action::Quarantine | Action::Defer => vec![RowChange::TakeOut],
                Action::Settle => vec![RowChange::Settle],
                Action::Archive => vec![RowChange::Archive],
                Action::Repair => {
                    let wrong = row.damage.iter().filter(|damage| purpose == Purpose::Mend || is_grave(damage));
                    wrong.map(|damage| RowChange::Mend { damage: damage.clone() }).collect()
                }
                Action::Keep if purpose == Purpose::Clean => self.trims(one, row),
                Action::Keep | Action::Trim => Vec::new(),
            };
            if one.verdict.action == Action::Keep && !one.rows.is_empty() {
                let traces = one.rows.iter().any(|change| matches!(change, RowChange::TakeTraces { .. }));
                let reason = if traces { Reason::OldTraces } else { Reason::UnnamedWindow };
                let kept = std::mem::take(&mut one.verdict.reasons);
                one.verdict = Verdict { action: Action::Trim, reasons: [reason].into_iter().chain(kept).collect() };
            }
        }
    }

    /// A start settles rows that say running for longer than OpenClaw should believe them.
    fn settle_old_runs(&self, bindings: &mut [Classified]) {
        let Some(limit) = self.policy.limits.resume_max_age.value.filter(|_| self.inventory.sightings.is_some()) else {
            return;
        };
        for one in bindings.iter_mut().filter(|one| one.verdict.reasons == [Reason::Resumable]) {
            let row = one.binding(self.inventory).row.as_ref();
            let resumed = row.is_some_and(|row| row.is_resumed() && !row.more.owes_reply);
            if resumed && one.facts.idle.is_some_and(|idle| idle.duration() >= limit) {
                one.verdict = Verdict::new(Action::Settle, Reason::ResumeMaxAge);
            }
        }
    }

    /// Leaves what a session that stays names as its parent.
    fn keep_parents(&self, bindings: &mut [Classified]) {
        loop {
            let stays = bindings.iter().filter(|one| !one.verdict.action.removes());
            let parents: HashSet<(usize, &str)> = stays
                .filter_map(|one| Some((one.store, one.binding(self.inventory).row.as_ref()?.more.parent.as_deref()?)))
                .collect();
            let kept: Vec<usize> = (0..bindings.len())
                .filter(|&at| {
                    let one = &bindings[at];
                    let binding = one.binding(self.inventory);
                    one.verdict.action.removes()
                        && binding.row.is_some()
                        && parents.contains(&(one.store, &*binding.key))
                })
                .collect();
            if kept.is_empty() {
                return;
            }
            for at in kept {
                bindings[at].verdict = Verdict::new(Action::Keep, Reason::ParentOf);
            }
        }
    }

    /// What of a session that stays goes: old traces, and windows that no entry names.
    fn trims(&self, one: &Classified, row: &SessionRow) -> Vec<RowChange> {
        let mut trims = Vec::new();
        let out_of_reach =
            matches!(one.verdict.reasons[..], [Reason::Sqlite | Reason::NotSelected | Reason::Running, ..]);
        if out_of_reach || row.status.as_deref() == Some("running") {
            return trims;
        }
        let limits = &self.policy.limits;
        if let Some(age) = limits.trajectories.value {
            let before = self.now - age;
            if row.traces.before(before).0 > 0 {
                trims.push(RowChange::TakeTraces { before });
            }
        }
        let synthetic = one.binding(self.inventory).class.is_synthetic();
        let age = limits.history.value.or_else(|| (synthetic && !self.policy.reports_only.value).then_some(YOUNG));
        let Some(age) = age.filter(|_| row.damage.is_empty()) else { return trims };
        let goes = |window: &&Window| {
            let old = window.updated_at.is_some_and(|at| self.now - at >= age);
            !window.named && !window.held && old
        };
        let windows = row.windows.iter().filter(goes);
        trims.extend(windows.map(|window| RowChange::TakeWindow { session_id: window.session_id.clone() }));
        trims
    }

    /// A leftover transcript goes when all of it is in rows that may be changed.
    pub(in crate::decide) fn judge_leftover(&self, file: &LooseFile) -> (FileAction, Reason) {
        let store = self.inventory.stores.iter().find(|store| {
            store.is_migrated()
                && store.selected
                && Some(store.dir()) == file.path.parent()
                && store.may_change().is_ok()
        });
        let Some(leftover) = file.leftover.as_ref().filter(|_| store.is_some()) else {
            return (FileAction::Keep, Reason::Sqlite);
        };
        match leftover.state {
            _ if file.special => (FileAction::Keep, Reason::Outside),
            _ if file.held => (FileAction::Keep, Reason::LockLive),
            LeftoverState::InSqlite | LeftoverState::Reminted => (FileAction::Archive, Reason::InRows),
            LeftoverState::Partly | LeftoverState::OnlyCopy => (FileAction::Keep, Reason::Left),
        }
    }
}

/// What verdicts are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::decide) enum Purpose {
    /// A gc, or what shows what a gc would do: it trims what stays, and leaves what OpenClaw mends at its next use.
    Clean,
    /// A repair.
    Mend,
    /// A quarantine.
    Aside,
}
