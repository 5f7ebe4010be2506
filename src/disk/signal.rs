//! Signals.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;

use crate::disk::platform;

/// Lets a write beyond the greatest size of files (`LimitFSIZE=`, `ulimit -f`) fail: by itself such a write ends the
/// process, in the middle of whatever it is doing.
pub fn let_writes_fail() {
    // Without a handler it is as it would be without this.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
}

/// Calls `say` when SIGINT or SIGTERM comes, and then ends the process as that signal does by itself. Where no thread can be
/// had the signal does so at once.
pub fn on_interrupt(say: impl FnOnce() + Send + 'static) {
    let ignored = platform::ignored_signals();
    // Whoever started this with a signal ignored, as `nohup` and a shell's `&` do, wants it to go on.
    let wanted = [SIGINT, SIGTERM].into_iter().filter(|signal| ignored & (1 << (signal - 1)) == 0);
    let (sender, receiver) = std::sync::mpsc::channel::<Signals>();
    let watch = move || {
        let Some(signal) = receiver.recv().ok().and_then(|mut signals| signals.forever().next()) else { return };
        say();
        let _ = signal_hook::low_level::emulate_default_handler(signal);
    };
    if std::thread::Builder::new().name("signals".to_owned()).spawn(watch).is_ok()
        && let Ok(signals) = Signals::new(wanted)
    {
        let _ = sender.send(signals);
    }
}
