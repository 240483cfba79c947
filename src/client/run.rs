//! The commands, from their settings to their exit codes.

use std::io::IsTerminal as _;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use http::HeaderValue;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::api::{Api, Settings};
use super::dial::Dialer;
use super::forward::headers::HostHeader;
use super::forward::target::{App, At, Target};
use super::forward::{self};
use super::output;
use super::report::{Exit, Failure, Report, Reporter};
use super::requests::Requests;
use super::saved::{Identity, Place, PlaceError};
use super::server_url::ServerUrl;
use super::tunnel::{Tunnel, UrlMode, Wanted};
use crate::config::{self, ForwardConfig, HostHeaderWord, Output, UrlModeWord};

/// How often an app is looked for that is waited for.
const LOOK: Duration = Duration::from_millis(100);

/// Runs `socket2me forward` until `stop` is cancelled, and returns its exit code.
pub async fn forward(config: &ForwardConfig, stop: &CancellationToken) -> Exit {
    let format = match config.output {
        Output::Url => output::Format::Text,
        Output::Json => output::Format::Json,
    };
    let report = output::reporter(format, config.url_file.clone());
    match try_forward(config, &report, stop).await {
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

async fn try_forward(config: &ForwardConfig, report: &Reporter, stop: &CancellationToken) -> Result<(), Failure> {
    let server = ServerUrl::parse(&config.server).map_err(usage)?;
    if !server.is_tls() && !server.is_loopback() && !config.insecure {
        let message =
            format!("{server} is on another machine, and by http everybody on the way can read the tunnel's key");
        return Err(Failure::new(
            Exit::Usage,
            "insecure",
            message,
            "use https, or say --insecure if that is all right",
        ));
    }
    let target = Target::parse(&config.target).map_err(usage)?;
    let Target::App(app) = &target else {
        return Err(usage("folders are not served yet".to_owned()));
    };
    if is_the_server(app, &server).await {
        let message = format!("{} is the relay itself: its own requests would come back to it", config.target);
        return Err(Failure::new(Exit::Usage, "loop", message, "name the port that your app listens on"));
    }
    let dialer = Dialer::new(config.ca.as_deref()).map_err(|why| Failure::new(Exit::Failed, "tls", why, ""))?;
    if let Some(time) = config.wait {
        wait_for(app, &dialer, time, stop).await?;
        if stop.is_cancelled() {
            return Ok(());
        }
    }
    let secret = config.create_secret.as_ref().map(|secret| {
        let mut value = HeaderValue::from_bytes(secret.as_bytes()).map_err(|error| usage(error.to_string()))?;
        value.set_sensitive(true);
        Ok(value)
    });
    let api = Api::new(Requests::new(dialer.clone(), server.clone()), secret.transpose()?);
    let host_header = match &config.host_header {
        HostHeaderWord::Local => HostHeader::Local,
        HostHeaderWord::Keep => HostHeader::Keep,
        HostHeaderWord::Full => HostHeader::Full,
        HostHeaderWord::Value(host) => HostHeader::Value(host.clone()),
    };
    let handler = forward::to_app(app.clone(), dialer.tls(), host_header, config.hold_local, report.clone());
    let place = if config.ephemeral { None } else { Some(place(config, &server, &target)?) };
    let wanted = Wanted {
        server,
        name: config.name.clone(),
        settings: settings(config),
        url_mode: url_mode(config).await,
        target: target.to_string(),
        place,
    };
    Tunnel::new(dialer, api, wanted, report.clone()).run(&handler, stop).await
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

fn settings(config: &ForwardConfig) -> Settings {
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
fn place(config: &ForwardConfig, server: &ServerUrl, target: &Target) -> Result<Place, Failure> {
    let folder = std::env::current_dir().ok().filter(|_| target.is_local());
    let (server, target) = (server.to_string(), target.to_string());
    let identity = Identity {
        server: &server,
        target: &target,
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
async fn url_mode(config: &ForwardConfig) -> UrlMode {
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
