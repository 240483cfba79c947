//! The revisions of the protocol.

/// The revision of the protocol: what `EIO=` says. Socket.IO counts one higher: its protocol 4 stands on revision 3,
/// its protocol 5 on revision 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revision {
    /// `EIO=3`: socket.io-client 1.x and 2.x.
    V3,
    /// `EIO=4`: socket.io-client 3.x and 4.x.
    V4,
}

impl Revision {
    /// All revisions: those that a server speaks unless it is told otherwise.
    pub const ALL: [Self; 2] = [Self::V3, Self::V4];

    /// Returns the revision of this number.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "3" => Some(Self::V3),
            "4" => Some(Self::V4),
            _ => None,
        }
    }
}
