//! What is wrong between this machine and a server: one line for each check.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header;
use http::{Method, Response, StatusCode};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::api::printable;
use super::dial::{DialError, Dialer};
use super::exchanges::Notice;
use super::forward;
use super::forward::target::Target;
use super::output::print;
use super::report::Exit;
use super::requests::{RequestError, Requests};
use super::server_url::ServerUrl;
use super::session::{Join, Session};
use super::visit::{Visit, handler};
use crate::config::DoctorConfig;
use crate::proto::engine_io::Revision;
use crate::proto::engine_io::client::Transports;
use crate::proto::socket_io::Namespace;
use crate::proto::socket_io::connection::client::Credentials;

/// How long one check may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The largest answer that is read, in bytes: the server's page.
const ANSWER: usize = 64 << 10;

/// How much the clocks may differ. Signatures of webhooks are refused after five minutes, and certificates may be new.
const CLOCKS: Duration = Duration::from_secs(60);

/// A tunnel that there is not: the server's refusal to join it shows that packets go both ways.
const NOBODY: &str = "/socket2me-doctor";

/// This program's version.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Runs `socket2me doctor`, and returns its exit code.
pub async fn run(config: &DoctorConfig) -> Exit {
    let target = config.target.as_deref().map(Target::parse).transpose();
    let (server, target) = match (ServerUrl::parse(&config.at.server), target) {
        (Ok(server), Ok(target)) => (server, target),
        (Err(why), _) | (Ok(_), Err(why)) => {
            print(&format!("fail usage: {why}"));
            return Exit::Usage;
        }
    };
    let mut findings = Findings::default();
    match Dialer::new(config.at.ca.as_deref()) {
        Err(why) => findings.fail("certificates", &why, "give --ca a file with certificates in PEM"),
        Ok(dialer) => {
            if way(&dialer, &server, &mut findings).await {
                what_it_is(&dialer, &server, &mut findings).await;
                transports(&dialer, &server, &mut findings).await;
            }
            if let Some(target) = &target {
                local(target, &dialer, &mut findings).await;
            }
        }
    }
    if findings.failures == 0 { Exit::Done } else { Exit::Failed }
}

/// What is found is printed at once.
#[derive(Debug, Default)]
struct Findings {
    failures: usize,
}

impl Findings {
    fn ok(&self, check: &str, found: &str) {
        print(&printable(&format!("ok   {check}: {found}")));
    }

    fn warn(&self, check: &str, found: &str, hint: &str) {
        print(&printable(&format!("warn {check}: {found}: {hint}")));
    }

    fn fail(&mut self, check: &str, found: &str, hint: &str) {
        self.failures += 1;
        print(&printable(&format!("fail {check}: {found}: {hint}")));
    }
}

/// Checks the way to the server. Returns false if there is none.
async fn way(dialer: &Dialer, server: &ServerUrl, findings: &mut Findings) -> bool {
    let host = server.host().trim_start_matches('[').trim_end_matches(']');
    match dialer.proxy(server) {
        Some(proxy) => findings.ok("proxy", &format!("{proxy}, which the environment names and which finds {host}")),
        None if host.parse::<IpAddr>().is_ok() => (),
        None => match tokio::net::lookup_host((host, server.port())).await {
            Ok(found) => {
                let found: Vec<_> = found.map(|address| address.ip().to_string()).collect();
                findings.ok("name", &format!("{host} is {}", found.join(" and ")));
            }
            Err(error) => {
                let hint = "is it spelt right, and does this machine reach a name server?";
                findings.fail("name", &format!("{host} is not found: {error}"), hint);
                return false;
            }
        },
    }
    let began = Instant::now();
    let hint = match dialer.dial(server).await {
        Ok(_) => {
            let took = began.elapsed().as_millis();
            if server.is_tls() {
                findings
                    .ok("connection", &format!("open after {took} ms, with a certificate that this machine trusts"));
            } else if server.is_loopback() {
                findings.ok("connection", &format!("open after {took} ms, on this machine"));
            } else {
                let found = format!("open after {took} ms, and everybody on the way can read the keys of tunnels");
                findings.warn("connection", &found, "use https");
            }
            return true;
        }
        Err(error) => {
            let hint = match &error {
                DialError::Certificate(_) => "if it is signed by a root of your own, give that with --ca FILE",
                DialError::Proxy(_) => "ask who runs the proxy, or set NO_PROXY for this host",
                DialError::Unreachable(_) => {
                    "is the server running, is its port right, and does a firewall let it pass?"
                }
            };
            (error, hint)
        }
    };
    findings.fail("connection", &hint.0.to_string(), hint.1);
    false
}

/// Checks that the server is one of this kind, its version, and its clock.
async fn what_it_is(dialer: &Dialer, server: &ServerUrl, findings: &mut Findings) {
    let mut requests = Requests::new(dialer.clone(), server.clone());
    let answer = match get(&mut requests, "/healthz").await {
        Ok(answer) => answer,
        Err(error) => {
            return findings.fail("server", &error.to_string(), "is --server the URL of a Socket2Me server?");
        }
    };
    let text = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
    match text("x-socket2me-version") {
        Some(version) if is_alike(version, VERSION) => findings.ok("server", &format!("Socket2Me {version}")),
        Some(version) => {
            let found = format!("Socket2Me {version}, and this program is {VERSION}");
            findings.warn("server", &found, "use programs of one version if something does not work");
        }
        None if is_socket2me(&mut requests).await => {
            let found = "a Socket2Me that is older than this program";
            findings.warn("server", found, "update it if something does not work");
        }
        None => {
            let found = format!("no Socket2Me: {server}/healthz is {}", answer.status());
            findings.fail("server", &found, "is --server its URL, with its path if it has one?");
        }
    }
    let Some(theirs) = text(header::DATE.as_str()).and_then(|date| httpdate::parse_http_date(date).ok()) else {
        return;
    };
    let ours = SystemTime::now();
    let apart = ours.duration_since(theirs).unwrap_or_else(|error| error.duration());
    let way = if ours < theirs { "behind" } else { "ahead of" };
    let found = format!("this machine's is {} s {way} the server's", apart.as_secs());
    if apart > CLOCKS {
        findings.warn("clock", &found, "set the clock that is wrong, as by NTP");
    } else {
        findings.ok("clock", &found);
    }
}

async fn get(requests: &mut Requests, path: &str) -> Result<Response<Bytes>, RequestError> {
    let request = requests.request(Method::GET, path, Bytes::new())?;
    requests.send(request, ANSWER, PATIENCE).await
}

/// Tells whether the page of the server is that of this program.
async fn is_socket2me(requests: &mut Requests) -> bool {
    let page = get(requests, "/").await;
    page.is_ok_and(|page| page.status() == StatusCode::OK && page.body().starts_with(b"Socket2Me "))
}

/// Tells whether two versions differ in nothing that matters: of `0.x`, in the last number, else in the last two.
fn is_alike(one: &str, other: &str) -> bool {
    let significant = |version: &str| {
        let mut numbers = version.split('.').map(str::to_owned);
        let first = numbers.next();
        let second = numbers.next().filter(|_| first.as_deref() == Some("0"));
        (first, second)
    };
    significant(one) == significant(other)
}

/// Checks each transport alone.
async fn transports(dialer: &Dialer, server: &ServerUrl, findings: &mut Findings) {
    let websocket = transport(dialer, server, Transports::WebSocket).await;
    let polling = transport(dialer, server, Transports::Polling).await;
    let proxies = "proxies and firewalls on the way must let it pass";
    match &websocket {
        Ok(took) => findings.ok("websocket", &format!("a packet there and back takes {} ms", took.as_millis())),
        Err(why) if polling.is_ok() => {
            let hint = format!("tunnels use long-polling, which is slower; {proxies}");
            findings.warn("websocket", why, &hint);
        }
        Err(why) => findings.fail("websocket", why, proxies),
    }
    match &polling {
        Ok(took) => findings.ok("polling", &format!("a packet there and back takes {} ms", took.as_millis())),
        Err(why) if websocket.is_ok() => findings.warn("polling", why, "tunnels use WebSockets, and do not need it"),
        Err(why) => findings.fail("polling", why, proxies),
    }
}

/// Opens a session that asks to join what is no tunnel. Returns how long it takes until the server says so.
async fn transport(dialer: &Dialer, server: &ServerUrl, transports: Transports) -> Result<Duration, String> {
    let namespace = Namespace::new(NOBODY.into()).ok_or("there is no such namespace")?;
    let join = Join { namespace, credentials: Credentials::Auth("{}".into()), revision: Revision::V4, transports };
    let (tell, mut notices) = mpsc::channel(1);
    let began = Instant::now();
    let nobody = handler(|_: Visit| async {});
    let session = Session::open(dialer, server, join, Arc::clone(&nobody), move |notice| drop(tell.try_send(notice)));
    let leave = CancellationToken::new();
    let serving = session.serve(&leave, Duration::ZERO);
    tokio::pin!(serving);
    let answered = async {
        tokio::select! {
            ended = &mut serving => Err(ended.to_string()),
            notice = notices.recv() => match notice {
                Some(Notice::Refused { .. }) => Ok(began.elapsed()),
                Some(_) | None => Err("the server does not refuse what is no tunnel".to_owned()),
            },
        }
    };
    let answered = tokio::time::timeout(PATIENCE, answered).await;
    let answered = answered.unwrap_or_else(|_| Err(format!("no packet comes back within {} s", PATIENCE.as_secs())));
    if answered.is_ok() {
        // The server hears that the session is over.
        leave.cancel();
        let _ = tokio::time::timeout(PATIENCE, serving).await;
    }
    answered
}

/// Checks what requests would be forwarded to.
async fn local(target: &Target, dialer: &Dialer, findings: &mut Findings) {
    match target {
        Target::App(app) if forward::is_listening(app, dialer.tls()).await => {
            findings.ok("target", &format!("something listens at {target}"));
        }
        Target::App(_) => findings.fail("target", &format!("nothing listens at {target}"), "start the app"),
        Target::Directory(folder) => match std::fs::read_dir(folder) {
            Err(error) => findings.fail("target", &format!("{target}: {error}"), "make it readable for you"),
            Ok(_) if folder.join("index.html").is_file() => {
                findings.ok("target", &format!("{target} has an index.html"));
            }
            Ok(_) => findings.warn("target", &format!("{target} has no index.html"), "visitors of / get 404"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_alike_that_semantic_versioning_calls_compatible() {
        for (one, other, expected) in [
            ("0.1.0", "0.1.7", true),
            ("0.1.0", "0.2.0", false),
            ("1.2.3", "1.9.0", true),
            ("1.0.0", "2.0.0", false),
            ("1.0.0", "0.1.0", false),
            ("", "0.1.0", false),
        ] {
            assert_eq!(is_alike(one, other), expected, "{one} {other}");
        }
    }
}
