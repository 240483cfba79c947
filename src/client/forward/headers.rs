//! What of a request's and a response's headers names a place: the public one outside, the local one at the app.

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};

pub use crate::config::HostHeader;
use crate::proto::exchange::headers::HopByHop;

const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// How the app is named here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The scheme of its URLs.
    pub scheme: &'static str,
    /// Its host, and its port.
    pub authority: String,
    /// What it is told about that.
    pub host_header: HostHeader,
    /// The path in front of the app's own is part of its paths.
    pub keeps_prefix: bool,
}

/// Where the visitor has found the tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Public {
    scheme: String,
    authority: String,
    /// The path in front of the app's own: empty on a host of the tunnel's own.
    prefix: String,
}

impl Names {
    /// Makes a request's headers the app's. Returns where the visitor has found the tunnel.
    pub fn enter(&self, headers: &mut HeaderMap) -> Public {
        let text =
            |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let authority =
            Some(text(&FORWARDED_HOST)).filter(|host| !host.is_empty()).unwrap_or_else(|| text(&header::HOST));
        let public = Public { scheme: text(&FORWARDED_PROTO), authority, prefix: text(&FORWARDED_PREFIX) };
        end_hop(headers);
        let local = HeaderValue::try_from(&self.authority).ok();
        let host = match &self.host_header {
            HostHeader::Local | HostHeader::Full => local,
            HostHeader::Keep => HeaderValue::try_from(&public.authority).ok(),
            HostHeader::Value(value) => Some(value.clone()),
        };
        if let Some(host) = host {
            headers.insert(header::HOST, host);
        }
        if self.host_header == HostHeader::Full {
            headers.remove(FORWARDED_HOST);
            self.rename(headers, &header::ORIGIN, &public, "");
            self.rename(headers, &header::REFERER, &public, if self.keeps_prefix { "" } else { &public.prefix });
        } else if let Ok(host) = HeaderValue::try_from(&public.authority) {
            headers.insert(FORWARDED_HOST, host);
        }
        if self.keeps_prefix {
            // It would say that the prefix was taken off.
            headers.remove(FORWARDED_PREFIX);
        }
        public
    }

    /// Returns the path and query that the app is asked for, of those behind the tunnel's URL.
    pub fn target(&self, public: &Public, path: &str, search: &str) -> String {
        let prefix = if self.keeps_prefix { &*public.prefix } else { "" };
        [prefix, path, search].concat()
    }

    /// Puts the local origin into the place of the public one and `prefix` in a header that begins with them.
    fn rename(&self, headers: &mut HeaderMap, name: &HeaderName, public: &Public, prefix: &str) {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        let rest = value.and_then(|value| behind_origin(value, &public.authority)?.strip_prefix(prefix));
        let rest = rest.filter(|rest| is_path(rest));
        if let Some(renamed) = rest.map(|rest| format!("{}://{}{rest}", self.scheme, self.authority))
            && let Ok(renamed) = HeaderValue::try_from(renamed)
        {
            headers.insert(name.clone(), renamed);
        }
    }

    /// Makes a response's headers the visitor's: what names exactly the local origin names the public one.
    pub fn leave(&self, headers: &mut HeaderMap, public: &Public) {
        end_hop(headers);
        for name in [header::LOCATION, header::CONTENT_LOCATION] {
            let value = headers.get(&name).and_then(|value| value.to_str().ok());
            let Some(renamed) = value.and_then(|value| self.to_public(value, public)) else { continue };
            if let Ok(renamed) = HeaderValue::try_from(renamed) {
                headers.insert(name, renamed);
            }
        }
        if let header::Entry::Occupied(mut entry) = headers.entry(header::SET_COOKIE) {
            for value in entry.iter_mut() {
                let renamed = value.to_str().ok().and_then(|cookie| self.cookie(cookie, public));
                if let Some(renamed) = renamed.and_then(|cookie| HeaderValue::try_from(cookie).ok()) {
                    *value = renamed;
                }
            }
        }
    }

    /// Returns the public URL of a local one; `None` if the URL may stay as it is.
    fn to_public(&self, url: &str, public: &Public) -> Option<String> {
        let Public { scheme, authority, prefix } = public;
        let told = match &self.host_header {
            HostHeader::Local | HostHeader::Keep | HostHeader::Full => None,
            HostHeader::Value(value) => value.to_str().ok(),
        };
        let local = behind_origin(url, &self.authority).or_else(|| behind_origin(url, told?));
        match local {
            Some(rest) if is_path(rest) => Some(format!("{scheme}://{authority}{prefix}{rest}")),
            // An app that was told its public host knows nothing of the path in front.
            None if !prefix.is_empty() => match behind_origin(url, authority) {
                Some(rest) if is_path(rest) && !is_below(rest, prefix) => {
                    Some(format!("{scheme}://{authority}{prefix}{rest}"))
                }
                None if url.starts_with('/') && !url.starts_with("//") && !is_below(url, prefix) => {
                    Some(format!("{prefix}{url}"))
                }
                Some(_) | None => None,
            },
            Some(_) | None => None,
        }
    }

    /// Returns a cookie whose domain and path are the public ones; `None` if it may stay as it is.
    fn cookie(&self, cookie: &str, public: &Public) -> Option<String> {
        let mut has_changed = false;
        let parts: Vec<String> = cookie
            .split(';')
            .enumerate()
            .map(|(index, part)| {
                // The first is the cookie itself.
                let attribute = part.split_once('=').filter(|_| index > 0);
                let Some((name, value)) = attribute else { return part.to_owned() };
                let (name, value) = (name.trim(), value.trim());
                if name.eq_ignore_ascii_case("domain")
                    && value.trim_start_matches('.').eq_ignore_ascii_case(without_port(&self.authority))
                {
                    has_changed = true;
                    return format!(" Domain={}", without_port(&public.authority));
                }
                if name.eq_ignore_ascii_case("path")
                    && value.starts_with('/')
                    && !public.prefix.is_empty()
                    && !is_below(value, &public.prefix)
                {
                    has_changed = true;
                    return format!(" Path={}{value}", public.prefix);
                }
                part.to_owned()
            })
            .collect();
        has_changed.then(|| parts.join(";"))
    }
}

/// Removes the headers of one connection, which no other gets (RFC 9110, section 7.6.1). The server looks for `Trailer`.
fn end_hop(headers: &mut HeaderMap) {
    let hop_by_hop = HopByHop::of(headers);
    let ended: Vec<_> =
        headers.keys().filter(|name| hop_by_hop.contains(name) && **name != header::TRAILER).cloned().collect();
    for name in ended {
        headers.remove(name);
    }
}

/// Returns what is behind scheme and authority in a URL of HTTP. Either scheme will do: an app that is told of `https` outside says so.
fn behind_origin<'u>(url: &'u str, authority: &str) -> Option<&'u str> {
    let (scheme, rest) = url.split_once("://")?;
    if !(scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")) {
        return None;
    }
    let (host, path) = rest.split_at_checked(authority.len())?;
    (host.eq_ignore_ascii_case(authority) && is_path(path)).then_some(path)
}

/// Whether a text can follow the authority of a URL.
fn is_path(text: &str) -> bool {
    text.is_empty() || text.starts_with(['/', '?', '#'])
}

/// Whether a path is the prefix, or below it.
fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(is_path)
}

/// Returns a host without its port.
fn without_port(authority: &str) -> &str {
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    authority.rsplit_once(':').filter(|(_, port)| is_port(port)).map_or(authority, |(host, _)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(host_header: HostHeader) -> Names {
        Names { scheme: "http", authority: "localhost:5173".to_owned(), host_header, keeps_prefix: false }
    }

    fn map(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    const BY_PATH: [(&str, &str); 6] = [
        ("host", "relay.example"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-prefix", "/go/app"),
        ("origin", "https://relay.example"),
        ("referer", "https://relay.example/go/app/form?x=1"),
        ("connection", "x"),
    ];

    #[test]
    fn an_app_is_told_the_host_that_is_asked_for() {
        for (mode, host, forwarded, origin, referer) in [
            (HostHeader::Local, "localhost:5173", Some("relay.example"), BY_PATH[3].1, BY_PATH[4].1),
            (HostHeader::Keep, "relay.example", Some("relay.example"), BY_PATH[3].1, BY_PATH[4].1),
            (
                HostHeader::Value("app.test".parse().unwrap()),
                "app.test",
                Some("relay.example"),
                BY_PATH[3].1,
                BY_PATH[4].1,
            ),
            (HostHeader::Full, "localhost:5173", None, "http://localhost:5173", "http://localhost:5173/form?x=1"),
        ] {
            let mut headers = map(&BY_PATH);
            names(mode.clone()).enter(&mut headers);
            let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap());
            assert_eq!(text("host"), Some(host), "{mode:?}");
            assert_eq!(text("x-forwarded-host"), forwarded, "{mode:?}");
            assert_eq!((text("origin"), text("referer")), (Some(origin), Some(referer)), "{mode:?}");
            assert_eq!(text("connection"), None);
        }
    }

    #[test]
    fn an_app_that_keeps_the_prefix_has_it_in_its_paths() {
        for (keeps_prefix, target, header, referer) in [
            (false, "/a?b", Some("/go/app"), "http://localhost:5173/form?x=1"),
            (true, "/go/app/a?b", None, "http://localhost:5173/go/app/form?x=1"),
        ] {
            let (names, mut headers) = (Names { keeps_prefix, ..names(HostHeader::Full) }, map(&BY_PATH));
            let public = names.enter(&mut headers);
            assert_eq!(names.target(&public, "/a", "?b"), target);
            assert_eq!(headers.get("x-forwarded-prefix").map(|value| value.to_str().unwrap()), header);
            assert_eq!(headers["referer"], referer);
            // At a host of the tunnel's own there is none.
            let mut headers = map(&[("host", "app.relay.example")]);
            let public = names.enter(&mut headers);
            assert_eq!(names.target(&public, "/a", ""), "/a");
        }
    }

    #[test]
    fn an_origin_of_somebody_else_stays() {
        let mut headers = map(&[
            ("host", "relay.example"),
            ("origin", "https://relay.example.evil"),
            ("referer", "https://relay.example:1/"),
        ]);
        names(HostHeader::Full).enter(&mut headers);
        assert_eq!(
            (&headers["origin"], &headers["referer"]),
            (
                &HeaderValue::from_static("https://relay.example.evil"),
                &HeaderValue::from_static("https://relay.example:1/")
            )
        );
    }

    #[test]
    fn what_names_the_app_names_the_tunnel_outside() {
        let by_path = Public { scheme: "https".into(), authority: "relay.example".into(), prefix: "/go/app".into() };
        let by_host = Public { authority: "app.relay.example:8443".into(), prefix: String::new(), ..by_path.clone() };
        for (local, path, host) in [
            ("http://localhost:5173/a?b", "https://relay.example/go/app/a?b", "https://app.relay.example:8443/a?b"),
            ("https://LOCALHOST:5173", "https://relay.example/go/app", "https://app.relay.example:8443"),
            ("/a", "/go/app/a", "/a"),
            ("/", "/go/app/", "/"),
            ("/go/app/a", "/go/app/a", "/go/app/a"),
            ("/go/apple", "/go/app/go/apple", "/go/apple"),
            ("a/b", "a/b", "a/b"),
            ("?x", "?x", "?x"),
            ("//cdn.example/a", "//cdn.example/a", "//cdn.example/a"),
            ("http://localhost:51730/", "http://localhost:51730/", "http://localhost:51730/"),
            ("http://localhost/", "http://localhost/", "http://localhost/"),
            ("http://localhost:5173.evil/", "http://localhost:5173.evil/", "http://localhost:5173.evil/"),
            ("http://localhost:5173@evil/", "http://localhost:5173@evil/", "http://localhost:5173@evil/"),
            ("https://relay.example/a", "https://relay.example/go/app/a", "https://relay.example/a"),
            ("ftp://localhost:5173/", "ftp://localhost:5173/", "ftp://localhost:5173/"),
        ] {
            for (public, expected) in [(&by_path, path), (&by_host, host)] {
                let mut headers = map(&[("location", local), ("content-location", local)]);
                names(HostHeader::Local).leave(&mut headers, public);
                assert_eq!(headers["location"], expected, "{local}");
                assert_eq!(headers["content-location"], expected, "{local}");
            }
        }
    }

    #[test]
    fn a_cookie_belongs_to_the_tunnel() {
        let by_path =
            Public { scheme: "https".into(), authority: "relay.example:8443".into(), prefix: "/go/app".into() };
        let by_host = Public { authority: "app.relay.example".into(), prefix: String::new(), ..by_path.clone() };
        for (local, path, host) in [
            ("a=1; Path=/; HttpOnly", "a=1; Path=/go/app/; HttpOnly", "a=1; Path=/; HttpOnly"),
            ("a=1;path=/x", "a=1; Path=/go/app/x", "a=1;path=/x"),
            ("a=1; Path=/go/app/x", "a=1; Path=/go/app/x", "a=1; Path=/go/app/x"),
            ("a=1; Domain=.localhost", "a=1; Domain=relay.example", "a=1; Domain=app.relay.example"),
            ("a=1; Domain=other.example", "a=1; Domain=other.example", "a=1; Domain=other.example"),
            ("path=/; Secure", "path=/; Secure", "path=/; Secure"),
            ("a", "a", "a"),
        ] {
            for (public, expected) in [(&by_path, path), (&by_host, host)] {
                let mut headers = map(&[("set-cookie", "z=0")]);
                headers.append("set-cookie", local.parse().unwrap());
                names(HostHeader::Local).leave(&mut headers, public);
                assert_eq!(headers.get_all("set-cookie").iter().next_back().unwrap(), expected, "{local}");
            }
        }
    }
}
