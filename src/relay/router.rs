//! Hands each request to the part of the relay that serves it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode};
use hyper::body::Incoming;

use super::exchanges::Exchanges;
use super::failure::Failure;
use super::page;
use super::route::{self, Route};
use super::throttle::{Throttle, Verdict};
use super::tokens::Tokens;
use super::tunnels::TunnelHost;
use crate::config::ErrorStatus;
use crate::engine::{Engine, SocketIo};
use crate::net::arrival::Arrival;
use crate::net::reply::{self, Reply};
use crate::proto::headers::list_contains;
use crate::proto::token::Token;

/// All that serves requests.
pub(super) struct Router {
    pub(super) engine: Engine<SocketIo<TunnelHost>>,
    pub(super) exchanges: Exchanges,
    pub(super) tokens: Arc<Tokens>,
    pub(super) throttle: Throttle,
    pub(super) error_status: ErrorStatus,
    /// The URL by which this server is reached, for the page that says so.
    pub(super) url: String,
    /// The server is about to stop: no exchange begins.
    pub(super) is_draining: AtomicBool,
}

impl Router {
    /// Serves a request.
    ///
    /// The head and the arrival are passed by reference, here and below: moved, they would be stored in every nested future, and
    /// hyper copies the outermost once for each request.
    pub(super) async fn serve(&self, head: &mut Parts, body: Incoming, arrival: &Arrival) -> Reply {
        match self.dispatch(head, body, arrival).await {
            Ok(reply) => reply,
            Err(failure) => failure.reply(self.error_status),
        }
    }

    async fn dispatch(&self, head: &mut Parts, body: Incoming, arrival: &Arrival) -> Result<Reply, Failure> {
        route::check_host(head)?;
        let route = Route::parse(head);
        if route.as_ref().map_or(true, Route::is_rate_limited) {
            match self.throttle.count(arrival.client) {
                Verdict::Pass => (),
                Verdict::Delay(until) => tokio::time::sleep_until(until).await,
                Verdict::Refuse => return Err(Failure::Throttled),
            }
        }
        match route? {
            // Ends must be able to answer, so they are served while the server stops, too.
            Route::EngineIo => {
                let client = SocketAddr::new(arrival.client, arrival.peer.address.port());
                Ok(self.engine.serve(head, body, client).await)
            }
            Route::Health => self.health(),
            Route::Welcome => Ok(readable_by_pages(page::welcome(&head.headers, &self.url))),
            Route::New => self.new_token(head).await.map(readable_by_pages),
            Route::Refresh(token) => self.refresh(token).await.map(readable_by_pages),
            Route::Go(target) => {
                self.check_running()?;
                Ok(self.exchanges.serve(head, body, arrival, &target).await)
            }
        }
    }

    fn check_running(&self) -> Result<(), Failure> {
        if self.is_draining.load(Ordering::Relaxed) { Err(Failure::Stopping) } else { Ok(()) }
    }

    fn health(&self) -> Result<Reply, Failure> {
        self.check_running()?;
        Ok(reply::text(StatusCode::OK, "text/plain; charset=utf-8", "ok\n"))
    }

    async fn new_token(&self, head: &Parts) -> Result<Reply, Failure> {
        self.check_running()?;
        let wants_json = accepts_json(&head.headers);
        // HEAD makes no token: its response could not carry it.
        if head.method == Method::HEAD {
            return Ok(token_reply("", wants_json));
        }
        Ok(token_reply(self.tokens.create().await?.as_str(), wants_json))
    }

    async fn refresh(&self, token: Option<Token>) -> Result<Reply, Failure> {
        self.tokens.refresh(&token.ok_or(Failure::TokenNotFound)?).await?;
        Ok(reply::text(StatusCode::OK, "text/plain; charset=utf-8", "OK"))
    }
}

/// The original's client asks for JSON and parses it; curl, and a shell, want the bare token.
fn token_reply(token: &str, as_json: bool) -> Reply {
    if as_json {
        reply::text(StatusCode::OK, "application/json; charset=utf-8", format!("\"{token}\""))
    } else {
        reply::text(StatusCode::OK, "text/plain; charset=utf-8", Bytes::copy_from_slice(token.as_bytes()))
    }
}

fn accepts_json(headers: &HeaderMap) -> bool {
    let names_json = |value: &HeaderValue| {
        value.as_bytes().split(|&byte| byte == b',').any(|range| {
            let name = range.split(|&byte| byte == b';').next().unwrap_or_default();
            list_contains(name, "application/json")
        })
    };
    headers.get_all(header::ACCEPT).iter().any(names_json)
}

/// A page of any origin may be an end, so it may ask for a token.
fn readable_by_pages(mut reply: Reply) -> Reply {
    reply.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_for_clients_that_name_it() {
        for (accept, expected) in [
            ("application/json", true),
            ("application/json, text/plain, */*", true),
            ("text/html, Application/JSON;q=0.9", true),
            ("*/*", false),
            ("text/html", false),
            ("application/jsonp", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(accepts_json(&headers), expected, "{accept}");
        }
        assert!(!accepts_json(&HeaderMap::new()));
    }
}
