//! Stores made to measure, one binding after another.
//!
//! ```ignore
//! let store = StoreBuilder::new()
//!     .agent("main")
//!     .binding("agent:main:telegram:direct:1", |b| b.idle("3d").error(AUTH))
//!     .binding("agent:main:cron:7cfc4032", |b| b.idle("30h").cron_run())
//!     .orphan("0a1b2c3d", "9d")
//!     .build();
//! ```

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::openclaw::{self, DAY, Fate, HOUR, MINUTE, SECOND};
use crate::{NOW, Store};

/// Collects agents, bindings and files; `build` writes them.
#[must_use = "nothing is written before `build`"]
pub struct StoreBuilder {
    now: i64,
    agents: Vec<Agent>,
    files: Vec<(String, Vec<u8>)>,
}

struct Agent {
    id: String,
    bindings: Vec<openclaw::Binding>,
    orphans: Vec<openclaw::Binding>,
}

impl StoreBuilder {
    /// Ages count back from [`NOW`].
    pub fn new() -> Self {
        Self::at(NOW)
    }

    /// Ages count back from this RFC 3339 time.
    pub fn at(now: &str) -> Self {
        let now = now.parse::<DateTime<Utc>>().unwrap().timestamp_millis();
        Self { now, agents: Vec::new(), files: Vec::new() }
    }

    /// What follows belongs to this agent.
    pub fn agent(mut self, id: &str) -> Self {
        self.agents.push(Agent { id: id.to_owned(), bindings: Vec::new(), orphans: Vec::new() });
        self
    }

    /// A conversation that ended well an hour ago, and whatever `change` makes of it.
    pub fn binding(mut self, key: &str, change: impl FnOnce(Binding) -> Binding) -> Self {
        let inner = openclaw::Binding::new(key, self.now - 2 * HOUR, self.now - HOUR);
        let made = change(Binding { now: self.now, inner, aged: false, twin: false });
        let Binding { inner, twin, .. } = made;
        let run = twin.then(|| inner.cron_run());
        self.current().bindings.extend([Some(inner), run].into_iter().flatten());
        self
    }

    /// A transcript `<id>.jsonl` that no binding knows.
    pub fn orphan(mut self, id: &str, idle: &str) -> Self {
        let updated = self.now - ms(idle);
        let orphan = openclaw::Binding::new(id, updated - HOUR, updated);
        self.current().orphans.push(openclaw::Binding { session_id: id.to_owned(), ..orphan });
        self
    }

    /// Any other file below the state directory.
    pub fn file(mut self, rel: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.files.push((rel.to_owned(), bytes.into()));
        self
    }

    /// No entry of the bindings so far says where its transcript is: the state directory may be moved.
    pub fn without_paths(mut self) -> Self {
        for binding in self.agents.iter_mut().flat_map(|agent| &mut agent.bindings) {
            binding.fields.insert("sessionFile".to_owned(), Value::Null);
        }
        self
    }

    /// The configuration file.
    pub fn config(self, json5: &str) -> Self {
        self.file("openclaw.json", json5)
    }

    /// Writes it into a world of its own.
    pub fn build(self) -> Store {
        self.build_in(Store::empty())
    }

    /// The same in memory where that can be had, for tests that would wait for the disk most of the time.
    pub fn build_in_memory(self) -> Store {
        self.build_in(Store::empty_in_memory())
    }

    /// In this state directory, which is empty.
    pub fn build_in(self, store: Store) -> Store {
        for agent in &self.agents {
            let sessions = store.path("agents").join(&agent.id).join("sessions");
            openclaw::write_sessions(&sessions, &agent.bindings);
            for orphan in &agent.orphans {
                orphan.write_files(&sessions);
            }
        }
        openclaw::write_jobs(&store.state_dir(), self.agents.iter().flat_map(|agent| &agent.bindings));
        for (rel, bytes) in &self.files {
            openclaw::write(&store.path(rel), bytes, 0o600, self.now);
        }
        store
    }

    fn current(&mut self) -> &mut Agent {
        self.agents.last_mut().expect("`agent` comes first")
    }
}

impl Default for StoreBuilder {
    fn default() -> Self {
        Self::new()
    }
}

/// One binding in the making.
#[must_use]
pub struct Binding {
    now: i64,
    inner: openclaw::Binding,
    aged: bool,
    twin: bool,
}

impl Binding {
    /// Time since the last activity. It began an hour before that unless `age` says otherwise.
    pub fn idle(mut self, idle: &str) -> Self {
        self.inner.updated = self.now - ms(idle);
        if !self.aged {
            self.inner.started = self.inner.updated - HOUR;
        }
        self
    }

    /// Time since the session began.
    pub fn age(mut self, age: &str) -> Self {
        self.inner.started = self.now - ms(age);
        self.aged = true;
        self
    }

    /// Sets how the last run ended.
    pub fn fate(mut self, fate: Fate) -> Self {
        self.inner.fate = fate;
        self
    }

    /// The last run ended with this error.
    pub fn error(self, message: &str) -> Self {
        self.fate(Fate::Error(message.to_owned()))
    }

    /// The last run was ended by `/stop` or a timeout.
    pub fn aborted(self) -> Self {
        self.fate(Fate::Aborted)
    }

    /// The gateway was killed before the answer; the lock stays.
    pub fn interrupted(self) -> Self {
        self.fate(Fate::Interrupted)
    }

    /// The transcript was there and is gone.
    pub fn missing(self) -> Self {
        self.fate(Fate::Missing)
    }

    /// Also binds the key of this run of the cron job, which shares session and transcript.
    pub fn cron_run(mut self) -> Self {
        self.twin = true;
        self
    }

    /// Sets the session id, and with it the name of the transcript.
    pub fn session_id(mut self, id: &str) -> Self {
        id.clone_into(&mut self.inner.session_id);
        self
    }

    /// Sets a field of the entry; null removes it.
    pub fn field(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.inner.fields.insert(name.to_owned(), value.into());
        self
    }

    /// Removes a field of the entry.
    pub fn without(self, name: &str) -> Self {
        self.field(name, Value::Null)
    }

    /// These bytes are the transcript.
    pub fn transcript(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.inner.transcript = Some(bytes.into());
        self
    }

    /// This is the content of the transcript's lock.
    pub fn lock(mut self, payload: impl Into<String>) -> Self {
        self.inner.lock = Some(payload.into());
        self
    }

    /// Fills the entry up to about this size.
    pub fn entry_bytes(mut self, bytes: usize) -> Self {
        self.inner.entry_bytes = bytes;
        self
    }

    /// Adds turns until the transcript has about this size.
    pub fn transcript_bytes(mut self, bytes: usize) -> Self {
        self.inner.transcript_bytes = bytes;
        self
    }
}

/// `90s 30m 24h 7d 1h30m` in milliseconds.
pub fn ms(text: &str) -> i64 {
    let mut total = 0;
    let mut number = 0;
    for c in text.chars() {
        let unit = match c {
            '0'..='9' => {
                number = number * 10 + i64::from(c as u32 - u32::from('0'));
                continue;
            }
            's' => SECOND,
            'm' => MINUTE,
            'h' => HOUR,
            'd' => DAY,
            _ => panic!("not a duration: {text}"),
        };
        total += number * unit;
        number = 0;
    }
    assert!(number == 0, "a duration needs a unit: {text}");
    total
}
