//! The host of the Socket.IO server that makes it a relay: an end that joins the namespace of a token becomes its tunnel's.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::registry::{Admission, Joined, Tunnels};
use super::tunnel::Outcome;
use crate::engine::{ClientEvent, Connect, Host, Reaction, Refusal, Socket};
use crate::proto::engine_io::Revision;
use crate::proto::exchange::EndOptions;
use crate::proto::socket_io::connection::DisconnectReason;
use crate::proto::token::Token;
use crate::relay::failure::Failure;

/// The message of a `connect_error` for a token that is unknown or has expired, which nothing can tell apart.
const TOKEN_NOT_FOUND: &str = "token not found: it is unknown or has expired, ask GET /new for another";

/// Admits ends, and keeps the table of tunnels.
#[derive(Debug, Clone)]
pub(in crate::relay) struct TunnelHost {
    tunnels: Arc<Tunnels<Self>>,
}

/// What the host keeps for a client in a namespace.
#[derive(Debug)]
pub(in crate::relay) enum Member {
    /// A client of revision 3 in the default namespace, where nothing happens.
    Idle,
    /// An end that was admitted and has not heard of it yet. In a box: it takes more memory than a member that has joined, and
    /// members stay for hours.
    Admitted(Box<Admission>),
    /// The end of a tunnel.
    Joined(Joined<TunnelHost>),
}

impl TunnelHost {
    pub(in crate::relay) fn new(tunnels: Arc<Tunnels<Self>>) -> Self {
        Self { tunnels }
    }
}

/// Decides whether a client may join.
async fn admit(tunnels: &Tunnels<TunnelHost>, request: &Connect) -> Result<Member, Refusal> {
    let Some(token) = Token::from_namespace(request.namespace.as_str()) else {
        return match (request.namespace.as_str(), request.revision) {
            // Every client of revision 3 is in it, and some are in no other.
            ("/", Revision::V3) => Ok(Member::Idle),
            ("/", Revision::V4) => Err(Refusal::new("connect to /TOKEN, with a token from GET /new")),
            (_, Revision::V3 | Revision::V4) => Err(Refusal::new(TOKEN_NOT_FOUND)),
        };
    };
    let remaining = tunnels.tokens.remaining(&token).await.map_err(|failure| match failure {
        Failure::TokenNotFound => Refusal::new(TOKEN_NOT_FOUND),
        failure => Refusal::new(format!("{failure}, try again later")),
    })?;
    // The token comes first: an end whose token is unknown hears that and nothing else.
    let options = match request.revision {
        Revision::V3 => EndOptions::from_query(request.query.as_deref().unwrap_or_default()),
        Revision::V4 => EndOptions::from_auth(request.auth.as_ref()),
    };
    let options = options.map_err(Refusal::new)?;
    Ok(Member::Admitted(Box::new(Admission { token, options, remaining })))
}

impl Host for TunnelHost {
    type Member = Member;
    type Waiter = oneshot::Sender<Outcome>;

    fn connect(&self, request: Connect) -> impl Future<Output = Result<Member, Refusal>> + Send + 'static {
        let tunnels = Arc::clone(&self.tunnels);
        async move { admit(&tunnels, &request).await }
    }

    fn connected(&self, member: &mut Member, socket: &Socket<Self>, _: Reaction<'_, Self>) {
        if let Member::Admitted(admission) = member {
            *member = Member::Joined(self.tunnels.join(**admission, socket.clone()));
        }
    }

    /// An end has nothing to say but acks.
    fn received(&self, _: &mut Member, _: &Socket<Self>, event: ClientEvent, _: Reaction<'_, Self>) {
        tracing::debug!(bytes = event.args.json().len(), "ignored an event of an end");
    }

    fn acked(&self, waiter: oneshot::Sender<Outcome>, outcome: Outcome) {
        // A visitor that left meanwhile waits for nothing.
        let _ = waiter.send(outcome);
    }

    fn disconnected(&self, member: Member, socket: &Socket<Self>, reason: DisconnectReason) {
        if let Member::Joined(joined) = member {
            let token = Token::from_namespace(socket.namespace().as_str());
            tracing::info!(?token, %reason, "end disconnected");
            self.tunnels.leave(&joined);
        }
    }
}
