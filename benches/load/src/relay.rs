//! Visitors' requests through tunnels.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;
use tokio::task::spawn_local;
use tokio::time::sleep;

use crate::Server;
use crate::bodies::Kind;
use crate::end::{Answer, Plan};
use crate::http::Connection;
use crate::run::{Run, Span};
use crate::tunnels::{self, Ticket, Transport};

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    span: Span,
    /// Tunnels, each with an end of its own
    #[arg(long, default_value_t = 1)]
    tunnels: usize,
    /// Visitors: connections, each with one request at a time
    #[arg(long, default_value_t = 1)]
    visitors: usize,
    /// How ends reach the server
    #[arg(long, value_enum, default_value = "ws")]
    transport: Transport,
    /// Bytes of the request's body. Makes the request a POST
    #[arg(long)]
    request: Option<usize>,
    /// The kind of the request's body
    #[arg(long, value_enum, default_value = "json")]
    request_kind: Kind,
    /// Bytes of the response's body
    #[arg(long, default_value_t = 13)]
    response: usize,
    /// The kind of the response's body
    #[arg(long, value_enum, default_value = "text")]
    response_kind: Kind,
    /// Answer with the request's body
    #[arg(long, requires = "request", conflicts_with = "response")]
    echo: bool,
    /// Requests a second of all visitors together, at fixed times. Without it each answer is followed by the next request
    #[arg(long)]
    rate: Option<f64>,
    /// Requests of all visitors together, after which the load ends without timing anything
    #[arg(long, conflicts_with_all = ["secs", "warm", "rate"])]
    requests: Option<usize>,
}

pub async fn relay(options: Options) -> io::Result<Value> {
    let Server { to, pid, .. } = options.server;
    let request_body = options.request.map(|size| options.request_kind.body(size));
    let response_body = match &request_body {
        Some(body) if options.echo => body.clone(),
        _ => options.response_kind.body(options.response),
    };
    let answer = if options.echo {
        Answer::Echo
    } else if options.response_kind == Kind::Binary {
        Answer::Binary(response_body.clone())
    } else {
        Answer::text(&String::from_utf8_lossy(&response_body))
    };
    let expected = request_body.clone().filter(|body| !body.is_empty());
    let plan = Rc::new(Plan { answer, expected });
    let run = Rc::new(Run::default());

    let tickets = match options.transport {
        Transport::None => vec![Ticket { token: "none".to_owned(), key: String::new() }; options.tunnels],
        _ => tunnels::tickets(options.server, options.tunnels).await?,
    };
    tunnels::open(to, options.transport, &tickets, &plan, &run).await?;

    let body = request_body.as_deref();
    let requests = tickets.iter().map(|ticket| request(to, &ticket.token, options.request_kind, body)).collect();
    let script = Rc::new(Script {
        to,
        requests,
        response_body,
        visitors: options.visitors,
        rate: options.rate,
        turns: options.requests.unwrap_or(usize::MAX),
        begin: Instant::now(),
    });
    let visitors =
        (0..options.visitors).map(|number| spawn_local(visit(number, script.clone(), run.clone()))).collect();
    match options.requests {
        None => run.measure(options.span, pid.into(), visitors).await,
        Some(_) => Ok(run.finish(visitors).await),
    }
}

/// Makes a request with the headers of a webhook.
fn request(to: SocketAddr, token: &str, kind: Kind, body: Option<&[u8]>) -> Vec<u8> {
    let method = if body.is_some() { "POST" } else { "GET" };
    let mut request = format!(
        "{method} /go/{token}/hooks/incoming?source=bench&n=1 HTTP/1.1\r\nHost: {to}\r\n\
         User-Agent: bench-hook/1.0 (+http://bench.example)\r\nAccept: */*\r\n\
         X-Request-Id: 7f1a52c4-0d0b-4c1e-9a38-2d3fd9a5e001\r\nX-Event: push\r\n\
         X-Signature: sha256=6dcd4ce23d88e2ee9568ba546c007c63d9131c1bd3a1c0f7bd58f2c38a1b2b11\r\n"
    );
    if let Some(body) = body {
        request += &format!("Content-Type: {}\r\nContent-Length: {}\r\n", kind.content_type(), body.len());
    }
    request += "\r\n";
    [request.as_bytes(), body.unwrap_or_default()].concat()
}

/// What all visitors do.
pub struct Script {
    pub to: SocketAddr,
    /// One for each tunnel.
    pub requests: Vec<Vec<u8>>,
    pub response_body: Vec<u8>,
    pub visitors: usize,
    pub rate: Option<f64>,
    /// Requests of all visitors together.
    pub turns: usize,
    pub begin: Instant,
}

/// Runs one visitor, which goes from tunnel to tunnel.
pub async fn visit(number: usize, script: Rc<Script>, run: Rc<Run>) {
    let mut connection = None;
    let mut compared = false;
    for turn in (number..script.turns).step_by(script.visitors) {
        let start = match script.rate {
            None => Instant::now(),
            // If a late answer delays the visitor's next request, that delay counts; a late timer does not.
            Some(rate) => {
                let due = script.begin + Duration::from_secs_f64(turn as f64 / rate);
                if let Some(early) = due.checked_duration_since(Instant::now()) {
                    sleep(early).await;
                    Instant::now()
                } else if turn == number {
                    Instant::now()
                } else {
                    due
                }
            }
        };
        if run.is_over() {
            return;
        }
        let request = &script.requests[turn % script.requests.len()];
        match send(&mut connection, script.to, request).await {
            Ok((200, body)) => {
                let took = start.elapsed();
                let expected = &script.response_body;
                if body.len() != expected.len() || !compared && body != expected {
                    run.error("another body");
                }
                compared = true;
                run.done(took);
            }
            Ok((status, _)) => {
                run.error(format!("status {status}"));
                sleep(Duration::from_millis(1)).await;
            }
            Err(error) => {
                run.error(format!("visitor: {error}"));
                connection = None;
                sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

async fn send<'a>(
    connection: &'a mut Option<Connection>,
    to: SocketAddr,
    request: &[u8],
) -> io::Result<(u16, &'a [u8])> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(Connection::open(to).await?),
    };
    let status = connection.send(request).await?;
    Ok((status, connection.body()))
}
