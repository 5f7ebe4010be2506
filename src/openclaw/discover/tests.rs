#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::config::environment::Environment;

/// A state directory `state` and a current directory `work`.
struct StoresWorld {
    root: TempDir,
    config: OpenclawConfig,
}

impl StoresWorld {
    fn new(config: &Value) -> Self {
        let root = TempDir::new().unwrap();
        fs::create_dir_all(root.path().join("work")).unwrap();
        fs::create_dir_all(root.path().join("state")).unwrap();
        Self { root, config: OpenclawConfig::from_value(config).0 }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().canonicalize().unwrap().join(path)
    }

    fn store(self, path: &str) -> Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "{}").unwrap();
        self
    }

    fn dir(self, path: &str) -> Self {
        fs::create_dir_all(self.path(path)).unwrap();
        self
    }

    fn link(self, target: &str, link: &str) -> Self {
        symlink(self.path(target), self.path(link)).unwrap();
        self
    }

    fn home(&self, state_dir: &str) -> StateHome {
        let state_dir = self.path(state_dir);
        let vars = [("HOME".to_owned(), self.path("").display().to_string())].into();
        StateHome {
            real_dir: state_dir.canonicalize().unwrap(),
            config_path: state_dir.join("openclaw.json"),
            state_dir,
            exists: true,
            owner: None,
            profile: None,
            notes: Vec::new(),
            environment: Environment { vars, cwd: self.path("work"), uid: 0, os_home: None },
        }
    }

    fn find(&self, agents: &[&str]) -> anyhow::Result<Discovery> {
        let agents: Vec<String> = agents.iter().map(|&agent| agent.to_owned()).collect();
        stores(&self.home("state"), &self.config, &agents, None)
    }

    fn shown(&self, found: &Discovery) -> Vec<(String, String)> {
        let inner = |store: &StoreLocation| store.path.strip_prefix(self.path("")).unwrap().display().to_string();
        found.stores.iter().filter(|store| store.selected).map(|store| (store.agent.clone(), inner(store))).collect()
    }

    #[track_caller]
    fn finds(&self, expected: &[(&str, &str)]) -> Discovery {
        let found = self.find(&[]).unwrap();
        let expected: Vec<_> = expected.iter().map(|&(agent, path)| (agent.to_owned(), path.to_owned())).collect();
        assert_eq!(self.shown(&found), expected);
        found
    }
}

const MAIN: (&str, &str) = ("main", "state/agents/main/sessions/sessions.json");

#[test]
fn without_configuration_main_is_listed_even_when_nothing_is_there() {
    let found = StoresWorld::new(&json!({})).finds(&[MAIN]);
    let store = &found.stores[0];
    assert!(store.configured && !store.shared && !store.via_symlink);
    assert_eq!(store.dir, store.path.parent().unwrap());
    assert!(found.notes.is_empty());
}

#[test]
fn configured_agents_come_first_in_their_order_then_those_on_disk_by_name() {
    let config = json!({"agents": {"list": [{"id": "zoe"}, {"id": "Work Bot!"}]}});
    let found = StoresWorld::new(&config)
        .store("state/agents/zoe/sessions/sessions.json")
        .dir("state/agents/main/sessions")
        .dir("state/agents/ghost/sessions")
        .dir("state/agents/bare/agent")
        .finds(&[
            ("zoe", "state/agents/zoe/sessions/sessions.json"),
            ("work-bot", "state/agents/work-bot/sessions/sessions.json"),
            ("ghost", "state/agents/ghost/sessions/sessions.json"),
            MAIN,
        ]);
    assert_eq!(found.stores.iter().map(|store| store.configured).collect::<Vec<_>>(), [true, true, false, false]);
}

#[test]
fn a_directory_whose_name_only_means_main_is_passed_over() {
    let found =
        StoresWorld::new(&json!({})).dir("state/agents/Main/sessions").dir("state/agents/!!/sessions").finds(&[MAIN]);
    assert_eq!(found.notes.len(), 2);
    assert!(found.notes[1].contains("agents/Main"), "{:?}", found.notes);
}

#[test]
fn a_directory_is_read_under_its_own_name_and_belongs_to_the_normalized_one() {
    StoresWorld::new(&json!({}))
        .dir("state/agents/My Bot/sessions")
        .finds(&[MAIN, ("my-bot", "state/agents/My Bot/sessions/sessions.json")]);
}

#[test]
fn files_and_links_among_the_agents_are_passed_over() {
    let found = StoresWorld::new(&json!({}))
        .store("state/agents/file")
        .store("state/agents/odd/sessions")
        .dir("elsewhere/sessions")
        .link("elsewhere", "state/agents/linked")
        .finds(&[MAIN]);
    assert_eq!(found.notes.len(), 1);
    assert!(found.notes[0].contains("linked"), "{:?}", found.notes);
}

#[test]
fn a_template_gives_each_agent_its_store_and_the_usual_place_is_still_searched() {
    let config = json!({
        "session": {"store": "~/data/{agentId}/s-{agentId}.json"},
        "agents": {"list": [{"id": "a"}, {"id": "b"}]}});
    StoresWorld::new(&config).dir("state/agents/a/sessions").dir("data/c").finds(&[
        ("a", "data/a/s-a.json"),
        ("b", "data/b/s-b.json"),
        ("a", "state/agents/a/sessions/sessions.json"),
    ]);
}

#[test]
fn a_template_of_the_usual_shape_is_searched_on_disk() {
    let config = json!({"session": {"store": "~/data/agents/{agentId}/sessions/sessions.json"}});
    StoresWorld::new(&config).dir("data/agents/ghost/sessions").finds(&[
        ("main", "data/agents/main/sessions/sessions.json"),
        ("ghost", "data/agents/ghost/sessions/sessions.json"),
    ]);
}

#[test]
fn a_relative_template_is_below_the_current_directory() {
    StoresWorld::new(&json!({"session": {"store": "x/../{agentId}.json"}})).finds(&[("main", "work/main.json")]);
}

#[test]
fn without_agent_id_one_store_is_shared_and_the_default_agents() {
    let config = json!({
        "session": {"store": "~/all.json"},
        "agents": {"list": [{"id": "a"}, {"id": "b", "default": true}]}});
    let world = StoresWorld::new(&config);
    assert!(world.finds(&[("b", "all.json")]).stores[0].shared);
    assert_eq!(world.shown(&world.find(&["a"]).unwrap()), [("b".to_owned(), "all.json".to_owned())]);
}

#[test]
fn the_same_file_is_listed_once() {
    let world =
        StoresWorld::new(&json!({"agents": {"list": [{"id": "a"}]}})).store("state/agents/a/sessions/sessions.json");
    let world = world.dir("state/agents/b/sessions");
    let (a, b) = ("state/agents/a/sessions/sessions.json", "state/agents/b/sessions/sessions.json");
    fs::hard_link(world.path(a), world.path(b)).unwrap();
    let found = world.finds(&[("a", a)]);
    assert!(found.notes[0].contains("same file"), "{:?}", found.notes);
}

#[test]
fn a_link_on_the_way_is_reported() {
    let config = json!({"agents": {"list": [{"id": "dir"}, {"id": "file"}, {"id": "plain"}]}});
    let found = StoresWorld::new(&config)
        .store("elsewhere/sessions/sessions.json")
        .store("other.json")
        .dir("state/agents/file/sessions")
        .store("state/agents/plain/sessions/sessions.json")
        .link("elsewhere", "state/agents/dir")
        .link("other.json", "state/agents/file/sessions/sessions.json")
        .find(&[])
        .unwrap();
    assert_eq!(found.stores.iter().map(|store| store.via_symlink).collect::<Vec<_>>(), [true, true, false]);
}

#[test]
fn a_link_below_a_templates_root_is_reported_and_one_above_is_not() {
    let config = json!({
        "session": {"store": "~/link/{agentId}/s.json"},
        "agents": {"list": [{"id": "a"}, {"id": "b"}]}});
    let found =
        StoresWorld::new(&config).dir("data/a").link("data", "link").link("data/a", "data/b").find(&[]).unwrap();
    assert_eq!(found.stores.iter().map(|store| store.via_symlink).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn a_linked_state_directory_is_named_by_its_real_path() {
    let world = StoresWorld::new(&json!({"session": {"store": "~/alias/agents/{agentId}/sessions/sessions.json"}}));
    let world = world.store("state/agents/main/sessions/sessions.json").link("state", "alias");
    let found = stores(&world.home("alias"), &world.config, &[], None).unwrap();
    assert_eq!(world.shown(&found), [(MAIN.0.to_owned(), MAIN.1.to_owned())]);
    assert!(!found.stores[0].via_symlink && found.stores[0].configured);
}

#[test]
fn agents_can_be_chosen_by_any_spelling_and_an_unknown_one_names_the_known() {
    let world = StoresWorld::new(&json!({"agents": {"list": [{"id": "a"}, {"id": "Work Bot"}]}}))
        .dir("state/agents/ghost/sessions");
    let agents = |names: &[&str]| -> Vec<String> {
        let found = world.find(names).unwrap().stores.into_iter();
        found.filter(|store| store.selected).map(|store| store.agent).collect()
    };
    assert_eq!(agents(&["ghost", "Work Bot"]), ["work-bot", "ghost"]);
    let error = world.find(&["a", "nobody"]).unwrap_err().to_string();
    assert_eq!(error, "unknown agent 'nobody': there are a, work-bot, ghost");
}

#[test]
fn a_named_store_is_the_only_one_and_its_path_tells_the_agent() {
    let world =
        StoresWorld::new(&json!({})).store("copy/agents/Bot/sessions/sessions.json").store("work/s.json").store(MAIN.1);
    let home = world.home("state");
    let named = |file: &str| -> Vec<StoreLocation> {
        let found = stores(&home, &world.config, &[], Some(Path::new(file))).unwrap();
        found.stores.into_iter().filter(|store| store.selected).collect()
    };
    let copy = named("../copy/agents/Bot/sessions/sessions.json");
    assert_eq!((copy[0].agent.as_str(), copy.len()), ("bot", 1));
    assert_eq!(copy[0].path, world.path("copy/agents/Bot/sessions/sessions.json"));
    assert!(!copy[0].configured);
    assert_eq!(named("s.json")[0].agent, "main");
    let own = world.path(MAIN.1);
    assert!(named(own.to_str().unwrap())[0].configured);
    assert!(stores(&home, &world.config, &["main".to_owned()], Some(Path::new("s.json"))).is_err());
}
