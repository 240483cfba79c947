//! Tunnels: which end holds which token.
//!
//! - `tunnel`: one tunnel and its end
//! - `table`: values by token, in the order in which they expire
//! - `registry`: all tunnels of this process
//! - `host`: how a client of the Socket.IO server becomes an end

mod host;
mod registry;
mod table;
mod tunnel;

pub(super) use self::host::TunnelHost;
pub(super) use self::tunnel::{NoPlace, NotEmitted, Outcome};

/// The tunnels of this process.
pub(super) type Tunnels = registry::Tunnels<TunnelHost>;

/// One tunnel.
pub(super) type Tunnel = tunnel::Tunnel<TunnelHost>;

/// The end of a tunnel.
pub(super) type End = tunnel::End<TunnelHost>;
