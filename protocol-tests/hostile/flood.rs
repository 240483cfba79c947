//! Floods of sessions that are opened and left alone: they use up the limit of their address, and nothing else.

use super::budgets::TOO_MANY_SESSIONS;
use super::figures::{Figures, watched};
use super::misbehaviour::undisturbed;
use super::ms;
use crate::support::wire::{Answer, Server};

/// The limit on sessions of one address, of which the end beside the flood takes one.
const LIMIT: u64 = 50;

fn is_too_many(answer: &Answer) {
    answer.is(503, TOO_MANY_SESSIONS);
    assert_eq!((answer.header("retry-after"), answer.header("content-type")), (Some("1"), Some("application/json")));
}

/// Opens sessions up to the limit; each further one is refused.
async fn fill(server: &Server, figures: &Figures, words: &str) {
    assert_eq!(figures.used("sessions").await, 1, "the end beside is alone");
    let refused = figures.hits("max-sessions-per-address").await;
    for number in 1..LIMIT {
        assert_eq!(server.get(&format!("{words}&transport=polling")).await.status, 200, "{number}");
    }
    for words in ["EIO=4", "EIO=3"] {
        is_too_many(&server.get(&format!("{words}&transport=polling")).await);
        is_too_many(&server.no_ws(&format!("{words}&transport=websocket")).await);
    }
    assert_eq!(figures.used("sessions").await, LIMIT);
    assert_eq!(figures.hits("max-sessions-per-address").await, refused + 4);
}

async fn a_flood(words: &str) {
    let (server, figures) = watched(|config| {
        config.limits.max_sessions_per_address = Some(usize::try_from(LIMIT).unwrap());
        (config.ping_interval, config.ping_timeout) = (ms(1_000), ms(1_000));
    })
    .await;
    undisturbed(&server, async {
        for round in ["left alone", "left alone once more"] {
            fill(&server, &figures, words).await;
            figures.until_used("sessions", |used| used == 1, round).await;
        }
    })
    .await;
    figures.all_given_back("a flood of sessions").await;
}

#[tokio::test]
async fn a_flood_of_sessions_that_never_poll_is_bounded_and_ends() {
    a_flood("EIO=4").await;
}

#[tokio::test]
async fn a_flood_of_sessions_of_revision_3_that_never_poll_is_bounded_and_ends() {
    a_flood("EIO=3").await;
}
