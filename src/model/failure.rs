//! Why a run failed, told from the error message that OpenClaw stored with it (`openclaw-format.md` §12).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What kind of error ended a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The provider does not accept the credentials.
    Auth,
    /// The conversation is longer than the model's context.
    Overflow,
    /// The provider does not accept the request.
    InvalidRequest,
    /// Too many requests, or no quota left.
    RateLimit,
    /// The provider failed.
    Server,
    /// The connection failed, or the stream broke.
    Network,
    /// No answer in time.
    Timeout,
    /// None of these.
    Unknown,
}

impl FailureKind {
    /// Returns whether the session cannot outlive it: its next turn fails the same way (design §4, rule 3).
    pub const fn is_permanent(self) -> bool {
        matches!(self, Self::Auth | Self::Overflow | Self::InvalidRequest)
    }

    /// Its name in tables and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Overflow => "overflow",
            Self::InvalidRequest => "invalid-request",
            Self::RateLimit => "rate-limit",
            Self::Server => "server",
            Self::Network => "network",
            Self::Timeout => "timeout",
            Self::Unknown => "unknown",
        }
    }

    /// Tells the kind from a message such as `429 Rate limit reached for requests`.
    pub fn of(message: &str) -> Self {
        let text = message.to_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
        let overflow = says(&OVERFLOW);
        match status(&text) {
            _ if overflow => return Self::Overflow,
            Some(401 | 403) => return Self::Auth,
            Some(408) => return Self::Timeout,
            Some(413) => return Self::Overflow,
            Some(402 | 429) => return Self::RateLimit,
            Some(400 | 404 | 405 | 409 | 415 | 422) => return Self::InvalidRequest,
            Some(500..=599) => return Self::Server,
            _ => {}
        }
        WORDS.into_iter().find(|(_, words)| says(words)).map_or(Self::Unknown, |(kind, _)| kind)
    }
}

/// Words of an overflow, which tell more than the status that stands before them.
const OVERFLOW: [&str; 8] = [
    "maximum context length",
    "context length exceeded",
    "context_length_exceeded",
    "context window",
    "context overflow",
    "prompt is too long",
    "request_too_large",
    "input is too long",
];

/// Words of the other kinds, for a message without a status. The first that fits counts.
const WORDS: [(FailureKind, &[&str]); 6] = [
    (FailureKind::RateLimit, &["rate limit", "rate_limit", "too many requests", "quota", "resource_exhausted"]),
    (
        FailureKind::Auth,
        &[
            "api key",
            "api_key",
            "unauthorized",
            "authentication",
            "auth_permanent",
            "permission_error",
            "forbidden",
            "credential",
        ],
    ),
    (FailureKind::Timeout, &["timeout", "timed out", "etimedout", "deadline"]),
    (
        FailureKind::Server,
        &["overloaded", "internal server error", "server had an error", "bad gateway", "unavailable"],
    ),
    (
        FailureKind::Network,
        &[
            "connection",
            "econn",
            "socket",
            "terminated",
            "fetch failed",
            "network",
            "enotfound",
            "eai_again",
            "in json at position",
            "unexpected end of json",
        ],
    ),
    (FailureKind::InvalidRequest, &["invalid_request", "invalid request", "must alternate", "invalid schema"]),
];

/// A leading HTTP status: `401 Incorrect API key`, `HTTP 500: …`.
fn status(text: &str) -> Option<u16> {
    let text = text.trim_start().trim_start_matches("http").trim_start_matches([' ', '/', ':']);
    let digits: &str = text.split(|c: char| !c.is_ascii_digit()).next()?;
    (digits.len() == 3).then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::FailureKind as Kind;

    #[test]
    fn the_messages_of_the_recorded_runs_have_their_kinds() {
        for (message, kind) in [
            ("400 This model's maximum context length is 16384 tokens. However, your messages", Kind::Overflow),
            ("401 Incorrect API key provided: dummy. Key has been revoked.", Kind::Auth),
            ("403 Your account has been disabled. auth_permanent: permission_error", Kind::Auth),
            ("429 Rate limit reached for requests", Kind::RateLimit),
            ("500 The server had an error while processing your request", Kind::Server),
            ("Connection error.", Kind::Network),
            ("terminated", Kind::Network),
            ("Unterminated string in JSON at position 45 (line 1 column 46)", Kind::Network),
            ("Request timed out.", Kind::Timeout),
            ("400 messages: roles must alternate", Kind::InvalidRequest),
            ("529 overloaded_error", Kind::Server),
            ("something else", Kind::Unknown),
            ("", Kind::Unknown),
        ] {
            assert_eq!(Kind::of(message), kind, "{message}");
        }
    }
}
