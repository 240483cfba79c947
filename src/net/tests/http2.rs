//! HTTP/2 with a client that does what it should, but for what it reads.

use std::sync::atomic::Ordering;

use futures::FutureExt as _;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body::Body;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::oneshot;

use super::tls::Secure;
use super::*;
use crate::net::budget::Budget;

/// What a client sends as bodies.
type Sent = http_body_util::combinators::BoxBody<Bytes, std::convert::Infallible>;

/// Opens a connection whose streams let in as much as this before it is read.
async fn client(server: &Secure, window: u32) -> SendRequest<Sent> {
    let stream = within("a handshake", server.connect("test", &[b"h2"])).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(window).initial_connection_window_size(16 << 20);
    let (sender, connection) = within("settings", builder.handshake(TokioIo::new(stream))).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn request(method: Method, body: Sent) -> Request<Sent> {
    Request::builder().method(method).uri("https://test/x?y").body(body).unwrap()
}

fn get() -> Request<Sent> {
    request(Method::GET, Empty::new().boxed())
}

fn post(length: usize) -> Request<Sent> {
    request(Method::POST, Full::new(vec![b'x'; length].into()).boxed())
}

/// A body whose length nobody knows, and what sends its pieces.
fn open_body() -> (mpsc::Sender<Bytes>, Sent) {
    let (sender, mut receiver) = mpsc::channel::<Bytes>(16);
    let frames =
        futures::stream::poll_fn(move |cx| receiver.poll_recv(cx).map(|data| data.map(|data| Ok(Frame::data(data)))));
    (sender, StreamBody::new(frames).boxed())
}

async fn ask(client: &mut SendRequest<Sent>, request: Request<Sent>) -> http::Response<Incoming> {
    within("a response", client.send_request(request)).await.unwrap()
}

async fn text(body: Incoming) -> String {
    String::from_utf8(within("the body", body.collect()).await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn a_handler_gets_what_it_would_get_in_http_1() {
    let server = Secure::start(
        |_| (),
        |asked| {
            let Asked { head, arrival, .. } = asked;
            let cookies: Vec<_> = head.headers.get_all(header::COOKIE).iter().collect();
            let told =
                format!("{} {:?} {cookies:?} {}", head.uri, head.headers[header::HOST], arrival.scheme(&head.headers));
            let mut reply = Reply::new(told.into());
            for (name, value) in
                [(header::CONNECTION, "close"), (header::UPGRADE, "x"), (header::TRANSFER_ENCODING, "chunked")]
            {
                reply.headers_mut().insert(name, HeaderValue::from_static(value));
            }
            std::future::ready(reply).boxed()
        },
    );
    let server = server.await;
    let mut client = client(&server, 1 << 20).await;
    let mut asked = get();
    for cookie in ["a=1", "b=2"] {
        asked.headers_mut().append(header::COOKIE, HeaderValue::from_static(cookie));
    }
    let answer = ask(&mut client, asked).await;
    for name in [header::CONNECTION, header::UPGRADE, header::TRANSFER_ENCODING] {
        assert!(!answer.headers().contains_key(&name), "{name}");
    }
    assert_eq!(text(answer.into_body()).await, r#"/x?y "test" ["a=1; b=2"] https"#);
    let answer = ask(&mut client, request(Method::HEAD, Empty::new().boxed())).await;
    assert_eq!(answer.headers()[header::CONTENT_LENGTH], "20");
    assert!(answer.body().is_end_stream());
    let connect = Request::builder().method(Method::CONNECT).uri("a:1").body(Empty::new().boxed()).unwrap();
    assert_eq!(ask(&mut client, connect).await.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn bodies_pass_both_ways_with_their_trailers() {
    let server = Secure::start(
        |_| (),
        |asked| {
            let body = asked.body.take().unwrap();
            async {
                let read = body.collect().await.unwrap().to_bytes();
                let (sending, body) = streamed(None);
                sending.data(read);
                let trailers = HeaderMap::from_iter([(header::EXPIRES, HeaderValue::from_static("0"))]);
                sending.0.try_send(Ok(Frame::trailers(trailers))).unwrap();
                Reply::new(body)
            }
            .boxed()
        },
    );
    let server = server.await;
    let mut client = client(&server, 65_535).await;
    for size in [0, 1, 16 << 10, 65_535, 3 << 20] {
        let answer = ask(&mut client, post(size)).await;
        let read = within("the body", answer.into_body().collect()).await.unwrap();
        assert_eq!(read.trailers().map(HeaderMap::len), Some(1));
        assert_eq!(read.to_bytes(), vec![b'x'; size]);
    }
}

#[tokio::test]
async fn whole_bodies_of_every_size_end_although_the_window_is_as_small() {
    let size = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let sizes = Arc::clone(&size);
    let server = Secure::start(
        |_| (),
        move |_| {
            let body = vec![b'x'; sizes.load(Ordering::Relaxed)];
            std::future::ready(Reply::new(body.into())).boxed()
        },
    );
    let server = server.await;
    let mut client = client(&server, 32 << 10).await;
    for length in [0, 1, (16 << 10) - 1, 16 << 10, (16 << 10) + 1, 32 << 10, 100_000, 5 << 20] {
        size.store(length, Ordering::Relaxed);
        let answer = ask(&mut client, get()).await;
        let announced = answer.headers().get(header::CONTENT_LENGTH).map_or("0", |length| length.to_str().unwrap());
        assert_eq!(announced, length.to_string());
        assert_eq!(text(answer.into_body()).await.len(), length);
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_has_all_that_came_before_and_is_an_error() {
    let (tell, mut replies) = mpsc::channel(16);
    let server = Secure::start(
        |_| (),
        move |_| {
            let (sending, body) = streamed(None);
            tell.try_send(sending).unwrap();
            std::future::ready(Reply::new(body)).boxed()
        },
    );
    let server = server.await;
    let mut client = client(&server, 65_535).await;
    for size in [1, 1000, 4 << 20] {
        let answer = ask(&mut client, get()).await;
        let sending: Sending = replies.recv().await.unwrap();
        for _ in 0..3 {
            sending.data(vec![b'x'; size]);
        }
        sending.break_off();
        let (mut body, mut read) = (answer.into_body(), 0);
        let end = loop {
            match within("data", body.frame()).await {
                Some(Ok(frame)) => read += frame.into_data().unwrap().len(),
                end => break end,
            }
        };
        assert_eq!(read, 3 * size);
        assert!(end.is_some_and(|end| end.is_err()), "{size}: a clean end");
    }
    // The connection is as good as ever.
    let answer = ask(&mut client, get()).await;
    drop(replies.recv().await);
    assert_eq!(text(answer.into_body()).await, "");
}

#[tokio::test]
async fn a_peer_that_resets_its_stream_or_leaves_is_noticed_and_one_that_stays_is_not_gone() {
    let (tell, mut waiting) = mpsc::channel(16);
    let server = Secure::start(
        |_| (),
        move |asked| {
            let (reply, told) = oneshot::channel::<Reply>();
            tell.try_send((asked.arrival.gone().boxed(), asked.body.take().unwrap(), reply)).unwrap();
            async { told.await.unwrap() }.boxed()
        },
    );
    let server = server.await;
    let mut client = client(&server, 65_535).await;
    let (_sender, body) = open_body();
    let asking = tokio::spawn(client.send_request(request(Method::POST, body)));
    let (mut gone, mut taken, _reply) = within("a request", waiting.recv()).await.unwrap();
    assert!((&mut gone).now_or_never().is_none());
    asking.abort();
    within("the reset", gone).await;
    assert!(within("the body's end", taken.frame()).await.is_some_and(|frame| frame.is_err()));
    // Another, which is answered while it still sends.
    let (sender, body) = open_body();
    let asking = tokio::spawn(client.send_request(request(Method::POST, body)));
    let (mut gone, mut taken, reply) = within("a request", waiting.recv()).await.unwrap();
    reply.send(Reply::new("early".into())).unwrap();
    let answer = within("a response", asking).await.unwrap().unwrap();
    assert_eq!(text(answer.into_body()).await, "early");
    sender.try_send("late".into()).unwrap();
    assert_eq!(within("data", taken.frame()).await.unwrap().unwrap().into_data().unwrap(), "late");
    assert!((&mut gone).now_or_never().is_none());
    drop(sender);
    assert_eq!(within("the end", taken.collect()).await.unwrap().to_bytes(), "");
    assert!((&mut gone).now_or_never().is_none());
    drop(client);
    within("the connection's end", gone).await;
}

#[tokio::test]
async fn a_stream_that_is_not_read_is_given_up_and_its_neighbours_are_served() {
    let guard = Arc::new(());
    let held = Arc::clone(&guard);
    let server = Secure::start(
        |limits| limits.stall_timeout = Duration::from_secs(1),
        move |asked| {
            let body =
                if asked.head.method == Method::POST { ReplyBody::from(vec![0; 1 << 20]) } else { "small".into() };
            std::future::ready(Reply::new(body.until_done(Arc::clone(&held)))).boxed()
        },
    );
    let server = server.await;
    let mut client = client(&server, 65_535).await;
    let unread = ask(&mut client, post(0)).await;
    let started = tokio::time::Instant::now();
    while Arc::strong_count(&guard) > 2 {
        assert_eq!(text(ask(&mut client, get()).await.into_body()).await, "small");
    }
    let took = started.elapsed();
    assert!(took > Duration::from_millis(900), "{took:?}");
    let (mut body, mut read) = (unread.into_body(), 0);
    while let Some(Ok(frame)) = body.frame().await {
        read += frame.into_data().unwrap().len();
    }
    assert!(read < 1 << 20, "it was not cut: {read}");
}

#[tokio::test]
async fn a_connection_without_requests_is_ended_and_one_with_a_request_is_not() {
    let server = Secure::start(
        |limits| limits.head_timeout = Duration::from_millis(500),
        |_| {
            async {
                tokio::time::sleep(Duration::from_millis(1200)).await;
                Reply::new("late".into())
            }
            .boxed()
        },
    );
    let server = server.await;
    let mut client = client(&server, 65_535).await;
    assert_eq!(text(ask(&mut client, get()).await.into_body()).await, "late");
    let started = tokio::time::Instant::now();
    let closed = async {
        while !client.is_closed() {
            tokio::task::yield_now().await;
        }
    };
    within("the end", closed).await;
    assert!(started.elapsed() > Duration::from_millis(400), "{:?}", started.elapsed());
}

#[tokio::test]
async fn bodies_that_nobody_reads_take_memory_that_is_counted_and_given_back() {
    let memory = Budget::new(900 << 10);
    let (tell, mut waiting) = mpsc::channel(16);
    let budget = Arc::clone(&memory);
    let server = Secure::start(
        move |limits| limits.head_memory = budget,
        move |asked| {
            let (reply, told) = oneshot::channel::<Reply>();
            tell.try_send((asked.body.take().unwrap(), reply)).unwrap();
            async { told.await.unwrap() }.boxed()
        },
    );
    let server = server.await;
    let mut client = client(&server, 65_535).await;
    let mut asked = Vec::new();
    for _ in 0..2 {
        let (sender, body) = open_body();
        let answer = tokio::spawn(client.send_request(request(Method::POST, body)));
        asked.push((sender, answer, within("a request", waiting.recv()).await.unwrap()));
    }
    assert!(memory.used() > 768 << 10, "{}", memory.used());
    // A second connection gets no memory for a long body, and for a short one.
    let mut other = self::client(&server, 65_535).await;
    let refused = ask(&mut other, request(Method::POST, open_body().1)).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    let answer = tokio::spawn(other.send_request(post(1000)));
    let (body, reply) = within("a request", waiting.recv()).await.unwrap();
    reply.send(Reply::default()).unwrap();
    drop(body);
    assert_eq!(within("a response", answer).await.unwrap().unwrap().status(), StatusCode::OK);
    for (sender, answer, (body, reply)) in asked {
        drop(sender);
        assert_eq!(within("the end", body.collect()).await.unwrap().to_bytes(), "");
        reply.send(Reply::default()).unwrap();
        assert_eq!(within("a response", answer).await.unwrap().unwrap().status(), StatusCode::OK);
    }
    let given_back = async {
        while memory.used() > 0 {
            tokio::task::yield_now().await;
        }
    };
    within("the memory", given_back).await;
}

/// A frame without a byte takes no window.
#[tokio::test]
async fn a_connection_with_too_many_frames_that_nobody_reads_is_ended() {
    let memory = Budget::new(1 << 20);
    let (tell, mut waiting) = mpsc::channel(16);
    let budget = Arc::clone(&memory);
    let server = Secure::start(
        move |limits| limits.head_memory = budget,
        move |asked| {
            tell.try_send(asked.body.take().unwrap()).unwrap();
            std::future::pending().boxed()
        },
    );
    let server = server.await;
    let mut client = client(&server, 65_535).await;
    let (sender, body) = open_body();
    let answer = tokio::spawn(client.send_request(request(Method::POST, body)));
    let body = within("a request", waiting.recv()).await.unwrap();
    let mut sent = 0;
    while sent < 100_000 && within("a frame to leave", sender.send(Bytes::new())).await.is_ok() {
        sent += 1;
    }
    // h2 takes a hundred of them, and more are on their way until its goodbye has come: it is the upper bound that judges.
    assert!((100..100_000).contains(&sent), "{sent}");
    assert!(within("the end", answer).await.unwrap().is_err());
    drop(body);
    let given_back = async {
        while memory.used() > 0 {
            tokio::task::yield_now().await;
        }
    };
    within("the memory", given_back).await;
}

#[tokio::test]
async fn an_answer_before_the_whole_body_arrives_although_the_client_is_still_sending() {
    let server = Secure::start(|_| (), |_| std::future::ready(Reply::new("no".into())).boxed()).await;
    let mut client = client(&server, 65_535).await;
    let answer = ask(&mut client, post(5 << 20)).await;
    assert_eq!(text(answer.into_body()).await, "no");
}
