//! What must hold after each step, and in the end.

use std::time::Duration;

use super::World;
use super::exchange::Exchange;
use crate::proto::exchange::stream::AbortCode;
use crate::proto::exchange::stream::FIRST_WINDOW;
use crate::proto::exchange::stream::server::Load;

/// What a session may have unacknowledged beyond the floors, and what the floors come to, in bytes: as PROTOCOL.md has them.
pub(super) const SHARED: usize = 16 << 20;
const FLOORS: usize = 64 << 20;

impl World {
    /// Counts anew what the server counts.
    pub(super) fn recount(&self) -> Load {
        let live = || self.live.iter().map(|&index| &self.exchanges[index]);
        let exchanges = live().filter(|exchange| exchange.counts()).count();
        let floor = (FLOORS / exchanges.max(1)).clamp(self.terms.chunk, FIRST_WINDOW);
        let beyond =
            |exchange: &Exchange| if exchange.counts() { exchange.request.unacked.saturating_sub(floor) } else { 0 };
        Load { exchanges, events: self.of_server.len(), floor, shared: live().map(beyond).sum() }
    }

    pub(super) fn check(&self) {
        let load = self.recount();
        assert_eq!(self.server.load(), load, "the server counts what is there");
        let (mut at_server, mut at_end, mut unacked) = (0, 0, 0);
        for &index in &self.live {
            let exchange = &self.exchanges[index];
            at_server += usize::from(!exchange.is_over_at_server);
            at_end += usize::from(exchange.has_come && !exchange.is_over_at_end);
            unacked += exchange.request.unacked;
        }
        assert_eq!(self.server.open().count(), at_server, "the server knows what is over");
        assert_eq!(self.end.open().count(), at_end, "the end knows what is over");
        assert!(unacked <= load.floor * load.exchanges + load.shared, "{unacked} of {load:?}");
    }

    /// Lets everything go on for a round that does not stall. Returns whether anything did.
    pub(super) fn flow(&mut self) -> bool {
        let mut goes_on = !self.to_end.is_empty() || !self.to_server.is_empty();
        self.deliver_to_end(usize::MAX);
        self.deliver_to_server(usize::MAX);
        goes_on |= self.pump_server(usize::MAX);
        goes_on |= self.pump_end(usize::MAX);
        for index in self.live.iter().copied().collect::<Vec<_>>() {
            if !self.exchanges[index].visitor_stalls {
                goes_on |= self.hand_on_at_server(index, usize::MAX, true);
            }
            if !self.exchanges[index].end_stalls && self.exchanges[index].is_open_at_end() {
                goes_on |= self.hand_on_at_end(index, usize::MAX, true);
            }
        }
        self.check();
        goes_on
    }

    /// Ends all exchanges that do not stall, and then those that do.
    pub(super) fn finish(mut self) {
        self.budget = usize::MAX;
        for &index in &self.live {
            let exchange = &mut self.exchanges[index];
            let most = 8 * exchange.unit(self.terms.chunk);
            exchange.request.shorten(most);
            exchange.response.shorten(most);
        }
        self.settle();
        for index in self.live.iter().copied().collect::<Vec<_>>() {
            let exchange = &self.exchanges[index];
            if exchange.may_last() {
                continue;
            }
            self.end_request(index);
            if !self.exchanges[index].is_open_at_end() {
                continue;
            }
            self.pull(index);
            if !self.exchanges[index].has_answered {
                self.respond(index, if self.exchanges[index].begin.is_upgrade { 101 } else { 200 });
            }
            self.end_response(index);
        }
        self.settle();
        for &index in &self.live {
            let exchange = &self.exchanges[index];
            assert!(
                exchange.may_last() || (exchange.is_over_at_server && exchange.is_over_at_end),
                "nobody stalls, and it does not end: {exchange:?}"
            );
        }
        for index in self.live.iter().copied().collect::<Vec<_>>() {
            self.exchanges[index].visitor_stalls = false;
            self.abort_at_server(index, AbortCode::Timeout);
        }
        self.settle();
        self.pass(Duration::from_secs(61));
        assert_eq!(self.server.next_turn(self.now), None);
        self.check();
        assert!(self.live.is_empty(), "something is left of an exchange: {:?}", self.live);
        let nothing = Load { exchanges: 0, events: 0, floor: FIRST_WINDOW, shared: 0 };
        assert_eq!(self.server.load(), nothing, "the server has forgotten all");
        assert!(self.server.is_idle() && self.end.open().next().is_none() && self.end.next_turn().is_none());
        assert!(self.due_of_end.is_empty() && self.due_of_server.is_empty(), "each event is acknowledged");
        assert!(self.of_server.is_empty() && self.of_end.is_empty(), "each ack has come");
    }

    fn settle(&mut self) {
        while self.flow() {}
    }
}
