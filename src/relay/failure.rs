//! Why the relay, and not the end, answers a visitor: each failure with its status, its code and its words.
//!
//! A new failure is a variant of [`Failure`] and, if programs must tell it from the others, of [`Code`]. The compiler asks for
//! the rest.

use std::fmt;
use std::time::Duration;

use bytestring::ByteString;
use http::StatusCode;
use http::header::{self, HeaderValue};

use super::code::Code;
use super::error_reply::{error, error_page};
use super::rules::{Refusal, seconds_up};
use crate::config::ErrorStatus;
use crate::net::body::BodyError;
use crate::net::reply::Reply;
use crate::proto::exchange::stream::AbortCode;
use crate::proto::exchange::{InvalidAnswer, InvalidBody, MarkerInHeaders};
use crate::proto::limit::Limit;

/// A failure, by who has to mend it.
#[derive(Debug)]
pub(super) enum Failure {
    // The visitor's.
    /// No such path.
    NotFound,
    /// A path on a tunnel's host that the relay keeps.
    Challenge,
    /// The path has other methods: these.
    MethodNotAllowed(&'static str),
    /// A body over the limit, in bytes.
    BodyTooLarge(usize),
    /// A body for an end that streams over the limit, in bytes.
    StreamTooLarge(usize),
    /// A body that came so slowly that it would never end.
    BodyTooSlow,
    /// A body that ended before it should.
    BodyIncomplete,
    /// A head that HTTP does not allow, in this way.
    InvalidHead(&'static str),
    /// An end would take the headers for the body.
    MarkerInHeaders(MarkerInHeaders),
    /// A body that is not what its headers say.
    InvalidBody(InvalidBody),
    /// A script above all tunnels that a page wants to run as its service worker.
    ServiceWorker,
    /// The operator keeps the address or the tunnel out.
    Blocked,
    /// The tunnels of this key have carried all that they may for now. They may carry more after this time.
    Quota(Duration),
    /// The tunnel's rules have something against the request.
    Refused(Refusal),
    /// A person opens the tunnel for the first time. This cookie says next time that it is not the first.
    Interstitial(HeaderValue),
    /// A document on the shared origin, where the operator wants none.
    Document,
    /// Too many requests from this address.
    Throttled,
    /// Too many bodies from this address are still arriving.
    TooManyUploads,
    /// This address made as many tokens as it may: this many.
    TooManyTunnels(usize),
    // The owner's of a tunnel, or of one to be.
    /// What needs the key of the tunnel came without a key.
    KeyRequired,
    /// The server makes no tunnels without a key.
    KeysRequired,
    /// Who makes a tunnel must show the operator's secret.
    CreateSecret,
    /// The name belongs to another tunnel.
    NameTaken,
    /// Somebody else has set rules at the same time.
    RulesChanged,
    /// What was asked for is not possible, for this reason.
    InvalidRequest(String),
    /// What was asked for is not said in JSON.
    NotJson,
    /// The token is unknown, has expired, is an original one, or is somebody else's: nothing tells which.
    NoSuchTunnel,
    // The end's, or its owner's.
    /// The token is unknown or has expired.
    TokenNotFound,
    /// No end is connected.
    NotConnected,
    /// The tunnel's end is at another node by now: look for it again.
    Elsewhere,
    /// The end left before it answered.
    Disconnected,
    /// No end is connected now, and as many visitors wait for one as may.
    TooManyHeld,
    /// The end did not answer in time, and the operator wants this status for it.
    TimedOut(StatusCode),
    /// The end's answer is larger than the limit.
    AnswerTooLarge,
    /// The end has given the exchange up, for this reason and perhaps with words of its own.
    Aborted(AbortCode, Option<ByteString>),
    /// The visitor asks for a WebSocket, and the end takes none.
    UpgradeUnsupported,
    /// The request has come through this server before.
    Loop,
    /// The end's answer is nothing that HTTP can carry.
    InvalidAnswer(InvalidAnswer),
    // The operator's.
    /// More is waiting for this end than the limit.
    Overloaded,
    /// More is going on in all than the limit, or holds more memory.
    Busy,
    /// No place for another token: this many are alive.
    TokensFull { capacity: usize },
    /// The store of tokens fails.
    Store,
    /// The server is about to stop.
    Stopping,
    /// The server did what it should never do.
    Bug,
}

impl Failure {
    /// Returns the failure's name for programs.
    pub(super) fn code(&self) -> Code {
        match self {
            Self::NotFound | Self::Challenge => Code::NotFound,
            Self::MethodNotAllowed(_) => Code::MethodNotAllowed,
            Self::BodyTooLarge(_) | Self::StreamTooLarge(_) => Code::BodyTooLarge,
            Self::BodyTooSlow => Code::BodyTooSlow,
            Self::BodyIncomplete => Code::BodyIncomplete,
            Self::InvalidHead(_) => Code::InvalidHead,
            Self::MarkerInHeaders(_) => Code::ForbiddenHeader,
            Self::InvalidBody(InvalidBody::NotJson(_)) => Code::InvalidBody,
            Self::InvalidBody(InvalidBody::Charset(_)) => Code::UnsupportedCharset,
            Self::InvalidBody(InvalidBody::TooManyFields(_)) => Code::BodyTooLarge,
            Self::ServiceWorker => Code::ServiceWorker,
            Self::Document => Code::Document,
            Self::Quota(_) => Code::Quota,
            Self::Blocked => Code::Blocked,
            Self::Interstitial(_) => Code::Interstitial,
            Self::Refused(refusal) => refusal.code(),
            Self::Throttled => Code::Throttled,
            Self::TooManyUploads => Code::TooManyUploads,
            Self::TooManyTunnels(_) => Code::TooManyTunnels,
            Self::KeyRequired => Code::KeyRequired,
            Self::KeysRequired => Code::KeysRequired,
            Self::CreateSecret => Code::CreateSecret,
            Self::NameTaken => Code::NameTaken,
            Self::RulesChanged => Code::Conflict,
            Self::InvalidRequest(_) => Code::InvalidRequest,
            Self::NotJson => Code::NotJson,
            Self::TokenNotFound | Self::NoSuchTunnel => Code::TokenNotFound,
            Self::NotConnected | Self::Elsewhere => Code::NotConnected,
            Self::Disconnected => Code::Disconnected,
            Self::TooManyHeld => Code::TooManyHeld,
            Self::TimedOut(_) => Code::TimedOut,
            Self::AnswerTooLarge => Code::AnswerTooLarge,
            Self::Aborted(AbortCode::TooLarge, _) => Code::BodyTooLarge,
            Self::Aborted(AbortCode::Timeout, _) => Code::TimedOut,
            Self::Aborted(AbortCode::Stopping, _) => Code::Stopping,
            Self::Aborted(AbortCode::TakenOver, _) => Code::Disconnected,
            Self::Aborted(..) => Code::Aborted,
            Self::UpgradeUnsupported => Code::UpgradeUnsupported,
            Self::Loop => Code::Loop,
            Self::InvalidAnswer(_) => Code::InvalidAnswer,
            Self::Overloaded => Code::Overloaded,
            Self::Busy | Self::TokensFull { .. } => Code::Busy,
            Self::Store => Code::Store,
            Self::Stopping => Code::Stopping,
            Self::Bug => Code::Bug,
        }
    }

    /// Returns the limit that was hit, if that is the failure and nothing else counts it.
    pub(super) fn limit_hit(&self) -> Option<Limit> {
        match self {
            Self::BodyTooLarge(_) | Self::InvalidBody(InvalidBody::TooManyFields(_)) => Some(Limit::Body),
            Self::StreamTooLarge(_) => Some(Limit::StreamBody),
            Self::BodyTooSlow => Some(Limit::StallTimeout),
            Self::TimedOut(_) => Some(Limit::ResponseTimeout),
            Self::InvalidAnswer(invalid) => invalid.limit(),
            _ => None,
        }
    }

    fn status(&self, statuses: ErrorStatus) -> StatusCode {
        let standard = |status| match statuses {
            ErrorStatus::Original => StatusCode::INTERNAL_SERVER_ERROR,
            ErrorStatus::Standard => status,
        };
        match self {
            Self::NotFound | Self::Challenge => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge(_)
            | Self::StreamTooLarge(_)
            | Self::InvalidBody(InvalidBody::TooManyFields(_))
            | Self::Aborted(AbortCode::TooLarge, _) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::InvalidBody(InvalidBody::Charset(_)) | Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::BodyIncomplete
            | Self::InvalidHead(_)
            | Self::MarkerInHeaders(_)
            | Self::InvalidRequest(_)
            | Self::InvalidBody(InvalidBody::NotJson(_)) => StatusCode::BAD_REQUEST,
            Self::Blocked
            | Self::Interstitial(_)
            | Self::ServiceWorker
            | Self::Document
            | Self::KeysRequired
            | Self::CreateSecret => StatusCode::FORBIDDEN,
            Self::Refused(refusal) => refusal.status(),
            Self::KeyRequired => StatusCode::UNAUTHORIZED,
            Self::NameTaken | Self::RulesChanged => StatusCode::CONFLICT,
            Self::NoSuchTunnel => StatusCode::NOT_FOUND,
            Self::Quota(_) | Self::Throttled | Self::TooManyUploads | Self::TooManyTunnels(_) => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::TokenNotFound => standard(StatusCode::NOT_FOUND),
            Self::NotConnected | Self::Elsewhere | Self::Disconnected => standard(StatusCode::BAD_GATEWAY),
            Self::TimedOut(status) => *status,
            Self::Bug => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Aborted(AbortCode::Timeout, _) => StatusCode::GATEWAY_TIMEOUT,
            Self::Aborted(AbortCode::Stopping, _) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Aborted(..) => StatusCode::BAD_GATEWAY,
            Self::UpgradeUnsupported => StatusCode::NOT_IMPLEMENTED,
            Self::Loop => StatusCode::LOOP_DETECTED,
            Self::AnswerTooLarge | Self::InvalidAnswer(_) => StatusCode::BAD_GATEWAY,
            Self::TooManyHeld
            | Self::Overloaded
            | Self::Busy
            | Self::TokensFull { .. }
            | Self::Store
            | Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Makes the response, with the statuses that the operator wants: JSON, or a page where a browser shows it.
    pub(super) fn reply(&self, statuses: ErrorStatus, as_page: bool) -> Reply {
        let (status, code, message) = (self.status(statuses), self.code(), self.to_string());
        // What asks for a service worker shows no page, whatever else it says.
        let as_page = as_page && !matches!(self, Self::ServiceWorker);
        let mut reply = if as_page { error_page(status, code, &message) } else { error(status, code, &message) };
        let headers = reply.headers_mut();
        match self {
            Self::TooManyHeld
            | Self::Overloaded
            | Self::Busy
            | Self::TokensFull { .. }
            | Self::Throttled
            | Self::Store
            | Self::Stopping => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            Self::TooManyUploads => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            // The rest of the body is not read, so nothing more can come on this connection.
            Self::BodyTooLarge(_)
            | Self::StreamTooLarge(_)
            | Self::BodyTooSlow
            | Self::BodyIncomplete
            | Self::InvalidHead(_) => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            // RFC 6750, section 3.
            Self::KeyRequired => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::Interstitial(cookie) => {
                headers.insert(header::SET_COOKIE, cookie.clone());
                // In a frame, a page could show it where nobody sees it.
                headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
            }
            Self::Quota(left) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds_up(*left)));
            }
            Self::Refused(refusal) => refusal.set_headers(headers),
            Self::MethodNotAllowed(methods) => {
                headers.insert(header::ALLOW, HeaderValue::from_static(methods));
            }
            // It may take hours until a token expires.
            Self::NotFound
            | Self::Challenge
            | Self::MarkerInHeaders(_)
            | Self::TooManyTunnels(_)
            | Self::InvalidBody(_)
            | Self::Blocked
            | Self::ServiceWorker
            | Self::Document
            | Self::KeysRequired
            | Self::CreateSecret
            | Self::NameTaken
            | Self::RulesChanged
            | Self::InvalidRequest(_)
            | Self::NotJson
            | Self::NoSuchTunnel
            | Self::TokenNotFound
            | Self::NotConnected
            | Self::Elsewhere
            | Self::Disconnected
            | Self::TimedOut(_)
            | Self::AnswerTooLarge
            | Self::Aborted(..)
            | Self::UpgradeUnsupported
            | Self::Loop
            | Self::InvalidAnswer(_)
            | Self::Bug => (),
        }
        reply
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("not found: there are /new, /refresh/TOKEN, /tunnel/TOKEN and /go/TOKEN"),
            Self::Challenge => f.write_str("not found: no client gets what is below /.well-known/acme-challenge/"),
            Self::MethodNotAllowed(methods) => write!(f, "method not allowed: use {methods}"),
            Self::BodyTooLarge(limit) | Self::StreamTooLarge(limit) => {
                write!(f, "the body is over the limit of {limit} bytes")
            }
            Self::BodyTooSlow => f.write_str("the body came too slowly"),
            Self::InvalidHead(what) => write!(f, "the request is not valid HTTP: {what}"),
            Self::BodyIncomplete => f.write_str("the body did not arrive whole"),
            Self::MarkerInHeaders(error) => error.fmt(f),
            Self::InvalidBody(error) => error.fmt(f),
            Self::ServiceWorker => f.write_str(
                "a service worker at this path would control the pages of all tunnels: register a script behind \
                 /go/TOKEN/, such as /go/TOKEN/sw.js",
            ),
            Self::Document => f.write_str(
                "the app has answered with a page, which this server does not show at /go/TOKEN, an origin that all tunnels share",
            ),
            Self::Quota(_) => f.write_str(
                "this tunnel has carried all that the operator of this server lets one owner have for now",
            ),
            Self::Blocked => f.write_str("the operator of this server keeps this out: ask there"),
            Self::Interstitial(_) => f.write_str(
                "this address leads to somebody's app: its owner, and not the operator of this server, says what it shows",
            ),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Throttled => f.write_str("too many requests from this address, slow down"),
            Self::TooManyUploads => f.write_str(
                "too many request bodies from this address are still arriving, try again when one has arrived",
            ),
            Self::TooManyTunnels(limit) => write!(
                f,
                "too many tunnels of this address, {limit} of {limit}: use a token that you have, or try again when one has \
                 expired"
            ),
            Self::KeyRequired => f.write_str("this needs the tunnel's key: send Authorization: Bearer s2m_…"),
            Self::KeysRequired => f.write_str(
                "this server makes no tunnels without a key: send POST /new with Content-Type: application/json and {}",
            ),
            Self::CreateSecret => f.write_str(
                "this server makes tunnels for those who know its secret alone: ask its operator, and send \
                 X-Socket2Me-Create: SECRET",
            ),
            Self::NameTaken => f.write_str("the name is taken: choose another, or send the key of its tunnel"),
            Self::RulesChanged => f.write_str("somebody else has set rules of this tunnel at the same time: send it again"),
            Self::InvalidRequest(what) => f.write_str(what),
            Self::NotJson => f.write_str("send JSON with Content-Type: application/json, such as {}"),
            Self::TokenNotFound | Self::NoSuchTunnel => f.write_str("token not found"),
            Self::NotConnected => f.write_str("client not connected"),
            Self::Elsewhere => f.write_str("the client has moved to another server, try again"),
            Self::Disconnected => f.write_str("client disconnected before it answered"),
            Self::TooManyHeld => f.write_str("client not connected, and too many requests wait for it already"),
            Self::TimedOut(_) => f.write_str("client did not answer in time"),
            Self::AnswerTooLarge => f.write_str("the client's answer is over the limit of the server"),
            Self::Aborted(AbortCode::Stopping, None) => {
                f.write_str("the server is stopping, and the client has not answered in time")
            }
            Self::Aborted(code, None) => write!(f, "client gave the request up: {code}"),
            Self::Aborted(code, Some(message)) => write!(f, "client gave the request up: {code}: {message}"),
            Self::UpgradeUnsupported => {
                f.write_str("client takes no WebSockets: its program must ask for them, as with auth: { stream: 1 }")
            }
            Self::Loop => {
                f.write_str("the request has come through this server before: the client passes it on to its own URL")
            }
            Self::InvalidAnswer(error) => write!(f, "the client's answer cannot be sent: {error}"),
            Self::Busy => f.write_str("the server has too much to do, try again in a moment"),
            Self::TokensFull { capacity } => write!(
                f,
                "all tokens of this server are in use, {capacity} of {capacity}: try again later, or ask its operator \
                 to raise --max-tokens"
            ),
            Self::Overloaded => f.write_str("too many requests are waiting for this client"),
            Self::Store => f.write_str("the server cannot look tokens up now"),
            Self::Stopping => f.write_str("the server is stopping"),
            Self::Bug => f.write_str("the server has a fault: please report it to its operator"),
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<BodyError> for Failure {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge(limit) => Self::BodyTooLarge(limit),
            BodyError::Incomplete => Self::BodyIncomplete,
            BodyError::TooSlow => Self::BodyTooSlow,
            BodyError::NoMemory => Self::Busy,
        }
    }
}

#[cfg(test)]
mod tests;
