//! The access log of the program: one line an exchange, what is in it, and when there is none; and lines that ends cause.

use std::net::SocketAddr;

use serde_json::Value;
use socket2me::proto::token::Token;

use crate::relay::visitor::{Answer, Visitor, get, request, request_to, visit};
use crate::starting::{Started, Variables, answers};
use crate::support::end::{Asked, End};
use crate::support::keyed::Keyed;
use crate::support::{UNKNOWN, within};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// A server that logs JSON, a token and its end.
struct Logged {
    program: Started,
    address: SocketAddr,
    token: String,
    end: End,
}

impl Logged {
    async fn start(variables: Variables<'_>, arguments: &[&str]) -> Self {
        let serve = ["--log-format=json", "serve", "--listen=127.0.0.1:0", "--store=memory"];
        let program = Started::new(variables, &[&serve, arguments].concat()).await;
        let address = SocketAddr::from(([127, 0, 0, 1], program.port()));
        let token = get(address, "/new").await.text();
        let end = End::connect(address, &token).await;
        Self { program, address, token, end }
    }

    fn at(&self, rest: &str) -> String {
        format!("/go/{}{rest}", self.token)
    }

    /// Sends a request that reaches the end, and leaves the rest to the caller.
    async fn ask(&mut self, request: &[u8]) -> (Visitor, Asked) {
        let mut visitor = Visitor::connect(self.address).await;
        visitor.send(request).await;
        (visitor, self.end.asked().await)
    }

    async fn exchange(&mut self, request: &[u8], ack: &str) -> Answer {
        let (mut visitor, asked) = self.ask(request).await;
        self.end.answer(&asked, ack, &[]).await;
        visitor.answer(request.starts_with(b"HEAD ")).await
    }

    /// Stops the server, and returns its log.
    async fn stop(self) -> Vec<String> {
        // The server would wait for an end that does not read.
        drop(self.end);
        self.program.stop("-TERM").await.1
    }

    /// Stops the server, and returns the lines of the access log: their levels and their fields.
    async fn lines(self) -> Vec<(String, Value)> {
        let token = self.token.clone();
        let lines = self.stop().await;
        assert!(!lines.iter().any(|line| line.contains(&token)), "a whole token: {lines:?}");
        let lines = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mut lines: Vec<_> = lines.filter(|line| line["target"] == "socket2me::access").collect();
        lines.iter_mut().map(|line| (line["level"].as_str().unwrap().to_owned(), line["fields"].take())).collect()
    }
}

/// The fields of these names, as JSON.
fn fields<const N: usize>(line: &Value, names: [&str; N]) -> Value {
    names.map(|name| line[name].clone()).into_iter().collect()
}

#[tokio::test]
async fn each_exchange_has_one_line_that_says_what_came_of_it() {
    let mut server = Logged::start(&[], &["--response-timeout=1s"]).await;
    let traced = ("traceparent", &*format!("00-{TRACE}-00f067aa0ba902b7-01"));
    let mut ids = Vec::new();
    let mut keep = |answer: Answer| ids.push(answer.header("x-request-id").unwrap().to_owned());

    let post = request("POST", &server.at("/hook?key=secret"), &[traced], b"12345");
    let (mut visitor, asked) = server.ask(&post).await;
    assert_eq!(asked.header("traceparent"), Some(traced.1), "the app continues the trace");
    server.end.answer(&asked, r#"[201,"made"]"#, &[]).await;
    keep(visitor.answer(false).await);
    keep(server.exchange(&request("HEAD", &server.at(""), &[], b""), r#"[200,"not sent"]"#).await);
    keep(server.exchange(&request("GET", &server.at("/bad"), &[], b""), "[99]").await);
    let slow = request("GET", &server.at("/slow"), &[], b"");
    let answer = visit(server.address, &slow).await;
    assert_eq!((answer.status, answer.code(), answer.text().as_str()), (200, Some("client-timed-out"), "OK"));
    server.end.asked().await;
    keep(answer);
    keep(get(server.address, &format!("/go/{UNKNOWN}/x")).await);
    keep(get(server.address, "/go/no_token/x").await);

    let shown = format!("{}…", &server.token[..8]);
    let mut lines = server.lines().await;
    assert_eq!(lines.len(), 6);
    // An exchange may have its line a little after its visitor has the response, and after that of the next visitor.
    lines.sort_by_key(|(_, line)| ids.iter().position(|id| line["id"] == **id));
    let names =
        ["tunnel", "method", "path", "status", "outcome", "request_bytes", "response_bytes", "visitor", "trace"];
    let mut expected = serde_json::json!([
        [shown, "POST", "/hook", 201, "answered", 5, 4, "127.0.0.1", TRACE],
        [shown, "HEAD", "", 200, "answered", 0, 0, "127.0.0.1", null],
        [shown, "GET", "/bad", 502, "invalid-answer", 0, null, "127.0.0.1", null],
        [shown, "GET", "/slow", 200, "timed-out-ok", 0, 2, "127.0.0.1", null],
        [format!("{}…", &UNKNOWN[..8]), "GET", "/x", 500, "token-not-found", 0, 27, "127.0.0.1", null],
        [null, "GET", "/x", 500, "token-not-found", 0, 27, "127.0.0.1", null],
    ]);
    // The message quotes the ack.
    expected[2][6] = lines[2].1["response_bytes"].clone();
    for ((number, (level, line)), id) in lines.iter().enumerate().zip(ids) {
        assert_eq!((fields(line, names), &line["id"]), (expected[number].clone(), &Value::from(id)));
        assert_eq!(level, if line["outcome"] == "timed-out-ok" { "WARN" } else { "INFO" });
        let [took, at_end] = ["duration_ms", "end_ms"].map(|name| line[name].as_f64());
        assert!(at_end <= took && took.unwrap() < 20_000.0, "{line}");
        let is = |outcome| line["outcome"] == outcome;
        assert_eq!((at_end.is_none(), at_end >= Some(1000.0)), (is("token-not-found"), is("timed-out-ok")), "{line}");
    }
    let whys: Vec<_> = lines.iter().map(|(_, line)| line["why"].as_str().unwrap_or("-")).collect();
    assert!(whys[2].starts_with("the client's answer cannot be sent: "), "{whys:?}");
    assert_eq!([whys[0], whys[3], whys[5]], ["-", "client did not answer in time", "token not found"]);
}

#[tokio::test]
async fn the_path_of_a_line_is_the_apps_by_whichever_host_it_was_asked_for() {
    let mut server = Logged::start(&[], &[]).await;
    let label = Token::parse(&server.token).unwrap().label().unwrap();
    let host = format!("{label}.localhost");
    let nested = format!("/go/{}/x", server.token);
    for ask in [
        request_to(&host, "GET", "/new?key=secret", &[], b""),
        request_to(&host, "GET", &nested, &[], b""),
        request("GET", &server.at("/new"), &[], b""),
    ] {
        server.exchange(&ask, "[200]").await;
    }
    visit(server.address, &request_to("a.b.localhost", "GET", "/new", &[], b"")).await;
    let shown = format!("{}…", &server.token[..8]);
    let lines = server.lines().await;
    let mut lines: Vec<_> = lines.iter().map(|(_, line)| fields(line, ["tunnel", "path", "status"])).collect();
    // An exchange may have its line a little after its visitor has the response.
    lines.sort_by_key(ToString::to_string);
    let nested = format!("/go/{shown}/x");
    let mut expected = [
        serde_json::json!([shown, "/new", 200]),
        serde_json::json!([shown, nested, 200]),
        serde_json::json!([shown, "/new", 200]),
        serde_json::json!([null, "/new", 404]),
    ];
    expected.sort_by_key(ToString::to_string);
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn a_visitor_who_leaves_has_a_line_without_a_status() {
    let mut server = Logged::start(&[], &[]).await;
    let (visitor, asked) = server.ask(&request("GET", &server.at("/left"), &[], b"")).await;
    drop(visitor);
    let line: Value = serde_json::from_str(&server.program.logged("visitor-left").await).unwrap();
    let names = ["status", "outcome", "path", "id", "why"];
    let expected = serde_json::json!([null, "visitor-left", "/left", asked.request.id, null]);
    assert_eq!(fields(&line["fields"], names), expected);
    assert!(line["fields"]["end_ms"].as_f64() <= line["fields"]["duration_ms"].as_f64(), "{line}");
    server.end.answer(&asked, "[200]", &[]).await;
    assert!(server.lines().await.is_empty(), "one line an exchange");
}

/// The first end is lost, and its visitor leaves while the second has the request.
#[tokio::test]
async fn a_request_that_is_sent_again_has_one_line_with_the_time_of_its_second_end() {
    let mut server = Logged::start(&[], &[]).await;
    let tunnel = Keyed::make(server.address, r#"{"hold":60,"timeout":120,"repeat":"idempotent"}"#).await;
    let mut first = tunnel.join(server.address).await;
    let mut visitor = Visitor::connect(server.address).await;
    visitor.send(&request("GET", &tunnel.at("/again"), &[], b"")).await;
    first.asked().await;
    drop(first);
    let mut second = tunnel.join(server.address).await;
    assert_eq!(second.asked().await.request.url, "/again");
    drop(visitor);
    let line: Value = serde_json::from_str(&server.program.logged("visitor-left").await).unwrap();
    assert!(line["fields"]["end_ms"].as_f64() > Some(0.0), "{line}");
    drop(second);
    assert!(server.lines().await.is_empty(), "one line an exchange");
}

#[tokio::test]
async fn queries_are_in_the_access_log_where_the_operator_wants_them() {
    for (flag, expected) in [("--access-log=on", "/a"), ("--log-query", "/a?key=secret&x")] {
        let mut server = Logged::start(&[], &[flag]).await;
        server.exchange(&request("GET", &server.at("/a?key=secret&x"), &[], b""), "[200]").await;
        assert_eq!(server.lines().await[0].1["path"], expected);
    }
}

#[tokio::test]
async fn no_line_is_written_where_the_access_log_is_off_but_a_timeout_as_200_is_warned_of() {
    for (variable, warned) in [
        (("SOCKET2ME_ACCESS_LOG", "off"), true),
        (("SOCKET2ME_LOG", "warn"), true),
        (("SOCKET2ME_LOG", "info,socket2me::access=off"), true),
        (("SOCKET2ME_LOG", "error"), false),
    ] {
        let mut server = Logged::start(&[variable], &["--response-timeout=1s"]).await;
        server.exchange(&request("GET", &server.at(""), &[], b""), "[200]").await;
        let (mut visitor, _) = server.ask(&request("GET", &server.at(""), &[], b"")).await;
        let id = within("OK", visitor.answer(false)).await.header("x-request-id").unwrap().to_owned();
        let lines = server.stop().await;
        assert!(!lines.iter().any(|line| line.contains("socket2me::access")), "{variable:?}: {lines:?}");
        let about: Vec<_> = lines.iter().filter(|line| line.contains(&id)).collect();
        assert_eq!(about.len(), usize::from(warned), "{variable:?}: {lines:?}");
        assert!(about.iter().all(|line| line.contains(r#""level":"WARN""#)), "{about:?}");
    }
}

/// The pipe is full, and as many lines wait as may.
#[tokio::test]
async fn thousands_of_exchanges_are_answered_while_nobody_reads_their_lines() {
    const SERVED: usize = 2_000;
    let metrics = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let listen = format!("--metrics-listen={metrics}");
    let mut server = Logged::start(&[], &["--response-timeout=60s", &listen]).await;
    let requests = |count: usize, target: &str| {
        let one = |close| format!("GET {target} HTTP/1.1\r\nHost: test\r\n{close}\r\n");
        one("").repeat(count - 1) + &one("Connection: close\r\n")
    };
    let figure = async |name: &str| -> usize {
        let figures = answers(metrics, &requests(1, "/metrics")).await;
        let line = figures.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap().parse().unwrap()
    };
    let mut unknown = 0;
    while figure("socket2me_log_lines_lost_total").await == 0 {
        let answered = answers(server.address, &requests(1_000, &format!("/go/{UNKNOWN}"))).await;
        unknown += answered.matches("HTTP/1.1 500").count();
    }
    let (address, wanted) = (server.address, requests(SERVED, &server.at("")));
    let visitor = tokio::spawn(async move { answers(address, &wanted).await });
    for _ in 0..SERVED {
        let asked = server.end.asked().await;
        server.end.answer(&asked, r#"["served"]"#, &[]).await;
    }
    assert_eq!(visitor.await.unwrap().matches("\r\n\r\nserved").count(), SERVED);
    let outcomes = (
        figure(r#"socket2me_exchanges_total{outcome="answered"}"#).await,
        figure(r#"socket2me_exchanges_total{outcome="token-not-found"}"#).await,
    );
    assert_eq!(outcomes, (SERVED, unknown));
    assert!(figure("socket2me_log_lines_lost_total").await >= SERVED);
    assert!(!server.lines().await.is_empty(), "what was in the pipe");
}

/// It has not answered yet, so it stays, and may say anything.
#[tokio::test]
async fn an_end_that_says_leave_again_and_again_has_one_line_in_the_log() {
    let mut server = Logged::start(&[], &[]).await;
    let (_visitor, _) = server.ask(&request("GET", &server.at(""), &[], b"")).await;
    for id in 0..9 {
        server.end.send(&format!(r#"42/{},{id}["leave"]"#, server.token)).await;
        assert_eq!(server.end.text().await, format!("43/{},{id}[]", server.token));
    }
    let lines = server.stop().await;
    assert_eq!(lines.iter().filter(|line| line.contains("end is leaving")).count(), 1, "{lines:?}");
}

#[tokio::test]
async fn the_time_for_which_a_visitor_was_held_is_neither_the_ends_nor_the_relays() {
    let server = Logged::start(&[], &[]).await;
    let tunnel = Keyed::make(server.address, r#"{"hold":1}"#).await;
    tunnel.say_leave(&mut tunnel.join(server.address).await).await;
    assert_eq!(get(server.address, &tunnel.at("/x")).await.code(), Some("client-not-connected"));
    let (_, line) = server.lines().await.remove(0);
    let [took, at_end, held] = ["duration_ms", "end_ms", "held_ms"].map(|name| line[name].as_f64());
    assert!(at_end.is_none() && held >= Some(1000.0) && held <= took, "{line}");
}
