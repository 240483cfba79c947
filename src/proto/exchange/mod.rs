//! One visitor's request and its response, as the end sees them (PROTOCOL.md, "The request event", "The ack").
//!
//! - [`options`]: what an end asked for when it connected
//! - [`body`]: what a request's body is to the end
//! - [`request`]: the event `request`
//! - [`response`]: an ack as an HTTP response
//! - [`end`]: the same two, as the end reads and writes them
//! - [`headers`]: which headers pass; [`cookie`]: what of a cookie does
//! - [`stream`]: what is too large or too long for an event and its ack
//! - [`id`]: the id of an exchange
//! - [`query`]: query strings and forms, as the npm package qs reads them

pub mod body;
pub mod cookie;
pub mod end;
pub mod headers;
pub mod id;
pub mod options;
pub mod query;
pub mod request;
pub mod response;
pub mod stream;

pub use self::body::{Body, InvalidBody};
pub use self::end::{InlineBody, Request, headers_to_json};
pub use self::id::ExchangeId;
pub use self::options::{EndAuth, EndOptions, OPTION_NAMES};
pub use self::request::{MarkerInHeaders, Streamed, Visit, trailers_to_json};
pub use self::response::{HeadLimits, InvalidAnswer, Response, decode_trailers, is_without_content};
