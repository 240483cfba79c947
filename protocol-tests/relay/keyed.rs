//! Keyed tunnels: who may make, join, read, change and end them.

use std::time::Duration;

use serde_json::{Value, json};
use socket2me::config::{ErrorStatus, ServeConfig};

use super::tunnel::{Server, patient};
use super::visitor::{Answer, Visitor, get, request};
use crate::support::end::{End, Heard};
use crate::support::{NOT_FOUND, UNKNOWN};

/// A key of the right form that no tunnel has.
const OTHER_KEY: &str = "s2m_0000000000000000000000000000000000000000000";

/// Sends a request with a body of JSON, and with a key unless that is empty.
async fn call(server: &Server, method: &str, target: &str, key: &str, body: &str) -> Answer {
    let bearer = format!("Bearer {key}");
    let mut headers = vec![("content-type", "application/json")];
    if !key.is_empty() {
        headers.push(("authorization", &*bearer));
    }
    let mut visitor = Visitor::connect(server.address).await;
    visitor.send(&request(method, target, &headers, body.as_bytes())).await;
    let answer = visitor.answer(method == "HEAD").await;
    visitor.finish().await;
    answer
}

fn json_of(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("no JSON: {answer:?}"))
}

/// Makes a tunnel, and returns its token and key.
async fn make(server: &Server, body: &str) -> (String, String) {
    let answer = call(server, "POST", "/new", "", body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let made = json_of(&answer);
    (made["token"].as_str().unwrap().to_owned(), made["key"].as_str().unwrap().to_owned())
}

async fn join(server: &Server, token: &str, key: &str) -> Result<End, String> {
    let mut end = End::open(server.address).await;
    end.join(token, &json!({ "key": key }).to_string()).await.map(|()| end)
}

/// Sends a visitor's request and answers it at the end.
async fn exchange(server: &Server, token: &str, end: &mut End) -> Answer {
    let mut visitor = Visitor::connect(server.address).await;
    visitor.send(&request("GET", &format!("/go/{token}/"), &[], b"")).await;
    let asked = end.asked().await;
    end.answer(&asked, r#"[200,"here"]"#, &[]).await;
    visitor.answer(false).await
}

#[tokio::test]
async fn a_tunnel_is_made_joined_with_its_key_and_answers() {
    let server = Server::start(patient()).await;
    let answer = call(&server, "POST", "/new", "", "{}").await;
    let made = json_of(&answer);
    assert_eq!((answer.status, answer.header("cache-control")), (201, Some("no-store")));
    let members: Vec<_> = made.as_object().unwrap().keys().cloned().collect();
    assert_eq!(members, ["expires", "key", "path_url", "token", "url"]);
    let (token, key) = (made["token"].as_str().unwrap(), made["key"].as_str().unwrap());
    assert_eq!(made["url"], format!("http://relay.example/go/{token}"));
    let mut end = join(&server, token, key).await.unwrap();
    assert_eq!(exchange(&server, token, &mut end).await.text(), "here");
    let shown = json_of(&call(&server, "GET", &format!("/tunnel/{token}"), key, "").await);
    assert_eq!((&shown["connected"], &shown["expires"]), (&json!(true), &Value::Null));
    assert_eq!((&shown["ttl"], &shown["timeout"]), (&json!(2_592_000), &json!(60)));
    assert_eq!(shown["figures"]["requests"], 1);
    assert!(shown.get("key").is_none());
}

#[tokio::test]
async fn without_the_key_or_with_anothers_nothing_is_done() {
    let server = Server::start(patient()).await;
    let (token, key) = make(&server, "{}").await;
    let (_, others) = make(&server, "{}").await;
    let mut end = join(&server, &token, &key).await.unwrap();
    for (wrong, expected) in
        [("", "this tunnel has a key"), (&*others, "this is not"), (OTHER_KEY, "this is not"), ("s2m_", "this is not")]
    {
        let refused = if wrong.is_empty() {
            End::open(server.address).await.join(&token, "").await
        } else {
            join(&server, &token, wrong).await.map(|_| ())
        };
        assert!(refused.unwrap_err().starts_with(expected), "{wrong}");
        let new_key = json!({ "key": OTHER_KEY }).to_string();
        for (method, rest, body) in
            [("GET", "", ""), ("PATCH", "", "{}"), ("DELETE", "", ""), ("POST", "/key", &new_key)]
        {
            let answer = call(&server, method, &format!("/tunnel/{token}{rest}"), wrong, body).await;
            let expected = if wrong.is_empty() { (401, Some("key-required")) } else { (404, Some("token-not-found")) };
            assert_eq!((answer.status, answer.code()), expected, "{method} {wrong}");
        }
        let refreshed = call(&server, "GET", &format!("/refresh/{token}"), wrong, "").await.status;
        assert_eq!(refreshed, if wrong.is_empty() { 401 } else { 404 }, "{wrong}");
    }
    assert_eq!(exchange(&server, &token, &mut end).await.text(), "here");
    assert_eq!(call(&server, "GET", &format!("/refresh/{token}"), &key, "").await.text(), "OK");
}

#[tokio::test]
async fn unknown_tokens_original_ones_and_those_of_others_look_alike() {
    let server = Server::start(patient()).await;
    let original = server.token().await;
    let (token, _) = make(&server, r#"{"name":"mine"}"#).await;
    let (_, key) = make(&server, "{}").await;
    let answers = [&*original, UNKNOWN, "nobody", "NO", &token].map(|token| format!("/tunnel/{token}"));
    let mut seen = Vec::new();
    for target in &answers {
        let answer = call(&server, "GET", target, &key, "").await;
        let headers: Vec<_> = answer.headers.iter().filter(|(name, _)| name != "date").cloned().collect();
        seen.push((answer.status, headers, answer.text()));
    }
    assert_eq!(seen[0].0, 404);
    assert!(seen.iter().all(|answer| *answer == seen[0]), "{seen:#?}");
}

#[tokio::test]
async fn a_keyed_tunnel_answers_as_other_relays_do_whatever_the_flags_for_original_ones() {
    for error_status in [ErrorStatus::Original, ErrorStatus::Standard] {
        let config =
            ServeConfig { error_status, response_timeout: Duration::from_millis(1), ..ServeConfig::defaults() };
        let server = Server::start(config).await;
        let (token, key) = make(&server, r#"{"name":"mine","timeout":1}"#).await;
        let visit = |token: &str| format!("/go/{token}/");
        let answer = get(server.address, &visit(&token)).await;
        assert_eq!((answer.status, answer.code()), (502, Some("client-not-connected")));
        let answer = get(server.address, &visit("nobody")).await;
        assert_eq!((answer.status, answer.code()), (404, Some("token-not-found")));
        let unknown = if error_status == ErrorStatus::Original { 500 } else { 404 };
        assert_eq!(get(server.address, &visit(UNKNOWN)).await.status, unknown);
        let mut end = join(&server, &token, &key).await.unwrap();
        let mut visitor = Visitor::connect(server.address).await;
        visitor.send(&request("GET", &visit(&token), &[], b"")).await;
        end.asked().await;
        let answer = visitor.answer(false).await;
        assert_eq!((answer.status, answer.code()), (504, Some("client-timed-out")));
        let mut visitor = Visitor::connect(server.address).await;
        visitor.send(&request("GET", &visit(&token), &[], b"")).await;
        end.asked().await;
        end.close().await;
        let answer = visitor.answer(false).await;
        assert_eq!((answer.status, answer.code()), (502, Some("client-disconnected")));
    }
}

#[tokio::test]
async fn another_key_drops_the_end_that_joined_with_the_one_before() {
    let server = Server::start(patient()).await;
    let (token, key) = make(&server, "{}").await;
    let mut thief = join(&server, &token, &key).await.unwrap();
    let target = format!("/tunnel/{token}/key");
    let body = json!({ "key": OTHER_KEY }).to_string();
    for _ in 0..2 {
        assert_eq!(call(&server, "POST", &target, &key, &body).await.status, 204, "repeated, it changes nothing");
    }
    assert_eq!(thief.text().await, format!("41/{token},"));
    assert!(join(&server, &token, &key).await.is_err());
    let mut end = join(&server, &token, OTHER_KEY).await.unwrap();
    // With `disconnect: false`, an end that is there stays.
    let body = json!({ "key": key, "disconnect": false }).to_string();
    assert_eq!(call(&server, "POST", &target, OTHER_KEY, &body).await.status, 204);
    assert_eq!(exchange(&server, &token, &mut end).await.text(), "here");
    assert!(join(&server, &token, OTHER_KEY).await.is_err());
    join(&server, &token, &key).await.unwrap();
    assert_eq!(end.text().await, format!("41/{token},"), "its owner takes his own tunnel over");
    let answer = call(&server, "POST", &target, &key, r#"{"key":"s2m_short"}"#).await;
    assert_eq!((answer.status, answer.code()), (400, Some("invalid-request")));
}

#[tokio::test]
async fn a_name_that_is_deleted_stays_its_keys_and_its_end_leaves() {
    let server = Server::start(patient()).await;
    let (token, key) = make(&server, r#"{"name":"mine"}"#).await;
    let named = |key| call(&server, "POST", "/new", key, r#"{"name":"mine"}"#);
    let mut end = join(&server, &token, &key).await.unwrap();
    let living = named(&key).await;
    assert_eq!((living.status, json_of(&living).get("key")), (200, None));
    for wrong in ["", OTHER_KEY] {
        assert_eq!((named(wrong).await.status, named(wrong).await.code()), (409, Some("name-taken")));
    }
    assert_eq!(call(&server, "DELETE", "/tunnel/mine", &key, "").await.status, 204);
    assert_eq!(end.text().await, "41/mine,");
    assert_eq!(get(server.address, "/go/mine/").await.status, 404);
    assert_eq!(join(&server, &token, &key).await.err(), Some(NOT_FOUND.to_owned()));
    assert_eq!((named("").await.status, named(OTHER_KEY).await.status), (409, 409));
    let revived = named(&key).await;
    assert_eq!((revived.status, json_of(&revived)["key"].as_str()), (201, Some(&*key)));
    join(&server, &token, &key).await.unwrap();
    // One that no end ever joined is free at once.
    let (_, unused) = make(&server, r#"{"name":"unused"}"#).await;
    assert_eq!(call(&server, "DELETE", "/tunnel/unused", &unused, "").await.status, 204);
    make(&server, r#"{"name":"unused"}"#).await;
}

#[tokio::test]
async fn settings_change_while_an_end_is_connected() {
    let server = Server::start(patient()).await;
    let (token, key) = make(&server, "{}").await;
    let mut end = join(&server, &token, &key).await.unwrap();
    let target = format!("/tunnel/{token}");
    let changed = json_of(&call(&server, "PATCH", &target, &key, r#"{"ttl":600,"timeout":1}"#).await);
    assert_eq!((&changed["ttl"], &changed["timeout"], &changed["connected"]), (&json!(600), &json!(1), &json!(true)));
    let mut visitor = Visitor::connect(server.address).await;
    visitor.send(&request("GET", &format!("/go/{token}/"), &[], b"")).await;
    end.asked().await;
    assert_eq!(visitor.answer(false).await.status, 504);
    assert_eq!(exchange(&server, &token, &mut end).await.text(), "here");
}

#[tokio::test]
async fn what_is_asked_for_must_be_possible() {
    let server = Server::start(ServeConfig { max_ttl: Duration::from_secs(6000), ..patient() }).await;
    for (body, expected) in [
        (r#"{"ttl":599}"#, "ttl is 599: it must be 600 s at least"),
        (r#"{"ttl":6001}"#, "ttl is 6001: the operator's --max-ttl allows 6000 s at most"),
        (r#"{"timeout":0}"#, "timeout is 0: it must be 1 s at least"),
        (r#"{"timeout":601}"#, "timeout is 601: the operator's --max-timeout allows 600 s at most"),
        (r#"{"name":"My-App"}"#, "name: a name has small letters, digits and hyphens alone, such as my-app-2"),
        (
            r#"{"wait":3}"#,
            "the body is not as it must be: unknown field `wait`, expected one of `name`, `ttl`, `timeout`, `hold`, `ends`, \
             `repeat`, `rules`",
        ),
        (r#"{"ttl":"1h"}"#, "the body is not as it must be: invalid type: string \"1h\", expected u64"),
        ("[]", "the body is not as it must be: "),
        ("{", "the body is not as it must be: "),
    ] {
        let answer = call(&server, "POST", "/new", "", body).await;
        assert_eq!((answer.status, answer.code()), (400, Some("invalid-request")), "{body}");
        assert!(answer.error().starts_with(expected), "{body}: {}", answer.error());
    }
    let mut visitor = Visitor::connect(server.address).await;
    visitor.send(&request("POST", "/new", &[("content-type", "text/plain")], b"{}")).await;
    assert_eq!(visitor.answer(false).await.status, 415, "a page can send this by a form");
    let many = format!(r#"{{"name":"{}"}}"#, "a".repeat(80 << 10));
    assert_eq!(call(&server, "POST", "/new", "", &many).await.status, 413);
}

#[tokio::test]
async fn what_is_not_asked_for_is_the_default_or_the_most_that_the_operator_allows() {
    let [seconds, hour] = [2, 3600].map(Duration::from_secs);
    let strict = ServeConfig { max_ttl: hour, max_timeout: seconds, max_hold: seconds, ..patient() };
    for (config, expected) in [(patient(), [2_592_000, 60, 3]), (strict, [3600, 2, 2])] {
        let server = Server::start(config).await;
        let (token, key) = make(&server, "").await;
        let shown = json_of(&call(&server, "GET", &format!("/tunnel/{token}"), &key, "").await);
        assert_eq!(["ttl", "timeout", "hold"].map(|field| shown[field].as_u64().unwrap()), expected);
        assert_eq!((&shown["ends"], &shown["repeat"]), (&json!("newest"), &json!("never")));
    }
}

#[tokio::test]
async fn the_operator_says_who_may_make_tunnels() {
    let secret = ServeConfig { create_secret: Some("open sesame".into()), ..patient() };
    let require_keys = ServeConfig { require_keys: true, ..patient() };
    let allow_original = ServeConfig { allow_original: true, ..secret.clone() };
    for (config, without_secret, original) in [(secret, 403, 403), (require_keys, 201, 403), (allow_original, 403, 200)]
    {
        let server = Server::start(config).await;
        let answer = call(&server, "POST", "/new", "", "{}").await;
        assert_eq!(answer.status, without_secret);
        assert!(without_secret != 403 || answer.code() == Some("create-secret-required"));
        for (shown, expected) in [("open sesame", 201), ("open sesam", without_secret)] {
            let mut visitor = Visitor::connect(server.address).await;
            let headers = [("content-type", "application/json"), ("x-socket2me-create", shown)];
            visitor.send(&request("POST", "/new", &headers, b"{}")).await;
            assert_eq!(visitor.answer(false).await.status, expected, "{shown}");
        }
        let answer = get(server.address, "/new").await;
        assert_eq!(answer.status, original);
        assert!(original != 403 || answer.code() == Some("keys-required"));
    }
}

#[tokio::test]
async fn an_end_is_told_by_a_code_why_it_cannot_join() {
    let server = Server::start(patient()).await;
    let (token, _) = make(&server, "{}").await;
    let original = server.token().await;
    for (token, auth, code) in [
        (UNKNOWN, "", "token-not-found"),
        (&*token, "", "key-required"),
        (&token, r#"{"key":"s2m_x"}"#, "key-wrong"),
        (&token, r#"{"key":7}"#, "bad-option"),
        (&original, r#"{"body":"stream"}"#, "bad-option"),
    ] {
        let mut end = End::open(server.address).await;
        end.send(&format!("40/{token},{auth}")).await;
        let Heard::Text(text) = end.hear().await else { panic!("no refusal") };
        let refusal: Value = serde_json::from_str(text.strip_prefix(&format!("44/{token},")).unwrap()).unwrap();
        assert_eq!(refusal["data"]["code"], code, "{text}");
    }
    // An original tunnel has no key, and asks for none.
    assert!(join(&server, &original, OTHER_KEY).await.is_ok());
}
