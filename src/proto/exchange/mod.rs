//! One visitor's request and its response, as the end sees them (PROTOCOL.md, "The request event", "The ack").
//!
//! - [`options`]: what an end asked for when it connected
//! - [`body`]: what a request's body is to the end
//! - [`request`]: the event `request`
//! - [`response`]: an ack as an HTTP response
//! - [`headers`]: which headers pass
//! - [`query`]: query strings and forms, as the npm package qs reads them

pub mod body;
pub mod headers;
pub mod options;
pub mod query;
pub mod request;
pub mod response;

pub use self::body::{Body, InvalidBody};
pub use self::options::{EndAuth, EndOptions, OPTION_NAMES};
pub use self::request::{MarkerInHeaders, Visit};
pub use self::response::{HeadLimits, InvalidAnswer, Response, is_without_content};
