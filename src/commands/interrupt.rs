//! SIGINT and SIGTERM: a verb that changes something says what it leaves, and ends as the signal asks.

use std::sync::mpsc;
use std::time::Duration;

use super::{Session, boot, session};
use crate::change::underway;
use crate::cli::{Command, QuarantineCommand, RunsCommand};
use crate::disk::signal;
use crate::render::interrupted;

/// How long to wait until the sentence is out.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Watches for an interrupt, when the command may change something.
pub(super) fn watch(session: &Session) {
    if !changes(&session.cli.command) {
        return;
    }
    let is_boot = matches!(&session.cli.command, Command::Gc(args) if args.boot);
    let prefix = if is_boot { boot::warning(session) } else { String::new() };
    let place = session.layout().same_place;
    signal::on_interrupt(move || {
        let text = format!("{prefix}{}", interrupted::sentence(underway::stop().as_ref(), &place));
        // What reads standard error may be stuck.
        let (said, heard) = mpsc::channel();
        let say = move || {
            session::say_last(&text);
            let _ = said.send(());
        };
        if std::thread::Builder::new().name("last words".to_owned()).spawn(say).is_ok() {
            let _ = heard.recv_timeout(LAST_WORDS);
        }
    });
}

/// Returns whether a command may change something in the state directory.
fn changes(command: &Command) -> bool {
    match command {
        Command::Gc(args) => !args.dry_run && args.plan.is_none(),
        Command::Quarantine(args) => match &args.command {
            Some(QuarantineCommand::List | QuarantineCommand::Show { .. }) => false,
            Some(QuarantineCommand::Purge { dry_run, .. }) => !dry_run,
            None => !args.dry_run,
        },
        Command::Validate(args) => args.repair && !args.dry_run,
        Command::Restore(args) => !args.dry_run,
        Command::Adopt(args) => !args.dry_run,
        Command::Runs(args) => matches!(args.command, Some(RunsCommand::Prune { dry_run: false, .. })),
        Command::Scan(_)
        | Command::Report(_)
        | Command::Explain(_)
        | Command::Config(_)
        | Command::Systemd(_)
        | Command::Completions { .. }
        | Command::Man { .. } => false,
    }
}
