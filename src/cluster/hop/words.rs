//! Words that both sides of a hop know.

use http::HeaderName;

/// The header of stamps, and of what a callee says of its reply.
pub(super) const HOP: HeaderName = HeaderName::from_static("x-socket2me-hop");

/// The kind of a request that asks whether a node is there.
pub(super) const PING: &str = "ping";

/// The kind of a request that has messages for a node: `POST`, with a JSON array of strings as its body.
pub(super) const TELL: &str = "tell";

/// The kind of a request for the tunnels that have ends at a node: `GET /`, or `GET /TOKEN` for one of them.
pub(super) const TUNNELS: &str = "tunnels";

/// What a callee says of its reply when the request is another node's.
pub(super) const ELSEWHERE: &str = "elsewhere";

/// What a callee says of its reply when the request's stamp is not good.
pub(super) const REFUSED: &str = "refused";
