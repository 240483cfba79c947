//! Which headers pass the relay, and how their values are text (RFC 9110, sections 5.5 and 7.6.1).

use std::borrow::Cow;

use http::header::{self, GetAll, HeaderMap, HeaderName, HeaderValue};

/// Headers that belong to one connection and not to the message.
fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Headers by which one response would decide for its whole origin, where all tunnels of a server are: the others' pages,
/// storage and requests are not one end's to touch.
fn is_origin_wide(name: &str) -> bool {
    matches!(
        name,
        "alt-svc"
            | "clear-site-data"
            | "nel"
            | "public-key-pins"
            | "report-to"
            | "service-worker-allowed"
            | "strict-transport-security"
    )
}

/// Headers with this prefix are the relay's own: an end cannot set them.
const OWN_PREFIX: &str = "x-socket2me-";

/// Whether an end may set this header, as far as it is not of the connection.
#[must_use]
pub fn is_ends_own(name: &HeaderName) -> bool {
    !is_origin_wide(name.as_str()) && !name.as_str().starts_with(OWN_PREFIX)
}

/// Decides for one message which of its headers end here.
#[derive(Debug)]
pub struct HopByHop<'m> {
    connection: Option<GetAll<'m, HeaderValue>>,
}

impl<'m> HopByHop<'m> {
    /// Looks at the message's `Connection`, which may name more.
    #[must_use]
    pub fn of(headers: &'m HeaderMap) -> Self {
        let connection = headers.get_all(header::CONNECTION);
        let names_no_header = |value: &HeaderValue| {
            [&b"keep-alive"[..], b"close"].iter().any(|usual| value.as_bytes().eq_ignore_ascii_case(usual))
        };
        Self { connection: (!connection.iter().all(names_no_header)).then_some(connection) }
    }

    /// Whether this header ends here.
    #[must_use]
    pub fn contains(&self, name: &HeaderName) -> bool {
        let is_named = |value: &HeaderValue| names(value.as_bytes(), name.as_str());
        is_hop_by_hop(name.as_str()) || self.connection.as_ref().is_some_and(|all| all.iter().any(is_named))
    }
}

/// Whether a comma-separated list holds a name, in any case.
#[must_use]
pub fn names(list: &[u8], name: &str) -> bool {
    list.split(|&byte| byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
}

/// A value as text the way Node reads it: each byte a character of ISO 8859-1, so that no byte is lost.
#[must_use]
pub fn value_to_text(value: &HeaderValue) -> Cow<'_, str> {
    match value.to_str() {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(value.as_bytes().iter().map(|&byte| char::from(byte)).collect()),
    }
}

/// Text as a value, the way back. `None` for what HTTP cannot carry: other characters, line ends, NUL.
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
    fn stops_what_belongs_to_the_connection() {
        let mut headers = HeaderMap::new();
        headers.append(header::CONNECTION, HeaderValue::from_static("close, X-One"));
        headers.append(header::CONNECTION, HeaderValue::from_static("x-two"));
        let hop_by_hop = HopByHop::of(&headers);
        for (name, stops) in [
            ("connection", true),
            ("te", true),
            ("x-one", true),
            ("x-two", true),
            ("x-three", false),
            ("host", false),
            ("proxy-authorization", true),
            ("upgrade", true),
            ("content-type", false),
        ] {
            assert_eq!(hop_by_hop.contains(&HeaderName::from_static(name)), stops, "{name}");
        }
    }

    #[test]
    fn an_end_does_not_speak_for_the_origin_or_the_relay() {
        for (name, own) in [
            ("service-worker-allowed", false),
            ("clear-site-data", false),
            ("strict-transport-security", false),
            ("nel", false),
            ("x-socket2me-error", false),
            ("x-socket2me-", false),
            ("x-socket2", true),
            ("set-cookie", true),
            ("content-security-policy", true),
        ] {
            assert_eq!(is_ends_own(&HeaderName::from_static(name)), own, "{name}");
        }
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
