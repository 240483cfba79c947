//! Tunnels: which end holds which token.
//!
//! - `host`: how a client of the Socket.IO server becomes an end
//! - `registry`: all tunnels of this process. An end joins here, and takes over from the end before it, which is told to leave
//! - `restoring`: what happens when the store has lost them
//! - `tunnel`: one tunnel and its end

mod host;
mod registry;
mod restoring;
mod tunnel;

pub(super) use self::host::TunnelHost;
pub(super) use self::tunnel::{NoPlace, NotEmitted, Outcome};

/// The tunnels of this process.
pub(super) type Tunnels = registry::Tunnels<TunnelHost>;

/// One tunnel.
pub(super) type Tunnel = tunnel::Tunnel<TunnelHost>;

/// The end of a tunnel.
pub(super) type End = tunnel::End<TunnelHost>;
