//! What the ack of an end becomes for the visitor (PROTOCOL.md, "The ack").

use super::tunnel::Tunnel;
use super::visitor::request;
use crate::support::end::End;

const HTML: Option<&str> = Some("text/html; charset=utf-8");
const JSON: Option<&str> = Some("application/json; charset=utf-8");
const BUFFER: &str = r#"{"_placeholder":true,"num":0}"#;
const PNG: &[u8] = b"\x89PNG\r\n\0\xff";

/// What `respond` is called with, and what the visitor gets.
type Row<'r> = (&'r str, &'r [&'r [u8]], u16, Option<&'r str>, &'r [u8]);

async fn check(tunnel: &mut Tunnel, (args, attachments, status, content_type, body): Row<'_>) {
    let ask = request("GET", &tunnel.at(""), &[], b"");
    let (_, answer) = tunnel.exchange(&ask, args, attachments).await;
    assert_eq!(answer.status, status, "{args}: {}", answer.text());
    assert_eq!(answer.header("content-type"), content_type, "{args}");
    assert_eq!(answer.body, body, "{args}: {}", answer.text());
    assert_eq!(answer.header("x-provided-by"), Some("Socket2Me"), "{args}");
    assert_eq!(answer.code(), None, "{args}");
}

#[tokio::test]
async fn an_ack_becomes_the_response() {
    let tunnel = &mut Tunnel::patient().await;
    let rows: &[Row<'_>] = &[
        ("[]", &[], 200, HTML, b"OK"),
        (r#"["just body",{"X-Q":"1"}]"#, &[], 200, HTML, b"just body"),
        (r#"[201,{"a":1},{"X-Y":"z"}]"#, &[], 201, JSON, br#"{"a":1}"#),
        (r#"[200,"hi",{"Content-Type":"text/csv"}]"#, &[], 200, Some("text/csv"), b"hi"),
        (
            r#"[200,{"a":1},{"content-type":"application/ld+json"}]"#,
            &[],
            200,
            Some("application/ld+json"),
            br#"{"a":1}"#,
        ),
        ("[200,12345]", &[], 200, HTML, b"12345"),
        ("[200,-1.50]", &[], 200, HTML, b"-1.50"),
        // One number is a status, and its words the body.
        ("[404]", &[], 404, HTML, b"Not Found"),
        ("[299]", &[], 299, HTML, b"299"),
        ("[999,\"x\"]", &[], 999, HTML, b"x"),
        (r#"["201"]"#, &[], 200, HTML, b"201"),
        (r#"[""]"#, &[], 200, HTML, b""),
        (r#"["\u00e9\ud83d\ude00\n\""]"#, &[], 200, HTML, "é😀\n\"".as_bytes()),
        // JSON is sent as it was written.
        (r#"[{"b":1.0,"a":1e400,"l":[ ]}]"#, &[], 200, JSON, br#"{"b":1.0,"a":1e400,"l":[ ]}"#),
        ("[[1,2]]", &[], 200, JSON, b"[1,2]"),
        ("[200,[]]", &[], 200, JSON, b"[]"),
        ("[true]", &[], 200, JSON, b"true"),
        ("[200,false]", &[], 200, JSON, b"false"),
        // `null` is an empty body, and in the place of the status it is none.
        ("[null]", &[], 200, None, b""),
        ("[200,null]", &[], 200, None, b""),
        (r#"[404,null,{"Content-Type":"text/css"}]"#, &[], 404, Some("text/css"), b""),
        (r#"[null,"body"]"#, &[], 200, HTML, b"body"),
        (r#"[null,"body",{"X-Q":"1"}]"#, &[], 200, HTML, b"body"),
        (r#"[null,{"a":1},{"X-Q":"1"}]"#, &[], 200, JSON, br#"{"a":1}"#),
        (r#"[null,null,null]"#, &[], 200, None, b""),
        (r#"[200,"body",null]"#, &[], 200, HTML, b"body"),
        (r#"[200,"body",{},"more",5]"#, &[], 200, HTML, b"body"),
        // Buffers.
        (r#"[200,"no use for it"]"#, &[PNG], 200, HTML, b"no use for it"),
        (&format!("[200,{BUFFER}]"), &[PNG], 200, Some("application/octet-stream"), PNG),
        (&format!("[{BUFFER}]"), &[b""], 200, Some("application/octet-stream"), b""),
        (&format!(r#"[200,{BUFFER},{{"content-type":"image/png"}}]"#), &[PNG], 200, Some("image/png"), PNG),
        (
            &format!(r#"[{{"a":{BUFFER},"b":[{{"num":1,"_placeholder":true}}]}}]"#),
            &[&[1, 255], b""],
            200,
            JSON,
            br#"{"a":{"type":"Buffer","data":[1,255]},"b":[{"type":"Buffer","data":[]}]}"#,
        ),
    ];
    for row in rows {
        check(tunnel, *row).await;
    }
}

#[tokio::test]
async fn headers_of_an_ack_become_headers_of_the_response() {
    let mut tunnel = Tunnel::patient().await;
    for (headers, name, values) in [
        (r#"{"X-Q":"1"}"#, "x-q", &["1"][..]),
        (r#"{"Set-Cookie":["a=1; Path=/","b=2"]}"#, "set-cookie", &["a=1; Path=/", "b=2"]),
        (r#"{"Set-Cookie":[]}"#, "set-cookie", &[]),
        (r#"{"X-Number":12.50}"#, "x-number", &["12.50"]),
        (r#"{"X-Bool":true}"#, "x-bool", &["true"]),
        (r#"{"X-Null":null}"#, "x-null", &[]),
        (r#"{"X-Empty":""}"#, "x-empty", &[""]),
        (r#"{"X-Latin":"caf\u00e9"}"#, "x-latin", &["café"]),
        (r#"{"X-Same":"1","x-same":"2"}"#, "x-same", &["2"]),
        (r#"{"Location":"/go/x?y=z"}"#, "location", &["/go/x?y=z"]),
        (r#"{"Content-Type":["text/a"]}"#, "content-type", &["text/a"]),
        // The length is counted here, and framing is the server's own.
        (r#"{"Content-Length":"999"}"#, "content-length", &["2"]),
        (r#"{"Content-Length":1}"#, "content-length", &["2"]),
        (r#"{"Transfer-Encoding":"chunked"}"#, "content-length", &["2"]),
    ] {
        let ask = request("GET", &tunnel.at(""), &[], b"");
        let (_, answer) = tunnel.exchange(&ask, &format!(r#"[200,"hi",{headers}]"#), &[]).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "hi"), "{headers}");
        assert_eq!(answer.all(name), values, "{headers}");
    }
}

#[tokio::test]
async fn answers_that_http_cannot_carry_are_502_and_harm_nothing_else() {
    let mut tunnel = Tunnel::patient().await;
    let status = "no status: it must be a whole number from 200 to 999";
    let object = "the headers must be an object";
    for (args, reason) in [
        ("[99]", status),
        ("[0]", status),
        ("[-200]", status),
        ("[100]", status),
        ("[101]", status),
        ("[199,\"x\"]", status),
        ("[1000]", status),
        ("[12345]", status),
        ("[1.5]", status),
        ("[200.5,\"x\"]", status),
        ("[1e400]", status),
        ("[99999999999999999999,\"x\"]", status),
        (r#"[200,"x",{"a b":"1"}]"#, r#""a b" is no header name"#),
        (r#"[200,"x",{"":"1"}]"#, r#""" is no header name"#),
        (r#"[200,"x",{"a:b":"1"}]"#, "no header name"),
        (r#"[200,"x",{"\u00e9":"1"}]"#, "no header name"),
        (r#"[200,"x",{"a\r\nb":"1"}]"#, "no header name"),
        (r#"[200,"x",{"x-a":"1\r\nx-b: 2"}]"#, "the value of the header x-a has characters that HTTP cannot carry"),
        (r#"[200,"x",{"x-a":"1\n"}]"#, "the value of the header x-a"),
        (r#"[200,"x",{"x-a":"\u0000"}]"#, "the value of the header x-a"),
        (r#"[200,"x",{"x-a":"€"}]"#, "the value of the header x-a"),
        (r#"[200,"x",{"x-a":["fine","€"]}]"#, "the value of the header x-a"),
        (r#"[200,"x",{"x-a":{"b":1}}]"#, "the value of the header x-a must be a string"),
        (r#"[200,"x",{"x-a":[["b"]]}]"#, "the value of the header x-a must be a string"),
        (r#"["x",{"x-a":"€"}]"#, "the value of the header x-a"),
        (r#"[200,"x","nope"]"#, object),
        (r#"[200,"x",5]"#, object),
        (r#"[200,"x",true]"#, object),
        (r#"[200,"x",["a","b"]]"#, object),
        (r#"["x","nope"]"#, object),
    ] {
        let ask = request("GET", &tunnel.at(""), &[], b"");
        let (_, answer) = tunnel.exchange(&ask, args, &[]).await;
        assert_eq!((answer.status, answer.code()), (502, Some("invalid-answer")), "{args}: {}", answer.text());
        assert!(answer.error().contains(reason), "{args}: {}", answer.error());
        assert_eq!(answer.header("x-a"), None, "{args}");
        tunnel.still_works().await;
    }
}

#[tokio::test]
async fn what_looks_like_a_buffer_and_came_without_one_is_json() {
    let tunnel = &mut Tunnel::patient().await;
    check(tunnel, (&format!("[200,{BUFFER}]"), &[], 200, JSON, BUFFER.as_bytes())).await;
    let inside = format!(r#"{{"a":[{BUFFER}]}}"#);
    check(tunnel, (&format!("[200,{inside}]"), &[], 200, JSON, inside.as_bytes())).await;
}

#[tokio::test]
async fn a_json_answer_may_be_deep() {
    let tunnel = &mut Tunnel::patient().await;
    let deep = ["[".repeat(10_000), "]".repeat(10_000)].concat();
    check(tunnel, (&format!("[200,{deep}]"), &[], 200, JSON, deep.as_bytes())).await;
}

/// A placeholder that names no attachment is not a bad answer but a broken packet, which ends the session (PROTOCOL.md,
/// "Attachments").
#[tokio::test]
async fn buffers_that_are_not_there_end_the_session() {
    for args in [
        r#"[200,{"_placeholder":true,"num":1}]"#,
        r#"[200,{"_placeholder":true,"num":-1}]"#,
        r#"[200,{"a":{"_placeholder":true,"num":"0"}}]"#,
    ] {
        let mut tunnel = Tunnel::patient().await;
        let ask = request("GET", &tunnel.at(""), &[], b"");
        let (_, answer) = tunnel.exchange(&ask, args, &[PNG]).await;
        assert_eq!((answer.status, answer.code()), (500, Some("client-disconnected")), "{args}: {}", answer.text());
        tunnel.end = End::connect(tunnel.server.address, &tunnel.token).await;
        tunnel.still_works().await;
    }
    // One in the place of a header's value is a bad answer.
    let mut tunnel = Tunnel::patient().await;
    let ask = request("GET", &tunnel.at(""), &[], b"");
    let (_, answer) = tunnel.exchange(&ask, &format!(r#"[200,"x",{{"x-a":{BUFFER}}}]"#), &[PNG]).await;
    assert_eq!((answer.status, answer.code()), (502, Some("invalid-answer")));
    tunnel.still_works().await;
}

#[tokio::test]
async fn statuses_204_and_304_have_no_body() {
    let mut tunnel = Tunnel::patient().await;
    for (args, status) in [
        ("[204]", 204),
        (r#"[204,"text"]"#, 204),
        (r#"[204,null,{"Content-Length":"0"}]"#, 204),
        ("[304]", 304),
        (r#"[304,"text",{"ETag":"x"}]"#, 304),
    ] {
        // That nothing follows the head is what `exchange` looks at.
        let (_, answer) = tunnel.exchange(&request("GET", &tunnel.at(""), &[], b""), args, &[]).await;
        assert_eq!(answer.status, status, "{args}");
        if status == 204 {
            assert_eq!(answer.header("content-length"), None, "{args}: RFC 9110, section 8.6");
        }
    }
}

#[tokio::test]
async fn head_may_tell_the_length_that_get_would_have() {
    let mut tunnel = Tunnel::patient().await;
    for (args, length) in [
        (r#"[200,null,{"Content-Length":"1234"}]"#, "1234"),
        (r#"[200,"",{"Content-Length":1234}]"#, "1234"),
        (r#"[200,"hello"]"#, "5"),
        ("[]", "2"),
    ] {
        let (_, answer) = tunnel.exchange(&request("HEAD", &tunnel.at(""), &[], b""), args, &[]).await;
        assert_eq!((answer.status, answer.header("content-length")), (200, Some(length)), "{args}");
    }
}
