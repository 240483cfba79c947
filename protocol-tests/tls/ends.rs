//! Ends and visitors over TLS: WebSockets, polling, large bodies.

use futures::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

use super::Secure;
use crate::support::within;

/// Joins a tunnel's namespace over a WebSocket, and answers each request with its body's size and its scheme.
pub(crate) async fn answer_as_an_end(secure: &Secure, token: &str) {
    let stream = secure.connect(&["http/1.1"]).await;
    let (mut socket, _) = client_async("wss://test/socket.io/?EIO=4&transport=websocket", stream).await.unwrap();
    socket.send(Message::text(format!("40/{token}"))).await.unwrap();
    let joined = format!("40/{token},");
    loop {
        let Some(Ok(Message::Text(text))) = within("a packet", socket.next()).await else { panic!("no packet") };
        if text.starts_with(&joined) {
            break;
        }
    }
    let token = token.to_owned();
    tokio::spawn(async move {
        while let Some(Ok(message)) = socket.next().await {
            let Message::Text(text) = message else { continue };
            let Some(rest) = text.strip_prefix(&format!("42/{token},")) else { continue };
            let (id, event) = rest.split_once('[').unwrap();
            let event: serde_json::Value = serde_json::from_str(&format!("[{event}")).unwrap();
            let headers = &event[1]["headers"];
            let answer = serde_json::json!([200, {
                "proto": headers["x-forwarded-proto"],
                "host": headers["host"],
                "cookie": headers["cookie"],
                "size": event[1]["body"].as_str().map_or(0, str::len),
            }, {"content-type": "application/json", "strict-transport-security": "max-age=1"}]);
            socket.send(Message::text(format!("43/{token},{id}{answer}"))).await.unwrap();
        }
    });
}

#[tokio::test]
async fn an_end_over_wss_answers_visitors_over_https_and_is_told_of_that() {
    let secure = Secure::start(&["--hsts=1h"]).await;
    let token = secure.curl(&["-i", "--http1.1", &secure.url("/new")]).await;
    let token = token.rsplit_once("\r\n").unwrap().1.to_owned();
    answer_as_an_end(&secure, &token).await;
    let body = "x".repeat(1 << 20);
    secure.authority.scratch.write("body", &body);
    let data = format!("@{}", secure.authority.file("body").display());
    let url = secure.url(&format!("/go/{token}/"));
    let answer = secure.curl(&["--http1.1", "-H", "Content-Type: text/plain", "--data-binary", &data, &url]).await;
    assert!(answer.contains("\"proto\":\"https\"") && answer.contains("\"size\":1048576"), "{answer}");
    assert!(answer.contains("strict-transport-security: max-age=3600\r\n"), "the operator's, not the end's: {answer}");
    assert_eq!(answer.matches("strict-transport-security").count(), 1, "{answer}");
}

#[tokio::test]
async fn long_polling_works_over_https() {
    let secure = Secure::start(&[]).await;
    let base = secure.url("/socket.io/?EIO=4&transport=polling");
    let open = secure.curl(&[&base]).await;
    let sid = crate::support::wire::sid_of(&open);
    let at = format!("{base}&sid={sid}");
    let token = secure.curl(&[&secure.url("/new")]).await;
    let token = token.rsplit_once("\r\n").unwrap().1.to_owned();
    let posted = secure.curl(&["--data-binary", &format!("40/{token}"), "-H", "Content-Type: text/plain", &at]).await;
    assert!(posted.ends_with("ok"), "{posted}");
    let polled = secure.curl(&[&at]).await;
    assert!(polled.contains(&format!("40/{token},")), "{polled}");
}
