//! The app behind the tunnels of `scripts/bench forward`: GET answers with a greeting, GET /bytes/N with N bytes of the
//! pattern, and every other method reads its body, compares it with the pattern, and answers with the number of bytes.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The pattern of `load through`: byte i is i modulo 251. A prime, so that a piece that is lost, doubled or in another place
/// shows.
static PATTERN: [u8; 251 * 1024] = pattern();

const fn pattern() -> [u8; 251 * 1024] {
    let mut bytes = [0; 251 * 1024];
    let mut at = 0;
    while at < bytes.len() {
        bytes[at] = (at % 251) as u8;
        at += 1;
    }
    bytes
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    println!("listening on {}", listener.local_addr().expect("an address"));
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        tokio::spawn(async move {
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await;
        });
    }
}

async fn answer(request: Request<Incoming>) -> hyper::Result<Response<Pieces>> {
    if *request.method() != Method::GET {
        return swallow(request.into_body()).await;
    }
    let wanted = request.uri().path().strip_prefix("/bytes/").map(str::parse);
    Ok(match wanted {
        None => typed("text/plain", Pieces::text("hello, world!")),
        Some(Ok(length)) => {
            typed("application/octet-stream", Pieces { next: Bytes::from_static(&PATTERN), left: length })
        }
        Some(Err(_)) => refused("/bytes/N needs a number"),
    })
}

async fn swallow(mut body: Incoming) -> hyper::Result<Response<Pieces>> {
    let mut count = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        let mut rest = &data[..];
        while !rest.is_empty() {
            let expected = &PATTERN[count % 251..];
            let (piece, after) = rest.split_at(rest.len().min(expected.len()));
            if piece != &expected[..piece.len()] {
                return Ok(refused("the body is not the pattern"));
            }
            count += piece.len();
            rest = after;
        }
    }
    Ok(typed("text/plain", Pieces::text(&count.to_string())))
}

/// Makes a response with a type, as every framework does.
fn typed(content_type: &'static str, body: Pieces) -> Response<Pieces> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn refused(why: &str) -> Response<Pieces> {
    let mut response = typed("text/plain", Pieces::text(why));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response
}

/// A body of a known length: the same bytes again and again, without a copy.
struct Pieces {
    next: Bytes,
    left: u64,
}

impl Pieces {
    fn text(text: &str) -> Self {
        Self { left: text.len() as u64, next: Bytes::copy_from_slice(text.as_bytes()) }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let length = self.left.min(self.next.len() as u64);
        self.left -= length;
        Poll::Ready(Some(Ok(Frame::data(self.next.slice(..length as usize)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
