//! Several ends of one tunnel share its visitors.

use super::tunnel::{Server, patient};
use super::visitor::{Visitor, request};
use crate::support::end::{Asked, End, Heard};
use crate::support::keyed::Keyed;

const SPREAD: &str = r#"{"hold":60,"timeout":120,"ends":"spread"}"#;

/// A server, and a tunnel with as many ends.
async fn spread(count: usize) -> (Server, Keyed, Vec<End>) {
    let server = Server::start(patient()).await;
    let tunnel = Keyed::make(server.address, SPREAD).await;
    let mut ends = Vec::new();
    for _ in 0..count {
        ends.push(tunnel.join(server.address).await);
    }
    (server, tunnel, ends)
}

/// Sends a request, and returns the number of the end that gets it, with the visitor that waits.
async fn ask(server: &Server, tunnel: &Keyed, ends: &mut [End]) -> (usize, Visitor, Asked) {
    let mut visitor = Visitor::connect(server.address).await;
    visitor.send(&request("GET", &tunnel.at("/x"), &[], b"")).await;
    let all = ends.iter_mut().map(|end| Box::pin(end.asked()));
    let (asked, number, _) = futures::future::select_all(all).await;
    (number, visitor, asked)
}

/// Lets the end with this number answer.
async fn answer(ends: &mut [End], number: usize, visitor: &mut Visitor, asked: &Asked) {
    ends[number].answer(asked, r#"["served"]"#, &[]).await;
    assert_eq!(visitor.answer(false).await.text(), "served");
}

#[tokio::test]
async fn each_request_goes_to_the_end_with_the_fewest_in_flight() {
    let (server, tunnel, mut ends) = spread(3).await;
    let mut waiting = Vec::new();
    let mut numbers = Vec::new();
    for _ in 0..9 {
        let (number, visitor, asked) = ask(&server, &tunnel, &mut ends).await;
        numbers.push(number);
        waiting.push((number, visitor, asked));
    }
    for number in 0..3 {
        assert_eq!(numbers.iter().filter(|&&found| found == number).count(), 3, "{numbers:?}");
    }
    // An end that joins gets its share at once.
    ends.push(tunnel.join(server.address).await);
    for _ in 0..3 {
        let (number, visitor, asked) = ask(&server, &tunnel, &mut ends).await;
        assert_eq!(number, 3);
        waiting.push((number, visitor, asked));
    }
    // The one that answers all it has is the next.
    for (number, visitor, asked) in waiting.iter_mut().filter(|(number, ..)| *number == 1) {
        answer(&mut ends, *number, visitor, asked).await;
    }
    assert_eq!(ask(&server, &tunnel, &mut ends).await.0, 1);
}

#[tokio::test]
async fn ends_that_have_as_much_to_do_have_their_turns() {
    let (server, tunnel, mut ends) = spread(3).await;
    let mut served = [0; 3];
    for _ in 0..9 {
        let (number, mut visitor, asked) = ask(&server, &tunnel, &mut ends).await;
        answer(&mut ends, number, &mut visitor, &asked).await;
        served[number] += 1;
    }
    assert_eq!(served, [3, 3, 3]);
}

#[tokio::test]
async fn the_death_of_one_end_costs_what_it_had_not_answered() {
    let (server, tunnel, mut ends) = spread(3).await;
    let mut waiting = Vec::new();
    for _ in 0..3 {
        waiting.push(ask(&server, &tunnel, &mut ends).await);
    }
    drop(ends.remove(1));
    for (number, visitor, asked) in &mut waiting {
        match number {
            0 => answer(&mut ends, 0, visitor, asked).await,
            2 => answer(&mut ends, 1, visitor, asked).await,
            _ => assert_eq!(visitor.answer(false).await.code(), Some("client-disconnected")),
        }
    }
    for _ in 0..4 {
        let (number, mut visitor, asked) = ask(&server, &tunnel, &mut ends).await;
        answer(&mut ends, number, &mut visitor, &asked).await;
    }
}

#[tokio::test]
async fn a_request_is_sent_again_to_another_end_that_is_connected() {
    let (server, tunnel, mut ends) = spread(2).await;
    assert_eq!(tunnel.ask(server.address, "PATCH", r#"{"repeat":"idempotent"}"#).await.status, 200);
    let (number, mut visitor, _) = ask(&server, &tunnel, &mut ends).await;
    drop(ends.remove(number));
    let asked = ends[0].asked().await;
    answer(&mut ends, 0, &mut visitor, &asked).await;
}

/// Each end leaves the namespace, and its session lives on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_requests_of_an_end_that_is_lost_are_sent_again_to_another() {
    let (server, tunnel, _) = spread(0).await;
    assert_eq!(tunnel.ask(server.address, "PATCH", r#"{"repeat":"idempotent"}"#).await.status, 200);
    let mut stays = tunnel.join(server.address).await;
    for _ in 0..20 {
        let mut goes = tunnel.join(server.address).await;
        let mut visitors = Vec::new();
        for _ in 0..20 {
            let mut visitor = Visitor::connect(server.address).await;
            visitor.send(&request("GET", &tunnel.at("/x"), &[], b"")).await;
            visitors.push(visitor);
        }
        for _ in 0..10 {
            goes.asked().await;
        }
        goes.send(&format!("41/{},", tunnel.token)).await;
        for _ in 0..20 {
            let asked = stays.asked().await;
            stays.answer(&asked, r#"["served"]"#, &[]).await;
        }
        for visitor in &mut visitors {
            assert_eq!(visitor.answer(false).await.text(), "served");
        }
    }
}

#[tokio::test]
async fn an_end_that_leaves_gets_no_share_and_the_others_get_its() {
    let (server, tunnel, mut ends) = spread(2).await;
    let (leaving, mut visitor, owed) = ask(&server, &tunnel, &mut ends).await;
    tunnel.say_leave(&mut ends[leaving]).await;
    for _ in 0..3 {
        let (number, mut visitor, asked) = ask(&server, &tunnel, &mut ends).await;
        assert_ne!(number, leaving);
        answer(&mut ends, number, &mut visitor, &asked).await;
    }
    answer(&mut ends, leaving, &mut visitor, &owed).await;
    assert_eq!(ends[leaving].hear().await, Heard::Text(format!("41/{},", tunnel.token)));
}

#[tokio::test]
async fn the_older_ends_leave_when_the_newest_is_wanted_again() {
    let (server, tunnel, mut ends) = spread(3).await;
    let mut waiting = Vec::new();
    for _ in 0..3 {
        waiting.push(ask(&server, &tunnel, &mut ends).await);
    }
    assert_eq!(tunnel.ask(server.address, "PATCH", r#"{"ends":"newest"}"#).await.status, 200);
    for (number, visitor, asked) in &mut waiting {
        answer(&mut ends, *number, visitor, asked).await;
    }
    for end in &mut ends[..2] {
        assert_eq!(end.hear().await, Heard::Text(format!("41/{},", tunnel.token)));
    }
    let (number, mut visitor, asked) = ask(&server, &tunnel, &mut ends[2..]).await;
    answer(&mut ends[2..], number, &mut visitor, &asked).await;
}

#[tokio::test]
async fn another_key_disconnects_all_ends() {
    let (server, tunnel, mut ends) = spread(3).await;
    let body = format!(r#"{{"key":"s2m_{}"}}"#, "0".repeat(43));
    assert_eq!(tunnel.ask_at(server.address, "POST", "/key", &body).await.status, 204);
    for end in &mut ends {
        assert_eq!(end.hear().await, Heard::Text(format!("41/{},", tunnel.token)));
    }
}

#[tokio::test]
async fn of_more_ends_than_may_share_a_tunnel_the_oldest_leaves() {
    let mut config = patient();
    config.limits.max_ends_per_tunnel = 2;
    let server = Server::start(config).await;
    let tunnel = Keyed::make(server.address, SPREAD).await;
    let mut ends = Vec::new();
    for _ in 0..3 {
        ends.push(tunnel.join(server.address).await);
    }
    assert_eq!(ends[0].hear().await, Heard::Text(format!("41/{},", tunnel.token)));
    let mut numbers = [ask(&server, &tunnel, &mut ends[1..]).await.0, ask(&server, &tunnel, &mut ends[1..]).await.0];
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 1]);
}
