//! WebSocket frames as bytes, and what Engine.IO and Socket.IO say in them.

use super::{Peer, refusal, sid_of};

/// A frame from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    Text(String),
    Binary(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>),
}

/// Encodes a client's frame, with a mask. `first` is its first byte: 0x81 is a whole text.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x5a, 0x01, 0xff, 0x3c];
    let mut bytes = vec![first];
    match payload.len() {
        length @ ..126 => bytes.push(0x80 | u8::try_from(length).unwrap()),
        length @ ..65_536 => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend(u64::try_from(length).unwrap().to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// A WebSocket.
pub(crate) struct Ws {
    pub(crate) peer: Peer,
}

impl Ws {
    /// Sends a frame; see [`frame`].
    pub(crate) async fn frame(&mut self, first: u8, payload: &[u8]) {
        self.peer.send(&frame(first, payload)).await;
    }

    pub(crate) async fn text(&mut self, text: &str) {
        self.frame(0x81, text.as_bytes()).await;
    }

    pub(crate) async fn binary(&mut self, data: &[u8]) {
        self.frame(0x82, data).await;
    }

    /// Waits for the next frame.
    pub(crate) async fn next(&mut self) -> Frame {
        let head = self.peer.exactly(2).await;
        let length = match head[1] {
            126 => usize::from(u16::from_be_bytes(self.peer.exactly(2).await.try_into().unwrap())),
            127 => usize::try_from(u64::from_be_bytes(self.peer.exactly(8).await.try_into().unwrap())).unwrap(),
            length => {
                assert!(length < 126, "a server does not mask");
                usize::from(length)
            }
        };
        let payload = self.peer.exactly(length).await;
        match head[0] {
            0x81 => Frame::Text(String::from_utf8(payload).unwrap()),
            0x82 => Frame::Binary(payload),
            0x8a => Frame::Pong(payload),
            0x88 => Frame::Close(payload.first_chunk().map(|code| u16::from_be_bytes(*code))),
            other => panic!("a frame that begins with {other:#x}"),
        }
    }

    pub(crate) async fn expect(&mut self, text: &str) {
        assert_eq!(self.next().await, Frame::Text(text.to_owned()));
    }

    /// Waits for the next frame, which must be text.
    pub(crate) async fn next_text(&mut self) -> String {
        match self.next().await {
            Frame::Text(text) => text,
            other => panic!("{other:?} is no text"),
        }
    }

    /// The next frame is a close frame with this code, or without one, and then the connection ends.
    pub(crate) async fn closes(&mut self, code: Option<u16>, why: &str) {
        assert_eq!(self.next().await, Frame::Close(code), "{why}");
        self.peer.ends().await;
    }

    /// Packets go both ways, and nothing else was on its way.
    pub(crate) async fn is_alive(&mut self) {
        self.text("40/alive,").await;
        self.expect(&refusal("/alive")).await;
    }

    /// A ping of revision 3 is answered, and nothing else was on its way.
    pub(crate) async fn pings(&mut self) {
        self.text("2").await;
        self.expect("3").await;
    }

    /// Joins a token's namespace, and returns the socket's id.
    pub(crate) async fn join(&mut self, token: &str) -> String {
        self.text(&format!("40/{token},")).await;
        self.has_joined(token).await
    }

    /// The next frame accepts the CONNECT; returns the socket's id.
    pub(crate) async fn has_joined(&mut self, token: &str) -> String {
        let reply = self.next_text().await;
        let sid = sid_of(&reply);
        assert_eq!(reply, format!(r#"40/{token},{{"sid":"{sid}"}}"#));
        sid
    }

    /// The next frame is a visitor's request with this ack id; returns its text.
    pub(crate) async fn request(&mut self, token: &str, id: usize) -> String {
        let text = self.next_text().await;
        let (head, _) = text.split_once(r#"["request",{"#).unwrap_or_else(|| panic!("{text} is no request"));
        assert!([format!("42/{token},{id}"), format!("451-/{token},{id}")].contains(&head.to_owned()), "{text}");
        text
    }
}
