//! Streaming as visitors and ends see it (PROTOCOL.md, section 11).
//!
//! The end is a program that writes each event by hand, so that it can also do what it must not; the visitor reads the bytes of a
//! response as they come, and how it ends.
//!
//! - [`raw_end`], [`frames`]: the end, and a visitor's WebSocket
//! - `answers`, `uploads`, `states`, `windows`: what each event leads to, in each direction
//! - `aborts`, `times`, `leaving`: how exchanges end that do not end in order
//! - `choosing`: which requests reach which ends at all; `messages`, `raw`: WebSockets
//! - `hosts`: the same on hosts of tunnels' own
//! - `handlers`: an end of the client's machines, over each transport
//! - `memory`, `neighbours`, `outcomes`: what exchanges hold, take from each other, and leave in the log

mod aborts;
mod answers;
mod choosing;
mod clock;
mod frames;
mod handlers;
mod hosts;
mod leaving;
mod memory;
mod messages;
mod neighbours;
#[cfg(target_os = "linux")]
mod outcomes;
mod raw;
mod raw_end;
mod states;
mod times;
mod uploads;
mod windows;

use std::net::SocketAddr;

use socket2me::config::ServeConfig;

use self::raw_end::{RawEnd, Request};
use super::tunnel::{Server, patient};
use super::visitor::{get, request};
use crate::support::transfer::Transfer;

/// A token of a server and its end, which streams.
struct Streaming {
    address: SocketAddr,
    token: String,
    end: RawEnd,
    /// The server, unless somebody else has it.
    server: Option<Server>,
}

impl Streaming {
    /// Starts a server with one end, which asks for streaming with this JSON.
    async fn open(config: ServeConfig, asked: &str) -> Self {
        let server = Server::start(config).await;
        let tunnel = Self::join(server.address, asked).await;
        Self { server: Some(server), ..tunnel }
    }

    /// Asks a server for a token, and joins it.
    async fn join(address: SocketAddr, asked: &str) -> Self {
        let token = get(address, "/new").await.text();
        let end = RawEnd::connect(address, &token, asked).await;
        Self { address, token, end, server: None }
    }

    async fn patient() -> Self {
        Self::open(patient(), "1").await
    }

    /// The target of a request to this tunnel; `rest` follows the token.
    fn at(&self, rest: &str) -> String {
        format!("/go/{}{rest}", self.token)
    }

    /// Sends a request that reaches the end.
    async fn ask(&mut self, request: &[u8]) -> (Transfer, Request) {
        let mut visitor = Transfer::connect(self.address).await;
        visitor.send(request).await;
        (visitor, self.end.request().await)
    }

    /// Sends a GET that reaches the end.
    async fn get(&mut self) -> (Transfer, Request) {
        self.ask(&request("GET", &self.at("/x"), &[], b"")).await
    }

    /// Sends a GET, and the head of a response to it, with these headers as JSON.
    async fn respond(&mut self, headers: &str) -> (Transfer, Request) {
        let (mut visitor, asked) = self.get().await;
        self.end.respond(&asked, 200, headers).await;
        assert_eq!(visitor.head().await.status, 200);
        (visitor, asked)
    }

    /// The end serves another visitor, and heard nothing before that.
    async fn still_works(&mut self) {
        let (mut visitor, asked) = self.ask(&request("GET", &self.at("/still-there"), &[], b"")).await;
        self.end.ack(asked.ack, r#"["still here"]"#).await;
        assert_eq!(visitor.head().await.status, 200);
        let rest = visitor.rest().await;
        assert_eq!((rest.text().as_str(), rest.is_complete), ("still here", true));
    }
}
