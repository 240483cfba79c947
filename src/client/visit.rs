//! What the handler of a request gets, and what it answers with.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use bytestring::ByteString;
use http::{HeaderMap, StatusCode};
use tokio::sync::{Notify, Semaphore, mpsc};

use super::forward::kept::Keeping;
use crate::proto::exchange::stream::{AbortCode, Part};
use crate::proto::exchange::{ExchangeId, Request, Response};

/// What the writer of one exchange may have queued, in bytes: two events, so that one waits while another is sent.
const QUEUED: usize = 128 << 10;

/// What a part costs in the queue beside its bytes, so that empty ones are not free.
pub(super) const PART_COST: usize = 64;

/// The largest part that is queued, in bytes.
const MAX_PART: usize = QUEUED / 2 - PART_COST;

/// Serves one request, in a task of its own. The task is aborted when the exchange is over before its answer is complete.
pub type Handler = Arc<dyn Fn(Visit) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// Makes a handler of an async function.
pub fn handler<F: Future<Output = ()> + Send + 'static>(serve: impl Fn(Visit) -> F + Send + Sync + 'static) -> Handler {
    Arc::new(move |visit| Box::pin(serve(visit)))
}

/// The exchange is over: the server has aborted it, or the session is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the exchange is over")
    }
}

impl std::error::Error for Gone {}

/// A request, the reader of its body, and how it is answered.
#[derive(Debug)]
pub struct Visit {
    /// The request. Its body is [`Self::body`] if it is streamed.
    pub request: Request,
    /// The rest of the request, or of what a visitor sends behind a 101.
    pub body: BodyReader,
    /// How the request is answered.
    pub answer: Answering,
}

impl Visit {
    /// Returns what tells how the exchange has ended, for whatever outlives the handler.
    #[must_use]
    pub fn ending(&self) -> Ending {
        Ending(Arc::clone(&self.answer.teller))
    }
}

/// Tells how an exchange has ended that the server has given up.
#[derive(Debug)]
pub struct Ending(Arc<Teller>);

impl Ending {
    /// Returns why the server has given the exchange up, if it has.
    #[must_use]
    pub fn aborted(&self) -> Option<AbortCode> {
        self.0.aborted.get().copied()
    }
}

/// What handlers tell the session's task.
#[derive(Debug)]
pub(super) enum Command {
    Ack(Response),
    Head(Response),
    Queue(Down),
    HandedOn { has_starved: bool },
    Pull,
    Abort(AbortCode, Option<ByteString>),
}

/// What the handlers of a session have said. It holds an exchange once, whatever its handler says.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    waiting: Mutex<VecDeque<Arc<Teller>>>,
    wake: Notify,
}

impl Inbox {
    /// Completes when a handler has said something. Nothing is lost if this is dropped.
    pub(super) async fn wait(&self) {
        self.wake.notified().await;
    }

    /// Takes the next exchange whose handler has said something.
    pub(super) fn next(&self) -> Option<Arc<Teller>> {
        lock(&self.waiting).pop_front()
    }
}

/// What the handler of one exchange says. It is little: parts within the room of the exchange, an acknowledgement for each that it
/// was given, and one of the others each.
#[derive(Debug)]
pub(super) struct Teller {
    pub(super) id: ExchangeId,
    inbox: Arc<Inbox>,
    /// What may be queued for the visitor.
    pub(super) room: Semaphore,
    said: Mutex<Vec<Command>>,
    /// Why the server has given the exchange up.
    pub(super) aborted: OnceLock<AbortCode>,
}

impl Teller {
    pub(super) fn new(id: ExchangeId, inbox: &Arc<Inbox>) -> Arc<Self> {
        Arc::new(Self {
            id,
            inbox: Arc::clone(inbox),
            room: Semaphore::new(QUEUED),
            said: Mutex::default(),
            aborted: OnceLock::new(),
        })
    }

    fn tell(self: &Arc<Self>, command: Command) {
        let is_first = {
            let mut said = lock(&self.said);
            said.push(command);
            said.len() == 1
        };
        if is_first {
            lock(&self.inbox.waiting).push_back(Arc::clone(self));
            self.inbox.wake.notify_one();
        }
    }

    /// Takes all that was said.
    pub(super) fn take(&self) -> Vec<Command> {
        mem::take(&mut lock(&self.said))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What an end queues for the visitor.
#[derive(Debug)]
pub(super) enum Down {
    Data(Bytes),
    Message { part: Part, more: bool },
    End { trailers: Option<ByteString> },
    Close { code: u16, reason: ByteString },
}

/// What comes of the visitor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Up {
    /// Bytes of the body, or of the connection.
    Data(Bytes),
    /// A message, or a part of one. `more` parts of the same message follow.
    Message {
        /// Text or bytes.
        part: Part,
        /// Whether parts of the same message follow.
        more: bool,
    },
    /// The direction is complete.
    End {
        /// The trailers as an object of JSON.
        trailers: Option<ByteString>,
    },
    /// The visitor closes the WebSocket.
    Close {
        /// The close code, 1005 for none.
        code: u16,
        /// The words beside it.
        reason: ByteString,
    },
}

/// Reads a request's body, or what a visitor sends behind a 101. What is not read is not acknowledged; dropped, it takes all that
/// comes and drops it.
#[derive(Debug)]
pub struct BodyReader {
    pub(super) parts: mpsc::Receiver<Up>,
    pub(super) teller: Arc<Teller>,
    /// Somebody has waited for the next part.
    pub(super) has_starved: bool,
    /// Where the body is kept too.
    pub(super) keeping: Option<Keeping>,
}

impl BodyReader {
    /// Returns the next part, which counts as handed on; `None` behind the last, and where the exchange is over before that.
    pub async fn next(&mut self) -> Option<Up> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// As [`Self::next`].
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Up>> {
        let Poll::Ready(part) = self.parts.poll_recv(cx) else {
            self.has_starved = true;
            return Poll::Pending;
        };
        let has_starved = mem::take(&mut self.has_starved);
        match (&self.keeping, &part) {
            (Some(keeping), Some(Up::Data(bytes))) => keeping.data(bytes),
            (Some(keeping), Some(Up::End { .. })) => keeping.end(),
            (Some(_), Some(Up::Message { .. } | Up::Close { .. }) | None) | (None, _) => (),
        }
        Poll::Ready(part.inspect(|part| self.hand_on(part, has_starved)))
    }

    /// Lets the body come, where `pull` was asked for.
    pub fn pull(&self) {
        self.teller.tell(Command::Pull);
    }

    fn hand_on(&self, part: &Up, has_starved: bool) {
        if let Up::Data(_) | Up::Message { .. } = part {
            self.teller.tell(Command::HandedOn { has_starved });
        }
    }
}

impl Drop for BodyReader {
    fn drop(&mut self) {
        self.parts.close();
        while let Ok(part) = self.parts.try_recv() {
            self.hand_on(&part, false);
        }
    }
}

/// How a request is answered. Dropped, it gives the exchange up as `local-gone`.
#[derive(Debug)]
pub struct Answering {
    pub(super) teller: Arc<Teller>,
    pub(super) is_answered: bool,
}

impl Answering {
    /// Answers with the whole response at once.
    pub fn ack(mut self, response: Response) {
        self.is_answered = true;
        self.teller.tell(Command::Ack(response));
    }

    /// Sends the head of the response, and returns the writer of its body. `length` is the body's, where it is known.
    #[must_use]
    pub fn head(mut self, status: StatusCode, headers: HeaderMap, length: Option<u64>) -> BodyWriter {
        self.is_answered = true;
        let response = Response { status, headers, body: Bytes::new(), declared_length: length };
        self.teller.tell(Command::Head(response));
        BodyWriter { teller: Arc::clone(&self.teller), is_whole: false }
    }

    /// Gives the exchange up, with words for the visitor.
    pub fn abort(mut self, code: AbortCode, message: Option<&str>) {
        self.is_answered = true;
        self.teller.tell(Command::Abort(code, message.map(ByteString::from)));
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        if !self.is_answered {
            self.teller.tell(Command::Abort(AbortCode::LocalGone, None));
        }
    }
}

/// Writes the body of a response, or what goes to the visitor behind a 101. Dropped before its end, it gives the exchange up as
/// `local-gone`.
#[derive(Debug)]
pub struct BodyWriter {
    teller: Arc<Teller>,
    is_whole: bool,
}

impl BodyWriter {
    /// Queues bytes, and waits while too many are queued.
    ///
    /// # Errors
    /// When the exchange is over.
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<(), Gone> {
        while !bytes.is_empty() {
            let part = bytes.split_to(bytes.len().min(MAX_PART));
            self.queue(part.len(), Down::Data(part)).await?;
        }
        Ok(())
    }

    /// Queues a message of a WebSocket, or a part of one.
    ///
    /// # Errors
    /// When the exchange is over.
    pub async fn message(&mut self, part: Part, more: bool) -> Result<(), Gone> {
        let mut rest = Some(part);
        while let Some(part) = rest {
            let (first, behind) = split(part, MAX_PART);
            let more = more || behind.is_some();
            self.queue(first.len(), Down::Message { part: first, more }).await?;
            rest = behind;
        }
        Ok(())
    }

    /// Ends the body. `trailers` are an object of JSON.
    ///
    /// # Errors
    /// When the exchange is over.
    pub async fn end(mut self, trailers: Option<ByteString>) -> Result<(), Gone> {
        self.is_whole = true;
        self.queue(0, Down::End { trailers }).await
    }

    /// Closes the WebSocket.
    ///
    /// # Errors
    /// When the exchange is over.
    pub async fn close(mut self, code: u16, reason: ByteString) -> Result<(), Gone> {
        self.is_whole = true;
        self.queue(0, Down::Close { code, reason }).await
    }

    /// Gives the exchange up.
    pub fn abort(mut self, code: AbortCode, message: Option<&str>) {
        self.is_whole = true;
        self.teller.tell(Command::Abort(code, message.map(ByteString::from)));
    }

    async fn queue(&mut self, bytes: usize, down: Down) -> Result<(), Gone> {
        // No part is larger than the room.
        let cost = u32::try_from(bytes + PART_COST).map_err(|_| Gone)?;
        self.teller.room.acquire_many(cost).await.map_err(|_| Gone)?.forget();
        self.teller.tell(Command::Queue(down));
        Ok(())
    }
}

impl Drop for BodyWriter {
    fn drop(&mut self) {
        if !self.is_whole {
            self.teller.tell(Command::Abort(AbortCode::LocalGone, None));
        }
    }
}

/// Cuts a part of a message to at most this many bytes, text between characters. Returns the first part, and what is left.
pub(super) fn split(part: Part, room: usize) -> (Part, Option<Part>) {
    if part.len() <= room {
        return (part, None);
    }
    match part {
        Part::Text(text) => {
            let end = (0..=room).rev().find(|&end| text.is_char_boundary(end)).unwrap_or_default();
            let (first, rest) = text.split_at(end);
            (Part::Text(first), Some(Part::Text(rest)))
        }
        Part::Binary(mut rest) => (Part::Binary(rest.split_to(room)), Some(Part::Binary(rest))),
    }
}
