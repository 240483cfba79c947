//! The server as `src/main.rs` starts it, but with the system's allocator, which dhat can watch.

use clap::Parser as _;
use socket2me::config::{Cli, Command};
use socket2me::server;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cli = Cli::parse();
    tracing_subscriber::fmt().with_env_filter(EnvFilter::try_new(&cli.log)?).with_writer(std::io::stderr).init();
    let Command::Serve(config) = cli.command;
    let listener = TcpListener::bind(config.address()).await?;
    let address = listener.local_addr()?;
    let mut terminate = signal(SignalKind::terminate())?;
    let ready = || println!("ready at {address}");
    server::run(listener, *config, ready, async move {
        terminate.recv().await;
    })
    .await?;
    Ok(())
}
