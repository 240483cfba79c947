//! The id of a node of a cluster.

use std::fmt;

/// The length of an id, in characters.
pub const NODE_ID_LENGTH: usize = 8;

/// The id of one server process of a cluster: 8 characters of base64url, which are 6 random bytes. A process takes a new one at
/// each start, so two machines of one image never share one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId([u8; NODE_ID_LENGTH]);

impl NodeId {
    /// Returns the id of random bytes, which the caller takes from the system's generator.
    #[must_use]
    pub fn from_random(random: [u8; 6]) -> Self {
        use base64::Engine as _;
        let mut id = [0; NODE_ID_LENGTH];
        let length = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode_slice(random, &mut id);
        debug_assert_eq!(length, Ok(NODE_ID_LENGTH));
        Self(id)
    }

    /// Reads an id. `None` is a text that is the id of no node.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; NODE_ID_LENGTH] = text.as_bytes().try_into().ok()?;
        bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')).then_some(Self(bytes))
    }

    /// Returns the id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("both constructors admit ASCII only")
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_eight_characters_of_base64url() {
        assert_eq!(NodeId::from_random([0xff; 6]).as_str(), "________");
        assert_eq!(NodeId::parse("aB3-_xyz").map(|id| id.to_string()).as_deref(), Some("aB3-_xyz"));
        for wrong in ["", "aB3-_xy", "aB3-_xyz0", "aB3 _xyz", "aB3\u{e9}_xy"] {
            assert_eq!(NodeId::parse(wrong), None, "{wrong:?}");
        }
    }
}
