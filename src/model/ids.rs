//! Identities: the name of a run, and the name of a binding.

use std::fmt;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The name of a run, and of its directory: the time it began and its number, `20261122T223000Z-002a`.
///
/// Runs are ordered by their numbers: a clock may go back, a number does not. Text that is no such name cannot become
/// one, so an id never leads out of the directory of runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(String);

/// Digits of the time, with their letters: `20261122T223000Z`.
const TIME: usize = 16;

impl RunId {
    /// The name of run `number` that begins at `at`.
    pub fn new(at: DateTime<Utc>, number: u64) -> Self {
        Self(format!("{}-{number:04x}", at.format("%Y%m%dT%H%M%SZ")))
    }

    /// Reads a name; `None` when the text is none.
    pub fn parse(text: &str) -> Option<Self> {
        let (time, number) = text.split_at_checked(TIME).filter(|_| text.is_ascii())?;
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let is_time = digits(&time[..8]) && &time[8..9] == "T" && digits(&time[9..15]) && time.ends_with('Z');
        let number = number.strip_prefix('-').filter(|number| (4..=16).contains(&number.len()))?;
        let is_number = number.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        (is_time && is_number).then(|| Self(text.to_owned()))
    }

    /// Returns its place in the order of runs.
    pub fn number(&self) -> u64 {
        u64::from_str_radix(self.suffix(), 16).unwrap_or(u64::MAX)
    }

    /// Returns its number as it is written.
    pub fn suffix(&self) -> &str {
        &self.0[TIME + 1..]
    }

    /// Returns its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Ord for RunId {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.number(), &self.0).cmp(&(other.number(), &other.0))
    }
}

impl PartialOrd for RunId {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

impl TryFrom<String> for RunId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| "no name of a run".to_owned())
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> Self {
        id.0
    }
}

/// A binding: two agents may have the same key, so the key alone names none.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BindingId {
    /// Its store.
    pub store: PathBuf,
    /// Its key.
    pub key: String,
}

impl BindingId {
    /// The binding of `key` in `store`.
    pub fn new(store: impl Into<PathBuf>, key: impl Into<String>) -> Self {
        Self { store: store.into(), key: key.into() }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_a_run_is_read_as_it_was_made() {
        let at = "2026-11-22T22:30:00Z".parse().unwrap();
        for number in [0, 1, 0xffff, 0x1_0000, u64::MAX] {
            let id = RunId::new(at, number);
            assert_eq!((RunId::parse(id.as_str()), id.number()), (Some(id.clone()), number));
        }
    }

    #[test]
    fn text_that_leads_elsewhere_is_no_name_of_a_run() {
        for text in [
            "",
            "..",
            "../../agents/main/sessions",
            "20261122T223000Z",
            "20261122T223000Z-",
            "20261122T223000Z-../x",
            "20261122T223000Z-00g0",
            "20261122T223000Z-0000.forgotten",
            "20261122X223000Z-0000",
            "2026112éT22300Z-0000",
        ] {
            assert_eq!(RunId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn runs_are_ordered_by_number_whatever_the_clock_said() {
        let id = |text| RunId::parse(text).unwrap();
        assert!(id("20261122T223000Z-0001") < id("20251122T223000Z-0002"));
        assert!(id("20261122T223000Z-ffff") < id("20261122T223000Z-10000"));
    }
}
