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
    /// How many have come.
    count: u64,
}

/// One that is here.
#[derive(Debug)]
struct Entry {
    sid: Sid,
    node: Peer,
    way: Way,
    /// Its node knows that it is to leave.
    is_told: bool,
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
    /// Notes one, until what this returns is dropped.
    pub(super) fn enter(&self, sid: Sid, node: Peer, way: Way) -> Guest {
        let mut book = self.book();
        book.count += 1;
        let number = book.count;
        book.here.insert(number, Entry { sid, node, way, is_told: false });
        drop(book);
        Guest { guests: self.clone(), number }
    }

    /// Returns what the nodes of those are to hear that come by WebSockets, because this one stops. Each is returned once.
    pub(super) fn take_websockets(&self) -> Vec<(Peer, Message)> {
        let mut book = self.book();
        let untold = book.here.values_mut().filter(|entry| entry.way == Way::WebSocket && !entry.is_told);
        untold
            .map(|entry| {
                entry.is_told = true;
                (entry.node.clone(), Message::Move(entry.sid))
            })
            .collect()
    }

    /// Returns what the nodes of those are to hear that wait by polls, because this one stops.
    pub(super) fn polls(&self) -> Vec<(Peer, Message)> {
        let book = self.book();
        let polls = book.here.values().filter(|entry| entry.way == Way::Poll);
        polls.map(|entry| (entry.node.clone(), Message::Answer(entry.sid))).collect()
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
    fn the_node_of_a_websocket_is_told_once_and_that_of_a_poll_while_it_waits() {
        let (guests, sid) = (Guests::default(), Sid::from_random([2; 15]));
        let websocket = guests.enter(sid, node(), Way::WebSocket);
        let poll = guests.enter(sid, node(), Way::Poll);
        assert_eq!(guests.take_websockets(), [(node(), Message::Move(sid))]);
        let other = guests.enter(Sid::from_random([3; 15]), node(), Way::WebSocket);
        assert_eq!(guests.take_websockets(), [(node(), Message::Move(Sid::from_random([3; 15])))]);
        assert_eq!(
            [guests.polls(), guests.polls()],
            [[(node(), Message::Answer(sid))], [(node(), Message::Answer(sid))]]
        );
        drop((websocket, poll, other));
        assert_eq!((guests.take_websockets(), guests.polls()), (vec![], vec![]));
    }
}
