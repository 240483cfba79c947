//! Tokens that are unknown, expired, malformed, or nearly valid get the same answers, byte for byte.

use std::time::{Duration, Instant};

use socket2me::config::ErrorStatus;

use super::{UNKNOWN, go, ms};
use crate::support::wire::{Server, Ws, frame};

/// As long as a token, but not well-formed.
const MALFORMED: &str = "MDAwMDAwMDAtMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMD-w";

/// What visitors may send; `TOKEN` stands for the token.
const REQUESTS: &[&str] = &[
    "GET /go/TOKEN HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /go/TOKEN/deep/path?x=1 HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /go/TOKEN HTTP/1.0\r\n\r\n",
    "HEAD /go/TOKEN HTTP/1.1\r\nHost: a\r\n\r\n",
    "OPTIONS /go/TOKEN HTTP/1.1\r\nHost: a\r\nOrigin: http://b\r\nAccess-Control-Request-Method: PUT\r\n\r\n",
    "PATCH /go/TOKEN HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
    "POST /go/TOKEN HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n{",
    "POST /go/TOKEN HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999999\r\n\r\n",
    "POST /go/TOKEN HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    "POST /go/TOKEN HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "POST /go/TOKEN HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n",
    "GET /go/TOKEN HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    "GET /refresh/TOKEN HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /refresh/TOKEN?x HTTP/1.1\r\nHost: a\r\nOrigin: http://b\r\nAccept: application/json\r\n\r\n",
    "HEAD /refresh/TOKEN HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST /refresh/TOKEN HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    "GET /refresh/TOKEN/ HTTP/1.1\r\nHost: a\r\n\r\n",
];

/// A request that follows each of them and ends the connection. Whether it is answered must not tell the tokens apart
/// either.
const LAST: &str = "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// Starts a server with these statuses, whose tokens live for `life`.
async fn server(statuses: ErrorStatus, life: Duration) -> Server {
    Server::with(|config| {
        config.error_status = statuses;
        (config.token_ttl, config.token_grace) = (life, Some(ms(0)));
    })
    .await
}

/// Two tokens that have expired: one never had an end, and the end of the other was disconnected.
async fn expired(server: &Server) -> [String; 2] {
    let unused = server.token().await;
    let (mut ws, used) = server.joined().await;
    ws.expect(&format!("41/{used},")).await;
    let begun = Instant::now();
    for token in [&unused, &used] {
        while server.ask("GET", &go(token), &[], b"").await.header("x-socket2me-error") != Some("token-not-found") {
            assert!(begun.elapsed() < ms(5_000), "the token does not expire");
        }
    }
    [unused, used]
}

/// Sends a request, and returns all that the server sends, without dates and request ids.
async fn said(server: &Server, request: &str) -> String {
    let mut peer = server.peer().await;
    peer.send(format!("{request}{LAST}").as_bytes()).await;
    let said = String::from_utf8(peer.until_end().await).unwrap();
    let changing = |line: &&str| !line.starts_with("date: ") && !line.starts_with("x-request-id: ");
    said.split_inclusive("\r\n").filter(changing).collect()
}

#[tokio::test]
async fn visitors_cannot_tell_unknown_expired_and_malformed_tokens_apart() {
    for statuses in [ErrorStatus::Original, ErrorStatus::Standard] {
        let (lasting, brief) = (server(statuses, Duration::from_secs(3600)).await, server(statuses, ms(1_000)).await);
        let (_ws, good) = lasting.joined().await;
        let [unused, used] = expired(&brief).await;
        let nearly = [
            good[..47].to_owned(),
            format!("{good}x"),
            format!("{good}%00"),
            format!("%{:02x}{}", good.as_bytes()[0], &good[1..]),
            good.to_lowercase(),
        ];
        let bad = [MALFORMED, "", "x", "__proto__", "%ff", "a%2fb", ";", "a,b"];
        let tokens = bad.into_iter().map(|token| (&lasting, token)).chain([(&brief, &*unused), (&brief, &*used)]);
        let tokens: Vec<_> = tokens.chain(nearly.iter().map(|token| (&lasting, &**token))).collect();
        for request in REQUESTS {
            let unknown = said(&lasting, &request.replace("TOKEN", UNKNOWN)).await;
            assert!(unknown.starts_with("HTTP/1."), "{request:?}: {unknown:?}");
            for (server, token) in &tokens {
                let said = said(server, &request.replace("TOKEN", token)).await;
                assert_eq!(said, unknown, "{token}: {request:?}");
            }
        }
    }
}

/// Sends a CONNECT, and returns the answer and all that follows until the connection ends. `TOKEN` stands for the token.
async fn said_to_connect(mut ws: Ws, token: &str, rest: &str) -> (String, Vec<u8>) {
    ws.text(&format!("40/{token}{rest}")).await;
    let said = format!("{:?}", ws.next().await).replace(token, "TOKEN");
    ws.peer.try_send(&frame(0x88, &[])).await;
    (said, ws.peer.until_end().await)
}

#[tokio::test]
async fn ends_cannot_tell_unknown_expired_and_malformed_tokens_apart() {
    let server = server(ErrorStatus::Original, ms(1_000)).await;
    let [unused, used] = expired(&server).await;
    let tokens = [UNKNOWN, MALFORMED, &unused, &used];
    for rest in ["", ",", ",{}", r#",{"body":"raw"}"#, ",[", "?x=1,"] {
        let mut all = Vec::new();
        for token in tokens {
            all.push(said_to_connect(server.open_ws().await, token, rest).await);
        }
        assert!(all.iter().all(|said| *said == all[0]), "{rest}: {all:?}");
    }
    for rest in ["", ",", "?x=1", "?x=1,"] {
        let mut all = Vec::new();
        for token in tokens {
            all.push(said_to_connect(server.open_ws_v3().await, token, rest).await);
        }
        assert!(all.iter().all(|said| *said == all[0]), "revision 3, {rest}: {all:?}");
    }
    let mut all = Vec::new();
    for token in tokens {
        let session = server.open().await;
        session.post(format!("40/{token},")).await.is(200, "ok");
        let answer = session.poll().await;
        let lines = answer.head.lines().filter(|line| !line.starts_with("date: ")).map(str::to_owned);
        all.push((lines.collect::<Vec<_>>(), answer.text().replace(token, "TOKEN")));
    }
    assert!(all.iter().all(|said| *said == all[0]), "polling: {all:?}");
}
