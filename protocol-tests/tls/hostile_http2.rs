//! Clients of HTTP/2 that break rules or keep them in bad faith: each takes a bounded amount of memory, and others are served meanwhile.

use super::Secure;
use super::frames::*;

/// The errors of RFC 9113, section 7.
const FLOW_CONTROL_ERROR: u32 = 3;
const REFUSED_STREAM: u32 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;

/// The memory of the server's process, in bytes.
fn memory(secure: &Secure) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", secure.server.child.id().unwrap())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

/// Another visitor is served, and the server has taken no more than 48 MiB since it started.
async fn serves_others(secure: &Secure, before: usize) {
    let answer = secure.curl(&["--http2", &secure.url("/healthz")]).await;
    assert!(answer.starts_with("HTTP/2 200"), "{answer}");
    let taken = memory(secure).saturating_sub(before);
    assert!(taken < 48 << 20, "{} MiB", taken >> 20);
}

async fn start() -> (Secure, usize) {
    let secure = Secure::start(&["--stall-timeout=1s", "--head-timeout=2s", "--throttle-interval-ms=0"]).await;
    let before = memory(&secure);
    (secure, before)
}

#[tokio::test]
async fn a_client_that_resets_its_requests_at_once_is_told_to_calm_down() {
    let (secure, before) = start().await;
    let mut client = Frames::open(&secure).await;
    let mut burst = Vec::new();
    for stream in (1..4000).step_by(2) {
        burst.extend(frame(HEADERS, END_STREAM | END_HEADERS, stream, &request("GET", "/")));
        burst.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
    }
    client.try_send(&burst).await;
    assert_eq!(client.ends().await, Some(ENHANCE_YOUR_CALM));
    serves_others(&secure, before).await;
}

#[tokio::test]
async fn a_client_that_has_the_server_reset_its_streams_is_told_to_calm_down() {
    let (secure, before) = start().await;
    let mut client = Frames::open(&secure).await;
    let mut burst = Vec::new();
    let most = (u32::MAX >> 1).to_be_bytes();
    for stream in (1..4000).step_by(2) {
        burst.extend(frame(HEADERS, END_HEADERS, stream, &request("POST", "/new")));
        // A window that overflows is an error of its stream (section 6.9.1; CVE-2025-8671).
        burst.extend(frame(WINDOW_UPDATE, 0, stream, &most));
    }
    client.try_send(&burst).await;
    assert_eq!(client.ends().await, Some(ENHANCE_YOUR_CALM));
    serves_others(&secure, before).await;
}

#[tokio::test]
async fn a_hundred_requests_are_served_at_once_and_one_more_is_refused() {
    let (secure, before) = start().await;
    let mut client = Frames::open(&secure).await;
    let head = [request("POST", "/new"), header("content-type", "application/json")].concat();
    for number in 0..=100 {
        client.send(&frame(HEADERS, END_HEADERS, 2 * number + 1, &head)).await;
    }
    let refused = client.until("a refusal", |frame| frame.kind == RST_STREAM).await;
    assert_eq!((refused.stream, refused.error()), (201, Some(REFUSED_STREAM)));
    serves_others(&secure, before).await;
    for number in 0..100 {
        client.send(&frame(DATA, END_STREAM, 2 * number + 1, b"{}")).await;
    }
    for _ in 0..100 {
        client.until("a response", |frame| frame.kind == HEADERS && frame.stream <= 199).await;
    }
    client.get(203, "/healthz").await;
    client.response(203).await;
}

#[tokio::test]
async fn streams_whose_responses_are_not_read_are_given_up() {
    let (secure, before) = start().await;
    // SETTINGS_INITIAL_WINDOW_SIZE is 0: no byte of a body may be sent.
    let mut client = Frames::with(&secure, &[0, 4, 0, 0, 0, 0]).await;
    for number in 0..50 {
        client.get(2 * number + 1, "/").await;
    }
    for _ in 0..50 {
        client.until("a response", |frame| frame.kind == HEADERS).await;
    }
    serves_others(&secure, before).await;
    // It answers pings, and reads whatever comes.
    loop {
        match client.next().await {
            Some(next) if next.kind == PING && next.flags & ACK == 0 => {
                client.try_send(&frame(PING, ACK, 0, &next.payload)).await;
            }
            Some(_) => (),
            None => break,
        }
    }
    serves_others(&secure, before).await;
}

#[tokio::test]
async fn a_huge_list_of_headers_is_431_and_costs_its_stream_alone() {
    let (secure, before) = start().await;
    let mut client = Frames::open(&secure).await;
    let long = "x".repeat(10_000);
    let lines = (0..8).flat_map(|number| header(&format!("a{number}"), &long));
    let block: Vec<u8> = request("GET", "/healthz").into_iter().chain(lines).collect();
    let mut parts = block.chunks(16_000);
    client.send(&frame(HEADERS, END_STREAM, 1, parts.next().unwrap())).await;
    let rest: Vec<_> = parts.collect();
    for (number, part) in rest.iter().enumerate() {
        let flags = if number + 1 == rest.len() { END_HEADERS } else { 0 };
        client.send(&frame(CONTINUATION, flags, 1, part)).await;
    }
    let answer = client.until("an answer", |frame| matches!(frame.kind, HEADERS | RST_STREAM)).await;
    assert_eq!(answer.stream, 1);
    // `:status` is a literal behind the name of the 8th entry of the static table (RFC 7541, appendix A).
    assert!(
        answer.kind == RST_STREAM || answer.payload.windows(3).any(|text| text == b"431") || answer.payload[0] == 0x48,
        "{answer:?}"
    );
    let many: Vec<u8> = (0..200).flat_map(|number| header(&format!("a{number}"), "x")).collect();
    client.send(&frame(HEADERS, END_STREAM | END_HEADERS, 3, &[request("GET", "/healthz"), many].concat())).await;
    client.response(3).await;
    client.get(5, "/healthz").await;
    client.response(5).await;
    serves_others(&secure, before).await;
}

#[tokio::test]
async fn heads_without_an_end_and_floods_of_frames_end_the_connection_or_wait() {
    let (secure, before) = start().await;
    let mib = |frame: Vec<u8>| frame.repeat((1 << 20) / frame.len());
    for (what, begun, repeated) in [
        ("CONTINUATION", frame(HEADERS, 0, 1, &request("GET", "/")), mib(frame(CONTINUATION, 0, 1, &header("a", "b")))),
        ("empty CONTINUATION", frame(HEADERS, 0, 1, &request("GET", "/")), mib(frame(CONTINUATION, 0, 1, b""))),
        ("SETTINGS", Vec::new(), mib(frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255]))),
        ("PING", Vec::new(), mib(frame(PING, 0, 0, &[7; 8]))),
    ] {
        let mut client = Frames::open(&secure).await;
        client.send(&begun).await;
        let mut sent = 0;
        // Of answers it reads none: then the server reads nothing more either, and gives the client up.
        while sent < 64 && client.try_send(&repeated).await {
            sent += 1;
        }
        assert!(sent < 64, "{what}");
        serves_others(&secure, before).await;
    }
}

/// Frames without a byte take no window.
#[tokio::test]
async fn a_flood_of_empty_frames_of_a_body_that_nobody_reads_is_bounded() {
    let secure = Secure::start(&["--stall-timeout=20s", "--max-buffered=64MiB", "--max-hold=1m"]).await;
    let before = memory(&secure);
    let made =
        secure.curl(&["-H", "Content-Type: application/json", "-d", r#"{"hold":60}"#, &secure.url("/new")]).await;
    let (_, rest) = made.split_once(r#""token":""#).unwrap();
    let path = format!("/go/{}/", rest.split('"').next().unwrap());
    let mut client = Frames::open(&secure).await;
    client.send(&frame(HEADERS, END_HEADERS, 1, &request("POST", &path))).await;
    let repeated = frame(DATA, 0, 1, b"").repeat(10_000);
    let mut sent = 0;
    while sent < 400 && client.try_send(&repeated).await {
        sent += 1;
    }
    serves_others(&secure, before).await;
}

#[tokio::test]
async fn windows_that_overflow_and_frames_that_cannot_be_end_the_connection_or_the_stream() {
    let (secure, before) = start().await;
    let most = (u32::MAX >> 1).to_be_bytes();
    let get = |stream| frame(HEADERS, END_STREAM | END_HEADERS, stream, &request("GET", "/healthz"));
    let mut client = Frames::open(&secure).await;
    client.send(&frame(WINDOW_UPDATE, 0, 0, &most).repeat(2)).await;
    assert_eq!(client.ends().await, Some(FLOW_CONTROL_ERROR));
    for (what, bytes) in [
        ("data of the connection", frame(DATA, 0, 0, b"x")),
        ("data of a stream that never was", frame(DATA, 0, 1, b"x")),
        ("a stream of the server's", get(2)),
        ("a stream that is over", [get(3), get(1)].concat()),
        ("half a setting", frame(SETTINGS, 0, 0, &[0, 4, 0])),
        ("settings of a stream", frame(SETTINGS, 0, 1, &[])),
        ("a window of settings that is too large", frame(SETTINGS, 0, 0, &[0, 4, 255, 255, 255, 255])),
        ("a frame that is too large", frame(DATA, 0, 1, &[0; 20_000])),
        ("a promise", frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2])),
        ("a reset of a stream that never was", frame(RST_STREAM, 0, 1, &[0; 4])),
        ("a short ping", frame(PING, 0, 0, &[1])),
        ("a head that HPACK cannot read", frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0xff; 20])),
        ("an entry that no table has", frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0xbf])),
        ("a head within a head", [frame(HEADERS, 0, 1, &request("GET", "/")), get(3)].concat()),
        ("a stray continuation", frame(CONTINUATION, END_HEADERS, 1, b"")),
        ("padding that is longer than its frame", frame(DATA, 8, 1, &[9, 1])),
    ] {
        let mut client = Frames::open(&secure).await;
        client.try_send(&bytes).await;
        client.ends().await;
        serves_others(&secure, before).await;
        let _ = what;
    }
    let pseudo = |name: &str| [request("GET", "/healthz"), header(name, "x")].concat();
    for (what, block) in [
        ("large letters", pseudo("Name")),
        ("a header of the connection", pseudo("connection")),
        ("a transfer coding", pseudo("transfer-encoding")),
        ("an upgrade", pseudo("upgrade")),
        ("an unknown pseudo-header", pseudo(":name")),
        ("two paths", pseudo(":path")),
        ("no path", [header(":method", "GET"), header(":scheme", "https"), header(":authority", "test")].concat()),
        ("no method", [header(":path", "/"), header(":scheme", "https")].concat()),
        ("an extended CONNECT", [request("CONNECT", "/"), header(":protocol", "websocket")].concat()),
    ] {
        let mut client = Frames::open(&secure).await;
        client.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &block)).await;
        let answer = client.until(what, |frame| matches!(frame.kind, RST_STREAM | GOAWAY)).await;
        assert!(answer.error().is_some_and(|error| error != 0), "{what}: {answer:?}");
    }
    serves_others(&secure, before).await;
}

#[tokio::test]
async fn clients_that_say_nothing_or_begin_a_head_are_ended_in_time() {
    let (secure, before) = start().await;
    let begun = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &frame(HEADERS, 0, 1, &request("GET", "/"))].concat();
    for said in [&b""[..], &PREFACE[..10], PREFACE, &begun, b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"] {
        let mut client = Frames::silent(&secure).await;
        client.send(said).await;
        client.ends().await;
    }
    serves_others(&secure, before).await;
}
