//! Memory for requests of one connection that are not read yet. HTTP/1 has one request at a time; HTTP/2 has many.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::budget::{Budget, Memory};

/// What an unread frame of a body takes beside its bytes, in bytes. A client may send one for each byte, or for none.
const FRAME: usize = 256;

/// The memory that the requests of one connection may take.
#[derive(Debug)]
pub(super) struct Claims {
    budget: Arc<Budget>,
    /// What the connection's window lets in of all bodies, in bytes: they take no more, whatever was claimed.
    window: usize,
    claimed: Mutex<Claimed>,
}

#[derive(Debug, Default)]
struct Claimed {
    /// Bytes of heads, and of streams.
    heads: usize,
    /// Bytes that may come of bodies before they are read.
    bodies: usize,
    /// Bodies that are neither read to their end nor dropped.
    open_bodies: usize,
    /// Frames of these bodies that have come and are not read.
    frames: usize,
    memory: Memory,
}

impl Claimed {
    fn bytes(&self, window: usize) -> usize {
        self.heads + self.bodies.min(window) + self.frames * FRAME
    }
}

/// Memory that was claimed. Dropping this gives it back.
#[derive(Debug)]
pub(super) struct Claim {
    of: Arc<Claims>,
    head: usize,
    /// `None` is no body's claim.
    body: Option<usize>,
}

impl Claims {
    pub(super) fn new(budget: Arc<Budget>, window: usize) -> Arc<Self> {
        Arc::new(Self { budget, window, claimed: Mutex::default() })
    }

    /// Claims memory for a head, or returns `None` where there is none.
    pub(super) fn head(self: &Arc<Self>, bytes: usize) -> Option<Claim> {
        self.change(|claimed| claimed.heads += bytes, |claimed| claimed.heads -= bytes)?;
        Some(Claim { of: Arc::clone(self), head: bytes, body: None })
    }

    /// Claims memory for a body of which no more than this is kept before it is read.
    pub(super) fn body(self: &Arc<Self>, bytes: usize) -> Option<Claim> {
        let open = |claimed: &mut Claimed| {
            claimed.bodies += bytes;
            claimed.open_bodies += 1;
        };
        let close = |claimed: &mut Claimed| {
            claimed.bodies -= bytes;
            claimed.open_bodies -= 1;
        };
        self.change(open, close)?;
        Some(Claim { of: Arc::clone(self), head: 0, body: Some(bytes) })
    }

    /// Counts frames of bodies that have come. `None` when there is no memory for them, or they take more than one connection's share.
    pub(super) fn frames_came(&self, frames: usize) -> Option<()> {
        self.change(|claimed| claimed.frames += frames, |claimed| claimed.frames -= frames)?;
        (self.lock().frames * FRAME <= self.budget.share().max(FRAME * 1024)).then_some(())
    }

    /// Makes a change, and undoes it if there is no memory for it.
    fn change(&self, change: impl FnOnce(&mut Claimed), undo: impl FnOnce(&mut Claimed)) -> Option<()> {
        let claimed = &mut *self.lock();
        change(claimed);
        let bytes = claimed.bytes(self.window);
        if claimed.memory.resize(bytes, &self.budget) {
            return Some(());
        }
        undo(claimed);
        None
    }

    fn lock(&self) -> MutexGuard<'_, Claimed> {
        self.claimed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    /// Counts a frame of the body that was read.
    pub(super) fn frame_read(&self) {
        let claimed = &mut *self.of.lock();
        claimed.frames = claimed.frames.saturating_sub(1);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let claimed = &mut *self.of.lock();
        claimed.heads -= self.head;
        if let Some(body) = self.body {
            claimed.bodies -= body;
            claimed.open_bodies -= 1;
        }
        // What was not read of a body is dropped with it, and nobody has counted that.
        if claimed.open_bodies == 0 {
            claimed.frames = 0;
        }
        let bytes = claimed.bytes(self.of.window);
        // Less than before always fits.
        let _ = claimed.memory.resize(bytes, &self.of.budget);
        if bytes == 0 {
            claimed.memory.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_take_no_more_than_the_window_and_all_is_given_back() {
        let budget = Budget::new(100_000);
        let claims = Claims::new(Arc::clone(&budget), 50_000);
        let small = claims.head(1_000).unwrap();
        assert_eq!(budget.used(), 0, "little is not counted");
        let bodies: Vec<_> = (0..5).map(|_| claims.body(20_000).unwrap()).collect();
        assert_eq!(budget.used(), 51_000);
        assert!(claims.head(50_000).is_none());
        assert_eq!(budget.used(), 51_000);
        drop(bodies);
        assert_eq!(budget.used(), 1_000);
        drop(small);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn frames_count_until_they_are_read_or_no_body_is_open() {
        let budget = Budget::new(1 << 20);
        let claims = Claims::new(Arc::clone(&budget), 50_000);
        let (first, second) = (claims.body(0).unwrap(), claims.body(20_000).unwrap());
        claims.frames_came(100).unwrap();
        assert_eq!(budget.used(), 20_000 + 100 * FRAME);
        (0..40).for_each(|_| first.frame_read());
        claims.frames_came(1).unwrap();
        assert_eq!(budget.used(), 20_000 + 61 * FRAME);
        assert!(claims.frames_came(1024).is_none(), "more than a quarter");
        assert!(claims.frames_came(5_000).is_none(), "more than there is");
        drop(second);
        assert!(budget.used() > 60 * FRAME);
        drop(first);
        assert_eq!(budget.used(), 0);
    }
}
