//! The server among hostile peers: faults that other servers had, smuggling, tunnels that attack each other, limits that
//! are hit, slow peers, and connections that are cut at any byte. A test of a fault that another server had is named after
//! the advisory.

mod acks;
mod advisories;
mod answers;
mod budgets;
mod cuts;
pub(crate) mod figures;
mod flood;
mod holds;
mod isolation;
mod limit_hits;
mod line_ends;
mod memory;
mod misbehaviour;
mod origins;
mod slow;
mod smuggling;
mod splitting;
mod tokens;

use crate::support::wire::{Peer, Server, Ws};
use crate::support::{UNKNOWN, ms, within};

/// The path of a token's public URL.
fn go(token: &str) -> String {
    format!("/go/{token}")
}

/// The ack id in the packet of a request.
fn id_of(packet: &str) -> String {
    let (_, rest) = packet.split_once(',').unwrap_or_else(|| panic!("{packet} is no request"));
    let (id, _) = rest.split_once(r#"["request",{"#).unwrap_or_else(|| panic!("{packet} is no request"));
    id.to_owned()
}

/// Sends a visitor's request, which must reach the end; returns the waiting visitor and the request's ack id.
async fn visitor(server: &Server, ws: &mut Ws, token: &str) -> (Peer, String) {
    let visitor = server.send("GET", &go(token), &[], b"").await;
    (visitor, id_of(&ws.next_text().await))
}

async fn ack(ws: &mut Ws, token: &str, id: &str, args: &str) {
    ws.text(&format!("43/{token},{id}{args}")).await;
}

/// The end serves another visitor, and nothing else was on its way to it.
async fn serves(server: &Server, ws: &mut Ws, token: &str) {
    let (mut visitor, id) = visitor(server, ws, token).await;
    ack(ws, token, &id, r#"[201,"served"]"#).await;
    visitor.answer().await.is(201, "served");
}

/// Opens a connection with a small receive buffer, so that the server soon has to wait for the client to read.
async fn narrow(server: &Server) -> Peer {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    Peer::new(within("a connection", socket.connect(server.address)).await.unwrap())
}
