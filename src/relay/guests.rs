//! Guests of this node: clients of sessions at others whose WebSockets and polls come through it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::cluster::Message;
use crate::engine::Sid;
use crate::store::Peer;
use crate::tables;

/// The guests, each by a number of its own. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Guests(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    here: HashMap<u64, Entry>,
    /// The number of the last that came.
    last: u64,
}

/// A guest: its session, the node of that, and how it comes.
#[derive(Debug)]
struct Entry {
    sid: Sid,
    node: Peer,
    way: Way,
}

/// How a client comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// By a poll, for as long as that waits.
    Poll,
    /// By a WebSocket, for as long as that is open.
    WebSocket,
}

impl Guests {
    /// Adds a guest, until what this returns is dropped.
    pub(super) fn enter(&self, sid: Sid, node: Peer, way: Way) -> Guest {
        let mut book = self.book();
        book.last += 1;
        let number = book.last;
        book.here.insert(number, Entry { sid, node, way });
        drop(book);
        Guest { guests: self.clone(), number }
    }

    /// Returns what the nodes of the guests that come one way are to hear when this one stops.
    pub(super) fn farewells(&self, way: Way) -> Vec<(Peer, Message)> {
        let message = match way {
            Way::Poll => Message::Answer,
            Way::WebSocket => Message::Move,
        };
        let book = self.book();
        let guests = book.here.values().filter(|entry| entry.way == way);
        guests.map(|entry| (entry.node.clone(), message(entry.sid))).collect()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // Nothing that is done under the lock can panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A guest, until this is dropped.
#[derive(Debug)]
pub(super) struct Guest {
    guests: Guests,
    number: u64,
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut book = self.guests.book();
        book.here.remove(&self.number);
        tables::shrink(&mut book.here);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::proto::node::NodeId;

    fn node() -> Peer {
        Peer {
            node: NodeId::from_random([1; 6]),
            advertise: "http://10.0.0.1:1".into(),
            label: "".into(),
            version: "1".into(),
            is_draining: false,
            lease: Duration::from_secs(6),
        }
    }

    #[test]
    fn the_node_of_a_guest_hears_of_it_while_it_is_here() {
        let (guests, sid) = (Guests::default(), Sid::from_random([2; 15]));
        let of = |guests: &Guests| [Way::WebSocket, Way::Poll].map(|way| guests.farewells(way));
        let websocket = guests.enter(sid, node(), Way::WebSocket);
        let poll = guests.enter(sid, node(), Way::Poll);
        assert_eq!(of(&guests), [[(node(), Message::Move(sid))], [(node(), Message::Answer(sid))]]);
        drop(websocket);
        assert_eq!(of(&guests), [vec![], vec![(node(), Message::Answer(sid))]]);
        drop(poll);
        assert_eq!(of(&guests), [[], []]);
    }
}
