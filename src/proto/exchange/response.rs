//! An ack as an HTTP response: `([status], [body], [headers])`, each optional (PROTOCOL.md, "The ack").

use std::fmt::{self, Write as _};
use std::ops::Range;

use bytes::Bytes;
use http::StatusCode;
use http::header::{self, GetAll, HeaderMap, HeaderName, HeaderValue};

use super::cookie;
use super::headers::{HopByHop, Origin, end_may_set};
use crate::defaults;
use crate::proto::headers::text_to_value;
use crate::proto::json::{self, Kind};
use crate::proto::limit::Limit;
use crate::proto::socket_io::attachments::placeholders;
use crate::proto::socket_io::connection::Answer;
use crate::proto::socket_io::packet::Args;

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
const BINARY: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// Room for the headers of a usual response, those that the end gave and the relay's own.
const USUAL_HEADERS: usize = 6;

/// The response that the visitor gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status, 200 to 999.
    pub status: StatusCode,
    /// The headers, without those that belong to a connection, that no end may set, or that tell a length.
    pub headers: HeaderMap,
    /// The body. It is empty if the status allows none.
    pub body: Bytes,
    /// The `content-length` that the end gave, in bytes. A response to HEAD has it in place of the length of its empty body.
    pub declared_length: Option<u64>,
}

/// An ack that HTTP cannot carry: the end's fault. It fails this exchange, and no other. The message says what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidAnswer {
    message: String,
    /// The limit that the answer exceeds.
    limit: Option<Limit>,
}

impl InvalidAnswer {
    /// Returns the limit that the answer exceeds, if that is what is wrong with it.
    #[must_use]
    pub fn limit(&self) -> Option<Limit> {
        self.limit
    }
}

impl From<String> for InvalidAnswer {
    fn from(message: String) -> Self {
        Self { message, limit: None }
    }
}

impl fmt::Display for InvalidAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for InvalidAnswer {}

impl Response {
    /// Returns the response to `respond()`, an ack without arguments. The original gives it also for a handler that never
    /// answers.
    #[must_use]
    pub fn ok() -> Self {
        let mut response = Self::new(StatusCode::OK);
        response.body = status_in_words(response.status);
        response.headers.insert(header::CONTENT_TYPE, HTML);
        response
    }

    /// Makes a response of an ack's arguments, for a page of this origin.
    ///
    /// # Errors
    /// With what is wrong and, where that can be known, what was meant. Fails if the status is not a whole number from 200 to
    /// 999; if the headers are neither an object nor `null`, have a name that is not one in HTTP, or a value that is not a
    /// string, a number, a bool, `null` or a list of these, or that HTTP cannot carry, or are over the limits; and if the body
    /// has a placeholder without an attachment, or names an attachment more than once.
    pub fn decode(answer: &Answer, limits: HeadLimits, origin: Origin) -> Result<Self, InvalidAnswer> {
        let args = &answer.args;
        let kind_of = |index| args.get(index).map(Kind::of);
        let (status, rest) = match (kind_of(0), args.len()) {
            (Some(Kind::Number), arguments) => (status(args.get(0).unwrap_or_default(), arguments)?, 1),
            // `respond(undefined, body, headers)`, and `respond(undefined, body)` unless `body` can be headers.
            (Some(Kind::Null), 3..) => (StatusCode::OK, 1),
            (Some(Kind::Null), 2) if !matches!(kind_of(1), Some(Kind::Object | Kind::Null)) => (StatusCode::OK, 1),
            (Some(_) | None, _) => (StatusCode::OK, 0),
        };
        let mut response = Self::new(status);
        let (body, content_type) = match args.get(rest) {
            None => (status_in_words(status), Some(HTML)),
            Some(body) => decode_body(answer, rest, body)?,
        };
        if !is_without_content(status) {
            response.body = body;
        }
        if let Some(headers) = args.get(rest + 1) {
            match Kind::of(headers) {
                Kind::Null => (),
                Kind::Object => response.set_headers(headers, limits, origin)?,
                Kind::Array | Kind::String | Kind::Number | Kind::Bool => {
                    return Err(InvalidAnswer::from(format!("the headers must be an object{}", meant(args, rest))));
                }
            }
        }
        if let Some(content_type) = content_type
            && !is_without_content(status)
        {
            response.headers.entry(header::CONTENT_TYPE).or_insert(content_type);
        }
        Ok(response)
    }

    /// Makes the head of a response whose body follows, and returns its `Trailer` beside it. `headers` are an object of JSON, or
    /// `null`.
    ///
    /// # Errors
    /// As [`Self::decode`], of which this has neither a status nor a body.
    pub fn head(
        status: StatusCode,
        headers: &str,
        limits: HeadLimits,
        origin: Origin,
    ) -> Result<(Self, Option<HeaderValue>), InvalidAnswer> {
        let mut response = Self::new(status);
        match Kind::of(headers) {
            Kind::Null => return Ok((response, None)),
            Kind::Object => (),
            Kind::Array | Kind::String | Kind::Number | Kind::Bool => {
                return Err(InvalidAnswer::from("the headers must be an object".to_owned()));
            }
        }
        read_headers(headers, limits, &mut response.headers)?;
        let trailer = joined(&response.headers.get_all(header::TRAILER));
        response.headers.remove(header::TRAILER);
        response.stop_headers(origin);
        Ok((response, trailer))
    }

    /// Returns the size of the body and the headers, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let line = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len();
        self.body.len() + self.headers.iter().map(line).sum::<usize>()
    }

    fn new(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: Bytes::new(), declared_length: None }
    }

    fn set_headers(&mut self, headers: &str, limits: HeadLimits, origin: Origin) -> Result<(), InvalidAnswer> {
        self.headers.reserve(USUAL_HEADERS);
        read_headers(headers, limits, &mut self.headers)?;
        self.stop_headers(origin);
        Ok(())
    }

    /// Takes out the headers that do not pass, and reads the length among them.
    fn stop_headers(&mut self, origin: Origin) {
        let given = &mut self.headers;
        if given.is_empty() {
            return;
        }
        if let Some(length) = given.get_all(header::CONTENT_LENGTH).iter().next_back() {
            self.declared_length = length.to_str().ok().and_then(|text| text.parse().ok());
        }
        let hop_by_hop = HopByHop::of(given);
        let passes = |name: &HeaderName| {
            *name != header::CONTENT_LENGTH && !hop_by_hop.contains(name) && end_may_set(name, origin)
        };
        let stopped: Vec<_> = given.keys().filter(|name| !passes(name)).cloned().collect();
        for name in stopped {
            given.remove(name);
        }
        // Where no tunnel has a host, cookies are as in the original.
        if origin != Origin::Shared {
            cookie::change(given, cookie::without_domain);
        }
    }
}

/// Joins the lines of a header that is a list.
fn joined(lines: &GetAll<'_, HeaderValue>) -> Option<HeaderValue> {
    let lines: Vec<_> = lines.iter().map(HeaderValue::as_bytes).collect();
    HeaderValue::from_bytes(&lines.join(&b", "[..])).ok().filter(|_| !lines.is_empty())
}

/// Reads trailers that an end gives: an object of JSON. Those that frame a message, belong to a connection or that no end may set
/// are left out (RFC 9110, section 6.5.1).
///
/// # Errors
/// As [`Response::decode`] for headers.
pub fn decode_trailers(trailers: &str, limits: HeadLimits) -> Result<HeaderMap, InvalidAnswer> {
    let mut response = Response::new(StatusCode::OK);
    // No browser heeds any of them there, so one rule is enough.
    response.set_headers(trailers, limits, Origin::Shared)?;
    for name in [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::CONTENT_RANGE, header::SET_COOKIE] {
        response.headers.remove(name);
    }
    Ok(response.headers)
}

/// Reads an object of header names and values.
fn read_headers(headers: &str, limits: HeadLimits, lines: &mut HeaderMap) -> Result<(), InvalidAnswer> {
    let mut head = Head { lines, limits, left: limits };
    let mut added = Ok(());
    let walked = json::for_each_member(headers, |json::Member { key, value }| {
        if added.is_ok() {
            added = head.set(&json::unquote(&headers[key]), &headers[value]);
        }
    });
    walked.map_err(|error| InvalidAnswer::from(format!("the headers are {error}")))?;
    added
}

/// Tells whether a response with this status has no content, whatever the end gave, and so no type that the end did not give:
/// 204, 205 and 304 (RFC 9110, sections 15.3.5, 15.3.6 and 15.4.5).
#[must_use]
pub fn is_without_content(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Returns the body of a response without one: the status in words, as express writes it.
fn status_in_words(status: StatusCode) -> Bytes {
    match status.canonical_reason() {
        Some(reason) => Bytes::from_static(reason.as_bytes()),
        None => Bytes::from(status.as_str().to_owned()),
    }
}

/// Returns the bytes of the body, which is the argument at `index`, and its content type. `null` is an empty body without a
/// type.
fn decode_body(answer: &Answer, index: usize, body: &str) -> Result<(Bytes, Option<HeaderValue>), InvalidAnswer> {
    let Answer { args, attachments } = answer;
    let as_it_is = || args.json().slice_ref(body).into_bytes();
    Ok(match Kind::of(body) {
        Kind::Null => (Bytes::new(), None),
        Kind::String => (args.text(index).unwrap_or_default(), Some(HTML)),
        Kind::Number => (as_it_is(), Some(HTML)),
        Kind::Bool => (as_it_is(), Some(JSON)),
        // Without attachments even what looks like a placeholder is plain JSON.
        Kind::Object | Kind::Array if attachments.is_empty() => (as_it_is(), Some(JSON)),
        Kind::Object | Kind::Array => {
            // The depth was checked when the packet came.
            let found = placeholders(body, attachments, usize::MAX)
                .map_err(|error| InvalidAnswer::from(format!("the body has {error}")))?;
            match found.as_slice() {
                [(range, number)] if range.len() == body.len() => (attachments[*number].clone(), Some(BINARY)),
                _ => (inline_attachments(body, &found, attachments)?, Some(JSON)),
            }
        }
    })
}

/// Returns a number, the first of this many arguments, as a status. 1xx are refused: they come in front of a response and are
/// none.
fn status(number: &str, arguments: usize) -> Result<StatusCode, InvalidAnswer> {
    let status = number.parse().ok().and_then(|number: u16| StatusCode::from_u16(number).ok());
    status.filter(|status| !status.is_informational()).ok_or_else(|| {
        // A number alone may be meant as the body.
        let meant =
            if arguments == 1 { ". A body that is a number has a status before it: respond(200, 42)" } else { "" };
        let shown = shown(number);
        InvalidAnswer::from(format!("{shown} is no status: it must be a whole number from 200 to 999{meant}"))
    })
}

/// Returns what was probably meant by arguments whose headers, behind the body at `body`, are no object.
fn meant(args: &Args, body: usize) -> &'static str {
    let kind = |index| args.get(index).map(Kind::of);
    let is_status = |text: &str| text.len() == 3 && matches!(text.as_bytes(), [b'2'..=b'9', b'0'..=b'9', b'0'..=b'9']);
    let first = args.get(0).unwrap_or_default();
    if kind(0) == Some(Kind::String) && is_status(json::without_quotes(first)) {
        return ": a status in quotes is a body, as in the original, so write respond(200, body, headers)";
    }
    match (kind(0), kind(body), kind(body + 1)) {
        (Some(Kind::Null), Some(Kind::Number), _) => {
            ": there is no error before the status, as in respond(200, body, headers)"
        }
        (_, _, Some(Kind::Number)) if body == 0 => ": the status comes first, as in respond(200, body, headers)",
        (_, Some(Kind::Object), Some(Kind::String)) => {
            ": the body comes before the headers, as in respond(200, body, headers)"
        }
        (_, _, Some(Kind::Array)) => ", not a list: Object.fromEntries(list) makes one of pairs",
        _ => "",
    }
}

/// What the head of a response may have that an end gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// The bytes of all lines together.
    pub bytes: usize,
    /// The lines.
    pub lines: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self { bytes: defaults::MAX_RESPONSE_HEAD, lines: defaults::MAX_RESPONSE_HEADERS }
    }
}

/// The head of a response that an end gives, line by line. A line that is replaced by a later one counts too.
struct Head<'r> {
    lines: &'r mut HeaderMap,
    limits: HeadLimits,
    left: HeadLimits,
}

impl Head<'_> {
    /// Sets one header: one line, or one for each element of a list. As in Node, a later value replaces an earlier one of the
    /// same name.
    fn set(&mut self, name: &str, value: &str) -> Result<(), InvalidAnswer> {
        let is_no_name = |_| {
            let meant = if name.ends_with(':') { ": leave the colon out" } else { "" };
            InvalidAnswer::from(format!("{} is no header name{meant}", shown(name)))
        };
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(is_no_name)?;
        self.lines.remove(&name);
        if Kind::of(value) != Kind::Array {
            return self.add(&name, value);
        }
        let mut added = Ok(());
        let walked = json::for_each_element(value, |element| {
            if added.is_ok() {
                added = self.add(&name, &value[element]);
            }
        });
        walked.map_err(|error| InvalidAnswer::from(format!("the headers are {error}")))?;
        added
    }

    /// Adds one line, or none for `null`.
    fn add(&mut self, name: &HeaderName, value: &str) -> Result<(), InvalidAnswer> {
        let text = match Kind::of(value) {
            Kind::Null => return Ok(()),
            Kind::String => json::unquote(value),
            Kind::Number | Kind::Bool => value.into(),
            Kind::Object | Kind::Array => {
                // JSON.stringify makes `{}` of these.
                let meant = if value == "{}" { ". It is {}, as a Promise that was not awaited, or a Map" } else { "" };
                let message = format!("the value of the header {name} must be a string or a list of strings{meant}");
                return Err(InvalidAnswer::from(message));
            }
        };
        let left = self.left;
        let after = |bytes| left.bytes.checked_sub(name.as_str().len() + ": \r\n".len() + bytes);
        // Two bytes of the text are one character at least, and one byte of the value. What is over the limit is not copied.
        if after(text.len() / 2).is_none() {
            return Err(self.over(Limit::ResponseHead));
        }
        let value = text_to_value(&text).ok_or_else(|| no_value(name, &text))?;
        let lines = left.lines.checked_sub(1).ok_or_else(|| self.over(Limit::ResponseHeaders))?;
        let bytes = after(value.len()).ok_or_else(|| self.over(Limit::ResponseHead))?;
        self.left = HeadLimits { lines, bytes };
        self.lines.try_append(name, value).map_err(|_| self.over(Limit::ResponseHeaders))?;
        Ok(())
    }

    fn over(&self, limit: Limit) -> InvalidAnswer {
        let HeadLimits { lines, bytes } = self.limits;
        let message = format!("the headers are over the limit of {lines} lines and {bytes} bytes");
        InvalidAnswer { message, limit: Some(limit) }
    }
}

/// Returns what is wrong with a text that is no value of a header.
fn no_value(name: &HeaderName, text: &str) -> InvalidAnswer {
    let meant = match text.contains(['\r', '\n']) {
        true => ": a line break. A list has one line for each value",
        false => ". encodeURIComponent() makes others of them",
    };
    InvalidAnswer::from(format!("the value of the header {name} has characters that HTTP cannot carry{meant}"))
}

/// Returns a JSON body with its attachments in place of their placeholders, as Node's `JSON.stringify` writes a Buffer.
///
/// Fails if an attachment is named more than once: a few bytes could become a body of any size.
fn inline_attachments(
    body: &str,
    found: &[(Range<usize>, usize)],
    attachments: &[Bytes],
) -> Result<Bytes, InvalidAnswer> {
    let all: usize = attachments.iter().map(Bytes::len).sum();
    let named = found.iter().try_fold(0, |sum: usize, (_, number)| sum.checked_add(attachments[*number].len()));
    if named.is_none_or(|named| named > all) {
        return Err(InvalidAnswer::from("the body names an attachment more than once".to_owned()));
    }
    let mut out = String::with_capacity(body.len());
    let mut at = 0;
    for (range, number) in found {
        out.push_str(&body[at..range.start]);
        out.push_str(r#"{"type":"Buffer","data":["#);
        for (index, byte) in attachments[*number].iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            // Writing to a String cannot fail.
            let _ = write!(out, "{comma}{byte}");
        }
        out.push_str("]}");
        at = range.end;
    }
    out.push_str(&body[at..]);
    Ok(Bytes::from(out))
}

/// Quotes what an end sent for a message, cut to 40 characters.
fn shown(text: &str) -> String {
    const LIMIT: usize = 40;
    let mut short: String = text.chars().take(LIMIT).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}
