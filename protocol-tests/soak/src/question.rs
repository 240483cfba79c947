//! What honest visitors ask, what honest ends answer, and the check of the answer, byte by byte.

use rand::Rng as _;
use rand::rngs::StdRng;

use crate::packet::{Event, Packet};
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
}

#[derive(Debug)]
pub struct Question {
    asked: Asked,
    nonce: u64,
    content_type: &'static str,
    body: Vec<u8>,
}

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
    /// A fault of the server, in words.
    Wrong(String),
}

impl Question {
    /// Makes a question whose body and answer have at most about `largest` bytes.
    pub fn random(rng: &mut StdRng, largest: usize) -> Self {
        let size = rng.random_range(0..=largest);
        let nonce = rng.random();
        let (asked, content_type, body) = match rng.random_range(0..5) {
            0 => (Asked::Text(size), "", Vec::new()),
            1 => (Asked::Digest, "", Vec::new()),
            // Bodies that arrive as a string or as JSON must keep their bytes too. They are shorter, as escapes take space.
            2 => (Asked::Digest, "text/plain", format!("é€😀{}", text(nonce, size / 4)).into_bytes()),
            3 => (Asked::Echo, "application/json", format!("[{nonce},\"{}\"]", "json ".repeat(size / 40)).into_bytes()),
            _ => {
                let mut body = vec![0; size];
                rng.fill(&mut body[..]);
                let asked = if rng.random() { Asked::Echo } else { Asked::Digest };
                (asked, "application/octet-stream", body)
            }
        };
        Self { asked, nonce, content_type, body }
    }

    /// Writes the question as a request to this tunnel.
    pub fn request(&self, token: &str) -> Vec<u8> {
        let nonce = self.nonce;
        let target = match self.asked {
            Asked::Echo => format!("/go/{token}/echo/{nonce}/0?a[b]=c&d=%20"),
            Asked::Digest => format!("/go/{token}/digest/{nonce}/0"),
            Asked::Text(size) => format!("/go/{token}/text/{nonce}/{size}"),
        };
        if self.content_type.is_empty() {
            return wire::request("GET", &target, &["Accept: */*"], None);
        }
        wire::request("POST", &target, &[&format!("Content-Type: {}", self.content_type)], Some(&self.body))
    }

    /// Returns the size of the request's body, in bytes.
    pub fn size(&self) -> u64 {
        if self.content_type.is_empty() { 0 } else { self.body.len() as u64 }
    }

    pub fn check(&self, token: &str, answer: &Answer) -> Verdict {
        if let Some(code) = answer.error() {
            if code == "forged" {
                return Verdict::Wrong("an end forged an error of the relay".to_owned());
            }
            return match (code, answer.status, answer.body.as_slice()) {
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
            "honest" if self.expected() == answer.body => Verdict::Right,
            "honest" => Verdict::Wrong(format!(
                "the answer to {:?} of {} bytes of {:?} is wrong: {} and not {}",
                self.asked,
                self.body.len(),
                self.content_type,
                start_of(&answer.body),
                start_of(&self.expected())
            )),
            by => Verdict::Wrong(format!("an answer that must have been ignored ({by})")),
        }
    }

    fn expected(&self) -> Vec<u8> {
        match self.asked {
            Asked::Echo => self.body.clone(),
            Asked::Digest => digest(&self.body).into_bytes(),
            Asked::Text(size) => text(self.nonce, size).into_bytes(),
        }
    }
}

/// The first bytes of a body, for a complaint.
fn start_of(body: &[u8]) -> String {
    format!("{} ({} bytes)", body[..body.len().min(80)].escape_ascii(), body.len())
}

/// Makes an honest end's answer.
pub fn answer(event: &Event, body: Vec<u8>) -> Vec<Packet> {
    let Event { token, id, url, .. } = event;
    let mut words = url.split(['/', '?']).skip(1);
    let (asked, nonce, size) = (words.next(), words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let headers = format!(r#"{{"x-soak":"honest","x-tunnel":"{token}","x-nonce":"{nonce}"}}"#);
    match asked {
        Some("echo") => vec![
            Packet::Text(format!(r#"461-/{token},{id}[200,{{"_placeholder":true,"num":0}},{headers}]"#)),
            Packet::Binary(body),
        ],
        Some("digest") => vec![Packet::Text(format!("43/{token},{id}[200,{},{headers}]", digest(&body)))],
        _ => {
            let text = text(nonce.parse().unwrap_or_default(), size.parse().unwrap_or_default());
            let text = serde_json::Value::from(text);
            vec![Packet::Text(format!("43/{token},{id}[{text},{headers}]"))]
        }
    }
}

/// FNV-1a: no protection against malice, but different for all bodies here.
fn digest(body: &[u8]) -> String {
    let digest = body
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!(r#"{{"digest":"{digest:016x}","bytes":{}}}"#, body.len())
}

/// Makes a text that depends on the nonce, with characters that JSON escapes.
fn text(nonce: u64, size: usize) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz012\"\\\n";
    let mut state = nonce | 1;
    let letter = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(LETTERS[(state >> 59) as usize])
    };
    (0..size).map(letter).collect()
}
