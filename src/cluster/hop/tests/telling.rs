//! What nodes tell each other, and whether they are there.

use futures::FutureExt as _;

use super::*;
use crate::proto::token::Token;

#[tokio::test]
async fn nodes_tell_each_other_messages_and_answer_pings() {
    let callee = Callee::start(|_| async { panic!("no visitor's") }.boxed()).await;
    let (hops, advertise) = (hops('a', 1), callee.advertise());
    let to = (callee.node, &*advertise);
    assert_eq!(within("an answer", hops.ping(to)).await.unwrap(), "standing");
    let token = Token::parse("a-name").unwrap();
    for (token, told) in [(None, "tunnels None"), (Some(&token), r#"tunnels Some("a-name")"#)] {
        assert_eq!(within("an answer", hops.tunnels(to, token)).await.unwrap(), told);
    }
    let told = || callee.told.lock().unwrap().try_recv().ok();
    let long = "x".repeat(60_000);
    for messages in [&["one".to_owned(), "t\"wo".to_owned()][..], &[long.clone(), long.clone()]] {
        within("an answer", hops.tell(to, messages)).await.unwrap();
        let mut all = Vec::new();
        while let Some(messages) = told() {
            all.extend(messages);
        }
        assert_eq!(all, messages);
    }
    within("an answer", hops.tell(to, &[])).await.unwrap();
    let too_long = within("a failure", hops.tell(to, &["x".repeat(70_000)])).await;
    assert!(matches!(too_long, Err(Undone::Unreached(_))), "{too_long:?}");
    assert_eq!(told(), None);
    assert_eq!(hops.pool().count(callee.node), (1, 1), "all over one connection");
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_request_is_closed_by_its_caller() {
    let callee = Callee::start(|_| async { panic!("no visitor's") }.boxed()).await;
    let (hops, advertise) = (hops('a', 1), callee.advertise());
    hops.ping((callee.node, &*advertise)).await.unwrap();
    assert_eq!(hops.pool().count(callee.node), (1, 1));
    let started = tokio::time::Instant::now();
    while hops.pool().count(callee.node).0 > 0 {
        tokio::time::advance(Duration::from_secs(1)).await;
        tokio::task::yield_now().await;
    }
    let lived = started.elapsed().as_secs();
    assert!((60..=76).contains(&lived), "{lived} s");
}
