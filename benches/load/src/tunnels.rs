//! Tokens, and an end for each.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use tokio::sync::Semaphore;
use tokio::task::spawn_local;
use tokio::time::timeout;

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

/// Fetches tokens from `/new`, which answers with plain text.
pub async fn tokens(to: SocketAddr, count: usize) -> io::Result<Vec<String>> {
    let mut connection = Connection::open(to).await?;
    let request = format!("GET /new HTTP/1.1\r\nHost: {to}\r\n\r\n");
    let mut tokens = Vec::with_capacity(count);
    for _ in 0..count {
        let status = connection.send(request.as_bytes()).await?;
        if status != 200 {
            return Err(bad(format!("/new: {status}")));
        }
        tokens.push(String::from_utf8_lossy(connection.body()).trim().to_owned());
    }
    Ok(tokens)
}

/// Opens a tunnel for each token, and serves it until the run is over. Returns once all are open.
pub async fn open(
    to: SocketAddr,
    transport: Transport,
    tokens: &[String],
    plan: &Rc<Plan>,
    run: &Rc<Run>,
) -> io::Result<()> {
    if transport == Transport::None {
        return Ok(());
    }
    let gate = Arc::new(Semaphore::new(OPENING as usize));
    let joined = Rc::new(Cell::new(0));
    for (number, token) in tokens.iter().cloned().enumerate() {
        let permit = gate.clone().acquire_owned().await.map_err(|_| bad("the gate is closed"))?;
        let (plan, run, joined) = (plan.clone(), run.clone(), joined.clone());
        spawn_local(async move {
            let on_join = move || {
                joined.set(joined.get() + 1);
                drop(permit);
            };
            let served = match transport {
                Transport::Ws => end::serve_ws(number, to, &token, plan, &run, on_join).await,
                Transport::Polling => end::serve_polling(to, &token, plan, &run, on_join).await,
                Transport::Raw => limit::serve(number, to, &token, &plan, &run, on_join).await,
                Transport::None => Ok(()),
            };
            if let (Err(error), false) = (served, run.is_over()) {
                run.error(format!("tunnel: {error}"));
            }
        });
    }
    let all = timeout(Duration::from_secs(30), gate.acquire_many(OPENING)).await;
    if all.is_err() || joined.get() < tokens.len() {
        let message = format!("only {} of {} tunnels joined: {}", joined.get(), tokens.len(), run.errors());
        return Err(bad(message));
    }
    Ok(())
}
