//! The client of a session that polls.

use super::{Answer, Peer, Server, Ws, refusal};

/// A polling session.
pub(crate) struct Polling<'s> {
    pub(super) server: &'s Server,
    /// The query of the session's requests, but for the transport and the session id.
    pub(crate) words: &'static str,
    pub(crate) sid: String,
}

impl Polling<'_> {
    /// The whole query of the session's requests, for this transport.
    pub(crate) fn query(&self, transport: &str) -> String {
        format!("{}&transport={transport}&sid={}", self.words, self.sid)
    }

    fn target(&self) -> String {
        format!("/socket.io/?{}", self.query("polling"))
    }

    pub(crate) async fn poll(&self) -> Answer {
        self.server.get(&self.query("polling")).await
    }

    /// Sends a poll that the server holds.
    pub(crate) async fn held_poll(&self) -> Peer {
        let peer = self.server.send("GET", &self.target(), &[], b"").await;
        self.server.settle().await;
        peer
    }

    pub(crate) async fn post(&self, body: impl AsRef<[u8]>) -> Answer {
        self.post_as("text/plain;charset=UTF-8", body).await
    }

    pub(crate) async fn post_as(&self, content_type: &str, body: impl AsRef<[u8]>) -> Answer {
        self.server.ask("POST", &self.target(), &[("Content-Type", content_type)], body.as_ref()).await
    }

    /// Begins a POST: sends its head with the header `framing`, which tells the length, and the start of its body.
    pub(crate) async fn begun_post(&self, framing: &str, start: &[u8]) -> Peer {
        let mut peer = self.server.peer().await;
        let head = format!("POST {} HTTP/1.1\r\nHost: test\r\n{framing}\r\n\r\n", self.target());
        peer.send(&[head.as_bytes(), start].concat()).await;
        peer
    }

    /// Asks for a WebSocket that is to take the session over.
    pub(crate) async fn candidate(&self) -> Ws {
        self.server.ws(&self.query("websocket")).await
    }

    /// The same, and has the probe answered.
    pub(crate) async fn probed(&self) -> Ws {
        let mut ws = self.candidate().await;
        ws.text("2probe").await;
        ws.expect("3probe").await;
        ws
    }

    /// Packets go both ways over polling.
    pub(crate) async fn is_alive(&self) {
        self.post("40/alive,").await.is(200, "ok");
        self.poll().await.is(200, &refusal("/alive"));
    }

    /// A ping of revision 3 is answered, and nothing else was on its way.
    pub(crate) async fn pings(&self) {
        self.post("1:2").await.is(200, "ok");
        self.poll().await.is(200, "1:3");
    }

    pub(crate) async fn is_gone(&self) {
        self.poll().await.is(400, r#"{"code":1,"message":"Session ID unknown"}"#);
    }
}
