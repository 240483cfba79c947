//! `socket2me`: reads the command line, starts what it asks for, and turns the outcome into an exit code.

use std::io::IsTerminal as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use clap::Parser as _;
use socket2me::config::{Cli, Command, LogFormat, ServeConfig};
use socket2me::relay;
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

/// Large bodies come and go all the time: the system's allocator gives their pages back and takes them anew for each.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = start_logging(&cli.log, cli.log_format) {
        eprintln!("socket2me: --log {}: {error}", cli.log);
        return ExitCode::from(2);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("socket2me: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = match cli.command {
        Command::Serve(config) => runtime.block_on(serve(*config)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("socket2me: {message}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(config: ServeConfig) -> Result<(), String> {
    let address = config.address();
    let listener = listen(address).await.map_err(|error| {
        let mut message = format!("cannot listen on {address}: {error}");
        if error.kind() == std::io::ErrorKind::AddrInUse {
            message += " (another program has this port: stop it, or choose another with --listen ADDR:PORT)";
        }
        message
    })?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let url = config.public_url.clone().unwrap_or_else(|| relay::local_url(address));
    let shutdown = shutdown().map_err(|error| format!("cannot wait for signals: {error}"))?;
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "listening");
    let ready = || println!("Socket2Me is ready at {url} - get a token with: curl {url}/new");
    relay::run(listener, config, ready, shutdown).await.map_err(|error| error.to_string())
}

/// All interfaces means both families where there are both.
async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error) if error.kind() != std::io::ErrorKind::AddrInUse && address.ip().is_unspecified() => {
            TcpListener::bind((IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port())).await
        }
        bound => bound,
    }
}

/// Ready at the first Ctrl-C or SIGTERM. The second ends the process at once.
fn shutdown() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => (),
            _ = terminate.recv() => (),
        }
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => (),
                _ = terminate.recv() => (),
            }
            eprintln!("socket2me: stopped at once");
            std::process::exit(1);
        });
    })
}

fn start_logging(filter: &str, format: LogFormat) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| error.to_string())?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Human => builder.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}
