//! The server among peers who mean harm: what the advisories of others tell, smuggling, tunnels that reach for each other,
//! limits that are hit, peers that are slow, and connections that are cut anywhere. Where another server had the fault, the
//! test's name begins with the advisory.

mod acks;
mod advisories;
mod budgets;
mod cuts;
mod figures;
mod flood;
mod isolation;
mod line_ends;
mod memory;
mod misbehaviour;
mod origins;
mod slow;
mod smuggling;
mod splitting;
mod tokens;

use std::time::Duration;

use crate::support::wire::{self, Peer, Server, Ws};

/// A token that nobody has.
const UNKNOWN: &str = "MDAwMDAwMDAtMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMDAw";

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// The public URL of a token, without its origin.
fn go(token: &str) -> String {
    format!("/go/{token}")
}

/// The ack id of a request, from its packet.
fn id_of(packet: &str) -> String {
    let (_, rest) = packet.split_once(',').unwrap_or_else(|| panic!("{packet} is no request"));
    let (id, _) = rest.split_once(r#"["request",{"#).unwrap_or_else(|| panic!("{packet} is no request"));
    id.to_owned()
}

/// A visitor whose request has reached the end, and the ack id of that request.
async fn visitor(server: &Server, ws: &mut Ws, token: &str) -> (Peer, String) {
    let visitor = server.send("GET", &go(token), &[], b"").await;
    (visitor, id_of(&ws.next_text().await))
}

async fn ack(ws: &mut Ws, token: &str, id: &str, args: &str) {
    ws.text(&format!("43/{token},{id}{args}")).await;
}

/// A visitor is served, and nothing else was on its way to the end.
async fn serves(server: &Server, ws: &mut Ws, token: &str) {
    let (mut visitor, id) = visitor(server, ws, token).await;
    ack(ws, token, &id, r#"[201,"served"]"#).await;
    visitor.answer().await.is(201, "served");
}

/// A connection whose client takes in little before the server has to wait.
async fn narrow(server: &Server) -> Peer {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    Peer::new(wire::within("a connection", socket.connect(server.address)).await.unwrap())
}
