//! The bench's load: opens tunnels, sends visitors' requests through them, and prints the results as one line of JSON. It has
//! small clients of its own and runs on one thread, so that the server has the rest of the machine.
//!
//! - [`relay`], [`idle`], [`churn`]: the three kinds of load of a relay
//! - [`through`]: the load of an app behind a tunnel of any kind
//! - [`run`]: the measured span that they share, with counts, times and errors
//! - [`tunnels`]: tokens, and an end for each
//! - [`end`]: an end of Socket.IO; [`limit`]: an end with `limit-relay`'s framing
//! - [`bodies`]: the bodies of requests and responses
//! - [`ws`], [`http`]: the clients; [`histogram`], [`usage`]: the measurements

mod bodies;
mod churn;
mod end;
mod histogram;
mod http;
mod idle;
mod limit;
mod relay;
mod run;
mod through;
mod tunnels;
mod usage;
mod ws;

use std::net::SocketAddr;

use clap::{Args, Parser, Subcommand};

/// The bench's load. Prints one line of JSON, which includes the errors.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Visitors send requests through tunnels
    Relay(relay::Options),
    /// Many tunnels are held without requests
    Idle(idle::Options),
    /// Ends connect, join and leave, again and again
    Churn(churn::Options),
    /// Visitors reach an app through a tunnel of any kind
    Through(through::Options),
}

/// The server to load.
#[derive(Args, Clone, Copy)]
struct Server {
    /// The loopback address that the server listens on
    #[arg(long, value_name = "ADDR:PORT", value_parser = loopback)]
    to: SocketAddr,
    /// The server's process, whose CPU time and memory are measured
    #[arg(long)]
    pid: u32,
    /// Ends show the keys of their tunnels, which are made by POST /new
    #[arg(long)]
    keys: bool,
}

/// Accepts only loopback addresses: a bench must not become a tool against other people's servers.
fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|error| format!("{error}"))?;
    if address.ip().is_loopback() { Ok(address) } else { Err("only loopback addresses are loaded".into()) }
}

fn main() {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let report = tokio::task::LocalSet::new().block_on(&runtime, async {
        match cli.command {
            Command::Relay(options) => relay::relay(options).await,
            Command::Idle(options) => idle::idle(options).await,
            Command::Churn(options) => churn::churn(options).await,
            Command::Through(options) => through::through(options).await,
        }
    });
    match report {
        Ok(report) => println!("{report}"),
        Err(error) => {
            eprintln!("load: {error}");
            std::process::exit(1);
        }
    }
}
