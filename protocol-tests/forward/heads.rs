//! What of heads names a place.

use socket2me::client::forward::headers::HostHeader;
use socket2me::client::tunnel::UrlMode;

use super::Forwarded;

const MOVED: &str = "HTTP/1.1 302 Found\r\nLocation: /next?x\r\nSet-Cookie: a=1; Path=/; HttpOnly\r\nContent-Length: 0\r\n\
                     Connection: close\r\n\r\n";

#[tokio::test]
async fn by_path_an_app_below_a_prefix_sees_the_root() {
    let tunnel = Forwarded::with(|options| options.name = Some("my-app")).await;
    let (asked, answer) = tunnel.exchange(&tunnel.request("GET", "/login", &[], b""), MOVED).await;
    assert_eq!(asked.line(), "GET /login HTTP/1.1");
    for (name, expected) in [
        ("host", tunnel.app.address.to_string()),
        ("x-forwarded-host", tunnel.server.address.to_string()),
        ("x-forwarded-proto", "http".to_owned()),
        ("x-forwarded-for", "127.0.0.1".to_owned()),
        ("x-forwarded-prefix", "/go/my-app".to_owned()),
    ] {
        assert_eq!(asked.header(name), Some(&*expected), "{name}");
    }
    assert_eq!(answer.header("location"), Some("/go/my-app/next?x"));
    assert_eq!(answer.header("set-cookie"), Some("a=1; Path=/go/my-app/; HttpOnly"));
}

#[tokio::test]
async fn on_a_host_of_its_own_an_app_is_at_the_root_outside_too() {
    let tunnel = Forwarded::with(|options| (options.name, options.url_mode) = (Some("my-app"), UrlMode::Host)).await;
    assert_eq!(tunnel.url, format!("http://my-app.localhost:{}", tunnel.server.address.port()));
    let (asked, answer) = tunnel.exchange(&tunnel.request("GET", "/new", &[], b""), MOVED).await;
    assert_eq!((asked.line(), asked.header("x-forwarded-prefix")), ("GET /new HTTP/1.1", None));
    assert_eq!(asked.header("x-forwarded-host"), Some(tunnel.host()));
    assert_eq!(answer.header("location"), Some("/next?x"));
    assert_eq!(answer.header("set-cookie"), Some("a=1; Path=/; HttpOnly"));
    let moved = MOVED.replace("/next?x", &format!("http://{}/next", tunnel.app.address));
    let (_, answer) = tunnel.exchange(&tunnel.request("GET", "/", &[], b""), &moved).await;
    assert_eq!(answer.header("location"), Some(&*format!("{}/next", tunnel.url)));
}

#[tokio::test]
async fn a_name_below_localhost_is_told_only_where_it_is_found() {
    let tunnel = Forwarded::with(|options| options.url_mode = UrlMode::HostUnlessLocalhost).await;
    assert!(tunnel.url.contains("/go/"), "{}", tunnel.url);
}

#[tokio::test]
async fn an_app_may_be_told_the_public_host() {
    let tunnel = Forwarded::with(|options| options.host_header = HostHeader::Keep).await;
    let (asked, _) = tunnel.exchange(&tunnel.request("GET", "/", &[], b""), MOVED).await;
    assert_eq!(asked.header("host"), Some(&*tunnel.server.address.to_string()));
}

#[tokio::test]
async fn headers_of_one_connection_end_with_it() {
    let tunnel = Forwarded::start().await;
    let request = tunnel.request("GET", "/", &[("te", "gzip"), ("keep-alive", "5"), ("proxy-authorization", "x")], b"");
    let response = "HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: x\r\n\
                    Content-Length: 0\r\n\r\n";
    let (asked, answer) = tunnel.exchange(&request, response).await;
    for name in ["te", "keep-alive", "proxy-authorization", "connection", "upgrade"] {
        assert_eq!(asked.header(name), None, "{name}");
    }
    for name in ["keep-alive", "proxy-authenticate", "x-hop"] {
        assert_eq!(answer.header(name), None, "{name}");
    }
}
