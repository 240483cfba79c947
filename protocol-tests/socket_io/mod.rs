//! Socket.IO on the wire (PROTOCOL.md, "Socket.IO"): what client libraries would hide.

mod packets_4;
mod packets_5;
mod protocol_4;
mod protocol_5;

use crate::support::wire::{Peer, Server, Ws};

/// The status that a visitor gets while no end is connected.
const NOT_CONNECTED: u16 = 500;

/// Sends a Socket.IO packet. It is written as in PROTOCOL.md, "Socket.IO packets", without the `4` of Engine.IO; `TOKEN`
/// stands for the token.
async fn send(ws: &mut Ws, packet: &str, token: &str) {
    ws.text(&format!("4{}", packet.replace("TOKEN", token))).await;
}

/// Sends a visitor's request, which must reach the end with this ack id.
async fn visitor(server: &Server, ws: &mut Ws, token: &str, id: usize) -> Peer {
    let visitor = server.send("GET", &format!("/go/{token}"), &[], b"").await;
    ws.request(token, id).await;
    visitor
}

/// The end answers another visitor, and nothing else was on its way to it.
async fn serves(server: &Server, ws: &mut Ws, token: &str, id: usize) {
    let mut visitor = visitor(server, ws, token, id).await;
    send(ws, &format!(r#"3/TOKEN,{id}[201,"served"]"#), token).await;
    visitor.answer().await.is(201, "served");
}
