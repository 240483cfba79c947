//! Memory for requests of one connection that are not read yet. HTTP/1 has one request at a time; HTTP/2 has many.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::budget::{Budget, Memory};

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
    memory: Memory,
}

impl Claimed {
    /// h2 keeps half as much again beside the bytes of unread frames, and closes the connection beyond that.
    fn bytes(&self, window: usize) -> usize {
        self.heads + self.bodies.min(window) / 2 * 3
    }
}

/// Memory that was claimed. Dropping this gives it back.
#[derive(Debug)]
pub(super) struct Claim {
    of: Arc<Claims>,
    head: usize,
    body: usize,
}

impl Claims {
    pub(super) fn new(budget: Arc<Budget>, window: usize) -> Arc<Self> {
        Arc::new(Self { budget, window, claimed: Mutex::default() })
    }

    /// Claims memory for a head, or returns `None` where there is none.
    pub(super) fn head(self: &Arc<Self>, bytes: usize) -> Option<Claim> {
        self.claim(bytes, 0)
    }

    /// Claims memory for a body of which no more than this is kept before it is read.
    pub(super) fn body(self: &Arc<Self>, bytes: usize) -> Option<Claim> {
        self.claim(0, bytes)
    }

    fn claim(self: &Arc<Self>, head: usize, body: usize) -> Option<Claim> {
        let claimed = &mut *self.lock();
        let before = (claimed.heads, claimed.bodies);
        (claimed.heads, claimed.bodies) = (before.0 + head, before.1 + body);
        let bytes = claimed.bytes(self.window);
        if claimed.memory.resize(bytes, &self.budget) {
            return Some(Claim { of: Arc::clone(self), head, body });
        }
        (claimed.heads, claimed.bodies) = before;
        None
    }

    fn lock(&self) -> MutexGuard<'_, Claimed> {
        self.claimed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let claimed = &mut *self.of.lock();
        claimed.heads -= self.head;
        claimed.bodies -= self.body;
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
        assert_eq!(budget.used(), 76_000);
        assert!(claims.head(50_000).is_none());
        assert_eq!(budget.used(), 76_000);
        drop(bodies);
        assert_eq!(budget.used(), 1_000);
        drop(small);
        assert_eq!(budget.used(), 0);
    }
}
