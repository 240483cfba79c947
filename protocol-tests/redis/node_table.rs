//! The table of nodes in Redis, of which each node hears what has changed.

use std::collections::BTreeSet;
use std::time::Duration;

use socket2me::proto::node::NodeId;
use socket2me::store::{Peer, Renewed, TableNews};

use super::Redis;
use super::nodes::{LEASE, Node, ids, lapse};

/// The whole table of an answer.
fn whole(renewed: Renewed) -> Vec<Peer> {
    let TableNews::Whole(peers) = renewed.table else { panic!("{renewed:?}") };
    peers
}

/// What an answer says of changes: nodes, and those that are gone.
fn changes(renewed: Renewed) -> (Vec<Peer>, Vec<NodeId>) {
    let TableNews::Changes { peers, gone } = renewed.table else { panic!("{renewed:?}") };
    (peers, gone)
}

#[tokio::test]
async fn nodes_hear_who_joins_changes_leaves_and_dies() {
    let Some(redis) = Redis::start().await else { return };
    let (mut a, mut b) = (Node::new(&redis, 1), Node::new(&redis, 2));
    let first = a.renew().await;
    assert_eq!((first.was_away, ids(&whole(first))), (true, BTreeSet::from([a.id()])));
    assert_eq!((a.renew().await.table, a.renew().await.was_away), (TableNews::Same, false));
    let peers = whole(b.renew().await);
    assert_eq!(ids(&peers), BTreeSet::from([a.id(), b.id()]));
    let (mut told, gone) = changes(a.renew().await);
    let told = told.remove(0);
    assert_eq!((told.node, gone), (b.id(), vec![]));
    assert!(told.lease > LEASE / 2 && told.lease <= LEASE, "{told:?}");
    assert_eq!(Peer { lease: LEASE, ..told.clone() }, b.renewal.me);
    assert_eq!(a.nodes.peer(b.id()).await.unwrap().map(|peer| peer.label), Some(told.label));
    b.renewal.me.is_draining = true;
    b.renew().await;
    let draining = changes(a.renew().await).0.remove(0);
    assert_eq!((draining.node, draining.is_draining), (b.id(), true));
    lapse(&redis, &b);
    assert_eq!(a.nodes.peer(b.id()).await.unwrap(), None);
    assert_eq!(changes(a.renew().await), (vec![], vec![b.id()]));
    assert!(!b.renew().await.was_away);
    assert_eq!(ids(&changes(a.renew().await).0), BTreeSet::from([b.id()]));
    b.renewal.me.lease = Duration::ZERO;
    b.renew().await;
    assert_eq!(changes(a.renew().await), (vec![], vec![b.id()]));
}

#[tokio::test]
async fn a_node_hears_a_change_again_whose_answer_was_lost() {
    let Some(redis) = Redis::start().await else { return };
    let (mut a, mut b) = (Node::join(&redis, 1).await, Node::join(&redis, 2).await);
    a.renew().await;
    b.renewal.me.label = "another".into();
    b.renew().await;
    let before = a.renewal.table;
    for _ in 0..3 {
        a.renewal.table = before;
        assert_eq!(ids(&changes(a.renew().await).0), BTreeSet::from([b.id()]));
    }
    assert_eq!(a.renew().await.table, TableNews::Same);
}

#[tokio::test]
async fn a_node_gets_the_whole_table_if_redis_has_not_told_it_what_it_has() {
    let Some(redis) = Redis::start().await else { return };
    let (mut a, mut b) = (Node::join(&redis, 1).await, Node::join(&redis, 2).await);
    a.renew().await;
    // A version between two that it was told, as one that a failover has lost.
    let known = a.renewal.table;
    b.renewal.me.is_draining = true;
    b.renew().await;
    a.renewal.table = known + 1;
    for _ in 0..2 {
        assert_eq!(ids(&whole(a.renew().await)), BTreeSet::from([a.id(), b.id()]));
        // The answer is lost.
        a.renewal.table = known + 1;
    }
    // A version that is higher than that of Redis is not given again.
    a.renew().await;
    let ahead = a.renewal.table + 1_000_000_000;
    a.renewal.table = ahead;
    assert_eq!((whole(a.renew().await).len(), a.renewal.table), (2, ahead + 1));
    assert_eq!(changes(b.renew().await), (vec![], vec![]), "nothing has changed for others");
    // More has changed than is kept.
    a.renew().await;
    let many: Vec<String> = (0..1_000).map(|number| format!("s2m{number:05}")).collect();
    let mut command = vec!["ZADD".to_owned(), "s2m:nodes:changes".to_owned()];
    many.iter().for_each(|node| command.extend([(ahead + 2).to_string(), node.clone()]));
    redis.ask::<i64>(&command.iter().map(String::as_str).collect::<Vec<_>>());
    redis.ask::<i64>(&["HSET", "s2m:nodes:state", "version", &(ahead + 2).to_string()]);
    assert_eq!(changes(a.renew().await).1.len(), 1_000);
    b.renewal.me.label = "another".into();
    whole(b.renew().await);
    assert_eq!(redis.ask::<i64>(&["ZCARD", "s2m:nodes:changes"]), 1_000);
    assert_eq!(ids(&changes(a.renew().await).0), BTreeSet::from([b.id()]), "this one has missed nothing");
}
