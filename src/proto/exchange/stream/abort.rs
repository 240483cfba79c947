//! Why an exchange is aborted, in the codes of `abort` (PROTOCOL.md, "Events of a stream").

use std::fmt;

/// Why both directions of an exchange are over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AbortCode {
    /// The visitor has left.
    VisitorGone,
    /// Something did not come in time.
    Timeout,
    /// More was sent than the window allows.
    WindowExceeded,
    /// An event had more bytes than agreed.
    ChunkTooLarge,
    /// Bytes were lost, doubled or came in another order.
    OutOfOrder,
    /// The other side broke the protocol.
    Protocol,
    /// Another end has taken the place of this one.
    TakenOver,
    /// The server stops.
    Stopping,
    /// What the end passes requests on to has failed.
    LocalGone,
    /// What the end passes requests on to does not take them.
    LocalRefused,
    /// The request is too large for the end.
    TooLarge,
}

impl AbortCode {
    /// All codes.
    pub const ALL: [Self; 11] = [
        Self::VisitorGone,
        Self::Timeout,
        Self::WindowExceeded,
        Self::ChunkTooLarge,
        Self::OutOfOrder,
        Self::Protocol,
        Self::TakenOver,
        Self::Stopping,
        Self::LocalGone,
        Self::LocalRefused,
        Self::TooLarge,
    ];

    /// Returns the code as it is sent.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::VisitorGone => "visitor-gone",
            Self::Timeout => "timeout",
            Self::WindowExceeded => "window-exceeded",
            Self::ChunkTooLarge => "chunk-too-large",
            Self::OutOfOrder => "out-of-order",
            Self::Protocol => "protocol",
            Self::TakenOver => "taken-over",
            Self::Stopping => "stopping",
            Self::LocalGone => "local-gone",
            Self::LocalRefused => "local-refused",
            Self::TooLarge => "too-large",
        }
    }

    /// Reads a code. Unknown ones count as [`Self::LocalGone`].
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self::ALL.into_iter().find(|code| code.as_str() == text).unwrap_or(Self::LocalGone)
    }
}

impl fmt::Display for AbortCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
