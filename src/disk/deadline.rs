//! The deadline: after it nothing new is begun, and what can be left without a trace is left.

use std::io::{self, Read};
use std::time::{Duration, Instant};

/// When to stop; never, unless it was set.
#[derive(Clone, Copy, Debug, Default)]
pub struct Deadline(Option<Instant>);

/// Reading may use this part of the time, so that something can be done about what was found.
const READING: (u32, u32) = (2, 3);

impl Deadline {
    /// So long after `start`; never without a limit.
    pub fn after(start: Instant, limit: Option<Duration>) -> Self {
        Self(limit.and_then(|limit| start.checked_add(limit)))
    }

    /// The part of it, counted from `start`, that reading may use.
    pub fn for_reading(start: Instant, limit: Option<Duration>) -> Self {
        Self::after(start, limit.map(|limit| limit * READING.0 / READING.1))
    }

    /// How long to wait for something, of `patience`.
    pub fn clip(self, patience: Duration) -> Duration {
        self.0.map_or(patience, |at| patience.min(at.saturating_duration_since(Instant::now())))
    }

    /// Returns whether it is over.
    pub fn has_passed(self) -> bool {
        self.0.is_some_and(|at| Instant::now() >= at)
    }
}

/// A reader that gives up once the deadline has passed.
pub(crate) struct Timed<R> {
    inner: R,
    deadline: Deadline,
}

impl<R> Timed<R> {
    pub(crate) fn new(inner: R, deadline: Deadline) -> Self {
        Self { inner, deadline }
    }
}

impl<R: Read> Read for Timed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.deadline.has_passed() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, OVER));
        }
        self.inner.read(buffer)
    }
}

/// What is said of what was left.
pub const OVER: &str = "the time was over";
