//! Visitors' WebSockets: what a visitor sends comes back, as bytes or as messages.

use std::io::{Error, ErrorKind, Result};

use rand::Rng as _;
use rand::rngs::StdRng;
use tokio::io::AsyncReadExt as _;

use crate::packet::Packet;
use crate::pattern::Pattern;
use crate::question::Verdict;
use crate::wire::{self, Answer, Connection, Reader, Writer};
use crate::world::BUSY;

/// The code with which a server closes a WebSocket for whose message it has no memory.
const TRY_AGAIN: u16 = 1013;

/// The largest piece that is sent at once, in bytes.
const PIECE: usize = 70_000;

/// A visit: its nonce, and about how many bytes it sends.
pub struct Socket {
    nonce: u64,
    size: usize,
}

/// What came of a visit.
pub struct Visited {
    pub verdict: Verdict,
    pub answer: Answer,
    /// How many bytes of content were sent, and came back.
    pub bytes: u64,
}

impl Socket {
    pub fn random(rng: &mut StdRng, largest: usize) -> Self {
        Self { nonce: rng.random(), size: rng.random_range(0..=largest) }
    }

    /// Asks for a WebSocket, and sends and receives all.
    pub async fn visit(&self, connection: &mut Connection, token: &str) -> Result<Visited> {
        let request = wire::upgrade(&format!("/go/{token}/socket/{}/0", self.nonce));
        connection.writer.write(&request).await?;
        let answer = wire::start(&mut connection.reader).await?;
        let is_honest = answer.status == 101
            && answer.header("x-soak") == Some("honest")
            && answer.header("x-tunnel") == Some(token)
            && answer.header("x-nonce") == Some(&self.nonce.to_string());
        let (verdict, bytes) = match answer.header("x-ws") {
            _ if answer.error().is_some() => (Verdict::Failed(answer.error().unwrap_or_default().to_owned()), 0),
            // Liars refuse.
            _ if matches!(answer.header("x-soak"), Some("liar" | "breach")) && answer.status != 101 => {
                (Verdict::Lie, 0)
            }
            Some("raw") if is_honest => (self.bytes(connection).await?, self.size as u64),
            Some("messages") if is_honest => self.messages(connection).await?,
            _ => (Verdict::Wrong(format!("a {} to a WebSocket that no end gave", answer.status)), 0),
        };
        Ok(Visited { verdict, answer, bytes })
    }

    /// Sends bytes, while the same come back, and ends the connection in both directions.
    async fn bytes(&self, connection: &mut Connection) -> Result<Verdict> {
        let Connection { reader, writer } = connection;
        let mut back = Vec::new();
        let sending = async {
            let mut pattern = Pattern::new(self.nonce);
            let mut left = self.size;
            while left > 0 {
                let piece = left.min(PIECE);
                writer.write(&pattern.bytes(piece)).await?;
                left -= piece;
            }
            writer.finish().await
        };
        let (sent, received) = tokio::join!(sending, reader.read_to_end(&mut back));
        Ok(match Pattern::new(self.nonce).continues(&back) {
            // An end in order looks like one that is too early.
            true if received.is_ok() && sent.is_ok() && back.len() == self.size => Verdict::Right,
            true if back.len() <= self.size => Verdict::Broken,
            _ => Verdict::Wrong(format!("{} bytes of a connection came back as {} others", self.size, back.len())),
        })
    }

    /// The messages of a visit, text and bytes in turn, in fragments now and then.
    fn all(&self) -> Vec<Packet> {
        let mut pattern = Pattern::new(self.nonce);
        let mut messages = Vec::new();
        let mut left = self.size;
        while left > 0 {
            let size = left.min(1 + (self.nonce as usize).wrapping_mul(messages.len() + 1) % PIECE);
            left -= size;
            let is_text = messages.len() % 2 == 0;
            messages.push(if is_text { Packet::Text(pattern.text(size)) } else { Packet::Binary(pattern.bytes(size)) });
        }
        messages
    }

    /// Sends messages, while the same come back, and closes the WebSocket.
    async fn messages(&self, connection: &mut Connection) -> Result<(Verdict, u64)> {
        let Connection { reader, writer } = connection;
        let all = self.all();
        let talking = async {
            let (sent, received) = tokio::join!(send(writer, &all), receive(reader, &all));
            match received? {
                Verdict::Right => sent?,
                other => return Ok(other),
            }
            writer.write(&wire::frame(8, &1000_u16.to_be_bytes())).await?;
            Ok(match wire::message_or_close(reader).await? {
                Err(Some(1000)) => Verdict::Right,
                Err(_) => Verdict::Broken,
                Ok(_) => Verdict::Wrong("a message of a WebSocket that nobody sent".to_owned()),
            })
        };
        let verdict = talking.await.or_else(|error: Error| match error.kind() {
            ErrorKind::InvalidData => Ok(Verdict::Wrong(error.to_string())),
            _ => Result::Ok(Verdict::Broken),
        })?;
        Ok((verdict, self.size as u64))
    }
}

async fn send(writer: &mut Writer, messages: &[Packet]) -> Result<()> {
    for message in messages {
        let (opcode, payload) = match message {
            Packet::Text(text) => (1, text.as_bytes()),
            Packet::Binary(bytes) => (2, bytes.as_slice()),
        };
        let (first, second) = payload.split_at(payload.len() / 3);
        if payload.len() % 2 == 0 {
            writer.write(&wire::fragment(opcode, false, first)).await?;
            writer.write(&wire::fragment(0, true, second)).await?;
        } else {
            writer.write(&wire::frame(opcode, payload)).await?;
        }
    }
    Ok(())
}

async fn receive(reader: &mut Reader, messages: &[Packet]) -> Result<Verdict> {
    for (number, message) in messages.iter().enumerate() {
        match wire::message_or_close(reader).await? {
            Ok(back) if back == *message => (),
            Ok(_) => return Ok(Verdict::Wrong(format!("message {number} of a WebSocket came back as another"))),
            Err(Some(TRY_AGAIN)) => return Ok(Verdict::Failed(BUSY.to_owned())),
            Err(_) => return Ok(Verdict::Broken),
        }
    }
    Ok(Verdict::Right)
}
