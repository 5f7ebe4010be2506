//! The command line: the one source of help, man pages and completions.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::builder::styling::{AnsiColor, Styles};
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

pub use change::{GcArgs, QuarantineArgs, QuarantineCommand, SalvageArgs, ValidateArgs};
pub use look::{ConfigArgs, ConfigCommand, ExplainArgs, Format, ReportArgs, ScanArgs};
pub use past::{AdoptArgs, RestoreArgs, RunsArgs, RunsCommand};

mod change;
mod look;
mod past;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

const START: &str = "Start with `claw-sessions scan`: it changes nothing.";

/// What each exit code means: the one table for help, man page and reference.
pub const EXIT_CODES: [(u8, &str); 5] = [
    (0, "done, or nothing to do"),
    (1, "a check found something: scan --check, scan --restart-due, report --check, validate"),
    (2, "wrong usage, key, run, policy file or state directory; nothing was touched"),
    (3, "some item failed, or the deadline left it; the others were done; the output lists it"),
    (4, "refused for safety, wholly or for the stores named; what was refused was not touched"),
];

fn exit_codes() -> String {
    let line = |(code, meaning): (u8, &str)| format!("\n  {code}  {meaning}");
    format!("Exit codes:{}", EXIT_CODES.map(line).concat())
}

/// Keeps the session stores of an OpenClaw gateway healthy.
///
/// Reads every agent's sessions.json and transcripts, says what each binding is and what would happen to it, takes
/// stale, failed and damaged ones out, and brings them back byte for byte when asked.
#[derive(Debug, Parser)]
#[command(name = "claw-sessions", version, styles = STYLES, propagate_version = true, subcommand_required = true)]
#[command(arg_required_else_help = true, after_help = START, after_long_help = format!("{START}\n\n{}", exit_codes()))]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// The verb.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArgs {
    /// OpenClaw's state directory [default: as OpenClaw finds it: `$OPENCLAW_STATE_DIR`, ~/.openclaw, …].
    #[arg(long, global = true, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// OpenClaw's profile: state directory ~/.openclaw-NAME.
    #[arg(long, global = true, value_name = "NAME")]
    pub profile: Option<String>,
    /// Look at this one store only.
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "agent")]
    pub store: Option<PathBuf>,
    /// Look at this agent only; repeatable.
    #[arg(long, global = true, value_name = "ID")]
    pub agent: Vec<String>,
    /// The policy file [default: claw-sessions.toml in the state directory, else ~/.config/claw-sessions/config.toml].
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Judge ages as of this time instead of now.
    #[arg(long, global = true, value_name = "RFC3339", value_parser = parse_time)]
    pub now: Option<DateTime<Utc>>,
    /// Print one JSON document, for programs.
    #[arg(long, global = true)]
    pub json: bool,
    /// Print error messages of runs whole. They may quote what people wrote.
    #[arg(long, global = true)]
    pub show_text: bool,
    /// When to color.
    #[arg(long, global = true, value_enum, default_value_t = When::Auto, value_name = "WHEN")]
    pub color: When,
    /// How many threads read [default: one for each core, three at least].
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,
    /// Do not use, and do not keep, what is remembered of transcripts.
    #[arg(long, global = true)]
    pub no_cache: bool,
    /// Print the summary only.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Print more: what was found where, every limit and its source, every row.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
}

/// When to color.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Classify every binding; change nothing
    Scan(ScanArgs),
    /// Take stale, failed and damaged bindings out of the stores
    Gc(Box<GcArgs>),
    /// Take named or damaged sessions aside; list, show and purge what is aside
    Quarantine(QuarantineArgs),
    /// Check stores and transcripts line by line; mend what has one exact answer
    Validate(ValidateArgs),
    /// Summarise for people and machines: text, markdown, csv, html, prometheus, json
    Report(ReportArgs),
    /// Put back what a run took away
    Restore(RestoreArgs),
    /// Bind transcripts again that lost their bindings
    Adopt(AdoptArgs),
    /// Everything known about one binding, and which rule decided
    Explain(ExplainArgs),
    /// Past runs: what each took, what can still be restored
    Runs(RunsArgs),
    /// Check the policy file and openclaw.json; show every limit and where it came from
    Config(ConfigArgs),
    /// Print, write or remove the systemd units that run claw-sessions
    Systemd(SystemdArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write the man pages into a directory
    Man {
        /// The directory.
        dir: PathBuf,
    },
}

/// Options of `systemd`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  claw-sessions systemd                       print the user units for this host
  claw-sessions systemd --install             write them, and say how to enable them
  sudo claw-sessions systemd --system --install --state-dir /home/openclaw/.openclaw
  claw-sessions systemd --remove              take them away again")]
pub struct SystemdArgs {
    /// Units of the system, run as the owner of the state directory [default: units of the user, as `openclaw gateway
    /// install` writes them].
    #[arg(long, help_heading = "Which")]
    pub system: bool,
    /// Where they are [default: ~/.config/systemd/user, or /etc/systemd/system].
    #[arg(long, value_name = "DIR", help_heading = "Which")]
    pub dir: Option<PathBuf>,
    /// Write them instead of printing them. When a file that claw-sessions did not write is in the way, nothing is
    /// written.
    #[arg(long, conflicts_with = "remove", help_heading = "What to do")]
    pub install: bool,
    /// Remove what --install wrote, and nothing else.
    #[arg(long, help_heading = "What to do")]
    pub remove: bool,
}

fn parse_time(text: &str) -> Result<DateTime<Utc>, String> {
    DateTime::parse_from_rfc3339(text)
        .map(|time| time.with_timezone(&Utc))
        .map_err(|error| format!("{error}; write it as 2026-11-22T22:30:00Z"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}
