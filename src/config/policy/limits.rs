//! The limits. One row of the table makes an option, its key in the policy file, its field in the policy with the place
//! that it came from, its line of `config show`, and its row in `docs/policy.md`.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use clap::Args;
use serde::Deserialize;

use super::kind::{CountOrOff, Failures, Idle, Length, RemovalsOrOff, SpanOrOff, ValueKind, Written};
use super::resolve::{Layers, default, first, flag, openclaw, setting};
use super::{ChoiceArgs, Source, Sourced};
use crate::config::policy_file::Protect;
use crate::model::key::Class;

/// A limit in force: its name, its value in words, and where it came from.
#[derive(Debug)]
pub struct Shown<'a> {
    /// Its name, as in the policy file.
    pub name: &'static str,
    /// Its value.
    pub value: String,
    /// Where it came from.
    pub source: &'a Source,
}

/// A limit as it is described to people.
#[derive(Debug)]
pub struct Described {
    /// Its key in the policy file; its option is `--` and this.
    pub name: &'static str,
    /// Stands for its value.
    pub placeholder: &'static str,
    /// What holds without it.
    pub default: String,
    /// What it does.
    pub text: &'static str,
    /// The classes that may have one of their own; `None` is none, and an empty list all.
    pub classes: Option<Vec<Class>>,
}

macro_rules! limits {
    (
        each class $($class_heading:literal { $(
            $class:ident $class_key:literal $class_kind:ty, else $else:ident $(of $only:ident)?,
            $class_default:literal, $class_text:literal;
        )* })*
        all $($all_heading:literal { $(
            $all:ident $all_key:literal $all_kind:ty = $all_default:expr, $(openclaw $of:ident $at:literal,)?
            $all_text:literal;
        )* })*
        gc $($gc_heading:literal { $(
            $(#[$gc_attribute:meta])*
            $gc:ident $gc_key:literal $gc_kind:ty = $gc_default:expr, $gc_text:literal;
        )* })*
    ) => {
        /// Options of every command that judges.
        #[derive(Clone, Debug, Default, PartialEq, Args)]
        pub struct PolicyArgs {
            $($(
                #[doc = $class_text]
                #[arg(long = $class_key, help_heading = $class_heading, help = help($class_text, $class_default))]
                #[arg(value_name = <$class_kind>::PLACEHOLDER, value_parser = <$class_kind>::parser())]
                pub $class: Option<<$class_kind as ValueKind>::Value>,
            )*)*
            $($(
                #[doc = $all_text]
                #[arg(long = $all_key, help_heading = $all_heading)]
                #[arg(help = help($all_text, &<$all_kind>::show(&$all_default)))]
                #[arg(value_name = <$all_kind>::PLACEHOLDER, value_parser = <$all_kind>::parser())]
                pub $all: Option<<$all_kind as ValueKind>::Value>,
            )*)*
            /// Bindings, classes and files that are chosen.
            #[command(flatten)]
            pub choice: ChoiceArgs,
        }

        /// Options of `gc` alone.
        #[derive(Clone, Debug, Default, PartialEq, Args)]
        pub struct GcLimitArgs {
            $($(
                #[doc = $gc_text]
                #[arg(long = $gc_key, help_heading = $gc_heading)]
                #[arg(help = help($gc_text, &<$gc_kind>::show(&$gc_default)))]
                #[arg(value_name = <$gc_kind>::PLACEHOLDER, value_parser = <$gc_kind>::parser())]
                $(#[$gc_attribute])*
                pub $gc: Option<<$gc_kind as ValueKind>::Value>,
            )*)*
        }

        /// The policy file; what is absent is left to `openclaw.json` and the defaults.
        #[derive(Clone, Debug, Default, PartialEq, Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
        pub struct PolicyFile {
            $($(#[doc = $class_text] #[serde(rename = $class_key)] pub $class: Option<Written<$class_kind>>,)*)*
            $($(#[doc = $all_text] #[serde(rename = $all_key)] pub $all: Option<Written<$all_kind>>,)*)*
            $($(#[doc = $gc_text] #[serde(rename = $gc_key)] pub $gc: Option<Written<$gc_kind>>,)*)*
            /// `[class.NAME]`.
            pub class: BTreeMap<Class, ClassLimits>,
            /// `[protect]`.
            pub protect: Protect,
        }

        /// `[class.NAME]`: limits of one class, above the general ones.
        #[derive(Clone, Debug, Default, PartialEq, Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
        pub struct ClassLimits {
            $($(#[doc = $class_text] #[serde(rename = $class_key)] pub $class: Option<Written<$class_kind>>,)*)*
        }

        /// The limits for one class.
        #[derive(Clone, Debug, PartialEq)]
        pub struct ClassPolicy {
            /// Protected from the failure, staleness and count rules.
            pub protected: Sourced<bool>,
            $($(#[doc = $class_text] pub $class: Sourced<<$class_kind as ValueKind>::Value>,)*)*
        }

        /// The limits for all classes.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Limits {
            $($(#[doc = $all_text] pub $all: Sourced<<$all_kind as ValueKind>::Value>,)*)*
            $($(#[doc = $gc_text] pub $gc: Sourced<<$gc_kind as ValueKind>::Value>,)*)*
        }

        impl ClassPolicy {
            /// Resolves the limits of a class.
            pub(super) fn resolve(layers: &Layers<'_>, class: Class) -> Self {
                let Layers { flags, file, .. } = layers;
                let own = file.class.get(&class);
                Self {
                    protected: layers.protected(class),
                    $($($class: if true $(&& class == Class::$only)? {
                        first(
                            [
                                flag(flags.policy.$class.clone(), concat!("--", $class_key)),
                                own.and_then(|own| key(own.$class.as_ref(), format!("class.{class}.{}", $class_key))),
                                key(file.$class.as_ref(), $class_key),
                            ],
                            layers.$else(class),
                        )
                    } else {
                        layers.$else(class)
                    },)*)*
                }
            }

            /// Returns the limits in words, those left out that this class cannot have.
            pub fn shown(&self, class: Class) -> Vec<Shown<'_>> {
                let mut shown = Vec::new();
                $($(if true $(&& class == Class::$only)? {
                    let Sourced { value, source } = &self.$class;
                    shown.push(Shown { name: $class_key, value: <$class_kind>::show(value), source });
                })*)*
                shown
            }
        }

        impl Limits {
            /// Resolves the limits for all classes.
            pub(super) fn resolve(layers: &Layers<'_>) -> Self {
                let Layers { flags, file, config, .. } = layers;
                Self {
                    $($($all: first(
                        [
                            flag(flags.policy.$all.clone(), concat!("--", $all_key)),
                            key(file.$all.as_ref(), $all_key),
                            $(openclaw(config.$of.map(Into::into), $at),)?
                        ],
                        default($all_default),
                    ),)*)*
                    $($($gc: first(
                        [
                            flag(flags.gc.$gc.clone(), concat!("--", $gc_key)),
                            key(file.$gc.as_ref(), $gc_key),
                        ],
                        default($gc_default),
                    ),)*)*
                }
            }

            /// Returns the limits in words.
            pub fn shown(&self) -> Vec<Shown<'_>> {
                vec![
                    $($(Shown {
                        name: $all_key, value: <$all_kind>::show(&self.$all.value), source: &self.$all.source,
                    },)*)*
                    $($(Shown {
                        name: $gc_key, value: <$gc_kind>::show(&self.$gc.value), source: &self.$gc.source,
                    },)*)*
                ]
            }
        }

        /// Describes every limit, in the order of the table.
        pub fn described() -> Vec<Described> {
            vec![
                $($(Described {
                    name: $class_key, placeholder: <$class_kind>::PLACEHOLDER, default: $class_default.to_owned(),
                    text: $class_text, classes: Some(vec![$(Class::$only)?]),
                },)*)*
                $($(Described {
                    name: $all_key, placeholder: <$all_kind>::PLACEHOLDER, default: <$all_kind>::show(&$all_default),
                    text: $all_text, classes: None,
                },)*)*
                $($(Described {
                    name: $gc_key, placeholder: <$gc_kind>::PLACEHOLDER, default: <$gc_kind>::show(&$gc_default),
                    text: $gc_text, classes: None,
                },)*)*
            ]
        }
    };
}

limits! {
    each class
        "What goes" {
            idle "idle" Idle, else openclaws_idle,
                "OpenClaw's own reset rule", "A binding idle for this long is stale (90s 30m 24h 7d 2w 1h30m)";
            max_age "max-age" SpanOrOff, else openclaws_max_age,
                "off", "A binding older than this is stale";
        }
        "What stays" {
            keep_last "keep-last" CountOrOff<1>, else no_keep_last of CronRun,
                "off", "Keep the last N runs of each cron job";
        }
    all
        "What goes" {
            error_idle "error-idle" Length = TimeDelta::hours(1),
                "A failed binding goes after this idle time";
            failed "failed" Failures = None,
                "Failures that count";
            max_bindings "max-bindings" CountOrOff<1> = None, openclaw max_entries "session.maintenance.maxEntries",
                "At most N bindings for an agent; the longest idle go first";
            max_resumes "max-resumes" CountOrOff<0> = None,
                "At most N bindings that a start resumes; the others are deferred: taken out until `restore --deferred` readmits them";
        }
        "What stays" {
            grace "grace" Length = TimeDelta::minutes(15),
                "A binding active within this is left alone";
        }
    gc
        "What is deleted for good" {
            purge_archives "purge-archives" SpanOrOff = None,
                "Delete OpenClaw's .deleted. and .bak archives older than this";
            purge_resets "purge-resets" SpanOrOff = None,
                "Delete OpenClaw's .reset. archives older than this: history that people may want back";
            keep_runs "keep-runs" SpanOrOff = Some(TimeDelta::days(30)),
                "Forget own runs older than this, what is set aside or deferred never";
        }
        "In SQLite" {
            trajectories "trajectories" SpanOrOff = None,
                "Traces of kept sessions older than this go into the archive; sessions and events stay";
            history "history" SpanOrOff = None,
                "Windows of kept sessions older than this that no entry names go into the archive";
            #[arg(requires = "boot")]
            resume_max_age "resume-max-age" SpanOrOff = Some(TimeDelta::hours(24)),
                "With --boot: a row that says running and is idle for longer is marked as failed, and no start resumes it";
        }
        "Safety" {
            max_removals "max-removals" RemovalsOrOff = None,
                "Refuse a plan that takes more bindings than N or P%; 0 refuses every plan that takes one";
        }
        "Start-up" {
            #[arg(requires = "boot")]
            poison_starts "poison-starts" CountOrOff<2> = Some(3),
                "With --boot: take a session aside that was found failed or cut off, with an unchanged transcript, at this many starts in a row; a protected one only if a start runs it again";
        }
}

/// A key of the policy file.
fn key<K: ValueKind>(written: Option<&Written<K>>, name: impl Into<String>) -> Option<Sourced<K::Value>> {
    setting(written.map(|written| written.0.clone()), name)
}

/// The help of an option: what it does, and what holds without it.
fn help(text: &str, default: &str) -> String {
    format!("{text} [default: {default}]")
}
