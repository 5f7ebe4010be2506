//! Options of the commands about past runs: restore, runs.

use std::path::PathBuf;

use chrono::TimeDelta;
use clap::{Args, Subcommand};

use crate::config::duration;

/// Options of `restore`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  claw-sessions runs                        which runs there were
  claw-sessions restore latest -n           what would come back, and what would be refused
  claw-sessions restore latest              all that the last run took
  claw-sessions restore agent:main:telegram:direct:42
  claw-sessions restore --deferred --next 2     two of those that --max-resumes took out
  claw-sessions restore --adopt FILE --key KEY        bind a transcript that lost its binding
  claw-sessions restore --stuck-bak                   what the manual recipe left behind")]
pub struct RestoreArgs {
    /// A run (its id, a unique prefix, or `latest`), or the key of a binding.
    #[arg(value_name = "RUN|KEY", required_unless_present_any = ["adopt", "deferred", "from_files", "stuck_bak"])]
    pub what: Option<String>,
    /// Readmit what the startup budget took out, what was active last first; a key that was bound anew stays as it is.
    #[arg(long, conflicts_with_all = ["what", "as_new", "adopt"])]
    pub deferred: bool,
    /// With --deferred: only the next N [default: all].
    #[arg(long, value_name = "N", requires = "deferred", value_parser = clap::value_parser!(u32).range(1..))]
    pub next: Option<u32>,
    /// Bring back under a new key and file name what would collide.
    #[arg(long, conflicts_with = "adopt")]
    pub as_new: bool,
    /// Bind this transcript, which nothing refers to, under --key.
    #[arg(long, value_name = "FILE", requires = "key", conflicts_with = "what")]
    pub adopt: Option<PathBuf>,
    /// The key to bind it under.
    #[arg(long, requires = "adopt")]
    pub key: Option<String>,
    /// Give the .stuck-bak files of the manual recipe their names back, and bind again what a backup of the store has;
    /// --agent and --store narrow it.
    #[arg(long, conflicts_with_all = ["what", "as_new", "adopt", "deferred"])]
    pub stuck_bak: bool,
    /// Bring back what lies in the archive of a run whose manifest is lost or damaged: transcripts by their names, entries
    /// as they stand in what was cut out of the store.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["what", "as_new", "adopt", "deferred", "stuck_bak"])]
    pub from_files: Option<String>,
    /// Say what would come back, and what would be refused; change nothing.
    #[arg(short = 'n', long, conflicts_with_all = ["stuck_bak", "from_files"])]
    pub dry_run: bool,
    /// Work although a live gateway of a version without store lock may write at the same moment.
    #[arg(long)]
    pub online: bool,
}

/// Options of `adopt`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  claw-sessions adopt --all -n                what would be bound again, and under which keys
  claw-sessions adopt --all                   bind it
  claw-sessions adopt FILE --key KEY          bind one transcript

A key comes from the newest backup of the store that has one for the transcript. Where none has, it is
agent:<agent>:recovered:<session id>: OpenClaw lists the conversation under that key, and no message reaches it.")]
pub struct AdoptArgs {
    /// A transcript that nothing refers to.
    #[arg(value_name = "FILE", requires = "key", required_unless_present = "all")]
    pub file: Option<PathBuf>,
    /// The key to bind it under.
    #[arg(long, requires = "file")]
    pub key: Option<String>,
    /// Every conversation in a sessions directory whose index was lost; --agent and --store narrow it.
    #[arg(long, conflicts_with_all = ["file", "key"])]
    pub all: bool,
    /// Say what would be bound; change nothing.
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Work although a live gateway of a version without store lock may write at the same moment.
    #[arg(long)]
    pub online: bool,
}

/// Options of `runs`.
#[derive(Debug, Args)]
pub struct RunsArgs {
    /// What to do with them; lists them when absent.
    #[command(subcommand)]
    pub command: Option<RunsCommand>,
}

/// What to do with past runs.
#[derive(Debug, Subcommand)]
pub enum RunsCommand {
    /// Everything that a run took, with reason and size, and what of it is back
    Show {
        /// Its id, a unique prefix, or `latest`.
        #[arg(value_name = "RUN")]
        run: String,
    },
    /// Forget old runs for good; what they took cannot be restored any more
    Prune {
        /// Runs that ended longer ago than this; those with quarantined bindings are kept.
        #[arg(long, value_name = "DUR", value_parser = duration::parse)]
        older_than: TimeDelta,
        /// Say which runs would be forgotten; change nothing.
        #[arg(short = 'n', long)]
        dry_run: bool,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}
