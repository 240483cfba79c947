//! An end says `leave`: in any form of the event, on any transport, at any moment.

use super::tunnel::{Server, Tunnel, patient};
use super::visitor::{Visitor, get, request};
use crate::hostile::figures::watched;
use crate::support::end::{End, Heard};
use crate::support::keyed::Keyed;
use crate::support::wire::counted;

/// An end that owes nothing hears that it has left, whatever stands around the word.
#[tokio::test]
async fn an_end_may_say_leave_with_arguments_with_an_ack_and_more_than_once() {
    let server = Server::start(patient()).await;
    let tunnel = Keyed::make(server.address, "{}").await;
    let token = &tunnel.token;
    let goodbye = format!("41/{token},");
    for (said, heard) in [
        (vec![format!(r#"42/{token},["leave"]"#)], vec![goodbye.clone()]),
        (vec![format!(r#"42/{token},["leave",{{"why":[1]}},null]"#)], vec![goodbye.clone()]),
        (vec![format!(r#"42/{token},["le\u0061ve"]"#)], vec![goodbye.clone()]),
        (vec![format!(r#"42/{token},0["leave"]"#)], vec![format!("43/{token},0[]"), goodbye.clone()]),
        (
            vec![format!(r#"42/{token},5["leave"]"#), format!(r#"42/{token},6["leave"]"#)],
            vec![format!("43/{token},5[]"), goodbye.clone()],
        ),
    ] {
        let mut end = tunnel.join(server.address).await;
        for packet in &said {
            end.send(packet).await;
        }
        for expected in heard {
            let mut text = end.text().await;
            // The second may come before the first has led to the goodbye.
            if text == format!("43/{token},6[]") {
                text = end.text().await;
            }
            assert_eq!(text, expected, "{said:?}");
        }
        // The same session may join again, and serves.
        end.join(token, &format!(r#"{{"key":"{}"}}"#, tunnel.key)).await.unwrap();
        let mut visitor = Visitor::connect(server.address).await;
        visitor.send(&request("GET", &tunnel.at("/"), &[], b"")).await;
        let asked = end.asked().await;
        end.answer(&asked, "[]", &[]).await;
        assert_eq!(visitor.answer(false).await.status, 200);
    }
}

#[tokio::test]
async fn leave_with_an_attachment_is_leave() {
    let server = Server::start(patient()).await;
    let tunnel = Keyed::make(server.address, "{}").await;
    let mut end = tunnel.join(server.address).await;
    end.send(&format!(r#"451-/{},3["leave",{{"_placeholder":true,"num":0}}]"#, tunnel.token)).await;
    end.attach(b"why").await;
    assert_eq!(end.text().await, format!("43/{},3[]", tunnel.token));
    assert_eq!(end.text().await, format!("41/{},", tunnel.token));
}

#[tokio::test]
async fn only_the_word_alone_is_leave() {
    let mut tunnel = Tunnel::patient().await;
    for event in [r#""leaves""#, r#""Leave""#, r#""request","leave""#, "7", r#""""#] {
        tunnel.end.send(&format!("42/{},9[{event}]", tunnel.token)).await;
    }
    tunnel.still_works().await;
}

/// It is no member of the namespace, so it is as any other packet there.
#[tokio::test]
async fn an_end_that_has_not_joined_cannot_leave() {
    let server = Server::start(patient()).await;
    let tunnel = Keyed::make(server.address, "{}").await;
    let mut joined = tunnel.join(server.address).await;
    let mut stranger = End::open(server.address).await;
    stranger.send(&format!(r#"42/{},["leave"]"#, tunnel.token)).await;
    assert_eq!(stranger.hear().await, Heard::Closed(None));
    let mut visitor = Visitor::connect(server.address).await;
    visitor.send(&request("GET", &tunnel.at("/"), &[], b"")).await;
    let asked = joined.asked().await;
    joined.answer(&asked, r#"["served"]"#, &[]).await;
    assert_eq!(visitor.answer(false).await.text(), "served");
}

#[tokio::test]
async fn an_end_of_two_tunnels_leaves_one_and_serves_the_other() {
    let server = Server::start(patient()).await;
    let (first, second) = (Keyed::make(server.address, r#"{"hold":0}"#).await, Keyed::make(server.address, "{}").await);
    let mut end = first.join(server.address).await;
    end.join(&second.token, &format!(r#"{{"key":"{}"}}"#, second.key)).await.unwrap();
    first.say_leave(&mut end).await;
    assert_eq!(end.text().await, format!("41/{},", first.token));
    assert_eq!(get(server.address, &first.at("/")).await.code(), Some("client-not-connected"));
    let mut visitor = Visitor::connect(server.address).await;
    visitor.send(&request("GET", &second.at("/"), &[], b"")).await;
    let asked = end.asked().await;
    end.answer(&asked, r#"["served"]"#, &[]).await;
    assert_eq!(visitor.answer(false).await.text(), "served");
}

/// The older end was told to go already when it says that it goes.
#[tokio::test]
async fn an_end_that_was_taken_over_may_say_leave_and_the_newer_stays() {
    let server = Server::start(patient()).await;
    let tunnel = Keyed::make(server.address, "{}").await;
    let mut older = tunnel.join(server.address).await;
    let mut first = Visitor::connect(server.address).await;
    first.send(&request("GET", &tunnel.at("/first"), &[], b"")).await;
    let owed = older.asked().await;
    let mut newer = tunnel.join(server.address).await;
    tunnel.say_leave(&mut older).await;
    let mut second = Visitor::connect(server.address).await;
    second.send(&request("GET", &tunnel.at("/second"), &[], b"")).await;
    let asked = newer.asked().await;
    newer.answer(&asked, r#"["newer"]"#, &[]).await;
    assert_eq!(second.answer(false).await.text(), "newer");
    older.answer(&owed, r#"["older"]"#, &[]).await;
    assert_eq!(first.answer(false).await.text(), "older");
    assert_eq!(older.text().await, format!("41/{},", tunnel.token));
}

/// An original tunnel's visitors do not wait.
#[tokio::test]
async fn the_end_of_an_original_tunnel_may_leave_too() {
    let mut tunnel = Tunnel::patient().await;
    let (mut visitor, owed) = tunnel.ask(&request("GET", &tunnel.at("/"), &[], b"")).await;
    tunnel.end.send(&format!(r#"42/{},1["leave"]"#, tunnel.token)).await;
    assert_eq!(tunnel.end.text().await, format!("43/{},1[]", tunnel.token));
    assert_eq!(get(tunnel.server.address, &tunnel.at("/")).await.code(), Some("client-not-connected"));
    tunnel.end.answer(&owed, r#"["served"]"#, &[]).await;
    assert_eq!(visitor.answer(false).await.text(), "served");
    assert_eq!(tunnel.end.text().await, format!("41/{},", tunnel.token));
}

#[tokio::test]
async fn an_end_that_polls_leaves_with_its_last_answer() {
    let (server, figures) = watched(|_| ()).await;
    for (words, is_v3) in [("EIO=4", false), ("EIO=3", true)] {
        let packets = |packets: &[&str]| if is_v3 { counted(packets) } else { packets.join("\u{1e}") };
        let token = server.token().await;
        let end = if is_v3 { server.open_v3(words).await } else { server.open_as(words).await };
        end.post(packets(&[&format!("40/{token},")])).await.is(200, "ok");
        assert_eq!(end.poll().await.status, 200);
        let mut visitor = server.send("GET", &format!("/go/{token}"), &[], b"").await;
        let asked = end.poll().await.text();
        assert!(asked.contains(&format!(r#"42/{token},0["request","#)), "{asked}");
        end.post(packets(&[&format!(r#"42/{token},7["leave"]"#)])).await.is(200, "ok");
        end.poll().await.is(200, &packets(&[&format!("43/{token},7[]")]));
        end.post(packets(&[&format!(r#"43/{token},0["served"]"#)])).await.is(200, "ok");
        visitor.answer().await.is(200, "served");
        end.poll().await.is(200, &packets(&[&format!("41/{token},")]));
        assert_eq!(figures.get("connected_tunnels").await, 0, "{words}");
    }
}
