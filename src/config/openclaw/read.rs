//! Reads the view from a configuration and says what is wrong with it (`openclaw-format.md` §7.1, §1.3).

use chrono::TimeDelta;
use serde_json::{Map, Value};

use super::{ConfigProblem, OpenclawConfig, Scope};
use crate::config::duration;
use crate::model::key::normalize_agent_id;
use crate::model::reset::{ResetMode, ResetRules, ResetSetting};

impl OpenclawConfig {
    /// The view of a configuration whose includes and variables are resolved, with everything wrong in it.
    pub fn from_value(value: &Value) -> (Self, Vec<ConfigProblem>) {
        let mut reader = Reader::default();
        let root = reader.root(value);
        let session = reader.section(&root, "session");
        let maintenance = reader.section(&session, "maintenance");
        let bindings = reader.section(&session, "threadBindings");
        let cron = reader.section(&root, "cron");
        let agents = reader.section(&root, "agents");
        let defaults = reader.section(&agents, "defaults");
        let subagents = reader.section(&defaults, "subagents");
        let gateway = reader.section(&root, "gateway");
        let meta = reader.section(&root, "meta");
        let (agents, marked_default_agent) = reader.agents(&agents);
        let config = Self {
            agents,
            marked_default_agent,
            store: reader.text(&session, "store").filter(|store| !store.trim().is_empty()),
            main_key: reader.text(&session, "mainKey").filter(|key| !key.trim().is_empty()),
            scope: reader.read(&session, "scope", "\"per-sender\" or \"global\"", |value| match value.as_str()? {
                "per-sender" => Some(Scope::PerSender),
                "global" => Some(Scope::Global),
                _ => None,
            }),
            reset: reader.reset_rules(&session),
            prune_after: reader
                .read(&maintenance, "pruneAfter", "a duration", |value| duration::parse_openclaw(value, 'd')),
            prune_days: reader.read(&maintenance, "pruneDays", "a whole number above 0", |value| {
                integer(value).filter(|days| *days > 0).and_then(|_| duration::parse_openclaw(value, 'd'))
            }),
            reports_only: reader.text(&maintenance, "mode").as_deref() == Some("warn"),
            max_entries: reader.count(&maintenance, "maxEntries").map(|count| count as usize),
            binding_idle: reader.hours(&bindings, "idleHours"),
            binding_max_age: reader.hours(&bindings, "maxAgeHours"),
            cron_retention: reader.read(&cron, "sessionRetention", "a duration or false", |value| match value {
                Value::Bool(false) => Some(None),
                Value::String(_) => duration::parse_openclaw(value, 'h').map(Some),
                _ => None,
            }),
            cron_store: reader.text(&cron, "store"),
            max_concurrent: reader.count(&defaults, "maxConcurrent").map(saturating_u32),
            timeout_seconds: reader.count(&defaults, "timeoutSeconds"),
            archive_after: reader.read(&subagents, "archiveAfterMinutes", "a whole number", |value| {
                integer(value).and_then(|_| duration::parse_openclaw(value, 'm'))
            }),
            gateway_port: reader.read(&gateway, "port", "a port number", |value| {
                integer(value).and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0)
            }),
            last_touched_version: reader.text(&meta, "lastTouchedVersion"),
        };
        (config, reader.problems)
    }
}

/// One object of the configuration and its dotted path; empty when absent or of a wrong type.
struct Section<'v> {
    path: String,
    map: Option<&'v Map<String, Value>>,
}

impl Section<'_> {
    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

/// Reads settings and collects what is wrong with them.
#[derive(Default)]
struct Reader {
    problems: Vec<ConfigProblem>,
}

impl Reader {
    fn wrong(&mut self, place: String, wanted: &str, found: &Value) {
        self.problems.push(ConfigProblem { place, message: format!("expected {wanted}, found {}", shown(found)) });
    }

    fn root<'v>(&mut self, value: &'v Value) -> Section<'v> {
        if !value.is_object() {
            self.wrong("openclaw.json".to_owned(), "an object", value);
        }
        Section { path: String::new(), map: value.as_object() }
    }

    fn read<'v, T>(
        &mut self,
        section: &Section<'v>,
        key: &str,
        wanted: &str,
        read: impl FnOnce(&'v Value) -> Option<T>,
    ) -> Option<T> {
        let value = section.map?.get(key)?;
        let read = read(value);
        if read.is_none() {
            self.wrong(section.path_of(key), wanted, value);
        }
        read
    }

    fn section<'v>(&mut self, parent: &Section<'v>, key: &str) -> Section<'v> {
        Section { path: parent.path_of(key), map: self.read(parent, key, "an object", Value::as_object) }
    }

    fn text(&mut self, section: &Section<'_>, key: &str) -> Option<String> {
        self.read(section, key, "a text", |value| value.as_str().map(str::to_owned))
    }

    fn count(&mut self, section: &Section<'_>, key: &str) -> Option<u64> {
        self.read(section, key, "a whole number above 0", |value| integer(value).filter(|count| *count > 0))
    }

    fn hours(&mut self, section: &Section<'_>, key: &str) -> Option<TimeDelta> {
        self.read(section, key, "a number of hours", |value| value.as_f64().and_then(duration::from_hours))
    }

    /// The agents' ids, and the one marked as default.
    fn agents(&mut self, agents: &Section<'_>) -> (Vec<String>, Option<String>) {
        let mut ids: Vec<String> = Vec::new();
        let mut marked = None;
        for (id, section) in self.roster(agents) {
            let default = self.read(&section, "default", "true or false", Value::as_bool) == Some(true);
            let Some(id) = id.as_deref().map(normalize_agent_id) else { continue };
            if default && marked.is_none() {
                marked = Some(id.clone());
            }
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        (ids, marked)
    }

    /// Each agent's id and object. `agents.entries` (2026.9) wins over `agents.list`, as in OpenClaw.
    fn roster<'v>(&mut self, agents: &Section<'v>) -> Vec<(Option<String>, Section<'v>)> {
        let entries = self.section(agents, "entries");
        if let Some(map) = entries.map {
            return map.keys().map(|id| (Some(id.clone()), self.section(&entries, id))).collect();
        }
        let list = self.read(agents, "list", "a list", Value::as_array).into_iter().flatten();
        list.enumerate().map(|(at, agent)| self.listed_agent(agents, at, agent)).collect()
    }

    fn listed_agent<'v>(&mut self, agents: &Section<'_>, at: usize, agent: &'v Value) -> (Option<String>, Section<'v>) {
        let path = format!("{}[{at}]", agents.path_of("list"));
        let section = Section { path, map: agent.as_object() };
        if section.map.is_none_or(|map| !map.contains_key("id")) {
            self.wrong(section.path.clone(), "an object with an id", agent);
        }
        (self.text(&section, "id"), section)
    }

    fn reset_rules(&mut self, session: &Section<'_>) -> ResetRules {
        let types = self.section(session, "resetByType");
        let channels = self.section(session, "resetByChannel");
        let known_types = ["direct", "dm", "group", "thread"];
        ResetRules {
            base: self.reset(session, "reset"),
            by_type: known_types
                .iter()
                .filter_map(|&kind| Some((kind.to_owned(), self.reset(&types, kind)?)))
                .collect(),
            by_channel: channels
                .map
                .into_iter()
                .flat_map(Map::keys)
                .filter_map(|name| Some((name.trim().to_lowercase(), self.reset(&channels, name)?)))
                .collect(),
            idle_minutes: self.count(session, "idleMinutes").map(saturating_u32),
        }
    }

    fn reset(&mut self, parent: &Section<'_>, key: &str) -> Option<ResetSetting> {
        let section = self.section(parent, key);
        section.map?;
        Some(ResetSetting {
            mode: self.read(&section, "mode", "\"daily\" or \"idle\"", |value| match value.as_str()? {
                "daily" => Some(ResetMode::Daily),
                "idle" => Some(ResetMode::Idle),
                _ => None,
            }),
            at_hour: self.read(&section, "atHour", "an hour from 0 to 23", |value| {
                integer(value).filter(|hour| *hour < 24).map(saturating_u32)
            }),
            idle_minutes: self.count(&section, "idleMinutes").map(saturating_u32),
        })
    }
}

/// A whole number of zero or more, written `60` or `60.0`: JavaScript knows no difference.
fn integer(value: &Value) -> Option<u64> {
    let number = value.as_f64()?;
    (number >= 0.0 && number.fract() == 0.0).then_some(number as u64)
}

fn saturating_u32(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// A value as a problem shows it: numbers and words whole, anything that may hold a secret by its kind only.
fn shown(value: &Value) -> String {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) if text.len() <= 24 => format!("{text:?}"),
        Value::String(_) => "a long text".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

#[cfg(test)]
mod tests;
