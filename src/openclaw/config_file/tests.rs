#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;
use tempfile::TempDir;

use super::*;

struct ConfigWorld(TempDir);

impl ConfigWorld {
    fn new(config: &str) -> Self {
        let world = Self(TempDir::new().unwrap());
        world.write("state/openclaw.json", config)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().canonicalize().unwrap().join(path)
    }

    fn write(self, path: &str, text: impl AsRef<[u8]>) -> Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn environment(&self) -> Environment {
        let vars = [("NAME", "value"), ("EMPTY", "")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        Environment { vars: vars.into(), cwd: self.path(""), ..Environment::default() }
    }

    fn value(&self) -> Result<Value, String> {
        let loaded = load(&self.path("state/openclaw.json"), &self.environment(), &mut Vec::new(), &mut false);
        loaded.map(Option::unwrap).map_err(|problem| problem.to_string())
    }

    #[track_caller]
    fn is(&self, expected: &Value) {
        assert_eq!(self.value().as_ref(), Ok(expected));
    }

    #[track_caller]
    fn refused(&self, parts: &[&str]) {
        let problem = self.value().unwrap_err();
        assert!(parts.iter().all(|part| problem.contains(part)), "{problem}");
    }

    fn read(&self) -> LoadedConfig {
        let dir = self.path("state");
        read(&StateHome {
            state_dir: dir.clone(),
            real_dir: dir.clone(),
            exists: true,
            owner: None,
            config_path: dir.join("openclaw.json"),
            profile: None,
            notes: Vec::new(),
            environment: self.environment(),
        })
    }
}

#[test]
fn json5_is_understood() {
    let text = "\u{feff}// comment\r\n{ /* [[ */ bare: 'single \"quoted\"', \"hex\": 0x1F,\n\
        plus: +1, dot: .5, list: [1, 2,],\n\
        text: \"line \\\nbroken\", pair: '\\ud83d\\ude00', null: null, }";
    ConfigWorld::new(text).is(&json!({
        "bare": "single \"quoted\"", "hex": 31, "plus": 1, "dot": 0.5, "list": [1, 2],
        "text": "line broken", "pair": "😀", "null": null}));
}

#[test]
fn the_last_of_equal_keys_wins() {
    ConfigWorld::new("{a: 1, b: 2, a: 3}").is(&json!({"a": 3, "b": 2}));
}

#[test]
fn what_is_not_json5_names_file_and_place() {
    ConfigWorld::new("{\n  a: 1\n  b: 2\n}").refused(&["openclaw.json", "3"]);
    ConfigWorld::new("").refused(&["openclaw.json"]);
    ConfigWorld::new("{} {}").refused(&["openclaw.json"]);
    ConfigWorld::new("{a: '\\ud83d'}").refused(&["openclaw.json"]);
}

#[test]
fn deep_nesting_is_refused_before_it_is_parsed() {
    ConfigWorld::new(&"[".repeat(1_000_000)).refused(&["nested more than 128"]);
    ConfigWorld::new(&format!("{}1{}", "[".repeat(129), "]".repeat(129))).refused(&["nested"]);
    assert!(ConfigWorld::new(&format!("{}1{}", "[".repeat(128), "]".repeat(128))).value().is_ok());
}

#[test]
fn brackets_in_texts_and_comments_are_no_nesting() {
    let brackets = "[".repeat(200);
    let text = format!("{{a: '\\'{brackets}', b: \"{brackets}\", // {brackets}\n /* {brackets} */ c: 1}}");
    assert_eq!(nesting(&text), 1);
    ConfigWorld::new(&text).value().unwrap();
    assert_eq!(nesting("// \r[[ // \u{2028}["), 3);
    assert_eq!(nesting("/* [ */ [ /* ["), 1);
}

#[test]
fn a_large_or_odd_file_is_refused() {
    ConfigWorld::new(&" ".repeat(2 * 1024 * 1024 + 1)).refused(&["2 MiB"]);
    let world = ConfigWorld::new("{}");
    fs::remove_file(world.path("state/openclaw.json")).unwrap();
    fs::create_dir(world.path("state/openclaw.json")).unwrap();
    world.refused(&["not a file"]);
}

#[test]
fn an_include_is_merged_below_its_siblings() {
    ConfigWorld::new(r#"{"$include": "base.json5", session: {store: "mine", reset: {atHour: 5}}, list: [3]}"#)
        .write("state/base.json5", "{session: {store: 'base', mainKey: 'k', reset: {mode: 'idle'}}, list: [1, 2]}")
        .is(&json!({
            "session": {"store": "mine", "mainKey": "k", "reset": {"mode": "idle", "atHour": 5}},
            "list": [1, 2, 3]}));
}

#[test]
fn a_list_of_includes_is_merged_in_order() {
    ConfigWorld::new(r#"{"$include": ["./a.json", "sub/b.json"]}"#)
        .write("state/a.json", "{x: 1, y: 1, l: [1]}")
        .write("state/sub/b.json", "{y: 2, l: [2]}")
        .is(&json!({"x": 1, "y": 2, "l": [1, 2]}));
}

#[test]
fn an_include_is_relative_to_its_own_file_and_may_hold_any_value() {
    ConfigWorld::new(r#"{session: {"$include": "sub/session.json"}, all: [{"$include": "sub/list.json"}]}"#)
        .write("state/sub/session.json", r#"{"$include": "more/reset.json", store: "s"}"#)
        .write("state/sub/more/reset.json", "{reset: {mode: 'daily'}}")
        .write("state/sub/list.json", "[1]")
        .is(&json!({"session": {"reset": {"mode": "daily"}, "store": "s"}, "all": [[1]]}));
}

#[test]
fn an_include_out_of_the_directory_is_refused() {
    let outside = |include: &str| ConfigWorld::new(&format!(r#"{{"$include": "{include}"}}"#)).write("out.json", "{}");
    outside("../out.json").refused(&["../out.json", "leads out"]);
    outside("sub/../../out.json").refused(&["leads out"]);
    outside("/etc/hostname").refused(&["leads out"]);
    let world = outside("link.json");
    symlink(world.path("out.json"), world.path("state/link.json")).unwrap();
    world.refused(&["link.json", "leads out"]);
}

#[test]
fn a_link_inside_the_directory_is_followed() {
    let world = ConfigWorld::new(r#"{"$include": "link.json"}"#).write("state/real.json", "{a: 1}");
    symlink("real.json", world.path("state/link.json")).unwrap();
    world.is(&json!({"a": 1}));
}

#[test]
fn a_hard_link_is_refused() {
    let world = ConfigWorld::new(r#"{"$include": "hard.json"}"#).write("out.json", "{}");
    fs::hard_link(world.path("out.json"), world.path("state/hard.json")).unwrap();
    world.refused(&["hard.json", "hard links"]);
}

#[test]
fn a_circle_of_includes_is_refused() {
    ConfigWorld::new(r#"{"$include": "a.json"}"#)
        .write("state/a.json", r#"{"$include": "b.json"}"#)
        .write("state/b.json", r#"{"$include": "./a.json"}"#)
        .refused(&["b.json", "includes itself"]);
}

#[test]
fn ten_files_deep_is_allowed_and_eleven_is_not() {
    let chain = |files: usize| {
        let include = |at: usize| format!(r#"{{"$include": "{at}.json"}}"#);
        let world = ConfigWorld::new(&include(1)).write(&format!("state/{files}.json"), "{a: 1}");
        (1..files).fold(world, |world, at| world.write(&format!("state/{at}.json"), include(at + 1)))
    };
    chain(10).is(&json!({"a": 1}));
    chain(11).refused(&["11.json", "more than 10"]);
}

#[test]
fn an_include_that_is_missing_broken_or_no_path_is_refused() {
    ConfigWorld::new(r#"{"$include": "no.json"}"#).refused(&["openclaw.json", "no.json", "cannot be read"]);
    ConfigWorld::new(r#"{"$include": "a.json"}"#).write("state/a.json", "{").refused(&["a.json"]);
    ConfigWorld::new(r#"{"$include": 5}"#).refused(&["needs a path"]);
    ConfigWorld::new(r#"{"$include": ["a.json", 5]}"#).write("state/a.json", "{}").refused(&["needs a path"]);
    ConfigWorld::new(r#"{"$include": "a.json", b: 1}"#).write("state/a.json", "[]").refused(&["beside other keys"]);
}

#[test]
fn variables_are_replaced_after_includes() {
    let world = ConfigWorld::new(r#"{"$include": "a.json", env: {vars: {OWN: "own", NAME: "not this"}}}"#)
        .write("state/a.json", r#"{session: {store: "${NAME}/${OWN}"}}"#);
    assert_eq!(world.read().config.store.as_deref(), Some("value/own"));
}

#[test]
fn a_missing_variable_is_a_note_and_stays() {
    let loaded = ConfigWorld::new(r#"{session: {store: "${NOPE}/${EMPTY}"}}"#).read();
    assert_eq!((loaded.state, loaded.config.store.as_deref()), (ConfigState::Valid, Some("${NOPE}/${EMPTY}")));
    assert_eq!(loaded.notes.len(), 2);
    assert!(loaded.notes[0].contains("session.store: ${NOPE}"), "{:?}", loaded.notes);
}

#[test]
fn no_file_is_missing_and_not_invalid() {
    let world = ConfigWorld::new("");
    fs::remove_file(world.path("state/openclaw.json")).unwrap();
    let loaded = world.read();
    assert_eq!((loaded.state, loaded.problems), (ConfigState::Missing, vec![]));
}

#[test]
fn one_wrong_value_makes_all_of_it_unused() {
    let loaded = ConfigWorld::new("{session: {store: '/s.json', reset: {atHour: 25}}}").read();
    assert_eq!(loaded.state, ConfigState::Invalid);
    assert_eq!(loaded.config, OpenclawConfig::default());
    assert_eq!(loaded.problems[0].place, "session.reset.atHour");
}

#[test]
fn the_configuration_of_a_real_installation_is_valid() {
    let loaded = ConfigWorld::new(
        r#"{"meta": {"lastTouchedVersion": "2026.3.11", "lastTouchedAt": "2026-11-22T00:00:00.000Z"},
            "agents": {"defaults": {"maxConcurrent": 4, "subagents": {"maxConcurrent": 8}},
                       "list": [{"id": "main"}, {"id": "illarion"}, {"id": "marketer"}]},
            "gateway": {"mode": "local", "port": 18789}}"#,
    )
    .read();
    assert_eq!((loaded.state, loaded.config.agents.len()), (ConfigState::Valid, 3));
}
