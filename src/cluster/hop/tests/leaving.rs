//! Visitors and nodes that leave.

use futures::FutureExt as _;
use http::HeaderValue;
use http::header;
use http_body::Frame;
use http_body_util::BodyExt as _;
use tokio::sync::oneshot;

use super::bodies::Frames;
use super::*;
use crate::net::reply::ReplyBody;
use crate::net::streaming::Broken;

/// A node that answers nothing, and tells of each request when its peer has left.
async fn watching() -> (Callee, mpsc::Receiver<BoxFuture<'static, ()>>) {
    let (tell, waiting) = mpsc::channel(4);
    let callee = Callee::start(move |asked| {
        let (dropped, is_dropped) = oneshot::channel::<()>();
        let gone = asked.arrival.gone();
        // hyper drops the handler when it finds that the connection has ended: then, too, the visitor has left.
        let left = async {
            tokio::select! {
                () = gone => (),
                _ = is_dropped => (),
            }
        };
        tell.try_send(left.boxed()).unwrap();
        async move {
            let _dropped = dropped;
            pending().await
        }
        .boxed()
    })
    .await;
    (callee, waiting)
}

#[tokio::test]
async fn the_other_node_knows_when_the_visitor_has_left() {
    let (callee, mut waiting) = watching().await;
    let first = Arriving::before(&[&callee]).await;
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nsome",
    ] {
        let mut visitor = first.visitor().await;
        visitor.send(request).await;
        let mut left = within("a request", waiting.recv()).await.unwrap();
        assert!((&mut left).now_or_never().is_none());
        drop(visitor);
        within("the end", left).await;
    }
}

/// The other node reads nothing, so nothing but a look at the connection tells.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_other_node_knows_when_a_visitor_has_left_whose_body_is_taken() {
    let (tell, mut waiting) = mpsc::channel(4);
    let callee = Callee::start(move |asked| {
        let (gone, mut body) = (asked.arrival.gone().boxed(), asked.body.take().unwrap());
        let tell = tell.clone();
        async move {
            let data = body.frame().await.unwrap().unwrap();
            tell.try_send((gone, body, data)).unwrap();
            pending().await
        }
        .boxed()
    })
    .await;
    let first = Arriving::before(&[&callee]).await;
    let mut visitor = first.visitor().await;
    visitor.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nsome").await;
    let (mut gone, _body, _) = within("a request", waiting.recv()).await.unwrap();
    assert!((&mut gone).now_or_never().is_none());
    drop(visitor);
    within("the end", gone).await;
}

/// A node that answers one request with what is sent.
async fn streaming(length: Option<u64>) -> (Callee, mpsc::Sender<Result<Frame<Bytes>, Broken>>) {
    let (sender, receiver) = mpsc::channel(4);
    let receiver = Mutex::new(Some(receiver));
    let callee = Callee::start(move |_| {
        let source = Frames(receiver.lock().unwrap().take().unwrap());
        let mut reply = Reply::new(ReplyBody::from_source(Box::new(source), length));
        if let Some(length) = length {
            reply.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        async { reply }.boxed()
    })
    .await;
    (callee, sender)
}

/// A visitor that has got the first bytes of a response.
async fn begun(first: &Arriving, sender: &mpsc::Sender<Result<Frame<Bytes>, Broken>>) -> Visitor {
    let mut visitor = first.visitor().await;
    visitor.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    sender.try_send(Ok(Frame::data("begun".into()))).unwrap();
    visitor.read_to("begun").await;
    visitor
}

#[tokio::test]
async fn a_visitor_that_leaves_an_endless_response_closes_the_connection_to_the_other_node() {
    let (callee, sender) = streaming(None).await;
    let first = Arriving::before(&[&callee]).await;
    drop(begun(&first, &sender).await);
    within("the source's drop", sender.closed()).await;
    assert_eq!(first.hops.pool().count(callee.node).1, 0, "the connection is not kept");
}

#[tokio::test]
async fn a_node_that_dies_in_the_middle_breaks_the_response_off() {
    for length in [None, Some(10)] {
        let (callee, sender) = streaming(length).await;
        let first = Arriving::before(&[&callee]).await;
        let mut visitor = begun(&first, &sender).await;
        sender.try_send(Err(Broken)).unwrap();
        let rest = visitor.read_all().await;
        assert!(!rest.ends_with(b"0\r\n\r\n"), "no end in order: {}", rest.escape_ascii());
        assert_eq!(first.hops.pool().count(callee.node).1, 0);
    }
}

/// A process that was stopped says nothing, and its connections stay open.
#[tokio::test]
async fn a_response_whose_node_is_gone_breaks_off() {
    for length in [None, Some(10)] {
        let (callee, sender) = streaming(length).await;
        let first = Arriving::before(&[&callee]).await;
        let mut visitor = begun(&first, &sender).await;
        first.watched.mark_gone();
        let rest = visitor.read_all().await;
        assert!(!rest.ends_with(b"0\r\n\r\n"), "no end in order: {}", rest.escape_ascii());
        within("the source's drop", sender.closed()).await;
        assert_eq!(first.hops.pool().count(callee.node), (0, 0));
    }
}

#[tokio::test]
async fn a_node_that_dies_before_it_answers_may_have_run_the_request() {
    let callee = Callee::start(|_| async { panic!("as the test wants it") }.boxed()).await;
    let mut first = Arriving::before(&[&callee]).await;
    let response = first.answer("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx").await;
    assert_eq!(head_of(&response)[0], "HTTP/1.1 502 Bad Gateway");
    assert!(matches!(first.undone().await, Undone::Broken(_)));
}
