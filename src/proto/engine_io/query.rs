//! What an HTTP request to the Engine.IO path wants: its method and query string, parsed once
//! (PROTOCOL.md, "Engine.IO requests").

use std::borrow::Cow;

use super::{Revision, Sid, Transport};

/// The methods that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Handshake, poll or upgrade.
    Get,
    /// Packets from the client.
    Post,
    /// Anything else.
    Other,
}

/// A request that can be served, as far as its own words tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Opens a session.
    Open {
        /// The revision it will speak.
        revision: Revision,
        /// The transport it starts on.
        transport: Transport,
        /// How binary messages are to travel on it.
        binary: BinaryAs,
    },
    /// Waits for packets.
    Poll(Target),
    /// Brings packets.
    Post(Target),
    /// Brings a WebSocket to a session that polls.
    Attach(Target, BinaryAs),
    /// Fits no session, for this reason; which a session that does not exist comes before.
    Misfit(Target, Rejection),
}

/// How binary messages travel on a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BinaryAs {
    /// As binary frames.
    Frames,
    /// As text, `b` and base64, for a client that said `b64=1`.
    Base64,
}

/// The session that a request names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Its id.
    pub sid: Sid,
    /// The revision that the request claims; `None` when it claims one that does not exist, or none.
    pub revision: Option<Revision>,
}

/// Why a request is refused: the codes of the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// 0: the transport is missing, unknown or turned off.
    TransportUnknown,
    /// 1: no session has this id, or not any more.
    SessionUnknown,
    /// 2: a handshake that is not a GET.
    BadHandshakeMethod,
    /// 3: the request does not fit the session.
    BadRequest,
    /// 4: the application refused the handshake.
    Forbidden,
    /// 5: the revision is missing, unknown or turned off.
    UnsupportedRevision,
    /// A method that a session's URL does not have. Not in the reference, which answers 500.
    MethodNotAllowed,
}

impl Rejection {
    /// The HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Forbidden => 403,
            Self::MethodNotAllowed => 405,
            Self::TransportUnknown
            | Self::SessionUnknown
            | Self::BadHandshakeMethod
            | Self::BadRequest
            | Self::UnsupportedRevision => 400,
        }
    }

    /// The code and message of the JSON body, where there is one.
    #[must_use]
    pub const fn code_and_message(self) -> Option<(u8, &'static str)> {
        match self {
            Self::TransportUnknown => Some((0, "Transport unknown")),
            Self::SessionUnknown => Some((1, "Session ID unknown")),
            Self::BadHandshakeMethod => Some((2, "Bad handshake method")),
            Self::BadRequest => Some((3, "Bad request")),
            Self::Forbidden => Some((4, "Forbidden")),
            Self::UnsupportedRevision => Some((5, "Unsupported protocol version")),
            Self::MethodNotAllowed => None,
        }
    }
}

impl Request {
    /// Reads a request; `upgrade` says whether it asks for a WebSocket.
    ///
    /// # Errors
    /// In the order of the reference: transport (0), session id (1); without an id the method (2), a WebSocket without
    /// upgrade (3), and last the revision (5).
    pub fn parse(method: Method, query: &str, upgrade: bool) -> Result<Self, Rejection> {
        let words = Words::parse(query);
        let transport = match words.transport.as_deref() {
            Some("polling") => Transport::Polling,
            Some("websocket") => Transport::WebSocket,
            Some(_) | None => return Err(Rejection::TransportUnknown),
        };
        let revision = match words.revision.as_deref() {
            Some("4") => Some(Revision::V4),
            Some(_) | None => None,
        };
        // An empty `sid` is none, as in the reference; a malformed one is a session that nobody has.
        let binary = match words.base64.as_deref() {
            Some("1" | "true") => BinaryAs::Base64,
            Some(_) | None => BinaryAs::Frames,
        };
        let Some(sid) = words.sid.filter(|sid| !sid.is_empty()) else {
            return Self::parse_open(method, transport, upgrade, revision, binary);
        };
        let sid = Sid::parse(&sid).ok_or(Rejection::SessionUnknown)?;
        let target = Target { sid, revision };
        match (transport, method, upgrade) {
            (Transport::WebSocket, Method::Get, true) => Ok(Self::Attach(target, binary)),
            (Transport::Polling, Method::Get, false) => Ok(Self::Poll(target)),
            (Transport::Polling, Method::Post, false) => Ok(Self::Post(target)),
            (_, Method::Other, _) => Ok(Self::Misfit(target, Rejection::MethodNotAllowed)),
            (Transport::WebSocket | Transport::Polling, Method::Get | Method::Post, _) => {
                Ok(Self::Misfit(target, Rejection::BadRequest))
            }
        }
    }

    fn parse_open(
        method: Method,
        transport: Transport,
        upgrade: bool,
        revision: Option<Revision>,
        binary: BinaryAs,
    ) -> Result<Self, Rejection> {
        if method != Method::Get {
            return Err(Rejection::BadHandshakeMethod);
        }
        if upgrade != (transport == Transport::WebSocket) {
            return Err(Rejection::BadRequest);
        }
        let revision = revision.ok_or(Rejection::UnsupportedRevision)?;
        Ok(Self::Open { revision, transport, binary })
    }
}

/// The parameters we know. Of a repeated one the last counts, as in Node; unknown ones are the application's.
#[derive(Default)]
struct Words<'q> {
    transport: Option<Cow<'q, str>>,
    revision: Option<Cow<'q, str>>,
    sid: Option<Cow<'q, str>>,
    base64: Option<Cow<'q, str>>,
}

impl<'q> Words<'q> {
    fn parse(query: &'q str) -> Self {
        let mut words = Self::default();
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let slot = match name {
                "transport" => &mut words.transport,
                "EIO" => &mut words.revision,
                "sid" => &mut words.sid,
                "b64" => &mut words.base64,
                _ => continue,
            };
            *slot = Some(percent_decode(value));
        }
        words
    }
}

/// Undoes percent-encoding. What cannot be decoded stays as it is, and then equals nothing we know.
fn percent_decode(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let decoded = (byte == b'%').then(|| tail.first_chunk::<2>().and_then(hex_byte)).flatten();
        bytes.push(decoded.unwrap_or(byte));
        rest = if decoded.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8(bytes).map_or(Cow::Borrowed(text), Cow::Owned)
}

fn hex_byte(digits: &[u8; 2]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(digits[0])? << 4 | digit(digits[1])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SID: &str = "abcdefghij-_ABCDEFGH";

    #[test]
    fn reads_every_request_in_the_order_of_the_reference() {
        use Method::{Get, Other, Post};
        use Rejection as R;
        let check = |method, query: &str, upgrade, expected: Result<&str, Rejection>| {
            let query = query.replace("SID", SID);
            let found = Request::parse(method, &query, upgrade).map(|request| match request {
                Request::Open { transport: Transport::Polling, .. } => "open",
                Request::Open { transport: Transport::WebSocket, .. } => "open ws",
                Request::Poll(_) => "poll",
                Request::Post(_) => "post",
                Request::Attach(_, BinaryAs::Frames) => "attach",
                Request::Attach(_, BinaryAs::Base64) => "attach b64",
                Request::Misfit(_, Rejection::BadRequest) => "bad request",
                Request::Misfit(..) => "method not allowed",
            });
            assert_eq!(found, expected, "{method:?} ?{query} upgrade {upgrade}");
        };
        check(Get, "EIO=4&transport=polling", false, Ok("open"));
        check(Get, "EIO=4&transport=polling&sid=", false, Ok("open"));
        check(Get, "x=%zz&&=&EIO=%34&transport=polling&t=abc", false, Ok("open"));
        check(Get, "EIO=9&EIO=4&transport=x&transport=polling", false, Ok("open"));
        check(Get, "EIO=4&transport=websocket", true, Ok("open ws"));
        check(Get, "EIO=4&transport=polling&sid=SID", false, Ok("poll"));
        check(Post, "EIO=4&transport=polling&sid=SID", false, Ok("post"));
        check(Get, "EIO=4&transport=websocket&sid=SID", true, Ok("attach"));
        check(Get, "", false, Err(R::TransportUnknown));
        check(Post, "sid=SID&EIO=4", false, Err(R::TransportUnknown));
        check(Get, "EIO=4&transport=webtransport", false, Err(R::TransportUnknown));
        check(Get, "EIO=4&transport=constructor", true, Err(R::TransportUnknown));
        check(Get, "EIO=4&transport=polling&sid=__proto__", false, Err(R::SessionUnknown));
        check(Get, "transport=polling&sid=x", false, Err(R::SessionUnknown));
        check(Get, "EIO=4&transport=websocket&sid=SID&b64=1", true, Ok("attach b64"));
        check(Get, "EIO=4&transport=websocket&sid=SID", false, Ok("bad request"));
        check(Get, "EIO=4&transport=polling&sid=SID", true, Ok("bad request"));
        check(Post, "EIO=4&transport=websocket&sid=SID", false, Ok("bad request"));
        check(Other, "EIO=4&transport=polling&sid=SID", false, Ok("method not allowed"));
        check(Post, "EIO=4&transport=polling", false, Err(R::BadHandshakeMethod));
        check(Other, "transport=polling", false, Err(R::BadHandshakeMethod));
        check(Get, "EIO=4&transport=websocket", false, Err(R::BadRequest));
        check(Get, "transport=polling", false, Err(R::UnsupportedRevision));
        check(Get, "EIO=abc&transport=polling", false, Err(R::UnsupportedRevision));
        check(Get, "EIO=5&transport=websocket", true, Err(R::UnsupportedRevision));
    }
}
