//! How a server stops: its ends hear of it, its exchanges finish, its sessions are closed.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::io;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use super::api::Api;
use super::guests::Way;
use super::router::Router;
use crate::defaults;
use crate::engine::CLOSE_TIMEOUT;
use crate::proto::engine_io;

/// Completes at `shutdown`, or with an error when a task ends without which the server must not go on.
pub(super) async fn until_stopped(
    vital: &mut JoinSet<Infallible>,
    serving: &mut JoinSet<()>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let error = tokio::select! {
        () = shutdown => return Ok(()),
        Some(Err(error)) = vital.join_next() => error,
        Some(Err(error)) = serving.join_next() => error,
    };
    let error = io::Error::other(format!("a task of the server ended: {error}"));
    tracing::error!(%error, "the server stops");
    Err(error)
}

impl Router {
    /// Stops in order, within `timeout`. Ends on long-polling need requests of their own to answer, so the listener stays open until
    /// the exchanges are over.
    pub(super) async fn drain(&self, timeout: Duration) {
        let Self { engine, exchanges, api: Api { tunnels, .. }, .. } = self;
        let until = Instant::now() + timeout;
        engine.stop_opening();
        tunnels.begin_to_stop();
        self.move_ends(until).await;
        tunnels.stop();
        tunnels.say_stopping();
        // No tunnel is made or changed any more, and another server may wait for the store.
        if tokio::time::timeout(CLOSE_TIMEOUT, self.tokens.close()).await.is_err() {
            tracing::warn!("the store of tunnels does not end its work");
        }
        let in_flight = exchanges.in_flight();
        in_flight.close();
        let timeout = until.saturating_duration_since(Instant::now());
        tracing::info!(in_flight = in_flight.len(), ?timeout, "stopping: exchanges in flight may finish");
        if timeout_at(until, in_flight.wait()).await.is_err() {
            tracing::warn!(in_flight = in_flight.len(), "some exchanges did not finish in time");
            tunnels.give_up();
        }
        let (ends, sessions) = (tunnels.ends(), engine.session_count());
        tracing::info!(ends, sessions, "closing sessions: their clients will reconnect");
        engine.close_all(engine_io::CloseReason::ServerShuttingDown);
        if let Some(cluster) = self.tokens.cluster() {
            cluster.say_farewell().await;
        }
    }

    /// Lets the ends of a node go on at others, while this one serves visitors still: those that come to a tunnel whose end has
    /// just left wait for it, and are passed on. It takes its time also without ends, so that balancers notice the stop, but
    /// returns at once if no other node runs.
    async fn move_ends(&self, until: Instant) {
        let Some(cluster) = self.tokens.cluster() else { return };
        cluster.drain();
        if !cluster.has_others() {
            return;
        }
        let over = defaults::MOVE_TIME.min(until.saturating_duration_since(Instant::now()) / 2);
        let noticed = Instant::now() + over;
        tracing::info!(ends = self.api.tunnels.ends(), ?over, "moving ends to other nodes");
        let guests = cluster.tell_owners(self.guests.farewells(Way::WebSocket));
        tokio::join!(guests, self.api.tunnels.move_ends(over));
        while cluster.has_others() && Instant::now() < noticed {
            // One that was about to join when the node began to stop.
            if self.api.tunnels.ends() > 0 {
                self.api.tunnels.move_ends(Duration::ZERO).await;
            }
            sleep(defaults::PEERS_LOOK.min(noticed.saturating_duration_since(Instant::now()))).await;
        }
    }

    /// Has guests go on through other nodes once balancers have noticed that this one stops: polls are answered, sessions with
    /// WebSockets move. Again and again: more come until the listener is closed, and not each word arrives. Never completes.
    pub(super) async fn see_guests_off(&self) -> Infallible {
        let Some(cluster) = self.tokens.cluster() else { return pending().await };
        loop {
            // Polls several times while the last connections may finish. Each session that moves costs its node a look at all tunnels.
            for way in [Way::WebSocket, Way::Poll, Way::Poll, Way::Poll] {
                sleep(defaults::GUESTS_LOOK).await;
                if self.api.tunnels.is_stopping() {
                    cluster.tell_owners(self.guests.farewells(way)).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_stops_with_an_error_when_a_task_that_it_needs_panics() {
        for is_listener in [false, true] {
            let mut vital = JoinSet::new();
            vital.spawn(pending());
            vital.spawn(async move { if is_listener { pending().await } else { panic!("as the sweeper might") } });
            let mut serving = JoinSet::new();
            serving.spawn(pending());
            serving.spawn(async move { if is_listener { panic!("as the listener might") } else { pending().await } });
            let error = until_stopped(&mut vital, &mut serving, pending()).await.unwrap_err();
            assert!(error.to_string().starts_with("a task of the server ended: "), "{error}");
            assert_eq!(serving.len(), if is_listener { 1 } else { 2 });
        }
    }

    #[tokio::test]
    async fn a_server_that_is_told_to_stop_stops_without_an_error() {
        let mut vital = JoinSet::new();
        vital.spawn(pending());
        assert!(until_stopped(&mut vital, &mut JoinSet::new(), std::future::ready(())).await.is_ok());
    }
}
