//! Whole state directories of any size, the same bytes for the same specification and `now`.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;

use chrono::{DateTime, Utc};
use serde_json::json;

use crate::chat::{self, Lines};
use crate::openclaw::{
    AUTH, Binding, DAY, Fate, HOUR, MINUTE, RATE_LIMIT, Rng, SERVER, pretty, write, write_jobs, write_sessions,
};

/// What to generate.
pub enum Spec {
    /// The case of openclaw#44687: three agents, 66 bindings, 56 transcripts, ten days.
    Issue44687,
    /// Anything else.
    Size {
        /// Bindings of all agents.
        bindings: usize,
        /// About the size of each entry.
        entry_bytes: usize,
        /// About the size of each transcript.
        transcript_bytes: usize,
        /// Agents.
        agents: usize,
        /// What makes one differ from another of the same sizes.
        seed: u64,
    },
}

impl Spec {
    /// The case of openclaw#44687.
    pub fn issue_44687() -> Self {
        Self::Issue44687
    }

    /// So many bindings of so many agents, with entries and transcripts of about so many bytes each.
    pub fn size(bindings: usize, entry_bytes: usize, transcript_bytes: usize, agents: usize, seed: u64) -> Self {
        Self::Size { bindings, entry_bytes, transcript_bytes, agents, seed }
    }

    fn agents(&self, now: i64) -> Vec<Agent> {
        match *self {
            Self::Issue44687 => [("main", MAIN), ("illarion", ILLARION), ("marketer", MARKETER)]
                .map(|(id, rows)| reported(id, rows, now))
                .into(),
            Self::Size { bindings, entry_bytes, transcript_bytes, agents, seed } => (0..agents)
                .map(|i| {
                    let id = if i == 0 { "main".to_owned() } else { format!("agent-{i}") };
                    let count = bindings / agents + usize::from(i < bindings % agents);
                    let mut rng = Rng::of(&format!("{seed} {id}"));
                    sized(id, count, (entry_bytes, transcript_bytes), &mut rng, now)
                })
                .collect(),
        }
    }
}

struct Agent {
    id: String,
    bindings: Vec<Binding>,
    orphans: Vec<Binding>,
}

/// Writes a state directory. `dir` becomes what `~/.openclaw` is.
pub fn generate(dir: &Path, spec: &Spec, now: DateTime<Utc>) {
    let agents = spec.agents(now.timestamp_millis());
    for agent in &agents {
        let sessions = dir.join("agents").join(&agent.id).join("sessions");
        write_sessions(&sessions, &agent.bindings);
        for orphan in &agent.orphans {
            orphan.write_files(&sessions);
        }
    }
    write_jobs(dir, agents.iter().flat_map(|agent| &agent.bindings));
    fs::create_dir_all(dir).unwrap();
    let config = pretty(&config(&agents));
    write(&dir.join("openclaw.json"), config.as_bytes(), 0o600, now.timestamp_millis() - 10 * DAY);
}

/// Writes a state directory of one agent whose conversations are long. Gives the number of lines of all transcripts.
pub fn conversations(dir: &Path, files: u64, bytes_each: u64, lines: Lines, seed: &str) -> u64 {
    let sessions = dir.join("agents/main/sessions");
    let mut count = 0;
    let bindings: Vec<Binding> = (0..files)
        .map(|i| {
            let key = format!("agent:main:telegram:direct:{}", 700_000_000 + i);
            Binding::new(&key, 1_760_000_000_000, 1_760_000_000_000 + DAY)
        })
        .collect();
    write_sessions(&sessions, &bindings);
    for (i, binding) in bindings.iter().enumerate() {
        let mut out = BufWriter::new(File::create(sessions.join(binding.file_name())).unwrap());
        count += chat::write(&mut out, &format!("{seed} {i}"), bytes_each, lines).unwrap();
        out.flush().unwrap();
    }
    write(&dir.join("openclaw.json"), pretty(&json!({"agents": {"list": [{"id": "main"}]}})).as_bytes(), 0o600, 0);
    count
}

/// The reporter's settings. `reset` stands beside `threadBindings`, not in it as the report quotes: 2026.3.11 refuses that.
fn config(agents: &[Agent]) -> serde_json::Value {
    let list: Vec<_> = agents
        .iter()
        .map(|agent| if agent.id == "main" { json!({"id": "main", "default": true}) } else { json!({"id": agent.id}) })
        .collect();
    json!({
        "agents": {
            "defaults": {"model": {"primary": "mock/mock-1"}, "maxConcurrent": 4},
            "list": list
        },
        "session": {
            "dmScope": "per-channel-peer",
            "threadBindings": {"maxAgeHours": 120, "idleHours": 24},
            "reset": {"mode": "daily", "atHour": 4}
        },
        "cron": {"enabled": true, "sessionRetention": "24h"}
    })
}

// Each row: key without the agent, fate, idle hours, age hours. `cron` rows are runs of the job they name, newest first;
// the newest shares its session with the job's base key. `orphan` rows have no binding.

/// 32 bindings, ten of them cron; 19 transcripts.
const ILLARION: &str = "
main                                               done        1 230
telegram:direct:40382952                           auth      112 128
telegram:direct:51720044                           done        3  70
telegram:direct:51720045                           done       30  54
telegram:direct:60911873                           rate       52  75
telegram:direct:60911874                           server     96  99
telegram:direct:71554012                           aborted    73  80
telegram:direct:71554013                           stopped   200 201
telegram:direct:82230561                           tool      150 151
telegram:group:-1001987654321                      done        5 236
telegram:group:-1001987654321:topic:4              done       60 190
hook:5b0c7e62-1d38-4f9a-8e27-c64a09d1b3f5          auth      180 181
subagent:0d9f4a17-6c52-4be8-93a1-7f20e5d8c64b      done      100 101
telegram:slash:40382952                            slash     112 112
telegram:slash:51720044                            slash       3   3
telegram:slash:60911873                            slash      52  52
telegram:direct:93300110                           fresh     118 118
telegram:direct:93300111                           queued    118 118
telegram:direct:93300112                           killed    118 118
telegram:direct:93300113                           missing   220 230
subagent:93e6b0d4-2a7f-4c15-b8d9-e1f05a3c7264      missing   210 211
hook:email:msg-2207                                missing   190 191
cron 7cfc4032-f0f3-4e5d-a43c-97975114b467          done        6   7
cron 7cfc4032-f0f3-4e5d-a43c-97975114b467          done       30  31
cron 7c0c65b9-cf3f-4c15-a8b5-6ec6ba5bce39          auth       20  21
cron 7c0c65b9-cf3f-4c15-a8b5-6ec6ba5bce39          auth       44  45
cron ae29e36e-92fc-4f33-b06e-f80b44b50a7b          done       12  13
cron caafb73b-e087-46ee-add0-fa849945229a          aborted    22  23
";

/// 21 bindings, 22 transcripts.
const MAIN: &str = "
main                                               done        2 196
telegram:direct:40382952                           done        1  90
telegram:direct:51720044                           auth      101 110
telegram:direct:51720046                           auth       99 110
telegram:direct:51720047                           rate       77  82
telegram:direct:60911875                           server     50  51
telegram:direct:60911876                           done       26  30
telegram:direct:60911877                           done       49  96
telegram:direct:71554014                           aborted   125 126
telegram:direct:71554015                           stopped   118 118
telegram:direct:82230562                           torn       88  89
telegram:direct:82230563                           done      130 165
telegram:direct:82230564                           done        7  12
telegram:direct:82230565                           missing    97 100
telegram:group:-1001987654322                      done        4 190
telegram:group:-1001987654323                      rate      111 150
telegram:group:-1001987654323:topic:2              done      120 150
telegram:group:-1001987654323:topic:9              auth      119 140
hook:e18a52c7-9f03-4d6b-b75e-20c8f1a4d396          done       95  96
subagent:4f8d1c29-a063-4e7b-9d58-b31e7c05f2a6      done      110 111
subagent:b7203e9f-58d1-4ac6-8f34-6a9c1e50d827      stopped   118 118
orphan                                             done      140 160
orphan                                             auth      170 171
";

/// 13 bindings, 15 transcripts.
const MARKETER: &str = "
main                                               done        9 140
telegram:direct:40382952                           rate       80  84
telegram:direct:51720048                           auth       79  83
telegram:direct:51720049                           done       27  78
telegram:direct:60911878                           done       40  60
telegram:direct:60911879                           server     76  77
telegram:direct:71554016                           aborted    75  76
telegram:direct:71554017                           tool      118 118
telegram:direct:82230566                           queued    118 118
telegram:group:-1001987654324                      done       20 142
telegram:group:-1001987654325                      auth       74 130
hook:2c6f9d05-b84e-4137-a9c2-d50e81f7364b          done       73  74
subagent:61a7e3f8-0c4d-4952-bd16-f85e2097c3a4      auth       90  91
orphan                                             done       86  88
orphan                                             done      100 102
orphan                                             aborted   110 111
";

fn reported(id: &str, rows: &str, now: i64) -> Agent {
    let mut agent = Agent { id: id.to_owned(), bindings: Vec::new(), orphans: Vec::new() };
    for (i, row) in rows.trim().lines().enumerate() {
        let mut words: Vec<&str> = row.split_whitespace().collect();
        let age: i64 = words.pop().unwrap().parse().unwrap();
        let idle: i64 = words.pop().unwrap().parse().unwrap();
        let fate = fate(words.pop().unwrap());
        let key = format!("agent:{id}:{}", words.join(":"));
        let mut rng = Rng::of(&format!("{key} {i}"));
        let offset = (rng.below(50) as i64) * MINUTE;
        let mut binding = Binding::new(&key, now - age * HOUR - offset - 5 * MINUTE, now - idle * HOUR - offset);
        binding.session_id = rng.uuid();
        binding.fate = fate;
        binding.entry_bytes = 9000 + rng.below(3000) as usize;
        binding.transcript_bytes = 1500 + rng.below(30_000) as usize;
        if words[0] == "orphan" {
            agent.orphans.push(binding);
            continue;
        }
        if words[0] == "cron" {
            if agent.bindings.iter().all(|other| other.key != key) {
                agent.bindings.push(binding.clone());
            }
            binding = binding.cron_run();
        }
        agent.bindings.push(binding);
    }
    agent
}

fn fate(word: &str) -> Fate {
    match word {
        "done" => Fate::Done,
        "auth" => Fate::Error(AUTH.to_owned()),
        "rate" => Fate::Error(RATE_LIMIT.to_owned()),
        "server" => Fate::Error(SERVER.to_owned()),
        "aborted" => Fate::Aborted,
        "stopped" => Fate::Interrupted,
        "tool" => Fate::InTool,
        "torn" => Fate::Torn,
        "killed" => Fate::Killed,
        "queued" => Fate::Queued,
        "fresh" => Fate::Fresh,
        "slash" => Fate::Slash,
        "missing" => Fate::Missing,
        _ => panic!("no such fate: {word}"),
    }
}

/// A mix of classes and fates, up to ten days idle, a transcript for each binding; a cron job and its run share one.
fn sized(id: String, count: usize, (entry_bytes, transcript_bytes): (usize, usize), rng: &mut Rng, now: i64) -> Agent {
    let mut bindings: Vec<Binding> = Vec::with_capacity(count);
    while bindings.len() < count {
        let n = bindings.len();
        let key = match rng.below(20) {
            0..=9 => format!("agent:{id}:telegram:direct:{}", 700_000_000 + n),
            10..=12 => format!("agent:{id}:telegram:group:-{}", 1_001_000_000_000 + n),
            13..=14 => format!("agent:{id}:telegram:group:-{}:topic:{}", 1_001_000_000_000 + n, 1 + rng.below(9)),
            15..=17 => format!("agent:{id}:cron:{}", rng.uuid()),
            18 => format!("agent:{id}:hook:{}", rng.uuid()),
            _ => format!("agent:{id}:subagent:{}", rng.uuid()),
        };
        let idle = (rng.below(10 * DAY as u64)) as i64;
        let age = idle + MINUTE + rng.below(20 * DAY as u64) as i64;
        let mut binding = Binding::new(&key, now - age, now - idle);
        binding.session_id = rng.uuid();
        let fates =
            ["done", "done", "done", "done", "done", "done", "auth", "auth", "rate", "server", "aborted", "stopped"];
        binding.fate = fate(fates[rng.below(12) as usize]);
        binding.entry_bytes = entry_bytes;
        binding.transcript_bytes = transcript_bytes;
        if binding.rest().starts_with("cron:") && n + 1 < count {
            bindings.push(binding.cron_run());
        }
        bindings.push(binding);
    }
    Agent { id, bindings, orphans: Vec::new() }
}
