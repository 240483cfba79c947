//! Which headers pass the relay (RFC 9110, section 7.6.1).

use http::header::{self, GetAll, HeaderMap, HeaderName, HeaderValue};

use crate::proto::headers::list_contains;

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
        let is_named = |value: &HeaderValue| list_contains(value.as_bytes(), name.as_str());
        is_hop_by_hop(name.as_str()) || self.connection.as_ref().is_some_and(|all| all.iter().any(is_named))
    }
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
}
