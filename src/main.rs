//! Parse, run, print the error and the way out, exit.

#![expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]

use std::collections::BTreeMap;
use std::process::ExitCode;

use chrono::Utc;
use clap::Parser;
use claw_sessions::cli::Cli;
use claw_sessions::commands::{self, Session};
use claw_sessions::config::environment::Environment;

/// musl's own allocator gives each large buffer back to the system at once, and its lock is held meanwhile: reading 3,000
/// transcripts it called `munmap` 5,313 times and `futex` 12,616 times, dlmalloc 8 and 489 times. A scan that reads
/// everything takes 369 ms with the one and 176 ms with the other (docs/performance.md).
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    claw_sessions::disk::signal::let_writes_fail();
    let session = Session { cli: Cli::parse(), environment: environment(), started_at: Utc::now() };
    match commands::run(&session) {
        Ok(exit) => exit.code().into(),
        Err(failure) => {
            session.report(&failure);
            failure.exit.code().into()
        }
    }
}

/// The one place that reads the process's environment.
fn environment() -> Environment {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    Environment {
        vars: std::env::vars_os().filter_map(text).collect::<BTreeMap<_, _>>(),
        cwd: std::env::current_dir().unwrap_or_else(|_| "/".into()),
        uid: rustix::process::geteuid().as_raw(),
        os_home: std::env::home_dir(),
    }
}
