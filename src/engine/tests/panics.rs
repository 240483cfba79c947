//! What a panic in a host costs: its session, and nothing else.

use super::*;

/// The session is gone from the table, the budget and the counts of open sessions, and is counted as ended.
async fn has_ended(
    engine: &Engine<SocketIo<TestHost>>,
    mailbox: &mailbox::Sender<SessionCommand<HostCommand<TestHost>>>,
) {
    // Its task is dropped after its last answer, perhaps on another thread.
    while mailbox.send(SessionCommand::Close(CloseReason::ForcedServerClose)) || engine.session_count() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(engine.sessions.limits.sessions.used(), 0);
    let ended: Vec<_> = engine.ended().filter(|&(_, count)| count > 0).collect();
    assert_eq!(ended, [(CloseReason::ForcedServerClose, 1)]);
}

#[tokio::test]
async fn a_host_that_panics_is_told_that_all_clients_of_the_session_are_gone() {
    for panics_in in ["received /b", "connected /b"] {
        let (engine, mut calls) = engine(panics_in);
        let client = PollingClient::joined(&engine, &["/a"]).await;
        calls.expect("connected /a").await;
        let mut is_open = client.post("40/b,").await;
        calls.expect("connected /b").await;
        if panics_in == "received /b" {
            is_open = client.post(r#"42/b,["event"]"#).await;
            calls.expect(r#"received /b ["event"]"#).await;
        }
        assert!(!is_open, "{panics_in}");
        calls.expect("disconnected /a: forced server close").await;
        calls.expect("disconnected /b: forced server close").await;
        has_ended(&engine, &client.mailbox).await;
    }
}

#[tokio::test]
async fn a_host_that_panics_on_one_client_is_still_told_of_the_others() {
    let (engine, mut calls) = engine("disconnected /a");
    let client = PollingClient::joined(&engine, &["/a", "/b"]).await;
    calls.expect("connected /a").await;
    calls.expect("connected /b").await;
    engine.close_all(CloseReason::ForcedServerClose);
    calls.expect("disconnected /a: forced server close").await;
    calls.expect("disconnected /b: forced server close").await;
    has_ended(&engine, &client.mailbox).await;
}

#[tokio::test]
async fn sessions_of_a_runtime_that_ends_are_gone_for_their_host() {
    let (engine, mut calls) = engine("");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let other = engine.clone();
    let running = std::thread::spawn(move || runtime.block_on(PollingClient::joined(&other, &["/a"])));
    let client = running.join().expect("no panic");
    calls.expect("connected /a").await;
    calls.expect("disconnected /a: server shutting down").await;
    assert_eq!((client.poll().await, engine.session_count()), (None, 0));
}

#[tokio::test]
async fn a_poll_that_waits_is_answered_when_a_panic_ends_its_session() {
    let (engine, mut calls) = engine("received /a");
    let client = PollingClient::joined(&engine, &["/a"]).await;
    calls.expect("connected /a").await;
    let (polled, is_open) = tokio::join!(client.poll(), client.post(r#"42/a,["event"]"#));
    assert_eq!((polled, is_open), (Some(vec!["1".to_owned()]), false));
}
