//! What a hop may take.

use std::time::Duration;

/// Time for the handshake of TLS and the greeting of a connection. Beyond it the connection is closed.
pub(super) const GREETING: Duration = Duration::from_secs(5);

/// Time for the other side's part in that, as the caller waits for it: nodes are near each other, and a process that was stopped takes
/// connections and says nothing.
pub(super) const GREETED: Duration = Duration::from_secs(2);

/// Connections to one node that are opened at once; others wait for their turn.
pub(super) const MAX_DIALLING: usize = 32;

/// Connections that may be at their greeting; one more is closed, and its caller tries again: those of thirty other nodes.
pub(super) const MAX_GREETINGS: usize = 1_000;

/// Time to connect to a node. Nodes are near each other, but a system sends a packet that was lost again after a second.
pub(super) const CONNECT: Duration = Duration::from_secs(2);

/// Time after which a caller closes a connection without a request.
pub(super) const IDLE: Duration = Duration::from_secs(60);

/// Time after which a callee closes such a connection: longer than the caller's, which closes it first. A request on a connection that
/// the callee closes at that moment might have run.
pub(super) const IDLE_AT_CALLEE: Duration = Duration::from_secs(600);

/// How often connections without a request are looked through.
pub(super) const SWEEP: Duration = Duration::from_secs(15);

/// Time for a connection of which the last response was read to become ready for the next request. Beyond it another is opened.
pub(super) const READY: Duration = Duration::from_millis(100);

/// The largest body that is read before it is sent, in bytes: it can be sent again, to another node. A larger one waits until its
/// callee asks for it.
pub(super) const KEPT_BODY: usize = 64 << 10;

/// The most bytes of what a node tells another at once.
pub(super) const MAX_TOLD: usize = 64 << 10;

/// The most bytes of the list of tunnels that a node has: some 300,000 of them.
pub(super) const MAX_LISTED: usize = 64 << 20;

/// Bytes in a head beyond twice a visitor's: a note has its headers, whose characters may take two bytes each.
pub(super) const MORE_HEAD: usize = 4 << 10;

/// Headers beyond a visitor's: the stamp and the hop's own.
pub(super) const MORE_HEADERS: usize = 16;
