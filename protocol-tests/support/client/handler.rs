//! What the handler of a request gets, and what it answers with.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use socket2me::proto::exchange::stream::{AbortCode, Event, Part};
use socket2me::proto::exchange::{ExchangeId, Request, Response, headers_to_json};
use tokio::sync::{Semaphore, mpsc};

/// What the writer of one exchange may have queued, in bytes.
pub(crate) const QUEUED: usize = 512 << 10;

/// Serves one request. It is a task of its own.
pub(crate) type Handler = Arc<dyn Fn(Visit) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// Makes a handler of an async function.
pub(crate) fn handler<F: Future<Output = ()> + Send + 'static>(
    serve: impl Fn(Visit) -> F + Send + Sync + 'static,
) -> Handler {
    Arc::new(move |visit| Box::pin(serve(visit)))
}

/// The exchange is over: the server has aborted it, or the session is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

/// A request, the reader of its body, and how it is answered.
pub(crate) struct Visit {
    pub(crate) request: Request,
    pub(crate) body: BodyReader,
    pub(crate) answer: Answering,
}

/// What handlers tell the end's task.
pub(super) enum Command {
    Ack(ExchangeId, Response),
    Head(ExchangeId, Event),
    Queue(ExchangeId, Down),
    HandedOn(ExchangeId, bool),
    Pull(ExchangeId),
    Abort(ExchangeId, AbortCode),
    Close,
}

/// What an end queues for the visitor.
pub(super) enum Down {
    Data(Bytes),
    Message { part: Part, more: bool },
    End { trailers: Option<String> },
    Close { code: u16, reason: String },
}

/// What comes of the visitor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Up {
    Data(Bytes),
    Message { part: Part, more: bool },
    End { trailers: Option<String> },
    Close { code: u16, reason: String },
}

/// Reads a request's body, or what a visitor sends behind a 101. What is not read is not acknowledged.
pub(crate) struct BodyReader {
    pub(super) id: ExchangeId,
    pub(super) parts: mpsc::UnboundedReceiver<Up>,
    pub(super) tell: mpsc::UnboundedSender<Command>,
    /// Somebody waits for a part.
    pub(super) is_starving: Arc<AtomicBool>,
}

impl BodyReader {
    /// Returns the next part, which counts as handed on; `None` behind the last, and where the exchange is over before that.
    pub(crate) async fn next(&mut self) -> Option<Up> {
        let mut has_starved = false;
        let part = match self.parts.try_recv() {
            Ok(part) => part,
            Err(_) => {
                has_starved = true;
                self.is_starving.store(true, Ordering::Relaxed);
                let part = self.parts.recv().await;
                self.is_starving.store(false, Ordering::Relaxed);
                part?
            }
        };
        if let Up::Data(_) | Up::Message { .. } = part {
            let _ = self.tell.send(Command::HandedOn(self.id, has_starved));
        }
        Some(part)
    }

    /// Lets the body come, where `pull` was asked for.
    pub(crate) fn pull(&self) {
        let _ = self.tell.send(Command::Pull(self.id));
    }
}

/// How a request is answered. Dropped, it leaves the exchange without an answer.
pub(crate) struct Answering {
    pub(super) id: ExchangeId,
    pub(super) tell: mpsc::UnboundedSender<Command>,
    pub(super) room: Arc<Semaphore>,
}

impl Answering {
    /// Answers with the ack alone.
    pub(crate) fn ack(self, response: Response) {
        let _ = self.tell.send(Command::Ack(self.id, response));
    }

    /// Sends the head of the response, and returns the writer of its body.
    pub(crate) fn head(self, status: u16, headers: &[(&str, &str)]) -> BodyWriter {
        let lines = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let headers = headers_to_json(&lines.collect(), None).into();
        let _ = self.tell.send(Command::Head(self.id, Event::Response { status, headers }));
        let Self { id, tell, room } = self;
        BodyWriter { id, tell, room, is_whole: false }
    }

    /// Gives the exchange up.
    pub(crate) fn abort(self, code: AbortCode) {
        let _ = self.tell.send(Command::Abort(self.id, code));
    }
}

/// Writes the body of a response, or what goes to the visitor behind a 101. If it is dropped before its end, the exchange is aborted
/// as `local-gone`.
pub(crate) struct BodyWriter {
    id: ExchangeId,
    tell: mpsc::UnboundedSender<Command>,
    room: Arc<Semaphore>,
    is_whole: bool,
}

impl BodyWriter {
    /// Queues bytes, and waits while too many are queued.
    pub(crate) async fn write(&mut self, mut bytes: Bytes) -> Result<(), Gone> {
        loop {
            let part = bytes.split_to(bytes.len().min(QUEUED / 4));
            self.queue(part.len(), Down::Data(part)).await?;
            if bytes.is_empty() {
                return Ok(());
            }
        }
    }

    /// Queues a message of a WebSocket, or a part of one.
    pub(crate) async fn message(&mut self, part: Part, more: bool) -> Result<(), Gone> {
        self.queue(part.len(), Down::Message { part, more }).await
    }

    /// Ends the body.
    pub(crate) async fn end(mut self, trailers: Option<&str>) -> Result<(), Gone> {
        self.is_whole = true;
        self.queue(0, Down::End { trailers: trailers.map(str::to_owned) }).await
    }

    /// Closes the WebSocket.
    pub(crate) async fn close(mut self, code: u16, reason: &str) -> Result<(), Gone> {
        self.is_whole = true;
        self.queue(0, Down::Close { code, reason: reason.to_owned() }).await
    }

    /// Waits until the exchange is over.
    pub(crate) async fn gone(&self) {
        // There are never so many permits.
        let _ = self.room.acquire_many(u32::try_from(QUEUED + 1).unwrap()).await;
    }

    async fn queue(&mut self, bytes: usize, down: Down) -> Result<(), Gone> {
        let wanted = u32::try_from(bytes.min(QUEUED)).unwrap();
        self.room.acquire_many(wanted).await.map_err(|_| Gone)?.forget();
        self.tell.send(Command::Queue(self.id, down)).map_err(|_| Gone)
    }
}

impl Drop for BodyWriter {
    fn drop(&mut self) {
        if !self.is_whole {
            let _ = self.tell.send(Command::Abort(self.id, AbortCode::LocalGone));
        }
    }
}
