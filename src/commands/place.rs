//! Where everything is: the state directory and the policy file, and what a person can do when they are not there.

use std::path::{Path, PathBuf};

use super::{Failure, Session};
use crate::config::policy_file::PolicyFile;
use crate::openclaw::home::{self, StateHome};

/// What to do when files belong to somebody else.
pub(super) const OWNER: &str =
    "run claw-sessions as the user that OpenClaw runs as (sudo -u USER claw-sessions …), or mend the permissions";

/// The state directory; the error says where else it may be.
pub(super) fn home(session: &Session) -> Result<StateHome, Failure> {
    let global = &session.cli.global;
    let options = home::Options { state_dir: global.state_dir.clone(), profile: global.profile.clone() };
    let home = home::locate(&session.environment, &options).map_err(Failure::usage_or_io)?;
    if home.exists {
        return Ok(home);
    }
    let error = anyhow::anyhow!("there is no state directory {}", home.state_dir.display());
    Err(Failure::usage(error).hint(elsewhere(session, &home)))
}

/// Where the state directory may be instead.
fn elsewhere(session: &Session, home: &StateHome) -> String {
    let name_it = "name OpenClaw's state directory with --state-dir DIR or --profile NAME";
    let others: Vec<String> = home::others(home).iter().map(|dir| dir.display().to_string()).collect();
    if !others.is_empty() {
        return format!("there is {}; {name_it}", others.join(", "));
    }
    if session.cli.global.state_dir.is_some() {
        return format!("{name_it}; without either it is looked for as OpenClaw does");
    }
    match session.environment.var("SUDO_USER") {
        Some(user) => format!("OpenClaw may run as {user}: sudo -u {user} claw-sessions …; or {name_it}"),
        None => format!("OpenClaw has not run as this user yet, or runs as another one; {name_it}"),
    }
}

/// The policy file as found, or what is wrong with it.
pub(super) struct FoundPolicy {
    /// The file that counts; `None` when there is none.
    pub(super) path: Option<PathBuf>,
    /// What it sets.
    pub(super) file: Result<Option<PolicyFile>, String>,
}

/// Looks for the policy file and reads it.
pub(super) fn policy(home: &StateHome, named: Option<&Path>) -> FoundPolicy {
    let path = home::policy_path(home, named);
    let file = path.as_deref().map(home::read_policy).transpose();
    FoundPolicy { path, file }
}

impl FoundPolicy {
    /// What it sets; a wrong one ends every command.
    pub(super) fn or_fail(self) -> Result<Option<PolicyFile>, Failure> {
        let path = self.path.unwrap_or_default();
        self.file.map_err(|problem| {
            Failure::usage(anyhow::anyhow!("{}: {problem}", path.display()))
                .hint("nothing was done; `claw-sessions config check` reads the file again once it is mended")
        })
    }
}
