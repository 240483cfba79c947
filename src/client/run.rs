//! The commands, from their settings to their exit codes.

use std::io::IsTerminal as _;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::api::{Api, Settings};
use super::dial::Dialer;
use super::forward::target::{App, At, Target};
use super::forward::watch::Watch;
use super::forward::{self, Show};
use super::output;
use super::report::{Exit, Failure, Report, Reporter};
use super::requests::Requests;
use super::saved::{self, Identity, Place, PlaceError};
use super::server_url::ServerUrl;
use super::terminal::Terminal;
use super::tunnel::{Tunnel, UrlMode, Wanted};
use super::visit::Handler;
use crate::config::{
    self, DumpConfig, DumpOutput, ForwardConfig, Output, RespondConfig, TunnelConfig, UrlConfig, UrlModeWord,
};

/// How often an app is looked for that is waited for.
const LOOK: Duration = Duration::from_millis(100);

/// The commands that serve a tunnel without an app. A folder of this name is `./dump` to other commands.
const RESPOND: &str = "respond";
const DUMP: &str = "dump";

/// Runs `socket2me forward` until `stop` is cancelled, and returns its exit code.
pub async fn forward(config: &ForwardConfig, stop: &CancellationToken) -> Exit {
    let terminal = match config.output {
        Output::Url => Terminal::open(stop),
        Output::Json => None,
    };
    let url_file = config.tunnel.url_file.clone();
    let report = match &terminal {
        Some(terminal) => terminal.reporter(url_file),
        None => output::reporter(format(config.output), url_file),
    };
    let watch = terminal.as_ref().map(Terminal::watch);
    ended(try_forward(config, &report, watch, stop).await, &report)
}

/// Runs `socket2me respond` until `stop` is cancelled, and returns its exit code.
pub async fn respond(config: &RespondConfig, stop: &CancellationToken) -> Exit {
    let report = output::reporter(format(config.output), config.tunnel.url_file.clone());
    let mut headers = HeaderMap::new();
    for (name, value) in &config.headers {
        headers.append(name, value.clone());
    }
    let body = config.body_file.clone().or_else(|| config.body.clone().map(Bytes::from)).unwrap_or_default();
    let handler = forward::to_response(config.status, headers, body, report.clone());
    let outcome = match Opening::new(&config.tunnel) {
        Ok(opening) => opening.run(&Subject::of_this_program(RESPOND), &handler, &report, stop).await,
        Err(failure) => Err(failure),
    };
    ended(outcome, &report)
}

/// Runs `socket2me dump` until `stop` is cancelled, and returns its exit code.
pub async fn dump(config: &DumpConfig, stop: &CancellationToken) -> Exit {
    let report = output::reporter(output::Format::Aside, config.tunnel.url_file.clone());
    let show = match config.output {
        DumpOutput::Text => Show::Text,
        DumpOutput::Json => Show::Json,
    };
    let handler = forward::to_dump(show, config.max_body);
    let outcome = match Opening::new(&config.tunnel) {
        Ok(mut opening) => {
            opening.raw_headers = true;
            opening.run(&Subject::of_this_program(DUMP), &handler, &report, stop).await
        }
        Err(failure) => Err(failure),
    };
    ended(outcome, &report)
}

/// Runs `socket2me url`, and returns its exit code.
#[must_use]
pub fn url(config: &UrlConfig) -> Exit {
    let report = output::reporter(output::Format::Aside, None);
    let outcome = saved_url(config).map(|url| output::print(&url));
    ended(outcome, &report)
}

/// Returns the URL of the tunnel that is meant.
fn saved_url(config: &UrlConfig) -> Result<String, Failure> {
    let none = |message: &str, hint: &str| Failure::new(Exit::Failed, "no-tunnel", message, hint);
    let server = ServerUrl::parse(&config.at.server).map_err(usage)?.to_string();
    let subject = match config.target.as_deref() {
        None => None,
        Some(word @ (RESPOND | DUMP)) => Some(Subject::of_this_program(word)),
        Some(target) => Some(Subject::of(&Target::parse(target).map_err(usage)?)),
    };
    let folder = std::env::current_dir().ok();
    let wanted = saved::Wanted {
        server: &server,
        name: config.name.as_deref(),
        target: subject.as_ref().map(|subject| &*subject.identity),
        folder: folder.as_deref().map(project),
    };
    let tunnels = config::state_folder().map(|folder| folder.join("tunnels"));
    let tunnels = tunnels.ok_or_else(|| none(&PlaceError::NoFolder.to_string(), ""))?;
    let found =
        saved::find(&tunnels, &wanted).map_err(|why| Failure::new(Exit::Failed, "state-unreadable", why, ""))?;
    match found.as_slice() {
        [] => {
            let hint = "it is saved once `socket2me forward` has opened it, for this folder, --server and --name, without --ephemeral";
            Err(none("no such tunnel is saved", hint))
        }
        [(_, url)] => Ok(url.clone()),
        several => {
            let targets: Vec<_> = several.iter().map(|(target, _)| &**target).collect();
            Err(none("several tunnels are saved", &format!("say which one: {}", targets.join(", "))))
        }
    }
}

/// Returns where reports go that are told as this setting says.
fn format(output: Output) -> output::Format {
    match output {
        Output::Url => output::Format::Text,
        Output::Json => output::Format::Json,
    }
}

/// Tells why a command has failed, if it has. Returns its exit code.
fn ended(outcome: Result<(), Failure>, report: &Reporter) -> Exit {
    match outcome {
        Ok(()) => Exit::Done,
        Err(failure) => {
            let exit = failure.exit;
            report(Report::Failed(failure));
            exit
        }
    }
}

fn usage(message: String) -> Failure {
    Failure::new(Exit::Usage, "usage", message, "")
}

async fn try_forward(
    config: &ForwardConfig,
    report: &Reporter,
    watch: Option<&Arc<Watch>>,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let opening = Opening::new(&config.tunnel)?;
    let target = Target::parse(&config.target).map_err(usage)?;
    let handler = match &target {
        Target::Directory(folder) => forward::to_folder(folder, report.clone()),
        Target::App(app) => {
            if is_the_server(app, &opening.server).await {
                let message = format!("{} is the relay itself: its own requests would come back to it", config.target);
                return Err(Failure::new(Exit::Usage, "loop", message, "name the port that your app listens on"));
            }
            if let Some(time) = config.wait {
                wait_for(app, &opening.dialer, time, stop).await?;
                if stop.is_cancelled() {
                    return Ok(());
                }
            }
            forward::to_app(
                app.clone(),
                opening.dialer.tls(),
                config.host_header.clone(),
                config.hold_local,
                report.clone(),
            )
        }
    };
    let handler = match watch {
        Some(watch) => watch.over(handler),
        None => handler,
    };
    opening.run(&Subject::of(&target), &handler, report, stop).await
}

/// What a tunnel's requests go to.
struct Subject {
    /// What tells it from others.
    identity: String,
    /// How people are told of it.
    shown: String,
    /// It is on this machine.
    is_local: bool,
}

impl Subject {
    fn of(target: &Target) -> Self {
        Self { identity: target.identity(), shown: target.to_string(), is_local: target.is_local() }
    }

    /// What the command of this name does with requests.
    fn of_this_program(command: &str) -> Self {
        Self { identity: command.to_owned(), shown: format!("socket2me {command}"), is_local: true }
    }
}

/// What a tunnel is opened with, whatever its requests go to.
struct Opening<'c> {
    config: &'c TunnelConfig,
    server: ServerUrl,
    dialer: Dialer,
    api: Api,
    raw_headers: bool,
}

impl<'c> Opening<'c> {
    fn new(config: &'c TunnelConfig) -> Result<Self, Failure> {
        let server = ServerUrl::parse(&config.at.server).map_err(usage)?;
        if !server.is_tls() && !server.is_loopback() && !config.at.insecure {
            let message =
                format!("{server} is on another machine, and by http everybody on the way can read the tunnel's key");
            return Err(Failure::new(
                Exit::Usage,
                "insecure",
                message,
                "use https, or say --insecure if that is all right",
            ));
        }
        let dialer = Dialer::new(config.at.ca.as_deref()).map_err(|why| Failure::new(Exit::Failed, "tls", why, ""))?;
        let secret = config.create_secret.as_ref().map(|secret| {
            let mut value = HeaderValue::from_bytes(secret.as_bytes()).map_err(|error| usage(error.to_string()))?;
            value.set_sensitive(true);
            Ok(value)
        });
        let api = Api::new(Requests::new(dialer.clone(), server.clone()), secret.transpose()?);
        Ok(Self { config, server, dialer, api, raw_headers: false })
    }

    /// Keeps the tunnel open until `stop` is cancelled.
    async fn run(
        self,
        subject: &Subject,
        handler: &Handler,
        report: &Reporter,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        let Self { config, server, dialer, api, raw_headers } = self;
        let place = if config.ephemeral { None } else { Some(place(config, &server, subject)?) };
        let wanted = Wanted {
            server,
            name: config.name.clone(),
            settings: settings(config),
            url_mode: url_mode(config).await,
            target: subject.shown.clone(),
            place,
        };
        let tunnel = Tunnel::new(dialer, api, wanted, report.clone()).with_raw_headers(raw_headers);
        tunnel.run(handler, stop).await
    }
}

/// Tells whether the app is the server: one of its addresses is one of the server's.
async fn is_the_server(app: &App, server: &ServerUrl) -> bool {
    let app = match &app.at {
        At::Port(port) => vec![(Ipv4Addr::LOCALHOST, *port).into(), (Ipv6Addr::LOCALHOST, *port).into()],
        At::Host(host, port) => addresses(host, *port).await,
        At::Unix(_) => Vec::new(),
    };
    addresses(server.host(), server.port()).await.iter().any(|address| app.contains(address))
}

async fn addresses(host: &str, port: u16) -> Vec<SocketAddr> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    // A name that is not found now is said when it is dialled.
    tokio::net::lookup_host((host, port)).await.map(Iterator::collect).unwrap_or_default()
}

/// Waits until the app listens.
async fn wait_for(app: &App, dialer: &Dialer, time: Duration, stop: &CancellationToken) -> Result<(), Failure> {
    let until = Instant::now() + time;
    while !forward::is_listening(app, dialer.tls()).await {
        if Instant::now() >= until {
            let message = format!("nothing listens at {} after {} s", Target::App(app.clone()), time.as_secs_f64());
            return Err(Failure::new(
                Exit::NoLocalApp,
                "no-local-app",
                message,
                "start the app, or give it more time with --wait",
            ));
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => (),
            () = stop.cancelled() => return Ok(()),
        }
    }
    Ok(())
}

fn settings(config: &TunnelConfig) -> Settings {
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs().max(u64::from(!time.is_zero())));
    Settings {
        ttl: seconds(config.ttl),
        timeout: seconds(config.timeout),
        hold: seconds(config.hold),
        ends: config.ends.map(config::Ends::as_str),
        repeat: config.repeat.map(config::Repeat::as_str),
    }
}

/// Takes the place of the tunnel among those that are kept.
fn place(config: &TunnelConfig, server: &ServerUrl, subject: &Subject) -> Result<Place, Failure> {
    let folder = std::env::current_dir().ok().filter(|_| subject.is_local);
    let server = server.to_string();
    let identity = Identity {
        server: &server,
        target: &subject.identity,
        name: config.name.as_deref(),
        folder: folder.as_deref().map(project),
    };
    let tunnels = config::state_folder().map(|folder| folder.join("tunnels"));
    Place::take(tunnels, identity).map_err(|error| {
        let (exit, code) = match error {
            PlaceError::InUse => (Exit::TakenOver, "in-use"),
            PlaceError::NoFolder | PlaceError::Failed(..) => (Exit::Failed, "state"),
        };
        Failure::new(exit, code, error.to_string(), "")
    })
}

/// Returns the folder of the project that a folder belongs to: the nearest above it that is under version control, or itself.
fn project(folder: &Path) -> &Path {
    folder.ancestors().find(|folder| folder.join(".git").exists()).unwrap_or(folder)
}

/// Returns which URL is told.
async fn url_mode(config: &TunnelConfig) -> UrlMode {
    match config.url_mode {
        Some(UrlModeWord::Host) => UrlMode::Host,
        Some(UrlModeWord::Path) => UrlMode::Path,
        // A person opens it in a browser, which knows such hosts; a program asks the system, which may not.
        None if std::io::stdout().is_terminal() => UrlMode::Host,
        None => match tokio::net::lookup_host(("socket2me.localhost", 80)).await {
            Ok(_) => UrlMode::Host,
            Err(_) => UrlMode::HostUnlessLocalhost,
        },
    }
}
