//! How packets travel.

/// How packets travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// HTTP long-polling.
    Polling,
    /// A WebSocket.
    WebSocket,
}

impl Transport {
    /// Returns the name of the transport in requests.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Polling => "polling",
            Self::WebSocket => "websocket",
        }
    }
}

/// How binary messages travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BinaryAs {
    /// As binary frames on a WebSocket; in polling bodies of revision 3 as bytes, of revision 4 as text.
    Frames,
    /// As text, in base64: for a client that said `b64=1`, and in JSONP.
    Base64,
}
