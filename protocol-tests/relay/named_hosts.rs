//! Hosts of tunnels that the operator names with `--tunnel-host` (PROTOCOL.md, "Hosts of tunnels").

use serde_json::Value;
use socket2me::config::ServeConfig;

use super::hosts::{NAMED, Named, get};
use super::tunnel::patient;
use super::visitor::{request_to, visit};

const HOST: &str = "my-app.t.example";

/// A server at this URL with hosts of tunnels below `t.example`.
fn at(public_url: Option<&str>, hosts: &str) -> ServeConfig {
    ServeConfig { public_url: public_url.map(str::to_owned), tunnel_host: Some(hosts.parse().unwrap()), ..patient() }
}

#[tokio::test]
async fn a_tunnel_is_at_the_host_that_the_operator_names() {
    for (public_url, hosts, url, forwarded) in [
        (None, "*.t.example", "http://my-app.t.example:4711", "my-app.t.example"),
        (Some("https://relay.example"), "*.t.example", "https://my-app.t.example", "my-app.t.example"),
        (Some("https://t.example:8443/a"), "*.T.example", "https://my-app.t.example:8443", "my-app.t.example:8443"),
        (Some("https://relay.example"), "*.t.example:444", "https://my-app.t.example:444", "my-app.t.example:444"),
    ] {
        let mut tunnel = Named::open(at(public_url, hosts)).await;
        let (asked, _) = tunnel.exchange(&get(HOST, "/new"), "[]").await;
        assert_eq!((&*asked.request.url, asked.header("x-forwarded-prefix")), ("/new", None), "{hosts}");
        assert_eq!(asked.header("x-forwarded-host"), Some(forwarded), "{hosts}");
        let bearer = format!("Bearer {}", tunnel.tunnel.key);
        let ask = request_to("relay.example:4711", "GET", "/tunnel/my-app", &[("Authorization", &bearer)], b"");
        let shown: Value = serde_json::from_slice(&tunnel.visit(&ask).await.body).unwrap();
        assert_eq!(shown["url"], url, "{hosts}");
        assert!(shown["path_url"].as_str().unwrap().ends_with("/go/my-app"), "{hosts}");
        // They stand in place of those of this machine, and the domain itself is the server's.
        for own in ["my-app.localhost", "t.example", "relay.example", "127.0.0.1"] {
            assert_eq!(tunnel.visit(&get(own, "/healthz")).await.text(), "ok\n", "{own}");
        }
        for unknown in ["other.t.example", "a.my-app.t.example", ".t.example"] {
            let answer = tunnel.visit(&get(unknown, "/healthz")).await;
            assert_eq!((answer.status, answer.code()), (404, Some("token-not-found")), "{unknown}");
        }
        let challenge = tunnel.visit(&get(HOST, "/.well-known/acme-challenge/x")).await;
        assert_eq!((challenge.status, challenge.code()), (404, Some("not-found")));
    }
}

#[tokio::test]
async fn a_cookie_stays_at_the_host_that_sets_it() {
    let mut tunnel = Named::open(at(None, "*.t.example")).await;
    let path = tunnel.tunnel.at("/");
    let cookies = r#"[200,"x",{"set-cookie":["a=1; Domain=t.example; Path=/","b=2; Secure","c=3; domain=.example"]}]"#;
    for ask in [get(HOST, "/"), get("t.example", &path)] {
        let (_, answer) = tunnel.exchange(&ask, cookies).await;
        let set: Vec<_> =
            answer.headers.iter().filter(|(name, _)| name == "set-cookie").map(|(_, value)| &**value).collect();
        assert_eq!(set, ["a=1; Path=/", "b=2; Secure", "c=3"]);
    }
    // Without hosts that could be below the server's own, they are as in the original.
    let mut tunnel = Named::open(patient()).await;
    let (_, answer) =
        tunnel.exchange(&get("relay.example", &path), r#"[200,"x",{"set-cookie":"a=1; Domain=example"}]"#).await;
    assert_eq!(answer.header("set-cookie"), Some("a=1; Domain=example"));
}

#[tokio::test]
async fn a_server_whose_own_host_would_be_a_tunnels_does_not_start() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = at(Some("https://relay.t.example"), "*.t.example");
    let error = socket2me::relay::run(listener, config, |_| (), std::future::pending()).await.unwrap_err();
    assert!(error.to_string().contains("relay.t.example"), "{error}");
}

#[tokio::test]
async fn who_makes_a_tunnel_by_its_host_is_told_that_there_is_none() {
    let tunnel = Named::open(at(None, "*.t.example")).await;
    let json = ("Content-Type", "application/json");
    let ask = request_to("other.t.example", "POST", "/new", &[json], NAMED.as_bytes());
    assert_eq!(visit(tunnel.server.address, &ask).await.status, 404);
}
