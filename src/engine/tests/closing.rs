//! What an engine that is closed waits for.

use futures::FutureExt as _;

use super::*;

#[tokio::test]
async fn an_engine_is_closed_once_its_sessions_have_ended() {
    let (engine, mut calls) = engine("");
    let client = PollingClient::joined(&engine, &["/a"]).await;
    calls.connected("/a").await;
    assert!(engine.closed().now_or_never().is_none(), "a session is open");
    engine.stop_opening();
    engine.close_all(CloseReason::ServerShuttingDown);
    within("the end of all sessions", engine.closed()).await;
    calls.expect("disconnected /a: server shutting down").now_or_never().expect("the host knows already");
    assert_eq!((engine.session_count(), client.poll().await), (0, None));
}

#[tokio::test]
async fn a_session_that_was_being_opened_when_all_were_closed_ends_too() {
    let (engine, _calls) = engine("");
    let slot = slot(&engine);
    engine.stop_opening();
    engine.close_all(CloseReason::ServerShuttingDown);
    PollingClient::open_in(&engine, slot);
    within("the end of all sessions", engine.closed()).await;
    let ended = engine.ended().find(|&(_, count)| count > 0);
    assert_eq!(ended, Some((CloseReason::ServerShuttingDown, 1)));
}
