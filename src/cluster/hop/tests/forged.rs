//! Requests whose stamps are not good.

use futures::FutureExt as _;
use http::{HeaderValue, Method, Uri};
use proptest::prelude::*;

use super::*;
use crate::cluster::hop::greeting::{Caller, Greeted};
use crate::cluster::hop::note::own_request;
use crate::cluster::hop::stamp::{Forged, Stamps};
use crate::cluster::hop::words::HOP;
use crate::cluster::keys::Key;

fn head(uri: &'static str, host: &'static str) -> Parts {
    let mut head = own_request(Method::GET, "/");
    head.uri = Uri::from_static(uri);
    head.headers.insert("host", HeaderValue::from_static(host));
    head
}

fn connection_key(letter: char) -> Key {
    secret(letter).greetings.derive("connection", &[])
}

/// Returns what makes stamps, and what verifies them.
fn pair() -> (Stamps, Stamps) {
    (Stamps::new(connection_key('a'), 1), Stamps::new(connection_key('a'), 1))
}

fn stamped(stamps: &mut Stamps, mut head: Parts) -> Parts {
    let stamp = stamps.stamp(&head, &Note::of("visit")).unwrap();
    head.headers.insert(HOP, stamp);
    head
}

#[test]
fn each_request_of_a_connection_is_verified_and_its_stamp_taken_away() {
    let (mut caller, mut callee) = pair();
    for number in 0..3 {
        let mut head = stamped(&mut caller, head("/a?b", "x"));
        assert_eq!(callee.verify(&mut head), Ok(Note::of("visit")), "{number}");
        assert!(!head.headers.contains_key(HOP));
    }
}

#[test]
fn a_stamp_is_good_for_one_request_of_one_connection() {
    type Change = fn(&mut Parts);
    let changes: [(&str, Change, Forged); 9] = [
        ("no stamp", |head| drop(head.headers.remove(HOP)), Forged::NotOne),
        ("two", |head| _ = head.headers.append(HOP, HeaderValue::from_static("1 1 x {}")), Forged::NotOne),
        ("no text", |head| drop(head.headers.insert(HOP, HeaderValue::from_static("1 1 {}"))), Forged::Malformed),
        ("another method", |head| head.method = Method::POST, Forged::Mac),
        ("another target", |head| head.uri = Uri::from_static("/c"), Forged::Mac),
        ("another host", |head| drop(head.headers.insert("host", HeaderValue::from_static("y"))), Forged::Mac),
        ("one more host", |head| _ = head.headers.append("host", HeaderValue::from_static("x")), Forged::Mac),
        ("another note", |head| change(head, "visit", "visiT"), Forged::Mac),
        ("another counter", |head| change(head, "1 1 ", "1 2 "), Forged::Mac),
    ];
    for (what, make_change, expected) in changes {
        let (mut caller, mut callee) = pair();
        let mut head = stamped(&mut caller, head("/a?b", "x"));
        make_change(&mut head);
        assert_eq!(callee.verify(&mut head), Err(expected), "{what}");
    }
}

fn change(head: &mut Parts, from: &str, to: &str) {
    let stamp = head.headers[HOP].to_str().unwrap().replacen(from, to, 1);
    head.headers.insert(HOP, HeaderValue::from_str(&stamp).unwrap());
}

#[test]
fn a_stamp_that_is_replayed_left_out_or_cut_short_is_refused() {
    let (mut caller, mut callee) = pair();
    let first = stamped(&mut caller, head("/", "x"));
    callee.verify(&mut first.clone()).unwrap();
    assert_eq!(callee.verify(&mut first.clone()), Err(Forged::Counter), "a replay");
    let _left_out = stamped(&mut caller, head("/", "x"));
    assert_eq!(callee.verify(&mut stamped(&mut caller, head("/", "x"))), Err(Forged::Counter));
    let mut other = Stamps::new(connection_key('b'), 1);
    assert_eq!(other.verify(&mut first.clone()), Err(Forged::Mac), "another connection");
    let mut short = first;
    let stamp: Vec<String> = short.headers[HOP].to_str().unwrap().splitn(4, ' ').map(str::to_owned).collect();
    for mac in ["", &stamp[2][..8]] {
        let text = format!("1 1 {mac} {}", stamp[3]);
        short.headers.insert(HOP, HeaderValue::from_str(&text).unwrap());
        assert_eq!(Stamps::new(connection_key('a'), 1).verify(&mut short), Err(Forged::Mac), "{mac:?}");
    }
}

/// What a node of this version has stamped, byte by byte: later versions read it.
#[test]
fn stamps_stay_what_they_are() {
    let (mut caller, mut callee) = pair();
    let stamp = caller.stamp(&head("/a?b", "x"), &Note::of("visit")).unwrap();
    assert_eq!(stamp.to_str().unwrap(), "1 1 v14VM53fNzAwwxkNL4nfpcJo2uDyN7A_SfrFCRK_blA {\"kind\":\"visit\"}");
    let mut head = head("/a?b", "x");
    head.headers.insert(HOP, stamp);
    assert!(callee.verify(&mut head).is_ok());
}

/// Greets a node by hand, as one that has the secret.
async fn greeted(callee: &Callee) -> (Visitor, Greeted) {
    let key = secret('a').greetings;
    let caller = Caller::begin(&key, (node(1), callee.node), &[1; 32]);
    let mut stream = Visitor { stream: TcpStream::connect(callee.address).await.unwrap(), read: Vec::new() };
    stream.send(caller.hello()).await;
    let answer = stream.read_to("\n\n").await;
    let (proof, greeted) = caller.answered(answer.as_bytes()).unwrap();
    stream.send(&proof).await;
    (stream, greeted)
}

#[tokio::test]
async fn a_request_without_a_good_stamp_is_not_served_nor_any_after_it() {
    let callee = Callee::start(|_| async { reply::text(StatusCode::OK, "text/plain", "served") }.boxed()).await;
    let good =
        |greeted: &Greeted| Stamps::new(greeted.key.clone(), 1).stamp(&head("/", "x"), &Note::of("visit")).unwrap();
    let (mut stream, greeted_once) = greeted(&callee).await;
    let stamp = good(&greeted_once);
    let request = format!("GET / HTTP/1.1\r\nHost: x\r\nx-socket2me-hop: {}\r\n\r\n", stamp.to_str().unwrap());
    stream.send(&request).await;
    assert!(stream.read_to("served").await.starts_with("HTTP/1.1 200 OK\r\n"));
    // The same again, on this connection and on another.
    for mut stream in [stream, greeted(&callee).await.0] {
        stream.send(&request).await;
        stream.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let answer = String::from_utf8(stream.read_all().await).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("x-socket2me-hop: refused\r\n"), "{answer}");
        assert!(!answer.contains("served") && answer.matches("HTTP/1.1").count() == 1, "{answer}");
    }
    // A stamp that `Connection` names is a stamp still.
    let (mut stream, greeted) = greeted(&callee).await;
    let stamp = good(&greeted);
    stream
        .send(format!(
            "GET / HTTP/1.1\r\nHost: x\r\nConnection: x-socket2me-hop\r\nx-socket2me-hop: {}\r\n\r\n",
            stamp.to_str().unwrap()
        ))
        .await;
    stream.read_to("served").await;
}

proptest! {
    #[test]
    fn no_stamp_of_a_stranger_is_believed(
        stamp in prop_oneof!["[ -~]{0,80}", "1 1 [A-Za-z0-9_-]{43} [{}\":a-z]{0,20}", "[0-9 ]{0,24} [A-Za-z0-9_-]{0,44} .{0,9}"],
    ) {
        let Ok(stamp) = HeaderValue::from_bytes(stamp.as_bytes()) else { return Ok(()) };
        let mut head = head("/", "x");
        head.headers.insert(HOP, stamp);
        let verified = pair().1.verify(&mut head);
        prop_assert!(matches!(verified, Err(Forged::Malformed | Forged::Mac)), "{verified:?}");
    }
}
