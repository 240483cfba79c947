//! The files of a certificate: what is wrong with them, and how they change under a server that runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::{Authority, Secure};
use crate::starting::{BINARY, ended, program};
use crate::support::within;

#[tokio::test]
async fn settings_of_tls_that_lack_others_are_wrong_usage() {
    for (arguments, words) in [
        (&["--tls-cert=a"][..], "--tls-cert needs --tls-key"),
        (&["--tls-key=a"], "--tls-key needs --tls-cert"),
        (&["--http-listen=80"], "--http-listen needs --tls-cert"),
        (&["--hsts=1d"], "--hsts needs --tls-cert"),
        (&["--tls-cert=a", "--tls-key=a", "--hsts-subdomains"], "--hsts-subdomains needs --hsts"),
    ] {
        let (code, told) = ended(&[], &[&["serve"], arguments].concat()).await;
        assert!(code == Some(2) && told.contains(words), "{arguments:?}: {code:?} {told}");
    }
    let (code, told) = ended(&[("SOCKET2ME_TLS_KEY", "a")], &["serve"]).await;
    assert!(code == Some(2) && told.contains("the variable SOCKET2ME_TLS_KEY"), "{told}");
}

#[tokio::test]
async fn files_that_are_no_certificate_with_its_key_stop_the_start_with_a_sentence() {
    let authority = Authority::new();
    let ((chain, key), (_, other_key)) = (authority.sign(), authority.sign());
    for (chain, key, words) in [
        (None, Some(&*key), "cert.pem"),
        (Some(&*chain), None, "key.pem"),
        (Some(""), Some(&key), "has no certificate"),
        (Some(&chain), Some(""), "has no key"),
        (Some(&key), Some(&key), "has no certificate"),
        (Some(&chain), Some(&chain), "has no key"),
        (Some(&chain), Some(&other_key), "is not that of the first certificate"),
        (Some(&chain[..chain.len() / 2]), Some(&key), "cert.pem"),
    ] {
        for (name, content) in [("cert.pem", chain), ("key.pem", key)] {
            let _ = std::fs::remove_file(authority.file(name));
            content.map(|content| authority.scratch.write(name, content));
        }
        let files = [("--tls-cert", "cert.pem"), ("--tls-key", "key.pem")]
            .map(|(flag, name)| format!("{flag}={}", authority.file(name).display()));
        let arguments = ["serve", "--listen=127.0.0.1:0", "--store=memory", &files[0], &files[1]];
        let (code, told) = ended(&[], &arguments).await;
        assert!(code == Some(1) && told.contains(words), "{words}: {code:?} {told}");
        assert!(!told.contains("PRIVATE KEY-----"), "{told}");
    }
}

/// Asks on a connection that stays open.
async fn ask(stream: &mut TlsStream<TcpStream>) {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nok\n") {
        assert!(within("an answer", stream.read_buf(&mut answer)).await.unwrap() > 0, "{}", answer.escape_ascii());
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", answer.escape_ascii());
}

/// Whether new connections get the certificate in this text.
async fn shows(server: &Secure, chain: &str) -> bool {
    let expected = CertificateDer::from_pem_slice(chain.as_bytes()).unwrap();
    let stream = server.connect(&["http/1.1"]).await;
    stream.get_ref().1.peer_certificates().unwrap() == [expected]
}

#[tokio::test]
async fn a_certificate_is_read_again_when_it_changes_and_on_sighup_and_no_request_fails() {
    let mut secure = Secure::start(&[]).await;
    let mut open = secure.connect(&["http/1.1"]).await;
    let (stop, port) = (Arc::new(AtomicBool::new(false)), secure.server.port());
    let (stopped, client) = (Arc::clone(&stop), Arc::new(secure.authority.client(&["http/1.1"])));
    let traffic = tokio::spawn(async move {
        let mut asked = 0;
        while !stopped.load(Ordering::Relaxed) {
            let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let connector = tokio_rustls::TlsConnector::from(Arc::clone(&client));
            let mut stream = connector.connect("test".try_into().unwrap(), stream).await.unwrap();
            ask(&mut stream).await;
            asked += 1;
        }
        asked
    });
    // At once, by a signal.
    let second = secure.authority.renew();
    secure.server.signal("-HUP").await;
    secure.server.logged("new connections get the certificate that was read").await;
    assert!(shows(&secure, &second).await);
    // By itself, while one file is another pair's.
    let (third, key) = secure.authority.sign();
    secure.authority.scratch.write("cert.pem", &third);
    let warning = secure.server.logged("The certificate before is used still").await;
    assert!(warning.contains("WARN"), "{warning}");
    assert!(shows(&secure, &second).await);
    // Replaced, as certbot and Kubernetes do.
    secure.authority.scratch.write("next.pem", key);
    std::fs::rename(secure.authority.file("next.pem"), secure.authority.file("key.pem")).unwrap();
    secure.server.logged("new connections get the certificate that was read").await;
    assert!(shows(&secure, &third).await);
    // Gone, and asked for.
    std::fs::remove_file(secure.authority.file("cert.pem")).unwrap();
    secure.server.signal("-HUP").await;
    secure.server.logged("cannot read").await;
    assert!(shows(&secure, &third).await);
    stop.store(true, Ordering::Relaxed);
    assert!(traffic.await.unwrap() > 0);
    ask(&mut open).await;
    drop(open);
    let (code, _) = secure.server.stop("-TERM").await;
    assert_eq!(code, Some(0));
}

#[tokio::test]
async fn a_healthcheck_asks_a_server_with_a_certificate_by_tls() {
    let secure = Secure::start(&[]).await;
    let (listen, cert) = (format!("--listen=127.0.0.1:{}", secure.server.port()), secure.authority.file("cert.pem"));
    let cert = format!("--tls-cert={}", cert.display());
    let output = program(BINARY, &[], &["healthcheck", &listen, &cert]).output();
    let output = within("the answer", output).await.unwrap();
    let (found, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && found.contains("/readyz is 200"), "{found} {told}");
    let (code, told) = ended(&[], &["healthcheck", &listen]).await;
    assert!(code == Some(1) && told.contains("/readyz is 400"), "{told}");
}
