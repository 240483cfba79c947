//! `socket2me`: reads the command line, runs the command, and turns its outcome into an exit code.

use std::io::{self, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use socket2me::client::admin::AdminError;
use socket2me::client::report::Exit;
use socket2me::config::{self, Cli, Command, LogFormat, ServeConfig, StoreAction, StoreConfig, StorePlace};
use socket2me::process::{self, StopRequests};
use socket2me::proto::json;
use socket2me::service::{self, State};
use socket2me::{client, log, relay, store};
use tokio_util::sync::CancellationToken;

/// mimalloc keeps the pages of large bodies, which come and go all the time. The system's allocator returns them and fetches
/// new ones for each body.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::read().unwrap_or_else(|error| error.exit());
    let format = cli.log_format;
    let result = run(cli);
    match result {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(message) => {
            log::last_words(match format {
                LogFormat::Human => format!("socket2me: {message}"),
                LogFormat::Json => json_line(&[("level", "ERROR"), ("message", &message)]),
            });
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<Exit, String> {
    // Before there is a second thread: the log's is the first.
    let inherited = match cli.command {
        Command::Serve(_) => service::listeners()?,
        _ => Vec::new(),
    };
    // Dropped last, so that the log is whole.
    let _log = log::start(&cli.log, cli.log_format == LogFormat::Json, client::terminal::Stderr)?;
    for variable in config::unknown_variables() {
        tracing::warn!(variable, "no setting has this environment variable: socket2me serve --help lists them");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot start: {error}"))?;
    match cli.command {
        Command::Serve(config) => runtime.block_on(serve(*config, inherited, cli.log_format)).map(|()| Exit::Done),
        Command::Forward(config) => {
            runtime.block_on(stopped(cli.log_format, async |stop| client::run::forward(&config, stop).await))
        }
        Command::Up(config) => {
            runtime.block_on(stopped(cli.log_format, async |stop| client::up::up(&config, stop).await))
        }
        Command::Respond(config) => {
            runtime.block_on(stopped(cli.log_format, async |stop| client::run::respond(&config, stop).await))
        }
        Command::Dump(config) => {
            runtime.block_on(stopped(cli.log_format, async |stop| client::run::dump(&config, stop).await))
        }
        Command::Url(config) => Ok(client::run::url(&config)),
        Command::Doctor(config) => Ok(runtime.block_on(client::doctor::run(&config))),
        Command::Store(config) => runtime.block_on(move_tunnels(&config)).map(|()| Exit::Done),
        Command::Healthcheck(config) => {
            let found = runtime.block_on(client::healthcheck::run(&config))?;
            write(format!("{found}\n").as_bytes())
        }
        Command::Admin(config) => answered(runtime.block_on(client::admin::run(&config))),
        Command::Cluster(config) => answered(runtime.block_on(client::admin::cluster(&config))),
        Command::Completions(config) => write(&config::completions(&config)),
        Command::Man(config) => write(&config::page(&config).unwrap_or_else(|error| error.exit())),
    }
}

/// Writes what the server has answered to the operator.
fn answered(answer: Result<String, AdminError>) -> Result<Exit, String> {
    match answer {
        Ok(answer) => write(answer.as_bytes()),
        Err(AdminError::Failed(why)) => Err(why),
        Err(AdminError::Usage(why)) => said(&why, Exit::Usage),
        Err(AdminError::Refused(why)) => said(&why, Exit::Refused),
    }
}

/// Says why a command has failed, and with which code it ends.
fn said(why: &str, exit: Exit) -> Result<Exit, String> {
    log::last_words(format!("socket2me: {why}"));
    Ok(exit)
}

/// Writes what a command has made to standard output.
fn write(made: &[u8]) -> Result<Exit, String> {
    let mut out = io::stdout();
    out.write_all(made).and_then(|()| out.flush()).map_err(|error| format!("cannot write: {error}"))?;
    Ok(Exit::Done)
}

/// Runs a command that goes on until it is stopped by a signal.
async fn stopped(format: LogFormat, command: impl AsyncFnOnce(&CancellationToken) -> Exit) -> Result<Exit, String> {
    let stop = CancellationToken::new();
    let stops = StopRequests::listen().map_err(|error| format!("cannot wait for signals: {error}"))?;
    let shutdown = shutdown(stops, format);
    let told = stop.clone();
    tokio::spawn(async move {
        shutdown.await;
        told.cancel();
    });
    Ok(command(&stop).await)
}

async fn serve(mut config: ServeConfig, inherited: Vec<TcpListener>, format: LogFormat) -> Result<(), String> {
    let inherited = service::adopt(inherited).map_err(|error| error.to_string())?;
    if config.store_place().is_none() {
        let address = inherited.first().and_then(|listener| listener.local_addr().ok());
        config.default_store = default_store(address.map_or(config.address().port(), |address| address.port()));
    }
    if let Some(file) = &config.config_file {
        tracing::info!("settings are read from {} too", file.display());
    }
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    process::raise_open_files(config.limits.max_connections);
    let listeners = if inherited.is_empty() {
        relay::bind(config.address()).await.map_err(|error| error.to_string())?
    } else {
        tracing::info!("the service manager has bound the sockets: --listen and --port are not used");
        inherited
    };
    let signals = |error| format!("cannot wait for signals: {error}");
    let stops = if config.tls.is_on() || config.acme.is_on() {
        let (reload, retry) = (Arc::clone(&config.tls.reload), Arc::clone(&config.acme.retry));
        let told = move || [&reload, &retry].into_iter().for_each(|waits| waits.notify_one());
        process::reload_requests(told).map_err(signals)?;
        StopRequests::listen_without_hangup()
    } else {
        StopRequests::listen()
    };
    let shutdown = shutdown(stops.map_err(signals)?, format);
    let shutdown = async {
        shutdown.await;
        service::tell(State::Stopping);
    };
    for listener in &listeners {
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "listening");
    }
    let makes = if config.makes_original() {
        "get a token with: curl"
    } else if config.create_secret.is_some() {
        "make a tunnel with: curl -H 'Content-Type: application/json' -H \"X-Socket2Me-Create: $CREATE_SECRET\" -d '{}'"
    } else {
        "make a tunnel with: curl -H 'Content-Type: application/json' -d '{}'"
    };
    let ready = |url: &str| {
        let line = match format {
            LogFormat::Human => format!("Socket2Me is ready at {url} - {makes} {url}/new"),
            LogFormat::Json => json_line(&[("level", "INFO"), ("message", "Socket2Me is ready"), ("url", url)]),
        };
        // A server goes on whether or not somebody reads this.
        let _ = writeln!(io::stdout(), "{line}");
        service::tell(State::Ready);
    };
    relay::run(listeners, config, ready, shutdown).await.map_err(|error| error.to_string())
}

/// Returns the file in which a server on this port keeps tunnels if no setting says where.
fn default_store(port: u16) -> Option<PathBuf> {
    let file = config::default_store_file(port);
    if file.is_none() && port != 0 {
        tracing::warn!(
            "no folder for a file of tunnels is known: HOME, XDG_STATE_HOME and STATE_DIRECTORY are not set. Choose one with \
             --store file:PATH, or --store memory"
        );
    }
    file
}

/// Runs `socket2me store`.
async fn move_tunnels(config: &StoreConfig) -> Result<(), String> {
    let mut out = io::stdout();
    match config.action {
        StoreAction::Export => {
            store::write_lines(&read(&config.store).await?, &mut out).map_err(|error| error.to_string())
        }
        StoreAction::List => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
            let now = u64::try_from(now).unwrap_or(u64::MAX);
            store::list(read(&config.store).await?, now, &mut out).map_err(|error| error.to_string())
        }
        StoreAction::Import => {
            let tunnels = store::read_lines(io::stdin().lock())?;
            let store::Added { new, same, expired } = add(&config.store, tunnels).await?;
            let line = format!("{new} imported, {same} there already, {expired} expired");
            writeln!(out, "{line}").map_err(|error| error.to_string())
        }
    }
}

const ENDS_WITH_ITS_SERVER: &str = "memory ends with its server: name another store, such as --store file:PATH";

async fn read(place: &StorePlace) -> Result<Vec<store::Kept>, String> {
    match place {
        StorePlace::Memory => Err(ENDS_WITH_ITS_SERVER.to_owned()),
        StorePlace::File(path) => store::read_file(path).map_err(|error| error.to_string()),
        StorePlace::Redis(url) => store::read_redis(url.servers()?).await,
    }
}

async fn add(place: &StorePlace, tunnels: Vec<store::Kept>) -> Result<store::Added, String> {
    match place {
        StorePlace::Memory => Err(ENDS_WITH_ITS_SERVER.to_owned()),
        StorePlace::File(path) => store::add_to_file(path, tunnels).map_err(|error| error.to_string()),
        StorePlace::Redis(url) => store::add_to_redis(url.servers()?, tunnels).await,
    }
}

/// Completes at the first request to stop. The second ends the process at once.
async fn shutdown(mut stops: StopRequests, format: LogFormat) {
    stops.next().await;
    tokio::spawn(async move {
        stops.next().await;
        client::terminal::leave();
        log::last_words(match format {
            LogFormat::Human => "socket2me: stopped at once".to_owned(),
            LogFormat::Json => json_line(&[("level", "WARN"), ("message", "stopped at once")]),
        });
        std::process::exit(1);
    });
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
