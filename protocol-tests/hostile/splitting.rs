//! What an end can put on a visitor's connection: one response, and no header that speaks for the connection, the origin or
//! the relay.

use super::{ack, go, id_of};
use crate::support::wire::{Answer, Peer, Server, Ws};

/// Sends a request with this method, which the end acks with `args`, and returns the response. The connection must then
/// serve another request.
async fn exchange(server: &Server, ws: &mut Ws, token: &str, method: &str, args: &str) -> Answer {
    let mut peer = server.peer().await;
    peer.send(format!("{method} {} HTTP/1.1\r\nHost: test\r\n\r\n", go(token)).as_bytes()).await;
    let id = id_of(&ws.next_text().await);
    ack(ws, token, &id, args).await;
    let bodiless = method == "HEAD" || [204, 304].iter().any(|status| args.starts_with(&format!("[{status}")));
    let answer = if bodiless { peer.head().await } else { peer.answer().await };
    follows(&mut peer).await;
    answer
}

/// The connection serves another request, and the first byte after the last response is the first of the next.
async fn follows(peer: &mut Peer) {
    peer.send(b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n").await;
    assert_eq!(peer.exactly(12).await, b"HTTP/1.1 200");
    assert!(peer.answer_after_status().await.ends_with("ok\n"));
}

#[tokio::test]
async fn bodiless_statuses_and_head_leave_the_connection_in_step() {
    let server = Server::start().await;
    let (mut ws, token) = server.joined().await;
    for method in ["GET", "HEAD", "POST", "OPTIONS"] {
        for args in [
            r#"[200,"body"]"#,
            r#"[204,"body"]"#,
            r#"[304,"body"]"#,
            r#"[205,"body"]"#,
            r#"[204,null,{"Content-Length":"9"}]"#,
            r#"[304,null,{"Content-Length":"9"}]"#,
            r#"[200,null,{"Content-Length":"9"}]"#,
            r#"[200,"body",{"Content-Length":"9"}]"#,
            r#"[200,"body",{"Content-Length":["1","2"]}]"#,
            r#"[200,"body",{"Content-Length":"1, 2"}]"#,
            r#"[200,"body",{"Content-Length":"-1"}]"#,
            r#"[200,null,{"Content-Length":"+9"}]"#,
            r#"[200,"body",{"Transfer-Encoding":"chunked"}]"#,
            r#"[200,"body",{"Transfer-Encoding":"chunked","Content-Length":"9"}]"#,
            r#"[200,"body",{"Connection":"close"}]"#,
            r#"[200,"body",{"Connection":"Upgrade","Upgrade":"websocket"}]"#,
            r#"[200,"body",{"Connection":"content-length, date"}]"#,
            r#"[200,"body",{"Trailer":"x-a","Keep-Alive":"timeout=1"}]"#,
            r#"[200,"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]"#,
        ] {
            let answer = exchange(&server, &mut ws, &token, method, args).await;
            let what = format!("{method} {args}: {}", answer.head);
            for name in ["transfer-encoding", "connection", "upgrade", "trailer", "keep-alive"] {
                assert_eq!(answer.header(name), None, "{what}");
            }
            assert!(answer.head.to_ascii_lowercase().matches("content-length").count() <= 1, "{what}");
            if answer.status == 204 {
                assert_eq!(answer.header("content-length"), None, "RFC 9110, section 8.6: {what}");
            }
        }
    }
}

/// A 2xx to CONNECT would make a tunnel of the connection (RFC 9110, section 9.3.6).
#[tokio::test]
async fn connect_to_a_token_does_not_make_a_tunnel() {
    let server = Server::start().await;
    let (mut ws, token) = server.joined().await;
    let mut peer = server.peer().await;
    let request = format!("CONNECT {} HTTP/1.1\r\nHost: test\r\n\r\n", go(&token));
    peer.send(format!("{request}GET /new HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes()).await;
    let answering = async {
        let id = id_of(&ws.next_text().await);
        ack(&mut ws, &token, &id, r#"[200,"tunnel"]"#).await;
        std::future::pending::<()>().await;
    };
    let answers = tokio::select! {
        answers = peer.until_end() => String::from_utf8_lossy(&answers).into_owned(),
        () = answering => return,
    };
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
}

#[tokio::test]
async fn line_ends_and_nul_in_headers_are_502() {
    let server = Server::start().await;
    let (mut ws, token) = server.joined().await;
    for bad in
        [r"\r\n", r"\n", r"\r", r"\u0000", r"\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", r"\u010d\u010a", r"\u2028", r"\u007f"]
    {
        for headers in [
            format!(r#"{{"x-a":"1{bad}x-b: 2"}}"#),
            format!(r#"{{"x-a{bad}x-b":"1"}}"#),
            format!(r#"{{"x-a":["1","2{bad}"]}}"#),
            format!(r#"{{"location":"/{bad}"}}"#),
            format!(r#"{{"set-cookie":"a=b{bad}"}}"#),
        ] {
            let answer = exchange(&server, &mut ws, &token, "GET", &format!(r#"[200,"x",{headers}]"#)).await;
            let code = answer.header("x-socket2me-error");
            assert_eq!((answer.status, code), (502, Some("invalid-answer")), "{headers}");
            assert!(answer.header("x-a").is_none() && answer.header("x-b").is_none(), "{}", answer.head);
        }
    }
}

#[tokio::test]
async fn an_end_does_not_speak_for_the_origin_or_the_relay() {
    const STOPPED: [&str; 12] = [
        "Service-Worker-Allowed",
        "clear-site-data",
        "STRICT-TRANSPORT-SECURITY",
        "Alt-Svc",
        "NEL",
        "Report-To",
        "Public-Key-Pins",
        "X-Socket2Me-Error",
        "x-socket2me-anything",
        "X-SOCKET2ME-",
        "Proxy-Authenticate",
        "Proxy-Connection",
    ];
    let server = Server::start().await;
    let (mut ws, token) = server.joined().await;
    for name in STOPPED {
        for value in [r#""said""#, r#"["said","said again"]"#] {
            let args = format!(r#"[200,"x",{{"{name}":{value},"x-own":"1"}}]"#);
            let answer = exchange(&server, &mut ws, &token, "GET", &args).await;
            assert_eq!((answer.status, answer.header("x-own")), (200, Some("1")), "{name}");
            assert!(!answer.head.contains("said"), "{}", answer.head);
        }
    }
}

#[tokio::test]
async fn a_visitor_speaks_as_the_relay_to_nobody() {
    let server = Server::start().await;
    let (mut ws, token) = server.joined().await;
    let said = [("X-Socket2Me-Error", "throttled"), ("X-Request-Id", "mine"), ("X-Provided-By", "me")];
    let mut peer = server.send("GET", &go(&token), &said, b"").await;
    let request = ws.next_text().await;
    assert!(!request.contains("throttled") && !request.contains(r#":"mine""#), "{request}");
    ack(&mut ws, &token, &id_of(&request), r#"["x"]"#).await;
    let answer = peer.answer().await;
    assert_eq!((answer.header("x-socket2me-error"), answer.header("x-provided-by")), (None, Some("Socket2Me")));
    assert_ne!(answer.header("x-request-id"), Some("mine"));
}
