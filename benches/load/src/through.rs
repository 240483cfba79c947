//! Visitors of an app behind a tunnel of any kind: small GETs of many visitors, or one large body of one visitor, with the
//! CPU time of the tunnel's two ends. `forward-app` is the app; its pattern is ours.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use clap::Args;
use serde_json::{Value, json};
use tokio::task::spawn_local;

use crate::http::{Connection, bad};
use crate::loopback;
use crate::relay::{Script, visit};
use crate::run::{Run, Span};
use crate::usage::{Usage, Watched};

/// Bytes through the tunnel before the measured body, on the same connection.
const WARM_BYTES: u64 = 64 << 20;

#[derive(Args)]
pub struct Options {
    /// The loopback address that visitors connect to
    #[arg(long, value_name = "ADDR:PORT", value_parser = loopback)]
    to: SocketAddr,
    /// The host that visitors name, by which some tunnels are found
    #[arg(long)]
    host: String,
    /// The process at the tunnel's public end; without a tunnel there is none
    #[arg(long, value_name = "PID")]
    server: Option<u32>,
    /// The process at the tunnel's local end
    #[arg(long, value_name = "PID")]
    client: Option<u32>,
    /// The app's process
    #[arg(long, value_name = "PID")]
    app: Option<u32>,
    #[command(flatten)]
    span: Span,
    /// Visitors with small GETs, each with one request at a time
    #[arg(long, default_value_t = 32)]
    visitors: usize,
    /// Instead of small GETs: bytes of one response to one visitor
    #[arg(long, value_name = "BYTES", conflicts_with = "up")]
    down: Option<u64>,
    /// Instead of small GETs: bytes of one request of one visitor
    #[arg(long, value_name = "BYTES")]
    up: Option<u64>,
}

pub async fn through(options: Options) -> io::Result<Value> {
    let watched = Watched { server: options.server, client: options.client, app: options.app };
    let host = &options.host;
    match (options.down, options.up) {
        (None, None) => {
            let script = Rc::new(Script {
                to: options.to,
                requests: vec![head("GET", "/hooks/incoming?source=bench&n=1", host, "")],
                response_body: b"hello, world!".to_vec(),
                visitors: options.visitors,
                rate: None,
                turns: usize::MAX,
                begin: Instant::now(),
            });
            let run = Rc::new(Run::default());
            let visitors = (0..options.visitors)
                .map(|number| spawn_local(visit(number, Rc::clone(&script), Rc::clone(&run))))
                .collect();
            run.measure(options.span, watched, visitors).await
        }
        (down, up) => {
            let mut connection = Connection::open(options.to).await?;
            let bytes = down.or(up).unwrap_or_default();
            let is_up = up.is_some();
            body(&mut connection, host, is_up, WARM_BYTES.min(bytes)).await?;
            let (before, begin) = (Usage::now(watched)?, Instant::now());
            body(&mut connection, host, is_up, bytes).await?;
            let (took, used) = (begin.elapsed().as_secs_f64(), Usage::now(watched)? - before);
            let megabytes = bytes as f64 / 1e6;
            Ok(json!({
                "mb_per_second": megabytes / took,
                "server_us": used.server * 1e6 / megabytes,
                "client_us": used.client * 1e6 / megabytes,
                "server_cores": used.server / took,
                "client_cores": used.client / took,
                "app_cores": used.app / took,
                "load_cores": used.load / took,
                "other_cores": used.others() / took,
                "errors": {},
            }))
        }
    }
}

/// Sends or receives one body of the pattern, and checks it.
async fn body(connection: &mut Connection, host: &str, is_up: bool, bytes: u64) -> io::Result<()> {
    let status = if is_up {
        let status = connection.upload(&head("POST", "/swallow", host, &length(bytes)), bytes).await?;
        let counted = String::from_utf8_lossy(connection.body());
        if status == 200 && counted != bytes.to_string() {
            return Err(bad(format!("the app received {counted} bytes of {bytes}")));
        }
        status
    } else {
        connection.download(&head("GET", &format!("/bytes/{bytes}"), host, ""), bytes).await?
    };
    if status == 200 { Ok(()) } else { Err(bad(format!("status {status} for a body of {bytes} bytes"))) }
}

fn length(bytes: u64) -> String {
    format!("Content-Type: application/octet-stream\r\nContent-Length: {bytes}\r\n")
}

/// Makes a request's head with the headers of a webhook.
fn head(method: &str, path: &str, host: &str, more: &str) -> Vec<u8> {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: bench-hook/1.0 (+http://bench.example)\r\n\
         Accept: */*\r\nX-Request-Id: 7f1a52c4-0d0b-4c1e-9a38-2d3fd9a5e001\r\nX-Event: push\r\n\
         X-Signature: sha256=6dcd4ce23d88e2ee9568ba546c007c63d9131c1bd3a1c0f7bd58f2c38a1b2b11\r\n{more}\r\n"
    )
    .into_bytes()
}
