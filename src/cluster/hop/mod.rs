//! A hop: a request that arrived at one node and that another answers.
//!
//! In reading order:
//!
//! - `greeting`: what both sides of a connection say first, and how they prove the cluster's secret
//! - `stamp`: the header by which each request is its caller's; `note`: what it says of the request
//! - `callee`: the listener for other nodes, and what is called there
//! - `pool`: the connections to other nodes; `dial` opens one
//! - `exchange`: one request on one of them, and its response; `outgoing`: the request's body, `incoming`: the
//!   response's; `trailers`: what may follow a body
//! - `caller`: a visitor's request, as often as it may be sent; what nodes tell each other
//! - `undone`: why there is no response; `limits`: what all this may take; `words`: words that both sides know
//!
//! What holds:
//!
//! - The listener for other nodes serves nobody who has not proved the secret, and no request without a stamp of its connection.
//!   Stamps are verified before anything else of a head is believed.
//! - The callee sees the head that the visitor has sent, and the same peer. What a visitor says of hops goes nowhere.
//! - A request is sent again only when the first node has said that it did nothing, or when none of it was sent.
//! - Without TLS the bodies and most headers are as safe as the network between the nodes: stamps cover methods, targets, hosts and
//!   notes.
//! - The caller closes what is idle, so that no request meets a callee that closes.

mod callee;
mod caller;
mod dial;
mod exchange;
mod greeting;
mod incoming;
mod limits;
mod note;
mod outgoing;
mod pool;
mod stamp;
#[cfg(test)]
mod tests;
mod trailers;
mod undone;
mod words;

pub(crate) use self::callee::{Called, elsewhere, serve};
pub(crate) use self::caller::{Calling, Hops, is_kept};
pub(crate) use self::incoming::Piped;
pub(crate) use self::note::Note;
pub(crate) use self::outgoing::Sending;
pub(crate) use self::undone::Undone;
