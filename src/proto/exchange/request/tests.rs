//! The event as its documentation has it.

use bytes::Bytes;
use bytestring::ByteString;
use http::HeaderValue;

use super::*;
use crate::proto::engine_io::Message;

fn text(event: &Encoded) -> String {
    match event.text.message() {
        Message::Text(text) => text.to_string(),
        Message::Binary(data) => panic!("{data:?}"),
    }
}

fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    lines.iter().map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

fn visit<'a>(headers: &'a HeaderMap, body: &'a Body) -> Visit<'a> {
    Visit {
        method: "POST",
        path: "/a//b/..%2F",
        query: Some("x=1&y[z]=%20"),
        http_version: "1.1",
        headers,
        remote_address: "192.0.2.1",
        forwarded_before: "",
        peer: "192.0.2.1",
        forwarded_proto: "http",
        forwarded_host: Some("relay.example"),
        tunnels_at: Some("/go/"),
        token: "TOKEN",
        has_trusted_request_id: false,
        verified: None,
        hides_authorization: false,
        id: "k-1",
        body,
        body_length: None,
        stream: None,
    }
}

#[test]
fn is_the_documented_object() {
    let headers =
        headers(&[("host", "relay.example"), ("connection", "x-hop"), ("x-hop", "1"), ("content-length", "9")]);
    let body = Body::Json(ByteString::from_static(r#"{"b":1.0,"a":[]}"#));
    let id = AckId::new(7).unwrap();
    let namespace = Namespace::new("/t".into()).unwrap();
    let visit = Visit { body_length: Some(16), ..visit(&headers, &body) };
    let event = visit.encode(&namespace, id, EndOptions::default(), &mut String::new()).unwrap();
    assert_eq!(
        text(&event),
        concat!(
            r#"2/t,7["request",{"headers":{"host":"relay.example","content-length":"16","x-forwarded-for":"192.0.2.1","#,
            r#""x-forwarded-proto":"http","x-forwarded-host":"relay.example","x-forwarded-prefix":"/go/TOKEN"},"#,
            r#""method":"POST","url":"/a//b/..%2F","#,
            r#""query":{"x":"1","y":{"z":" "}},"search":"?x=1&y[z]=%20","httpVersion":"1.1","#,
            r#""remoteAddress":"192.0.2.1","id":"k-1","body":{"b":1.0,"a":[]}}]"#,
        )
    );
    assert!(event.attachments.is_empty());
}

#[test]
fn an_end_that_streams_is_told_more() {
    let headers = headers(&[("via", "1.0 a"), ("via", "1.1 b")]);
    let body = Body::Absent;
    let stream = Streamed { is_streamed: true, window: 65_536, upgrade: Some("websocket"), via: "socket2me-7" };
    let visit = Visit { stream: Some(stream), body_length: Some(1 << 40), ..visit(&headers, &body) };
    let namespace = Namespace::new("/t".into()).unwrap();
    let encode = |visit: &Visit<'_>| {
        text(&visit.encode(&namespace, AckId::new(7).unwrap(), EndOptions::default(), &mut String::new()).unwrap())
    };
    let event = encode(&visit);
    assert!(
        event.contains(r#"{"content-length":"1099511627776","via":"1.0 a, 1.1 b, 1.1 socket2me-7","x-forw"#),
        "{event}"
    );
    assert!(event.ends_with(r#""id":"k-1","streamed":true,"window":65536,"upgrade":"websocket"}]"#), "{event}");
    let event = encode(&Visit { stream: Some(Streamed { is_streamed: false, upgrade: None, ..stream }), ..visit });
    assert!(event.ends_with(r#""id":"k-1","streamed":false,"window":65536,"body":{}}]"#), "{event}");
}

#[test]
fn trailers_are_an_object_without_what_frames_a_message() {
    let trailers = headers(&[
        ("x-sum", "1"),
        ("x-sum", "2"),
        ("content-length", "9"),
        ("transfer-encoding", "chunked"),
        ("x-forwarded-for", "192.0.2.9"),
        ("x_request_id", "x"),
        ("host", "other"),
    ]);
    assert_eq!(trailers_to_json(&trailers), r#"{"x-sum":"1, 2"}"#);
    assert_eq!(trailers_to_json(&HeaderMap::new()), "{}");
}

#[test]
fn on_its_own_host_an_app_has_no_prefix() {
    let headers = headers(&[("x-forwarded-prefix", "/evil")]);
    let visit = Visit { tunnels_at: None, ..visit(&headers, &Body::Absent) };
    let namespace = Namespace::new("/t".into()).unwrap();
    let options = EndOptions { raw_headers: true, ..EndOptions::default() };
    let event = text(&visit.encode(&namespace, AckId::new(7).unwrap(), options, &mut String::new()).unwrap());
    assert!(!event.contains("prefix"), "{event}");
    for end in
        [r#""x-forwarded-host":"relay.example"},"rawHeaders":"#, r#"["x-forwarded-host","relay.example"]],"method":"#]
    {
        assert!(event.contains(end), "{event}");
    }
}

#[test]
fn joins_repeated_headers_and_keeps_them_raw() {
    let headers = headers(&[("cookie", "a=1"), ("x-a", "1"), ("cookie", "b=2"), ("x-a", "2")]);
    let options = EndOptions { raw_body: true, raw_headers: true, ..EndOptions::default() };
    let body = Body::Bytes(Bytes::from_static(b"\0"));
    let visit = Visit { query: None, path: "", forwarded_host: None, ..visit(&headers, &body) };
    let event = visit.encode(&Namespace::root(), AckId::new(0).unwrap(), options, &mut String::new()).unwrap();
    let text = text(&event);
    assert!(text.starts_with("51-0[\"request\",{\"headers\":{\"cookie\":\"a=1; b=2\",\"x-a\":\"1, 2\","), "{text}");
    let raw = r#""rawHeaders":[["cookie","a=1"],["cookie","b=2"],["x-a","1"],["x-a","2"],["x-forwarded-for","#;
    assert!(text.contains(raw), "{text}");
    assert!(text.contains(r#""url":"/","query":{},"search":"","#), "{text}");
    assert!(text.ends_with(r#""body":{"_placeholder":true,"num":0}}]"#), "{text}");
    assert_eq!(event.attachments, [Bytes::from_static(b"\0")]);
}

#[test]
fn of_a_repeated_header_that_has_one_value_the_first_counts() {
    let lines = [("authorization", "a"), ("x-a", "1"), ("authorization", "b"), ("authorization", "a"), ("x-a", "2")];
    let (headers, body) = (headers(&lines), Body::Absent);
    let options = EndOptions { raw_headers: true, ..EndOptions::default() };
    let event = visit(&headers, &body).encode(&Namespace::root(), AckId::new(0).unwrap(), options, &mut String::new());
    let text = text(&event.unwrap());
    assert!(text.contains(r#""headers":{"authorization":"a","x-a":"1, 2","x-forwarded-for""#), "{text}");
    let raw = r#"[["authorization","a"],["authorization","b"],["authorization","a"],["x-a","1"],["x-a","2"],["#;
    assert!(text.contains(raw), "{text}");
}

#[test]
fn no_name_reaches_the_end_that_cgi_would_read_as_one_that_does_not() {
    for name in ["transfer_encoding", "proxy_authorization", "keep_alive", "content_length", "x_request_id"] {
        let headers = headers(&[(name, "1"), ("x_a", "2")]);
        let body = Body::Absent;
        let options = EndOptions { raw_headers: true, ..EndOptions::default() };
        let visit = visit(&headers, &body);
        let event = visit.encode(&Namespace::root(), AckId::new(0).unwrap(), options, &mut String::new()).unwrap();
        let text = text(&event);
        assert!(!text.contains(name) && text.contains("x_a"), "{text}");
    }
}

#[test]
fn nothing_of_the_visitors_looks_like_an_attachments_place() {
    let query = Some("_placeholder=1&num=7&a[b][_placeholder]=2&a[c]=_placeholder&l[]=1&l[][%5fplaceholder]=3");
    let (none, marked) = (headers(&[]), headers(&[("_placeholder", "1"), ("num", "0")]));
    let (bytes, text_body) = (Body::Bytes(Bytes::from_static(b"x")), Body::Text("x".into()));
    let encode = |headers: &HeaderMap, body: &Body| {
        let visit = Visit { query, ..visit(headers, body) };
        visit.encode(&Namespace::root(), AckId::new(0).unwrap(), EndOptions::default(), &mut String::new())
    };
    let beside = text(&encode(&none, &bytes).unwrap());
    let expected = r#""query":{"num":"7","a":{"b":{},"c":"_placeholder"},"l":["1",{}]},"search""#;
    assert!(beside.contains(expected), "{beside}");
    assert!(beside.contains(r#""search":"?_placeholder=1&num=7"#), "{beside}");
    assert_eq!(encode(&marked, &bytes).unwrap_err(), MarkerInHeaders);
    // Without an attachment it is a name like any other.
    let alone = text(&encode(&marked, &text_body).unwrap());
    assert!(alone.contains(r#""headers":{"_placeholder":"1","num":"0","#), "{alone}");
    assert!(alone.contains(r#""query":{"_placeholder":"1","num":"7""#), "{alone}");
}
