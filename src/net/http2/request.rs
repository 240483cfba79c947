//! What the head of a request says in HTTP/2, as HTTP/1.1 says it: handlers know one form.

use http::Uri;
use http::header::{self, HeaderValue};
use http::request::Parts;

/// Makes a head what it would be in HTTP/1.1: `:authority` is its `Host` (RFC 9113, section 8.3.1), its target is a path and a query,
/// and cookies are in one line (section 8.2.3).
///
/// # Errors
/// With what is wrong.
pub(super) fn translate(head: &mut Parts) -> Result<(), &'static str> {
    if let Some(authority) = head.uri.authority() {
        let authority = authority.as_str();
        if authority.contains('@') {
            return Err("its :authority has a name and a password");
        }
        // A proxy in front may have read the one, and this server the other.
        let is_same = |host: &HeaderValue| host.as_bytes().eq_ignore_ascii_case(authority.as_bytes());
        if !head.headers.get_all(header::HOST).iter().all(is_same) {
            return Err("its Host is not its :authority");
        }
        let host = HeaderValue::from_str(authority).map_err(|_| "its :authority is no host")?;
        head.headers.insert(header::HOST, host);
    }
    // CONNECT has none, and is refused before anything else is read.
    let target = head.uri.path_and_query().ok_or("it has no :path")?;
    head.uri = Uri::from(target.clone());
    join_cookies(head);
    Ok(())
}

/// Joins the lines of cookies, which HTTP/2 clients split so that those that stay the same are sent as references.
fn join_cookies(head: &mut Parts) {
    let mut lines = head.headers.get_all(header::COOKIE).iter();
    if lines.next().is_none() || lines.next().is_none() {
        return;
    }
    let lines: Vec<_> = head.headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&lines.join(&b"; "[..])) {
        head.headers.insert(header::COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(uri: &str, headers: &[(&'static str, &'static str)]) -> Result<Parts, &'static str> {
        let mut head = http::Request::builder().uri(uri).body(()).unwrap().into_parts().0;
        for (name, value) in headers {
            head.headers.append(*name, HeaderValue::from_static(value));
        }
        translate(&mut head).map(|()| head)
    }

    #[test]
    fn the_authority_is_the_host_and_the_target_a_path() {
        let head = translated("https://relay.example:8443/go/x?a=b", &[("host", "Relay.example:8443")]).unwrap();
        assert_eq!(head.headers[header::HOST], "relay.example:8443");
        assert_eq!(head.uri, "/go/x?a=b");
        let head = translated("/x", &[("host", "relay.example")]).unwrap();
        assert_eq!((&head.headers[header::HOST], head.uri.path()), (&HeaderValue::from_static("relay.example"), "/x"));
        assert!(translated("/x", &[]).unwrap().headers.is_empty());
        for (uri, headers) in [
            ("https://a/", &[("host", "b")][..]),
            ("https://a/", &[("host", "a"), ("host", "b")]),
            ("https://me@a/", &[]),
        ] {
            assert!(translated(uri, headers).is_err(), "{uri} {headers:?}");
        }
    }

    #[test]
    fn cookies_are_joined_in_their_order() {
        for (lines, expected) in [(&["a=1"][..], "a=1"), (&["a=1", "b=2; c", "a=3"], "a=1; b=2; c; a=3")] {
            let lines: Vec<_> = lines.iter().map(|line| ("cookie", *line)).collect();
            let head = translated("https://a/", &lines).unwrap();
            assert_eq!(head.headers.get_all(header::COOKIE).iter().collect::<Vec<_>>(), [expected]);
        }
    }
}
