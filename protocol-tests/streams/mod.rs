//! An end that streams, over sockets.

mod ends;
mod size;

use std::net::SocketAddr;

use socket2me::proto::engine_io::Revision;
use socket2me::proto::engine_io::client::Transports;
use socket2me::proto::exchange::InlineBody;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::relay::tunnel::{Server, patient};
use crate::support::pattern::{self, Check};
use crate::support::streaming_end::{StreamingEnd, head};
use crate::support::within;
use socket2me::client::visit::{Handler, Up, Visit, handler};

/// Checks the request's body, and answers with as many bytes of the pattern.
fn mirror() -> Handler {
    handler(|Visit { request, mut body, answer }| async move {
        let mut check = Check::default();
        match request.body {
            InlineBody::Bytes(bytes) => check.take(&bytes),
            InlineBody::Streamed => {
                body.pull();
                loop {
                    match body.next().await {
                        Some(Up::Data(bytes)) => check.take(&bytes),
                        Some(Up::End { .. }) => break,
                        other => panic!("{other:?}"),
                    }
                }
            }
            other => panic!("{other:?}"),
        }
        let length: u64 = request.path[1..].parse().unwrap();
        let mut writer = head(answer, 200, &[("x-taken", &check.bytes.to_string())]);
        let mut sent = 0;
        while sent < length {
            let part = pattern::bytes(sent, usize::try_from(length - sent).unwrap().min(128 << 10));
            sent += part.len() as u64;
            writer.write(part).await.unwrap();
        }
        writer.end(None).await.unwrap();
    })
}

/// Sends `up` bytes of the pattern, and checks that `down` bytes of it come back.
async fn transfer(address: SocketAddr, token: &str, up: u64, down: u64) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head =
        format!("POST /go/{token}/{down} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {up}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut sent = 0;
    while sent < up {
        let part = pattern::bytes(sent, usize::try_from(up - sent).unwrap().min(256 << 10));
        sent += part.len() as u64;
        within("the relay to read", stream.write_all(&part)).await.unwrap();
    }
    let mut read = Vec::with_capacity(1 << 20);
    let end = loop {
        assert!(
            within("a head", stream.read_buf(&mut read)).await.unwrap() > 0,
            "{:?}",
            String::from_utf8_lossy(&read)
        );
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert!(head.contains(&format!("\r\nx-taken: {up}\r\n")), "{head}");
    let mut chunks = Chunks::default();
    chunks.take(&read[end..]);
    let mut buffer = vec![0; 1 << 20];
    loop {
        let what = format!("the response, of which {} bytes have come", chunks.check.bytes);
        match within(&what, stream.read(&mut buffer)).await.unwrap() {
            0 => break,
            count => chunks.take(&buffer[..count]),
        }
    }
    assert!(chunks.is_whole);
    assert_eq!(chunks.check.bytes, down);
}

/// A body in chunks, of which nothing is kept.
#[derive(Default)]
struct Chunks {
    check: Check,
    line: Vec<u8>,
    left: usize,
    is_whole: bool,
}

impl Chunks {
    fn take(&mut self, mut bytes: &[u8]) {
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.left > 0 {
                let (part, rest) = bytes.split_at(self.left.min(bytes.len()));
                self.check.take(part);
                self.left -= part.len();
                bytes = rest;
                continue;
            }
            bytes = rest;
            if byte != b'\n' {
                self.line.push(byte);
                continue;
            }
            let line = String::from_utf8(std::mem::take(&mut self.line)).unwrap();
            // The line end behind a chunk is an empty line.
            if let Ok(size) = usize::from_str_radix(line.trim(), 16) {
                self.left = size;
                self.is_whole |= size == 0;
            }
        }
    }
}

#[tokio::test]
async fn bodies_go_both_ways_over_every_transport() {
    let server = Server::start(patient()).await;
    for revision in Revision::ALL {
        for transports in [Transports::Polling, Transports::WebSocket, Transports::Upgrade] {
            let options = match revision {
                Revision::V4 => "1",
                Revision::V3 => "stream=1",
            };
            let token = server.token().await;
            let end = StreamingEnd::connect(server.address, &token, (revision, transports), options, mirror()).await;
            assert_eq!(end.ready.token, token);
            for (up, down) in [(0, 0), (10, 1), (200_000, 3_000_000), (3_000_000, 200_000)] {
                transfer(server.address, &token, up, down).await;
            }
            assert!(end.heard.lock().unwrap().breaches.is_empty());
            end.close().await;
        }
    }
}
