//! The store, keys and commands that the tests of `lessons_…` share.

use crate::{NOW, Output, Store, StoreBuilder};

/// The key of a conversation.
pub const KEY: &str = "agent:main:telegram:direct:1";
/// The key of another conversation of the same agent.
pub const OTHER: &str = "agent:main:telegram:direct:2";
/// The store of both, below the state directory.
pub const STORE: &str = "agents/main/sessions/sessions.json";

/// Runs `gc --json` at [`NOW`].
pub fn gc(store: &Store, args: &[&str]) -> Output {
    store.gc([args, &["--now", NOW]].concat())
}

/// Agent `main` with two stale conversations, and `desk` with one; an old file that no binding knows beside each.
pub fn two_agents() -> Store {
    StoreBuilder::new()
        .agent("main")
        .binding(KEY, |one| one.idle("9d"))
        .binding(OTHER, |one| one.idle("9d"))
        .orphan("0a1b2c3d-0000-4000-8000-000000000000", "9d")
        .agent("desk")
        .binding("agent:desk:telegram:direct:1", |one| one.idle("9d"))
        .build()
}
