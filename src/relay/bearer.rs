//! `Authorization: Bearer …`, by which owners show keys and the operator a secret.

use http::header::{self, HeaderMap};

/// Returns what a request shows. `None` without the header, and with one of another scheme.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, shown) = value.split_at_checked(b"Bearer ".len())?;
    // The name of a scheme may be in any case (RFC 9110, section 11.1).
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| shown.trim_ascii())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_scheme_may_be_in_any_case() {
        for (value, shown) in [
            ("Bearer s", Some("s")),
            ("bearer s", Some("s")),
            ("BEARER  s t ", Some("s t")),
            ("Bearer ", Some("")),
            ("Bearer", None),
            ("Bearers s", None),
            ("Basic czp0", None),
            ("", None),
        ] {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(value))]);
            assert_eq!(bearer(&headers), shown.map(str::as_bytes), "{value}");
        }
        assert_eq!(bearer(&HeaderMap::new()), None);
    }
}
