//! What honest visitors ask, what honest ends answer, and the check of the answer, byte by byte.

use std::ops::RangeInclusive;

use rand::Rng as _;
use rand::rngs::StdRng;

use crate::packet::{Event, Packet};
use crate::pattern::{Digest, Pattern};
use crate::wire::{self, Answer};

/// What a visitor asks of the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// The request's body, unchanged.
    Echo,
    /// The digest of the request's body, as JSON.
    Digest,
    /// A text of this length, in characters.
    Text(usize),
    /// The same, of which an end that streams says nothing before the request's body has come; and neither does it wait for that.
    Early(usize),
    /// A text without end, of an end that streams. The visitor leaves when it has had this many characters. Other ends give these.
    Events(usize),
}

#[derive(Debug)]
pub struct Question {
    asked: Asked,
    nonce: u64,
    content_type: &'static str,
    body: Vec<u8>,
    /// The length of the request's body is not announced.
    is_chunked: bool,
}

/// The type of bodies that are the pattern of their nonce.
pub const PATTERN: &str = "application/octet-stream";

/// The judgement of an answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Right,
    /// A lie of the tunnel's own end, which is no fault of the server.
    Lie,
    /// The `OK` of the original: the end did not answer in time.
    Unanswered,
    /// An error of the relay, with this code.
    Failed(String),
    /// The answer broke off, and looks as if it had.
    Broken,
    /// A fault of the server, in words.
    Wrong(String),
}

impl Question {
    /// Makes a question whose body or answer has about a size among these, in bytes, or none.
    pub fn random(rng: &mut StdRng, sizes: RangeInclusive<usize>) -> Self {
        let size = if rng.random_ratio(1, 16) { 0 } else { rng.random_range(sizes) };
        let nonce = rng.random();
        let (asked, content_type, body) = match rng.random_range(0..8) {
            0 => (Asked::Text(size), "", Vec::new()),
            1 => (Asked::Digest, "", Vec::new()),
            // Bodies that arrive as a string or as JSON must keep their bytes too.
            2 => {
                let text = Pattern::new(nonce).text(size);
                (Asked::Digest, "text/plain", format!("é€😀{text}").into_bytes())
            }
            3 => (Asked::Echo, "application/json", format!("[{nonce},\"{}\"]", "json ".repeat(size / 5)).into_bytes()),
            4 => (Asked::Early(size / 2), PATTERN, Pattern::new(nonce).bytes(size)),
            5 => (Asked::Events(100 + size / 10), "", Vec::new()),
            _ => (if rng.random() { Asked::Echo } else { Asked::Digest }, PATTERN, Pattern::new(nonce).bytes(size)),
        };
        Self { asked, nonce, content_type, body, is_chunked: rng.random_ratio(1, 3) }
    }

    /// Writes the question as a request to this tunnel.
    pub fn request(&self, token: &str) -> Vec<u8> {
        let nonce = self.nonce;
        let target = match self.asked {
            Asked::Echo => format!("/go/{token}/echo/{nonce}/0?a[b]=c&d=%20"),
            Asked::Digest => format!("/go/{token}/digest/{nonce}/0"),
            Asked::Text(size) => format!("/go/{token}/text/{nonce}/{size}"),
            Asked::Early(size) => format!("/go/{token}/early/{nonce}/{size}"),
            Asked::Events(size) => format!("/go/{token}/events/{nonce}/{size}"),
        };
        if self.content_type.is_empty() {
            return wire::request("GET", &target, &["Accept: */*"], None);
        }
        let content_type = format!("Content-Type: {}", self.content_type);
        if !self.is_chunked {
            return wire::request("POST", &target, &[&content_type], Some(&self.body));
        }
        let mut request = wire::request("POST", &target, &[&content_type, "Transfer-Encoding: chunked"], None);
        for chunk in self.body.chunks(1 + (self.nonce % 40_000) as usize) {
            request.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            request.extend_from_slice(chunk);
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"0\r\n\r\n");
        request
    }

    /// Returns how many bytes of the answer the visitor waits for.
    pub fn wanted(&self) -> usize {
        if let Asked::Events(size) = self.asked { size } else { usize::MAX }
    }

    /// Returns whether the visitor leaves this answer, which has no end.
    pub fn is_left(&self, answer: &Answer) -> bool {
        matches!(self.asked, Asked::Events(_)) && answer.header("content-length").is_none()
    }

    /// Returns how many bytes of the request's body the end has had when it has answered, where that is known.
    pub fn size(&self) -> Option<u64> {
        (!matches!(self.asked, Asked::Early(_))).then_some(self.body.len() as u64)
    }

    pub fn check(&self, token: &str, answer: &Answer) -> Verdict {
        if let Some(code) = answer.error() {
            if code == "forged" {
                return Verdict::Wrong("an end forged an error of the relay".to_owned());
            }
            return match (code, answer.status, answer.body.as_slice()) {
                _ if !answer.is_whole => Verdict::Broken,
                ("client-timed-out", 200, b"OK") => Verdict::Unanswered,
                _ => Verdict::Failed(code.to_owned()),
            };
        }
        let Some(by) = answer.header("x-soak") else {
            return Verdict::Wrong(format!("a {} that no end gave", answer.status));
        };
        if answer.header("x-tunnel") != Some(token) {
            return Verdict::Wrong(format!("the answer of another tunnel ({by})"));
        }
        match by {
            "liar" => Verdict::Lie,
            "honest" if answer.header("x-nonce") != Some(&self.nonce.to_string()) => {
                Verdict::Wrong("the answer to another question".to_owned())
            }
            // What the end has broken off, or done wrong.
            "breach" if answer.is_whole && !self.is_left(answer) => Verdict::Wrong(format!(
                "an answer that its end broke off looks whole: {:?}, {}, {}",
                self.asked,
                answer.header("x-why").unwrap_or_default(),
                start_of(&answer.body)
            )),
            "breach" => Verdict::Broken,
            "honest" => self.compare(answer),
            by => Verdict::Wrong(format!(
                "an answer that must have been ignored ({by}, {}) to {:?}",
                answer.header("x-why").unwrap_or_default(),
                self.asked
            )),
        }
    }

    fn compare(&self, answer: &Answer) -> Verdict {
        let expected = self.expected(answer);
        let is_start = expected.starts_with(&answer.body);
        match answer.is_whole {
            true if is_start && expected.len() == answer.body.len() => Verdict::Right,
            false if is_start => Verdict::Broken,
            is_whole => Verdict::Wrong(format!(
                "the answer to {:?} of {} bytes of {:?} ({}) is wrong: {} and not {}",
                self.asked,
                self.body.len(),
                self.content_type,
                if is_whole { "whole" } else { "broken off" },
                start_of(&answer.body),
                start_of(&expected)
            )),
        }
    }

    fn expected(&self, answer: &Answer) -> Vec<u8> {
        let text = |size| Pattern::new(self.nonce).text(size).into_bytes();
        match self.asked {
            Asked::Echo => self.body.clone(),
            Asked::Digest => digest(&self.body).into_bytes(),
            Asked::Text(size) | Asked::Early(size) => text(size),
            Asked::Events(size) => text(size.max(answer.body.len())),
        }
    }
}

/// The first bytes of a body, for a complaint.
fn start_of(body: &[u8]) -> String {
    format!("{} ({} bytes)", body[..body.len().min(80)].escape_ascii(), body.len())
}

/// What a request's URL asks for, its nonce, and the size of the answer.
pub fn read(url: &str) -> (&str, u64, usize) {
    let mut words = url.split(['/', '?']).skip(1);
    let (asked, nonce, size) = (words.next(), words.next(), words.next());
    let number = |word: Option<&str>| word.and_then(|word| word.parse().ok());
    (asked.unwrap_or_default(), number(nonce).unwrap_or_default(), number(size).unwrap_or_default() as usize)
}

/// Makes the headers of an end's answer, as JSON, which say who has answered. `more` are members before these.
pub fn signed(more: &str, by: &str, token: &str, nonce: u64) -> String {
    format!(r#"{{{more}"x-soak":"{by}","x-tunnel":"{token}","x-nonce":"{nonce}"}}"#)
}

/// Makes an honest end's answer.
pub fn answer(event: &Event, body: Vec<u8>) -> Vec<Packet> {
    let Event { token, id, url, .. } = event;
    let (asked, nonce, size) = read(url);
    let headers = signed("", "honest", token, nonce);
    match asked {
        "echo" => vec![
            Packet::Text(format!(r#"461-/{token},{id}[200,{{"_placeholder":true,"num":0}},{headers}]"#)),
            Packet::Binary(body),
        ],
        "digest" => vec![Packet::Text(format!("43/{token},{id}[200,{},{headers}]", digest(&body)))],
        _ => {
            let text = serde_json::Value::from(Pattern::new(nonce).text(size));
            vec![Packet::Text(format!("43/{token},{id}[{text},{headers}]"))]
        }
    }
}

fn digest(body: &[u8]) -> String {
    let mut digest = Digest::new();
    digest.take(body);
    digest.json()
}
