//! `completions` and `man`: made from the command line's own definition.

use std::path::Path;

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use super::{Exit, Failure, Session};
use crate::cli::Cli;
use crate::disk::document;

/// Prints a completion script.
pub(super) fn run(session: &Session, shell: clap_complete::Shell) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "claw-sessions", &mut script);
    session.print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}

/// Writes one man page for each verb; a link in the place of one is not followed.
pub(super) fn man(dir: &Path) -> Result<Exit, Failure> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    fs_err::create_dir_all(dir).map_err(anyhow::Error::from)?;
    pages(&command, dir)?;
    Ok(Exit::Done)
}

fn pages(command: &Command, dir: &Path) -> anyhow::Result<()> {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        pages(below, dir)?;
    }
    let page = Man::new(command.clone());
    let mut text = Vec::new();
    page.render(&mut text)?;
    document::replace(&dir.join(page.get_filename()), &text, 0o644)
}
