//! Opens a connection to another node, and greets it.

use std::fmt::Display;
use std::io;
use std::sync::Arc;

use http::Uri;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use rand::Rng as _;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::callee::read_hello;
use super::greeting::{Caller, Greeted};
use super::limits::{CONNECT, GREETED, MORE_HEAD, MORE_HEADERS};
use super::outgoing::Outgoing;
use crate::cluster::keys::Secret;
use crate::net::socket::{self, OF_SERVERS};
use crate::proto::node::NodeId;

/// What a connection's bytes go through.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection to a node that is ready for requests, its task, which is to be run, and what both sides know.
pub(super) type Dialled = (SendRequest<Outgoing>, Connection<TokioIo<Box<dyn Io>>, Outgoing>, Greeted);

/// Opens connections to other nodes.
pub(super) struct Dialer {
    pub(super) node: NodeId,
    secret: Arc<Secret>,
    /// `None` if this process has no TLS for other nodes.
    tls: Option<TlsConnector>,
    /// The most bytes and lines in the head of a response.
    response_head: (usize, usize),
}

/// Why a connection is not opened, in words.
#[derive(Debug)]
pub(super) enum NotDialled {
    /// The node is not there, or is another one.
    Down(String),
    /// The node takes no connection in time, or has taken it and does not greet: perhaps as many do as may.
    Cut(String),
}

impl From<String> for NotDialled {
    fn from(why: String) -> Self {
        Self::Down(why)
    }
}

impl Dialer {
    pub(super) fn new(
        node: NodeId,
        secret: Arc<Secret>,
        tls: Option<Arc<ClientConfig>>,
        response_head: (usize, usize),
    ) -> Self {
        let tls = tls.map(|config| {
            let mut config = ClientConfig::clone(&config);
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            TlsConnector::from(Arc::new(config))
        });
        Self { node, secret, tls, response_head }
    }

    /// Opens a connection to a node.
    ///
    /// # Errors
    /// See [`NotDialled`].
    pub(super) async fn dial(&self, node: NodeId, advertise: &str) -> Result<Dialled, NotDialled> {
        let of_node = |why: String| format!("node {node} at {advertise}: {why}");
        self.try_to_dial(node, advertise).await.map_err(|not_dialled| match not_dialled {
            NotDialled::Down(why) => NotDialled::Down(of_node(why)),
            NotDialled::Cut(why) => NotDialled::Cut(of_node(why)),
        })
    }

    async fn try_to_dial(&self, node: NodeId, advertise: &str) -> Result<Dialled, NotDialled> {
        let (host, port, is_tls) =
            place(advertise).ok_or_else(|| "this is no http:// or https:// URL with a host and a port".to_owned())?;
        // A node that is busy, or a network that loses a packet, is no node that is gone.
        let late = |_| NotDialled::Cut(format!("it takes no connection within {CONNECT:?}"));
        let stream = timeout(CONNECT, TcpStream::connect((&*host, port))).await.map_err(late)?;
        let stream = stream.map_err(|error| format!("cannot connect: {error}"))?;
        let _ = socket::prepare(&stream, OF_SERVERS);
        let greeting = async {
            let mut stream: Box<dyn Io> = match &self.tls {
                _ if !is_tls => Box::new(stream),
                Some(tls) => {
                    let name = ServerName::try_from(host).map_err(words)?;
                    Box::new(tls.connect(name, stream).await.map_err(words)?)
                }
                None => return Err("this node has no TLS for other nodes".to_owned().into()),
            };
            let greeted = self.greet(node, &mut stream).await?;
            Ok::<_, NotDialled>((stream, greeted))
        };
        let late = |_| NotDialled::Cut(format!("cannot greet within {GREETED:?}"));
        let (stream, greeted) = timeout(GREETED, greeting).await.map_err(late)??;
        let mut builder = http1::Builder::new();
        let (bytes, lines) = self.response_head;
        // The relay adds some of its own.
        builder.max_headers(lines.saturating_add(MORE_HEADERS)).max_buf_size(bytes.saturating_mul(2) + MORE_HEAD);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(words)?;
        Ok((sender, connection, greeted))
    }

    async fn greet(&self, node: NodeId, stream: &mut Box<dyn Io>) -> Result<Greeted, NotDialled> {
        let cut = |error: io::Error| NotDialled::Cut(format!("cannot greet: {error}"));
        let nonce = rand::rng().random();
        let caller = Caller::begin(&self.secret.greetings, (self.node, node), &nonce);
        stream.write_all(caller.hello()).await.map_err(cut)?;
        stream.flush().await.map_err(cut)?;
        let answer = read_hello(stream).await.map_err(cut)?.map_err(words)?;
        let (proof, greeted) = caller.answered(&answer).map_err(words)?;
        stream.write_all(&proof).await.map_err(cut)?;
        stream.flush().await.map_err(cut)?;
        Ok(greeted)
    }
}

fn words(error: impl Display) -> String {
    error.to_string()
}

/// Returns the host and the port of a node's URL, and whether it speaks TLS.
fn place(advertise: &str) -> Option<(String, u16, bool)> {
    let url: Uri = advertise.parse().ok()?;
    let is_tls = match url.scheme_str()? {
        "http" => false,
        "https" => true,
        _ => return None,
    };
    let host = url.host()?.trim_start_matches('[').trim_end_matches(']');
    Some((host.to_owned(), url.port_u16()?, is_tls))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nodes_url_has_a_scheme_a_host_and_a_port() {
        for (url, expected) in [
            ("http://10.0.0.1:3100", Some(("10.0.0.1", 3100, false))),
            ("https://node.example:1", Some(("node.example", 1, true))),
            ("http://[2001:db8::1]:3100", Some(("2001:db8::1", 3100, false))),
            ("http://node.example", None),
            ("ftp://node.example:1", None),
            ("node.example:1", None),
            ("", None),
        ] {
            let expected = expected.map(|(host, port, is_tls)| (host.to_owned(), port, is_tls));
            assert_eq!(place(url), expected, "{url}");
        }
    }
}
