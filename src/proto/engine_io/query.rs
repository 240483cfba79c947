//! What an HTTP request to the Engine.IO path wants: its method and query string, parsed once
//! (PROTOCOL.md, "Engine.IO requests").

use std::borrow::Cow;

use super::jsonp::Jsonp;
use super::revision::Revision;
use super::sid::Sid;
use super::transport::{BinaryAs, Transport};

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

/// A request that its method and query allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Opens a session.
    Open {
        /// The revision that the session will speak.
        revision: Revision,
        /// The transport that the session starts on.
        transport: Transport,
        /// How binary messages travel on that transport.
        binary: BinaryAs,
        /// Set when the answer is a script.
        jsonp: Option<Jsonp>,
    },
    /// Waits for packets.
    Poll(Target),
    /// Brings packets.
    Post(Target),
    /// Brings a WebSocket to a session that polls.
    Upgrade(Target, BinaryAs),
    /// Names a session but cannot be served. If the session does not exist, that error takes precedence.
    Mismatch(Target, Rejection),
}

/// The session that a request names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The session's id.
    pub sid: Sid,
    /// The revision that the request names: 3 when it names none, `None` when there is no such revision.
    pub revision: Option<Revision>,
    /// Set when a poll's answer is a script, and a POST's body is a form.
    pub jsonp: Option<Jsonp>,
}

/// Why a request is refused: the codes of the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// 0: the transport is missing, unknown or turned off.
    TransportUnknown,
    /// 1: no session has this id, or no longer.
    SessionUnknown,
    /// 2: a handshake that is not a GET.
    BadHandshakeMethod,
    /// 3: the request does not fit the session.
    BadRequest,
    /// 3, likewise: the transport is a WebSocket, and the request does not ask for one. Often a proxy has left that out.
    NotUpgraded,
    /// 4: a page of this origin may not connect.
    Forbidden,
    /// 5: the revision is missing, unknown or turned off.
    UnsupportedRevision,
    /// The limit of sessions is reached, of all or of this address. Not in the reference.
    TooManySessions,
    /// The server is about to stop: it opens no more sessions. Not in the reference.
    Stopping,
    /// A method that a session's URL does not have. Not in the reference, which answers 500.
    MethodNotAllowed,
}

/// Read by people, and put into JSON as it is: no quotation marks.
const NOT_UPGRADED: &str = "Bad request: this is no WebSocket handshake. It needs HTTP/1.1 and the headers Upgrade and \
    Connection, which a proxy must pass on. In nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; \
    proxy_set_header Connection upgrade;";

impl Rejection {
    /// Returns the HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Forbidden => 403,
            Self::MethodNotAllowed => 405,
            Self::TooManySessions | Self::Stopping => 503,
            Self::TransportUnknown
            | Self::SessionUnknown
            | Self::BadHandshakeMethod
            | Self::BadRequest
            | Self::NotUpgraded
            | Self::UnsupportedRevision => 400,
        }
    }

    /// Returns the code and message of the JSON body, or `None` for an empty body.
    #[must_use]
    pub const fn code_and_message(self) -> Option<(u8, &'static str)> {
        match self {
            Self::TransportUnknown => Some((0, "Transport unknown")),
            Self::SessionUnknown => Some((1, "Session ID unknown")),
            Self::BadHandshakeMethod => Some((2, "Bad handshake method")),
            Self::BadRequest => Some((3, "Bad request")),
            Self::NotUpgraded => Some((3, NOT_UPGRADED)),
            Self::Forbidden => Some((4, "Forbidden")),
            Self::UnsupportedRevision => Some((5, "Unsupported protocol version")),
            Self::TooManySessions => Some((4, "Too many sessions, try again later")),
            Self::Stopping => Some((4, "The server is stopping, try again later")),
            Self::MethodNotAllowed => None,
        }
    }
}

impl Request {
    /// Reads a request; `upgrade` says whether it asks for a WebSocket.
    ///
    /// # Errors
    /// With the first of these, in the order of the reference: an unknown transport (0), JSONP without a number (3), a
    /// malformed session id (1); without an id a method other than GET (2), a WebSocket without an upgrade or an
    /// upgrade without one (3), an unknown revision (5).
    pub fn parse(method: Method, query: &str, upgrade: bool) -> Result<Self, Rejection> {
        let parameters = Parameters::parse(query);
        let transport = match parameters.transport.as_deref() {
            Some("polling") => Transport::Polling,
            Some("websocket") => Transport::WebSocket,
            Some(_) | None => return Err(Rejection::TransportUnknown),
        };
        let jsonp = match (transport, parameters.jsonp.as_deref()) {
            (Transport::Polling, Some(number)) => Some(Jsonp::parse(number).ok_or(Rejection::BadRequest)?),
            (Transport::Polling | Transport::WebSocket, _) => None,
        };
        let binary = match parameters.base64.as_deref() {
            Some("1" | "true") => BinaryAs::Base64,
            Some(_) | None if jsonp.is_some() => BinaryAs::Base64,
            Some(_) | None => BinaryAs::Frames,
        };
        let revision = parameters.revision.as_deref();
        // An empty `sid` counts as absent, as in the reference; a malformed one is an id that no session has.
        if let Some(sid) = parameters.sid.filter(|sid| !sid.is_empty()) {
            let sid = Sid::parse(&sid).ok_or(Rejection::SessionUnknown)?;
            let target = Target { sid, revision: Revision::parse(revision.unwrap_or("3")), jsonp };
            return Ok(Self::of_session(target, (transport, method, upgrade), binary));
        }
        if method != Method::Get {
            return Err(Rejection::BadHandshakeMethod);
        }
        match (transport, upgrade) {
            (Transport::WebSocket, true) | (Transport::Polling, false) => (),
            (Transport::WebSocket, false) => return Err(Rejection::NotUpgraded),
            (Transport::Polling, true) => return Err(Rejection::BadRequest),
        }
        // A new client must say what it speaks: the suites of both revisions ask for this.
        let revision = revision.and_then(Revision::parse).ok_or(Rejection::UnsupportedRevision)?;
        Ok(Self::Open { revision, transport, binary, jsonp })
    }

    /// Returns the request to a session, by its transport, its method, and whether it asks for a WebSocket.
    fn of_session(target: Target, kind: (Transport, Method, bool), binary: BinaryAs) -> Self {
        match kind {
            (Transport::WebSocket, Method::Get, true) => Self::Upgrade(target, binary),
            (Transport::Polling, Method::Get, false) => Self::Poll(target),
            (Transport::Polling, Method::Post, false) => Self::Post(target),
            (_, Method::Other, _) => Self::Mismatch(target, Rejection::MethodNotAllowed),
            (Transport::WebSocket, Method::Get, false) => Self::Mismatch(target, Rejection::NotUpgraded),
            (Transport::WebSocket | Transport::Polling, Method::Get | Method::Post, _) => {
                Self::Mismatch(target, Rejection::BadRequest)
            }
        }
    }
}

/// The parameters that Engine.IO knows. The last of a repeated one counts, as in Node. Unknown ones are the
/// application's.
#[derive(Default)]
struct Parameters<'q> {
    transport: Option<Cow<'q, str>>,
    revision: Option<Cow<'q, str>>,
    sid: Option<Cow<'q, str>>,
    base64: Option<Cow<'q, str>>,
    jsonp: Option<Cow<'q, str>>,
}

impl<'q> Parameters<'q> {
    fn parse(query: &'q str) -> Self {
        let mut parameters = Self::default();
        for (name, value) in pairs(query) {
            let slot = match &*name {
                "transport" => &mut parameters.transport,
                "EIO" => &mut parameters.revision,
                "sid" => &mut parameters.sid,
                "b64" => &mut parameters.base64,
                "j" => &mut parameters.jsonp,
                _ => continue,
            };
            *slot = Some(value);
        }
        parameters
    }
}

/// Splits a query into names and values. Most have nothing to decode.
fn pairs(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    query.split('&').filter(|pair| !pair.is_empty()).filter_map(|pair| {
        if pair.contains(['%', '+']) {
            return form_urlencoded::parse(pair.as_bytes()).next();
        }
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((Cow::Borrowed(name), Cow::Borrowed(value)))
    })
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
                Request::Open { jsonp: Some(_), binary: BinaryAs::Base64, .. } => "open jsonp",
                Request::Open { revision: Revision::V3, binary: BinaryAs::Base64, .. } => "open 3 b64",
                Request::Open { revision: Revision::V3, .. } => "open 3",
                Request::Open { transport: Transport::Polling, .. } => "open",
                Request::Open { transport: Transport::WebSocket, .. } => "open ws",
                Request::Poll(Target { revision: Some(Revision::V3), .. }) => "poll 3",
                Request::Poll(Target { revision: None, .. }) => "poll ?",
                Request::Poll(Target { jsonp: Some(_), .. }) => "poll jsonp",
                Request::Poll(_) => "poll",
                Request::Post(Target { jsonp: Some(_), .. }) => "post jsonp",
                Request::Post(_) => "post",
                Request::Upgrade(_, BinaryAs::Frames) => "upgrade",
                Request::Upgrade(_, BinaryAs::Base64) => "upgrade b64",
                Request::Mismatch(_, Rejection::BadRequest) => "bad request",
                Request::Mismatch(_, Rejection::NotUpgraded) => "not upgraded",
                Request::Mismatch(..) => "method not allowed",
            });
            assert_eq!(found, expected, "{method:?} ?{query} upgrade {upgrade}");
        };
        check(Get, "EIO=4&transport=polling", false, Ok("open"));
        check(Get, "EIO=4&transport=polling&sid=", false, Ok("open"));
        check(Get, "x=%zz&&=&EIO=%34&transport=polling&t=abc", false, Ok("open"));
        check(Get, "EIO=9&EIO=4&transport=x&transport=polling", false, Ok("open"));
        check(Get, "EIO=4&transport=websocket", true, Ok("open ws"));
        check(Get, "EIO=3&transport=polling", false, Ok("open 3"));
        check(Get, "EIO=3&transport=polling&b64=1", false, Ok("open 3 b64"));
        check(Get, "EIO=3&transport=polling&b64=0", false, Ok("open 3"));
        check(Get, "EIO=3&transport=polling&j=0", false, Ok("open jsonp"));
        check(Get, "EIO=4&transport=polling&j=1", false, Ok("open jsonp"));
        check(Get, "EIO=3&transport=polling&j=x", false, Err(R::BadRequest));
        check(Get, "EIO=4&transport=websocket&j=x", true, Ok("open ws"));
        check(Get, "EIO=3&transport=polling&sid=SID", false, Ok("poll 3"));
        check(Get, "transport=polling&sid=SID", false, Ok("poll 3"));
        check(Get, "EIO=5&transport=polling&sid=SID", false, Ok("poll ?"));
        check(Get, "EIO=4&transport=polling&j=0&sid=SID", false, Ok("poll jsonp"));
        check(Post, "EIO=4&transport=polling&j=0&sid=SID", false, Ok("post jsonp"));
        check(Get, "EIO=4&transport=polling&sid=SID", false, Ok("poll"));
        check(Post, "EIO=4&transport=polling&sid=SID", false, Ok("post"));
        check(Get, "EIO=4&transport=websocket&sid=SID", true, Ok("upgrade"));
        check(Get, "", false, Err(R::TransportUnknown));
        check(Post, "sid=SID&EIO=4", false, Err(R::TransportUnknown));
        check(Get, "EIO=4&transport=webtransport", false, Err(R::TransportUnknown));
        check(Get, "EIO=4&transport=constructor", true, Err(R::TransportUnknown));
        check(Get, "EIO=4&transport=polling&sid=__proto__", false, Err(R::SessionUnknown));
        check(Get, "transport=polling&sid=x", false, Err(R::SessionUnknown));
        check(Get, "EIO=4&transport=websocket&sid=SID&b64=1", true, Ok("upgrade b64"));
        check(Get, "EIO=4&transport=websocket&sid=SID", false, Ok("not upgraded"));
        check(Get, "EIO=4&transport=polling&sid=SID", true, Ok("bad request"));
        check(Post, "EIO=4&transport=websocket&sid=SID", false, Ok("bad request"));
        check(Other, "EIO=4&transport=polling&sid=SID", false, Ok("method not allowed"));
        check(Post, "EIO=4&transport=polling", false, Err(R::BadHandshakeMethod));
        check(Other, "transport=polling", false, Err(R::BadHandshakeMethod));
        check(Get, "EIO=4&transport=websocket", false, Err(R::NotUpgraded));
        check(Get, "EIO=4&transport=polling", true, Err(R::BadRequest));
        check(Get, "transport=polling", false, Err(R::UnsupportedRevision));
        check(Get, "EIO=abc&transport=polling", false, Err(R::UnsupportedRevision));
        check(Get, "EIO=2&transport=polling", false, Err(R::UnsupportedRevision));
        check(Get, "EIO=5&transport=websocket", true, Err(R::UnsupportedRevision));
    }
}
