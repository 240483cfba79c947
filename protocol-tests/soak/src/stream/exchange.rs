//! One exchange of an honest end: what it has received of the request, and what it answers.

use std::collections::VecDeque;

use rand::Rng as _;
use rand::rngs::StdRng;

use super::EVENT_COST;
use super::heard::{Part, Request};
use super::sending::{Sending, Source};
use super::terms::Terms;
use crate::pattern::{Digest, Pattern};
use crate::question;

/// What a visitor that reads nothing may be sent, in bytes: a window, and what the system's buffers hold.
const UNREAD: u64 = 12 << 20;

/// What the server has done wrong, in words.
pub type Fault = String;

#[derive(Debug)]
pub struct Exchange {
    /// The id of the request's ack.
    pub request: u64,
    pub nonce: u64,
    /// The answer is the digest of the request's body.
    is_digest: bool,
    /// The visitor reads nothing.
    is_unread: bool,
    pub is_upgrade: bool,
    pub upload: Upload,
    /// `None` while the answer has not begun.
    pub sending: Option<Sending>,
    /// What may be sent unacknowledged, what of that is used, and the largest event, in bytes.
    window: usize,
    most: usize,
    chunk: usize,
}

/// What an end has received of a request's body, or of the connection.
#[derive(Debug)]
pub struct Upload {
    /// What the bytes must be, where the end knows.
    pattern: Option<Pattern>,
    digest: Digest,
    /// It may come, and not all of it has come.
    pub is_open: bool,
    position: u64,
    window: usize,
    chunk: usize,
    serial: bool,
    /// The window may become larger.
    grows: bool,
    unacked: usize,
    /// The positions of the answer at which acks are due, their ids and the costs of their events.
    owed: VecDeque<(u64, u64, usize)>,
}

impl Upload {
    /// Takes an event of this many bytes, and checks that the server keeps to the rules.
    fn receive(&mut self, size: usize, position: u64, step: u64) -> Result<(), Fault> {
        let Self { window, chunk, unacked, .. } = *self;
        if !self.is_open {
            return Err("something of a body that has ended, or was not asked for".to_owned());
        }
        if position != self.position {
            return Err(format!("an event at {position} and not {}", self.position));
        }
        if size > chunk {
            return Err(format!("an event of {size} bytes, where {chunk} were agreed on"));
        }
        if unacked > 0 && (self.serial || unacked + size + EVENT_COST > window) {
            return Err(format!(
                "{size} bytes, while {unacked} of {window} are unacknowledged (serial: {})",
                self.serial
            ));
        }
        self.position += step;
        self.unacked += size + EVENT_COST;
        Ok(())
    }

    /// Ends this direction.
    pub fn end(&mut self, total: u64) -> Result<(), Fault> {
        if !self.is_open || total != self.position {
            return Err(format!("an end after {total}, and {} have come (open: {})", self.position, self.is_open));
        }
        self.is_open = false;
        Ok(())
    }

    /// Takes the next ack that is due once the answer has come to `position`. It may tell a larger window.
    pub fn due(&mut self, position: u64, rng: &mut StdRng) -> Option<(u64, String)> {
        let (_, ack, cost) = self.owed.pop_front_if(|(at, ..)| *at <= position)?;
        self.unacked -= cost;
        if !self.grows || !rng.random_ratio(1, 16) {
            return Some((ack, "[]".to_owned()));
        }
        let window = [0, 100_000, 1 << 20, 1 << 40][rng.random_range(0..4)];
        self.window = self.window.max(window.clamp(self.chunk, 4 << 20));
        Some((ack, format!("[{window}]")))
    }
}

impl Exchange {
    /// Begins an exchange whose end has these terms. `window` and `chunk` are what the end is sent.
    pub fn new(request: &Request, terms: Terms, window: usize, chunk: usize) -> Result<Self, Fault> {
        let (asked, nonce, size) = question::read(&request.event.url);
        let Request { is_streamed, is_upgrade, is_pattern, ref body, .. } = *request;
        if is_upgrade && (terms.base64 || is_streamed) {
            return Err("a WebSocket that the end takes not, or with a body".to_owned());
        }
        let has_pattern = is_pattern || (asked == "socket" && terms.is_raw);
        let mut upload = Upload {
            pattern: has_pattern.then(|| Pattern::new(nonce)),
            digest: Digest::new(),
            is_open: is_upgrade || (is_streamed && !terms.pull),
            position: 0,
            window,
            chunk,
            serial: terms.serial,
            grows: terms.most == usize::MAX,
            unacked: 0,
            owed: VecDeque::new(),
        };
        upload.take(body)?;
        let source = match asked {
            _ if is_upgrade && !terms.is_raw => Some(Source::Parts(VecDeque::new(), None)),
            "echo" | "socket" | "noise" => Some(Source::Bytes(body.clone(), !is_streamed && !is_upgrade)),
            "digest" if is_streamed => None,
            "digest" => Some(Source::Bytes(upload.digest.json().into_bytes(), true)),
            "events" | "unread" => Some(Source::Text(Pattern::new(nonce), usize::MAX)),
            _ => Some(Source::Text(Pattern::new(nonce), size)),
        };
        let mut exchange = Self {
            request: request.event.id,
            nonce,
            is_digest: asked == "digest",
            is_unread: asked == "unread",
            is_upgrade,
            upload,
            sending: None,
            window: request.window,
            most: terms.most,
            chunk,
        };
        if asked == "events" {
            // Few and small ones, as the visitor leaves soon.
            (exchange.most, exchange.chunk) = (8_000.min(terms.most), chunk.min(1_000));
        }
        exchange.sending = source.map(|source| exchange.answer_with(source));
        Ok(exchange)
    }

    fn answer_with(&self, source: Source) -> Sending {
        Sending::new(source, self.window, self.most, self.chunk)
    }

    /// Returns the length of the answer, where it is known.
    pub fn length(&self) -> Option<usize> {
        match &self.sending.as_ref()?.source {
            Source::Bytes(waiting, true) => Some(waiting.len()),
            Source::Text(_, left) => Some(*left).filter(|&left| left < usize::MAX),
            Source::Bytes(_, false) | Source::Parts(..) => None,
        }
    }

    /// The answer has no end.
    pub fn is_endless(&self) -> bool {
        matches!(self.sending.as_ref().map(|sending| &sending.source), Some(Source::Text(_, usize::MAX)))
    }

    /// Takes an ack of an event of this cost, perhaps with a window.
    pub fn acked(&mut self, cost: usize, window: Option<usize>) -> Result<(), Fault> {
        let Some(sending) = &mut self.sending else { return Ok(()) };
        sending.acked(cost, window);
        if self.is_unread && sending.position > UNREAD {
            return Err(format!("acks of what nobody has read: {} bytes were sent", sending.position));
        }
        Ok(())
    }

    /// Takes bytes, whose ack is due at once, or when they were sent back.
    pub fn data(&mut self, bytes: Vec<u8>, offset: u64, ack: u64) -> Result<(), Fault> {
        self.upload.receive(bytes.len(), offset, bytes.len() as u64)?;
        self.upload.take(&bytes)?;
        let cost = bytes.len() + EVENT_COST;
        let due = match self.sending.as_mut().map(|sending| &mut sending.source) {
            Some(Source::Bytes(waiting, _)) => {
                waiting.extend(bytes);
                self.upload.position
            }
            Some(Source::Parts(..)) => return Err("data of a WebSocket in messages".to_owned()),
            Some(Source::Text(..)) | None => 0,
        };
        self.upload.owed.push_back((due, ack, cost));
        Ok(())
    }

    /// Takes a part of a message, whose ack is due when it was sent back.
    pub fn message(&mut self, part: Part, more: bool, number: u64, ack: u64) -> Result<(), Fault> {
        let size = part.len();
        self.upload.receive(size, number, 1)?;
        let Some(Sending { source: Source::Parts(waiting, _), .. }) = &mut self.sending else {
            return Err("a message, and no WebSocket in messages".to_owned());
        };
        waiting.push_back((part, more));
        self.upload.owed.push_back((self.upload.position, ack, size + EVENT_COST));
        Ok(())
    }

    /// The request's body has ended, or the visitor has closed the connection with this code.
    pub fn ended(&mut self, total: u64, code: Option<u64>) -> Result<(), Fault> {
        self.upload.end(total)?;
        match (self.sending.as_mut().map(|sending| &mut sending.source), code) {
            (Some(Source::Parts(_, close)), Some(code)) => *close = Some(code),
            (Some(Source::Parts(..)), None) | (_, Some(_)) => return Err("an end that is none of this kind".to_owned()),
            (Some(Source::Bytes(_, is_last)), None) => *is_last = true,
            (Some(Source::Text(..)), None) => (),
            (None, None) => {
                let source = Source::Bytes(self.upload.digest.json().into_bytes(), true);
                self.sending = Some(self.answer_with(source));
            }
        }
        Ok(())
    }

    /// Returns the answer as JSON, if it is a digest that is known now.
    pub fn digest(&self) -> Option<String> {
        (self.is_digest && self.sending.is_some()).then(|| self.upload.digest.json())
    }

    pub fn is_over(&self) -> bool {
        self.sending.as_ref().is_some_and(|sending| sending.is_over) && !(self.is_upgrade && self.upload.is_open)
    }
}

impl Upload {
    fn take(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.digest.take(bytes);
        if self.pattern.as_mut().is_none_or(|pattern| pattern.continues(bytes)) {
            Ok(())
        } else {
            Err(format!("{} bytes before {} that are not those that were sent", bytes.len(), self.position))
        }
    }
}
