//! A healthy transcript for tests, a line at a time.

/// The header.
pub(super) const HEADER: &str =
    r#"{"type":"session","version":3,"id":"s","timestamp":"2026-11-22T22:00:00.000Z","cwd":"/w"}"#;

/// A message; `parent` as it stands in the line.
pub(super) fn entry(id: &str, parent: &str, role: &str) -> String {
    let more = match role {
        "assistant" => r#","content":[{"type":"text","text":"Yes."}],"stopReason":"stop""#,
        _ => r#","content":"Really?""#,
    };
    format!(
        r#"{{"type":"message","id":"{id}","parentId":{parent},"timestamp":"2026-11-22T22:00:01.000Z","message":{{"role":"{role}"{more}}}}}"#
    )
}

/// A header and two turns.
pub(super) fn good() -> Vec<String> {
    vec![
        HEADER.to_owned(),
        entry("aaaaaaaa", "null", "user"),
        entry("bbbbbbbb", "\"aaaaaaaa\"", "assistant"),
        entry("cccccccc", "\"bbbbbbbb\"", "user"),
        entry("dddddddd", "\"cccccccc\"", "assistant"),
    ]
}

/// The lines as a file.
pub(super) fn text_of(lines: &[String]) -> String {
    lines.join("\n") + "\n"
}
