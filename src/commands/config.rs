//! `config`: whether the policy file and `openclaw.json` can be used, and every limit that comes of them.

use std::path::Path;

use super::context::{located, schema};
use super::{Exit, Failure, Session, place};
use crate::cli::{ConfigArgs, ConfigCommand};
use crate::config::openclaw::{ConfigState, LoadedConfig};
use crate::config::policy::{self, PolicyFlags};
use crate::openclaw::config_file;
use crate::openclaw::home::{self, StateHome};
use crate::render::config::{self as render, ConfigDocument, ReadDocument, ReadState};
use crate::render::policy::limits;

/// Runs the verb.
pub(super) fn run(session: &Session, args: &ConfigArgs) -> Result<Exit, Failure> {
    let flags = match &args.command {
        ConfigCommand::Check => PolicyFlags::default(),
        ConfigCommand::Show(args) => args.flags(),
    };
    let home = place::home(session)?;
    let config = config_file::read(&home);
    let found = place::policy(&home, session.cli.global.config.as_deref());
    let mut document = ConfigDocument {
        schema: schema("config"),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        state_dir: home.state_dir.display().to_string(),
        openclaw_version: config.config.last_touched_version.clone(),
        ok: found.file.is_ok() && config.state != ConfigState::Invalid,
        policy_file: policy_file(&home, found.path.as_deref(), found.file.as_ref().err()),
        openclaw_config: openclaw_config(&config),
        limits: None,
    };
    let checks = matches!(args.command, ConfigCommand::Check);
    if !checks {
        let file = found.or_fail()?;
        document.limits = Some(limits(&policy::resolve(&flags, file.as_ref(), &config)));
    }
    if session.cli.global.json {
        session.print_document(&document)?;
    } else {
        let details: Vec<String> = home.notes.iter().chain(&config.notes).cloned().collect();
        session.print(&render::config(&document, &details, &session.layout()))?;
    }
    Ok(if checks && !document.ok { Exit::Usage } else { Exit::Done })
}

fn policy_file(home: &StateHome, path: Option<&Path>, problem: Option<&String>) -> ReadDocument {
    let shown = |path: &Path| path.display().to_string();
    ReadDocument {
        path: path.map(shown),
        state: match (path, problem) {
            (None, _) => ReadState::Missing,
            (_, None) => ReadState::Valid,
            (_, Some(_)) => ReadState::Invalid,
        },
        problems: problem.into_iter().cloned().collect(),
        looked_for: if path.is_none() {
            home::policy_places(home).iter().map(|path| shown(path)).collect()
        } else {
            Vec::new()
        },
        remedy: problem.map(|_| "mend it: until then no command does anything".to_owned()),
    }
}

fn openclaw_config(config: &LoadedConfig) -> ReadDocument {
    let remedy = if config.unread {
        place::OWNER
    } else {
        "OpenClaw does not start with it either: `openclaw doctor` helps; until then nothing of it is used"
    };
    let path = config.path.display().to_string();
    ReadDocument {
        state: match config.state {
            ConfigState::Missing => ReadState::Missing,
            ConfigState::Valid => ReadState::Valid,
            ConfigState::Invalid => ReadState::Invalid,
        },
        problems: config
            .problems
            .iter()
            .map(|problem| {
                let text = located(config, problem);
                text.strip_prefix(&format!("{path}: ")).map(str::to_owned).unwrap_or(text)
            })
            .collect(),
        looked_for: if config.state == ConfigState::Missing { vec![path.clone()] } else { Vec::new() },
        path: (config.state != ConfigState::Missing).then_some(path),
        remedy: (config.state == ConfigState::Invalid).then(|| remedy.to_owned()),
    }
}
