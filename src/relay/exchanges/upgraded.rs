//! A visitor's connection after a 101 of the end: a WebSocket, message by message, or raw bytes.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::download::code_of;
use super::exchange::Exchange;
use crate::net::connection::Connection;
use crate::net::websocket::{self, Ended, Limits, Lost, Message, WebSocket};
use crate::proto::exchange::stream::{AbortCode, Part};
use crate::proto::websocket::Opcode;
use crate::relay::code::Code;
use crate::relay::figures::Ending;
use crate::relay::streams::{Down, IDLE, Lease, READ_AHEAD, Receipt, Stream};
use crate::relay::tunnels::Seat;

/// How long one side's goodbye waits for the other's.
const GOODBYE: Duration = Duration::from_secs(5);

/// How long a visitor may be silent before it is asked whether it is there, and how long it may take to answer that.
const PING_AFTER: Duration = Duration::from_secs(30);

/// The close code for a code that may not be sent (RFC 6455, section 7.4.1).
const INTERNAL_ERROR: u16 = 1011;

/// The code of a close frame without one, which is never sent.
const NO_CODE: u16 = 1005;

/// The code for a message without room in memory.
const TRY_AGAIN: u16 = 1013;

/// The codes for an end that is to leave, and for one that fails: a gateway's (IANA's registry for RFC 6455).
const GOING_AWAY: u16 = 1001;
const BAD_GATEWAY: u16 = 1014;

/// An exchange whose connection was upgraded. It is over when this is dropped.
pub(super) struct Upgraded {
    exchange: Exchange,
    lease: Lease,
    _seat: Seat,
    ending: Ending,
}

impl Upgraded {
    pub(super) fn new(exchange: Exchange, lease: Lease, seat: Seat) -> Self {
        // Dropped before its end, it is a visitor's that has left.
        Self { exchange, lease, _seat: seat, ending: Ending::VisitorLeft }
    }

    /// Returns what a WebSocket in messages mode may take.
    pub(super) fn websocket_limits(&self) -> Limits {
        let (max_message, memory) = self.lease.stream().message_limits();
        Limits { max_message, memory }
    }

    fn answered(&mut self) {
        self.ending = Ending::Answered;
        self.lease.done();
    }

    /// The end does not take what the visitor has sent.
    fn timed_out(&mut self) {
        self.ending = Ending::Failed(Code::TimedOut);
        self.lease.fail(AbortCode::Timeout);
    }

    fn broken(&mut self, code: AbortCode) {
        self.ending = Ending::Failed(code_of(code));
        self.lease.done();
    }
}

impl Drop for Upgraded {
    fn drop(&mut self) {
        self.exchange.ended(self.ending);
        if let Some(bytes) = self.lease.stream().up_bytes() {
            self.exchange.sent(bytes);
        }
    }
}

/// Passes the bytes of a connection on, both ways, until both have ended.
pub(super) async fn raw(connection: impl Future<Output = Option<(Connection, Bytes)>>, mut upgraded: Upgraded) {
    let Some((connection, read)) = connection.await else { return };
    let (reader, writer) = tokio::io::split(connection);
    let stream = Arc::clone(upgraded.lease.stream());
    let up = async {
        stream.put_bytes(&read);
        let result = read_raw(reader, &stream).await;
        stream.put_end(None);
        result
    };
    let down = write_raw(writer, &mut upgraded);
    // A connection that fails in one direction has failed in both.
    match futures::future::try_join(up, down).await {
        // The end hears of the visitor's last bytes, and that they were the last, before the exchange is over.
        Ok(((), ())) => match timeout(IDLE, poll_fn(|cx| stream.poll_taken(cx))).await {
            Ok(()) => upgraded.answered(),
            Err(_) => upgraded.timed_out(),
        },
        Err(Cut::Gone) => (),
        Err(Cut::Broken(code)) => upgraded.broken(code),
    }
}

/// Why a connection is over before both directions have ended.
enum Cut {
    /// The visitor is gone.
    Gone,
    /// The end has broken it off, or is gone.
    Broken(AbortCode),
}

async fn read_raw(mut reader: ReadHalf<Connection>, stream: &Stream) -> Result<(), Cut> {
    let mut buffer = BytesMut::new();
    while poll_fn(|cx| stream.poll_room(cx)).await {
        buffer.reserve(READ_AHEAD / 4);
        let read = tokio::select! {
            biased;
            () = poll_fn(|cx| stream.poll_stopped(cx)) => break,
            read = reader.read_buf(&mut buffer) => read.map_err(|_| Cut::Gone)?,
        };
        if read == 0 {
            break;
        }
        stream.put_bytes(&buffer);
        buffer.clear();
    }
    Ok(())
}

async fn write_raw(mut writer: WriteHalf<Connection>, upgraded: &mut Upgraded) -> Result<(), Cut> {
    loop {
        let stream = upgraded.lease.stream();
        match poll_fn(|cx| stream.poll_down(cx)).await {
            Down::Data(bytes) => {
                upgraded.exchange.streamed(bytes.len());
                writer.write_all(&bytes).await.map_err(|_| Cut::Gone)?;
                writer.flush().await.map_err(|_| Cut::Gone)?;
            }
            Down::End(_) => return writer.shutdown().await.map_err(|_| Cut::Gone),
            Down::Broken(code) => return Err(Cut::Broken(code)),
            // The session tells these of messages alone.
            Down::Message { .. } | Down::Close { .. } => return Err(Cut::Broken(AbortCode::Protocol)),
        }
    }
}

/// Passes the messages of a WebSocket on, both ways, until both sides have closed it.
pub(super) async fn messages(websocket: impl Future<Output = Option<WebSocket>>, upgraded: Upgraded) {
    let Some(websocket) = websocket.await else { return };
    let timer = pin!(sleep(PING_AFTER));
    let mut visitor = Visitor {
        websocket,
        upgraded,
        timer,
        receipts: Vec::new(),
        is_between: true,
        has_pinged: false,
        visitor_closed: false,
        end_closed: false,
        refusal: None,
    };
    poll_fn(|cx| visitor.poll(cx)).await;
    visitor.leave();
}

/// A visitor's WebSocket and its exchange.
struct Visitor<'t> {
    websocket: WebSocket,
    upgraded: Upgraded,
    /// When the visitor is asked whether it is there, or is given up.
    timer: Pin<&'t mut Sleep>,
    /// Of parts that are not written yet.
    receipts: Vec<Receipt>,
    /// No message to the visitor has begun and not ended.
    is_between: bool,
    /// The visitor was asked and has not answered.
    has_pinged: bool,
    visitor_closed: bool,
    end_closed: bool,
    /// Why the server closes the WebSocket.
    refusal: Option<(u16, &'static str)>,
}

impl Visitor<'_> {
    /// Passes on what is ready. Ready when nothing more is to come.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.poll_end(cx).is_err() || self.poll_visitor(cx) {
            return Poll::Ready(());
        }
        match self.websocket.poll_flush(cx) {
            Poll::Ready(Ok(())) => self.receipts.clear(),
            Poll::Ready(Err(Lost)) => return Poll::Ready(()),
            Poll::Pending => (),
        }
        // The end hears of the visitor's goodbye before the exchange is over.
        if self.visitor_closed && self.end_closed && self.upgraded.lease.stream().poll_taken(cx).is_ready() {
            self.upgraded.answered();
            return Poll::Ready(());
        }
        self.poll_timer(cx)
    }

    /// Takes what the end has sent, as far as the visitor takes it.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Result<(), ()> {
        while let Poll::Ready(ready) = self.websocket.poll_ready(cx) {
            ready.map_err(|Lost| ())?;
            if self.websocket.unsent_bytes() == 0 {
                self.receipts.clear();
            }
            let Poll::Ready(down) = self.upgraded.lease.stream().poll_down(cx) else { break };
            match down {
                // Nothing follows the close frame that has answered the visitor's.
                Down::Message { .. } if self.visitor_closed && self.refusal.is_none() => (),
                Down::Message { part, more, receipt } => {
                    self.upgraded.exchange.streamed(part.len());
                    let (opcode, payload) = match part {
                        Part::Text(text) => (Opcode::Text, text.into_bytes()),
                        Part::Binary(data) => (Opcode::Binary, data),
                    };
                    self.websocket.queue_part(opcode, self.is_between, !more, payload);
                    self.is_between = !more;
                    self.receipts.push(receipt);
                }
                Down::Close { code, reason } => {
                    self.end_closed = true;
                    if !self.visitor_closed {
                        self.websocket.queue_close(sendable(code), &reason);
                        self.wait_for_goodbye();
                    }
                    self.say_refusal();
                }
                Down::Broken(code) => {
                    let is_leaving = matches!(code, AbortCode::TakenOver | AbortCode::Stopping);
                    self.websocket.queue_close(Some(if is_leaving { GOING_AWAY } else { BAD_GATEWAY }), "");
                    self.upgraded.broken(code);
                    return Err(());
                }
                // The session tells these of bytes alone.
                Down::Data(_) | Down::End(_) => (),
            }
        }
        Ok(())
    }

    /// Takes what the visitor has sent, as far as the end takes it. Returns whether the visitor is gone.
    fn poll_visitor(&mut self, cx: &mut Context<'_>) -> bool {
        while !self.visitor_closed && self.upgraded.lease.stream().poll_room(cx).is_ready() {
            let polled = self.websocket.poll_next_part(cx);
            if self.websocket.take_heard() {
                self.has_pinged = false;
                if !self.end_closed {
                    self.timer.as_mut().reset(Instant::now() + PING_AFTER);
                }
            }
            let Poll::Ready(received) = polled else { break };
            match received {
                Ok(websocket::Part { payload, is_last }) => {
                    let part = match payload {
                        Message::Text(text) => Part::Text(text),
                        Message::Binary(data) => Part::Binary(data),
                    };
                    if !self.upgraded.lease.stream().put_message(part, !is_last) {
                        self.refuse(TRY_AGAIN, "no memory is left for the message");
                    }
                }
                Err(Ended::Closed { code, reason }) => self.visitor_closes(code.unwrap_or(NO_CODE), &reason),
                Err(ended @ (Ended::Violation(_) | Ended::NoMemory)) => {
                    self.refuse(ended.close_code().unwrap_or(INTERNAL_ERROR), "");
                }
                Err(Ended::Gone | Ended::Failed) => return true,
            }
        }
        false
    }

    /// Closes the WebSocket for something that the visitor has done. What the end has answered to what came before goes first.
    fn refuse(&mut self, code: u16, reason: &'static str) {
        self.refusal = Some((code, reason));
        self.visitor_closes(code, reason);
    }

    fn say_refusal(&mut self) {
        if let Some((code, reason)) = self.refusal {
            self.websocket.queue_close(Some(code), reason);
        }
    }

    fn visitor_closes(&mut self, code: u16, reason: &str) {
        self.visitor_closed = true;
        self.upgraded.lease.stream().put_close(code, reason.into());
        self.wait_for_goodbye();
    }

    fn wait_for_goodbye(&mut self) {
        self.timer.as_mut().reset(Instant::now() + GOODBYE);
    }

    /// Asks a silent visitor whether it is there. Ready when it does not answer, or one side's goodbye is not answered.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.timer.as_mut().poll(cx).is_ready() {
            if self.visitor_closed || self.end_closed {
                // One side has said goodbye, and the other does not answer. An end must not wait for more.
                self.say_refusal();
                self.upgraded.answered();
                self.upgraded.lease.fail(AbortCode::Timeout);
                return Poll::Ready(());
            }
            if std::mem::replace(&mut self.has_pinged, true) {
                return Poll::Ready(());
            }
            self.websocket.queue_ping();
            self.timer.as_mut().reset(Instant::now() + PING_AFTER);
            // What was queued is written, and what comes meanwhile is seen.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Ends the connection in order, with a close frame if none was sent.
    fn leave(self) {
        self.websocket.farewell(None);
    }
}

/// Returns a close code as it may be sent (RFC 6455, section 7.4), or `None` for no code.
fn sendable(code: u16) -> Option<u16> {
    match code {
        NO_CODE => None,
        1000..=1003 | 1007..=1014 | 3000..=4999 => Some(code),
        _ => Some(INTERNAL_ERROR),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_that_may_not_be_sent_becomes_an_internal_error() {
        for (code, sent) in [
            (1000, Some(1000)),
            (1003, Some(1003)),
            (1004, Some(1011)),
            (1005, None),
            (1006, Some(1011)),
            (1007, Some(1007)),
            (1014, Some(1014)),
            (1015, Some(1011)),
            (2999, Some(1011)),
            (3000, Some(3000)),
            (4999, Some(4999)),
            (5000, Some(1011)),
            (0, Some(1011)),
        ] {
            assert_eq!(sendable(code), sent, "{code}");
        }
    }
}
