//! The program with a certificate of its own, as operators start it: what browsers, curl and hostile clients meet at its port.

mod ends;
mod files;
mod frames;
mod handshakes;
mod hostile_http2;
mod http2;
mod redirect;
mod streaming;

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::starting::{Started, program};
use crate::support::within;
use crate::tools::Scratch;

/// A certificate authority of a test's own, with a folder for what it signs.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pub(crate) scratch: Scratch,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "an authority of tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let scratch = Scratch::new();
        scratch.write("ca.pem", issuer.pem());
        Self { issuer, scratch }
    }

    /// Returns a certificate for `test`, `localhost` and `127.0.0.1`, and its key, both as PEM.
    pub(crate) fn sign(&self) -> (String, String) {
        let names = ["test", "localhost", "127.0.0.1"].map(str::to_owned);
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// Writes a new certificate and its key where the server reads them.
    pub(crate) fn renew(&self) -> String {
        let (chain, key) = self.sign();
        self.scratch.write("cert.pem", &chain).write("key.pem", key);
        chain
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Returns what clients of the server believe in and speak.
    pub(crate) fn client(&self, protocols: &[&str]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.file("ca.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        config
    }
}

/// A server with a certificate.
pub(crate) struct Secure {
    pub(crate) authority: Authority,
    pub(crate) server: Started,
}

impl Secure {
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        let authority = Authority::new();
        authority.renew();
        let server = Self::start_with(&authority, arguments).await;
        Self { authority, server }
    }

    async fn start_with(authority: &Authority, arguments: &[&str]) -> Started {
        let files = [("--tls-cert", "cert.pem"), ("--tls-key", "key.pem")]
            .map(|(flag, name)| format!("{flag}={}", authority.file(name).display()));
        let serve = ["serve", "--listen=127.0.0.1:0", "--store=memory", &files[0], &files[1]];
        Started::new(&[], &[&serve, arguments].concat()).await
    }

    /// Shakes hands as a client that speaks these protocols.
    pub(crate) async fn connect(&self, protocols: &[&str]) -> TlsStream<TcpStream> {
        let stream = within("a connection", TcpStream::connect(("127.0.0.1", self.server.port()))).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let connector = TlsConnector::from(Arc::new(self.authority.client(protocols)));
        within("a handshake", connector.connect(ServerName::try_from("test").unwrap(), stream)).await.unwrap()
    }

    /// Returns the URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.server.port())
    }

    /// Runs curl, which trusts the authority. Returns what it writes.
    pub(crate) async fn curl(&self, arguments: &[&str]) -> String {
        let ca = self.authority.file("ca.pem");
        let mut curl = program("curl", &[], &["-sS", "-i", "--max-time", "20", "--cacert", ca.to_str().unwrap()]);
        let output = curl.args(arguments).stderr(Stdio::piped()).output();
        let output = within("curl", output).await.expect("curl is installed");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "curl {arguments:?}: {told}");
        String::from_utf8(output.stdout).unwrap()
    }
}
