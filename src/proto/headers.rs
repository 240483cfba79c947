//! Values of HTTP headers, as lists and as text (RFC 9110, sections 5.5 and 5.6.1).

use std::borrow::Cow;

use http::header::{self, HeaderMap, HeaderValue};

/// Tells whether a byte may stand in a token (RFC 9110, section 5.6.2).
#[must_use]
pub fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Tells whether a comma-separated list holds a name, in upper or lower case.
#[must_use]
pub fn list_contains(list: &[u8], name: &str) -> bool {
    list.split(|&byte| byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
}

/// Tells whether a request's `Accept` names a media type, such as `text/html`, whatever parameters follow it. A range such as
/// `*/*` names none (RFC 9110, section 12.5.1).
#[must_use]
pub fn accepts_by_name(headers: &HeaderMap, media_type: &str) -> bool {
    let names = |value: &HeaderValue| {
        value.as_bytes().split(|&byte| byte == b',').any(|range| {
            let name = range.split(|&byte| byte == b';').next().unwrap_or_default();
            name.trim_ascii().eq_ignore_ascii_case(media_type.as_bytes())
        })
    };
    headers.get_all(header::ACCEPT).iter().any(names)
}

/// Returns a value as text, as Node reads it: each byte is a character of ISO 8859-1, so that no byte is lost.
#[must_use]
pub fn value_to_text(value: &HeaderValue) -> Cow<'_, str> {
    match value.to_str() {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(value.as_bytes().iter().map(|&byte| char::from(byte)).collect()),
    }
}

/// Returns the value that [`value_to_text`] would read as this text. Returns `None` for what HTTP cannot carry: characters
/// beyond U+00FF, and control characters such as line ends and NUL.
#[must_use]
pub fn text_to_value(text: &str) -> Option<HeaderValue> {
    if text.is_ascii() {
        return HeaderValue::from_str(text).ok();
    }
    let bytes: Result<Vec<u8>, _> = text.chars().map(u8::try_from).collect();
    HeaderValue::from_bytes(&bytes.ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_media_type_is_for_clients_that_name_it() {
        for (accept, json, html) in [
            ("application/json", true, false),
            ("application/json, text/plain, */*", true, false),
            ("text/html, Application/JSON;q=0.9", true, true),
            ("*/*", false, false),
            ("text/*", false, false),
            ("a/b;c=text/html", false, false),
            ("text/html;level=1", false, true),
            ("application/jsonp, text/htmlx", false, false),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
            let named = ["application/json", "text/html"].map(|name| accepts_by_name(&headers, name));
            assert_eq!(named, [json, html], "{accept}");
        }
        assert!(!accepts_by_name(&HeaderMap::new(), "text/html"));
    }

    #[test]
    fn values_are_latin_1_both_ways() {
        let bytes: Vec<u8> = (0x20..=0x7e).chain(0x80..=0xff).collect();
        let value = HeaderValue::from_bytes(&bytes).unwrap();
        assert_eq!(text_to_value(&value_to_text(&value)), Some(value));
        for text in ["€", "a\r\nb: c", "\0", "日本"] {
            assert_eq!(text_to_value(text), None, "{text:?}");
        }
    }
}
