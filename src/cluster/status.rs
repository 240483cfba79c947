//! How this node and the others are, in words.

use super::Cluster;
use super::directory::Standing;
use crate::store::Peer;

impl Cluster {
    /// Returns what this node answers to another one that asks how it is: how many milliseconds ago the store has renewed its lease.
    pub(crate) fn standing(&self) -> String {
        let ago = self.directory().renewed_ago(self.clock.now());
        ago.map_or_else(|| "never".to_owned(), |ago| ago.as_millis().to_string())
    }

    /// Returns all nodes as this one knows them, itself first, with a word or two on how each is.
    pub(crate) fn status(&self) -> Vec<(Peer, &'static str)> {
        let (now, directory) = (self.clock.now(), self.directory());
        let own = match directory.standing(now) {
            Standing::Member => "this node",
            Standing::Alone => "this node, without the store",
            Standing::Out => "this node, which has lost its place: others have the store",
        };
        let others = directory.peers().iter().map(|peer| {
            let standing = match peer {
                _ if directory.is_suspect(peer.node, now) => "does not answer",
                Peer { is_draining: true, .. } => "draining",
                Peer { .. } => "lives",
            };
            (peer.clone(), standing)
        });
        std::iter::once((directory.me().clone(), own)).chain(others).collect()
    }
}
