//! Reads `openclaw.json`: JSON5, `$include`, variables (`openclaw-format.md` §1.2).
//!
//! It is read as OpenClaw reads it, and whatever OpenClaw would refuse makes the whole file invalid: half a
//! configuration is a policy nobody wrote.

use std::fs::Metadata;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::config::environment::{Environment, normalize};
use crate::config::openclaw::{ConfigProblem, ConfigState, LoadedConfig, OpenclawConfig, own_variables, substitute};
use crate::disk::whole;
use crate::openclaw::home::StateHome;

const MAX_BYTES: u64 = 2 * 1024 * 1024;
const MAX_INCLUDE_DEPTH: usize = 10;
/// The parser recurses; OpenClaw's does not, but no configuration is this deep.
const MAX_NESTING: usize = 128;
const INCLUDE: &str = "$include";

/// Reads the configuration of a state directory.
pub fn read(home: &StateHome) -> LoadedConfig {
    let path = home.config_path.clone();
    let (mut notes, mut unread) = (Vec::new(), false);
    let (state, config, problems) = match load(&path, &home.environment, &mut notes, &mut unread) {
        Ok(None) => (ConfigState::Missing, OpenclawConfig::default(), Vec::new()),
        Ok(Some(value)) => match OpenclawConfig::from_value(&value) {
            (config, problems) if problems.is_empty() => (ConfigState::Valid, config, problems),
            (_, problems) => (ConfigState::Invalid, OpenclawConfig::default(), problems),
        },
        Err(problem) => (ConfigState::Invalid, OpenclawConfig::default(), vec![problem]),
    };
    LoadedConfig { path, state, config, problems, notes, unread }
}

/// The whole configuration with includes and variables resolved; `None` when there is no file.
fn load(
    path: &Path,
    environment: &Environment,
    notes: &mut Vec<String>,
    unread: &mut bool,
) -> Result<Option<Value>, ConfigProblem> {
    let text = match read_text(path, |_| Ok(())) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            *unread = error.raw_os_error().is_some();
            return Err(problem(path, error.to_string()));
        }
        Ok(text) => text,
    };
    let parsed = parse(path, &text)?;
    let mut value = Includes::of(path).expand(parsed, &[path.to_owned()])?;
    let own = own_variables(&value);
    let lookup = |name: &str| {
        let inherited = environment.vars.get(name).filter(|value| !value.is_empty());
        inherited.or_else(|| own.get(name)).cloned()
    };
    notes.extend(substitute(&mut value, &lookup));
    Ok(Some(value))
}

fn problem(path: &Path, message: impl Into<String>) -> ConfigProblem {
    ConfigProblem { place: path.display().to_string(), message: message.into() }
}

fn refuse<T>(message: &str) -> io::Result<T> {
    Err(io::Error::new(ErrorKind::InvalidData, message))
}

fn read_text(path: &Path, check: impl FnOnce(&Metadata) -> io::Result<()>) -> io::Result<String> {
    let (file, meta) = whole::open(path)?;
    check(&meta)?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return refuse("larger than 2 MiB");
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn parse(path: &Path, text: &str) -> Result<Value, ConfigProblem> {
    if nesting(text) > MAX_NESTING {
        return Err(problem(path, format!("nested more than {MAX_NESTING} deep")));
    }
    json5::from_str(text).map_err(|error| problem(path, error.to_string()))
}

/// How deep brackets nest outside strings and comments.
fn nesting(text: &str) -> usize {
    let ends_line = |c: char| matches!(c, '\n' | '\r' | '\u{2028}' | '\u{2029}');
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '{' | '[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            '}' | ']' => depth = depth.saturating_sub(1),
            '"' | '\'' => {
                while let Some(inner) = chars.next().filter(|inner| *inner != c) {
                    if inner == '\\' {
                        chars.next();
                    }
                }
            }
            '/' if chars.as_str().starts_with('/') => {
                chars.find(|c| ends_line(*c));
            }
            '/' if chars.as_str().starts_with('*') => {
                let rest = &chars.as_str()[1..];
                chars = rest.find("*/").map_or("", |end| &rest[end + 2..]).chars();
            }
            _ => {}
        }
    }
    deepest
}

/// Included files must stay below the directory of the root configuration.
struct Includes {
    root: PathBuf,
    real_root: PathBuf,
}

impl Includes {
    fn of(config: &Path) -> Self {
        let root = config.parent().map(normalize).unwrap_or_default();
        let real_root = root.canonicalize().unwrap_or_else(|_| root.clone());
        Self { root, real_root }
    }

    /// Replaces every `$include` in a value. `chain` leads from the root configuration to the file of the value.
    fn expand(&self, value: Value, chain: &[PathBuf]) -> Result<Value, ConfigProblem> {
        match value {
            Value::Array(items) => items.into_iter().map(|item| self.expand(item, chain)).collect(),
            Value::Object(mut map) => match map.shift_remove(INCLUDE) {
                Some(include) => self.merge_included(&include, map, chain),
                None => self.expand_members(map, chain),
            },
            plain => Ok(plain),
        }
    }

    fn expand_members(&self, map: Map<String, Value>, chain: &[PathBuf]) -> Result<Value, ConfigProblem> {
        let members = map.into_iter().map(|(key, value)| Ok((key, self.expand(value, chain)?)));
        members.collect::<Result<Map<_, _>, _>>().map(Value::Object)
    }

    fn merge_included(
        &self,
        include: &Value,
        siblings: Map<String, Value>,
        chain: &[PathBuf],
    ) -> Result<Value, ConfigProblem> {
        let included = match include {
            Value::String(path) => self.included_file(path, chain)?,
            Value::Array(paths) => {
                let mut merged = Value::Object(Map::new());
                for path in paths {
                    let path = path.as_str().ok_or_else(|| wrong_include(chain))?;
                    merge(&mut merged, self.included_file(path, chain)?);
                }
                merged
            }
            _ => return Err(wrong_include(chain)),
        };
        if siblings.is_empty() {
            return Ok(included);
        }
        if !included.is_object() {
            return Err(problem(including(chain), "beside other keys, $include needs a file that holds an object"));
        }
        let mut merged = included;
        merge(&mut merged, self.expand_members(siblings, chain)?);
        Ok(merged)
    }

    fn included_file(&self, include: &str, chain: &[PathBuf]) -> Result<Value, ConfigProblem> {
        let refused = |message: &str| problem(including(chain), format!("$include {include:?} {message}"));
        let dir = including(chain).parent().unwrap_or(&self.root);
        let path = normalize(&dir.join(include));
        let leads_out =
            !path.starts_with(&self.root) || path.canonicalize().is_ok_and(|real| !real.starts_with(&self.real_root));
        if leads_out {
            return Err(refused("leads out of the configuration's directory"));
        }
        if chain.contains(&path) {
            return Err(refused("includes itself"));
        }
        if chain.len() > MAX_INCLUDE_DEPTH {
            return Err(refused("is more than 10 files deep"));
        }
        // A hard link would let a file from elsewhere in, past the check of its path.
        let only_here = |metadata: &Metadata| {
            if metadata.nlink() > 1 { refuse("has hard links") } else { Ok(()) }
        };
        let text = read_text(&path, only_here).map_err(|error| refused(&format!("cannot be read: {error}")))?;
        let chain: Vec<PathBuf> = chain.iter().cloned().chain([path.clone()]).collect();
        self.expand(parse(&path, &text)?, &chain)
    }
}

fn including(chain: &[PathBuf]) -> &Path {
    chain.last().map_or(Path::new(""), PathBuf::as_path)
}

fn wrong_include(chain: &[PathBuf]) -> ConfigProblem {
    problem(including(chain), "$include needs a path or a list of paths")
}

/// Objects are merged member by member, lists are joined, everything else is replaced.
fn merge(target: &mut Value, source: Value) {
    match (target, source) {
        (Value::Array(target), Value::Array(source)) => target.extend(source),
        (Value::Object(target), Value::Object(source)) => {
            for (key, value) in source {
                match target.get_mut(&key) {
                    Some(existing) => merge(existing, value),
                    None => {
                        target.insert(key, value);
                    }
                }
            }
        }
        (target, source) => *target = source,
    }
}

#[cfg(test)]
mod tests;
