//! Messages in parts, pings and close frames, for those that pass on what a WebSocket says while it is being said.

use std::mem;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::{Ended, Message, Received, WebSocket, Whole};
use crate::proto::websocket::{Opcode, Violation, close_payload};

/// A part of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What it says; text is whole characters. All parts of a message are of one kind.
    pub payload: Message,
    /// The message ends with this part, which may be empty.
    pub is_last: bool,
}

impl WebSocket {
    /// Receives the next part of a message: what has come when the peer ends a frame, or from 32 KiB on; less than 128 KiB. A
    /// message of more than [`max_message`](super::Limits::max_message) bytes in all is a violation.
    ///
    /// # Errors
    /// With the end: nothing more is received.
    pub fn poll_next_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Part, Ended>> {
        self.poll_received(cx, Whole::Parts).map(|(received, is_last)| match received {
            Received::Message(payload) => Ok(Part { payload, is_last }),
            Received::Oversized(_) => Err(Ended::Violation(Violation::TooLarge)),
            Received::Ended(ended) => Err(ended),
        })
    }

    /// Returns whether bytes of the peer have come since this was asked before: those of an unfinished frame and of a pong, too.
    pub fn take_heard(&mut self) -> bool {
        mem::take(&mut self.has_heard)
    }

    /// Queues a part of a message of this kind, text or binary, after [`Self::poll_ready`] completed. Between the first part of a
    /// message and its last nothing else may be queued but pings and a close frame.
    pub fn queue_part(&mut self, kind: Opcode, is_first: bool, is_last: bool, payload: Bytes) {
        self.outgoing.push_part(if is_first { kind } else { Opcode::Continuation }, is_last, payload);
    }

    /// Queues a ping, which every peer answers.
    pub fn queue_ping(&mut self) {
        self.outgoing.push(Opcode::Ping, Bytes::new());
    }

    /// Queues a close frame with this code and reason, or without a code, if none was queued before. Nothing may be queued after
    /// it. A reason of more than 123 bytes is cut. What the peer says until it answers can still be received.
    pub fn queue_close(&mut self, code: Option<u16>, reason: &str) {
        if !mem::replace(&mut self.has_closed, true) {
            self.outgoing.push(Opcode::Close, code.map_or_else(Bytes::new, |code| close_payload(code, reason)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;

    use futures::FutureExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::super::Limits;
    use super::*;
    use crate::net::budget::Budget;
    use crate::net::connection::tests::pair;
    use crate::proto::websocket::{mask, write_masked_head};

    const MIB: usize = 1 << 20;

    /// A WebSocket with this memory, and its peer.
    async fn websocket(memory: &Arc<Budget>, max_message: usize) -> (WebSocket, TcpStream) {
        let (socket, peer) = pair().await;
        (WebSocket::new(socket, Bytes::new(), Limits { max_message, memory: Arc::clone(memory) }), peer)
    }

    /// A client's frame.
    fn frame(opcode: Opcode, is_last: bool, payload: &[u8]) -> Vec<u8> {
        const MASK: [u8; 4] = [1, 2, 3, 4];
        let mut bytes = Vec::new();
        write_masked_head(opcode, payload.len(), MASK, &mut bytes);
        bytes[0] &= if is_last { 0xff } else { 0x7f };
        let start = bytes.len();
        bytes.extend(payload);
        mask(&mut bytes[start..], MASK);
        bytes
    }

    async fn next(websocket: &mut WebSocket) -> Result<Part, Ended> {
        poll_fn(|cx| websocket.poll_next_part(cx)).await
    }

    fn text(payload: &'static str, is_last: bool) -> Result<Part, Ended> {
        Ok(Part { payload: Message::Text(payload.into()), is_last })
    }

    #[tokio::test]
    async fn parts_are_handed_on_as_the_peer_ends_them() {
        let (mut websocket, mut peer) = websocket(&Budget::new(MIB), usize::MAX).await;
        for (sent, received) in [
            (frame(Opcode::Text, false, b"one \xc3"), text("one ", false)),
            (frame(Opcode::Continuation, false, b"\xa9 two"), text("é two", false)),
            (frame(Opcode::Continuation, true, b""), text("", true)),
            (frame(Opcode::Text, true, b"whole"), text("whole", true)),
        ] {
            peer.write_all(&sent).await.unwrap();
            assert_eq!(next(&mut websocket).await, received);
        }
        peer.write_all(&frame(Opcode::Text, false, b"\xc3")).await.unwrap();
        assert!(next(&mut websocket).now_or_never().is_none(), "half a character");
        peer.write_all(&frame(Opcode::Continuation, true, b"")).await.unwrap();
        assert_eq!(next(&mut websocket).await, Err(Ended::Violation(Violation::Utf8)));
    }

    #[tokio::test]
    async fn a_long_message_takes_the_memory_of_a_part() {
        let memory = Budget::new(MIB);
        let (mut websocket, mut peer) = websocket(&memory, usize::MAX).await;
        let payload: Vec<u8> = (0..=250).cycle().take(20 * MIB).collect();
        let receiving = async {
            let mut received = Vec::new();
            loop {
                let part = next(&mut websocket).await.unwrap();
                let Message::Binary(data) = part.payload else { panic!("binary") };
                assert!(data.len() < 128 << 10, "{}", data.len());
                assert!(memory.used() < 256 << 10, "{}", memory.used());
                received.extend(data);
                if part.is_last {
                    return received;
                }
            }
        };
        let bytes = frame(Opcode::Binary, true, &payload);
        let (received, sent) = futures::future::join(receiving, peer.write_all(&bytes)).await;
        sent.unwrap();
        assert!(received == payload);
    }

    #[tokio::test]
    async fn a_message_over_the_limit_is_a_violation() {
        let (mut websocket, mut peer) = websocket(&Budget::new(MIB), 10).await;
        peer.write_all(&frame(Opcode::Text, false, b"0123456789")).await.unwrap();
        assert_eq!(next(&mut websocket).await, text("0123456789", false));
        peer.write_all(&frame(Opcode::Continuation, true, b"x")).await.unwrap();
        let ended = next(&mut websocket).await.unwrap_err();
        assert_eq!(ended.close_code(), Some(1009));
    }

    #[tokio::test]
    async fn parts_pings_and_the_reason_of_a_close_are_written() {
        let (mut websocket, mut peer) = websocket(&Budget::new(MIB), usize::MAX).await;
        websocket.queue_part(Opcode::Text, true, false, Bytes::from_static(b"a"));
        websocket.queue_ping();
        websocket.queue_part(Opcode::Text, false, false, Bytes::from_static(b"b"));
        websocket.queue_part(Opcode::Text, false, true, Bytes::new());
        websocket.queue_part(Opcode::Binary, true, true, Bytes::from_static(b"c"));
        websocket.queue_close(Some(4000), "over");
        websocket.queue_close(Some(1000), "and again");
        poll_fn(|cx| websocket.poll_flush(cx)).await.unwrap();
        // What comes before the answer to the close frame still counts.
        peer.write_all(&frame(Opcode::Pong, true, b"")).await.unwrap();
        peer.write_all(&frame(Opcode::Text, true, b"late")).await.unwrap();
        peer.write_all(&frame(Opcode::Close, true, b"\x03\xe8bye")).await.unwrap();
        assert_eq!(next(&mut websocket).await, text("late", true));
        assert_eq!(next(&mut websocket).await, Err(Ended::Closed { code: Some(1000), reason: "bye".into() }));
        assert!(websocket.goodbye(Some(1001)).is_none(), "both have closed");
        let mut read = Vec::new();
        peer.read_to_end(&mut read).await.unwrap();
        let expected = b"\x01\x01a\x89\x00\x00\x01b\x80\x00\x82\x01c\x88\x06\x0f\xa0over";
        assert_eq!(read.escape_ascii().to_string(), expected.escape_ascii().to_string());
    }

    #[tokio::test]
    async fn a_pong_is_a_sign_of_life() {
        let (mut websocket, mut peer) = websocket(&Budget::new(MIB), usize::MAX).await;
        assert!(!websocket.take_heard());
        peer.write_all(&frame(Opcode::Pong, true, b"")).await.unwrap();
        let heard = poll_fn(|cx| {
            assert!(websocket.poll_next_part(cx).is_pending());
            if websocket.take_heard() { Poll::Ready(()) } else { Poll::Pending }
        });
        heard.await;
        assert!(!websocket.take_heard());
    }
}
