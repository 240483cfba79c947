//! What of a cookie passes the relay (PROTOCOL.md, "The shared origin"; RFC 6265).

use http::header::{self, HeaderMap, HeaderValue};

/// Changes the cookies that a response sets; `None` leaves one as it is.
pub fn change(headers: &mut HeaderMap, change: impl Fn(&HeaderValue) -> Option<HeaderValue>) {
    if let header::Entry::Occupied(mut cookies) = headers.entry(header::SET_COOKIE) {
        for cookie in cookies.iter_mut() {
            if let Some(changed) = change(cookie) {
                *cookie = changed;
            }
        }
    }
}

/// Returns a value of `Set-Cookie` without its `Domain`, so that its cookie belongs to the host that sets it and to none below or
/// beside that. `None` if it has none.
#[must_use]
pub fn without_domain(cookie: &HeaderValue) -> Option<HeaderValue> {
    let bytes = cookie.as_bytes();
    // What a browser splits at, whatever stands in quotes (RFC 6265, section 5.2).
    let mut parts = bytes.split(|&byte| byte == b';');
    let is_domain = |part: &&[u8]| {
        let name = part.split(|&byte| byte == b'=').next().unwrap_or_default();
        name.trim_ascii().eq_ignore_ascii_case(b"domain")
    };
    // The first is the cookie itself.
    let mut kept = parts.next()?.to_vec();
    let length = bytes.len();
    for part in parts.filter(|part| !is_domain(part)) {
        kept.push(b';');
        kept.extend_from_slice(part);
    }
    if kept.len() == length {
        return None;
    }
    // Parts of a value between its semicolons are values.
    HeaderValue::from_bytes(&kept).ok()
}

/// Returns a value of `Set-Cookie` whose `Path` is this folder, which ends with a slash, or below it. `None` if it is already.
#[must_use]
pub fn within_folder(cookie: &HeaderValue, folder: &str) -> Option<HeaderValue> {
    let path = |part: &[u8]| {
        let equals = part.iter().position(|&byte| byte == b'=').unwrap_or(part.len());
        let (name, value) = part.split_at(equals);
        // The last counts, and one that does not begin with a slash is none (RFC 6265, section 5.2.4).
        name.trim_ascii()
            .eq_ignore_ascii_case(b"path")
            .then(|| value.get(1..).unwrap_or_default().trim_ascii().to_vec())
    };
    let last = cookie.as_bytes().split(|&byte| byte == b';').skip(1).filter_map(path).last();
    // A browser compares without looking at dots, so there is no way out of the folder.
    if last.is_some_and(|last| last.starts_with(folder.as_bytes())) {
        return None;
    }
    HeaderValue::from_bytes(&[cookie.as_bytes(), b"; Path=", folder.as_bytes()].concat()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_loses_its_domain_and_nothing_else() {
        for (cookie, expected) in [
            ("a=1; Domain=example.com", Some("a=1")),
            ("a=1; Domain=example.com; Path=/; Secure", Some("a=1; Path=/; Secure")),
            ("a=1;DOMAIN=.example.com;HttpOnly", Some("a=1;HttpOnly")),
            ("a=1; \tdomain\t = example.com", Some("a=1")),
            ("a=1; domain; path=/", Some("a=1; path=/")),
            ("a=1; Domain=; Domain=b; c", Some("a=1; c")),
            ("a=\"1; Domain=b\"; c", Some("a=\"1; c")),
            ("; Domain=b", Some("")),
            ("domain=example.com; Path=/", None),
            ("a=1; Path=/; Domains=x; xdomain=y", None),
            ("a=1", None),
            ("", None),
        ] {
            let read = without_domain(&HeaderValue::from_str(cookie).unwrap());
            assert_eq!(read, expected.map(HeaderValue::from_static), "{cookie:?}");
        }
        let cookie = HeaderValue::from_bytes(b"a=\xff; domain=\xfe; b=\xfd").unwrap();
        assert_eq!(without_domain(&cookie).unwrap().as_bytes(), b"a=\xff; b=\xfd");
    }

    #[test]
    fn a_cookie_is_kept_to_a_folder() {
        for (cookie, is_within) in [
            ("a=1; Path=/go/t/", true),
            ("a=1; Path=/; path = /go/t/x ; Secure", true),
            ("a=1", false),
            ("a=1; Path", false),
            ("a=1; Path=/", false),
            ("a=1; Path=/go/t", false),
            ("a=1; Path=/go/t/; Path=/", false),
            ("a=1; Path=/go/t/; Path=x", false),
            ("Path=/go/t/", false),
        ] {
            let read = within_folder(&HeaderValue::from_str(cookie).unwrap(), "/go/t/");
            let expected = (!is_within).then(|| HeaderValue::try_from(format!("{cookie}; Path=/go/t/")).unwrap());
            assert_eq!(read, expected, "{cookie}");
        }
    }
}
