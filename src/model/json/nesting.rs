//! Open brackets of a text, however many.

/// Open brackets, one bit each: a line of a hundred million `[` costs twelve megabytes, not a stack.
#[derive(Default)]
pub(super) struct Nesting {
    /// The innermost of them, up to 64; the innermost is the lowest bit.
    inner: u64,
    /// All others, 64 together.
    outer: Vec<u64>,
    depth: usize,
}

impl Nesting {
    pub(super) fn clear(&mut self) {
        self.outer.clear();
        self.depth = 0;
    }

    pub(super) fn push(&mut self, object: bool) {
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.outer.push(self.inner);
        }
        self.inner = self.inner << 1 | u64::from(object);
        self.depth += 1;
    }

    pub(super) fn pop(&mut self) {
        self.depth -= 1;
        self.inner >>= 1;
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.inner = self.outer.pop().unwrap_or_default();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.depth == 0
    }

    pub(super) fn in_object(&self) -> bool {
        self.inner & 1 == 1
    }
}
