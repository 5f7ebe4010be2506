//! Signs that sessions live in SQLite (`openclaw-format.md` §8, §14): then the store file is not the truth, and nothing
//! may be taken out of it.

use std::io::Read;
use std::path::Path;

/// The first schema version of an agent database that holds sessions.
const FIRST_WITH_SESSIONS: u32 = 4;

/// What says that this agent's sessions moved to SQLite, in words.
pub fn sign_of_migration(state_dir: &Path, agent: &str) -> Option<String> {
    let agent_dir = state_dir.join("agents").join(agent);
    let archive = agent_dir.join("session-sqlite-import-archive");
    if fs_err::symlink_metadata(&archive).is_ok() {
        return Some(format!("{} exists: its sessions were imported into SQLite", archive.display()));
    }
    let database = agent_dir.join("agent").join("openclaw-agent.sqlite");
    let version = user_version(&database)?;
    (version >= FIRST_WITH_SESSIONS)
        .then(|| format!("{} has schema {version}: sessions live there", database.display()))
}

/// `PRAGMA user_version`, from the file's header. A newer one may still be in the write-ahead log.
fn user_version(database: &Path) -> Option<u32> {
    let mut header = [0_u8; 100];
    fs_err::File::open(database).ok()?.read_exact(&mut header).ok()?;
    let version = <[u8; 4]>::try_from(header.get(60..64)?).ok()?;
    header.starts_with(b"SQLite format 3\0").then(|| u32::from_be_bytes(version))
}
