//! An end: a small Socket.IO client on a WebSocket that shows every packet and sends any.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use super::within;

/// One connection, which may join several tokens.
pub(crate) struct End {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

/// What the server sends, other than heartbeats.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Text(String),
    Binary(Bytes),
    /// The server closed the WebSocket, with this code.
    Closed(Option<u16>),
    /// The connection ended without a close frame.
    Lost,
}

/// A request that waits for its ack.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) namespace: String,
    pub(crate) id: String,
    pub(crate) request: RequestObject,
    pub(crate) attachments: Vec<Bytes>,
}

/// The argument of the event `request`. Unknown members are an error.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RequestObject {
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) raw_headers: Option<Vec<(String, String)>>,
    pub(crate) method: String,
    pub(crate) url: String,
    /// JSON as the server wrote it.
    pub(crate) query: Box<RawValue>,
    pub(crate) search: String,
    pub(crate) http_version: String,
    pub(crate) remote_address: String,
    pub(crate) id: String,
    /// JSON as the server wrote it.
    pub(crate) body: Box<RawValue>,
}

/// A request's body, as a program with socket.io-client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Body {
    Json(String),
    Buffer(Vec<u8>),
}

impl Asked {
    pub(crate) fn body(&self) -> Body {
        match (self.request.body.get(), self.attachments.as_slice()) {
            (r#"{"_placeholder":true,"num":0}"#, [buffer]) => Body::Buffer(buffer.to_vec()),
            (json, []) => Body::Json(json.to_owned()),
            other => panic!("a body and its attachments do not fit: {other:?}"),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.request.headers.get(name).map(String::as_str)
    }
}

impl End {
    /// Opens a session that has joined nothing yet.
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket");
        let (socket, _) = within("the WebSocket", connect_async_with_config(url, None, true)).await.unwrap();
        let mut end = Self { socket };
        let handshake = end.text().await;
        assert!(handshake.starts_with("0{"), "no handshake: {handshake}");
        end
    }

    /// Opens a session and joins one token.
    pub(crate) async fn connect(address: SocketAddr, token: &str) -> Self {
        let mut end = Self::open(address).await;
        end.join(token, "").await.unwrap();
        end
    }

    /// Joins a token's namespace. Fails with the message of the refusal.
    pub(crate) async fn join(&mut self, token: &str, auth: &str) -> Result<(), String> {
        #[derive(Deserialize)]
        struct Refusal {
            message: String,
        }
        self.send(&format!("40/{token},{auth}")).await;
        let text = self.text().await;
        if let Some(refusal) = text.strip_prefix(&format!("44/{token},")) {
            return Err(serde_json::from_str::<Refusal>(refusal).unwrap().message);
        }
        assert!(text.starts_with(&format!("40/{token},{{\"sid\":\"")), "no CONNECT: {text}");
        Ok(())
    }

    /// Waits for what the server sends next. Pings are answered and not returned.
    pub(crate) async fn hear(&mut self) -> Heard {
        loop {
            return match within("the server to say something", self.socket.next()).await {
                Some(Ok(Message::Text(text))) if text.as_str() == "2" => {
                    self.send("3").await;
                    continue;
                }
                Some(Ok(Message::Text(text))) => Heard::Text(text.to_string()),
                Some(Ok(Message::Binary(data))) => Heard::Binary(data),
                Some(Ok(Message::Close(frame))) => Heard::Closed(frame.map(|frame| frame.code.into())),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
                Some(Err(_)) | None => Heard::Lost,
            };
        }
    }

    /// Waits until the end is told to leave its namespace, or its session ends.
    pub(crate) async fn until_disconnected(&mut self) {
        loop {
            match self.hear().await {
                Heard::Text(text) if text.starts_with("41/") => return,
                Heard::Closed(_) | Heard::Lost => return,
                Heard::Text(_) | Heard::Binary(_) => (),
            }
        }
    }

    /// Waits until the session ends. Fails at text that begins with `never`.
    pub(crate) async fn until_closed(&mut self, never: &str) {
        loop {
            match self.hear().await {
                Heard::Closed(_) | Heard::Lost => return,
                Heard::Text(text) => assert!(!text.starts_with(never), "{text}"),
                Heard::Binary(_) => (),
            }
        }
    }

    /// Waits for what the server sends next, which must be text.
    pub(crate) async fn text(&mut self) -> String {
        match self.hear().await {
            Heard::Text(text) => text,
            other => panic!("no text: {:.300}", format!("{other:?}")),
        }
    }

    /// Waits for the next request, with its attachments.
    pub(crate) async fn asked(&mut self) -> Asked {
        let text = self.text().await;
        let (count, rest) = if let Some(rest) = text.strip_prefix("42") {
            (0, rest)
        } else if let Some((count, rest)) = text.strip_prefix("45").and_then(|rest| rest.split_once('-')) {
            (count.parse().unwrap(), rest)
        } else {
            panic!("no event: {text:.300}");
        };
        let (namespace, rest) = rest.split_once(',').unwrap();
        let (id, args) = rest.split_at(rest.find('[').unwrap());
        let (event, request): (String, RequestObject) = serde_json::from_str(args).unwrap();
        assert_eq!(event, "request");
        let mut attachments = Vec::new();
        for _ in 0..count {
            match self.hear().await {
                Heard::Binary(data) => attachments.push(data),
                other => panic!("no attachment: {:.300}", format!("{other:?}")),
            }
        }
        Asked { namespace: namespace.to_owned(), id: id.to_owned(), request, attachments }
    }

    /// Acks a request. `args` is a JSON array, the arguments of the callback.
    pub(crate) async fn answer(&mut self, asked: &Asked, args: &str, attachments: &[&[u8]]) {
        let Asked { namespace, id, .. } = asked;
        if attachments.is_empty() {
            return self.send(&format!("43{namespace},{id}{args}")).await;
        }
        self.send(&format!("46{}-{namespace},{id}{args}", attachments.len())).await;
        for attachment in attachments {
            self.attach(attachment).await;
        }
    }

    /// Sends an attachment of the packet before.
    pub(crate) async fn attach(&mut self, data: &[u8]) {
        let message = Message::binary(data.to_vec());
        within("an attachment to leave", self.socket.send(message)).await.unwrap();
    }

    /// Sends text as one message.
    pub(crate) async fn send(&mut self, text: &str) {
        within("a packet to leave", self.socket.send(Message::text(text))).await.unwrap();
    }

    /// Closes the WebSocket with a close frame.
    pub(crate) async fn close(&mut self) {
        within("the WebSocket to close", self.socket.close(None)).await.unwrap();
    }
}
