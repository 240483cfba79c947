//! The event `request`: a visitor's request as the end gets it (PROTOCOL.md, "The request event").

use core::net::IpAddr;
use std::fmt::Write as _;
use std::ops::Range;

use http::header::{self, HeaderMap, HeaderName};

use super::body::Body;
use super::headers::HopByHop;
use super::options::EndOptions;
use super::query;
use crate::proto::engine_io::Room;
use crate::proto::headers::value_to_text;
use crate::proto::json::{write_continuation, write_string};
use crate::proto::socket_io::packet::Encoded;
use crate::proto::socket_io::{AckId, Namespace};

/// A visitor's request, without its body.
#[derive(Debug, Clone, Copy)]
pub struct Visit<'a> {
    /// The method as it was sent.
    pub method: &'a str,
    /// The path behind `/go/TOKEN`, not decoded; empty for `/go/TOKEN` itself.
    pub path: &'a str,
    /// The query behind the `?`, not decoded; `None` without a `?`.
    pub query: Option<&'a str>,
    /// `1.1`, say.
    pub http_version: &'a str,
    /// The headers as they came.
    pub headers: &'a HeaderMap,
    /// Who asks, as far as proxies are believed.
    pub remote_address: IpAddr,
    /// What `X-Forwarded-For` said, which the end gets with `peer` behind it.
    pub forwarded_before: &'a str,
    /// Who brought the request.
    pub peer: IpAddr,
    /// `X-Forwarded-Proto` for the end.
    pub forwarded_proto: &'a str,
    /// `X-Forwarded-Host` for the end.
    pub forwarded_host: Option<&'a str>,
    /// The exchange's id.
    pub id: &'a str,
}

/// The members beside headers, query and body take about this many bytes.
const FIXED_SIZE: usize = 256;

/// A body up to so many bytes costs less to copy once more than to guess its size in JSON.
const DRAFTED: usize = 2 << 10;

impl Visit<'_> {
    /// The event, ready to be sent. `body_length` is the length the visitor's body had, if he announced one. What is small is
    /// written in `draft` first.
    #[must_use]
    pub fn encode(
        &self,
        namespace: &Namespace,
        id: AckId,
        body: &Body,
        body_length: Option<usize>,
        options: EndOptions,
        draft: &mut String,
    ) -> Encoded {
        let attachments = match body {
            Body::Bytes(bytes) => vec![bytes.clone()],
            Body::Absent | Body::Json(_) | Body::Form(_) | Body::Text(_) => Vec::new(),
        };
        let room = match body {
            Body::Json(text) | Body::Text(text) if text.len() > DRAFTED => {
                Room::Own(FIXED_SIZE + self.head_size() + text.len() + text.len() / 16)
            }
            Body::Absent | Body::Json(_) | Body::Text(_) | Body::Form(_) | Body::Bytes(_) => Room::Lent(draft),
        };
        Encoded::event(namespace, Some(id), attachments, room, |out| self.write(out, body, body_length, options))
    }

    fn write(&self, out: &mut String, body: &Body, body_length: Option<usize>, options: EndOptions) {
        out.push_str(r#"["request",{"headers":"#);
        let peer = self.write_headers(out, body_length);
        if options.raw_headers {
            out.push_str(r#","rawHeaders":"#);
            self.write_raw_headers(out, body_length);
        }
        out.push_str(r#","method":"#);
        write_string(self.method, out);
        out.push_str(r#","url":"#);
        // Always there, and always from the root.
        write_string(if self.path.is_empty() { "/" } else { self.path }, out);
        out.push_str(r#","query":"#);
        query::write_json(self.query.unwrap_or_default().as_bytes(), out);
        out.push_str(r#","search":"#);
        write_search(self.query, out);
        out.push_str(r#","httpVersion":"#);
        write_string(self.http_version, out);
        out.push_str(r#","remoteAddress":""#);
        // Nobody stands between, mostly.
        if self.remote_address == self.peer {
            out.extend_from_within(peer);
        } else {
            push_address(self.remote_address, out);
        }
        out.push_str(r#"","id":"#);
        write_string(self.id, out);
        out.push_str(r#","body":"#);
        write_body(body, out);
        out.push_str("}]");
    }

    /// An object as Node makes it: lower-case names, repeated ones joined. Gives where the peer's address stands.
    fn write_headers(&self, out: &mut String, body_length: Option<usize>) -> Range<usize> {
        let hop_by_hop = HopByHop::of(self.headers);
        let mut before = None;
        out.push('{');
        // Lines of one name come one after the other.
        for (name, value) in self.headers {
            if before == Some(name) {
                out.truncate(out.len() - "\",".len());
                out.push_str(if name == header::COOKIE { "; " } else { ", " });
                write_continuation(&value_to_text(value), out);
                out.push(',');
            } else if !is_replaced(name) && !hop_by_hop.contains(name) {
                before = Some(name);
                // A name holds nothing that JSON would escape (RFC 9110, section 5.6.2).
                out.push('"');
                out.push_str(name.as_str());
                out.push_str("\":");
                write_string(&value_to_text(value), out);
                out.push(',');
            }
        }
        if let Some(length) = body_length {
            out.push_str(r#""content-length":""#);
            out.push_str(itoa::Buffer::new().format(length));
            out.push_str("\",");
        }
        out.push_str(r#""x-forwarded-for":"#);
        let peer = self.write_way(out);
        out.push_str(r#","x-forwarded-proto":"#);
        write_string(self.forwarded_proto, out);
        if let Some(host) = self.forwarded_host {
            out.push_str(r#","x-forwarded-host":"#);
            write_string(host, out);
        }
        out.push('}');
        peer
    }

    /// A list of pairs, repeated names kept. Lines of one name stand together, where the first of them was.
    fn write_raw_headers(&self, out: &mut String, body_length: Option<usize>) {
        let hop_by_hop = HopByHop::of(self.headers);
        let passed = self.headers.iter().filter(|(name, _)| !is_replaced(name) && !hop_by_hop.contains(name));
        out.push('[');
        for (name, value) in passed {
            out.push_str("[\"");
            out.push_str(name.as_str());
            out.push_str("\",");
            write_string(&value_to_text(value), out);
            out.push_str("],");
        }
        if let Some(length) = body_length {
            out.push_str(r#"["content-length",""#);
            out.push_str(itoa::Buffer::new().format(length));
            out.push_str("\"],");
        }
        out.push_str(r#"["x-forwarded-for","#);
        self.write_way(out);
        out.push_str(r#"],["x-forwarded-proto","#);
        write_string(self.forwarded_proto, out);
        if let Some(host) = self.forwarded_host {
            out.push_str(r#"],["x-forwarded-host","#);
            write_string(host, out);
        }
        out.push_str("]]");
    }

    /// Everybody before, and who was last. Gives where that one stands.
    fn write_way(&self, out: &mut String) -> Range<usize> {
        out.push('"');
        if !self.forwarded_before.is_empty() {
            write_continuation(self.forwarded_before, out);
            out.pop();
            out.push_str(", ");
        }
        let start = out.len();
        push_address(self.peer, out);
        let end = out.len();
        out.push('"');
        start..end
    }

    /// About what the headers, the path and the query take.
    fn head_size(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 8).sum();
        headers + self.path.len() + 3 * self.query.map_or(0, str::len)
    }
}

/// Without the machinery of `fmt` for the usual kind, as it stands in every event.
fn push_address(address: IpAddr, out: &mut String) {
    match address {
        IpAddr::V4(address) => {
            let mut digits = itoa::Buffer::new();
            for octet in address.octets() {
                out.push_str(digits.format(octet));
                out.push('.');
            }
            out.pop();
        }
        // Writing to a String cannot fail.
        IpAddr::V6(address) => drop(write!(out, "{address}")),
    }
}

/// Headers that end here because the relay has its own, or has already done what they ask.
fn is_replaced(name: &HeaderName) -> bool {
    matches!(name.as_str(), "x-forwarded-for" | "x-forwarded-proto" | "x-forwarded-host" | "content-length" | "expect")
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
        Body::Form(form) => form.write_json(out),
        Body::Text(text) => write_string(text, out),
        Body::Bytes(_) => out.push_str(r#"{"_placeholder":true,"num":0}"#),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use bytestring::ByteString;
    use http::HeaderValue;

    use super::*;
    use crate::proto::engine_io::Message;

    fn text(event: &Encoded) -> String {
        match event.text.message() {
            Message::Text(text) => text.to_string(),
            Message::Binary(data) => panic!("{data:?}"),
        }
    }

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    fn visit(headers: &HeaderMap) -> Visit<'_> {
        Visit {
            method: "POST",
            path: "/a//b/..%2F",
            query: Some("x=1&y[z]=%20"),
            http_version: "1.1",
            headers,
            remote_address: "192.0.2.1".parse().unwrap(),
            forwarded_before: "",
            peer: "192.0.2.1".parse().unwrap(),
            forwarded_proto: "http",
            forwarded_host: Some("relay.example"),
            id: "k-1",
        }
    }

    #[test]
    fn is_the_documented_object() {
        let headers =
            headers(&[("host", "relay.example"), ("connection", "x-hop"), ("x-hop", "1"), ("content-length", "9")]);
        let body = Body::Json(ByteString::from_static(r#"{"b":1.0,"a":[]}"#));
        let id = AckId::new(7).unwrap();
        let namespace = Namespace::new("/t".into()).unwrap();
        let event = visit(&headers).encode(&namespace, id, &body, Some(16), EndOptions::default(), &mut String::new());
        assert_eq!(
            text(&event),
            concat!(
                r#"2/t,7["request",{"headers":{"host":"relay.example","content-length":"16","x-forwarded-for":"192.0.2.1","#,
                r#""x-forwarded-proto":"http","x-forwarded-host":"relay.example"},"method":"POST","url":"/a//b/..%2F","#,
                r#""query":{"x":"1","y":{"z":" "}},"search":"?x=1&y[z]=%20","httpVersion":"1.1","#,
                r#""remoteAddress":"192.0.2.1","id":"k-1","body":{"b":1.0,"a":[]}}]"#,
            )
        );
        assert!(event.attachments.is_empty());
    }

    #[test]
    fn joins_repeated_headers_and_keeps_them_raw() {
        let headers = headers(&[("cookie", "a=1"), ("x-a", "1"), ("cookie", "b=2"), ("x-a", "2")]);
        let options = EndOptions { raw_body: true, raw_headers: true };
        let visit = Visit { query: None, path: "", forwarded_host: None, ..visit(&headers) };
        let body = Body::Bytes(Bytes::from_static(b"\0"));
        let event = visit.encode(&Namespace::root(), AckId::new(0).unwrap(), &body, None, options, &mut String::new());
        let text = text(&event);
        assert!(text.starts_with("51-0[\"request\",{\"headers\":{\"cookie\":\"a=1; b=2\",\"x-a\":\"1, 2\","), "{text}");
        let raw = r#""rawHeaders":[["cookie","a=1"],["cookie","b=2"],["x-a","1"],["x-a","2"],["x-forwarded-for","#;
        assert!(text.contains(raw), "{text}");
        assert!(text.contains(r#""url":"/","query":{},"search":"","#), "{text}");
        assert!(text.ends_with(r#""body":{"_placeholder":true,"num":0}}]"#), "{text}");
        assert_eq!(event.attachments, [Bytes::from_static(b"\0")]);
    }
}
