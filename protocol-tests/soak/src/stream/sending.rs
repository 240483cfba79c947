//! What an honest end sends of an exchange, as far as the window allows.

use std::collections::VecDeque;

use rand::Rng as _;
use rand::rngs::StdRng;

use super::EVENT_COST;
use super::heard::Part;
use crate::pattern::Pattern;

/// Where an answer comes from.
#[derive(Debug)]
pub enum Source {
    /// Bytes that wait, and whether they are the last.
    Bytes(Vec<u8>, bool),
    /// This many characters of a pattern.
    Text(Pattern, usize),
    /// Parts of messages that wait, and the code with which the WebSocket is closed behind them.
    Parts(VecDeque<(Part, bool)>, Option<u64>),
}

/// What is sent next.
#[derive(Debug)]
pub enum Next {
    Data(Vec<u8>),
    Message(Part, bool),
    End,
    Close(u64),
}

#[derive(Debug)]
pub struct Sending {
    pub source: Source,
    window: usize,
    /// What is used of the window at most.
    most: usize,
    chunk: usize,
    /// The cost of all events that are not acknowledged.
    unacked: usize,
    /// How many bytes or parts were sent.
    pub position: u64,
    pub is_over: bool,
}

impl Sending {
    pub fn new(source: Source, window: usize, most: usize, chunk: usize) -> Self {
        Self { source, window, most, chunk, unacked: 0, position: 0, is_over: false }
    }

    /// Notes an ack of an event of this cost.
    pub fn acked(&mut self, cost: usize, window: Option<usize>) {
        self.unacked -= cost;
        self.window = self.window.max(window.unwrap_or_default());
    }

    fn room(&self) -> usize {
        if self.unacked == 0 {
            return self.chunk;
        }
        self.window.min(self.most).saturating_sub(self.unacked + EVENT_COST).min(self.chunk)
    }

    /// Takes what is sent next, what came before it, and what it costs.
    pub fn next(&mut self, rng: &mut StdRng) -> Option<(Next, u64, usize)> {
        if self.is_over {
            return None;
        }
        let room = self.room();
        let size = if room > 0 && rng.random_ratio(1, 16) { rng.random_range(1..=room) } else { room };
        let next = match &mut self.source {
            Source::Bytes(waiting, true) if waiting.is_empty() => Next::End,
            Source::Text(_, 0) => Next::End,
            Source::Parts(waiting, Some(code)) if waiting.is_empty() => Next::Close(*code),
            Source::Parts(waiting, _) => {
                waiting.front().filter(|(part, _)| part.len() <= room)?;
                let (part, more) = waiting.pop_front()?;
                Next::Message(part, more)
            }
            Source::Bytes(waiting, _) if waiting.is_empty() => return None,
            _ if size == 0 => return None,
            Source::Bytes(waiting, _) => Next::Data(waiting.drain(..size.min(waiting.len())).collect()),
            Source::Text(pattern, left) => {
                let size = size.min(*left);
                *left -= size;
                Next::Data(pattern.text(size).into_bytes())
            }
        };
        let before = self.position;
        let (size, step) = match &next {
            Next::Data(bytes) => (bytes.len(), bytes.len() as u64),
            Next::Message(part, _) => (part.len(), 1),
            Next::End | Next::Close(_) => {
                self.is_over = true;
                return Some((next, before, 0));
            }
        };
        self.position += step;
        self.unacked += size + EVENT_COST;
        Some((next, before, size + EVENT_COST))
    }
}
