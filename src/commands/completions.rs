//! `completions` and `man`: made from the command line's own definition.

use std::path::Path;

use clap::CommandFactory;

use super::{Exit, Failure, Session};
use crate::cli::Cli;

/// Prints a completion script.
pub(super) fn run(session: &Session, shell: clap_complete::Shell) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "claw-sessions", &mut script);
    session.print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}

/// Writes one man page for each verb.
pub(super) fn man(dir: &Path) -> Result<Exit, Failure> {
    let write = || -> std::io::Result<()> {
        fs_err::create_dir_all(dir)?;
        clap_mangen::generate_to(Cli::command(), dir)
    };
    write().map_err(|error| Failure::from(anyhow::Error::from(error)))?;
    Ok(Exit::Done)
}
