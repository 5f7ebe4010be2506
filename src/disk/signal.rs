//! Signals.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::SIGXFSZ;

/// Lets a write beyond the greatest size of files (`LimitFSIZE=`, `ulimit -f`) fail: by itself such a write ends the
/// process, in the middle of whatever it is doing.
pub fn let_writes_fail() {
    // Without a handler it is as it would be without this.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
}
