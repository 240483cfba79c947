//! Notices: what an end that asks for them hears of what goes wrong, and how many it hears at the most.

use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;
use socket2me::config::ServeConfig;

use super::tunnel::{Server, Tunnel, patient};
use super::visitor::{Visitor, request};
use crate::hostile::figures::{Figures, watched};
use crate::support::end::End;
use crate::support::within;

const ASKS: &str = r#"{"notices":true}"#;

/// The argument of the event `notice`. Unknown members are an error.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Notice {
    id: Option<String>,
    code: String,
    message: String,
}

/// Reads an event `notice` of this token, if the packet is one.
fn notice(packet: &str, token: &str) -> Option<Notice> {
    let args = packet.strip_prefix(&format!("42/{token},["))?.strip_prefix(r#""notice","#)?;
    Some(serde_json::from_str(args.strip_suffix(']')?).unwrap())
}

impl End {
    /// Waits for the next packet, which must be a notice with this code.
    async fn noticed(&mut self, token: &str, code: &str) -> Notice {
        let packet = self.text().await;
        let notice = notice(&packet, token).unwrap_or_else(|| panic!("no notice: {packet:.300}"));
        assert_eq!(notice.code, code, "{}", notice.message);
        notice
    }
}

#[tokio::test]
async fn an_end_hears_what_is_wrong_with_its_answer() {
    let mut tunnel = Tunnel::open(ServeConfig { max_payload: Some(1_000), ..patient() }, ASKS).await;
    let large = format!("[{:?}]", "x".repeat(1_500));
    for (args, code, words) in [
        (r#"[200,"x",[]]"#, "invalid-answer", "the answer cannot be sent: the headers must be an object, not a list"),
        ("[42]", "invalid-answer", "A body that is a number has a status before it"),
        (&large, "answer-too-large", "the answer is over the limit of 1000 bytes"),
    ] {
        let (asked, answer) = tunnel.exchange(&request("GET", &tunnel.at(""), &[], b""), args, &[]).await;
        assert_eq!((answer.status, answer.code()), (502, Some(code)), "{args:.99}");
        let notice = tunnel.end.noticed(&tunnel.token, code).await;
        assert_eq!(notice.id, Some(asked.request.id), "{args:.99}");
        assert!(notice.message.contains(words), "{}", notice.message);
    }
    let (mut visitor, asked) = tunnel.ask(&request("GET", &tunnel.at(""), &[], b"")).await;
    tunnel.end.answer(&asked, r#"["once"]"#, &[]).await;
    tunnel.end.answer(&asked, r#"["twice"]"#, &[]).await;
    assert_eq!(visitor.answer(false).await.text(), "once");
    let notice = tunnel.end.noticed(&tunnel.token, "late-answer").await;
    assert!(notice.id.is_none() && notice.message.contains("nobody waits"), "{notice:?}");
    tunnel.still_works().await;
}

#[tokio::test]
async fn an_end_hears_that_it_has_not_answered_in_time() {
    for timeout_status in [StatusCode::OK, StatusCode::GATEWAY_TIMEOUT] {
        let response_timeout = Duration::from_millis(100);
        let config = ServeConfig { response_timeout, timeout_status, ..ServeConfig::defaults() };
        let mut tunnel = Tunnel::open(config, ASKS).await;
        let (mut visitor, asked) = tunnel.ask(&request("GET", &tunnel.at(""), &[], b"")).await;
        assert_eq!(visitor.answer(false).await.status, timeout_status.as_u16());
        let notice = tunnel.end.noticed(&tunnel.token, "client-timed-out").await;
        assert_eq!(notice.id.as_deref(), Some(asked.request.id.as_str()));
        assert!(notice.message.contains("within 100ms"), "{}", notice.message);
        tunnel.end.answer(&asked, r#"["late"]"#, &[]).await;
        tunnel.end.noticed(&tunnel.token, "late-answer").await;
    }
}

#[tokio::test]
async fn an_end_hears_that_a_visitor_has_left_before_the_answer() {
    let mut tunnel = Tunnel::open(patient(), ASKS).await;
    let (visitor, asked) = tunnel.ask(&request("GET", &tunnel.at(""), &[], b"")).await;
    drop(visitor);
    let notice = tunnel.end.noticed(&tunnel.token, "visitor-left").await;
    assert_eq!(notice.id, Some(asked.request.id));
    tunnel.still_works().await;
}

#[tokio::test]
async fn an_end_hears_the_names_of_options_that_there_are_not_and_no_values() {
    let server = Server::start(patient()).await;
    let token = server.token().await;
    let mut end = End::open(server.address).await;
    end.join(&token, r#"{"rawheaders":"hunter2","notices":true,"hold":7}"#).await.unwrap();
    let Notice { id, message, .. } = end.noticed(&token, "unknown-option").await;
    let expected = "there is no option rawheaders, hold: the options are body, rawHeaders, stream, notices, key";
    assert_eq!((id, message.as_str()), (None, expected));
    let mut refused = End::open(server.address).await;
    assert_eq!(refused.join(&token, r#"{"notices":1}"#).await, Err("auth.notices must be true or false".to_owned()));
}

#[tokio::test]
async fn an_end_hears_that_another_takes_its_place_before_it_is_told_to_leave() {
    let mut tunnel = Tunnel::open(patient(), ASKS).await;
    let (mut visitor, owed) = tunnel.ask(&request("GET", &tunnel.at(""), &[], b"")).await;
    let _newer = End::connect(tunnel.server.address, &tunnel.token).await;
    tunnel.end.noticed(&tunnel.token, "taken-over").await;
    tunnel.end.answer(&owed, r#"["owed"]"#, &[]).await;
    assert_eq!(visitor.answer(false).await.text(), "owed");
    assert_eq!(tunnel.end.text().await, format!("41/{},", tunnel.token));
}

#[tokio::test]
async fn an_end_hears_that_its_tunnel_is_about_to_expire() {
    let config = ServeConfig { token_ttl: Duration::from_secs(1), ..patient() };
    let mut tunnel = Tunnel::open(config, ASKS).await;
    let notice = tunnel.end.noticed(&tunnel.token, "expiring").await;
    assert!(notice.id.is_none() && notice.message.contains("/refresh/"), "{notice:?}");
    assert_eq!(tunnel.end.text().await, format!("41/{},", tunnel.token));
}

#[tokio::test]
async fn an_end_that_does_not_ask_hears_nothing_but_requests() {
    let config = ServeConfig { response_timeout: Duration::from_millis(100), ..ServeConfig::defaults() };
    for auth in ["", "{}", r#"{"notices":false,"rawheaders":true}"#] {
        let mut tunnel = Tunnel::open(config.clone(), auth).await;
        let (mut visitor, asked) = tunnel.ask(&request("GET", &tunnel.at(""), &[], b"")).await;
        assert_eq!(visitor.answer(false).await.text(), "OK");
        tunnel.end.answer(&asked, r#"["late"]"#, &[]).await;
        tunnel.exchange(&request("GET", &tunnel.at(""), &[], b""), "[42]", &[]).await;
        tunnel.still_works().await;
        let _newer = End::connect(tunnel.server.address, &tunnel.token).await;
        assert_eq!(tunnel.end.text().await, format!("41/{},", tunnel.token));
    }
}

/// Notices that were sent, and that were dropped.
async fn counted(figures: &Figures) -> (u64, u64) {
    let of = async |outcome| figures.get(&format!("notices_total{{outcome=\"{outcome}\"}}")).await;
    (of("sent").await, of("dropped").await)
}

/// Waits until this many notices were counted in all.
async fn until_counted(figures: &Figures, all: u64) -> (u64, u64) {
    let counting = async {
        loop {
            let (sent, dropped) = counted(figures).await;
            if sent + dropped >= all {
                return (sent, dropped);
            }
        }
    };
    within("notices to be counted", counting).await
}

#[tokio::test]
async fn an_end_gets_ten_notices_a_second_at_the_most_and_the_others_are_counted() {
    const LATE: u64 = 500;
    let (server, figures) = watched(|_| ()).await;
    let token = server.token().await;
    let mut end = End::open(server.address).await;
    end.join(&token, ASKS).await.unwrap();
    // In one write, so that they come within a second.
    for number in 0..LATE {
        end.send(&format!("43/{token},{number}[]")).await;
    }
    let (sent, dropped) = until_counted(&figures, LATE).await;
    assert!((8..=20).contains(&sent), "{sent} of {LATE}, which may have taken two seconds");
    assert_eq!(sent + dropped, LATE);
    let mut visitor = Visitor::connect(server.address).await;
    visitor.send(&request("GET", &format!("/go/{token}"), &[], b"")).await;
    for _ in 0..sent {
        end.noticed(&token, "late-answer").await;
    }
    let asked = end.asked().await;
    end.answer(&asked, r#"["served"]"#, &[]).await;
    assert_eq!(visitor.answer(false).await.text(), "served");
}

/// The end reads nothing while visitors send it more than its connection takes.
#[tokio::test]
async fn a_notice_is_dropped_while_something_waits_to_be_sent() {
    const BODY: usize = 1 << 20;
    const VISITORS: usize = 24;
    let (server, figures) = watched(|config| config.response_timeout = Duration::from_secs(120)).await;
    let token = server.token().await;
    let mut end = End::open(server.address).await;
    end.join(&token, ASKS).await.unwrap();
    let ask = request("POST", &format!("/go/{token}"), &[("content-type", "text/plain")], &vec![b'x'; BODY]);
    let mut visitors = Vec::new();
    for _ in 0..VISITORS {
        let mut visitor = Visitor::connect(server.address).await;
        visitor.send(&ask).await;
        visitors.push(visitor);
    }
    figures.until_used("exchanges", |used| used == VISITORS as u64, "requests of visitors").await;
    server.settle().await;
    for number in 1..=3 {
        // An id that no event has.
        end.send(&format!("43/{token},9000{number}[]")).await;
        assert_eq!(until_counted(&figures, number).await, (0, number));
    }
    // Each request comes, and no notice among them.
    for _ in 0..VISITORS {
        let asked = end.asked().await;
        end.answer(&asked, r#"["read"]"#, &[]).await;
    }
    for mut visitor in visitors {
        assert_eq!(visitor.answer(false).await.text(), "read");
    }
    // Now there is room.
    end.send(&format!("43/{token},90004[]")).await;
    end.noticed(&token, "late-answer").await;
    assert_eq!(counted(&figures).await, (1, 3));
}

/// Over long-polling, nothing is sent while no poll waits.
#[tokio::test]
async fn a_polling_end_gets_few_notices_and_its_requests_in_one_answer() {
    let (server, figures) = watched(|config| config.response_timeout = Duration::from_secs(120)).await;
    let token = server.token().await;
    let session = server.open().await;
    session.post(format!("40/{token},{ASKS}")).await.is(200, "ok");
    assert!(session.poll().await.text().starts_with(&format!("40/{token},")));
    let late: Vec<_> = (0..15).map(|number| format!("43/{token},9000{number}[]")).collect();
    session.post(late.join("\x1e")).await.is(200, "ok");
    let (sent, dropped) = until_counted(&figures, 15).await;
    assert_eq!((sent, dropped), (8, 7), "half of an answer is left for others");
    let mut visitors = Vec::new();
    for _ in 0..4 {
        let mut visitor = Visitor::connect(server.address).await;
        visitor.send(&request("GET", &format!("/go/{token}"), &[], b"")).await;
        visitors.push(visitor);
    }
    figures.until_used("exchanges", |used| used == 4, "requests of visitors").await;
    server.settle().await;
    let answer = session.poll().await.text();
    let packets: Vec<_> = answer.split('\x1e').collect();
    let (first, last) = packets.split_at(8);
    assert!(first.iter().all(|packet| notice(packet, &token).is_some()), "{answer}");
    assert!(last.len() == 4 && last.iter().all(|packet| packet.contains(r#"["request",{"#)), "{answer}");
}
