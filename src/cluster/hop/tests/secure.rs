//! Hops over TLS.

use futures::FutureExt as _;
use rcgen::{CertifiedKey as Generated, generate_simple_self_signed};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore};

use super::*;
use crate::net::tls::{Certificates, Tls};

/// Returns TLS for a node of this name, and how others call it.
fn tls(name: &str) -> (Tls, Arc<ClientConfig>) {
    let Generated { cert, signing_key } = generate_simple_self_signed([name.to_owned()]).unwrap();
    let certificate: CertificateDer<'static> = cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    let provider = Arc::new(ring::default_provider());
    let certificates = Certificates::new();
    certificates.set_default(Arc::new(CertifiedKey::from_der(vec![certificate.clone()], key, &provider).unwrap()));
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    // As a client of all kinds of servers has it.
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    (Tls::new(certificates).unwrap(), Arc::new(config))
}

fn calling(tls: Option<Arc<ClientConfig>>) -> Arc<Hops> {
    let (secret, stall_timeout) = (Arc::new(secret('a')), Duration::from_secs(30));
    Arc::new(Hops::new(Calling {
        node: node(1),
        secret,
        tls,
        max_hops: 2,
        memory: Budget::new(1 << 20),
        stall_timeout,
        response_head: (64 << 10, 128),
    }))
}

#[tokio::test]
async fn a_node_with_an_https_url_is_called_over_tls() {
    let (theirs, config) = tls("localhost");
    let limits = Limits { tls: Some(theirs), ..Limits::default() };
    let callee = Callee::start_with('a', 2, limits, |asked| {
        // The visitor came without TLS, whatever the hop speaks.
        let scheme = asked.arrival.scheme(&asked.head.headers).into_owned();
        async { reply::text(StatusCode::OK, "text/plain", scheme) }.boxed()
    })
    .await;
    let advertise = format!("https://localhost:{}", callee.address.port());
    let hops = calling(Some(Arc::clone(&config)));
    assert_eq!(within("an answer", hops.ping((callee.node, &advertise))).await.unwrap(), "standing");
    let first = Arriving::with_urls(hops, vec![(callee.node, advertise.clone())]).await;
    let response = first.answer("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert_eq!(body_of(&response), "http");
    // A stranger's certificate, another name than the certificate's, no TLS on this side, and none on the wire.
    let (_, other) = tls("localhost");
    let plain = format!("http://{}", callee.address);
    let by_address = format!("https://{}", callee.address);
    for (tls, url) in [(Some(other), &advertise), (Some(config), &by_address), (None, &advertise), (None, &plain)] {
        let failure = within("a failure", calling(tls).ping((callee.node, url))).await;
        assert!(matches!(failure, Err(Undone::Unreached(_) | Undone::Cut(_))), "{url}: {failure:?}");
    }
}
