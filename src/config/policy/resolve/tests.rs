#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::super::{ChoiceArgs, FailedMode, GcLimitArgs, MaxRemovals, PolicyArgs};
use super::*;
use crate::config::policy_file;
use crate::model::reset::ResetMode;

fn loaded(value: &Value, state: ConfigState) -> LoadedConfig {
    let (config, problems) = OpenclawConfig::from_value(value);
    LoadedConfig { path: "/s/openclaw.json".into(), state, config, problems, notes: Vec::new(), unread: false }
}

fn policy(flags: &PolicyFlags, file: &str, config: &Value) -> Policy {
    resolve(flags, Some(&policy_file::parse(file).unwrap()), &loaded(config, ConfigState::Valid))
}

fn plain(config: &Value) -> Policy {
    resolve(&PolicyFlags::default(), None, &loaded(config, ConfigState::Valid))
}

fn chosen(choice: ChoiceArgs) -> PolicyFlags {
    PolicyArgs { choice, ..PolicyArgs::default() }.flags()
}

fn hours(hours: i64) -> IdleRule {
    IdleRule::After(TimeDelta::hours(hours), StaleCode::Idle)
}

#[track_caller]
fn idle(policy: &Policy, class: Class, rule: IdleRule, source: &str) {
    let idle = &policy.classes[&class].idle;
    assert_eq!((&idle.value, idle.source.to_string().as_str()), (&rule, source), "{class}");
}

#[test]
fn with_nothing_set_openclaws_own_rules_decide() {
    let policy = plain(&json!({}));
    assert_eq!(policy.classes.len(), Class::ALL.len());
    idle(&policy, Class::CronRun, cron_retention(Some(TimeDelta::hours(24))), "default");
    idle(&policy, Class::Subagent, archive_after(TimeDelta::hours(1)), "default");
    for class in [Class::Main, Class::Direct, Class::Cron, Class::Hook, Class::Heartbeat, Class::Other] {
        idle(&policy, class, IdleRule::OpenclawReset, "default");
    }
    for (class, limits) in &policy.classes {
        assert_eq!(limits.protected, default(class.is_protected_by_default()));
        assert_eq!((limits.max_age.value, limits.keep_last.value), (None, None));
    }
    let limits = &policy.limits;
    assert_eq!((limits.grace.value, limits.error_idle.value), (TimeDelta::minutes(15), TimeDelta::hours(1)));
    assert_eq!((policy.prune_after.value, limits.max_bindings.value, limits.failed.value), (None, None, None));
    assert_eq!(limits.keep_runs, default(Some(TimeDelta::days(30))));
    assert_eq!(limits.poison_starts, default(Some(3)));
    assert_eq!((policy.slots.value, policy.timeout_seconds.value), (4, 600));
    assert_eq!((policy.orphans, policy.all), (default(true), default(false)));
    assert!(policy.keep.is_empty() && policy.only.is_empty());
}

#[test]
fn idle_is_the_flag_then_the_class_then_the_file_then_openclaw() {
    let config = json!({"session": {"threadBindings": {"idleHours": 4}}});
    let file = "idle = \"3h\"\n[class.direct]\nidle = \"2h\"\n";
    let flags = PolicyArgs { idle: Some(hours(1)), ..PolicyArgs::default() }.flags();
    let all = policy(&flags, file, &config);
    idle(&all, Class::Direct, hours(1), "--idle");
    idle(&all, Class::CronRun, hours(1), "--idle");
    let no_flag = policy(&PolicyFlags::default(), file, &config);
    idle(&no_flag, Class::Direct, hours(2), "policy file: class.direct.idle");
    idle(&no_flag, Class::Hook, hours(3), "policy file: idle");
    idle(&no_flag, Class::CronRun, hours(3), "policy file: idle");
    let no_file = plain(&config);
    idle(&no_file, Class::Direct, hours(4), "openclaw.json: session.threadBindings.idleHours");
    idle(&no_file, Class::Hook, hours(4), "openclaw.json: session.threadBindings.idleHours");
    let own = (IdleRule::After(TimeDelta::hours(24), StaleCode::CronRetention), "default".to_owned());
    let cron_run = &no_file.classes[&Class::CronRun].idle;
    assert_eq!((cron_run.value, cron_run.source.to_string()), own);
}

#[test]
fn off_at_a_stronger_place_hides_a_weaker_limit() {
    let config = json!({"session": {"threadBindings": {"idleHours": 4, "maxAgeHours": 9}}});
    let file = "max-age = \"off\"\n[class.hook]\nidle = \"off\"\n";
    let policy = policy(&PolicyFlags::default(), file, &config);
    idle(&policy, Class::Hook, IdleRule::Off, "policy file: class.hook.idle");
    assert_eq!(policy.classes[&Class::Hook].max_age.value, None);
    assert_eq!(policy.classes[&Class::Hook].max_age.source.to_string(), "policy file: max-age");
}

#[test]
fn cron_runs_and_subagents_have_their_own_setting_above_idle_hours() {
    let policy = plain(&json!({
        "session": {"threadBindings": {"idleHours": 4}}, "cron": {"sessionRetention": "6h"},
        "agents": {"defaults": {"subagents": {"archiveAfterMinutes": 5}}}}));
    idle(&policy, Class::CronRun, cron_retention(Some(TimeDelta::hours(6))), "openclaw.json: cron.sessionRetention");
    let archive = "openclaw.json: agents.defaults.subagents.archiveAfterMinutes";
    idle(&policy, Class::Subagent, archive_after(TimeDelta::minutes(5)), archive);
    idle(&policy, Class::Cron, hours(4), "openclaw.json: session.threadBindings.idleHours");
}

#[test]
fn false_and_zero_switch_openclaws_limits_off() {
    let policy = plain(&json!({
        "session": {"threadBindings": {"idleHours": 0, "maxAgeHours": 0}, "maintenance": {"pruneAfter": 0}},
        "cron": {"sessionRetention": false}, "agents": {"defaults": {"subagents": {"archiveAfterMinutes": 0}}}}));
    idle(&policy, Class::CronRun, IdleRule::Off, "openclaw.json: cron.sessionRetention");
    idle(&policy, Class::Subagent, IdleRule::Off, "openclaw.json: agents.defaults.subagents.archiveAfterMinutes");
    idle(&policy, Class::Direct, IdleRule::OpenclawReset, "default");
    assert_eq!(policy.classes[&Class::Direct].max_age, default(None));
    assert_eq!(policy.prune_after, default(None));
}

#[test]
fn max_age_is_the_flag_then_the_class_then_the_file_then_openclaw() {
    let config = json!({"session": {"threadBindings": {"maxAgeHours": 120}}});
    let file = "max-age = \"3d\"\n[class.direct]\nmax-age = \"2d\"\n";
    let flags = PolicyArgs { max_age: Some(Some(TimeDelta::days(1))), ..PolicyArgs::default() }.flags();
    let shown = |policy: &Policy, class| {
        let age = &policy.classes[&class].max_age;
        (age.value.map(|age| age.num_days()), age.source.to_string())
    };
    assert_eq!(shown(&policy(&flags, file, &config), Class::Direct), (Some(1), "--max-age".into()));
    let no_flag = policy(&PolicyFlags::default(), file, &config);
    assert_eq!(shown(&no_flag, Class::Direct), (Some(2), "policy file: class.direct.max-age".into()));
    assert_eq!(shown(&no_flag, Class::Main), (Some(3), "policy file: max-age".into()));
    let source = "openclaw.json: session.threadBindings.maxAgeHours".to_owned();
    assert_eq!(shown(&plain(&config), Class::Main), (Some(5), source));
}

#[test]
fn maintenance_limits_hold_only_when_written() {
    let policy = plain(&json!({"session": {"maintenance": {"pruneAfter": 14, "pruneDays": 7, "maxEntries": 100}}}));
    assert_eq!(policy.prune_after.value, Some(TimeDelta::days(14)));
    assert_eq!(policy.prune_after.source.to_string(), "openclaw.json: session.maintenance.pruneAfter");
    assert_eq!(policy.limits.max_bindings.value, Some(100));
    let older = plain(&json!({"session": {"maintenance": {"pruneDays": 7}}}));
    assert_eq!(older.prune_after.value, Some(TimeDelta::days(7)));
    assert_eq!(older.limits.max_bindings, default(None));
}

#[test]
fn protection_is_the_flags_then_the_file_then_the_class() {
    let file = "[protect]\nclasses = [\"hook\", \"cron\"]\nunprotect = [\"group\", \"topic\"]\n";
    let flags = chosen(ChoiceArgs {
        protect: vec![Class::Group, Class::Slash],
        unprotect: vec![Class::Hook, Class::Slash],
        ..ChoiceArgs::default()
    });
    let policy = policy(&flags, file, &json!({}));
    for (class, expected, source) in [
        (Class::Group, true, "--protect"),
        (Class::Hook, false, "--unprotect"),
        (Class::Slash, false, "--unprotect"),
        (Class::Cron, true, "policy file: protect.classes"),
        (Class::Topic, false, "policy file: protect.unprotect"),
        (Class::Main, true, "default"),
        (Class::Direct, false, "default"),
    ] {
        let protected = &policy.classes[&class].protected;
        assert_eq!((protected.value, protected.source.to_string().as_str()), (expected, source), "{class}");
    }
}

#[test]
fn only_cron_runs_have_a_number_to_keep() {
    let file = "keep-last = 2\n[class.cron-run]\nkeep-last = 3\n";
    let from_file = policy(&PolicyFlags::default(), file, &json!({}));
    assert_eq!(from_file.classes[&Class::CronRun].keep_last.value, Some(3));
    assert_eq!(from_file.classes[&Class::Cron].keep_last, default(None));
    let flags = PolicyArgs { keep_last: Some(Some(1)), ..PolicyArgs::default() }.flags();
    assert_eq!(policy(&flags, file, &json!({})).classes[&Class::CronRun].keep_last.value, Some(1));
}

#[test]
fn keys_to_keep_add_up_and_name_their_source() {
    let flags = chosen(ChoiceArgs { keep: vec!["a*".into()], only: vec!["b".into()], ..ChoiceArgs::default() });
    let policy = policy(&flags, "[protect]\nkeys = [\"c\"]\n", &json!({}));
    let keep: Vec<_> = policy.keep.iter().map(|keep| (keep.value.as_str(), keep.source.to_string())).collect();
    assert_eq!(keep, [("a*", "--keep".to_owned()), ("c", "policy file: protect.keys".to_owned())]);
    let only: Vec<_> = policy.only.iter().map(|only| (only.value.as_str(), only.source.to_string())).collect();
    assert_eq!(only, [("b", "--only".to_owned())]);
}

#[test]
fn every_other_flag_is_stronger_than_the_file() {
    let file = "grace = \"1m\"\nerror-idle = \"2m\"\nfailed = \"off\"\nmax-bindings = 1\nkeep-runs = \"off\"\n\
        max-removals = 5\npurge-archives = \"3d\"\npurge-resets = \"4d\"\npoison-starts = 4\n";
    let written = policy(&PolicyFlags::default(), file, &json!({})).limits;
    assert_eq!(written.grace.source.to_string(), "policy file: grace");
    assert_eq!(written.failed.value, Some(FailedMode::Off));
    assert_eq!((written.max_bindings.value, written.keep_runs.value), (Some(1), None));
    assert_eq!(written.max_removals.value, Some(MaxRemovals::Count(5)));
    assert_eq!(written.max_removals.source.to_string(), "policy file: max-removals");
    assert_eq!(written.purge_archives.value, Some(TimeDelta::days(3)));
    assert_eq!(
        (written.poison_starts.value, written.poison_starts.source.to_string()),
        (Some(4), "policy file: poison-starts".into())
    );
    let day = TimeDelta::days(1);
    let choice = ChoiceArgs { all: true, no_orphans: true, ..ChoiceArgs::default() };
    let flags = PolicyFlags {
        policy: PolicyArgs {
            grace: Some(day),
            error_idle: Some(day),
            failed: Some(Some(FailedMode::Any)),
            max_bindings: Some(Some(9)),
            choice,
            ..PolicyArgs::default()
        },
        gc: GcLimitArgs {
            keep_runs: Some(Some(day)),
            max_removals: Some(Some(MaxRemovals::Percent(1.0))),
            purge_archives: Some(Some(day)),
            purge_resets: Some(Some(day)),
            poison_starts: Some(None),
            ..GcLimitArgs::default()
        },
    };
    let Policy { limits: typed, all, orphans, .. } = policy(&flags, file, &json!({}));
    assert_eq!((typed.grace.value, typed.error_idle.value), (day, day));
    assert_eq!((typed.failed.value, typed.max_bindings.value), (Some(FailedMode::Any), Some(9)));
    assert_eq!((typed.keep_runs.value, typed.max_removals.value), (Some(day), Some(MaxRemovals::Percent(1.0))));
    assert_eq!((typed.purge_archives.value, typed.purge_resets.value), (Some(day), Some(day)));
    assert_eq!(typed.purge_resets.source.to_string(), "--purge-resets");
    assert_eq!((typed.poison_starts.value, typed.poison_starts.source.to_string()), (None, "--poison-starts".into()));
    assert_eq!((all.value, all.source.to_string()), (true, "--all".into()));
    assert_eq!((orphans.value, orphans.source.to_string()), (false, "--no-orphans".into()));
}

#[test]
fn the_startup_estimate_uses_openclaws_slots_and_timeout() {
    let policy = plain(&json!({"agents": {"defaults": {"maxConcurrent": 2, "timeoutSeconds": 30}}}));
    assert_eq!((policy.slots.value, policy.timeout_seconds.value), (2, 30));
    assert_eq!(policy.slots.source.to_string(), "openclaw.json: agents.defaults.maxConcurrent");
}

#[test]
fn an_invalid_configuration_makes_nothing_stale_by_itself() {
    let config = json!({"session": {"threadBindings": {"idleHours": 4, "maxAgeHours": 4},
        "maintenance": {"maxEntries": 1, "pruneAfter": 1}, "reset": {"mode": "idle"}}});
    let invalid = loaded(&config, ConfigState::Invalid);
    assert_eq!(invalid.config.reset.base.unwrap().mode, Some(ResetMode::Idle));
    let bare = resolve(&PolicyFlags::default(), None, &invalid);
    for class in Class::ALL {
        idle(&bare, class, IdleRule::Off, "default while openclaw.json is invalid");
        assert_eq!(bare.classes[&class].max_age, default(None));
    }
    assert_eq!((bare.limits.max_bindings.value, bare.prune_after.value), (None, None));
    assert_eq!(bare.reset, None);
    let flags = PolicyArgs { idle: Some(hours(1)), ..PolicyArgs::default() }.flags();
    idle(&resolve(&flags, None, &invalid), Class::Direct, hours(1), "--idle");
}

#[test]
fn a_missing_configuration_means_openclaws_defaults() {
    let policy = resolve(&PolicyFlags::default(), None, &loaded(&json!({}), ConfigState::Missing));
    idle(&policy, Class::Direct, IdleRule::OpenclawReset, "default");
}
