//! An end that streams: a session of the program's own, with a handler for each request.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderMap, HeaderName, StatusCode};
use socket2me::client::dial::Dialer;
use socket2me::client::exchanges::Notice;
use socket2me::client::server_url::ServerUrl;
use socket2me::client::session::{Ended, Join, Session};
use socket2me::client::visit::{Answering, BodyWriter, Ending, Handler, Visit};
use socket2me::proto::engine_io::Revision;
use socket2me::proto::engine_io::client::Transports;
use socket2me::proto::exchange::stream::{AbortCode, Closing, Ready};
use socket2me::proto::socket_io::Namespace;
use socket2me::proto::socket_io::connection::client::Credentials;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::within;

/// How long an end that leaves may take: longer than a test.
const PATIENCE: Duration = Duration::from_secs(60);

/// An end that serves in a task of its own.
pub(crate) struct StreamingEnd {
    /// What the server has said first.
    pub(crate) ready: Ready,
    pub(crate) heard: Arc<Mutex<Heard>>,
    leave: CancellationToken,
    task: JoinHandle<Ended>,
}

/// What the server has said beside what handlers get.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// The exchanges that the server has given up.
    pub(crate) aborts: Vec<AbortCode>,
    /// How the server has broken the protocol.
    pub(crate) breaches: Vec<String>,
    pub(crate) closing: Vec<Closing>,
}

impl StreamingEnd {
    /// Joins a token's namespace. `options` is the value of `stream` in `auth`, or for revision 3 what stands in the query.
    pub(crate) async fn connect(
        address: SocketAddr,
        token: &str,
        (revision, transports): (Revision, Transports),
        options: &str,
        handler: Handler,
    ) -> Self {
        let namespace = Namespace::new(format!("/{token}").into()).unwrap();
        let credentials = match revision {
            Revision::V4 => Credentials::Auth(format!(r#"{{"stream":{options}}}"#).into()),
            Revision::V3 => Credentials::Query(namespace.with_query(options).unwrap()),
        };
        let heard = Arc::<Mutex<Heard>>::default();
        let hears = Arc::clone(&heard);
        let (tell, mut is_ready) = mpsc::channel(1);
        let notify = move |notice| match notice {
            Notice::Ready(ready) => tell.try_send(*ready).unwrap(),
            Notice::Refused { code, message } => panic!("refused: {code}: {message}"),
            Notice::Closing(closing) => hears.lock().unwrap().closing.push(closing),
            Notice::Warning(breach) => hears.lock().unwrap().breaches.push(breach),
            Notice::Left => (),
        };
        let url = ServerUrl::parse(&format!("http://{address}")).unwrap();
        let join = Join { namespace, credentials, revision, transports };
        let handler = watched(handler, Arc::clone(&heard));
        let session = Session::open(&Dialer::new(None).unwrap(), &url, join, handler, notify);
        let leave = CancellationToken::new();
        let told = leave.clone();
        let task = tokio::spawn(async move { session.serve(&told, PATIENCE).await });
        let ready = within("ready", is_ready.recv()).await.expect("the end is let in");
        Self { ready, heard, leave, task }
    }

    /// Leaves, and waits until the session has ended.
    pub(crate) async fn close(self) {
        self.leave.cancel();
        assert!(matches!(self.closed().await, Ended::Stopped));
    }

    /// Waits until the session has ended, and returns why.
    pub(crate) async fn closed(self) -> Ended {
        within("the session to end", self.task).await.unwrap()
    }

    /// Ends the session's connections without a word.
    pub(crate) fn vanish(self) {
        self.task.abort();
    }
}

/// Sends a head.
pub(crate) fn head(answer: Answering, status: u16, headers: &[(&'static str, &str)]) -> BodyWriter {
    let headers: HeaderMap =
        headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect();
    answer.head(StatusCode::from_u16(status).unwrap(), headers, None)
}

/// Returns a handler that notes the exchanges which the server gives up.
fn watched(handler: Handler, heard: Arc<Mutex<Heard>>) -> Handler {
    struct Watch(Ending, Arc<Mutex<Heard>>);
    impl Drop for Watch {
        fn drop(&mut self) {
            self.1.lock().unwrap().aborts.extend(self.0.aborted());
        }
    }
    Arc::new(move |visit: Visit| {
        let watch = Watch(visit.ending(), Arc::clone(&heard));
        let handled = handler(visit);
        Box::pin(async move {
            let _watch = watch;
            handled.await;
        })
    })
}
