//! The access log: one line an exchange.

use std::borrow::Cow;
use std::net::IpAddr;

use http::HeaderMap;
use http::request::Parts;
use tracing::Level;

use crate::net::arrival::Arrival;
use crate::proto::key;
use crate::proto::token::{TOKEN_LENGTH, Token};
use crate::relay::failure::Failure;
use crate::relay::route::Target;

/// The target of the lines, by which a filter names them: `socket2me::access=off`.
pub(super) const TARGET: &str = "socket2me::access";

/// The largest text of a peer's in a line, in bytes. What is longer is cut: ten thousand lines may wait in memory.
const MAX_TEXT: usize = 512;

/// What a request says of itself in the line of its exchange. Made only where lines are written.
#[derive(Debug)]
pub(super) struct Request {
    /// The tunnel, if the path has what can be a token.
    pub(super) tunnel: Option<Token>,
    pub(super) method: Box<str>,
    /// The path behind the token, and the query if lines have it.
    pub(super) path: Box<str>,
    pub(super) visitor: IpAddr,
    /// The trace id of the request's `traceparent`.
    pub(super) trace: Option<Box<str>>,
    /// Why the relay, and not the end, answered.
    pub(super) why: Option<Box<str>>,
}

impl Request {
    /// Keeps what the line says of a request. Returns `None` where the log's filter leaves the line out.
    pub(super) fn seen(head: &Parts, target: &Target, arrival: &Arrival<'_>, with_query: bool) -> Option<Box<Self>> {
        if !tracing::enabled!(target: TARGET, Level::INFO) {
            return None;
        }
        let path = target.path(head);
        let path = match head.uri.query().filter(|_| with_query) {
            Some(query) => Cow::Owned(format!("{path}?{query}")),
            None => Cow::Borrowed(path),
        };
        Some(Box::new(Self {
            tunnel: target.token,
            method: cut(head.method.as_str()),
            path: cut(&without_secrets(&path)),
            visitor: arrival.client.address,
            trace: trace_id(&head.headers).map(Box::from),
            why: None,
        }))
    }

    /// Keeps why the exchange fails.
    pub(super) fn fail(&mut self, failure: &Failure) {
        self.why = Some(cut(&failure.to_string()));
    }
}

/// Returns a path with tokens and keys shortened as in the rest of the log: an app's link may lead to `/go/TOKEN` once more.
fn without_secrets(path: &str) -> Cow<'_, str> {
    let is_secret = |word: &str| matches!(word.len(), TOKEN_LENGTH | key::DIGITS);
    if !path.split(is_separator).any(is_secret) {
        return Cow::Borrowed(path);
    }
    let mut shown = String::with_capacity(path.len());
    for part in path.split_inclusive(is_separator) {
        let word = part.trim_end_matches(is_separator);
        if is_secret(word) {
            shown.extend([&word[..8], "…", &part[word.len()..]]);
        } else {
            shown.push_str(part);
        }
    }
    Cow::Owned(shown)
}

fn is_separator(c: char) -> bool {
    !c.is_ascii_alphanumeric()
}

/// Returns a text without what is too long for a line.
fn cut(text: &str) -> Box<str> {
    if text.len() <= MAX_TEXT {
        return text.into();
    }
    let end = (0..=MAX_TEXT).rev().find(|&at| text.is_char_boundary(at)).unwrap_or_default();
    [&text[..end], "…"].concat().into()
}

/// Returns the trace id of a request with a valid `traceparent` (W3C Trace Context, section 3.2.2): 32 hexadecimal digits.
fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let mut lines = headers.get_all("traceparent").iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return None };
    let mut fields = line.to_str().ok()?.split('-');
    let version = fields.next().filter(|version| is_hex(version, 2) && *version != "ff")?;
    let trace = fields.next().filter(|trace| is_hex(trace, 32) && !is_zero(trace))?;
    fields.next().filter(|parent| is_hex(parent, 16) && !is_zero(parent))?;
    fields.next().filter(|flags| is_hex(flags, 2))?;
    // Later versions may have more fields.
    (version != "00" || fields.next().is_none()).then_some(trace)
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_zero(text: &str) -> bool {
    text.bytes().all(|byte| byte == b'0')
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn the_trace_id_of_a_valid_traceparent_alone_is_logged() {
        for (line, expected) in [
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", Some(TRACE)),
            ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future-holds", Some(TRACE)),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-", None),
            ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", None),
            ("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", None),
            ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", None),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", None),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7", None),
            ("00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.append("traceparent", HeaderValue::from_static(line));
            assert_eq!(trace_id(&headers), expected, "{line}");
            headers.append("traceparent", HeaderValue::from_static(line));
            assert_eq!(trace_id(&headers), None, "{line} twice");
        }
        assert_eq!(trace_id(&HeaderMap::new()), None);
    }

    #[test]
    fn tokens_and_keys_in_a_path_are_shortened() {
        let (token, key) = ("t".repeat(TOKEN_LENGTH), "k".repeat(key::DIGITS));
        for (path, expected) in [
            ("", ""),
            ("/a/b", "/a/b"),
            (&format!("/go/{token}"), "/go/tttttttt…"),
            (
                &format!("/{token}/{token}//?s2m_{key}&{token}x"),
                &format!("/tttttttt…/tttttttt…//?s2m_kkkkkkkk…&{token}x"),
            ),
        ] {
            assert_eq!(without_secrets(path), expected, "{path}");
        }
    }

    #[test]
    fn a_text_too_long_for_a_line_is_cut_between_characters() {
        assert_eq!(*cut(&"x".repeat(MAX_TEXT)), "x".repeat(MAX_TEXT));
        assert_eq!(*cut(&format!("{}ü", "x".repeat(MAX_TEXT - 1))), format!("{}…", "x".repeat(MAX_TEXT - 1)));
    }
}
