//! `socket2me`: reads the command line, runs the command, and turns its outcome into an exit code.

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use socket2me::config::{self, Cli, Command, LogFormat, ServeConfig};
use socket2me::relay;
use tracing_subscriber::EnvFilter;

/// mimalloc keeps the pages of large bodies, which come and go all the time. The system's allocator returns them and fetches
/// new ones for each body.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::read().unwrap_or_else(|error| error.exit());
    if let Err(error) = start_logging(&cli.log, cli.log_format) {
        eprintln!("socket2me: --log {}: {error}", cli.log);
        return ExitCode::from(2);
    }
    for variable in config::unknown_variables() {
        tracing::warn!(variable, "no setting has this environment variable: socket2me serve --help lists them");
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
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    let listeners = relay::bind(config.address()).await.map_err(|error| error.to_string())?;
    let shutdown = shutdown().map_err(|error| format!("cannot wait for signals: {error}"))?;
    for listener in &listeners {
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "listening");
    }
    let ready = |url: &str| println!("Socket2Me is ready at {url} - get a token with: curl {url}/new");
    relay::run(listeners, config, ready, shutdown).await.map_err(|error| error.to_string())
}

/// Returns a future that completes at the first request to stop. The second ends the process at once.
fn shutdown() -> io::Result<impl Future<Output = ()>> {
    let mut stops = StopRequests::listen()?;
    Ok(async move {
        stops.next().await;
        tokio::spawn(async move {
            stops.next().await;
            eprintln!("socket2me: stopped at once");
            std::process::exit(1);
        });
    })
}

/// Ctrl-C and, as service managers and containers send it, SIGTERM.
#[cfg(unix)]
struct StopRequests {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl StopRequests {
    fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => (),
            _ = self.terminate.recv() => (),
        }
    }
}

/// Ctrl-C.
#[cfg(not(unix))]
struct StopRequests;

#[cfg(not(unix))]
impl StopRequests {
    fn listen() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::warn!(%error, "cannot wait for Ctrl-C: end the process to stop the server");
            std::future::pending::<()>().await;
        }
    }
}

fn start_logging(filter: &str, format: LogFormat) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| error.to_string())?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match format {
        LogFormat::Human => builder.with_ansi(io::stderr().is_terminal()).init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}
