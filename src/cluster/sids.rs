//! Ids of sessions that name their node, so that any node finds it without asking the store.
//!
//! ```text
//! NODE 8 characters | RANDOM 16 characters, 12 bytes | MAC 8 characters, 6 bytes
//! ```
//!
//! Nobody without the cluster's secret makes one that a node believes. The random part is what nobody guesses.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::Rng as _;

use super::keys::{Key, Secret};
use crate::proto::engine_io::Sid;
use crate::proto::node::{NODE_ID_LENGTH, NodeId};

/// The bytes of an id that are random.
const RANDOM_BYTES: usize = 12;

/// The bytes of the MAC. A guess of it is right once in 2^48, and then names a node that is asked in vain.
const MAC_BYTES: usize = 6;

/// The characters that the MAC covers.
const COVERED: usize = NODE_ID_LENGTH + RANDOM_BYTES / 3 * 4;

/// The use of the key.
const USAGE: &str = "sid";

/// Makes ids of the sessions of one node, and reads those of any node of its cluster.
#[derive(Debug, Clone)]
pub(crate) struct Sids {
    key: Key,
    node: NodeId,
}

impl Sids {
    /// Returns a maker of ids for the sessions of `node`.
    pub(crate) fn new(secret: &Secret, node: NodeId) -> Self {
        Self { key: secret.sids.clone(), node }
    }

    /// Makes the id of a new session.
    pub(crate) fn make(&self) -> Sid {
        self.make_with(rand::rng().random())
    }

    fn make_with(&self, random: [u8; RANDOM_BYTES]) -> Sid {
        let mut sid = self.node.to_string();
        URL_SAFE_NO_PAD.encode_string(random, &mut sid);
        let mac = self.key.mac(USAGE, &[sid.as_bytes()]);
        URL_SAFE_NO_PAD.encode_string(&mac[..MAC_BYTES], &mut sid);
        Sid::parse(&sid).expect("8, 16 and 8 characters of base64url are an id")
    }

    /// Returns the node of a session's id that a node of this cluster has made; `None` for any other text.
    pub(crate) fn node_of(&self, sid: &str) -> Option<NodeId> {
        let sid = Sid::parse(sid)?;
        let (covered, mac) = sid.as_str().split_at_checked(COVERED)?;
        let mut claimed = [0; MAC_BYTES];
        let length = URL_SAFE_NO_PAD.decode_slice(mac, &mut claimed).ok()?;
        let is_ours = length == MAC_BYTES && self.key.verifies(USAGE, &[covered.as_bytes()], &claimed);
        is_ours.then(|| NodeId::parse(&covered[..NODE_ID_LENGTH])).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::tests::secret;
    use super::*;

    fn sids(letter: char, node: &str) -> Sids {
        Sids::new(&secret(letter), NodeId::parse(node).unwrap())
    }

    /// A node of the next version must find the sessions of this one.
    #[test]
    fn what_version_1_makes_has_not_changed() {
        let sids = Sids::new(&Secret::from_text(&"a".repeat(32)).unwrap(), NodeId::from_random([1; 6]));
        assert_eq!(sids.make_with([2; RANDOM_BYTES]).as_str(), "AQEBAQEBAgICAgICAgICAgICmzyTLTB6");
    }

    #[test]
    fn each_node_of_a_cluster_finds_the_node_of_an_id() {
        let (one, other) = (sids('a', "node-one"), sids('a', "node-two"));
        let sid = one.make();
        assert_eq!(sid.as_str().len(), 32);
        assert_eq!(other.node_of(sid.as_str()), NodeId::parse("node-one"));
        assert_ne!(one.make(), sid, "the rest is random");
    }

    #[test]
    fn an_id_of_another_cluster_or_of_none_names_no_node() {
        let ours = sids('a', "node-one");
        for other in [sids('b', "node-one").make(), Sid::from_random([1; 15])] {
            assert_eq!(ours.node_of(other.as_str()), None);
        }
        assert_eq!(ours.node_of(""), None);
    }

    #[test]
    fn an_id_with_any_character_changed_names_no_node() {
        let ours = sids('a', "node-one");
        let sid = ours.make_with([7; 12]);
        for position in 0..32 {
            let mut forged = sid.as_str().as_bytes().to_vec();
            forged[position] = if forged[position] == b'A' { b'B' } else { b'A' };
            assert_eq!(ours.node_of(std::str::from_utf8(&forged).unwrap()), None, "{position}");
        }
    }

    /// Sessions of a node that is upgraded are found by one that is not.
    #[test]
    fn ids_stay_what_they_are() {
        let sid = sids('a', "node-one").make_with([7; 12]);
        assert_eq!(sid.as_str(), "node-oneBwcHBwcHBwcHBwcHqYhuIjWW");
    }
}
