//! What both sides of a connection between nodes say before its first request. Bytes in, bytes out.
//!
//! ```text
//! caller ── hello: version, who I am, whom I want, my nonce ─────────────────────────────► callee
//!        ◄── hello: version, who I am, whom I talk to, my nonce; proof over both hellos ──
//!        ── proof over both hellos ──────────────────────────────────────────────────────►
//!        ── HTTP/1.1 ─────────────────────────────────────────────────────────────────────►
//! ```
//!
//! A hello is lines of text that end with an empty one. A proof is a MAC over all bytes of both hellos, for one direction: none can
//! be replayed, as each side has a fresh nonce in it, nor reflected, as the other direction's is another. Both hellos name both
//! nodes, so a proof that one node has given to the other is none for a third.
//!
//! Versions: each side says its own, and the lower one counts. Lines of unknown names are read over, and covered by the proofs.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::super::keys::{Key, MAC_BYTES};
use crate::proto::node::NodeId;

/// The version of the hop that this program speaks.
pub(super) const VERSION: u32 = 1;

/// The most bytes of a hello.
pub(super) const MAX_HELLO: usize = 1 << 10;

/// The bytes of a nonce.
pub(super) const NONCE_BYTES: usize = 32;

/// The first line of a hello.
const MAGIC: &str = "socket2me-hop";

/// Ends a hello: an empty line.
const END: &[u8] = b"\n\n";

/// Begins the last line of a callee's hello, and the one line of a caller's proof.
const PROOF: &str = "proof: ";

/// The bytes of a caller's proof: `proof: `, 32 bytes in base64url, an empty line.
pub(super) const PROOF_LENGTH: usize = PROOF.len() + 43 + END.len();

/// The uses of the key. That each direction has its own is what makes a proof that comes back worthless.
const BY_CALLER: &str = "caller";
const BY_CALLEE: &str = "callee";
const CONNECTION: &str = "connection";

/// What both sides know once the greeting is over.
#[derive(Debug)]
pub(super) struct Greeted {
    /// The node at the other end.
    pub(super) peer: NodeId,
    /// The version that both speak.
    pub(super) version: u32,
    /// The key of this connection.
    pub(super) key: Key,
}

/// Why a greeting is over without a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The peer says something else than a hello of a node.
    NoHello,
    /// The hello is longer than [`MAX_HELLO`], or goes on after its end.
    TooLong,
    /// The peer does not speak any version of the hop.
    Version,
    /// The caller wants another node, or another node answers: its address was reused.
    OtherNode { wanted: NodeId, found: NodeId },
    /// The peer does not have the cluster's secret, or repeats what somebody else has said.
    NoProof,
    /// The peer has refused this side, in its words.
    ByPeer(Box<str>),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHello => f.write_str("it does not greet as a node does"),
            Self::TooLong => write!(f, "its greeting is longer than {MAX_HELLO} bytes or goes on after its end"),
            Self::Version => f.write_str("its greeting has no version that this program speaks"),
            Self::OtherNode { wanted, found } => {
                write!(f, "node {wanted} was wanted, and this address is node {found}'s now")
            }
            Self::NoProof => {
                f.write_str("it does not prove the cluster's secret: do all nodes have the same --cluster-secret-file?")
            }
            Self::ByPeer(why) => write!(f, "it refuses: {why}"),
        }
    }
}

/// Finds the end of the hello that `bytes` begin with. `None` if more is to come.
///
/// # Errors
/// With [`Refused::NoHello`] if these bytes do not begin one, and [`Refused::TooLong`] if the end is not where it must be.
pub(super) fn hello_end(bytes: &[u8]) -> Result<Option<usize>, Refused> {
    let begun = bytes.len().min(MAGIC.len());
    if bytes[..begun] != MAGIC.as_bytes()[..begun] {
        return Err(Refused::NoHello);
    }
    match memchr::memmem::find(bytes, END) {
        Some(at) if at + END.len() <= MAX_HELLO => Ok(Some(at + END.len())),
        None if bytes.len() < MAX_HELLO => Ok(None),
        Some(_) | None => Err(Refused::TooLong),
    }
}

/// Returns what a callee sends in place of its hello, for the log of the caller.
pub(super) fn refusal(refused: &Refused) -> Vec<u8> {
    // A stranger learns no more than that.
    let why = match refused {
        Refused::OtherNode { .. } => "this is another node",
        Refused::Version => "the versions do not fit",
        Refused::NoHello | Refused::TooLong | Refused::NoProof | Refused::ByPeer(_) => "this is no greeting",
    };
    format!("{MAGIC}\nrefused: {why}\n\n").into_bytes()
}

/// A hello without its proof.
fn hello(from: NodeId, to: NodeId, nonce: &[u8; NONCE_BYTES]) -> String {
    let nonce = URL_SAFE_NO_PAD.encode(nonce);
    format!("{MAGIC}\nversion: {VERSION}\nfrom: {from}\nto: {to}\nnonce: {nonce}\n")
}

fn proof(key: &Key, usage: &str, hellos: [&[u8]; 2]) -> String {
    format!("{PROOF}{}\n\n", URL_SAFE_NO_PAD.encode(key.mac(usage, &hellos)))
}

/// Checks the line of a proof, with the empty line after it.
fn check(key: &Key, usage: &str, hellos: [&[u8]; 2], line: &[u8]) -> Result<(), Refused> {
    let claimed =
        line.strip_prefix(PROOF.as_bytes()).and_then(|line| line.strip_suffix(END)).ok_or(Refused::NoProof)?;
    let claimed = URL_SAFE_NO_PAD.decode(claimed).map_err(|_| Refused::NoProof)?;
    let is_proved = claimed.len() == MAC_BYTES && key.verifies(usage, &hellos, &claimed);
    is_proved.then_some(()).ok_or(Refused::NoProof)
}

/// What a hello says.
struct Hello {
    version: u32,
    from: NodeId,
    to: NodeId,
}

impl Hello {
    /// Reads a hello, with or without its end.
    fn read(bytes: &[u8]) -> Result<Self, Refused> {
        let text = std::str::from_utf8(bytes).map_err(|_| Refused::NoHello)?;
        let mut lines = text.trim_end_matches('\n').split('\n');
        if lines.next() != Some(MAGIC) {
            return Err(Refused::NoHello);
        }
        let (mut version, mut from, mut to, mut nonce) = (None, None, None, None);
        for line in lines {
            let (name, value) = line.split_once(": ").ok_or(Refused::NoHello)?;
            let known = match name {
                "version" => &mut version,
                "from" => &mut from,
                "to" => &mut to,
                "nonce" => &mut nonce,
                "refused" => return Err(Refused::ByPeer(value.escape_debug().to_string().into())),
                // Of a later version.
                _ => continue,
            };
            if known.replace(value).is_some() {
                return Err(Refused::NoHello);
            }
        }
        let version = version.and_then(|version| version.parse().ok()).filter(|&version| version > 0);
        let node = |text: Option<&str>| text.and_then(NodeId::parse).ok_or(Refused::NoHello);
        // All bytes of the hello are in the proofs: that there is a nonce, and a long one, is all that is asked of it.
        let nonce =
            nonce.and_then(|nonce| URL_SAFE_NO_PAD.decode(nonce).ok()).filter(|nonce| nonce.len() >= NONCE_BYTES);
        if nonce.is_none() {
            return Err(Refused::NoHello);
        }
        Ok(Self { version: version.ok_or(Refused::Version)?, from: node(from)?, to: node(to)? })
    }
}

/// A caller that has said hello.
pub(super) struct Caller<'k> {
    key: &'k Key,
    me: NodeId,
    wanted: NodeId,
    hello: Vec<u8>,
}

impl<'k> Caller<'k> {
    /// Begins a greeting with the node `wanted`. [`Self::hello`] is to be sent.
    pub(super) fn begin(key: &'k Key, (me, wanted): (NodeId, NodeId), nonce: &[u8; NONCE_BYTES]) -> Self {
        let mut hello = hello(me, wanted, nonce).into_bytes();
        hello.push(b'\n');
        Self { key, me, wanted, hello }
    }

    pub(super) fn hello(&self) -> &[u8] {
        &self.hello
    }

    /// Takes the callee's hello. Returns the proof to be sent, after which the connection speaks HTTP.
    ///
    /// # Errors
    /// When the callee is not the node that is wanted, or does not prove the secret.
    pub(super) fn answered(self, answer: &[u8]) -> Result<(Vec<u8>, Greeted), Refused> {
        let line = memchr::memmem::rfind(answer, b"\nproof: ").map_or(answer.len(), |at| at + 1);
        let (unproved, proof_line) = answer.split_at(line);
        let Hello { version, from, to } = Hello::read(unproved)?;
        let hellos = [&self.hello, unproved];
        check(self.key, BY_CALLEE, hellos, proof_line)?;
        if from != self.wanted || to != self.me {
            return Err(Refused::OtherNode { wanted: self.wanted, found: from });
        }
        let key = self.key.derive(CONNECTION, &hellos);
        let greeted = Greeted { peer: from, version: version.min(VERSION), key };
        Ok((proof(self.key, BY_CALLER, hellos).into_bytes(), greeted))
    }
}

/// A callee that has answered a hello.
pub(super) struct Callee<'k> {
    key: &'k Key,
    caller: Hello,
    /// The caller's hello.
    said: Vec<u8>,
    /// Its own, without the proof.
    unproved: Vec<u8>,
}

impl<'k> Callee<'k> {
    /// Answers the hello of a caller. Returns what is to be sent.
    ///
    /// # Errors
    /// When it is no hello, or another node than `me` is wanted.
    pub(super) fn answer(
        key: &'k Key,
        me: NodeId,
        said: &[u8],
        nonce: &[u8; NONCE_BYTES],
    ) -> Result<(Self, Vec<u8>), Refused> {
        let caller = Hello::read(said)?;
        if caller.to != me {
            return Err(Refused::OtherNode { wanted: caller.to, found: me });
        }
        let unproved = hello(me, caller.from, nonce);
        let answer = unproved.clone() + &proof(key, BY_CALLEE, [said, unproved.as_bytes()]);
        Ok((Self { key, caller, said: said.to_vec(), unproved: unproved.into_bytes() }, answer.into_bytes()))
    }

    /// Takes the caller's proof, after which the connection speaks HTTP.
    ///
    /// # Errors
    /// With [`Refused::NoProof`].
    pub(super) fn proved(self, proof: &[u8; PROOF_LENGTH]) -> Result<Greeted, Refused> {
        let hellos = [&self.said[..], &self.unproved];
        check(self.key, BY_CALLER, hellos, proof)?;
        let key = self.key.derive(CONNECTION, &hellos);
        Ok(Greeted { peer: self.caller.from, version: self.caller.version.min(VERSION), key })
    }
}
