//! The event `request`: a visitor's request as the end gets it (PROTOCOL.md, "The request event").

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;

use http::header::{self, HeaderMap, HeaderName};

use super::body::Body;
use super::headers::{HopByHop, counts_once, is_hop_by_hop, is_relays_own};
use super::options::EndOptions;
use super::query;
use crate::proto::engine_io::Space;
use crate::proto::headers::value_to_text;
use crate::proto::json::{write_continuation, write_string};
use crate::proto::socket_io::packet::Encoded;
use crate::proto::socket_io::{AckId, Namespace};

/// The usual size of the members other than headers, query and body, in bytes.
const FIXED_SIZE: usize = 336;

/// The size of a body, in bytes, up to which writing the event twice costs less than knowing its size in JSON before.
const SMALL_BODY: usize = 2 << 10;

/// The key by which clients know the place of an attachment. Some take any object that has it for one, whatever its value:
/// the visitor's headers too, and python-socketio answers nothing any more once the number beside it names no attachment.
const MARKER: &str = "_placeholder";

/// The name of a request's id. Only a trusted proxy may give one.
const REQUEST_ID: &str = "x-request-id";

/// The name of what the relay says of a request's signature.
const VERIFIED: &str = "x-socket2me-verified";

/// A visitor's header has the name of a marker that only the relay may write beside an attachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarkerInHeaders;

impl fmt::Display for MarkerInHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the header {MARKER} cannot be sent beside a body of bytes: clients would take the headers for the body"
        )
    }
}

impl std::error::Error for MarkerInHeaders {}

/// A visitor's request.
#[derive(Debug, Clone, Copy)]
pub struct Visit<'a> {
    /// The method as it was sent.
    pub method: &'a str,
    /// The path behind `/go/TOKEN`, not decoded; empty for `/go/TOKEN` itself. On a tunnel's own host, the whole path.
    pub path: &'a str,
    /// The query behind the `?`, not decoded; `None` without a `?`.
    pub query: Option<&'a str>,
    /// The version of HTTP, such as `1.1`.
    pub http_version: &'a str,
    /// The headers as they came.
    pub headers: &'a HeaderMap,
    /// The visitor's address, as far as proxies are trusted.
    pub remote_address: &'a str,
    /// What `X-Forwarded-For` said. The end gets it with `peer` behind it.
    pub forwarded_before: &'a str,
    /// The address that the request came from.
    pub peer: &'a str,
    /// `X-Forwarded-Proto` for the end.
    pub forwarded_proto: &'a str,
    /// `X-Forwarded-Host` for the end.
    pub forwarded_host: Option<&'a str>,
    /// Where visitors find all tunnels: `/go/`, behind the path of the server's public URL. With the token behind it, it is
    /// `X-Forwarded-Prefix` for the end. `None` on a tunnel's own host, where the app is at the root.
    pub tunnels_at: Option<&'a str>,
    /// The token.
    pub token: &'a str,
    /// The end gets `X-Request-Id` as it came: a proxy set it that the operator trusts.
    pub has_trusted_request_id: bool,
    /// What the relay has found of the request's signature, as the value of `x-socket2me-verified`; `None` if it was not looked at.
    pub verified: Option<&'static str>,
    /// The end does not get `Authorization`: it was for the relay.
    pub hides_authorization: bool,
    /// The exchange's id.
    pub id: &'a str,
    /// The body.
    pub body: &'a Body,
    /// The length of the body in bytes, if the request announced one.
    pub body_length: Option<u64>,
    /// What an end that streams is told beside; `None` for any other.
    pub stream: Option<Streamed<'a>>,
}

/// What an end that streams is told of a request (PROTOCOL.md, "Streaming").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Streamed<'a> {
    /// The body follows in events, and is no member of the request.
    pub is_streamed: bool,
    /// What the end may send unacknowledged, in bytes.
    pub window: usize,
    /// What the visitor wants the connection to become: `websocket`.
    pub upgrade: Option<&'static str>,
    /// How the relay names itself in `Via`.
    pub via: &'a str,
}

impl Visit<'_> {
    /// Encodes the event. A small one is written in `scratch` first, whose content is lost.
    ///
    /// # Errors
    /// When an end would take a header of the visitor's for the body.
    pub fn encode(
        &self,
        namespace: &Namespace,
        id: AckId,
        options: EndOptions,
        scratch: &mut String,
    ) -> Result<Encoded, MarkerInHeaders> {
        if self.has_attachment() && self.headers.contains_key(MARKER) {
            return Err(MarkerInHeaders);
        }
        let attachments = match self.body {
            Body::Bytes(bytes) => vec![bytes.clone()],
            Body::Absent | Body::Json(_) | Body::Form(_) | Body::Text(_) => Vec::new(),
        };
        let mut event = Encoded::begin(namespace, Some(id), attachments, self.space(scratch));
        self.write(event.json(), options);
        Ok(event.finish())
    }

    fn has_attachment(&self) -> bool {
        matches!(self.body, Body::Bytes(_))
    }

    /// Returns where the event is written: with a long body in memory of its own.
    fn space<'s>(&self, scratch: &'s mut String) -> Space<'s> {
        match self.body {
            Body::Json(text) | Body::Text(text) if text.len() > SMALL_BODY => {
                Space::New(FIXED_SIZE + self.head_size() + self.body.memory())
            }
            Body::Absent | Body::Json(_) | Body::Text(_) | Body::Form(_) | Body::Bytes(_) => Space::Scratch(scratch),
        }
    }

    fn write(&self, out: &mut String, options: EndOptions) {
        out.push_str(r#"["request",{"headers":"#);
        self.write_headers(out);
        if options.raw_headers {
            out.push_str(r#","rawHeaders":"#);
            self.write_raw_headers(out);
        }
        out.push_str(r#","method":"#);
        write_string(self.method, out);
        out.push_str(r#","url":"#);
        // The path is always there, and always from the root.
        write_string(if self.path.is_empty() { "/" } else { self.path }, out);
        out.push_str(r#","query":"#);
        self.write_query(out);
        out.push_str(r#","search":"#);
        write_search(self.query, out);
        out.push_str(r#","httpVersion":"#);
        write_string(self.http_version, out);
        out.push_str(r#","remoteAddress":"#);
        write_string(self.remote_address, out);
        out.push_str(r#","id":"#);
        write_string(self.id, out);
        if let Some(stream) = &self.stream {
            out.push_str(if stream.is_streamed { r#","streamed":true"# } else { r#","streamed":false"# });
            out.extend([r#","window":"#, itoa::Buffer::new().format(stream.window)]);
            if let Some(upgrade) = stream.upgrade {
                out.extend([r#","upgrade":""#, upgrade, "\""]);
            }
        }
        if !self.stream.is_some_and(|stream| stream.is_streamed) {
            out.push_str(r#","body":"#);
            write_body(self.body, out);
        }
        out.push_str("}]");
    }

    /// Writes the query as an object. Beside an attachment it has no key that clients take for the attachment's place.
    fn write_query(&self, out: &mut String) {
        let query = self.query.unwrap_or_default().as_bytes();
        let start = out.len();
        query::write_json(query, out);
        // A key is written as it is; so are values, for which this is not wrong but slow.
        if self.has_attachment() && out[start..].contains(MARKER) {
            out.truncate(start);
            query::parse(query).without(MARKER).write_json(out);
        }
    }

    /// Writes an object as Node makes it: names in lower case, repeated ones joined, or the first alone.
    fn write_headers(&self, out: &mut String) {
        let hop_by_hop = HopByHop::of(self.headers);
        let mut before = None;
        out.push('{');
        // Lines of one name come one after the other.
        for (name, value) in self.headers {
            if before == Some(name) {
                if counts_once(name) {
                    continue;
                }
                out.truncate(out.len() - "\",".len());
                out.push_str(if name == header::COOKIE { "; " } else { ", " });
                write_continuation(&value_to_text(value), out);
                out.push(',');
            } else if self.passes(name) && !hop_by_hop.contains(name) {
                before = Some(name);
                MEMBER.begin(name.as_str(), out);
                write_string(&value_to_text(value), out);
                out.push_str(MEMBER.end);
            }
        }
        self.write_own_headers(MEMBER, out);
        out.push('}');
    }

    /// Writes a list of pairs, repeated names kept. Lines of one name stand together, where the first of them was.
    fn write_raw_headers(&self, out: &mut String) {
        let hop_by_hop = HopByHop::of(self.headers);
        let passed = self.headers.iter().filter(|(name, _)| self.passes(name) && !hop_by_hop.contains(name));
        out.push('[');
        for (name, value) in passed {
            PAIR.begin(name.as_str(), out);
            write_string(&value_to_text(value), out);
            out.push_str(PAIR.end);
        }
        self.write_own_headers(PAIR, out);
        out.push(']');
    }

    /// Tells whether the end gets a header of the visitor's.
    fn passes(&self, name: &HeaderName) -> bool {
        let name = name.as_str();
        match name {
            // The relay's own line has it.
            "via" => self.stream.is_none(),
            "authorization" => !self.hides_authorization,
            REQUEST_ID => self.has_trusted_request_id,
            // Programs behind CGI, WSGI and their like read `_` as `-`: there, `X_Forwarded_For` is the relay's statement,
            // and `Transfer_Encoding` one of the connection.
            _ if name.bytes().any(|byte| byte == b'_') => {
                let name = name.replace('_', "-");
                !is_replaced(&name) && name != REQUEST_ID && !is_hop_by_hop(&name)
            }
            _ => !is_replaced(name),
        }
    }

    /// Writes the headers that are the relay's own, without a comma behind the last. [`is_replaced`] names each of them, so that
    /// the visitor's own does not reach the end beside it.
    fn write_own_headers(&self, form: Form, out: &mut String) {
        if let Some(length) = self.body_length {
            form.begin("content-length", out);
            write_string(itoa::Buffer::new().format(length), out);
            out.push_str(form.end);
        }
        if let Some(Streamed { via, .. }) = self.stream {
            form.begin("via", out);
            let before = self.headers.get_all(header::VIA).iter().map(value_to_text);
            let way = before.map(Cow::into_owned).chain([[self.http_version, " ", via].concat()]);
            write_string(&way.collect::<Vec<_>>().join(", "), out);
            out.push_str(form.end);
        }
        if let Some(verified) = self.verified {
            form.begin(VERIFIED, out);
            write_string(verified, out);
            out.push_str(form.end);
        }
        form.begin("x-forwarded-for", out);
        self.write_way(out);
        out.push_str(form.end);
        form.begin("x-forwarded-proto", out);
        write_string(self.forwarded_proto, out);
        out.push_str(form.end);
        if let Some(host) = self.forwarded_host {
            form.begin("x-forwarded-host", out);
            write_string(host, out);
            out.push_str(form.end);
        }
        if let Some(tunnels_at) = self.tunnels_at {
            form.begin("x-forwarded-prefix", out);
            write_string(tunnels_at, out);
            out.pop();
            // A token has nothing that JSON would escape.
            out.extend([self.token, "\"", form.end]);
        }
        out.pop();
    }

    /// Writes the value of `X-Forwarded-For`: what it was, and the peer behind it.
    fn write_way(&self, out: &mut String) {
        if self.forwarded_before.is_empty() {
            return write_string(self.peer, out);
        }
        write_string(self.forwarded_before, out);
        out.pop();
        out.push_str(", ");
        write_continuation(self.peer, out);
    }

    /// Returns about how many bytes the headers, the path and the query take.
    fn head_size(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 8).sum();
        headers + self.path.len() + 3 * self.query.map_or(0, str::len)
    }
}

/// Writes a visitor's trailers as an object, as its headers are written: without those that frame a message, belong to a
/// connection, or are the relay's to say (RFC 9110, section 6.5.1).
#[must_use]
pub fn trailers_to_json(trailers: &HeaderMap) -> String {
    let mut out = String::from("{");
    for name in trailers.keys() {
        let plain = name.as_str().replace('_', "-");
        let is_framing =
            matches!(&*plain, "host" | "authorization" | "cookie" | "via" | "content-type" | "content-encoding");
        if is_framing || plain == REQUEST_ID || is_replaced(&plain) || is_hop_by_hop(&plain) {
            continue;
        }
        let values: Vec<_> = trailers.get_all(name).iter().map(value_to_text).collect();
        MEMBER.begin(name.as_str(), &mut out);
        write_string(&values.join(", "), &mut out);
        out.push_str(MEMBER.end);
    }
    if out.ends_with(',') {
        out.pop();
    }
    out.push('}');
    out
}

/// How a header is written.
#[derive(Debug, Clone, Copy)]
struct Form {
    start: &'static str,
    between: &'static str,
    end: &'static str,
}

/// A header as a member of an object.
const MEMBER: Form = Form { start: "\"", between: "\":", end: "," };

/// A header as a list of its name and value.
const PAIR: Form = Form { start: "[\"", between: "\",", end: "]," };

impl Form {
    /// Writes what stands in front of the value. A name holds nothing that JSON would escape (RFC 9110, section 5.6.2).
    fn begin(self, name: &str, out: &mut String) {
        out.extend([self.start, name, self.between]);
    }
}

/// Whether a header is left out because the relay has its own, or has already done what it asks, or because no visitor may
/// speak as the relay.
fn is_replaced(name: &str) -> bool {
    matches!(
        name,
        "x-forwarded-for"
            | "x-forwarded-proto"
            | "x-forwarded-host"
            | "x-forwarded-prefix"
            | "content-length"
            | "expect"
    ) || is_relays_own(name)
}

fn write_search(query: Option<&str>, out: &mut String) {
    match query {
        None | Some("") => out.push_str("\"\""),
        Some(query) => {
            let start = out.len();
            write_string(query, out);
            out.insert(start + 1, '?');
        }
    }
}

fn write_body(body: &Body, out: &mut String) {
    match body {
        Body::Absent => out.push_str("{}"),
        Body::Json(text) => out.push_str(text),
        Body::Form(form) => query::write_json(form, out),
        Body::Text(text) => write_string(text, out),
        Body::Bytes(_) => out.push_str(r#"{"_placeholder":true,"num":0}"#),
    }
}
