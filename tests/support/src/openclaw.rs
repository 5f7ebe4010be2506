//! Sessions as OpenClaw 2026.3.11 writes them: entries, transcripts, locks. Shares no code with the crate under test,
//! reads no clock, and gives the same bytes for the same input.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat};
use serde_json::{Map, Value, json};

/// A second in milliseconds.
pub const SECOND: i64 = 1000;
/// A minute in milliseconds.
pub const MINUTE: i64 = 60 * SECOND;
/// An hour in milliseconds.
pub const HOUR: i64 = 60 * MINUTE;
/// A day in milliseconds.
pub const DAY: i64 = 24 * HOUR;

/// A pid above what Linux gives out by default.
pub const DEAD_PID: u32 = 4_194_303;

/// How the last run of a session ended, as it is seen on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Ended with an answer.
    Done,
    /// The error message of the last answer. Passing errors are tried four times.
    Error(String),
    /// Ended by `/stop` or a timeout.
    Aborted,
    /// Killed before the answer: the last line is the user's; the lock stays.
    Interrupted,
    /// Killed while a tool ran; the lock stays.
    InTool,
    /// The last line was cut by a crash.
    Torn,
    /// Killed in its first turn: an entry and a lock, no transcript.
    Killed,
    /// Still queued when the gateway stopped: an entry that expects a transcript, none, no lock.
    Queued,
    /// Reset, and not used since: an entry that expects no transcript.
    Fresh,
    /// A routing entry that never has a transcript.
    Slash,
    /// The transcript was there and is gone.
    Missing,
}

impl Fate {
    /// Tells whether a transcript is on disk.
    pub fn has_transcript(&self) -> bool {
        !matches!(self, Self::Killed | Self::Queued | Self::Fresh | Self::Slash | Self::Missing)
    }

    fn leaves_lock(&self) -> bool {
        matches!(self, Self::Interrupted | Self::InTool | Self::Killed)
    }
}

/// An error that a session cannot outlive.
pub const AUTH: &str = "401 Incorrect API key provided: dummy. Key has been revoked.";
/// An error that passes.
pub const RATE_LIMIT: &str = "429 Rate limit reached for requests";
/// An error of the provider that passes.
pub const SERVER: &str = "500 The server had an error while processing your request";

/// splitmix64, seeded by a text.
pub struct Rng(u64);

impl Rng {
    /// The generator of this seed.
    pub fn of(seed: &str) -> Self {
        let fnv = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        Self(seed.bytes().fold(0xcbf2_9ce4_8422_2325, fnv))
    }

    /// Returns the next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below the limit.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.draw() % limit.max(1)
    }

    /// An entry id: eight hex digits.
    pub fn short_id(&mut self) -> String {
        format!("{:08x}", self.draw() >> 32)
    }

    /// Returns a version 4 UUID.
    pub fn uuid(&mut self) -> String {
        let (a, b) = (self.draw(), self.draw());
        let (c, d) = (a & 0xfff, (b >> 48) & 0x3fff | 0x8000);
        format!("{:08x}-{:04x}-4{c:03x}-{d:04x}-{:012x}", a >> 32, (a >> 16) & 0xffff, b & 0xffff_ffff_ffff)
    }
}

/// One key of a store with all that belongs to it. Times are epoch milliseconds.
#[derive(Clone, Debug)]
pub struct Binding {
    /// The whole key, `agent:<id>:…`.
    pub key: String,
    /// The session to which it is bound.
    pub session_id: String,
    /// How its last run ended.
    pub fate: Fate,
    /// When the session began.
    pub started: i64,
    /// When it was last active.
    pub updated: i64,
    /// The entry is filled up to about this size, as skills and prompt reports do.
    pub entry_bytes: usize,
    /// Turns are added until the transcript has this size.
    pub transcript_bytes: usize,
    /// Laid over the entry; null removes a field.
    pub fields: Map<String, Value>,
    /// Written in place of the transcript.
    pub transcript: Option<Vec<u8>>,
    /// Content of the transcript's lock.
    pub lock: Option<String>,
}

impl Binding {
    /// A finished conversation whose session id follows from its key.
    pub fn new(key: &str, started: i64, updated: i64) -> Self {
        Self {
            key: key.to_owned(),
            session_id: Rng::of(key).uuid(),
            fate: Fate::Done,
            started,
            updated,
            entry_bytes: 0,
            transcript_bytes: 0,
            fields: Map::new(),
            transcript: None,
            lock: None,
        }
    }

    /// The key without `agent:<id>:`.
    pub fn rest(&self) -> &str {
        self.key.splitn(3, ':').nth(2).unwrap_or(&self.key)
    }

    /// The name of the transcript.
    pub fn file_name(&self) -> String {
        match self.rest().rsplit_once(":topic:") {
            Some((_, topic)) => format!("{}-topic-{topic}.jsonl", self.session_id),
            None => format!("{}.jsonl", self.session_id),
        }
    }

    /// The session of one run of a cron job, under the key of that run.
    pub fn cron_run(&self) -> Self {
        Self { key: format!("{}:run:{}", self.key, self.session_id), ..self.clone() }
    }

    /// The entry of the store, for a store in this directory.
    pub fn entry(&self, sessions: &Path) -> Value {
        let rest = self.rest();
        let (kind, peer) = peer(rest);
        let mut entry = Map::new();
        let mut put = |field: &str, value: Value| entry.insert(field.to_owned(), value);
        let address = format!("telegram:{peer}");
        if matches!(kind, "direct" | "group" | "slash") {
            let chat = if kind == "group" { "group" } else { "direct" };
            put(
                "origin",
                json!({
                    "label": format!("Alice id:{peer}"), "provider": "telegram", "surface": "telegram",
                    "chatType": chat, "from": address, "to": address, "accountId": "default"
                }),
            );
        }
        put("sessionId", json!(self.session_id));
        put("updatedAt", json!(self.updated));
        match kind {
            "direct" | "group" => {
                put("deliveryContext", json!({"channel": "telegram", "to": address, "accountId": "default"}));
                put("lastChannel", json!("telegram"));
                put("lastTo", json!(address));
                put("lastAccountId", json!("default"));
                put("chatType", json!(kind));
            }
            "cron" => {
                put("label", json!("Cron: daily brief"));
            }
            "subagent" => {
                put("spawnDepth", json!(1));
                put("subagentRole", json!("leaf"));
                put("label", json!("counter"));
                put("spawnedBy", json!("agent:main:main"));
            }
            _ => {}
        }
        if kind != "slash" {
            put("systemSent", json!(self.fate != Fate::Fresh));
            if !matches!(kind, "cron" | "hook") {
                put("abortedLastRun", json!(self.fate == Fate::Aborted));
                if self.fate != Fate::Fresh {
                    put("sessionFile", json!(sessions.join(self.file_name())));
                }
            }
            if !matches!(self.fate, Fate::Killed | Fate::Queued) {
                put("modelProvider", json!("mock"));
                put("model", json!("mock-1"));
                put("contextTokens", json!(200_000));
                put("totalTokens", json!(11_961));
                put("totalTokensFresh", json!(true));
            }
        }
        if self.entry_bytes > 0 && kind != "slash" {
            fill(&mut entry, &self.key, self.entry_bytes);
        }
        for (field, value) in &self.fields {
            if value.is_null() {
                entry.shift_remove(field);
            } else {
                entry.insert(field.clone(), value.clone());
            }
        }
        Value::Object(entry)
    }

    /// The bytes of the transcript that its fate leaves.
    pub fn transcript(&self) -> Vec<u8> {
        Talk::new(self).render()
    }

    /// Writes transcript and lock where the fate has them.
    pub fn write_files(&self, sessions: &Path) {
        let path = sessions.join(self.file_name());
        if let Some(bytes) = &self.transcript {
            write(&path, bytes, 0o644, self.updated);
        } else if self.fate.has_transcript() {
            write(&path, &self.transcript(), 0o644, self.updated);
        }
        let dead = || lock_payload(DEAD_PID, 1, self.updated);
        let lock = self.lock.clone().or_else(|| self.fate.leaves_lock().then(dead));
        if let Some(lock) = lock {
            write(&sessions.join(format!("{}.lock", self.file_name())), lock.as_bytes(), 0o644, self.updated);
        }
    }
}

/// What kind of address the key names, and the peer in it.
fn peer(rest: &str) -> (&str, &str) {
    let parts: Vec<&str> = rest.split(':').collect();
    match parts.as_slice() {
        [_, kind @ ("direct" | "group" | "slash"), peer, ..] => (kind, peer),
        [kind, ..] => (kind, ""),
        [] => ("", ""),
    }
}

/// Adds what makes real entries large. The sizes are those of recorded ones: 9 to 12 kB in all.
fn fill(entry: &mut Map<String, Value>, key: &str, target: usize) {
    let report = |n: usize, what: &str| -> Vec<Value> {
        (0..n)
            .map(|i| json!({"name": format!("{what}-{i}"), "summaryChars": 298, "schemaChars": 392, "propertiesCount": 4}))
            .collect()
    };
    let size = |entry: &Map<String, Value>| pretty(entry).len() + key.len();
    if size(entry) + 5000 < target {
        entry.insert(
            "systemPromptReport".to_owned(),
            json!({
                "source": "run", "generatedAt": entry["updatedAt"], "sessionId": entry["sessionId"], "sessionKey": key,
                "systemPrompt": {"chars": 25591, "projectContextChars": 13587, "nonProjectContextChars": 12004},
                "skills": {"promptChars": 2263, "entries": report(6, "skill")},
                "tools": {"listChars": 1359, "schemaChars": 15635, "entries": report(20, "tool")}
            }),
        );
    }
    entry.insert("skillsSnapshot".to_owned(), json!({"prompt": "", "skills": [{"name": "healthcheck"}], "version": 0}));
    let missing = target.saturating_sub(size(entry));
    entry["skillsSnapshot"]["prompt"] = json!(lorem(missing));
}

fn lorem(bytes: usize) -> String {
    "lorem ipsum dolor sit amet consectetur ".chars().cycle().take(bytes).collect()
}

/// A transcript in the making: entries first, their ids, parents and times at the end.
struct Talk<'a> {
    binding: &'a Binding,
    lines: Vec<Map<String, Value>>,
}

impl<'a> Talk<'a> {
    fn new(binding: &'a Binding) -> Self {
        let mut talk = Self { binding, lines: Vec::new() };
        talk.entry(json!({"type": "model_change", "provider": "mock", "modelId": "mock-1"}));
        talk.entry(json!({"type": "thinking_level_change", "thinkingLevel": "off"}));
        let mut bytes = 800;
        while bytes + 1600 < binding.transcript_bytes {
            let text = lorem((binding.transcript_bytes - bytes - 800).min(1200));
            talk.user("Go on.");
            talk.assistant(&text, "stop", None);
            bytes += text.len() + 750;
        }
        talk.last_turn();
        talk
    }

    fn last_turn(&mut self) {
        let rest = self.binding.rest();
        self.user(&if rest.starts_with("cron:") {
            format!("[{rest}] daily brief")
        } else {
            "Anything urgent?".to_owned()
        });
        match &self.binding.fate {
            Fate::Error(message) => {
                let passing = !["400", "401", "403"].iter().any(|code| message.starts_with(code));
                for _ in 0..if passing { 4 } else { 1 } {
                    self.assistant("", "error", Some(message));
                }
            }
            Fate::Aborted => {
                self.entry(
                    json!({"type": "custom", "customType": "openclaw:prompt-error", "data": {"error": "aborted"}}),
                );
                self.assistant("I will now", "aborted", Some("Request was aborted"));
            }
            Fate::Interrupted => {}
            Fate::InTool => {
                self.assistant("", "toolUse", None);
                let call = json!([{"type": "toolCall", "id": "call_ehfu7ailtv", "name": "exec", "arguments": {"command": "ls"}}]);
                self.lines.last_mut().unwrap()["message"]["content"] = call;
            }
            _ => self.assistant("Nothing urgent.", "stop", None),
        }
    }

    fn entry(&mut self, value: Value) {
        let Value::Object(entry) = value else { panic!("an entry is an object") };
        self.lines.push(entry);
    }

    fn user(&mut self, text: &str) {
        self.entry(json!({
            "type": "message", "message": {"role": "user", "content": [{"type": "text", "text": text}], "timestamp": 0}
        }));
    }

    fn assistant(&mut self, text: &str, stop: &str, error: Option<&str>) {
        let content = if text.is_empty() { json!([]) } else { json!([{"type": "text", "text": text}]) };
        let mut message = json!({
            "role": "assistant", "content": content, "api": "openai-completions", "provider": "mock",
            "model": "mock-1",
            "usage": {
                "input": 11951, "output": 10, "cacheRead": 0, "cacheWrite": 0, "totalTokens": 11961,
                "cost": {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0, "total": 0}
            },
            "stopReason": stop, "timestamp": 0
        });
        if let Some(error) = error {
            message["errorMessage"] = json!(error);
        }
        self.entry(json!({"type": "message", "message": message}));
    }

    /// Spreads the entries from the start to the last activity and links each to the one before.
    fn render(self) -> Vec<u8> {
        let Binding { session_id: id, started, updated, .. } = self.binding;
        let mut rng = Rng::of(id);
        let mut parent = Value::Null;
        let header = json!({
            "type": "session", "version": 3, "id": id, "timestamp": iso(*started),
            "cwd": "/home/user/.openclaw/workspace"
        });
        let mut out = format!("{header}\n");
        let last = self.lines.len() as i64 - 1;
        for (i, mut body) in self.lines.into_iter().enumerate() {
            let time = started + (updated - started) * i as i64 / last;
            if let Some(message) = body.get_mut("message") {
                message["timestamp"] = json!(time);
            }
            let own = json!(rng.short_id());
            let kind = body.shift_remove("type").unwrap();
            let line = json!({"type": kind, "id": own, "parentId": parent, "timestamp": iso(time)});
            let Value::Object(mut line) = line else { unreachable!() };
            line.append(&mut body);
            out.push_str(&Value::Object(line).to_string());
            out.push('\n');
            parent = own;
        }
        if self.binding.fate == Fate::Torn {
            out.truncate(out.len() - 57);
        }
        out.into_bytes()
    }
}

/// Writes `sessions.json` and the files of its bindings.
pub fn write_sessions(sessions: &Path, bindings: &[Binding]) {
    fs::create_dir_all(sessions).unwrap();
    let path = sessions.join("sessions.json");
    let mut out = BufWriter::new(File::create(&path).unwrap());
    let mut newest = 0;
    out.write_all(b"{").unwrap();
    for (i, binding) in bindings.iter().enumerate() {
        let entry = pretty(&binding.entry(sessions)).replace('\n', "\n  ");
        let comma = if i == 0 { "" } else { "," };
        write!(out, "{comma}\n  {}: {entry}", json!(binding.key)).unwrap();
        newest = newest.max(binding.updated);
        binding.write_files(sessions);
    }
    out.write_all(if bindings.is_empty() { b"}" } else { b"\n}" }).unwrap();
    let file = out.into_inner().unwrap();
    finish(&file, 0o600, newest);
}

/// Writes `cron/jobs.json` for the cron jobs among the keys.
pub fn write_jobs<'a>(state: &Path, bindings: impl IntoIterator<Item = &'a Binding>) {
    let mut jobs: Vec<Value> = Vec::new();
    let mut newest = 0;
    for binding in bindings {
        let parts: Vec<&str> = binding.key.split(':').collect();
        let ["agent", agent, "cron", job] = parts[..] else { continue };
        let (status, errors) = if binding.fate == Fate::Done { ("ok", 0) } else { ("error", 1) };
        jobs.push(json!({
            "id": job, "agentId": agent, "name": "daily brief", "enabled": true,
            "createdAtMs": binding.started - 10 * DAY, "updatedAtMs": binding.updated,
            "schedule": {"kind": "cron", "expr": "0 7 * * *", "tz": "UTC"},
            "sessionTarget": "isolated", "wakeMode": "now",
            "payload": {"kind": "agentTurn", "message": "daily brief"}, "delivery": {"mode": "none"},
            "state": {"lastRunAtMs": binding.started, "lastRunStatus": status, "lastStatus": status, "consecutiveErrors": errors}
        }));
        newest = newest.max(binding.updated);
    }
    if !jobs.is_empty() {
        write(&state.join("cron/jobs.json"), pretty(&json!({"version": 1, "jobs": jobs})).as_bytes(), 0o600, newest);
    }
}

/// The content of a lock as OpenClaw writes it.
pub fn lock_payload(pid: u32, starttime: u64, created: i64) -> String {
    pretty(&json!({"pid": pid, "createdAt": iso(created), "starttime": starttime}))
}

/// Writes a file and the directories above it, with mode and modification time.
pub fn write(path: &Path, bytes: &[u8], mode: u32, modified: i64) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = File::create(path).unwrap();
    file.write_all(bytes).unwrap();
    finish(&file, mode, modified);
}

fn finish(file: &File, mode: u32, modified: i64) {
    file.set_permissions(fs::Permissions::from_mode(mode)).unwrap();
    file.set_modified(UNIX_EPOCH + Duration::from_millis(modified.max(0).unsigned_abs())).unwrap();
}

/// Epoch milliseconds as `toISOString` writes them.
pub fn iso(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms).unwrap().to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// `JSON.stringify(value, null, 2)`.
pub fn pretty(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap()
}
