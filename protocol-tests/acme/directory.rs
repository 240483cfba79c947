//! An ACME directory in this process: RFC 8555 and RFC 9773, over TLS, strict. What a client does that it must not is a violation,
//! which fails the test.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio_rustls::TlsAcceptor;

use super::authority::Authority;
use super::jws::{self, Signer};
use super::objects;
use super::state::{NOWHERE, Place, Problem, Rules, State, random};
use super::validation::{Expected, validate};
use crate::support::within;

/// A directory, which ends with its test.
pub(super) struct Directory {
    shared: Arc<Shared>,
    folder: PathBuf,
    serving: tokio::task::JoinHandle<()>,
}

struct Shared {
    state: Mutex<State>,
    authority: Authority,
    url: String,
    /// Counts requests, and changes of the rules.
    changed: watch::Sender<u32>,
    held: Notify,
}

/// An answer to a request.
struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    kind: &'static str,
    body: String,
}

impl Answer {
    fn json(status: u16, body: &Value) -> Self {
        Self { status, headers: Vec::new(), kind: "application/json", body: body.to_string() }
    }

    fn with(mut self, name: &'static str, value: impl std::fmt::Display) -> Self {
        self.headers.push((name, format!("{value}")));
        self
    }
}

impl Directory {
    /// Starts a directory.
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let folder = std::env::temp_dir().join(format!("socket2me-acme-{}", random()));
        std::fs::create_dir_all(&folder).unwrap();
        let rules = Rules {
            offered: vec!["http-01", "tls-alpn-01", "dns-01"],
            http: NOWHERE,
            tls_port: 1,
            dns: folder.join("dns"),
            refuse_nonce_every: None,
            processing: 0,
            looks_pending: 0,
            found_at_once: None,
            validity: (-3_600, 90 * 86_400),
            window: None,
            problem: None,
            hold: None,
            lose: None,
        };
        let state = Mutex::new(State::new(rules));
        let changed = watch::Sender::new(0);
        let shared = Arc::new(Shared { state, authority: Authority::new(), url, changed, held: Notify::new() });
        shared.authority.write_root(&folder.join("root.pem"));
        let acceptor = TlsAcceptor::from(Arc::new(shared.authority.of_directory()));
        let serving = tokio::spawn(serve(listener, acceptor, Arc::clone(&shared)));
        Self { shared, folder, serving }
    }

    pub(super) fn url(&self) -> String {
        format!("{}/directory", self.shared.url)
    }

    /// A folder that is removed with the directory.
    pub(super) fn folder(&self) -> &std::path::Path {
        &self.folder
    }

    /// The file with the root of its certificates.
    pub(super) fn root(&self) -> PathBuf {
        self.folder.join("root.pem")
    }

    /// Changes what the directory does.
    pub(super) fn rule(&self, change: impl FnOnce(&mut Rules)) {
        let mut state = self.state();
        change(state.rules.as_mut().unwrap());
        // A server that starts knows no times of the one before.
        state.orders.iter_mut().for_each(|order| order.patience = None);
        drop(state);
        self.shared.tell();
    }

    /// Completes when a request gets no answer.
    pub(super) async fn held(&self) {
        within("a request to be held", self.shared.held.notified()).await;
    }

    /// Completes once the directory is as wanted.
    pub(super) async fn until(&self, what: &str, is_so: impl Fn(&State) -> bool) {
        let mut changed = self.shared.changed.subscribe();
        let waiting = async {
            while !is_so(&self.state()) {
                changed.changed().await.unwrap();
            }
        };
        within(what, waiting).await;
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }

    /// Returns how many requests there were to a place.
    pub(super) fn requests(&self, place: Place) -> usize {
        self.state().requests.get(&place).copied().unwrap_or(0)
    }

    /// Fails if a client did what it must not.
    pub(super) fn is_content(&self) {
        let state = self.state();
        assert!(state.violations.is_empty(), "{:#?}", state.violations);
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        self.serving.abort();
        let _ = std::fs::remove_dir_all(&self.folder);
        if !std::thread::panicking() {
            self.is_content();
        }
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(|request| {
                let shared = Arc::clone(&shared);
                async move { Ok::<_, Infallible>(answer(&shared, request).await) }
            });
            // A client that has gone is no fault.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// What a request is for, and the number of its object.
fn place(path: &str) -> Option<(Place, &str)> {
    let mut parts = path.trim_start_matches('/').splitn(2, '/');
    let (first, rest) = (parts.next()?, parts.next().unwrap_or_default());
    let place = match first {
        "directory" => Place::Directory,
        "new-nonce" => Place::Nonce,
        "new-account" => Place::NewAccount,
        "account" => Place::Account,
        "new-order" => Place::NewOrder,
        "order" => Place::Order,
        "authorization" => Place::Authorization,
        "challenge" => Place::Challenge,
        "finalize" => Place::Finalize,
        "certificate" => Place::Certificate,
        "renewal-info" => Place::RenewalInfo,
        _ => return None,
    };
    Some((place, rest))
}

async fn answer(shared: &Arc<Shared>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let path = parts.uri.path().to_owned();
    let answered = match place(&path) {
        None => Err(shared.lock().violation(format!("a request to {path}"))),
        Some((place, rest)) => {
            shared.wait_while_held(place).await;
            let answered = shared.try_to_answer((place, rest), &path, &parts.method, &parts.headers, &body);
            shared.tell();
            shared.wait_while_lost(place).await;
            answered
        }
    };
    let answer = answered.unwrap_or_else(|problem| {
        let answer = Answer::json(problem.status, &problem.json());
        let answer = if problem.wait > 0 { answer.with("retry-after", problem.wait) } else { answer };
        Answer { kind: "application/problem+json", ..answer }
    });
    let mut response = Response::builder().status(answer.status).header("content-type", answer.kind);
    // To each POST, also one that has failed (RFC 8555, section 6.5).
    if parts.method == Method::POST || path == "/new-nonce" {
        response = response.header("replay-nonce", shared.lock().new_nonce()).header("cache-control", "no-store");
    }
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    response.body(Full::from(answer.body)).unwrap()
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Says that something has changed.
    fn tell(&self) {
        self.changed.send_modify(|changes| *changes += 1);
    }

    async fn wait_while_held(&self, place: Place) {
        let is_held = |state: &State| {
            let was = |after: Place| state.requests.contains_key(&after);
            state.rules().hold.is_some_and(|(held, after)| held == place && after.is_none_or(was))
        };
        self.wait_while(is_held).await;
    }

    async fn wait_while_lost(&self, place: Place) {
        self.wait_while(|state| state.rules().lose == Some(place)).await;
    }

    async fn wait_while(&self, is_so: impl Fn(&State) -> bool) {
        let mut changed = self.changed.subscribe();
        while is_so(&self.lock()) {
            self.held.notify_one();
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    fn try_to_answer(
        self: &Arc<Self>,
        (place, rest): (Place, &str),
        path: &str,
        method: &Method,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Answer, Problem> {
        let state = &mut *self.lock();
        if !headers.contains_key("user-agent") {
            return Err(state.violation("no User-Agent (RFC 8555, section 6.1)"));
        }
        *state.requests.entry(place).or_default() += 1;
        match state.rules().problem {
            Some((of, kind, wait)) if of == place => {
                let status = match kind {
                    "rateLimited" => 429,
                    "badNonce" => 400,
                    _ => 403,
                };
                return Err(Problem { wait, ..Problem::new(status, kind, "the test wants it") });
            }
            Some(_) | None => (),
        }
        match (place, method) {
            (Place::Directory, &Method::GET) => return Ok(Answer::json(200, &objects::directory(&self.url, state))),
            (Place::Nonce, &Method::HEAD) => return Ok(Answer::json(200, &Value::Null)),
            (Place::Nonce, &Method::GET) => return Ok(Answer::json(204, &Value::Null)),
            (Place::RenewalInfo, &Method::GET) => {
                return objects::renewal_info(state, rest)
                    .map(|window| Answer::json(200, &window).with("retry-after", 21_600));
            }
            (Place::Directory | Place::Nonce | Place::RenewalInfo, _) => {
                return Err(state.violation(format!("{method} {path}")));
            }
            (_, &Method::POST) => (),
            (..) => return Err(state.violation(format!("{method} {path}"))),
        }
        if headers.get("content-type").is_none_or(|kind| kind != "application/jose+json") {
            return Err(state.violation("another content type"));
        }
        let account = |kid: &str| kid.strip_prefix(&self.url)?.strip_prefix("/account/")?.parse::<usize>().ok();
        let key_of = |kid: &str| Some(state.accounts.get(account(kid)?)?.key.clone());
        let signed = jws::read(&format!("{}{path}", self.url), body, key_of);
        let signed = signed.map_err(|what| state.violation(format!("{path}: {what}")))?;
        state.use_nonce(&signed.nonce)?;
        let payload = signed.payload;
        match (place, signed.signer) {
            (Place::NewAccount, Signer::Key(key)) => {
                let payload = payload.ok_or_else(|| state.violation("no payload"))?;
                let (number, is_new) = state.new_account(&key, &payload)?;
                let answer = Answer::json(if is_new { 201 } else { 200 }, &json!({ "status": "valid" }));
                Ok(answer.with("location", format!("{}/account/{number}", self.url)))
            }
            (Place::NewAccount, Signer::Account(_)) => Err(state.violation("a new account of an account")),
            (_, Signer::Key(_)) => Err(state.violation(format!("{path} by a key instead of an account"))),
            (place, Signer::Account(kid)) => {
                // The key was found by it.
                let account = account(&kid).unwrap();
                self.of_account(state, account, (place, rest), payload)
            }
        }
    }

    fn of_account(
        self: &Arc<Self>,
        state: &mut State,
        account: usize,
        (place, rest): (Place, &str),
        payload: Option<Value>,
    ) -> Result<Answer, Problem> {
        let is_get = payload.is_none();
        let reads = matches!(place, Place::Order | Place::Authorization | Place::Certificate);
        if is_get != reads {
            return Err(state.violation(format!("{place:?} with {payload:?}: POST-as-GET or not")));
        }
        let payload = payload.unwrap_or_default();
        if place == Place::NewOrder {
            let number = state.new_order(account, &payload)?;
            let answer = Answer::json(201, &objects::order(&self.url, state, number));
            return Ok(answer.with("location", format!("{}/order/{number}", self.url)));
        }
        let (number, kind) = rest.split_once('/').unwrap_or((rest, ""));
        let number: usize = number.parse().map_err(|_| state.violation(format!("{place:?} {rest}")))?;
        if place == Place::Account {
            if number != account {
                return Err(state.violation("another account"));
            }
            state.update_account(account, &payload)?;
            return Ok(Answer::json(200, &json!({ "status": "valid" })));
        }
        let order = state.order(account, number)?;
        match place {
            Place::Order => {
                if order.status == "processing" {
                    order.status = "valid";
                }
                Ok(Answer::json(200, &objects::order(&self.url, state, number)))
            }
            Place::Authorization => Ok(Answer::json(200, &objects::authorization(&self.url, state, number))),
            Place::Challenge => self.challenge(state, account, number, kind, &payload),
            Place::Finalize => self.finalize(state, number, &payload),
            Place::Certificate => match state.certificates.get(&number) {
                Some(issued) => {
                    let answer = Answer::json(200, &Value::Null);
                    Ok(Answer { kind: "application/pem-certificate-chain", body: issued.pem.clone(), ..answer })
                }
                None => Err(state.violation("a certificate before it is there")),
            },
            _ => Err(state.violation(format!("{place:?}"))),
        }
    }

    fn challenge(
        self: &Arc<Self>,
        state: &mut State,
        account: usize,
        number: usize,
        kind: &str,
        payload: &Value,
    ) -> Result<Answer, Problem> {
        let Some(kind) = state.rules().offered.iter().copied().find(|offered| *offered == kind) else {
            return Err(state.violation(format!("a challenge that is not offered: {kind}")));
        };
        if *payload != json!({}) || state.orders[number].challenge.is_some() {
            return Err(state.violation("a challenge is answered by `{}`, once"));
        }
        let thumbprint = state.accounts[account].key.thumbprint();
        let reads = |state: &State| state.requests.get(&Place::Authorization).copied().unwrap_or_default();
        let (looks, before) = (state.rules().looks_pending, reads(state));
        let order = &mut state.orders[number];
        order.challenge = Some((kind, if looks > 0 { "pending" } else { "processing" }, None));
        let key_authorization = format!("{}.{thumbprint}", order.token);
        let expected = Expected { name: order.name.clone(), token: order.token.clone(), key_authorization };
        let (shared, rules) = (Arc::clone(self), state.rules().clone());
        if let Some(status) = rules.found_at_once {
            state.found(number, status);
        }
        tokio::spawn(async move {
            shared.wait_while(|state| reads(state) < before + looks).await;
            let result = validate(kind, &rules, &expected).await;
            shared.lock().validated(number, result);
            shared.tell();
        });
        Ok(Answer::json(200, &objects::challenge(&self.url, state, number, kind)))
    }

    fn finalize(&self, state: &mut State, number: usize, payload: &Value) -> Result<Answer, Problem> {
        if state.orders[number].status != "ready" {
            state.violations.push(format!("finalized while it is {}", state.orders[number].status));
            return Err(Problem::new(403, "orderNotReady", "not yet"));
        }
        let csr = payload["csr"].as_str().and_then(|csr| BASE64.decode(csr).ok());
        let csr = csr.ok_or_else(|| state.violation("no request"))?;
        let order = &state.orders[number];
        let account = state.accounts[order.account].key.bytes().unwrap_or_default();
        let issued = self.authority.sign(&csr, &order.name, &account, state.rules().validity);
        let issued = issued.map_err(|what| {
            state.violations.push(what.clone());
            Problem::new(400, "badCSR", what)
        })?;
        state.certificates.insert(number, issued);
        let wait = state.rules().processing;
        let order = &mut state.orders[number];
        order.status = "processing";
        order.patience = Some(Instant::now() + Duration::from_secs(wait));
        let answer = Answer::json(200, &objects::order(&self.url, state, number));
        Ok(if wait > 0 { answer.with("retry-after", wait) } else { answer })
    }
}
