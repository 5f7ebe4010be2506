//! Options of the commands that change stores: gc, quarantine, validate.

use std::path::PathBuf;

use chrono::TimeDelta;
use clap::{Args, Subcommand};

use crate::config::duration;
use crate::config::policy::{GcLimitArgs, PolicyArgs, PolicyFlags};
use crate::model::problem::Severity;

/// Options of `gc`.
#[derive(Debug, Args)]
#[command(before_help = "What most people need:
  claw-sessions gc -n           show what would go, change nothing
  claw-sessions gc              take it out; it stays in an archive
  claw-sessions restore latest  bring it back")]
pub struct GcArgs {
    /// Show what would be done; change nothing.
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Limits.
    #[command(flatten)]
    pub policy: PolicyArgs,
    /// Broken stores.
    #[command(flatten)]
    pub salvage: SalvageArgs,
    /// Work although a live gateway of a version without store lock may write at the same moment.
    #[arg(long, help_heading = "Safety")]
    pub online: bool,
    /// Before the gateway starts: with --salvage, --deadline 20s and the poison detector, in one line, and never a reason
    /// not to start: exits 0 whatever it found or could not do, a wrong command line excepted.
    #[arg(long, help_heading = "Start-up", conflicts_with_all = ["plan", "apply"])]
    pub boot: bool,
    /// Begin nothing after this time. What was not checked or not done is named; the next start begins with it [default
    /// with --boot: 20s].
    #[arg(long, value_name = "DUR", value_parser = duration::parse, help_heading = "Start-up")]
    pub deadline: Option<TimeDelta>,
    /// Limits that only `gc` has.
    #[command(flatten)]
    pub limits: GcLimitArgs,
    /// In SQLite: give the free pages of databases back to the file system afterwards; nothing is lost with them.
    #[arg(long, help_heading = "In SQLite", conflicts_with_all = ["dry_run", "boot", "plan"])]
    pub compact: bool,
    /// Write the plan to FILE and change nothing.
    #[arg(long, value_name = "FILE", help_heading = "Plan", conflicts_with = "apply")]
    pub plan: Option<PathBuf>,
    /// Apply a plan written by --plan instead of making one.
    #[arg(long, value_name = "FILE", help_heading = "Plan", conflicts_with_all = ["dry_run"])]
    pub apply: Option<PathBuf>,
}

/// What is done about broken stores.
#[derive(Debug, Args)]
#[command(next_help_heading = "Broken stores")]
pub struct SalvageArgs {
    /// Give every whole entry of a broken store back; the broken file goes into the run's archive.
    #[arg(long)]
    pub salvage: bool,
    /// With --salvage: add the keys that only a sessions.json.bak.* still has.
    #[arg(long, requires = "salvage")]
    pub from_backups: bool,
}

impl GcArgs {
    /// Returns what decides.
    pub fn flags(&self) -> PolicyFlags {
        PolicyFlags { policy: self.policy.clone(), gc: self.limits.clone() }
    }
}

/// Options of `quarantine`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "Examples:
  claw-sessions quarantine agent:main:telegram:direct:42      by its key, or by its session id
  claw-sessions quarantine --damaged -n                       what would hurt the gateway; look first
  claw-sessions quarantine list
  claw-sessions restore agent:main:telegram:direct:42         bring it back, byte for byte")]
pub struct QuarantineArgs {
    /// Keys or session ids.
    #[arg(value_name = "KEY|SESSION-ID", required_unless_present = "damaged")]
    pub what: Vec<String>,
    /// Every session with a problem at least as bad as --severity, whether or not it could be mended.
    #[arg(long, conflicts_with = "what")]
    pub damaged: bool,
    /// The least severity that counts as damage, with --damaged.
    #[arg(long, value_enum, value_name = "SEVERITY", default_value_t = Severity::Fatal, requires = "damaged")]
    pub severity: Severity,
    /// Show what would be done; change nothing.
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Work although a live gateway of a version without store lock may write at the same moment.
    #[arg(long)]
    pub online: bool,
    /// What to do with what is aside.
    #[command(subcommand)]
    pub command: Option<QuarantineCommand>,
}

/// What to do with quarantined sessions.
#[derive(Debug, Subcommand)]
pub enum QuarantineCommand {
    /// List what is in quarantine
    List,
    /// Everything known about one quarantined session: evidence, first problem, sizes
    Show {
        /// A key, a session id, or a run.
        #[arg(value_name = "KEY|SESSION-ID|RUN")]
        id: String,
    },
    /// Delete quarantined sessions for good
    Purge {
        /// Those that were taken longer ago than this.
        #[arg(long, value_name = "DUR", value_parser = duration::parse)]
        older_than: TimeDelta,
        /// Say what would be deleted; change nothing.
        #[arg(short = 'n', long)]
        dry_run: bool,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

/// Options of `validate`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  claw-sessions validate                    every store and every bound transcript
  claw-sessions validate --archives         orphans and OpenClaw's archives too
  claw-sessions validate FILE.jsonl         a file that lies anywhere
  claw-sessions validate --repair -n        what a repair would mend
  claw-sessions validate --repair           mend it; `restore latest` takes it back")]
pub struct ValidateArgs {
    /// Transcripts and stores to check instead of a state directory.
    #[arg(value_name = "FILE", conflicts_with_all = ["repair", "archives", "state_dir", "profile", "store", "agent"])]
    pub files: Vec<PathBuf>,
    /// Check orphans and OpenClaw's archives too.
    #[arg(long)]
    pub archives: bool,
    /// The least severity that fails the check: exit 1 when there is a problem at least this bad.
    #[arg(long, visible_alias = "fail-on", value_enum, value_name = "SEVERITY", default_value_t = Severity::High)]
    pub severity: Severity,
    /// Print every kind of problem: how bad it is, what it is, what OpenClaw does with it.
    #[arg(long, conflicts_with_all = ["files", "archives", "repair"])]
    pub list_checks: bool,
    /// Mend what has one exact answer; the original goes into the run's archive.
    #[arg(long, help_heading = "Repair")]
    pub repair: bool,
    /// Broken stores.
    #[command(flatten)]
    pub salvage: SalvageArgs,
    /// Show what a repair would do; change nothing.
    #[arg(short = 'n', long, help_heading = "Repair", requires = "repair")]
    pub dry_run: bool,
    /// Work although a live gateway of a version without store lock may write at the same moment.
    #[arg(long, help_heading = "Repair", requires = "repair")]
    pub online: bool,
}
