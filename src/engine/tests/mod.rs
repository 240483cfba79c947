//! Engines in this process, with clients that speak to a session's task or to the server's port.

mod closing;
mod joins;
#[cfg(feature = "serde")]
mod json;
mod offers;
mod panics;
mod sids;
mod upgrades;

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytestring::ByteString;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::command::Reservation;
use super::host::{HostCommand, Order};
use super::*;
use crate::proto::engine_io::Frame;
use crate::proto::engine_io::payload::Body;
use crate::proto::engine_io::session::PollAnswer;

/// How long anything may take before a test gives up. No test that passes waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited too long: {what}"),
    }
}

/// A host that reports its calls, and panics in those that it is told to. In `/slow` it decides when the gate opens.
struct TestHost {
    calls: mpsc::Sender<(String, Option<Socket<Self>>)>,
    gate: Arc<Semaphore>,
    /// How the description of the call begins that panics; empty for none.
    panics_in: &'static str,
}

/// The calls that a [`TestHost`] reported, with the socket that they were about.
struct Calls(mpsc::Receiver<(String, Option<Socket<TestHost>>)>);

impl Calls {
    async fn expect(&mut self, expected: &str) -> Option<Socket<TestHost>> {
        let (call, socket) = within(expected, self.0.recv()).await.expect("the host is alive");
        assert_eq!(call, expected);
        socket
    }

    async fn connected(&mut self, namespace: &str) -> Socket<TestHost> {
        self.expect(&format!("connected {namespace}")).await.expect("the call has a socket")
    }
}

/// An engine with a [`TestHost`] that panics in this call.
fn engine(panics_in: &'static str) -> (Engine<SocketIo<TestHost>>, Calls) {
    let (calls, told) = mpsc::channel(100);
    let host = TestHost { calls, gate: Arc::new(Semaphore::new(0)), panics_in };
    let application = SocketIo::new(host, SocketIoSettings::default());
    (Engine::new(application, EngineIoSettings::default(), Limits::default()), Calls(told))
}

impl TestHost {
    fn call(&self, call: String, socket: Option<&Socket<Self>>) {
        let panics = !self.panics_in.is_empty() && call.starts_with(self.panics_in);
        self.calls.try_send((call, socket.cloned())).expect("the test listens");
        assert!(!panics, "as the test wants it");
    }
}

impl Host for TestHost {
    type Member = ();
    type Waiter = ();
    type Message = ();

    fn connect(&self, request: Connect) -> impl Future<Output = Result<(), Refusal>> + Send + 'static {
        let gate = Arc::clone(&self.gate);
        async move {
            match request.namespace.as_str() {
                "/slow" => gate.acquire().await.expect("an open gate").forget(),
                "/panics" => panic!("as the test wants it"),
                "/panics-later" => {
                    tokio::task::yield_now().await;
                    panic!("as the test wants it");
                }
                _ => (),
            }
            Ok(())
        }
    }

    fn connected(&self, (): &mut (), socket: &Socket<Self>, _: Reaction<'_, Self>) {
        self.call(format!("connected {}", socket.namespace().as_str()), Some(socket));
    }

    fn received(&self, (): &mut (), socket: &Socket<Self>, event: ClientEvent, _: Reaction<'_, Self>) {
        self.call(format!("received {} {}", socket.namespace().as_str(), event.args.json()), Some(socket));
    }

    fn acked(&self, (): (), outcome: Result<Answer, AckError>) {
        self.call(format!("acked {:?}", outcome.map(|answer| answer.args.json().clone())), None);
    }

    fn unawaited(
        &self,
        (): &mut (),
        socket: &Socket<Self>,
        id: AckId,
        _: Result<Answer, AckError>,
        _: Reaction<'_, Self>,
    ) {
        self.call(format!("unawaited {} {id}", socket.namespace().as_str()), None);
    }

    fn offered(&self, is_sent: bool) {
        self.call(format!("offered {is_sent}"), None);
    }

    fn disconnected(&self, (): (), socket: &Socket<Self>, reason: DisconnectReason) {
        self.call(format!("disconnected {}: {reason}", socket.namespace().as_str()), Some(socket));
    }
}

fn slot(engine: &Engine<SocketIo<TestHost>>) -> SessionSlot {
    engine.sessions.admit(IpAddr::V4(Ipv4Addr::LOCALHOST).into()).expect("a place")
}

/// A client of revision 4 on long-polling, without the HTTP.
struct PollingClient {
    mailbox: mailbox::Sender<SessionCommand<HostCommand<TestHost>>>,
}

impl PollingClient {
    /// Opens a session and takes its open packet.
    async fn open(engine: &Engine<SocketIo<TestHost>>) -> Self {
        let client = Self::open_in(engine, slot(engine));
        assert!(client.poll().await.expect("the open packet")[0].starts_with('0'));
        client
    }

    /// Opens a session for which a place was taken.
    fn open_in(engine: &Engine<SocketIo<TestHost>>, slot: SessionSlot) -> Self {
        let opening = Opening {
            peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
            sid: Sid::from_random(rand::rng().random()),
            asked: "http://relay.example".into(),
            revision: Revision::V4,
            query: String::new(),
        };
        let session = engine.session(&opening, Transport::Polling);
        Self { mailbox: engine.start(session, slot, &opening, None) }
    }

    /// Opens a session that has joined these namespaces.
    async fn joined(engine: &Engine<SocketIo<TestHost>>, namespaces: &[&str]) -> Self {
        let client = Self::open(engine).await;
        for namespace in namespaces {
            client.join(namespace).await;
        }
        client
    }

    async fn join(&self, namespace: &str) {
        assert!(self.post(&format!("40{namespace},")).await);
        assert!(self.poll().await.expect("a session")[0].starts_with(&format!("40{namespace},")));
    }

    /// Returns the packets of the next poll; `None` when the session is gone.
    async fn poll(&self) -> Option<Vec<String>> {
        let (reply, answer) = oneshot::channel();
        self.mailbox.send(SessionCommand::Poll { revision: Some(Revision::V4), reply }).then_some(())?;
        match within("an answer to a poll", answer).await.ok()? {
            PollAnswer::Packets(batch) => Some(batch.frames.iter().map(text_of).collect()),
            PollAnswer::Rejected(_) | PollAnswer::Overlap => None,
        }
    }

    /// Posts a packet. Returns false when the session is gone or does not take it.
    async fn post(&self, packet: &str) -> bool {
        let (reply, answer) = oneshot::channel();
        let body = Ok(Body::Text(ByteString::from(packet)));
        self.mailbox.send(SessionCommand::Post { revision: Some(Revision::V4), body, reply })
            && within("an answer to a POST", answer).await == Ok(Ok(()))
    }
}

fn text_of(frame: &Frame) -> String {
    match frame {
        Frame::Text(text) => text.to_string(),
        Frame::Binary(data) => format!("{data:?}"),
    }
}
