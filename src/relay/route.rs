//! What a request asks for, read from its method, target and `Host`.
//!
//! A path that the relay serves is a variant of [`Route`] here, and an arm of `Router::dispatch`, which serves it.

use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, Version};
use hyper::body::Body as _;

use super::api::{self, Call};
use super::failure::Failure;
use super::own_hosts::OwnHosts;
use crate::net::body::RequestBody;
use crate::proto::exchange::headers::Origin;
use crate::proto::token::Token;

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// `/socket.io/`: an end's request, for the engine.
    EngineIo,
    /// `/healthz`: whether the server lives.
    Health,
    /// `/readyz`: whether the server takes visitors' requests.
    Readiness,
    /// `/`: what this is and how to try it.
    Welcome,
    /// `GET /new`: a token.
    New,
    /// `POST /new`: a keyed tunnel.
    Make,
    /// `/tunnel/TOKEN…`: something that the owner of a keyed tunnel wants. `None` is a text that no token can be.
    Tunnel(Call, Option<Token>),
    /// `OPTIONS` for what pages may call: which methods there are.
    Preflight(&'static str),
    /// `/refresh/TOKEN`: more time for a token. `None` is a text that no token can be.
    Refresh(Option<Token>),
    /// `/go/TOKEN…`, and any path on a tunnel's own host: a visitor's request.
    Go(Target),
}

/// Where certificate authorities look for proof that somebody has a host (RFC 8555, section 8.3). An end that could answer there
/// would get certificates for the host of its tunnel, which stays the operator's.
pub(super) const CHALLENGES: &str = "/.well-known/acme-challenge/";

/// The target of a visitor's request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    /// The token in the path or in the host. `None` is a text that no token can be.
    pub(super) token: Option<Token>,
    /// Where the path behind the token starts, in bytes.
    pub(super) path_at: usize,
    /// The tunnel's on a host of its own.
    pub(super) origin: Origin,
}

impl Route {
    /// Reads the route of a request.
    ///
    /// # Errors
    /// With [`Failure::NotFound`] for a path that the relay does not have, [`Failure::Challenge`] for one of a tunnel's host that
    /// the relay keeps, and [`Failure::MethodNotAllowed`] for a method
    /// that the path does not have.
    pub(super) fn parse(head: &Parts, hosts: &OwnHosts) -> Result<Self, Failure> {
        let path = head.uri.path();
        if let Some(label) = hosts.asked(&head.headers) {
            return Target::on_own_host(label, path).map(Self::Go);
        }
        let route = match path {
            "/socket.io/" | "/socket.io" => return Ok(Self::EngineIo),
            "/healthz" => return Ok(Self::Health),
            "/readyz" => return Ok(Self::Readiness),
            "/" => Self::Welcome,
            "/new" => Self::New,
            _ => {
                if let Some(rest) = path.strip_prefix("/go/") {
                    return Ok(Self::Go(Target::parse(path, rest, hosts.origin_of_paths())));
                }
                if let Some(rest) = path.strip_prefix("/tunnel/") {
                    return Self::tunnel(&head.method, rest);
                }
                Self::Refresh(Token::parse(path.strip_prefix("/refresh/").ok_or(Failure::NotFound)?))
            }
        };
        match (&head.method, &route) {
            (&Method::GET | &Method::HEAD, _) => Ok(route),
            (&Method::POST, Self::New) => Ok(Self::Make),
            (&Method::OPTIONS, Self::New) => Ok(Self::Preflight("GET, HEAD, POST, OPTIONS")),
            (&Method::OPTIONS, Self::Refresh(_)) => Ok(Self::Preflight("GET, HEAD, OPTIONS")),
            (_, Self::New) => Err(Failure::MethodNotAllowed("GET, HEAD, POST, OPTIONS")),
            (_, Self::Refresh(_)) => Err(Failure::MethodNotAllowed("GET, HEAD, OPTIONS")),
            (_, _) => Err(Failure::MethodNotAllowed("GET, HEAD")),
        }
    }

    /// `rest` is the path behind `/tunnel/`.
    fn tunnel(method: &Method, rest: &str) -> Result<Self, Failure> {
        let (token, is_key) = match rest.split_once('/') {
            None => (rest, false),
            Some((token, "key")) => (token, true),
            Some(_) => return Err(Failure::NotFound),
        };
        match (api::call(method, is_key), method) {
            (Ok(call), _) => Ok(Self::Tunnel(call, Token::parse(token))),
            (Err(methods), &Method::OPTIONS) => Ok(Self::Preflight(methods)),
            (Err(methods), _) => Err(Failure::MethodNotAllowed(methods)),
        }
    }

    /// Returns whether a request for this route counts for the rate limit of its address.
    pub(super) fn is_rate_limited(&self) -> bool {
        match self {
            // Ends must be able to answer, and a health check to ask, however many requests their address sends.
            Self::EngineIo | Self::Health | Self::Readiness => false,
            Self::Welcome
            | Self::New
            | Self::Make
            | Self::Tunnel(..)
            | Self::Preflight(_)
            | Self::Refresh(_)
            | Self::Go(_) => true,
        }
    }
}

impl Target {
    /// `rest` is the end of `path` that starts with the token.
    fn parse(path: &str, rest: &str, origin: Origin) -> Self {
        let token = rest.find('/').map_or(rest, |end| &rest[..end]);
        Self { token: Token::parse(token), path_at: path.len() - rest.len() + token.len(), origin }
    }

    /// Reads the target of a request at the host of this label.
    fn on_own_host(label: &[u8], path: &str) -> Result<Self, Failure> {
        if path.starts_with(CHALLENGES) {
            return Err(Failure::Challenge);
        }
        // `OPTIONS *` asks the server, and what an end gets is a path.
        if !path.starts_with('/') {
            return Err(Failure::NotFound);
        }
        Ok(Self { token: Token::from_label(label), path_at: 0, origin: Origin::Own })
    }

    /// Tells whether no original tunnel can be meant: it has no name and no host of its own.
    pub(super) fn is_surely_keyed(&self) -> bool {
        self.origin == Origin::Own || self.token.is_some_and(|token| token.is_name())
    }

    /// Returns the path behind the token, not decoded: empty for `/go/TOKEN` itself. On a tunnel's own host, the whole path.
    pub(super) fn path<'h>(&self, head: &'h Parts) -> &'h str {
        head.uri.path().get(self.path_at..).unwrap_or_default()
    }
}

/// Tells whether pages of any origin may read the answers at a path, errors too: a page may be an end, so it may ask for a token.
pub(super) fn is_for_pages(path: &str) -> bool {
    matches!(path, "/" | "/new") || path.starts_with("/refresh/") || path.starts_with("/tunnel/")
}

/// Checks a head against what proxies in front of this server may have read otherwise, and makes `Host` what the target says.
///
/// - It has exactly one `Host`, which HTTP/1.0 may leave out (RFC 9112, section 3.2).
/// - An absolute target says which host is meant, whatever `Host` says (section 3.2.2).
/// - Its only transfer coding is one `chunked` (section 6.1): no other is decoded here, and a body whose coding is not named to
///   the end would reach it as other bytes.
///
/// # Errors
/// With what is wrong.
pub(super) fn check_head(head: &mut Parts, body: &RequestBody) -> Result<(), Failure> {
    let mut hosts = head.headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(_), None) => (),
        (None, _) if head.version == Version::HTTP_10 => (),
        (None, _) => return Err(Failure::InvalidHead("it has no Host")),
        (Some(_), Some(_)) => return Err(Failure::InvalidHead("it has more than one Host")),
    }
    // A request without a body that may come has no such header either.
    if !body.is_end_stream() {
        let mut codings = head.headers.get_all(header::TRANSFER_ENCODING).iter();
        if let Some(coding) = codings.next()
            && (codings.next().is_some() || !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"))
        {
            return Err(Failure::InvalidHead("Transfer-Encoding must be chunked, once and alone"));
        }
    }
    if head.uri.scheme().is_some()
        && let Some(authority) = head.uri.authority()
    {
        let authority = authority.as_str();
        // Names and passwords are no part of a host.
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let host = HeaderValue::from_str(host).map_err(|_| Failure::InvalidHead("its target names no host"))?;
        head.headers.insert(header::HOST, host);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "MDAwMDAwMDAtMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMDAw";

    fn hosts() -> OwnHosts {
        OwnHosts::new(None, "http://localhost").unwrap()
    }

    fn head(method: &str, path: &str) -> Parts {
        http::Request::builder().method(method).uri(path).body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_request_has_one_route() {
        let token = Token::parse(TOKEN);
        for (path, expected) in [
            ("/socket.io/?EIO=4", Route::EngineIo),
            ("/socket.io", Route::EngineIo),
            ("/healthz", Route::Health),
            ("/readyz", Route::Readiness),
            ("/", Route::Welcome),
            ("/?x", Route::Welcome),
            ("/new", Route::New),
            (&format!("/tunnel/{TOKEN}"), Route::Tunnel(Call::Show, token)),
            ("/tunnel/x", Route::Tunnel(Call::Show, None)),
            (&format!("/refresh/{TOKEN}"), Route::Refresh(token)),
            ("/refresh/", Route::Refresh(None)),
            (&format!("/refresh/{TOKEN}/"), Route::Refresh(None)),
        ] {
            assert_eq!(Route::parse(&head("GET", path), &hosts()).ok(), Some(expected), "{path}");
        }
        for path in ["/New", "/new/", "/go", "/refresh", "/metrics", "//", "/socket.io/x", "/tunnel", "/tunnel/x/y"] {
            assert!(matches!(Route::parse(&head("GET", path), &hosts()), Err(Failure::NotFound)), "{path}");
        }
        for (method, path, expected) in [
            ("POST", "/new", Route::Make),
            ("OPTIONS", "/new", Route::Preflight("GET, HEAD, POST, OPTIONS")),
            ("PATCH", "/tunnel/mine", Route::Tunnel(Call::Set, Token::parse("mine"))),
            ("DELETE", "/tunnel/mine", Route::Tunnel(Call::Delete, Token::parse("mine"))),
            ("POST", "/tunnel/mine/key", Route::Tunnel(Call::Rekey, Token::parse("mine"))),
            ("OPTIONS", "/tunnel/mine/key", Route::Preflight("POST, OPTIONS")),
        ] {
            assert_eq!(Route::parse(&head(method, path), &hosts()).ok(), Some(expected), "{method} {path}");
        }
        for (method, path) in [
            ("POST", "/"),
            ("PUT", "/new"),
            ("POST", "/refresh/x"),
            ("POST", "/tunnel/mine"),
            ("GET", "/tunnel/mine/key"),
        ] {
            assert!(
                matches!(Route::parse(&head(method, path), &hosts()), Err(Failure::MethodNotAllowed(_))),
                "{method} {path}"
            );
        }
    }

    #[test]
    fn what_is_behind_the_token_is_the_apps_path() {
        for (rest, expected) in [("", ""), ("/", "/"), ("/a//b/%2e%2e?q=/", "/a//b/%2e%2e"), ("/go/x", "/go/x")] {
            let head = head("PATCH", &format!("/go/{TOKEN}{rest}"));
            let Ok(Route::Go(target)) = Route::parse(&head, &hosts()) else { panic!("{rest}") };
            assert_eq!((target.token, target.path(&head)), (Token::parse(TOKEN), expected), "{rest}");
            assert_eq!(target.origin, Origin::Shared);
        }
        for path in ["/go/", "/go/x", "/go//new", "/go/x/y"] {
            assert!(
                matches!(Route::parse(&head("GET", path), &hosts()), Ok(Route::Go(Target { token: None, .. }))),
                "{path}"
            );
        }
    }

    #[test]
    fn on_a_tunnels_host_every_path_is_the_apps() {
        let on_host = |host: &'static str, path: &str| {
            let mut head = head("GET", path);
            head.headers.insert(header::HOST, HeaderValue::from_static(host));
            (Route::parse(&head, &hosts()), head)
        };
        for path in ["/", "/new", "/socket.io/?EIO=4", "/healthz", "/go/x", "/.well-known/acme-challenge", "//"] {
            let (Ok(Route::Go(target)), head) = on_host("My-App.localhost.:3000", path) else { panic!("{path}") };
            assert_eq!((target.token, target.origin), (Token::parse("my-app"), Origin::Own), "{path}");
            assert_eq!(target.path(&head), path.split('?').next().unwrap());
            assert!(matches!(on_host("a.b.localhost", path).0, Ok(Route::Go(Target { token: None, .. }))), "{path}");
        }
        for host in ["my-app.localhost", "unknown.localhost", "a.b.localhost"] {
            let path = "/.well-known/acme-challenge/x";
            assert!(matches!(on_host(host, path).0, Err(Failure::Challenge)), "{host}");
            assert!(matches!(on_host(host, "*").0, Err(Failure::NotFound)), "{host}");
        }
        assert_eq!(on_host("localhost", "/new").0.ok(), Some(Route::New));
    }
}
