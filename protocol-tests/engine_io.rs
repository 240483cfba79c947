//! Engine.IO on the wire, rule by rule: what client libraries would hide.

#[path = "support/wire.rs"]
mod wire;

use std::time::{Duration, Instant};

use wire::{Frame, KEY, Server, UPGRADE, refusal, sid_of, within};

const E0: &str = r#"{"code":0,"message":"Transport unknown"}"#;
const E1: &str = r#"{"code":1,"message":"Session ID unknown"}"#;
const E2: &str = r#"{"code":2,"message":"Bad handshake method"}"#;
const E3: &str = r#"{"code":3,"message":"Bad request"}"#;
const E5: &str = r#"{"code":5,"message":"Unsupported protocol version"}"#;

/// A well-formed id that nobody has.
const NOBODY: &str = "abcdefghij-_ABCDEFGH";

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A server with this heartbeat.
async fn beating(interval: Duration, timeout: Duration) -> Server {
    Server::with(|config| (config.ping_interval, config.ping_timeout) = (interval, timeout)).await
}

/// A server that takes no more than 1000 bytes.
async fn small() -> Server {
    Server::with(|config| config.max_payload = Some(1000)).await
}

// A.3, A.4: handshake

#[tokio::test]
async fn a4_handshake_over_polling() {
    let server = Server::with(|config| {
        (config.ping_interval, config.ping_timeout, config.max_payload) = (ms(300), ms(200), Some(1_000_000));
    });
    let server = server.await;
    let mut sids = Vec::new();
    for target in ["/socket.io/?EIO=4&transport=polling", "/socket.io?t=x&EIO=4&transport=polling&token=y&sid="] {
        let answer = server.ask("GET", target, &[], b"").await;
        let sid = answer.sid();
        let rest = r#""upgrades":["websocket"],"pingInterval":300,"pingTimeout":200,"maxPayload":1000000}"#;
        answer.is(200, &format!(r#"0{{"sid":"{sid}",{rest}"#));
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=UTF-8"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("content-length"), Some(answer.body.len().to_string().as_str()));
        assert!(sid.len() == 20 && sid.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)), "{sid}");
        sids.push(sid);
    }
    assert_ne!(sids[0], sids[1]);
}

#[tokio::test]
async fn a4_handshake_over_websocket() {
    let server = small().await;
    let text = server.ws("EIO=4&transport=websocket").await.next_text().await;
    let rest = r#""upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000}"#;
    assert_eq!(text, format!(r#"0{{"sid":"{}",{rest}"#, sid_of(&text)));
}

#[tokio::test]
async fn a3_no_other_path() {
    let server = Server::start().await;
    for path in ["/socket.io/x", "/socket.io//", "/engine.io/", "/socket.iox"] {
        assert_eq!(server.ask("GET", &format!("{path}?EIO=4&transport=polling"), &[], b"").await.status, 404, "{path}");
        let target = format!("{path}?EIO=4&transport=websocket");
        assert_eq!(server.ask("GET", &target, UPGRADE, b"").await.status, 404, "{path}");
    }
}

// A.6: errors

#[tokio::test]
async fn a6_every_code_in_the_order_of_checks() {
    let server = Server::start().await;
    let session = server.open().await;
    for (body, requests) in [
        (
            E0,
            "GET  | GET EIO=4 | POST EIO=4&sid=SID | GET EIO=4&transport=webtransport | \
             GET EIO=4&transport=constructor | GET EIO=4&transport=Polling",
        ),
        (
            E1,
            "GET EIO=4&transport=polling&sid=NOBODY | POST EIO=4&transport=polling&sid=NOBODY | \
             GET EIO=4&transport=polling&sid=__proto__ | GET EIO=4&transport=polling&sid=%ff%00 | \
             GET EIO=4&transport=polling&sid=SIDx | GET transport=polling&sid=NOBODY",
        ),
        (
            E2,
            "POST EIO=4&transport=polling | PUT EIO=4&transport=polling | OPTIONS EIO=4&transport=polling | \
             POST transport=websocket",
        ),
        (
            E3,
            "GET EIO=4&transport=websocket | GET transport=websocket | \
             GET EIO=4&transport=websocket&sid=SID | POST EIO=4&transport=websocket&sid=SID",
        ),
        (
            E5,
            "GET transport=polling | GET EIO=abc&transport=polling | GET EIO=5&transport=polling | \
             GET EIO=04&transport=polling",
        ),
    ] {
        for (method, query) in requests.split(" | ").filter_map(|request| request.split_once(' ')) {
            let target = format!("/socket.io/?{query}").replace("SID", &session.sid).replace("NOBODY", NOBODY);
            let answer = server.ask(method, &target, &[], b"").await;
            assert_eq!(answer.parts(), (400, body.to_owned()), "{method} {query}");
            assert_eq!(answer.header("content-type"), Some("application/json"), "{method} {query}");
        }
    }
    let head = server.ask("HEAD", "/socket.io/?EIO=4&transport=polling", &[], b"").await;
    assert_eq!((head.status, head.header("content-length")), (400, Some(E2.len().to_string().as_str())));
    session.is_alive().await;
}

#[tokio::test]
async fn a6_an_unknown_sid_is_said_before_the_wrong_transport() {
    let server = Server::start().await;
    for (method, transport) in [("GET", "websocket"), ("POST", "websocket"), ("PUT", "polling")] {
        let target = format!("/socket.io/?EIO=4&transport={transport}&sid={NOBODY}");
        assert_eq!(server.ask(method, &target, &[], b"").await.parts(), (400, E1.to_owned()), "{method} {transport}");
    }
}

#[tokio::test]
async fn r_a4_eio_differs_from_the_sessions() {
    let server = Server::start().await;
    let session = server.open().await;
    for query in ["EIO=3&transport=polling", "transport=polling", "EIO=x&transport=polling"] {
        let target = format!("/socket.io/?{query}&sid={}", session.sid);
        server.ask("GET", &target, &[], b"").await.is(400, E3);
        server.ask("POST", &target, &[], b"40/a,").await.is(400, E3);
    }
    server.no_ws(&format!("EIO=3&transport=websocket&sid={}", session.sid)).await.is(400, E3);
    session.is_alive().await;
}

#[tokio::test]
async fn a6_other_methods_of_a_session() {
    let server = Server::start().await;
    let session = server.open().await;
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS"] {
        let target = format!("/socket.io/?{}", session.query("polling"));
        server.ask(method, &target, &[], b"").await.is(405, "");
    }
    session.is_alive().await;
}

#[tokio::test]
async fn a6_websocket_handshakes_that_are_refused_before_the_101() {
    let server = Server::start().await;
    let session = server.open().await;
    server.no_ws("EIO=4").await.is(400, E0);
    server.no_ws(&format!("EIO=4&transport=websocket&sid={NOBODY}")).await.is(400, E1);
    server.no_ws("EIO=5&transport=websocket").await.is(400, E5);
    server.no_ws("transport=websocket").await.is(400, E5);
    server.no_ws(&session.query("polling")).await.is(400, E3);
    for target in ["EIO=4&transport=websocket".to_owned(), session.query("websocket")] {
        let target = format!("/socket.io/?{target}");
        for (name, value) in [
            ("Sec-WebSocket-Key", "short"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ"),
            ("Sec-WebSocket-Key", ""),
            ("Sec-WebSocket-Version", "12"),
            ("Sec-WebSocket-Version", ""),
            ("Connection", "keep-alive"),
            ("Upgrade", "h2c"),
        ] {
            let change = |&(n, v): &(&'static str, &'static str)| (n, if n == name { value } else { v });
            let headers: Vec<_> = UPGRADE.iter().map(change).filter(|(_, value)| !value.is_empty()).collect();
            let answer = server.ask("GET", &target, &headers, b"").await;
            assert_eq!(answer.status, 400, "{name}: {value}");
            if name == "Sec-WebSocket-Version" {
                assert_eq!(answer.header(name), Some("13"), "{value}");
            }
        }
        assert_eq!(server.ask("POST", &target, UPGRADE, b"").await.status, 400);
    }
    session.is_alive().await;
    session.candidate().await.text("2probe").await;
}

#[tokio::test]
async fn a11_the_101_offers_no_extension() {
    let server = Server::start().await;
    let deflate = ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits");
    let asked = [("upgrade", "WebSocket"), ("connection", "keep-alive, upgrade"), UPGRADE[2], UPGRADE[3], deflate];
    let answer = server.send("GET", "/socket.io/?EIO=4&transport=websocket", &asked, b"").await.answer().await;
    assert_eq!((answer.status, answer.header("sec-websocket-extensions")), (101, None), "{KEY}");
    assert_eq!(answer.header("upgrade"), Some("websocket"));
    assert!(answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("upgrade")));
}

// A.2: payloads

#[tokio::test]
async fn r_a2_packets_are_separated_and_in_order() {
    let server = Server::start().await;
    let session = server.open().await;
    session.post("40/a,\x1e0{}\x1e40/b\x1e5\x1e6\x1e3\x1e40/c,{}").await.is(200, "ok");
    session.poll().await.is(200, &[refusal("/a"), refusal("/b"), refusal("/c")].join("\x1e"));
}

#[tokio::test]
async fn r_a2_binary_is_base64_both_ways() {
    let server = Server::start().await;
    let (session, token) = (server.open().await, server.token().await);
    session.post(format!("40/{token},")).await.is(200, "ok");
    assert!(session.poll().await.text().starts_with("40/"));
    let rows: [(&str, &[u8]); 4] = [("AQIDBA==", &[1, 2, 3, 4]), ("AQI", &[1, 2]), ("4AQID", &[0xe0, 4, 8]), ("", &[])];
    for (id, (base64, bytes)) in rows.into_iter().enumerate() {
        let mut visitor = server.visit(&token, &[1, 2, 3, 4]).await;
        let text = session.poll().await.text();
        assert!(text.starts_with(&format!(r#"451-/{token},{id}["request",{{"#)), "{text}");
        assert!(text.ends_with("}]\x1ebAQIDBA=="), "{text}");
        let ack = format!("461-/{token},{id}[200,{{\"_placeholder\":true,\"num\":0}}]\x1eb{base64}");
        session.post(ack).await.is(200, "ok");
        assert_eq!(visitor.answer().await.body, bytes, "b{base64}");
    }
}

#[tokio::test]
async fn a2_packets_before_a_fault_are_delivered() {
    let server = Server::start().await;
    let (session, token) = (server.open().await, server.token().await);
    session.post(format!("40/{token},")).await.is(200, "ok");
    assert_eq!(session.poll().await.status, 200);
    let mut visitor = server.visit(&token, b"x").await;
    assert_eq!(session.poll().await.status, 200);
    session.post(format!("43/{token},0[201,\"yes\"]\x1e9")).await.is(400, "");
    visitor.answer().await.is(201, "yes");
    session.is_gone().await;
}

#[tokio::test]
async fn r_a11_undecodable_post_closes() {
    let server = Server::start().await;
    let bodies: [&[u8]; 9] =
        [b"", b"9", b"a", b"abc", b"40/a,\x1e", b"\x1e40/a,", b"40/a,\x1e\x1e40/b,", b"b!!!!", b"4\xff"];
    for body in bodies {
        let session = server.open().await;
        let mut held = session.held_poll().await;
        let shown = String::from_utf8_lossy(body);
        assert_eq!(session.post(body).await.parts(), (400, String::new()), "{shown:?}");
        assert_eq!(held.answer().await.parts(), (200, "1".to_owned()), "{shown:?}");
        session.is_gone().await;
    }
}

#[tokio::test]
async fn a6_octet_stream_post_closes() {
    let server = Server::start().await;
    let session = server.open().await;
    session.post_as("application/octet-stream", "40/a,").await.is(400, "");
    session.is_gone().await;
}

// A.7: polling

#[tokio::test]
async fn r_a5_get_waits_for_the_first_packet() {
    let server = Server::start().await;
    let session = server.open().await;
    let mut held = session.held_poll().await;
    let answer = session.post("40/a,").await;
    answer.is(200, "ok");
    assert_eq!(answer.header("content-type"), Some("text/html"), "R-A8");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "R-A8");
    let answer = held.answer().await;
    answer.is(200, &refusal("/a"));
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=UTF-8"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn r_a6_get_while_a_get_is_pending() {
    let server = Server::start().await;
    let session = server.open().await;
    let mut first = session.held_poll().await;
    session.poll().await.is(400, "");
    first.answer().await.is(200, "1");
    session.is_gone().await;
}

#[tokio::test]
async fn r_a7_aborted_get_closes() {
    let server = Server::start().await;
    let session = server.open().await;
    drop(session.held_poll().await);
    within("the session to end", async { while session.post("6").await.status == 200 {} }).await;
    session.is_gone().await;
}

#[tokio::test]
async fn r_a9_post_while_a_post_is_read() {
    let server = Server::start().await;
    let session = server.open().await;
    let mut held = session.held_poll().await;
    let mut first = session.begun_post("Content-Length: 5", b"40").await;
    server.settle().await;
    session.post("40/b,").await.is(400, "");
    held.answer().await.is(200, "1");
    first.send(b"/a,").await;
    assert_eq!(first.answer().await.status, 400);
    session.is_gone().await;
}

#[tokio::test]
async fn a7_aborted_post_closes() {
    let server = Server::start().await;
    let session = server.open().await;
    let mut held = session.held_poll().await;
    let first = session.begun_post("Content-Length: 5", b"40").await;
    server.settle().await;
    drop(first);
    held.answer().await.is(200, "1");
    session.is_gone().await;
}

#[tokio::test]
async fn r_a10_post_too_large() {
    let server = small().await;
    let session = server.open().await;
    session.post(format!("{:>1000}", "").replacen(' ', "6", 1)).await.is(200, "ok");
    let chunk = [&b"258\r\n"[..], &[b'6'; 0x258], b"\r\n"].concat();
    for (framing, start) in
        [("Content-Length: 1001", vec![]), ("Transfer-Encoding: chunked", [&chunk[..], &chunk].concat())]
    {
        let session = server.open().await;
        let mut held = session.held_poll().await;
        let mut post = session.begun_post(framing, &start).await;
        let answer = post.answer().await;
        assert_eq!(answer.parts(), (413, String::new()), "{framing}");
        assert_eq!(answer.header("connection"), Some("close"), "{framing}");
        held.answer().await.is(200, "1");
        session.is_gone().await;
    }
}

#[tokio::test]
async fn r_a12_client_close_releases_the_get() {
    let server = Server::start().await;
    let session = server.open().await;
    let mut held = session.held_poll().await;
    session.post("1").await.is(200, "ok");
    held.answer().await.is(200, "6");
    session.is_gone().await;
}

#[tokio::test]
async fn r_a12_one_get_after_a_client_close_is_released_too() {
    let server = Server::start().await;
    let session = server.open().await;
    session.post("40/a,\x1e1").await.is(200, "ok");
    session.poll().await.is(200, "6");
    session.is_gone().await;
    session.post("6").await.is(400, E1);
}

#[tokio::test]
async fn r_a13_server_close_reaches_the_next_get() {
    let server = Server::start().await;
    let session = server.open().await;
    // Twenty refusals end a session in order.
    let names: Vec<_> = (0..20).map(|number| format!("/{number}")).collect();
    session.post(names.iter().map(|name| format!("40{name}")).collect::<Vec<_>>().join("\x1e")).await.is(200, "ok");
    let expected: String = names.iter().map(|name| refusal(name) + "\x1e").collect();
    session.poll().await.is(200, &format!("{expected}1"));
    session.is_gone().await;
}

#[tokio::test]
async fn r_a13_shutdown_tells_everybody() {
    let server = Server::start().await;
    let mut ws = server.open_ws().await;
    let mut held = server.open().await.held_poll().await;
    server.stop();
    held.answer().await.is(200, "1");
    ws.closes(Some(1001), "shutdown").await;
}

// A.8: heartbeat

#[tokio::test]
async fn r_a14_polling_pings_after_each_interval() {
    let server = beating(ms(150), ms(5000)).await;
    let mut before = Instant::now();
    let session = server.open().await;
    for _ in 0..3 {
        session.poll().await.is(200, "2");
        assert!(before.elapsed() >= ms(150), "a ping after {:?}", before.elapsed());
        before = Instant::now();
        session.post("3").await.is(200, "ok");
    }
    session.post("3\x1e3").await.is(200, "ok");
    session.is_alive().await;
}

#[tokio::test]
async fn r_a14_websocket_pings_after_each_interval() {
    let server = beating(ms(150), ms(5000)).await;
    let mut before = Instant::now();
    let mut ws = server.open_ws().await;
    for _ in 0..3 {
        ws.expect("2").await;
        assert!(before.elapsed() >= ms(150), "a ping after {:?}", before.elapsed());
        before = Instant::now();
        ws.text("3").await;
    }
    ws.text("3").await;
    ws.is_alive().await;
}

#[tokio::test]
async fn a8_no_pong_closes() {
    let server = beating(ms(150), ms(100)).await;
    let start = Instant::now();
    let session = server.open().await;
    session.poll().await.is(200, "2");
    session.poll().await.is(200, "1");
    assert!(start.elapsed() >= ms(250));
    session.is_gone().await;
    let start = Instant::now();
    let mut ws = server.open_ws().await;
    ws.expect("2").await;
    ws.closes(None, "no pong").await;
    assert!(start.elapsed() >= ms(250));
}

#[tokio::test]
async fn a8_who_never_polls_is_gone_when_the_time_is_over() {
    let server = beating(ms(150), ms(100)).await;
    let session = server.open().await;
    // The rule is a duration: the suites sleep exactly this long.
    tokio::time::sleep(ms(250)).await;
    session.is_gone().await;
}

#[tokio::test]
async fn a8_another_packet_gives_the_pong_more_time() {
    let server = beating(ms(100), ms(600)).await;
    let mut ws = server.open_ws().await;
    ws.expect("2").await;
    tokio::time::sleep(ms(250)).await;
    let sent = Instant::now();
    ws.text("6").await;
    ws.closes(None, "no pong").await;
    assert!(sent.elapsed() >= ms(600), "closed after {:?}", sent.elapsed());
}

#[tokio::test]
async fn a8_ping_of_a_client_closes() {
    let server = Server::start().await;
    for ping in ["2", "2probe"] {
        let session = server.open().await;
        session.post(ping).await.is(200, "ok");
        session.is_gone().await;
        let mut ws = server.open_ws().await;
        ws.text(ping).await;
        ws.closes(None, ping).await;
    }
}

// A.9: upgrade

#[tokio::test]
async fn r_a15_upgrade() {
    let server = Server::start().await;
    let session = server.open().await;
    let mut ws = session.candidate().await;
    // A silent candidate changes nothing.
    let mut held = session.held_poll().await;
    session.post("40/a,").await.is(200, "ok");
    held.answer().await.is(200, &refusal("/a"));
    // The probe frees the poll that waits, and those that come after it.
    let mut held = session.held_poll().await;
    ws.text("2probe").await;
    ws.expect("3probe").await;
    held.answer().await.is(200, "6");
    session.poll().await.is(200, "6");
    // Data before the 5 goes over polling, what waits then over the WebSocket, which never sees a noop.
    session.is_alive().await;
    session.post("40/b,").await.is(200, "ok");
    ws.text("5").await;
    ws.expect(&refusal("/b")).await;
    ws.is_alive().await;
    session.poll().await.is(400, E3);
    session.post("40/c,").await.is(400, E3);
    server.no_ws(&session.query("websocket")).await.is(400, E3);
    ws.is_alive().await;
}

#[tokio::test]
async fn a9_get_that_races_the_5_is_rejected() {
    let server = Server::start().await;
    let session = server.open().await;
    let mut ws = session.probed().await;
    let mut poll = server.send("GET", &format!("/socket.io/?{}", session.query("polling")), &[], b"").await;
    ws.text("5").await;
    poll.answer().await.is(400, E3);
    ws.is_alive().await;
}

#[tokio::test]
async fn a9_wrong_frames_drop_the_candidate() {
    let server = Server::start().await;
    for frames in [&["40/a,"][..], &["2"], &["5"], &["x"], &[""], &["2probe", "40/a,"], &["2probe", "2probe"]] {
        let session = server.open().await;
        let mut ws = session.candidate().await;
        for frame in frames {
            ws.text(frame).await;
        }
        if frames.len() == 2 {
            ws.expect("3probe").await;
        }
        ws.closes(None, &format!("{frames:?}")).await;
        session.is_alive().await;
    }
}

#[tokio::test]
async fn a9_upgrade_timeout_drops_the_candidate() {
    let server = Server::with(|config| config.upgrade_timeout = ms(100)).await;
    for probed in [false, true] {
        let session = server.open().await;
        let start = Instant::now();
        let mut ws = session.candidate().await;
        if probed {
            ws.text("2probe").await;
            ws.expect("3probe").await;
        }
        ws.closes(None, "timeout").await;
        assert!(start.elapsed() >= ms(100));
        session.is_alive().await;
    }
}

#[tokio::test]
async fn a9_second_candidate_is_refused_and_the_first_goes_on() {
    let server = Server::start().await;
    let session = server.open().await;
    let mut ws = session.candidate().await;
    server.no_ws(&session.query("websocket")).await.is(400, E3);
    ws.text("2probe").await;
    ws.expect("3probe").await;
    server.no_ws(&session.query("websocket")).await.is(400, E3);
    ws.text("5").await;
    ws.is_alive().await;
}

#[tokio::test]
async fn a9_candidate_dies_and_polling_lives() {
    let server = Server::start().await;
    let session = server.open().await;
    let mut ws = session.candidate().await;
    ws.frame(0x88, &[]).await;
    server.settle().await;
    session.is_alive().await;
    drop(session.probed().await);
    server.settle().await;
    session.is_alive().await;
    // A poll is held again as if there had been no candidate, and another candidate has a place.
    let mut held = session.held_poll().await;
    let _candidate = session.probed().await;
    held.answer().await.is(200, "6");
}

#[tokio::test]
async fn a9_session_dies_and_so_does_the_candidate() {
    let server = Server::start().await;
    for body in ["1", "9"] {
        let session = server.open().await;
        let mut ws = session.probed().await;
        session.post(body).await;
        ws.closes(None, body).await;
    }
}

// A.10: CORS

#[tokio::test]
async fn r_a16_origin_is_echoed() {
    let server = Server::start().await;
    for (query, status) in [("EIO=4&transport=polling", 200), ("", 400)] {
        let target = format!("/socket.io/?{query}");
        let answer = server.ask("GET", &target, &[("Origin", "http://a.b")], b"").await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("access-control-allow-origin"), Some("http://a.b"));
        assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
        assert_eq!(answer.header("vary"), Some("Origin"));
        let answer = server.ask("GET", &target, &[], b"").await;
        assert_eq!(answer.header("access-control-allow-origin"), None);
        assert_eq!(answer.header("access-control-allow-credentials"), None);
    }
}

#[tokio::test]
async fn a10_preflight() {
    let server = Server::start().await;
    let asked = [("Origin", "http://a.b"), ("Access-Control-Request-Headers", "content-type,x-mine")];
    for query in ["", "?EIO=4&transport=polling&sid=x"] {
        let answer = server.ask("OPTIONS", &format!("/socket.io/{query}"), &asked, b"").await;
        assert_eq!(answer.status, 204);
        assert_eq!(answer.header("access-control-allow-origin"), Some("http://a.b"));
        assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
        assert_eq!(answer.header("access-control-allow-methods"), Some("GET,POST"));
        assert_eq!(answer.header("access-control-allow-headers"), Some("content-type,x-mine"));
    }
}

// A.1, A.11: WebSocket

#[tokio::test]
async fn r_a1_text_b_is_binary() {
    let server = Server::start().await;
    let (mut ws, token) = (server.open_ws().await, server.token().await);
    ws.join(&token).await;
    let mut visitor = server.visit(&token, &[9]).await;
    ws.request(&token, 0).await;
    assert_eq!(ws.next().await, Frame::Binary(vec![9]), "binary has no type byte");
    ws.text(&format!(r#"461-/{token},0[200,{{"_placeholder":true,"num":0}}]"#)).await;
    ws.text("bAQIDBA==").await;
    assert_eq!(visitor.answer().await.body, [1, 2, 3, 4]);
}

#[tokio::test]
async fn r_a1_b64_on_the_websocket_request_asks_for_base64() {
    let server = Server::start().await;
    let token = server.token().await;
    let mut ws = server.ws("EIO=4&transport=websocket&b64=1").await;
    ws.next_text().await;
    ws.join(&token).await;
    let _visitor = server.visit(&token, &[1, 2, 3, 4]).await;
    ws.request(&token, 0).await;
    ws.expect("bAQIDBA==").await;
}

#[tokio::test]
async fn a11_frames_that_break_the_protocol() {
    let server = small().await;
    for (first, payload, code) in [
        (0x82, &[0; 4001][..], 1009),
        (0x81, b"4\xff", 1007),
        (0xc1, b"40/a,", 1002),
        (0x83, b"40/a,", 1002),
        (0x80, b"40/a,", 1002),
        (0x09, b"fragmented ping", 1002),
    ] {
        let mut ws = server.open_ws().await;
        ws.frame(first, payload).await;
        ws.closes(Some(code), &format!("{first:#x}")).await;
    }
    let mut ws = server.open_ws().await;
    ws.peer.send(b"\x81\x0540/a,").await;
    ws.closes(Some(1002), "no mask").await;
}

#[tokio::test]
async fn a11_packets_that_close() {
    let server = Server::start().await;
    for text in ["1", "", "4", "abc", "7", "b!!!!"] {
        let mut ws = server.open_ws().await;
        ws.text(text).await;
        ws.closes(None, text).await;
    }
}

#[tokio::test]
async fn a11_packets_that_are_ignored_and_frames_that_are_fine() {
    let server = Server::start().await;
    let mut ws = server.open_ws().await;
    for text in ["0", "0{}", "3", "5", "6"] {
        ws.text(text).await;
    }
    ws.is_alive().await;
    ws.frame(0x89, b"are you there").await;
    assert_eq!(ws.next().await, Frame::Pong(b"are you there".to_vec()));
    ws.frame(0x8a, b"nobody asked").await;
    ws.frame(0x01, b"40/").await;
    ws.frame(0x89, b"between").await;
    ws.frame(0x80, b"a,").await;
    assert_eq!(ws.next().await, Frame::Pong(b"between".to_vec()));
    ws.expect(&refusal("/a")).await;
}

#[tokio::test]
async fn a11_close_frame_is_echoed() {
    let server = Server::start().await;
    let mut ws = server.open_ws().await;
    ws.frame(0x88, &1000_u16.to_be_bytes()).await;
    ws.closes(Some(1000), "with a code").await;
    let mut candidate = server.open().await.candidate().await;
    candidate.frame(0x88, &[]).await;
    candidate.closes(None, "without one").await;
}
