//! A visitor's WebSocket, frame by frame.

use super::Streaming;
use super::raw_end::Request;
use crate::relay::visitor::request;
use crate::support::transfer::{Head, Transfer};
use crate::support::wire::{KEY, Peer, frame};

/// The headers that ask for a WebSocket with one of two subprotocols.
pub(super) const UPGRADE: &[(&str, &str)] = &[
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", KEY),
    ("Sec-WebSocket-Protocol", "chat.v2, chat.v1"),
];

/// The answer to [`KEY`].
pub(super) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The first bytes of frames: whole messages, the first part of one, a part within, the last part.
pub(super) const TEXT: u8 = 0x81;
pub(super) const BINARY: u8 = 0x82;
pub(super) const FIRST_TEXT: u8 = 0x01;
pub(super) const FIRST_BINARY: u8 = 0x02;
pub(super) const WITHIN: u8 = 0x00;
pub(super) const LAST: u8 = 0x80;
pub(super) const CLOSE: u8 = 0x88;
pub(super) const PING: u8 = 0x89;
pub(super) const PONG: u8 = 0x8a;

/// The bytes of a request for a WebSocket.
pub(super) fn ask_for(target: &str) -> Vec<u8> {
    let ask = request("GET", target, UPGRADE, b"");
    String::from_utf8(ask).unwrap().replace("Connection: close\r\n", "").into_bytes()
}

/// An open WebSocket.
pub(super) struct Frames {
    pub(super) peer: Peer,
}

impl Frames {
    /// Sends a frame with a mask.
    pub(super) async fn send(&mut self, first: u8, payload: &[u8]) {
        self.peer.send(&frame(first, payload)).await;
    }

    /// Sends a close frame.
    pub(super) async fn send_close(&mut self, code: u16, reason: &str) {
        self.send(CLOSE, &[&code.to_be_bytes(), reason.as_bytes()].concat()).await;
    }

    /// Waits for the next frame: its first byte, and its payload.
    pub(super) async fn next(&mut self) -> (u8, Vec<u8>) {
        let head = self.peer.exactly(2).await;
        let length = match head[1] {
            126 => usize::from(u16::from_be_bytes(self.peer.exactly(2).await.try_into().unwrap())),
            127 => usize::try_from(u64::from_be_bytes(self.peer.exactly(8).await.try_into().unwrap())).unwrap(),
            length => {
                assert!(length < 126, "a server does not mask");
                usize::from(length)
            }
        };
        (head[0], self.peer.exactly(length).await)
    }

    /// Waits for a message, of which all parts but the last may come in any number of frames.
    pub(super) async fn message(&mut self) -> (u8, Vec<u8>) {
        let (first, mut whole) = self.next().await;
        let mut is_last = first & 0x80 != 0;
        while !is_last {
            let (first, payload) = self.next().await;
            assert!(matches!(first, WITHIN | LAST), "{first:#x} within a message");
            whole.extend(payload);
            is_last = first == LAST;
        }
        (first | 0x80, whole)
    }

    /// Waits for a whole text.
    pub(super) async fn reads(&mut self, text: &str) {
        let (first, payload) = self.message().await;
        assert_eq!((first, String::from_utf8_lossy(&payload).as_ref()), (TEXT, text));
    }

    /// The next frame closes the WebSocket.
    pub(super) async fn closes(&mut self, code: Option<u16>, reason: &str) {
        let payload = code.map(|code| [&code.to_be_bytes(), reason.as_bytes()].concat()).unwrap_or_default();
        assert_eq!(self.next().await, (CLOSE, payload), "{code:?} {reason}");
    }

    /// The next frame closes the WebSocket with this code, whatever the reason. Then the connection ends.
    pub(super) async fn ends_with(mut self, code: u16) {
        let (first, payload) = self.next().await;
        assert_eq!((first, payload.first_chunk().copied().map(u16::from_be_bytes)), (CLOSE, Some(code)));
        self.ends().await;
    }

    /// The server ends the connection, and says nothing before that.
    pub(super) async fn ends(mut self) {
        let rest = self.peer.until_end().await;
        assert!(rest.is_empty(), "{:?}", rest.escape_ascii().to_string());
    }
}

impl Streaming {
    /// Sends a request for a WebSocket, which reaches the end.
    pub(super) async fn ask_for_websocket(&mut self) -> (Transfer, Request) {
        let (visitor, asked) = self.ask(&ask_for(&self.at("/ws"))).await;
        assert_eq!((&asked.object["upgrade"], asked.is_streamed()), (&"websocket".into(), false));
        (visitor, asked)
    }

    /// Opens a WebSocket, which the end grants with these headers.
    pub(super) async fn websocket_with(&mut self, headers: &str) -> (Head, Frames, Request) {
        let (mut visitor, asked) = self.ask_for_websocket().await;
        self.end.respond(&asked, 101, headers).await;
        let head = visitor.head().await;
        assert_eq!(head.status, 101, "{head:?}");
        (head, Frames { peer: Peer::new(visitor.into_stream()) }, asked)
    }

    pub(super) async fn websocket(&mut self) -> (Frames, Request) {
        let (_, frames, asked) = self.websocket_with("{}").await;
        (frames, asked)
    }
}
