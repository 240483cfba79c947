//! The nodes of a cluster, and which tunnels they claim. `nodes.lua` says how Redis keeps them.

use std::sync::Arc;

use futures::future::try_join_all;
use redis::{Script, ScriptInvocation};

use super::link::Link;
use super::node_reply::NodeReply;
use super::reply::Reply;
use super::scripts::{NODES, SHARED, TUNNEL, about, milliseconds};
use crate::proto::node::NodeId;
use crate::proto::token::Token;
use crate::store::error::StoreError;
use crate::store::nodes::{Claim, Claimed, Located, Peer, Renewal, Renewed, Seen, Written};

/// How many tunnels one script looks up: it keeps all others waiting meanwhile.
const BATCH: usize = 64;

/// What nodes of a cluster share in a Redis.
#[derive(Debug, Clone)]
pub struct Nodes {
    link: Arc<Link>,
    scripts: Arc<Scripts>,
}

#[derive(Debug)]
struct Scripts {
    renew: Script,
    claim: Script,
    leave: Script,
    locate: Script,
    peer: Script,
}

impl Nodes {
    pub(super) fn new(link: &Arc<Link>) -> Self {
        let script = |own| Script::new(&[SHARED, NODES, own].concat());
        let scripts = Scripts {
            renew: script(include_str!("renew.lua")),
            claim: script(include_str!("claim.lua")),
            leave: script(include_str!("leave.lua")),
            locate: script(include_str!("locate.lua")),
            peer: script(include_str!("peer.lua")),
        };
        Self { link: Arc::clone(link), scripts: Arc::new(scripts) }
    }

    /// Returns the store's time, in milliseconds since 1970, until which a claim that is made now may be made; 0 if that time is
    /// not known yet.
    #[must_use]
    pub fn until(&self) -> u64 {
        self.link.deadline()
    }

    /// Renews the lease of a node, and returns what is new to it. A lease of zero is given back.
    ///
    /// # Errors
    /// - [`StoreError::Unavailable`] if the store cannot be used now. The lease may be renewed all the same
    pub async fn renew(&self, renewal: &Renewal) -> Result<Renewed, StoreError> {
        let Renewal { me, seen, table, taken_up, announced } = renewal;
        let mut script = self.begin(&self.scripts.renew);
        script.arg(me.node.as_str()).arg(seen.writes).arg(milliseconds(me.lease)).arg(table).arg(taken_up);
        match announced {
            Some(lost) => script.arg(lost.after).arg(lost.found),
            None => script.arg("").arg(""),
        };
        script.arg(&*me.advertise).arg(&*me.label).arg(&*me.version).arg(u8::from(me.is_draining));
        let NodeReply::Renewed(renewed) = self.call(&script).await? else { return Err(self.strange()) };
        self.saw(renewed.written);
        Ok(renewed)
    }

    /// Says that a node has ends of a tunnel. `None` if no such tunnel lives.
    ///
    /// # Errors
    /// - [`StoreError::Unavailable`] if the store cannot be used now. The claim may be made all the same
    pub async fn claim(&self, token: &Token, claim: &Claim) -> Result<Option<Claimed>, StoreError> {
        let mut script = about(&self.scripts.claim, token, claim.until);
        script.arg(claim.node.as_str()).arg(claim.seen.writes).arg(claim.above).arg(claim.ends);
        script.arg(claim.again.map(|epoch| epoch.to_string()).unwrap_or_default());
        match self.call(&script).await? {
            NodeReply::Claimed(claimed) => {
                self.saw(claimed.written);
                Ok(Some(claimed))
            }
            NodeReply::Other(Reply::Refused) => Ok(None),
            NodeReply::Other(Reply::Absent(marker)) => self.link.absent(&marker).map(|()| None),
            NodeReply::Other(_)
            | NodeReply::Renewed(_)
            | NodeReply::Left(_)
            | NodeReply::Located(_)
            | NodeReply::Peer(_)
            | NodeReply::Posted => Err(self.strange()),
        }
    }

    /// Says that a node has no ends of a tunnel any more; its claims up to `epoch` are over. A tunnel whose newest end gets the
    /// requests keeps it as its last owner.
    ///
    /// # Errors
    /// - [`StoreError::Unavailable`] if the store cannot be used now. The node may have left all the same
    pub async fn leave(&self, token: &Token, node: NodeId, epoch: u64, seen: Seen) -> Result<Written, StoreError> {
        let mut script = about(&self.scripts.leave, token, self.until());
        script.arg(node.as_str()).arg(seen.writes).arg(epoch);
        let NodeReply::Left(written) = self.call(&script).await? else { return Err(self.strange()) };
        self.saw(written);
        Ok(written)
    }

    /// Returns where the ends of tunnels are, in the order of the tokens and in one round trip.
    ///
    /// # Errors
    /// - [`StoreError::Unavailable`] if the store cannot be used now
    pub async fn locate(&self, tokens: &[Token]) -> Result<Vec<Located>, StoreError> {
        let batches = try_join_all(tokens.chunks(BATCH).map(|tokens| self.locate_batch(tokens))).await?;
        Ok(batches.concat())
    }

    async fn locate_batch(&self, tokens: &[Token]) -> Result<Vec<Located>, StoreError> {
        let mut script = self.scripts.locate.prepare_invoke();
        for token in tokens {
            script.key(format!("{TUNNEL}{token}")).arg(u8::from(!token.is_name()));
        }
        match self.call(&script).await? {
            NodeReply::Located(located) if located.len() == tokens.len() => Ok(located),
            _ => Err(self.strange()),
        }
    }

    /// Returns a node, if its lease lasts.
    ///
    /// # Errors
    /// - [`StoreError::Unavailable`] if the store cannot be used now
    pub async fn peer(&self, node: NodeId) -> Result<Option<Peer>, StoreError> {
        let mut script = self.begin(&self.scripts.peer);
        script.arg(node.as_str()).arg("");
        let NodeReply::Peer(peer) = self.call(&script).await? else { return Err(self.strange()) };
        Ok(peer)
    }

    /// Leaves a message for a node, which gets it with its next renewal. It is lost if the node renews nothing for a minute.
    ///
    /// # Errors
    /// - [`StoreError::Unavailable`] if the store cannot be used now. The message may be left all the same
    pub async fn post(&self, node: NodeId, message: &str) -> Result<(), StoreError> {
        let mut script = self.begin(&self.scripts.peer);
        script.arg(node.as_str()).arg(message);
        let NodeReply::Posted = self.call(&script).await? else { return Err(self.strange()) };
        Ok(())
    }

    /// Leaves a message for all nodes that have a claim of a tunnel, but one. See [`Self::post`].
    ///
    /// # Errors
    /// - [`StoreError::Unavailable`] if the store cannot be used now. The message may be left all the same
    pub async fn post_to_claimants(&self, token: &Token, except: NodeId, message: &str) -> Result<(), StoreError> {
        let mut script = about(&self.scripts.peer, token, self.until());
        script.arg(except.as_str()).arg(message);
        let NodeReply::Posted = self.call(&script).await? else { return Err(self.strange()) };
        Ok(())
    }

    /// Begins a call of a script that is about no tunnel.
    fn begin<'s>(&self, script: &'s Script) -> ScriptInvocation<'s> {
        let mut script = script.prepare_invoke();
        script.arg(0).arg(self.until());
        script
    }

    async fn call(&self, script: &ScriptInvocation<'_>) -> Result<NodeReply, StoreError> {
        match NodeReply::parse(self.link.texts(script).await?) {
            Some(reply) => Ok(reply),
            None => Err(self.strange()),
        }
    }

    /// Takes up what a reply tells of this node's writes.
    fn saw(&self, written: Written) {
        if let Some(lost) = written.lost
            && self.link.marker.lost(lost)
        {
            tracing::error!(?lost, "Redis has lost writes of this node: what is connected here is written again");
        }
    }

    fn strange(&self) -> StoreError {
        self.link.fail("a script about nodes has an answer that no script of ours gives")
    }
}
