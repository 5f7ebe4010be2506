//! Where OpenClaw's state is: the state directory, the configuration file and our policy file, looked for in the order
//! OpenClaw uses (`openclaw-format.md` §1.1, §1.2). Each finding says in a note what led to it, since a recovery that
//! edits the wrong tree is worse than none.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

use crate::config::environment::Environment;
use crate::config::policy_file::{self, PolicyFile};
use crate::disk::whole;

const STATE_DIR: &str = ".openclaw";
const LEGACY_STATE_DIRS: [&str; 3] = [".clawdbot", ".moldbot", ".moltbot"];
const CONFIG_NAMES: [&str; 4] = ["openclaw.json", "clawdbot.json", "moldbot.json", "moltbot.json"];
const STATE_DIR_VARS: [&str; 2] = ["OPENCLAW_STATE_DIR", "CLAWDBOT_STATE_DIR"];

/// What the command line says about the place.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `--state-dir`, above everything.
    pub state_dir: Option<PathBuf>,
    /// `--profile`.
    pub profile: Option<String>,
}

/// The place, as found.
#[derive(Clone, Debug)]
pub struct StateHome {
    /// The state directory as OpenClaw names it, absolute.
    pub state_dir: PathBuf,
    /// The same without symbolic links; the same when it does not exist.
    pub real_dir: PathBuf,
    /// Whether it exists.
    pub exists: bool,
    /// The user it belongs to.
    pub owner: Option<u32>,
    /// `openclaw.json`, where it is or would be.
    pub config_path: PathBuf,
    /// The profile's name, when there is one.
    pub profile: Option<String>,
    /// How each was found.
    pub notes: Vec<String>,
    /// The environment with the `.env` files and the profile applied.
    pub environment: Environment,
}

/// Finds the place. Fails when the profile's name is wrong or the state directory is none.
pub fn locate(environment: &Environment, options: &Options) -> anyhow::Result<StateHome> {
    let mut search = Search { environment: environment.clone(), options, notes: Vec::new() };
    search.apply_profile()?;
    search.read_env_file(&environment.cwd.join(".env"));
    search.read_env_file(&search.env_dir().join(".env"));
    let state_dir = search.state_dir();
    let (real_dir, owner) = real_directory(&state_dir)?;
    let exists = owner.is_some();
    let config_path = search.config_path(&state_dir);
    let Search { environment, notes, .. } = search;
    let profile = environment.var("OPENCLAW_PROFILE").map(str::to_owned);
    Ok(StateHome { state_dir, real_dir, exists, owner, config_path, profile, notes, environment })
}

/// The policy file: the one given, `<state>/claw-sessions.toml`, `$XDG_CONFIG_HOME/claw-sessions/config.toml`. Without
/// a flag only one that is there; whether it can be read shows when it is read.
pub fn policy_path(home: &StateHome, flag: Option<&Path>) -> Option<PathBuf> {
    if let Some(path) = flag {
        return Some(home.environment.absolute(path));
    }
    // A dangling link counts as there: a policy that cannot be read must be an error, not a policy ignored.
    policy_places(home).into_iter().find(|path| path.symlink_metadata().is_ok())
}

/// Where a policy file is looked for when none is given, the first one first.
pub fn policy_places(home: &StateHome) -> Vec<PathBuf> {
    let config_home = home.environment.base_dir("XDG_CONFIG_HOME", ".config");
    let in_state = home.real_dir.join("claw-sessions.toml");
    let in_config = config_home.map(|dir| dir.join("claw-sessions/config.toml"));
    [Some(in_state), in_config].into_iter().flatten().collect()
}

/// No policy is longer.
const LONGEST_POLICY: u64 = 1 << 20;

/// No `.env` is longer.
const LONGEST_ENV: u64 = 1 << 20;

/// Reads a policy file; the error says what is wrong with it.
pub fn read_policy(path: &Path) -> Result<PolicyFile, String> {
    let unreadable = |error: &dyn std::fmt::Display| format!("cannot read the policy file: {error}");
    let bytes = whole::read(path, LONGEST_POLICY).map_err(|error| unreadable(&error))?;
    policy_file::parse(&String::from_utf8(bytes).map_err(|error| unreadable(&error))?)
}

/// Other state directories below the home directory, by name: of a profile, or of an older release.
pub fn others(home: &StateHome) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(home.environment.home_dir()) else { return Vec::new() };
    let of_a_profile = |name: &str| name.strip_prefix(STATE_DIR).is_some_and(|rest| rest.starts_with('-'));
    let named = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name == STATE_DIR || LEGACY_STATE_DIRS.contains(&name) || of_a_profile(name)
    };
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    let mut found: Vec<PathBuf> =
        paths.filter(|path| *path != home.state_dir && named(path) && path.is_dir()).collect();
    found.sort();
    found
}

/// A state directory inside this one, when somebody named the directory above it.
pub fn inside(dir: &Path) -> Option<PathBuf> {
    Some(dir.join(STATE_DIR)).filter(|path| path.is_dir())
}

struct Search<'a> {
    environment: Environment,
    options: &'a Options,
    notes: Vec<String>,
}

impl Search<'_> {
    /// `--profile` fills in what is unset, as OpenClaw's own flag does. `OPENCLAW_PROFILE` alone names a profile but
    /// moves nothing: OpenClaw reads it for the names of services only.
    fn apply_profile(&mut self) -> anyhow::Result<()> {
        let Some(profile) = self.options.profile.as_deref().map(str::trim) else {
            return Ok(());
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        ensure!(
            !profile.is_empty() && profile.chars().all(plain),
            "--profile '{profile}': use letters, digits, '_' and '-' only"
        );
        let suffix = if profile.eq_ignore_ascii_case("default") { String::new() } else { format!("-{profile}") };
        self.environment.vars.insert("OPENCLAW_PROFILE".to_owned(), profile.to_owned());
        if self.options.state_dir.is_none() {
            let own_dir = self.environment.home_dir().join(format!("{STATE_DIR}{suffix}"));
            self.profile_sets(profile, "OPENCLAW_STATE_DIR", &own_dir);
            let dir = self.environment.var("OPENCLAW_STATE_DIR").map(|dir| self.environment.resolve(dir));
            let config = dir.unwrap_or(own_dir).join(CONFIG_NAMES[0]);
            self.profile_sets(profile, "OPENCLAW_CONFIG_PATH", &config);
        }
        if profile == "dev" {
            self.profile_sets(profile, "OPENCLAW_GATEWAY_PORT", Path::new("19001"));
        }
        Ok(())
    }

    fn profile_sets(&mut self, profile: &str, name: &str, value: &Path) {
        if self.environment.var(name).is_some() {
            self.notes.push(format!("{name} is set and stronger than --profile {profile}"));
        } else {
            self.notes.push(format!("{name} is set by --profile {profile}"));
            self.environment.vars.insert(name.to_owned(), value.to_string_lossy().into_owned());
        }
    }

    /// The state directory that a flag or a variable names, and which.
    fn chosen_state_dir(&self) -> Option<(PathBuf, &'static str)> {
        if let Some(dir) = &self.options.state_dir {
            let dir = dir.to_str().map_or_else(|| self.environment.absolute(dir), |dir| self.environment.resolve(dir));
            return Some((dir, "--state-dir"));
        }
        STATE_DIR_VARS.into_iter().find_map(|name| Some((self.environment.resolve(self.environment.var(name)?), name)))
    }

    /// Where the second `.env` is; legacy directories are not looked at for it.
    fn env_dir(&self) -> PathBuf {
        self.chosen_state_dir().map_or_else(|| self.environment.home_dir().join(STATE_DIR), |(dir, _)| dir)
    }

    /// Adds the variables of a `.env` file that are not set yet, not even to nothing.
    fn read_env_file(&mut self, path: &Path) {
        match whole::read(path, LONGEST_ENV) {
            Ok(bytes) => self.add_variables(path, &bytes),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => self.notes.push(format!("{}: {error}", path.display())),
        }
    }

    fn add_variables(&mut self, path: &Path, bytes: &[u8]) {
        for pair in dotenvy::Iter::new(bytes) {
            match pair {
                Ok((name, value)) => {
                    if self.environment.vars.contains_key(&name) {
                        continue;
                    }
                    if name.starts_with("OPENCLAW_") || name.starts_with("CLAWDBOT_") {
                        self.notes.push(format!("{name} is set by {}", path.display()));
                    }
                    self.environment.vars.insert(name, value);
                }
                // The error itself quotes the line, which may hold a secret.
                Err(_) => self.notes.push(format!("{}: a line was not understood and is left out", path.display())),
            }
        }
    }

    fn state_dir(&mut self) -> PathBuf {
        let (dir, source) = self.chosen_state_dir().unwrap_or_else(|| self.default_state_dir());
        self.notes.push(format!("state directory {} from {source}", dir.display()));
        dir
    }

    fn default_state_dir(&self) -> (PathBuf, &'static str) {
        let home = self.environment.home_dir();
        let current = home.join(STATE_DIR);
        let fast = self.environment.var("OPENCLAW_TEST_FAST") == Some("1");
        let legacy = LEGACY_STATE_DIRS.iter().map(|name| home.join(name)).find(|dir| dir.exists());
        match legacy {
            Some(dir) if !fast && !current.exists() => (dir, "a legacy name below the home directory"),
            _ => (current, "the home directory"),
        }
    }

    fn config_path(&mut self, state_dir: &Path) -> PathBuf {
        let (path, source) = match self.environment.var("OPENCLAW_CONFIG_PATH") {
            Some(path) => (self.environment.resolve(path), "OPENCLAW_CONFIG_PATH"),
            None => self.default_config_path(state_dir),
        };
        self.notes.push(format!("configuration {} from {source}", path.display()));
        path
    }

    fn default_config_path(&self, state_dir: &Path) -> (PathBuf, &'static str) {
        let in_dir = |dir: &Path| CONFIG_NAMES.iter().map(|name| dir.join(name)).find(|path| path.exists());
        if let Some(path) = in_dir(state_dir) {
            return (path, "the state directory");
        }
        if self.chosen_state_dir().is_none() {
            let home = self.environment.home_dir();
            let dirs = std::iter::once(STATE_DIR).chain(LEGACY_STATE_DIRS);
            if let Some(path) = dirs.map(|name| home.join(name)).find_map(|dir| in_dir(&dir)) {
                return (path, "another default directory");
            }
        }
        (state_dir.join(CONFIG_NAMES[0]), "the state directory, where none is")
    }
}

/// The directory without symbolic links, and its owner when it exists.
fn real_directory(dir: &Path) -> anyhow::Result<(PathBuf, Option<u32>)> {
    match dir.canonicalize().and_then(|real| Ok((real.metadata()?, real))) {
        Ok((meta, real)) if meta.is_dir() => Ok((real, Some(meta.uid()))),
        Ok(_) => bail!("the state directory {} is not a directory", dir.display()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok((dir.to_owned(), None)),
        Err(error) => Err(error).with_context(|| format!("cannot open the state directory {}", dir.display())),
    }
}

#[cfg(test)]
mod tests;
