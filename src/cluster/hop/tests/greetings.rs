//! Greetings that are believed, and those that are not.

use futures::FutureExt as _;
use proptest::prelude::*;

use super::*;
use crate::cluster::hop::greeting::{self, Caller, Greeted, MAX_HELLO, PROOF_LENGTH, Refused};
use crate::cluster::keys::Key;

fn key(letter: char) -> Key {
    secret(letter).greetings
}

/// Lets a caller that wants `wanted` talk to a callee that is `found`, each with the secret of a letter. Returns what both say.
fn talk(letters: [char; 2], wanted: u8, found: u8) -> Result<[Greeted; 2], Refused> {
    let [calling, called] = letters.map(key);
    let caller = Caller::begin(&calling, (node(1), node(wanted)), &[1; 32]);
    let (callee, answer) = greeting::Callee::answer(&called, node(found), caller.hello(), &[2; 32])?;
    let (proof, at_caller) = caller.answered(&answer)?;
    let at_callee = callee.proved(&proof_of(&proof))?;
    Ok([at_caller, at_callee])
}

fn proof_of(bytes: &[u8]) -> [u8; PROOF_LENGTH] {
    bytes.try_into().unwrap()
}

#[test]
fn both_sides_know_each_other_and_have_one_key() {
    let [at_caller, at_callee] = talk(['a', 'a'], 2, 2).unwrap();
    assert_eq!((at_caller.peer, at_callee.peer), (node(2), node(1)));
    assert_eq!((at_caller.version, at_callee.version), (1, 1));
    assert_eq!(at_caller.key.mac("x", &[]), at_callee.key.mac("x", &[]));
}

#[test]
fn another_cluster_and_a_reused_address_are_refused() {
    assert_eq!(talk(['a', 'b'], 2, 2).unwrap_err(), Refused::NoProof);
    assert_eq!(talk(['b', 'a'], 2, 2).unwrap_err(), Refused::NoProof);
    assert_eq!(talk(['a', 'a'], 2, 3).unwrap_err(), Refused::OtherNode { wanted: node(2), found: node(3) });
}

/// Whoever answers at a reused address passes the greeting on to a node that it may ask, or sends it back.
#[test]
fn relayed_and_reflected_greetings_are_refused() {
    let key = key('a');
    let caller = || Caller::begin(&key, (node(1), node(2)), &[1; 32]);
    let answered = |answer: &[u8]| caller().answered(answer).map(|_| ()).unwrap_err();
    // Node 3 answers a hello of the stranger's, with the caller's nonce in it.
    let hello = Caller::begin(&key, (node(1), node(3)), &[1; 32]).hello().to_vec();
    let (_, answer) = greeting::Callee::answer(&key, node(3), &hello, &[2; 32]).unwrap();
    assert_eq!(answered(&answer), Refused::NoProof);
    // The caller's own hello comes back, and what its own listener would answer to it.
    assert_eq!(answered(caller().hello()), Refused::NoProof);
    let hello = Caller::begin(&key, (node(2), node(1)), &[1; 32]).hello().to_vec();
    let (_, answer) = greeting::Callee::answer(&key, node(1), &hello, &[1; 32]).unwrap();
    assert_eq!(answered(&answer), Refused::NoProof);
    // The proof of the callee comes back to it.
    let (callee, answer) = greeting::Callee::answer(&key, node(2), caller().hello(), &[2; 32]).unwrap();
    let at = memchr::memmem::find(&answer, b"proof: ").unwrap();
    assert_eq!(callee.proved(&proof_of(&answer[at..])).unwrap_err(), Refused::NoProof);
}

#[test]
fn nothing_of_an_earlier_greeting_is_believed_again() {
    let key = key('a');
    let answer =
        |caller: &Caller<'_>, nonce| greeting::Callee::answer(&key, node(2), caller.hello(), &[nonce; 32]).unwrap();
    let begin = |nonce| Caller::begin(&key, (node(1), node(2)), &[nonce; 32]);
    let (callee, old_answer) = answer(&begin(1), 2);
    let (old_proof, _) = begin(1).answered(&old_answer).unwrap();
    assert!(callee.proved(&proof_of(&old_proof)).is_ok());
    let (callee, _) = answer(&begin(1), 3);
    assert_eq!(callee.proved(&proof_of(&old_proof)).unwrap_err(), Refused::NoProof);
    assert_eq!(begin(4).answered(&old_answer).map(|_| ()).unwrap_err(), Refused::NoProof);
}

#[test]
fn any_byte_of_a_greeting_that_is_changed_spoils_it() {
    let key = key('a');
    let caller = || Caller::begin(&key, (node(1), node(2)), &[1; 32]);
    let hello = caller().hello().to_vec();
    for at in 0..hello.len() - 2 {
        let mut changed = hello.clone();
        changed[at] ^= 1;
        let answer = greeting::Callee::answer(&key, node(2), &changed, &[2; 32]);
        let Ok((_, answer)) = answer else { continue };
        assert!(caller().answered(&answer).is_err(), "byte {at}");
    }
    let (_, answer) = greeting::Callee::answer(&key, node(2), &hello, &[2; 32]).unwrap();
    for at in 0..answer.len() {
        let mut changed = answer.clone();
        changed[at] ^= 1;
        assert!(caller().answered(&changed).is_err(), "byte {at}");
    }
}

#[test]
fn a_later_version_is_understood_and_what_it_says_more_is_proved_too() {
    let key = key('a');
    let ours = Caller::begin(&key, (node(1), node(2)), &[1; 32]);
    let text = String::from_utf8(ours.hello().to_vec()).unwrap();
    let later = text.replace("version: 1\n", "version: 2\nlater: more\n");
    let (_, answer) = greeting::Callee::answer(&key, node(2), later.as_bytes(), &[2; 32]).unwrap();
    // A caller whose hello was changed on the way does not believe the answer.
    assert_eq!(ours.answered(&answer).map(|_| ()).unwrap_err(), Refused::NoProof);
    for (line, expected) in
        [("version: 0\n", Refused::Version), ("version: x\n", Refused::Version), ("", Refused::Version)]
    {
        let hello = text.replace("version: 1\n", line);
        assert_eq!(
            greeting::Callee::answer(&key, node(2), hello.as_bytes(), &[2; 32]).map(|_| ()).unwrap_err(),
            expected
        );
    }
}

/// What a node of this version has said, byte by byte: later versions read it.
#[test]
fn greetings_stay_what_they_are() {
    let key = key('a');
    let caller = Caller::begin(&key, (node(1), node(2)), &[1; 32]);
    let hello = "socket2me-hop\nversion: 1\nfrom: AQEBAQEB\nto: AgICAgIC\nnonce: AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE\n\n";
    assert_eq!(std::str::from_utf8(caller.hello()), Ok(hello));
    let (_, answer) = greeting::Callee::answer(&key, node(2), caller.hello(), &[2; 32]).unwrap();
    let (proof, _) = caller.answered(&answer).unwrap();
    assert_eq!(
        String::from_utf8(answer).unwrap(),
        "socket2me-hop\nversion: 1\nfrom: AgICAgIC\nto: AQEBAQEB\nnonce: AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI\n\
            proof: YjeSIN_PWyhsyUuMw4xDEOcBkFp2TM6SHsslyFsdbHE\n\n"
    );
    assert_eq!(String::from_utf8(proof).unwrap(), "proof: SMdgdk3__xDsAjLCNr9ifhl44YMVdFF9OKEww_Cn6Rw\n\n");
}

#[test]
fn a_hello_has_an_end_and_a_length() {
    for (bytes, expected) in [
        (b"".to_vec(), Ok(None)),
        (b"socket2m".to_vec(), Ok(None)),
        (b"GET ".to_vec(), Err(Refused::NoHello)),
        (b"socket2me-hop\nb\n\nc".to_vec(), Ok(Some(17))),
        (of_length(MAX_HELLO - 1, ""), Ok(None)),
        (of_length(MAX_HELLO, ""), Err(Refused::TooLong)),
        (of_length(MAX_HELLO - 2, "\n\n"), Ok(Some(MAX_HELLO))),
        (of_length(MAX_HELLO - 1, "\n\n"), Err(Refused::TooLong)),
    ] {
        assert_eq!(greeting::hello_end(&bytes), expected, "{} bytes", bytes.len());
    }
}

/// Returns bytes that begin a hello, and end so.
fn of_length(length: usize, end: &str) -> Vec<u8> {
    (format!("{:x<length$}", "socket2me-hop\n") + end).into_bytes()
}

async fn answering() -> Callee {
    Callee::start(|_| async { Reply::default() }.boxed()).await
}

#[tokio::test]
async fn the_caller_says_why_a_node_is_not_reached() {
    let callee = answering().await;
    let advertise = callee.advertise();
    for (hops, wanted, why) in [
        (hops('b', 8), callee.node, "does not prove the cluster's secret"),
        (hops('a', 8), node(9), "this is another node"),
    ] {
        let Err(Undone::Unreached(told)) = within("a failure", hops.ping((wanted, &advertise))).await else {
            panic!("it is refused")
        };
        assert!(told.contains(why), "{told}");
        assert_eq!(hops.pool().count(wanted), (0, 0));
    }
}

#[tokio::test]
async fn a_stranger_gets_nothing_but_a_closed_connection() {
    let callee = answering().await;
    let ours = Caller::begin(&key('a'), (node(1), callee.node), &[1; 32]).hello().to_vec();
    for said in [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        b"\x16\x03\x01".to_vec(),
        of_length(2 * MAX_HELLO, ""),
        [&ours[..], b"GET / HTTP/1.1\r\n"].concat(),
        [&ours[..], &[b'x'; PROOF_LENGTH]].concat(),
    ] {
        let mut stream = TcpStream::connect(callee.address).await.unwrap();
        stream.write_all(&said).await.unwrap();
        let mut answer = Vec::new();
        let _ = within("the end", stream.read_to_end(&mut answer)).await;
        // A reset, for what was not read, may overtake the words.
        let refusal = "socket2me-hop\nrefused: this is no greeting\n\n";
        assert!(answer.is_empty() || answer == refusal.as_bytes(), "{} {}", said.escape_ascii(), answer.escape_ascii());
    }
    // A hello that is replayed is answered, and a proof that is replayed or made up is not.
    let mut stream = TcpStream::connect(callee.address).await.unwrap();
    stream.write_all(&ours).await.unwrap();
    let mut answer = vec![0; 64];
    within("an answer", stream.read_exact(&mut answer)).await.unwrap();
    stream.write_all(&[b'x'; PROOF_LENGTH]).await.unwrap();
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut rest = Vec::new();
    let _ = within("the end", stream.read_to_end(&mut rest)).await;
    assert!(!rest.windows(4).any(|part| part == b"HTTP"), "{}", rest.escape_ascii());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_says_nothing_is_closed() {
    let callee = answering().await;
    let mut stream = TcpStream::connect(callee.address).await.unwrap();
    let started = tokio::time::Instant::now();
    assert_eq!(stream.read_to_end(&mut Vec::new()).await.unwrap_or(0), 0);
    assert!(started.elapsed() <= Duration::from_secs(6), "{:?}", started.elapsed());
}

/// Bytes that are much like a hello.
fn like_a_hello() -> impl Strategy<Value = Vec<u8>> {
    let parts = [
        "socket2me-hop",
        "\n",
        "version: ",
        "1",
        "from: ",
        "to: ",
        "AQEBAQEB",
        "nonce: ",
        "proof: ",
        "refused: ",
        "later: x",
    ];
    let part = prop_oneof![
        8 => prop::sample::select(parts.to_vec()).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..44),
    ];
    prop::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn no_bytes_of_a_stranger_are_believed(said in like_a_hello()) {
        let key = key('a');
        let caller = Caller::begin(&key, (node(1), node(2)), &[1; 32]);
        prop_assert!(caller.answered(&said).is_err());
        let _ = greeting::hello_end(&said);
        if let Ok((callee, _)) = greeting::Callee::answer(&key, node(1), &said, &[2; 32]) {
            let mut proof = [b'x'; PROOF_LENGTH];
            let length = said.len().min(PROOF_LENGTH);
            proof[..length].copy_from_slice(&said[..length]);
            prop_assert!(callee.proved(&proof).is_err());
        }
    }
}
