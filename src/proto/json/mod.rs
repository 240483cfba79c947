#![doc = include_str!("README.md")]

mod block;
mod container;
mod cursor;
mod event;
mod nesting;
mod parts;
mod scalar;
mod scan;
mod string;
mod unescape;
mod write;

#[cfg(test)]
mod tests;

pub use self::event::{Event, Invalid, Kind};
pub use self::parts::{
    Member, check, elements, for_each_element, for_each_element_unescaping, for_each_member, member, members,
};
pub use self::scan::scan;
pub use self::unescape::{unescape, unquote, without_quotes};
pub use self::write::{escaped_len, to_ascii, write_continuation, write_string, write_unicode_escape};
