//! The kinds of limits: how the value of each is typed, written in the policy file, and shown.

use std::fmt;

use chrono::TimeDelta;
use clap::ValueEnum as _;
use clap::builder::{EnumValueParser, TypedValueParser as _, ValueParser};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::{FailedMode, IdleRule, MaxRemovals, StaleCode};
use crate::config::duration::{self, Limit};

const OFF: &str = "off";

/// A kind of limit.
pub trait ValueKind: 'static {
    /// Its value, as the policy holds it.
    type Value: Clone + fmt::Debug + PartialEq + Send + Sync + 'static;
    /// Stands for the value in the help and in `docs/policy.md`.
    const PLACEHOLDER: &'static str;

    /// Reads the value of an option, or of a key of the policy file.
    fn parse(text: &str) -> Result<Self::Value, String>;

    /// Returns the value in words.
    fn show(value: &Self::Value) -> String;

    /// Returns the parser of the option.
    fn parser() -> ValueParser {
        ValueParser::new(Self::parse)
    }
}

/// A duration.
#[derive(Clone, Debug, PartialEq)]
pub enum Length {}

/// A duration, or off.
#[derive(Clone, Debug, PartialEq)]
pub enum SpanOrOff {}

/// The idle time after which a binding is stale, or off.
#[derive(Clone, Debug, PartialEq)]
pub enum Idle {}

/// A number, this one or more, or off.
#[derive(Clone, Debug, PartialEq)]
pub enum CountOrOff<const LEAST: usize> {}

/// A number of bindings or a share of them, or off.
#[derive(Clone, Debug, PartialEq)]
pub enum RemovalsOrOff {}

/// The failures that count.
#[derive(Clone, Debug, PartialEq)]
pub enum Failures {}

impl ValueKind for Length {
    type Value = TimeDelta;
    const PLACEHOLDER: &'static str = "DUR";

    fn parse(text: &str) -> Result<TimeDelta, String> {
        duration::parse(text)
    }

    fn show(span: &TimeDelta) -> String {
        duration::display(*span)
    }
}

impl ValueKind for SpanOrOff {
    type Value = Limit;
    const PLACEHOLDER: &'static str = "DUR|off";

    fn parse(text: &str) -> Result<Limit, String> {
        duration::parse_or_off(text)
    }

    fn show(limit: &Limit) -> String {
        limit.map_or_else(|| OFF.to_owned(), duration::display)
    }
}

impl ValueKind for Idle {
    type Value = IdleRule;
    const PLACEHOLDER: &'static str = SpanOrOff::PLACEHOLDER;

    fn parse(text: &str) -> Result<IdleRule, String> {
        let rule = |limit: Limit| limit.map_or(IdleRule::Off, |after| IdleRule::After(after, StaleCode::Idle));
        duration::parse_or_off(text).map(rule)
    }

    fn show(rule: &IdleRule) -> String {
        match *rule {
            IdleRule::After(span, StaleCode::ArchiveAfter) => format!("{} after its run", duration::display(span)),
            IdleRule::After(span, _) => duration::display(span),
            IdleRule::OpenclawReset => "by OpenClaw's reset rule".to_owned(),
            IdleRule::Off => OFF.to_owned(),
        }
    }
}

impl<const LEAST: usize> ValueKind for CountOrOff<LEAST> {
    type Value = Option<usize>;
    const PLACEHOLDER: &'static str = "N|off";

    fn parse(text: &str) -> Result<Option<usize>, String> {
        let count = || text.parse().ok().filter(|count| *count >= LEAST && u32::try_from(*count).is_ok());
        match text {
            OFF => Ok(None),
            _ => count().map(Some).ok_or_else(|| format!("'{text}' is not a number of {LEAST} or more, or 'off'")),
        }
    }

    fn show(count: &Option<usize>) -> String {
        count.map_or_else(|| OFF.to_owned(), |count| count.to_string())
    }
}

impl ValueKind for RemovalsOrOff {
    type Value = Option<MaxRemovals>;
    const PLACEHOLDER: &'static str = "N|P%|off";

    fn parse(text: &str) -> Result<Option<MaxRemovals>, String> {
        if text == OFF { Ok(None) } else { MaxRemovals::parse(text).map(Some) }
    }

    fn show(most: &Option<MaxRemovals>) -> String {
        most.map_or_else(|| OFF.to_owned(), |most| most.to_string())
    }
}

impl ValueKind for Failures {
    type Value = Option<FailedMode>;
    const PLACEHOLDER: &'static str = "WHICH";

    fn parse(text: &str) -> Result<Option<FailedMode>, String> {
        let known = || FailedMode::from_str(text, false).ok();
        known().map(Some).ok_or_else(|| format!("'{text}' is none of any, permanent, off"))
    }

    fn show(mode: &Option<FailedMode>) -> String {
        let named = mode.and_then(|mode| mode.to_possible_value());
        named.map_or_else(
            || "any for programs, permanent for conversations".to_owned(),
            |value| value.get_name().to_owned(),
        )
    }

    fn parser() -> ValueParser {
        EnumValueParser::<FailedMode>::new().map(Some).into()
    }
}

/// A value of the policy file: a text, or a number without quotes.
#[derive(Clone, Debug, PartialEq)]
pub struct Written<K: ValueKind>(pub K::Value);

impl<'de, K: ValueKind> Deserialize<'de> for Written<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = match toml::Value::deserialize(deserializer)? {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            _ => return Err(D::Error::custom("expected a text in quotes or a whole number")),
        };
        K::parse(&text).map(Self).map_err(D::Error::custom)
    }
}
