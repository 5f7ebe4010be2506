//! The policy file: limits in TOML, where a word that is not known is an error and not a limit silently missing.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::duration::{self, Limit};
use super::policy::{FailedMode, MaxRemovals};
use crate::model::key::Class;

/// What a policy file sets; what is absent is left to `openclaw.json` and the defaults.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct PolicyFile {
    /// `idle`, for every class.
    #[serde(deserialize_with = "limit")]
    pub idle: Option<Limit>,
    /// `max-age`, for every class.
    #[serde(deserialize_with = "limit")]
    pub max_age: Option<Limit>,
    /// `error-idle`.
    #[serde(deserialize_with = "duration")]
    pub error_idle: Option<TimeDelta>,
    /// `grace`.
    #[serde(deserialize_with = "duration")]
    pub grace: Option<TimeDelta>,
    /// `max-bindings`, for each agent.
    #[serde(deserialize_with = "count")]
    pub max_bindings: Option<usize>,
    /// `max-resumes`, for the state directory.
    pub max_resumes: Option<usize>,
    /// `max-removals`, a number or a share such as `"50%"`.
    #[serde(deserialize_with = "max_removals")]
    pub max_removals: Option<MaxRemovals>,
    /// `keep-runs`.
    #[serde(deserialize_with = "limit")]
    pub keep_runs: Option<Limit>,
    /// `keep-last`, for each cron job.
    #[serde(deserialize_with = "count")]
    pub keep_last: Option<usize>,
    /// `failed`.
    pub failed: Option<FailedMode>,
    /// `purge-archives`.
    #[serde(deserialize_with = "duration")]
    pub purge_archives: Option<TimeDelta>,
    /// `purge-resets`.
    #[serde(deserialize_with = "duration")]
    pub purge_resets: Option<TimeDelta>,
    /// `[class.NAME]`.
    pub class: BTreeMap<Class, ClassLimits>,
    /// `[protect]`.
    pub protect: Protect,
}

/// `[class.NAME]`: limits of one class, above the general ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ClassLimits {
    /// `idle`.
    #[serde(deserialize_with = "limit")]
    pub idle: Option<Limit>,
    /// `max-age`.
    #[serde(deserialize_with = "limit")]
    pub max_age: Option<Limit>,
    /// `keep-last`, only for `cron-run`.
    #[serde(deserialize_with = "count")]
    pub keep_last: Option<usize>,
}

/// `[protect]`: what stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Protect {
    /// `classes`, besides those protected by default.
    pub classes: Vec<Class>,
    /// `unprotect`: classes not protected, whatever the default.
    pub unprotect: Vec<Class>,
    /// `keys`, patterns with `*` and `?`.
    pub keys: Vec<String>,
}

/// Reads a policy file; the error names the line and its key.
pub fn parse(text: &str) -> Result<PolicyFile, String> {
    let file: PolicyFile = toml::from_str(text).map_err(|error| located(text, &error))?;
    for (class, limits) in &file.class {
        if limits.keep_last.is_some() && *class != Class::CronRun {
            return Err(format!("class.{class}.keep-last: only cron-run has runs to count"));
        }
    }
    if let Some(class) = file.protect.classes.iter().find(|class| file.protect.unprotect.contains(class)) {
        return Err(format!("protect: {class} is in both classes and unprotect"));
    }
    Ok(file)
}

fn located(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().trim();
    let Some(span) = error.span() else { return message.to_owned() };
    let line = text.get(..span.start).map_or(0, |before| before.matches('\n').count());
    let key = text.lines().nth(line).and_then(|line| line.split_once('=')).map_or("", |(key, _)| key.trim());
    if key.is_empty() {
        return format!("line {}: {message}", line + 1);
    }
    format!("line {}: {key}: {message}", line + 1)
}

fn limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Limit>, D::Error> {
    let text = String::deserialize(deserializer)?;
    duration::parse_or_off(&text).map(Some).map_err(D::Error::custom)
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<TimeDelta>, D::Error> {
    let text = String::deserialize(deserializer)?;
    duration::parse(&text).map(Some).map_err(D::Error::custom)
}

fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    match usize::deserialize(deserializer)? {
        0 => Err(D::Error::custom("0 is no limit: leave the key out, or name a number")),
        count => Ok(Some(count)),
    }
}

fn max_removals<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<MaxRemovals>, D::Error> {
    let text = match toml::Value::deserialize(deserializer)? {
        toml::Value::String(text) => text,
        toml::Value::Integer(number) => number.to_string(),
        _ => return Err(D::Error::custom("expected a number or a share such as \"50%\"")),
    };
    MaxRemovals::parse(&text).map(Some).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[track_caller]
    fn refused(text: &str, parts: &[&str]) {
        let problem = parse(text).unwrap_err();
        assert!(parts.iter().all(|part| problem.contains(part)), "{problem}");
        assert!(!problem.contains('\n'), "{problem}");
    }

    #[test]
    fn an_empty_file_sets_nothing() {
        assert_eq!(parse("# nothing\n"), Ok(PolicyFile::default()));
    }

    #[test]
    fn every_key_is_read() {
        let file = parse(
            r#"
            idle = "24h"
            max-age = "off"
            error-idle = "2h"
            grace = "5m"
            max-bindings = 200
            max-resumes = 2
            max-removals = "50%"
            keep-runs = "off"
            keep-last = 4
            failed = "permanent"
            purge-archives = "30d"
            purge-resets = "90d"
            [class.cron-run]
            idle = "6h"
            keep-last = 3
            [class.direct]
            idle = "off"
            max-age = "5d"
            [protect]
            classes = ["direct", "hook"]
            unprotect = ["group"]
            keys = ["agent:main:telegram:direct:4038*"]
            "#,
        )
        .unwrap();
        assert_eq!(file.idle, Some(Some(TimeDelta::hours(24))));
        assert_eq!((file.max_age, file.keep_runs), (Some(None), Some(None)));
        assert_eq!((file.error_idle, file.grace), (Some(TimeDelta::hours(2)), Some(TimeDelta::minutes(5))));
        assert_eq!((file.max_bindings, file.max_resumes, file.keep_last), (Some(200), Some(2), Some(4)));
        assert_eq!(file.max_removals, Some(MaxRemovals::Percent(50.0)));
        assert_eq!(file.failed, Some(FailedMode::Permanent));
        assert_eq!((file.purge_archives, file.purge_resets), (Some(TimeDelta::days(30)), Some(TimeDelta::days(90))));
        assert_eq!(file.class[&Class::CronRun].keep_last, Some(3));
        assert_eq!(file.class[&Class::Direct].idle, Some(None));
        assert_eq!(file.protect.classes, [Class::Direct, Class::Hook]);
        assert_eq!(file.protect.unprotect, [Class::Group]);
        assert_eq!(file.protect.keys, ["agent:main:telegram:direct:4038*"]);
    }

    #[test]
    fn a_number_of_removals_needs_no_quotes() {
        assert_eq!(parse("max-removals = 10").unwrap().max_removals, Some(MaxRemovals::Count(10)));
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        refused("idle = \"1h\"\nidel = \"1h\"\n", &["line 2", "idel", "unknown field"]);
        refused("[class.direct]\nmax-bindings = 3\n", &["line 2", "max-bindings"]);
        refused("[protect]\nkey = []\n", &["line 2", "unknown field `key`"]);
        refused("[limits]\n", &["line 1", "limits"]);
    }

    #[test]
    fn an_unknown_class_is_refused_with_its_line() {
        refused("\n[class.cronrun]\nidle = \"1h\"\n", &["line 2", "cronrun", "cron-run"]);
        refused("[protect]\nclasses = [\"main\", \"dm\"]\n", &["line 2: classes", "dm"]);
    }

    #[test]
    fn a_wrong_value_is_refused_with_its_line_and_key() {
        refused("idle = \"24\"", &["line 1: idle", "has no unit"]);
        refused("max-age = 5", &["line 1: max-age", "string"]);
        refused("grace = \"off\"", &["line 1: grace", "not a duration"]);
        refused("max-bindings = -1", &["line 1: max-bindings"]);
        refused("max-removals = \"0%\"", &["line 1: max-removals", "0%"]);
        refused("failed = \"some\"", &["line 1: failed", "permanent"]);
        refused("idle = \"1h\"\nidle = \"2h\"", &["line 2", "duplicate"]);
        refused("idle = ", &["line 1"]);
    }

    #[test]
    fn keep_last_of_a_class_without_runs_is_refused() {
        refused("[class.direct]\nkeep-last = 3\n", &["class.direct.keep-last"]);
    }

    #[test]
    fn a_class_both_protected_and_not_is_refused() {
        refused("[protect]\nclasses = [\"hook\"]\nunprotect = [\"hook\"]\n", &["hook", "both"]);
    }
}
