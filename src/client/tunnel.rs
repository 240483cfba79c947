//! A tunnel that an end keeps open: it is made, or found again, and its session comes back whenever it is lost.
//!
//! ```text
//!          a saved one, or POST /new           ready                        lost, stopping, moving
//! (none) ───────────────────────────► Known ─────────► Open ────────────────────────────────────────► Known
//!    ▲                                  │ token-not-found, expired, deleted
//!    └──────────────────────────────────┘
//! ```
//!
//! A session that the server moves to another node goes on with the requests that it has, beside the next one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::api::{Api, ApiError, Settings, printable};
use super::backoff::{self, Backoff, GOOD};
use super::dial::Dialer;
use super::exchanges::Notice;
use super::report::{Exit, Failure, Report, Reporter};
use super::saved::{self, Place};
use super::server_url::ServerUrl;
use super::session::{Ended, Join, Session};
use super::unmade::{foreign, lost_connection, unmade};
use super::visit::Handler;
use super::websocket::OpenError;
use crate::proto::engine_io::Revision;
use crate::proto::engine_io::client::Transports;
use crate::proto::exchange::stream::{Closing, MAX_WINDOW, Ready};
use crate::proto::key::Key;
use crate::proto::socket_io::Namespace;
use crate::proto::socket_io::connection::client::Credentials;

/// How long requests in flight may take once the end is told to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// How long the server may take to say `ready` to an end that it has let in.
const READY: Duration = Duration::from_secs(30);

/// More than the notices of one session: one of each kind, and a few warnings.
const NOTICES: usize = 32;

/// Which of a tunnel's URLs is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UrlMode {
    /// The tunnel's own host, where the server has one.
    Host,
    /// The tunnel's own host, unless it is a `NAME.localhost`.
    HostUnlessLocalhost,
    /// The path on the server's host.
    Path,
}

/// What is wanted of a tunnel.
#[derive(Debug)]
pub struct Wanted {
    /// The server.
    pub server: ServerUrl,
    /// The name that is asked for.
    pub name: Option<String>,
    /// What the server is told about the tunnel.
    pub settings: Settings,
    /// Which URL is told.
    pub url_mode: UrlMode,
    /// What requests are forwarded to, for people.
    pub target: String,
    /// Where the tunnel is kept; `None` keeps nothing, and deletes the tunnel at the end.
    pub place: Option<Place>,
}

/// The server and the tunnel that an end serves.
pub struct Tunnel {
    dialer: Dialer,
    api: Api,
    wanted: Wanted,
    report: Reporter,
    known: Option<Known>,
    /// The server has been asked for the tunnel, or about it.
    is_checked: bool,
    transports: Transports,
    /// The URL that was told, in this run or in the one before.
    told: Option<String>,
    has_told: bool,
    raw_headers: bool,
    /// When the server has let the present session in, or the last one. `None` if it has not.
    ready_at: Option<Instant>,
    /// Sessions that get no more requests, and answer those that they have.
    moving: JoinSet<()>,
}

/// A tunnel that there is.
#[derive(Debug, Clone)]
struct Known {
    token: String,
    key: Key,
}

/// What the server has said of a session.
#[derive(Debug, Default)]
struct Said {
    is_ready: bool,
    closing: Option<Closing>,
    refusal: Option<(String, String)>,
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

impl Tunnel {
    /// Prepares a tunnel.
    #[must_use]
    pub fn new(dialer: Dialer, api: Api, wanted: Wanted, report: Reporter) -> Self {
        Self {
            dialer,
            api,
            wanted,
            report,
            known: None,
            is_checked: false,
            transports: Transports::WebSocket,
            told: None,
            has_told: false,
            raw_headers: false,
            ready_at: None,
            moving: JoinSet::new(),
        }
    }

    /// Asks for each line of requests' headers.
    #[must_use]
    pub fn with_raw_headers(self, raw_headers: bool) -> Self {
        Self { raw_headers, ..self }
    }

    /// Keeps the tunnel open until `stop` is cancelled.
    ///
    /// # Errors
    /// When the tunnel cannot be kept open: the server refuses, another end has taken it over, or the server cannot be trusted.
    pub async fn run(mut self, handler: &Handler, stop: &CancellationToken) -> Result<(), Failure> {
        let (mut backoff, mut was_gone) = (Backoff::default(), false);
        self.load()?;
        while !stop.is_cancelled() {
            self.ready_at = None;
            let lost = tokio::select! {
                biased;
                lost = self.open(handler, stop) => lost?,
                // What was open before the machine slept is gone, and it would take long to notice.
                () = backoff::woken() => Some("the machine was asleep".to_owned()),
            };
            let Some(why) = lost else { break };
            // A server that does not know the tunnel is there; but it may say so each time.
            let is_gone = !self.is_checked && self.has_told;
            // A server that is slow to fail has let no session in.
            let was_good = self.ready_at.is_some_and(|ready_at| ready_at.elapsed() > GOOD);
            if was_good || (is_gone && !was_gone) {
                backoff.reset();
            }
            was_gone = is_gone;
            let after = backoff.next(rand::random());
            (self.report)(Report::Reconnecting { why: printable(&why), after });
            tokio::select! {
                () = backoff::wait(after) => (),
                () = stop.cancelled() => (),
            }
        }
        // They have been told to stop, and have a time limit.
        while self.moving.join_next().await.is_some() {}
        self.leave().await;
        Ok(())
    }

    /// Deletes a tunnel that nobody keeps.
    async fn leave(&mut self) {
        if let (None, Some(known)) = (&self.wanted.place, &self.known)
            && let Err(error) = self.api.delete(&known.token, &known.key).await
        {
            tracing::debug!(%error, "the tunnel is not deleted, and expires by itself");
        }
    }

    /// Reads the tunnel of the run before.
    fn load(&mut self) -> Result<(), Failure> {
        let Some(place) = &self.wanted.place else { return Ok(()) };
        let kept = place.load().map_err(|why| Failure::new(Exit::Failed, "state-unreadable", why, ""))?;
        if let Some(saved::Tunnel { token, key, url }) = kept {
            (self.report)(Report::Reused { file: place.file().display().to_string() });
            self.told = Some(url);
            self.known = Some(Known { token, key });
        }
        Ok(())
    }

    /// Opens the tunnel and serves it until the session is lost. Returns why, or `None` when it was asked to stop.
    async fn open(&mut self, handler: &Handler, stop: &CancellationToken) -> Result<Option<String>, Failure> {
        let checked = tokio::select! {
            checked = self.check() => checked,
            () = stop.cancelled() => return Ok(None),
        };
        match checked {
            Err(error) => unmade(&error).map(Some),
            Ok(known) => {
                let (ended, said) = self.serve(&known, handler, stop).await?;
                self.after(ended, said, stop)
            }
        }
    }

    /// Returns the tunnel. It is made if there is none; and the first time in a run, what is wanted of it is set.
    async fn check(&mut self) -> Result<Known, ApiError> {
        let Wanted { name, settings, .. } = &self.wanted;
        let known = match self.known.clone() {
            Some(known) if self.is_checked => return Ok(known),
            // The server knows by the key whose name it is, and makes the tunnel anew if it has gone.
            Some(Known { token, key }) if name.is_some() => {
                let made = self.api.make(name.as_deref(), settings, Some(&key)).await?;
                if made.key.is_none() && *settings != Settings::default() {
                    self.api.set(&token, settings, &key).await?;
                }
                Some(Known { token: made.token, key })
            }
            Some(known) => match self.api.set(&known.token, settings, &known.key).await {
                Ok(()) => Some(known),
                Err(ApiError::Refused { code, .. }) if code == "token-not-found" => None,
                Err(error) => return Err(error),
            },
            None => None,
        };
        let known = match known {
            Some(known) => known,
            None => {
                let made = self.api.make(name.as_deref(), settings, None).await?;
                let key = made.key.as_deref().and_then(Key::parse);
                let key = key.ok_or_else(|| ApiError::Foreign("its answer has no key".to_owned()))?;
                Known { token: made.token, key }
            }
        };
        self.is_checked = true;
        self.known = Some(known.clone());
        Ok(known)
    }

    /// Serves one session.
    async fn serve(
        &mut self,
        known: &Known,
        handler: &Handler,
        stop: &CancellationToken,
    ) -> Result<(Ended, Said), Failure> {
        let namespace = Namespace::new(format!("/{}", known.token).into());
        let namespace = namespace.ok_or_else(|| foreign("the token that it gives is none"))?;
        let stream = format!(r#"{{"version":1,"window":{MAX_WINDOW},"ws":"raw"}}"#);
        let raw_headers = self.raw_headers;
        let auth = format!(r#"{{"key":"{}","rawHeaders":{raw_headers},"stream":{stream}}}"#, known.key.as_str());
        let credentials = Credentials::Auth(auth.into());
        let join = Join { namespace, credentials, revision: Revision::V4, transports: self.transports };
        // What the server says of a session is little: it is let in, refused, or about to be left.
        let (tell, mut notices) = mpsc::channel(NOTICES);
        let notify = move |notice| drop(tell.try_send(notice));
        let session = Session::open(&self.dialer, &self.wanted.server, join, Arc::clone(handler), notify);
        let leave = stop.child_token();
        let mut said = Said::default();
        // A task of its own, which ends with this set. The command's own future runs on the main thread, and each request would
        // wake that thread, which would wake the thread of the request's handler, and so on.
        let (mut serving, left) = (JoinSet::new(), leave.clone());
        serving.spawn(async move { session.serve(&left, DRAIN).await });
        let ready_by = Instant::now() + READY;
        let ended = loop {
            tokio::select! {
                Some(ended) = serving.join_next() => {
                    break ended.unwrap_or_else(|error| Ended::Lost(format!("the session's task has failed: {error}")));
                }
                Some(notice) = notices.recv() => self.notice(notice, known, &mut said, &leave)?,
                () = tokio::time::sleep_until(ready_by), if !said.is_ready => leave.cancel(),
            }
            if said.closing == Some(Closing::Moving) {
                while self.moving.try_join_next().is_some() {}
                self.moving.spawn(async move { drop(serving.join_next().await) });
                return Ok((Ended::Lost("the server moves the end to another node".to_owned()), said));
            }
        };
        while let Ok(notice) = notices.try_recv() {
            self.notice(notice, known, &mut said, &leave)?;
        }
        Ok((ended, said))
    }

    /// Hears what the server says. A session that has nothing more to serve is left.
    fn notice(
        &mut self,
        notice: Notice,
        known: &Known,
        said: &mut Said,
        leave: &CancellationToken,
    ) -> Result<(), Failure> {
        match notice {
            Notice::Ready(ready) => {
                said.is_ready = true;
                self.ready_at = Some(Instant::now());
                self.ready(&ready, known)?;
            }
            Notice::Refused { code, message } => {
                said.refusal = Some((code, printable(&message)));
                leave.cancel();
            }
            Notice::Closing(closing) => {
                said.closing = Some(closing);
                (self.report)(Report::Closing { code: closing.as_str() });
            }
            Notice::Left => leave.cancel(),
            Notice::Warning(what) => (self.report)(Report::Warning(printable(&what))),
        }
        Ok(())
    }

    /// Tells the tunnel's URL, and keeps the tunnel.
    fn ready(&mut self, ready: &Ready, known: &Known) -> Result<(), Failure> {
        let url = match self.wanted.url_mode {
            UrlMode::Path => &ready.path_url,
            UrlMode::HostUnlessLocalhost if is_localhost(&ready.url) => &ready.path_url,
            UrlMode::Host | UrlMode::HostUnlessLocalhost => &ready.url,
        };
        // It goes to standard output and into terminals.
        if url.chars().any(|char| char.is_control() || char.is_whitespace()) || !url.starts_with("http") {
            return Err(foreign("the URL that it gives is none"));
        }
        let url = url.to_string();
        let has_changed = self.told.as_ref().is_some_and(|told| *told != url);
        if self.has_told && !has_changed {
            (self.report)(Report::Reconnected);
            return Ok(());
        }
        if let Some(place) = &self.wanted.place {
            let tunnel = saved::Tunnel { token: known.token.clone(), key: known.key.clone(), url: url.clone() };
            if let Err(why) = place.save(&tunnel) {
                (self.report)(Report::Warning(format!("the URL will be another one next time: {why}")));
            }
        }
        self.told = Some(url.clone());
        self.has_told = true;
        (self.report)(Report::Ready { url, target: self.wanted.target.clone(), has_changed });
        Ok(())
    }

    /// Decides what follows a session: another one, for the reason that is returned; the end, `None`; or a failure.
    fn after(&mut self, ended: Ended, said: Said, stop: &CancellationToken) -> Result<Option<String>, Failure> {
        if let Some((code, message)) = said.refusal {
            return self.refused(&code, message).map(Some);
        }
        match said.closing {
            Some(Closing::TakenOver) => {
                let hint = "stop the other program, or give this one a --name of its own";
                return Err(Failure::new(Exit::TakenOver, "taken-over", "another end has taken the tunnel over", hint));
            }
            Some(Closing::Deleted) if self.wanted.name.is_some() => {
                let hint = "start again to make it anew, if its name is still free";
                return Err(Failure::new(Exit::Refused, "deleted", "the tunnel was deleted by its owner", hint));
            }
            Some(closing @ (Closing::Expired | Closing::Deleted)) => {
                return self.gone(format!("the tunnel is {}", closing.as_str())).map(Some);
            }
            Some(Closing::Stopping | Closing::Moving) | None => (),
        }
        match ended {
            Ended::Stopped if stop.is_cancelled() => Ok(None),
            Ended::Stopped if said.is_ready => Ok(Some("the server has let the end go".to_owned())),
            Ended::Stopped => {
                let why = "the server knows no streaming, or did not say `ready` in time";
                Err(Failure::new(
                    Exit::Refused,
                    "no-streaming",
                    why,
                    "update the server: forward needs one of this version",
                ))
            }
            Ended::Unopened(OpenError::Dial(error)) => lost_connection(&error).map(Some),
            Ended::Unopened(error) => {
                // Something on the way may not pass WebSockets: long-polling does without.
                self.transports = Transports::Upgrade;
                Ok(Some(error.to_string()))
            }
            Ended::Lost(why) => Ok(Some(why)),
        }
    }

    /// Decides what follows a refusal.
    fn refused(&mut self, code: &str, message: String) -> Result<String, Failure> {
        match code {
            "token-not-found" => self.gone("the server does not know the tunnel any more".to_owned()),
            "stopping" | "store-unavailable" => Ok(message),
            "key-wrong" | "key-required" => {
                let file = self.wanted.place.as_ref().map(|place| place.file().display().to_string());
                let hint =
                    file.map(|file| format!("the key is in {file}: delete it for a new tunnel")).unwrap_or_default();
                Err(Failure::new(Exit::Refused, code, message, &hint))
            }
            code => {
                let code = if code.is_empty() { "refused" } else { code };
                Err(Failure::new(Exit::Refused, code, message, ""))
            }
        }
    }

    /// Makes a tunnel anew that is gone. One with a name is asked for by its key.
    fn gone(&mut self, why: String) -> Result<String, Failure> {
        if self.wanted.name.is_none() {
            self.known = None;
            if let Some(place) = &self.wanted.place {
                place.forget();
            }
        }
        self.is_checked = false;
        Ok(why)
    }
}

/// Whether a URL's host is a name below `localhost`.
fn is_localhost(url: &str) -> bool {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest.split('/').next().unwrap_or_default());
    authority.split(':').next().is_some_and(|host| host.ends_with(".localhost"))
}

#[cfg(test)]
mod tests;
