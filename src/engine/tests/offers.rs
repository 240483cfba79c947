//! Events that may be lost, and acks that nobody waits for.

use std::future::pending;

use futures::{SinkExt as _, StreamExt as _};
use tokio::net::TcpListener;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

use super::*;
use crate::proto::engine_io::Space;
use crate::proto::socket_io::packet::Encoded;

/// An event of this many bytes for a socket.
fn event(socket: &Socket<TestHost>, bytes: usize) -> Encoded {
    let mut event = Encoded::begin(socket.namespace(), None, Vec::new(), Space::New(bytes));
    event.json().push_str("[\"e\",\"");
    event.json().extend(std::iter::repeat_n('x', bytes));
    event.json().push_str("\"]");
    event.finish()
}

#[tokio::test]
async fn the_host_hears_of_acks_that_nobody_waits_for() {
    let (engine, mut calls) = engine("");
    let client = PollingClient::joined(&engine, &["/a"]).await;
    calls.connected("/a").await;
    assert!(client.post("43/a,7[]").await);
    calls.expect("unawaited /a 7").await;
}

#[tokio::test]
async fn an_event_that_may_be_lost_reaches_a_client_that_has_joined_and_no_other() {
    let (engine, mut calls) = engine("");
    let client = PollingClient::joined(&engine, &["/a"]).await;
    let socket = calls.connected("/a").await;
    assert_eq!(socket.offer(event(&socket, 1)), Ok(()));
    calls.expect("offered true").await;
    assert_eq!(client.poll().await, Some(vec!["42/a,[\"e\",\"x\"]".to_owned()]));
    socket.disconnect();
    assert_eq!(socket.offer(event(&socket, 1)), Ok(()));
    calls.expect("offered false").await;
    assert!(client.mailbox.send(SessionCommand::Close(CloseReason::ServerShuttingDown)));
    within("the end of the session", engine.closed()).await;
    assert_eq!(socket.offer(event(&socket, 1)), Err(Undelivered::Closed));
}

/// Without events of another kind, too: those that may be lost do not gather.
#[tokio::test]
async fn an_event_that_may_be_lost_is_dropped_while_the_client_does_not_read() {
    const BYTES: usize = 1 << 20;
    let (calls, told) = mpsc::channel(100);
    let host = TestHost { calls, gate: Arc::new(Semaphore::new(0)), panics_in: "" };
    let limits = Limits::default();
    let memory = Arc::clone(&limits.bytes);
    let application = SocketIo::new(host, SocketIoSettings::default());
    let (engine, mut calls) = (Engine::new(application, EngineIoSettings::default(), limits), Calls(told));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/socket.io/?EIO=4&transport=websocket", listener.local_addr().unwrap());
    tokio::spawn(async move { engine.listen(listener, pending()).await });
    let (mut client, _) = connect_async(url).await.unwrap();
    client.send(Message::text("40/a,")).await.unwrap();
    let socket = calls.connected("/a").await;
    let offer = async |calls: &mut Calls| {
        assert_eq!(socket.offer(event(&socket, BYTES)), Ok(()));
        within("the outcome", calls.0.recv()).await.unwrap().0 == "offered true"
    };
    let mut sent = 0;
    while offer(&mut calls).await {
        sent += 1;
        assert!(sent < 100, "they gather");
    }
    assert!(memory.used() < 2 * BYTES, "{} bytes wait", memory.used());
    for _ in 0..3 {
        assert!(!offer(&mut calls).await);
    }
    // What was sent before comes, and then there is room.
    let mut read = 0;
    while read < sent {
        let message = within("a message", client.next()).await.unwrap().unwrap();
        read += usize::from(message.len() > BYTES);
    }
    while !offer(&mut calls).await {}
}
