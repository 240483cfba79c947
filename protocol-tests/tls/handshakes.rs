//! Handshakes byte by byte: versions and ciphers that are too old, nonsense, and peers that are slow.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Secure;
use crate::support::within;

/// Ciphers without forward secrecy or authentication, with RC4, 3DES or CBC, and for export: none that a client should have.
const WEAK: &[u16] = &[
    0x0001, 0x0004, 0x0005, 0x000a, 0x002f, 0x0035, 0x003c, 0x009c, 0x009d, 0xc007, 0xc008, 0xc009, 0xc00a, 0xc011,
    0xc012, 0xc013, 0xc014, 0xc023, 0xc027, 0x0034, 0x003a, 0x0003, 0x0017, 0xc018,
];

/// What servers of 2026 should take in TLS 1.2: ECDHE with AES-GCM or ChaCha20.
const STRONG: &[u16] = &[0xc02b, 0xc02c, 0xc02f, 0xc030, 0xcca8, 0xcca9];

/// Prefixes bytes with their length in two bytes.
fn sized(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap();
    [&length.to_be_bytes()[..], bytes].concat()
}

/// An extension of a hello.
fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &sized(content)].concat()
}

/// The record with a hello of a client that takes at most this version, and these ciphers (RFC 5246, section 7.4.1.2).
fn hello(version: u16, ciphers: &[u16]) -> Vec<u8> {
    let ciphers: Vec<u8> = ciphers.iter().flat_map(|cipher| cipher.to_be_bytes()).collect();
    let server_name = extension(0, &sized(&[&[0][..], &sized(b"test")].concat()));
    let groups = extension(10, &sized(&[0, 29, 0, 23, 0, 24]));
    let points = extension(11, &[1, 0]);
    let signatures = extension(13, &sized(&[4, 3, 8, 4, 4, 1, 2, 1, 2, 3]));
    let extensions = sized(&[server_name, groups, points, signatures].concat());
    let body = [&version.to_be_bytes()[..], &[7; 32], &[0], &sized(&ciphers), &[1, 0], &extensions].concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let message = [&[1][..], &length[1..], &body].concat();
    [&[22, 3, 1][..], &sized(&message)].concat()
}

/// Sends bytes, and returns the first record that is answered: its type and what is in it. Empty if there is none.
async fn answered(secure: &Secure, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", secure.server.port())).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut head = [0; 5];
    if within("an answer", stream.read_exact(&mut head)).await.is_err() {
        return Vec::new();
    }
    let mut body = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
    within("the record", stream.read_exact(&mut body)).await.unwrap();
    [&head[..1], &body].concat()
}

/// Returns the code of a fatal alert.
fn alert(answer: &[u8]) -> Option<u8> {
    match answer {
        [21, 2, code] => Some(*code),
        _ => None,
    }
}

#[tokio::test]
async fn old_versions_and_weak_ciphers_are_refused_and_current_ones_taken() {
    let secure = Secure::start(&[]).await;
    let all = [STRONG, WEAK].concat();
    for version in [0x0300, 0x0301, 0x0302] {
        let answer = answered(&secure, &hello(version, &all)).await;
        assert!(alert(&answer).is_some(), "version {version:#x}: {answer:?}");
    }
    for cipher in WEAK {
        let answer = answered(&secure, &hello(0x0303, &[*cipher])).await;
        assert!(alert(&answer).is_some(), "cipher {cipher:#x}: {answer:?}");
    }
    // The server has one certificate, whose key is of one kind: a cipher of the other kind has no certificate.
    let mut taken = 0;
    for cipher in STRONG {
        let answer = answered(&secure, &hello(0x0303, &[*cipher])).await;
        taken += u8::from(answer.first() == Some(&22) && answer.get(1) == Some(&2));
    }
    assert_eq!(taken, 3);
    // Of all that a client offers, it is a strong one.
    let answer = answered(&secure, &hello(0x0303, &[WEAK, STRONG].concat())).await;
    let session = usize::from(answer[39]);
    let chosen = u16::from_be_bytes([answer[40 + session], answer[41 + session]]);
    assert!(STRONG.contains(&chosen), "{chosen:#x}");
}

#[tokio::test]
async fn nonsense_in_place_of_a_handshake_is_refused() {
    let secure = Secure::start(&[]).await;
    let whole = hello(0x0303, STRONG);
    let mut huge = whole.clone();
    huge[6..9].copy_from_slice(&[0xff; 3]);
    for bytes in
        [&b"\x16\x03\x01\xff\xff"[..], b"\x16\x03\x01\x00\x00", &[22; 600], &huge, &[&whole[..], &[0; 100]].concat()]
    {
        let mut stream = TcpStream::connect(("127.0.0.1", secure.server.port())).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        let _ = within("the end", stream.read_to_end(&mut rest)).await;
    }
    assert!(secure.curl(&[&secure.url("/healthz")]).await.contains("200"));
}

#[tokio::test]
async fn a_slow_handshake_is_given_up_and_counted_and_others_are_served_meanwhile() {
    let secure = Secure::start(&["--head-timeout=500ms", "--metrics-listen=127.0.0.1:0"]).await;
    let mut secure = secure;
    let line = secure.server.logged("metrics at /metrics").await;
    let port = line.rsplit_once("address=127.0.0.1:").unwrap().1.trim().parse::<u16>().unwrap();
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(("127.0.0.1", secure.server.port())).await.unwrap();
        stream.write_all(&hello(0x0303, STRONG)[..20]).await.unwrap();
        slow.push(stream);
    }
    assert!(secure.curl(&[&secure.url("/healthz")]).await.contains("200"));
    for mut stream in slow {
        let mut rest = Vec::new();
        let _ = within("the end", stream.read_to_end(&mut rest)).await;
    }
    let plain = secure.server.ask("/", "").await;
    assert!(plain.starts_with("HTTP/1.1 400 Bad Request\r\n") && plain.contains("https://"), "{plain}");
    let figures =
        crate::starting::answers(("127.0.0.1", port), "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let figures = figures.await;
    for (result, count) in [("late", 50), ("done", 1), ("failed", 0), ("plain-http", 1)] {
        let line = format!("socket2me_tls_handshakes_total{{result=\"{result}\"}} {count}\n");
        assert!(figures.contains(&line), "{line} in {figures}");
    }
}
