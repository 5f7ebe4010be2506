//! The values that rules compare, in words.

use crate::config::duration::display as span;
use crate::decide::facts::Facts;
use crate::model::home::Bar;
use crate::model::inventory::{Binding, Store};

pub(in crate::decide) fn clock_words(facts: &Facts) -> String {
    facts.idle.map_or_else(
        || "no clock".to_owned(),
        |idle| format!("idle {} by {}", span(idle.duration()), idle.from.as_str()),
    )
}

pub(super) fn age_words(facts: &Facts) -> String {
    facts.age.map_or_else(
        || "age not known".to_owned(),
        |age| format!("age {} by {}", span(age.duration()), age.from.as_str()),
    )
}

pub(super) fn integrity_words(facts: &Facts) -> String {
    format!("transcript {}", facts.integrity.as_str())
}

pub(super) fn lock_words(binding: &Binding) -> String {
    match &binding.lock {
        None => "no lock".to_owned(),
        Some(lock) => {
            let owner = lock.pid.map_or_else(|| "no owner named".to_owned(), |pid| format!("pid {pid}"));
            format!("{owner}: {:?}", lock.state).to_lowercase()
        }
    }
}

pub(super) fn home_words(store: &Store) -> String {
    let words = match store.may_change() {
        Ok(()) => "ok",
        Err(Bar::Migrated) => "sqlite",
        Err(Bar::Linked) => "symlink",
        Err(Bar::Condition(condition)) => condition.as_str(),
    };
    format!("store {words}")
}
