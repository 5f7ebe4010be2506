//! The first promise, put to the test: nothing is lost. The real binary meets crashes, errors, power cuts, other writers
//! and hostile files; after each fault the stores are old or new, every transcript is there once, and the next run puts
//! all of it right.
//!
//! `cargo test --test faults` tries a sample. `make faults` (`FULL=1`) tries everything, as root and as an ordinary
//! user, and writes the figures into `docs/reliability.md`.

#![allow(clippy::disallowed_methods, reason = "test code")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod afterwards;
mod clock;
mod crash;
mod errors;
mod full_disk;
mod histories;
mod hostile;
mod ledger;
mod locks;
mod paths;
mod permissions;
mod power;
mod promise;
mod races;
mod resources;
mod rows;
mod scenario;
mod second;
mod starts;
mod strace;
mod swaps;
mod turns;
mod writer;

/// Whether everything is to be tried, not a sample.
fn full() -> bool {
    std::env::var_os("FULL").is_some()
}
