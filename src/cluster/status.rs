//! How this node and the others are, in words.

use std::iter;

use futures::{StreamExt as _, stream};

use super::Cluster;
use super::directory::Standing;
use super::telling::ASKED;
use crate::store::Peer;

impl Cluster {
    /// Returns what this node answers to another one that asks how it is: how many milliseconds ago the store has renewed its lease.
    pub(crate) fn standing(&self) -> String {
        let ago = self.directory().renewed_ago(self.clock.now());
        ago.map_or_else(|| "never".to_owned(), |ago| ago.as_millis().to_string())
    }

    /// Returns this node as the others know it.
    pub(crate) fn as_peer(&self) -> Peer {
        self.directory().me().clone()
    }

    /// Returns all nodes as this one knows them, itself first, with a word or two on how each is. The others are asked.
    pub(crate) async fn status(&self) -> Vec<(Peer, String)> {
        let own = match self.directory().standing(self.clock.now()) {
            Standing::Member => "this node",
            Standing::Alone => "this node, without the store",
            Standing::Out => "this node, which has lost its place: others have the store",
        };
        let asking = self.peers().into_iter().map(|peer| async move {
            let standing = match self.ask(&peer).await {
                Err(reason) => format!("does not answer: {reason}"),
                Ok(()) if peer.is_draining => "draining".to_owned(),
                Ok(()) => "lives".to_owned(),
            };
            (peer, standing)
        });
        let others: Vec<_> = stream::iter(asking).buffered(ASKED).collect().await;
        iter::once((self.as_peer(), own.to_owned())).chain(others).collect()
    }
}
