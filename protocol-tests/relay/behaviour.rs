//! Visitors and ends that leave, acks that are late, and newer ends that take over.

use std::time::Duration;

use futures::future::join_all;
use socket2me::config::ServeConfig;

use super::tunnel::{Server, Tunnel, patient};
use super::visitor::{Visitor, get, request};
use crate::support::end::{End, Heard};
use crate::support::keyed::Keyed;
use crate::support::within;

#[tokio::test]
async fn an_end_that_drops_is_an_error_at_once() {
    // The server would wait two minutes for the ack, longer than this test waits for anything.
    for way in ["connection", "close frame", "disconnect", "close packet", "nonsense"] {
        let mut tunnel = Tunnel::patient().await;
        let (mut visitor, asked) = tunnel.ask(&request("GET", &tunnel.at(""), &[], b"")).await;
        assert_eq!(asked.request.url, "/");
        let Tunnel { server, token, mut end } = tunnel;
        match way {
            "connection" => drop(end),
            "close frame" => end.close().await,
            "disconnect" => end.send(&format!("41/{token},")).await,
            "close packet" => end.send("1").await,
            _ => end.send("4nonsense").await,
        }
        let answer = visitor.answer(false).await;
        assert_eq!((answer.status, answer.code()), (500, Some("client-disconnected")), "{way}");
        assert_eq!(answer.error(), "client disconnected before it answered", "{way}");
        // The next visitor does not find it either.
        let answer = get(server.address, &format!("/go/{token}")).await;
        assert_eq!((answer.status, answer.error().as_str()), (500, "client not connected"), "{way}");
        // The end may come back.
        let mut tunnel = Tunnel { end: End::connect(server.address, &token).await, server, token };
        tunnel.still_works().await;
    }
}

#[tokio::test]
async fn a_visitor_that_hangs_up_disturbs_no_other() {
    let mut tunnel = Tunnel::patient().await;
    let (visitor, asked) = tunnel.ask(&request("GET", &tunnel.at(""), &[], b"")).await;
    drop(visitor);
    tunnel.still_works().await;
    tunnel.end.answer(&asked, r#"["late"]"#, &[]).await;
    tunnel.still_works().await;
    // A second ack is ignored, and so is one with an unknown id.
    tunnel.end.answer(&asked, r#"["later"]"#, &[]).await;
    tunnel.end.send(&format!("43/{},9007199254740991[]", tunnel.token)).await;
    tunnel.still_works().await;
}

#[tokio::test]
async fn a_visitor_that_hangs_up_ends_its_exchange() {
    let mut tunnel = Tunnel::patient().await;
    let (visitor, _) = tunnel.ask(&request("GET", &tunnel.at(""), &[], b"")).await;
    // The older end stays only for the exchange that it owes.
    let newer = End::connect(tunnel.server.address, &tunnel.token).await;
    let mut older = std::mem::replace(&mut tunnel.end, newer);
    tunnel.still_works().await;
    drop(visitor);
    assert_eq!(older.text().await, format!("41/{},", tunnel.token));
    tunnel.still_works().await;
}

#[tokio::test]
async fn acks_may_come_in_any_order() {
    let mut tunnel = Tunnel::patient().await;
    let (mut visitors, mut owed) = (Vec::new(), Vec::new());
    for number in 0..50 {
        let (visitor, asked) = tunnel.ask(&request("GET", &tunnel.at(&format!("/{number}")), &[], b"")).await;
        visitors.push(visitor);
        owed.push(asked);
    }
    for asked in owed.iter().rev() {
        tunnel.end.answer(asked, &format!("[200,{{\"url\":\"{}\"}}]", asked.request.url), &[]).await;
    }
    for (number, visitor) in visitors.iter_mut().enumerate() {
        assert_eq!(visitor.answer(false).await.text(), format!("{{\"url\":\"/{number}\"}}"));
    }
}

#[tokio::test]
async fn concurrent_exchanges_are_neither_lost_nor_mixed() {
    let tunnel = Tunnel::patient().await;
    let Tunnel { server, token, mut end } = tunnel;
    let visits = (0..200).map(|number| {
        let ask = request("POST", &format!("/go/{token}/{number}"), &[], format!("body {number}").as_bytes());
        async move { super::visitor::visit(server.address, &ask).await.text() }
    });
    let answering = async {
        let mut owed = Vec::new();
        for _ in 0..200 {
            owed.push(end.asked().await);
        }
        for asked in owed.iter().rev() {
            let args = r#"[200,{"_placeholder":true,"num":0}]"#;
            end.answer(asked, args, &[&asked.attachments[0]]).await;
        }
    };
    let (answers, ()) = within("all exchanges", futures::future::join(join_all(visits), answering)).await;
    for (number, answer) in answers.iter().enumerate() {
        assert_eq!(*answer, format!("body {number}"));
    }
}

#[tokio::test]
async fn one_tunnels_ack_does_not_answer_anothers_exchange() {
    let mut tunnel = Tunnel::patient().await;
    let other = tunnel.server.token().await;
    tunnel.end.join(&other, "").await.unwrap();
    let (mut visitor, asked) = tunnel.ask(&request("GET", &tunnel.at("/mine"), &[], b"")).await;
    let mut second = Visitor::connect(tunnel.server.address).await;
    second.send(&request("GET", &format!("/go/{other}/other"), &[], b"")).await;
    let asked_second = tunnel.end.asked().await;
    assert_eq!((asked_second.namespace.as_str(), asked_second.request.url.as_str()), (&*format!("/{other}"), "/other"));
    // Each tunnel counts its own ids, so both requests have the same id, and only the namespace differs.
    assert_eq!(asked.id, asked_second.id);
    tunnel.end.answer(&asked_second, r#"["for the other"]"#, &[]).await;
    assert_eq!(second.answer(false).await.text(), "for the other");
    tunnel.end.answer(&asked_second, r#"["forged"]"#, &[]).await;
    tunnel.end.send(&format!("43/{other},{}[\"forged\"]", asked.id)).await;
    tunnel.end.answer(&asked, r#"["mine"]"#, &[]).await;
    assert_eq!(visitor.answer(false).await.text(), "mine");

    // The session leaves one namespace and stays in the other.
    tunnel.end.send(&format!("41/{other},")).await;
    tunnel.still_works().await;
    assert_eq!(get(tunnel.server.address, &format!("/go/{other}")).await.error(), "client not connected");
}

#[tokio::test]
async fn an_ack_from_another_session_answers_nothing() {
    let mut tunnel = Tunnel::patient().await;
    let (mut visitor, asked) = tunnel.ask(&request("GET", &tunnel.at(""), &[], b"")).await;
    let token = tunnel.server.token().await;
    let mut stranger = End::connect(tunnel.server.address, &token).await;
    // The other session never joined that namespace, so its packet closes its connection.
    stranger.answer(&asked, r#"["forged"]"#, &[]).await;
    assert_eq!(stranger.hear().await, Heard::Closed(None));
    tunnel.end.answer(&asked, r#"["genuine"]"#, &[]).await;
    assert_eq!(visitor.answer(false).await.text(), "genuine");
}

#[tokio::test]
async fn a_newer_end_takes_over_and_the_older_finishes_what_it_owes() {
    let mut tunnel = Tunnel::patient().await;
    let (mut first, owed) = tunnel.ask(&request("GET", &tunnel.at("/first"), &[], b"")).await;
    let (mut second, owed_too) = tunnel.ask(&request("GET", &tunnel.at("/second"), &[], b"")).await;
    let newer = End::connect(tunnel.server.address, &tunnel.token).await;
    let mut older = std::mem::replace(&mut tunnel.end, newer);
    tunnel.still_works().await;
    older.answer(&owed, r#"["by the older"]"#, &[]).await;
    assert_eq!(first.answer(false).await.text(), "by the older");
    older.answer(&owed_too, r#"["by the older too"]"#, &[]).await;
    assert_eq!(second.answer(false).await.text(), "by the older too");
    assert_eq!(older.text().await, format!("41/{},", tunnel.token));
    tunnel.still_works().await;
    // What the older end sends after its disconnect crossed it on the way, and does not close the session.
    older.answer(&owed, r#"["again"]"#, &[]).await;
    let other = tunnel.server.token().await;
    older.join(&other, "").await.unwrap();
    drop(older);
    tunnel.still_works().await;
}

#[tokio::test]
async fn an_idle_older_end_leaves_at_once_and_its_going_does_not_touch_the_newer() {
    let mut tunnel = Tunnel::patient().await;
    for _ in 0..3 {
        let newer = End::connect(tunnel.server.address, &tunnel.token).await;
        let mut older = std::mem::replace(&mut tunnel.end, newer);
        assert_eq!(older.text().await, format!("41/{},", tunnel.token));
        older.close().await;
        tunnel.still_works().await;
    }
}

#[tokio::test]
async fn a_stopping_server_lets_exchanges_finish_and_says_goodbye() {
    let mut tunnel = Tunnel::open(patient(), "").await;
    let (mut visitor, asked) = tunnel.ask(&request("GET", &tunnel.at(""), &[], b"")).await;
    let Tunnel { server, token, mut end } = tunnel;
    let address = server.address;
    let stopping = server.stop();
    // `/readyz` tells when the server has begun to stop.
    while get(address, "/readyz").await.status != 503 {
        tokio::task::yield_now().await;
    }
    let tunnel = [format!("/go/{token}"), format!("/refresh/{token}")];
    for target in tunnel.into_iter().chain(["/new".to_owned(), "/readyz".to_owned()]) {
        let answer = get(address, &target).await;
        assert_eq!((answer.status, answer.code()), (503, Some("stopping")), "{target}");
        assert_eq!(answer.header("retry-after"), Some("1"), "{target}");
    }
    assert_eq!(get(address, "/healthz").await.status, 200, "a server that drains lives");
    let refused = get(address, "/socket.io/?EIO=4&transport=polling").await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")), "no new sessions");
    end.answer(&asked, r#"["finished"]"#, &[]).await;
    assert_eq!(visitor.answer(false).await.text(), "finished");
    let closed = loop {
        match end.hear().await {
            Heard::Text(_) | Heard::Binary(_) => (),
            over => break over,
        }
    };
    assert_eq!(closed, Heard::Closed(Some(1001)));
    stopping.stopped().await;
}

#[tokio::test]
async fn a_stopping_server_does_not_wait_for_ever() {
    let config = ServeConfig { drain_timeout: Duration::from_millis(50), ..patient() };
    let mut tunnel = Tunnel::open(config, "").await;
    let (mut visitor, _) = tunnel.ask(&request("GET", &tunnel.at(""), &[], b"")).await;
    let stopping = tunnel.server.stop();
    let answer = visitor.answer(false).await;
    assert_eq!((answer.status, answer.code()), (500, Some("client-disconnected")));
    stopping.stopped().await;
}

#[tokio::test]
async fn a_request_of_a_keyed_tunnel_that_is_not_answered_when_the_server_ends_fails_with_that_reason() {
    let server = Server::start(ServeConfig { drain_timeout: Duration::from_millis(50), ..patient() }).await;
    let tunnel = Keyed::make(server.address, "{}").await;
    let mut end = tunnel.join(server.address).await;
    let mut visitor = Visitor::connect(server.address).await;
    visitor.send(&request("GET", &tunnel.at(""), &[], b"")).await;
    end.asked().await;
    let stopping = server.stop();
    let answer = visitor.answer(false).await;
    assert_eq!((answer.status, answer.code(), answer.header("retry-after")), (503, Some("stopping"), None));
    stopping.stopped().await;
}

#[tokio::test]
async fn requests_of_one_connection_are_answered_in_order() {
    let mut tunnel = Tunnel::patient().await;
    let one = |rest: &str| format!("POST {} HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", tunnel.at(rest));
    let all = ["/1", "/2", "/3"].map(one).concat();
    let mut visitor = Visitor::connect(tunnel.server.address).await;
    visitor.send(all.as_bytes()).await;
    for url in ["/1", "/2", "/3"] {
        let asked = tunnel.end.asked().await;
        assert_eq!(asked.request.url, url);
        tunnel.end.answer(&asked, &format!("[{url:?}]"), &[]).await;
        assert_eq!(visitor.answer(false).await.text(), url);
    }
}

#[tokio::test]
async fn a_body_that_was_on_its_way_when_a_newer_end_came_goes_to_the_newer() {
    let mut tunnel = Tunnel::patient().await;
    let mut visitor = Visitor::connect(tunnel.server.address).await;
    let head = "Host: a\r\nExpect: 100-continue\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\n";
    visitor.send(format!("POST {} HTTP/1.1\r\n{head}", tunnel.at("")).as_bytes()).await;
    assert_eq!(visitor.answer(false).await.status, 100, "the body is awaited");
    let newer = End::connect(tunnel.server.address, &tunnel.token).await;
    let mut older = std::mem::replace(&mut tunnel.end, newer);
    assert_eq!(older.text().await, format!("41/{},", tunnel.token));
    visitor.send(b"body").await;
    let asked = tunnel.end.asked().await;
    tunnel.end.answer(&asked, r#"["by the newer"]"#, &[]).await;
    assert_eq!(visitor.answer(false).await.text(), "by the newer");
}
