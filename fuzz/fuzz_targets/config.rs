//! `openclaw.json` through the whole reader (JSON5, variables, types), the policy file, and durations.

#![allow(clippy::disallowed_methods, reason = "a fuzz target")]
#![no_main]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is what the fuzzer looks for")]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use chrono::TimeDelta;
use claw_sessions::config::environment::Environment;
use claw_sessions::config::openclaw::{ConfigState, OpenclawConfig, own_variables, substitute};
use claw_sessions::config::policy::IdleRule;
use claw_sessions::config::{duration, policy_file};
use claw_sessions::model::key::normalize_agent_id;
use claw_sessions::openclaw::config_file;
use claw_sessions::openclaw::home::{self, Options, StateHome};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A state directory in memory, where there is such a place.
static HOME: LazyLock<(TempDir, StateHome)> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let place = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.unwrap();
    let vars = BTreeMap::from([("NAME".to_owned(), "value".to_owned()), ("EMPTY".to_owned(), String::new())]);
    let environment = Environment { vars, cwd: place.path().to_owned(), ..Environment::default() };
    let options = Options { state_dir: Some(place.path().to_owned()), profile: None };
    let home = home::locate(&environment, &options).unwrap();
    (place, home)
});

fuzz_target!(|text: &[u8]| {
    through_the_reader(text);
    let Ok(text) = std::str::from_utf8(text) else { return };
    strict_json_is_json5(text);
    policy(text);
    durations(text);
});

fn through_the_reader(text: &[u8]) {
    let home = &HOME.1;
    fs::write(&home.config_path, text).unwrap();
    let loaded = config_file::read(home);
    assert_eq!(loaded.state == ConfigState::Valid, loaded.problems.is_empty());
    assert_ne!(loaded.state, ConfigState::Missing);
    if loaded.state == ConfigState::Invalid {
        assert_eq!(loaded.config, OpenclawConfig::default(), "nothing of it is used");
    }
    for problem in &loaded.problems {
        assert!(!problem.place.is_empty() && !problem.message.is_empty());
    }
    let config = &loaded.config;
    for (at, agent) in config.agents.iter().enumerate() {
        assert_eq!(normalize_agent_id(agent).trim_end_matches('-'), agent.trim_end_matches('-'));
        assert!(!config.agents[..at].contains(agent), "named once");
    }
    assert!(config.marked_default_agent.iter().all(|marked| config.agents.contains(marked)));
    assert!(config.agent_ids().iter().any(|agent| agent == config.default_agent()));
    assert!(!config.main_key().is_empty());
}

/// How deep brackets can nest at most; both parsers recurse.
fn is_shallow(text: &str) -> bool {
    text.bytes().filter(|byte| matches!(byte, b'[' | b'{')).count() < 100
}

fn strict_json_is_json5(text: &str) {
    if !is_shallow(text) {
        return;
    }
    let Ok(mut value) = serde_json::from_str::<Value>(text) else { return };
    let loose = json5::from_str::<Value>(text).expect("JSON is JSON5");
    assert!(same(&value, &loose), "{value} is read as {loose}");

    let _ = own_variables(&value);
    let plain = !text.contains("$$") && !text.contains("\\u");
    let before = value.clone();
    let missing = substitute(&mut value, &|_| None);
    assert!(!plain || value == before, "what is not set stays");
    assert!(missing.iter().all(|note| note.contains(": ${")));
    let mut value = before;
    assert_eq!(substitute(&mut value, &|_| Some("x".to_owned())), [""; 0], "all are set");
    let (config, problems) = OpenclawConfig::from_value(&value);
    assert_eq!(OpenclawConfig::from_value(&value), (config, problems));
}

/// Equal as JavaScript sees numbers.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

fn policy(text: &str) {
    let table = toml::from_str::<toml::Table>(text);
    match policy_file::parse(text) {
        Ok(file) => {
            assert!(table.is_ok());
            let of_classes = file.class.values().map(|limits| (&limits.idle, &limits.max_age));
            for (idle, max_age) in of_classes.chain([(&file.idle, &file.max_age)]) {
                let after = idle.as_ref().map(|idle| &idle.0);
                assert!(
                    after.is_none_or(|rule| !matches!(rule, IdleRule::After(span, _) if *span <= TimeDelta::zero()))
                );
                assert!(max_age.as_ref().and_then(|limit| limit.0).is_none_or(|span| span > TimeDelta::zero()));
            }
            let limits = [&file.keep_runs, &file.purge_archives, &file.purge_resets];
            let limits = limits.into_iter().flatten().filter_map(|limit| limit.0);
            let spans = [&file.error_idle, &file.grace].into_iter().flatten().map(|span| span.0);
            assert!(limits.chain(spans).all(|span| span > TimeDelta::zero()));
            assert_eq!(policy_file::parse(&format!("{text}\n# a remark")), Ok(file));
            let unknown = policy_file::parse(&format!("{text}\n[no-such-table]\n"));
            assert!(unknown.is_err_and(|error| error.contains("no-such-table")), "what is not known is refused");
        }
        Err(error) => {
            let line = error.strip_prefix("line ").and_then(|rest| rest.split(':').next());
            let line = line.map(|number| number.parse::<usize>().expect("the number of a line"));
            assert!(!error.is_empty() && line.is_none_or(|line| (1..=text.lines().count() + 1).contains(&line)));
        }
    }
}

fn durations(text: &str) {
    if let Ok(time) = duration::parse(text) {
        assert_eq!(duration::parse_or_off(text), Ok(Some(time)));
        assert_eq!(duration::parse(&duration::display(time)), Ok(time), "what is shown can be typed");
        assert_eq!(duration::parse_openclaw(&json!(text), 'm').is_some(), !text.contains('w'), "OpenClaw has no weeks");
    }
    for unit in ['m', 'h', 'd'] {
        let time = duration::parse_openclaw(&json!(text), unit);
        assert!(time.is_none_or(|time| time.num_milliseconds() >= 0));
        assert_eq!(duration::parse_openclaw(&json!(format!(" {text} ").to_uppercase()), unit), time);
    }
}
