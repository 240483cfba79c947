//! A server of one's own on the two protocol layers: everything a client sends comes back.
//!
//! ```text
//! cargo run --example echo    # Socket.IO at http://127.0.0.1:3000/socket.io/, Engine.IO at http://127.0.0.1:3000/engine.io/
//! ```
//!
//! In reading order: [`Servers`] are behind one listener, [`Echo`] is a host of Socket.IO, [`RawEcho`] an
//! application of Engine.IO below it. With its default times it is the server that the published conformance suites
//! expect; `protocol-tests/node` runs their cases against it.

use std::convert::Infallible;
use std::future::{Future, poll_fn, ready as is_ready};
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use bytestring::ByteString;
use clap::Parser;
use http::StatusCode;
use http::request::Parts;
use socket2me::engine::{
    Answer, Application, Args, CLOSE_TIMEOUT, ClientEvent, CloseReason, Connect, DisconnectReason, Encoded, Engine,
    EngineIoSettings, Handle, Host, Instant, Layer, Limits, Link, Lower, Message, Opening, Outgoing, Reaction, Refusal,
    Socket, SocketIo, SocketIoSettings, Space,
};
use socket2me::net::arrival::Arrival;
use socket2me::net::body::RequestBody;
use socket2me::net::budget::Budget;
use socket2me::net::listener::{self, Handler};
use socket2me::net::reply::Reply;
use socket2me::net::websocket::{self, Handshake, Lost, WebSocket};
use socket2me::proto::json;
use tokio::net::TcpListener;

/// Sends back whatever it is sent
#[derive(Debug, Parser)]
struct Flags {
    /// The address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,
    /// The port to listen on; 0 takes any that is free
    #[arg(long, default_value_t = 3000)]
    port: u16,
    /// From one heartbeat to the next
    #[arg(long, default_value_t = 300, value_name = "MS")]
    ping_interval: u64,
    /// How long the answer to a heartbeat may take
    #[arg(long, default_value_t = 200, value_name = "MS")]
    ping_timeout: u64,
    /// How long a client may take to join its first namespace
    #[arg(long, default_value_t = 1000, value_name = "MS")]
    connect_timeout: u64,
    /// How long the upgrade to a WebSocket may take
    #[arg(long, default_value_t = 10_000, value_name = "MS")]
    upgrade_timeout: u64,
    /// The largest message or polling body
    #[arg(long, default_value_t = 1_000_000, value_name = "BYTES")]
    max_payload: usize,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let flags = Flags::parse();
    let listener = TcpListener::bind((flags.host, flags.port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let servers = Arc::new(Servers::new(&flags));
    let stop = async {
        // Where there is no such signal, the process is just killed.
        let _ = tokio::signal::ctrl_c().await;
        servers.socket_io.stop_opening();
        servers.socket_io.close_all(CloseReason::ServerShuttingDown);
        servers.engine_io.stop_opening();
        servers.engine_io.close_all(CloseReason::ServerShuttingDown);
    };
    listener::serve(listener, Arc::clone(&servers), listener::Limits::default(), stop).await;
    // The runtime ends with `main`, and the clients must have heard of it before.
    let closed = async { tokio::join!(servers.socket_io.closed(), servers.engine_io.closed()) };
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, closed).await;
    Ok(())
}

/// Three servers behind one port, by the path of the request.
struct Servers {
    socket_io: Engine<SocketIo<Echo>>,
    engine_io: Engine<RawEcho>,
    websockets: websocket::Limits,
}

impl Servers {
    fn new(flags: &Flags) -> Self {
        let settings = EngineIoSettings {
            ping_interval: Duration::from_millis(flags.ping_interval),
            ping_timeout: Duration::from_millis(flags.ping_timeout),
            upgrade_timeout: Duration::from_millis(flags.upgrade_timeout),
            max_payload: flags.max_payload,
            ..EngineIoSettings::default()
        };
        let socket_io_settings = SocketIoSettings {
            connect_timeout: Duration::from_millis(flags.connect_timeout),
            max_attachment_bytes: flags.max_payload,
            ..SocketIoSettings::default()
        };
        let socket_io = SocketIo::new(Echo, socket_io_settings);
        Self {
            socket_io: Engine::new(socket_io, settings.clone(), Limits::default()),
            engine_io: Engine::new(RawEcho, settings, Limits::default()),
            websockets: websocket::Limits { max_message: flags.max_payload, memory: Budget::new(256 << 20) },
        }
    }
}

impl Handler for Servers {
    async fn serve(&self, head: &mut Parts, body: &mut RequestBody, arrival: &Arrival<'_>) -> Reply {
        match head.uri.path() {
            "/socket.io/" => self.socket_io.serve(head, body, arrival).await,
            "/engine.io/" => self.engine_io.serve(head, body, arrival).await,
            "/websocket" => match Handshake::parse(head) {
                Ok(handshake) => {
                    let (reply, websocket) = handshake.accept(head, self.websockets.clone());
                    tokio::spawn(async { echo_messages(websocket.await).await });
                    reply
                }
                Err(refusal) => *refusal,
            },
            _ => not_found(),
        }
    }
}

/// Below both protocols: messages come back as they are. The Autobahn suite judges the WebSocket layer by it.
async fn echo_messages(websocket: Option<WebSocket>) {
    let Some(mut websocket) = websocket else { return };
    let close = poll_fn(|cx| {
        loop {
            // No more is read while the peer does not take what it was sent.
            if let Err(Lost) = ready!(websocket.poll_ready(cx)) {
                return Poll::Ready(None);
            }
            match websocket.poll_next(cx) {
                Poll::Ready(websocket::Received::Message(message)) => websocket.queue(message),
                Poll::Ready(websocket::Received::Oversized(_)) => return Poll::Ready(None),
                Poll::Ready(websocket::Received::Ended(ended)) => return Poll::Ready(ended.close_code()),
                Poll::Pending => {
                    return match ready!(websocket.poll_flush(cx)) {
                        Ok(()) => Poll::Pending,
                        Err(Lost) => Poll::Ready(None),
                    };
                }
            }
        }
    });
    let close = close.await;
    websocket.farewell(close);
}

fn not_found() -> Reply {
    let mut reply = Reply::new("there are /socket.io/, /engine.io/ and /websocket\n".into());
    *reply.status_mut() = StatusCode::NOT_FOUND;
    reply
}

/// A host of Socket.IO with two namespaces, `/` and `/custom`. In both,
///
/// - a new client gets the event `auth` with the payload it joined with;
/// - `message` comes back as `message-back`, with its arguments and attachments;
/// - `message-with-ack` is acknowledged with its arguments and attachments.
struct Echo;

/// What [`Echo`] keeps for a client in a namespace.
struct Member {
    /// The payload that the client joined with, a JSON object.
    auth: ByteString,
}

impl Host for Echo {
    type Member = Member;
    /// No event that the server emits asks for an ack, so nothing ever waits for one.
    type Waiter = Infallible;
    type Message = ();

    /// Deciding needs no waiting here, but it could: for a database, say.
    fn connect(&self, request: Connect) -> impl Future<Output = Result<Member, Refusal>> + Send + 'static {
        is_ready(match request.namespace.as_str() {
            "/" | "/custom" => Ok(Member { auth: request.auth.unwrap_or(ByteString::from_static("{}")) }),
            _ => Err(Refusal::new("Invalid namespace")),
        })
    }

    fn connected(&self, member: &mut Member, socket: &Socket<Self>, mut reaction: Reaction<'_, Self>) {
        let auth = &member.auth;
        let mut event = Encoded::begin(socket.namespace(), None, Vec::new(), Space::New(auth.len() + 16));
        event.json().extend([r#"["auth","#, auth, "]"]);
        reaction.emit(event.finish());
    }

    fn received(&self, _: &mut Member, socket: &Socket<Self>, event: ClientEvent, mut reaction: Reaction<'_, Self>) {
        let ClientEvent { args, attachments, id } = event;
        let name = args.get(0).unwrap_or_default();
        match (&*json::unquote(name), id) {
            ("message", _) => {
                let space = Space::New(args.json().len() + "-back".len());
                let mut event = Encoded::begin(socket.namespace(), None, attachments, space);
                write_array(Some(r#""message-back""#), &args, event.json());
                reaction.emit(event.finish());
            }
            ("message-with-ack", Some(id)) => {
                let mut json = String::with_capacity(args.json().len());
                write_array(None, &args, &mut json);
                let args = Args::parse(json.into()).expect("elements of a JSON array, in a JSON array again");
                reaction.ack(id, Answer { args, attachments });
            }
            (_, _) => (),
        }
    }

    fn disconnected(&self, _: Member, _: &Socket<Self>, _: DisconnectReason) {}
}

/// Appends an array of `first` and an event's arguments, which are all but its name. They stay as the client wrote them:
/// they are text from beginning to end, and no number or odd string is changed by being read.
fn write_array(first: Option<&str>, event: &Args, out: &mut String) {
    out.push('[');
    out.push_str(first.unwrap_or_default());
    let mut separator = if first.is_some() { "," } else { "" };
    let mut is_name = true;
    let walked = json::for_each_element(event.json(), |element| {
        if !is_name {
            out.push_str(separator);
            out.push_str(&event.json()[element]);
            separator = ",";
        }
        is_name = false;
    });
    walked.expect("an event's arguments are a JSON array");
    out.push(']');
}

/// An application of Engine.IO itself: a protocol of one's own instead of Socket.IO. Its layer does all that it does, so
/// it hears of no events, and nobody has commands for it.
struct RawEcho;

impl Application for RawEcho {
    type Layer = EchoLayer;
    type Session = ();
    type Command = Infallible;

    fn open(&self, _: &Opening, _: Handle<Infallible>, _: Instant) -> (EchoLayer, ()) {
        (EchoLayer, ())
    }

    fn event(&self, (): &mut (), event: Infallible, _: &mut Link<Self>, _: Instant) {
        match event {}
    }

    fn command(&self, (): &mut (), command: Infallible, _: &mut Link<Self>, _: Instant) {
        match command {}
    }
}

/// What stands on one session: each message is sent back, text as text and binary as binary. A pure state machine without
/// state: the calls below are all that happens to it, and time is an argument.
struct EchoLayer;

impl Layer for EchoLayer {
    type Event = Infallible;

    fn message(&mut self, message: Message, lower: &mut Lower<'_>) {
        lower.send(Outgoing::from(&message));
    }

    /// Its content is lost, so there is nothing to send back.
    fn oversized(&mut self, _: Option<&str>, lower: &mut Lower<'_>) {
        lower.close(CloseReason::TransportError);
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn handle_timeout(&mut self, _: &mut Lower<'_>) {}

    fn closed(&mut self, _: CloseReason) {}

    fn next_event(&mut self) -> Option<Infallible> {
        None
    }
}
