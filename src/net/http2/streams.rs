//! A task for each stream of a connection, and what the connection knows of all of them.
//!
//! A peer that does not read is given up by its socket in HTTP/1. In HTTP/2 it may read the connection and let one stream wait, by the
//! stream's window, for as long as it likes. So each piece of a response tells when it was written, and a stream of which too little
//! moves for the stall timeout is reset.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::CancellationToken;

use crate::net::connection::Connection;
use crate::net::hits::Hits;
use crate::net::socket::min_bytes_in;
use crate::proto::limit::Limit;

tokio::task_local! {
    /// How far the response of the stream has come whose task this is.
    static PROGRESS: Arc<Progress>;
}

/// What the streams of a connection do.
#[derive(Debug)]
pub(super) struct Activity {
    stall_timeout: Duration,
    hits: Arc<Hits>,
    /// Streams that are served, and when the last one ended.
    open: Mutex<(usize, Instant)>,
    /// How often the connection could not be written to: then its socket looks at the pace, and no stream.
    blocked: AtomicU64,
    /// Cancelled when the last bytes of a response stay where they are.
    stalled: CancellationToken,
}

impl Activity {
    pub(super) fn new(stall_timeout: Duration, hits: Arc<Hits>) -> Arc<Self> {
        let (open, blocked) = (Mutex::new((0, Instant::now())), AtomicU64::new(0));
        Arc::new(Self { stall_timeout, hits, open, blocked, stalled: CancellationToken::new() })
    }

    /// Completes when the connection is to be closed because of a peer that does not read.
    pub(super) async fn stalled(&self) {
        self.stalled.cancelled().await;
    }

    /// Returns when the connection will have been idle for `timeout` if nothing happens, or `None` if it has been.
    pub(super) fn idle_until(&self, timeout: Duration) -> Option<Instant> {
        let (open, since) = *self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let until = if open > 0 { now + timeout } else { since + timeout };
        (until > now).then_some(until)
    }

    fn change(&self, change: impl FnOnce(usize) -> usize) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        *open = (change(open.0), Instant::now());
    }
}

/// Counts a stream as served until this is dropped.
struct Open(Arc<Activity>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.change(|open| open - 1);
    }
}

/// Runs streams, each in a task of its own.
#[derive(Clone)]
pub(super) struct Streams(pub(super) Arc<Activity>);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, stream: F) {
        self.0.change(|open| open + 1);
        let open = Open(Arc::clone(&self.0));
        tokio::spawn(async move {
            let progress = Arc::default();
            if run(PROGRESS.scope(Arc::clone(&progress), stream), &progress, &open.0).await == Run::Stalled {
                open.0.stalled.cancel();
            }
        });
    }
}

/// How a stream has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Run {
    /// All of its response was written, or it is reset.
    Over,
    /// hyper has handed over all of the response, and h2 cannot send the rest.
    Stalled,
}

/// Runs a stream until its response was written. One whose peer does not read is dropped, which resets it.
async fn run(stream: impl Future<Output = ()>, progress: &Progress, activity: &Activity) -> Run {
    let mut stream = pin!(stream);
    let mut is_handed_over = false;
    let mut window: Option<Window> = None;
    let watching = poll_fn(|cx| {
        progress.waker.register(cx.waker());
        is_handed_over = is_handed_over || stream.as_mut().poll(cx).is_ready();
        if progress.outstanding() == 0 {
            window = None;
            return if is_handed_over { Poll::Ready(false) } else { Poll::Pending };
        }
        let window = window.get_or_insert_with(|| Window::open(progress, activity));
        window.poll_stalled(cx, progress, activity).map(|()| true)
    });
    if !watching.await {
        return Run::Over;
    }
    activity.hits.hit(Limit::StallTimeout);
    if is_handed_over { Run::Stalled } else { Run::Over }
}

/// A time in which enough of a response must be written.
struct Window {
    timer: Pin<Box<Sleep>>,
    /// What was written when it opened.
    written: usize,
    /// How often the connection had been blocked by then.
    blocked: u64,
}

impl Window {
    fn open(progress: &Progress, activity: &Activity) -> Self {
        Self {
            timer: Box::pin(sleep(activity.stall_timeout)),
            written: progress.written.load(Ordering::Relaxed),
            blocked: activity.blocked.load(Ordering::Relaxed),
        }
    }

    /// Ready when too little was written in the window. Opens the next one otherwise.
    fn poll_stalled(&mut self, cx: &mut Context<'_>, progress: &Progress, activity: &Activity) -> Poll<()> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let written = progress.written.load(Ordering::Relaxed).wrapping_sub(self.written);
            let is_blocked = activity.blocked.load(Ordering::Relaxed) != self.blocked;
            if !is_blocked && written < min_bytes_in(activity.stall_timeout) {
                return Poll::Ready(());
            }
            *self = Self::open(progress, activity);
        }
        Poll::Pending
    }
}

/// How far the response of a stream has come.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Bytes that were handed to hyper and are not written.
    outstanding: AtomicUsize,
    /// Bytes that were written.
    written: AtomicUsize,
    waker: AtomicWaker,
}

impl Progress {
    /// Returns the progress of the stream whose task runs.
    pub(super) fn current() -> Arc<Self> {
        // Streams has made it; elsewhere nobody looks at it.
        PROGRESS.try_with(Arc::clone).unwrap_or_default()
    }

    /// Returns how many bytes are on their way. The task of the stream is woken once there are none.
    pub(super) fn outstanding(&self) -> usize {
        self.outstanding.load(Ordering::Acquire)
    }

    /// Returns a piece of a response that tells when it was written.
    pub(super) fn track(self: &Arc<Self>, piece: Bytes) -> Bytes {
        self.outstanding.fetch_add(piece.len(), Ordering::AcqRel);
        Bytes::from_owner(Tracked { piece, progress: Arc::clone(self) })
    }
}

struct Tracked {
    piece: Bytes,
    progress: Arc<Progress>,
}

impl AsRef<[u8]> for Tracked {
    fn as_ref(&self) -> &[u8] {
        &self.piece
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        let Self { piece, progress } = self;
        progress.written.fetch_add(piece.len(), Ordering::Relaxed);
        if progress.outstanding.fetch_sub(piece.len(), Ordering::AcqRel) == piece.len() {
            progress.waker.wake();
        }
    }
}

/// A connection whose writes are looked at.
#[derive(Debug)]
pub(super) struct Watched {
    connection: Connection,
    activity: Arc<Activity>,
}

impl Watched {
    pub(super) fn new(connection: Connection, activity: Arc<Activity>) -> Self {
        Self { connection, activity }
    }

    fn look<T>(&self, written: Poll<T>) -> Poll<T> {
        if written.is_pending() {
            self.activity.blocked.fetch_add(1, Ordering::Relaxed);
        }
        written
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.connection).poll_write(cx, buffer);
        self.look(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.connection).poll_write_vectored(cx, buffers);
        self.look(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.connection).poll_flush(cx);
        self.look(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(cx)
    }
}
