//! How old a run is, by two clocks: the system's, and the traces of time in the state directory.
//!
//! A machine without a clock of its own starts in the past, and one wrong date would make every archive look old. So a
//! run is forgotten only when it is old by the system's clock *and* by traces: days on which claw-sessions ran, the ends
//! of runs, the times of stores. Between two traces at most [`GAP`] counts.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::change::outcome::Jump;

/// So much time counts between two traces, and so far may the clock be ahead of the newest.
pub const GAP: TimeDelta = TimeDelta::days(7);

/// So far may the clock be behind the newest trace: the clocks of two machines that share a directory differ.
const SLACK: TimeDelta = TimeDelta::minutes(10);

/// So many days are kept.
const DAYS: usize = 400;

/// The system's clock, and the traces that were there when this process began.
#[derive(Clone, Debug)]
pub struct TwoClocks {
    now: DateTime<Utc>,
    /// Sorted.
    traces: Vec<DateTime<Utc>>,
}

impl TwoClocks {
    /// A clock that shows `now`, beside these traces.
    pub fn new(now: DateTime<Utc>, traces: impl IntoIterator<Item = DateTime<Utc>>) -> Self {
        let mut traces: Vec<DateTime<Utc>> = traces.into_iter().collect();
        traces.sort_unstable();
        Self { now, traces }
    }

    /// Returns the newest trace; the system's time where there is none.
    pub fn newest(&self) -> DateTime<Utc> {
        self.traces.last().copied().unwrap_or(self.now)
    }

    /// Returns how the two clocks contradict each other, if they do.
    pub fn jump(&self) -> Option<Jump> {
        let newest = self.newest();
        if self.now < newest - SLACK {
            return Some(Jump::Behind(newest));
        }
        (self.now > newest + GAP).then_some(Jump::Ahead(newest))
    }

    /// Returns whether something ended longer ago than `age`, by both clocks.
    pub fn agrees(&self, ended: DateTime<Utc>, age: TimeDelta) -> bool {
        self.now - ended >= age && self.seen_since(ended) >= age
    }

    /// Returns how much time left traces since `then`.
    fn seen_since(&self, then: DateTime<Utc>) -> TimeDelta {
        let later = self.traces.iter().copied().filter(|trace| (then..=self.now).contains(trace));
        let mut last = then;
        let mut seen = TimeDelta::zero();
        for trace in later.chain([self.now]) {
            seen += (trace - last).min(GAP);
            last = trace;
        }
        seen
    }
}

/// The days on which claw-sessions changed something here, or looked whether a run is old.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Days {
    days: Vec<NaiveDate>,
}

impl Days {
    /// Reads days; none from text that holds none.
    pub(crate) fn parse(text: &[u8]) -> Self {
        serde_json::from_slice(text).unwrap_or_default()
    }

    /// Returns a trace of each day.
    pub(crate) fn traces(&self) -> impl Iterator<Item = DateTime<Utc>> {
        self.days.iter().filter_map(|day| Some(day.and_hms_opt(0, 0, 0)?.and_utc()))
    }

    /// Adds the day of `now`; `None` when it is there already.
    pub(crate) fn with(mut self, now: DateTime<Utc>) -> Option<Self> {
        let today = now.date_naive();
        if self.days.contains(&today) {
            return None;
        }
        self.days.push(today);
        let first = self.days.len().saturating_sub(DAYS);
        self.days.drain(..first);
        Some(self)
    }

    /// Returns its text.
    pub(crate) fn text(&self) -> anyhow::Result<Vec<u8>> {
        Ok(serde_json::to_vec(self)?)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn day(number: i64) -> DateTime<Utc> {
        "2026-01-01T12:00:00Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::days(number)
    }

    const MONTH: TimeDelta = TimeDelta::days(30);

    #[test]
    fn a_run_is_old_when_both_clocks_say_so() {
        let nightly = TwoClocks::new(day(31), (0..31).map(day));
        assert!(nightly.agrees(day(0), MONTH) && nightly.jump().is_none());
        assert!(!nightly.agrees(day(2), MONTH));
        let weekly = TwoClocks::new(day(35), (0..5).map(|week| day(7 * week)));
        assert!(weekly.agrees(day(0), MONTH));
    }

    #[test]
    fn a_clock_that_jumped_ages_nothing() {
        let ahead = TwoClocks::new(day(45), (0..5).map(day));
        assert_eq!(ahead.jump(), Some(Jump::Ahead(day(4))));
        assert!(!ahead.agrees(day(0), MONTH));
        let behind = TwoClocks::new(day(0), [day(60)]);
        assert_eq!(behind.jump(), Some(Jump::Behind(day(60))));
        // Off for two months, started in the past, and set right since: there are traces at both ends only.
        let set_right = TwoClocks::new(day(60), [day(0), day(60)]);
        assert_eq!(set_right.jump(), None);
        assert!(!set_right.agrees(day(0), MONTH));
    }
}
