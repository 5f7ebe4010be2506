//! The policy in words: every limit and where it came from.

use chrono::TimeDelta;

use crate::config::duration;
use crate::config::policy::{ClassPolicy, IdleRule, Policy};

/// One line for each limit; classes with the same limits share one.
pub fn lines(policy: &Policy) -> Vec<String> {
    let mut lines = vec![
        format!("limit grace {} ({})", duration::display(policy.grace.value), policy.grace.source),
        format!("limit error-idle {} ({})", duration::display(policy.error_idle.value), policy.error_idle.source),
    ];
    if let Some(failed) = policy.failed.value {
        lines.push(format!("failed {} ({})", format!("{failed:?}").to_lowercase(), policy.failed.source));
    }
    let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
    for (class, limits) in &policy.classes {
        let words = class_words(limits);
        match groups.iter_mut().find(|(known, _)| *known == words) {
            Some((_, classes)) => classes.push(class.as_str()),
            None => groups.push((words, vec![class.as_str()])),
        }
    }
    lines.extend(groups.into_iter().map(|(words, classes)| format!("limit of {}: {words}", classes.join(" "))));
    if let Some(limit) = policy.prune_after.value {
        lines.push(format!("limit prune-after {} ({})", duration::display(limit), policy.prune_after.source));
    }
    if let Some(count) = policy.max_bindings.value {
        lines.push(format!("limit max-bindings {count} ({})", policy.max_bindings.source));
    }
    if let Some(count) = policy.max_resumes.value {
        lines.push(format!("limit max-resumes {count} ({})", policy.max_resumes.source));
    }
    lines.extend(policy.keep.iter().map(|pattern| format!("keep {} ({})", pattern.value, pattern.source)));
    if let Some(limit) = policy.max_removals {
        lines.push(format!("limit max-removals {limit}"));
    }
    for (name, limit) in [("purge-archives", policy.purge_archives), ("purge-resets", policy.purge_resets)] {
        lines
            .extend(limit.map(|limit| format!("{name} {}: older ones are deleted for good", duration::display(limit))));
    }
    let keep_runs = policy.keep_runs.value.map_or_else(|| "off".to_owned(), duration::display);
    lines.push(format!("limit keep-runs {keep_runs} ({})", policy.keep_runs.source));
    lines.push(format!("slots {} ({})", policy.slots.value, policy.slots.source));
    lines.push(format!("timeout {} s ({})", policy.timeout_seconds.value, policy.timeout_seconds.source));
    lines
}

fn class_words(limits: &ClassPolicy) -> String {
    let mut words = Vec::new();
    if limits.protected.value {
        words.push(format!("protected ({})", limits.protected.source));
    }
    words.push(match limits.idle.value {
        IdleRule::After(limit, _) => format!("idle {} ({})", duration::display(limit), limits.idle.source),
        IdleRule::OpenclawReset => format!("idle by OpenClaw's reset rule ({})", limits.idle.source),
        IdleRule::Off => format!("idle off ({})", limits.idle.source),
    });
    words.extend(
        limits
            .max_age
            .value
            .map(|limit: TimeDelta| format!("max-age {} ({})", duration::display(limit), limits.max_age.source)),
    );
    if limits.keep_last.value > 0 {
        words.push(format!("keep-last {} ({})", limits.keep_last.value, limits.keep_last.source));
    }
    words.join(", ")
}
