//! Tunnels, and an end for each.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::task::spawn_local;
use tokio::time::timeout;

use crate::Server;
use crate::end::{self, Plan};
use crate::http::{Connection, bad};
use crate::limit;
use crate::run::Run;

/// Tunnels that are being opened at the same time.
const OPENING: u32 = 64;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Transport {
    /// Socket.IO over a WebSocket
    Ws,
    /// Socket.IO over long-polling
    Polling,
    /// The framing of limit-relay
    Raw,
    /// No ends: the server answers visitors itself
    None,
}

/// What an end needs to join its tunnel.
#[derive(Clone, Deserialize)]
pub struct Ticket {
    pub token: String,
    /// Empty for a tunnel without a key.
    #[serde(default)]
    pub key: String,
}

/// Makes tunnels. `GET /new` answers with plain text, `POST /new` with JSON.
pub async fn tickets(server: Server, count: usize) -> io::Result<Vec<Ticket>> {
    let Server { to, keys, .. } = server;
    let mut connection = Connection::open(to).await?;
    let (request, expected) = if keys {
        let head = "Content-Type: application/json\r\nContent-Length: 2";
        (format!("POST /new HTTP/1.1\r\nHost: {to}\r\n{head}\r\n\r\n{{}}"), 201)
    } else {
        (format!("GET /new HTTP/1.1\r\nHost: {to}\r\n\r\n"), 200)
    };
    let mut tickets = Vec::with_capacity(count);
    for _ in 0..count {
        let status = connection.send(request.as_bytes()).await?;
        if status != expected {
            return Err(bad(format!("/new: {status}")));
        }
        tickets.push(if keys {
            serde_json::from_slice(connection.body())?
        } else {
            Ticket { token: String::from_utf8_lossy(connection.body()).trim().to_owned(), key: String::new() }
        });
    }
    Ok(tickets)
}

/// Opens a tunnel for each ticket, and serves it until the run is over. Returns once all are open.
pub async fn open(
    to: SocketAddr,
    transport: Transport,
    tickets: &[Ticket],
    plan: &Rc<Plan>,
    run: &Rc<Run>,
) -> io::Result<()> {
    if transport == Transport::None {
        return Ok(());
    }
    let gate = Arc::new(Semaphore::new(OPENING as usize));
    let joined = Rc::new(Cell::new(0));
    for (number, ticket) in tickets.iter().cloned().enumerate() {
        let permit = gate.clone().acquire_owned().await.map_err(|_| bad("the gate is closed"))?;
        let (plan, run, joined) = (plan.clone(), run.clone(), joined.clone());
        spawn_local(async move {
            let on_join = move || {
                joined.set(joined.get() + 1);
                drop(permit);
            };
            let served = match transport {
                Transport::Ws => end::serve_ws(number, to, &ticket, plan, &run, on_join).await,
                Transport::Polling => end::serve_polling(to, &ticket, plan, &run, on_join).await,
                Transport::Raw => limit::serve(number, to, &ticket.token, &plan, &run, on_join).await,
                Transport::None => Ok(()),
            };
            if let (Err(error), false) = (served, run.is_over()) {
                run.error(format!("tunnel: {error}"));
            }
        });
    }
    let all = timeout(Duration::from_secs(30), gate.acquire_many(OPENING)).await;
    if all.is_err() || joined.get() < tickets.len() {
        let message = format!("only {} of {} tunnels joined: {}", joined.get(), tickets.len(), run.errors());
        return Err(bad(message));
    }
    Ok(())
}
