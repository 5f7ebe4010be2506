//! Options of the commands that change nothing: scan, report, explain, config.

use std::path::PathBuf;

use chrono::TimeDelta;
use clap::{ArgGroup, Args, Subcommand, ValueEnum};

use crate::config::duration;
use crate::config::policy::PolicyArgs;

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

/// Options of `explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The key of a binding.
    pub key: String,
    /// Limits.
    #[command(flatten)]
    pub policy: PolicyArgs,
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
