//! The tunnels of this process are written again when the store is found without its data.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use futures::future::join_all;
use tokio::time::MissedTickBehavior;

use super::registry::Tunnels;
use crate::engine::Host;
use crate::proto::token::Token;
use crate::relay::streams::{Closing, Message, Waiter};
use crate::store::Pace;

impl<H: Host<Waiter = Waiter, Message = Message>> Tunnels<H> {
    /// Writes all tunnels again whenever the store has lost its data. Never completes.
    pub(in crate::relay) async fn restore(self: Arc<Self>) -> Infallible {
        loop {
            self.tokens.lost().await;
            // Those that join from here on were found in the store as it is now.
            let tokens = self.all();
            let count = tokens.len();
            tracing::info!(tunnels = count, "writing tunnels again");
            self.restore_all(tokens.into()).await;
            self.tokens.restored();
            tracing::info!(tunnels = count, "tunnels are written again");
        }
    }

    /// Writes tunnels again, each as often as it takes, at the pace at which the store answers.
    async fn restore_all(&self, mut left: VecDeque<Token>) {
        let mut pace = Pace::new(rand::random());
        let mut ticks = tokio::time::interval(Pace::EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !left.is_empty() {
            ticks.tick().await;
            let batch: Vec<Token> = left.drain(..pace.at_once().min(left.len())).collect();
            let are_written = join_all(batch.iter().map(|token| self.restore_one(token))).await;
            let written = are_written.iter().filter(|is_written| **is_written).count();
            (0..written).for_each(|_| pace.succeeded());
            if written < batch.len() {
                left.extend(
                    batch.into_iter().zip(are_written).filter(|(_, is_written)| !is_written).map(|(token, _)| token),
                );
                tokio::time::sleep(pace.failed()).await;
            }
        }
    }

    /// Writes a tunnel again. It ends if its name has become somebody else's meanwhile. Returns false if the store cannot be used now.
    async fn restore_one(&self, token: &Token) -> bool {
        let Some(record) = self.find(token).and_then(|tunnel| tunnel.record()) else { return true };
        match self.tokens.restore(token, &record).await {
            Ok(true) => true,
            Ok(false) => {
                tracing::warn!(?token, "the name of a tunnel that was lost is somebody else's");
                self.remove(token, Closing::Expired);
                true
            }
            Err(_) => false,
        }
    }
}
