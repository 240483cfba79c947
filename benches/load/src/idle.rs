//! Many tunnels without requests.

use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::Server;
use crate::end::{Answer, Plan};
use crate::run::Run;
use crate::tunnels::{self, Transport};
use crate::usage::{Usage, resident_kb};

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    server: Server,
    /// Tunnels, each with an end of its own
    #[arg(long, default_value_t = 10_000)]
    tunnels: usize,
    /// How ends reach the server
    #[arg(long, value_enum, default_value = "ws")]
    transport: Transport,
    /// Seconds to hold the tunnels; more than 25 include a heartbeat
    #[arg(long, default_value_t = 28.0)]
    secs: f64,
}

pub async fn idle(options: Options) -> io::Result<Value> {
    let Server { to, pid, .. } = options.server;
    let plan = Rc::new(Plan { answer: Answer::text("ok"), expected: None });
    let run = Rc::new(Run::default());
    let start_kb = resident_kb(pid)?;
    let tickets = tunnels::tickets(options.server, options.tunnels).await?;
    tunnels::open(to, options.transport, &tickets, &plan, &run).await?;
    let (before, begin) = (Usage::now(pid.into())?, Instant::now());
    sleep(Duration::from_secs_f64(options.secs)).await;
    let (used, took) = (Usage::now(pid.into())? - before, begin.elapsed().as_secs_f64());
    let held_kb = resident_kb(pid)?;
    run.end();
    Ok(json!({
        "kb_each": (held_kb as f64 - start_kb as f64) / options.tunnels as f64,
        "server_cores": used.server / took,
        "load_cores": used.load / took,
        "other_cores": used.others() / took,
        "errors": run.errors(),
    }))
}
