//! What is remembered of runs longer than they are kept: a line of each, and the days on which there was a gc.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};

use anyhow::Context as _;
use chrono::{DateTime, Utc};

use super::{DAYS, HISTORY, Journal, LONGEST_HISTORY, give_new, read_own};
use crate::change::clock::{Days, TwoClocks};
use crate::change::history;
use crate::disk::atomic;
use crate::disk::dir::FileInfo;
use crate::disk::platform;

/// Bytes in which the last line of the history lies.
const LONGEST_LINE: u64 = 16 * 1024;

impl Journal {
    /// The system's clock beside the traces of time here; `all` of them, or those that tell the newest.
    pub(super) fn clock(&self, now: DateTime<Utc>, all: bool) -> TwoClocks {
        let days = Days::parse(&read_own(&self.places.state_dir, DAYS, LONGEST_HISTORY).unwrap_or_default());
        let lines = if all { super::history(&self.places.state_dir) } else { self.last_line().into_iter().collect() };
        let ends = lines.into_iter().map(|line| line.finished_at.unwrap_or(line.started_at));
        TwoClocks::new(now, self.seen.iter().copied().chain(days.traces()).chain(ends))
    }

    /// Notes that there was a gc on this day.
    pub(super) fn note_day(&self, now: DateTime<Utc>) -> anyhow::Result<()> {
        let days = Days::parse(&read_own(&self.places.state_dir, DAYS, LONGEST_HISTORY).unwrap_or_default());
        days.with(now).map_or(Ok(()), |days| self.write_own(DAYS, &days.text()?))
    }

    /// Writes a file of claw-sessions' own.
    pub(crate) fn write_own(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let like = FileInfo { mode: 0o600, ..self.like };
        atomic::replace(&self.own, OsStr::new(name), [bytes], &like, || Ok(()))
    }

    /// Returns the last line of the history.
    pub(super) fn last_line(&self) -> Option<history::HistoryLine> {
        let (mut file, info) = self.own.open_file(OsStr::new(HISTORY)).ok()?;
        file.seek(SeekFrom::Start(info.stamp.size.saturating_sub(LONGEST_LINE))).ok()?;
        let mut text = Vec::new();
        file.take(LONGEST_LINE).read_to_end(&mut text).ok()?;
        history::parse(&String::from_utf8_lossy(&text)).pop()
    }

    /// Returns whether the last line was cut off: the next one must not hang on it.
    fn history_is_torn(&self) -> bool {
        let mut last = [b'\n'];
        if let Ok((mut file, _)) = self.own.open_file(OsStr::new(HISTORY)) {
            let _ = file.seek(SeekFrom::End(-1)).and_then(|_| file.read(&mut last));
        }
        last != [b'\n']
    }

    /// Adds a line to `history.jsonl`. Of one that is too large the older half goes.
    pub(crate) fn remember(&self, line: &history::HistoryLine) -> anyhow::Result<()> {
        let line = serde_json::to_string(line)?;
        let mut file = self.own.append(OsStr::new(HISTORY), 0o600)?;
        let write = |file: &mut File| {
            give_new(&*file, &self.like)?;
            let begins = if self.history_is_torn() { "\n" } else { "" };
            file.write_all(format!("{begins}{line}\n").as_bytes())?;
            platform::sync_file(file)?;
            file.metadata()
        };
        let written = write(&mut file).with_context(|| format!("cannot write {}", self.own.join(HISTORY).display()))?;
        if written.len() <= LONGEST_HISTORY {
            return Ok(());
        }
        let mut text = Vec::new();
        let (file, _) = self.own.open_file(OsStr::new(HISTORY))?;
        file.take(2 * LONGEST_HISTORY)
            .read_to_end(&mut text)
            .with_context(|| format!("cannot read {}", self.own.join(HISTORY).display()))?;
        let half = text.len() / 2;
        let kept = text[half..].iter().position(|&byte| byte == b'\n').map_or(half, |at| half + at + 1);
        self.write_own(HISTORY, &text[kept..])
    }
}
