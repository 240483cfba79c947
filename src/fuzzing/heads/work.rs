//! How much work a head is.

use std::cell::Cell;

use http::HeaderMap;

use super::head::Head;
use crate::proto::exchange::headers::HopByHop;

/// A value that counts how often it is read.
struct Counted<'c> {
    bytes: &'c [u8],
    reads: &'c Cell<usize>,
}

impl AsRef<[u8]> for Counted<'_> {
    fn as_ref(&self) -> &[u8] {
        self.reads.set(self.reads.get() + 1);
        self.bytes
    }
}

/// Each line of `Connection` is read once, however many headers there are: a peer chooses how many it names, and how many it
/// sends. A count shows the product of both in the shortest head, and does not depend on what else the machine does.
pub(super) fn check(head: &Head) {
    let reads = Cell::new(0);
    let count = |bytes| Counted { bytes, reads: &reads };
    let lines = head.headers.iter().map(|(name, value)| (name.clone(), count(value.as_bytes())));
    let headers: HeaderMap<Counted<'_>> = lines.collect();
    let hop_by_hop = HopByHop::of(&headers);
    for name in headers.keys() {
        let _ = hop_by_hop.contains(name);
    }
    assert!(reads.get() <= headers.get_all("connection").iter().count(), "{} reads: {:?}", reads.get(), head.headers);
}
