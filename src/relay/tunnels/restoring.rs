//! The tunnels of this process are written again when the store is found without its data.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::MissedTickBehavior;

use super::registry::Tunnels;
use crate::engine::Host;
use crate::proto::token::Token;
use crate::relay::streams::{Closing, Message, Waiter};

/// How many tunnels are written at once, and how often: 1,000 in a second, beside which the store serves others.
const BATCH: usize = 50;
const BATCH_EVERY: Duration = Duration::from_millis(50);

/// How soon a tunnel is written again after that failed.
const RETRY: Duration = Duration::from_secs(1);

impl<H: Host<Waiter = Waiter, Message = Message>> Tunnels<H> {
    /// Writes all tunnels again whenever the store has lost its data. Never completes.
    pub(in crate::relay) async fn restore(self: Arc<Self>) -> Infallible {
        loop {
            self.tokens.lost().await;
            // Those that join from here on were found in the store as it is now.
            let tokens = self.all();
            tracing::info!(tunnels = tokens.len(), "writing tunnels again");
            let mut ticks = tokio::time::interval(BATCH_EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            for batch in tokens.chunks(BATCH) {
                ticks.tick().await;
                join_all(batch.iter().map(|token| self.restore_one(token))).await;
            }
            self.tokens.restored();
            tracing::info!(tunnels = tokens.len(), "tunnels are written again");
        }
    }

    /// Writes a tunnel again, as often as it takes. It ends if its name has become somebody else's meanwhile.
    async fn restore_one(&self, token: &Token) {
        while let Some(record) = self.find(token).and_then(|tunnel| tunnel.record()) {
            match self.tokens.restore(token, &record).await {
                Ok(true) => return,
                Ok(false) => {
                    tracing::warn!(?token, "the name of a tunnel that was lost is somebody else's");
                    return self.remove(token, Closing::Expired);
                }
                Err(_) => tokio::time::sleep(RETRY).await,
            }
        }
    }
}
