//! `socket2me dump`.

use serde_json::{Value, json};

use super::{Scratch, Tool, path_of};
use crate::relay::visitor::{Answer, request, visit};
use crate::support::wire::Server;

/// A tunnel whose requests are printed.
struct Dump {
    server: Server,
    scratch: Scratch,
    tool: Tool,
    tunnel: String,
}

impl Dump {
    async fn start(arguments: &[&str]) -> Self {
        let (server, scratch) = (Server::start().await, Scratch::new());
        let arguments = [&["dump", "--url-mode=path", "--url-file=url"], arguments].concat();
        let mut tool = Tool::start(server.address, scratch.path(), &arguments);
        let told = tool.says("is forwarded to socket2me dump").await;
        let tunnel = path_of(told.split(' ').next().unwrap());
        Self { server, scratch, tool, tunnel }
    }

    async fn visit(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        visit(self.server.address, &request(method, &format!("{}{path}", self.tunnel), headers, body)).await
    }

    /// The lines until one that is empty.
    async fn lines(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            match self.tool.line().await {
                line if line.is_empty() => return lines,
                line => lines.push(line),
            }
        }
    }
}

#[tokio::test]
async fn requests_are_printed_and_answered_with_nothing() {
    let mut dump = Dump::start(&[]).await;
    assert_eq!(path_of(std::fs::read_to_string(dump.scratch.path().join("url")).unwrap().trim_end()), dump.tunnel);

    let answer = dump.visit("POST", "/hook?a=%20", &[("X-Twice", "1"), ("X-Twice", "2")], b"a=1\n\x1b[2J").await;
    assert_eq!((answer.status, answer.body.len(), answer.header("content-type")), (200, 0, None));
    let head = dump.lines().await;
    assert_eq!(head[0], "POST /hook?a=%20 HTTP/1.1");
    let twice: Vec<_> = head.iter().filter(|line| line.starts_with("x-twice")).collect();
    assert_eq!(twice, ["x-twice: 1", "x-twice: 2"]);
    assert_eq!(dump.lines().await, ["a=1", "\u{fffd}[2J"]);

    assert_eq!(dump.visit("HEAD", "/", &[], b"").await.status, 200);
    assert_eq!(dump.lines().await[0], "HEAD / HTTP/1.1");

    dump.visit("PUT", "/", &[], b"\xff\x00abc").await;
    assert_eq!(dump.lines().await[0], "PUT / HTTP/1.1");
    assert_eq!(dump.lines().await, ["00000000  ff 00 61 62 63                                   |..abc|"]);
}

#[tokio::test]
async fn a_large_body_is_counted_and_not_kept() {
    let mut dump = Dump::start(&["--max-body=10"]).await;
    let body = b"0123456789".repeat(200_000);
    assert_eq!(dump.visit("POST", "/", &[], &body).await.status, 200);
    assert_eq!(dump.lines().await[0], "POST / HTTP/1.1");
    assert_eq!(dump.lines().await, ["0123456789", "(1999990 bytes more)"]);
    assert_eq!(dump.visit("POST", "/", &[], b"0123456789abc").await.status, 200);
    assert_eq!(dump.lines().await[0], "POST / HTTP/1.1");
    assert_eq!(dump.lines().await, ["0123456789", "(3 bytes more)"]);
}

#[tokio::test]
async fn requests_are_lines_of_json() {
    let mut dump = Dump::start(&["--output=json"]).await;
    dump.visit("POST", "/hook?a=1", &[("X-Twice", "1"), ("X-Twice", "2")], "gar\u{e7}on\n".as_bytes()).await;
    let shown: Value = serde_json::from_str(&dump.tool.line().await).unwrap();
    assert_eq!((&shown["method"], &shown["path"]), (&json!("POST"), &json!("/hook?a=1")));
    assert_eq!((&shown["body"], &shown["body_bytes"]), (&json!("gar\u{e7}on\n"), &json!(8)));
    let headers = shown["headers"].as_array().unwrap();
    assert!(headers.contains(&json!(["x-twice", "1"])) && headers.contains(&json!(["x-twice", "2"])), "{shown}");
    dump.visit("POST", "/", &[], b"\xff").await;
    let shown: Value = serde_json::from_str(&dump.tool.line().await).unwrap();
    assert_eq!((&shown["body_base64"], &shown["body"]), (&json!("/w=="), &Value::Null));
}

#[tokio::test]
async fn a_reader_that_has_gone_ends_nothing() {
    let mut dump = Dump::start(&[]).await;
    dump.tool.close_output();
    for _ in 0..3 {
        assert_eq!(dump.visit("POST", "/", &[], b"a").await.status, 200);
    }
}
