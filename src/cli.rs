//! The command line: the one source of help, man pages and completions.

use std::path::PathBuf;

use chrono::{DateTime, TimeDelta, Utc};
use clap::builder::styling::{AnsiColor, Styles};
use clap::{ArgAction, ArgGroup, Args, Parser, Subcommand, ValueEnum};

use crate::config::duration;
use crate::config::policy::{GcLimitArgs, PolicyArgs, PolicyFlags};
use crate::model::problem::Severity;

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

/// Formats of `report`; JSON is asked for with `--json`, as everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For an issue or a mail.
    Markdown,
    /// A row for each binding.
    Csv,
    /// One page that stands alone.
    Html,
    /// For the textfile collector of Prometheus' node exporter.
    Prometheus,
}

impl Format {
    /// As it is typed.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
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

/// Options of `scan`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  claw-sessions scan                        every binding, and what gc would do with it
  claw-sessions scan --json | jq .summary
  claw-sessions scan --check                exit 1 when gc would do anything, or a store is broken
  claw-sessions scan --restart-due 30m      exit 0 when the gateway may and should be restarted")]
pub struct ScanArgs {
    /// Limits.
    #[command(flatten)]
    pub policy: PolicyArgs,
    /// Exit 1 when gc would do anything (orphans and dead locks included), a store cannot be read, or a run is unfinished.
    #[arg(long)]
    pub check: bool,
    /// Say in one sentence whether restarting the gateway is worth it, and exit 1 when not.
    ///
    /// Exit 0 only when a gateway is alive that offers no store lock, gc has something to do, no run is live and nothing
    /// was active for this long. Made for `ExecCondition=` of a unit that restarts the gateway, so that `gc --boot` does the
    /// work at its start.
    #[arg(long, value_name = "DUR", value_parser = duration::parse, conflicts_with = "check")]
    pub restart_due: Option<TimeDelta>,
}

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
    #[arg(long, value_enum, value_name = "SEVERITY", default_value_t = Severity::High)]
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

/// Options of `report`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  claw-sessions report
  claw-sessions report --format html -o sessions.html
  claw-sessions report --format prometheus -o /var/lib/prometheus/node-exporter/claw_sessions.prom
  claw-sessions report --since 7d
  claw-sessions report --check --max-damaged 0 --max-worst-seconds 1200")]
#[command(group(ArgGroup::new("limits").multiple(true)))]
pub struct ReportArgs {
    /// Limits.
    #[command(flatten)]
    pub policy: PolicyArgs,
    /// How to print; for JSON there is --json.
    #[arg(long, value_enum, default_value_t = Format::Text, conflicts_with = "json")]
    pub format: Format,
    /// Write to FILE, atomically, instead of standard output.
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// What changed since a run (its id, a unique prefix, or `latest`), a date (2026-11-22, or RFC 3339), or a time ago (7d).
    #[arg(long, value_name = "RUN|DATE|DUR")]
    pub since: Option<String>,
    /// One line for Nagios and cron; exit 1 when a limit below is exceeded.
    #[arg(long, help_heading = "Check", requires = "limits", conflicts_with = "since")]
    pub check: bool,
    /// At most N damaged bindings.
    #[arg(long, value_name = "N", help_heading = "Check", requires = "check", group = "limits")]
    pub max_damaged: Option<u64>,
    /// At most so many seconds of a start at worst.
    #[arg(long, value_name = "SECONDS", help_heading = "Check", requires = "check", group = "limits")]
    pub max_worst_seconds: Option<u64>,
    /// At most so many bytes in all (500MB, 2GiB).
    #[arg(long, value_name = "SIZE", help_heading = "Check", requires = "check", group = "limits", value_parser = size)]
    pub max_bytes: Option<u64>,
}

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

/// Options of `explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The key of a binding.
    pub key: String,
    /// Limits.
    #[command(flatten)]
    pub policy: PolicyArgs,
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

/// Options of `config`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  claw-sessions config check                      after a change to the policy file
  claw-sessions config check --config new.toml    before it becomes the policy file
  claw-sessions config show
  claw-sessions config show --idle 24h            what an option would change")]
pub struct ConfigArgs {
    /// What to do with it.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Read the policy file and openclaw.json as every command does; exit 2 when one of them is wrong
    Check,
    /// Print every limit in force, and where it came from
    Show(Box<PolicyArgs>),
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

/// A number of bytes, with a unit of 1000 (kB, MB, GB, TB) or 1024 (KiB, MiB, GiB, TiB), or none.
fn size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 10] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("kB", 1_000),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("B", 1),
    ];
    let unit = UNITS.iter().find(|(unit, _)| text.ends_with(unit));
    let (number, factor) = unit.map_or((text, 1), |(unit, factor)| (&text[..text.len() - unit.len()], *factor));
    let number = number.trim().parse::<u64>().ok();
    number
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(|| "write a whole number of bytes, as 500MB, 2GiB or 1000000".to_owned())
}

fn parse_time(text: &str) -> Result<DateTime<Utc>, String> {
    DateTime::parse_from_rfc3339(text)
        .map(|time| time.with_timezone(&Utc))
        .map_err(|error| format!("{error}; write it as 2026-11-22T22:30:00Z"))
}

impl GcArgs {
    /// Returns what decides.
    pub fn flags(&self) -> PolicyFlags {
        PolicyFlags { policy: self.policy.clone(), gc: self.limits.clone() }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}
