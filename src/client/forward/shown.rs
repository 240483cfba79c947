//! A request as text: for a person, or as a line of JSON.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::client::api::printable;
use crate::proto::exchange::Request;
use crate::proto::headers::value_to_text;

/// The bytes on one line of a hex dump.
const ROW: usize = 16;

/// How requests are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// As HTTP/1.1 has it, for a person, without characters that a terminal takes for commands.
    Text,
    /// As one JSON object a line.
    Json,
}

/// What is shown of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Body {
    /// Its beginning.
    pub(super) bytes: Bytes,
    /// The length of all of it, in bytes.
    pub(super) length: u64,
}

impl Body {
    fn is_cut(&self) -> bool {
        self.length > self.bytes.len() as u64
    }

    /// Returns the bytes as text, if they are text. Where the body was cut, so may be its last character.
    fn text(&self) -> Option<&str> {
        let text = match str::from_utf8(&self.bytes) {
            Ok(text) => text,
            Err(error) if self.is_cut() && error.error_len().is_none() => {
                str::from_utf8(&self.bytes[..error.valid_up_to()]).ok()?
            }
            Err(_) => return None,
        };
        (!text.contains('\0')).then_some(text)
    }
}

impl Show {
    /// Returns the text of a request, with the end of its last line.
    pub(super) fn request(self, request: &Request, body: &Body) -> String {
        match self {
            Self::Text => to_text(request, body),
            Self::Json => to_json(request, body),
        }
    }
}

/// Returns the lines of the headers, in which a name may come more than once.
fn lines(request: &Request) -> impl Iterator<Item = (&str, String)> {
    let headers = request.raw_headers.as_ref().unwrap_or(&request.headers);
    headers.iter().map(|(name, value)| (name.as_str(), value_to_text(value).into_owned()))
}

fn to_text(request: &Request, body: &Body) -> String {
    let Request { method, path, search, http_version, .. } = request;
    let mut text = printable(&format!("{method} {path}{search} HTTP/{http_version}"));
    text.push('\n');
    for (name, value) in lines(request) {
        text.push_str(&printable(&format!("{name}: {value}")));
        text.push('\n');
    }
    text.push('\n');
    match body.text() {
        Some(shown) => text.extend(shown.replace("\r\n", "\n").chars().map(|char| match char {
            '\n' | '\t' => char,
            char if char.is_control() => char::REPLACEMENT_CHARACTER,
            char => char,
        })),
        None => dump(&body.bytes, &mut text),
    }
    if !body.bytes.is_empty() {
        text.push_str(if text.ends_with('\n') { "" } else { "\n" });
    }
    if body.is_cut() {
        let _ = writeln!(text, "({} bytes more)", body.length - body.bytes.len() as u64);
    }
    // One empty line is between two requests.
    if body.length > 0 {
        text.push('\n');
    }
    text
}

/// Writes bytes as `00000010  68 65 …  |he…|`.
fn dump(bytes: &[u8], text: &mut String) {
    for (row, part) in bytes.chunks(ROW).enumerate() {
        let _ = write!(text, "{:08x} ", row * ROW);
        for at in 0..ROW {
            let _ = match part.get(at) {
                Some(byte) => write!(text, " {byte:02x}"),
                None => write!(text, "   "),
            };
        }
        let shown = part.iter().map(|byte| if matches!(byte, b' '..=b'~') { char::from(*byte) } else { '.' });
        text.push_str("  |");
        text.extend(shown);
        text.push_str("|\n");
    }
}

fn to_json(request: &Request, body: &Body) -> String {
    let headers: Vec<_> = lines(request).map(|(name, value)| [name.to_owned(), value]).collect();
    let path = [&*request.path, &*request.search].concat();
    let mut object = json!({
        "id": &*request.id, "method": &*request.method, "path": path,
        "http_version": &*request.http_version, "visitor": &*request.remote_address, "headers": headers,
        "body_bytes": body.length,
    });
    match body.text() {
        Some(text) => object["body"] = text.into(),
        None => object["body_base64"] = STANDARD.encode(&body.bytes).into(),
    }
    if body.is_cut() {
        object["body_cut"] = Value::Bool(true);
    }
    // JSON lets these be as they are, and terminals take some of them for commands.
    let mut line = String::new();
    for char in object.to_string().chars() {
        match char {
            '\u{7f}'..='\u{9f}' => {
                let _ = write!(line, "\\u{:04x}", u32::from(char));
            }
            char => line.push(char),
        }
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;
    use crate::proto::exchange::InlineBody;

    fn request(path: &'static str) -> Request {
        let mut headers = HeaderMap::new();
        headers.append("host", HeaderValue::from_static("relay.example"));
        headers.append("x-a", HeaderValue::from_static("1"));
        let mut raw = headers.clone();
        raw.append("x-a", HeaderValue::from_bytes(b"\x9b2J").unwrap());
        Request {
            method: "POST".into(),
            path: path.into(),
            search: "?q=1".into(),
            query: "{}".into(),
            http_version: "1.1".into(),
            headers,
            raw_headers: Some(raw),
            remote_address: "192.0.2.1".into(),
            id: "1-2".into(),
            body: InlineBody::Streamed,
            stream: None,
        }
    }

    fn whole(bytes: &'static [u8]) -> Body {
        Body { bytes: Bytes::from_static(bytes), length: bytes.len() as u64 }
    }

    const HEAD: &str = "POST /hook?q=1 HTTP/1.1\nhost: relay.example\nx-a: 1\nx-a: \u{fffd}2J\n\n";

    #[test]
    fn a_request_is_shown_as_text_without_commands_for_a_terminal() {
        let cut = |bytes: &'static [u8], length| Body { bytes: Bytes::from_static(bytes), length };
        for (body, shown) in [
            (whole(b""), ""),
            (whole(b"a=1"), "a=1\n\n"),
            (whole(b"a\r\n\tb\n"), "a\n\tb\n\n"),
            (whole(b"\x1b[2Jgar\xc3\xa7on\rx\xc2\x9b"), "\u{fffd}[2Jgar\u{e7}on\u{fffd}x\u{fffd}\n\n"),
            (cut(b"abc", 70_000), "abc\n(69997 bytes more)\n\n"),
            (cut("ab\u{e7}".as_bytes().split_at(3).0, 9), "ab\n(6 bytes more)\n\n"),
            (cut(b"", 9), "(9 bytes more)\n\n"),
        ] {
            assert_eq!(Show::Text.request(&request("/hook"), &body), format!("{HEAD}{shown}"), "{body:?}");
        }
        let lines = Show::Text.request(&request("/\u{1b}]0;x\u{7}"), &whole(b""));
        assert!(lines.starts_with("POST /\u{fffd}]0;x\u{fffd}?q=1 HTTP/1.1\n"), "{lines}");
    }

    #[test]
    fn bytes_are_dumped() {
        let shown = Show::Text.request(&request("/hook"), &whole(b"\xff0123456789abcdefg\0"));
        let dumped = "00000000  ff 30 31 32 33 34 35 36 37 38 39 61 62 63 64 65  |.0123456789abcde|\n\
                      00000010  66 67 00                                         |fg.|\n\n";
        assert_eq!(shown, format!("{HEAD}{dumped}"));
        assert!(Show::Text.request(&request("/hook"), &whole(b"a\0b")).contains("61 00 62"));
    }

    #[test]
    fn a_request_is_a_line_of_json() {
        let line = Show::Json.request(&request("/hook"), &whole("a\n\u{9b}\u{1b}\u{e7}".as_bytes()));
        assert!(
            !line.chars().any(|char| char.is_control() && char != '\n') && line.matches('\n').count() == 1,
            "{line}"
        );
        let object: Value = serde_json::from_str(&line).unwrap();
        let expected = json!({
            "id": "1-2", "method": "POST", "path": "/hook?q=1", "http_version": "1.1", "visitor": "192.0.2.1",
            "headers": [["host", "relay.example"], ["x-a", "1"], ["x-a", "\u{9b}2J"]],
            "body": "a\n\u{9b}\u{1b}\u{e7}", "body_bytes": 7,
        });
        assert_eq!(object, expected);
        let cut = Body { bytes: Bytes::from_static(b"\xff\xfe"), length: 70_000 };
        let object: Value = serde_json::from_str(&Show::Json.request(&request("/hook"), &cut)).unwrap();
        let told = (&object["body_base64"], &object["body_bytes"], &object["body_cut"], &object["body"]);
        assert_eq!(told, (&json!("//4="), &json!(70_000), &json!(true), &Value::Null));
    }
}
