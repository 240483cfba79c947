//! The forms in which an end gets a request's body (PROTOCOL.md, "The request event").

use std::fmt;

use bytes::Bytes;
use bytestring::ByteString;
use http::header::{self, HeaderMap};

use super::options::EndOptions;
use super::query;
use crate::proto::json;

/// A request's body, in the form in which the end gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// No body, or an empty one. The end gets `{}`, as from the original.
    Absent,
    /// JSON: checked, and passed on as it was written.
    Json(ByteString),
    /// A form (`application/x-www-form-urlencoded`), which becomes an object as a query does.
    Form(Bytes),
    /// Text in UTF-8, which becomes a string.
    Text(ByteString),
    /// The exact bytes, as a binary attachment: any other body, and in raw mode every body.
    Bytes(Bytes),
}

/// Why a body cannot reach the end in the form that its headers declare: the visitor's fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InvalidBody {
    /// It is declared as JSON and is not JSON. The message says where.
    NotJson(String),
    /// It is JSON or a form in a character set that the relay does not read.
    Charset(String),
    /// The fields of a form would take more memory than this limit, in bytes.
    TooManyFields(usize),
}

impl fmt::Display for InvalidBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson(why) => write!(f, "the body is declared as JSON and is {why}"),
            Self::Charset(charset) => write!(
                f,
                "the body is in the character set {charset:?}: send UTF-8, or connect the client with body: 'raw' to get the bytes"
            ),
            Self::TooManyFields(limit) => write!(
                f,
                "the fields of the form take more than {limit} bytes of memory: send JSON, or connect the \
                 client with body: 'raw' to get the bytes"
            ),
        }
    }
}

impl std::error::Error for InvalidBody {}

/// The byte order mark in UTF-8. Some senders put it in front of JSON, where it may not stand (RFC 8259, section 8.1), and of
/// forms.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl Body {
    /// Makes a body of its bytes, as the request's headers and the end's options say. The fields of a form may take `max_form`
    /// bytes of memory.
    ///
    /// # Errors
    /// Fails if the body is not what its headers declare, in a form that the end can get. See [`InvalidBody`].
    pub fn detect(
        headers: &HeaderMap,
        bytes: Bytes,
        options: EndOptions,
        max_form: usize,
    ) -> Result<Self, InvalidBody> {
        if options.raw_body {
            return Ok(Self::Bytes(bytes));
        }
        if bytes.is_empty() {
            return Ok(Self::Absent);
        }
        match declared(headers) {
            Declared::Json(Charset::Utf8) => Self::json(without_mark(bytes)),
            Declared::Json(Charset::Latin1) => Self::json(utf8_of_latin1(&bytes).into()),
            Declared::UrlEncoded(Charset::Utf8) => Self::url_encoded(without_mark(bytes), max_form),
            Declared::Text(Charset::Utf8) => {
                Ok(ByteString::try_from(bytes.clone()).map_or(Self::Bytes(bytes), Self::Text))
            }
            Declared::Text(Charset::Latin1 | Charset::Other(_)) | Declared::Other => Ok(Self::Bytes(bytes)),
            Declared::UrlEncoded(Charset::Latin1) => Err(InvalidBody::Charset("iso-8859-1".to_owned())),
            Declared::Json(Charset::Other(charset)) | Declared::UrlEncoded(Charset::Other(charset)) => {
                Err(InvalidBody::Charset(charset))
            }
        }
    }

    fn json(bytes: Bytes) -> Result<Self, InvalidBody> {
        let text = ByteString::try_from(bytes).map_err(|_| InvalidBody::NotJson("not UTF-8".to_owned()))?;
        json::check(&text).map_err(|invalid| InvalidBody::NotJson(invalid.to_string()))?;
        Ok(Self::Json(text))
    }

    fn url_encoded(form: Bytes, max_form: usize) -> Result<Self, InvalidBody> {
        if query::memory(&form) > max_form { Err(InvalidBody::TooManyFields(max_form)) } else { Ok(Self::Form(form)) }
    }

    /// Returns the memory that the body takes in an event, while that is written, in bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        match self {
            Self::Absent => 0,
            Self::Json(text) => text.len(),
            Self::Text(text) => json::escaped_len(text.as_bytes()),
            Self::Form(form) => query::memory(form),
            Self::Bytes(bytes) => bytes.len(),
        }
    }
}

fn without_mark(bytes: Bytes) -> Bytes {
    if bytes.starts_with(BYTE_ORDER_MARK) { bytes.slice(BYTE_ORDER_MARK.len()..) } else { bytes }
}

/// Reads each byte as a character of ISO 8859-1.
fn utf8_of_latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

/// What the headers say a body is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Declared {
    Json(Charset),
    UrlEncoded(Charset),
    Text(Charset),
    Other,
}

/// The character set of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Charset {
    /// UTF-8, or ASCII, which is a part of it.
    Utf8,
    /// ISO 8859-1.
    Latin1,
    /// Another, by its name in lower case.
    Other(String),
}

impl Charset {
    /// Reads the `charset` among the parameters of a `Content-Type`. Without one it is UTF-8.
    fn of(parameters: &str) -> Self {
        // A `;` in quotes is part of a value (RFC 9110, section 5.6.6).
        let mut is_quoted = false;
        let ends = |c: char| {
            is_quoted ^= c == '"';
            c == ';' && !is_quoted
        };
        let charset = parameters.split(ends).find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            let is_charset = name.trim().eq_ignore_ascii_case("charset");
            is_charset.then(|| value.trim().trim_matches('"').to_ascii_lowercase())
        });
        match charset.as_deref() {
            None | Some("utf-8" | "utf8" | "us-ascii" | "ascii") => Self::Utf8,
            Some("iso-8859-1" | "iso8859-1" | "latin1" | "latin-1") => Self::Latin1,
            Some(other) => Self::Other(other.to_owned()),
        }
    }
}

/// Returns what the headers say the body is. A body with a `Content-Encoding` is left to the end as bytes.
fn declared(headers: &HeaderMap) -> Declared {
    let plain = |encoding: &[u8]| encoding.is_empty() || encoding.eq_ignore_ascii_case(b"identity");
    if !headers.get_all(header::CONTENT_ENCODING).iter().all(|value| plain(value.as_bytes())) {
        return Declared::Other;
    }
    let Some(value) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return Declared::Other;
    };
    let (media_type, parameters) = value.split_once(';').unwrap_or((value, ""));
    declared_by(&media_type.trim().to_ascii_lowercase(), Charset::of(parameters))
}

fn declared_by(media_type: &str, charset: Charset) -> Declared {
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
        "application/json" => Declared::Json(charset),
        "application/x-www-form-urlencoded" => Declared::UrlEncoded(charset),
        other if other.ends_with("+json") => Declared::Json(charset),
        other if other.starts_with("text/") || other.ends_with("+xml") || TEXTUAL.contains(&other) => {
            Declared::Text(charset)
        }
        _ => Declared::Other,
    }
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
        Body::detect(&headers, Bytes::from_static(body), EndOptions::default(), 10_000)
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
        assert_eq!(detect("application/json; a=\"b; charset=x\"", b"[]"), json("[]"));
        assert_eq!(detect("application/json; charset=ISO-8859-1", b"\"\xe9\""), json("\"é\""));
        let form = Ok(Body::Form(Bytes::from_static(b"a=1")));
        assert_eq!(detect("application/x-www-form-urlencoded", b"a=1"), form);
        assert_eq!(detect("application/x-www-form-urlencoded", b"\xef\xbb\xbfa=1"), form);
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
    fn json_and_forms_in_other_character_sets_are_refused() {
        for (media_type, charset) in [
            ("application/json; charset=utf-16", "utf-16"),
            ("application/x-www-form-urlencoded; charset=windows-1252", "windows-1252"),
            ("application/x-www-form-urlencoded;Charset=latin1", "iso-8859-1"),
            ("application/ld+json;charset=\"x\"", "x"),
        ] {
            assert_eq!(detect(media_type, b"\"a\""), Err(InvalidBody::Charset(charset.to_owned())), "{media_type}");
        }
    }

    #[test]
    fn the_fields_of_a_form_are_limited_by_their_memory() {
        let detect = |body: String| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
            Body::detect(&headers, Bytes::from(body), EndOptions::default(), 100_000)
        };
        assert!(detect(format!("a={}", "x".repeat(49_000))).is_ok(), "one large field");
        assert!(detect("a&".repeat(400)).is_ok());
        let refused = Err(InvalidBody::TooManyFields(100_000));
        for many in ["a&".repeat(500), "a[b][c][d][e][f]&".repeat(80), "a%5Bb%5D&".repeat(230)] {
            assert_eq!(detect(many), refused);
        }
    }

    #[test]
    fn an_encoded_body_stays_bytes() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        let gzip = Bytes::from_static(b"\x1f\x8b");
        assert_eq!(Body::detect(&headers, gzip.clone(), EndOptions::default(), 0), Ok(Body::Bytes(gzip.clone())));
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("identity"));
        headers.append(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert_eq!(Body::detect(&headers, gzip.clone(), EndOptions::default(), 0), Ok(Body::Bytes(gzip)));
    }

    #[test]
    fn in_raw_mode_every_body_stays_bytes() {
        let raw = EndOptions { raw_body: true, ..EndOptions::default() };
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let body = Bytes::from_static(b"{no json");
        assert_eq!(Body::detect(&headers, body.clone(), raw, 0), Ok(Body::Bytes(body)));
        assert_eq!(Body::detect(&headers, Bytes::new(), raw, 0), Ok(Body::Bytes(Bytes::new())));
    }
}
