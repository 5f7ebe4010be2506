//! A progress bar on a terminal, for work that takes longer than a second.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::change::progress::Phase;
use crate::cli::GlobalArgs;

/// Work that ends sooner shows no progress bar.
const BEFORE_BAR: Duration = Duration::from_secs(1);

const TEMPLATE: &str = "{msg} {wide_bar} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta}";

/// A progress bar that appears when the work takes longer than a second, on a terminal.
pub(super) struct Progress {
    bar: ProgressBar,
    started: Instant,
    wanted: bool,
}

impl Progress {
    /// A bar that nobody sees yet.
    pub(super) fn new(global: &GlobalArgs) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style);
        }
        let wanted = !global.quiet && !global.json && std::io::stderr().is_terminal();
        Self { bar, started: Instant::now(), wanted }
    }

    /// Says that so many transcripts will be read.
    pub(super) fn reading(&self, files: usize, bytes: u64) {
        self.bar.set_length(bytes);
        let what = if files == 1 { "transcript" } else { "transcripts" };
        self.bar.set_message(format!("reading {files} {what}"));
    }

    /// Says that so many bytes more were read.
    pub(super) fn read(&self, bytes: u64) {
        self.bar.inc(bytes);
        self.appear();
    }

    /// Says how far a phase of a change came.
    pub(super) fn change(&self, phase: Phase, done: u64, all: u64) {
        if !self.wanted {
            return;
        }
        self.bar.set_length(all);
        self.bar.set_position(done);
        self.bar.set_message(match phase {
            Phase::Moving => "moving files into the archive",
            Phase::Hashing => "hashing what is in the archive",
            Phase::Returning => "bringing files back",
        });
        self.appear();
    }

    fn appear(&self) {
        if self.wanted && self.bar.is_hidden() && self.started.elapsed() >= BEFORE_BAR {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }

    /// Takes the bar away.
    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
