//! Beside the real OpenClaw: what it does with what we write, and we with what it writes.
//!
//! The releases are installed below `target/` (`make peer`, `make interop`); without them each test is skipped, by name.
//! `cargo test` tries 2026.3.11. What other releases do, and more transcripts, is tried with `FULL=1` (`make interop`).

#![allow(clippy::disallowed_methods, reason = "test code")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]
#![allow(clippy::print_stdout, reason = "says what it counted")]

mod commands;
mod gateway;
mod loader;
mod lock;
mod programs;
mod release;
mod releases;
mod turns;
mod world;

/// Whether everything is to be tried, not a sample.
fn full() -> bool {
    std::env::var_os("FULL").is_some()
}
