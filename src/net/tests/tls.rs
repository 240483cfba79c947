//! Connections that begin with a TLS handshake.

use std::sync::atomic::{AtomicU64, Ordering};

use futures::FutureExt as _;
use http_body_util::BodyExt as _;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::net::tls::tests::certified;
use crate::net::tls::{Certificates, Handshakes, Tls};

/// A server that speaks TLS.
pub(super) struct Secure {
    address: SocketAddr,
    certificates: Arc<Certificates>,
    handshakes: Arc<Handshakes>,
    root: CertificateDer<'static>,
}

impl Secure {
    pub(super) async fn start(
        change: impl FnOnce(&mut Limits),
        handler: impl for<'r> Fn(Asked<'r>) -> BoxFuture<'r, Reply> + Send + Sync + 'static,
    ) -> Self {
        let certificate = certified("test");
        let root = certificate.cert[0].clone();
        let certificates = Certificates::new();
        certificates.set_default(certificate);
        let tls = Tls::new(Arc::clone(&certificates)).unwrap();
        let handshakes = Arc::clone(&tls.handshakes);
        let mut limits = Limits { tls: Some(tls), ..Limits::default() };
        change(&mut limits);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        // Connections inherit it. Little is in the system, and much of what is sent waits in TLS.
        socket2::SockRef::from(&listener).set_send_buffer_size(8 << 10).unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(listener::serve(listener, Arc::new(Answering(handler)), limits, std::future::pending()));
        Self { address, certificates, handshakes, root }
    }

    /// Shakes hands as a client of this server, with these protocols.
    pub(super) async fn connect(&self, name: &'static str, protocols: &[&[u8]]) -> io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
        let mut config = config.with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(8 << 10).unwrap();
        let stream = socket.connect(self.address).await.unwrap();
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(name).unwrap(), stream).await
    }

    async fn client(&self) -> TlsStream<TcpStream> {
        within("a handshake", self.connect("test", &[b"http/1.1"])).await.unwrap()
    }

    /// Waits until as many handshakes have ended like this.
    async fn counts(&self, counter: impl Fn(&Handshakes) -> &AtomicU64, count: u64) {
        let counting = async {
            while counter(&self.handshakes).load(Ordering::Relaxed) < count {
                tokio::task::yield_now().await;
            }
        };
        within("the count", counting).await;
        assert_eq!(counter(&self.handshakes).load(Ordering::Relaxed), count);
    }
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";

#[expect(clippy::needless_pass_by_value, reason = "handlers get it so")]
fn answers(asked: Asked<'_>) -> BoxFuture<'_, Reply> {
    let scheme = asked.arrival.scheme(&asked.head.headers).into_owned();
    std::future::ready(Reply::new(scheme.into())).boxed()
}

/// Reads to the end, which must be orderly.
async fn read_all(mut stream: impl AsyncRead + Unpin) -> String {
    let mut text = String::new();
    within("the end", stream.read_to_string(&mut text)).await.unwrap();
    text
}

async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> String {
    stream.write_all(GET).await.unwrap();
    read_all(stream).await
}

#[tokio::test]
async fn requests_are_answered_over_tls_and_their_scheme_is_https() {
    let server = Secure::start(|_| (), answers).await;
    for protocols in [&[][..], &[&b"http/1.1"[..]]] {
        let text = ask(within("a handshake", server.connect("test", protocols)).await.unwrap()).await;
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("\r\n\r\nhttps"), "{text}");
    }
    server.counts(|counts| &counts.done, 2).await;
}

#[tokio::test]
async fn every_answer_tells_browsers_to_come_by_tls_alone_if_the_server_says_so() {
    let hsts = |limits: &mut Limits| {
        limits.tls.as_mut().unwrap().hsts = Some(http::HeaderValue::from_static("max-age=1"));
    };
    let server = Secure::start(hsts, answers).await;
    for request in [GET, b"nonsense\r\n\r\n", b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let mut client = server.client().await;
        client.write_all(request).await.unwrap();
        let text = read_all(client).await;
        assert!(text.contains("\r\nstrict-transport-security: max-age=1\r\n"), "{text}");
    }
}

#[tokio::test]
async fn plain_http_at_the_port_of_tls_is_told_so() {
    let server = Secure::start(|_| (), answers).await;
    let text = ask(TcpStream::connect(server.address).await.unwrap()).await;
    assert!(text.starts_with("HTTP/1.1 400 Bad Request\r\n") && text.contains("https://"), "{text}");
    server.counts(|counts| &counts.plain, 1).await;
}

/// Time is paused: it moves on when nothing else does.
#[tokio::test(start_paused = true)]
async fn a_handshake_that_takes_too_long_is_given_up() {
    let server = Secure::start(|_| (), answers).await;
    for begun in [&b""[..], b"\x16", b"\x16\x03\x01\x01\x00\x01"] {
        let mut client = TcpStream::connect(server.address).await.unwrap();
        client.write_all(begun).await.unwrap();
        let mut rest = Vec::new();
        // A reset is an end, too.
        let _ = client.read_to_end(&mut rest).await;
        assert_eq!(rest, b"");
    }
    server.counts(|counts| &counts.late, 3).await;
}

#[tokio::test]
async fn a_name_without_a_certificate_and_a_protocol_that_nobody_speaks_are_refused() {
    let server = Secure::start(|_| (), answers).await;
    assert!(server.connect("test", &[b"smtp"]).await.is_err());
    server.certificates.set(["other.example"], &certified("other.example"));
    assert!(server.connect("other.example", &[]).await.is_err(), "it is signed by itself");
    server.counts(|counts| &counts.failed, 2).await;
}

#[tokio::test]
async fn a_certificate_authority_gets_its_challenge_and_nothing_else() {
    let server = Secure::start(|_| (), answers).await;
    assert!(server.connect("test", &[b"acme-tls/1"]).await.is_err(), "there is no challenge");
    let (default, challenge) = (server.root.clone(), certified("test"));
    server.certificates.set_challenge("test", Arc::clone(&challenge));
    let server = Secure { root: challenge.cert[0].clone(), ..server };
    let mut authority = within("a handshake", server.connect("test", &[b"acme-tls/1"])).await.unwrap();
    assert_eq!(authority.get_ref().1.peer_certificates().unwrap(), challenge.cert);
    let mut rest = Vec::new();
    let _ = within("the end", authority.read_to_end(&mut rest)).await;
    server.counts(|counts| &counts.challenges, 1).await;
    let server = Secure { root: default, ..server };
    assert!(ask(server.client().await).await.ends_with("https"), "others get what they got before");
}

#[tokio::test]
async fn a_certificate_changes_for_new_connections_and_open_ones_stay() {
    let server = Secure::start(|_| (), answers).await;
    let before = server.client().await;
    let next = certified("test");
    server.certificates.set_default(Arc::clone(&next));
    let server = Secure { root: next.cert[0].clone(), ..server };
    assert!(ask(server.client().await).await.ends_with("https"));
    assert!(ask(before).await.ends_with("https"));
}

/// Most of what is sent waits in the server, in hyper, in TLS and in the system.
#[tokio::test]
async fn a_body_that_breaks_off_has_all_that_came_before_and_no_orderly_end() {
    let (tell, mut replies) = mpsc::channel(16);
    let server = Secure::start(
        |_| (),
        move |_| {
            let (sending, body) = streamed(None);
            tell.try_send(sending).unwrap();
            std::future::ready(Reply::new(body)).boxed()
        },
    );
    let server = server.await;
    for version in ["1.0", "1.1"] {
        for size in [1, 1000, 200_000, 2 << 20] {
            let mut client = server.client().await;
            client.write_all(format!("GET / HTTP/{version}\r\nHost: test\r\n\r\n").as_bytes()).await.unwrap();
            let sending: Sending = within("a request", replies.recv()).await.unwrap();
            for _ in 0..3 {
                sending.data(vec![b'x'; size]);
            }
            sending.break_off();
            let mut read = Vec::new();
            let end = within("the end", client.read_to_end(&mut read)).await;
            assert!(end.is_err(), "HTTP/{version}, {size}: no close_notify");
            if version == "1.1" {
                assert_eq!(memchr::memchr_iter(b'x', &read).count(), 3 * size);
                assert!(!read.ends_with(b"0\r\n\r\n"));
            }
        }
    }
}

/// Time is paused: it moves on when nothing else does.
#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_what_tls_has_for_it_is_given_up() {
    // The first fits into what TLS keeps, but not into what the system takes.
    for size in [4 << 20, 64 << 20] {
        let gone = Arc::new(());
        let held = Arc::clone(&gone);
        let server = Secure::start(
            |_| (),
            move |_| {
                let body = ReplyBody::from(vec![0; size]).until_done(Arc::clone(&held));
                std::future::ready(Reply::new(body)).boxed()
            },
        );
        let server = server.await;
        let mut client = server.client().await;
        client.write_all(GET).await.unwrap();
        let dropped = async {
            // The handler has one, and the test.
            while Arc::strong_count(&gone) < 3 {
                tokio::task::yield_now().await;
            }
            while Arc::strong_count(&gone) > 2 {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let started = tokio::time::Instant::now();
        dropped.await;
        assert!(started.elapsed() < Duration::from_secs(95), "{size}: {:?}", started.elapsed());
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_client_that_leaves_behind_bytes_is_noticed_and_what_it_has_sent_can_still_be_read() {
    let (tell, mut waiting) = mpsc::channel(16);
    let server = Secure::start(
        |_| (),
        move |asked| {
            tell.try_send((asked.arrival.gone().boxed(), asked.body.take().unwrap())).unwrap();
            std::future::pending().boxed()
        },
    );
    let server = server.await;
    for sent in [60_000, 1, 0] {
        let mut client = server.client().await;
        client.write_all(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\n").await.unwrap();
        let (mut gone, mut body): (BoxFuture<'static, ()>, _) = within("a request", waiting.recv()).await.unwrap();
        client.write_all(&vec![b'x'; sent]).await.unwrap();
        client.flush().await.unwrap();
        assert!((&mut gone).now_or_never().is_none());
        // The server reads to the end although the runtime was told that there is nothing.
        client.shutdown().await.unwrap();
        within("the end", gone).await;
        let mut read = 0;
        while read < sent {
            read += within("data", body.frame()).await.unwrap().unwrap().into_data().unwrap().len();
        }
        assert_eq!(read, sent);
    }
}
