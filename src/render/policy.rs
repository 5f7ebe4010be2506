//! The policy in words: every limit and where it came from.

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::Serialize;
use unicode_width::UnicodeWidthStr;

use super::escape::escape;
use super::words::{BOLD, DIM};
use crate::config::duration::{self, Limit};
use crate::config::policy::{ClassPolicy, IdleRule, Policy, Source, Sourced, StaleCode};
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
    let count = |number: Option<usize>| number.map_or_else(off, |number| number.to_string());
    let mut limits = vec![
        sourced("grace", &policy.grace, |&span| duration::display(span)),
        sourced("error-idle", &policy.error_idle, |&span| duration::display(span)),
    ];
    let failed = |value: &str, what: &str| {
        LimitDocument::new("failed", value, &policy.failed.source).holds_for(vec![what.to_owned()])
    };
    match policy.failed.value {
        Some(which) => limits.push(sourced("failed", &policy.failed, |_| format!("{which:?}").to_lowercase())),
        None => limits.extend([failed("any", "programs"), failed("permanent", "conversations")]),
    }
    by_class(&mut limits, "protected", policy, |limits| {
        Some((if limits.protected.value { "yes" } else { "no" }.to_owned(), &limits.protected.source))
    });
    by_class(&mut limits, "idle", policy, |limits| Some((idle(limits.idle.value), &limits.idle.source)));
    limits.extend(policy.reset.iter().flat_map(resets));
    by_class(&mut limits, "max-age", policy, |limits| Some((limit(limits.max_age.value), &limits.max_age.source)));
    limits.push(sourced("prune-after", &policy.prune_after, |&span| limit(span)));
    limits.push(sourced("max-bindings", &policy.max_bindings, |&number| count(number)));
    limits.push(sourced("max-resumes", &policy.max_resumes, |&number| count(number)));
    if let Some(runs) = policy.classes.get(&Class::CronRun) {
        let keep_last = sourced("keep-last", &runs.keep_last, usize::to_string);
        limits.push(keep_last.holds_for(vec![Class::CronRun.as_str().to_owned()]));
    }
    limits.extend(policy.keep.iter().map(|pattern| sourced("keep", pattern, String::clone)));
    limits.extend(policy.only.iter().map(|pattern| LimitDocument::new("only", pattern, &Source::Flag("--only"))));
    if policy.all {
        limits.push(LimitDocument::new("all", "every binding that is not live", &Source::Flag("--all")));
    }
    let orphans = if policy.orphans { ("archived", Source::Default) } else { ("left", Source::Flag("--no-orphans")) };
    limits.push(LimitDocument::new("orphans", orphans.0, &orphans.1));
    limits.push(sourced("max-removals", &policy.max_removals, |most| most.map_or_else(off, |most| most.to_string())));
    for (name, purge) in [("purge-archives", &policy.purge_archives), ("purge-resets", &policy.purge_resets)] {
        limits.push(sourced(name, purge, |&span| limit(span)));
    }
    limits.push(sourced("keep-runs", &policy.keep_runs, |&span| limit(span)));
    limits.push(sourced("slots", &policy.slots, u32::to_string));
    limits.push(sourced("timeout", &policy.timeout_seconds, |seconds| format!("{seconds} s")));
    limits
}

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
    let widest = |of: fn(&LimitDocument) -> &str| limits.iter().map(|one| of(one).width()).max().unwrap_or(0);
    let (name, value) = (widest(|one| one.limit), widest(|one| &one.value).min(WIDEST_VALUE));
    let mut text = String::new();
    for one in limits {
        let shown = escape(&one.value);
        let pad = " ".repeat(value.saturating_sub(shown.width()));
        let _ = writeln!(
            text,
            "{:<name$}  {BOLD}{shown}{BOLD:#}{pad}  {}{DIM}{}{DIM:#}",
            one.limit,
            escape(&one.source),
            escape(&one.words())
        );
    }
    text
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

fn off() -> String {
    "off".to_owned()
}

fn limit(limit: Limit) -> String {
    limit.map_or_else(off, duration::display)
}

fn idle(rule: IdleRule) -> String {
    match rule {
        IdleRule::After(span, StaleCode::ArchiveAfter) => format!("{} after its run", duration::display(span)),
        IdleRule::After(span, _) => duration::display(span),
        IdleRule::OpenclawReset => "by OpenClaw's reset rule".to_owned(),
        IdleRule::Off => off(),
    }
}

/// Adds a line for each value and source that this limit has among the classes.
fn by_class(
    limits: &mut Vec<LimitDocument>,
    name: &'static str,
    policy: &Policy,
    of: impl Fn(&ClassPolicy) -> Option<(String, &Source)>,
) {
    let first = limits.len();
    for class in Class::ALL {
        let Some((value, source)) = policy.classes.get(&class).and_then(&of) else { continue };
        let one = LimitDocument::new(name, value, source);
        let same = limits[first..].iter_mut().find(|known| known.value == one.value && known.source == one.source);
        match same {
            Some(known) => known.holds_for.push(class.as_str().to_owned()),
            None => limits.push(one.holds_for(vec![class.as_str().to_owned()])),
        }
    }
    if let [all] = &mut limits[first..] {
        all.holds_for.clear();
    }
}

/// OpenClaw's reset rule: for each kind of conversation, then for each channel that has its own.
fn resets(rules: &ResetRules) -> Vec<LimitDocument> {
    let kinds = [("direct", Class::Direct), ("group", Class::Group), ("thread", Class::Thread)];
    let mut made: Vec<LimitDocument> = Vec::new();
    for (kind, class) in kinds {
        let written = |name: &str| rules.by_type.contains_key(name);
        let source = match kind {
            kind if written(kind) => Source::Openclaw(format!("session.resetByType.{kind}")),
            "direct" if written("dm") => Source::Openclaw("session.resetByType.dm".to_owned()),
            _ if rules.base.is_some() => Source::Openclaw("session.reset".to_owned()),
            _ if rules.idle_minutes.is_some() => Source::Openclaw("session.idleMinutes".to_owned()),
            _ => Source::Default,
        };
        let one = LimitDocument::new("reset", reset(rules.resolve(class, None)), &source);
        match made.iter_mut().find(|known| known.value == one.value && known.source == one.source) {
            Some(known) => known.holds_for.push(kind.to_owned()),
            None => made.push(one.holds_for(vec![kind.to_owned()])),
        }
    }
    if let [all] = &mut made[..] {
        all.holds_for.clear();
    }
    made.extend(rules.by_channel.keys().map(|channel| {
        let source = Source::Openclaw(format!("session.resetByChannel.{channel}"));
        let value = reset(rules.resolve(Class::Direct, Some(channel)));
        LimitDocument::new("reset", value, &source).holds_for(vec![channel.clone()])
    }));
    made
}

fn reset(rule: ResetPolicy) -> String {
    let idle = rule.idle_minutes.map(|minutes| format!("after {minutes} idle minutes"));
    match (rule.daily_at_hour, idle) {
        (Some(hour), None) => format!("daily at {hour}:00"),
        (Some(hour), Some(idle)) => format!("daily at {hour}:00, {idle}"),
        (None, idle) => idle.unwrap_or_else(off),
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
