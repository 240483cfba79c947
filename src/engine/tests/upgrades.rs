//! What becomes of a WebSocket that asks to carry a session, at moments at which it does not get it.

use futures::FutureExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::net::body::RequestBody;
use crate::net::budget::Budget;
use crate::net::listener::{self, Handler};
use crate::net::websocket::{Handshake, WebSocket};

/// What a client reads of a WebSocket that the server accepts and closes at once: the 101 and an empty close frame.
fn is_accepted_and_closed(read: &[u8]) -> bool {
    read.starts_with(b"HTTP/1.1 101 ") && read.ends_with(b"\r\n\r\n\x88\x00")
}

/// Accepts WebSockets, and tells of each.
struct Upgrading {
    tell: mpsc::Sender<Option<WebSocket>>,
    memory: Arc<Budget>,
}

impl Handler for Upgrading {
    async fn serve(&self, head: &mut Parts, _: &mut RequestBody, _: &Arrival<'_>) -> Reply {
        let (tell, memory) = (self.tell.clone(), Arc::clone(&self.memory));
        let handshake = Handshake::parse(head).expect("a handshake");
        let (reply, websocket) = handshake.accept(head, websocket::Limits { max_message: 1000, memory });
        tokio::spawn(async move { tell.try_send(websocket.await).expect("the test waits") });
        reply
    }
}

/// A WebSocket that was accepted, and the client's connection, from which nothing was read yet.
async fn websocket(engine: &Engine<SocketIo<TestHost>>) -> (SessionWebSocket, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (tell, mut told) = mpsc::channel(1);
    let memory = Arc::clone(&engine.sessions.limits.bytes);
    let handler = Arc::new(Upgrading { tell, memory });
    tokio::spawn(listener::serve(listener, handler, listener::Limits::default(), std::future::pending()));
    let mut client = TcpStream::connect(address).await.expect("a listener");
    let request = b"GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    client.write_all(request).await.expect("a connection");
    let websocket = within("a WebSocket", told.recv()).await.flatten().expect("a WebSocket");
    (SessionWebSocket::new(websocket, &engine.sessions.tasks), client)
}

impl PollingClient {
    fn ask_to_upgrade(&self) -> oneshot::Receiver<Reserved> {
        let (reply, reserved) = oneshot::channel();
        let command = SessionCommand::Reserve { revision: Some(Revision::V4), binary: BinaryAs::Frames, reply };
        assert!(self.mailbox.send(command));
        reserved
    }

    async fn reserve(&self) -> Reserved {
        within("an answer", self.ask_to_upgrade()).await.expect("a session")
    }

    /// Makes sure that what was asked before is done.
    async fn settle(&self) {
        assert!(self.post("3").await);
    }
}

type Reserved = Result<Reservation<HostCommand<TestHost>>, UpgradeError>;

fn is_occupied(reserved: &Reserved) -> bool {
    matches!(reserved, Err(UpgradeError::NoPlace))
}

#[tokio::test]
async fn a_request_that_is_dropped_before_it_hears_of_its_place_gives_the_place_up() {
    let (engine, _calls) = engine("");
    let client = PollingClient::open(&engine).await;
    let unheard = client.ask_to_upgrade();
    client.settle().await;
    drop(unheard);
    // And before the session's task has answered it.
    drop(client.ask_to_upgrade());
    assert!(client.reserve().await.is_ok(), "the place is free");
    assert!(client.reserve().await.is_ok(), "and free again, since that one was dropped");
}

#[tokio::test]
async fn a_place_is_kept_for_one_websocket() {
    let (engine, _calls) = engine("");
    let client = PollingClient::open(&engine).await;
    let reserved = client.reserve().await;
    assert!(is_occupied(&client.reserve().await), "the place is taken");
    drop(reserved);
    assert!(client.reserve().await.is_ok());
}

/// The clock stands still but where the test moves it.
#[tokio::test]
async fn a_websocket_that_comes_too_late_neither_takes_nor_frees_the_place_of_the_next() {
    let (engine, _calls) = engine("");
    let client = PollingClient::open(&engine).await;
    let ((late, mut late_peer), (next, mut next_peer)) = (websocket(&engine).await, websocket(&engine).await);
    let (late_place, lost_place);
    tokio::time::pause();
    (late_place, _) = (client.reserve().await.ok(), tokio::time::advance(Duration::from_secs(11)).await);
    (lost_place, _) = (client.reserve().await.ok(), tokio::time::advance(Duration::from_secs(11)).await);
    let next_place = client.reserve().await.ok();
    tokio::time::resume();
    drop(lost_place);
    late_place.expect("a place").redeem(late);
    let mut read = Vec::new();
    within("the end of the late one", late_peer.read_to_end(&mut read)).await.expect("no reset");
    assert!(is_accepted_and_closed(&read), "{:?}", String::from_utf8_lossy(&read));
    assert!(is_occupied(&client.reserve().await), "the next one's place is still kept");
    next_place.expect("a place").redeem(next);
    // `2probe` with a mask of zeros.
    next_peer.write_all(b"\x81\x86\0\0\0\x002probe").await.expect("a connection");
    let mut read = Vec::new();
    while !read.ends_with(b"\x81\x063probe") {
        assert_ne!(within("the answer to the probe", next_peer.read_buf(&mut read)).await.ok(), Some(0), "{read:?}");
    }
}

#[tokio::test]
async fn a_websocket_whose_session_has_ended_gets_its_101_and_a_close_frame() {
    let (engine, _calls) = engine("");
    for has_arrived in [false, true] {
        let client = PollingClient::open(&engine).await;
        let (websocket, mut peer) = websocket(&engine).await;
        let place = client.reserve().await.expect("a place");
        assert!(client.mailbox.send(SessionCommand::Close(CloseReason::ForcedClose)));
        if has_arrived {
            // The session's task finds both commands.
            place.redeem(websocket);
        } else {
            while engine.session_count() > 0 {
                tokio::task::yield_now().await;
            }
            place.redeem(websocket);
        }
        let mut read = Vec::new();
        within("the end", peer.read_to_end(&mut read)).await.expect("no reset");
        assert!(is_accepted_and_closed(&read), "{has_arrived}: {:?}", String::from_utf8_lossy(&read));
    }
    assert!(engine.closed().now_or_never().is_none(), "it waits for the peers to answer");
}
