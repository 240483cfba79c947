//! What the operator asks of a server while it runs (PROTOCOL.md, "The operator's calls"): which tunnels are open, closing one, and
//! keeping somebody out.
//!
//! - `endpoint`: where it is asked, and whether by the operator; `at_path`: connections of this machine
//! - `calls`: each call, from its request to its answer; `listing`: tunnels of all nodes
//! - `blocks`: what is kept out

#[cfg(unix)]
mod at_path;
mod blocks;
mod calls;
mod endpoint;
mod listing;

pub(super) use self::blocks::Blocks;
pub(super) use self::calls::Admin;
pub(super) use self::endpoint::{listen, serve};
pub(super) use self::listing::told;
