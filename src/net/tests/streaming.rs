//! Replies whose body arrives by and by.

use std::sync::Mutex;

use futures::FutureExt as _;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::*;

/// A server whose replies are streamed, one after the other, and what sends their bodies.
struct Streaming {
    address: SocketAddr,
    replies: mpsc::Receiver<Sending>,
}

impl Streaming {
    /// Starts a server whose replies promise this length, and are changed before they are sent.
    async fn start(length: Option<u64>, change: fn(&mut Reply)) -> Self {
        let (tell, replies) = mpsc::channel(16);
        let address = start(move |_| {
            let (sending, body) = streamed(length);
            tell.try_send(sending).unwrap();
            let mut reply = Reply::new(body);
            change(&mut reply);
            std::future::ready(reply).boxed()
        });
        Self { address: address.await, replies }
    }

    async fn plain() -> Self {
        Self::start(None, |_| ()).await
    }

    /// Sends a request, and returns what sends the reply's body.
    async fn ask(&mut self, client: &mut Client, request: &str) -> Sending {
        client.send(&format!("{request}\r\n\r\n")).await;
        within("a request", self.replies.recv()).await.unwrap()
    }
}

const GET: &str = "GET / HTTP/1.1\r\nHost: test";

#[tokio::test]
async fn the_head_and_each_piece_leave_at_once() {
    let mut server = Streaming::plain().await;
    let mut client = Client::connect(server.address).await;
    for _ in 0..2 {
        let sending = server.ask(&mut client, GET).await;
        let head = client.read_to("\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
        for piece in ["one", "two"] {
            sending.data(piece);
            assert_eq!(client.read_to("\r\n3\r\n").now_or_never(), None);
            assert_eq!(client.read_to(piece).await, format!("3\r\n{piece}"));
            assert_eq!(client.read_to("\r\n").await, "\r\n");
        }
        drop(sending);
        assert_eq!(client.read_to("0\r\n\r\n").await, "0\r\n\r\n", "and the connection stays open");
    }
}

#[tokio::test]
async fn a_promised_length_is_kept() {
    for (pieces, sent, is_whole) in [
        (&["whole"][..], "whole", true),
        (&["wh", "", "ole"], "whole", true),
        (&["whole", "and more"], "whole", true),
        (&["whole and more"], "whole", true),
        (&["who"], "who", false),
        (&[], "", false),
    ] {
        let mut server = Streaming::start(Some(5), |_| ()).await;
        let mut client = Client::connect(server.address).await;
        let sending = server.ask(&mut client, GET).await;
        for piece in pieces {
            let _ = sending.0.try_send(Ok(Frame::data(Bytes::from_static(piece.as_bytes()))));
        }
        if is_whole {
            sending.is_dropped().await;
            let next = server.ask(&mut client, GET).await;
            let read = client.read_to(sent).await;
            assert!(read.contains("\r\ncontent-length: 5\r\n"), "{read}");
            next.data("whole");
            let read = client.read_to("whole").await;
            assert!(read.starts_with("HTTP/1.1 200 OK\r\n"), "nothing comes between: {read}");
        } else {
            drop(sending);
            let (read, end) = client.read_all().await;
            assert!(read.ends_with(format!("\r\n\r\n{sent}").as_bytes()), "{}", read.escape_ascii());
            end.unwrap();
        }
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_has_no_end_but_all_that_came_before() {
    let mut server = Streaming::plain().await;
    for size in [1, 1000, 16 << 20] {
        let mut client = Client::connect(server.address).await;
        let sending = server.ask(&mut client, GET).await;
        // The client does not read yet: most of it waits in the server.
        for _ in 0..3 {
            sending.data(vec![b'x'; size]);
        }
        sending.break_off();
        let (read, end) = client.read_all().await;
        end.unwrap();
        assert_eq!(memchr::memchr_iter(b'x', &read).count(), 3 * size);
        assert!(read.ends_with(b"x\r\n"), "the last chunk is missing: {}", read[read.len() - 20..].escape_ascii());
    }
}

#[tokio::test]
async fn a_body_of_promised_length_that_breaks_off_is_short() {
    let mut server = Streaming::start(Some(100), |_| ()).await;
    for version in ["1.0", "1.1"] {
        let mut client = Client::connect(server.address).await;
        let sending = server.ask(&mut client, &format!("GET / HTTP/{version}")).await;
        sending.data("some");
        sending.break_off();
        let (read, end) = client.read_all().await;
        end.unwrap();
        assert!(read.ends_with(b"\r\n\r\nsome"), "{}", read.escape_ascii());
    }
}

const GET_10: &str = "GET / HTTP/1.0";

#[tokio::test]
async fn a_client_of_http_1_0_sees_the_end_of_the_connection_only_after_the_whole_body() {
    for names_trailer in [false, true] {
        let mut server = Streaming::start(None, if names_trailer { name_trailer } else { |_| () }).await;
        let mut client = Client::connect(server.address).await;
        let sending = server.ask(&mut client, &format!("{GET_10}\r\nTE: trailers")).await;
        sending.data("whole");
        let read = client.read_to("whole").await;
        assert!(read.starts_with("HTTP/1.0 200 OK\r\n") && !read.contains("chunked"), "{read}");
        sending.0.try_send(Ok(Frame::trailers(trailers()))).unwrap();
        drop(sending);
        let (read, end) = client.read_all().await;
        assert_eq!(String::from_utf8(read).unwrap(), "", "no trailer");
        end.unwrap();
    }
}

#[tokio::test]
async fn a_client_of_http_1_0_sees_a_reset_where_the_body_breaks_off() {
    let mut server = Streaming::plain().await;
    for keep_alive in ["", "\r\nConnection: keep-alive"] {
        let mut client = Client::connect(server.address).await;
        let sending = server.ask(&mut client, &format!("{GET_10}{keep_alive}")).await;
        sending.data("some");
        client.read_to("some").await;
        sending.break_off();
        assert_eq!(client.read_all().await.1.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
}

/// The system closes the connections of a process that ends.
#[test]
fn a_client_of_http_1_0_sees_a_reset_where_the_server_ends() {
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (of_server, of_client) = (runtime(), runtime());
    let mut server = of_server.block_on(Streaming::plain());
    let (mut client, sending) = of_client.block_on(async {
        let mut client = Client::connect(server.address).await;
        let sending = server.ask(&mut client, GET_10).await;
        sending.data("some");
        client.read_to("some").await;
        (client, sending)
    });
    of_server.shutdown_background();
    let (_, end) = of_client.block_on(client.read_all());
    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    drop(sending);
}

fn name_trailer(reply: &mut Reply) {
    reply.headers_mut().insert(header::TRAILER, HeaderValue::from_static("x-sum"));
}

fn trailers() -> HeaderMap {
    [(header::HeaderName::from_static("x-sum"), HeaderValue::from_static("7"))].into_iter().collect()
}

#[tokio::test]
async fn trailers_reach_a_client_that_asks_for_them() {
    for (te, names_trailer, expected) in [
        ("\r\nTE: trailers", true, "4\r\nbody\r\n0\r\nx-sum: 7\r\n\r\n"),
        ("\r\nTE: trailers", false, "4\r\nbody\r\n0\r\n\r\n"),
        ("", true, "4\r\nbody\r\n0\r\n\r\n"),
    ] {
        let mut server = Streaming::start(None, if names_trailer { name_trailer } else { |_| () }).await;
        let mut client = Client::connect(server.address).await;
        let sending = server.ask(&mut client, &format!("{GET}{te}")).await;
        sending.data("body");
        sending.0.try_send(Ok(Frame::trailers(trailers()))).unwrap();
        sending.is_dropped().await;
        client.read_to("\r\n\r\n").await;
        let next = server.ask(&mut client, GET).await;
        assert_eq!(client.read_to("\r\n\r\n").await, expected);
        drop(next);
    }
}

#[tokio::test]
async fn a_source_whose_body_is_not_wanted_is_dropped_and_never_polled() {
    struct Unpolled(#[expect(dead_code, reason = "it is dropped with this")] mpsc::Sender<()>);

    impl Source for Unpolled {
        fn poll_frame(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
            panic!("this body is not wanted");
        }
    }

    for (method, status, length) in [
        ("HEAD", StatusCode::OK, None),
        ("HEAD", StatusCode::OK, Some(5)),
        ("GET", StatusCode::NO_CONTENT, None),
        ("GET", StatusCode::NOT_MODIFIED, None),
        ("GET", StatusCode::OK, Some(0)),
    ] {
        for version in ["1.0", "1.1"] {
            let (kept, mut dropped) = mpsc::channel(1);
            let kept = Mutex::new(Some(kept));
            let address = start(move |asked| {
                let reply = match kept.lock().unwrap().take() {
                    Some(kept) => Reply::new(ReplyBody::from_source(Box::new(Unpolled(kept)), length)),
                    None => Reply::default(),
                };
                let (mut reply, is_first) = (reply, asked.head.uri.path() == "/first");
                *reply.status_mut() = if is_first { status } else { StatusCode::OK };
                std::future::ready(reply).boxed()
            });
            let mut client = Client::connect(address.await).await;
            client.send(&format!("{method} /first HTTP/{version}\r\nHost: test\r\n\r\n")).await;
            assert_eq!(within("the drop", dropped.recv()).await, None);
            let head = client.read_to("\r\n\r\n").await;
            assert!(head.starts_with(&format!("HTTP/{version} {}", status.as_str())), "{head}");
            if version == "1.0" {
                let (rest, end) = client.read_all().await;
                assert!(rest.is_empty());
                end.unwrap();
            } else {
                client.send("GET /second HTTP/1.1\r\nHost: test\r\n\r\n").await;
                assert!(client.read_to("\r\n\r\n").await.starts_with("HTTP/1.1 200 OK\r\n"));
            }
        }
    }
}

#[tokio::test]
async fn a_guard_of_a_streamed_body_is_dropped_with_its_source() {
    let (sending, body) = streamed(None);
    let guards = [Arc::new(()), Arc::new(())];
    let body = body.until_done(Arc::clone(&guards[0])).until_done(Arc::clone(&guards[1]));
    assert_eq!(guards.each_ref().map(Arc::strong_count), [2, 2]);
    drop(body);
    assert_eq!(guards.each_ref().map(Arc::strong_count), [1, 1]);
    assert!(sending.0.is_closed());
}
