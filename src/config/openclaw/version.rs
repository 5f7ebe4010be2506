//! Releases of OpenClaw and their order (`openclaw-format.md` §0).

/// A release of OpenClaw: `2026.3.11`, `2026.7.2-beta.1` before `2026.7.2`, and `2026.7.1-2`, a correction after
/// `2026.7.1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    numbers: [u32; 3],
    stage: Stage,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Preview(Vec<Identifier>),
    Release(u32),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Identifier {
    Number(u32),
    Word(String),
}

impl Version {
    /// The release with these numbers.
    pub const fn new(year: u32, month: u32, release: u32) -> Self {
        Self { numbers: [year, month, release], stage: Stage::Release(0) }
    }

    /// Reads a version; a leading `v` is allowed.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text.strip_prefix('v').unwrap_or(text);
        let (numbers, suffix) = text.split_once('-').map_or((text, None), |(numbers, suffix)| (numbers, Some(suffix)));
        let numbers: Vec<u32> = numbers.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
        Some(Self { numbers: numbers.try_into().ok()?, stage: suffix.map_or(Some(Stage::Release(0)), stage)? })
    }
}

fn stage(suffix: &str) -> Option<Stage> {
    if let Ok(correction) = suffix.parse() {
        return Some(Stage::Release(correction));
    }
    let identifier = |part: &str| match part.parse() {
        Ok(number) => Some(Identifier::Number(number)),
        Err(_) => (!part.is_empty()).then(|| Identifier::Word(part.to_owned())),
    };
    suffix.split('.').map(identifier).collect::<Option<_>>().map(Stage::Preview)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn releases_are_in_order() {
        let texts = [
            "2026.1.30",
            "2026.3.11",
            "2026.4.29",
            "2026.7.1",
            "2026.7.1-2",
            "2026.7.1-10",
            "2026.7.2-beta.1",
            "2026.7.2-beta.7",
            "2026.7.2-beta.10",
            "2026.7.2",
            "2026.7.35",
            "2026.10.1",
        ];
        let versions: Vec<Version> = texts.iter().map(|text| Version::parse(text).unwrap()).collect();
        assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
        assert_eq!(versions[1], Version::new(2026, 3, 11));
        assert_eq!(Version::parse(" v2026.3.11 "), Some(Version::new(2026, 3, 11)));
    }

    #[test]
    fn what_is_no_version_is_none() {
        for text in ["", "2026", "2026.3", "2026.3.11.1", "2026.x.1", "2026.3.11-", "2026.3.11-a..b", "latest"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }
}
