//! systemd units for one gateway: what runs before each of its starts, every night, and for readmission.

use std::fmt::Write as _;
use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use super::escape::escape;
use super::words::{BOLD, DIM, list};

/// What a file begins with by which claw-sessions knows it as its own.
pub const MARK: &str = "# Written by claw-sessions";

/// Whose units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum UnitScope {
    /// A user's.
    User,
    /// The system's.
    System,
}

impl UnitScope {
    /// How systemd is told what to do.
    pub const fn systemctl(self) -> &'static str {
        match self {
            Self::User => "systemctl --user",
            Self::System => "systemctl",
        }
    }
}

/// What the files are called.
#[derive(Clone, Debug)]
pub struct Names {
    /// The gateway's unit.
    pub gateway: String,
    /// OpenClaw's profile, unless it is the default one.
    pub profile: Option<String>,
}

impl Names {
    /// The path of every file below the directory of the units.
    pub fn paths(&self) -> Vec<String> {
        TEMPLATES.iter().map(|(what, kind, _)| self.path(what, kind)).collect()
    }

    /// The timers, which are what is enabled.
    pub fn timers(&self) -> [String; 2] {
        ["night", "readmit"].map(|what| self.path(what, "timer"))
    }

    /// `claw-sessions-night.service`; with a profile `claw-sessions-night-work.service`, as OpenClaw names its own.
    fn path(&self, what: &str, kind: &str) -> String {
        match (what, &self.profile) {
            (GATEWAY, _) => format!("{}.d/claw-sessions.{kind}", self.gateway),
            (what, None) => format!("claw-sessions-{what}.{kind}"),
            (what, Some(profile)) => format!("claw-sessions-{what}-{profile}.{kind}"),
        }
    }
}

/// The drop-in for the gateway's unit, in a directory of that unit's name.
const GATEWAY: &str = "gateway";

/// What each file is for, its kind, and its text with places for values.
const TEMPLATES: [(&str, &str, &str); 6] = [
    (GATEWAY, "conf", include_str!("units/gateway.conf")),
    ("night", "service", include_str!("units/night.service")),
    ("night", "timer", include_str!("units/night.timer")),
    ("restart", "service", include_str!("units/restart.service")),
    ("readmit", "service", include_str!("units/readmit.service")),
    ("readmit", "timer", include_str!("units/readmit.timer")),
];

/// What leads from the little that systemd passes on to a state directory and its gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Options.
    pub options: Vec<String>,
    /// Variables, where there is no option.
    pub variables: Vec<(String, String)>,
}

/// What the units are about.
#[derive(Clone, Debug)]
pub struct Wiring {
    /// What they are called.
    pub names: Names,
    /// Whose units.
    pub scope: UnitScope,
    /// The binary.
    pub binary: String,
    /// How it finds the state directory and the gateway.
    pub place: Place,
    /// What they write: the state directory, and directories of stores outside it.
    pub writable: Vec<String>,
    /// Who runs them; in a user's units nobody is named.
    pub user: Option<String>,
}

impl Wiring {
    /// Every file: its path below the directory of the units, and its text.
    pub fn files(&self) -> Vec<(String, String)> {
        TEMPLATES.iter().map(|(what, kind, template)| (self.names.path(what, kind), self.text(template))).collect()
    }

    fn text(&self, template: &str) -> String {
        let more = match self.scope {
            UnitScope::User => include_str!("units/hardening-user.conf"),
            UnitScope::System => include_str!("units/hardening-system.conf"),
        };
        let hardening = [include_str!("units/hardening.conf"), more].concat();
        let user = self.user.as_ref().map(|user| format!("User={user}"));
        let variables = self.place.variables.iter().map(|(name, value)| {
            let assignment = quote(&format!("{name}={value}"));
            format!("Environment={assignment}")
        });
        let options = self.place.options.iter().map(|option| quote(option).replace('$', "$$"));
        let command = std::iter::once(quote(&self.binary)).chain(options).collect::<Vec<_>>().join(" ");
        // One that is gone is for claw-sessions to tell, not for systemd to fail on.
        let writable = self.writable.iter().map(|dir| quote(&format!("-{dir}")));
        let values = [
            ("{user}", user.unwrap_or_default()),
            ("{environment}", variables.collect::<Vec<_>>().join("\n")),
            ("{command}", command),
            ("{writable}", writable.collect::<Vec<_>>().join(" ")),
            ("{gateway}", self.names.gateway.clone()),
            ("{night}", self.names.path("night", "service")),
            ("{restart}", self.names.path("restart", "service")),
            ("{systemctl}", self.scope.systemctl().to_owned()),
        ];
        let mut text = format!("{MARK}; `claw-sessions systemd --remove` removes it. To change it, add a drop-in.\n");
        for line in template.replace("{hardening}", hardening.trim_end()).lines() {
            let filled = fill(line, &values);
            // A place that stands alone and has no value leaves no line.
            if line.is_empty() || !filled.is_empty() {
                text.push_str(&filled);
                text.push('\n');
            }
        }
        text
    }
}

/// Puts values into their places in one line. What a value holds is no place.
fn fill(line: &str, values: &[(&str, String)]) -> String {
    let mut filled = String::new();
    let mut rest = line;
    while let Some((before, place)) = rest.find('{').map(|at| rest.split_at(at)) {
        let known = values.iter().find(|(name, _)| place.starts_with(name));
        let (name, value) = known.map_or(("{", "{"), |(name, value)| (*name, value.as_str()));
        filled.extend([before, value]);
        rest = &place[name.len()..];
    }
    filled + rest
}

/// A word as unit files take it: no specifier, and quoted where it is more than letters.
fn quote(word: &str) -> String {
    let word = word.replace('%', "%%");
    let plain = |c: char| c.is_alphanumeric() || "-_./:@+,=%".contains(c);
    if word.chars().all(plain) { word } else { format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\"")) }
}

/// `systemd --json`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SystemdDocument {
    /// The document's type and version.
    pub schema: String,
    /// The version of claw-sessions.
    pub version: String,
    /// Whose units.
    pub scope: UnitScope,
    /// The gateway's unit.
    pub gateway_unit: String,
    /// What a person should know.
    pub warnings: Vec<String>,
    /// Every file.
    pub files: Vec<UnitDocument>,
    /// Commands to run next.
    pub next: Vec<String>,
}

/// A file.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct UnitDocument {
    /// Its path.
    pub path: String,
    /// What became of it.
    pub state: FileState,
    /// Its text, when it was to be printed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

impl UnitDocument {
    /// A file and what became of it.
    pub fn new(path: &Path, state: FileState) -> Self {
        Self { path: path.to_string_lossy().into_owned(), state, text: None }
    }
}

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FileState {
    /// Printed only.
    Printed,
    /// Written.
    Written,
    /// It was there already, as it would be written.
    Unchanged,
    /// Removed.
    Removed,
    /// There is none.
    Absent,
    /// There is one that claw-sessions did not write: left alone.
    Foreign,
}

/// What `systemd` did, or would write.
pub fn text(document: &SystemdDocument) -> String {
    let mut text = String::new();
    for file in &document.files {
        let path = escape(&file.path);
        let _ = match file.state {
            FileState::Printed => writeln!(text, "{DIM}# {path}{DIM:#}"),
            FileState::Written => writeln!(text, "written {path}"),
            FileState::Unchanged => writeln!(text, "unchanged {path}"),
            FileState::Removed => writeln!(text, "removed {path}"),
            FileState::Absent => Ok(()),
            FileState::Foreign => writeln!(text, "left alone {path}: claw-sessions did not write it"),
        };
        for line in file.text.iter().flat_map(|content| content.lines().chain([""])) {
            let _ = writeln!(text, "{}", escape(line));
        }
    }
    list(&mut text, "warning: ", &document.warnings);
    for command in &document.next {
        let _ = writeln!(text, "Next: {BOLD}{}{BOLD:#}", escape(command));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_quoted_where_systemd_would_split_or_expand_it() {
        for (word, quoted) in [
            ("/usr/bin/claw-sessions", "/usr/bin/claw-sessions"),
            ("/a b", "\"/a b\""),
            ("/100%", "/100%%"),
            ("/a\"b\\c", "\"/a\\\"b\\\\c\""),
            ("it's", "\"it's\""),
        ] {
            assert_eq!(quote(word), quoted);
        }
    }

    #[test]
    fn what_a_value_holds_is_no_place() {
        let values = [("{a}", "{b}".to_owned()), ("{b}", "no".to_owned())];
        assert_eq!(fill("x{a}y{c}{b}", &values), "x{b}y{c}no");
    }
}
