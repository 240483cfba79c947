//! Bodies of any size, event streams and WebSockets between a visitor and an end, as events and acks (PROTOCOL.md,
//! "Streaming").
//!
//! - [`options`]: what an end asks for, and what holds
//! - [`ready`]: the events `ready` and `closing`, coded both ways
//! - [`event`]: the events of an exchange, coded both ways; `abort`: the codes of `abort`
//! - `ack`: the ack of such an event
//! - [`window`]: how much of one direction may be sent and not acknowledged
//! - `exchange`: one exchange as either side sees it; `turns`: whose turn it is to send
//! - [`server`]: the exchanges of one end, as the server sees them; `effect`: what an event leads to
//! - [`client`]: the same exchanges, as the end sees them

mod abort;
pub mod ack;
pub mod client;
mod effect;
pub mod event;
mod exchange;
pub mod options;
pub mod ready;
pub mod server;
mod turns;
pub mod window;

pub use self::abort::AbortCode;
pub use self::ack::{read_ack, write_ack};
pub use self::event::{Event, Malformed, Part, Received};
pub use self::exchange::{Begin, Content, Owed};
pub use self::options::{Asked, BytesAs, Terms, WebSocketAs};
pub use self::ready::{Closing, Ready};
pub use self::turns::Turn;
pub use self::window::{Breach, Receiving, Sending};

/// What an event costs beside its bytes, in bytes: its text, and what both sides keep of it. Empty events cost this alone.
pub const EVENT_COST: usize = 256;

/// The largest window, in bytes: 4 MiB in 100 ms are 40 MB/s.
pub const MAX_WINDOW: usize = 4 << 20;

/// The window that a direction begins with while memory is plentiful, in bytes.
pub const FIRST_WINDOW: usize = 256 << 10;

/// The window that a direction begins with while memory is scarce, in bytes.
pub const SCARCE_WINDOW: usize = 64 << 10;

/// The largest payload of one event, in bytes. Larger ones are no faster, and hold up the events behind them for longer.
pub const MAX_CHUNK: usize = 64 << 10;

/// The smallest payload that an end may ask events to be cut to, in bytes.
pub const MIN_CHUNK: usize = 256;

/// A body of at most this size, in bytes, whose length is known goes along with the event `request`.
pub const MAX_INLINE: usize = 64 << 10;
