//! A gateway as OpenClaw 2026.3.11 leaves its files: what people, jobs and resets do to stores and transcripts in one
//! run, and how it dies. No model, no network, no clock; the same seed does the same.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::Store;
use crate::openclaw::{
    AUTH, Binding, DAY, DEAD_PID, Fate, HOUR, MINUTE, Rng, SERVER, iso, lock_payload, pretty, write,
};

/// A gateway of one state directory, started again and again.
pub struct Gateway<'a> {
    store: &'a Store,
    rng: Rng,
    agents: Vec<Agent>,
    /// How often it died in the middle of something.
    pub deaths: usize,
    /// Files that OpenClaw made and never clears away: temporary ones of a death, copies before a repair.
    pub crumbs: usize,
}

struct Agent {
    id: String,
    /// Conversations that people go on with.
    conversations: Vec<String>,
    job: String,
}

/// How a gateway dies in the middle of a turn.
enum Death {
    /// The user's message stands, its answer does not.
    Unanswered,
    /// The last line was cut.
    Torn,
    /// In its first turn: an entry and a lock, no transcript.
    FirstTurn,
    /// Between the store's temporary file and its rename.
    Store,
}

impl<'a> Gateway<'a> {
    /// A gateway that goes on with the conversations of this store.
    pub fn new(store: &'a Store, seed: &str) -> Self {
        let mut rng = Rng::of(seed);
        let agents = ["main", "illarion", "marketer"].map(|id| {
            let sessions = store.sessions(id);
            let keys = sessions.as_object().unwrap().keys();
            let talks = |key: &&String| ["direct", "group", ":main"].iter().any(|part| key.contains(part));
            let conversations = keys.filter(talks).take(12).cloned().collect();
            Agent { id: id.to_owned(), conversations, job: rng.uuid() }
        });
        let gateway = Self { store, rng, agents: agents.into(), deaths: 0, crumbs: 0 };
        gateway.add_jobs();
        gateway
    }

    /// The cron jobs of this gateway, added to those that are there.
    fn add_jobs(&self) {
        let path = self.store.path("cron/jobs.json");
        let text = fs::read(&path).unwrap_or_else(|_| br#"{"version":1,"jobs":[]}"#.to_vec());
        let mut jobs: Value = serde_json::from_slice(&text).unwrap();
        for agent in &self.agents {
            jobs["jobs"].as_array_mut().unwrap().push(json!({
                "id": agent.job, "agentId": agent.id, "name": "hourly", "enabled": true,
                "schedule": {"kind": "cron", "expr": "0 * * * *", "tz": "UTC"}, "sessionTarget": "isolated",
                "payload": {"kind": "agentTurn", "message": "hourly"}, "state": {}
            }));
        }
        write(&path, pretty(&jobs).as_bytes(), 0o600, 0);
    }

    /// Runs for some hours from `started`, and is stopped, or dies.
    pub fn run(&mut self, started: i64) {
        let mut at = started + 5 * MINUTE;
        for index in 0..self.agents.len() {
            for _ in 0..2 + self.rng.below(3) {
                at += (1 + self.rng.below(20) as i64) * MINUTE;
                self.event(index, at);
            }
        }
        assert!(at < started + 6 * HOUR, "one run after the other");
        match self.rng.below(10) {
            0 => self.die(&Death::Unanswered, at),
            1 => self.die(&Death::Torn, at),
            2 => self.die(&Death::FirstTurn, at),
            3 => self.die(&Death::Store, at),
            _ => {}
        }
    }

    fn event(&mut self, index: usize, at: i64) {
        let id = self.agents[index].id.clone();
        match self.rng.below(12) {
            0..=4 => {
                let key = self.conversation(index);
                self.talk(&id, &key, at);
            }
            5 => {
                let key = format!("agent:{id}:telegram:direct:{}", 800_000_000 + self.rng.below(100_000_000));
                self.begin(&id, &[key], &Fate::Done, at);
            }
            6 | 7 => self.cron_run(index, at),
            8 => {
                let key = format!("agent:{id}:subagent:{}", self.rng.uuid());
                let fate = if self.rng.below(3) == 0 { Fate::Aborted } else { Fate::Done };
                self.begin(&id, &[key], &fate, at);
            }
            9 => {
                let key = format!("agent:{id}:hook:{}", self.rng.uuid());
                let fate = if self.rng.below(2) == 0 { Fate::Error(SERVER.to_owned()) } else { Fate::Done };
                self.begin(&id, &[key], &fate, at);
            }
            10 => {
                let key = self.conversation(index);
                self.reset(&id, &key, at);
            }
            _ => {
                let key = self.conversation(index);
                self.compact(&id, &key, at);
            }
        }
    }

    fn conversation(&mut self, index: usize) -> String {
        let conversations = &self.agents[index].conversations;
        conversations[self.rng.below(conversations.len() as u64) as usize].clone()
    }

    /// A message of a person, and its answer. The first one after the daily reset begins a new session.
    fn talk(&mut self, agent: &str, key: &str, at: i64) {
        let entry = self.entry(agent, key);
        let updated = entry.as_ref().and_then(|entry| entry["updatedAt"].as_i64()).unwrap_or(0);
        let last_reset = (at - 4 * HOUR).div_euclid(DAY) * DAY + 4 * HOUR;
        let Some(path) = entry.filter(|_| updated >= last_reset).and_then(|entry| self.transcript(agent, &entry))
        else {
            return self.reset(agent, key, at);
        };
        self.locked(&path, at, |gateway| {
            gateway.repair(&path, at);
            let error = (gateway.rng.below(8) == 0).then_some(AUTH);
            gateway.append(&path, at, &[user(at), assistant(at, error)]);
        });
        self.update(agent, at, |entries| {
            entries[key]["updatedAt"] = json!(at);
            entries[key]["systemSent"] = json!(true);
            entries[key]["abortedLastRun"] = json!(false);
        });
    }

    /// `/new`, or a rollover: the old transcript is archived, the key is bound anew.
    fn reset(&mut self, agent: &str, key: &str, at: i64) {
        if let Some(old) = self.entry(agent, key).and_then(|entry| self.transcript(agent, &entry)) {
            let stamp = iso(at).replace(':', "-");
            fs::rename(&old, format!("{}.reset.{stamp}", old.display())).unwrap();
        }
        let fate = match self.rng.below(6) {
            0 => Fate::Error(AUTH.to_owned()),
            1 => Fate::Fresh,
            _ => Fate::Done,
        };
        self.begin(agent, &[key.to_owned()], &fate, at);
    }

    /// The job's base key and the key of the run share a session.
    fn cron_run(&mut self, index: usize, at: i64) {
        let Agent { id, job, .. } = &self.agents[index];
        let (id, base) = (id.clone(), format!("agent:{id}:cron:{job}"));
        let session = self.rng.uuid();
        let run = format!("{base}:run:{session}");
        let fate = if self.rng.below(4) == 0 { Fate::Error(SERVER.to_owned()) } else { Fate::Done };
        self.begin_as(&id, &[base, run], &session, &fate, at);
    }

    fn begin(&mut self, agent: &str, keys: &[String], fate: &Fate, at: i64) {
        let session = self.rng.uuid();
        self.begin_as(agent, keys, &session, fate, at);
    }

    /// A new session and its first turn.
    fn begin_as(&mut self, agent: &str, keys: &[String], session: &str, fate: &Fate, at: i64) {
        let bytes = 2000 + self.rng.below(6000) as usize;
        let bindings: Vec<Binding> = keys
            .iter()
            .map(|key| Binding {
                session_id: session.to_owned(),
                fate: fate.clone(),
                entry_bytes: 2000,
                transcript_bytes: bytes,
                ..Binding::new(key, at - MINUTE, at)
            })
            .collect();
        let sessions = self.sessions(agent);
        bindings[0].write_files(&sessions);
        self.update(agent, at, |entries| {
            for binding in &bindings {
                entries.insert(binding.key.clone(), binding.entry(&sessions));
            }
        });
    }

    /// `sessions.compact`: the last lines stay, the header is cut off, a copy is kept.
    fn compact(&mut self, agent: &str, key: &str, at: i64) {
        let Some(path) = self.entry(agent, key).and_then(|entry| self.transcript(agent, &entry)) else { return };
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        if lines.len() < 8 {
            return;
        }
        let copy = format!("{}.bak.{}", path.display(), iso(at).replace(':', "-"));
        write(Path::new(&copy), text.as_bytes(), 0o644, at);
        write(&path, lines[lines.len() - 4..].concat().as_bytes(), 0o644, at);
    }

    fn die(&mut self, how: &Death, at: i64) {
        self.deaths += 1;
        let index = self.rng.below(self.agents.len() as u64) as usize;
        let id = self.agents[index].id.clone();
        let lock = |path: &Path| {
            write(&lock_of(path), lock_payload(DEAD_PID, 1, at).as_bytes(), 0o644, at);
        };
        match how {
            Death::FirstTurn => {
                let key = format!("agent:{id}:telegram:direct:{}", 900_000_000 + self.rng.below(100_000_000));
                self.begin(&id, &[key], &Fate::Killed, at);
            }
            Death::Store => {
                let path = self.sessions(&id).join("sessions.json");
                let temp = path.with_file_name(format!("sessions.json.{}.tmp", self.rng.uuid()));
                write(&temp, &fs::read(&path).unwrap(), 0o600, at);
                lock(&path);
                self.crumbs += 1;
            }
            Death::Unanswered | Death::Torn => {
                let key = self.conversation(index);
                self.talk(&id, &key, at - MINUTE);
                let Some(path) = self.entry(&id, &key).and_then(|entry| self.transcript(&id, &entry)) else { return };
                self.append(&path, at, &[user(at)]);
                if matches!(how, Death::Torn) {
                    let mut text = fs::read(&path).unwrap();
                    text.truncate(text.len() - 30);
                    write(&path, &text, 0o644, at);
                }
                lock(&path);
            }
        }
    }

    fn sessions(&self, agent: &str) -> PathBuf {
        self.store.path(format!("agents/{agent}/sessions"))
    }

    fn entry(&self, agent: &str, key: &str) -> Option<Value> {
        self.store.sessions(agent).get(key).cloned()
    }

    /// The transcript of an entry, when it is there. Recorded entries name it where the recording was made.
    fn transcript(&self, agent: &str, entry: &Value) -> Option<PathBuf> {
        let named = entry["sessionFile"].as_str().map(|file| Path::new(file).file_name().unwrap().to_owned());
        let name = named.unwrap_or_else(|| format!("{}.jsonl", entry["sessionId"].as_str().unwrap()).into());
        Some(self.sessions(agent).join(name)).filter(|path| path.exists())
    }

    /// Under the store's lock reads it anew, changes it, and puts another file in its place.
    fn update(&mut self, agent: &str, at: i64, change: impl FnOnce(&mut Map<String, Value>)) {
        let path = self.sessions(agent).join("sessions.json");
        self.locked(&path, at, |gateway| {
            let Value::Object(mut entries) = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap() else {
                panic!("a store is an object")
            };
            change(&mut entries);
            let temp = path.with_file_name(format!("sessions.json.{}.tmp", gateway.rng.uuid()));
            write(&temp, pretty(&entries).as_bytes(), 0o600, at);
            fs::rename(temp, &path).unwrap();
        });
    }

    /// Takes the lock of a file, a dead one as well, and gives it back.
    fn locked(&mut self, path: &Path, at: i64, work: impl FnOnce(&mut Self)) {
        let lock = lock_of(path);
        write(&lock, lock_payload(DEAD_PID, 1, at).as_bytes(), 0o644, at);
        work(self);
        fs::remove_file(lock).unwrap();
    }

    /// `repairSessionFileIfNeeded`: a last line that is cut goes, and a copy of the file is kept.
    fn repair(&mut self, path: &Path, at: i64) {
        let text = fs::read(path).unwrap();
        let whole = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        if whole < text.len() && whole > 0 {
            let copy = format!("{}.bak-{DEAD_PID}-{at}", path.display());
            write(Path::new(&copy), &text, 0o644, at);
            write(path, &text[..whole], 0o644, at);
            self.crumbs += 1;
        }
    }

    /// Adds entries, each hanging on the one before it.
    fn append(&mut self, path: &Path, at: i64, messages: &[Value]) {
        let mut text = fs::read(path).unwrap();
        let last = text.trim_ascii_end().rsplit(|&byte| byte == b'\n').next().unwrap_or_default();
        let last: Value = serde_json::from_slice(last).unwrap_or_default();
        let mut parent = if last["type"] == "session" { Value::Null } else { last["id"].clone() };
        for message in messages {
            let id = json!(self.rng.short_id());
            let entry = json!({
                "type": "message", "id": id, "parentId": parent, "timestamp": iso(at), "message": message
            });
            text.extend_from_slice(format!("{entry}\n").as_bytes());
            parent = id;
        }
        write(path, &text, 0o644, at);
    }
}

fn lock_of(path: &Path) -> PathBuf {
    PathBuf::from(format!("{}.lock", path.display()))
}

fn user(at: i64) -> Value {
    json!({"role": "user", "content": [{"type": "text", "text": "Go on."}], "timestamp": at})
}

fn assistant(at: i64, error: Option<&str>) -> Value {
    let mut message = json!({
        "role": "assistant", "content": [], "api": "openai-completions", "provider": "mock", "model": "mock-1",
        "usage": {"input": 1, "output": 1, "cacheRead": 0, "cacheWrite": 0, "totalTokens": 2},
        "stopReason": if error.is_some() { "error" } else { "stop" }, "timestamp": at
    });
    match error {
        Some(error) => message["errorMessage"] = json!(error),
        None => message["content"] = json!([{"type": "text", "text": "Done."}]),
    }
    message
}
