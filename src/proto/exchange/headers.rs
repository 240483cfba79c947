//! Which headers pass the relay (PROTOCOL.md, "Headers"; RFC 9110, section 7.6.1).

use std::collections::HashSet;

use http::header::{self, HeaderMap, HeaderName};

/// Tells whether a header belongs to one connection and not to the message (RFC 9110, section 7.6.1).
#[must_use]
pub fn is_hop_by_hop(name: &str) -> bool {
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

/// Tells whether of a request header the first line counts alone, as in Node: it has one value, and joined with another it would
/// be a value that nobody sent. PROTOCOL.md, section 3, has the list.
pub(super) fn counts_once(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "age"
            | "authorization"
            | "content-type"
            | "etag"
            | "expires"
            | "from"
            | "if-modified-since"
            | "if-unmodified-since"
            | "last-modified"
            | "location"
            | "max-forwards"
            | "referer"
            | "retry-after"
            | "server"
            | "user-agent"
    )
}

/// The response headers that a browser keeps for the whole origin or host, in alphabetical order. All tunnels of a server share
/// one origin, and no end may decide for the pages, storage and requests of another tunnel.
///
/// They are those of the IANA registry of HTTP fields, of MDN's reference of headers, and of Chromium's source. Headers that
/// bind one document, such as `Content-Security-Policy`, `Reporting-Endpoints` and `Speculation-Rules`, are not among them.
/// PROTOCOL.md, section 6, has the same list with what each would decide.
pub const ORIGIN_WIDE: [&str; 29] = [
    "accept-ch",
    "accept-ch-lifetime",
    "alt-svc",
    "alternate-protocol",
    "attribution-reporting-register-os-source",
    "attribution-reporting-register-os-trigger",
    "attribution-reporting-register-source",
    "attribution-reporting-register-trigger",
    "clear-site-data",
    "critical-ch",
    "critical-origin-trial",
    "expect-ct",
    "idp-signin-status",
    "nel",
    "observe-browsing-topics",
    "origin-agent-cluster",
    "origin-trial",
    "public-key-pins",
    "public-key-pins-report-only",
    "report-to",
    "sec-session-challenge",
    "sec-session-registration",
    "secure-session-challenge",
    "secure-session-registration",
    "service-worker-allowed",
    "set-login",
    "shared-storage-write",
    "strict-transport-security",
    "use-as-dictionary",
];

/// Those of [`ORIGIN_WIDE`] that no end may set on a tunnel's own host either. What decides for the pages and requests of one
/// origin alone is that tunnel's to say there. These reach further:
///
/// - `alt-svc`, `alternate-protocol`: where the server is found. That is the relay, whose operator decides it
/// - `expect-ct`, `public-key-pins`, `public-key-pins-report-only`, `strict-transport-security`: the host's connections and
///   certificates, which are the operator's, on every port and longer than the tunnel lives
/// - `nel`: reports of connections to the relay, also those of a tunnel that has the name later
/// - `attribution-reporting-…`, `clear-site-data`, `observe-browsing-topics`, `sec-session-…`, `secure-session-…`: the whole site
///   (`clear-site-data` for its cookies). Hosts of tunnels are one site unless a browser takes what is behind their label for a
///   public suffix
///
/// PROTOCOL.md, section 6, says of each header whether it passes.
pub const WIDER_THAN_ORIGIN: [&str; 17] = [
    "alt-svc",
    "alternate-protocol",
    "attribution-reporting-register-os-source",
    "attribution-reporting-register-os-trigger",
    "attribution-reporting-register-source",
    "attribution-reporting-register-trigger",
    "clear-site-data",
    "expect-ct",
    "nel",
    "observe-browsing-topics",
    "public-key-pins",
    "public-key-pins-report-only",
    "sec-session-challenge",
    "sec-session-registration",
    "secure-session-challenge",
    "secure-session-registration",
    "strict-transport-security",
];

/// Whose the origin of a response is to a browser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// All tunnels': the visitor has asked for `/go/TOKEN`.
    Shared,
    /// All tunnels', as [`Self::Shared`], of a server whose tunnels have hosts as well. These may be below the server's own, so that a
    /// cookie with a `Domain` would reach them.
    SharedBesideHosts,
    /// The tunnel's: the visitor has asked for a host that is the tunnel's own.
    Own,
}

/// The prefix of the relay's own headers, which neither ends nor visitors can set.
const OWN_PREFIX: &str = "x-socket2me-";

/// Tells whether a name is one of the relay's own headers.
#[must_use]
pub fn is_relays_own(name: &str) -> bool {
    name.starts_with(OWN_PREFIX)
}

/// Tells whether an end may set a header for an origin. Those that belong to a connection are [`HopByHop`]'s to refuse.
#[must_use]
pub fn end_may_set(name: &HeaderName, origin: Origin) -> bool {
    let refused = match origin {
        Origin::Shared | Origin::SharedBesideHosts => &ORIGIN_WIDE[..],
        Origin::Own => &WIDER_THAN_ORIGIN[..],
    };
    refused.binary_search(&name.as_str()).is_err() && !is_relays_own(name.as_str())
}

/// The headers of one message that belong to its connection, and so are not passed on.
#[derive(Debug)]
pub struct HopByHop {
    /// Those of the message's headers that its `Connection` names.
    named: HashSet<HeaderName>,
}

impl HopByHop {
    /// Reads the message's `Connection`, which may name more such headers.
    #[must_use]
    pub fn of<V: AsRef<[u8]>>(headers: &HeaderMap<V>) -> Self {
        let mut named = HashSet::new();
        for value in headers.get_all(header::CONNECTION) {
            for item in value.as_ref().split(|&byte| byte == b',') {
                // Both the names and the headers may be many, so each name is looked up once.
                let name = str::from_utf8(item).map(str::trim_ascii).unwrap_or_default();
                if !is_usual(name) && headers.contains_key(name) {
                    named.extend(HeaderName::from_bytes(name.as_bytes()));
                }
            }
        }
        Self { named }
    }

    /// Tells whether a header belongs to the connection.
    #[must_use]
    pub fn contains(&self, name: &HeaderName) -> bool {
        is_hop_by_hop(name.as_str()) || (!self.named.is_empty() && self.named.contains(name))
    }
}

/// Tells whether an item of a `Connection` is one of those that are no header.
fn is_usual(item: &str) -> bool {
    ["keep-alive", "close"].iter().any(|usual| item.eq_ignore_ascii_case(usual))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn headers_of_the_connection_are_not_passed_on() {
        let mut headers = HeaderMap::new();
        headers.append(header::CONNECTION, HeaderValue::from_static("close, X-One"));
        headers.append(header::CONNECTION, HeaderValue::from_static("x-two,,\t x-absent"));
        for name in ["x-one", "x-two", "x-three", "close"] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static("1"));
        }
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
            ("close", false),
        ] {
            assert_eq!(hop_by_hop.contains(&HeaderName::from_static(name)), stops, "{name}");
        }
    }

    #[test]
    fn an_end_cannot_set_headers_of_a_shared_origin_or_the_relay() {
        for (name, shared, own) in [
            ("service-worker-allowed", false, true),
            ("accept-ch", false, true),
            ("clear-site-data", false, false),
            ("strict-transport-security", false, false),
            ("nel", false, false),
            ("x-socket2me-error", false, false),
            ("x-socket2me-", false, false),
            ("x-socket2", true, true),
            ("set-cookie", true, true),
            ("content-security-policy", true, true),
        ] {
            let name = HeaderName::from_static(name);
            let allowed = [Origin::Shared, Origin::Own].map(|origin| end_may_set(&name, origin));
            assert_eq!(allowed, [shared, own], "{name}");
        }
        assert!(ORIGIN_WIDE.is_sorted() && WIDER_THAN_ORIGIN.is_sorted(), "they are looked up by bisection");
        assert!(WIDER_THAN_ORIGIN.iter().all(|name| ORIGIN_WIDE.contains(name)));
    }
}
