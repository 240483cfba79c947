//! What a socket is worth before, while and after its client is in a namespace.

use super::*;

/// The packet of an event that wants the ack of this id.
fn event(namespace: &str, id: u64) -> (Encoded, Option<Awaited<()>>) {
    let namespace = Namespace::new(namespace.into()).expect("a namespace");
    let id = AckId::new(id).expect("an id");
    let mut packet = Encoded::begin(&namespace, Some(id), Vec::new(), Space::New(9));
    packet.json().push_str(r#"["event"]"#);
    (packet.finish(), Some(Awaited { waiter: (), timeout: Duration::from_secs(5) }))
}

fn emit(socket: &Socket<TestHost>, id: u64) {
    let (packet, ack) = event(socket.namespace().as_str(), id);
    socket.emit(packet, ack).expect("a session");
}

#[tokio::test]
async fn a_socket_of_an_earlier_join_does_not_touch_a_later_one() {
    let (engine, mut calls) = engine("");
    let client = PollingClient::joined(&engine, &["/a"]).await;
    let earlier = calls.connected("/a").await;
    assert!(client.post("41/a,").await);
    calls.expect("disconnected /a: client namespace disconnect").await;
    client.join("/a").await;
    let later = calls.connected("/a").await;
    emit(&earlier, 1);
    calls.expect("acked Err(NotJoined)").await;
    earlier.retire();
    earlier.disconnect();
    emit(&later, 2);
    assert_eq!(client.poll().await.expect("a session"), [r#"42/a,2["event"]"#]);
    earlier.cancel(AckId::new(2).expect("an id"));
    assert!(client.post(r#"43/a,2["answer"]"#).await);
    calls.expect(r#"acked Ok("[\"answer\"]")"#).await;
}

#[tokio::test]
async fn a_socket_of_an_earlier_join_does_not_decide_a_later_one() {
    let (engine, mut calls) = engine("");
    let client = PollingClient::open(&engine).await;
    let application = engine.application();
    application.host().gate.add_permits(1);
    client.join("/slow").await;
    let earlier = calls.connected("/slow").await;
    assert!(client.post("41/slow,").await);
    calls.expect("disconnected /slow: client namespace disconnect").await;
    assert!(client.post("40/slow,").await);
    earlier.disconnect();
    let too_late = HostCommand { join: 0, order: Order::Decided(Err(Refusal::new("too late"))) };
    assert!(client.mailbox.send(SessionCommand::Application(too_late)));
    // Commands come in order, so both have been handled before this one is.
    emit(&earlier, 1);
    calls.expect("acked Err(NotJoined)").await;
    application.host().gate.add_permits(1);
    calls.connected("/slow").await;
    let answer = client.poll().await.expect("a session");
    assert!(answer.len() == 1 && answer[0].starts_with(r#"40/slow,{"sid""#), "{answer:?}");
}

#[tokio::test]
async fn a_retired_client_gets_no_new_events_and_leaves_once_it_has_answered() {
    let (engine, mut calls) = engine("");
    let client = PollingClient::joined(&engine, &["/a"]).await;
    let socket = calls.connected("/a").await;
    emit(&socket, 1);
    socket.retire();
    emit(&socket, 2);
    calls.expect("acked Err(NotJoined)").await;
    assert_eq!(client.poll().await.expect("a session"), [r#"42/a,1["event"]"#]);
    assert!(client.post(r#"43/a,1["answer"]"#).await);
    calls.expect(r#"acked Ok("[\"answer\"]")"#).await;
    calls.expect("disconnected /a: server namespace disconnect").await;
    assert_eq!(client.poll().await.expect("a session"), ["41/a,"]);
}

/// Its client opens another session by itself, which it does not do after the end of a namespace.
#[tokio::test]
async fn a_client_that_moves_on_is_told_nothing_and_its_session_ends_once_all_of_it_is_answered() {
    let (engine, mut calls) = engine("");
    let client = PollingClient::joined(&engine, &["/a", "/b"]).await;
    let (one, other) = (calls.connected("/a").await, calls.connected("/b").await);
    emit(&other, 1);
    one.move_on();
    emit(&one, 2);
    calls.expect("acked Err(NotJoined)").await;
    assert_eq!(client.poll().await.expect("a session"), [r#"42/b,1["event"]"#]);
    assert!(client.post(r#"43/b,1["answer"]"#).await);
    calls.expect(r#"acked Ok("[\"answer\"]")"#).await;
    calls.expect("disconnected /a: forced server close").await;
    calls.expect("disconnected /b: forced server close").await;
}

#[tokio::test]
async fn an_ack_of_a_socket_comes_behind_what_was_emitted_before() {
    let (engine, mut calls) = engine("");
    let client = PollingClient::joined(&engine, &["/a"]).await;
    let socket = calls.connected("/a").await;
    assert!(client.post(r#"42/a,7["goodbye"]"#).await);
    calls.expect(r#"received /a ["goodbye"]"#).await;
    emit(&socket, 1);
    let id = AckId::new(7).expect("an id");
    socket.ack(id, Answer { args: Args::empty(), attachments: Vec::new() }).expect("a session");
    socket.retire();
    assert_eq!(client.poll().await.expect("a session"), [r#"42/a,1["event"]"#, "43/a,7[]"]);
}

#[tokio::test]
async fn a_host_that_panics_while_it_decides_refuses_the_client() {
    let (engine, mut calls) = engine("");
    let client = PollingClient::joined(&engine, &["/a"]).await;
    calls.connected("/a").await;
    for namespace in ["/panics", "/panics-later"] {
        assert!(client.post(&format!("40{namespace},")).await);
        let refusal = format!(r#"44{namespace},{{"message":"the server failed, try again later"}}"#);
        assert_eq!(client.poll().await.expect("a session"), [refusal]);
    }
    assert!(client.post(r#"42/a,["event"]"#).await);
    calls.expect(r#"received /a ["event"]"#).await;
}
