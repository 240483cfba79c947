//! A handler that is watched: how many requests there were and are, and the last of them, which can be repeated.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::kept::{Last, MAX_BODY, Unkept, name};
use crate::client::visit::{Answering, BodyReader, Command, Down, Handler, Inbox, PART_COST, Teller, Visit, handler};
use crate::proto::exchange::{ExchangeId, Request};

/// Repetitions that may be open at a time: a key that is held down is pressed thirty times a second.
const MAX_REPETITIONS: usize = 8;

/// How long a repetition may take: nobody takes a response that does not end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Counts requests, and keeps the last one.
pub struct Watch {
    requests: AtomicU64,
    open: AtomicUsize,
    last: Arc<Last>,
    /// What is watched.
    handler: OnceLock<Handler>,
    repetitions: AtomicUsize,
    /// Called when one of the numbers has changed.
    changed: Box<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("requests", &self.requests).field("open", &self.open).finish_non_exhaustive()
    }
}

/// How many requests there were, and how many of them are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Requests of visitors.
    pub requests: u64,
    /// Requests whose response is not complete.
    pub open: usize,
}

/// Something that is open, until it is dropped.
struct Open(Arc<Watch>, fn(&Watch) -> &AtomicUsize);

impl Drop for Open {
    fn drop(&mut self) {
        self.1(&self.0).fetch_sub(1, Ordering::Relaxed);
        (self.0.changed)();
    }
}

impl Watch {
    /// Makes a watch that calls `changed` whenever a request begins or ends.
    #[must_use]
    pub fn new(changed: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            requests: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            last: Arc::default(),
            handler: OnceLock::new(),
            repetitions: AtomicUsize::new(0),
            changed: Box::new(changed),
        })
    }

    /// Returns a handler that does what another does, and is watched. It is for one handler.
    #[must_use]
    pub fn over(self: &Arc<Self>, inner: Handler) -> Handler {
        let _ = self.handler.set(Arc::clone(&inner));
        let watch = Arc::clone(self);
        handler(move |mut visit: Visit| {
            let open = watch.begin(&mut visit);
            let serving = inner(visit);
            async move {
                serving.await;
                drop(open);
            }
        })
    }

    /// Returns the numbers of requests.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts { requests: self.requests.load(Ordering::Relaxed), open: self.open.load(Ordering::Relaxed) }
    }

    fn begin(self: &Arc<Self>, visit: &mut Visit) -> Open {
        // A WebSocket cannot be repeated.
        if !visit.request.stream.is_some_and(|begin| begin.is_upgrade) {
            visit.body.keeping = self.last.keep(&visit.request);
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        (self.changed)();
        Open(Arc::clone(self), |watch| &watch.open)
    }

    /// Sends the last request to the handler once more, on this runtime. Nobody but the watched handler learns of it. Returns its
    /// method and its path.
    ///
    /// # Errors
    /// With why it cannot be repeated, for the person who asked.
    pub fn repeat(self: &Arc<Self>, runtime: &Handle) -> Result<String, String> {
        let request = self.last.request().map_err(|why| match why {
            Unkept::None => "there is no request to repeat yet".to_owned(),
            Unkept::Coming { what } => format!("{what} is not repeated: its body is not complete"),
            Unkept::TooLarge { what } => {
                format!("{what} is not repeated: its body has more than {} KiB", MAX_BODY >> 10)
            }
        })?;
        let name = name(&request);
        let inner = self.handler.get().ok_or("there is nothing to repeat the request to")?;
        let (visit, inbox) = detached(request).ok_or("the request's id is none")?;
        if self.repetitions.fetch_add(1, Ordering::Relaxed) >= MAX_REPETITIONS {
            self.repetitions.fetch_sub(1, Ordering::Relaxed);
            return Err(format!("{name} is not repeated: {MAX_REPETITIONS} repetitions are open"));
        }
        let (open, serving) = (Open(Arc::clone(self), |watch| &watch.repetitions), inner(visit));
        runtime.spawn(async move {
            let _ = tokio::time::timeout(PATIENCE, served(serving, &inbox)).await;
            drop(open);
        });
        Ok(name)
    }
}

/// Makes a visit of a request that has no session.
fn detached(request: Request) -> Option<(Visit, Arc<Inbox>)> {
    let inbox = Arc::new(Inbox::default());
    let teller = Teller::new(ExchangeId::parse(&request.id)?, &inbox);
    // The body is with the request: there are no parts.
    let (_, parts) = mpsc::channel(1);
    let body = BodyReader { parts, teller: Arc::clone(&teller), has_starved: false, keeping: None };
    let answer = Answering { teller, is_answered: false };
    Some((Visit { request, body, answer }, inbox))
}

/// Takes what a handler answers, and drops it.
async fn served(mut serving: impl Future<Output = ()> + Unpin, inbox: &Inbox) {
    loop {
        tokio::select! {
            () = &mut serving => return,
            () = inbox.wait() => (),
        }
        while let Some(teller) = inbox.next() {
            for command in teller.take() {
                let bytes = match command {
                    Command::Queue(Down::Data(bytes)) => bytes.len(),
                    Command::Queue(Down::Message { part, .. }) => part.len(),
                    Command::Queue(Down::End { .. } | Down::Close { .. }) => 0,
                    Command::Ack(_)
                    | Command::Head(_)
                    | Command::HandedOn { .. }
                    | Command::Pull
                    | Command::Abort(..) => {
                        continue;
                    }
                };
                teller.room.add_permits(bytes + PART_COST);
            }
        }
    }
}
