//! The end's way through an exchange: the event `request` is read, and a response is written as an ack or as `response`.

use bytes::Bytes;
use bytestring::ByteString;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::response::Response;
use super::stream::{Begin, Event, Malformed};
use crate::proto::headers::{text_to_value, value_to_text};
use crate::proto::json::{self, Kind};
use crate::proto::socket_io::attachments::placeholders;
use crate::proto::socket_io::connection::Answer;
use crate::proto::socket_io::packet::Args;

/// The members of the event's object.
const MEMBERS: [&str; 13] = [
    "streamed",
    "upgrade",
    "window",
    "method",
    "url",
    "search",
    "query",
    "httpVersion",
    "headers",
    "rawHeaders",
    "remoteAddress",
    "id",
    "body",
];

/// A visitor's request, as the end has it of the event `request`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The method as the visitor sent it.
    pub method: ByteString,
    /// The path behind the tunnel's URL, not decoded. It begins with a slash.
    pub path: ByteString,
    /// The query with its `?`, not decoded; empty without one.
    pub search: ByteString,
    /// The query as an object of JSON.
    pub query: ByteString,
    /// The version of HTTP, such as `1.1`.
    pub http_version: ByteString,
    /// The headers, one line for each name.
    pub headers: HeaderMap,
    /// The headers with each of their lines, where the end has asked for `rawHeaders`.
    pub raw_headers: Option<HeaderMap>,
    /// The visitor's address.
    pub remote_address: ByteString,
    /// The exchange's id.
    pub id: ByteString,
    /// The body that came along.
    pub body: InlineBody,
    /// What the exchange begins with, where the end streams.
    pub stream: Option<Begin>,
}

/// The body that a request has brought along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InlineBody {
    /// None: it follows in events.
    Streamed,
    /// The exact bytes.
    Bytes(Bytes),
    /// Text.
    Text(ByteString),
    /// A value of JSON: what the visitor sent as such, the fields of a form, or `{}` where there is no body.
    Json(ByteString),
}

impl Request {
    /// Reads the event. Returns `None` for other events.
    ///
    /// # Errors
    /// When a member is missing or of a wrong type.
    #[must_use]
    pub fn decode(args: &Args, attachments: &[Bytes]) -> Option<Result<Self, Malformed>> {
        const SHAPE: Malformed = Malformed("request has one object, with all that PROTOCOL.md says of a request");
        (args.get(0)? == "\"request\"").then(|| Self::read(args, attachments).ok_or(SHAPE))
    }

    fn read(args: &Args, attachments: &[Bytes]) -> Option<Self> {
        let object = args.json().slice_ref(args.get(1)?);
        let read_text = |member: Option<ByteString>| text(&member?);
        // One walk for all members: a walk for each took a tenth of an end's time for a small request.
        let [streamed, upgrade, window, method, url, search, query, version, headers, raw_headers, address, id, body] =
            json::members(&object, MEMBERS)?;
        let stream = match streamed {
            None => None,
            Some(is_streamed) => Some(Begin {
                is_streamed: is_streamed.parse().ok()?,
                is_upgrade: upgrade.as_deref() == Some("\"websocket\""),
                window: window?.parse().ok()?,
            }),
        };
        Some(Self {
            method: read_text(method)?,
            path: read_text(url)?,
            search: read_text(search)?,
            query: query.filter(|query| Kind::of(query) == Kind::Object)?,
            http_version: read_text(version)?,
            headers: read_headers(&headers?)?,
            raw_headers: match raw_headers {
                None => None,
                Some(pairs) => Some(read_raw_headers(&pairs)?),
            },
            remote_address: read_text(address)?,
            id: read_text(id)?,
            body: match stream {
                Some(Begin { is_streamed: true, .. }) => InlineBody::Streamed,
                Some(Begin { is_streamed: false, .. }) | None => InlineBody::read(&body?, attachments)?,
            },
            stream,
        })
    }
}

impl InlineBody {
    /// Reads a body. An attachment is the whole of one.
    fn read(body: &ByteString, attachments: &[Bytes]) -> Option<Self> {
        match (Kind::of(body), attachments) {
            (_, [bytes]) => match placeholders(body, attachments, 1).ok()?.as_slice() {
                [(range, 0)] if range.len() == body.len() => Some(Self::Bytes(bytes.clone())),
                _ => None,
            },
            (Kind::String, []) => text(body).map(Self::Text),
            (Kind::Object | Kind::Array | Kind::Number | Kind::Bool | Kind::Null, []) => Some(Self::Json(body.clone())),
            (_, [_, _, ..]) => None,
        }
    }
}

/// Returns a string of JSON without its escapes.
fn text(json: &str) -> Option<ByteString> {
    (Kind::of(json) == Kind::String).then(|| ByteString::from(&*json::unquote(json)))
}

/// Adds a line of a header.
fn add(lines: &mut HeaderMap, name: &str, value: &str) -> Option<()> {
    let name = HeaderName::from_bytes(json::unquote(name).as_bytes()).ok()?;
    let value = (Kind::of(value) == Kind::String).then(|| json::unquote(value))?;
    lines.try_append(name, text_to_value(&value)?).ok().map(drop)
}

fn read_headers(object: &str) -> Option<HeaderMap> {
    let (mut lines, mut added) = (HeaderMap::new(), Some(()));
    let walked = json::for_each_member(object, |json::Member { key, value }| {
        added = added.and_then(|()| add(&mut lines, &object[key], &object[value]));
    });
    walked.ok().and(added).map(|()| lines)
}

fn read_raw_headers(pairs: &str) -> Option<HeaderMap> {
    let (mut lines, mut added) = (HeaderMap::new(), Some(()));
    let walked = json::for_each_element(pairs, |pair| {
        added = added.and_then(|()| {
            let pair = &pairs[pair];
            match json::elements(pair).ok()?.as_slice() {
                [name, value] => add(&mut lines, &pair[name.clone()], &pair[value.clone()]),
                _ => None,
            }
        });
    });
    walked.ok().and(added).map(|()| lines)
}

impl Response {
    /// Returns the response as the ack of a request. A body without a content type gets that of bytes.
    #[must_use]
    pub fn to_ack(&self) -> Answer {
        let body = if self.body.is_empty() { "null" } else { r#"{"_placeholder":true,"num":0}"# };
        let headers = headers_to_json(&self.headers, self.declared_length);
        let json = ["[", self.status.as_str(), ",", body, ",", &headers, "]"].concat();
        Answer {
            args: Args::parse(json.into()).unwrap_or_else(|_| Args::empty()),
            attachments: (!self.body.is_empty()).then(|| self.body.clone()).into_iter().collect(),
        }
    }

    /// Returns the head of the response as the event `response`, which the body follows.
    #[must_use]
    pub fn to_event(&self) -> Event {
        let headers = headers_to_json(&self.headers, self.declared_length).into();
        Event::Response { status: self.status.as_u16(), headers }
    }
}

/// Writes headers or trailers as an object of JSON, and a length beside them. Lines of one name become a list.
#[must_use]
pub fn headers_to_json(headers: &HeaderMap, length: Option<u64>) -> String {
    let mut out = String::from("{");
    let mut member = |name: &HeaderName, values: &[&HeaderValue]| {
        if !out.ends_with('{') {
            out.push(',');
        }
        json::write_string(name.as_str(), &mut out);
        for (index, value) in values.iter().enumerate() {
            out.push(if index > 0 { ',' } else { ':' });
            if index == 0 && values.len() > 1 {
                out.push('[');
            }
            json::write_string(&value_to_text(value), &mut out);
        }
        if values.len() > 1 {
            out.push(']');
        }
    };
    for name in headers.keys() {
        member(name, &headers.get_all(name).iter().collect::<Vec<_>>());
    }
    if let Some(length) = length {
        member(&header::CONTENT_LENGTH, &[&HeaderValue::from(length)]);
    }
    out.push('}');
    out
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::proto::engine_io::Message;
    use crate::proto::exchange::headers::Origin;
    use crate::proto::exchange::{Body, EndOptions, HeadLimits, Streamed, Visit, query};
    use crate::proto::socket_io::packet::Encoded;
    use crate::proto::socket_io::{AckId, Namespace};

    /// What a test takes at random: xorshift64, by Marsaglia.
    struct Random(u64);

    impl Random {
        fn below(&mut self, limit: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 >> 32).unwrap() % limit
        }

        fn choice(&mut self) -> bool {
            self.below(2) == 0
        }

        fn pick<T: Copy>(&mut self, of: &[T]) -> T {
            of[self.below(of.len())]
        }

        fn text(&mut self) -> String {
            (0..self.below(9)).map(|_| self.pick(&['a', '"', '\\', '/', 'é', '😀', '\n', '\0', '7'])).collect()
        }

        fn bytes(&mut self) -> Bytes {
            (0..self.below(9)).map(|_| u8::try_from(self.below(256)).unwrap()).collect()
        }

        /// Lines of headers that pass, some of them with the same name.
        fn headers(&mut self, names: &[&'static str]) -> HeaderMap {
            let mut headers = HeaderMap::new();
            for _ in 0..self.below(8) {
                let bytes: Vec<u8> = (0..=self.below(8)).map(|_| self.pick(b"aZ09 ,;\"\\\x80\xe9\xff=")).collect();
                headers.append(self.pick(names), HeaderValue::from_bytes(&bytes).unwrap());
            }
            headers
        }
    }

    const NAMES: [&str; 6] = ["x-a", "x-b", "accept", "cookie", "user-agent", "_x"];

    fn args(encoded: &Encoded) -> Args {
        let Message::Text(text) = encoded.text.message() else { panic!("an event is text") };
        Args::parse(text.slice_ref(&text[text.find('[').unwrap()..])).unwrap()
    }

    #[test]
    fn a_request_is_read_as_the_server_has_written_it() {
        let mut random = Random(16);
        for _ in 0..2000 {
            let (headers, bytes, words, window) = (random.headers(&NAMES), random.bytes(), random.text(), 1 << 20);
            let json = r#"{"a":[1,"\u00e9"]}"#;
            let (body, content) = match random.pick(&[0, 1, 2, 3, 4]) {
                0 => (Body::Absent, InlineBody::Json("{}".into())),
                1 => (Body::Json(json.into()), InlineBody::Json(json.into())),
                2 => (
                    Body::Form(Bytes::from_static(b"a=1&b[c]=%20")),
                    InlineBody::Json(r#"{"a":"1","b":{"c":" "}}"#.into()),
                ),
                3 => (Body::Text(words.clone().into()), InlineBody::Text(words.clone().into())),
                _ => (Body::Bytes(bytes.clone()), InlineBody::Bytes(bytes)),
            };
            let begin = Begin { is_streamed: random.choice(), is_upgrade: random.choice(), window };
            let upgrade = begin.is_upgrade.then_some("websocket");
            let streamed = Streamed { is_streamed: begin.is_streamed, window, upgrade, via: "relay" };
            let is_stream = random.choice();
            let search = random.pick(&[None, Some("a=1&b[]=%5f"), Some("\u{e9}?\"")]);
            let visit = Visit {
                method: random.pick(&["GET", "PURGE!"]),
                path: random.pick(&["", "/a//..%2F\\"]),
                query: search,
                http_version: "1.0",
                headers: &headers,
                remote_address: "2001:db8::1",
                forwarded_before: "",
                peer: "192.0.2.1",
                forwarded_proto: "https",
                forwarded_host: None,
                tunnels_at: Some("/go/"),
                token: "T0KEN",
                has_trusted_request_id: false,
                verified: None,
                hides_authorization: false,
                id: "7-42",
                body: if is_stream && begin.is_streamed { &Body::Absent } else { &body },
                body_length: None,
                stream: is_stream.then_some(streamed),
            };
            let options = EndOptions { raw_headers: random.choice(), ..EndOptions::default() };
            let encoded =
                visit.encode(&Namespace::root(), AckId::new(0).unwrap(), options, &mut String::new()).unwrap();
            let mut request = Request::decode(&args(&encoded), &encoded.attachments).unwrap().unwrap();
            let mut written = String::new();
            query::write_json(search.unwrap_or_default().as_bytes(), &mut written);
            // The relay's own headers.
            for lines in [Some(&mut request.headers), request.raw_headers.as_mut()].into_iter().flatten() {
                assert_eq!(lines.remove("x-forwarded-for").unwrap(), "192.0.2.1");
                assert_eq!(lines.remove("x-forwarded-proto").unwrap(), "https");
                assert_eq!(lines.remove("x-forwarded-prefix").unwrap(), "/go/T0KEN");
                assert_eq!(lines.remove("via").is_some(), is_stream);
            }
            assert_eq!(
                request,
                Request {
                    method: visit.method.into(),
                    path: if visit.path.is_empty() { "/" } else { visit.path }.into(),
                    search: search.map(|query| format!("?{query}")).unwrap_or_default().into(),
                    query: written.into(),
                    http_version: "1.0".into(),
                    headers: joined(&headers),
                    raw_headers: options.raw_headers.then(|| headers.clone()),
                    remote_address: "2001:db8::1".into(),
                    id: "7-42".into(),
                    body: if is_stream && begin.is_streamed { InlineBody::Streamed } else { content },
                    stream: is_stream.then_some(begin),
                }
            );
        }
    }

    /// Joins the lines of each name, of which the server tells some once.
    fn joined(headers: &HeaderMap) -> HeaderMap {
        let join = |name: &HeaderName| {
            let lines: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
            let value = match name.as_str() {
                "user-agent" => lines[0].to_vec(),
                "cookie" => lines.join(&b"; "[..]),
                _ => lines.join(&b", "[..]),
            };
            (name.clone(), HeaderValue::from_bytes(&value).unwrap())
        };
        headers.keys().map(join).collect()
    }

    #[test]
    fn a_request_with_a_wrong_member_is_malformed() {
        const WHOLE: &str = concat!(
            r#"["request",{"headers":{"a":"1"},"rawHeaders":[["a","1"]],"method":"GET","url":"/","query":{},"search":"","#,
            r#""httpVersion":"1.1","remoteAddress":"::1","id":"1-2","streamed":false,"window":1,"body":{}}]"#
        );
        let decode = |json: &str| Request::decode(&Args::parse(json.into()).unwrap(), &[]);
        assert!(decode(WHOLE).unwrap().is_ok());
        for (from, to) in [
            (r#"{"a":"1"}"#, r#"{"a":1}"#),
            (r#"{"a":"1"}"#, r#"{"a b":"1"}"#),
            (r#"{"a":"1"}"#, r#"{"a":"€"}"#),
            (r#"[["a","1"]]"#, r#"[["a"]]"#),
            (r#"[["a","1"]]"#, "{}"),
            (r#""method":"GET""#, r#""method":null"#),
            (r#""query":{}"#, r#""query":"""#),
            (r#""streamed":false"#, r#""streamed":0"#),
            (r#""window":1"#, r#""window":-1"#),
            (r#","body":{}"#, ""),
        ] {
            assert!(decode(&WHOLE.replace(from, to)).unwrap().is_err(), "{to}");
        }
        assert!(decode(r#"["request"]"#).unwrap().is_err());
        assert_eq!(decode(r#"["data",{}]"#), None);
        let placed = WHOLE.replace(r#""body":{}"#, r#""body":[{"_placeholder":true,"num":0}]"#);
        let placed = Request::decode(&Args::parse(placed.into()).unwrap(), &[Bytes::new()]);
        assert!(placed.unwrap().is_err(), "an attachment is the whole body");
    }

    #[test]
    fn a_response_is_read_as_the_end_has_written_it() {
        let names = ["content-type", "set-cookie", "x-a", "etag"];
        let mut random = Random(17);
        for _ in 0..2000 {
            let status = StatusCode::from_u16(random.pick(&[200, 201, 204, 304, 404, 599, 999])).unwrap();
            let has_content = !crate::proto::exchange::is_without_content(status);
            let body = if has_content { random.bytes() } else { Bytes::new() };
            let mut headers = random.headers(&names);
            if !body.is_empty() {
                headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static("application/octet-stream"));
            }
            let declared_length = random.choice().then(|| random.below(1 << 30) as u64 * 8_388_593);
            let response = Response { status, headers, body, declared_length };
            let limits = HeadLimits::default();
            assert_eq!(Response::decode(&response.to_ack(), limits, Origin::Shared), Ok(response.clone()));
            let event = response.to_event();
            let Event::Response { status: number, headers } = event else { panic!("{event:?}") };
            assert_eq!(number, status.as_u16());
            let head = Response { body: Bytes::new(), ..response };
            assert_eq!(Response::head(status, &headers, limits, Origin::Shared), Ok((head, None)));
        }
    }
    #[test]
    fn the_lines_of_trailer_become_one() {
        for (written, joined) in [(r#""a""#, "a"), (r#"["a","b, c"]"#, "a, b, c"), ("[]", "")] {
            let headers = format!(r#"{{"trailer":{written},"x":"1"}}"#);
            let head = Response::head(StatusCode::OK, &headers, HeadLimits::default(), Origin::Shared);
            let (response, trailer) = head.unwrap();
            assert_eq!(trailer.map_or(String::new(), |trailer| trailer.to_str().unwrap().to_owned()), joined);
            assert_eq!(response.headers.len(), 1);
        }
    }
}
