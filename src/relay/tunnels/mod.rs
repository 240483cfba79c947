//! Tunnels: which ends hold which token.
//!
//! - `host`: how a client of the Socket.IO server becomes an end
//! - `registry`: all tunnels of this process. An end joins here, and takes over from the end before it, which is told to leave
//! - `sweeping`: tunnels end when their tokens expire; `restoring`: what happens when the store has lost them
//! - `elsewhere`: what a node of a cluster claims, and what others claim
//! - `tunnel`: one tunnel; `end`: one of its ends; `occupancy`: which ends it has, or which visitors wait for one

mod elsewhere;
mod end;
mod host;
mod occupancy;
mod registry;
mod restoring;
mod sweeping;
mod tunnel;

pub(super) use self::host::TunnelHost;
pub(super) use self::occupancy::Prospect;
pub(super) use self::registry::EndLimits;
pub(super) use self::tunnel::{NoPlace, NotEmitted, Outcome, TunnelFigures};

/// The tunnels of this process.
pub(super) type Tunnels = registry::Tunnels<TunnelHost>;

/// One tunnel.
pub(super) type Tunnel = tunnel::Tunnel<TunnelHost>;

/// The end that an exchange has chosen.
pub(super) type Seat = end::Seat<TunnelHost>;
