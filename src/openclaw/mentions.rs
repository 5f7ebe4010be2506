//! Side evidence: what other files of the state directory say of sessions (`openclaw-format.md` §1.4).
//!
//! These files belong to OpenClaw and are only read. One that is absent says nothing. One that exists and cannot be
//! read is reported, and whatever it could protect is protected.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use chrono::DateTime;
use serde_json::Value;

use crate::disk::deadline::Deadline;
use crate::disk::whole;
use crate::model::inventory::{CronRun, Side, SubagentRun};
use crate::openclaw::rows::state;
use members::Members;

mod members;

/// More of a side file than this is not read.
const MAX_BYTES: u64 = 64 << 20;

/// What is looked at of `subagents/runs.json`.
const RUNS: Members<'_> = Members(&[
    &["runs"],
    &[],
    &["childSessionKey", "endedAt", "cleanupCompletedAt", "expectsCompletionMessage", "outcome"],
    &["status"],
]);

/// What is looked at of `cron/jobs.json`.
const JOBS: Members<'_> = Members(&[&["jobs"], &[], &["id", "sessionKey"]]);

/// Reads all side files. `cron_store` is `cron.store` of the configuration, resolved.
pub fn read(state_dir: &Path, cron_store: Option<&Path>) -> Side {
    let mut side = Side::default();
    match json(&state_dir.join("subagents/runs.json"), &mut side, |text| members::read(text, RUNS)) {
        Ok(Some(runs)) => subagents(&runs, &mut side),
        Ok(None) => {}
        Err(Unread) => side.unreadable.subagents = true,
    }
    let default = state_dir.join("cron/jobs.json");
    let jobs_file = cron_store.unwrap_or(&default);
    match json(jobs_file, &mut side, |text| members::read(text, JOBS)) {
        Ok(Some(jobs)) => cron_jobs(&jobs, &mut side),
        Ok(None) => {}
        Err(Unread) => jobs_unknown(&mut side),
    }
    cron_runs(&jobs_file.with_file_name("runs"), &mut side);
    for channel in ["telegram", "discord"] {
        thread_bindings(&state_dir.join(channel), &mut side);
    }
    in_sqlite(state_dir, &mut side);
    side
}

/// Since 2026.8.1 jobs and runs of subagents are rows of OpenClaw's own state.
fn in_sqlite(state_dir: &Path, side: &mut Side) {
    match state::read(state_dir, Deadline::default()) {
        Ok(None) => {}
        Ok(Some(found)) => {
            side.cron_jobs.extend(found.cron_jobs.into_iter().flatten());
            let runs = found.subagents.into_iter().flatten().enumerate();
            let runs: serde_json::Map<String, Value> =
                runs.map(|(at, (key, payload))| (at.to_string(), of_run(key, payload))).collect();
            subagents(&serde_json::json!({ "runs": runs }), side);
            side.placements = found.placements;
            side.waiting_chats = found.waiting_chats;
        }
        Err(error) => {
            side.problems.push(format!("cannot read state/openclaw.sqlite: {error:#}"));
            side.unreadable.subagents = true;
            jobs_unknown(side);
        }
    }
}

/// A run of a subagent as `subagents/runs.json` had it.
fn of_run(key: String, mut payload: Value) -> Value {
    if !payload.is_object() {
        payload = serde_json::json!({});
    }
    payload["childSessionKey"] = Value::String(key);
    payload
}

/// Jobs name sessions that they use: without the list, any may be one.
fn jobs_unknown(side: &mut Side) {
    side.unreadable.cron_jobs = true;
    side.unreadable.bindings = true;
}

/// A file exists and could not be read; why stands among the problems.
struct Unread;

fn text(path: &Path, side: &mut Side) -> Result<Option<String>, Unread> {
    let read = || -> io::Result<String> {
        if std::fs::symlink_metadata(path)?.is_symlink() {
            return Err(io::Error::other("a link"));
        }
        String::from_utf8(whole::read(path, MAX_BYTES)?).map_err(io::Error::other)
    };
    match read() {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            side.problems.push(format!("cannot read {}: {error}", path.display()));
            Err(Unread)
        }
    }
}

fn json(
    path: &Path,
    side: &mut Side,
    read: impl FnOnce(&str) -> serde_json::Result<Value>,
) -> Result<Option<Value>, Unread> {
    let Some(text) = text(path, side)? else { return Ok(None) };
    read(&text).map(Some).map_err(|error| {
        side.problems.push(format!("{} is not JSON: {error}", path.display()));
        Unread
    })
}

fn subagents(runs: &Value, side: &mut Side) {
    for run in runs["runs"].as_object().into_iter().flat_map(serde_json::Map::values) {
        let Some(key) = run["childSessionKey"].as_str() else { continue };
        let ended_at = run["endedAt"].as_i64().and_then(DateTime::from_timestamp_millis);
        let told = run["cleanupCompletedAt"].is_number() || run["expectsCompletionMessage"] == Value::Bool(false);
        let outcome = run["outcome"]["status"].as_str().map(str::to_owned);
        // Two runs of one child: as long as one of them is pending, the child is.
        let known = side.subagents.entry(key.to_owned()).or_insert_with(|| SubagentRun {
            ended_at,
            announced: told,
            outcome: outcome.clone(),
        });
        if known.ended_at.is_some() && (ended_at.is_none() || ended_at > known.ended_at) {
            known.ended_at = ended_at;
            known.outcome = outcome;
        }
        known.announced &= told;
    }
}

fn cron_jobs(jobs: &Value, side: &mut Side) {
    let Some(list) = jobs["jobs"].as_array() else {
        side.problems.push("cron/jobs.json has no list of jobs".to_owned());
        jobs_unknown(side);
        return;
    };
    side.cron_jobs = list.iter().filter_map(|job| job["id"].as_str()).map(str::to_owned).collect();
    for job in list {
        side.bound_keys.extend(job["sessionKey"].as_str().map(str::to_owned));
    }
}

fn cron_runs(dir: &Path, side: &mut Side) {
    let Ok(paths) = listing(dir, side) else {
        side.unreadable.cron_runs = true;
        return;
    };
    for path in paths.into_iter().filter(|path| path.extension().is_some_and(|ext| ext == "jsonl")) {
        let text = match text(&path, side) {
            Ok(Some(text)) => text,
            Ok(None) => continue,
            Err(Unread) => {
                side.unreadable.cron_runs = true;
                continue;
            }
        };
        for run in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            side.cron_session_ids.extend(run["sessionId"].as_str().map(str::to_owned));
            let (Some(key), Some(status)) = (run["sessionKey"].as_str(), run["status"].as_str()) else { continue };
            let error = run["error"].as_str().map(str::to_owned);
            side.cron_runs.insert(key.to_owned(), CronRun { status: status.to_owned(), error });
        }
    }
}

fn thread_bindings(dir: &Path, side: &mut Side) {
    let Ok(paths) = listing(dir, side) else {
        side.unreadable.bindings = true;
        return;
    };
    for path in paths {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !name.starts_with("thread-bindings") || !name.ends_with(".json") {
            continue;
        }
        match json(&path, side, |text| serde_json::from_str(text)) {
            Ok(Some(bindings)) => collect_keys(&bindings, &mut side.bound_keys),
            Ok(None) => {}
            Err(Unread) => side.unreadable.bindings = true,
        }
    }
}

/// Every string that looks like a session key: the layout of these files differs between channels and releases.
fn collect_keys(value: &Value, keys: &mut BTreeSet<String>) {
    match value {
        Value::String(text) if text.starts_with("agent:") => {
            keys.insert(text.clone());
        }
        Value::Array(items) => items.iter().for_each(|item| collect_keys(item, keys)),
        Value::Object(members) => {
            for (name, member) in members {
                if name.starts_with("agent:") {
                    keys.insert(name.clone());
                }
                collect_keys(member, keys);
            }
        }
        _ => {}
    }
}

fn listing(dir: &Path, side: &mut Side) -> Result<Vec<std::path::PathBuf>, Unread> {
    let paths = std::fs::read_dir(dir).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    match paths {
        Ok(paths) => {
            let mut paths: Vec<_> = paths;
            paths.sort();
            Ok(paths)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => {
            side.problems.push(format!("cannot read the directory {}: {error}", dir.display()));
            Err(Unread)
        }
    }
}
