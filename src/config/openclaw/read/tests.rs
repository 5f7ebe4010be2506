use serde_json::json;

use super::*;

#[track_caller]
fn valid(value: &Value) -> OpenclawConfig {
    let (config, problems) = OpenclawConfig::from_value(value);
    assert_eq!(problems, []);
    config
}

#[track_caller]
fn problem(value: &Value, expected: &str) {
    let (_, problems) = OpenclawConfig::from_value(value);
    assert_eq!(problems.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
}

#[test]
fn nothing_written_is_nothing_set() {
    assert_eq!(valid(&json!({})), OpenclawConfig::default());
    assert_eq!(OpenclawConfig::default().agent_ids(), ["main"]);
    assert_eq!(OpenclawConfig::default().default_agent(), "main");
    assert_eq!(OpenclawConfig::default().main_key(), "main");
}

#[test]
fn the_settings_of_the_issue_are_read_and_its_unknown_key_is_no_problem() {
    let config = valid(&json!({"session": {"threadBindings": {
        "maxAgeHours": 120, "idleHours": 24, "reset": {"mode": "daily", "atHour": 4}}}}));
    assert_eq!(config.binding_max_age, Some(TimeDelta::hours(120)));
    assert_eq!(config.binding_idle, Some(TimeDelta::hours(24)));
    assert_eq!(config.reset, ResetRules::default());
}

#[test]
fn every_setting_is_read() {
    let config = valid(&json!({
        "session": {"store": "~/s.json", "mainKey": " work ", "scope": "global", "idleMinutes": 5.0,
            "reset": {"mode": "idle", "idleMinutes": 90}, "resetByType": {"group": {"atHour": 0}},
            "resetByChannel": {" Telegram.x": {"mode": "daily"}},
            "maintenance": {"pruneAfter": 14, "pruneDays": 7, "maxEntries": 100}},
        "cron": {"sessionRetention": "48", "store": "jobs.json"},
        "agents": {"defaults": {"maxConcurrent": 8, "timeoutSeconds": 60, "subagents": {"archiveAfterMinutes": 0}}},
        "gateway": {"port": 19001}, "meta": {"lastTouchedVersion": "2026.3.11"}}));
    assert_eq!(config.store.as_deref(), Some("~/s.json"));
    assert_eq!(config.main_key(), "work");
    assert_eq!(config.scope, Some(Scope::Global));
    assert_eq!(config.reset.idle_minutes, Some(5));
    let idle = ResetSetting { mode: Some(ResetMode::Idle), at_hour: None, idle_minutes: Some(90) };
    assert_eq!(config.reset.base, Some(idle));
    assert_eq!(config.reset.by_type["group"].at_hour, Some(0));
    assert_eq!(config.reset.by_channel["telegram.x"].mode, Some(ResetMode::Daily));
    assert_eq!(config.prune_after, Some(TimeDelta::days(14)));
    assert_eq!(config.prune_days, Some(TimeDelta::days(7)));
    assert_eq!(config.max_entries, Some(100));
    assert_eq!(config.cron_retention, Some(Some(TimeDelta::hours(48))));
    assert_eq!(config.cron_store.as_deref(), Some("jobs.json"));
    assert_eq!((config.max_concurrent, config.timeout_seconds), (Some(8), Some(60)));
    assert_eq!(config.archive_after, Some(TimeDelta::zero()));
    assert_eq!(config.gateway_port, Some(19001));
    assert_eq!(config.version(), Some(super::super::Version::new(2026, 3, 11)));
}

#[test]
fn cron_retention_can_be_off() {
    assert_eq!(valid(&json!({"cron": {"sessionRetention": false}})).cron_retention, Some(None));
}

#[test]
fn agents_are_normalized_and_listed_once_in_order() {
    let config =
        valid(&json!({"agents": {"list": [{"id": "Work Bot!"}, {"id": ""}, {"id": "work-bot"}, {"id": "b"}]}}));
    assert_eq!(config.agent_ids(), ["work-bot", "main", "b"]);
    assert_eq!(config.default_agent(), "work-bot");
}

#[test]
fn the_default_agent_is_the_first_so_marked() {
    let config = valid(&json!({"agents": {"list": [
        {"id": "a", "default": false}, {"id": "B", "default": true}, {"id": "c", "default": true}]}}));
    assert_eq!(config.default_agent(), "b");
}

#[test]
fn agents_may_be_an_object_which_wins_over_the_list() {
    let config =
        valid(&json!({"agents": {"entries": {"main": {}, "Illarion": {"default": true}}, "list": [{"id": "x"}]}}));
    assert_eq!(config.agent_ids(), ["main", "illarion"]);
    assert_eq!(config.default_agent(), "illarion");
}

#[test]
fn a_wrong_type_range_or_word_is_a_problem_with_its_dotted_path() {
    problem(&json!([]), "openclaw.json: expected an object, found a list");
    problem(&json!({"session": null}), "session: expected an object, found null");
    problem(&json!({"session": {"store": 5}}), "session.store: expected a text, found 5");
    problem(&json!({"session": {"scope": "all"}}), r#"session.scope: expected "per-sender" or "global", found "all""#);
    problem(
        &json!({"session": {"reset": {"atHour": 24}}}),
        "session.reset.atHour: expected an hour from 0 to 23, found 24",
    );
    problem(
        &json!({"session": {"resetByType": {"dm": {"idleMinutes": 0}}}}),
        "session.resetByType.dm.idleMinutes: expected a whole number above 0, found 0",
    );
    problem(
        &json!({"session": {"resetByChannel": {"slack": {"mode": "weekly"}}}}),
        r#"session.resetByChannel.slack.mode: expected "daily" or "idle", found "weekly""#,
    );
    problem(
        &json!({"session": {"maintenance": {"pruneAfter": "1w"}}}),
        r#"session.maintenance.pruneAfter: expected a duration, found "1w""#,
    );
    problem(
        &json!({"session": {"maintenance": {"maxEntries": 1.5}}}),
        "session.maintenance.maxEntries: expected a whole number above 0, found 1.5",
    );
    problem(
        &json!({"session": {"threadBindings": {"idleHours": -1}}}),
        "session.threadBindings.idleHours: expected a number of hours, found -1",
    );
    problem(
        &json!({"cron": {"sessionRetention": true}}),
        "cron.sessionRetention: expected a duration or false, found true",
    );
    problem(&json!({"gateway": {"port": 65536}}), "gateway.port: expected a port number, found 65536");
    problem(
        &json!({"agents": {"list": [{"id": "a"}, {}]}}),
        "agents.list[1]: expected an object with an id, found an object",
    );
    problem(&json!({"agents": {"list": ["a"]}}), r#"agents.list[0]: expected an object with an id, found "a""#);
    problem(&json!({"agents": {"list": [{"id": 1}]}}), "agents.list[0].id: expected a text, found 1");
    problem(
        &json!({"agents": {"entries": {"a": {"default": 1}}}}),
        "agents.entries.a.default: expected true or false, found 1",
    );
}

#[test]
fn a_problem_shows_no_long_text_since_it_may_be_a_secret() {
    let value = json!({"session": {"scope": "sk-0123456789012345678901234567890"}});
    problem(&value, r#"session.scope: expected "per-sender" or "global", found a long text"#);
}
