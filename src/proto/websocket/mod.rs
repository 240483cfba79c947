//! WebSocket frames as a server reads and writes them (RFC 6455, section 5), without extensions.
//!
//! - [`frame`]: the head of one frame, and its mask
//! - [`reader`]: frames put together to messages

pub mod frame;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod parts;
pub mod reader;

pub use self::frame::{Opcode, Violation, write_head};
pub use self::reader::{Direct, Item, ReadLimits, Reader};
