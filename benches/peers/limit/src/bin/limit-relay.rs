//! The least that a relay of this shape can do: hyper on one side, one WebSocket for each tunnel on the other, ids and raw
//! bytes between them. It has no Socket.IO and no JSON. Its own framing sends everything that waits in one write.
//! To the end: `[id u32][head length u32][head][body]`. Back: `[id u32][status u16][body]`.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use slab::Slab;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};
use tungstenite::handshake::derive_accept_key;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
const FINAL_BINARY: u8 = 0x82;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;

/// The tokens, each with its tunnel once an end has joined.
type Tunnels = Arc<RwLock<HashMap<String, Option<Arc<Tunnel>>>>>;
type Answer = Response<Full<Bytes>>;

#[derive(Default)]
struct Tunnel {
    /// Whole frames that wait for the next write.
    output: Mutex<Vec<u8>>,
    wake: Notify,
    gone: AtomicBool,
    pending: Mutex<Slab<oneshot::Sender<Bytes>>>,
}

#[tokio::main]
async fn main() {
    let tunnels = Tunnels::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    println!("listening on {}", listener.local_addr().expect("an address"));
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let tunnels = tunnels.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| handle(tunnels.clone(), request));
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
        });
    }
}

async fn handle(tunnels: Tunnels, request: Request<Incoming>) -> hyper::Result<Answer> {
    let path = request.uri().path();
    if path == "/new" {
        let token = format!("{:032x}", rand::random::<u128>());
        tunnels.write().unwrap().insert(token.clone(), None);
        return Ok(response(StatusCode::OK, token));
    }
    if let Some(token) = path.strip_prefix("/tunnel/").map(str::to_owned) {
        return Ok(upgrade(tunnels, token, request));
    }
    let Some(rest) = path.strip_prefix("/go/") else { return Ok(response(StatusCode::NOT_FOUND, "")) };
    let token = rest.split('/').next().unwrap_or_default();
    let found = tunnels.read().unwrap().get(token).cloned();
    Ok(match found {
        None => response(StatusCode::NOT_FOUND, ""),
        Some(None) => response(StatusCode::BAD_GATEWAY, ""),
        Some(Some(tunnel)) => {
            let url = request.uri().path_and_query().map_or("", |url| &url.as_str()["/go/".len() + token.len()..]);
            let url = url.to_owned();
            relay(&tunnel, &url, request).await
        }
    })
}

fn response(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
}

fn upgrade(tunnels: Tunnels, token: String, request: Request<Incoming>) -> Answer {
    let Some(key) = request.headers().get(header::SEC_WEBSOCKET_KEY) else {
        return response(StatusCode::BAD_REQUEST, "");
    };
    let accept = derive_accept_key(key.as_bytes());
    tokio::spawn(serve_tunnel(tunnels, token, request));
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, accept)
        .body(Full::default())
        .expect("valid headers")
}

async fn relay(tunnel: &Tunnel, url: &str, request: Request<Incoming>) -> Answer {
    let (parts, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return response(StatusCode::BAD_REQUEST, "") };
    let body = body.to_bytes();
    let (sender, receiver) = oneshot::channel();
    let id = tunnel.pending.lock().unwrap().insert(sender);
    let mut head = Vec::with_capacity(512);
    head.put_slice(parts.method.as_str().as_bytes());
    head.put_u8(b' ');
    head.put_slice(url.as_bytes());
    head.put_slice(b"\r\n");
    for (name, value) in &parts.headers {
        head.put_slice(name.as_str().as_bytes());
        head.put_slice(b": ");
        head.put_slice(value.as_bytes());
        head.put_slice(b"\r\n");
    }
    put_frame(&mut tunnel.output.lock().unwrap(), id as u32, &head, &body);
    tunnel.wake.notify_one();
    if tunnel.gone.load(Ordering::Acquire) {
        return response(StatusCode::BAD_GATEWAY, "");
    }
    match tokio::time::timeout(ANSWER_TIMEOUT, receiver).await {
        Ok(Ok(answer)) => {
            let status = StatusCode::from_u16(u16::from_be_bytes([answer[4], answer[5]])).unwrap_or(StatusCode::OK);
            response(status, answer.slice(6..))
        }
        Ok(Err(_)) => response(StatusCode::BAD_GATEWAY, ""),
        Err(_) => {
            tunnel.pending.lock().unwrap().try_remove(id);
            response(StatusCode::GATEWAY_TIMEOUT, "")
        }
    }
}

fn put_frame(output: &mut Vec<u8>, id: u32, head: &[u8], body: &[u8]) {
    let length = 8 + head.len() + body.len();
    output.reserve(length + 10);
    output.put_u8(FINAL_BINARY);
    match length {
        0..=125 => output.put_u8(length as u8),
        126..=65535 => {
            output.put_u8(126);
            output.put_u16(length as u16);
        }
        _ => {
            output.put_u8(127);
            output.put_u64(length as u64);
        }
    }
    output.put_u32(id);
    output.put_u32(head.len() as u32);
    output.put_slice(head);
    output.put_slice(body);
}

async fn serve_tunnel(tunnels: Tunnels, token: String, request: Request<Incoming>) {
    let Ok(upgraded) = hyper::upgrade::on(request).await else { return };
    let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() else { return };
    let tunnel = Arc::<Tunnel>::default();
    tunnels.write().unwrap().insert(token.clone(), Some(tunnel.clone()));
    let _ = pump(&parts.io.into_inner(), BytesMut::from(&parts.read_buf[..]), &tunnel).await;
    tunnel.gone.store(true, Ordering::Release);
    tunnels.write().unwrap().insert(token, None);
    tunnel.pending.lock().unwrap().clear();
}

/// Moves frames both ways until the end closes.
async fn pump(stream: &TcpStream, mut input: BytesMut, tunnel: &Tunnel) -> io::Result<()> {
    let (mut output, mut written) = (Vec::new(), 0);
    loop {
        if written == output.len() {
            output.clear();
            written = 0;
            std::mem::swap(&mut output, &mut *tunnel.output.lock().unwrap());
        }
        while written < output.len() {
            match stream.try_write(&output[written..]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let flushed = written == output.len();
        let interest = if flushed { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE };
        tokio::select! {
            () = tunnel.wake.notified(), if flushed => (),
            ready = stream.ready(interest) => if ready?.is_readable() {
                input.reserve(16 << 10);
                match stream.try_read_buf(&mut input) {
                    Ok(0) => return Ok(()),
                    Ok(_) => (),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => (),
                    Err(error) => return Err(error),
                }
                while let Some((opcode, message)) = take_frame(&mut input) {
                    match opcode {
                        BINARY if message.len() >= 6 => {
                            let id = u32::from_be_bytes([message[0], message[1], message[2], message[3]]);
                            if let Some(sender) = tunnel.pending.lock().unwrap().try_remove(id as usize) {
                                let _ = sender.send(message);
                            }
                        }
                        CLOSE => return Ok(()),
                        _ => (),
                    }
                }
            },
        }
    }
}

/// Takes a frame: its opcode and unmasked payload; `None` if it is not complete.
fn take_frame(input: &mut BytesMut) -> Option<(u8, Bytes)> {
    let (opcode, short) = (input.first()? & 0x0f, input.get(1)? & 0x7f);
    let (header, length) = match short {
        126 => (4, u16::from_be_bytes(*input.get(2..)?.first_chunk()?).into()),
        127 => (10, u64::from_be_bytes(*input.get(2..)?.first_chunk()?) as usize),
        short => (2, usize::from(short)),
    };
    let whole = header + 4 + length;
    if input.len() < whole {
        input.reserve(whole - input.len());
        return None;
    }
    let mut frame = input.split_to(whole);
    frame.advance(header);
    let mask: [u8; 4] = *frame.first_chunk()?;
    frame.advance(4);
    let wide = u64::from(u32::from_ne_bytes(mask)) * 0x1_0000_0001;
    let mut words = frame.chunks_exact_mut(8);
    for word in &mut words {
        let unmasked = u64::from_ne_bytes((&*word).try_into().unwrap()) ^ wide;
        word.copy_from_slice(&unmasked.to_ne_bytes());
    }
    for (byte, mask) in words.into_remainder().iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    Some((opcode, frame.freeze()))
}
