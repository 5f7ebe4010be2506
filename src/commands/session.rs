//! One invocation: what was typed, what was inherited, and where output goes.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use anstream::AutoStream;
use anstream::ColorChoice;
use anyhow::Context as _;
use chrono::{DateTime, Utc};

use crate::cli::{Cli, Command, When};
use crate::config::environment::Environment;
use crate::render::json;
use crate::render::view;
use crate::render::words::{Layout, shell};

const STDOUT: &str = "cannot write to standard output";

/// How an invocation ends (design §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, or nothing to do.
    Done,
    /// A check found problems.
    Problems,
    /// Wrong usage; nothing was touched.
    Usage,
    /// Some items failed; the others were done.
    Partial,
    /// Refused for safety, wholly or in part.
    Refused,
}

impl Exit {
    /// How a mutating verb ends.
    pub const fn after(refused: bool, failed: bool) -> Self {
        match (refused, failed) {
            (true, _) => Self::Refused,
            (false, true) => Self::Partial,
            (false, false) => Self::Done,
        }
    }

    /// The process's exit code; what it means to a user is in [`crate::cli::EXIT_CODES`].
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Problems => 1,
            Self::Usage => 2,
            Self::Partial => 3,
            Self::Refused => 4,
        }
    }
}

/// An error that ends the invocation, with what the user can do.
#[derive(Debug)]
pub struct Failure {
    /// How it ends.
    pub exit: Exit,
    /// What went wrong.
    pub error: anyhow::Error,
    /// What the user can do.
    pub hint: Option<String>,
    /// The stable code of the refusal, where there is one.
    pub code: Option<&'static str>,
}

impl Failure {
    /// Wrong usage.
    pub fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::Usage, error: error.into(), hint: None, code: None }
    }

    /// Wrong usage, unless the system failed.
    pub fn usage_or_io(error: anyhow::Error) -> Self {
        let usual = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory, io::ErrorKind::PermissionDenied];
        let kind = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
        if kind.is_some_and(|kind| !usual.contains(&kind)) { Self::from(error) } else { Self::usage(error) }
    }

    /// Refused for safety.
    pub fn refused(error: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::Refused, error: error.into(), hint: None, code: None }
    }

    /// The same for programs.
    pub fn document(&self, exit: Exit) -> json::ErrorReport {
        json::ErrorReport {
            schema: super::context::schema("error"),
            error: format!("{:#}", self.error),
            code: self.code.map(str::to_owned),
            hint: self.hint.clone(),
            exit_code: exit.code(),
        }
    }

    /// With a way out where none is named and the system said that somebody else's permission is needed.
    #[must_use]
    pub(super) fn with_way_out(self) -> Self {
        let denied = |cause: &(dyn std::error::Error + 'static)| {
            cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
        };
        if self.hint.is_none() && self.error.chain().any(denied) { self.hint(super::place::OWNER) } else { self }
    }

    /// With the code of a refusal.
    #[must_use]
    pub(super) fn code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    /// With a way out.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self { exit: Exit::Partial, error, hint: None, code: None }
    }
}

/// One invocation.
#[derive(Debug)]
pub struct Session {
    /// What was typed.
    pub cli: Cli,
    /// What was inherited.
    pub environment: Environment,
    /// The system's time when it began.
    pub started_at: DateTime<Utc>,
}

impl Session {
    fn choice(&self, stream: ColorChoice) -> ColorChoice {
        match self.cli.global.color {
            When::Auto => stream,
            When::Always => ColorChoice::Always,
            When::Never => ColorChoice::Never,
        }
    }

    /// Prints to standard output, with color where that is wanted. A reader that went away is no error.
    pub fn print(&self, text: &str) -> anyhow::Result<()> {
        let stdout = io::stdout();
        let choice = self.choice(AutoStream::choice(&stdout));
        // Stripped as a whole: a stream that strips writes every line by itself.
        let text = match choice {
            ColorChoice::Never => Cow::Owned(self.plain(text)),
            _ => Cow::Borrowed(text),
        };
        let mut stdout = stdout.lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context(STDOUT),
            _ => Ok(()),
        }
    }

    /// The text without colors.
    pub fn plain(&self, text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    /// Prints as it is, never colored. A reader that went away is no error.
    pub fn print_plain(&self, text: &str) -> anyhow::Result<()> {
        match io::stdout().lock().write_all(text.as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context(STDOUT),
            _ => Ok(()),
        }
    }

    /// Prints a document for programs: as it is, never colored.
    pub fn print_document(&self, document: &impl serde::Serialize) -> anyhow::Result<()> {
        self.print_plain(&view::to_text(document))
    }

    /// Says what ended the invocation, on standard error, or as a document when JSON was asked for.
    pub fn report(&self, failure: &Failure) {
        if self.cli.global.json {
            let _ = self.print_document(&failure.document(failure.exit));
        }
        let stderr = io::stderr();
        let mut stream = AutoStream::new(stderr.lock(), self.choice(AutoStream::choice(&io::stderr())));
        let style = anstyle::AnsiColor::Red.on_default().bold();
        let error = format!("{:#}", failure.error);
        let _ = writeln!(stream, "{style}error{style:#}: {}", crate::render::escape::escape(&error));
        if let Some(hint) = &failure.hint {
            let style = anstyle::AnsiColor::Cyan.on_default().bold();
            let _ = writeln!(stream, "{style}hint{style:#}: {}", crate::render::escape::escape(hint));
        }
    }

    /// Returns whether a person sees what is printed.
    pub fn on_terminal(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// Says a line on standard error.
    pub fn say(&self, text: &str) {
        let stderr = io::stderr();
        let mut stream = AutoStream::new(stderr.lock(), self.choice(AutoStream::choice(&io::stderr())));
        let _ = writeln!(stream, "{}", crate::render::escape::escape(text));
    }

    /// Asks a question on the terminal; `None` when nobody can be asked.
    pub fn confirm(&self, question: &str) -> anyhow::Result<Option<bool>> {
        let stdin = io::stdin();
        if !stdin.is_terminal() || !io::stderr().is_terminal() {
            return Ok(None);
        }
        let mut stderr = io::stderr();
        write!(stderr, "{} [y/N] ", crate::render::escape::escape(question))?;
        stderr.flush()?;
        let mut answer = String::new();
        stdin.read_line(&mut answer)?;
        Ok(Some(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")))
    }

    /// How wide and how much. Without a terminal, `COLUMNS` or 120.
    pub fn layout(&self) -> Layout {
        let named = self.environment.var("COLUMNS").and_then(|columns| columns.parse().ok());
        let terminal = || terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
        Layout {
            width: named.or_else(terminal).unwrap_or(120).max(20),
            quiet: self.cli.global.quiet,
            verbose: self.cli.global.verbose > 0,
            same_place: self.same_place(),
            plan: match &self.cli.command {
                Command::Gc(args) => args.plan.as_ref().map(|path| path.to_string_lossy().into_owned()),
                _ => None,
            },
        }
    }

    /// The options that lead to the same state directory, for commands that are suggested.
    fn same_place(&self) -> String {
        let global = &self.cli.global;
        let dir = global.state_dir.as_ref().map(|dir| ("--state-dir", dir.to_string_lossy().into_owned()));
        let profile = global.profile.as_ref().map(|name| ("--profile", name.clone()));
        let mut options = String::new();
        for (name, value) in dir.into_iter().chain(profile) {
            options.extend([" ", name, " ", &shell(&value)]);
        }
        options
    }
}

/// Says a line on standard error when the invocation is given up.
pub(super) fn say_last(text: &str) {
    let _ = writeln!(io::stderr(), "{}", crate::render::escape::escape(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exit_code_is_in_the_table_of_the_help() {
        let all = [Exit::Done, Exit::Problems, Exit::Usage, Exit::Partial, Exit::Refused];
        assert_eq!(all.map(Exit::code), crate::cli::EXIT_CODES.map(|(code, _)| code));
    }
}
