//! Session keys: what conversation or job a binding belongs to (`openclaw-format.md` §3.1).
//!
//! Keys are opaque where they carry a peer's id: they are compared byte for byte everywhere. Only the words of the
//! grammar (`agent`, `direct`, `cron`, …) are matched without regard to case, as OpenClaw does.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What kind of conversation or job a key names. The order is the one used in tables.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// The agent's main conversation (`session.mainKey`).
    Main,
    /// A direct conversation with one peer.
    Direct,
    /// A group.
    Group,
    /// A channel or room.
    Channel,
    /// A topic of a forum.
    Topic,
    /// A thread below another conversation.
    Thread,
    /// A cron job's own key.
    Cron,
    /// One run of a cron job.
    CronRun,
    /// A webhook's session.
    Hook,
    /// A subagent, however deeply nested.
    Subagent,
    /// An ACP session.
    Acp,
    /// An isolated heartbeat.
    Heartbeat,
    /// A slash-command routing session; never has a transcript.
    Slash,
    /// A node's run.
    Node,
    /// The one session of `session.scope: global`.
    Global,
    /// Anything else: treated as a conversation.
    Other,
}

impl Class {
    /// Every class, in table order.
    pub const ALL: [Self; 16] = [
        Self::Main,
        Self::Direct,
        Self::Group,
        Self::Channel,
        Self::Topic,
        Self::Thread,
        Self::Cron,
        Self::CronRun,
        Self::Hook,
        Self::Subagent,
        Self::Acp,
        Self::Heartbeat,
        Self::Slash,
        Self::Node,
        Self::Global,
        Self::Other,
    ];

    /// Made by a program for a program: nobody goes on with it later.
    pub const fn is_synthetic(self) -> bool {
        matches!(
            self,
            Self::Cron | Self::CronRun | Self::Hook | Self::Subagent | Self::Acp | Self::Heartbeat | Self::Node
        )
    }

    /// Protected from failure, staleness and count rules unless the policy says otherwise (design §4).
    pub const fn is_protected_by_default(self) -> bool {
        matches!(self, Self::Main | Self::Global | Self::Group | Self::Channel | Self::Topic | Self::Thread)
    }

    /// The class's name in options, policy files, tables and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Direct => "direct",
            Self::Group => "group",
            Self::Channel => "channel",
            Self::Topic => "topic",
            Self::Thread => "thread",
            Self::Cron => "cron",
            Self::CronRun => "cron-run",
            Self::Hook => "hook",
            Self::Subagent => "subagent",
            Self::Acp => "acp",
            Self::Heartbeat => "heartbeat",
            Self::Slash => "slash",
            Self::Node => "node",
            Self::Global => "global",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A key taken apart. Borrowed parts keep the bytes of the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedKey<'a> {
    /// The agent named in the key, as written; `None` for legacy and un-prefixed keys.
    pub agent: Option<&'a str>,
    /// What the key names.
    pub class: Class,
    /// The channel (`telegram`, `slack`, …) in a conversation's key.
    pub channel: Option<&'a str>,
    /// The job of a `cron` or `cron-run` key.
    pub cron_job: Option<&'a str>,
}

/// Takes a key apart. `main_key` is `session.mainKey` (`main` unless configured); `chat_type` is the entry's own
/// `chatType`, which decides where the key's grammar does not (F§3.1).
pub fn parse<'a>(key: &'a str, main_key: &str, chat_type: Option<&str>) -> ParsedKey<'a> {
    let all: Vec<&str> = key.trim().split(':').filter(|part| !part.is_empty()).collect();
    let prefixed = all.len() >= 3 && all[0].eq_ignore_ascii_case("agent");
    let (agent, rest) = if prefixed { (Some(all[1]), &all[2..]) } else { (None, &all[..]) };
    let is = |index: usize, word: &str| rest.get(index).is_some_and(|part| part.eq_ignore_ascii_case(word));
    let has = |word: &str| rest.iter().any(|part| part.eq_ignore_ascii_case(word));

    let cron_job = if is(0, "cron") { rest.get(1).copied() } else { None };
    let mut parsed = ParsedKey { agent, class: Class::Other, channel: None, cron_job };
    // Programs first: a program's key may carry the words of a conversation's key, never the reverse.
    if let Some(class) = synthetic(rest, &is, &has) {
        parsed.class = class;
        if !matches!(class, Class::Cron | Class::CronRun) {
            parsed.cron_job = None;
        }
        return parsed;
    }
    if rest.len() == 1 && !prefixed && is(0, "global") {
        parsed.class = Class::Global;
        return parsed;
    }
    let marker = rest.iter().take(3).position(|part| {
        ["direct", "dm", "group", "channel", "slash"].iter().any(|word| part.eq_ignore_ascii_case(word))
    });
    if let Some(position) = marker.filter(|&position| position > 0) {
        debug_assert!(position < rest.len());
        parsed.channel = rest.first().copied();
    }
    parsed.class = suffix(rest)
        .or_else(|| marker.filter(|&at| at + 1 < rest.len()).map(|at| conversation(rest[at])))
        .or_else(|| (rest.len() == 1 && (is(0, main_key) || is(0, "main"))).then_some(Class::Main))
        .or_else(|| rest.iter().any(|part| part.to_ascii_lowercase().ends_with("@g.us")).then_some(Class::Group))
        .or_else(|| chat_type.and_then(from_chat_type))
        .unwrap_or(Class::Other);
    parsed
}

fn synthetic(rest: &[&str], is: &dyn Fn(usize, &str) -> bool, has: &dyn Fn(&str) -> bool) -> Option<Class> {
    let first = rest.first()?.to_ascii_lowercase();
    if has("subagent") && rest.iter().position(|p| p.eq_ignore_ascii_case("subagent"))? + 1 < rest.len() {
        return Some(Class::Subagent);
    }
    if has("heartbeat") {
        return Some(Class::Heartbeat);
    }
    match first.as_str() {
        "cron" if rest.len() == 4 && is(2, "run") => Some(Class::CronRun),
        "cron" if rest.len() >= 2 => Some(Class::Cron),
        "hook" if rest.len() >= 2 => Some(Class::Hook),
        "acp" | "acp-bridge" if rest.len() >= 2 => Some(Class::Acp),
        "node" if rest.len() >= 2 => Some(Class::Node),
        _ if first.starts_with("node-") && first.len() > 5 && rest.len() == 1 => Some(Class::Node),
        _ => None,
    }
}

/// `…:topic:<id>` and `…:thread:<id>`; the last of the two markers wins (F§3.1).
fn suffix(rest: &[&str]) -> Option<Class> {
    let last = rest.len().checked_sub(1)?;
    (1..last).rev().find_map(|at| match rest[at].to_ascii_lowercase().as_str() {
        "topic" => Some(Class::Topic),
        "thread" => Some(Class::Thread),
        _ => None,
    })
}

fn conversation(marker: &str) -> Class {
    match marker.to_ascii_lowercase().as_str() {
        "group" => Class::Group,
        "channel" => Class::Channel,
        "slash" => Class::Slash,
        _ => Class::Direct,
    }
}

fn from_chat_type(chat_type: &str) -> Option<Class> {
    match chat_type {
        "direct" | "dm" => Some(Class::Direct),
        "group" => Some(Class::Group),
        "channel" => Some(Class::Channel),
        "thread" => Some(Class::Thread),
        _ => None,
    }
}

/// OpenClaw's normal form of an agent id (F§1.3): lower case, other characters to `-`, at most 64, `main` when empty.
pub fn normalize_agent_id(id: &str) -> String {
    let lower = id.trim().to_lowercase();
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    let starts_well = lower.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    if starts_well && lower.len() <= 64 && lower.chars().all(plain) {
        return lower;
    }
    let mut normal = String::with_capacity(lower.len());
    for c in lower.chars() {
        if plain(c) {
            normal.push(c);
        } else if !normal.ends_with('\u{0}') {
            normal.push('\u{0}');
        }
    }
    let dashed = normal.replace('\u{0}', "-");
    let cut: String = dashed.trim_matches('-').chars().take(64).collect();
    if cut.is_empty() { "main".to_owned() } else { cut }
}
