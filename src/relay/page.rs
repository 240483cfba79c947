//! What people see in a browser: the page at `/`, and the page of an error.

use http::StatusCode;
use http::header::{HeaderMap, HeaderName};

use super::code::Code;
use crate::net::reply::{self, Reply};
use crate::proto::headers::accepts_by_name;

const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Tells whether a browser shows the answer as a page. Browsers from 2023 on say so; of others, and of those that hide it on
/// plain HTTP, pages are asked for by name, as pages always are.
pub(super) fn is_shown(headers: &HeaderMap) -> bool {
    accepts_by_name(headers, "text/html")
        && headers.get(SEC_FETCH_MODE).is_none_or(|mode| mode.as_bytes().eq_ignore_ascii_case(b"navigate"))
}

/// Says what this is and how to try it: as a page for a browser, as text for any other client. `needs_key` is true where no
/// tunnel is made without a key.
pub(super) fn welcome(headers: &HeaderMap, url: &str, needs_key: bool) -> Reply {
    let text = words(url, needs_key);
    if accepts_by_name(headers, "text/html") {
        reply::text(StatusCode::OK, "text/html; charset=utf-8", html(&text))
    } else {
        reply::text(StatusCode::OK, "text/plain; charset=utf-8", text)
    }
}

fn words(url: &str, needs_key: bool) -> String {
    // A client takes the path of its URL for a namespace, and has an option for the path of the server.
    let (end_url, path) = match url.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| rest.len() - at)) {
        None => (url, None),
        Some(path) => {
            let (origin, path) = url.split_at(url.len() - path);
            (origin, Some(format!("path: '{path}/socket.io'")))
        }
    };
    let key = needs_key.then(|| "auth: { key: 'KEY' }".to_owned());
    let options: Vec<_> = key.into_iter().chain(path).collect();
    let options = if options.is_empty() { String::new() } else { format!(", {{ {} }}", options.join(", ")) };
    let (first, last) = if needs_key { (MAKE, "") } else { (ASK, REFRESH) };
    let [first, last] = [first, last].map(|words| words.replace("URL", url));
    format!(
        "Socket2Me gives an app behind NAT a public URL.\n\
         \n\
         1. {first}\n\
         \n\
         2. Connect with any socket.io client, and answer the event `request`:\n\
         \n    io('{end_url}/TOKEN'{options}).on('request', (request, respond) => respond(200, 'Hello ' + request.url))\n\
         \n\
         3. Every HTTP request to the token's URL is answered by the app:\n\
         \n    curl \"{url}/go/$TOKEN/hello?x=1\"\n{last}"
    )
}

const ASK: &str = "Ask for a token:\n\n    TOKEN=$(curl -s URL/new)";

const REFRESH: &str = "\nA token lives six hours unless the operator says otherwise; keep it alive with:\n\n    \
                       curl URL/refresh/$TOKEN\n";

const MAKE: &str = "Make a tunnel. The answer has its token and its key, which is shown this once:\n\n    \
                    curl -s -H 'Content-Type: application/json' -d '{}' URL/new";

fn html(text: &str) -> String {
    document("Socket2Me", &format!("<pre>{}</pre>", escaped(text)))
}

/// What the page of an error asks its browser for that may be over soon: the same page again, in this many seconds.
const AGAIN: &str = "<meta http-equiv=\"refresh\" content=\"5\">\n";

/// Returns the page of an error: what happened, what to do, and how the error is called. Where an app is away for a moment, as one
/// that restarts, the page asks for itself again.
pub(super) fn error(status: StatusCode, code: &str, message: &str, advice: &str) -> String {
    let number = status.as_u16();
    let again = if matches!(number, 502 | 503) { AGAIN } else { "" };
    // To the address of this very page.
    let onward = if code == Code::Interstitial.as_str() { "<p><a href=\"\">Go on to the app</a></p>\n" } else { "" };
    let body = format!(
        "{again}<h1>{}</h1>\n<p>{}</p>\n{onward}<p><small>{number} <code>{code}</code>, from Socket2Me</small></p>",
        escaped(message),
        escaped(advice)
    );
    document(&format!("{number} {code}"), &body)
}

fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title>\n\
         <style>body{{margin:3rem auto;max-width:60rem;padding:0 1rem;font-family:sans-serif}}pre{{white-space:pre-wrap}}</style>\n\
         {body}</html>\n"
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_under_a_path_tells_the_client_where_it_is() {
        for (url, expected) in [
            ("https://tunnel.example", "io('https://tunnel.example/TOKEN').on("),
            ("https://a.example/t/u", "io('https://a.example/TOKEN', { path: '/t/u/socket.io' }).on("),
        ] {
            let words = words(url, false);
            assert!(words.contains(expected) && words.contains(&format!("curl -s {url}/new")), "{words}");
        }
    }

    #[test]
    fn a_server_that_wants_keys_says_how_to_make_a_tunnel_with_one() {
        let words = words("https://a.example/t", true);
        for expected in [
            "-d '{}' https://a.example/t/new",
            "io('https://a.example/TOKEN', { auth: { key: 'KEY' }, path: '/t/socket.io' })",
        ] {
            assert!(words.contains(expected), "{words}");
        }
        assert!(!words.contains("refresh"), "{words}");
    }
}
