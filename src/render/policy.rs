//! The policy in words: every limit and where it came from.

use anstyle::Style;
use schemars::JsonSchema;
use serde::Serialize;

use super::escape::escape;
use super::table::list;
use super::words::{BOLD, DIM};
use crate::config::duration::{self, Limit};
use crate::config::policy::{Policy, Shown, Source, Sourced};
use crate::model::key::Class;
use crate::model::reset::{ResetPolicy, ResetRules};

/// One limit in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LimitDocument {
    /// Its name, as in the policy file where it can stand there.
    pub limit: &'static str,
    /// Its value, in words.
    pub value: String,
    /// What it holds for, when not for everything: classes, kinds of conversations, or a channel.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub holds_for: Vec<String>,
    /// Where it came from: an option, `policy file: KEY`, `openclaw.json: SETTING`, or `default`.
    pub source: String,
}

impl LimitDocument {
    fn new(limit: &'static str, value: impl Into<String>, source: &Source) -> Self {
        Self { limit, value: value.into(), holds_for: Vec::new(), source: source.to_string() }
    }

    fn holds_for(self, what: Vec<String>) -> Self {
        Self { holds_for: what, ..self }
    }
}

/// Every limit; classes for which one is the same share a line.
pub fn limits(policy: &Policy) -> Vec<LimitDocument> {
    let shown = |one: Shown<'_>| LimitDocument::new(one.name, one.value, one.source);
    let mut limits = by_class(policy);
    limits.extend(policy.limits.shown().into_iter().map(shown));
    for (name, patterns) in [("keep", &policy.keep), ("only", &policy.only)] {
        limits.extend(patterns.iter().map(|pattern| sourced(name, pattern, String::clone)));
    }
    let word = |yes: &'static str, no: &'static str| move |is: &bool| if *is { yes } else { no }.to_owned();
    limits.push(sourced("all", &policy.all, word("every binding that is not live", OFF)));
    limits.push(sourced("orphans", &policy.orphans, word("archived", "left")));
    limits.extend(resets(policy));
    let prune_after = |span: &Limit| span.map_or_else(|| OFF.to_owned(), duration::display);
    limits.push(sourced("prune-after", &policy.prune_after, prune_after));
    limits.push(sourced("slots", &policy.slots, u32::to_string));
    limits.push(sourced("timeout", &policy.timeout_seconds, |seconds| format!("{seconds} s")));
    limits
}

const OFF: &str = "off";

/// One line for each limit that is in force.
pub fn lines(policy: &Policy) -> Vec<String> {
    let said = |one: &LimitDocument| one.value != "off" || one.source != "default";
    let line = |one: LimitDocument| {
        let holds_for = one.words();
        format!("limit {} {}{holds_for} ({})", one.limit, one.value, one.source)
    };
    limits(policy).into_iter().filter(said).map(line).collect()
}

/// The limits for people: one each, in columns. What is too long for the terminal goes on in the next line, since a limit
/// that is shortened says nothing.
pub fn table(limits: &[LimitDocument]) -> String {
    let row = |one: &LimitDocument| {
        let from = format!("{}{DIM}{}{DIM:#}", escape(&one.source), escape(&one.words()));
        let plain = Style::new();
        vec![(plain, one.limit.to_owned()), (BOLD, escape(&one.value).into_owned()), (plain, from)]
    };
    list(&limits.iter().map(row).collect::<Vec<_>>(), WIDEST_VALUE)
}

/// Longer values stand out of their column.
const WIDEST_VALUE: usize = 25;

impl LimitDocument {
    fn words(&self) -> String {
        if self.holds_for.is_empty() { String::new() } else { format!(" for {}", self.holds_for.join(" ")) }
    }
}

fn sourced<T>(name: &'static str, of: &Sourced<T>, value: impl Fn(&T) -> String) -> LimitDocument {
    LimitDocument::new(name, value(&of.value), &of.source)
}

/// A line for each value and source that a limit has among the classes.
fn by_class(policy: &Policy) -> Vec<LimitDocument> {
    let mut made: Vec<LimitDocument> = Vec::new();
    for (class, limits) in &policy.classes {
        let protected = if limits.protected.value { "yes" } else { "no" }.to_owned();
        let protected = Shown { name: "protected", value: protected, source: &limits.protected.source };
        for one in limits.shown(*class).into_iter().chain([protected]) {
            add(&mut made, LimitDocument::new(one.name, one.value, one.source), class.as_str());
        }
    }
    made.sort_by_key(|one| one.limit);
    let names: Vec<&str> = made.iter().map(|one| one.limit).collect();
    for one in &mut made {
        let alone = names.iter().filter(|name| **name == one.limit).count() == 1;
        if alone && one.holds_for.len() == policy.classes.len() {
            one.holds_for.clear();
        }
    }
    made
}

/// Adds a line, or what it holds for to the line that says the same.
fn add(made: &mut Vec<LimitDocument>, one: LimitDocument, holds_for: &str) {
    let same =
        |known: &LimitDocument| (known.limit, &known.value, &known.source) == (one.limit, &one.value, &one.source);
    match made.iter_mut().find(|known| same(known)) {
        Some(known) => known.holds_for.push(holds_for.to_owned()),
        None => made.push(one.holds_for(vec![holds_for.to_owned()])),
    }
}

/// OpenClaw's reset rule: for each kind of conversation, then for each channel that has its own.
fn resets(policy: &Policy) -> Vec<LimitDocument> {
    let Some(rules) = &policy.reset else { return vec![LimitDocument::new("reset", OFF, &Source::ConfigInvalid)] };
    let mut made: Vec<LimitDocument> = Vec::new();
    for class in [Class::Direct, Class::Group, Class::Thread] {
        let value = reset(rules.resolve(class, None));
        let one = LimitDocument::new("reset", value, &policy.reset_source(class, None));
        add(&mut made, one, ResetRules::kind(class));
    }
    if let [all] = &mut made[..] {
        all.holds_for.clear();
    }
    made.extend(rules.by_channel.keys().map(|channel| {
        let value = reset(rules.resolve(Class::Direct, Some(channel)));
        let source = policy.reset_source(Class::Direct, Some(channel));
        LimitDocument::new("reset", value, &source).holds_for(vec![channel.clone()])
    }));
    made
}

fn reset(rule: ResetPolicy) -> String {
    let idle = rule.idle_minutes.map(|minutes| format!("after {minutes} idle minutes"));
    match (rule.daily_at_hour, idle) {
        (Some(hour), None) => format!("daily at {hour}:00"),
        (Some(hour), Some(idle)) => format!("daily at {hour}:00, {idle}"),
        (None, idle) => idle.unwrap_or_else(|| OFF.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;
    use crate::config::openclaw::{ConfigState, LoadedConfig, OpenclawConfig};
    use crate::config::policy::{PolicyFlags, resolve};
    use crate::config::policy_file;

    fn limits_of(file: &str, openclaw: &serde_json::Value) -> Vec<LimitDocument> {
        let (config, problems) = OpenclawConfig::from_value(openclaw);
        let state = if problems.is_empty() { ConfigState::Valid } else { ConfigState::Invalid };
        let config = LoadedConfig { path: "".into(), state, config, problems, notes: Vec::new(), unread: false };
        limits(&resolve(&PolicyFlags::default(), Some(&policy_file::parse(file).unwrap()), &config))
    }

    #[track_caller]
    fn said(limits: &[LimitDocument], name: &str) -> Vec<String> {
        let of = |one: &&LimitDocument| one.limit == name;
        limits.iter().filter(of).map(|one| format!("{}{} ({})", one.value, one.words(), one.source)).collect()
    }

    #[test]
    fn what_holds_for_all_names_no_class() {
        let limits = limits_of("max-age = \"5d\"", &json!({}));
        assert_eq!(said(&limits, "max-age"), ["5d (policy file: max-age)"]);
        assert_eq!(said(&limits, "reset"), ["daily at 4:00 (default)"]);
        assert_eq!(said(&limits, "purge-resets"), ["off (default)"]);
    }

    #[test]
    fn a_class_with_a_limit_of_its_own_has_a_line_of_its_own() {
        let limits = limits_of("[class.hook]\nidle = \"2h\"", &json!({"cron": {"sessionRetention": "3d"}}));
        assert_eq!(
            said(&limits, "idle"),
            [
                "by OpenClaw's reset rule for main direct group channel topic thread cron acp heartbeat slash node global \
                 other (default)",
                "3d for cron-run (openclaw.json: cron.sessionRetention)",
                "2h for hook (policy file: class.hook.idle)",
                "1h after its run for subagent (default)",
            ]
        );
    }

    #[test]
    fn resets_are_named_by_kind_and_channel() {
        let session = json!({
            "reset": {"mode": "daily", "atHour": 5},
            "resetByType": {"dm": {"mode": "idle", "idleMinutes": 30}},
            "resetByChannel": {"telegram": {"mode": "daily", "atHour": 3, "idleMinutes": 90}},
        });
        assert_eq!(
            said(&limits_of("", &json!({"session": session})), "reset"),
            [
                "after 30 idle minutes for direct (openclaw.json: session.resetByType.dm)",
                "daily at 5:00 for group thread (openclaw.json: session.reset)",
                "daily at 3:00, after 90 idle minutes for telegram (openclaw.json: session.resetByChannel.telegram)",
            ]
        );
    }
}
