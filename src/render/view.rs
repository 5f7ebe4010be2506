//! What documents are made with: how paths and messages are shown, what was left alone, a document as text.

use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use super::escape;

/// How paths and texts are shown.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Paths below it are shown relative to it.
    pub state_dir: &'a Path,
    /// Show error messages whole.
    pub show_text: bool,
}

impl View<'_> {
    /// A path relative to the state directory, absolute outside.
    pub fn path(&self, path: &Path) -> String {
        path.strip_prefix(self.state_dir).unwrap_or(path).to_string_lossy().into_owned()
    }

    /// An error message, whole or its beginning.
    pub fn message(&self, message: &str) -> String {
        if self.show_text { message.to_owned() } else { escape::excerpt(message) }
    }
}

/// Something left as it was.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LeftDocument {
    /// The key, path or run, in words.
    pub what: String,
    /// Why, in words.
    pub why: String,
    /// The stable code of the reason.
    pub code: String,
    /// The agent, of a binding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The key, of a binding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The path, of a file or directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
}

/// A document as text: indented, one final newline, safe on a terminal.
pub fn to_text(document: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(document).unwrap_or_default();
    text.push('\n');
    match escape::escape_json(&text) {
        std::borrow::Cow::Borrowed(_) => text,
        std::borrow::Cow::Owned(escaped) => escaped,
    }
}
