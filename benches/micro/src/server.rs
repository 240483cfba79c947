//! The server as the product's `main.rs` starts it, for programs with another allocator.

use std::error::Error;
use std::net::SocketAddr;

use clap::Parser as _;
use socket2me::config::{Cli, Command};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Parses the command line and serves until SIGTERM. Calls `ready` with the address once the server listens.
///
/// # Errors
/// Fails when the log filter is invalid, the address cannot be bound, a signal handler cannot be installed, or the server
/// fails.
pub async fn run(ready: impl FnOnce(SocketAddr)) -> Result<(), Box<dyn Error>> {
    let cli = Cli::parse();
    tracing_subscriber::fmt().with_env_filter(EnvFilter::try_new(&cli.log)?).with_writer(std::io::stderr).init();
    let Command::Serve(config) = cli.command else { return Err("this program can serve, and nothing else".into()) };
    let listeners = socket2me::relay::bind(config.address()).await?;
    let address = listeners.first().ok_or("no address to listen on")?.local_addr()?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = async move {
        terminate.recv().await;
    };
    socket2me::relay::run(listeners, *config, |_| ready(address), stop).await?;
    Ok(())
}
