//! A server that orders from the directory: the task of the product over a file, and listeners that show what it shows.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use socket2me::acme::{Acme, Ending, Figures, Shown};
use socket2me::config::AcmeConfig;
use socket2me::net::challenges::Challenges;
use socket2me::net::tls::Certificates;
use socket2me::store::{FileStore, Seal, Store};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::directory::Directory;
use crate::support::within;

/// The name that most tests order a certificate for.
pub(super) const NAME: &str = "relay.test";

/// A server.
pub(super) struct Server {
    pub(super) figures: Arc<Figures>,
    store: Arc<Store>,
    tasks: JoinSet<()>,
    tls: SocketAddr,
    client: Client,
}

/// The settings that get certificates from a directory.
pub(super) fn settings(directory: &Directory, names: &[&str]) -> AcmeConfig {
    AcmeConfig {
        names: names.iter().map(|name| name.parse().unwrap()).collect(),
        agree_tos: true,
        directory: Some(directory.url()),
        ca: Some(directory.root()),
        ..AcmeConfig::default()
    }
}

impl Server {
    /// Starts a server for [`NAME`], with the file of the one before.
    pub(super) async fn start(directory: &Directory) -> Self {
        Self::with(directory, &settings(directory, &[NAME]), true).await
    }

    /// Starts a server, to whose ports all names lead from then on.
    pub(super) async fn with(directory: &Directory, config: &AcmeConfig, has_http: bool) -> Self {
        let store = FileStore::open(&directory.folder().join("tunnels.redb"), 10, |_| ()).await.unwrap();
        Self::over(directory, config, has_http, (Store::File(store), Seal::default())).await
    }

    pub(super) async fn over(
        directory: &Directory,
        config: &AcmeConfig,
        has_http: bool,
        (store, seal): (Store, Seal),
    ) -> Self {
        let (certificates, challenges) = (Certificates::new(), Arc::<Challenges>::default());
        let shown = Shown::new(Arc::clone(&certificates), Arc::clone(&challenges), true);
        let acme = Acme::new(config, (store.values(), seal), shown, has_http).await.unwrap();
        let figures = Arc::clone(acme.figures());
        let mut tasks = JoinSet::new();
        let [http, tls] =
            [TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap()];
        let [http_address, address] = [&http, &tls].map(|listener| listener.local_addr().unwrap());
        directory.rule(|rules| {
            rules.tls_port = address.port();
            if has_http {
                rules.http = http_address;
            }
        });
        tasks.spawn(serve_http(http, challenges));
        tasks.spawn(serve_tls(tls, certificates));
        tasks.spawn(async { match acme.run().await {} });
        let store = Arc::new(store);
        let kept = Arc::clone(&store);
        tasks.spawn(async move { match kept.keep().await {} });
        Self { figures, store, tasks, tls: address, client: Client::of(&directory.root()) }
    }

    /// Ends the server at once, as a signal would: only its file is given back.
    pub(super) async fn kill(mut self) {
        self.tasks.shutdown().await;
        self.store.close().await;
    }

    /// Waits until visitors of a name get a certificate that is not `before`, and returns it.
    pub(super) async fn certificate(&self, name: &str, before: Option<&[u8]>) -> Vec<u8> {
        let known = || self.figures.certificates().map(|(_, until)| until).collect::<Vec<_>>();
        let asking = async {
            loop {
                let until = known();
                match self.served(name).await {
                    Some(certificate) if before != Some(&certificate) => return certificate,
                    Some(_) | None => (),
                }
                // A handshake is dear. Two certificates may expire in the same second.
                for _ in 0..500 {
                    if known() != until {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
            }
        };
        within("a certificate", asking).await
    }

    /// Returns the certificate that visitors of a name get. `None` if they are refused.
    pub(super) async fn served(&self, name: &str) -> Option<Vec<u8>> {
        self.client.connect(self.tls, name).await.map(|connection| leaf(&connection))
    }

    /// Returns how many attempts have ended so.
    pub(super) fn attempts(&self, ending: Ending) -> u64 {
        self.figures.attempts().find(|(of, _)| *of == ending).unwrap().1
    }

    /// Waits until an attempt has ended so.
    pub(super) async fn has(&self, ending: Ending) {
        let looking = async {
            while self.attempts(ending) == 0 {
                tokio::task::yield_now().await;
            }
        };
        within("an attempt to end", looking).await;
    }
}

/// A visitor that trusts one root.
pub(super) struct Client(Arc<rustls::ClientConfig>);

impl Client {
    /// Makes a visitor that trusts the root in this file.
    pub(super) fn of(root: &Path) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(root).unwrap()).unwrap();
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
        Self(Arc::new(config.with_no_client_auth()))
    }

    /// Shakes hands. `None` if the server refuses, or its certificate is not for the name.
    pub(super) async fn connect(&self, address: SocketAddr, name: &str) -> Option<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        TlsConnector::from(Arc::clone(&self.0)).connect(name, stream).await.ok()
    }
}

/// Returns the certificate of a connection.
pub(super) fn leaf(connection: &TlsStream<TcpStream>) -> Vec<u8> {
    connection.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

/// Answers what a directory asks for on port 80.
async fn serve_http(listener: TcpListener, challenges: Arc<Challenges>) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { return };
        let mut line = String::new();
        let mut lines = BufReader::new(&mut stream);
        let _ = lines.read_line(&mut line).await;
        let mut header = String::from("-");
        while !header.trim().is_empty() {
            header.clear();
            let _ = lines.read_line(&mut header).await;
        }
        let path = line.split(' ').nth(1).unwrap_or_default();
        let proof = path.strip_prefix("/.well-known/acme-challenge/").and_then(|token| challenges.get(token));
        let answer = match proof {
            Some(proof) => {
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{}", proof.len(), String::from_utf8_lossy(&proof))
            }
            None => "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned(),
        };
        let _ = stream.write_all(answer.as_bytes()).await;
    }
}

/// Completes handshakes.
async fn serve_tls(listener: TcpListener, certificates: Arc<Certificates>) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        if let Ok(mut stream) = acceptor.accept(stream).await {
            let _ = stream.shutdown().await;
        }
    }
}
