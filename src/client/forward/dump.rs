//! Requests that are written to standard output.

use std::io::{self, Write as _};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use tokio::sync::{mpsc, oneshot};

use super::shown::{Body, Show};
use crate::client::visit::{Answering, BodyReader, Up, Visit};
use crate::proto::exchange::stream::AbortCode;
use crate::proto::exchange::{InlineBody, Response};

/// Requests that wait to be written. Those beyond wait where they are.
const WAITING: usize = 16;

/// Writes requests.
#[derive(Debug)]
pub(super) struct Dump {
    show: Show,
    max_body: usize,
    printer: mpsc::Sender<Page>,
}

/// A request as it is written, and who waits for that.
type Page = (String, oneshot::Sender<()>);

impl Dump {
    pub(super) fn new(show: Show, max_body: usize) -> Self {
        let (printer, mut pages) = mpsc::channel::<Page>(WAITING);
        // A reader that is slow stops this thread and nothing else.
        std::thread::spawn(move || {
            while let Some((text, done)) = pages.blocking_recv() {
                let mut out = io::stdout().lock();
                // A reader that has gone ends nothing: visitors are still answered.
                let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
                let _ = done.send(());
            }
        });
        Self { show, max_body, printer }
    }

    /// Serves one exchange. It is answered once it is written.
    pub(super) async fn serve(&self, visit: Visit) {
        let Visit { request, body: reader, answer } = visit;
        let body = match &request.body {
            InlineBody::Bytes(bytes) => self.kept(bytes),
            InlineBody::Streamed => match self.read(reader).await {
                Some(body) => body,
                // The handler is about to be ended.
                None => return,
            },
            // An end that streams gets bytes alone.
            InlineBody::Text(_) | InlineBody::Json(_) => return refuse(answer),
        };
        let (tell, done) = oneshot::channel();
        if self.printer.send((self.show.request(&request, &body), tell)).await.is_ok() {
            let _ = done.await;
        }
        answer.ack(Response {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            declared_length: None,
        });
    }

    fn kept(&self, bytes: &Bytes) -> Body {
        Body { bytes: bytes.slice(..bytes.len().min(self.max_body)), length: bytes.len() as u64 }
    }

    /// Reads a body to its end. Returns `None` if it breaks off.
    async fn read(&self, mut reader: BodyReader) -> Option<Body> {
        let (mut kept, mut length) = (BytesMut::new(), 0);
        loop {
            match reader.next().await? {
                Up::Data(bytes) => {
                    length += bytes.len() as u64;
                    kept.extend_from_slice(&bytes[..bytes.len().min(self.max_body - kept.len())]);
                }
                Up::End { .. } => return Some(Body { bytes: kept.freeze(), length }),
                // There are none before a 101.
                Up::Message { .. } | Up::Close { .. } => return None,
            }
        }
    }
}

fn refuse(answer: Answering) {
    answer.abort(AbortCode::Protocol, Some("the server sends a body that is no bytes"));
}
