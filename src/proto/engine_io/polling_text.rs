//! How the text of polling answers is written for old clients.

use std::borrow::Cow;

/// Writes a text message so that it is ASCII and means the same.
pub type ToAscii = fn(&str) -> Cow<'_, str>;

/// How the text of a polling answer is written (PROTOCOL.md, "Polling bodies"). By default it is written as it is.
///
/// This matters for revision 3 only. Clients of socket.io 1 and 2 both say `EIO=3`, but over polling those of 1 encode
/// text as UTF-8 twice, and expect the same. ASCII is the same either way, and JSON can be written in it.
#[derive(Debug, Clone, Copy, Default)]
pub struct PollingText {
    /// Writes messages in ASCII, if the layer above knows how.
    pub to_ascii: Option<ToAscii>,
    /// Whether long text is sent as bytes to a client that takes them. In a browser, socket.io 1 reads a text body by
    /// one call with an argument for each byte, which engines refuse. Bytes it reads at any length, and its servers
    /// sent nothing else.
    pub long_as_bytes: bool,
}

impl PartialEq for PollingText {
    fn eq(&self, other: &Self) -> bool {
        let same = match (self.to_ascii, other.to_ascii) {
            (Some(one), Some(other)) => std::ptr::fn_addr_eq(one, other),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        same && self.long_as_bytes == other.long_as_bytes
    }
}

impl Eq for PollingText {}
