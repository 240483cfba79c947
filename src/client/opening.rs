//! A tunnel before it is open: what the settings say of its server, its secret, its place and its URL.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::HeaderValue;
use tokio_util::sync::CancellationToken;

use super::api::{Api, Settings};
use super::dial::Dialer;
use super::forward::target::Target;
use super::report::{Exit, Failure, Report, Reporter};
use super::requests::Requests;
use super::saved::{Identity, Place, PlaceError};
use super::server_url::ServerUrl;
use super::tunnel::{Tunnel, UrlMode, Wanted};
use super::visit::Handler;
use crate::config::{self, NamedBy, TunnelConfig, UrlModeWord};

/// What a tunnel's requests go to.
pub(super) struct Subject {
    /// What tells it from others.
    pub(super) identity: String,
    /// How people are told of it.
    shown: String,
    /// It is on this machine.
    is_local: bool,
}

impl Subject {
    pub(super) fn of(target: &Target) -> Self {
        Self { identity: target.identity(), shown: target.to_string(), is_local: target.is_local() }
    }

    /// What the command of this name does with requests.
    pub(super) fn of_this_program(command: &str) -> Self {
        Self { identity: command.to_owned(), shown: format!("socket2me {command}"), is_local: true }
    }
}

/// What a tunnel is opened with, whatever its requests go to.
pub(super) struct Opening<'c> {
    config: &'c TunnelConfig,
    pub(super) server: ServerUrl,
    pub(super) dialer: Dialer,
    api: Api,
    pub(super) raw_headers: bool,
    /// What the person should know before.
    warning: Option<String>,
}

impl<'c> Opening<'c> {
    pub(super) fn new(config: &'c TunnelConfig) -> Result<Self, Failure> {
        let server = ServerUrl::parse(&config.at.server).map_err(Failure::usage)?;
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
        let stranger = config.create_secret.as_ref().and_then(|_| stranger(&config.at.named_by, &server));
        let secret = config.create_secret.as_ref().filter(|_| stranger.is_none()).map(|secret| {
            let mut value =
                HeaderValue::from_bytes(secret.as_bytes()).map_err(|error| Failure::usage(error.to_string()))?;
            value.set_sensitive(true);
            Ok(value)
        });
        let api = Api::new(Requests::new(dialer.clone(), server.clone()), secret.transpose()?);
        let warning = stranger.map(|setting| {
            format!("the create secret is not sent to {server}, which only {setting} names: if you trust it, name it with --server")
        });
        Ok(Self { config, server, dialer, api, raw_headers: false, warning })
    }

    /// Keeps the tunnel open until `stop` is cancelled.
    pub(super) async fn run(
        self,
        subject: &Subject,
        handler: &Handler,
        report: &Reporter,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        let Self { config, server, dialer, api, raw_headers, warning } = self;
        warning.into_iter().for_each(|warning| report(Report::Warning(warning)));
        let place = if config.ephemeral { None } else { Some(place(config, &server, subject)?) };
        let wanted = Wanted {
            server,
            name: config.name.clone(),
            settings: settings(config)?,
            url_mode: url_mode(config).await,
            target: subject.shown.clone(),
            place,
        };
        let tunnel = Tunnel::new(dialer, api, wanted, report.clone()).with_raw_headers(raw_headers);
        tunnel.run(handler, stop).await
    }
}

/// Returns the setting that names the server, if that is a project's and the person has not named the same one.
fn stranger<'c>(named_by: &'c NamedBy, server: &ServerUrl) -> Option<&'c str> {
    match named_by {
        NamedBy::Person => None,
        NamedBy::Project { setting, own } => {
            let is_own = own.iter().any(|own| ServerUrl::parse(own).is_ok_and(|own| own == *server));
            (!is_own).then_some(setting)
        }
    }
}

fn settings(config: &TunnelConfig) -> Result<Settings, Failure> {
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs().max(u64::from(!time.is_zero())));
    Ok(Settings {
        ttl: seconds(config.ttl),
        timeout: seconds(config.timeout),
        hold: seconds(config.hold),
        ends: config.ends.map(config::Ends::as_str),
        repeat: config.repeat.map(config::Repeat::as_str),
        rules: config.rules.rules().map_err(Failure::usage)?,
    })
}

/// Takes the place of the tunnel among those that are kept.
fn place(config: &TunnelConfig, server: &ServerUrl, subject: &Subject) -> Result<Place, Failure> {
    let folder = home(config).filter(|_| subject.is_local);
    let server = server.to_string();
    let identity = Identity {
        server: &server,
        target: &subject.identity,
        name: config.name.as_deref(),
        folder: folder.as_deref(),
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

/// Returns the folder whose tunnel it is.
fn home(config: &TunnelConfig) -> Option<PathBuf> {
    config.folder.clone().or_else(|| Some(project(&std::env::current_dir().ok()?).to_owned()))
}

/// Returns the folder of the project that a folder belongs to: the nearest above it that is under version control, or itself.
pub(super) fn project(folder: &Path) -> &Path {
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
