//! WebSocket frames as both sides read and write them (RFC 6455, section 5), without extensions.
//!
//! - [`frame`]: the head of one frame, and its mask
//! - [`reader`]: frames put together to messages

pub mod frame;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod parts;
pub mod reader;

pub use self::frame::{Opcode, Violation, mask, write_head, write_masked_head};
pub use self::reader::{Direct, Item, ReadLimits, Reader};
