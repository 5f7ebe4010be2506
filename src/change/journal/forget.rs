//! Forgetting old runs: the one place where the bytes of an archive die.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};

use chrono::{DateTime, TimeDelta, Utc};

use super::{FORGOTTEN, Journal, is_forgotten, names};
use crate::change::manifest::{Manifest, RunProgress};
use crate::change::outcome::{Left, Refusal, Subject};
use crate::change::run::{FILES, MANIFEST};
use crate::change::underway;
use crate::disk::atomic;
use crate::model::ids::RunId;

/// What became of old runs.
#[derive(Debug, Default)]
pub struct Forgotten {
    /// Forgotten.
    pub forgotten: Vec<RunId>,
    /// Kept, because what they set aside is still there.
    pub kept: Vec<RunId>,
    /// What could not be forgotten, or not whole.
    pub left: Vec<Left>,
}

impl Journal {
    /// Removes what was cut off while it was written, and the directories of runs that were cut off before their
    /// manifest was, and so did nothing. We have our lock: nobody writes them now.
    pub(crate) fn sweep(&self) -> anyhow::Result<()> {
        atomic::sweep(&self.own);
        for name in names(&self.runs)? {
            let Ok(run) = self.runs.existing_subdir(&name) else { continue };
            if is_forgotten(&name) {
                let _ = fs_err::remove_dir_all(run.path());
                continue;
            }
            atomic::sweep(&run);
            if matches!(run.info(OsStr::new(MANIFEST)), Ok(None)) {
                // Both fail on a directory that holds anything: then it is none of these.
                let _ = run.remove_dir(OsStr::new(FILES));
                let _ = self.runs.remove_dir(&name);
            }
        }
        Ok(())
    }

    /// Forgets a run: its directory and all in it. Bytes die here.
    pub(crate) fn forget(&self, id: &RunId) -> anyhow::Result<()> {
        // Under this name it is no run any more, and the next sweep removes what is left of it.
        let gone = OsString::from(format!("{id}{FORGOTTEN}"));
        underway::forgetting(id, || {
            // Not with NOREPLACE: where that is not known, a link takes its place, and a directory has none.
            self.runs.replace(OsStr::new(id.as_str()), &gone)?;
            self.runs.sync()
        })?;
        fs_err::remove_dir_all(self.runs.join(&gone))?;
        Ok(())
    }

    /// Forgets the runs that ended longer ago than `age`, as a person asked: by the system's clock alone. Of those that
    /// may be forgotten only `told`, when a person was told which.
    pub fn prune(&self, now: DateTime<Utc>, age: TimeDelta, told: Option<&[RunId]>) -> Forgotten {
        let runs = self.past().runs;
        let is_told = |run: &Manifest| told.is_none_or(|told| told.contains(&run.id)) || run.holds_what_waits();
        self.forget_those(&runs, |run| run.is_old(now, age) && is_told(run))
    }

    /// Forgets the runs that ended longer ago than `age` by both clocks. `own` has just ended, and stays.
    pub fn forget_older(&self, now: DateTime<Utc>, age: TimeDelta, own: Option<&RunId>) -> Forgotten {
        let runs = self.past().runs;
        let clock = self.clock(now, true);
        let is_due = |run: &Manifest| Some(&run.id) != own && run.is_old(now, age);
        let mut done = Forgotten::default();
        if let Some(jump) = clock.jump() {
            if runs.iter().any(is_due) {
                done.left.push(Left::new(Subject::Runs, Refusal::Clock(jump)));
            }
        } else {
            done = self.forget_those(&runs, |run| is_due(run) && clock.agrees(run.ended(), age));
        }
        if !runs.is_empty()
            && let Err(error) = self.note_day(now)
        {
            done.left.push(Left::new(Subject::Runs, error));
        }
        done
    }

    /// Forgets those of the runs that are due; those that hold what somebody set aside, or that a restore is not done
    /// with, stay.
    fn forget_those(&self, runs: &[Manifest], is_due: impl Fn(&Manifest) -> bool) -> Forgotten {
        let mut done = Forgotten::default();
        if let Err(error) = self.sweep() {
            done.left.push(Left::new(Subject::Runs, error));
        }
        let (due, kept) = sort_out(runs, is_due);
        done.kept = kept;
        for id in due {
            match self.forget(&id) {
                Ok(()) => done.forgotten.push(id),
                Err(error) => done.left.push(Left::new(Subject::Run(id), error)),
            }
        }
        done
    }
}

/// Returns the runs that ended longer ago than `age` and may be forgotten, and those that are kept all the same. Reads
/// only.
pub fn due(runs: &[Manifest], now: DateTime<Utc>, age: TimeDelta) -> (Vec<RunId>, Vec<RunId>) {
    sort_out(runs, |run| run.is_old(now, age))
}

/// Tells the runs that may be forgotten from those that hold what somebody set aside, or that a restore is not done with.
fn sort_out(runs: &[Manifest], is_due: impl Fn(&Manifest) -> bool) -> (Vec<RunId>, Vec<RunId>) {
    let unfinished = runs.iter().filter(|run| run.state == RunProgress::Unfinished);
    let needed: HashSet<&RunId> = unfinished.filter_map(|run| Some(&run.asked()?.of)).collect();
    let due = runs.iter().filter(|run| is_due(run));
    let (kept, due): (Vec<&Manifest>, Vec<&Manifest>) =
        due.partition(|run| run.holds_what_waits() || needed.contains(&run.id));
    let ids = |runs: Vec<&Manifest>| runs.into_iter().map(|run| run.id.clone()).collect();
    (ids(due), ids(kept))
}
