//! The forms in which an end gets a request's body (PROTOCOL.md, "The request event").

use std::fmt;

use bytes::Bytes;
use bytestring::ByteString;
use http::header::{self, HeaderMap};

use super::options::EndOptions;
use super::query::{self, Node};
use crate::proto::json;

/// A request's body, in the form in which the end gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// No body, or an empty one. The end gets `{}`, as from the original.
    Absent,
    /// JSON: checked, and passed on as it was written.
    Json(ByteString),
    /// A form (`application/x-www-form-urlencoded`), which becomes an object as a query does.
    Form(Node),
    /// Text in UTF-8, which becomes a string.
    Text(ByteString),
    /// The exact bytes, as a binary attachment: any other body, and in raw mode every body.
    Bytes(Bytes),
}

/// A body is declared as JSON and is not JSON: the visitor's fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidBody(String);

impl fmt::Display for InvalidBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidBody {}

/// The byte order mark in UTF-8. Some senders put it in front of JSON, where it may not stand (RFC 8259, section 8.1).
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What the headers say a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    UrlEncoded,
    Text,
    Other,
}

impl Body {
    /// Makes a body of its bytes, as the request's headers and the end's options say.
    ///
    /// # Errors
    /// Fails if the headers declare JSON and the bytes are not UTF-8 or not JSON.
    pub fn detect(headers: &HeaderMap, bytes: Bytes, options: EndOptions) -> Result<Self, InvalidBody> {
        if options.raw_body {
            return Ok(Self::Bytes(bytes));
        }
        if bytes.is_empty() {
            return Ok(Self::Absent);
        }
        match form(headers) {
            Form::Json => Self::json(bytes),
            Form::UrlEncoded => Ok(Self::Form(query::parse(&bytes))),
            Form::Text => Ok(ByteString::try_from(bytes.clone()).map_or(Self::Bytes(bytes), Self::Text)),
            Form::Other => Ok(Self::Bytes(bytes)),
        }
    }

    fn json(bytes: Bytes) -> Result<Self, InvalidBody> {
        let bytes = if bytes.starts_with(BYTE_ORDER_MARK) { bytes.slice(BYTE_ORDER_MARK.len()..) } else { bytes };
        let text = ByteString::try_from(bytes)
            .map_err(|_| InvalidBody("the body is declared as JSON and is not UTF-8".to_owned()))?;
        match json::check(&text) {
            Ok(()) => Ok(Self::Json(text)),
            Err(invalid) => Err(InvalidBody(format!("the body is declared as JSON and is {invalid}"))),
        }
    }
}

/// Returns what the headers say the body is. A body with a `Content-Encoding`, or in a character set other than UTF-8 or ASCII,
/// is left to the end as bytes.
fn form(headers: &HeaderMap) -> Form {
    let plain = |encoding: &[u8]| encoding.is_empty() || encoding.eq_ignore_ascii_case(b"identity");
    if !headers.get(header::CONTENT_ENCODING).is_none_or(|value| plain(value.as_bytes())) {
        return Form::Other;
    }
    let Some(value) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return Form::Other;
    };
    let (media_type, parameters) = value.split_once(';').unwrap_or((value, ""));
    if !charset(parameters).is_none_or(|charset| is_utf8(&charset)) {
        return Form::Other;
    }
    media_type_form(&media_type.trim().to_ascii_lowercase())
}

fn media_type_form(media_type: &str) -> Form {
    const TEXTUAL: [&str; 9] = [
        "application/xml",
        "application/javascript",
        "application/ecmascript",
        "application/graphql",
        "application/sql",
        "application/x-ndjson",
        "application/yaml",
        "application/x-yaml",
        "application/toml",
    ];
    match media_type {
        "application/json" => Form::Json,
        "application/x-www-form-urlencoded" => Form::UrlEncoded,
        other if other.ends_with("+json") => Form::Json,
        other if other.starts_with("text/") || other.ends_with("+xml") || TEXTUAL.contains(&other) => Form::Text,
        _ => Form::Other,
    }
}

/// Returns the `charset` among the parameters of a `Content-Type`, in lower case.
fn charset(parameters: &str) -> Option<String> {
    parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let is_charset = name.trim().eq_ignore_ascii_case("charset");
        is_charset.then(|| value.trim().trim_matches('"').to_ascii_lowercase())
    })
}

fn is_utf8(charset: &str) -> bool {
    matches!(charset, "utf-8" | "utf8" | "us-ascii" | "ascii")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn detect(content_type: &'static str, body: &'static [u8]) -> Result<Body, InvalidBody> {
        let mut headers = HeaderMap::new();
        if !content_type.is_empty() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        Body::detect(&headers, Bytes::from_static(body), EndOptions::default())
    }

    #[test]
    fn the_content_type_decides_the_form() {
        let json = |text: &'static str| Ok(Body::Json(ByteString::from_static(text)));
        let text = |text: &'static str| Ok(Body::Text(ByteString::from_static(text)));
        let bytes = |data: &'static [u8]| Ok(Body::Bytes(Bytes::from_static(data)));
        assert_eq!(detect("application/json", b""), Ok(Body::Absent));
        assert_eq!(detect("application/json", br#"{"b":1e400,"a":[1]}"#), json(r#"{"b":1e400,"a":[1]}"#));
        assert_eq!(detect("Application/JSON; Charset=\"UTF-8\"", b" 1 "), json(" 1 "));
        assert_eq!(detect("application/json", b"\xef\xbb\xbf[]"), json("[]"));
        assert_eq!(detect("application/ld+json", b"[]"), json("[]"));
        assert_eq!(detect("application/json; charset=utf-16", b"\0["), bytes(b"\0["));
        assert_eq!(detect("application/x-www-form-urlencoded", b"a=1"), Ok(Body::Form(query::parse(b"a=1"))));
        assert_eq!(detect("text/plain", "é".as_bytes()), text("é"));
        assert_eq!(detect("text/plain", b"\xe9"), bytes(b"\xe9"));
        assert_eq!(detect("text/plain; charset=iso-8859-1", b"e"), bytes(b"e"));
        assert_eq!(detect("image/svg+xml", b"<svg/>"), text("<svg/>"));
        assert_eq!(detect("multipart/form-data; boundary=x", b"--x"), bytes(b"--x"));
        assert_eq!(detect("image/png", b"\x89PNG"), bytes(b"\x89PNG"));
        assert_eq!(detect("", b"x"), bytes(b"x"));
    }

    #[test]
    fn an_error_says_where_json_goes_wrong() {
        let error = detect("application/json", b"{\"a\":}").unwrap_err();
        assert_eq!(error.to_string(), "the body is declared as JSON and is not JSON at byte 5");
        assert!(detect("application/json", b"\"\xff\"").is_err());
    }

    #[test]
    fn an_encoded_body_stays_bytes() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        let gzip = Bytes::from_static(b"\x1f\x8b");
        assert_eq!(Body::detect(&headers, gzip.clone(), EndOptions::default()), Ok(Body::Bytes(gzip)));
    }

    #[test]
    fn in_raw_mode_every_body_stays_bytes() {
        let raw = EndOptions { raw_body: true, raw_headers: false };
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let body = Bytes::from_static(b"{no json");
        assert_eq!(Body::detect(&headers, body.clone(), raw), Ok(Body::Bytes(body)));
        assert_eq!(Body::detect(&headers, Bytes::new(), raw), Ok(Body::Bytes(Bytes::new())));
    }
}
