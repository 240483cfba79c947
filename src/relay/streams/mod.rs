//! Streams: bodies of any size, event streams and WebSockets between a visitor and an end that asks for them (PROTOCOL.md,
//! "Streaming").
//!
//! ```text
//! visitor ─► upload ───► Stream.up ──── taken in turns ────► EndStreams ─► data ─► end
//! visitor ◄─ download ◄─ Stream.down ◄── as it comes ─────── EndStreams ◄─ data ◄─ end
//!              the exchange's tasks │                      │ the task of the end's session
//! ```
//!
//! - `stream`: where the two meet: one small value for each exchange, which its `lease` holds on the visitor's side; `up` is what
//!   waits in it for the end
//! - `session`: the exchanges of one end, on the task of its session, which owns all windows; `message` is what that task is told
//! - `first`: what comes first of an end that is asked; `grants`: what a client on long-polling may send at once

mod first;
mod grants;
mod lease;
mod message;
mod session;
mod stream;
mod up;

use std::time::Duration;

pub(super) use self::first::{First, Head, Said, Waiter};
pub(super) use self::grants::Grants;
pub(super) use self::lease::Lease;
pub(super) use self::message::{Closing, ToSession};
pub(super) use self::session::{Beginning, EndStreams, Message};
pub(super) use self::stream::{Down, Phase, Receipt, Room, Stall, Stream};

/// How long an exchange may stand still: no byte of it comes from either side, or is taken. Event streams and upgraded connections
/// may be silent for longer.
pub(super) const IDLE: Duration = Duration::from_secs(60);

/// What is read ahead of a visitor's body, in bytes.
pub(super) const READ_AHEAD: usize = 64 << 10;
