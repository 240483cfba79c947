//! What comes first of an end that is asked.

use bytestring::ByteString;
use http::HeaderValue;

use crate::proto::exchange::stream::AbortCode;
use crate::proto::exchange::{InvalidAnswer, Response};
use crate::proto::socket_io::connection::{AckError, Answer};

/// What comes first of an end: the whole answer, or the head of one.
#[derive(Debug)]
pub(in crate::relay) enum First {
    /// The ack, or why none will come.
    Ack(Result<Answer, AckError>),
    /// The head of a response that follows.
    Head(Head),
    /// The head is none that HTTP can carry.
    InvalidHead(InvalidAnswer),
    /// The exchange is over without an answer, for this reason and in these words.
    Aborted(AbortCode, Option<ByteString>),
}

/// The head of a response whose body follows.
#[derive(Debug)]
pub(in crate::relay) struct Head {
    /// Its body is empty.
    pub(in crate::relay) response: Response,
    /// The header `Trailer`, for trailers that may follow the body.
    pub(in crate::relay) trailer: Option<HeaderValue>,
}
