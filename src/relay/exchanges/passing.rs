//! Exchanges whose end is at another node: the request goes there as it came, and the answer comes back as it is.

use http::Method;
use hyper::body::Body as _;

use super::passed::Passed;
use super::{Exchanges, Incoming, NotPassed};
use crate::cluster::hop::{Note, Undone};
use crate::proto::limit::Limit;
use crate::relay::failure::Failure;
use crate::relay::route::Target;
use crate::store::{Peer, Repeat};

impl Exchanges {
    /// Hands a request to the node that has the tunnel's end.
    ///
    /// # Errors
    /// See [`NotPassed`].
    pub(super) async fn pass_on(&self, peer: &Peer, incoming: &mut Incoming<'_>) -> Result<Passed, NotPassed> {
        let Incoming { head, body, arrival, target, id, .. } = incoming;
        let (Some(cluster), Some(token)) = (self.tokens.cluster(), &target.token) else {
            return Err(Failure::Bug.into());
        };
        let note = Note::of("visit").with_id(id.to_string());
        let has_body = !body.is_end_stream();
        match cluster.send(peer, head, body, arrival, note).await {
            Ok(reply) => Ok(Passed(reply)),
            Err(Undone::Elsewhere) => {
                cluster.forget(token);
                Err(NotPassed::Elsewhere)
            }
            Err(Undone::Unreached(_) | Undone::Cut(_)) => Err(NotPassed::Again),
            Err(Undone::Body(error)) => Err(Failure::from(error).into()),
            // Nobody reads the answer.
            Err(Undone::Left) => Err(Failure::BodyIncomplete.into()),
            Err(Undone::Full) => {
                self.hit(Limit::Hops);
                Err(Failure::Busy.into())
            }
            Err(Undone::Broken(_)) if !has_body && self.may_repeat(&head.method, target).await => {
                cluster.forget(token);
                Err(NotPassed::Again)
            }
            Err(Undone::Broken(reason)) => {
                tracing::debug!(node = %peer.node, reason, "a request is lost on the way to another node");
                Err(Failure::Disconnected.into())
            }
        }
    }

    /// Tells whether a request that an end may have got may go to another one.
    async fn may_repeat(&self, method: &Method, target: &Target) -> bool {
        let Some(token) = &target.token else { return false };
        let found = self.tokens.find(token).await;
        let keyed = found.ok().and_then(|(record, _)| record.keyed);
        keyed.is_some_and(|keyed| keyed.settings.repeat == Repeat::Idempotent) && super::relaying::is_idempotent(method)
    }
}
