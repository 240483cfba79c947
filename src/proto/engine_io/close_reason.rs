//! Why a session ended.

use std::fmt;

/// Why a session ended: the reference's words, which applications know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// The transport failed, or was used wrongly.
    TransportError,
    /// The client closed it.
    TransportClose,
    /// No answer to the heartbeat in time.
    PingTimeout,
    /// Bytes that are not a packet.
    ParseError,
    /// The server ended it because the client broke the rules of the layer above.
    ForcedClose,
    /// The server ended it in order.
    ForcedServerClose,
    /// The server process is stopping.
    ServerShuttingDown,
    /// More is waiting for this client than the limit.
    Overflow,
}

impl CloseReason {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::TransportError,
        Self::TransportClose,
        Self::PingTimeout,
        Self::ParseError,
        Self::ForcedClose,
        Self::ForcedServerClose,
        Self::ServerShuttingDown,
        Self::Overflow,
    ];
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TransportError => "transport error",
            Self::TransportClose => "transport close",
            Self::PingTimeout => "ping timeout",
            Self::ParseError => "parse error",
            Self::ForcedClose => "forced close",
            Self::ForcedServerClose => "forced server close",
            Self::ServerShuttingDown => "server shutting down",
            Self::Overflow => "send buffer overflow",
        })
    }
}
