//! State directories that OpenClaw can work on, and what both sides say of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;

use serde_json::{Value, json};

use crate::release::{PEER, Release};
use support::{Output, Store};

/// An agent and a key.
pub(crate) type Key = (String, String);

/// What a client of the gateway must know.
pub(crate) const TOKEN: &str = "interop";

/// A recorded store as if it had been recorded here: OpenClaw takes absolute paths in entries as they are.
pub(crate) fn recorded(name: &str, model_port: u16) -> Store {
    let store = Store::recorded(name);
    let home = format!("{}/", store.home().display());
    for agent in ["main", "illarion", "marketer"] {
        let path = format!("agents/{agent}/sessions/sessions.json");
        let text = String::from_utf8(store.read(&path)).unwrap();
        store.write(path, text.replace("/home/user/", &home));
    }
    let list: Value = serde_json::from_slice(&store.read("openclaw.json")).unwrap();
    configure(&store, PEER, model_port, &list["agents"]["list"]);
    store
}

/// A configuration for a model on loopback: nothing expires by itself, however late this runs, and nothing is started
/// but the gateway. Gives the port that a gateway would listen on.
pub(crate) fn configure(store: &Store, version: &str, model_port: u16, agents: &Value) -> u16 {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let cost = json!({"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0});
    let model = json!({
        "id": "mock-1", "name": "Mock One", "reasoning": false, "input": ["text"], "cost": cost,
        "contextWindow": 128_000, "maxTokens": 8192
    });
    let mut agents = agents.clone();
    for agent in agents.as_array_mut().unwrap() {
        agent["workspace"] = json!(store.path(format!("workspace-{}", agent["id"].as_str().unwrap())));
    }
    let config = json!({
        "meta": {"lastTouchedVersion": version},
        "logging": {"file": store.path("logs/openclaw.log")},
        "update": {"checkOnStart": false},
        "gateway": {"mode": "local", "port": port, "bind": "loopback", "auth": {"mode": "token", "token": TOKEN}},
        "models": {"mode": "replace", "providers": {"mock": {
            "baseUrl": format!("http://127.0.0.1:{model_port}/v1"), "apiKey": "none", "api": "openai-completions",
            "models": [model]
        }}},
        "agents": {
            "defaults": {
                "model": {"primary": "mock/mock-1"}, "timeoutSeconds": 120, "heartbeat": {"every": "0m"},
                "memorySearch": {"enabled": false}
            },
            "list": agents
        },
        "session": {
            "dmScope": "per-channel-peer", "reset": {"mode": "idle", "idleMinutes": 52_560_000},
            "maintenance": {"pruneAfter": "3650d"}
        },
        "cron": {"enabled": false},
        "plugins": {"enabled": false}
    });
    store.write("openclaw.json", format!("{config:#}"));
    port
}

/// The bindings in a document of scan, and those without a transcript.
pub(crate) fn bindings(scan: &Value, wanted: impl Fn(&Value) -> bool) -> BTreeSet<Key> {
    let all = scan["bindings"].as_array().unwrap().iter().filter(|one| wanted(one));
    all.map(|one| (text(&one["agent"]), text(&one["key"]))).collect()
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The document that OpenClaw printed: lines of its log may stand before it.
pub(crate) fn document(output: &Output) -> Value {
    let start = output.stdout.lines().take_while(|line| *line != "{").map(|line| line.len() + 1).sum();
    let text = output.stdout.get(start..).unwrap_or_default();
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}\n$ {}\n{output}", output.command))
}

/// Every binding with its session id, as `openclaw sessions` lists them.
pub(crate) fn listed(release: &Release, store: &Store) -> BTreeMap<Key, String> {
    let said = document(&release.run(store, &["sessions", "--all-agents", "--json"]).ok());
    let sessions = said["sessions"].as_array().unwrap();
    sessions.iter().map(|one| ((text(&one["agentId"]), text(&one["key"])), text(&one["sessionId"]))).collect()
}
