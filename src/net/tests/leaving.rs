//! Peers that leave while nothing is read from them.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http_body_util::BodyExt as _;
use tokio::sync::oneshot;

use super::*;
use crate::net::body::TakenBody;

/// A request whose handler waits.
struct Waiting {
    /// Completes when the peer has left.
    gone: BoxFuture<'static, ()>,
    body: TakenBody,
    reply: oneshot::Sender<Reply>,
}

/// A server that looks out for peers that leave, and answers what it is told.
struct Watching {
    address: SocketAddr,
    waiting: mpsc::Receiver<Waiting>,
}

impl Watching {
    async fn start() -> Self {
        let (tell, waiting) = mpsc::channel(16);
        let address = start(move |asked| {
            let (reply, told) = oneshot::channel();
            let (gone, body) = (asked.arrival.gone().boxed(), asked.body.take().unwrap());
            tell.try_send(Waiting { gone, body, reply }).unwrap();
            async { told.await.unwrap() }.boxed()
        });
        Self { address: address.await, waiting }
    }

    /// Sends a head, and what else is said, and returns the request.
    async fn ask(&mut self, client: &mut Client, request: &str) -> Waiting {
        client.send(request).await;
        within("a request", self.waiting.recv()).await.unwrap()
    }
}

const UPLOAD: &str = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\n";

/// Bytes of which no piece is like its neighbours.
fn bytes(length: usize, number: usize) -> Vec<u8> {
    (0..=250).cycle().skip(number).take(length).collect()
}

/// How a client leaves.
#[derive(Debug, Clone, Copy)]
enum Leave {
    Close,
    CloseSendingHalf,
    Reset,
}

/// Lets a client leave. Returns it if it can still read.
async fn leave(mut client: Client, how: Leave) -> Option<Client> {
    match how {
        Leave::Close => None,
        Leave::CloseSendingHalf => {
            client.stream.shutdown().await.unwrap();
            Some(client)
        }
        Leave::Reset => {
            socket2::SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap();
            None
        }
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_client_that_leaves_a_stalled_upload_is_noticed() {
    let mut server = Watching::start().await;
    for how in [Leave::Close, Leave::CloseSendingHalf, Leave::Reset] {
        // More than hyper takes ahead, and nothing at all.
        for sent in [60_000, 1, 0] {
            let mut client = Client::connect(server.address).await;
            let mut waiting = server.ask(&mut client, UPLOAD).await;
            client.stream.write_all(&vec![b'x'; sent]).await.unwrap();
            assert!((&mut waiting.gone).now_or_never().is_none());
            let _client = leave(client, how).await;
            within(&format!("the end after {sent} bytes by {how:?}"), waiting.gone).await;
        }
    }
}

/// The rest of the response waits in the server: the client reads nothing.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_a_response_is_noticed() {
    let mut server = Watching::start().await;
    for piece in [1, 64 << 20] {
        let mut client = Client::connect(server.address).await;
        let Waiting { mut gone, body, reply } = server.ask(&mut client, UPLOAD).await;
        let (sending, body_of_reply) = streamed(None);
        reply.send(Reply::new(body_of_reply)).unwrap();
        sending.data(vec![b'x'; piece]);
        client.read_to("\r\n\r\n").await;
        assert!((&mut gone).now_or_never().is_none());
        let _client = leave(client, Leave::CloseSendingHalf).await;
        within("the end", gone).await;
        assert!(!sending.0.is_closed(), "that a client leaves closes no response by itself");
        drop(body);
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_a_client_has_sent_before_it_left_can_still_be_read() {
    let mut server = Watching::start().await;
    let mut client = Client::connect(server.address).await;
    let Waiting { gone, mut body, reply } = server.ask(&mut client, UPLOAD).await;
    let sent = bytes(60_000, 0);
    client.stream.write_all(&sent).await.unwrap();
    let _client = leave(client, Leave::CloseSendingHalf).await;
    within("the end", gone).await;
    let mut read = Vec::new();
    while let Some(Ok(frame)) = within("data", body.frame()).await {
        read.extend(frame.into_data().unwrap());
    }
    assert!(read == sent, "{} of {} bytes", read.len(), sent.len());
    drop(reply);
}

/// The runtime is told that bytes were read which were not.
#[tokio::test]
async fn bodies_are_read_as_ever_while_their_client_is_watched() {
    let mut server = Watching::start().await;
    let mut client = Client::connect(server.address).await;
    for number in 0..20_usize {
        let Waiting { mut gone, body, reply } = server.ask(&mut client, UPLOAD).await;
        let sent = bytes(1_000_000, number);
        let sending = async {
            for piece in sent.chunks(100_000 + number) {
                client.stream.write_all(piece).await.unwrap();
                // The server's task, and its reader's, run in between.
                tokio::task::yield_now().await;
            }
        };
        let (read, ()) = within("the body", futures::future::join(body.collect(), sending)).await;
        assert!(read.unwrap().to_bytes() == sent);
        reply.send(Reply::new("read".into())).unwrap();
        client.read_to("\r\n\r\nread").await;
        assert!((&mut gone).now_or_never().is_none(), "the client is there");
    }
}

#[tokio::test]
async fn a_client_that_leaves_while_nothing_is_left_to_read_is_noticed() {
    let mut server = Watching::start().await;
    for how in [Leave::Close, Leave::CloseSendingHalf, Leave::Reset] {
        let mut client = Client::connect(server.address).await;
        let waiting = server.ask(&mut client, "GET / HTTP/1.1\r\nHost: test\r\n\r\n").await;
        let _client = leave(client, how).await;
        within("the end", waiting.gone).await;
    }
}
