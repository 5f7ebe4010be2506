//! Which session stores there are: those of the agents configured and those of the agents found on disk
//! (`openclaw-format.md` §1.3).

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use anyhow::ensure;

use crate::config::openclaw::OpenclawConfig;
use crate::model::key::normalize_agent_id;
use crate::openclaw::home::StateHome;
use crate::openclaw::rows::place;

const AGENT_ID: &str = "{agentId}";
const STORE: &str = "sessions.json";

/// One store, whether or not its file exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreLocation {
    /// The agent it belongs to; the default agent when shared.
    pub agent: String,
    /// The store file.
    pub path: PathBuf,
    /// Its directory, where the transcripts are.
    pub dir: PathBuf,
    /// Whether it holds every agent's keys (`session.store` without `{agentId}`).
    pub shared: bool,
    /// Whether the configuration leads to it.
    pub configured: bool,
    /// Whether a symbolic link lies on the way from the state directory, or the file is one.
    pub via_symlink: bool,
    /// Whether it is one of those asked for. The others are read too: they may refer to the same files.
    pub selected: bool,
}

/// The stores, configured ones first in the configuration's order, then those on disk by name.
#[derive(Clone, Debug, Default)]
pub struct Discovery {
    /// Each store once.
    pub stores: Vec<StoreLocation>,
    /// What was passed over, and why.
    pub notes: Vec<String>,
    /// What could not be looked into, and why: there may be stores in it.
    pub unseen: Vec<(PathBuf, String)>,
}

/// Finds all stores, and selects those of `agents`, or the one of `store_file`, or all.
pub fn stores(
    home: &StateHome,
    config: &OpenclawConfig,
    agents: &[String],
    store_file: Option<&Path>,
) -> anyhow::Result<Discovery> {
    let mut found = Discovery::default();
    let configured = configured(home, config);
    let roots = agents_roots(home, &configured);
    found.stores = configured;
    for root in roots {
        on_disk(home, &root, &mut found);
    }
    if let Some(file) = store_file {
        ensure!(agents.is_empty(), "--store names one store: leave --agent out");
        let named = named(home, config, file);
        ensure!(named.dir.is_dir(), "there is no directory {} for a store to be in", named.dir.display());
        found.stores.iter_mut().for_each(|store| store.selected = is_same_file(&store.path, &named.path));
        found.stores.push(named);
    }
    drop_repeated(&mut found);
    if !agents.is_empty() {
        select(&mut found, config, agents)?;
    }
    Ok(found)
}

fn configured(home: &StateHome, config: &OpenclawConfig) -> Vec<StoreLocation> {
    let location = |agent: &str, path: &Path, root: &Path, shared| StoreLocation {
        shared,
        configured: true,
        ..locate(home, agent, path, root)
    };
    let agents = config.agent_ids();
    let Some(template) = config.store.as_deref() else {
        let path = |agent: &str| home.real_dir.join("agents").join(agent).join("sessions").join(STORE);
        return agents.iter().map(|agent| location(agent, &path(agent), &home.real_dir, false)).collect();
    };
    if !template.contains(AGENT_ID) {
        let path = home.environment.resolve(template);
        return vec![location(config.default_agent(), &path, parent(&path), true)];
    }
    let root = template_root(&home.environment.resolve(template));
    let path = |agent: &str| home.environment.resolve(&template.replace(AGENT_ID, agent));
    agents.iter().map(|agent| location(agent, &path(agent), &root, false)).collect()
}

/// The directories above the first one that `{agentId}` is part of.
fn template_root(template: &Path) -> PathBuf {
    template.components().take_while(|part| !part.as_os_str().to_string_lossy().contains(AGENT_ID)).collect()
}

/// The directories to look for agents in: that of the state directory, and where a configured store has the usual
/// shape `…/agents/<id>/sessions/sessions.json`.
fn agents_roots(home: &StateHome, configured: &[StoreLocation]) -> Vec<PathBuf> {
    let mut roots = vec![home.real_dir.join("agents")];
    for store in configured {
        let shape = usual_shape(&store.path).filter(|_| store.path.ends_with(STORE));
        roots.extend(shape.map(|(agents, _)| agents).filter(|agents| !roots.contains(agents)));
    }
    roots
}

/// `…/agents` and `<id>` of `…/agents/<id>/sessions/<file>`.
fn usual_shape(path: &Path) -> Option<(PathBuf, &OsStr)> {
    let sessions = path.parent().filter(|dir| dir.ends_with("sessions"))?;
    let agent = sessions.parent()?;
    let agents = agent.parent().filter(|dir| dir.ends_with("agents"))?;
    Some((agents.to_owned(), agent.file_name()?))
}

fn on_disk(home: &StateHome, root: &Path, found: &mut Discovery) {
    let mut names = match directory_names(root, &mut found.notes) {
        Ok(names) => names,
        Err(error) if error.kind() == ErrorKind::NotFound => return,
        Err(error) => return found.unseen.push((root.to_owned(), format!("{}: {error}", root.display()))),
    };
    names.sort();
    for name in names {
        let store = agent_on_disk(home, root, &name, found);
        found.stores.extend(store);
    }
}

fn directory_names(root: &Path, notes: &mut Vec<String>) -> io::Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    for entry in root.read_dir()? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            names.push(PathBuf::from(entry.file_name()));
        } else if kind.is_symlink() && entry.path().is_dir() {
            notes.push(format!("{}: a symbolic link, passed over as OpenClaw does", entry.path().display()));
        }
    }
    Ok(names)
}

fn agent_on_disk(home: &StateHome, root: &Path, name: &Path, found: &mut Discovery) -> Option<StoreLocation> {
    let dir = root.join(name).join("sessions");
    match dir.metadata() {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return None,
        Err(error) => {
            // An agent that never had a file: its sessions were in SQLite from the first.
            let in_rows = error.kind() == ErrorKind::NotFound && place::is_home_of(&home.real_dir, &root.join(name));
            if in_rows {
                return Some(locate(home, &normalize_agent_id(&name.to_string_lossy()), &dir.join(STORE), root));
            }
            if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) {
                let why = format!("{}: {error}", dir.display());
                found.unseen.push((dir, why));
            }
            return None;
        }
    }
    let agent = normalize_agent_id(&name.to_string_lossy());
    if agent == "main" && name != Path::new("main") {
        // OpenClaw would take it for the main agent's, whose store is elsewhere.
        found.notes.push(format!("{}: its name means main, passed over as OpenClaw does", root.join(name).display()));
        return None;
    }
    Some(locate(home, &agent, &dir.join(STORE), root))
}

/// The store of `--store`; its agent is the one in its path.
fn named(home: &StateHome, config: &OpenclawConfig, file: &Path) -> StoreLocation {
    let path = home.environment.absolute(file);
    let shape = usual_shape(&path);
    let agent = shape.as_ref().map_or("main".to_owned(), |(_, id)| normalize_agent_id(&id.to_string_lossy()));
    let root = shape.as_ref().map_or(parent(&path), |(agents, _)| agents);
    let store = locate(home, &agent, &path, root);
    configured(home, config).into_iter().find(|known| known.path == store.path).unwrap_or(store)
}

/// A store at `path`. What lies in the state directory is named from its real path, so that a linked state directory
/// is resolved once; every link below it, or below `root` elsewhere, is one that someone put there.
fn locate(home: &StateHome, agent: &str, path: &Path, root: &Path) -> StoreLocation {
    let (path, root) = match path.strip_prefix(&home.state_dir).or_else(|_| path.strip_prefix(&home.real_dir)) {
        Ok(inner) => (home.real_dir.join(inner), home.real_dir.as_path()),
        Err(_) => (path.to_owned(), root),
    };
    let via_symlink = has_symlink(root, &path);
    let dir = parent(&path).to_owned();
    StoreLocation { agent: agent.to_owned(), path, dir, shared: false, configured: false, via_symlink, selected: true }
}

/// Returns whether a component of `path` below `root` is a symbolic link.
fn has_symlink(root: &Path, path: &Path) -> bool {
    let Ok(inner) = path.strip_prefix(root) else { return false };
    let mut at = root.to_owned();
    inner.components().filter(|part| matches!(part, Component::Normal(_))).any(|part| {
        at.push(part);
        at.is_symlink()
    })
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    let id = |path: &Path| path.metadata().map(|metadata| (metadata.dev(), metadata.ino())).ok();
    one == other || id(one).is_some_and(|one| Some(one) == id(other))
}

/// Keeps the first of the stores that are the same file.
fn drop_repeated(found: &mut Discovery) {
    let mut seen_paths = HashSet::new();
    let mut seen_files = HashSet::new();
    let notes = &mut found.notes;
    found.stores.retain(|store| {
        if !seen_paths.insert(store.path.clone()) {
            return false;
        }
        let Ok(metadata) = store.path.metadata() else { return true };
        let first = seen_files.insert((metadata.dev(), metadata.ino()));
        if !first {
            notes.push(format!("{}: the same file as another store", store.path.display()));
        }
        first
    });
}

/// Selects the stores of the agents asked for. A shared store holds the keys of every configured agent.
fn select(found: &mut Discovery, config: &OpenclawConfig, agents: &[String]) -> anyhow::Result<()> {
    let mut known = config.agent_ids();
    for store in &found.stores {
        if !known.contains(&store.agent) {
            known.push(store.agent.clone());
        }
    }
    let wanted: Vec<String> = agents.iter().map(|agent| normalize_agent_id(agent)).collect();
    for (id, typed) in wanted.iter().zip(agents) {
        ensure!(known.contains(id), "unknown agent '{typed}': there are {}", known.join(", "));
    }
    let configured = config.agent_ids();
    let in_shared = wanted.iter().any(|id| configured.contains(id));
    for store in &mut found.stores {
        store.selected = wanted.contains(&store.agent) || (store.shared && in_shared);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
