//! The least that any HTTP answer can cost here: hyper alone, without a relay. It answers GET with ANSWER_BYTES bytes (default
//! 13), and every other method with the request's body.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() {
    let size = std::env::var("ANSWER_BYTES").map_or(13, |size| size.parse().expect("ANSWER_BYTES: a number"));
    let page = Bytes::from(page(size));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    println!("listening on {}", listener.local_addr().expect("an address"));
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let page = page.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(page.clone(), request));
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// The same text as the load's.
fn page(size: usize) -> String {
    const LINE: &str = "<li class=\"row\"><a href=\"/item/42\">An item of the list</a> costs 17.50</li>\n";
    match "hello, world!".get(..size) {
        Some(greeting) => greeting.into(),
        None => LINE.chars().cycle().take(size).collect(),
    }
}

async fn answer(page: Bytes, request: Request<Incoming>) -> hyper::Result<Response<Full<Bytes>>> {
    let body = match *request.method() {
        Method::GET => page,
        _ => request.into_body().collect().await?.to_bytes(),
    };
    Ok(Response::new(Full::new(body)))
}
