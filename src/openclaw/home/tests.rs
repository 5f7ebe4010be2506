#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

/// A home directory, `work` in it as the current one, and what to set.
struct HomeWorld {
    root: TempDir,
    vars: Vec<(&'static str, String)>,
    options: Options,
}

impl HomeWorld {
    fn new() -> Self {
        let root = TempDir::new().unwrap();
        fs::create_dir(root.path().join("work")).unwrap();
        Self { root, vars: Vec::new(), options: Options::default() }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().canonicalize().unwrap().join(path)
    }

    fn write(self, path: &str, text: &str) -> Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn dir(self, path: &str) -> Self {
        fs::create_dir_all(self.path(path)).unwrap();
        self
    }

    fn var(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.vars.push((name, value.into()));
        self
    }

    fn profile(mut self, name: &str) -> Self {
        self.options.profile = Some(name.to_owned());
        self
    }

    fn state_dir(mut self, path: &str) -> Self {
        self.options.state_dir = Some(path.into());
        self
    }

    fn try_locate(&self) -> anyhow::Result<StateHome> {
        let vars = [("HOME", self.path("").display().to_string())].into_iter().chain(self.vars.clone());
        let vars = vars.map(|(name, value)| (name.to_owned(), value)).collect();
        let environment = Environment { vars, cwd: self.path("work"), uid: 0, os_home: None };
        locate(&environment, &self.options)
    }

    #[track_caller]
    fn finds(&self, state_dir: &str, config: &str) -> StateHome {
        let home = self.try_locate().unwrap();
        assert_eq!((&home.state_dir, &home.config_path), (&self.path(state_dir), &self.path(config)));
        home
    }
}

#[test]
fn without_anything_it_is_openclaw_below_home_though_it_does_not_exist() {
    let home = HomeWorld::new().finds(".openclaw", ".openclaw/openclaw.json");
    assert!(!home.exists && home.real_dir == home.state_dir && home.profile.is_none());
    assert_eq!(home.notes.len(), 2);
}

#[test]
fn openclaw_home_moves_the_home() {
    HomeWorld::new().var("OPENCLAW_HOME", "~/oc").finds("oc/.openclaw", "oc/.openclaw/openclaw.json");
}

#[test]
fn a_variable_names_the_state_directory_and_the_newer_name_wins() {
    HomeWorld::new().var("OPENCLAW_STATE_DIR", "~/s").finds("s", "s/openclaw.json");
    HomeWorld::new().var("CLAWDBOT_STATE_DIR", "s").finds("work/s", "work/s/openclaw.json");
    HomeWorld::new()
        .var("OPENCLAW_STATE_DIR", "a")
        .var("CLAWDBOT_STATE_DIR", "b")
        .finds("work/a", "work/a/openclaw.json");
}

#[test]
fn the_state_dir_option_wins_over_every_variable() {
    HomeWorld::new().state_dir("s").var("OPENCLAW_STATE_DIR", "/x").finds("work/s", "work/s/openclaw.json");
    HomeWorld::new().state_dir("~/s").profile("p").finds("s", "s/openclaw.json");
    let config = HomeWorld::new().state_dir("s").var("OPENCLAW_CONFIG_PATH", "~/c.json");
    config.finds("work/s", "c.json");
}

#[test]
fn legacy_directories_count_in_order_when_the_current_one_is_missing() {
    HomeWorld::new().dir(".moltbot").dir(".moldbot").finds(".moldbot", ".moldbot/openclaw.json");
    HomeWorld::new().dir(".moltbot").dir(".clawdbot").finds(".clawdbot", ".clawdbot/openclaw.json");
    HomeWorld::new().dir(".clawdbot").dir(".openclaw").finds(".openclaw", ".openclaw/openclaw.json");
}

#[test]
fn test_fast_skips_legacy_directories() {
    HomeWorld::new().dir(".clawdbot").var("OPENCLAW_TEST_FAST", "1").finds(".openclaw", ".openclaw/openclaw.json");
}

#[test]
fn a_profile_has_its_own_directory_and_configuration() {
    let home = HomeWorld::new().profile("work").finds(".openclaw-work", ".openclaw-work/openclaw.json");
    assert_eq!(home.profile.as_deref(), Some("work"));
    assert_eq!(home.environment.var("OPENCLAW_GATEWAY_PORT"), None);
}

#[test]
fn the_default_profile_has_no_suffix_and_dev_has_a_port() {
    HomeWorld::new().profile("Default").dir(".clawdbot").finds(".openclaw", ".openclaw/openclaw.json");
    let dev = HomeWorld::new().profile("dev").finds(".openclaw-dev", ".openclaw-dev/openclaw.json");
    assert_eq!(dev.environment.var("OPENCLAW_GATEWAY_PORT"), Some("19001"));
}

#[test]
fn a_profile_moves_nothing_that_a_variable_fixes() {
    let home = HomeWorld::new().profile("work").var("OPENCLAW_STATE_DIR", "~/s").finds("s", "s/openclaw.json");
    assert!(
        home.notes.iter().any(|note| note.starts_with("OPENCLAW_STATE_DIR is set and stronger")),
        "{:?}",
        home.notes
    );
}

#[test]
fn a_profile_is_stronger_than_the_legacy_variable() {
    let world = HomeWorld::new().profile("p").var("CLAWDBOT_STATE_DIR", "/x");
    world.finds(".openclaw-p", ".openclaw-p/openclaw.json");
}

#[test]
fn a_profile_in_the_environment_moves_nothing() {
    let home = HomeWorld::new().var("OPENCLAW_PROFILE", "work").finds(".openclaw", ".openclaw/openclaw.json");
    assert_eq!(home.profile.as_deref(), Some("work"));
}

#[test]
fn a_wrong_profile_name_is_refused() {
    for name in ["", " ", "a/b", "..", "a b", "é"] {
        let error = HomeWorld::new().profile(name).try_locate().unwrap_err().to_string();
        assert!(error.contains("--profile"), "{error}");
    }
}

#[test]
fn env_files_are_read_from_the_current_then_the_state_directory_and_override_nothing() {
    let home = HomeWorld::new()
        .var("C", "")
        .write("work/.env", "A=cwd\nOPENCLAW_STATE_DIR=~/s\n")
        .write("s/.env", "A=state\nB=state\nC=state\nOPENCLAW_STATE_DIR=/x\n")
        .finds("s", "s/openclaw.json");
    let var = |name| home.environment.vars.get(name).map(String::as_str);
    assert_eq!((var("A"), var("B"), var("C")), (Some("cwd"), Some("state"), Some("")));
    let note = format!("OPENCLAW_STATE_DIR is set by {}", home.environment.cwd.join(".env").display());
    assert_eq!(home.notes[0], note);
}

#[test]
fn an_env_file_cannot_redirect_a_profile_or_the_option() {
    HomeWorld::new()
        .profile("p")
        .write("work/.env", "OPENCLAW_STATE_DIR=/x\n")
        .finds(".openclaw-p", ".openclaw-p/openclaw.json");
    HomeWorld::new()
        .state_dir("s")
        .write("work/.env", "OPENCLAW_STATE_DIR=/x\n")
        .finds("work/s", "work/s/openclaw.json");
}

#[test]
fn a_broken_env_file_is_a_note_without_its_text_and_its_good_lines_count() {
    let home = HomeWorld::new().write(".openclaw/.env", "A=1\nsecret value\nB=2\n").try_locate().unwrap();
    assert_eq!((home.environment.var("A"), home.environment.var("B")), (Some("1"), Some("2")));
    assert!(home.notes[0].contains("not understood") && !home.notes[0].contains("secret"), "{:?}", home.notes);
    let folder = HomeWorld::new().dir("work/.env").try_locate().unwrap();
    assert!(folder.notes[0].contains("not a file"), "{:?}", folder.notes);
}

#[test]
fn the_configuration_has_four_names_in_the_state_directory() {
    let world = HomeWorld::new().write(".openclaw/moltbot.json", "").write(".openclaw/clawdbot.json", "");
    world.finds(".openclaw", ".openclaw/clawdbot.json");
    world.write(".openclaw/openclaw.json", "").finds(".openclaw", ".openclaw/openclaw.json");
}

#[test]
fn the_configuration_may_be_in_another_default_directory_unless_the_state_directory_is_named() {
    let world = HomeWorld::new().dir(".openclaw").write(".moldbot/clawdbot.json", "");
    let world = world.write(".moltbot/openclaw.json", "");
    world.finds(".openclaw", ".moldbot/clawdbot.json");
    world.var("OPENCLAW_STATE_DIR", "~/.openclaw").finds(".openclaw", ".openclaw/openclaw.json");
}

#[test]
fn the_configuration_path_can_be_named() {
    HomeWorld::new()
        .var("OPENCLAW_CONFIG_PATH", "c.json")
        .write(".openclaw/openclaw.json", "")
        .finds(".openclaw", "work/c.json");
}

#[test]
fn a_linked_state_directory_is_resolved_once() {
    let world = HomeWorld::new().dir("real");
    symlink(world.path("real"), world.path(".openclaw")).unwrap();
    let home = world.finds(".openclaw", ".openclaw/openclaw.json");
    assert!(home.exists);
    assert_eq!(home.real_dir, world.path("real"));
}

#[test]
fn a_state_directory_that_is_a_file_is_an_error() {
    let error = HomeWorld::new().write(".openclaw", "").try_locate().unwrap_err().to_string();
    assert!(error.contains("is not a directory"), "{error}");
}

#[test]
fn the_policy_is_the_one_given_then_the_states_then_the_users() {
    let world = HomeWorld::new().dir(".openclaw").write(".config/claw-sessions/config.toml", "");
    let home = world.try_locate().unwrap();
    assert_eq!(policy_path(&home, Some(Path::new("p.toml"))), Some(world.path("work/p.toml")));
    assert_eq!(policy_path(&home, None), Some(world.path(".config/claw-sessions/config.toml")));
    let world = world.write(".openclaw/claw-sessions.toml", "");
    assert_eq!(policy_path(&home, None), Some(world.path(".openclaw/claw-sessions.toml")));
}

#[test]
fn the_users_policy_follows_xdg_and_none_is_none() {
    let world = HomeWorld::new().write("xdg/claw-sessions/config.toml", "");
    assert_eq!(policy_path(&world.try_locate().unwrap(), None), None);
    let xdg = world.path("xdg").display().to_string();
    let world = world.var("XDG_CONFIG_HOME", xdg);
    let expected = world.path("xdg/claw-sessions/config.toml");
    assert_eq!(policy_path(&world.try_locate().unwrap(), None), Some(expected));
}

#[test]
fn a_dangling_policy_is_not_passed_over() {
    let world = HomeWorld::new().dir(".openclaw");
    symlink("/nowhere", world.path(".openclaw/claw-sessions.toml")).unwrap();
    let expected = world.path(".openclaw/claw-sessions.toml");
    assert_eq!(policy_path(&world.try_locate().unwrap(), None), Some(expected));
}
