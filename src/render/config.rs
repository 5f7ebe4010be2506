//! What `config` prints: each file with what is wrong in it, and every limit with its source.

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::Serialize;

use super::escape::escape;
use super::policy::{self, LimitDocument};
use super::words::{BAD, BOLD, DIM, Layout, list};

/// `config check --json` and `config show --json`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigDocument {
    /// The document's type and version.
    pub schema: String,
    /// The version of claw-sessions.
    pub version: String,
    /// The state directory, as resolved.
    pub state_dir: String,
    /// `meta.lastTouchedVersion`; null when unknown.
    pub openclaw_version: Option<String>,
    /// Whether both files can be used, or are not there.
    pub ok: bool,
    /// The policy file.
    pub policy_file: ReadDocument,
    /// OpenClaw's configuration file.
    pub openclaw_config: ReadDocument,
    /// Every limit in force; only of `show`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Vec<LimitDocument>>,
}

/// A file of the configuration, as read.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReadDocument {
    /// Where it is; null when there is none.
    pub path: Option<String>,
    /// Whether it can be used.
    pub state: ReadState,
    /// What is wrong with it, with line or setting.
    pub problems: Vec<String>,
    /// Where it was looked for when there is none; the first place counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub looked_for: Vec<String>,
    /// What a person can do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// Whether a file of the configuration can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ReadState {
    /// There is none: defaults hold.
    Missing,
    /// Read whole.
    Valid,
    /// Nothing of it is used.
    Invalid,
}

/// The document for people.
pub fn config(document: &ConfigDocument, details: &[String], layout: &Layout) -> String {
    let mut text = String::new();
    if layout.verbose {
        list(&mut text, "", details);
    }
    file(&mut text, "policy file", &document.policy_file);
    file(&mut text, "openclaw.json", &document.openclaw_config);
    if let Some(limits) = &document.limits {
        text.push('\n');
        text.push_str(&policy::table(limits));
    }
    text
}

fn file(text: &mut String, what: &str, file: &ReadDocument) {
    let path = file.path.as_deref().unwrap_or_default();
    let _ = match file.state {
        ReadState::Valid => writeln!(text, "ok     {what} {BOLD}{}{BOLD:#}", escape(path)),
        ReadState::Missing => {
            let places = file.looked_for.join(" nor ");
            writeln!(text, "none   {what}: the defaults hold {DIM}(no {}){DIM:#}", escape(&places))
        }
        ReadState::Invalid => writeln!(text, "{BAD}wrong{BAD:#}  {what} {BOLD}{}{BOLD:#}", escape(path)),
    };
    for problem in &file.problems {
        let _ = writeln!(text, "       {}", escape(problem));
    }
    if let Some(remedy) = &file.remedy {
        let _ = writeln!(text, "       {DIM}→ {}{DIM:#}", escape(remedy));
    }
}
