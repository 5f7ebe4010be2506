//! Places: the directories in which OpenClaw keeps sessions, as this process found them. A path of a document that
//! somebody may have written is believed only inside them.

use std::path::{Component, Path, PathBuf};

/// The name of claw-sessions' own directory in a state directory.
pub const OWN: &str = "claw-sessions";

/// The name of an agent's database.
pub const DATABASE: &str = "openclaw-agent.sqlite";

/// Where sessions may be.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// The state directory, links resolved.
    pub state_dir: PathBuf,
    /// Every store that was found, whether or not its file exists.
    pub stores: Vec<PathBuf>,
}

impl Places {
    /// Returns whether a path is that of a store.
    pub fn is_store(&self, path: &Path) -> bool {
        let usual = || path.file_name().is_some_and(|name| name == "sessions.json") && self.is_usual(path.parent());
        is_plain(path) && (self.stores.iter().any(|store| store == path) || usual())
    }

    /// Returns whether a path is that of a file in a sessions directory which is no store.
    pub fn is_file(&self, path: &Path) -> bool {
        let inside = |dir: &Path| path.strip_prefix(dir).is_ok_and(|below| !below.as_os_str().is_empty());
        let known = || self.stores.iter().filter_map(|store| store.parent()).any(inside);
        let usual = || path.ancestors().skip(1).any(|dir| self.is_usual(Some(dir)));
        is_plain(path) && !path.starts_with(self.state_dir.join(OWN)) && !self.is_store(path) && (known() || usual())
    }

    /// Returns whether a path is that of a database in which the sessions of a store may live.
    pub fn is_database(&self, path: &Path, store: &Path) -> bool {
        let name = Path::new("agent").join(DATABASE);
        let of_agent = |dir: &Path| path.strip_prefix(dir).is_ok_and(|below| below == name);
        let below = path.strip_prefix(self.state_dir.join("agents")).ok();
        let usual = below.is_some_and(|below| below.components().count() == 3 && below.ends_with(&name));
        let beside = || {
            let stem = store.file_stem().map(std::ffi::OsStr::as_encoded_bytes);
            let own = path.file_stem().map(std::ffi::OsStr::as_encoded_bytes);
            let same = stem.zip(own).is_some_and(|(stem, own)| own.starts_with(stem));
            same && path.parent() == store.parent() && path.extension().is_some_and(|extension| extension == "sqlite")
        };
        is_plain(path) && (usual || store.parent().and_then(Path::parent).is_some_and(of_agent) || beside())
    }

    /// Returns whether a directory is `agents/<id>/sessions` of the state directory. It may be gone since.
    fn is_usual(&self, dir: Option<&Path>) -> bool {
        let below = dir.and_then(|dir| dir.strip_prefix(self.state_dir.join("agents")).ok());
        below.is_some_and(|below| below.components().count() == 2 && below.ends_with("sessions"))
    }
}

/// Returns whether a path is absolute and goes only down.
fn is_plain(path: &Path) -> bool {
    let mut parts = path.components();
    parts.next() == Some(Component::RootDir) && parts.all(|part| matches!(part, Component::Normal(_)))
}

/// Returns whether a path goes only down from where it begins.
pub fn is_below(path: &Path) -> bool {
    path.components().count() > 0 && path.components().all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_in_a_sessions_directory_is_a_file_of_openclaw() {
        let places = Places { state_dir: "/s".into(), stores: vec!["/data/x/sessions.json".into()] };
        let is_file = |path: &str| places.is_file(Path::new(path));
        assert!(is_file("/s/agents/main/sessions/a.jsonl"));
        assert!(is_file("/s/agents/gone/sessions/sub/a.jsonl"));
        assert!(is_file("/data/x/a.jsonl"));
        for path in [
            "/s/openclaw.json",
            "/s/agents/main/agent/auth.json",
            "/s/agents/main/sessions",
            "/s/agents/main/sessions/sessions.json",
            "/s/agents/main/sessions/../../x",
            "/s/claw-sessions/runs/x",
            "/data/x/sessions.json",
            "/etc/passwd",
            "a.jsonl",
        ] {
            assert!(!is_file(path), "{path}");
        }
        assert!(places.is_store(Path::new("/data/x/sessions.json")));
        assert!(places.is_store(Path::new("/s/agents/main/sessions/sessions.json")));
        assert!(!places.is_store(Path::new("/s/agents/main/sessions/x/../sessions.json")));
        assert!(!places.is_store(Path::new("/etc/sessions.json")));
        let is_database = |path: &str, store: &str| places.is_database(Path::new(path), Path::new(store));
        assert!(is_database("/s/agents/main/agent/openclaw-agent.sqlite", "/s/agents/main/sessions/sessions.json"));
        assert!(is_database("/data/x/sessions.sqlite", "/data/x/sessions.json"));
        assert!(!is_database("/s/agents/main/agent/x/openclaw-agent.sqlite", "/s/agents/main/sessions/sessions.json"));
        assert!(!is_database("/s/state/openclaw.sqlite", "/s/agents/main/sessions/sessions.json"));
    }
}
