//! What a request's body is to the end (PROTOCOL.md, "Bodies").

use std::fmt;

use bytes::Bytes;
use bytestring::ByteString;
use http::header::{self, HeaderMap};

use super::options::EndOptions;
use super::query::{self, Node};
use crate::proto::json;

/// A body, in the form in which the end gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// No body: `{}`, as in the original.
    Absent,
    /// JSON that was checked, and stays as it was written.
    Json(ByteString),
    /// A form.
    Form(Node),
    /// Text.
    Text(ByteString),
    /// Everything else, and in raw mode everything: the exact bytes, as an attachment.
    Bytes(Bytes),
}

/// A body that says it is JSON and is not. The visitor's fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidBody(String);

impl fmt::Display for InvalidBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidBody {}

/// The byte order mark, which some senders put in front of UTF-8 and JSON does not have.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    UrlEncoded,
    Text,
    Other,
}

impl Body {
    /// Decides by the headers what the bytes are.
    ///
    /// # Errors
    /// When they should be JSON and are not.
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

/// What the headers say the bytes are. An encoded body, or one in another character set, is left to the end.
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

fn charset(parameters: &str) -> Option<String> {
    parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let right = name.trim().eq_ignore_ascii_case("charset");
        right.then(|| value.trim().trim_matches('"').to_ascii_lowercase())
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
    fn goes_by_the_content_type() {
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
    fn says_where_json_goes_wrong() {
        let error = detect("application/json", b"{\"a\":}").unwrap_err();
        assert_eq!(error.to_string(), "the body is declared as JSON and is not JSON at byte 5");
        assert!(detect("application/json", b"\"\xff\"").is_err());
    }

    #[test]
    fn leaves_an_encoded_body_alone() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        let gzip = Bytes::from_static(b"\x1f\x8b");
        assert_eq!(Body::detect(&headers, gzip.clone(), EndOptions::default()), Ok(Body::Bytes(gzip)));
    }

    #[test]
    fn raw_mode_touches_nothing() {
        let raw = EndOptions { raw_body: true, raw_headers: false };
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let body = Bytes::from_static(b"{no json");
        assert_eq!(Body::detect(&headers, body.clone(), raw), Ok(Body::Bytes(body)));
        assert_eq!(Body::detect(&headers, Bytes::new(), raw), Ok(Body::Bytes(Bytes::new())));
    }
}
