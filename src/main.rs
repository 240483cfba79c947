//! `socket2me`: reads the command line, runs the command, and turns its outcome into an exit code.

use std::io::{self, Write as _};
use std::process::ExitCode;

use socket2me::config::{self, Cli, Command, LogFormat, ServeConfig};
use socket2me::process::{self, StopRequests};
use socket2me::proto::json;
use socket2me::{log, relay};

/// mimalloc keeps the pages of large bodies, which come and go all the time. The system's allocator returns them and fetches
/// new ones for each body.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::read().unwrap_or_else(|error| error.exit());
    let format = cli.log_format;
    let result = run(cli);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            log::last_words(match format {
                LogFormat::Human => format!("socket2me: {message}"),
                LogFormat::Json => json_line(&[("level", "ERROR"), ("message", &message)]),
            });
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<(), String> {
    // Dropped last, so that the log is whole.
    let _log = log::start(&cli.log, cli.log_format == LogFormat::Json)?;
    for variable in config::unknown_variables() {
        tracing::warn!(variable, "no setting has this environment variable: socket2me serve --help lists them");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot start: {error}"))?;
    match cli.command {
        Command::Serve(config) => runtime.block_on(serve(*config, cli.log_format)),
    }
}

async fn serve(config: ServeConfig, format: LogFormat) -> Result<(), String> {
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    process::raise_open_files(config.limits.max_connections);
    let listeners = relay::bind(config.address()).await.map_err(|error| error.to_string())?;
    let shutdown = shutdown(format).map_err(|error| format!("cannot wait for signals: {error}"))?;
    for listener in &listeners {
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "listening");
    }
    let ready = |url: &str| {
        let line = match format {
            LogFormat::Human => format!("Socket2Me is ready at {url} - get a token with: curl {url}/new"),
            LogFormat::Json => json_line(&[("level", "INFO"), ("message", "Socket2Me is ready"), ("url", url)]),
        };
        // A server goes on whether or not somebody reads this.
        let _ = writeln!(io::stdout(), "{line}");
    };
    relay::run(listeners, config, ready, shutdown).await.map_err(|error| error.to_string())
}

/// Returns a future that completes at the first request to stop. The second ends the process at once.
fn shutdown(format: LogFormat) -> io::Result<impl Future<Output = ()>> {
    let mut stops = StopRequests::listen()?;
    Ok(async move {
        stops.next().await;
        tokio::spawn(async move {
            stops.next().await;
            log::last_words(match format {
                LogFormat::Human => "socket2me: stopped at once".to_owned(),
                LogFormat::Json => json_line(&[("level", "WARN"), ("message", "stopped at once")]),
            });
            std::process::exit(1);
        });
    })
}

/// Returns an object with these members, all of them text, as one line of JSON.
fn json_line(members: &[(&str, &str)]) -> String {
    let mut line = String::new();
    for (name, value) in members {
        line.push(if line.is_empty() { '{' } else { ',' });
        json::write_string(name, &mut line);
        line.push(':');
        json::write_string(value, &mut line);
    }
    line + "}"
}
