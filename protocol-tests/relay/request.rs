//! All of a request but its body, as the end gets it (PROTOCOL.md, "The request event" and "Headers").

use socket2me::config::ServeConfig;

use super::tunnel::{Tunnel, patient};
use super::visitor::{Visitor, request};

#[tokio::test]
async fn the_target_becomes_url_query_and_search() {
    let mut tunnel = Tunnel::patient().await;
    let nested = r#"{"a":{"b":"c","d":"e"},"l":["1","2"]}"#;
    for (target, url, search, query) in [
        ("", "/", "", "{}"),
        ("/", "/", "", "{}"),
        ("//", "//", "", "{}"),
        ("//a/../b%2Fc%20", "//a/../b%2Fc%20", "", "{}"),
        ("/./a/.", "/./a/.", "", "{}"),
        ("/a+b%zz%", "/a+b%zz%", "", "{}"),
        (r#"/{a}|b^c\d"e"#, r#"/{a}|b^c\d"e"#, "", "{}"),
        ("/é", "/é", "", "{}"),
        ("/help/me?fname=bob&lname=smith", "/help/me", "?fname=bob&lname=smith", r#"{"fname":"bob","lname":"smith"}"#),
        ("?x=1", "/", "?x=1", r#"{"x":"1"}"#),
        ("/?a[b]=c&a[d]=e&l=1&l=2", "/", "?a[b]=c&a[d]=e&l=1&l=2", nested),
        ("/?a%5Bb%5D=c&a[d]=e&l[]=1&l[]=2", "/", "?a%5Bb%5D=c&a[d]=e&l[]=1&l[]=2", nested),
        ("/?q=%C3%A9+b%26&empty=&alone", "/", "?q=%C3%A9+b%26&empty=&alone", r#"{"q":"é b&","empty":"","alone":""}"#),
        ("/a?b?c=d", "/a", "?b?c=d", r#"{"b?c":"d"}"#),
        ("/?b=1&a=2&10=x&9=y", "/", "?b=1&a=2&10=x&9=y", r#"{"9":"y","10":"x","b":"1","a":"2"}"#),
    ] {
        let (asked, _) = tunnel.exchange(&request("GET", &tunnel.at(target), &[], b""), "[]", &[]).await;
        let asked = asked.request;
        assert_eq!((asked.url.as_str(), asked.search.as_str()), (url, search), "{target}");
        assert_eq!(sorted(asked.query.get()), sorted(query), "{target}");
    }
    let absolute = request("GET", &format!("http://relay.example{}", tunnel.at("/a?b=c")), &[], b"");
    let (asked, _) = tunnel.exchange(&absolute, "[]", &[]).await;
    assert_eq!((asked.request.url.as_str(), asked.request.search.as_str()), ("/a", "?b=c"));
}

/// Parses JSON, so that the order of members does not count.
fn sorted(json: &str) -> serde_json::Value {
    serde_json::from_str(json).unwrap()
}

#[tokio::test]
async fn headers_are_joined_as_node_joins_them() {
    let mut tunnel = Tunnel::patient().await;
    let (mut visitor, asked) = tunnel
        .ask(
            &[
                format!("GET {} HTTP/1.1\r\nHOST: relay.example\r\n", tunnel.at("")).as_bytes(),
                b"X-Twice: one\r\nCookie: a=1\r\nUser-Agent:   curl/8  \r\nx-twice: two\r\nCOOKIE: b=2; c=3\r\n",
                b"X-Latin: caf\xe9\r\nX-Utf8: caf\xc3\xa9\r\nX-Empty:\r\nX-Quote: \"\\\r\n\r\n",
            ]
            .concat(),
        )
        .await;
    for (name, value) in [
        ("host", "relay.example"),
        ("x-twice", "one, two"),
        ("cookie", "a=1; b=2; c=3"),
        ("user-agent", "curl/8"),
        ("x-latin", "café"),
        ("x-utf8", "caf\u{c3}\u{a9}"),
        ("x-empty", ""),
        ("x-quote", "\"\\"),
    ] {
        assert_eq!(asked.header(name), Some(value), "{name}");
    }
    assert!(asked.request.headers.keys().all(|name| *name == name.to_ascii_lowercase()));
    assert_eq!(asked.header("content-length"), None, "there is no body");
    assert!(asked.request.raw_headers.is_none(), "not asked for");
    tunnel.end.answer(&asked, "[]", &[]).await;
    assert_eq!(visitor.answer(false).await.status, 200);
}

#[tokio::test]
async fn hop_by_hop_headers_stop_here_both_ways() {
    let mut tunnel = Tunnel::patient().await;
    let stopped = [
        ("Connection", "x-one, X-Two"),
        ("Connection", "x-three"),
        ("x-one", "1"),
        ("X-Two", "2"),
        ("x-three", "3"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("Proxy-Authorization", "Basic eA=="),
        ("TE", "trailers"),
        ("Trailer", "x-sum"),
        ("Upgrade", "h2c"),
    ];
    let headers = [&stopped[..], &[("x-four", "4"), ("Authorization", "Basic eA==")]].concat();
    let (asked, _) = tunnel.exchange(&request("GET", &tunnel.at(""), &headers, b""), "[]", &[]).await;
    for (name, _) in stopped {
        assert_eq!(asked.header(&name.to_ascii_lowercase()), None, "{name}");
    }
    assert_eq!((asked.header("x-four"), asked.header("authorization")), (Some("4"), Some("Basic eA==")));

    let given = r#"{"Connection":["x-one, X-Two","x-three"],"x-one":"1","X-Two":"2","x-three":"3","x-four":"4",
        "Keep-Alive":"timeout=5","Proxy-Authenticate":"Basic","Proxy-Connection":"close","TE":"gzip","Trailer":"x-sum",
        "Transfer-Encoding":"chunked","Upgrade":"h2c","WWW-Authenticate":"Basic"}"#;
    let ask = format!("GET {} HTTP/1.1\r\nHost: relay.example\r\n\r\n", tunnel.at(""));
    let (mut visitor, asked) = tunnel.ask(ask.as_bytes()).await;
    tunnel.end.answer(&asked, &format!(r#"[200,"hi",{given}]"#), &[]).await;
    let answer = visitor.answer(false).await;
    for (name, _) in [&stopped[..], &[("Proxy-Authenticate", ""), ("Transfer-Encoding", "")]].concat() {
        assert_eq!(answer.header(name), None, "{name}");
    }
    assert_eq!((answer.header("x-four"), answer.header("www-authenticate")), (Some("4"), Some("Basic")));
    assert_eq!((answer.status, answer.text().as_str()), (200, "hi"));
    // The connection serves another request.
    visitor.send(ask.as_bytes()).await;
    let asked = tunnel.end.asked().await;
    tunnel.end.answer(&asked, r#"["again"]"#, &[]).await;
    assert_eq!(visitor.answer(false).await.text(), "again");
}

#[tokio::test]
async fn a_websocket_of_a_visitor_is_refused_where_the_end_takes_none() {
    let tunnel = Tunnel::patient().await;
    let ask = format!(
        "GET {} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        tunnel.at("")
    );
    let mut visitor = Visitor::connect(tunnel.server.address).await;
    visitor.send(ask.as_bytes()).await;
    let answer = visitor.answer(false).await;
    assert_eq!((answer.status, answer.code()), (501, Some("upgrade-unsupported")));
}

#[tokio::test]
async fn other_upgrades_of_a_visitor_are_ignored() {
    let mut tunnel = Tunnel::patient().await;
    for (method, upgrade, connection) in [
        ("GET", "h2c", "Upgrade, HTTP2-Settings"),
        ("POST", "websocket", "Upgrade, HTTP2-Settings"),
        ("GET", "TLS/1.0", "Upgrade, HTTP2-Settings"),
        ("GET", "websocket", "HTTP2-Settings"),
    ] {
        let ask = format!(
            "{method} {} HTTP/1.1\r\nHost: a\r\nConnection: {connection}\r\nUpgrade: {upgrade}\r\n\
             HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nContent-Length: 0\r\n\r\n",
            tunnel.at("")
        );
        let (mut visitor, asked) = tunnel.ask(ask.as_bytes()).await;
        assert_eq!(["upgrade", "connection", "http2-settings"].map(|name| asked.header(name)), [None; 3]);
        tunnel.end.answer(&asked, "[426]", &[]).await;
        assert_eq!(visitor.answer(false).await.status, 426);
    }
}

#[tokio::test]
async fn raw_headers_come_on_request_with_repeated_ones_kept() {
    let mut tunnel = Tunnel::open(patient(), r#"{"rawHeaders":true}"#).await;
    let headers = [("Cookie", "a=1"), ("Cookie", "b=2"), ("X-B", "1"), ("X-A", "2"), ("X-A", "2")];
    let (asked, _) = tunnel.exchange(&request("GET", &tunnel.at(""), &headers, b""), "[]", &[]).await;
    let raw = asked.request.raw_headers.as_ref().unwrap();
    let lower: Vec<_> = raw.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.as_str())).collect();
    let prefix = tunnel.at("");
    let expected = [
        ("host", "relay.example"),
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        ("x-b", "1"),
        ("x-a", "2"),
        ("x-a", "2"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "relay.example"),
        ("x-forwarded-prefix", &prefix),
    ];
    assert_eq!(lower.iter().map(|(name, value)| (name.as_str(), *value)).collect::<Vec<_>>(), expected);
    assert_eq!(asked.header("cookie"), Some("a=1; b=2"), "the joined ones are there too");
}

#[tokio::test]
async fn raw_headers_keep_repeated_lines_together_where_the_first_was() {
    let mut tunnel = Tunnel::open(patient(), r#"{"rawHeaders":true}"#).await;
    let headers = [("X-A", "1"), ("X-B", "2"), ("X-A", "3")];
    let (asked, _) = tunnel.exchange(&request("GET", &tunnel.at(""), &headers, b""), "[]", &[]).await;
    let raw = asked.request.raw_headers.unwrap();
    let mine = raw.iter().filter(|(name, _)| matches!(name.to_ascii_lowercase().as_str(), "x-a" | "x-b"));
    assert_eq!(mine.map(|(_, value)| value.as_str()).collect::<Vec<_>>(), ["1", "3", "2"], "PROTOCOL.md, section 3");
}

/// What the end is told of a visitor's way to the server.
struct Way {
    remote_address: &'static str,
    forwarded_for: &'static str,
    proto: &'static str,
    host: &'static str,
}

/// Where the server believes nothing but the connection itself.
const ITS_OWN: Way =
    Way { remote_address: "127.0.0.1", forwarded_for: "127.0.0.1", proto: "http", host: "relay.example" };

#[tokio::test]
async fn forwarded_headers_are_believed_from_a_trusted_proxy_alone() {
    let said = [
        ("X-Forwarded-For", "203.0.113.9, 198.51.100.7"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "outside.example"),
    ];
    let whole = "203.0.113.9, 198.51.100.7, 127.0.0.1";
    let unbelieved = || Way { forwarded_for: whole, ..ITS_OWN };
    let believed =
        Way { remote_address: "198.51.100.7", forwarded_for: whole, proto: "https", host: "outside.example" };
    for (trusted, headers, way) in [
        (None, &[][..], ITS_OWN),
        (None, &said, unbelieved()),
        (Some("10.0.0.0/8"), &said, unbelieved()),
        (Some("127.0.0.0/8"), &[], ITS_OWN),
        (Some("127.0.0.0/8"), &said, believed),
    ] {
        let trust_proxy = trusted.into_iter().map(|network| network.parse().unwrap()).collect();
        let mut tunnel = Tunnel::open(ServeConfig { trust_proxy, ..patient() }, "").await;
        let (asked, _) = tunnel.exchange(&request("GET", &tunnel.at(""), headers, b""), "[]", &[]).await;
        let what = format!("{trusted:?} {headers:?}");
        assert_eq!(asked.request.remote_address, way.remote_address, "{what}");
        assert_eq!(asked.header("x-forwarded-for"), Some(way.forwarded_for), "{what}");
        assert_eq!(asked.header("x-forwarded-proto"), Some(way.proto), "{what}");
        assert_eq!(asked.header("x-forwarded-host"), Some(way.host), "{what}");
        assert_eq!(asked.header("host"), Some("relay.example"), "{what}");
    }
}

#[tokio::test]
async fn ids_are_unique_and_the_visitor_has_them_too() {
    let mut tunnel = Tunnel::patient().await;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let (asked, answer) = tunnel.exchange(&request("GET", &tunnel.at(""), &[], b""), "[]", &[]).await;
        assert_eq!(answer.header("x-request-id"), Some(asked.request.id.as_str()));
        assert!(seen.insert(asked.request.id));
    }
    // An exchange that fails has an id too.
    let (asked, answer) = tunnel.exchange(&request("GET", &tunnel.at(""), &[], b""), "[12]", &[]).await;
    assert_eq!((answer.status, answer.header("x-request-id")), (502, Some(asked.request.id.as_str())));
}

#[tokio::test]
async fn the_http_version_is_told() {
    let mut tunnel = Tunnel::patient().await;
    for version in ["1.0", "1.1"] {
        let ask = format!("GET {} HTTP/{version}\r\nHost: a\r\nConnection: close\r\n\r\n", tunnel.at(""));
        let (asked, answer) = tunnel.exchange(ask.as_bytes(), "[]", &[]).await;
        assert_eq!((asked.request.http_version.as_str(), answer.status), (version, 200));
    }
}
