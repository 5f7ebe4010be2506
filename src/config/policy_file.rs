//! The policy file: limits in TOML, where a word that is not known is an error and not a limit silently missing.

use serde::Deserialize;

pub use super::policy::PolicyFile;
use crate::model::key::Class;

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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use chrono::TimeDelta;

    use super::*;
    use crate::config::policy::{FailedMode, IdleRule, MaxRemovals, StaleCode, ValueKind, Written};

    #[track_caller]
    fn refused(text: &str, parts: &[&str]) {
        let problem = parse(text).unwrap_err();
        assert!(parts.iter().all(|part| problem.contains(part)), "{problem}");
        assert!(!problem.contains('\n'), "{problem}");
    }

    fn value<K: ValueKind>(written: Option<Written<K>>) -> Option<K::Value> {
        written.map(|written| written.0)
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
            poison-starts = 5
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
        let after = |hours| IdleRule::After(TimeDelta::hours(hours), StaleCode::Idle);
        let [cron_run, direct] = [Class::CronRun, Class::Direct].map(|class| file.class[&class].clone());
        assert_eq!(
            (value(file.idle), value(cron_run.idle), value(direct.idle)),
            (Some(after(24)), Some(after(6)), Some(IdleRule::Off))
        );
        assert_eq!((value(file.max_age), value(direct.max_age)), (Some(None), Some(Some(TimeDelta::days(5)))));
        assert_eq!(
            (value(file.error_idle), value(file.grace)),
            (Some(TimeDelta::hours(2)), Some(TimeDelta::minutes(5)))
        );
        assert_eq!((value(file.max_bindings), value(file.max_resumes)), (Some(Some(200)), Some(Some(2))));
        assert_eq!((value(file.keep_last), value(cron_run.keep_last)), (Some(Some(4)), Some(Some(3))));
        assert_eq!(value(file.poison_starts), Some(Some(5)));
        assert_eq!(value(file.max_removals), Some(Some(MaxRemovals::Percent(50.0))));
        assert_eq!(value(file.failed), Some(Some(FailedMode::Permanent)));
        assert_eq!((value(file.keep_runs), value(file.purge_archives)), (Some(None), Some(Some(TimeDelta::days(30)))));
        assert_eq!(value(file.purge_resets), Some(Some(TimeDelta::days(90))));
        assert_eq!(file.protect.classes, [Class::Direct, Class::Hook]);
        assert_eq!(file.protect.unprotect, [Class::Group]);
        assert_eq!(file.protect.keys, ["agent:main:telegram:direct:4038*"]);
    }

    #[test]
    fn a_number_of_removals_needs_no_quotes() {
        assert_eq!(parse("max-removals = 10").unwrap().max_removals.unwrap().0, Some(MaxRemovals::Count(10)));
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
        refused("max-age = 5", &["line 1: max-age", "has no unit"]);
        refused("max-age = 5.5", &["line 1: max-age", "text in quotes"]);
        refused("grace = \"off\"", &["line 1: grace", "not a duration"]);
        refused("max-bindings = -1", &["line 1: max-bindings"]);
        refused("max-bindings = 0", &["line 1: max-bindings", "1 or more"]);
        refused("poison-starts = 1", &["line 1: poison-starts", "2 or more", "off"]);
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
