//! What an operator asks a running server.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::api::printable;
use crate::causes::words;
use crate::config::{AdminAccess, AdminAction, AdminConfig, AdminPlace, ClusterAction, ClusterStatusConfig};

/// How long an answer may take: longer than a server waits for its store.
const PATIENCE: Duration = Duration::from_secs(30);

/// The largest answer, in bytes: a list of all tunnels.
const ANSWER: usize = 64 << 20;

/// Why nothing was done.
#[derive(Debug)]
pub enum AdminError {
    /// The command line is wrong.
    Usage(String),
    /// The server is not reached, or does not answer.
    Failed(String),
    /// The server refuses.
    Refused(String),
}

/// Runs `socket2me admin`, and returns what there is to print.
///
/// # Errors
/// See [`AdminError`].
pub async fn run(config: &AdminConfig) -> Result<String, AdminError> {
    let (method, path, body) = call(&config.action);
    let answer = ask(&config.at, method, &path, body).await?;
    if config.json || answer.is_empty() {
        return Ok(String::from_utf8_lossy(&answer).into_owned());
    }
    let foreign = |error| AdminError::Failed(format!("the answer is none of a Socket2Me: {error}"));
    match &config.action {
        AdminAction::List => serde_json::from_slice(&answer).map(table).map_err(foreign),
        AdminAction::Blocks => serde_json::from_slice(&answer).map(|blocks| lines(&blocks)).map_err(foreign),
        _ => serde_json::from_slice(&answer).map(|shown| lines(&shown)).map_err(foreign),
    }
}

/// Runs `socket2me cluster`, and returns what there is to print.
///
/// # Errors
/// See [`AdminError`].
pub async fn cluster(config: &ClusterStatusConfig) -> Result<String, AdminError> {
    let ClusterAction::Status = config.action;
    let answer = ask(&config.at, Method::GET, "/cluster", None).await?;
    if config.json {
        return Ok(String::from_utf8_lossy(&answer).into_owned());
    }
    let foreign = |error| AdminError::Failed(format!("the answer is none of a Socket2Me: {error}"));
    serde_json::from_slice(&answer).map(nodes).map_err(foreign)
}

/// Returns the request of an action.
fn call(action: &AdminAction) -> (Method, String, Option<Value>) {
    match action {
        AdminAction::List => (Method::GET, "/tunnels".to_owned(), None),
        AdminAction::Show { token } => (Method::GET, format!("/tunnels/{token}"), None),
        AdminAction::Close { token } => (Method::POST, format!("/tunnels/{token}/close"), None),
        AdminAction::Block { subject, time, note } => {
            let time = time.map(|time| time.as_secs().max(1));
            (Method::POST, "/blocks".to_owned(), Some(json!({"subject": subject, "for": time, "note": note})))
        }
        AdminAction::Unblock { subject } => (Method::DELETE, format!("/blocks/{subject}"), None),
        AdminAction::Blocks => (Method::GET, "/blocks".to_owned(), None),
    }
}

async fn ask(at: &AdminAccess, method: Method, path: &str, body: Option<Value>) -> Result<Bytes, AdminError> {
    let place = at.admin.as_ref().ok_or_else(|| {
        AdminError::Usage("it is not said where the server is asked: give --admin, as to the server".to_owned())
    })?;
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
    if let Some(secret) = &at.admin_secret {
        let mut value = HeaderValue::try_from([b"Bearer ", secret.as_bytes()].concat())
            .map_err(|error| AdminError::Usage(error.to_string()))?;
        value.set_sensitive(true);
        request = request.header(header::AUTHORIZATION, value);
    }
    let request = request
        .body(Full::new(Bytes::from(body)))
        .map_err(|_| AdminError::Usage("this is no token, name or network".to_owned()))?;
    let unreached = |error: std::io::Error| {
        AdminError::Failed(format!("{place} is not reached: {error} (does the server run with this --admin?)"))
    };
    let asking = async {
        match place {
            #[cfg(unix)]
            AdminPlace::Path(path) => {
                exchange(tokio::net::UnixStream::connect(path).await.map_err(unreached)?, request).await
            }
            #[cfg(not(unix))]
            AdminPlace::Path(_) => {
                Err(AdminError::Usage("this system has no sockets at paths: give an address".to_owned()))
            }
            AdminPlace::Address(listen) => {
                exchange(TcpStream::connect(&*listen.seen_from_here()).await.map_err(unreached)?, request).await
            }
        }
    };
    match tokio::time::timeout(PATIENCE, asking).await {
        Ok(answer) => answer,
        Err(_) => Err(AdminError::Failed(format!("{place} does not answer within {} s", PATIENCE.as_secs()))),
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Bytes, AdminError> {
    let unanswered = |error: hyper::Error| AdminError::Failed(format!("no answer in HTTP: {}", words(&error)));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(unanswered)?;
    tokio::spawn(async move {
        // The sender hears of a failure.
        let _ = connection.await;
    });
    let answer = sender.send_request(request).await.map_err(unanswered)?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER).collect().await;
    let body = body.map_err(|error| AdminError::Failed(format!("the answer did not arrive: {error}")))?.to_bytes();
    if status.is_success() { Ok(body) } else { Err(refused(status, &body)) }
}

/// Reads an answer that is an error.
fn refused(status: StatusCode, body: &[u8]) -> AdminError {
    #[derive(Deserialize)]
    struct Words {
        #[serde(rename = "Error")]
        error: String,
    }
    let message = match serde_json::from_slice::<Words>(body) {
        Ok(words) => words.error,
        Err(_) => format!("{status}, which is none of a Socket2Me"),
    };
    AdminError::Refused(format!("the server refuses: {}", printable(&message)))
}

/// A line of the list of open tunnels.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Tunnel(Listed),
    /// A node that does not say which it has.
    Missing {
        node: String,
        #[serde(default)]
        label: String,
        error: String,
    },
}

/// An open tunnel.
#[derive(Deserialize)]
struct Listed {
    token: String,
    keyed: bool,
    #[serde(flatten)]
    figures: Figures,
    /// The node of which these are the figures, in a cluster.
    node: Option<String>,
    /// What the node's operator calls it; empty if it has no name.
    #[serde(default)]
    label: String,
}

/// What a tunnel has, or several in sum.
#[derive(Clone, Copy, Default, Deserialize)]
struct Figures {
    requests: u64,
    in_flight: u64,
    memory: u64,
    ends: u64,
}

impl Figures {
    fn add(&mut self, other: Self) {
        let Self { requests, in_flight, memory, ends } = other;
        self.requests += requests;
        self.in_flight += in_flight;
        self.memory += memory;
        self.ends += ends;
    }

    /// Returns the cells of a table.
    fn cells(self) -> String {
        let Self { requests, in_flight, memory, ends } = self;
        format!("{ends:>4}  {requests:>10}  {in_flight:>9}  {memory:>12}")
    }
}

/// The names of the cells of [`Figures`].
const CELLS: &str = "ENDS    REQUESTS  IN FLIGHT        MEMORY";

/// Makes a table for people, the tunnel with the most requests at its top. In a cluster, the sums of each node and of all follow.
fn table(lines: Vec<Line>) -> String {
    let (mut tunnels, mut missing) = (Vec::new(), String::new());
    for line in lines {
        match line {
            Line::Tunnel(tunnel) => tunnels.push(tunnel),
            Line::Missing { node, label, error } => {
                let name = if label.is_empty() { node } else { format!("{node} ({label})") };
                missing += &format!("node {} is missing: {}\n", printable(&name), printable(&error));
            }
        }
    }
    tunnels.sort_by(|one, other| {
        (other.figures.requests, &one.token, &one.node).cmp(&(one.figures.requests, &other.token, &other.node))
    });
    let width = tunnels.iter().map(|tunnel| tunnel.token.len()).max().unwrap_or_default().max("TOKEN".len());
    let mut sums: BTreeMap<String, (usize, Figures)> = BTreeMap::new();
    let mut labels: BTreeMap<String, String> = BTreeMap::new();
    let is_cluster = !missing.is_empty() || tunnels.iter().any(|tunnel| tunnel.node.is_some());
    let mut text = format!("{:width$}  {:8}  {}{CELLS}\n", "TOKEN", "KIND", if is_cluster { "NODE      " } else { "" });
    for Listed { token, keyed, figures, node, label } in tunnels {
        let (token, kind) = (printable(&token), if keyed { "keyed" } else { "original" });
        let node = node.map(|node| printable(&node));
        let at = node.as_ref().map(|node| format!("{node:8}  ")).unwrap_or_default();
        text += &format!("{token:width$}  {kind:8}  {at}{}\n", figures.cells());
        if let Some(node) = &node {
            labels.insert(node.clone(), printable(&label));
        }
        for name in node.into_iter().chain(["all".to_owned()]) {
            let (count, sum) = sums.entry(name).or_default();
            *count += 1;
            sum.add(figures);
        }
    }
    if is_cluster {
        // An id of a node is longer than `all`, which comes last.
        let all = sums.remove("all").unwrap_or_default();
        text += &format!("\n{:8}  TUNNELS  {CELLS}  LABEL\n", "NODE");
        for (name, (count, sum)) in sums.into_iter().chain([("all".to_owned(), all)]) {
            let label = labels.get(&name).map_or("", |label| label);
            let line = format!("{name:8}  {count:>7}  {}  {label}", sum.cells());
            text += &format!("{}\n", line.trim_end());
        }
    }
    text + &missing
}

/// A node, as another one knows it.
#[derive(Deserialize)]
struct Node {
    node: String,
    label: String,
    advertise: String,
    version: String,
    standing: String,
}

/// Makes a table of nodes for people.
fn nodes(nodes: Vec<Node>) -> String {
    let mut text = format!("{:8}  {:16}  {:28}  {:9}  STANDING\n", "NODE", "LABEL", "ADVERTISE", "VERSION");
    for Node { node, label, advertise, version, standing } in nodes {
        let [node, label, advertise, version, standing] =
            [node, label, advertise, version, standing].map(|text| printable(&text));
        text += &format!("{node:8}  {label:16}  {advertise:28}  {version:9}  {standing}\n");
    }
    text
}

/// Makes a line of each member of an object.
fn lines(object: &serde_json::Map<String, Value>) -> String {
    let text = |value: &Value| match value {
        Value::String(text) => printable(text),
        other => printable(&other.to_string()),
    };
    object.iter().map(|(name, value)| format!("{}: {}\n", printable(name), text(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_a_table_for_people() {
        let json = r#"[{"token":"mine","keyed":true,"requests":3,"in_flight":0,"memory":0,"ends":1},
                       {"token":"other","keyed":false,"requests":70,"in_flight":2,"memory":4096,"ends":1}]"#;
        let text = table(serde_json::from_str(json).unwrap());
        assert_eq!(
            text,
            "TOKEN  KIND      ENDS    REQUESTS  IN FLIGHT        MEMORY\n\
             other  original     1          70          2          4096\n\
             mine   keyed        1           3          0             0\n"
        );
    }

    #[test]
    fn a_list_of_a_cluster_has_sums_and_says_what_is_missing() {
        let json = r#"[{"token":"mine","keyed":true,"requests":3,"in_flight":0,"memory":0,"ends":1,"node":"aB3-_xyz","label":"rack-1"},
                       {"token":"mine","keyed":true,"requests":4,"in_flight":1,"memory":9,"ends":2,"node":"Aaaaaaaa"},
                       {"token":"other","keyed":false,"requests":1,"in_flight":2,"memory":1,"ends":1,"node":"Aaaaaaaa"},
                       {"node":"Bbbbbbbb","label":"rack-2","error":"it is away"}]"#;
        let text = table(serde_json::from_str(json).unwrap());
        assert_eq!(
            text,
            "TOKEN  KIND      NODE      ENDS    REQUESTS  IN FLIGHT        MEMORY\n\
             mine   keyed     Aaaaaaaa     2           4          1             9\n\
             mine   keyed     aB3-_xyz     1           3          0             0\n\
             other  original  Aaaaaaaa     1           1          2             1\n\n\
             NODE      TUNNELS  ENDS    REQUESTS  IN FLIGHT        MEMORY  LABEL\n\
             Aaaaaaaa        2     3           5          3            10\n\
             aB3-_xyz        1     1           3          0             0  rack-1\n\
             all             3     4           8          3            10\n\
             node Bbbbbbbb (rack-2) is missing: it is away\n"
        );
    }

    #[test]
    fn an_object_is_a_line_for_each_member() {
        let object = json!({"192.0.2.0/24": {"note": "\u{1b}[2J"}, "left": 5});
        assert_eq!(lines(object.as_object().unwrap()), "192.0.2.0/24: {\"note\":\"\\u001b[2J\"}\nleft: 5\n");
    }
}
