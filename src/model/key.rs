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

/// Returns whether a key is written as a session's: of an agent or a channel, one of the literals, or a telephone number
/// (legacy). Other legacy keys cannot be told from any other word.
pub fn is_of_session(key: &str) -> bool {
    let key = key.trim();
    key.contains(':') || key.starts_with('+') || ["main", "global", "unknown"].contains(&key)
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

#[cfg(test)]
mod tests {
    use super::Class::{
        Acp, Channel, Cron, CronRun, Direct, Global, Group, Heartbeat, Hook, Main, Node, Other, Slash, Subagent,
        Thread, Topic,
    };
    use super::*;

    #[test]
    fn c26_every_shape_of_key_has_its_class() {
        for (key, class) in [
            // Conversations (F§3.1).
            ("agent:main:main", Main),
            ("AGENT:Main:MAIN", Main),
            ("agent:work-bot:main", Main),
            ("agent:main:direct:700000001", Direct),
            ("agent:main:telegram:direct:700000001", Direct),
            ("agent:main:telegram:default:direct:700000001", Direct),
            ("agent:main:telegram:dm:700000001", Direct),
            ("agent:main:whatsapp:dm:+4915112345678", Direct),
            ("agent:main:signal:direct:uuid:AbC-dEf", Direct),
            ("agent:main:matrix:direct:@Ann:example.org", Direct),
            ("agent:main:telegram:group:-1002000000001", Group),
            ("agent:main:whatsapp:group:123456-789@g.us", Group),
            ("agent:main:matrix:group:!RoomId:example.org", Group),
            ("agent:main:slack:channel:c0fixture", Channel),
            ("agent:main:discord:channel:123456789", Channel),
            ("agent:main:msteams:channel:19:abc@thread.tacv2", Channel),
            ("agent:main:telegram:group:-100555000100:topic:42", Topic),
            ("agent:main:telegram:direct:700000001:topic:7", Topic),
            ("agent:main:slack:channel:c1:thread:1700000000.000100", Thread),
            ("agent:main:discord:channel:1:thread:2", Thread),
            ("agent:main:main:thread:9", Thread),
            ("agent:main:telegram:group:-1:topic:3:thread:4", Thread),
            ("agent:main:telegram:group:-1:thread:4:topic:3", Topic),
            ("agent:main:telegram:slash:700000021", Slash),
            ("agent:main:discord:slash:1", Slash),
            // Programs.
            ("agent:main:cron:7cfc4032-f0f3-4e5d-a43c-97975114b467", Cron),
            ("agent:main:cron:7cfc4032:run:4b46d485", CronRun),
            ("agent:main:cron:nightly", Cron),
            ("agent:main:cron:job:run", Cron),
            ("agent:main:cron:job:run:id:subagent:17c3bbfe", Subagent),
            ("agent:main:cron:job:run:id:heartbeat", Heartbeat),
            ("agent:main:hook:c9c1e659-e974-4f0e-b213-11bdf2147aa4", Hook),
            ("agent:main:hook:email:msg-123", Hook),
            ("agent:main:subagent:17c3bbfe-466e-4f75-b251-5da04084ad12", Subagent),
            ("agent:main:subagent:a:subagent:b", Subagent),
            ("agent:main:telegram:direct:1:subagent:b", Subagent),
            ("agent:main:acp:0d5b", Acp),
            ("agent:main:acp:binding:telegram:default:1a2b", Acp),
            ("agent:main:acp-bridge:0d5b", Acp),
            ("agent:main:node-phone1", Node),
            ("agent:main:node:phone1", Node),
            ("agent:main:heartbeat", Heartbeat),
            ("agent:main:main:heartbeat", Heartbeat),
            ("agent:main:telegram:direct:1:heartbeat", Heartbeat),
            // Un-prefixed, legacy and later forms.
            ("global", Global),
            ("unknown", Other),
            ("main", Main),
            ("cron:job", Cron),
            ("hook:1", Hook),
            ("telegram:group:-1", Group),
            ("group:123@g.us", Group),
            ("123-456@g.us", Group),
            ("+4915112345678", Other),
            ("agent:main:explicit:model-run-0d5b", Other),
            ("agent:main:explicit:gateway-fallback-1", Other),
            ("agent:main:global", Other),
            ("agent::main", Other),
            ("agent:main", Other),
            ("", Other),
            (":::", Other),
            ("agent:main:subagent", Other),
            ("agent:main:telegram:direct", Other),
        ] {
            assert_eq!(parse(key, "main", None).class, class, "{key}");
        }
    }

    #[test]
    fn the_main_key_is_configurable_and_main_stays_an_alias() {
        assert_eq!(parse("agent:main:home", "home", None).class, Main);
        assert_eq!(parse("agent:main:main", "home", None).class, Main);
        assert_eq!(parse("agent:main:home", "main", None).class, Other);
    }

    #[test]
    fn the_entry_decides_where_the_key_does_not() {
        assert_eq!(parse("agent:main:telegram:-100123", "main", Some("group")).class, Group);
        assert_eq!(parse("agent:main:telegram:123", "main", Some("direct")).class, Direct);
        assert_eq!(parse("agent:main:telegram:group:-1", "main", Some("direct")).class, Group);
        assert_eq!(parse("agent:main:cron:x", "main", Some("group")).class, Cron);
    }

    #[test]
    fn the_parts_of_a_key_keep_their_case() {
        let key = "agent:Work:Matrix:group:!RoomId:Example.org";
        let parsed = parse(key, "main", None);
        assert_eq!((parsed.agent, parsed.channel), (Some("Work"), Some("Matrix")));
        assert_eq!(parse("agent:main:cron:Job-1:run:2", "main", None).cron_job, Some("Job-1"));
        assert_eq!(parse("agent:main:cron:j:run:2:subagent:3", "main", None).cron_job, None);
    }

    #[test]
    fn agent_ids_are_normalized_as_openclaw_does() {
        for (id, normal) in [
            ("Work Bot!", "work-bot"),
            ("main", "main"),
            ("", "main"),
            ("  ", "main"),
            ("!!!", "main"),
            ("-a-", "a"),
            ("_a", "_a"),
            ("A_b-C", "a_b-c"),
            ("über", "ber"),
        ] {
            assert_eq!(normalize_agent_id(id), normal, "{id}");
        }
        assert_eq!(normalize_agent_id(&"x".repeat(80)).len(), 64);
    }
}
