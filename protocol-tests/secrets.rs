//! What must not be in the log of the program at any level, nor in its figures: keys, the operator's secret, whole tokens.

use base64::Engine as _;
use futures::{SinkExt as _, StreamExt as _};
use socket2me::proto::key::Key;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

use crate::starting::{Started, answers};
use crate::support::end::End;
use crate::support::wire::sid_of;
use crate::support::within;

/// What makers of tunnels show, and something that somebody else shows in its place.
const SECRETS: [&str; 2] = ["tell-nobody-4c1d", "a-guess-at-it-93b7"];

const NAME: &str = "a-name-for-a-tunnel";

/// A server that logs all it can, and what nobody must find there.
struct Watched {
    port: u16,
    secrets: Vec<String>,
}

/// Headers of one request.
type Headers<'h> = &'h [(&'h str, &'h str)];

impl Watched {
    /// Returns a key that is to be kept secret.
    fn key(&mut self) -> String {
        let key = Key::from_random(rand::random()).as_str().to_owned();
        self.keep(&key);
        key
    }

    /// Adds a key, a secret or a token, of which eight characters may be shown.
    fn keep(&mut self, text: &str) {
        self.secrets.push(text.trim_start_matches("s2m_")[..9].to_owned());
    }

    /// Sends a request, and returns status and body.
    async fn ask(&self, method: &str, target: &str, headers: Headers<'_>, body: &str) -> (u16, String) {
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n{headers}\r\n{body}",
            body.len()
        );
        let answer = answers(("127.0.0.1", self.port), &request).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    async fn call(&self, method: &str, target: &str, key: &str, body: &str) -> u16 {
        self.ask(method, target, &[("Authorization", &format!("Bearer {key}"))], body).await.0
    }

    /// Makes a tunnel, and returns its token and its key.
    async fn make(&mut self, body: &str) -> (String, String) {
        let (status, answer) = self.ask("POST", "/new", &[("X-Socket2Me-Create", SECRETS[0])], body).await;
        assert_eq!(status, 201, "{answer}");
        let made: serde_json::Value = serde_json::from_str(&answer).unwrap();
        let [token, key] = ["token", "key"].map(|member| made[member].as_str().unwrap().to_owned());
        self.keep(&token);
        self.keep(&key);
        (token, key)
    }

    /// Polls as a client of Engine.IO 3 whose requests all have the key, and joins with the packet; returns what it gets.
    async fn join_by_polls(&self, key: &str, packet: &str) -> String {
        let at = format!("/socket.io/?EIO=3&key={key}&transport=polling");
        let sid = sid_of(&self.ask("GET", &at, &[], "").await.1);
        let at = format!("{at}&sid={sid}");
        self.ask("POST", &at, &[], &format!("{}:{packet}", packet.len())).await;
        let mut heard = String::new();
        while !heard.contains("/") {
            heard += &self.ask("GET", &at, &[], "").await.1;
        }
        // It fits no session any more.
        self.ask("GET", &at.replace("polling", "websocket"), &[], "").await;
        heard
    }

    /// The same on a WebSocket.
    async fn join_on_a_websocket(&self, key: &str, packet: &str) -> String {
        let url = format!("ws://127.0.0.1:{}/socket.io/?EIO=3&transport=websocket&key={key}", self.port);
        let (mut socket, _) = within("the WebSocket", connect_async(url)).await.unwrap();
        socket.send(Message::text(packet)).await.unwrap();
        loop {
            match within("the answer", socket.next()).await {
                Some(Ok(Message::Text(text))) if text.contains("/") => return text.to_string(),
                Some(Ok(_)) => (),
                other => return format!("{other:?}"),
            }
        }
    }
}

/// What the owner of a tunnel does, and others do in vain.
async fn call_everything(server: &mut Watched, token: &str, key: &str) -> String {
    let (others, next) = (server.key(), server.key());
    let at = format!("/tunnel/{token}");
    for (key, expected) in [(key, 200), (&others, 404), (&others[..40], 404)] {
        assert_eq!(server.call("GET", &at, key, "").await, expected);
        assert_eq!(server.call("PATCH", &at, key, r#"{"timeout":9}"#).await, expected);
        assert_eq!(server.call("GET", &format!("/refresh/{token}"), key, "").await, expected);
    }
    let at_key = format!("{at}/key");
    for body in [&next, &format!(r#"{{"{next}":1}}"#), &format!(r#"{{"key":"{next}","disconnect":"{others}"}}"#)] {
        assert_eq!(server.call("POST", &at_key, key, body).await, 400);
    }
    for _ in 0..2 {
        assert_eq!(server.call("POST", &at_key, key, &format!(r#"{{"key":"{next}"}}"#)).await, 204);
    }
    next
}

/// What an owner demands of visitors, and what these show.
async fn rule(server: &mut Watched, token: &str, key: &str) {
    const RULES: [&str; 3] = ["open-sesame-7d2", "sign-with-this-5b1", "close-sesame-9e3"];
    server.secrets.extend(RULES.map(str::to_owned));
    let [password, secret, wrong] = RULES;
    let [right, wrong] = [password, wrong].map(|password| {
        let shown = base64::engine::general_purpose::STANDARD.encode(format!("alice:{password}"));
        server.secrets.push(shown.clone());
        format!("Basic {shown}")
    });
    let rules = format!(
        r#"{{"rules":{{"basic":{{"users":{{"alice":"{password}"}}}},"verify":{{"preset":"github","secrets":["{secret}"]}}}}}}"#
    );
    let at = format!("/tunnel/{token}");
    assert_eq!(server.call("PATCH", &at, key, &rules).await, 200);
    assert_eq!(server.call("PATCH", &at, key, &rules.replace("basic", "basics")).await, 400);
    assert_eq!(server.call("PATCH", &at, key, &rules.replace("github", "gothub")).await, 400);
    assert_eq!(server.call("GET", &at, key, "").await, 200);
    let address = format!("127.0.0.1:{}", server.port).parse().unwrap();
    let _end = {
        let mut end = End::open(address).await;
        end.join(token, &format!(r#"{{"key":"{key}"}}"#)).await.unwrap();
        end
    };
    for authorization in [&wrong, &right] {
        let headers = [("Authorization", &**authorization), ("X-Hub-Signature-256", "sha256=00")];
        assert_eq!(server.ask("POST", &format!("/go/{token}/"), &headers, "x").await.0, 401);
    }
}

/// What ends show when they join: the key, another one, none, and what is no packet.
async fn join_in_every_way(server: &mut Watched, token: &str, key: &str) {
    let others = server.key();
    for (key, answer) in [(key, format!("40/{token}")), (&others, format!("44/{token},\"key-wrong: "))] {
        let packets = [format!("40/{token}"), format!("40/{token}?key={key},")];
        for packet in packets {
            let heard = server.join_by_polls(key, &packet).await;
            assert!(heard.contains(&answer), "{heard}");
            let heard = server.join_on_a_websocket(key, &packet).await;
            assert!(heard.starts_with(&answer), "{heard}");
        }
    }
    let address = format!("127.0.0.1:{}", server.port).parse().unwrap();
    for (auth, joins) in [(key, true), (&others, false)] {
        let joined = End::open(address).await.join(token, &format!(r#"{{"key":"{auth}"}}"#)).await;
        assert_eq!(joined.is_ok(), joins, "{joined:?}");
    }
    assert!(End::open(address).await.join(token, "").await.is_err());
    let mut end = End::open(address).await;
    end.send(&format!(r#"40/{token},{{"key":"{key}""#)).await;
    end.hear().await;
    assert_eq!(server.join_on_a_websocket(key, &format!("49/{token},{key}")).await, "None");
    // As through a proxy that drops the upgrade.
    let at = format!("/socket.io/?EIO=4&transport=websocket&key={key}");
    assert_eq!(server.ask("GET", &at, &[], "").await.0, 400);
}

#[tokio::test]
async fn no_log_and_no_figure_has_a_key_a_secret_or_a_whole_token() {
    let metrics = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let file = std::env::temp_dir().join(format!("socket2me-secrets-{}", std::process::id()));
    std::fs::write(&file, SECRETS[0]).unwrap();
    let flags = [format!("--metrics-listen={metrics}"), format!("--create-secret-file={}", file.display())];
    let arguments = ["--log=trace", "serve", "--listen=127.0.0.1:0", "--allow-original", &flags[0], &flags[1]];
    let running = Started::new(&[], &arguments).await;
    std::fs::remove_file(&file).unwrap();
    let mut server = Watched { port: running.port(), secrets: SECRETS.map(str::to_owned).to_vec() };

    let guess = [("X-Socket2Me-Create", SECRETS[1])];
    assert_eq!(server.ask("POST", "/new", &guess, "{}").await.0, 403);
    let original = server.ask("GET", "/new", &[], "").await.1;
    server.keep(&original);
    assert_eq!(server.ask("GET", &format!("/refresh/{original}"), &[], "").await.0, 200);
    for body in [String::new(), format!(r#"{{"name":"{NAME}"}}"#)] {
        let (token, key) = server.make(&body).await;
        join_in_every_way(&mut server, &token, &key).await;
        assert_eq!(server.ask("GET", &format!("/go/{token}/"), &[], "").await.0, 502);
        let next = call_everything(&mut server, &token, &key).await;
        rule(&mut server, &token, &next).await;
        join_in_every_way(&mut server, &token, &next).await;
        assert_eq!(server.call("DELETE", &format!("/tunnel/{token}"), &next, "").await, 204);
        let headers = [("Authorization", &*format!("Bearer {next}")), ("X-Socket2Me-Create", SECRETS[0])];
        assert_eq!(server.ask("POST", "/new", &headers, &body).await.0, 201);
    }

    let figures = answers(metrics, "GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").await;
    assert!(figures.contains("\nsocket2me_log_lines_lost_total 0\n"), "the whole log is here");
    let (_, mut lines) = running.stop("-TERM").await;
    for words in ["tunnel made", "end connected", "rekey", "DEBUG"] {
        assert!(lines.iter().any(|line| line.contains(words)), "{words}: is all of it logged?");
    }
    lines.extend(figures.lines().map(str::to_owned));
    for secret in &server.secrets {
        let leak = lines.iter().find(|line| line.contains(secret.as_str()));
        assert_eq!(leak, None, "{secret}");
    }
}
