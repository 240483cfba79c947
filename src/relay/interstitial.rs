//! The page that a browser shows before the first page of a tunnel (`--interstitial`): what follows is somebody's app.

use http::Method;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use subtle::ConstantTimeEq as _;

use super::page;
use crate::cluster::keys::Key;
use crate::proto::token::Token;

/// The cookie of a browser that has shown the page of a tunnel.
const COOKIE: &str = "socket2me-visitor";

/// How long that counts, in seconds: a week.
const MEMORY: u32 = 7 * 24 * 60 * 60;

const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// Decides which requests get the page.
#[derive(Debug)]
pub(super) struct Interstitial {
    /// Of this process, or of all nodes of the cluster: nobody else can say that a browser has shown the page.
    key: Key,
}

impl Interstitial {
    pub(super) fn new(key: Key) -> Self {
        Self { key }
    }

    /// Returns the cookie to set if a request gets the page in place of its answer: it is a person who opens a page of the tunnel for
    /// the first time. `folder` is the path below which the tunnel has its pages.
    pub(super) fn instead_of(&self, head: &Parts, token: &Token, folder: &str, is_tls: bool) -> Option<HeaderValue> {
        if !is_navigation(&head.method, &head.headers) {
            return None;
        }
        let value = self.value(token);
        if cookies(&head.headers).any(|cookie| bool::from(cookie.ct_eq(value.as_bytes()))) {
            return None;
        }
        let secure = if is_tls { "; Secure" } else { "" };
        let cookie = format!("{COOKIE}={value}; Path={folder}; Max-Age={MEMORY}; HttpOnly; SameSite=Lax{secure}");
        // A token has nothing that a cookie could not have.
        HeaderValue::try_from(cookie).ok()
    }

    fn value(&self, token: &Token) -> String {
        let mac = self.key.mac("interstitial", &[token.as_str().as_bytes()]);
        mac.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Tells whether a person opens a page: no program asks so, nor a page for what it is made of, and what has an `Authorization` was
/// told by somebody what to open.
fn is_navigation(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::GET
        && page::is_shown(headers)
        && !headers.contains_key(header::AUTHORIZATION)
        && !headers.contains_key(header::UPGRADE)
        && headers.get(SEC_FETCH_DEST).is_none_or(|dest| !matches!(dest.as_bytes(), b"empty" | b"serviceworker"))
}

/// Returns the values of the cookie.
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(header::COOKIE).iter();
    let pairs = lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b';'));
    pairs.filter_map(|pair| pair.trim_ascii().strip_prefix(COOKIE.as_bytes())?.strip_prefix(b"="))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HTML: (HeaderName, &str) = (header::ACCEPT, "text/html,*/*");

    fn head(method: Method, headers: &[(HeaderName, &str)]) -> Parts {
        let mut request = http::Request::new(());
        *request.method_mut() = method;
        for (name, value) in headers {
            request.headers_mut().append(name, HeaderValue::from_str(value).unwrap());
        }
        request.into_parts().0
    }

    #[test]
    fn a_person_sees_the_page_once_and_a_program_never() {
        let (interstitial, token) = (Interstitial::new(Key::random()), Token::from_name("mine").unwrap());
        let cookie = |method, headers: &[_]| {
            let cookie = interstitial.instead_of(&head(method, headers), &token, "/go/mine/", false)?;
            Some(cookie.to_str().unwrap().to_owned())
        };
        let set = cookie(Method::GET, &[HTML]).unwrap();
        assert!(set.ends_with("; Path=/go/mine/; Max-Age=604800; HttpOnly; SameSite=Lax"), "{set}");
        let shown = format!("a=b; {}", set.split(';').next().unwrap());
        assert_eq!(cookie(Method::GET, &[HTML, (header::COOKIE, &shown)]), None);
        let forged = format!("{COOKIE}={}", "0".repeat(32));
        assert!(cookie(Method::GET, &[HTML, (header::COOKIE, &forged)]).is_some());
        let others = format!("{COOKIE}={}", interstitial.value(&Token::from_name("other").unwrap()));
        assert!(cookie(Method::GET, &[HTML, (header::COOKIE, &others)]).is_some());
        for (method, headers) in [
            (Method::GET, &[][..]),
            (Method::GET, &[(header::ACCEPT, "*/*")]),
            (Method::POST, &[HTML]),
            (Method::HEAD, &[HTML]),
            (Method::GET, &[HTML, (header::AUTHORIZATION, "Bearer x")]),
            (Method::GET, &[HTML, (header::UPGRADE, "websocket")]),
            (Method::GET, &[HTML, (HeaderName::from_static("sec-fetch-mode"), "cors")]),
            (Method::GET, &[HTML, (SEC_FETCH_DEST, "empty")]),
        ] {
            assert_eq!(cookie(method, headers), None, "{headers:?}");
        }
    }
}
