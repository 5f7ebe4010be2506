//! The rules on evidence made by hand: one promise a test, then what holds for any evidence.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, reason = "test code")]

use std::path::PathBuf;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use proptest::prelude::*;

use super::*;
use crate::config::openclaw::{ConfigState, LoadedConfig, OpenclawConfig};
use crate::config::policy::{ChoiceArgs, FailedMode, IdleRule, Policy, PolicyArgs, StaleCode, resolve};
use crate::model::entry::{Clock, Entry};
use crate::model::home::{Condition, Home};
use crate::model::inventory::{Content, Gateway, Generation, Inventory, Lock, Side, Store, SubagentRun, Transcript};
use crate::model::key;
use crate::model::lock::LockState;
use crate::model::proof::Stamp;
use crate::model::store::{Document, Effective};
use crate::model::transcript::{Ending, Integrity, Summary};

fn now() -> DateTime<Utc> {
    DateTime::parse_from_rfc3339("2026-11-22T22:30:00Z").unwrap().with_timezone(&Utc)
}

fn policy(flags: &PolicyArgs) -> Policy {
    let config = LoadedConfig {
        path: PathBuf::new(),
        state: ConfigState::Missing,
        config: OpenclawConfig::default(),
        problems: Vec::new(),
        notes: Vec::new(),
        unread: false,
    };
    resolve(&flags.flags(), None, &config)
}

fn binding(key: &str, idle: TimeDelta) -> Binding {
    let parsed = key::parse(key, "main", None);
    let active = now() - idle;
    let summary = Summary {
        integrity: Integrity::Intact,
        lines: 4,
        started_at: Some(active),
        first_at: Some(active),
        last_at: Some(active),
        parent_session: None,
        ending: Some(Ending::Answered),
        more: 0,
        header_place: None,
        header_id: None,
        mends: None,
        findings: Vec::new(),
    };
    Binding {
        agent: "main".to_owned(),
        key: key.to_owned(),
        place: Effective { key: key.to_owned(), member: 0, hidden: Vec::new() },
        class: parsed.class,
        channel: None,
        cron_job: parsed.cron_job.map(str::to_owned),
        entry: Entry {
            session_id: Some(key.replace(':', "-")),
            updated_at: Some(Clock::At(active)),
            ..Entry::default()
        },
        entry_bytes: 100,
        case_collision: false,
        transcript: Transcript {
            path: Some(PathBuf::from(format!("/s/{}.jsonl", key.replace(':', "-")))),
            relocated: false,
            elsewhere: false,
            content: Content::Read(summary),
            stamp: Some(Stamp { dev: 1, ino: 1, size: 10, mtime_ns: 0 }),
            access: None,
            linked: false,
            cut_header: None,
            rows: None,
            original: None,
        },
        lock: None,
        row: None,
    }
}

fn ended(mut binding: Binding, ending: Ending) -> Binding {
    if let Content::Read(summary) = &mut binding.transcript.content {
        summary.ending = Some(ending);
    }
    binding
}

fn damaged(mut binding: Binding, integrity: Integrity) -> Binding {
    if let Content::Read(summary) = &mut binding.transcript.content {
        summary.integrity = integrity;
    }
    binding
}

fn lock(state: LockState) -> Lock {
    Lock { path: PathBuf::from("/s/x.lock"), state, pid: Some(7), created_at: None }
}

fn after(span: TimeDelta) -> IdleRule {
    IdleRule::After(span, StaleCode::Idle)
}

fn inventory(bindings: Vec<Binding>) -> Inventory {
    Inventory {
        state_dir: PathBuf::from("/s"),
        owner: None,
        openclaw: Generation { has_store_lock: true, locks_are_evidence: false, resumes_interrupted: false },
        gateway: Gateway::default(),
        stores: vec![Store {
            agent: "main".to_owned(),
            path: PathBuf::from("/s/sessions.json"),
            selected: true,
            home: Home::Files { linked: false },
            condition: Condition::Sound,
            problem: None,
            bytes: 0,
            stamp: None,
            access: None,
            text: bytes::Bytes::new(),
            document: Document::default(),
            bindings,
            salvage: None,
        }],
        files: Vec::new(),
        side: Side::default(),
        sightings: None,
        unseen: Vec::new(),
        awaited: Some(std::collections::HashSet::new()),
    }
}

fn judged(inventory: &Inventory, flags: PolicyArgs) -> Vec<(Action, Reason)> {
    let policy = policy(&flags);
    let judge = Judge { inventory, policy: &policy, now: now(), zone: &Tz::UTC };
    judge.classify().bindings.into_iter().map(|one| (one.verdict.action, one.verdict.reasons[0])).collect()
}

#[track_caller]
fn case(binding: Binding, flags: PolicyArgs, action: Action, reason: Reason) {
    assert_eq!(judged(&inventory(vec![binding]), flags), [(action, reason)]);
}

fn none() -> PolicyArgs {
    PolicyArgs::default()
}

const DIRECT: &str = "agent:main:telegram:direct:1";
const HOOK: &str = "agent:main:hook:1";
const LONG: TimeDelta = TimeDelta::days(3);
const HOURS: TimeDelta = TimeDelta::hours(2);

#[test]
fn by_default_only_what_openclaw_itself_would_discard_goes() {
    case(binding(DIRECT, HOURS), none(), Action::Keep, Reason::WithinLimits);
    case(binding(DIRECT, LONG), none(), Action::Expire, Reason::ResetStale);
    case(binding("agent:main:main", LONG), none(), Action::Keep, Reason::ProtectedClass);
    case(binding("agent:main:telegram:group:-1", LONG), none(), Action::Keep, Reason::ProtectedClass);
}

#[test]
fn a_held_lock_and_a_running_mark_make_a_binding_untouchable() {
    let mut live = binding(DIRECT, LONG);
    live.lock = Some(lock(LockState::Live));
    case(
        live,
        PolicyArgs { choice: ChoiceArgs { all: true, ..ChoiceArgs::default() }, ..none() },
        Action::Keep,
        Reason::LiveLock,
    );
    let mut unnamed = damaged(binding(DIRECT, LONG), Integrity::Freezes);
    unnamed.lock = Some(lock(LockState::Unreadable));
    case(unnamed, none(), Action::Keep, Reason::LiveLock);
    let mut running = binding(DIRECT, TimeDelta::minutes(5));
    running.entry.status = Some("running".to_owned());
    case(running, none(), Action::Keep, Reason::Running);
}

#[test]
fn recent_activity_shields_from_damage_rules_only_beside_a_gateway() {
    let fresh = || damaged(binding(DIRECT, TimeDelta::minutes(5)), Integrity::Wiped);
    case(fresh(), none(), Action::Quarantine, Reason::Wiped);
    let mut beside = inventory(vec![fresh()]);
    beside.gateway.alive = true;
    assert_eq!(judged(&beside, none()), [(Action::Keep, Reason::Recent)]);
    case(binding(DIRECT, TimeDelta::minutes(5)), none(), Action::Keep, Reason::Recent);
}

#[test]
fn damage_takes_every_class_and_an_absent_transcript_only_unprotected_ones() {
    let group = "agent:main:telegram:group:-1";
    for (integrity, reason) in
        [(Integrity::Freezes, Reason::Freezes), (Integrity::Blocks, Reason::Blocks), (Integrity::Wiped, Reason::Wiped)]
    {
        case(damaged(binding(group, HOURS), integrity), none(), Action::Quarantine, reason);
    }
    case(damaged(binding(group, HOURS), Integrity::Empty), none(), Action::Keep, Reason::ProtectedClass);
    case(damaged(binding(DIRECT, HOURS), Integrity::Empty), none(), Action::Expire, Reason::Empty);
    let mut chosen = damaged(binding(DIRECT, HOURS), Integrity::Empty);
    chosen.entry.preferences = vec!["modelOverride"];
    case(chosen, none(), Action::Keep, Reason::Preferences);
    case(damaged(binding(DIRECT, HOURS), Integrity::Torn), none(), Action::Keep, Reason::WithinLimits);
    case(damaged(binding(DIRECT, HOURS), Integrity::Cut), none(), Action::Keep, Reason::WithinLimits);
}

#[test]
fn a_program_expires_after_any_failure_and_a_conversation_after_a_permanent_one() {
    let error = |text: &str| Ending::Error(Some(text.to_owned()));
    let server = "500 The server had an error";
    case(ended(binding(HOOK, HOURS), error(server)), none(), Action::Expire, Reason::Errored);
    case(ended(binding(HOOK, HOURS), Ending::Aborted(None)), none(), Action::Expire, Reason::Aborted);
    case(ended(binding(HOOK, HOURS), Ending::Unanswered), none(), Action::Expire, Reason::Interrupted);
    case(ended(binding(DIRECT, HOURS), error(server)), none(), Action::Keep, Reason::WithinLimits);
    case(ended(binding(DIRECT, HOURS), Ending::InTool), none(), Action::Keep, Reason::WithinLimits);
    case(ended(binding(DIRECT, HOURS), error("401 no")), none(), Action::Expire, Reason::FailedPermanent);
    let soon = TimeDelta::minutes(30);
    case(ended(binding(DIRECT, soon), error("401 no")), none(), Action::Keep, Reason::WithinLimits);
    let any = PolicyArgs { failed: Some(Some(FailedMode::Any)), ..none() };
    case(ended(binding(DIRECT, HOURS), error(server)), any, Action::Expire, Reason::Errored);
    let off = PolicyArgs { failed: Some(Some(FailedMode::Off)), ..none() };
    case(ended(binding(HOOK, HOURS), error(server)), off, Action::Keep, Reason::WithinLimits);
}

#[test]
fn choices_of_a_person_protect_as_long_as_openclaw_would_honor_them() {
    let chosen = |idle| {
        let mut binding = binding(DIRECT, idle);
        binding.entry.preferences = vec!["thinkingLevel"];
        binding
    };
    let idle = || PolicyArgs { idle: Some(after(TimeDelta::hours(1))), ..none() };
    case(chosen(HOURS), idle(), Action::Keep, Reason::Preferences);
    case(chosen(LONG), idle(), Action::Expire, Reason::Idle);
}

#[test]
fn a_cron_job_a_pending_subagent_and_a_bound_thread_stay() {
    let idle = || PolicyArgs { idle: Some(after(TimeDelta::hours(1))), ..none() };
    let mut with_job = inventory(vec![binding("agent:main:cron:j1", LONG), binding("agent:main:cron:j2", LONG)]);
    with_job.side.cron_jobs = ["j1".to_owned()].into();
    assert_eq!(judged(&with_job, idle()), [(Action::Keep, Reason::CronJob), (Action::Expire, Reason::Idle)]);
    let key = "agent:main:subagent:s1";
    let mut pending = inventory(vec![binding(key, LONG)]);
    pending.side.subagents.insert(key.to_owned(), SubagentRun::default());
    assert_eq!(judged(&pending, idle()), [(Action::Keep, Reason::SubagentRun)]);
    let mut bound = inventory(vec![binding(DIRECT, LONG)]);
    bound.side.bound_keys.insert(DIRECT.to_owned());
    assert_eq!(judged(&bound, idle()), [(Action::Keep, Reason::ThreadBinding)]);
}

#[test]
fn what_a_side_file_would_protect_is_protected_while_it_cannot_be_read() {
    case(binding("agent:main:cron:j1", LONG), none(), Action::Expire, Reason::ResetStale);
    let keys = ["agent:main:cron:j1", "agent:main:subagent:s1", DIRECT, HOOK];
    let mut inventory = inventory(keys.map(|key| binding(key, LONG)).into());
    inventory.side.unreadable.cron_jobs = true;
    inventory.side.unreadable.subagents = true;
    inventory.side.unreadable.bindings = true;
    let reasons: Vec<Reason> = judged(&inventory, none()).into_iter().map(|(_, reason)| reason).collect();
    assert_eq!(reasons, [Reason::CronJob, Reason::SubagentRun, Reason::ThreadBinding, Reason::ResetStale]);
}

#[test]
fn programs_have_limits_of_their_own() {
    case(binding("agent:main:cron:j:run:1", LONG), none(), Action::Expire, Reason::CronRetention);
    case(binding("agent:main:cron:j:run:1", HOURS), none(), Action::Keep, Reason::WithinLimits);
    case(binding("agent:main:subagent:s", HOURS), none(), Action::Expire, Reason::ArchiveAfter);
    let last = PolicyArgs { keep_last: Some(Some(1)), ..none() };
    let runs = vec![binding("agent:main:cron:j:run:1", LONG), binding("agent:main:cron:j:run:2", LONG + HOURS)];
    let verdicts = judged(&inventory(runs), last);
    assert_eq!(verdicts[0], (Action::Keep, Reason::KeepLast));
    assert_eq!(verdicts[1], (Action::Expire, Reason::CronRetention));
}

#[test]
fn over_the_count_the_longest_idle_go_first_and_protected_ones_count() {
    let flags = PolicyArgs { max_bindings: Some(Some(2)), ..none() };
    let bindings = vec![
        binding("agent:main:main", HOURS),
        binding("agent:main:telegram:direct:1", TimeDelta::minutes(40)),
        binding("agent:main:telegram:direct:2", TimeDelta::minutes(50)),
    ];
    let verdicts = judged(&inventory(bindings), flags);
    assert_eq!(verdicts[1], (Action::Keep, Reason::WithinLimits));
    assert_eq!(verdicts[2], (Action::Expire, Reason::OverCount));
}

#[test]
fn all_takes_what_is_protected_but_not_what_is_pinned() {
    let all = || PolicyArgs { choice: ChoiceArgs { all: true, ..ChoiceArgs::default() }, ..none() };
    case(binding("agent:main:main", HOURS), all(), Action::Expire, Reason::All);
    let mut keep = all();
    keep.choice.keep = vec!["agent:main:m*".to_owned()];
    case(binding("agent:main:main", HOURS), keep, Action::Keep, Reason::Pinned);
    let mut only = all();
    only.choice.only = vec!["agent:other:*".to_owned()];
    case(binding("agent:main:main", HOURS), only, Action::Keep, Reason::NotSelected);
}

#[test]
fn c06_without_a_clock_nothing_is_old() {
    let mut timeless = binding(DIRECT, LONG);
    timeless.entry.updated_at = Some(Clock::Unusable);
    if let Content::Read(summary) = &mut timeless.transcript.content {
        summary.last_at = None;
    }
    case(timeless, none(), Action::Keep, Reason::AgeUnknown);
}

#[test]
fn c47_a_file_stays_while_another_binding_uses_it() {
    let shared = |key| {
        let mut binding = binding(key, LONG);
        binding.entry.session_id = Some("one".to_owned());
        binding.transcript.path = Some(PathBuf::from("/s/one.jsonl"));
        binding
    };
    let mut inventory = inventory(vec![shared("agent:main:cron:j"), shared("agent:main:cron:j:run:one")]);
    inventory.side.cron_jobs = ["j".to_owned()].into();
    let policy = policy(&none());
    let judge = Judge { inventory: &inventory, policy: &policy, now: now(), zone: &Tz::UTC };
    let verdicts = judge.classify().bindings;
    assert_eq!(verdicts[0].verdict.reasons, [Reason::CronJob]);
    assert_eq!(verdicts[1].verdict.reasons, [Reason::CronRetention, Reason::SharedId]);
    assert_eq!(verdicts[1].file, None);
}

#[test]
fn the_explanation_ends_with_the_rule_that_decided() {
    let inventory = inventory(vec![binding(DIRECT, LONG)]);
    let policy = policy(&none());
    let judge = Judge { inventory: &inventory, policy: &policy, now: now(), zone: &Tz::UTC };
    let steps = judge.explain(DIRECT).pop().unwrap();
    let last = steps.last().unwrap();
    assert_eq!((last.reason, last.applies), (Reason::ResetStale, true));
    assert!(last.values.contains("daily reset at 4:00"), "{}", last.values);
    assert!(steps[..steps.len() - 1].iter().all(|step| !step.applies));
}

fn any_binding() -> impl Strategy<Value = Binding> {
    let keys = prop::sample::select(vec![
        "agent:main:main",
        DIRECT,
        "agent:main:telegram:group:-1",
        "agent:main:cron:j",
        "agent:main:cron:j:run:1",
        HOOK,
        "agent:main:subagent:s",
        "agent:main:telegram:slash:1",
        "something else",
    ]);
    let integrities = prop::sample::select(vec![
        Integrity::Freezes,
        Integrity::Blocks,
        Integrity::Wiped,
        Integrity::Empty,
        Integrity::Cut,
        Integrity::Torn,
        Integrity::Intact,
    ]);
    let locks = prop::sample::select(vec![
        None,
        Some(lock(LockState::Live)),
        Some(lock(LockState::Dead)),
        Some(lock(LockState::Unreadable)),
    ]);
    let endings = prop::sample::select(vec![
        Ending::Answered,
        Ending::Unanswered,
        Ending::Error(Some("401 no".to_owned())),
        Ending::Aborted(None),
    ]);
    (keys, -90_000_i64..900_000, integrities, locks, endings, any::<bool>()).prop_map(
        |(key, idle, integrity, lock, ending, pinned)| {
            let mut made = damaged(ended(binding(key, TimeDelta::seconds(idle)), ending), integrity);
            made.lock = lock;
            made.entry.pinned = pinned;
            made
        },
    )
}

proptest! {
    #[test]
    fn nothing_live_recent_or_pinned_ever_leaves(
        bindings in prop::collection::vec(any_binding(), 0..12),
        idle in prop::option::of(1_i64..100_000),
        max_bindings in prop::option::of(1_usize..6),
        alive in any::<bool>(),
    ) {
        let mut inventory = inventory(bindings);
        inventory.gateway.alive = alive;
        let flags = PolicyArgs { idle: idle.map(|seconds| after(TimeDelta::seconds(seconds))), max_bindings: Some(max_bindings), ..none() };
        let policy = policy(&flags);
        let judge = Judge { inventory: &inventory, policy: &policy, now: now(), zone: &Tz::UTC };
        let verdicts = judge.classify();
        prop_assert_eq!(verdicts.bindings.len(), inventory.stores[0].bindings.len());
        for one in &verdicts.bindings {
            let binding = one.binding(&inventory);
            prop_assert!(!one.verdict.reasons.is_empty());
            if one.verdict.action.removes() {
                prop_assert!(binding.lock.as_ref().is_none_or(|lock| !lock.state.is_held()));
                prop_assert!(!binding.entry.pinned);
                let recent = one.facts.idle.is_some_and(|idle| idle.duration() < policy.limits.grace.value);
                prop_assert!(!recent || (!alive && one.verdict.reasons[0].rule() == "damage"));
            } else {
                prop_assert!(one.file.is_none());
            }
        }
        // Judging twice gives the same: nothing but the evidence decides.
        let again: Vec<Verdict> = judge.classify().bindings.into_iter().map(|one| one.verdict).collect();
        prop_assert_eq!(again, verdicts.bindings.into_iter().map(|one| one.verdict).collect::<Vec<_>>());
    }
}
