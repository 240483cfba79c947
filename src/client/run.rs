//! The commands, from their settings to their exit codes.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::dial::Dialer;
use super::forward::target::{App, At, Target};
use super::forward::watch::Watch;
use super::forward::{self, Show};
use super::opening::{Opening, Subject, project};
use super::output;
use super::report::{Exit, Failure, Report, Reporter};
use super::saved::{self, PlaceError};
use super::server_url::ServerUrl;
use super::terminal::Terminal;
use crate::config::{self, DumpConfig, DumpOutput, ForwardConfig, Output, RespondConfig, UrlConfig};

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
    let server = ServerUrl::parse(&config.at.server).map_err(Failure::usage)?.to_string();
    let subject = match config.target.as_deref() {
        None => None,
        Some(word @ (RESPOND | DUMP)) => Some(Subject::of_this_program(word)),
        Some(target) => Some(Subject::of(&Target::parse(target).map_err(Failure::usage)?)),
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
pub(super) fn format(output: Output) -> output::Format {
    match output {
        Output::Url => output::Format::Text,
        Output::Json => output::Format::Json,
    }
}

/// Tells why a command has failed, if it has. Returns its exit code.
pub(super) fn ended(outcome: Result<(), Failure>, report: &Reporter) -> Exit {
    match outcome {
        Ok(()) => Exit::Done,
        Err(failure) => {
            let exit = failure.exit;
            report(Report::Failed(failure));
            exit
        }
    }
}

/// Forwards a tunnel's requests until `stop` is cancelled.
pub(super) async fn try_forward(
    config: &ForwardConfig,
    report: &Reporter,
    watch: Option<&Arc<Watch>>,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let opening = Opening::new(&config.tunnel)?;
    let target = Target::parse(&config.target).map_err(Failure::usage)?;
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
                (config.host_header.clone(), config.keep_prefix),
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
