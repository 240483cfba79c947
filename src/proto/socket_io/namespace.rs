//! The names of namespaces, as they stand in packets.

use bytestring::ByteString;

use crate::proto::engine_io::Revision;

/// The longest namespace that can be joined, in bytes. That of a token has 49.
pub const MAX_NAMESPACE_LENGTH: usize = 256;

/// A namespace: `/` and what follows, exactly as the client wrote it. Nothing is decoded or normalised.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Namespace(ByteString);

impl Namespace {
    /// Returns the default namespace, `/`.
    #[must_use]
    pub fn root() -> Self {
        Self(ByteString::from_static("/"))
    }

    /// Takes a namespace from a packet. `None` is a text that does not begin with `/`, or has a comma.
    #[must_use]
    pub fn new(name: ByteString) -> Option<Self> {
        (name.starts_with('/') && !name.contains(',')).then_some(Self(name))
    }

    /// Returns the namespace as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the namespace could be joined: it is not too long, and has no characters that would break a payload or a
    /// log line. In revision 3 it is ASCII, which all clients encode alike.
    #[must_use]
    pub fn is_joinable(&self, revision: Revision) -> bool {
        let safe = match revision {
            Revision::V3 => self.0.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_control()),
            Revision::V4 => !self.0.chars().any(char::is_control),
        };
        safe && self.0.len() <= MAX_NAMESPACE_LENGTH
    }

    /// Returns the namespace with a query behind it, as a client of revision 3 joins it. `None` for a query with a comma, which would
    /// end the namespace: write `%2C`.
    #[must_use]
    pub fn with_query(&self, query: &str) -> Option<Self> {
        Self::new([self.as_str(), "?", query].concat().into())
    }

    /// Splits off what stands behind the first `?`, which revision 3 takes for a query.
    #[must_use]
    pub fn split_query(&self) -> (Self, Option<ByteString>) {
        match self.0.split_once('?') {
            Some((name, query)) => (Self(self.0.slice_ref(name)), Some(self.0.slice_ref(query))),
            None => (self.clone(), None),
        }
    }

    /// Returns a copy that does not hold on to the packet the name came in.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self(ByteString::from(self.0.to_string()))
    }

    /// Returns the start of the name, at most 256 bytes, for an answer that must not repeat the whole.
    #[must_use]
    pub fn truncated(&self) -> Self {
        let end = (0..=MAX_NAMESPACE_LENGTH.min(self.0.len())).rev().find(|&at| self.0.is_char_boundary(at));
        Self(self.0.slice_ref(&self.0[..end.unwrap_or(0)]))
    }

    /// Appends the name as it stands in a packet, where the default namespace is left out.
    pub(super) fn write(&self, out: &mut String) {
        if self.as_str() != "/" {
            out.push_str(&self.0);
            out.push(',');
        }
    }
}
