//! Why a session ended.

use std::fmt;

/// Why a session ended: the reference's words, which applications know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// The transport failed, or the client used it against the rules.
    TransportError,
    /// The client closed the session, or its connection.
    TransportClose,
    /// The client did not answer the heartbeat in time.
    PingTimeout,
    /// The client sent bytes that are not a packet.
    ParseError,
    /// The server closed the session because the client broke the rules of the layer above.
    ForcedClose,
    /// The server closed the session in order.
    ForcedServerClose,
    /// The server process is stopping.
    ServerShuttingDown,
    /// More was waiting for this client than the limit.
    Overflow,
}

impl CloseReason {
    /// All reasons, in the order of their declaration.
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

// The figures count by position: a reason that is declared before the last and left out of the list does not compile.
const _: () = assert!(CloseReason::ALL.len() == CloseReason::Overflow as usize + 1);

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
