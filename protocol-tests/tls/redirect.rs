//! The plain listener beside TLS, and what tells browsers to come by TLS alone.

use super::Secure;
use crate::starting::answers;

/// Starts a server with a plain listener, and returns the port of that.
async fn start(arguments: &[&str]) -> (Secure, u16) {
    let mut secure = Secure::start(&[&["--http-listen=127.0.0.1:0"], arguments].concat()).await;
    let line = secure.server.logged("listening for plain HTTP").await;
    let (_, port) = line.rsplit_once(':').unwrap();
    let port = port.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap();
    (secure, port)
}

/// Sends a request to the plain listener.
async fn ask(port: u16, line: &str, headers: &str) -> String {
    answers(("127.0.0.1", port), &format!("{line} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n")).await
}

#[tokio::test]
async fn visitors_are_sent_to_the_same_url_with_https() {
    let (secure, port) = start(&["--public-url=https://relay.example"]).await;
    for (line, host, location) in [
        ("GET /", "relay.example", "https://relay.example/"),
        ("GET /go/x/a%20b?c=d&e", "relay.example:80", "https://relay.example/go/x/a%20b?c=d&e"),
        ("POST /go/x", "My-App.t.example", "https://My-App.t.example/go/x"),
        ("GET http://other.example/x", "relay.example", "https://other.example/x"),
        ("GET /healthz/", "[2001:db8::1]:80", "https://[2001:db8::1]/healthz/"),
    ] {
        let answer = ask(port, line, &format!("Host: {host}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 308 Permanent Redirect\r\n"), "{line}: {answer}");
        assert!(answer.contains(&format!("\r\nlocation: {location}\r\n")), "{line}: {answer}");
        assert!(!answer.contains("strict-transport-security"), "{answer}");
    }
    for (line, headers) in [
        ("GET /", ""),
        ("GET /", "Host: a\r\nHost: b\r\n"),
        ("GET /", "Host: a/b\r\n"),
        ("GET /", "Host: me@a\r\n"),
        ("OPTIONS *", "Host: a\r\n"),
    ] {
        let answer = ask(port, line, headers).await;
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{line} {headers}: {answer}");
    }
    drop(secure);
}

#[tokio::test]
async fn health_is_told_without_tls_and_challenges_are_the_servers_own() {
    let (secure, port) = start(&["--tunnel-host=*.t.example", "--public-url=https://relay.example"]).await;
    for path in ["/healthz", "/readyz"] {
        let answer = ask(port, &format!("GET {path}"), "Host: relay.example\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("ok\n"), "{answer}");
        let answer = ask(port, &format!("GET {path}"), "Host: app.t.example\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 308 "), "{answer}");
    }
    for host in ["relay.example", "app.t.example"] {
        let answer = ask(port, "GET /.well-known/acme-challenge/unknown", &format!("Host: {host}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    }
    drop(secure);
}

#[tokio::test]
async fn without_a_public_url_the_port_is_that_of_the_listener() {
    let (secure, port) = start(&[]).await;
    let answer = ask(port, "GET /new?x", "Host: localhost:80\r\n").await;
    assert!(answer.contains(&format!("\r\nlocation: {}\r\n", secure.url("/new?x"))), "{answer}");
    // curl follows, and keeps the method.
    let made = secure
        .curl(&["-L", "-H", "Content-Type: application/json", "-d", "{}", &format!("http://localhost:{port}/new")])
        .await;
    assert!(made.contains("HTTP/1.1 308") && made.contains(" 201") && made.contains("\"key\""), "{made}");
}

#[tokio::test]
async fn strict_transport_security_is_in_every_answer_over_tls_and_no_ends() {
    for (flags, value) in [
        (&["--hsts=365d"][..], "strict-transport-security: max-age=31536000\r\n"),
        (&["--hsts=1h", "--hsts-subdomains"], "strict-transport-security: max-age=3600; includeSubDomains\r\n"),
    ] {
        let secure = Secure::start(flags).await;
        for path in ["/", "/healthz", "/go/unknown", "/nothing"] {
            let answer = secure.curl(&["--http1.1", &secure.url(path)]).await;
            assert_eq!(answer.matches("strict-transport-security").count(), 1, "{answer}");
            assert!(answer.contains(value), "{answer}");
        }
    }
    let secure = Secure::start(&[]).await;
    let answer = secure.curl(&[&secure.url("/")]).await;
    assert!(!answer.contains("strict-transport-security"), "{answer}");
}
