//! What keeps tunnels apart in a browser, for which all that have no hosts of their own are one origin (PROTOCOL.md, "The shared origin"). Which headers
//! no end may set for the origin is in [`crate::proto::exchange::headers`].

use std::fmt::Write as _;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode};

use super::failure::Failure;
use super::route::Target;
use crate::config::PathHtml;
use crate::net::reply::{self, Reply};
use crate::proto::exchange::{Response, cookie, is_without_content};
use crate::proto::headers::accepts_by_name;

const SERVICE_WORKER: HeaderName = HeaderName::from_static("service-worker");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Looks at a visitor's request before its token is looked up. On a tunnel's own host there is nothing to keep apart, and no path is
/// empty. `/go/TOKEN` itself is a file in the folder `/go/`, which all
/// tunnels share: a browser that opens it is sent to the tunnel's own folder, `/go/TOKEN/`. Otherwise the cookies and
/// credentials of that page would belong to `/go/`, and its relative links would lead to other tunnels.
///
/// # Errors
/// With [`Failure::ServiceWorker`] when a page asks for a script there as its service worker, which could then answer for
/// every tunnel.
pub(super) fn guard(head: &Parts, target: &Target) -> Result<Option<Reply>, Failure> {
    if !target.path(head).is_empty() {
        return Ok(None);
    }
    if is_service_worker(&head.headers) {
        return Err(Failure::ServiceWorker);
    }
    match &target.token {
        // Nothing but a token is repeated, so no path leads to another host.
        Some(token) if is_navigation(head) => Ok(Some(redirect(token.as_str(), head.uri.query()))),
        Some(_) | None => Ok(None),
    }
}

/// What a document may do that is shut off from the origin it comes from: no storage, no cookies by script, no other page of it.
const SANDBOX: HeaderValue = HeaderValue::from_static("sandbox allow-scripts allow-forms");

/// Keeps what an end answers at the path of its tunnel, which visitors know as this folder, from what the tunnels share.
///
/// # Errors
/// With [`Failure::Document`] for a document where the operator wants none.
pub(super) fn keep_apart(rule: PathHtml, response: &mut Response, has_body: bool, folder: &str) -> Result<(), Failure> {
    let is_document = has_body && !is_without_content(response.status) && is_document(&response.headers);
    let headers = &mut response.headers;
    match rule {
        PathHtml::Allow => (),
        PathHtml::Refuse if is_document => return Err(Failure::Document),
        PathHtml::Refuse => (),
        PathHtml::Sandbox => {
            if is_document {
                // Beside a policy of the end's: a browser applies both.
                headers.append(header::CONTENT_SECURITY_POLICY, SANDBOX);
            }
            cookie::change(headers, |set| cookie::within_folder(set, folder));
        }
    }
    Ok(())
}

/// Tells whether a browser may show a response as a document that runs scripts. Of one without a type, or with one that says nothing,
/// it looks at the bytes (MIME Sniffing, section 7).
fn is_document(headers: &HeaderMap) -> bool {
    let types = headers.get_all(header::CONTENT_TYPE);
    types.iter().next().is_none() || types.iter().any(|value| value.as_bytes().split(|&byte| byte == b',').any(shows))
}

/// Tells whether a browser may show something of this type, perhaps with parameters, as a document that runs scripts.
fn shows(media_type: &[u8]) -> bool {
    let essence = media_type.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
    match &*essence {
        b"text/html" | b"text/xml" | b"application/xml" | b"text/xsl" | b"multipart/x-mixed-replace" => true,
        b"unknown/unknown" | b"application/unknown" | b"*/*" => true,
        other => !other.contains(&b'/') || other.ends_with(b"+xml"),
    }
}

/// Tells whether a page wants to run this as its service worker (Service Workers, section 8.4: the header `Service-Worker`).
fn is_service_worker(headers: &HeaderMap) -> bool {
    has_value(headers, &SERVICE_WORKER, "script") || has_value(headers, &SEC_FETCH_DEST, "serviceworker")
}

/// Tells whether a browser opens this as a page. Browsers from 2023 on say so; of others, and of those that hide it on plain
/// HTTP, pages are asked for by name.
fn is_navigation(head: &Parts) -> bool {
    if !matches!(head.method, Method::GET | Method::HEAD) {
        return false;
    }
    let headers = &head.headers;
    if headers.contains_key(&SEC_FETCH_MODE) {
        has_value(headers, &SEC_FETCH_MODE, "navigate")
    } else {
        accepts_by_name(headers, "text/html")
    }
}

fn has_value(headers: &HeaderMap, name: &HeaderName, value: &str) -> bool {
    headers.get_all(name).iter().any(|line| line.as_bytes().trim_ascii().eq_ignore_ascii_case(value.as_bytes()))
}

/// Sends a browser to the folder of a token. The place is relative: proxies may show this server under another host and path.
fn redirect(token: &str, query: Option<&str>) -> Reply {
    let mut place = format!("./{token}/");
    if let Some(query) = query {
        place.push('?');
        for byte in query.bytes() {
            // Beyond ASCII, clients do not agree what a header means (RFC 9110, section 5.5).
            if byte.is_ascii_graphic() {
                place.push(char::from(byte));
            } else {
                // Writing to a String cannot fail.
                let _ = write!(place, "%{byte:02X}");
            }
        }
    }
    let mut reply = reply::empty(StatusCode::TEMPORARY_REDIRECT);
    let headers = reply.headers_mut();
    headers.extend(HeaderValue::try_from(place).map(|place| (header::LOCATION, place)));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_what_browsers_show_as_pages() {
        for (media_type, expected) in [
            (None, true),
            (Some("text/html"), true),
            (Some(" Text/HTML ; charset=utf-8"), true),
            (Some("application/xhtml+xml"), true),
            (Some("image/svg+xml"), true),
            (Some("application/atom+xml"), true),
            (Some("text/xml"), true),
            (Some("application/xml;x"), true),
            (Some("multipart/x-mixed-replace; boundary=x"), true),
            (Some("text/plain, text/html"), true),
            (Some("*/*"), true),
            (Some("nonsense"), true),
            (Some(""), true),
            (Some("text/plain"), false),
            (Some("application/json; charset=utf-8"), false),
            (Some("image/png"), false),
            (Some("text/css"), false),
            (Some("text/event-stream"), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.extend(media_type.map(|value| (header::CONTENT_TYPE, HeaderValue::from_static(value))));
            assert_eq!(is_document(&headers), expected, "{media_type:?}");
        }
    }
}
