//! Requests that are sent to another node, or once more.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt as _;
use http_body_util::BodyExt as _;

use super::*;
use crate::cluster::hop::elsewhere;

/// A node that says of each request that it is another's, after it has read its body or not.
async fn misdirected(reads: bool) -> Callee {
    Callee::start_with('a', 3, Limits::default(), move |asked| {
        async move {
            if reads {
                asked.body.collect().await.unwrap();
            }
            elsewhere()
        }
        .boxed()
    })
    .await
}

/// A node that answers with the length of bodies.
async fn measuring() -> Callee {
    Callee::start(|asked| {
        async {
            let length = asked.body.collect().await.unwrap().to_bytes().len();
            reply::text(StatusCode::OK, "text/plain", length.to_string())
        }
        .boxed()
    })
    .await
}

#[tokio::test]
async fn a_small_body_goes_to_the_next_node_after_a_421() {
    for reads in [true, false] {
        let (old, new) = (misdirected(reads).await, measuring().await);
        let mut first = Arriving::before(&[&old, &new]).await;
        for body in ["", "body", &"x".repeat(64 << 10)] {
            let length = body.len();
            let response = first
                .answer(&format!(
                    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                ))
                .await;
            assert_eq!(body_of(&response), length.to_string());
            assert_eq!(first.undone().await, Undone::Elsewhere);
        }
        if reads {
            assert_eq!(first.hops.pool().count(old.node), (1, 1), "a 421 costs no connection");
        }
    }
}

/// The visitor sends nothing before it is asked to: the first node has not asked.
#[tokio::test]
async fn nothing_of_a_large_body_is_sent_to_a_node_that_answers_421() {
    let (old, new) = (misdirected(false).await, measuring().await);
    let mut first = Arriving::before(&[&old, &new]).await;
    for framing in ["Content-Length: 1000000", "Transfer-Encoding: chunked"] {
        let mut visitor = first.visitor().await;
        visitor
            .send(format!(
                "POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
            ))
            .await;
        assert_eq!(first.undone().await, Undone::Elsewhere);
        // The second node has read the body, whose first byte nobody else has asked for.
        assert_eq!(visitor.read_to("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
        let body = "x".repeat(1_000_000);
        if framing.starts_with('C') {
            visitor.send(&body).await;
        } else {
            visitor.send(format!("f4240\r\n{body}\r\n0\r\n\r\n")).await;
        }
        let response = String::from_utf8(visitor.read_all().await).unwrap();
        assert_eq!(body_of(&response), "1000000");
    }
}

#[tokio::test]
async fn no_node_that_takes_a_request_is_an_answer_of_the_first() {
    let old = misdirected(true).await;
    let mut first = Arriving::before(&[&old]).await;
    let response = first.answer("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert_eq!((head_of(&response)[0], first.undone().await), ("HTTP/1.1 502 Bad Gateway", Undone::Elsewhere));
}

/// A node that closes each connection after its first response, without saying so.
#[tokio::test]
async fn a_request_on_a_kept_connection_that_was_closed_is_sent_on_another() {
    let served = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&served);
    let callee = Callee::start(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
        async { reply::text(StatusCode::OK, "text/plain", "served") }.boxed()
    })
    .await;
    let cutting = Cutting::before(&callee).await;
    let mut first = Arriving::before(&[&cutting.callee]).await;
    for number in 1..=3 {
        let response =
            first.answer("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx").await;
        assert_eq!(body_of(&response), "served");
        assert_eq!(served.load(Ordering::Relaxed), number);
        cutting.cut();
    }
    assert!(first.undone.try_recv().is_err());
}

/// What stands between two nodes, and cuts their connections.
struct Cutting {
    callee: Callee,
    cut: tokio::sync::watch::Sender<()>,
}

impl Cutting {
    async fn before(callee: &Callee) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, to) = (listener.local_addr().unwrap(), callee.address);
        let (cut, is_cut) = tokio::sync::watch::channel(());
        tokio::spawn(async move {
            while let Ok((mut caller, _)) = listener.accept().await {
                let mut is_cut = is_cut.clone();
                is_cut.mark_unchanged();
                tokio::spawn(async move {
                    let mut callee = TcpStream::connect(to).await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut caller, &mut callee) => (),
                        _ = is_cut.changed() => (),
                    }
                });
            }
        });
        Self { callee: Callee { address, ..callee.clone() }, cut }
    }

    fn cut(&self) {
        self.cut.send(()).unwrap();
    }
}

#[tokio::test]
async fn a_node_that_is_not_there_has_got_nothing() {
    let callee = measuring().await;
    let gone = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Callee { node: node(4), address: listener.local_addr().unwrap(), told: Arc::clone(&callee.told) }
    };
    let mut first = Arriving::before(&[&gone, &callee]).await;
    let response = first.answer("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: close\r\n\r\nxy").await;
    assert_eq!(body_of(&response), "2");
    let Undone::Unreached(why) = first.undone().await else { panic!("it is not there") };
    assert!(why.contains("cannot connect"), "{why}");
    assert_eq!(first.hops.pool().count(gone.node), (0, 0), "its place is free");
}

#[tokio::test]
async fn there_are_no_more_connections_to_a_node_than_may_be() {
    let (tell, mut waiting) = mpsc::channel(4);
    let callee = Callee::start(move |_| {
        let (answer, told) = tokio::sync::oneshot::channel();
        tell.try_send(answer).unwrap();
        async { told.await.unwrap() }.boxed()
    })
    .await;
    let mut first = Arriving::with(hops('a', 1), &[&callee]).await;
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let mut visitor = first.visitor().await;
    visitor.send(request).await;
    let answer = within("the request", waiting.recv()).await.unwrap();
    assert_eq!(head_of(&first.answer(request).await)[0], "HTTP/1.1 502 Bad Gateway");
    assert_eq!(first.undone().await, Undone::Full);
    answer.send(Reply::new("answered".into())).unwrap();
    assert_eq!(body_of(&String::from_utf8(visitor.read_all().await).unwrap()), "answered");
}

/// hyper asks for the rest of a body whose connection it is about to close.
#[tokio::test]
async fn an_answer_to_a_request_whose_body_is_not_asked_for_is_the_visitors() {
    let refusing = Callee::start(|_| async { reply::text(StatusCode::FORBIDDEN, "text/plain", "no") }.boxed()).await;
    let first = Arriving::before(&[&refusing]).await;
    for _ in 0..20 {
        let mut visitor = first.visitor().await;
        visitor.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\nConnection: close\r\n\r\n").await;
        visitor.send("x".repeat(200_000)).await;
        let response = visitor.read_to("no").await;
        assert!(response.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{response}");
    }
}

/// The visitor cannot send it again, and the next node would get a request without it.
#[tokio::test]
async fn a_large_body_that_a_node_has_read_goes_to_no_other() {
    let old = misdirected(true).await;
    let mut first = Arriving::before(&[&old]).await;
    let body = "x".repeat(100_000);
    let response = first
        .answer(&format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\nConnection: close\r\n\r\n{body}"))
        .await;
    assert_eq!(head_of(&response)[0], "HTTP/1.1 502 Bad Gateway");
    assert!(matches!(first.undone().await, Undone::Broken(_)));
}
