//! The bench's load: opens tunnels, sends visitors through them and prints one line of JSON about it.
//! It speaks the wire with little code of its own, on one thread, so that the server has the rest of the machine.
//!
//! - [`relay`], [`idle`], [`churn`]: the three kinds of load
//! - [`run`]: what they have in common; counts, times, errors
//! - [`tunnels`]: tokens, and an end for each
//! - [`end`]: an end's side of Socket.IO; [`limit`]: the same for `limit-relay`'s framing
//! - [`bodies`]: what is sent to and fro
//! - [`ws`], [`http`]: clients; [`histogram`], [`usage`]: measures

mod bodies;
mod churn;
mod end;
mod histogram;
mod http;
mod idle;
mod limit;
mod relay;
mod run;
mod tunnels;
mod usage;
mod ws;

use std::net::SocketAddr;

use clap::{Args, Parser, Subcommand};

/// The bench's load. Prints one line of JSON; errors are part of it.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Visitors' requests through tunnels
    Relay(relay::Options),
    /// Many tunnels that do nothing
    Idle(idle::Options),
    /// Ends that connect, join and leave
    Churn(churn::Options),
}

/// Whom to load.
#[derive(Args, Clone, Copy)]
struct Server {
    /// Where it listens, on loopback
    #[arg(long, value_name = "ADDR:PORT", value_parser = loopback)]
    to: SocketAddr,
    /// Its process, whose CPU time and memory are measured
    #[arg(long)]
    pid: u32,
}

/// A bench is no tool against other people's servers.
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
