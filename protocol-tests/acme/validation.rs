//! The directory's side of challenges: it really asks.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ring::digest::{SHA256, digest};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::state::{Problem, Rules};

/// What is to be found at a name.
pub(super) struct Expected {
    pub(super) name: String,
    pub(super) token: String,
    pub(super) key_authorization: String,
}

/// Looks whether the answer to a challenge is at its name.
pub(super) async fn validate(kind: &str, rules: &Rules, expected: &Expected) -> Result<(), Problem> {
    let looked = async {
        match kind {
            "http-01" => http(rules.http, expected).await,
            "tls-alpn-01" => tls_alpn(rules.tls_port, expected).await,
            _ => dns(rules, expected),
        }
    };
    let late = |_| Err(Problem::new(400, "connection", "no answer in time"));
    tokio::time::timeout(Duration::from_secs(10), looked).await.unwrap_or_else(late)
}

async fn connect(address: SocketAddr) -> Result<TcpStream, Problem> {
    let connected = TcpStream::connect(address).await;
    connected.map_err(|error| Problem::new(400, "connection", error.to_string()))
}

/// RFC 8555, section 8.3.
async fn http(address: SocketAddr, expected: &Expected) -> Result<(), Problem> {
    let wrong = |what: String| Problem::new(403, "unauthorized", what);
    let mut stream = connect(address).await?;
    let head = format!(
        "GET /.well-known/acme-challenge/{} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        expected.token, expected.name
    );
    let mut answer = Vec::new();
    stream.write_all(head.as_bytes()).await.map_err(|error| wrong(error.to_string()))?;
    // What came before a reset counts.
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| wrong(format!("no answer: {answer}")))?;
    if !head.starts_with("HTTP/1.1 200 ") || body.trim_end() != expected.key_authorization {
        return Err(wrong(format!("not the key authorization: {answer}")));
    }
    Ok(())
}

/// RFC 8737, section 3.
async fn tls_alpn(port: u16, expected: &Expected) -> Result<(), Problem> {
    let wrong = |what: String| Problem::new(403, "tls", what);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anything))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    let name = ServerName::try_from(expected.name.clone()).unwrap();
    let stream = tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(name, connect((Ipv4Addr::LOCALHOST, port).into()).await?)
        .await;
    let stream = stream.map_err(|error| wrong(error.to_string()))?;
    let (_, session) = stream.get_ref();
    if session.alpn_protocol() != Some(b"acme-tls/1") {
        return Err(wrong("acme-tls/1 was not agreed on".to_owned()));
    }
    let [certificate] = session.peer_certificates().unwrap_or_default() else {
        return Err(wrong("not one certificate".to_owned()));
    };
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|error| wrong(error.to_string()))?;
    if certificate.issuer() != certificate.subject() || certificate.verify_signature(None).is_err() {
        return Err(wrong("it is not signed by itself".to_owned()));
    }
    let (mut names, mut digests) = (Vec::new(), Vec::new());
    for extension in certificate.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(all) => {
                names.extend(all.general_names.iter().map(|name| match name {
                    GeneralName::DNSName(name) => (*name).to_owned(),
                    other => format!("{other:?}"),
                }));
            }
            _ if extension.oid.to_id_string() == "1.3.6.1.5.5.7.1.31" => {
                digests.push((extension.critical, extension.value.to_vec()));
            }
            _ => (),
        }
    }
    let digest = digest(&SHA256, expected.key_authorization.as_bytes());
    let octets = [&[4, 32], digest.as_ref()].concat();
    if names != [expected.name.clone()] || digests != [(true, octets)] {
        return Err(wrong(format!("another certificate: {names:?} {digests:?}")));
    }
    Ok(())
}

/// RFC 8555, section 8.4.
fn dns(rules: &Rules, expected: &Expected) -> Result<(), Problem> {
    use base64::Engine as _;

    let value = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, expected.key_authorization.as_bytes()));
    let record = format!("_acme-challenge.{} {value}", expected.name.trim_start_matches("*."));
    let records = std::fs::read_to_string(&rules.dns).unwrap_or_default();
    let is_there = records.lines().any(|line| line == record);
    if is_there { Ok(()) } else { Err(Problem::new(400, "dns", format!("no such record in: {records}"))) }
}

/// Trusts any certificate: a challenge's is nobody's.
#[derive(Debug)]
struct Anything;

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
