//! The rules of keyed tunnels: what is refused before an end sees a byte of it, and what an end gets of the rest.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::holding::{held_bytes, vacant};
use super::tunnel::{Server, patient};
use super::visitor::{Answer, Visitor, request, visit};
use crate::support::end::{Body, End};
use crate::support::keyed::{Keyed, post};

/// GitHub's own example.
const SECRET: &str = "It's a Secret to Everybody";
const SIGNED: &str = "Hello, World!";
const SIGNATURE: (&str, &str) =
    ("X-Hub-Signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17");

struct Ruled {
    server: Server,
    tunnel: Keyed,
    end: End,
}

impl Ruled {
    async fn open(rules: Value) -> Self {
        let server = Server::start(patient()).await;
        let tunnel = Keyed::make(server.address, &json!({ "rules": rules }).to_string()).await;
        let end = tunnel.join(server.address).await;
        Self { server, tunnel, end }
    }

    async fn ask(&self, method: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        visit(self.server.address, &request(method, &self.tunnel.at("/hook?a=%20"), headers, body.as_bytes())).await
    }

    /// Sends a request that passes, and answers it. Returns what the end got.
    async fn passes(&mut self, headers: &[(&str, &str)], body: &str, status: u16) -> crate::support::end::Asked {
        let mut visitor = Visitor::connect(self.server.address).await;
        visitor.send(&request("POST", &self.tunnel.at("/hook"), headers, body.as_bytes())).await;
        let asked = self.end.asked().await;
        self.end.answer(&asked, &format!(r#"[{status},"done"]"#), &[]).await;
        assert_eq!(visitor.answer(false).await.status, status);
        asked
    }
}

fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

fn verify() -> Value {
    json!({"preset": "github", "secrets": ["another", SECRET]})
}

async fn set(address: SocketAddr, tunnel: &Keyed, rules: Value) -> Value {
    let answer = tunnel.ask(address, "PATCH", &json!({ "rules": rules }).to_string()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_slice::<Value>(&answer.body).unwrap()["rules"].take()
}

/// Each request has something wrong with it that a later rule would find too, and the first rule is the one that is told.
#[tokio::test]
async fn rules_are_checked_in_their_order_and_the_end_hears_of_nothing_that_they_refuse() {
    let mut ruled = Ruled::open(json!({
        "allow": ["127.0.0.0/8", "::1"],
        "methods": ["POST"],
        "basic": {"users": {"alice": "open sesame"}, "realm": "my hooks"},
        "verify": verify(),
        "rate": {"requests": 1, "per": 3600},
    }))
    .await;
    let (address, right) = (ruled.server.address, basic("alice", "open sesame"));
    let authorization = ("Authorization", &*right);
    let wrong = basic("alice", "close sesame");
    for (method, headers, status, code) in [
        ("GET", &[][..], 405, "method-refused"),
        ("POST", &[SIGNATURE], 401, "auth-required"),
        ("POST", &[SIGNATURE, ("Authorization", &*wrong)], 401, "auth-required"),
        ("POST", &[authorization], 401, "signature-missing"),
        ("POST", &[authorization, (SIGNATURE.0, "sha256=00")], 401, "signature-wrong"),
    ] {
        let answer = ruled.ask(method, headers, SIGNED).await;
        assert_eq!((answer.status, answer.code()), (status, Some(code)), "{method} {headers:?}: {answer:?}");
        match code {
            "method-refused" => assert_eq!(answer.header("allow"), Some("POST")),
            "auth-required" => {
                assert_eq!(answer.header("www-authenticate"), Some(r#"Basic realm="my hooks", charset="UTF-8""#));
            }
            _ => (),
        }
    }
    let asked = ruled.passes(&[authorization, SIGNATURE], SIGNED, 200).await;
    assert_eq!((asked.header("authorization"), asked.header("x-socket2me-verified")), (None, Some("github")));
    assert_eq!(asked.body(), Body::Buffer(SIGNED.into()), "{asked:?}");
    let answer = ruled.ask("POST", &[authorization, SIGNATURE], SIGNED).await;
    assert_eq!((answer.status, answer.code()), (429, Some("tunnel-rate")));
    let left: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((3_500..=3_600).contains(&left), "{left}");
    set(address, &ruled.tunnel, json!({"deny": ["127.0.0.1"], "rate": null})).await;
    let answer = ruled.ask("GET", &[], "").await;
    assert_eq!((answer.status, answer.code()), (403, Some("address-refused")), "deny wins over allow");
    set(address, &ruled.tunnel, json!(null)).await;
    ruled.passes(&[], "all may come", 200).await;
}

#[tokio::test]
async fn rules_are_checked_before_a_visitor_waits_for_an_end() {
    let (server, figures, tunnel) = vacant(
        &json!({"hold": 60, "timeout": 120, "rules": {"deny": ["192.0.2.0/24"], "verify": verify()}}).to_string(),
        |config| config.trust_proxy = vec!["127.0.0.0/8".parse().unwrap()],
    )
    .await;
    let ask = |headers: &[(&str, &str)]| request("POST", &tunnel.at("/"), headers, SIGNED.as_bytes());
    let from = ("X-Forwarded-For", "192.0.2.9");
    for (headers, code) in [(&[from, SIGNATURE][..], "address-refused"), (&[], "signature-missing")] {
        let answer = visit(server.address, &ask(headers)).await;
        assert_eq!(answer.code(), Some(code), "{answer:?}");
    }
    let mut visitor = held_bytes(&server, &figures, &ask(&[SIGNATURE])).await;
    let mut end = tunnel.join(server.address).await;
    let asked = end.asked().await;
    assert_eq!(asked.body(), Body::Buffer(SIGNED.into()), "the body that was checked is the end's");
    end.answer(&asked, r#"[200,"ok"]"#, &[]).await;
    assert_eq!(visitor.answer(false).await.status, 200);
    drop(end);
    figures.all_given_back("a visitor with a signature").await;
}

#[tokio::test]
async fn a_body_over_the_limit_of_the_signature_is_refused() {
    let ruled = Ruled::open(json!({"verify": {"preset": "github", "secrets": ["x"], "max": 100}})).await;
    let answer = ruled.ask("POST", &[SIGNATURE], &"x".repeat(101)).await;
    assert_eq!((answer.status, answer.code()), (413, Some("body-too-large")));
    let answer = ruled.ask("POST", &[SIGNATURE], &"x".repeat(100)).await;
    assert_eq!(answer.code(), Some("signature-wrong"));
}

#[tokio::test]
async fn where_signatures_are_only_looked_at_the_end_is_told_what_was_found() {
    let mut ruled =
        Ruled::open(json!({"verify": {"preset": "github", "secrets": [SECRET], "mode": "warn", "replay": true}})).await;
    let verified = |asked: crate::support::end::Asked| asked.header("x-socket2me-verified").unwrap().to_owned();
    let forged = ("X-Socket2Me-Verified", "github");
    assert_eq!(verified(ruled.passes(&[SIGNATURE], SIGNED, 200).await), "github");
    assert_eq!(verified(ruled.passes(&[SIGNATURE], SIGNED, 200).await), "false", "it has come before");
    assert_eq!(verified(ruled.passes(&[forged], SIGNED, 200).await), "false");
    set(ruled.server.address, &ruled.tunnel, json!({"verify": null})).await;
    let asked = ruled.passes(&[forged], SIGNED, 200).await;
    assert_eq!(asked.header("x-socket2me-verified"), None, "no visitor sets it");
}

#[tokio::test]
async fn a_delivery_that_has_failed_may_come_again_and_one_that_succeeded_may_not() {
    let mut verify = verify();
    verify["replay"] = json!(true);
    let mut ruled = Ruled::open(json!({ "verify": verify })).await;
    ruled.passes(&[SIGNATURE], SIGNED, 500).await;
    ruled.passes(&[SIGNATURE], SIGNED, 204).await;
    let answer = ruled.ask("POST", &[SIGNATURE], SIGNED).await;
    assert_eq!((answer.status, answer.code()), (401, Some("signature-replayed")));
    // Other rules than those of the signature change nothing of what is remembered.
    set(ruled.server.address, &ruled.tunnel, json!({"methods": ["POST"]})).await;
    assert_eq!(ruled.ask("POST", &[SIGNATURE], SIGNED).await.code(), Some("signature-replayed"));
}

#[tokio::test]
async fn an_owner_reads_the_rules_back_without_the_secrets() {
    let ruled = Ruled::open(json!({"methods": ["POST"], "verify": verify()})).await;
    let address = ruled.server.address;
    let shown = set(
        address,
        &ruled.tunnel,
        json!({"basic": {"users": {"alice": "open sesame"}}, "rate": {"requests": 5, "per": 1, "by": "address"}, "methods": null}),
    )
    .await;
    let expected = json!({
        "basic": {"realm": "Socket2Me tunnel", "users": {"alice": {"set": true}}},
        "verify": {"preset": "github", "secrets": {"set": true}, "replay": false, "mode": "enforce", "max": 1 << 20},
        "rate": {"requests": 5, "per": 1, "by": "address"},
    });
    assert_eq!(shown, expected);
    for (fields, said) in [
        (json!({"rules": {"verify": {"preset": "github", "secrets": {"set": true}}}}), "secrets are not read back"),
        (json!({"rules": {"metods": []}}), "`metods`"),
        (json!({"rules": {"allow": ["everybody"]}}), "`everybody`"),
        (json!({"rules": {"basic": {"users": {"alice": "short"}}}}), "8 to 256"),
        (json!({"rules": []}), "invalid type"),
    ] {
        for answer in
            [ruled.tunnel.ask(address, "PATCH", &fields.to_string()).await, post(address, &fields.to_string()).await]
        {
            assert_eq!((answer.status, answer.code()), (400, Some("invalid-request")), "{answer:?}");
            assert!(answer.error().contains(said), "{}", answer.error());
        }
    }
    let shown = ruled.tunnel.ask(address, "GET", "").await;
    assert_eq!(serde_json::from_slice::<Value>(&shown.body).unwrap()["rules"], expected, "nothing of it was set");
}

/// The operator's quota is for all tunnels of a key.
#[tokio::test]
async fn tunnels_of_a_key_carry_what_the_operator_lets_them() {
    let config = socket2me::config::ServeConfig { key_bytes: Some(30), key_requests: Some(3), ..patient() };
    let server = Server::start(config).await;
    let tunnel = Keyed::make(server.address, "{}").await;
    let end = tunnel.join(server.address).await;
    let mut ruled = Ruled { server, tunnel, end };
    ruled.passes(&[], "ten bytes!", 200).await;
    ruled.passes(&[], "more than thirty in all", 200).await;
    let answer = ruled.ask("POST", &[], "").await;
    assert_eq!((answer.status, answer.code()), (429, Some("quota")));
    let left: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((86_300..=86_400).contains(&left), "{left}");
}

#[tokio::test]
async fn an_upgrade_is_refused_like_any_other_request() {
    let ruled = Ruled::open(json!({"basic": {"users": {"alice": "open sesame"}}})).await;
    let headers = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    assert_eq!(ruled.ask("GET", &headers, "").await.code(), Some("auth-required"));
}
