//! What version 1 says, byte for byte: the next version must understand it, and say nothing else to a node of this one.

use http::{HeaderValue, Method, Uri};

use super::*;
use crate::cluster::hop::greeting::{self, Caller};
use crate::cluster::hop::note::own_request;
use crate::cluster::hop::stamp::Stamps;
use crate::cluster::hop::words::HOP;

/// What node 1 and node 2 say to each other, whose secret is that of the letter a and whose nonces are ones and twos.
const HELLO: &str = "socket2me-hop\nversion: 1\nfrom: AQEBAQEB\nto: AgICAgIC\n\
                     nonce: AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE\n\n";
const ANSWER: &str = "socket2me-hop\nversion: 1\nfrom: AgICAgIC\nto: AQEBAQEB\n\
                      nonce: AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI\n\
                      proof: YjeSIN_PWyhsyUuMw4xDEOcBkFp2TM6SHsslyFsdbHE\n\n";
const PROOF: &str = "proof: SMdgdk3__xDsAjLCNr9ifhl44YMVdFF9OKEww_Cn6Rw\n\n";

/// The first stamp of that connection, for `GET /go/mine/?a=b` of the host `tunnel.example`.
const STAMP: &str =
    r#"1 1 1P1ETHSXR8w3tDqkVOoUF55nO1gLQT6nc32A89ugV7g {"kind":"visit","id":"7-1","peer":"192.0.2.1:50000"}"#;

fn request() -> Parts {
    let mut head = own_request(Method::GET, "/");
    head.uri = Uri::from_static("/go/mine/?a=b");
    head.headers.insert("host", HeaderValue::from_static("tunnel.example"));
    head
}

fn note() -> Note {
    let mut note = Note::of("visit").with_id("7-1");
    note.peer = Some("192.0.2.1:50000".parse().unwrap());
    note
}

#[test]
fn what_version_1_says_has_not_changed() {
    let key = secret('a').greetings;
    let caller = Caller::begin(&key, (node(1), node(2)), &[1; 32]);
    let hello = String::from_utf8(caller.hello().to_vec()).unwrap();
    let (callee, answer) = greeting::Callee::answer(&key, node(2), hello.as_bytes(), &[2; 32]).unwrap();
    let (proof, at_caller) = caller.answered(&answer).unwrap();
    callee.proved(&proof.as_slice().try_into().unwrap()).unwrap();
    let stamp = Stamps::new(at_caller.key, at_caller.version).stamp(&request(), &note()).unwrap();
    let said = [hello, String::from_utf8(answer).unwrap(), String::from_utf8(proof).unwrap()];
    assert_eq!(said.each_ref().map(String::as_str), [HELLO, ANSWER, PROOF]);
    assert_eq!(stamp.to_str().unwrap(), STAMP);
}

#[test]
fn what_version_1_has_said_is_believed() {
    let key = secret('a').greetings;
    let (callee, _) = greeting::Callee::answer(&key, node(2), HELLO.as_bytes(), &[2; 32]).unwrap();
    let at_callee = callee.proved(&PROOF.as_bytes().try_into().unwrap()).unwrap();
    let (_, at_caller) = Caller::begin(&key, (node(1), node(2)), &[1; 32]).answered(ANSWER.as_bytes()).unwrap();
    assert_eq!((at_callee.peer, at_caller.peer), (node(1), node(2)));
    let mut head = request();
    head.headers.insert(HOP, HeaderValue::from_static(STAMP));
    assert_eq!(Stamps::new(at_callee.key, 1).verify(&mut head), Ok(note()));
}
