//! Variables in the texts of a configuration (`openclaw-format.md` §1.2).

use std::collections::BTreeMap;

use serde_json::Value;

/// Replaces `${NAME}` in every text by what `vars` knows and `$${NAME}` by `${NAME}`. What is not set stays as it is
/// written and is reported, as OpenClaw does (`openclaw-format.md` §1.2).
pub fn substitute(value: &mut Value, vars: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let mut missing = Vec::new();
    substitute_at(value, "", vars, &mut missing);
    missing
}

fn substitute_at(value: &mut Value, path: &str, vars: &dyn Fn(&str) -> Option<String>, missing: &mut Vec<String>) {
    match value {
        Value::String(text) if text.contains("${") => {
            let mut report = |name: &str| {
                missing.push(format!("{path}: ${{{name}}} is not set and stays as it is"));
            };
            *text = substitute_text(text, vars, &mut report);
        }
        Value::Array(items) => {
            for (at, item) in items.iter_mut().enumerate() {
                substitute_at(item, &format!("{path}[{at}]"), vars, missing);
            }
        }
        Value::Object(map) => {
            for (key, item) in map.iter_mut() {
                let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                substitute_at(item, &inner, vars, missing);
            }
        }
        _ => {}
    }
}

fn substitute_text(text: &str, vars: &dyn Fn(&str) -> Option<String>, missing: &mut dyn FnMut(&str)) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(name) = rest.strip_prefix('$').and_then(reference) {
            if let Some(value) = vars(name) {
                out.push_str(&value);
            } else {
                missing(name);
                out.push_str(&rest[..name.len() + 3]);
            }
            rest = &rest[name.len() + 3..];
        } else if let Some(name) = rest.strip_prefix("$$").and_then(reference) {
            out.push_str(&rest[1..name.len() + 4]);
            rest = &rest[name.len() + 4..];
        } else {
            out.push('$');
            rest = &rest[1..];
        }
    }
    out + rest
}

/// The name in a text that begins with `{NAME}`.
fn reference(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('{')?;
    let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let name = &inner[..inner.find(|c| !is_name(c)).unwrap_or(inner.len())];
    let named = !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit());
    (named && inner[name.len()..].starts_with('}')).then_some(name)
}

/// The variables that the configuration itself sets (`env.vars.NAME`, `env.NAME`); those inherited win over them.
pub fn own_variables(value: &Value) -> BTreeMap<String, String> {
    let Some(env) = value.get("env").and_then(Value::as_object) else { return BTreeMap::new() };
    let vars = env.get("vars").and_then(Value::as_object);
    let direct = env.iter().filter(|(name, _)| !matches!(name.as_str(), "vars" | "shellEnv"));
    let texts = vars.into_iter().flatten().chain(direct).filter_map(|(name, value)| Some((name, value.as_str()?)));
    texts.filter(|(_, text)| !text.trim().is_empty()).map(|(name, text)| (name.clone(), text.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn known(name: &str) -> Option<String> {
        match name {
            "A" => Some("1".to_owned()),
            "_B2" => Some("${A}".to_owned()),
            _ => None,
        }
    }

    #[track_caller]
    fn becomes(text: &str, expected: &str) {
        let mut value = json!(text);
        substitute(&mut value, &known);
        assert_eq!(value, json!(expected));
    }

    #[test]
    fn a_variable_is_replaced_wherever_it_stands_and_only_once() {
        becomes("${A}", "1");
        becomes("x${A}${A}y", "x11y");
        becomes("${_B2}", "${A}");
        becomes("é${A}é", "é1é");
    }

    #[test]
    fn a_doubled_dollar_keeps_the_reference() {
        becomes("$${A}", "${A}");
        becomes("$$${A}", "$${A}");
        becomes("$${A}${A}", "${A}1");
    }

    #[test]
    fn what_is_no_reference_stays() {
        for text in ["$", "$A", "${a}", "${1A}", "${}", "${A", "${A B}", "$$", "$$A", "100$"] {
            becomes(text, text);
        }
    }

    #[test]
    fn a_missing_variable_stays_and_is_reported_with_its_place() {
        let mut value = json!({"session": {"store": "${NO}/s.json"}, "list": ["${A}", {"x": "${NO}"}], "n": 1});
        let missing = substitute(&mut value, &known);
        assert_eq!(value["session"]["store"], "${NO}/s.json");
        assert_eq!(value["list"][0], "1");
        let expected =
            ["session.store: ${NO} is not set and stays as it is", "list[1].x: ${NO} is not set and stays as it is"];
        assert_eq!(missing, expected);
    }

    #[test]
    fn many_open_braces_take_linear_time() {
        becomes(&"${".repeat(500_000), &"${".repeat(500_000));
    }

    #[test]
    fn the_configurations_own_variables_are_texts_under_env() {
        let value = json!({"env": {"vars": {"A": "1", "EMPTY": ""}, "B": "2", "N": 3, "shellEnv": {"enabled": true}}});
        let own: Vec<_> = own_variables(&value).into_iter().collect();
        assert_eq!(own, [("A".to_owned(), "1".to_owned()), ("B".to_owned(), "2".to_owned())]);
        assert!(own_variables(&json!({})).is_empty());
    }
}
