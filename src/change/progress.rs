//! How far a change came, for whoever watches it.

/// A part of a change that may take long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Files go into the archive.
    Moving,
    /// Files in the archive are hashed.
    Hashing,
    /// Files come back from the archive.
    Returning,
}

/// Hears how many bytes of a phase are done, of how many.
pub type Advance<'a> = &'a (dyn Fn(Phase, u64, u64) + Sync);

/// Hears it and does nothing.
pub fn silent(_: Phase, _: u64, _: u64) {}
