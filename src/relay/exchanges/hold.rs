//! Visitors wait for an end that has left and may come back.

use std::time::Duration;

use tokio::time::Instant;

use super::exchange::Exchange;
use crate::cluster::Tried;
use crate::net::budget::Client;
use crate::proto::token::Token;
use crate::relay::budgets::Budgets;
use crate::relay::failure::Failure;
use crate::relay::tunnels::{Prospect, Tunnel, Tunnels};

/// One exchange's waits for an end of its tunnel, which together take no longer than the tunnel's `hold`.
pub(super) struct Hold<'h> {
    pub(super) tunnels: &'h Tunnels,
    pub(super) budgets: &'h Budgets,
    pub(super) tunnel: &'h Tunnel,
    pub(super) token: &'h Token,
    pub(super) visitor: Client,
    /// Nodes that have no end of it.
    pub(super) tried: Tried,
    /// The request may go to another node, see [`Incoming::may_go`](super::Incoming).
    pub(super) may_go: bool,
    /// How long the visitor may still wait. `None` before the first wait.
    pub(super) left: Option<Duration>,
}

impl Hold<'_> {
    /// Lets the next wait take the whole `hold` again: the request is sent a second time.
    pub(super) fn renew(&mut self) {
        self.left = None;
    }

    /// Waits until an end is connected. An exchange whose body is not read yet reads nothing of it meanwhile, and has no place
    /// among those in flight.
    ///
    /// # Errors
    /// - with what a visitor is told of a token without an end, when no end is expected or none has come in time
    /// - [`Failure::TooManyHeld`] when as many wait as may
    /// - [`Failure::Stopping`] when the server is about to stop, and the request may not go to another node, or no time is left for that
    pub(super) async fn wait(&mut self) -> Result<(), Failure> {
        let hold = || self.tunnel.settings().map_or(Duration::ZERO, |settings| settings.hold);
        let until = Instant::now() + self.left.unwrap_or_else(hold);
        let waited = self.wait_until(until).await;
        self.left = Some(until.saturating_duration_since(Instant::now()));
        waited
    }

    async fn wait_until(&self, until: Instant) -> Result<(), Failure> {
        let Self { tunnels, budgets, .. } = *self;
        while until > Instant::now() {
            let queue = match self.tunnel.prospect(|| budgets.held_per_tunnel.part()) {
                Prospect::Now => return Ok(()),
                Prospect::Later(queue) => queue,
                Prospect::Never => break,
            };
            let _of_address = budgets.held_per_address.hold(self.visitor).ok_or(Failure::TooManyHeld)?;
            let _place = queue.places.hold(1).ok_or(Failure::TooManyHeld)?;
            tokio::select! {
                () = queue.over.cancelled() => (),
                () = tunnels.claimed_elsewhere(self.token, self.tried) => return Err(Failure::Elsewhere),
                () = tokio::time::sleep_until(until) => (),
                () = tunnels.stopping(self.may_go) => return Err(Failure::Stopping),
            }
        }
        if self.tunnel.has_end() { Ok(()) } else { Err(tunnels.without_end(self.token, self.tried).await) }
    }
}

/// Waits for an end, in time that is neither the end's nor the relay's.
pub(super) async fn held(exchange: &mut Exchange, hold: &mut Hold<'_>) -> Result<(), Failure> {
    exchange.hold_begins();
    let waited = hold.wait().await;
    exchange.hold_ends();
    waited
}
