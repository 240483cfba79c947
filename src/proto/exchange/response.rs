//! An ack as an HTTP response: `([status], [body], [headers])`, each optional (PROTOCOL.md, "The ack").

use std::fmt::{self, Write as _};
use std::ops::Range;

use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::headers::{HopByHop, is_ends_own};
use crate::proto::headers::text_to_value;
use crate::proto::json::{self, Kind};
use crate::proto::socket_io::attachments::placeholders;
use crate::proto::socket_io::connection::Answer;

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
const BINARY: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// Headers that a response has beside those that the end gave: about its type, and the relay's own.
const OTHERS: usize = 4;

/// What the visitor gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status, 200 to 999.
    pub status: StatusCode,
    /// The headers, without those that belong to a connection and without lengths.
    pub headers: HeaderMap,
    /// The body; empty where the status has none.
    pub body: Bytes,
    /// The length that the end gave itself: what a response to HEAD says about the body it does not carry.
    pub declared_length: Option<u64>,
}

/// An answer that HTTP cannot carry. The end's fault, and the end of this exchange alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidAnswer(String);

impl fmt::Display for InvalidAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidAnswer {}

impl Response {
    /// The answer of `respond()`, which the original gives for a handler that never calls it too.
    #[must_use]
    pub fn ok() -> Self {
        let mut response = Self::new(StatusCode::OK, HeaderMap::new());
        response.body = status_in_words(response.status);
        response.headers.insert(header::CONTENT_TYPE, HTML);
        response
    }

    /// Reads the arguments of an ack. Its headers get the room of `headers`, whose own are forgotten.
    ///
    /// # Errors
    /// With what was wrong when HTTP cannot carry the answer.
    pub fn decode(answer: &Answer, headers: HeaderMap) -> Result<Self, InvalidAnswer> {
        let args = &answer.args;
        let kind_of = |index| args.get(index).map(Kind::of);
        let (status, rest) = match (kind_of(0), args.len()) {
            (Some(Kind::Number), _) => (status(args.get(0).unwrap_or_default())?, 1),
            // `respond(undefined, body, headers)`, and `respond(undefined, body)` unless `body` can be headers.
            (Some(Kind::Null), 3..) => (StatusCode::OK, 1),
            (Some(Kind::Null), 2) if !matches!(kind_of(1), Some(Kind::Object | Kind::Null)) => (StatusCode::OK, 1),
            (Some(_) | None, _) => (StatusCode::OK, 0),
        };
        let mut response = Self::new(status, headers);
        let (body, content_type) = match args.get(rest) {
            None => (status_in_words(status), Some(HTML)),
            Some(body) => decode_body(answer, rest, body)?,
        };
        response.body = body;
        if let Some(headers) = args.get(rest + 1) {
            response.set_headers(headers)?;
        }
        if let Some(content_type) = content_type {
            response.headers.entry(header::CONTENT_TYPE).or_insert(content_type);
        }
        if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            response.body = Bytes::new();
        }
        Ok(response)
    }

    fn new(status: StatusCode, mut headers: HeaderMap) -> Self {
        headers.clear();
        Self { status, headers, body: Bytes::new(), declared_length: None }
    }

    fn set_headers(&mut self, headers: &str) -> Result<(), InvalidAnswer> {
        match Kind::of(headers) {
            Kind::Null => return Ok(()),
            Kind::Object => (),
            Kind::Array | Kind::String | Kind::Number | Kind::Bool => {
                return Err(InvalidAnswer("the headers must be an object".to_owned()));
            }
        }
        let members = json::members(headers).map_err(|error| InvalidAnswer(format!("the headers are {error}")))?;
        if members.is_empty() {
            return Ok(());
        }
        let given = &mut self.headers;
        given.reserve(members.len() + OTHERS);
        for json::Member { key, value } in members {
            let key = json::unquote(&headers[key]);
            let name = HeaderName::from_bytes(key.as_bytes())
                .map_err(|_| InvalidAnswer(format!("{} is no header name", shown(&key))))?;
            // As in Node, a later value replaces an earlier one of the same name; a list is several lines.
            given.remove(&name);
            add_lines(given, &name, &headers[value])?;
        }
        if let Some(length) = given.get_all(header::CONTENT_LENGTH).iter().next_back() {
            self.declared_length = length.to_str().ok().and_then(|text| text.parse().ok());
        }
        let hop_by_hop = HopByHop::of(given);
        let passes =
            |name: &HeaderName| *name != header::CONTENT_LENGTH && !hop_by_hop.contains(name) && is_ends_own(name);
        let stopped: Vec<_> = given.keys().filter(|name| !passes(name)).cloned().collect();
        for name in stopped {
            given.remove(name);
        }
        Ok(())
    }
}

/// What a response without a body says, as express does it.
fn status_in_words(status: StatusCode) -> Bytes {
    match status.canonical_reason() {
        Some(reason) => Bytes::from_static(reason.as_bytes()),
        None => Bytes::from(status.as_str().to_owned()),
    }
}

/// A body, which stands at `index`, and its type; `null` is none, and has none.
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
            // How deep they may be was looked at when the packet came.
            let found = placeholders(body, attachments, usize::MAX)
                .map_err(|error| InvalidAnswer(format!("the body has {error}")))?;
            match found.as_slice() {
                [(range, number)] if range.len() == body.len() => (attachments[*number].clone(), Some(BINARY)),
                _ => (inline_attachments(body, &found, attachments)?, Some(JSON)),
            }
        }
    })
}

/// A number as a status. 1xx are not answers: they come before one.
fn status(number: &str) -> Result<StatusCode, InvalidAnswer> {
    let status = number.parse().ok().and_then(|number: u16| StatusCode::from_u16(number).ok());
    status.filter(|status| !status.is_informational()).ok_or_else(|| {
        InvalidAnswer(format!("{} is no status: it must be a whole number from 200 to 999", shown(number)))
    })
}

/// Adds the lines of one header.
fn add_lines(headers: &mut HeaderMap, name: &HeaderName, value: &str) -> Result<(), InvalidAnswer> {
    match Kind::of(value) {
        Kind::Array => {
            let elements = json::elements(value).map_err(|error| InvalidAnswer(format!("the headers are {error}")))?;
            for range in elements {
                if let Some(line) = header_line(name, &value[range])? {
                    headers.append(name, line);
                }
            }
        }
        Kind::String | Kind::Number | Kind::Bool | Kind::Null | Kind::Object => {
            if let Some(line) = header_line(name, value)? {
                headers.append(name, line);
            }
        }
    }
    Ok(())
}

/// One line; none for `null`.
fn header_line(name: &HeaderName, value: &str) -> Result<Option<HeaderValue>, InvalidAnswer> {
    let text = match Kind::of(value) {
        Kind::Null => return Ok(None),
        Kind::String => json::unquote(value),
        Kind::Number | Kind::Bool => value.into(),
        Kind::Object | Kind::Array => {
            return Err(InvalidAnswer(format!("the value of the header {name} must be a string or a list of strings")));
        }
    };
    let value = text_to_value(&text).ok_or_else(|| {
        InvalidAnswer(format!("the value of the header {name} has characters that HTTP cannot carry"))
    })?;
    Ok(Some(value))
}

/// Bytes inside a JSON body, written as Node's `JSON.stringify` writes a Buffer.
///
/// A packet has each of its bytes once. Were one named over and over, few bytes could become many, so that is refused.
fn inline_attachments(
    body: &str,
    found: &[(Range<usize>, usize)],
    attachments: &[Bytes],
) -> Result<Bytes, InvalidAnswer> {
    let all: usize = attachments.iter().map(Bytes::len).sum();
    let named = found.iter().try_fold(0, |sum: usize, (_, number)| sum.checked_add(attachments[*number].len()));
    if named.is_none_or(|named| named > all) {
        return Err(InvalidAnswer("the body names an attachment more than once".to_owned()));
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

/// What an end sent, short enough for a message.
fn shown(text: &str) -> String {
    const LIMIT: usize = 40;
    let mut short: String = text.chars().take(LIMIT).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}
