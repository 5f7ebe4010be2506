//! Mistakes that other tools made with what they found: what is unknown, young, foreign or shared is never taken.

use std::fs;

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use support::lessons::{KEY, OTHER, STORE, gc, two_agents};
use support::openclaw::AUTH;
use support::{NOW, Store, StoreBuilder, binding, file, keys, tree, verdict};

/// gc refuses the store of `main` for this state, touches nothing beside it, and does the other agent's.
#[track_caller]
fn refused(store: &Store, state: &str) {
    let before = tree(&store.path("agents/main"));
    let done = gc(store, &[]).code(4).json();
    before.exact().assert_same(&tree(&store.path("agents/main")).exact());
    assert_eq!(done["stores"][0]["state"], state);
    assert_eq!(done["refused"][0]["what"], STORE);
    assert!(done["refused"][0]["why"].as_str().unwrap().starts_with(state), "{}", done["refused"]);
    assert_eq!(done["done"]["expire"], 1, "the other agent's store was done");
    assert_eq!(gc(store, &["-n"]).code(4).json()["refused"], done["refused"], "a dry run says so too");
}

#[test]
fn c01_a_cut_or_empty_store_is_not_a_store_without_bindings() {
    let whole = two_agents().read(STORE);
    for (bytes, state) in [(&whole[..whole.len() / 2], "malformed"), (b"", "empty"), (b" \n", "empty")] {
        let store = two_agents();
        store.write(STORE, bytes);
        refused(&store, state);
    }
    let store = two_agents();
    store.remove(STORE);
    let before = tree(&store.path("agents/main")).exact();
    let done = gc(&store, &[]).ok().json();
    before.assert_same(&tree(&store.path("agents/main")).exact());
    assert_eq!(file(&done, "000000000000.jsonl")["reasons"], json!(["store-unknown"]));
}

#[test]
fn c02_a_store_of_another_shape_is_refused() {
    let entries = two_agents().sessions("main");
    for (text, state) in [
        ("[]".to_owned(), "not-an-object"),
        (json!([entries]).to_string(), "not-an-object"),
        ("null".to_owned(), "not-an-object"),
        ("7".to_owned(), "not-an-object"),
        (json!({"version": 1, "sessions": entries}).to_string(), "malformed"),
        (json!({"sessions": entries}).to_string(), "malformed"),
        (format!("\u{feff}{entries}"), "bom"),
        (format!("{entries}{entries}"), "malformed"),
    ] {
        let store = two_agents();
        store.write(STORE, text);
        refused(&store, state);
    }
}

#[test]
fn c03_whatever_a_binding_refers_to_is_no_orphan() {
    let id = "7b1d5c0e-93a4-4f6b-8d52-2f0e6a91c3d7";
    let old = |name: &str| (format!("agents/main/sessions/{name}"), "{}\n".to_owned());
    let parent = "2026-11-01T00-00-00-000Z_0d3c1b2a-0000-4000-8000-000000000000.jsonl";
    let header = json!({
        "type": "session", "version": 3, "id": id, "timestamp": "2026-11-13T00:00:00.000Z",
        "parentSession": format!("/home/user/.openclaw/agents/main/sessions/{parent}")
    });
    let mut builder = StoreBuilder::new().agent("main").binding("agent:main:telegram:group:-1:topic:12", |one| {
        one.idle("9d").session_id(id).field(
            "compactionCheckpoints",
            json!([
                {"preCompaction": {"sessionFile": "checkpointed.jsonl"}, "postCompaction": {"sessionId": "x"}}
            ]),
        )
    });
    builder = builder.binding("agent:main:telegram:group:-2", |one| {
        one.idle("9d").session_id("forked").transcript(format!("{header}\n"))
    });
    let referred = [
        format!("{id}.jsonl"),
        format!("{id}-topic-99.jsonl"),
        "checkpointed.jsonl".to_owned(),
        parent.to_owned(),
        format!("{id}.checkpoint.0d3c1b2a-0000-4000-8000-000000000000.jsonl"),
        format!("{id}.trajectory.jsonl"),
        format!("{id}.trajectory-path.json"),
    ];
    for name in &referred {
        let (path, text) = old(name);
        builder = builder.file(&path, text);
    }
    let store = builder.orphan("lonely", "9d").build();
    for name in &referred {
        store.set_mtime(old(name).0, "2026-11-01T00:00:00Z".parse().unwrap());
    }
    let done = gc(&store, &[]).ok().json();
    for name in &referred {
        assert_eq!(file(&done, name)["action"], "keep", "{name}");
        assert!(store.exists(old(name).0), "{name}");
    }
    assert!(store.exists(format!("agents/main/sessions/{id}-topic-12.jsonl")));
    assert_eq!(file(&done, "lonely.jsonl")["action"], "archive");
    assert!(!store.exists("agents/main/sessions/lonely.jsonl"));
}

#[test]
fn c04_a_transcript_outside_its_directory_is_neither_moved_nor_read_as_missing() {
    let outside = Store::empty();
    outside.write("x.jsonl", "somebody else's\n");
    let absolute = outside.path("x.jsonl").display().to_string();
    for target in ["../outside/x.jsonl", "../../desk/sessions/x.jsonl", absolute.as_str()] {
        let store = StoreBuilder::new()
            .agent("main")
            .binding(KEY, |one| one.idle("9d").session_id("gone").missing().field("sessionFile", target))
            .file("agents/main/outside/x.jsonl", "mine\n")
            .file("agents/desk/sessions/x.jsonl", "theirs\n")
            .build();
        let before = store.tree().contents();
        let done = gc(&store, &["--all"]).ok().json();
        assert_eq!(verdict(&done, KEY), "keep outside", "{target}");
        assert_eq!(binding(&done, KEY)["integrity"], "outside", "{target}");
        before.assert_same(&store.tree().contents());
        assert_eq!(fs::read_to_string(&absolute).unwrap(), "somebody else's\n");
    }
}

#[test]
fn c05_modification_times_are_no_ages() {
    let store = StoreBuilder::new()
        .agent("main")
        .binding(KEY, |one| one.idle("1h"))
        .binding(OTHER, |one| one.idle("60d"))
        .build();
    let transcript = |key: &str| {
        let scan = store.scan(["--now", NOW]);
        binding(&scan, key)["transcript"].as_str().unwrap().to_owned()
    };
    let now = NOW.parse().unwrap();
    store.set_mtime(transcript(KEY), now - TimeDelta::days(365));
    store.set_mtime(transcript(OTHER), now);
    let done = gc(&store, &["--idle", "2d"]).ok().json();
    assert_eq!(verdict(&done, KEY), "keep within-limits");
    assert_eq!(verdict(&done, OTHER), "expire idle");
    assert_eq!(binding(&done, KEY)["idle"], json!({"seconds": 3600, "from": "updatedAt"}), "the clock is named");
}

#[test]
fn c06_a_missing_clock_is_not_the_year_1970() {
    let store = StoreBuilder::new()
        .agent("main")
        .binding(KEY, |one| one.without("updatedAt").field("sessionFile", Value::Null).transcript(Vec::new()))
        .binding(OTHER, |one| one.idle("9d").without("updatedAt"))
        .binding("agent:main:hook:1", |one| one.without("updatedAt").fate(support::openclaw::Fate::Fresh))
        .build();
    let done = gc(&store, &["--idle", "1h", "--max-age", "1h"]).ok().json();
    assert_eq!(verdict(&done, "agent:main:hook:1"), "keep age-unknown");
    assert_eq!(binding(&done, "agent:main:hook:1")["idle"], Value::Null);
    // The transcript of the other one has a clock of its own.
    assert_eq!(binding(&done, OTHER)["idle"]["from"], "transcript");
    assert_eq!(binding(&done, OTHER)["action"], "expire");
}

#[test]
fn c07_seconds_and_the_future_are_no_clocks() {
    let now = NOW.parse::<chrono::DateTime<Utc>>().unwrap();
    for (value, detail) in [
        (json!(now.timestamp()), "no time in milliseconds"),
        (json!((now + TimeDelta::days(365)).timestamp_millis()), "in the future"),
        (json!("2026-11-22T22:00:00Z"), "no time in milliseconds"),
        (json!(-1), "no time in milliseconds"),
        (json!(0), "no time in milliseconds"),
    ] {
        let store = StoreBuilder::new()
            .agent("main")
            .binding("agent:main:hook:1", |one| {
                one.field("updatedAt", value.clone()).fate(support::openclaw::Fate::Fresh)
            })
            .build();
        let done = gc(&store, &["--idle", "1h"]).ok().json();
        let one = binding(&done, "agent:main:hook:1");
        assert_eq!(verdict(&done, "agent:main:hook:1"), "keep age-unknown", "{value}");
        assert_eq!(one["findings"][0]["code"], "bad-clock", "{value}");
        assert!(one["findings"][0]["detail"].as_str().unwrap().contains(detail), "{one:#}");
    }
}

#[test]
fn c07_a_clock_five_years_ahead_takes_nothing() {
    let store = Store::recorded("real-gateway");
    let before = store.tree().contents();
    let output = store.run(["gc", "--now", "2031-11-22T22:30:00Z"]).code(4);
    before.assert_same(&store.tree().contents());
    let said = output.to_string();
    assert!(said.contains("clock right") && said.contains("--max-removals"), "{said}");
    store.run(["gc", "--now", "2031-11-22T22:30:00Z", "--max-removals", "100%"]).ok();
}

#[test]
fn c08_a_transcript_that_is_not_in_the_store_yet_stays() {
    let young = |idle: &str, touched: TimeDelta| {
        let store = StoreBuilder::new().agent("main").binding(KEY, |one| one).orphan("x", idle).build();
        store.set_mtime("agents/main/sessions/x.jsonl", NOW.parse::<chrono::DateTime<Utc>>().unwrap() - touched);
        let done = gc(&store, &[]).ok().json();
        file(&done, "x.jsonl")["reasons"][0].as_str().unwrap().to_owned()
    };
    assert_eq!(young("5s", TimeDelta::seconds(5)), "grace");
    assert_eq!(young("9d", TimeDelta::seconds(5)), "grace", "an old conversation that was just written to");
    assert_eq!(young("5s", TimeDelta::days(9)), "grace", "a copy whose times were set back");
    assert_eq!(young("23h", TimeDelta::hours(23)), "grace");
    assert_eq!(young("25h", TimeDelta::hours(25)), "orphan");
}

#[test]
fn c23_ids_are_compared_whole_and_layout_does_not_matter() {
    let build = || {
        StoreBuilder::new()
            .agent("main")
            .binding(KEY, |one| one.idle("9d").session_id("abc"))
            .binding("agent:main:telegram:group:-2", |one| one.idle("9d").session_id("abcd"))
            .orphan("ab", "9d")
            .orphan("abc-topics", "9d")
            .orphan("bc", "9d")
            .build()
    };
    let pretty = build();
    let compact = build();
    compact.write(STORE, compact.sessions("main").to_string());
    for store in [&pretty, &compact] {
        let done = gc(store, &[]).ok().json();
        assert_eq!(keys(&done, "expire"), [KEY]);
        assert_eq!(done["done"]["archive"], 3);
        assert_eq!(
            store.sessions("main").as_object().unwrap().keys().collect::<Vec<_>>(),
            ["agent:main:telegram:group:-2"]
        );
        assert!(store.exists("agents/main/sessions/abcd.jsonl"));
        assert!(!store.exists("agents/main/sessions/abc.jsonl"));
    }
}

#[test]
fn c24_keys_that_differ_in_case_are_two_people() {
    let upper = "agent:main:matrix:direct:@Alice:Example.org";
    let lower = "agent:main:matrix:direct:@alice:example.org";
    let store = StoreBuilder::new()
        .agent("main")
        .binding(upper, |one| one.idle("1h"))
        .binding(lower, |one| one.idle("9d"))
        .binding("agent:Main:main", |one| one.idle("9d"))
        .build();
    let before = store.sessions("main");
    let done = gc(&store, &["--idle", "1d"]).ok().json();
    assert_eq!((verdict(&done, upper), verdict(&done, lower)), ("keep within-limits".into(), "expire idle".into()));
    for key in [upper, lower] {
        assert_eq!(binding(&done, key)["findings"][0]["code"], "case-collision", "{key}");
    }
    assert_eq!(binding(&done, "agent:Main:main")["class"], "main");
    assert_eq!(store.sessions("main")[upper], before[upper]);
    store.run(["restore", lower]).ok();
    assert_eq!(store.sessions("main")[lower], before[lower]);
    let explained = store.run(["explain", upper, "--json"]).ok().json();
    assert_eq!(explained["bindings"].as_array().unwrap().len(), 1);
}

/// Keys as OpenClaw and its channels have made them, each with its class.
const CORPUS: [(&str, &str); 42] = [
    ("agent:main:main", "main"),
    ("agent:desk:main", "main"),
    ("main", "main"),
    ("global", "global"),
    ("agent:main:telegram:group:-1001987654321", "group"),
    ("agent:main:telegram:bot2:group:-1001987654321", "group"),
    ("agent:main:whatsapp:group:120363012345678901@g.us", "group"),
    ("agent:main:signal:group:Zm9vYmFy=", "group"),
    ("agent:main:imessage:group:chat42", "group"),
    ("telegram:group:-100", "group"),
    ("120363012345678901@g.us", "group"),
    ("agent:main:discord:channel:112233445566778899", "channel"),
    ("agent:main:slack:channel:c012ab3cd", "channel"),
    ("agent:main:matrix:channel:!room:example.org", "channel"),
    ("agent:main:msteams:channel:19:abc@thread.tacv2", "channel"),
    ("agent:main:telegram:group:-1001987654321:topic:42", "topic"),
    ("agent:main:telegram:group:-1001987654321:topic:1", "topic"),
    ("agent:main:telegram:direct:700:topic:3", "topic"),
    ("agent:main:slack:channel:c012ab3cd:thread:1732312800.000100", "thread"),
    ("agent:main:discord:channel:112:thread:113", "thread"),
    ("agent:main:main:thread:99", "thread"),
    ("agent:main:telegram:direct:40382952", "direct"),
    ("agent:main:telegram:dm:40382952", "direct"),
    ("agent:main:direct:alice", "direct"),
    ("agent:main:whatsapp:direct:+491701234567", "direct"),
    ("agent:main:slack:work:direct:u01", "direct"),
    ("agent:main:cron:7cfc4032-f0f3-4e5d-a43c-97975114b467", "cron"),
    ("agent:main:cron:7cfc:run:4b46d485-1cb1-430e-9a0d-1ed75bf99499", "cron-run"),
    ("agent:main:hook:c9c1e659-e974-4f0e-b213-11bdf2147aa4", "hook"),
    ("agent:main:hook:email:msg-123", "hook"),
    ("agent:main:subagent:17c3bbfe-466e-4f75-b251-5da04084ad12", "subagent"),
    ("agent:main:subagent:17c3:subagent:4b46", "subagent"),
    ("agent:main:acp:0d3c1b2a-0000-4000-8000-000000000000", "acp"),
    ("agent:main:acp:binding:discord:default:0a1b", "acp"),
    ("agent:main:acp-bridge:1", "acp"),
    ("agent:main:main:heartbeat", "heartbeat"),
    ("agent:main:node-livingroom", "node"),
    ("agent:main:node:livingroom", "node"),
    ("agent:main:telegram:slash:40382952", "slash"),
    ("unknown", "other"),
    ("agent:main:explicit:model-run-1", "other"),
    ("agent:main:webchat", "other"),
];

#[test]
fn c26_every_protected_class_survives_whatever_its_key_looks_like() {
    let mut builder = StoreBuilder::new().agent("main");
    for (key, _) in CORPUS {
        builder = builder.binding(key, |one| one.idle("400d").error(AUTH).without("chatType").without("origin"));
    }
    let store = builder.binding("agent:main:telegram:direct:fresh", |one| one.idle("1h")).build();
    let args = ["--idle", "1d", "--max-age", "1d", "--max-bindings", "1", "--failed", "any"];
    let done = gc(&store, &args).ok().json();
    for (key, class) in CORPUS {
        assert_eq!(binding(&done, key)["class"], class, "{key}");
        let stays = ["main", "global", "group", "channel", "topic", "thread"].contains(&class)
            // The test helper writes a job for each base key of the usual form.
            || class == "cron";
        assert_eq!(binding(&done, key)["action"] == "keep", stays, "{key} ({class}): {}", verdict(&done, key));
        if stays && class != "cron" {
            assert_eq!(verdict(&done, key), "keep protected-class", "{key}");
        }
    }
}
