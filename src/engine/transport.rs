//! A WebSocket in the hands of the engine: its peer always gets a close frame.

use std::ops::{Deref, DerefMut};

use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use crate::net::websocket::{Ended, Message, WebSocket};
use crate::proto::engine_io::{CloseReason, Frame};

/// The close code of a server that stops (RFC 6455, section 7.4.1).
const GOING_AWAY: u16 = 1001;

/// A WebSocket that carries a session, or may come to. However it is dropped, its peer gets a close frame, and
/// [`Engine::closed`](super::Engine::closed) waits until it has.
pub(super) struct SessionWebSocket {
    /// `None` once the close frame is on its way.
    websocket: Option<WebSocket>,
    /// The tasks that an engine waits for when it closes.
    tasks: TaskTracker,
}

impl SessionWebSocket {
    pub(super) fn new(websocket: WebSocket, tasks: &TaskTracker) -> Self {
        Self { websocket: Some(websocket), tasks: tasks.clone() }
    }

    /// Closes the WebSocket, with this code or without one.
    pub(super) fn farewell(mut self, code: Option<u16>) {
        self.end(code);
    }

    fn end(&mut self, code: Option<u16>) {
        let Some(websocket) = self.websocket.take() else { return };
        // A runtime that has ended runs no more tasks.
        let Ok(runtime) = Handle::try_current() else { return };
        if let Some(rest) = websocket.goodbye(code) {
            self.tasks.spawn_on(rest, &runtime);
        }
    }
}

impl Drop for SessionWebSocket {
    fn drop(&mut self) {
        self.end(None);
    }
}

impl Deref for SessionWebSocket {
    type Target = WebSocket;

    fn deref(&self) -> &WebSocket {
        self.websocket.as_ref().expect("only `farewell` and `drop` take it, after which nothing can be asked of it")
    }
}

impl DerefMut for SessionWebSocket {
    fn deref_mut(&mut self) -> &mut WebSocket {
        self.websocket.as_mut().expect("only `farewell` and `drop` take it, after which nothing can be asked of it")
    }
}

/// Returns the frame that a message carries.
pub(super) fn frame_of(message: Message) -> Frame {
    match message {
        Message::Text(text) => Frame::Text(text),
        Message::Binary(data) => Frame::Binary(data),
    }
}

/// Returns the message that carries a frame.
pub(super) fn message_of(frame: Frame) -> Message {
    match frame {
        Frame::Text(text) => Message::Text(text),
        Frame::Binary(data) => Message::Binary(data),
    }
}

/// Returns why a session ends whose WebSocket has ended.
pub(super) fn close_reason(ended: &Ended) -> CloseReason {
    match ended {
        Ended::Closed { .. } | Ended::Gone => CloseReason::TransportClose,
        Ended::Failed | Ended::Violation(_) | Ended::NoMemory => CloseReason::TransportError,
    }
}

/// Returns the code that tells a client why its session ended. There is none where no code would help the client.
pub(super) fn close_code(reason: CloseReason) -> Option<u16> {
    match reason {
        CloseReason::ServerShuttingDown => Some(GOING_AWAY),
        CloseReason::TransportError
        | CloseReason::TransportClose
        | CloseReason::PingTimeout
        | CloseReason::ParseError
        | CloseReason::ForcedClose
        | CloseReason::ForcedServerClose
        | CloseReason::Overflow => None,
    }
}
