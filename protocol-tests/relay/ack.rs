//! What the ack of an end becomes for the visitor (PROTOCOL.md, "The ack").

use super::tunnel::{Tunnel, patient};
use super::visitor::request;
use crate::support::end::End;

const HTML: Option<&str> = Some("text/html; charset=utf-8");
const JSON: Option<&str> = Some("application/json; charset=utf-8");
const PNG: &[u8] = b"\x89PNG\r\n\0\xff";

/// What a visitor must get.
struct Expected<'e> {
    status: u16,
    content_type: Option<&'e str>,
    body: &'e [u8],
}

fn html(status: u16, body: &str) -> Expected<'_> {
    Expected { status, content_type: HTML, body: body.as_bytes() }
}

fn json(status: u16, body: &str) -> Expected<'_> {
    Expected { status, content_type: JSON, body: body.as_bytes() }
}

fn typed<'e>(content_type: &'e str, body: &'e [u8]) -> Expected<'e> {
    Expected { status: 200, content_type: Some(content_type), body }
}

fn empty(status: u16, content_type: Option<&str>) -> Expected<'_> {
    Expected { status, content_type, body: b"" }
}

/// The end acks a request with these arguments, a JSON array, and the visitor gets what is expected.
async fn check(tunnel: &mut Tunnel, args: &str, attachments: &[&[u8]], expected: &Expected<'_>) {
    let ask = request("GET", &tunnel.at(""), &[], b"");
    let (_, answer) = tunnel.exchange(&ask, args, attachments).await;
    assert_eq!(answer.status, expected.status, "{args}: {}", answer.text());
    assert_eq!(answer.header("content-type"), expected.content_type, "{args}");
    assert_eq!(answer.body, expected.body, "{args}: {}", answer.text());
    assert_eq!(answer.header("x-provided-by"), Some("Socket2Me"), "{args}");
    assert_eq!(answer.code(), None, "{args}");
}

#[tokio::test]
async fn an_ack_becomes_the_response() {
    let tunnel = &mut Tunnel::patient().await;
    for (args, expected) in [
        ("[]", html(200, "OK")),
        (r#"["just body",{"X-Q":"1"}]"#, html(200, "just body")),
        (r#"[201,{"a":1},{"X-Y":"z"}]"#, json(201, r#"{"a":1}"#)),
        (r#"[200,"hi",{"Content-Type":"text/csv"}]"#, typed("text/csv", b"hi")),
        (r#"[200,{"a":1},{"content-type":"application/ld+json"}]"#, typed("application/ld+json", br#"{"a":1}"#)),
        ("[200,12345]", html(200, "12345")),
        ("[200,-1.50]", html(200, "-1.50")),
        // A number alone is a status, and the body its reason phrase.
        ("[404]", html(404, "Not Found")),
        ("[299]", html(299, "299")),
        ("[999,\"x\"]", html(999, "x")),
        (r#"["201"]"#, html(200, "201")),
        (r#"[""]"#, html(200, "")),
        (r#"["\u00e9\ud83d\ude00\n\""]"#, html(200, "é😀\n\"")),
        // JSON is sent as it was written.
        (r#"[{"b":1.0,"a":1e400,"l":[ ]}]"#, json(200, r#"{"b":1.0,"a":1e400,"l":[ ]}"#)),
        ("[[1,2]]", json(200, "[1,2]")),
        ("[200,[]]", json(200, "[]")),
        ("[true]", json(200, "true")),
        ("[200,false]", json(200, "false")),
        // `null` is an empty body, and in the place of the status an absent status.
        ("[null]", empty(200, None)),
        ("[200,null]", empty(200, None)),
        (r#"[404,null,{"Content-Type":"text/css"}]"#, empty(404, Some("text/css"))),
        (r#"[null,"body"]"#, html(200, "body")),
        (r#"[null,"body",{"X-Q":"1"}]"#, html(200, "body")),
        (r#"[null,{"a":1},{"X-Q":"1"}]"#, json(200, r#"{"a":1}"#)),
        (r#"[null,null,null]"#, empty(200, None)),
        (r#"[200,"body",null]"#, html(200, "body")),
        (r#"[200,"body",{},"more",5]"#, html(200, "body")),
    ] {
        check(tunnel, args, &[], &expected).await;
    }
}

#[tokio::test]
async fn a_buffer_becomes_bytes_or_its_form_in_json() {
    let tunnel = &mut Tunnel::patient().await;
    let buffers = r#"{"a":{"type":"Buffer","data":[1,255]},"b":[{"type":"Buffer","data":[]}]}"#;
    let outer = r#"[{"type":"Buffer","data":[7]},{"type":"Buffer","data":[8]}]"#;
    let attachments: [(&str, &[&[u8]], Expected<'_>); 6] = [
        // What is inside a placeholder means nothing.
        (
            r#"[200,[{"_placeholder":true,"num":0,"x":{"_placeholder":true,"num":1}},{"_placeholder":true,"num":1}]]"#,
            &[&[7], &[8]],
            json(200, outer),
        ),
        (r#"[200,"no use for it"]"#, &[PNG], html(200, "no use for it")),
        (r#"[200,{"_placeholder":true,"num":0}]"#, &[PNG], typed("application/octet-stream", PNG)),
        (r#"[{"_placeholder":true,"num":0}]"#, &[b""], typed("application/octet-stream", b"")),
        (r#"[200,{"_placeholder":true,"num":0},{"content-type":"image/png"}]"#, &[PNG], typed("image/png", PNG)),
        (
            r#"[{"a":{"_placeholder":true,"num":0},"b":[{"num":1,"_placeholder":true}]}]"#,
            &[&[1, 255], b""],
            json(200, buffers),
        ),
    ];
    for (args, attachments, expected) in attachments {
        check(tunnel, args, attachments, &expected).await;
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
        // The server counts the length itself, and frames the body itself.
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
async fn the_error_of_an_invalid_answer_says_what_was_probably_meant() {
    let mut tunnel = Tunnel::patient().await;
    for (args, meant) in [
        (
            "[42]",
            "no status: it must be a whole number from 200 to 999. A body that is a number has a status before it",
        ),
        (
            r#"["200","x"]"#,
            "an object: a status in quotes is a body, as in the original, so write respond(200, body, headers)",
        ),
        (r#"["404","x",{"x-a":"1"}]"#, "a status in quotes is a body"),
        (r#"["x",404]"#, "an object: the status comes first"),
        (r#"[{"a":1},404]"#, "an object: the status comes first"),
        (r#"[null,200,"x"]"#, "an object: there is no error before the status"),
        (r#"[200,{"content-type":"text/css"},"x"]"#, "an object: the body comes before the headers"),
        (r#"[200,"x",[["x-a","1"]]]"#, "an object, not a list: Object.fromEntries(list) makes one of pairs"),
        (r#"[200,"x",{"x-a:":"1"}]"#, r#""x-a:" is no header name: leave the colon out"#),
        (r#"[200,"x",{"x-a":{}}]"#, "a list of strings. It is {}, as a Promise that was not awaited, or a Map"),
        (r#"[200,"x",{"x-a":"1\n"}]"#, "cannot carry: a line break. A list has one line for each value"),
        (r#"[200,"x",{"x-a":"€"}]"#, "cannot carry. encodeURIComponent() makes others of them"),
    ] {
        let (_, answer) = tunnel.exchange(&request("GET", &tunnel.at(""), &[], b""), args, &[]).await;
        assert_eq!((answer.status, answer.code()), (502, Some("invalid-answer")), "{args}: {}", answer.text());
        assert!(answer.error().contains(meant), "{args}: {}", answer.error());
    }
    // What may be meant otherwise is said as it is.
    for (args, reason) in [
        (r#"[99,"x"]"#, "from 200 to 999"),
        (r#"[200,"x",true]"#, "the headers must be an object"),
        (r#"[200,"x","y"]"#, "the headers must be an object"),
        (r#"[200,"x",{"x-a":{"b":1}}]"#, "must be a string or a list of strings"),
    ] {
        let (_, answer) = tunnel.exchange(&request("GET", &tunnel.at(""), &[], b""), args, &[]).await;
        assert!(answer.error().ends_with(reason), "{args}: {}", answer.error());
    }
    // A status as a string is a body, as in the original.
    let (_, answer) = tunnel.exchange(&request("GET", &tunnel.at(""), &[], b""), r#"["404",{"x-a":"1"}]"#, &[]).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "404"));
}

/// Returns the headers of an ack: this number of headers, with values of this length each.
fn many_headers(count: usize, length: usize) -> String {
    let members: Vec<_> = (0..count).map(|number| format!(r#""x-{number:05}":"{}""#, "x".repeat(length))).collect();
    format!("{{{}}}", members.join(","))
}

#[tokio::test]
async fn a_head_over_the_limits_is_502() {
    let mut tunnel = Tunnel::patient().await;
    // A line takes its name, a colon, a blank, its value and its end: 64 KiB are 64 lines of 1024 bytes.
    let line = 1024 - "x-00000: \r\n".len();
    let list = |count: usize| format!(r#"{{"x-a":[{}]}}"#, vec!["0"; count].join(","));
    for (headers, fits) in [
        (many_headers(128, 0), true),
        (many_headers(129, 0), false),
        (list(128), true),
        (list(129), false),
        (list(1_000_000), false),
        (many_headers(64, line), true),
        (many_headers(64, line).replacen("xx", "xxx", 1), false),
        (many_headers(64, line).replacen("xx", "\u{e9}x", 1), true),
        (many_headers(1, 10_000_000), false),
        // More than the table of headers has room for.
        (many_headers(24_573, 0), false),
        (many_headers(40_000, 0), false),
    ] {
        let what = format!("{} bytes: {}", headers.len(), headers.chars().take(40).collect::<String>());
        let ask = request("GET", &tunnel.at(""), &[], b"");
        let (_, answer) = tunnel.exchange(&ask, &format!(r#"[200,"x",{headers}]"#), &[]).await;
        if fits {
            assert_eq!((answer.status, answer.text().as_str()), (200, "x"), "{what}");
        } else {
            assert_eq!((answer.status, answer.code()), (502, Some("invalid-answer")), "{what}");
            assert!(answer.error().contains("the headers are over the limit of 128 lines and 65536 bytes"), "{what}");
        }
        tunnel.still_works().await;
    }
}

#[tokio::test]
async fn the_largest_limit_of_headers_leaves_room_for_those_of_the_relay() {
    let mut config = patient();
    (config.limits.max_response_headers, config.limits.max_response_head) = (10_000, 1 << 20);
    let mut tunnel = Tunnel::open(config, "").await;
    let ask = request("GET", &tunnel.at(""), &[], b"");
    let (_, answer) = tunnel.exchange(&ask, &format!(r#"[200,"x",{}]"#, many_headers(10_000, 0)), &[]).await;
    assert_eq!((answer.status, answer.header("x-09999")), (200, Some("")));
}

#[tokio::test]
async fn what_looks_like_a_buffer_and_came_without_one_is_json() {
    let tunnel = &mut Tunnel::patient().await;
    for body in [r#"{"_placeholder":true,"num":0}"#, r#"{"a":[{"_placeholder":true,"num":0}]}"#] {
        check(tunnel, &format!("[200,{body}]"), &[], &json(200, body)).await;
    }
}

#[tokio::test]
async fn a_json_answer_may_be_deep() {
    let tunnel = &mut Tunnel::patient().await;
    let deep = ["[".repeat(10_000), "]".repeat(10_000)].concat();
    check(tunnel, &format!("[200,{deep}]"), &[], &json(200, &deep)).await;
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
}

#[tokio::test]
async fn a_buffer_as_the_value_of_a_header_is_a_bad_answer() {
    let mut tunnel = Tunnel::patient().await;
    let ask = request("GET", &tunnel.at(""), &[], b"");
    let (_, answer) = tunnel.exchange(&ask, r#"[200,"x",{"x-a":{"_placeholder":true,"num":0}}]"#, &[PNG]).await;
    assert_eq!((answer.status, answer.code()), (502, Some("invalid-answer")));
    tunnel.still_works().await;
}

/// RFC 9110, sections 8.6, 15.3.5, 15.3.6 and 15.4.5: 204 and 304 have no length, 205 has the length 0.
#[tokio::test]
async fn a_status_without_content_has_neither_body_nor_metadata_that_nobody_gave() {
    let mut tunnel = Tunnel::patient().await;
    let buffer = r#"{"_placeholder":true,"num":0}"#;
    for (status, length) in [(204, None), (205, Some("0")), (304, None)] {
        for (body, attachments, content_type) in [
            (String::new(), &[][..], None),
            (",null".to_owned(), &[], None),
            (r#","text""#.to_owned(), &[], None),
            (",12".to_owned(), &[], None),
            (r#",{"a":1}"#.to_owned(), &[], None),
            (format!(",{buffer}"), &[b"".as_slice()], None),
            (format!(",{buffer}"), &[PNG], None),
            (r#",null,{"Content-Length":"0"}"#.to_owned(), &[], None),
            (r#","text",{"Content-Length":"4"}"#.to_owned(), &[], None),
            // What the end gave stays.
            (r#","text",{"Content-Type":"text/a"}"#.to_owned(), &[], Some("text/a")),
        ] {
            let args = format!("[{status}{body}]");
            // `exchange` fails if a body follows the head.
            let (_, answer) = tunnel.exchange(&request("GET", &tunnel.at(""), &[], b""), &args, attachments).await;
            assert_eq!(
                (answer.status, answer.header("content-length"), answer.body.len()),
                (status, length, 0),
                "{args}"
            );
            assert_eq!(answer.header("content-type"), content_type, "{args}");
        }
        // To HEAD, a 204 and a 205 have no length of a body that GET would not have.
        let args = format!(r#"[{status},null,{{"Content-Length":"1234","ETag":"x"}}]"#);
        let (_, answer) = tunnel.exchange(&request("HEAD", &tunnel.at(""), &[], b""), &args, &[]).await;
        assert_eq!((answer.status, answer.header("etag")), (status, Some("x")), "{args}");
        if status != 304 {
            assert_eq!(answer.header("content-length"), None, "{args}");
        }
    }
}

#[tokio::test]
async fn a_status_without_a_name_says_unknown_as_in_node() {
    let mut tunnel = Tunnel::patient().await;
    for (status, reason) in [(200, "OK"), (299, "unknown"), (418, "I'm a teapot"), (599, "unknown"), (999, "unknown")] {
        let ask = request("GET", &tunnel.at(""), &[], b"");
        let (_, answer) = tunnel.exchange(&ask, &format!(r#"[{status},"x"]"#), &[]).await;
        assert_eq!((answer.status, answer.reason.as_str()), (status, reason));
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
